/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source in postcopy: what it sends before the switch, what it pushes and what it answers
 * after it, and what it has still to send after a lost link. RAM has 100 pages; the guest touched
 * those of `bitmap`, the rest is one long hole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"

enum { TOUCHED = 8 };

static void accepts(uint32_t capabilities)
{
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {capabilities, 0, 1}});
}

static void reach_active(void)
{
    reach(GW_SOURCE_NEGOTIATING);
    accepts(GW_CAN_POSTCOPY);
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    expect_state(GW_SOURCE_ACTIVE);
}

static enum gw_status wishes(enum gw_source_event_type type, struct gw_fault *fault)
{
    enum gw_status status = tell((struct gw_source_event){.type = type}, fault);
    drain();
    return status;
}

/* ---- Up to the switch ---- */

static void it_tells_of_holes_and_keeps_the_pages_for_later(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach_active();
    happens(GW_SOURCE_EV_POSTCOPY);
    assert_true(next(&batch));
    assert_int_equal(batch.kind, GW_BATCH_HOLES);
    assert_int_equal(batch.run[0].page, TOUCHED);
    assert_int_equal(batch.run[0].count, 100 - TOUCHED);
    assert_false(next(&batch));
    sent(1);
    expect_state(GW_SOURCE_ACTIVE); /* not before it is acknowledged */
    hears_ack(1);
    expect_state(GW_SOURCE_LEAVING);
    assert_int_equal(source.pages.dirty_count, TOUCHED);
}

static void what_is_dirty_at_the_stop_is_told_and_prepared(void **state)
{
    (void)state;
    struct gw_batch batch;
    reach_active();
    happens(GW_SOURCE_EV_POSTCOPY);
    pages_go(true);
    happens(GW_SOURCE_EV_RECORDED);
    happens(GW_SOURCE_EV_STOPPED);
    bitmap[0] = UINT64_C(1) << 20; /* a hole that was filled meanwhile */
    happens(GW_SOURCE_EV_COLLECTED);
    expect_state(GW_SOURCE_FINISHING);
    assert_true(next(&batch));
    assert_int_equal(batch.kind, GW_BATCH_MAP);
    assert_int_equal(gw_source_missing(&source)[0], 0xff | UINT64_C(1) << 20);
    assert_false(next(&batch));
    sent(batch.sequence);
    expect_state(GW_SOURCE_PREPARED);
    assert_true(last_said.type == GW_FRAME_PREPARE && last_said.prepare.is_postcopy);
    assert_int_equal(last_said.prepare.missing_pages, TOUCHED + 1);
    assert_int_equal(last_said.prepare.sequence_last[0], batch.sequence);
}

static void with_nothing_dirty_it_is_a_precopy(void **state)
{
    (void)state;
    reach_active();
    pages_go(true); /* every page was sent */
    expect_state(GW_SOURCE_ACTIVE);
    dirty(0);
    assert_int_equal(wishes(GW_SOURCE_EV_POSTCOPY, NULL), GW_OK);
    happens(GW_SOURCE_EV_COLLECTED);
    happens(GW_SOURCE_EV_RECORDED);
    happens(GW_SOURCE_EV_STOPPED);
    happens(GW_SOURCE_EV_COLLECTED);
    expect_state(GW_SOURCE_PREPARED);
    assert_false(last_said.prepare.is_postcopy);
    hears_verdict(GW_FRAME_READY, 1);
    hears_verdict(GW_FRAME_RUNNING, 1);
    expect_state(GW_SOURCE_SETTLING);
}

static void a_link_lost_before_commit_costs_a_pause(void **state)
{
    (void)state;
    struct gw_batch batch;
    reach_active();
    happens(GW_SOURCE_EV_POSTCOPY);
    assert_true(next(&batch));
    sent(1); /* not acknowledged: told again */
    happens(GW_SOURCE_EV_LINK_LOST);
    expect_state(GW_SOURCE_RETRY_WAITING);
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_OPEN, 0);
    happens(GW_SOURCE_EV_BULK_UP);
    assert_true(next(&batch));
    assert_int_equal(batch.kind, GW_BATCH_HOLES);
    assert_int_equal(batch.run[0].count, 100 - TOUCHED);
}

