/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's machine: the good path, lost links, every event that has no place in a state, and
 * floods. The guest must never run here but on COMMIT (or an operator's word), after `took` was
 * recorded, with every page validly received.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "target_script.h"

static void expect_state(enum gw_target_state state)
{
    assert_string_equal(gw_target_state_name(target.state), gw_target_state_name(state));
}

/* ---- The good path ---- */

static void a_guest_arrives(void **state)
{
    (void)state;
    reach(GW_TARGET_NEGOTIATING);
    assert_int_equal(said[GW_FRAME_WELCOME], 1);
    assert_int_equal(last_said.welcome.standing, GW_STANDING_NEW);
    hears_hello(PAGES);
    assert_int_equal(recorded('A'), GW_RECORD_OPENED);
    assert_int_equal(said[GW_FRAME_ACCEPT], 0); /* recorded first */
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(said[GW_FRAME_ACCEPT], 1);
    comes_bulk(1, 0);
    assert_int_equal(done[GW_TARGET_DO_ADMIT_BULK], 1);
    places(1, 0, 5, false);
    assert_int_equal(last_said.type, GW_FRAME_ACK);
    hears_prepare(1, 2);
    assert_int_equal(done[GW_TARGET_DO_LOAD], 0); /* the last batch is not here */
    places(2, 5, 3, false);
    assert_int_equal(done[GW_TARGET_DO_LOAD], 1);
    assert_int_equal(said[GW_FRAME_READY], 0);
    happens(GW_TARGET_EV_LOADED);
    assert_int_equal(said[GW_FRAME_READY], 1);
    uint64_t ready_ns = now_ns;
    now_ns += 10 * MS;
    hears_verdict(GW_FRAME_COMMIT, 1);
    uint64_t commit_ns = now_ns;
    assert_int_equal(recorded('A'), GW_RECORD_TOOK);
    assert_int_equal(done[GW_TARGET_DO_RUN], 0); /* recorded first */
    assert_int_equal(gw_target_runner(&target), GW_RUNNER_NOBODY);
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(done[GW_TARGET_DO_RUN], 1);
    assert_true(last_run.is_running);
    /* What COMMIT says, half of the round trip, and what recording took. */
    assert_int_equal(last_run.elapsed_ns,
                     5 * MS + (commit_ns - ready_ns) / 2 + (now_ns - commit_ns));
    happens(GW_TARGET_EV_STARTED);
    assert_int_equal(said[GW_FRAME_RUNNING], 1);
    hears_verdict(GW_FRAME_DONE, 1);
    expect_state(GW_TARGET_DONE);
    assert_int_equal(done[GW_TARGET_DO_FINISH], 1);
    assert_int_equal(gw_target_fault(&target)->status, GW_OK);
}

/* A batch is placed, and nobody takes the engine's actions. */
static void places_unheard(uint64_t sequence, bool is_suspect)
{
    struct gw_batch_table table = {
        .record_count = 1,
        .raw_pages = 1,
        .record = {{.page = sequence, .count = 1, .kind = GW_RECORD_RAW}}};
    struct gw_target_event event = {
        .type = GW_TARGET_EV_BATCH,
        .placed = {.sequence = sequence, .is_suspect = is_suspect, .table = &table}};
    assert_int_equal(tell(event, NULL), GW_OK);
}

static void acknowledgements_wait_for_a_few_batches(void **state)
{
    (void)state;
    reach(GW_TARGET_ACTIVE);
    uint64_t first = target.channel[0].sequence + 1;
    for (uint64_t i = 0; i < GW_WINDOW_BATCHES / 4 - 1; i++) {
        places_unheard(first + i, false);
        assert_true(gw_target_has_action(&target) && gw_target_may_wait(&target));
    }
    places_unheard(first + GW_WINDOW_BATCHES / 4 - 1, false);
    assert_false(gw_target_may_wait(&target));
    drain();
    assert_int_equal(last_said.ack.sequence, first + GW_WINDOW_BATCHES / 4 - 1);
    assert_false(gw_target_has_action(&target));
    places_unheard(target.channel[0].sequence + 1, true); /* damaged: that is said at once */
    assert_false(gw_target_may_wait(&target));
}

static void a_guest_that_is_not_whole_is_never_ready(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        reach(GW_TARGET_ACTIVE);
        places(1, 0, way == 0 ? PAGES - 1 : PAGES, way == 1); /* a hole; a suspect */
        if (way == 2) {
            struct gw_target_event verified = {
                .type = GW_TARGET_EV_VERIFIED,
                .verified = {.sequence = 2, .theirs = {.count = 8, .digest = 1}, .digest_ours = 2}};
            assert_int_equal(tell(verified, NULL), GW_OK);
            drain();
            assert_int_equal(said[GW_FRAME_MISMATCH], 1);
        }
        hears_prepare(1, way == 2 ? 2 : 1);
        expect_state(GW_TARGET_ABORTING);
        assert_int_equal(recorded('A'), GW_RECORD_ABORTED);
        assert_int_equal(said[GW_FRAME_ABORTED], 0); /* recorded first */
        hears_verdict(GW_FRAME_COMMIT, 1);           /* too late */
        happens(GW_TARGET_EV_RECORDED);
        assert_int_equal(said[GW_FRAME_ABORTED], 1);
        assert_int_equal(said[GW_FRAME_READY], 0);
        assert_int_equal(done[GW_TARGET_DO_RUN], 0);
        expect_state(GW_TARGET_LISTENING);
    }
}

