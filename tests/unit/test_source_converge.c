/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that dirties memory faster than the link carries it: the source slows it down, and has a
 * deadline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"

static uint32_t throttle_percent; /* as it was asked for last */
static uint32_t throttle_count;
static uint64_t batch_ns; /* how long one takes to the target */
static uint32_t further;  /* how often that was explained */

static void take_actions(void)
{
    struct gw_source_action action;
    while (gw_source_next(&source, &action) == GW_OK) {
        note(&action);
        if (action.type == GW_SOURCE_DO_THROTTLE) {
            throttle_percent = action.throttle_percent;
            throttle_count++;
        }
        further += action.type == GW_SOURCE_DO_EXPLAIN && action.choice == GW_CHOICE_FURTHER;
    }
}

static void happens_here(struct gw_source_event event)
{
    assert_int_equal(tell(event, NULL), GW_OK);
    take_actions();
}

/* Given a source in its first round, with a downtime limit that nothing fits into. */
static void given_active(void)
{
    throttle_percent = throttle_count = further = 0;
    batch_ns = 0;
    reach(GW_SOURCE_TRACKING);
    gw_source_set_limits(&source, 0, 0, 0);
    dirty(0xffff);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TRACKED, .bitmap = bitmap});
}

/* When a round sends what was dirty, and the guest has dirtied these pages meanwhile. */
static void when_a_round_passes(uint64_t pages)
{
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    while (gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns) == GW_OK) {
        uint64_t count = 0;
        for (uint32_t i = 0; i < batch.run_count; i++) {
            count += batch.run[i].count;
        }
        now_ns += batch_ns;
        happens_here((struct gw_source_event){
            .type = GW_SOURCE_EV_BATCH_SENT,
            .sent = {.sequence = batch.sequence,
                     .raw_pages = batch.kind == GW_BATCH_PAGES ? count : 0,
                     .zero_pages = batch.kind == GW_BATCH_PAGES ? 0 : count,
                     .wire_bytes = 100}});
        struct gw_message ack = {.type = GW_FRAME_ACK, .ack = {.sequence = batch.sequence}};
        happens_here((struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &ack});
    }
    dirty(pages);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_COLLECTED, .bitmap = bitmap});
}

static void a_guest_that_is_too_fast_is_slowed_down(void **state)
{
    (void)state;
    given_active();
    source.config.throttle = (struct gw_throttle){true, 50, 20, 10, 99, false};
    when_a_round_passes(0xffff); /* 16 of 100 pages */
    assert_int_equal(throttle_count, 0);
    when_a_round_passes(0xffff);         /* 16 of 16 */
    assert_int_equal(throttle_count, 0); /* once may be chance */
    static const uint32_t wanted[] = {20, 30, 40, 50, 60, 70, 80, 90, 99};
    when_a_round_passes(0xffff);
    assert_int_equal(throttle_percent, 20);
    for (size_t i = 1; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        when_a_round_passes(0xffff);
        when_a_round_passes(0xffff);
        assert_int_equal(throttle_percent, wanted[i]);
    }
    when_a_round_passes(0xffff);
    when_a_round_passes(0xffff);
    assert_int_equal(throttle_percent, 99); /* and no more */
    assert_int_equal(throttle_count, 9);
    struct gw_source_figures figures;
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(figures.throttle_percent, 99);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_CANCEL});
    assert_int_equal(throttle_percent, 0); /* it stays here, at its own speed */
}

static void slow_at_the_tail_is_no_slower_than_need_be(void **state)
{
    (void)state;
    given_active();
    source.config.throttle = (struct gw_throttle){true, 50, 20, 10, 99, true};
    for (int round = 0; round < 3; round++) {
        when_a_round_passes(0xffff);
    }
    assert_int_equal(throttle_percent, 20);
    when_a_round_passes(0xffff);
    when_a_round_passes(0x1ff); /* 9 of 16, where 8 would do: of its 80 % 71 are enough */
    assert_int_equal(throttle_percent, 29);
    when_a_round_passes(0xffff);
    when_a_round_passes(0xffff); /* 16 of 16: half of its 71 %, but no more than 10 at once */
    assert_int_equal(throttle_percent, 39);
}