/* MISSING goes by channel 0 and overtakes what the others have under way; and what comes back
 * damaged behind it would lack there, and be given back here. */
static void it_does_not_leave_while_pages_are_under_way(void **state)
{
    (void)state;
    struct gw_batch batch;
    reach_active();
    source.config.is_pausing = true;
    source.config.handover_ns = 100 * MS; /* no round more is worth while */
    source.config.deadline_ns = 5000 * MS;
    source.config.on_deadline = GW_ON_DEADLINE_STOP;
    gw_source_set_limits(&source, 0, 0, 0);
    pages_go(true);
    happens(GW_SOURCE_EV_COLLECTED);
    assert_true(next(&batch));
    sent(batch.sequence);
    now_ns = gw_source_deadline(&source); /* in the middle of the second round */
    happens(GW_SOURCE_EV_TICK);
    expect_state(GW_SOURCE_PRE_SWITCHOVER);
    gw_source_set_limits(&source, 300 * MS, 0, 0);
    assert_int_equal(wishes(GW_SOURCE_EV_POSTCOPY, NULL), GW_OK);
    assert_int_equal(wishes(GW_SOURCE_EV_CONTINUE, NULL), GW_OK);
    dirty(1);
    happens(GW_SOURCE_EV_COLLECTED); /* it fits, and yet */
    expect_state(GW_SOURCE_ACTIVE);
    hears_ack(batch.sequence);
    expect_state(GW_SOURCE_LEAVING);
}

static void a_target_that_cannot_is_told_apart(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    reach(GW_SOURCE_NEGOTIATING);
    happens(GW_SOURCE_EV_POSTCOPY);
    accepts(0);
    expect_state(GW_SOURCE_FAILED);
    assert_non_null(strstr(gw_source_fault(&source)->text, "userfaultfd"));
    reach(GW_SOURCE_NEGOTIATING);
    accepts(0);
    assert_int_equal(wishes(GW_SOURCE_EV_POSTCOPY, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "userfaultfd"));
    expect_state(GW_SOURCE_OPENING); /* and it goes on as it was */
}

static void the_deadline_switches_where_it_can(void **state)
{
    (void)state;
    for (int can = 0; can < 2; can++) {
        reach(GW_SOURCE_NONE);
        source.config.deadline_ns = 5000 * MS;
        source.config.on_deadline = GW_ON_DEADLINE_POSTCOPY;
        happens(GW_SOURCE_EV_START);
        happens(GW_SOURCE_EV_LINK_UP);
        hears_welcome(GW_STANDING_NEW, 0);
        accepts(can ? GW_CAN_POSTCOPY : 0);
        happens(GW_SOURCE_EV_BULK_UP);
        happens(GW_SOURCE_EV_TRACKED);
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        assert_int_equal(source.is_postcopy, can);
        pages_go(true);
        if (can == 0) {
            dirty(0xff);
            happens(GW_SOURCE_EV_COLLECTED); /* one whole round, then it stops and copies */
        }
        expect_state(GW_SOURCE_LEAVING);
    }
}

/* ---- After it ---- */

