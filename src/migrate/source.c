/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's machine: takes events, looks its row up, changes state in one place, and runs the
 * row's step. What the steps do stands in source_steps.c. Pure; under the embedder's lock.
 */
#include "godwit/source.h"

#include <stdio.h>
#include <string.h>

#include "migrate/source_private.h"
#include "migrate/source_table.h"

enum origin { ORIGIN_OPERATOR, ORIGIN_HOST, ORIGIN_PEER, ORIGIN_SELF };

/* A row is two bytes, so that a table of every state and event stays small. */
struct row {
    uint8_t to;   /* enum gw_source_state */
    uint8_t step; /* index into steps; STEP_ILLEGAL: there is no such row */
};

#define STEP(name) STEP_##name,
enum step { STEP_ILLEGAL, GW_SOURCE_STEPS(STEP) STEP_COUNT };
#undef STEP

static gw_source_step *const steps[STEP_COUNT] = {
#define STEP(name) [STEP_##name] = gw_source_step_##name,
    GW_SOURCE_STEPS(STEP)
#undef STEP
};

static const struct row table[GW_SOURCE_STATE_COUNT][GW_SOURCE_EVENT_COUNT] = {
#define ROW(from, event, to, step) \
    [GW_SOURCE_##from][GW_SOURCE_EV_##event] = {GW_SOURCE_##to, STEP_##step},
    GW_SOURCE_TRANSITIONS(ROW)
#undef ROW
};

static const struct {
    const char *name, *status;
    enum gw_runner runner;
} states[GW_SOURCE_STATE_COUNT] = {
#define STATE(name, runner, status) [GW_SOURCE_##name] = {#name, status, GW_RUNNER_##runner},
    GW_SOURCE_STATES(STATE)
#undef STATE
};

static const uint8_t origins[GW_SOURCE_EVENT_COUNT] = {
#define EVENT(name, origin) [GW_SOURCE_EV_##name] = ORIGIN_##origin,
    GW_SOURCE_EVENTS(EVENT)
#undef EVENT
};

static bool is_legal(const struct row *row)
{
    return row->step != STEP_ILLEGAL;
}

const char *gw_source_state_name(enum gw_source_state state)
{
    return states[state].name;
}

const char *gw_source_status_name(enum gw_source_state state)
{
    return states[state].status;
}

enum gw_source_state gw_source_state(const struct gw_source *source)
{
    return source->state;
}

enum gw_runner gw_source_runner(const struct gw_source *source)
{
    return states[source->state].runner;
}

const struct gw_fault *gw_source_fault(const struct gw_source *source)
{
    return &source->fault;
}

void gw_source_init(struct gw_source *source, const struct gw_source_config *config)
{
    memset(source, 0, offsetof(struct gw_source, pages));
    source->config = *config;
    if (config->channel_count == 0 || config->is_ram_shared) {
        source->config.channel_count = 1;
    }
    source->state = GW_SOURCE_NONE;
    source->action_first = 0;
    source->action_count = 0;
    source->is_postcopy = config->is_postcopy;
    memset(source->row_taken, 0, sizeof(source->row_taken));
    gw_pace_init(&source->pace, config->bandwidth_max);
    gw_compression_init(&source->compression, config->compress);
    gw_pages_init(&source->pages, config->page_count, config->page_bytes);
    source->release.is_on = false;
    source->release.due_count = 0;
    source->release.released_count = 0;
}

struct gw_source_action *gw_source_emit(struct gw_source *source, enum gw_source_action_type type)
{
    GW_ASSERT(source->action_count < GW_SOURCE_ACTIONS_MAX);
    uint32_t at = (source->action_first + source->action_count++) % GW_SOURCE_ACTIONS_MAX;
    struct gw_source_action *action = &source->action[at];
    *action = (struct gw_source_action){.type = type, .generation = source->generation};
    return action;
}

bool gw_source_has_action(const struct gw_source *source)
{
    return source->action_count > 0;
}

enum gw_status gw_source_next(struct gw_source *source, struct gw_source_action *action)
{
    if (source->action_count == 0) {
        return GW_AGAIN;
    }
    *action = source->action[source->action_first];
    source->action_first = (source->action_first + 1) % GW_SOURCE_ACTIONS_MAX;
    source->action_count--;
    return GW_OK;
}

struct gw_message *gw_source_send(struct gw_source *source, enum gw_frame_type type)
{
    struct gw_message *message = &gw_source_emit(source, GW_SOURCE_DO_SEND)->message;
    message->type = type;
    message->verdict.epoch = source->epoch;
    return message;
}

/* The one place where the state changes. */
static void go(struct gw_source *source, const struct row *row, const struct gw_source_event *event)
{
    const char *before = states[source->state].status;
    source->row_taken[source->state][event->type] = 1;
    if (row->to != source->state) {
        source->limit_ns = 0;
    }
    source->state = (enum gw_source_state)row->to;
    if (strcmp(before, states[row->to].status) != 0) {
        gw_source_emit(source, GW_SOURCE_DO_STATUS)->status = states[row->to].status;
    }
    steps[row->step](source, event);
}

static void raise_self(struct gw_source *source, enum gw_source_event_type type, uint64_t now_ns);

/* A peer that breaks the protocol would do so again: where that matters, it has a row of its own.
 * One that refuses a channel (GW_REFUSED) may only have noticed first that the link to it is lost.
 */
static void lose_link(struct gw_source *source, const struct gw_fault *fault, uint64_t now_ns)
{
    bool is_breach = fault->status == GW_PROTOCOL;
    struct gw_source_event lost = {
        .type = GW_SOURCE_EV_LINK_LOST, .now_ns = now_ns, .fault = fault};
    if (is_breach && is_legal(&table[source->state][GW_SOURCE_EV_BREACH])) {
        lost.type = GW_SOURCE_EV_BREACH;
        gw_fault_clear(&source->fault); /* of a link that was lost before: this ends it */
    }
    const struct row *row = &table[source->state][lost.type];
    source->is_linked = false;
    source->is_bulk_up = false;
    source->demands_open = 0;
    (void)gw_fault_set(&source->fault, fault->status, "%s", fault->text);
    if (is_legal(row)) {
        go(source, row, &lost);
    }
}

void gw_source_drop_link(struct gw_source *source, const struct gw_fault *fault, uint64_t now)
{
    (void)gw_source_emit(source, GW_SOURCE_DO_CLOSE);
    lose_link(source, fault, now);
}

static void refuse_unexpected(struct gw_source *source, const char *what, uint64_t now_ns)
{
    struct gw_fault fault = {0};
    (void)gw_fault_set(&fault, GW_PROTOCOL, "the target said %s while the source was in state %s",
                       what, states[source->state].name);
    gw_source_drop_link(source, &fault, now_ns);
}

static enum gw_source_event_type classify_welcome(const struct gw_source *source,
                                                  const struct gw_welcome *welcome)
{
    bool is_ours = welcome->epoch == source->epoch && source->epoch > 0;
    switch ((enum gw_standing)welcome->standing) {
    case GW_STANDING_NEW:
        return GW_SOURCE_EV_WELCOMED;
    case GW_STANDING_OPEN:
        return GW_SOURCE_EV_STANDS_OPEN;
    case GW_STANDING_READY:
        return is_ours ? GW_SOURCE_EV_STANDS_READY : GW_SOURCE_EV_STANDS_UNKNOWN;
    case GW_STANDING_RUNNING:
        return is_ours ? GW_SOURCE_EV_STANDS_RUNNING : GW_SOURCE_EV_STANDS_UNKNOWN;
    case GW_STANDING_SETTLED:
        return is_ours ? GW_SOURCE_EV_STANDS_SETTLED : GW_SOURCE_EV_STANDS_UNKNOWN;
    case GW_STANDING_PULLING:
        return is_ours && source->is_partial ? GW_SOURCE_EV_STANDS_PULLING
                                             : GW_SOURCE_EV_STANDS_UNKNOWN;
    case GW_STANDING_LOST:
        return is_ours && source->is_partial ? GW_SOURCE_EV_STANDS_LOST
                                             : GW_SOURCE_EV_STANDS_UNKNOWN;
    case GW_STANDING_ABORTED:
        return source->epoch > 0 && welcome->epoch >= source->epoch ? GW_SOURCE_EV_STANDS_ABORTED
                                                                    : GW_SOURCE_EV_STANDS_UNKNOWN;
    default:
        return GW_SOURCE_EV_STANDS_UNKNOWN;
    }
}

static enum gw_source_event_type classify_running(const struct gw_source *source)
{
    if (!source->is_partial) {
        return GW_SOURCE_EV_RUNNING;
    }
    return source->is_bulk_up ? GW_SOURCE_EV_PULLS : GW_SOURCE_EV_PULLS_BARE;
}

/* Which event a message is; GW_SOURCE_EV_MESSAGE when it is none a target may send. A verdict on
 * another epoch than ours is none: it must not move anything. */
static enum gw_source_event_type classify(const struct gw_source *source,
                                          const struct gw_message *message)
{
    bool is_ours = message->verdict.epoch == source->epoch;
    switch (message->type) {
    case GW_FRAME_WELCOME:
        return classify_welcome(source, &message->welcome);
    case GW_FRAME_REFUSE:
        return GW_SOURCE_EV_REFUSE;
    case GW_FRAME_ACCEPT:
        return source->config.is_ram_shared ? GW_SOURCE_EV_ACCEPT_SHARED : GW_SOURCE_EV_ACCEPT;
    case GW_FRAME_ACK:
        return GW_SOURCE_EV_ACK;
    case GW_FRAME_SUSPECT:
        return GW_SOURCE_EV_SUSPECT;
    case GW_FRAME_MISMATCH:
        return GW_SOURCE_EV_MISMATCH;
    case GW_FRAME_READY:
        return is_ours ? GW_SOURCE_EV_READY : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_ABORTED:
        return is_ours ? GW_SOURCE_EV_ABORTED : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_RUNNING:
        return is_ours ? classify_running(source) : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_COMPLETE:
        return is_ours ? GW_SOURCE_EV_COMPLETE : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_DONE:
        return is_ours ? GW_SOURCE_EV_DONE : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_SWITCHOVER_ACK:
        return GW_SOURCE_EV_SWITCHOVER_ACK;
    default:
        return GW_SOURCE_EV_MESSAGE;
    }
}

static const char no_postcopy[] =
    "the target's host cannot run a guest whose memory is not all there (userfaultfd): see "
    "`godwit doctor` there, or leave postcopy out";

/* The pages that the target places as one: whole numbers of them, and no more than a huge page. */
static enum gw_status check_unit(const struct gw_source *source, uint32_t unit_log2,
                                 struct gw_fault *fault)
{
    uint64_t unit = UINT64_C(1) << unit_log2;
    if (unit * source->config.page_bytes <= GW_STRETCH_BYTES &&
        source->config.page_count % unit == 0) {
        return GW_OK;
    }
    return gw_fault_set(fault, GW_PROTOCOL,
                        "the target places pages by %llu, of %u bytes; wanted units of %llu bytes "
                        "at most, of which the guest's %llu pages are a multiple",
                        (unsigned long long)unit, source->config.page_bytes,
                        (unsigned long long)GW_STRETCH_BYTES,
                        (unsigned long long)source->config.page_count);
}

/* Is this ACCEPT one that the migration can go on with? */
static enum gw_status check_accept(const struct gw_source *source, const struct gw_accept *accept,
                                   struct gw_fault *fault)
{
    if (source->is_postcopy && (accept->capabilities & GW_CAN_POSTCOPY) == 0) {
        return gw_fault_set(fault, GW_REFUSED, "%s", no_postcopy);
    }
    if (accept->channel_count > source->config.channel_count) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the target wants %u bulk channels, it was offered %u",
                            accept->channel_count, source->config.channel_count);
    }
    return check_unit(source, accept->unit_log2, fault);
}

