/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an operator, or the target's devices, have a word in a migration: the pause before the
 * switchover, the switchover's acknowledgement, what the engine chooses by itself and says so, and
 * the history of rounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"

static uint32_t explained[GW_CHOICE_PACKING + 1];

static void take_actions(void)
{
    struct gw_source_action action;
    while (gw_source_next(&source, &action) == GW_OK) {
        note(&action);
        if (action.type == GW_SOURCE_DO_EXPLAIN) {
            explained[action.choice]++;
        }
    }
}

static void happens_here(struct gw_source_event event)
{
    assert_int_equal(tell(event, NULL), GW_OK);
    take_actions();
}

/* Given a source that hands over as soon as what is left fits. */
static void given_no_further_rounds(void)
{
    source.further_rounds = GW_FURTHER_ROUNDS_MAX;
}

/* Given a source in its first round, 16 of whose 100 pages were touched, and a target that can do
 * what these bits say. */
static void given_active(uint32_t capabilities)
{
    memset(explained, 0, sizeof(explained));
    reach(GW_SOURCE_NEGOTIATING);
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {capabilities, 0, 1}});
    happens(GW_SOURCE_EV_BULK_UP);
    dirty(0xffff);
    happens(GW_SOURCE_EV_TRACKED);
    given_no_further_rounds();
    forget_actions();
}

/* When all that is dirty has gone, each batch taking so long, and the guest has dirtied these. */
static void when_a_round_passes(uint64_t took_ns, uint64_t pages)
{
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    while (gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns) == GW_OK) {
        uint64_t count = 0;
        for (uint32_t i = 0; i < batch.run_count; i++) {
            count += batch.run[i].count;
        }
        happens_here((struct gw_source_event){
            .type = GW_SOURCE_EV_BATCH_SENT,
            .sent = {.sequence = batch.sequence,
                     .raw_pages = batch.kind == GW_BATCH_PAGES ? count : 0,
                     .zero_pages = batch.kind == GW_BATCH_PAGES ? 0 : count,
                     .wire_bytes = 100}});
        now_ns += took_ns;
        struct gw_message ack = {.type = GW_FRAME_ACK, .ack = {.sequence = batch.sequence}};
        happens_here((struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &ack});
    }
    dirty(pages);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_COLLECTED, .bitmap = bitmap});
}

static void hears_switchover_ack(void)
{
    struct gw_message message = {.type = GW_FRAME_SWITCHOVER_ACK};
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &message});
}

/* ---- The operator's word ---- */

static void it_waits_before_the_switchover(void **state)
{
    (void)state;
    given_active(0);
    source.config.is_pausing = true;
    when_a_round_passes(0, 0x3);
    assert_int_equal(source.state, GW_SOURCE_PRE_SWITCHOVER);
    assert_string_equal(gw_source_status_name(source.state), "pre-switchover");
    assert_int_equal(gw_source_runner(&source), GW_RUNNER_SOURCE);
    assert_int_equal(done[GW_SOURCE_DO_RECORD], 0); /* nothing was stopped, or said to leave */
    pages_go(true);                                 /* and nothing goes meanwhile */
    assert_int_equal(gw_pages_remaining(&source.pages), 2);

    forget_actions();
    happens(GW_SOURCE_EV_CONTINUE);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_int_equal(done[GW_SOURCE_DO_COLLECT], 1); /* what changed meanwhile is looked at first */
    dirty(0x7);
    happens(GW_SOURCE_EV_COLLECTED);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void what_no_longer_fits_goes_in_another_round(void **state)
{
    (void)state;
    given_active(0);
    source.config.is_pausing = true;
    when_a_round_passes(100 * MS, 0x3); /* 16 pages in 100 ms */
    assert_int_equal(source.state, GW_SOURCE_PRE_SWITCHOVER);
    happens(GW_SOURCE_EV_CONTINUE);
    memset(bitmap, 0xff, sizeof(bitmap[0])); /* 64 pages are too much for 300 ms */
    happens(GW_SOURCE_EV_COLLECTED);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    when_a_round_passes(0, 0x1);
    assert_int_equal(source.state, GW_SOURCE_LEAVING); /* and it is not asked again */
}

static void continue_is_for_that_state_alone(void **state)
{
    (void)state;
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        struct gw_fault fault = {.status = GW_OK};
        reach((enum gw_source_state)at);
        enum gw_status status =
            tell((struct gw_source_event){.type = GW_SOURCE_EV_CONTINUE}, &fault);
        if (at == GW_SOURCE_PRE_SWITCHOVER) {
            assert_int_equal(status, GW_OK);
        } else {
            assert_int_equal(status, GW_ARGUMENT);
            assert_non_null(strstr(fault.text, "wanted pre-switchover"));
            assert_int_equal(source.state, at);
        }
        drain();
    }
}

