/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target in postcopy: it runs a guest two of whose eight pages lack, asks for what the guest
 * waits for, takes only what it asked for or what is pushed, and tells when it has all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "target_script.h"

enum { MISSING_A = 6, MISSING_B = 7, THREAD = 77 };

static void expect_state(enum gw_target_state state)
{
    assert_string_equal(gw_target_state_name(target.state), gw_target_state_name(state));
}

static struct gw_batch_table pages(uint64_t page, uint32_t count)
{
    return (struct gw_batch_table){
        .record_count = 1,
        .raw_pages = count,
        .record = {{.page = page, .count = count, .kind = GW_RECORD_RAW}}};
}

static void comes_on_demand(uint64_t sequence, uint64_t page)
{
    struct gw_batch_table table = pages(page, 1);
    struct gw_target_event event = {
        .type = GW_TARGET_EV_BATCH,
        .placed = {.is_urgent = true, .sequence = sequence, .table = &table}};
    assert_int_equal(tell(event, NULL), GW_OK);
    drain();
}

/* Running, with an urgent channel that DEMANDs may go out on. */
static void reach_pulling(void)
{
    reach(GW_TARGET_PULLING);
    gw_target_urgent_ready(&target);
}

static void it_runs_without_all_and_tells_when_it_has(void **state)
{
    (void)state;
    reach(GW_TARGET_ARMING);
    assert_int_equal(done[GW_TARGET_DO_ARM], 1);
    assert_int_equal(done[GW_TARGET_DO_LOAD], 0); /* noticed first, loaded then */
    assert_int_equal(target.missing, 2);
    happens(GW_TARGET_EV_ARMED);
    happens(GW_TARGET_EV_LOADED);
    hears_verdict(GW_FRAME_COMMIT, 1);
    assert_int_equal(recorded('A'), GW_RECORD_PULLING);
    happens(GW_TARGET_EV_RECORDED);
    happens(GW_TARGET_EV_STARTED);
    expect_state(GW_TARGET_PULLING);
    assert_int_equal(said[GW_FRAME_RUNNING], 1);
    places(3, MISSING_A, 1, false);
    assert_int_equal(said[GW_FRAME_COMPLETE], 0);
    (void)gw_target_page_fault(&target, MISSING_B, 1, now_ns - 4 * MS);
    places(4, MISSING_B, 1, false);
    expect_state(GW_TARGET_RUNNING);
    assert_int_equal(said[GW_FRAME_COMPLETE], 1);
    assert_int_equal(last_said.complete.epoch, 1);
    assert_int_equal(last_said.complete.waiting.faults, 1);
    assert_true(last_said.complete.waiting.max_ns >= 4 * MS);
    assert_true(last_said.complete.waiting.time_ns > 0);
    assert_int_equal(recorded('A'), GW_RECORD_TOOK);
    assert_int_equal(done[GW_TARGET_DO_DISARM], 0); /* a receiver may be placing a page twice */
    hears_verdict(GW_FRAME_DONE, 1);
    expect_state(GW_TARGET_DONE);
    assert_int_equal(done[GW_TARGET_DO_DISARM], 1);
}

static void what_was_sent_and_is_dirty_again_is_not_here(void **state)
{
    (void)state;
    reach(GW_TARGET_ARMING);
    assert_int_equal(gw_target_received(&target)[0], 0x3f); /* page 6 came before MISSING took it */
}

static void a_page_is_demanded_once(void **state)
{
    (void)state;
    reach_pulling();
    assert_int_equal(gw_target_page_fault(&target, MISSING_A, THREAD, now_ns), GW_FAULT_DEMAND);
    assert_int_equal(gw_target_page_fault(&target, MISSING_A, THREAD + 1, now_ns), GW_FAULT_WAIT);
    assert_int_equal(gw_target_page_fault(&target, 0, THREAD + 2, now_ns), GW_FAULT_ZERO);
    gw_target_zero_placed(&target, 0, now_ns);
    comes_on_demand(1, MISSING_A);
    assert_int_equal(target.blocktime.faults, 3);
    assert_int_equal(gw_target_page_fault(&target, MISSING_A, THREAD, now_ns), GW_FAULT_ZERO);
}