static void handle_message(struct gw_source *source, const struct gw_source_event *event)
{
    struct gw_fault fault = {0};
    const struct gw_message *message = event->message;
    if (!source->is_linked) {
        return; /* of a link that is already given up */
    }
    if (message->type == GW_FRAME_SWITCHOVER_ACK && source->is_acked) {
        return; /* said again after a lost link, or nobody waits for it */
    }
    struct gw_source_event peer = *event;
    peer.type = classify(source, message);
    const struct row *row = &table[source->state][peer.type];
    if (peer.type == GW_SOURCE_EV_ACCEPT &&
        check_accept(source, &message->accept, &fault) != GW_OK) {
        gw_source_drop_link(source, &fault, event->now_ns);
        return;
    }
    if (peer.type == GW_SOURCE_EV_MESSAGE || !is_legal(row)) {
        refuse_unexpected(source, gw_frame_type_name((uint8_t)message->type), event->now_ns);
        return;
    }
    gw_source_note_cause(source, &peer, message);
    go(source, row, &peer);
}

/* Long enough tried again: nobody is there. A guest that runs there is not given up unless it was
 * said for how long it may be waited for. */
static bool is_exhausted(const struct gw_source *source, uint64_t now_ns)
{
    if (source->state == GW_SOURCE_PUSH_WAITING && source->config.recover_ns_max == 0) {
        return false;
    }
    bool is_waiting = source->state == GW_SOURCE_RETRY_WAITING ||
                      source->state == GW_SOURCE_PUSH_WAITING ||
                      source->state == GW_SOURCE_SETTLING_WAITING;
    return is_waiting && source->lost_ns != 0 &&
           now_ns - source->lost_ns >= gw_source_patience_ns(source);
}

