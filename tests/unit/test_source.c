/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's machine: the good path, every event that has no place in a state, and floods. The
 * guest must go on here unless it was committed, and never after that but by the target's ABORTED
 * or an operator's word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/source_table.h"
#include "source_script.h"

/* ---- The good path ---- */

static void a_guest_moves(void **state)
{
    (void)state;
    fresh(true);
    happens(GW_SOURCE_EV_START);
    assert_int_equal(done[GW_SOURCE_DO_CONNECT], 1);
    happens(GW_SOURCE_EV_LINK_UP);
    assert_int_equal(said[GW_FRAME_INTRO], 1);
    hears_welcome(GW_STANDING_NEW, 0);
    assert_int_equal(said[GW_FRAME_HELLO], 1);
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {0, 0, 1}});
    assert_int_equal(done[GW_SOURCE_DO_CONNECT_BULK], 1);
    assert_int_equal(done[GW_SOURCE_DO_TRACK], 1);
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    assert_string_equal(gw_source_status_name(source.state), "active");
    pages_go(true);
    assert_int_equal(done[GW_SOURCE_DO_COLLECT], 1);
    dirty(0x1);
    happens(GW_SOURCE_EV_COLLECTED);
    assert_int_equal(last_record, GW_DEPARTURE_LEAVING);
    assert_int_equal(done[GW_SOURCE_DO_STOP], 0); /* recorded first */
    happens(GW_SOURCE_EV_RECORDED);
    assert_int_equal(done[GW_SOURCE_DO_STOP], 1);
    assert_int_equal(gw_source_runner(&source), GW_RUNNER_SOURCE);
    happens(GW_SOURCE_EV_STOPPED);
    assert_int_equal(gw_source_runner(&source), GW_RUNNER_NOBODY);
    happens(GW_SOURCE_EV_COLLECTED);
    pages_go(false); /* the last pages, and the digests */
    assert_int_equal(said[GW_FRAME_PREPARE], 0);
    hears_ack(source.pages.channel[0].sequence_sent);
    assert_int_equal(said[GW_FRAME_PREPARE], 1);
    assert_int_equal(last_said.prepare.epoch, 1);
    assert_true(last_said.prepare.sequence_last[0] == source.pages.channel[0].sequence_sent);
    hears_verdict(GW_FRAME_READY, 1);
    assert_int_equal(said[GW_FRAME_COMMIT], 1);
    assert_true(last_said.verdict.elapsed_ns > 0);
    hears_verdict(GW_FRAME_RUNNING, 1);
    assert_int_equal(said[GW_FRAME_DONE], 1);
    assert_int_equal(last_record, GW_DEPARTURE_LEFT);
    hears_verdict(GW_FRAME_DONE, 1);
    struct gw_source_figures figures;
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(figures.state, GW_SOURCE_COMPLETED);
    assert_true(figures.is_verified && figures.downtime_ns > 0 && figures.rounds == 2);
    assert_int_equal(done[GW_SOURCE_DO_FINISH], 1);
    assert_int_equal(done[GW_SOURCE_DO_UNTRACK], 1);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 0);
    assert_int_equal(gw_source_fault(&source)->status, GW_OK);
}

static void a_mismatch_that_is_heard_late_still_counts(void **state)
{
    (void)state;
    fresh(true);
    reach(GW_SOURCE_FINISHING);
    source.config.is_verifying = true;
    pages_go(true);
    pages_go(true);
    assert_int_equal(source.state, GW_SOURCE_PREPARED);
    struct gw_message message = {.type = GW_FRAME_MISMATCH,
                                 .mismatch = {.count = 100, .digest_source = 1}};
    hears(&message);
    struct gw_source_figures figures;
    gw_source_figures(&source, now_ns, &figures);
    assert_int_equal(figures.state, GW_SOURCE_FAILED);
    assert_false(figures.is_verified);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);
    assert_int_equal(gw_source_fault(&source)->status, GW_CORRUPT);
}