static void only_what_was_demanded_may_come_on_the_urgent_channel(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    enum gw_placing placing;
    (void)state;
    reach_pulling();
    struct gw_batch_table wanted = pages(MISSING_A, 1);
    struct gw_batch_table two = pages(MISSING_A, 2);
    assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &wanted, &fault),
                     GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "page 6 on the urgent channel"));
    (void)gw_target_page_fault(&target, MISSING_A, THREAD, now_ns);
    assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &wanted, NULL), GW_OK);
    assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &two, NULL), GW_PROTOCOL);
    assert_int_equal(gw_target_may_place(&target, GW_TARGET_URGENT, 1, &placing, NULL), GW_OK);
    assert_int_equal(placing, GW_PLACE_STAGED);
    assert_int_equal(gw_target_may_place(&target, GW_TARGET_URGENT, 2, &placing, NULL),
                     GW_PROTOCOL);
    comes_on_demand(1, MISSING_A);
    assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &wanted, NULL),
                     GW_PROTOCOL); /* twice */
}

static void a_new_channel_is_asked_for_all_that_is_waited_for(void **state)
{
    uint64_t page = 0;
    (void)state;
    reach_pulling();
    (void)gw_target_page_fault(&target, MISSING_A, THREAD, now_ns);
    happens(GW_TARGET_EV_LINK_LOST);
    expect_state(GW_TARGET_STRANDED);
    assert_int_equal(gw_target_page_fault(&target, MISSING_B, THREAD + 1, now_ns), GW_FAULT_WAIT);
    comes('A', GW_PURPOSE_SETTLE, 2);
    expect_state(GW_TARGET_PULLING);
    assert_int_equal(last_said.welcome.standing, GW_STANDING_PULLING);
    comes_bulk(2, 2);
    comes_urgent(2);
    assert_int_equal(gw_target_next_demand(&target, &page), GW_AGAIN); /* WELCOME comes first */
    gw_target_urgent_ready(&target);
    assert_int_equal(gw_target_next_demand(&target, &page), GW_OK);
    assert_int_equal(page, MISSING_A);
    assert_int_equal(gw_target_next_demand(&target, &page), GW_OK);
    assert_int_equal(page, MISSING_B);
    assert_int_equal(gw_target_next_demand(&target, &page), GW_AGAIN);
    comes_on_demand(1, MISSING_B);
    comes_on_demand(2, MISSING_A);
    expect_state(GW_TARGET_RUNNING);
}

/* Connections have no order among each other. */
static void the_urgent_channel_may_come_before_the_bulk_channels(void **state)
{
    (void)state;
    reach(GW_TARGET_OPENING);
    comes_urgent(1); /* the session is not open yet */
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    reach(GW_TARGET_ACTIVE);
    happens(GW_TARGET_EV_LINK_LOST);
    comes_urgent(1);
    assert_int_equal(done[GW_TARGET_DO_ADMIT_URGENT], 0);
    comes('A', GW_PURPOSE_RESUME, 2);
    comes_urgent(2);
    assert_int_equal(done[GW_TARGET_DO_ADMIT_URGENT], 1);
    comes_bulk(2, 0);
    assert_int_equal(done[GW_TARGET_DO_ADMIT_BULK], 2);
    hears_prepare_postcopy(1, 2, 2);
    places(1, 0, PAGES - 1, false);
    reads_map(2, UINT64_C(0xc0));
    expect_state(GW_TARGET_ARMING);
}

static void channels_of_others_do_not_come_in(void **state)
{
    (void)state;
    reach_pulling();
    comes_urgent(1); /* there is one */
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('A', GW_PURPOSE_SETTLE, 2);
    comes_urgent(2); /* before the map of what is here was told */
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    comes_bulk(1, 2); /* of an old generation */
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    forget_actions();
    comes('A', GW_PURPOSE_SETTLE, 1); /* of an old generation */
    comes('B', GW_PURPOSE_SETTLE, 9); /* of another session */
    assert_int_equal(done[GW_TARGET_DO_ADMIT], 0);
    assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_UNKNOWN);
    expect_state(GW_TARGET_PULLING);
}