static void while_it_waits_it_can_be_cancelled_or_lose_the_link(void **state)
{
    (void)state;
    reach(GW_SOURCE_PRE_SWITCHOVER);
    happens(GW_SOURCE_EV_CANCEL);
    assert_int_equal(source.state, GW_SOURCE_CANCELLED);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 0); /* it never stopped */

    reach(GW_SOURCE_PRE_SWITCHOVER);
    happens(GW_SOURCE_EV_LINK_LOST);
    assert_int_equal(source.state, GW_SOURCE_RETRY_WAITING);

    reach(GW_SOURCE_PRE_SWITCHOVER);
    source.config.deadline_ns = 1;
    happens(GW_SOURCE_EV_TICK);
    assert_int_equal(source.state, GW_SOURCE_CANCELLED);
}

static void a_postcopy_waits_too(void **state)
{
    (void)state;
    given_active(GW_CAN_POSTCOPY);
    source.config.is_pausing = true;
    happens(GW_SOURCE_EV_POSTCOPY);
    pages_go(true); /* its holes */
    assert_int_equal(source.state, GW_SOURCE_PRE_SWITCHOVER);
    happens(GW_SOURCE_EV_CONTINUE);
    dirty(0xff);
    happens(GW_SOURCE_EV_COLLECTED);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

/* ---- The target's devices ---- */

static void it_waits_for_the_targets_devices(void **state)
{
    (void)state;
    given_active(GW_WILL_ACK_SWITCHOVER);
    when_a_round_passes(0, 0x3);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_int_equal(explained[GW_CHOICE_WAIT_FOR_DEVICES], 1);
    forget_actions();
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    assert_int_equal(done[GW_SOURCE_DO_COLLECT], 0); /* it waits, it does not spin */
    assert_int_equal(explained[GW_CHOICE_WAIT_FOR_DEVICES], 1);
    assert_int_equal(explained[GW_CHOICE_FITS], 0); /* it is not handed over yet */
    hears_switchover_ack();
    assert_int_equal(done[GW_SOURCE_DO_COLLECT], 1); /* what fitted then may not fit now */
    happens(GW_SOURCE_EV_COLLECTED);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void devices_that_are_ready_early_keep_nobody_waiting(void **state)
{
    (void)state;
    reach(GW_SOURCE_NEGOTIATING);
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {GW_WILL_ACK_SWITCHOVER, 0, 1}});
    hears_switchover_ack();
    hears_switchover_ack(); /* again, after a lost link, say */
    assert_int_equal(source.state, GW_SOURCE_OPENING);
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    given_no_further_rounds();
    when_a_round_passes(0, 0x3);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void a_postcopy_waits_for_the_devices_too(void **state)
{
    (void)state;
    given_active(GW_WILL_ACK_SWITCHOVER | GW_CAN_POSTCOPY);
    happens(GW_SOURCE_EV_POSTCOPY);
    pages_go(true);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    hears_switchover_ack();
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void who_does_not_want_to_wait_does_not(void **state)
{
    (void)state;
    reach(GW_SOURCE_NEGOTIATING);
    source.config.is_ack_ignored = true;
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {GW_WILL_ACK_SWITCHOVER, 0, 1}});
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    given_no_further_rounds();
    when_a_round_passes(0, 0x3);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void an_acknowledgement_out_of_place_breaks_the_protocol(void **state)
{
    (void)state;
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        reach((enum gw_source_state)at);
        bool is_linked = source.is_linked;
        source.is_acked = false; /* none was heard, and one is wanted */
        hears_switchover_ack();
        if (is_legal[at][GW_SOURCE_EV_SWITCHOVER_ACK]) {
            assert_true(source.state == (enum gw_source_state)at && source.is_acked);
        } else if (is_linked) {
            assert_false(source.is_linked);
        } else {
            assert_int_equal(source.state, at);
        }
    }
}