static void a_suspect_that_comes_again_is_whole(void **state)
{
    (void)state;
    reach(GW_TARGET_ACTIVE);
    places(1, 0, PAGES, true);
    assert_int_equal(said[GW_FRAME_SUSPECT], 1);
    places(2, 0, PAGES, false);
    hears_prepare(1, 2);
    expect_state(GW_TARGET_LOADING);
}

static void another_machine_is_refused_by_name(void **state)
{
    (void)state;
    reach(GW_TARGET_NEGOTIATING);
    hears_hello(PAGES + 1);
    expect_state(GW_TARGET_LISTENING);
    assert_int_equal(last_said.type, GW_FRAME_REFUSE);
    assert_non_null(strstr(last_said.verdict.reason, "9 pages"));
    assert_non_null(strstr(last_said.verdict.reason, "8 pages"));
    assert_int_equal(recorded('A'), -1); /* nothing was opened */
}

/* ---- Lost links ---- */

static void a_lost_link_costs_a_pause(void **state)
{
    (void)state;
    static const enum gw_target_state before[] = {GW_TARGET_ACTIVE, GW_TARGET_GATHERING,
                                                  GW_TARGET_LOADING, GW_TARGET_READY};
    for (int i = 0; i < 8; i++) {
        enum gw_target_state from = before[i / 2];
        bool is_noticed = i % 2;
        reach(from);
        if (is_noticed) {
            happens(GW_TARGET_EV_LINK_LOST);
            expect_state(from == GW_TARGET_READY ? GW_TARGET_READY : GW_TARGET_AWAITING);
        }
        forget_actions();
        comes('A', GW_PURPOSE_RESUME, 2);
        expect_state(GW_TARGET_ACTIVE);
        assert_int_equal(done[GW_TARGET_DO_ADMIT], 1);
        assert_int_equal(done[GW_TARGET_DO_CLOSE], is_noticed ? 0 : 1);
        assert_int_equal(last_said.welcome.standing, GW_STANDING_OPEN);
        if (from == GW_TARGET_LOADING) {
            happens(GW_TARGET_EV_LOADED); /* what was asked for before is void */
            expect_state(GW_TARGET_ACTIVE);
        }
        comes_bulk(2, 0);
        places(1, 0, PAGES, false);
        hears_prepare(2, 1);
        happens(GW_TARGET_EV_LOADED);
        hears_verdict(GW_FRAME_COMMIT, 2);
        expect_state(GW_TARGET_TAKING);
    }
}

static void a_batch_of_a_channel_that_was_given_up_counts_nothing(void **state)
{
    (void)state;
    reach(GW_TARGET_ACTIVE);
    comes('A', GW_PURPOSE_RESUME, 2); /* the target had not noticed: its receiver may still tell */
    forget_actions();
    places(1, 0, PAGES, false);
    assert_int_equal(said[GW_FRAME_ACK], 0);
    assert_int_equal(target.missing, PAGES);
    assert_int_equal(may_place(2), GW_PROTOCOL);
    comes_bulk(2, 0);
    assert_int_equal(may_place(1), GW_OK);
}