static void what_was_under_way_at_the_end_is_read_and_dropped(void **state)
{
    enum gw_placing placing;
    (void)state;
    reach_pulling();
    (void)gw_target_page_fault(&target, MISSING_A, THREAD, now_ns);
    places(3, MISSING_A, 2, false);
    expect_state(GW_TARGET_RUNNING);
    assert_int_equal(gw_target_may_place(&target, GW_TARGET_URGENT, 1, &placing, NULL), GW_OK);
    assert_int_equal(placing, GW_PLACE_NOT);
    comes_on_demand(1, MISSING_A);
    expect_state(GW_TARGET_RUNNING);
    assert_int_equal(target.missing, 0);
    forget_actions();
    places(4, MISSING_B, 1, false);
    assert_int_equal(said[GW_FRAME_ACK], 0); /* COMPLETE was the last word on pages */
}

static void a_map_that_says_otherwise_than_prepare_is_refused(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        reach(GW_TARGET_ACTIVE);
        if (way != 1) {
            comes_urgent(1);
        }
        places(1, 0, PAGES - 1, false);
        if (way == 2) {
            places(2, 0, 1, false); /* no map at all */
        } else {
            reads_map(2, 0xc0);
        }
        hears_prepare_postcopy(1, 2, way == 0 ? 3 : 2);
        expect_state(GW_TARGET_ABORTING);
        happens(GW_TARGET_EV_RECORDED);
        assert_int_equal(said[GW_FRAME_ABORTED], 1);
        assert_int_equal(done[GW_TARGET_DO_ARM], 0);
    }
}

static void nothing_comes_behind_the_map_before_the_guest_runs(void **state)
{
    (void)state;
    reach(GW_TARGET_ACTIVE);
    comes_urgent(1);
    places(1, 0, PAGES - 1, false);
    assert_int_equal(may_place(2), GW_OK);
    reads_map(2, 0xc0);
    assert_int_equal(may_place(3), GW_PROTOCOL);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('A', GW_PURPOSE_RESUME, 2);
    comes_bulk(2, 2);
    assert_int_equal(may_place(3), GW_OK); /* all begins anew */
}

static void expect_offered(bool is_offered)
{
    struct gw_target_figures figures;
    gw_target_figures(&target, now_ns, &figures);
    assert_int_equal(figures.can_run_anyway, is_offered);
}

static void what_is_whole_can(void **state)
{
    (void)state;
    reach(GW_TARGET_LOADING);
    expect_offered(false);
    reach(GW_TARGET_READY);
    expect_offered(true);
    happens(GW_TARGET_EV_RUN_ANYWAY);
    expect_state(GW_TARGET_CLAIMING);
    expect_offered(false);
}

static void what_lacks_cannot_be_run_by_an_operator(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    reach(GW_TARGET_ARMING);
    happens(GW_TARGET_EV_ARMED);
    happens(GW_TARGET_EV_LOADED);
    expect_state(GW_TARGET_READY);
    expect_offered(false);
    assert_int_equal(tell((struct gw_target_event){.type = GW_TARGET_EV_RUN_ANYWAY}, &fault),
                     GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "2 pages of the guest's memory are only on the source"));
    expect_state(GW_TARGET_READY);
    happens(GW_TARGET_EV_GIVE_UP);
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(done[GW_TARGET_DO_DISARM], 1);
    expect_state(GW_TARGET_LISTENING);
}

static void a_source_that_resumes_disarms(void **state)
{
    (void)state;
    reach(GW_TARGET_ARMING);
    happens(GW_TARGET_EV_ARMED);
    happens(GW_TARGET_EV_LOADED);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('A', GW_PURPOSE_RESUME, 2);
    expect_state(GW_TARGET_ACTIVE);
    assert_int_equal(done[GW_TARGET_DO_DISARM], 1);
    comes_bulk(2, 2);
    comes_urgent(2);
    hears_prepare(2, 2); /* and now all at once: two pages lack */
    expect_state(GW_TARGET_ABORTING);
}

/* Its state touched a page when it was loaded; then the source came back, and everything began
 * anew. */
