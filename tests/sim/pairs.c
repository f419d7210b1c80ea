/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that have no place in a state (docs/HANDOVER.md, "What has no row"): each is made to
 * happen as its origin would make it, and what must follow at once is checked. What must become of
 * the guest later is outcome.c's.
 */
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "sim.h"

/* ---- How an event is said ---- */

static enum gw_frame_type source_hears(enum gw_source_event_type event)
{
    switch (event) {
    case GW_SOURCE_EV_WELCOMED:
    case GW_SOURCE_EV_STANDS_OPEN:
    case GW_SOURCE_EV_STANDS_READY:
    case GW_SOURCE_EV_STANDS_RUNNING:
    case GW_SOURCE_EV_STANDS_SETTLED:
    case GW_SOURCE_EV_STANDS_ABORTED:
    case GW_SOURCE_EV_STANDS_PULLING:
    case GW_SOURCE_EV_STANDS_LOST:
    case GW_SOURCE_EV_STANDS_UNKNOWN:
        return GW_FRAME_WELCOME;
    case GW_SOURCE_EV_REFUSE:
        return GW_FRAME_REFUSE;
    case GW_SOURCE_EV_ACCEPT:
    case GW_SOURCE_EV_ACCEPT_SHARED:
        return GW_FRAME_ACCEPT;
    case GW_SOURCE_EV_SWITCHOVER_ACK:
        return GW_FRAME_SWITCHOVER_ACK;
    case GW_SOURCE_EV_ACK:
        return GW_FRAME_ACK;
    case GW_SOURCE_EV_SUSPECT:
        return GW_FRAME_SUSPECT;
    case GW_SOURCE_EV_MISMATCH:
        return GW_FRAME_MISMATCH;
    case GW_SOURCE_EV_READY:
        return GW_FRAME_READY;
    case GW_SOURCE_EV_ABORTED:
        return GW_FRAME_ABORTED;
    case GW_SOURCE_EV_RUNNING:
    case GW_SOURCE_EV_PULLS:
    case GW_SOURCE_EV_PULLS_BARE:
        return GW_FRAME_RUNNING;
    case GW_SOURCE_EV_COMPLETE:
        return GW_FRAME_COMPLETE;
    case GW_SOURCE_EV_DONE:
        return GW_FRAME_DONE;
    default:
        return GW_FRAME_PING; /* none that has a meaning */
    }
}

static enum gw_standing standing_of(enum gw_source_event_type event)
{
    switch (event) {
    case GW_SOURCE_EV_WELCOMED:
        return GW_STANDING_NEW;
    case GW_SOURCE_EV_STANDS_OPEN:
        return GW_STANDING_OPEN;
    case GW_SOURCE_EV_STANDS_READY:
        return GW_STANDING_READY;
    case GW_SOURCE_EV_STANDS_RUNNING:
        return GW_STANDING_RUNNING;
    case GW_SOURCE_EV_STANDS_SETTLED:
        return GW_STANDING_SETTLED;
    case GW_SOURCE_EV_STANDS_ABORTED:
        return GW_STANDING_ABORTED;
    case GW_SOURCE_EV_STANDS_PULLING:
        return GW_STANDING_PULLING;
    case GW_SOURCE_EV_STANDS_LOST:
        return GW_STANDING_LOST;
    default:
        return GW_STANDING_UNKNOWN;
    }
}

/* A standing of an epoch needs one; a half guest's words need a half guest. */
static bool can_be_heard(const struct gw_source *source, enum gw_source_event_type event)
{
    switch (event) {
    case GW_SOURCE_EV_STANDS_READY:
    case GW_SOURCE_EV_STANDS_RUNNING:
    case GW_SOURCE_EV_STANDS_SETTLED:
    case GW_SOURCE_EV_STANDS_ABORTED:
        return source->epoch > 0;
    case GW_SOURCE_EV_STANDS_PULLING:
    case GW_SOURCE_EV_STANDS_LOST:
        return source->epoch > 0 && source->is_partial;
    case GW_SOURCE_EV_ACCEPT:
        return !source->config.is_ram_shared;
    case GW_SOURCE_EV_ACCEPT_SHARED:
        return source->config.is_ram_shared;
    case GW_SOURCE_EV_RUNNING:
        return !source->is_partial;
    case GW_SOURCE_EV_PULLS:
        return source->is_partial && source->is_bulk_up;
    case GW_SOURCE_EV_PULLS_BARE:
        return source->is_partial && !source->is_bulk_up;
    default:
        return source_hears(event) != GW_FRAME_PING;
    }
}