static void a_target_that_takes_nothing_does_not_keep_the_guest_stopped(void **state)
{
    (void)state;
    reach(GW_SOURCE_FINISHING);
    uint64_t first_ns = gw_source_deadline(&source);
    assert_true(first_ns != UINT64_MAX);
    now_ns += 20000 * MS;
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    source.config.is_verifying = true; /* more to come after this one */
    assert_int_equal(gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns), GW_OK);
    struct gw_source_event sent = {.type = GW_SOURCE_EV_BATCH_SENT,
                                   .sent = {.sequence = batch.sequence}};
    assert_int_equal(tell(sent, NULL), GW_OK);
    assert_true(gw_source_deadline(&source) > first_ns + 19000 * MS); /* it goes on: more time */
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    assert_int_equal(source.state, GW_SOURCE_FAILED);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);
    assert_int_equal(last_record, GW_DEPARTURE_KEPT);
    assert_non_null(strstr(gw_source_fault(&source)->text, "took none of the last pages for 30 s"));
}

static bool has_batch(void)
{
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    return gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns) == GW_OK;
}

/* Channels and tracker come up at the same time. Without the tracker's bitmap nobody knows what
 * to send; without the channels, where. */
static void pages_wait_for_the_channels_and_the_tracker(void **state)
{
    static const enum gw_source_event_type orders[][2] = {
        {GW_SOURCE_EV_BULK_UP, GW_SOURCE_EV_TRACKED}, {GW_SOURCE_EV_TRACKED, GW_SOURCE_EV_BULK_UP}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        reach(GW_SOURCE_OPENING);
        dirty(0x7);
        happens(orders[i][0]);
        assert_string_equal(gw_source_status_name(source.state), "setup");
        assert_false(has_batch());
        dirty(orders[i][1] == GW_SOURCE_EV_TRACKED ? 0x7 : 0); /* whose bitmap it is */
        happens(orders[i][1]);
        expect_state(GW_SOURCE_ACTIVE);
        assert_int_equal(gw_pages_remaining(&source.pages), 3);
        assert_true(has_batch());
    }
}

/* The log stays on for nobody. */
static void a_tracker_that_was_started_is_stopped(void **state)
{
    (void)state;
    for (enum gw_source_state at = GW_SOURCE_OPENING; at <= GW_SOURCE_TRACKED; at++) {
        reach(at);
        forget_actions();
        happens(GW_SOURCE_EV_LINK_LOST);
        expect_state(GW_SOURCE_FAILED);
        assert_int_equal(done[GW_SOURCE_DO_UNTRACK], 1);
    }
}

/* ---- Lost links ---- */

static void link_comes_back(void)
{
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    assert_int_equal(done[GW_SOURCE_DO_CONNECT], 1);
    happens(GW_SOURCE_EV_LINK_UP);
    assert_int_equal(last_said.intro.purpose, GW_PURPOSE_RESUME);
    hears_welcome(GW_STANDING_OPEN, 0);
    assert_int_equal(done[GW_SOURCE_DO_CONNECT_BULK], 1);
    happens(GW_SOURCE_EV_BULK_UP);
    assert_int_equal(source.state, GW_SOURCE_ACTIVE);
    assert_int_equal(gw_source_fault(&source)->status, GW_OK);
}

/* The target noticed first that the control connection was gone, and so knew nothing of the
 * channel. */
static void a_channel_that_is_refused_is_a_lost_link(void **state)
{
    static const struct gw_fault refused = {.status = GW_REFUSED,
                                            .text = "this channel belongs to no open session"};
    static const struct gw_fault breach = {.status = GW_PROTOCOL, .text = "that is no WELCOME"};
    (void)state;
    reach(GW_SOURCE_RETRY_OPENING);
    assert_int_equal(
        tell((struct gw_source_event){.type = GW_SOURCE_EV_LINK_LOST, .fault = &refused}, NULL),
        GW_OK);
    assert_string_equal(gw_source_state_name(source.state), "RETRY_WAITING");
    reach(GW_SOURCE_RETRY_OPENING);
    assert_int_equal(
        tell((struct gw_source_event){.type = GW_SOURCE_EV_LINK_LOST, .fault = &breach}, NULL),
        GW_OK);
    assert_string_equal(gw_source_state_name(source.state), "FAILED");
}

