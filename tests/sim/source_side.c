/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the embedder of the source does: carries out its actions, answers them, moves messages and
 * pages. Each call does one small thing, so that the world can interleave them.
 */
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "sim.h"

enum gw_status source_tell(struct world *world, const struct gw_source_event *event)
{
    struct gw_source_event timed = *event;
    struct gw_fault fault = {0};
    timed.now_ns = world->now_ns;
    enum gw_status status = gw_source_handle(&world->source, &timed, &fault);
    if (status != GW_OK) {
        say(world, "source", "refuses", fault.text);
        if (status != GW_ARGUMENT || strlen(fault.text) <= 20) {
            world_fail(world, "the source refuses an operator without a reason");
        }
    }
    source_release(world);
    return status;
}

static void forget_link(struct world *world)
{
    world->connecting.is_owed = false;
    world->connecting_bulk.is_owed = false;
    for (uint32_t i = 0; i < SIM_BULK; i++) {
        world->bulk[i].stage = 0;
    }
    world->bulk_limit_ns = 0;
}

void source_lost(struct world *world, enum gw_status status, const char *why)
{
    struct gw_fault fault = {0};
    (void)gw_fault_set(&fault, status, "%s", why);
    link_close_side(world, SOURCE);
    forget_link(world);
    say(world, "source", "lost", why);
    (void)source_tell(world,
                      &(struct gw_source_event){.type = GW_SOURCE_EV_LINK_LOST, .fault = &fault});
}

static void source_send(struct world *world, struct gw_message *message)
{
    struct connection *control = link_newest(world, SOURCE, GW_ROLE_CONTROL);
    if (message->type == GW_FRAME_PREPARE) {
        message->prepare.state = world->source_state;
        message->prepare.state_bytes = sizeof(world->source_state);
        message->prepare.is_running = !world->was_paused;
    }
    if (control) {
        send_message(world, control, SOURCE, message);
    }
}

/* ---- What the host was asked for ---- */

/* It could not be done. */
static bool source_fails(struct world *world, enum gw_source_event_type answer)
{
    struct gw_fault fault = {0};
    if (!world->is_failing[SOURCE]) {
        return false;
    }
    world->is_failing[SOURCE] = false;
    (void)gw_fault_set(&fault, GW_HOST, "the host failed");
    say(world, "source", "fails", "");
    (void)source_tell(world, &(struct gw_source_event){.type = answer, .fault = &fault});
    return true;
}

static bool stop_guest(struct world *world)
{
    struct guest *guest = &world->guest[SOURCE];
    if (!errand_is_due(world, &world->stopping)) {
        return false;
    }
    world->stopping.is_owed = false;
    world->was_paused = guest->is_paused;
    if (source_fails(world, GW_SOURCE_EV_HOST_FAULT)) {
        return true;
    }
    guest->is_alive = false;
    memcpy(world->source_state, &guest->state, sizeof(guest->state));
    say(world, "source", "stopped", "");
    (void)source_tell(
        world, &(struct gw_source_event){.type = GW_SOURCE_EV_STOPPED, .halted_ns = world->now_ns});
    return true;
}

/* Whole units, as the tracker sees them; each is armed anew by whoever reads of it first. */
static uint64_t report(struct guest *guest, uint64_t pages, uint64_t unit)
{
    uint64_t reported = 0;
    for (uint64_t page = 0; page < 64; page += unit) {
        uint64_t mask = gw_bit_mask(0, unit) << page;
        reported |= pages & mask ? mask : 0;
    }
    guest->armed &= ~reported;
    return reported;
}