static void a_guest_that_dirties_little_keeps_its_speed(void **state)
{
    (void)state;
    given_active();
    source.config.throttle = (struct gw_throttle){true, 50, 20, 10, 99, false};
    uint64_t pages = 0xffff;
    for (int round = 0; round < 20; round++) {
        when_a_round_passes(pages);
        pages = round % 2 ? 0xffff : 0xf; /* every other round dirties a quarter of what it sends */
    }
    assert_true(throttle_percent < 99);
    given_active();
    for (int round = 0; round < 20; round++) {
        when_a_round_passes(0xffff); /* nobody asked for slowing down */
    }
    assert_int_equal(throttle_count, 0);
}

static void a_lost_link_gives_the_guest_its_speed_until_it_is_back(void **state)
{
    (void)state;
    given_active();
    source.config.throttle = (struct gw_throttle){true, 50, 20, 10, 99, false};
    for (int round = 0; round < 4; round++) {
        when_a_round_passes(0xffff);
    }
    uint32_t before = throttle_percent;
    assert_true(before > 0);
    static const struct gw_fault lost = {.status = GW_LINK, .text = "cut"};
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_LINK_LOST, .fault = &lost});
    assert_int_equal(throttle_percent, 0);
    assert_int_equal(source.state, GW_SOURCE_RETRY_WAITING);
    for (int is_back = 0; is_back < 2; is_back++) { /* nobody is there; then it is */
        now_ns = gw_source_deadline(&source);
        happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
        assert_int_equal(source.state, GW_SOURCE_RETRY_CONNECTING);
        happens_here((struct gw_source_event){
            .type = is_back ? GW_SOURCE_EV_LINK_UP : GW_SOURCE_EV_LINK_LOST, .fault = &lost});
        assert_int_equal(throttle_percent, 0);
    }
    const struct gw_message welcome = {
        .type = GW_FRAME_WELCOME,
        .welcome = {.version = GW_PROTOCOL_VERSION, .standing = GW_STANDING_OPEN}};
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &welcome});
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_BULK_UP});
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_int_equal(throttle_percent, before); /* as it had been found too fast for the link */
}

static void the_deadline_cancels(void **state)
{
    (void)state;
    static const enum gw_source_state before[] = {
        GW_SOURCE_CONNECTING,   GW_SOURCE_GREETING,      GW_SOURCE_NEGOTIATING,
        GW_SOURCE_OPENING,      GW_SOURCE_TRACKING,      GW_SOURCE_TRACKED,
        GW_SOURCE_ACTIVE,       GW_SOURCE_RETRY_WAITING, GW_SOURCE_RETRY_CONNECTING,
        GW_SOURCE_RETRY_ASKING, GW_SOURCE_RETRY_OPENING};
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        reach(before[i]);
        source.config.deadline_ns = 5000 * MS;
        uint64_t due_ns = source.start_ns + 5000 * MS;
        assert_true(gw_source_deadline(&source) <= due_ns);
        now_ns = due_ns - 2 * MS;
        if (before[i] == GW_SOURCE_ACTIVE) {
            happens(GW_SOURCE_EV_TICK);
            assert_int_equal(source.state, GW_SOURCE_ACTIVE); /* not before its time */
        }
        now_ns = due_ns;
        happens(GW_SOURCE_EV_TICK);
        assert_int_equal(source.state, GW_SOURCE_CANCELLED);
        assert_non_null(strstr(gw_source_fault(&source)->text, "the deadline of 5000 ms passed"));
    }
}

static void the_deadline_stops_and_copies(void **state)
{
    (void)state;
    given_active();
    source.config.deadline_ns = 10 * MS;
    source.config.on_deadline = GW_ON_DEADLINE_STOP;
    now_ns += 1000 * MS;
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    assert_int_equal(source.state, GW_SOURCE_ACTIVE); /* every page goes once first */
    assert_int_equal(gw_source_deadline(&source), UINT64_MAX);
    when_a_round_passes(0xffff);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);

    given_active();
    source.config.deadline_ns = 5000 * MS;
    source.config.on_deadline = GW_ON_DEADLINE_STOP;
    when_a_round_passes(0xffff);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    now_ns = gw_source_deadline(&source); /* in the middle of the second round */
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
    assert_int_equal(gw_pages_remaining(&source.pages), 16); /* they go while it stands still */
}