static void after_a_lost_link_only_what_was_not_acknowledged_goes_again(void **state)
{
    (void)state;
    fresh(false);
    dirty(UINT64_MAX);
    bitmap[1] = (UINT64_C(1) << 36) - 1; /* all 100 touched: batches of 64 and 36 pages */
    static const enum gw_source_event_type setup[] = {GW_SOURCE_EV_START, GW_SOURCE_EV_LINK_UP};
    happens(setup[0]);
    happens(setup[1]);
    hears_welcome(GW_STANDING_NEW, 0);
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {0, 0, 1}});
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    pages_go(false);
    uint64_t sent = source.pages.channel[0].sequence_sent;
    assert_true(sent >= 2);
    hears_ack(1);
    uint64_t acked = source.config.page_count - gw_pages_remaining(&source.pages);
    forget_actions();
    happens(GW_SOURCE_EV_LINK_LOST);
    assert_int_equal(gw_source_runner(&source), GW_RUNNER_SOURCE);
    assert_int_equal(source.resent_pages, source.config.page_count - acked);
    link_comes_back();
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    assert_int_equal(gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns), GW_OK);
    assert_int_equal(batch.sequence, 2); /* the number behind the one that was acknowledged */
    assert_int_equal(batch.run[0].page, acked);
}

static void leaves_again(void)
{
    link_comes_back();
    pages_go(true);
    assert_true(done[GW_SOURCE_DO_COLLECT] > 0); /* what became dirty meanwhile */
    dirty(0x1);
    source.further_rounds = GW_FURTHER_ROUNDS_MAX;
    happens(GW_SOURCE_EV_COLLECTED);
    expect_state(GW_SOURCE_LEAVING);
}

static void a_stopped_guest_goes_on_when_the_link_is_lost_and_moves_later(void **state)
{
    (void)state;
    static const enum gw_source_state stopped[] = {GW_SOURCE_STOPPING, GW_SOURCE_COLLECTING,
                                                   GW_SOURCE_FINISHING, GW_SOURCE_PREPARED};
    for (size_t i = 0; i < sizeof(stopped) / sizeof(stopped[0]); i++) {
        reach(stopped[i]);
        forget_actions();
        happens(GW_SOURCE_EV_LINK_LOST);
        if (stopped[i] == GW_SOURCE_STOPPING) {
            assert_int_equal(source.state, GW_SOURCE_PAUSING);
            happens(GW_SOURCE_EV_STOPPED);
        } else if (stopped[i] == GW_SOURCE_COLLECTING) {
            happens(GW_SOURCE_EV_COLLECTED); /* was asked for before the link was lost */
        }
        assert_int_equal(source.state, GW_SOURCE_RETRY_WAITING);
        assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);
        assert_int_equal(last_record, GW_DEPARTURE_KEPT);
        leaves_again();
        happens(GW_SOURCE_EV_RECORDED);
        happens(GW_SOURCE_EV_STOPPED);
        happens(GW_SOURCE_EV_COLLECTED);
        pages_go(true);
        assert_int_equal(last_said.type, GW_FRAME_PREPARE);
        assert_int_equal(last_said.prepare.epoch, 2); /* the first one's never comes to anything */
        hears_verdict(GW_FRAME_READY, 2);
        assert_int_equal(source.state, GW_SOURCE_HELD);
    }
}

/* Given a `kept` that is still being written when the guest leaves again, then each answer counts
 * for its record. Without `kept` a boot is refused that could be allowed: no reason to stay. */
static void a_late_answer_about_another_record_stops_nobody(void **state)
{
    (void)state;
    static const struct gw_fault full = {.status = GW_HOST, .text = "the disk is full"};
    for (int failed = 0; failed < 3; failed++) { /* none; the first; the second */
        reach(GW_SOURCE_COLLECTING);
        forget_actions();
        is_slow_to_store = true;
        happens(GW_SOURCE_EV_LINK_LOST);
        happens(GW_SOURCE_EV_COLLECTED);
        assert_int_equal(last_record, GW_DEPARTURE_KEPT);
        leaves_again();
        for (int answer = 1; answer <= 2; answer++) {
            expect_state(GW_SOURCE_LEAVING);
            struct gw_source_event stored = {.type = GW_SOURCE_EV_RECORDED,
                                             .fault = answer == failed ? &full : NULL};
            assert_int_equal(tell(stored, NULL), GW_OK);
            drain();
        }
        expect_state(failed == 2 ? GW_SOURCE_FAILED : GW_SOURCE_STOPPING);
    }
    assert_non_null(strstr(gw_source_fault(&source)->text, "the disk is full"));
}