static bool collect(struct world *world)
{
    static uint64_t bitmap[GW_BITMAP_WORDS];
    struct guest *guest = &world->guest[SOURCE];
    if (!errand_is_due(world, &world->collecting)) {
        return false;
    }
    world->collecting.is_owed = false;
    if (source_fails(world, GW_SOURCE_EV_HOST_FAULT)) {
        return true;
    }
    enum gw_source_event_type type = GW_SOURCE_EV_COLLECTED;
    if (world->is_tracking_asked) {
        world->is_tracking_asked = false;
        guest->log = 0;
        guest->armed = ~UINT64_C(0);
        type = GW_SOURCE_EV_TRACKED;
    }
    memset(bitmap, 0, sizeof(bitmap));
    bitmap[0] = report(guest, type == GW_SOURCE_EV_TRACKED ? guest->touched : guest->log,
                       world->plan.options.own_unit);
    (void)source_tell(world, &(struct gw_source_event){.type = type, .bitmap = bitmap});
    return true;
}

/* A crash on the way finds the old record or the new one; so does a failure. */
static bool record_departure(struct world *world)
{
    if (!errand_is_due(world, &world->departing)) {
        return false;
    }
    world->departing.is_owed = false;
    if (world->departure.state == GW_DEPARTURE_LEAVING &&
        source_fails(world, GW_SOURCE_EV_RECORDED)) {
        return true;
    }
    world->departure_disk = world->departure;
    (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_RECORDED});
    return true;
}

/* ---- Actions ---- */

static void source_act(struct world *world, struct gw_source_action *action)
{
    struct guest *guest = &world->guest[SOURCE];
    if (world->plan.options.shared &&
        (action->type == GW_SOURCE_DO_TRACK || action->type == GW_SOURCE_DO_COLLECT ||
         action->type == GW_SOURCE_DO_CONNECT_BULK)) {
        world_fail(world, "the source goes about pages, and RAM is shared");
    }
    switch (action->type) {
    case GW_SOURCE_DO_CONNECT:
        errand_begin(world, &world->connecting);
        break;
    case GW_SOURCE_DO_CONNECT_BULK:
        for (uint32_t i = 0; i < SIM_BULK; i++) {
            gw_arming_reset(&world->bulk[i].arming);
        }
        errand_begin(world, &world->connecting_bulk);
        world->bulk_limit_ns = world->now_ns + SIM_WELCOME_NS;
        world->bulk_wanted = *action;
        world->bulk_lacks_map = action->has_map;
        break;
    case GW_SOURCE_DO_SEND:
        source_send(world, &action->message);
        break;
    case GW_SOURCE_DO_CLOSE:
        link_close_side(world, SOURCE);
        forget_link(world);
        break;
    case GW_SOURCE_DO_TRACK:
        world->is_tracking_asked = true;
        errand_begin(world, &world->collecting);
        break;
    case GW_SOURCE_DO_COLLECT:
        errand_begin(world, &world->collecting);
        break;
    case GW_SOURCE_DO_UNTRACK:
        world->collecting.is_owed = false;
        world->is_tracking_asked = false;
        break;
    case GW_SOURCE_DO_RECORD:
        world->departure = action->departure;
        errand_begin(world, &world->departing);
        if (world_random(world, 2)) {
            world->departure_disk = world->departure;
        }
        break;
    case GW_SOURCE_DO_STOP:
        errand_begin(world, &world->stopping);
        break;
    case GW_SOURCE_DO_RESUME:
        world->stopping.is_owed = false;
        guest->is_alive = true;
        say(world, "source", "resumes", "");
        break;
    case GW_SOURCE_DO_FINISH:
        say(world, "source", "ends", gw_source_fault(&world->source)->text);
        break;
    case GW_SOURCE_DO_THROTTLE:
        world->throttle_percent = action->throttle_percent;
        break;
    case GW_SOURCE_DO_STATUS:
        say(world, "source", "state", gw_source_state_name(gw_source_state(&world->source)));
        break;
    default: /* for events only */
        break;
    }
}

/* An action is done before the next is asked for. */
static bool take_action(struct world *world)
{
    struct gw_source_action action;
    if (world->departing.is_owed || gw_source_next(&world->source, &action) != GW_OK) {
        return false;
    }
    source_act(world, &action);
    return true;
}

/* ---- Connecting ---- */

