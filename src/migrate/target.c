/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's machine: takes events, looks its row up, changes state in one place, and runs the
 * row's step. What the steps do stands in target_steps.c. Pure; under the embedder's lock.
 */
#include "godwit/target.h"

#include <stdio.h>
#include <string.h>

#include "migrate/target_private.h"
#include "migrate/target_table.h"

/* A row is two bytes, so that a table of every state and event stays small. */
struct row {
    uint8_t to;   /* enum gw_target_state */
    uint8_t step; /* index into steps; STEP_ILLEGAL: there is no such row */
};

#define STEP(name) STEP_##name,
enum step { STEP_ILLEGAL, GW_TARGET_STEPS(STEP) STEP_COUNT };
#undef STEP

static gw_target_step *const steps[STEP_COUNT] = {
#define STEP(name) [STEP_##name] = gw_target_step_##name,
    GW_TARGET_STEPS(STEP)
#undef STEP
};

static const struct row table[GW_TARGET_STATE_COUNT][GW_TARGET_EVENT_COUNT] = {
#define ROW(from, event, to, step) \
    [GW_TARGET_##from][GW_TARGET_EV_##event] = {GW_TARGET_##to, STEP_##step},
    GW_TARGET_TRANSITIONS(ROW)
#undef ROW
};

static const struct {
    const char *name, *status;
    enum gw_runner runner;
} states[GW_TARGET_STATE_COUNT] = {
#define STATE(name, runner, status) [GW_TARGET_##name] = {#name, status, GW_RUNNER_##runner},
    GW_TARGET_STATES(STATE)
#undef STATE
};

static bool is_legal(const struct row *row)
{
    return row->step != STEP_ILLEGAL;
}

const char *gw_target_state_name(enum gw_target_state state)
{
    return states[state].name;
}

const char *gw_target_status_name(enum gw_target_state state)
{
    return states[state].status;
}

enum gw_target_state gw_target_state(const struct gw_target *target)
{
    return target->state;
}

enum gw_runner gw_target_runner(const struct gw_target *target)
{
    return states[target->state].runner;
}

const struct gw_fault *gw_target_fault(const struct gw_target *target)
{
    return &target->fault;
}

void gw_target_init(struct gw_target *target, const struct gw_target_config *config)
{
    GW_ASSERT(config->page_count >= 1 && config->page_count <= GW_PAGES_MAX);
    memset(target, 0, offsetof(struct gw_target, theirs));
    memset(target->channel, 0, sizeof(target->channel));
    memset(target->row_taken, 0, sizeof(target->row_taken));
    target->config = *config;
    target->config.unit_pages = config->unit_pages > 0 ? config->unit_pages : 1;
    GW_ASSERT(config->page_count % target->config.unit_pages == 0);
    target->history = config->history;
    target->action_first = 0;
    target->action_count = 0;
}

struct gw_target_action *gw_target_emit(struct gw_target *target, enum gw_target_action_type type)
{
    GW_ASSERT(target->action_count < GW_TARGET_ACTIONS_MAX);
    uint32_t at = (target->action_first + target->action_count++) % GW_TARGET_ACTIONS_MAX;
    struct gw_target_action *action = &target->action[at];
    *action = (struct gw_target_action){.type = type};
    if (type == GW_TARGET_DO_RECORD) {
        action->history = target->history;
        target->records_owed++;
    }
    return action;
}

struct gw_message *gw_target_send(struct gw_target *target, enum gw_frame_type type)
{
    struct gw_message *message = &gw_target_emit(target, GW_TARGET_DO_SEND)->message;
    message->type = type;
    message->verdict.epoch = target->epoch;
    return message;
}

/* Acknowledgements are not queued but made when asked for, so that any number of batches costs
 * one; suspects come before the acknowledgement that covers them. */
static bool has_ack(const struct gw_target_channel *channel)
{
    return channel->suspect_count > 0 || channel->sequence > channel->sequence_told;
}

static bool next_ack(struct gw_target *target, struct gw_target_action *action)
{
    struct gw_ack ack = {0};
    enum gw_frame_type type = GW_FRAME_ACK;
    while (ack.channel < target->channel_count && !has_ack(&target->channel[ack.channel])) {
        ack.channel++;
    }
    if (ack.channel == target->channel_count) {
        return false;
    }
    struct gw_target_channel *channel = &target->channel[ack.channel];
    if (channel->suspect_count > 0) {
        type = GW_FRAME_SUSPECT;
        ack.sequence = channel->suspect[channel->suspect_first];
        channel->suspect_first = (channel->suspect_first + 1) % GW_WINDOW_BATCHES;
        channel->suspect_count--;
    } else {
        ack.sequence = channel->sequence;
        ack.starved_us = channel->starved_us;
        channel->sequence_told = channel->sequence;
    }
    *action =
        (struct gw_target_action){.type = GW_TARGET_DO_SEND, .message = {.type = type, .ack = ack}};
    return true;
}

bool gw_target_has_action(const struct gw_target *target)
{
    bool has_any = false;
    for (uint32_t i = 0; i < target->channel_count && target->is_linked; i++) {
        has_any = has_any || has_ack(&target->channel[i]);
    }
    return target->action_count > 0 || has_any;
}

/* A quarter of the source's window, if that is as large as ours, so that it never waits for one. */
enum { ACK_BATCHES = GW_WINDOW_BATCHES < 8 ? 1 : GW_WINDOW_BATCHES / 4 };

bool gw_target_may_wait(const struct gw_target *target)
{
    for (uint32_t i = 0; i < target->channel_count; i++) {
        const struct gw_target_channel *channel = &target->channel[i];
        if (channel->suspect_count > 0 ||
            channel->sequence - channel->sequence_told >= ACK_BATCHES) {
            return false;
        }
    }
    return target->action_count == 0;
}

enum gw_status gw_target_next(struct gw_target *target, struct gw_target_action *action)
{
    if (target->is_linked && next_ack(target, action)) {
        return GW_OK;
    }
    if (target->action_count == 0) {
        return GW_AGAIN;
    }
    *action = target->action[target->action_first];
    target->action_first = (target->action_first + 1) % GW_TARGET_ACTIONS_MAX;
    target->action_count--;
    return GW_OK;
}

/* The one place where the state changes. */
static void go(struct gw_target *target, const struct row *row, const struct gw_target_event *event)
{
    const char *before = states[target->state].status;
    target->row_taken[target->state][event->type] = 1;
    if (row->to != target->state) {
        target->limit_ns = 0;
    }
    target->state = (enum gw_target_state)row->to;
    if (strcmp(before, states[row->to].status) != 0) {
        gw_target_emit(target, GW_TARGET_DO_STATUS)->status = states[row->to].status;
    }
    steps[row->step](target, event);
}

static void raise_self(struct gw_target *target, enum gw_target_event_type type, uint64_t now_ns)
{
    const struct gw_target_event event = {.type = type, .now_ns = now_ns};
    const struct row *row = &table[target->state][type];
    if (is_legal(row)) {
        go(target, row, &event);
    }
}

/* A peer that breaks the protocol would do so again: where that matters, it has a row of its own.
 */
static void lose_link(struct gw_target *target, const struct gw_fault *fault, uint64_t now_ns)
{
    struct gw_target_event lost = {
        .type = GW_TARGET_EV_LINK_LOST, .now_ns = now_ns, .fault = fault};
    if (fault->status == GW_PROTOCOL && is_legal(&table[target->state][GW_TARGET_EV_BREACH])) {
        lost.type = GW_TARGET_EV_BREACH;
    }
    const struct row *row = &table[target->state][lost.type];
    target->is_linked = false;
    gw_target_close_channels(target);
    (void)gw_fault_set(&target->fault, fault->status, "%s", fault->text);
    if (is_legal(row)) {
        go(target, row, &lost);
    }
}

static bool is_session(const struct gw_target *target, const struct gw_session *session)
{
    return memcmp(target->session.id, session->id, GW_SESSION_BYTES) == 0;
}

/* True while a session is being received or held: other sources must wait. */
static bool is_at_hand(const struct gw_target *target)
{
    return target->state != GW_TARGET_NONE && target->state != GW_TARGET_RECALLING &&
           target->state != GW_TARGET_LISTENING;
}

/* Introductions */

static void turn_away(struct gw_target *target, const struct gw_message *message)
{
    gw_target_emit(target, GW_TARGET_DO_TURN_AWAY)->message = *message;
}

static void turn_away_with_reason(struct gw_target *target, const char *reason)
{
    struct gw_message refuse = {.type = GW_FRAME_REFUSE};
    (void)snprintf(refuse.verdict.reason, GW_REASON_BYTES, "%s", reason);
    turn_away(target, &refuse);
}

static void turn_away_with_standing(struct gw_target *target, const struct gw_session *session)
{
    struct gw_message welcome = {.type = GW_FRAME_WELCOME,
                                 .welcome = {.version = GW_PROTOCOL_VERSION}};
    welcome.welcome.standing = (uint8_t)gw_target_standing(target, session, &welcome.welcome.epoch);
    turn_away(target, &welcome);
}

static enum gw_target_event_type classify_intro(const struct gw_target *target,
                                                const struct gw_intro *intro)
{
    bool is_same = is_at_hand(target) && is_session(target, &intro->session);
    if (intro->role != GW_ROLE_CONTROL && target->config.is_ram_shared) {
        return GW_TARGET_EV_INTRO; /* no page may come: it would hit the source's running guest */
    }
    if (intro->role == GW_ROLE_URGENT) {
        bool has_map = target->state != GW_TARGET_PULLING || target->channel[0].is_open;
        bool is_awaited = is_same && target->is_linked && has_map && !target->is_urgent_open &&
                          target->config.can_postcopy && intro->generation == target->generation;
        return is_awaited ? GW_TARGET_EV_INTRO_URGENT : GW_TARGET_EV_INTRO;
    }
    if (intro->role == GW_ROLE_BULK) {
        const struct gw_target_channel *channel = &target->channel[intro->channel];
        bool is_awaited = is_same && target->is_linked && intro->channel < target->channel_count &&
                          !channel->is_open && intro->generation == target->generation &&
                          intro->sequence <= channel->sequence;
        return is_awaited ? GW_TARGET_EV_INTRO_BULK : GW_TARGET_EV_INTRO;
    }
    if (intro->purpose != GW_PURPOSE_OPEN) {
        bool is_newer = is_same && intro->generation > target->generation;
        enum gw_target_event_type known = intro->purpose == GW_PURPOSE_SETTLE
                                              ? GW_TARGET_EV_INTRO_SAME
                                              : GW_TARGET_EV_INTRO_RESUME;
        return is_newer ? known : GW_TARGET_EV_INTRO;
    }
    if (is_same || gw_history_get(&target->history, &intro->session)) {
        return GW_TARGET_EV_INTRO; /* what was said of a session is never taken back */
    }
    return is_at_hand(target) && is_session(target, &intro->withdrawn) ? GW_TARGET_EV_INTRO_REPLACE
                                                                       : GW_TARGET_EV_INTRO_NEW;
}

/* Why a source cannot come in now. */
static const char *no_entry(const struct gw_target *target, const struct gw_intro *intro)
{
    if (intro->role != GW_ROLE_CONTROL) {
        return "this channel belongs to no open session";
    }
    switch (target->state) {
    case GW_TARGET_PULLING:
    case GW_TARGET_STRANDED:
    case GW_TARGET_RUNNING:
    case GW_TARGET_DONE:
        return "a guest runs on this target already";
    case GW_TARGET_READY:
        return "this target holds a guest of an earlier migration that was neither committed nor "
               "withdrawn: see `godwit resolve` there";
    case GW_TARGET_NONE:
        return "this target could not write its first record: its log says why";
    case GW_TARGET_LOST:
        return "the guest that ran here is lost: start this target anew";
    case GW_TARGET_LISTENING:
        return "that session was here before and is over: start a new migration";
    default:
        return "this target is receiving another guest";
    }
}

static void handle_intro(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_intro *intro = &event->message->intro;
    struct gw_target_event peer = *event;
    peer.type = classify_intro(target, intro);
    const struct row *row = &table[target->state][peer.type];
    if (peer.type != GW_TARGET_EV_INTRO && is_legal(row)) {
        go(target, row, &peer);
    } else if (intro->purpose != GW_PURPOSE_OPEN && intro->role == GW_ROLE_CONTROL) {
        turn_away_with_standing(target, &intro->session);
    } else {
        turn_away_with_reason(target, no_entry(target, intro));
    }
}

/* Messages */

static enum gw_target_event_type classify_hello(struct gw_target *target,
                                                const struct gw_hello *hello)
{
    const struct gw_target_config *config = &target->config;
    gw_fault_clear(&target->fault);
    gw_hello_facts(hello, &target->theirs);
    if (gw_facts_compare(&target->theirs, config->facts, &target->fault)) {
        return GW_TARGET_EV_MISFIT;
    }
    if (hello->page_bytes != config->page_bytes || hello->page_count != config->page_count) {
        (void)gw_fault_set(&target->fault, GW_REFUSED,
                           "RAM differs: the source has %llu pages of %u bytes, the target has "
                           "%llu pages of %u bytes; both must be equal",
                           (unsigned long long)hello->page_count, hello->page_bytes,
                           (unsigned long long)config->page_count, config->page_bytes);
        return GW_TARGET_EV_MISFIT;
    }
    return GW_TARGET_EV_HELLO;
}

/* Is a batch being read that is not to come? Its bytes would go into the memory of a guest that
 * runs, or its reader would sleep on a page of it that is missing. */
static bool is_behind_last(const struct gw_target *target, const struct gw_prepare *prepare,
                           uint32_t *channel)
{
    for (uint32_t i = 0; i < target->channel_count; i++) {
        if (target->channel[i].sequence_asked > prepare->sequence_last[i]) {
            *channel = i;
            return true;
        }
    }
    return false;
}

static bool is_possible(const struct gw_target *target, const struct gw_prepare *prepare)
{
    bool has_pages = prepare->sequence_last[0] > 0 || prepare->is_postcopy;
    bool has_all = prepare->channel_count == target->channel_count;
    uint32_t channel;
    return has_all && !is_behind_last(target, prepare, &channel) &&
           prepare->epoch > target->epoch && !(target->config.is_ram_shared && has_pages);
}

/* Which event a message is; GW_TARGET_EV_MESSAGE when it is none a source may send now. */
static enum gw_target_event_type classify(struct gw_target *target,
                                          const struct gw_message *message)
{
    bool is_ours = message->verdict.epoch == target->epoch;
    switch (message->type) {
    case GW_FRAME_HELLO:
        return target->state == GW_TARGET_NEGOTIATING ? classify_hello(target, &message->hello)
                                                      : GW_TARGET_EV_MESSAGE;
    case GW_FRAME_PREPARE:
        return is_possible(target, &message->prepare) ? GW_TARGET_EV_PREPARE : GW_TARGET_EV_MESSAGE;
    case GW_FRAME_COMMIT:
        return is_ours ? GW_TARGET_EV_COMMIT : GW_TARGET_EV_MESSAGE;
    case GW_FRAME_DONE:
        return is_ours ? GW_TARGET_EV_DONE : GW_TARGET_EV_MESSAGE;
    case GW_FRAME_ABORT:
        return GW_TARGET_EV_ABORT;
    default:
        return GW_TARGET_EV_MESSAGE;
    }
}

static void refuse_message(const struct gw_target *target, const struct gw_message *message,
                           struct gw_fault *fault)
{
    const struct gw_prepare *prepare = &message->prepare;
    uint32_t channel = 0;
    if (message->type == GW_FRAME_PREPARE && prepare->channel_count == target->channel_count &&
        is_behind_last(target, prepare, &channel)) {
        (void)gw_fault_set(fault, GW_PROTOCOL,
                           "the source said PREPARE: the last batch of channel %u is %llu, and it "
                           "sent %llu",
                           channel, (unsigned long long)prepare->sequence_last[channel],
                           (unsigned long long)target->channel[channel].sequence_asked);
        return;
    }
    (void)gw_fault_set(fault, GW_PROTOCOL, "the source said %s (epoch %llu) in state %s",
                       gw_frame_type_name((uint8_t)message->type),
                       (unsigned long long)message->verdict.epoch, states[target->state].name);
}

static void handle_message(struct gw_target *target, const struct gw_target_event *event)
{
    if (!target->is_linked) {
        return; /* of a link that is already given up */
    }
    struct gw_target_event peer = *event;
    peer.type = classify(target, event->message);
    const struct row *row = &table[target->state][peer.type];
    if (peer.type == GW_TARGET_EV_ABORT) {
        gw_fault_clear(&target->fault);
        (void)gw_fault_set(&target->fault, GW_CANCELLED, "the source went on by itself: %s",
                           event->message->verdict.reason);
    }
    if (peer.type != GW_TARGET_EV_MESSAGE && is_legal(row)) {
        go(target, row, &peer);
        return;
    }
    struct gw_fault fault = {0};
    refuse_message(target, event->message, &fault);
    (void)gw_target_emit(target, GW_TARGET_DO_CLOSE);
    lose_link(target, &fault, event->now_ns);
}

static enum gw_status refuse_operator(const struct gw_target *target, struct gw_fault *fault)
{
    if (target->state == GW_TARGET_PULLING || target->state == GW_TARGET_STRANDED) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the guest runs here, and %llu pages of its memory are only on the "
                            "source: it goes on by itself when the source is back%s",
                            (unsigned long long)target->missing,
                            target->state == GW_TARGET_STRANDED
                                ? "; if it never will be, --give-up ends the guest here"
                                : "");
    }
    if (gw_target_runner(target) == GW_RUNNER_TARGET) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the guest runs here already: there is nothing to "
                            "resolve");
    }
    return gw_fault_set(fault, GW_ARGUMENT,
                        "nothing to resolve: the target is in state %s; only a guest that is "
                        "loaded and waits for the source's word can be resolved",
                        states[target->state].name);
}