/* The state that they had loaded is void: they may have to be made ready once more. */
static void after_a_lost_link_it_waits_for_the_devices_again(void **state)
{
    (void)state;
    given_active(GW_WILL_ACK_SWITCHOVER);
    hears_switchover_ack();
    when_a_round_passes(0, 0x3);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
    happens(GW_SOURCE_EV_LINK_LOST);
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_OPEN, 0);
    happens(GW_SOURCE_EV_BULK_UP);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    given_no_further_rounds();
    when_a_round_passes(0, 0x3);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    hears_switchover_ack();
    happens(GW_SOURCE_EV_COLLECTED); /* it looks again */
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void devices_that_never_are_ready_end_it(void **state)
{
    (void)state;
    given_active(GW_WILL_ACK_SWITCHOVER);
    source.throttle_percent = 30;
    when_a_round_passes(0, 0x3);
    assert_int_equal(source.throttle_percent, 0); /* nobody is kept slow for it */
    now_ns = gw_source_deadline(&source);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    assert_int_equal(source.state, GW_SOURCE_FAILED);
    assert_non_null(strstr(gw_source_fault(&source)->text, "devices were not ready within 60 s"));
}

static void a_long_wait_does_not_make_a_guest_look_fast(void **state)
{
    (void)state;
    given_active(GW_WILL_ACK_SWITCHOVER | GW_CAN_POSTCOPY);
    source.config.is_auto = true;
    source.config.throttle = (struct gw_throttle){false, 50, 20, 10, 99, false};
    gw_source_set_limits(&source, 4 * MS, 0, 0);
    when_a_round_passes(4 * MS, 0xffff); /* too much */
    when_a_round_passes(4 * MS, 0xffff); /* once may be chance */
    when_a_round_passes(4 * MS, 0x1);    /* it could go, but for the devices */
    assert_int_equal(explained[GW_CHOICE_WAIT_FOR_DEVICES], 1);
    now_ns += 30000 * MS;
    hears_switchover_ack();
    dirty(0xffffff); /* by half a minute */
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_COLLECTED, .bitmap = bitmap});
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_false(source.is_postcopy);
}

/* ---- Operators in a hurry ---- */

static void wishes_that_nobody_carries_out_pile_up_to_no_harm(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    reach(GW_SOURCE_PUSH_WAITING);
    uint32_t refused = 0;
    for (int i = 0; i < 200; i++) { /* no action is taken meanwhile */
        enum gw_source_event_type wish = i % 2 ? GW_SOURCE_EV_PAUSE : GW_SOURCE_EV_RECOVER;
        refused += tell((struct gw_source_event){.type = wish}, &fault) != GW_OK;
    }
    assert_true(refused > 100);
    assert_non_null(strstr(fault.text, "ask again"));
    take_actions();
    enum gw_source_event_type last =
        source.state == GW_SOURCE_PUSH_PAUSED ? GW_SOURCE_EV_RECOVER : GW_SOURCE_EV_PAUSE;
    assert_int_equal(tell((struct gw_source_event){.type = last}, NULL), GW_OK);
    take_actions();
}

/* ---- What it chooses ---- */