static void a_source_that_finds_nobody_ends_after_its_time(void **state)
{
    (void)state;
    reach(GW_SOURCE_RETRY_WAITING);
    uint64_t lost_ns = now_ns;
    int tries = 0;
    while (source.state != GW_SOURCE_FAILED && tries++ < 1000) {
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        if (source.state == GW_SOURCE_RETRY_CONNECTING) {
            happens(GW_SOURCE_EV_LINK_LOST);
        }
    }
    assert_true(now_ns - lost_ns >= 60000 * MS && now_ns - lost_ns < 63000 * MS);
    assert_non_null(strstr(gw_source_fault(&source)->text, "it broke (tried again for 60 s)"));
    assert_int_equal(done[GW_SOURCE_DO_FINISH], 1);
    reach(GW_SOURCE_ACTIVE);
    source.config.resume_ns_max = 0;
    happens(GW_SOURCE_EV_LINK_LOST);
    assert_int_equal(source.state, GW_SOURCE_FAILED);
}

static void a_target_that_forgot_the_guest_is_not_tried_again(void **state)
{
    (void)state;
    static const enum gw_standing forgotten[] = {GW_STANDING_UNKNOWN, GW_STANDING_ABORTED};
    for (int i = 0; i < 2; i++) {
        reach(GW_SOURCE_RETRY_ASKING);
        hears_welcome(forgotten[i], UINT64_MAX);
        assert_int_equal(source.state, GW_SOURCE_FAILED);
        assert_int_not_equal(gw_source_fault(&source)->status, GW_OK);
    }
}

/* ---- Every peer message in every state ---- */

/* Where a peer that breaks the protocol leads: BREACH, or LINK_LOST; the state itself where neither
 * has a row. */
static enum gw_source_state lost_to[GW_SOURCE_STATE_COUNT];

static void expect_unmoved(enum gw_source_state before, const char *what)
{
    uint32_t asked = 0;
    for (size_t i = 0; i < sizeof(done) / sizeof(done[0]); i++) {
        asked += done[i];
    }
    if (source.state != before || asked > 0) {
        fail_msg("%s in %s led to %s with %u actions", what, gw_source_state_name(before),
                 gw_source_state_name(source.state), asked);
    }
}

static void expect_dropped(enum gw_source_state before, const struct gw_message *message)
{
    const char *what = gw_frame_type_name((uint8_t)message->type);
    if (source.state != lost_to[before] || done[GW_SOURCE_DO_CLOSE] == 0 || source.is_linked) {
        fail_msg("%s in %s led to %s, the link %s", what, gw_source_state_name(before),
                 gw_source_state_name(source.state), done[GW_SOURCE_DO_CLOSE] ? "closed" : "open");
    }
    assert_int_not_equal(gw_source_fault(&source)->text[0], 0);
    if (is_held(before)) {
        assert_int_equal(gw_source_runner(&source), GW_RUNNER_NOBODY);
        assert_int_equal(done[GW_SOURCE_DO_RESUME], 0);
    }
    if (before >= GW_SOURCE_SETTLING && before <= GW_SOURCE_SETTLING_AGAIN) {
        assert_int_equal(gw_source_runner(&source), GW_RUNNER_TARGET);
        assert_int_equal(done[GW_SOURCE_DO_RESUME], 0);
    }
    if (before >= GW_SOURCE_COLLECTING && before <= GW_SOURCE_PREPARED) {
        assert_int_equal(gw_source_runner(&source), GW_RUNNER_SOURCE);
        assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);
        assert_int_equal(last_record, GW_DEPARTURE_KEPT);
    }
}