static void a_source_may_go_back_to_what_it_heard_but_not_ahead(void **state)
{
    (void)state;
    reach(GW_TARGET_ACTIVE);
    places(1, 0, 4, false);
    places(2, 4, 2, false);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('A', GW_PURPOSE_RESUME, 2);
    forget_actions();
    comes_bulk(2, 3); /* it cannot have heard of batch 3 */
    assert_int_equal(done[GW_TARGET_DO_ADMIT_BULK], 0);
    assert_int_equal(done[GW_TARGET_DO_TURN_AWAY], 1);
    comes_bulk(2, 1);
    assert_int_equal(done[GW_TARGET_DO_ADMIT_BULK], 1);
    assert_int_equal(may_place(2), GW_OK);
    assert_int_equal(may_place(3), GW_PROTOCOL);
}

static void a_source_that_stays_away_is_forgotten_after_its_time(void **state)
{
    (void)state;
    reach(GW_TARGET_AWAITING);
    now_ns = gw_target_deadline(&target);
    happens(GW_TARGET_EV_TICK);
    expect_state(GW_TARGET_LISTENING);
    assert_int_equal(recorded('A'), GW_RECORD_ABORTED);
    comes('A', GW_PURPOSE_RESUME, 2);
    assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_ABORTED);
}

static void another_source_need_not_wait_for_one_that_is_away(void **state)
{
    (void)state;
    reach(GW_TARGET_AWAITING);
    comes('B', GW_PURPOSE_OPEN, 1);
    expect_state(GW_TARGET_NEGOTIATING);
    assert_int_equal(recorded('A'), GW_RECORD_ABORTED);
    hears_hello(PAGES);
    happens(GW_TARGET_EV_RECORDED);
    happens(GW_TARGET_EV_RECORDED); /* both records are answered */
    expect_state(GW_TARGET_ACTIVE);
    comes('A', GW_PURPOSE_RESUME, 2);
    assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_ABORTED);
    expect_state(GW_TARGET_ACTIVE);
}

static void a_held_guest_waits_for_its_source_and_nobody_else(void **state)
{
    (void)state;
    reach(GW_TARGET_READY);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('B', GW_PURPOSE_OPEN, 1);
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    comes('A', GW_PURPOSE_SETTLE, 1); /* no newer generation: an old connection that came late */
    assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_UNKNOWN);
    comes('A', GW_PURPOSE_SETTLE, 2);
    assert_int_equal(last_said.welcome.standing, GW_STANDING_READY);
    assert_int_equal(last_said.welcome.epoch, 1);
    hears_verdict(GW_FRAME_COMMIT, 1);
    expect_state(GW_TARGET_TAKING);
}

static void a_withdrawn_session_makes_room(void **state)
{
    (void)state;
    reach(GW_TARGET_READY);
    struct gw_message intro = intro_of('B', GW_PURPOSE_OPEN, 1);
    intro.intro.withdrawn = session_of('A');
    assert_int_equal(
        tell((struct gw_target_event){.type = GW_TARGET_EV_INTRO, .message = &intro}, NULL), GW_OK);
    drain();
    expect_state(GW_TARGET_NEGOTIATING);
    assert_int_equal(recorded('A'), GW_RECORD_ABORTED);
    comes('A', GW_PURPOSE_SETTLE, 9);
    assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_ABORTED);
}

/* ---- Records ---- */

static void a_restarted_target_answers_from_its_records(void **state)
{
    (void)state;
    static const struct {
        enum gw_record_state was;
        enum gw_standing answer;
    } cases[] = {{GW_RECORD_OPENED, GW_STANDING_ABORTED},
                 {GW_RECORD_TOOK, GW_STANDING_SETTLED},
                 {GW_RECORD_ABORTED, GW_STANDING_ABORTED}};
    for (int i = 0; i < 3; i++) {
        const struct gw_session session = session_of('A');
        fresh();
        gw_history_put(&target.history, &session, cases[i].was, 3);
        happens(GW_TARGET_EV_START);
        comes('A', GW_PURPOSE_SETTLE, 5);
        happens(GW_TARGET_EV_RECORDED);
        expect_state(GW_TARGET_LISTENING);
        comes('A', GW_PURPOSE_SETTLE, 6);
        assert_int_equal(last_turned_away.welcome.standing, cases[i].answer);
        comes('C', GW_PURPOSE_SETTLE, 6);
        assert_int_equal(last_turned_away.welcome.standing, GW_STANDING_UNKNOWN);
        comes('A', GW_PURPOSE_OPEN, 7); /* seen before: never opened again */
        assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
        assert_int_equal(done[GW_TARGET_DO_ADMIT], 0);
    }
}