static void handle_tick(struct gw_source *source, uint64_t now_ns)
{
    if (!is_exhausted(source, now_ns) && source->limit_ns && now_ns >= source->limit_ns) {
        raise_self(source, GW_SOURCE_EV_TIME_OUT, now_ns);
    }
}

static enum gw_status refuse_operator(const struct gw_source *source,
                                      enum gw_source_event_type type, struct gw_fault *fault)
{
    bool is_held = source->state >= GW_SOURCE_HELD && source->state <= GW_SOURCE_HELD_ASKING;
    if (type == GW_SOURCE_EV_CANCEL && is_held) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the guest was committed to the target and its outcome is not known "
                            "yet: it cannot be cancelled; wait for the link, or see `godwit "
                            "resolve`");
    }
    if (type == GW_SOURCE_EV_CANCEL && states[source->state].runner == GW_RUNNER_TARGET) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the guest runs on the target already: there is nothing left to "
                            "cancel. It comes back by a migration from there; should that host "
                            "be dead, see `godwit resolve`");
    }
    if (type == GW_SOURCE_EV_CONTINUE) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the migration does not wait for a word to hand over: it is %s, wanted "
                            "pre-switchover",
                            states[source->state].status);
    }
    if (type == GW_SOURCE_EV_GIVE_UP || type == GW_SOURCE_EV_RUN_ANYWAY) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "nothing to resolve: the source is in state %s, only a held guest "
                            "can be resolved",
                            states[source->state].name);
    }
    return gw_fault_set(fault, GW_ARGUMENT, "not possible while the migration is %s",
                        states[source->state].status);
}