static void pages_are_pushed_and_the_end_is_the_targets_to_tell(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach(GW_SOURCE_PUSHING);
    assert_int_equal(gw_source_runner(&source), GW_RUNNER_TARGET);
    assert_true(next(&batch));
    assert_int_equal(batch.kind, GW_BATCH_PUSH);
    assert_true(batch.is_stopped);
    assert_int_equal(batch.run[0].count, TOUCHED);
    sent(batch.sequence);
    hears_ack(batch.sequence);
    assert_false(next(&batch));
    expect_state(GW_SOURCE_PUSHING);
    const struct gw_message complete = {
        .type = GW_FRAME_COMPLETE,
        .complete = {.epoch = 1, .waiting = {.blocktime_ns = 7 * MS, .faults = 9, .max_ns = MS}}};
    hears(&complete);
    expect_state(GW_SOURCE_SETTLING);
    assert_int_equal(last_record, GW_DEPARTURE_LEFT);
    assert_int_equal(last_said.type, GW_FRAME_DONE);
    struct gw_source_figures figures;
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(figures.waiting.blocktime_ns, 7 * MS);
    assert_int_equal(figures.waiting.faults, 9);
    assert_int_equal(figures.waiting.max_ns, MS);
}

static void a_demanded_page_goes_first_and_its_neighbours_next(void **state)
{
    struct gw_batch demanded;
    struct gw_batch batch;
    (void)state;
    reach(GW_SOURCE_PUSHING);
    assert_int_equal(gw_source_demand(&source, 4, &demanded, NULL), GW_OK);
    assert_true(demanded.run[0].page == 4 && demanded.run[0].count == 1);
    assert_false(next(&batch)); /* the bulk channel gives way */
    assert_int_equal(gw_source_demand(&source, 4, &demanded, NULL), GW_OK);
    const struct gw_batch_sent answer = {.raw_pages = 1, .wire_bytes = 4200};
    assert_false(gw_source_answered(&source, &answer)); /* another one is waited for */
    assert_true(gw_source_answered(&source, &answer));  /* now the bulk channel may ask again */
    assert_true(next(&batch));
    assert_int_equal(gw_source_demand(&source, 4, &demanded, NULL), GW_OK);
    assert_false(gw_source_answered(&source, &answer)); /* it never asked: nobody to wake */
    assert_true(batch.run[0].page == 5 && batch.run[0].count == 3);
    sent(batch.sequence);
    assert_true(next(&batch)); /* around, and not the demanded one again */
    assert_true(batch.run[0].page == 0 && batch.run[0].count == 4);
}

static void a_page_under_way_is_answered_again(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach(GW_SOURCE_PUSHING);
    assert_true(next(&batch));
    assert_int_equal(gw_source_demand(&source, 2, &batch, NULL), GW_OK);
    assert_int_equal(source.pages.dirty_count, 0);
}

static void demands_out_of_place_are_refused(void **state)
{
    struct gw_batch batch;
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        reach((enum gw_source_state)at);
        bool may_come = at == GW_SOURCE_PUSHING || at == GW_SOURCE_PUSH_OPENING;
        assert_int_equal(gw_source_demand(&source, 0, &batch, NULL),
                         may_come ? GW_OK : GW_PROTOCOL);
    }
    reach_held_postcopy(); /* it may run there already */
    assert_int_equal(gw_source_demand(&source, 0, &batch, NULL), GW_OK);
    assert_int_equal(gw_source_demand(&source, 100, &batch, &fault), GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "page 100 of 100"));
    assert_int_equal(gw_source_demand(&source, UINT64_MAX, &batch, NULL), GW_PROTOCOL);
}

static void limits_of_precopy_and_postcopy_are_apart(void **state)
{
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    (void)state;
    reach(GW_SOURCE_PUSHING);
    gw_source_set_limits(&source, 0, 1, 0); /* a byte a second: for precopy */
    assert_true(next(&batch));
    sent(batch.sequence);
    gw_source_set_limits(&source, 0, 0, 100);
    reach(GW_SOURCE_PUSHING);
    gw_source_set_limits(&source, 0, 0, 100);
    assert_true(next(&batch));
    sent(batch.sequence);
    assert_int_equal(gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns), GW_AGAIN);
    assert_true(retry_ns > now_ns && retry_ns <= now_ns + 1000 * MS);
    assert_int_equal(gw_source_demand(&source, 1, &batch, NULL), GW_OK); /* exempt */
}

/* ---- The link ---- */