static void learn_losses(void)
{
    for (int state = 0; state < GW_SOURCE_STATE_COUNT; state++) {
        lost_to[state] = (enum gw_source_state)state;
    }
#define LOST(from, event, to, step)                       \
    if (GW_SOURCE_EV_##event == GW_SOURCE_EV_LINK_LOST) { \
        lost_to[GW_SOURCE_##from] = GW_SOURCE_##to;       \
    }
    GW_SOURCE_TRANSITIONS(LOST)
#undef LOST
#define BROKEN(from, event, to, step)                  \
    if (GW_SOURCE_EV_##event == GW_SOURCE_EV_BREACH) { \
        lost_to[GW_SOURCE_##from] = GW_SOURCE_##to;    \
    }
    GW_SOURCE_TRANSITIONS(BROKEN)
#undef BROKEN
}

static void a_message_out_of_place_drops_the_link_and_no_guest(void **state)
{
    (void)state;
    uint32_t tried = 0;
    learn_losses();
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        for (uint32_t n = 0; n < PEER_MESSAGES; n++) {
            struct gw_message message = peer_message(n);
            reach((enum gw_source_state)at);
            enum gw_source_event_type event = event_of(&message);
            bool is_row = event != GW_SOURCE_EV_MESSAGE && is_legal[at][event];
            bool was_linked = source.is_linked;
            forget_actions();
            if (was_linked && is_row) {
                continue;
            }
            hears(&message);
            tried++;
            if (was_linked) {
                expect_dropped((enum gw_source_state)at, &message);
            } else {
                expect_unmoved((enum gw_source_state)at, gw_frame_type_name((uint8_t)message.type));
            }
        }
    }
    assert_true(tried > 800);
}

static void an_acknowledgement_of_nothing_drops_the_link_and_no_guest(void **state)
{
    (void)state;
    learn_losses();
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        for (int i = 0; i < 2; i++) {
            enum gw_source_event_type event = i ? GW_SOURCE_EV_ACK : GW_SOURCE_EV_SUSPECT;
            reach((enum gw_source_state)at);
            if (source.is_linked && is_legal[at][event]) {
                struct gw_message message = {.type = i ? GW_FRAME_ACK : GW_FRAME_SUSPECT,
                                             .ack = {.sequence = UINT64_MAX}};
                forget_actions();
                hears(&message);
                expect_dropped((enum gw_source_state)at, &message);
            }
        }
    }
}

static void what_the_operator_may_not_ask_is_refused_in_words(void **state)
{
    (void)state;
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        for (int event = GW_SOURCE_EV_START; event < GW_SOURCE_EV_LINK_UP; event++) {
            struct gw_fault fault = {.status = GW_OK};
            if (is_legal[at][event]) {
                continue;
            }
            reach((enum gw_source_state)at);
            forget_actions();
            struct gw_source_event asked = {.type = (enum gw_source_event_type)event};
            assert_int_equal(tell(asked, &fault), GW_ARGUMENT);
            assert_true(strlen(fault.text) > 20);
            drain();
            expect_unmoved((enum gw_source_state)at, fault.text);
        }
    }
}

static void what_the_host_says_too_late_is_ignored(void **state)
{
    (void)state;
    static const enum gw_source_event_type late[] = {
        GW_SOURCE_EV_LINK_UP, GW_SOURCE_EV_BULK_UP,    GW_SOURCE_EV_LINK_LOST,
        GW_SOURCE_EV_TRACKED, GW_SOURCE_EV_COLLECTED,  GW_SOURCE_EV_RECORDED,
        GW_SOURCE_EV_STOPPED, GW_SOURCE_EV_HOST_FAULT, GW_SOURCE_EV_BATCH_SENT,
        GW_SOURCE_EV_TICK,    GW_SOURCE_EV_RECONCILED};
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
            if (!is_legal[at][late[i]]) {
                reach((enum gw_source_state)at);
                forget_actions();
                happens(late[i]);
                expect_unmoved((enum gw_source_state)at, "a late word of the host");
            }
        }
    }
}

static void a_flood_of_any_message_overflows_nothing(void **state)
{
    (void)state;
    for (int at = 0; at < GW_SOURCE_STATE_COUNT; at++) {
        for (uint32_t n = 0; n < PEER_MESSAGES; n++) {
            struct gw_message message = peer_message(n);
            reach((enum gw_source_state)at);
            for (int i = 0; i < 1000; i++) { /* nobody takes an action meanwhile */
                struct gw_source_event event = {.type = GW_SOURCE_EV_MESSAGE, .message = &message};
                assert_int_equal(tell(event, NULL), GW_OK);
            }
            assert_true(source.action_count <= GW_SOURCE_ACTIONS_MAX / 2);
        }
    }
}

/* ---- Held ---- */

static void a_held_guest_runs_here_only_by_word(void **state)
{
    (void)state;
    for (int at = GW_SOURCE_HELD; at <= GW_SOURCE_HELD_ASKING; at++) {
        reach((enum gw_source_state)at);
        forget_actions();
        happens(GW_SOURCE_EV_RUN_ANYWAY);
        assert_int_equal(source.state, GW_SOURCE_FAILED);
        assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);
        assert_int_equal(last_record, GW_DEPARTURE_KEPT);
        reach((enum gw_source_state)at);
        forget_actions();
        happens(GW_SOURCE_EV_GIVE_UP);
        assert_int_equal(source.state, GW_SOURCE_COMPLETED);
        assert_int_equal(done[GW_SOURCE_DO_RESUME], 0);
        assert_int_equal(last_record, GW_DEPARTURE_LEFT);
    }
}