static void a_guest_that_was_taken_back_demands_nothing(void **state)
{
    uint64_t page = 0;
    (void)state;
    reach(GW_TARGET_ARMING);
    happens(GW_TARGET_EV_ARMED);
    assert_int_equal(gw_target_page_fault(&target, MISSING_A, THREAD, now_ns), GW_FAULT_WAIT);
    happens(GW_TARGET_EV_LOADED);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('A', GW_PURPOSE_RESUME, 2);
    comes_bulk(2, 2);
    comes_urgent(2);
    gw_target_urgent_ready(&target);
    assert_int_equal(gw_target_next_demand(&target, &page), GW_AGAIN);
}

static void a_link_lost_while_it_starts_strands_it(void **state)
{
    (void)state;
    reach(GW_TARGET_ARMING);
    happens(GW_TARGET_EV_ARMED);
    happens(GW_TARGET_EV_LOADED);
    hears_verdict(GW_FRAME_COMMIT, 1);
    happens(GW_TARGET_EV_RECORDED);
    happens(GW_TARGET_EV_LINK_LOST);
    expect_state(GW_TARGET_STARTING);
    happens(GW_TARGET_EV_STARTED);
    expect_state(GW_TARGET_STRANDED);
}

static void a_page_that_comes_before_the_start_is_told_counts(void **state)
{
    (void)state;
    reach(GW_TARGET_ARMING);
    happens(GW_TARGET_EV_ARMED);
    happens(GW_TARGET_EV_LOADED);
    hears_verdict(GW_FRAME_COMMIT, 1);
    happens(GW_TARGET_EV_RECORDED);
    gw_target_urgent_ready(&target);
    (void)gw_target_page_fault(&target, MISSING_A, THREAD, now_ns);
    (void)gw_target_page_fault(&target, MISSING_B, THREAD + 1, now_ns);
    comes_on_demand(1, MISSING_A);
    comes_on_demand(2, MISSING_B);
    expect_state(GW_TARGET_STARTING);
    happens(GW_TARGET_EV_STARTED);
    expect_state(GW_TARGET_RUNNING);
    assert_int_equal(said[GW_FRAME_RUNNING], 1);
    assert_int_equal(said[GW_FRAME_COMPLETE], 1);
}

static void a_stranded_guest_is_lost_after_its_time(void **state)
{
    (void)state;
    reach(GW_TARGET_STRANDED);
    uint64_t stranded_ns = now_ns;
    now_ns = gw_target_deadline(&target);
    assert_int_equal(now_ns - stranded_ns, 3600000 * MS);
    happens(GW_TARGET_EV_TICK);
    expect_state(GW_TARGET_LOST);
    assert_non_null(strstr(gw_target_fault(&target)->text, "2 pages of its memory never came"));
    assert_int_equal(done[GW_TARGET_DO_DISARM], 0); /* nobody may read zeros for what lacks */
    comes('A', GW_PURPOSE_SETTLE, 5);
    assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_LOST);
}

/* The time with a link does not count; a page that comes begins a new wait. */
static void a_link_that_brings_nothing_is_no_progress(void **state)
{
    (void)state;
    reach(GW_TARGET_STRANDED);
    now_ns += 3000000 * MS;
    comes('A', GW_PURPOSE_SETTLE, 5);
    expect_state(GW_TARGET_PULLING);
    now_ns += 9000000 * MS;
    happens(GW_TARGET_EV_LINK_LOST);
    assert_in_range(gw_target_deadline(&target) - now_ns, 599000 * MS, 600000 * MS);
    comes('A', GW_PURPOSE_SETTLE, 6);
    comes_bulk(6, target.channel[0].sequence);
    comes_urgent(6);
    gw_target_urgent_ready(&target);
    (void)gw_target_page_fault(&target, MISSING_A, THREAD, now_ns);
    comes_on_demand(1, MISSING_A);
    happens(GW_TARGET_EV_LINK_LOST);
    expect_state(GW_TARGET_STRANDED);
    assert_int_equal(gw_target_deadline(&target) - now_ns, 3600000 * MS);
}

static void breaks(const char *how)
{
    struct gw_fault fault = {.status = GW_LINK};
    strcpy(fault.text, how);
    assert_int_equal(
        tell((struct gw_target_event){.type = GW_TARGET_EV_LINK_LOST, .fault = &fault}, NULL),
        GW_OK);
    drain();
}