/* True: it connects, and has not given up. */
static bool tries_again(void)
{
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    return source.state == GW_SOURCE_PUSH_CONNECTING;
}

static void comes_back(uint64_t received)
{
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_PULLING, 1);
    expect_state(GW_SOURCE_PUSH_OPENING);
    bitmap[0] = received;
    bitmap[1] = UINT64_MAX >> 28; /* 36 bits: up to page 99 */
    happens(GW_SOURCE_EV_RECONCILED);
    happens(GW_SOURCE_EV_BULK_UP);
    expect_state(GW_SOURCE_PUSHING);
}

static void recover(uint64_t received)
{
    assert_true(tries_again());
    comes_back(received);
}

static void only_what_was_not_received_is_sent_again(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach(GW_SOURCE_PUSHING);
    assert_true(next(&batch)); /* all eight are under way */
    sent(batch.sequence);
    happens(GW_SOURCE_EV_LINK_LOST);
    expect_state(GW_SOURCE_PUSH_WAITING);
    recover(~UINT64_C(0x81));
    assert_int_equal(source.pages.dirty_count, 2);
    assert_true(next(&batch));
    assert_int_equal(batch.sequence, source.pages.channel[0].sequence_acked + 1);
    assert_true(batch.run_count == 2 && batch.run[0].page == 0 && batch.run[1].page == 7);
    struct gw_source_figures figures;
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(figures.recoveries, 1);
}

static void a_target_that_has_all_needs_no_channel(void **state)
{
    (void)state;
    reach(GW_SOURCE_PUSH_ASKING);
    hears_welcome(GW_STANDING_RUNNING, 1);
    expect_state(GW_SOURCE_SETTLING);
    assert_int_equal(last_said.type, GW_FRAME_DONE);
}

static void running_heard_late_opens_the_channels_first(void **state)
{
    (void)state;
    reach_held_postcopy();
    happens(GW_SOURCE_EV_LINK_LOST);
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_READY, 1); /* COMMIT was lost: it is said again */
    expect_state(GW_SOURCE_HELD);
    forget_actions();
    hears_verdict(GW_FRAME_RUNNING, 1);
    expect_state(GW_SOURCE_PUSH_OPENING);
    assert_int_equal(done[GW_SOURCE_DO_CONNECT_BULK], 1);
}

static void a_link_that_stays_lost_loses_the_guest_after_its_time(void **state)
{
    (void)state;
    reach(GW_SOURCE_PUSH_WAITING);
    uint64_t lost_ns = source.lost_ns;
    for (int i = 0; i < 10000 && source.state != GW_SOURCE_LOST; i++) {
        if (tries_again()) {
            happens(GW_SOURCE_EV_LINK_LOST);
        }
    }
    expect_state(GW_SOURCE_LOST);
    assert_true(now_ns - lost_ns >= 3600000 * MS && now_ns - lost_ns < 3610000 * MS);
    assert_int_equal(gw_source_runner(&source), GW_RUNNER_TARGET);
    assert_non_null(strstr(gw_source_fault(&source)->text, "tried again for 3600 s"));
}

/* An answer that was written may never arrive; the time with a link does not count either. */
static void a_link_that_brings_nothing_is_no_progress(void **state)
{
    const struct gw_batch_sent answer = {.wire_bytes = 4096, .raw_pages = 1};
    struct gw_batch batch;
    uint64_t linked_ns = 0;
    (void)state;
    reach(GW_SOURCE_PUSH_WAITING);
    uint64_t lost_ns = source.lost_ns;
    for (int i = 0; i < 10000 && source.state != GW_SOURCE_LOST; i++) {
        if (tries_again()) {
            comes_back(~UINT64_C(0xff));
            assert_int_equal(gw_source_demand(&source, 0, &batch, NULL), GW_OK);
            (void)gw_source_answered(&source, &answer);
            now_ns += 10000 * MS;
            linked_ns += 10000 * MS;
            happens(GW_SOURCE_EV_LINK_LOST);
            assert_true(i < 8 || source.retry_ns == 2000 * MS);
        }
    }
    expect_state(GW_SOURCE_LOST);
    assert_in_range(now_ns - lost_ns - linked_ns, 3600000 * MS, 3610000 * MS);
}