static void a_record_that_fails_starts_no_guest(void **state)
{
    (void)state;
    reach(GW_TARGET_TAKING);
    happens(GW_TARGET_EV_HOST_FAULT);
    expect_state(GW_TARGET_ABORTING);
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(said[GW_FRAME_ABORTED], 1);
    assert_int_equal(done[GW_TARGET_DO_RUN], 0);
    reach(GW_TARGET_CLAIMING); /* by the operator: what could not be recorded can be tried again */
    happens(GW_TARGET_EV_HOST_FAULT);
    expect_state(GW_TARGET_READY);
    happens(GW_TARGET_EV_RUN_ANYWAY);
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(done[GW_TARGET_DO_RUN], 1);
}

static void the_source_may_speak_while_the_operator_claims(void **state)
{
    (void)state;
    reach(GW_TARGET_CLAIMING);
    hears_verdict(GW_FRAME_COMMIT, 1);
    expect_state(GW_TARGET_TAKING);
    happens(GW_TARGET_EV_RECORDED); /* of the claim: the answer that counts is the last one's */
    assert_int_equal(done[GW_TARGET_DO_RUN], 0);
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(done[GW_TARGET_DO_RUN], 1);
    reach(GW_TARGET_CLAIMING);
    hears_verdict(GW_FRAME_ABORT, 1);
    expect_state(GW_TARGET_ABORTING);
    happens(GW_TARGET_EV_RECORDED);
    happens(GW_TARGET_EV_RECORDED);
    expect_state(GW_TARGET_LISTENING);
    assert_int_equal(done[GW_TARGET_DO_RUN], 0);
}

static void tokens_of_others_are_refused(void **state)
{
    (void)state;
    struct gw_token token;
    struct gw_fault fault = {.status = GW_OK};
    reach(GW_TARGET_READY);
    gw_target_token(&target, &token);
    assert_int_equal(gw_target_check_token(&target, &token, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "this side's own"));
    token.who = 's';
    assert_int_equal(gw_target_check_token(&target, &token, NULL), GW_OK);
    token.epoch++;
    assert_int_equal(gw_target_check_token(&target, &token, NULL), GW_ARGUMENT);
    token.epoch--;
    token.session.id[3] ^= 1;
    assert_int_equal(gw_target_check_token(&target, &token, NULL), GW_ARGUMENT);
}

/* ---- Everything in every state ---- */

enum { SOURCE_MESSAGES = 20 };

/* One of all that a source could say on the control channel, and some that it may not. */
static struct gw_message source_message(uint32_t n, enum gw_target_event_type *event)
{
    static const enum gw_frame_type none[] = {GW_FRAME_INTRO,  GW_FRAME_WELCOME, GW_FRAME_ACCEPT,
                                              GW_FRAME_ACK,    GW_FRAME_READY,   GW_FRAME_RUNNING,
                                              GW_FRAME_REFUSE, GW_FRAME_PING};
    static const struct {
        enum gw_frame_type type;
        enum gw_target_event_type event;
    } verdicts[] = {{GW_FRAME_COMMIT, GW_TARGET_EV_COMMIT},
                    {GW_FRAME_DONE, GW_TARGET_EV_DONE},
                    {GW_FRAME_ABORT, GW_TARGET_EV_ABORT}};
    struct gw_message message = {.type = GW_FRAME_HELLO};
    *event = GW_TARGET_EV_MESSAGE;
    if (n < 8) {
        message.type = none[n];
    } else if ((n -= 8) < 9) { /* epochs 0, 1 (ours from PREPARE on) and 2 */
        message.type = verdicts[n / 3].type;
        message.verdict = (struct gw_verdict){.epoch = n % 3, .reason = "no"};
        bool is_any = message.type == GW_FRAME_ABORT;
        *event = is_any || n % 3 == target.epoch ? verdicts[n / 3].event : GW_TARGET_EV_MESSAGE;
    } else if ((n -= 9) < 2) {
        message.type = GW_FRAME_PREPARE;
        message.prepare =
            (struct gw_prepare){.epoch = n + 1, .channel_count = 1, .sequence_last = {99}};
        *event = n + 1 > target.epoch ? GW_TARGET_EV_PREPARE : GW_TARGET_EV_MESSAGE;
    } else {
        message.hello =
            (struct gw_hello){.page_count = PAGES, .page_bytes = PAGE, .channel_count = 1};
        *event = target.state == GW_TARGET_NEGOTIATING ? GW_TARGET_EV_HELLO : GW_TARGET_EV_MESSAGE;
    }
    return message;
}