static void auto_slows_down_gently_and_then_goes_first(void **state)
{
    (void)state;
    given_active(GW_CAN_POSTCOPY);
    gw_source_set_limits(&source, 0, 0, 0);
    source.config.is_auto = true;
    source.config.throttle = (struct gw_throttle){true, 50, 20, 10, 99, false};
    for (int round = 0; round < 20 && !source.is_postcopy; round++) {
        when_a_round_passes(MS, 0xffff);
        assert_true(source.throttle_percent <= GW_AUTO_THROTTLE_PERCENT);
    }
    assert_true(source.is_postcopy);
    assert_int_equal(explained[GW_CHOICE_THROTTLE], 4); /* 20, 30, 40, 50 % */
    assert_int_equal(explained[GW_CHOICE_POSTCOPY_TOO_FAST], 1);
    assert_int_equal(source.throttle_percent, 0); /* there it runs at its own speed */
}

static void auto_without_throttling_goes_first_at_once(void **state)
{
    (void)state;
    given_active(GW_CAN_POSTCOPY);
    gw_source_set_limits(&source, 0, 0, 0);
    source.config.is_auto = true;
    source.config.throttle = (struct gw_throttle){false, 50, 20, 10, 99, false};
    when_a_round_passes(MS, 0xffff);
    when_a_round_passes(MS, 0xffff);
    assert_false(source.is_postcopy); /* once may be chance */
    when_a_round_passes(MS, 0xffff);
    assert_true(source.is_postcopy);
    assert_int_equal(explained[GW_CHOICE_THROTTLE], 0);
}

static void auto_without_postcopy_slows_down_further(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        given_active(i == 0 ? 0 : GW_CAN_POSTCOPY);
        gw_source_set_limits(&source, 0, 0, 0);
        source.config.is_auto = true;
        source.config.is_verifying = i == 1; /* all RAM is compared first */
        source.config.throttle = (struct gw_throttle){true, 50, 20, 10, 99, false};
        for (int round = 0; round < 30; round++) {
            when_a_round_passes(MS, 0xffff);
        }
        assert_false(source.is_postcopy);
        assert_int_equal(source.throttle_percent, 99);
        assert_int_equal(explained[GW_CHOICE_THROTTLE], 9);
    }
}

/* 16 pages a round, 100 ms each: 84 untouched ones are told of for nothing. */
static void given_measured(enum gw_on_deadline action, uint32_t capabilities)
{
    given_active(capabilities);
    gw_source_set_limits(&source, 0, 0, 0);
    source.config.on_deadline = action;
    for (int round = 0; round < 12; round++) {
        when_a_round_passes(200 * MS, 0xffff);
    }
    assert_true(gw_pace_is_measured(&source.pace));
}

static void a_deadline_takes_effect_early_enough(void **state)
{
    (void)state;
    static const struct {
        enum gw_on_deadline action;
        uint32_t capabilities;
        bool is_postcopy;
        enum gw_source_choice choice;
    } cases[] = {
        {GW_ON_DEADLINE_AUTO, GW_CAN_POSTCOPY, true, GW_CHOICE_POSTCOPY_DEADLINE},
        {GW_ON_DEADLINE_POSTCOPY, GW_CAN_POSTCOPY, true, GW_CHOICE_POSTCOPY_DEADLINE},
        {GW_ON_DEADLINE_POSTCOPY, 0, false, GW_CHOICE_STOP_DEADLINE},
        {GW_ON_DEADLINE_STOP, GW_CAN_POSTCOPY, false, GW_CHOICE_STOP_DEADLINE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        given_measured(cases[i].action, cases[i].capabilities);
        struct gw_source_figures figures;
        gw_source_figures(&source, now_ns, &figures);
        uint64_t left_ns = gw_pace_time_ns(&source.pace, figures.remaining_pages * 4096);
        source.config.deadline_ns = now_ns - source.start_ns + 10000 * MS;
        uint64_t due_ns = gw_source_deadline(&source);
        uint64_t end_ns = source.start_ns + source.config.deadline_ns;
        assert_true(left_ns > 0 && due_ns + left_ns < end_ns); /* and there is some to spare */
        now_ns = due_ns - 2 * MS;
        happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
        assert_int_equal(explained[cases[i].choice], 0);
        now_ns = due_ns;
        happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
        assert_int_equal(explained[cases[i].choice], 1);
        assert_int_equal(source.is_postcopy, cases[i].is_postcopy);
        assert_int_equal(source.state, GW_SOURCE_LEAVING);
        assert_int_equal(gw_source_deadline(&source), UINT64_MAX);
    }
}

/* A stop that looked due while the link was slow is not done when the link is fast again. */
static void a_stop_is_thought_over_after_each_round(void **state)
{
    (void)state;
    given_measured(GW_ON_DEADLINE_STOP, 0);
    source.is_late = true; /* by the speed of a while ago */
    source.config.deadline_ns = now_ns - source.start_ns + 60000 * MS;
    source.is_collecting = true;
    dirty(0xffff);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_COLLECTED, .bitmap = bitmap});
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_false(source.is_late);
}