/* What was demanded is not acknowledged: RECEIVED tells that it came. */
static void what_the_last_link_brought_is_progress(void **state)
{
    (void)state;
    reach(GW_SOURCE_PUSH_WAITING);
    recover(~UINT64_C(0xff));
    now_ns += 1000 * MS;
    happens(GW_SOURCE_EV_LINK_LOST);
    assert_true(source.lost_ns < now_ns && source.retry_ns > 20 * MS);
    recover(~UINT64_C(0x7f));
    assert_int_equal(source.lost_ns, 0);
    happens(GW_SOURCE_EV_LINK_LOST);
    assert_int_equal(source.lost_ns, now_ns);
    assert_int_equal(source.retry_ns, 20 * MS);
}

static void without_a_time_it_is_tried_for_ever(void **state)
{
    (void)state;
    reach(GW_SOURCE_PUSHING);
    source.config.recover_ns_max = 0;
    happens(GW_SOURCE_EV_LINK_LOST);
    for (int i = 0; i < 20000; i++) {
        uint64_t next_ns = gw_source_deadline(&source);
        if (source.state == GW_SOURCE_PUSH_WAITING) {
            assert_true(next_ns > now_ns && next_ns < UINT64_MAX); /* and no one spins */
            now_ns = next_ns;
            happens(GW_SOURCE_EV_TICK);
        }
        expect_state(GW_SOURCE_PUSH_CONNECTING);
        happens(GW_SOURCE_EV_LINK_LOST);
        expect_state(GW_SOURCE_PUSH_WAITING);
    }
}

static void a_guest_lost_there_is_kept_here_for_the_operator(void **state)
{
    (void)state;
    reach(GW_SOURCE_PUSH_ASKING);
    hears_welcome(GW_STANDING_LOST, 1);
    expect_state(GW_SOURCE_PUSH_WAITING);
    assert_non_null(strstr(gw_source_fault(&source)->text, "is lost there"));
    forget_actions();
    assert_int_equal(wishes(GW_SOURCE_EV_RUN_ANYWAY, NULL), GW_OK);
    expect_state(GW_SOURCE_FAILED);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);
    assert_int_equal(last_record, GW_DEPARTURE_KEPT);
}

/* ---- Wishes ---- */

static void wishes_that_cannot_be_are_refused_in_words(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_token token = {.session = {.id = {7}}, .epoch = 1, .who = 't'};
    (void)state;
    reach_active();
    source.config.is_verifying = true;
    assert_int_equal(wishes(GW_SOURCE_EV_POSTCOPY, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "--verify"));
    gw_fault_clear(&fault);
    reach_held_postcopy();
    assert_int_equal(wishes(GW_SOURCE_EV_GIVE_UP, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "has not all of the guest's memory"));
    gw_fault_clear(&fault);
    reach(GW_SOURCE_PUSH_WAITING);
    assert_int_equal(gw_source_check_token(&source, &token, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "has run on the target"));
    gw_fault_clear(&fault);
    reach(GW_SOURCE_PUSHING);
    assert_int_equal(wishes(GW_SOURCE_EV_RUN_ANYWAY, &fault), GW_ARGUMENT); /* it is linked */
    assert_int_equal(wishes(GW_SOURCE_EV_CANCEL, NULL), GW_ARGUMENT);
    assert_int_equal(wishes(GW_SOURCE_EV_POSTCOPY, NULL), GW_ARGUMENT);
}

static void expect_offered(enum gw_source_event_type wish, bool is_offered)
{
    struct gw_source_figures figures;
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(wish == GW_SOURCE_EV_GIVE_UP ? figures.can_give_up : figures.can_run_anyway,
                     is_offered);
    assert_int_equal(wishes(wish, NULL) == GW_OK, is_offered);
}