/* ---- What fits, and could be less ---- */

static void given_a_slow_link(uint64_t downtime_ms)
{
    given_active();
    gw_source_set_limits(&source, downtime_ms * MS, 0, 0);
    batch_ns = 100 * MS; /* 16 pages go in one, the holes behind them in another */
}

static void what_fits_goes_on_while_that_shortens_the_stop(void **state)
{
    (void)state;
    given_a_slow_link(300);
    when_a_round_passes(0x3f); /* 6 pages fit; at 30 a second, less than half of them come again */
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_int_equal(source.rounds, 2);
    assert_int_equal(further, 1);
    when_a_round_passes(0xffff); /* at 160 a second all would */
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
    assert_int_equal(further, 1);
}

static void a_fast_guest_leaves_as_soon_as_it_fits(void **state)
{
    (void)state;
    given_a_slow_link(300);
    when_a_round_passes(0xffffff); /* 24 in 200 ms */
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
    assert_int_equal(source.rounds, 1);
}

static void a_long_handover_hides_what_a_round_would_gain(void **state)
{
    (void)state;
    given_a_slow_link(1000);
    source.config.handover_ns = 400 * MS;
    when_a_round_passes(0x3f); /* 75 ms */
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

/* What fits goes before the deadline would do something else about it. */
static void near_the_deadline_it_leaves_at_once(void **state)
{
    (void)state;
    given_a_slow_link(300);
    source.config.deadline_ns = now_ns - source.start_ns + 270 * MS;
    when_a_round_passes(0x3f); /* 200 ms; another would take 40 ms at least */
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

/* After a wait nothing is known of the guest's speed. */
static void a_look_after_a_wait_is_no_round(void **state)
{
    (void)state;
    given_a_slow_link(300);
    source.config.is_pausing = true;
    source.further_rounds = GW_FURTHER_ROUNDS_MAX;
    when_a_round_passes(0x3f);
    assert_int_equal(source.state, GW_SOURCE_PRE_SWITCHOVER);
    source.further_rounds = 0;
    happens(GW_SOURCE_EV_CONTINUE);
    dirty(0x3f);
    happens(GW_SOURCE_EV_COLLECTED);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void further_rounds_come_to_an_end(void **state)
{
    (void)state;
    given_a_slow_link(300);
    source.further_rounds = GW_FURTHER_ROUNDS_MAX - 1;
    when_a_round_passes(0x3f);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_int_equal(source.further_rounds, GW_FURTHER_ROUNDS_MAX);

    given_a_slow_link(300);
    source.further_rounds = GW_FURTHER_ROUNDS_MAX;
    when_a_round_passes(0x3f);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void a_guest_that_left_in_time_has_no_deadline(void **state)
{
    (void)state;
    for (int at = GW_SOURCE_LEAVING; at <= GW_SOURCE_HELD; at++) {
        reach((enum gw_source_state)at);
        source.config.deadline_ns = 1;
        enum gw_source_state before = source.state;
        happens(GW_SOURCE_EV_TICK);
        assert_int_equal(source.state, before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_that_is_too_fast_is_slowed_down),
        cmocka_unit_test(slow_at_the_tail_is_no_slower_than_need_be),
        cmocka_unit_test(a_guest_that_dirties_little_keeps_its_speed),
        cmocka_unit_test(a_lost_link_gives_the_guest_its_speed_until_it_is_back),
        cmocka_unit_test(the_deadline_cancels),
        cmocka_unit_test(what_fits_goes_on_while_that_shortens_the_stop),
        cmocka_unit_test(a_fast_guest_leaves_as_soon_as_it_fits),
        cmocka_unit_test(a_long_handover_hides_what_a_round_would_gain),
        cmocka_unit_test(near_the_deadline_it_leaves_at_once),
        cmocka_unit_test(a_look_after_a_wait_is_no_round),
        cmocka_unit_test(further_rounds_come_to_an_end),
        cmocka_unit_test(the_deadline_stops_and_copies),
        cmocka_unit_test(a_guest_that_left_in_time_has_no_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