static void introduce(struct world *world, enum gw_role role, uint32_t channel)
{
    const struct gw_source_action *wanted = &world->bulk_wanted;
    struct gw_message intro = {.type = GW_FRAME_INTRO, .intro = wanted->intro};
    struct connection *connection = link_open(world, role, wanted->intro.generation);
    intro.intro.role = (uint8_t)role;
    intro.intro.channel = (uint8_t)channel;
    intro.intro.sequence = wanted->acked[channel];
    if (connection) {
        connection->channel = channel;
        send_message(world, connection, SOURCE, &intro);
    }
}

static bool connect_step(struct world *world)
{
    bool is_control = world->connecting.is_owed;
    struct errand *errand = is_control ? &world->connecting : &world->connecting_bulk;
    enum gw_target_state target = gw_target_state(&world->target);
    bool is_deaf = world->now_ns < world->deaf_until_ns[SOURCE] ||
                   world->now_ns < world->deaf_until_ns[TARGET];
    if (!errand_is_due(world, errand)) {
        return false;
    }
    if (is_deaf && world->now_ns < errand->due_ns + SIM_CONNECT_NS) {
        return false;
    }
    if (is_deaf || !world->is_up[TARGET] || target == GW_TARGET_NONE) {
        source_lost(world, GW_LINK, "cannot connect");
        return true;
    }
    if (target == GW_TARGET_RECALLING) {
        return false; /* it listens in a moment */
    }
    errand->is_owed = false;
    if (!is_control) {
        for (uint32_t i = 0; i < world->bulk_wanted.channel_count; i++) {
            introduce(world, GW_ROLE_BULK, i);
        }
        if (world->bulk_wanted.has_urgent && !world->bulk_lacks_map) {
            introduce(world, GW_ROLE_URGENT, 0);
        }
    } else if (link_open(world, GW_ROLE_CONTROL, world->source.generation)) {
        (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_LINK_UP});
    }
    return true;
}

/* ---- Receiving ---- */

static void channels_go_on(struct world *world)
{
    const struct connection *urgent = link_newest(world, SOURCE, GW_ROLE_URGENT);
    bool are_up = !world->bulk_lacks_map;
    for (uint32_t i = 0; i < world->bulk_wanted.channel_count; i++) {
        const struct connection *bulk = link_bulk(world, i);
        are_up = are_up && bulk && bulk->is_welcomed;
    }
    if (!are_up || (world->bulk_wanted.has_urgent && (!urgent || !urgent->is_welcomed))) {
        return;
    }
    world->bulk_limit_ns = 0;
    (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_BULK_UP});
}

static void receive_map(struct world *world, uint32_t bytes, const uint8_t *payload)
{
    static uint64_t bitmap[GW_BITMAP_WORDS];
    struct gw_fault fault = {0};
    if (gw_page_map_decode(bitmap, world->plan.options.pages, payload, bytes, &fault) != GW_OK ||
        !world->bulk_lacks_map) {
        source_lost(world, GW_PROTOCOL, "that is no map");
        return;
    }
    world->bulk_lacks_map = false;
    (void)source_tell(world,
                      &(struct gw_source_event){.type = GW_SOURCE_EV_RECONCILED, .bitmap = bitmap});
    if (world->bulk_wanted.has_urgent) {
        introduce(world, GW_ROLE_URGENT, 0);
    }
    channels_go_on(world);
}

static void receive_on_channel(struct world *world, struct connection *connection,
                               const struct gw_message *message)
{
    if (message->type == GW_FRAME_DEMAND && connection->is_welcomed) {
        source_answer_demand(world, connection, message->demanded_page);
        return;
    }
    connection->is_welcomed = message->type == GW_FRAME_WELCOME;
    if (!connection->is_welcomed) {
        source_lost(world, GW_REFUSED, message->verdict.reason);
        return;
    }
    channels_go_on(world);
}

static void note_lost(struct world *world, const struct gw_message *message)
{
    if (message->type == GW_FRAME_WELCOME && message->welcome.standing == GW_STANDING_LOST &&
        message->welcome.epoch == world->source.epoch) {
        world->is_told_lost = true;
    }
}