/* `resolve` offers what would be granted, and no more. */
static void what_an_operator_may_do_is_what_is_granted(void **state)
{
    (void)state;
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        bool is_parted = at >= GW_SOURCE_PUSH_WAITING && at <= GW_SOURCE_PUSH_OPENING;
        bool is_open = is_held((enum gw_source_state)at) || is_parted;
        reach((enum gw_source_state)at);
        expect_offered(GW_SOURCE_EV_GIVE_UP, is_open);
        reach((enum gw_source_state)at);
        expect_offered(GW_SOURCE_EV_RUN_ANYWAY, is_open);
    }
    reach_held_postcopy();
    expect_offered(GW_SOURCE_EV_GIVE_UP, false); /* pages lack there */
    expect_offered(GW_SOURCE_EV_RUN_ANYWAY, true);
    reach(GW_SOURCE_HELD);
    source.is_postcopy = true; /* switched, and nothing lacked */
    expect_offered(GW_SOURCE_EV_GIVE_UP, true);
    reach(GW_SOURCE_HELD);
    source.config.is_ram_shared = true;
    expect_offered(GW_SOURCE_EV_RUN_ANYWAY, false);
    reach(GW_SOURCE_PUSH_WAITING);
    source.release.released_count = 1;
    expect_offered(GW_SOURCE_EV_RUN_ANYWAY, false);
}

static void a_pause_lasts_until_it_is_ended(void **state)
{
    (void)state;
    reach(GW_SOURCE_PUSH_PAUSED);
    assert_true(gw_source_deadline(&source) == UINT64_MAX);
    assert_int_equal(wishes(GW_SOURCE_EV_RECOVER, NULL), GW_OK);
    expect_state(GW_SOURCE_PUSH_CONNECTING);
    assert_int_equal(wishes(GW_SOURCE_EV_PAUSE, NULL), GW_OK); /* while it connects, too */
    expect_state(GW_SOURCE_PUSH_PAUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_tells_of_holes_and_keeps_the_pages_for_later),
        cmocka_unit_test(what_is_dirty_at_the_stop_is_told_and_prepared),
        cmocka_unit_test(with_nothing_dirty_it_is_a_precopy),
        cmocka_unit_test(a_link_lost_before_commit_costs_a_pause),
        cmocka_unit_test(it_does_not_leave_while_pages_are_under_way),
        cmocka_unit_test(a_target_that_cannot_is_told_apart),
        cmocka_unit_test(the_deadline_switches_where_it_can),
        cmocka_unit_test(pages_are_pushed_and_the_end_is_the_targets_to_tell),
        cmocka_unit_test(a_demanded_page_goes_first_and_its_neighbours_next),
        cmocka_unit_test(a_page_under_way_is_answered_again),
        cmocka_unit_test(demands_out_of_place_are_refused),
        cmocka_unit_test(limits_of_precopy_and_postcopy_are_apart),
        cmocka_unit_test(only_what_was_not_received_is_sent_again),
        cmocka_unit_test(a_target_that_has_all_needs_no_channel),
        cmocka_unit_test(running_heard_late_opens_the_channels_first),
        cmocka_unit_test(a_link_that_stays_lost_loses_the_guest_after_its_time),
        cmocka_unit_test(a_link_that_brings_nothing_is_no_progress),
        cmocka_unit_test(what_the_last_link_brought_is_progress),
        cmocka_unit_test(without_a_time_it_is_tried_for_ever),
        cmocka_unit_test(a_guest_lost_there_is_kept_here_for_the_operator),
        cmocka_unit_test(wishes_that_cannot_be_are_refused_in_words),
        cmocka_unit_test(what_an_operator_may_do_is_what_is_granted),
        cmocka_unit_test(a_pause_lasts_until_it_is_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