static void a_message_out_of_place_drops_the_link_and_runs_no_guest(void **state)
{
    (void)state;
    uint32_t tried = 0;
    for (int at = 0; at < GW_TARGET_STATE_COUNT; at++) {
        for (uint32_t n = 0; n < SOURCE_MESSAGES; n++) {
            enum gw_target_event_type event;
            reach((enum gw_target_state)at);
            struct gw_message message = source_message(n, &event);
            bool was_linked = target.is_linked;
            if (was_linked && event != GW_TARGET_EV_MESSAGE && is_legal[at][event]) {
                continue;
            }
            enum gw_runner before = gw_target_runner(&target);
            forget_actions();
            hears(&message);
            tried++;
            assert_int_equal(done[GW_TARGET_DO_RUN], 0);
            assert_int_equal(done[GW_TARGET_DO_CLOSE] > 0, was_linked);
            assert_false(target.is_linked);
            if (before == GW_RUNNER_TARGET) {
                assert_int_equal(gw_target_runner(&target), GW_RUNNER_TARGET);
                expect_state(at == GW_TARGET_PULLING ? GW_TARGET_STRANDED
                                                     : (enum gw_target_state)at);
            } else if (was_linked && target.state == GW_TARGET_LISTENING &&
                       at != GW_TARGET_NEGOTIATING) {
                assert_int_equal(recorded('A'), GW_RECORD_ABORTED);
            }
        }
    }
    assert_true(tried > 150);
}

static void what_the_operator_may_not_ask_is_refused_in_words(void **state)
{
    (void)state;
    for (int at = 0; at < GW_TARGET_STATE_COUNT; at++) {
        for (int event = GW_TARGET_EV_START; event <= GW_TARGET_EV_FORGET; event++) {
            struct gw_fault fault = {.status = GW_OK};
            if (is_legal[at][event]) {
                continue;
            }
            reach((enum gw_target_state)at);
            forget_actions();
            struct gw_target_event asked = {.type = (enum gw_target_event_type)event};
            assert_int_equal(tell(asked, &fault), GW_ARGUMENT);
            assert_true(strlen(fault.text) > 20);
            drain();
            expect_state((enum gw_target_state)at);
            assert_int_equal(done[GW_TARGET_DO_RUN] + done[GW_TARGET_DO_SEND], 0);
        }
    }
}

static void what_the_host_says_too_late_is_ignored(void **state)
{
    (void)state;
    static const enum gw_target_event_type late[] = {
        GW_TARGET_EV_RECORDED,   GW_TARGET_EV_LOADED, GW_TARGET_EV_STARTED, GW_TARGET_EV_LINK_LOST,
        GW_TARGET_EV_HOST_FAULT, GW_TARGET_EV_TICK,   GW_TARGET_EV_ARMED};
    for (int at = 0; at < GW_TARGET_STATE_COUNT; at++) {
        for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
            if (!is_legal[at][late[i]]) {
                reach((enum gw_target_state)at);
                forget_actions();
                happens(late[i]);
                expect_state((enum gw_target_state)at);
                assert_int_equal(done[GW_TARGET_DO_RUN] + done[GW_TARGET_DO_SEND], 0);
            }
        }
    }
}

/* As the drive does it: an INTRO when nothing is pending, a message when the queue is drained,
 * while the owner may not have taken what is his (docs: src/drive/incoming_work.c). */
/* ---- Devices that must be ready first ---- */

static void given_devices(uint32_t count)
{
    reach(GW_TARGET_OPENING);
    target.config.device_count = count;
    forget_actions();
    happens(GW_TARGET_EV_RECORDED);
}

static void the_source_hears_when_all_devices_are_ready(void **state)
{
    (void)state;
    given_devices(2);
    assert_int_equal(said[GW_FRAME_ACCEPT], 1);
    assert_true(last_said.accept.capabilities & GW_WILL_ACK_SWITCHOVER);
    assert_int_equal(done[GW_TARGET_DO_PREPARE_DEVICES], 1);
    happens(GW_TARGET_EV_DEVICE_READY);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 0);
    happens(GW_TARGET_EV_DEVICE_READY);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 1);
    happens(GW_TARGET_EV_DEVICE_READY); /* one too many */
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 1);
    expect_state(GW_TARGET_ACTIVE);
}