/* The last batch is here: is the guest whole? */
static void judge_gathered(struct gw_target *target, uint64_t now_ns)
{
    for (uint32_t i = 0; i < target->channel_count; i++) {
        if (target->channel[i].sequence < target->channel[i].sequence_last) {
            return;
        }
    }
    if (target->state != GW_TARGET_GATHERING) {
        return;
    }
    if (target->missing == 0 && !target->is_mismatched) {
        raise_self(target, GW_TARGET_EV_GATHERED, now_ns);
        return;
    }
    if (target->is_partial && target->is_map_told && target->is_urgent_open &&
        target->missing == target->missing_told) {
        raise_self(target, GW_TARGET_EV_PARTIAL, now_ns);
        return;
    }
    (void)gw_fault_set(&target->fault, GW_CORRUPT,
                       target->is_mismatched
                           ? "RAM differs from the source's after the copy (%llu pages missing)"
                           : "%llu pages were not validly received, wanted %u to come later",
                       (unsigned long long)target->missing, target->missing_told);
    raise_self(target, GW_TARGET_EV_INCOMPLETE, now_ns);
}

/* The guest runs here: has it all it needs, or has the link to the rest gone meanwhile? */
static void judge_pulling(struct gw_target *target, uint64_t now_ns)
{
    if (target->state == GW_TARGET_PULLING && target->missing == 0) {
        raise_self(target, GW_TARGET_EV_WHOLE, now_ns);
    } else if (target->state == GW_TARGET_PULLING && !target->is_linked) {
        raise_self(target, GW_TARGET_EV_LINK_LOST, now_ns);
    }
}