/* Each lost link is told with its own reason, and none once it is back. */
static void a_link_that_is_back_is_no_fault_any_more(void **state)
{
    (void)state;
    reach(GW_TARGET_PULLING);
    breaks("a cable was pulled");
    expect_state(GW_TARGET_STRANDED);
    comes('A', GW_PURPOSE_SETTLE, 5);
    expect_state(GW_TARGET_PULLING);
    assert_int_equal(gw_target_fault(&target)->status, GW_OK);
    breaks("a modem booted");
    expect_state(GW_TARGET_STRANDED);
    assert_string_equal(gw_target_fault(&target)->text, "a modem booted");
    happens(GW_TARGET_EV_GIVE_UP);
    expect_state(GW_TARGET_LOST);
}

static void a_held_guest_whose_source_is_back_has_no_fault(void **state)
{
    (void)state;
    reach(GW_TARGET_READY);
    breaks("a cable was pulled");
    assert_int_equal(gw_target_fault(&target)->status, GW_LINK);
    comes('A', GW_PURPOSE_SETTLE, 5);
    expect_state(GW_TARGET_READY);
    assert_int_equal(gw_target_fault(&target)->status, GW_OK);
}

static void a_restarted_target_says_that_it_is_lost(void **state)
{
    struct gw_target_config config;
    (void)state;
    reach(GW_TARGET_PULLING);
    config = target.config;
    config.history = last_history;
    gw_target_init(&target, &config);
    happens(GW_TARGET_EV_START);
    happens(GW_TARGET_EV_RECORDED);
    comes('A', GW_PURPOSE_SETTLE, 5);
    assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_LOST);
    assert_int_equal(last_turned_away.welcome.epoch, 1);
    expect_state(GW_TARGET_LISTENING);
}

static void prepare_comes_behind_all_batches_or_is_refused(void **state)
{
    (void)state;
    reach(GW_TARGET_ACTIVE);
    places(1, 0, PAGES, false);
    assert_int_equal(may_place(2), GW_OK); /* and its bytes are on their way into RAM */
    forget_actions();
    hears_prepare(1, 1);
    assert_int_equal(done[GW_TARGET_DO_LOAD], 0);
    assert_int_equal(done[GW_TARGET_DO_ARM], 0);
    expect_state(GW_TARGET_LISTENING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepare_comes_behind_all_batches_or_is_refused),
        cmocka_unit_test(it_runs_without_all_and_tells_when_it_has),
        cmocka_unit_test(what_was_sent_and_is_dirty_again_is_not_here),
        cmocka_unit_test(a_page_is_demanded_once),
        cmocka_unit_test(only_what_was_demanded_may_come_on_the_urgent_channel),
        cmocka_unit_test(a_new_channel_is_asked_for_all_that_is_waited_for),
        cmocka_unit_test(the_urgent_channel_may_come_before_the_bulk_channels),
        cmocka_unit_test(channels_of_others_do_not_come_in),
        cmocka_unit_test(what_was_under_way_at_the_end_is_read_and_dropped),
        cmocka_unit_test(a_map_that_says_otherwise_than_prepare_is_refused),
        cmocka_unit_test(nothing_comes_behind_the_map_before_the_guest_runs),
        cmocka_unit_test(what_lacks_cannot_be_run_by_an_operator),
        cmocka_unit_test(what_is_whole_can),
        cmocka_unit_test(a_source_that_resumes_disarms),
        cmocka_unit_test(a_guest_that_was_taken_back_demands_nothing),
        cmocka_unit_test(a_link_lost_while_it_starts_strands_it),
        cmocka_unit_test(a_page_that_comes_before_the_start_is_told_counts),
        cmocka_unit_test(a_stranded_guest_is_lost_after_its_time),
        cmocka_unit_test(a_link_that_brings_nothing_is_no_progress),
        cmocka_unit_test(a_link_that_is_back_is_no_fault_any_more),
        cmocka_unit_test(a_held_guest_whose_source_is_back_has_no_fault),
        cmocka_unit_test(a_restarted_target_says_that_it_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