/* A wish that the state allows; is it possible for this migration? */
static enum gw_status check_wish(const struct gw_source *source,
                                 const struct gw_source_event *event, struct gw_fault *fault)
{
    enum gw_source_event_type type = event->type;
    if (type == GW_SOURCE_EV_POSTCOPY && source->config.is_ram_shared) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the target shares this guest's memory: none of it is left to follow");
    }
    if (type == GW_SOURCE_EV_RUN_ANYWAY && source->config.is_ram_shared && !event->has_token) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the target shares this guest's memory and may have changed it since "
                            "COMMIT: what is here is no whole guest any more, unless the target's "
                            "own word says that it never ran there");
    }
    if (type == GW_SOURCE_EV_POSTCOPY && source->config.is_verifying) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "this migration compares all RAM while the guest stands still "
                            "(--verify), which postcopy does not wait for");
    }
    if (type == GW_SOURCE_EV_POSTCOPY && !source->can_postcopy &&
        source->state > GW_SOURCE_NEGOTIATING) {
        return gw_fault_set(fault, GW_ARGUMENT, "%s", no_postcopy);
    }
    if (type == GW_SOURCE_EV_RUN_ANYWAY && source->release.released_count > 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "this copy cannot run any more: %llu pages of it were given back here "
                            "once the target had them (release-ram); the guest goes on there, or "
                            "--give-up ends the waiting",
                            (unsigned long long)source->release.released_count);
    }
    if (type == GW_SOURCE_EV_GIVE_UP && source->is_partial &&
        states[source->state].runner == GW_RUNNER_NOBODY) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the target has not all of the guest's memory: it cannot go on there "
                            "without this side. To keep it here, give it up on the target "
                            "(`godwit resolve NAME --give-up`), or, if that host is dead, "
                            "`--run --other-is-dead` here");
    }
    return GW_OK;
}

bool gw_source_may(const struct gw_source *source, enum gw_source_event_type wish)
{
    const struct gw_source_event event = {.type = wish};
    return is_legal(&table[source->state][wish]) && check_wish(source, &event, NULL) == GW_OK;
}