static enum gw_status handle_other(struct gw_target *target, const struct gw_target_event *event,
                                   struct gw_fault *fault)
{
    const struct row *row = &table[target->state][event->type];
    if (event->type == GW_TARGET_EV_RUN_ANYWAY && is_legal(row) && target->missing > 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%llu pages of the guest's memory are only on the source: it cannot "
                            "run here without them",
                            (unsigned long long)target->missing);
    }
    bool is_operator = event->type == GW_TARGET_EV_START || event->type == GW_TARGET_EV_GIVE_UP ||
                       event->type == GW_TARGET_EV_RUN_ANYWAY || event->type == GW_TARGET_EV_FORGET;
    if (event->type == GW_TARGET_EV_HOST_FAULT) {
        target->records_owed -= target->records_owed > 0; /* a record is answered by this too */
    }
    if (!is_legal(row)) {
        return is_operator ? refuse_operator(target, fault) : GW_OK;
    }
    if (event->type == GW_TARGET_EV_HOST_FAULT) {
        gw_fault_clear(&target->fault);
        (void)gw_fault_set(&target->fault, event->fault->status, "%s", event->fault->text);
    }
    if (event->type == GW_TARGET_EV_GIVE_UP) {
        gw_fault_clear(&target->fault);
        (void)gw_fault_set(&target->fault, GW_CANCELLED, "the operator gave the guest up here");
    }
    go(target, row, event);
    return GW_OK;
}