static void receive(struct world *world, struct connection *connection,
                    const struct gw_frame_header *header, const uint8_t *payload)
{
    struct gw_message message;
    struct gw_fault fault = {0};
    if (header->type == GW_FRAME_RECEIVED && connection->role == GW_ROLE_BULK) {
        receive_map(world, header->payload_bytes, payload);
        return;
    }
    if (gw_message_decode(&message, header->type, payload, header->payload_bytes, &fault)) {
        source_lost(world, fault.status, fault.text);
    } else if (message.type == GW_FRAME_PING) {
        message.type = GW_FRAME_PONG;
        send_message(world, connection, SOURCE, &message);
    } else if (connection->role != GW_ROLE_CONTROL) {
        receive_on_channel(world, connection, &message);
    } else if (message.type != GW_FRAME_PONG) {
        note_lost(world, &message);
        (void)source_tell(
            world, &(struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &message});
    }
}

static bool receive_from(struct world *world, struct connection *connection)
{
    struct gw_frame_header header;
    struct gw_fault fault = {0};
    const uint8_t *payload;
    if (!connection->is_used || !connection->is_open[SOURCE]) {
        return false;
    }
    switch (link_take(world, connection, SOURCE, &header, &payload, &fault)) {
    case GW_OK:
        receive(world, connection, &header, payload);
        return true;
    case GW_AGAIN:
        return false;
    default:
        source_lost(world, fault.status, fault.text);
        return true;
    }
}

/* What came is read before the end of any connection counts. */
static bool receive_step(struct world *world)
{
    uint32_t first = (uint32_t)world_random(world, SIM_CONNECTIONS);
    for (uint32_t n = 0; n < SIM_CONNECTIONS; n++) {
        if (receive_from(world, &world->connection[(first + n) % SIM_CONNECTIONS])) {
            return true;
        }
    }
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        const struct connection *connection = &world->connection[i];
        if (connection->is_used && connection->is_open[SOURCE] &&
            link_has_ended(world, connection, SOURCE)) {
            source_lost(world, GW_LINK, "the link broke");
            return true;
        }
    }
    return false;
}

/* ---- Its operator ---- */

/* Who asked to be asked before the guest is stopped takes his time to answer. */
static bool agree(struct world *world)
{
    const struct options *options = &world->plan.options;
    struct errand *agreeing = &world->agreeing;
    if (gw_source_state(&world->source) != GW_SOURCE_PRE_SWITCHOVER) {
        agreeing->is_owed = false;
        return false;
    }
    uint64_t longest_ms = world->is_quiet ? 0 : options->hold_ms;
    if (!agreeing->is_owed) {
        agreeing->is_owed = true;
        agreeing->due_ns = world->now_ns + SIM_MS * world_random(world, longest_ms + 1);
    }
    if (!world->is_quiet && agreeing->due_ns > world->now_ns) {
        return false;
    }
    agreeing->is_owed = false;
    (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_CONTINUE});
    return true;
}

/* ---- Time ---- */

static bool clock_step(struct world *world)
{
    bool is_dead = false;
    if (world->now_ns >= gw_source_deadline(&world->source)) {
        (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_TICK});
        return true;
    }
    if (world->bulk_limit_ns && world->now_ns >= world->bulk_limit_ns) {
        source_lost(world, GW_LINK, "the bulk channels are not welcomed");
        return true;
    }
    bool is_done = link_keep_alive(world, SOURCE, &is_dead);
    if (is_dead) {
        source_lost(world, GW_LINK, "the target says nothing");
    }
    return is_done;
}

bool source_step(struct world *world, uint32_t choice)
{
    static bool (*const steps[SOURCE_CHOICES])(struct world *) = {
        take_action,      connect_step, receive_step, source_send_pages, stop_guest, collect,
        record_departure, clock_step,   agree};
    if (!world->is_up[SOURCE] || !world->is_source_started ||
        world->hung_until_ns[SOURCE] > world->now_ns) {
        return false;
    }
    return steps[choice](world);
}