/* The engine's own events, when one is due. */
static void raise_due(struct gw_source *source, uint64_t now_ns)
{
    if (is_exhausted(source, now_ns)) {
        raise_self(source, GW_SOURCE_EV_EXHAUSTED, now_ns);
    }
    if (now_ns >= gw_source_late_at(source) && gw_source_be_late(source)) {
        raise_self(source, GW_SOURCE_EV_DEADLINE, now_ns);
    }
    if (source->state == GW_SOURCE_ACTIVE && source->is_postcopy) {
        gw_pages_skip_to_hole(&source->pages);
    }
    bool is_stop_due =
        source->is_postcopy
            ? !source->is_collecting && gw_pages_is_quiet(&source->pages)
            : source->is_late && !source->is_collecting && !source->pages.is_first_round;
    if (source->state == GW_SOURCE_ACTIVE && (source->is_switching || is_stop_due) &&
        gw_source_may_switch(source, now_ns)) {
        bool is_asked_first = source->config.is_pausing && !source->is_continued;
        if (!is_asked_first) {
            gw_source_explain_switch(source);
        }
        source->is_switching = false;
        raise_self(source, is_asked_first ? GW_SOURCE_EV_HOLD : GW_SOURCE_EV_SWITCH, now_ns);
    }
    if (source->state == GW_SOURCE_ACTIVE && !source->is_collecting && !source->is_postcopy &&
        !source->is_switching && gw_pages_is_round_over(&source->pages)) {
        raise_self(source, GW_SOURCE_EV_ROUND_END, now_ns);
    }
    const struct gw_pages *pages = &source->pages;
    bool is_verified = !source->config.is_verifying || gw_pages_is_verified(pages);
    bool is_told = source->is_partial ? source->is_map_told : pages->dirty_count == 0;
    if (source->state == GW_SOURCE_FINISHING && is_told && is_verified &&
        gw_pages_is_drained(pages)) {
        raise_self(source, GW_SOURCE_EV_DRAINED, now_ns);
    }
}

static void raise_self(struct gw_source *source, enum gw_source_event_type type, uint64_t now_ns)
{
    const struct gw_source_event event = {.type = type, .now_ns = now_ns};
    const struct row *row = &table[source->state][type];
    if (is_legal(row)) {
        gw_source_note_cause(source, &event, NULL);
        go(source, row, &event);
    }
}

static void handle_host(struct gw_source *source, const struct gw_source_event *event)
{
    const struct row *row = &table[source->state][event->type];
    if (is_legal(row)) {
        gw_source_note_cause(source, event, NULL);
        go(source, row, event);
    }
}

/* The answer that counts is the last one's. What is waited for is `leaving`: without `left` or
 * `kept` a boot is refused that could be allowed, and no more. */
static void take_record_answer(struct gw_source *source, const struct gw_source_event *event)
{
    struct gw_source_event answer = *event;
    answer.type = event->fault == NULL ? GW_SOURCE_EV_RECORDED : GW_SOURCE_EV_HOST_FAULT;
    source->records_owed -= source->records_owed > 0;
    if (source->records_owed == 0 && source->state == GW_SOURCE_LEAVING) {
        handle_host(source, &answer);
    }
}

enum gw_status gw_source_handle(struct gw_source *source, const struct gw_source_event *event,
                                struct gw_fault *fault)
{
    switch (event->type) {
    case GW_SOURCE_EV_MESSAGE:
        handle_message(source, event);
        break;
    case GW_SOURCE_EV_TICK:
        handle_tick(source, event->now_ns);
        break;
    case GW_SOURCE_EV_LINK_LOST:
        lose_link(source, event->fault, event->now_ns);
        break;
    case GW_SOURCE_EV_STOPPED: {
        struct gw_source_event stopped = *event;
        if (source->config.is_ram_shared && source->state == GW_SOURCE_STOPPING) {
            stopped.type = GW_SOURCE_EV_STOPPED_SHARED;
        }
        handle_host(source, &stopped);
        break;
    }
    case GW_SOURCE_EV_RECORDED:
        take_record_answer(source, event);
        break;
    default:
        GW_ASSERT(origins[event->type] == ORIGIN_HOST || origins[event->type] == ORIGIN_OPERATOR);
        if (origins[event->type] == ORIGIN_OPERATOR) {
            if (source->action_count > GW_SOURCE_ACTIONS_MAX / 2) {
                return gw_fault_set(fault, GW_ARGUMENT,
                                    "what was asked for before is not done yet: ask again");
            }
            enum gw_status status = is_legal(&table[source->state][event->type])
                                        ? check_wish(source, event, fault)
                                        : refuse_operator(source, event->type, fault);
            if (status != GW_OK) {
                return status;
            }
        }
        handle_host(source, event);
    }
    raise_due(source, event->now_ns);
    return GW_OK;
}

uint64_t gw_source_deadline(const struct gw_source *source)
{
    uint64_t limit_ns = source->limit_ns ? source->limit_ns : UINT64_MAX;
    uint64_t latest_ns = gw_source_late_at(source);
    return limit_ns < latest_ns ? limit_ns : latest_ns;
}