static void auto_cancels_what_cannot_go_in_time(void **state)
{
    (void)state;
    given_measured(GW_ON_DEADLINE_AUTO, GW_CAN_POSTCOPY | GW_WILL_ACK_SWITCHOVER);
    source.config.deadline_ns = now_ns - source.start_ns + 5000 * MS;
    now_ns = gw_source_deadline(&source);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    assert_true(source.is_postcopy);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE); /* the devices are not ready */
    now_ns = source.start_ns + source.config.deadline_ns;
    assert_true(gw_source_deadline(&source) <= now_ns);
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    assert_int_equal(source.state, GW_SOURCE_CANCELLED);
}

static void the_pushs_own_limit_counts_for_the_deadline(void **state)
{
    (void)state;
    given_measured(GW_ON_DEADLINE_POSTCOPY, GW_CAN_POSTCOPY);
    source.config.deadline_ns = now_ns - source.start_ns + 60000 * MS;
    uint64_t at_full_speed = gw_source_deadline(&source);
    gw_source_set_limits(&source, 0, 0, 16 * 4096 / 10); /* 16 pages in ten seconds */
    assert_true(gw_source_deadline(&source) + 9000 * MS < at_full_speed);
}

static void a_deadline_that_cannot_be_met_otherwise_cancels(void **state)
{
    (void)state;
    given_measured(GW_ON_DEADLINE_AUTO, 0);
    source.config.deadline_ns = now_ns - source.start_ns + 1000 * MS;
    now_ns = gw_source_deadline(&source);
    assert_int_equal(now_ns, source.start_ns + source.config.deadline_ns); /* no sooner */
    happens_here((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    assert_int_equal(source.state, GW_SOURCE_CANCELLED);
}

static void a_first_guess_at_the_bandwidth_sets_no_deadline(void **state)
{
    (void)state;
    given_active(GW_CAN_POSTCOPY);
    gw_source_set_limits(&source, 0, 0, 0);
    source.config.on_deadline = GW_ON_DEADLINE_POSTCOPY;
    source.config.deadline_ns = now_ns - source.start_ns + 60000 * MS;
    when_a_round_passes(50 * MS, 0xffff); /* by that, 16 pages take a second */
    assert_false(source.is_postcopy);
}

/* ---- What the guest will feel ---- */

static void the_handover_counts_into_the_downtime(void **state)
{
    (void)state;
    struct gw_source_figures figures;
    given_active(0);
    gw_source_set_limits(&source, 120 * MS, 0, 0);
    when_a_round_passes(20 * MS, 0xffffff);            /* 16 pages took 22 ms */
    assert_int_equal(source.state, GW_SOURCE_LEAVING); /* 24 take 33, and 53 of round trips */
    given_active(0);
    gw_source_set_limits(&source, 120 * MS, 0, 0);
    source.config.handover_ns = 60 * MS;
    when_a_round_passes(20 * MS, 0xffffff);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE); /* but not into what the handover leaves */
    gw_source_figures(&source, now_ns, &figures);
    assert_true(figures.round_trip_ns >= 20 * MS && figures.round_trip_ns < 25 * MS);
    assert_int_equal(figures.handover_ns, 60 * MS + 5 * figures.round_trip_ns / 2);
    assert_true(figures.expected_downtime_ns > figures.handover_ns);
    assert_true(figures.threshold_bytes > 0 && figures.threshold_bytes < 24 * 4096);
}

static void a_limit_below_the_handover_is_said_and_does_not_keep_it_here(void **state)
{
    (void)state;
    given_active(0);
    source.config.handover_ns = 400 * MS;
    when_a_round_passes(MS, 0xffff);
    assert_int_equal(explained[GW_CHOICE_LIMIT_TOO_LOW], 1);
    when_a_round_passes(MS, 0x1);
    assert_int_equal(explained[GW_CHOICE_LIMIT_TOO_LOW], 1); /* once */
    assert_int_equal(explained[GW_CHOICE_FITS], 1);
    assert_int_equal(source.state, GW_SOURCE_LEAVING);
}

static void rounds_are_remembered(void **state)
{
    (void)state;
    struct gw_source_figures figures;
    given_active(0);
    gw_source_set_limits(&source, 0, 0, 0);
    for (int round = 0; round < 20; round++) {
        when_a_round_passes(MS, round < 5 ? 0xff : 0xf);
    }
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(figures.history_count, GW_SOURCE_ROUNDS_KEPT);
    assert_int_equal(figures.history[0].number, 20 - GW_SOURCE_ROUNDS_KEPT + 1); /* round 5 */
    assert_int_equal(figures.history[0].sent_pages, 8);
    assert_int_equal(figures.history[0].dirty_pages, 8);
    assert_int_equal(figures.history[15].number, 20);
    assert_int_equal(figures.history[15].sent_pages, 4);
    assert_int_equal(figures.history[15].dirty_pages, 4);
    assert_true(figures.history[15].took_ns >= MS && figures.history[15].bandwidth > 0);
}

static void the_last_rounds_are_remembered_too(void **state)
{
    (void)state;
    struct gw_source_figures figures;
    reach(GW_SOURCE_PREPARED);
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(figures.history_count, 2); /* the first, and the one while it stood still */
    assert_int_equal(figures.history[0].number, 1);
    assert_int_equal(figures.history[0].dirty_pages, 2);
    assert_int_equal(figures.history[1].number, 2);
    assert_int_equal(figures.history[1].dirty_pages, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_waits_before_the_switchover),
        cmocka_unit_test(what_no_longer_fits_goes_in_another_round),
        cmocka_unit_test(continue_is_for_that_state_alone),
        cmocka_unit_test(while_it_waits_it_can_be_cancelled_or_lose_the_link),
        cmocka_unit_test(a_postcopy_waits_too),
        cmocka_unit_test(it_waits_for_the_targets_devices),
        cmocka_unit_test(devices_that_are_ready_early_keep_nobody_waiting),
        cmocka_unit_test(a_postcopy_waits_for_the_devices_too),
        cmocka_unit_test(who_does_not_want_to_wait_does_not),
        cmocka_unit_test(an_acknowledgement_out_of_place_breaks_the_protocol),
        cmocka_unit_test(after_a_lost_link_it_waits_for_the_devices_again),
        cmocka_unit_test(devices_that_never_are_ready_end_it),
        cmocka_unit_test(a_long_wait_does_not_make_a_guest_look_fast),
        cmocka_unit_test(wishes_that_nobody_carries_out_pile_up_to_no_harm),
        cmocka_unit_test(auto_slows_down_gently_and_then_goes_first),
        cmocka_unit_test(auto_without_throttling_goes_first_at_once),
        cmocka_unit_test(auto_without_postcopy_slows_down_further),
        cmocka_unit_test(a_deadline_takes_effect_early_enough),
        cmocka_unit_test(a_stop_is_thought_over_after_each_round),
        cmocka_unit_test(auto_cancels_what_cannot_go_in_time),
        cmocka_unit_test(the_pushs_own_limit_counts_for_the_deadline),
        cmocka_unit_test(a_deadline_that_cannot_be_met_otherwise_cancels),
        cmocka_unit_test(a_first_guess_at_the_bandwidth_sets_no_deadline),
        cmocka_unit_test(the_handover_counts_into_the_downtime),
        cmocka_unit_test(a_limit_below_the_handover_is_said_and_does_not_keep_it_here),
        cmocka_unit_test(rounds_are_remembered),
        cmocka_unit_test(the_last_rounds_are_remembered_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