enum gw_status gw_target_handle(struct gw_target *target, const struct gw_target_event *event,
                                struct gw_fault *fault)
{
    enum gw_status status = GW_OK;
    switch (event->type) {
    case GW_TARGET_EV_INTRO:
        handle_intro(target, event);
        break;
    case GW_TARGET_EV_MESSAGE:
        handle_message(target, event);
        break;
    case GW_TARGET_EV_LINK_LOST:
        lose_link(target, event->fault, event->now_ns);
        break;
    case GW_TARGET_EV_TICK:
        if (target->limit_ns && event->now_ns >= target->limit_ns) {
            raise_self(target, GW_TARGET_EV_TIME_OUT, event->now_ns);
        }
        break;
    case GW_TARGET_EV_STARTED:
        if (target->is_partial) {
            raise_self(target, GW_TARGET_EV_PULLS, event->now_ns);
        } else {
            status = handle_other(target, event, fault);
        }
        break;
    case GW_TARGET_EV_BATCH:
    case GW_TARGET_EV_VERIFIED:
    case GW_TARGET_EV_MAP:
        if (gw_target_has_channel(target)) { /* else of one that is already given up */
            status = handle_other(target, event, fault);
        }
        break;
    case GW_TARGET_EV_RECORDED:
        target->records_owed -= target->records_owed > 0;
        if (target->records_owed > 0) {
            break; /* the answer that counts is the last one's */
        }
        status = handle_other(target, event, fault);
        break;
    default:
        status = handle_other(target, event, fault);
    }
    judge_gathered(target, event->now_ns);
    judge_pulling(target, event->now_ns);
    return status;
}

uint64_t gw_target_deadline(const struct gw_target *target)
{
    return target->limit_ns ? target->limit_ns : UINT64_MAX;
}