static struct gw_message message_for_source(const struct gw_source *source,
                                            enum gw_source_event_type event)
{
    struct gw_message message = {.type = source_hears(event)};
    switch (message.type) {
    case GW_FRAME_WELCOME:
        message.welcome =
            (struct gw_welcome){GW_PROTOCOL_VERSION, (uint8_t)standing_of(event), source->epoch};
        break;
    case GW_FRAME_ACK:
    case GW_FRAME_SUSPECT:
        message.ack.sequence = source->pages.channel[0].sequence_acked + 1;
        break;
    case GW_FRAME_MISMATCH:
        message.mismatch.count = 1;
        break;
    default:
        message.verdict = (struct gw_verdict){.epoch = source->epoch, .reason = "it lies"};
        break;
    }
    return message;
}

static bool message_for_target(const struct world *world, enum gw_target_event_type event,
                               struct gw_message *message)
{
    *message = (struct gw_message){.verdict = {.epoch = world->target.epoch, .reason = "it lies"}};
    switch (event) {
    case GW_TARGET_EV_HELLO:
        message->type = GW_FRAME_HELLO;
        message->hello = (struct gw_hello){.channel_count = 1,
                                           .page_count = world->plan.options.pages,
                                           .page_bytes = (uint32_t)world->plan.options.page_bytes};
        return true;
    case GW_TARGET_EV_PREPARE:
        message->type = GW_FRAME_PREPARE;
        message->prepare =
            (struct gw_prepare){.epoch = world->target.epoch + 1, .channel_count = 1};
        return true;
    case GW_TARGET_EV_COMMIT:
        message->type = GW_FRAME_COMMIT;
        return true;
    case GW_TARGET_EV_ABORT:
        message->type = GW_FRAME_ABORT;
        return true;
    case GW_TARGET_EV_DONE:
        message->type = GW_FRAME_DONE;
        return true;
    default:
        return false;
    }
}

/* An INTRO that is meant as `event`, from a connection that nobody listens to. */
static bool intro_for_target(const struct world *world, enum gw_target_event_type event,
                             struct gw_message *message)
{
    const struct gw_target *target = &world->target;
    struct gw_intro *intro = &message->intro;
    *message = (struct gw_message){.type = GW_FRAME_INTRO};
    *intro = (struct gw_intro){.session = target->session,
                               .version_min = GW_PROTOCOL_VERSION,
                               .version_max = GW_PROTOCOL_VERSION,
                               .generation = target->generation + 1};
    switch (event) {
    case GW_TARGET_EV_INTRO_NEW:
        memset(intro->session.id, 0xfa, sizeof(intro->session.id));
        return true;
    case GW_TARGET_EV_INTRO_REPLACE:
        if (target->state == GW_TARGET_LISTENING) {
            return false; /* there is none at hand: it is a new one */
        }
        memset(intro->session.id, 0xfb, sizeof(intro->session.id));
        intro->withdrawn = target->session;
        return true;
    case GW_TARGET_EV_INTRO_SAME:
        intro->purpose = GW_PURPOSE_SETTLE;
        return true;
    case GW_TARGET_EV_INTRO_RESUME:
        intro->purpose = GW_PURPOSE_RESUME;
        return true;
    case GW_TARGET_EV_INTRO_BULK:
    case GW_TARGET_EV_INTRO_URGENT:
        intro->role = event == GW_TARGET_EV_INTRO_BULK ? GW_ROLE_BULK : GW_ROLE_URGENT;
        intro->generation = target->generation;
        intro->purpose = GW_PURPOSE_RESUME;
        return true;
    default:
        return false;
    }
}

/* ---- What must follow ---- */

struct before {
    uint32_t state, actions;
    enum gw_runner runner;
    bool was_linked;
};

static struct before look(const struct world *world, enum side side)
{
    if (side == SOURCE) {
        return (struct before){side_state(world, side), world->source.action_count,
                               gw_source_runner(&world->source), world->source.is_linked};
    }
    return (struct before){side_state(world, side), world->target.action_count,
                           gw_target_runner(&world->target), world->target.is_linked};
}