static void an_abort_of_an_older_epoch_settles_nothing(void **state)
{
    (void)state;
    reach(GW_SOURCE_HELD_ASKING);
    forget_actions();
    hears_welcome(GW_STANDING_ABORTED, 0);
    assert_int_equal(source.state, GW_SOURCE_HELD_WAITING);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 0);
    reach(GW_SOURCE_HELD_ASKING);
    forget_actions();
    hears_welcome(GW_STANDING_ABORTED, UINT64_MAX); /* every epoch of it */
    assert_int_equal(source.state, GW_SOURCE_FAILED);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);
}

static void a_held_source_tries_again_and_again_ever_slower(void **state)
{
    (void)state;
    uint64_t before_ns = 0;
    reach(GW_SOURCE_HELD_WAITING);
    for (int i = 0; i < 50; i++) {
        uint64_t wait_ns = gw_source_deadline(&source) - now_ns;
        assert_true(wait_ns >= before_ns && wait_ns <= 2000 * MS);
        before_ns = wait_ns;
        now_ns += wait_ns;
        happens(GW_SOURCE_EV_TICK);
        assert_int_equal(source.state, GW_SOURCE_HELD_CONNECTING);
        happens(GW_SOURCE_EV_LINK_LOST);
        assert_int_equal(source.state, GW_SOURCE_HELD_WAITING);
    }
    assert_int_equal(before_ns, 2000 * MS);
    now_ns += 2000 * MS;
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_READY, 1);
    assert_int_equal(source.state, GW_SOURCE_HELD);
    assert_int_equal(said[GW_FRAME_COMMIT], 2);
    hears_verdict(GW_FRAME_RUNNING, 1);
    assert_int_equal(source.state, GW_SOURCE_SETTLING);
    assert_int_equal(gw_source_fault(&source)->status, GW_OK);
}

static void tokens_of_others_are_refused(void **state)
{
    (void)state;
    struct gw_token token;
    struct gw_fault fault = {.status = GW_OK};
    reach(GW_SOURCE_HELD_WAITING);
    gw_source_token(&source, &token);
    assert_int_equal(gw_source_check_token(&source, &token, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "this side's own"));
    token.who = 't';
    assert_int_equal(gw_source_check_token(&source, &token, NULL), GW_OK);
    token.epoch = 0;
    assert_int_equal(gw_source_check_token(&source, &token, NULL), GW_ARGUMENT);
    token.epoch = UINT64_MAX; /* all of them given up */
    assert_int_equal(gw_source_check_token(&source, &token, NULL), GW_OK);
    token.session.id[3] ^= 1;
    assert_int_equal(gw_source_check_token(&source, &token, NULL), GW_ARGUMENT);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_moves),
        cmocka_unit_test(pages_wait_for_the_channels_and_the_tracker),
        cmocka_unit_test(a_tracker_that_was_started_is_stopped),
        cmocka_unit_test(a_mismatch_that_is_heard_late_still_counts),
        cmocka_unit_test(a_target_that_takes_nothing_does_not_keep_the_guest_stopped),
        cmocka_unit_test(a_channel_that_is_refused_is_a_lost_link),
        cmocka_unit_test(after_a_lost_link_only_what_was_not_acknowledged_goes_again),
        cmocka_unit_test(a_stopped_guest_goes_on_when_the_link_is_lost_and_moves_later),
        cmocka_unit_test(a_late_answer_about_another_record_stops_nobody),
        cmocka_unit_test(a_source_that_finds_nobody_ends_after_its_time),
        cmocka_unit_test(a_target_that_forgot_the_guest_is_not_tried_again),
        cmocka_unit_test(a_message_out_of_place_drops_the_link_and_no_guest),
        cmocka_unit_test(an_acknowledgement_of_nothing_drops_the_link_and_no_guest),
        cmocka_unit_test(what_the_operator_may_not_ask_is_refused_in_words),
        cmocka_unit_test(what_the_host_says_too_late_is_ignored),
        cmocka_unit_test(a_flood_of_any_message_overflows_nothing),
        cmocka_unit_test(a_held_guest_runs_here_only_by_word),
        cmocka_unit_test(an_abort_of_an_older_epoch_settles_nothing),
        cmocka_unit_test(a_held_source_tries_again_and_again_ever_slower),
        cmocka_unit_test(tokens_of_others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