static void a_source_that_was_away_hears_it_again(void **state)
{
    (void)state;
    given_devices(1);
    happens(GW_TARGET_EV_LINK_LOST);
    happens(GW_TARGET_EV_DEVICE_READY); /* while nobody listens */
    expect_state(GW_TARGET_AWAITING);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 0);
    comes('A', GW_PURPOSE_RESUME, 2);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 1);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('A', GW_PURPOSE_RESUME, 3);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 2);
}

static void what_was_loaded_in_vain_is_made_ready_again(void **state)
{
    (void)state;
    given_devices(1);
    happens(GW_TARGET_EV_DEVICE_READY);
    comes_bulk(1, 0);
    places(1, 0, PAGES, false);
    hears_prepare(1, 1);
    happens(GW_TARGET_EV_LOADED);
    expect_state(GW_TARGET_READY);
    comes('A', GW_PURPOSE_RESUME, 2); /* the source went back */
    expect_state(GW_TARGET_ACTIVE);
    assert_int_equal(done[GW_TARGET_DO_PREPARE_DEVICES], 2);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 1);
    happens(GW_TARGET_EV_DEVICE_READY);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 2);
}

static void without_such_devices_nothing_is_said(void **state)
{
    (void)state;
    given_devices(0);
    assert_false(last_said.accept.capabilities & GW_WILL_ACK_SWITCHOVER);
    assert_int_equal(done[GW_TARGET_DO_PREPARE_DEVICES], 0);
    happens(GW_TARGET_EV_LINK_LOST);
    comes('A', GW_PURPOSE_RESUME, 2);
    assert_int_equal(said[GW_FRAME_SWITCHOVER_ACK], 0);
}

static void a_device_that_cannot_be_made_ready_refuses_the_guest(void **state)
{
    (void)state;
    given_devices(1);
    happens(GW_TARGET_EV_HOST_FAULT);
    assert_int_equal(said[GW_FRAME_REFUSE], 1);
    expect_state(GW_TARGET_LISTENING);
}

static void a_flood_overflows_nothing(void **state)
{
    (void)state;
    for (int at = 0; at < GW_TARGET_STATE_COUNT; at++) {
        for (uint32_t n = 0; n < SOURCE_MESSAGES; n++) {
            enum gw_target_event_type event;
            reach((enum gw_target_state)at);
            struct gw_message message = source_message(n, &event);
            for (int i = 0; i < 200; i++) {
                hears(&message);
                comes((char)('B' + i % 50), (enum gw_purpose)(i % 3), 1);
                comes('A', (enum gw_purpose)(i % 3), (uint32_t)i + 2);
                comes_bulk((uint32_t)i + 2, 0);
            }
            assert_true(target.history.count <= GW_HISTORY_MAX);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_arrives),
        cmocka_unit_test(acknowledgements_wait_for_a_few_batches),
        cmocka_unit_test(a_guest_that_is_not_whole_is_never_ready),
        cmocka_unit_test(a_suspect_that_comes_again_is_whole),
        cmocka_unit_test(another_machine_is_refused_by_name),
        cmocka_unit_test(a_lost_link_costs_a_pause),
        cmocka_unit_test(a_batch_of_a_channel_that_was_given_up_counts_nothing),
        cmocka_unit_test(a_source_may_go_back_to_what_it_heard_but_not_ahead),
        cmocka_unit_test(a_source_that_stays_away_is_forgotten_after_its_time),
        cmocka_unit_test(another_source_need_not_wait_for_one_that_is_away),
        cmocka_unit_test(a_held_guest_waits_for_its_source_and_nobody_else),
        cmocka_unit_test(a_withdrawn_session_makes_room),
        cmocka_unit_test(a_restarted_target_answers_from_its_records),
        cmocka_unit_test(a_record_that_fails_starts_no_guest),
        cmocka_unit_test(the_source_may_speak_while_the_operator_claims),
        cmocka_unit_test(tokens_of_others_are_refused),
        cmocka_unit_test(a_message_out_of_place_drops_the_link_and_runs_no_guest),
        cmocka_unit_test(what_the_operator_may_not_ask_is_refused_in_words),
        cmocka_unit_test(what_the_host_says_too_late_is_ignored),
        cmocka_unit_test(the_source_hears_when_all_devices_are_ready),
        cmocka_unit_test(a_source_that_was_away_hears_it_again),
        cmocka_unit_test(what_was_loaded_in_vain_is_made_ready_again),
        cmocka_unit_test(without_such_devices_nothing_is_said),
        cmocka_unit_test(a_device_that_cannot_be_made_ready_refuses_the_guest),
        cmocka_unit_test(a_flood_overflows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