static void expect_unmoved(struct world *world, enum side side, const struct before *before,
                           uint32_t event)
{
    struct before after = look(world, side);
    if (after.state != before->state || after.actions != before->actions) {
        world_fail(world, "%s moved %s from %s to %s, and has no place there",
                   side_event_name(side, event), side == SOURCE ? "the source" : "the target",
                   side_state_name(side, before->state), side_state_name(side, after.state));
    }
}

/* The link is given up; the guest is not taken from whoever may run it, nor given to another, but
 * that a source which has not committed takes it back. */
static void expect_dropped(struct world *world, enum side side, const struct before *before,
                           uint32_t event)
{
    struct before after = look(world, side);
    bool is_kept = after.runner == before->runner ||
                   (after.runner == GW_RUNNER_SOURCE && before->runner == GW_RUNNER_NOBODY &&
                    (side == TARGET || before->state < GW_SOURCE_HELD));
    if (after.was_linked || !is_kept) {
        world_fail(world, "%s in %s %s", side_event_name(side, event),
                   side_state_name(side, before->state),
                   is_kept ? "did not cost the link" : "moved the guest");
    }
}

/* ---- Telling ---- */

static bool tell_source(struct world *world, enum gw_source_event_type type)
{
    static const struct gw_fault fault = {.status = GW_HOST, .text = "it broke"};
    static const uint64_t nothing[GW_BITMAP_WORDS];
    struct gw_source_event event = {.type = type};
    struct gw_message message;
    if (world->now_ns >= gw_source_deadline(&world->source)) { /* which is not this event's doing */
        (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    }
    struct before before = look(world, SOURCE);
    bool was_acked = world->source.is_acked; /* said once more it means nothing */
    enum origin origin = side_origin(SOURCE, type);
    if (origin == ORIGIN_PEER) {
        if (!can_be_heard(&world->source, type)) {
            return false;
        }
        message = message_for_source(&world->source, type);
        event = (struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &message};
    } else if (type == GW_SOURCE_EV_HOST_FAULT) {
        event.fault = &fault;
    } else if (type == GW_SOURCE_EV_TRACKED || type == GW_SOURCE_EV_COLLECTED ||
               type == GW_SOURCE_EV_RECONCILED) {
        event.bitmap = nothing;
    }
    enum gw_status status = GW_OK;
    if (type == GW_SOURCE_EV_LINK_LOST) {
        source_lost(world, GW_LINK, "it broke"); /* all channels are closed before */
    } else {
        status = source_tell(world, &event);
    }
    if (side_is_row(SOURCE, before.state, type)) {
        return true; /* an operator's word that has a place */
    }
    if (origin == ORIGIN_OPERATOR && status == GW_OK) {
        world_fail(world, "the source takes %s in %s", side_event_name(SOURCE, type),
                   side_state_name(SOURCE, before.state));
    }
    bool is_repeated = type == GW_SOURCE_EV_SWITCHOVER_ACK && was_acked;
    if (origin == ORIGIN_PEER && before.was_linked && !is_repeated) {
        expect_dropped(world, SOURCE, &before, type);
    } else {
        expect_unmoved(world, SOURCE, &before, type);
    }
    return true;
}

static void tell_intro(struct world *world, enum gw_target_event_type type,
                       const struct gw_message *message)
{
    struct before before = look(world, TARGET);
    struct connection *connection =
        link_open(world, (enum gw_role)message->intro.role, message->intro.generation);
    if (connection) {
        link_close_one(world, connection, SOURCE);
        target_introduce(world, connection, message);
        expect_unmoved(world, TARGET, &before, type);
    }
}

/* A late word of a thread that was let go. */
static void tell_pages(struct world *world, enum gw_target_event_type type)
{
    static struct gw_batch_table table = {.record_count = 1, .record = {{.page = 0, .count = 1}}};
    static const uint64_t nothing[GW_BITMAP_WORDS];
    struct gw_target_event event = {.type = type};
    uint64_t sequence = world->target.channel[0].sequence + 1;
    if (type == GW_TARGET_EV_BATCH) {
        event.placed = (struct gw_batch_placed){.sequence = sequence, .table = &table};
    } else if (type == GW_TARGET_EV_MAP) {
        event.map = (struct gw_map_read){.sequence = sequence, .missing = nothing};
    } else {
        event.verified.sequence = sequence;
    }
    (void)target_tell(world, &event);
}

static bool tell_target(struct world *world, enum gw_target_event_type type)
{
    static const struct gw_fault fault = {.status = GW_HOST, .text = "it broke"};
    struct gw_target_event event = {.type = type};
    struct gw_message message;
    struct before before = look(world, TARGET);
    enum origin origin = side_origin(TARGET, type);
    if (origin == ORIGIN_PEER && intro_for_target(world, type, &message)) {
        tell_intro(world, type, &message);
        return true;
    }
    if (origin == ORIGIN_PEER && !message_for_target(world, type, &message)) {
        return false;
    }
    enum gw_status status = GW_OK;
    if (type == GW_TARGET_EV_LINK_LOST) {
        link_close_side(world, TARGET); /* as whoever says so has done */
    }
    if (type == GW_TARGET_EV_BATCH || type == GW_TARGET_EV_MAP || type == GW_TARGET_EV_VERIFIED) {
        tell_pages(world, type);
    } else {
        if (origin == ORIGIN_PEER) {
            event = (struct gw_target_event){.type = GW_TARGET_EV_MESSAGE, .message = &message};
        } else if (type == GW_TARGET_EV_LINK_LOST || type == GW_TARGET_EV_HOST_FAULT) {
            event.fault = &fault;
        }
        status = target_tell(world, &event);
    }
    if (side_is_row(TARGET, before.state, type)) {
        return true;
    }
    if (origin == ORIGIN_OPERATOR && status == GW_OK) {
        world_fail(world, "the target takes %s in %s", side_event_name(TARGET, type),
                   side_state_name(TARGET, before.state));
    }
    if (origin == ORIGIN_PEER && before.was_linked) {
        expect_dropped(world, TARGET, &before, type);
    } else {
        expect_unmoved(world, TARGET, &before, type);
    }
    return true;
}

/* An answer that is awaited would be taken for this one: it was not asked for twice. (A source
 * whose guest runs there waits for no record's any more.) */
static bool is_answer_awaited(const struct world *world, enum side side, uint32_t event)
{
    if (side == SOURCE) {
        return event == GW_SOURCE_EV_RECORDED && world->source.records_owed > 0 &&
               gw_source_runner(&world->source) != GW_RUNNER_TARGET;
    }
    return (event == GW_TARGET_EV_RECORDED || event == GW_TARGET_EV_HOST_FAULT) &&
           world->target.records_owed > 0;
}

/* A message that nobody taught this file to say: its pairs stay untried, which main.c reports. */
static bool is_known(const struct world *world, enum side side, uint32_t event)
{
    struct gw_message message;
    if (side_origin(side, event) != ORIGIN_PEER) {
        return true;
    }
    if (side == SOURCE) {
        return source_hears((enum gw_source_event_type)event) != GW_FRAME_PING;
    }
    return event == GW_TARGET_EV_INTRO_REPLACE ||
           intro_for_target(world, (enum gw_target_event_type)event, &message) ||
           message_for_target(world, (enum gw_target_event_type)event, &message);
}

/* An operator's word that has a place is only said; which is right when, the faults of their own
 * know. Anything else that has a place would be a lie, and is not. */
void world_tell(struct world *world, enum side side, uint32_t event)
{
    uint32_t state = side_state(world, side);
    bool is_row = side_is_row(side, state, event);
    bool is_wish = side == SOURCE && side_origin(side, event) == ORIGIN_OPERATOR &&
                   event != GW_SOURCE_EV_GIVE_UP && event != GW_SOURCE_EV_RUN_ANYWAY;
    if (!world->is_up[side] || side_is_carrier(side, event) || (is_row && !is_wish) ||
        !is_known(world, side, event) || is_answer_awaited(world, side, event) ||
        (side == SOURCE && !world->is_source_started)) {
        return;
    }
    bool was_said = side == SOURCE ? tell_source(world, (enum gw_source_event_type)event)
                                   : tell_target(world, (enum gw_target_event_type)event);
    if (!is_row) {
        uint8_t *pair = &tally->pair[side][state][event];
        *pair = *pair == PAIR_TRIED || was_said ? PAIR_TRIED : PAIR_UNSAYABLE;
    }
}
