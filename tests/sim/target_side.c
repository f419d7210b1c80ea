/* SPDX-License-Identifier: Apache-2.0 */
/* What the embedder of the target does; see source_side.c. */
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "godwit/crc32c.h"
#include "sim.h"

enum gw_status target_tell(struct world *world, const struct gw_target_event *event)
{
    struct gw_target_event timed = *event;
    struct gw_fault fault = {0};
    timed.now_ns = world->now_ns;
    enum gw_status status = gw_target_handle(&world->target, &timed, &fault);
    if (status != GW_OK) {
        say(world, "target", "refuses", fault.text);
        if (status != GW_ARGUMENT || strlen(fault.text) <= 20) {
            world_fail(world, "the target refuses an operator without a reason");
        }
    }
    return status;
}

/* Who introduced itself just now: the engine's word about it is carried out at once. */
static struct connection *candidate;

static void host_fault(struct world *world, const char *why)
{
    struct gw_fault fault = {0};
    (void)gw_fault_set(&fault, GW_HOST, "%s", why);
    say(world, "target", "fails", why);
    (void)target_tell(world,
                      &(struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = &fault});
}

/* Whoever has not introduced himself yet is none of the session. */
static void close_all(struct world *world)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (connection->is_used && connection->is_admitted && connection != candidate &&
            connection->is_open[TARGET]) {
            link_close_one(world, connection, TARGET);
        }
    }
}

void target_lost(struct world *world, enum gw_status status, const char *why)
{
    struct gw_fault fault = {0};
    (void)gw_fault_set(&fault, status, "%s", why);
    close_all(world);
    say(world, "target", "lost", why);
    (void)target_tell(world,
                      &(struct gw_target_event){.type = GW_TARGET_EV_LINK_LOST, .fault = &fault});
}

/* ---- Demands ---- */

static void demand(struct world *world, uint64_t page)
{
    struct connection *urgent = link_newest(world, TARGET, GW_ROLE_URGENT);
    struct gw_message message = {.type = GW_FRAME_DEMAND,
                                 .demanded_page = gw_target_unit_of(&world->target, page)};
    if (urgent) {
        send_message(world, urgent, TARGET, &message);
    }
}

/* The fault thread. */
void target_fault(struct world *world, uint32_t page, uint32_t vcpu)
{
    switch (gw_target_page_fault(&world->target, page, vcpu + 1, world->now_ns)) {
    case GW_FAULT_WAIT:
        break;
    case GW_FAULT_DEMAND:
        demand(world, page);
        break;
    case GW_FAULT_ZERO:
        (void)gw_bits_put(&world->guest[TARGET].absent, gw_target_unit_of(&world->target, page),
                          world->plan.options.unit, false);
        gw_target_zero_placed(&world->target, page, world->now_ns);
        break;
    }
}

/* What was demanded on an earlier channel. */
static void demand_all(struct world *world)
{
    uint64_t page = 0;
    while (gw_target_next_demand(&world->target, &page) == GW_OK) {
        demand(world, page);
    }
}

/* ---- What the host was asked for ---- */

/* What was done is told some time later, in order; only then does the engine know. */
static void answer_later(struct world *world, enum gw_target_event_type type)
{
    if (world->answer_count == SIM_ANSWERS) {
        world_fail(world, "the target asks for more and more without waiting for an answer");
        return;
    }
    uint32_t at = (world->answer_first + world->answer_count++) % SIM_ANSWERS;
    world->answer[at] = type;
    errand_begin(world, &world->answering[at]);
}

static enum gw_target_event_type load(struct world *world)
{
    if (world->is_load_failing || world->target_state_bytes != sizeof(struct guest_state)) {
        return GW_TARGET_EV_HOST_FAULT;
    }
    memcpy(&world->guest[TARGET].state, world->target_state, sizeof(struct guest_state));
    return GW_TARGET_EV_LOADED;
}

static enum gw_target_event_type arm(struct world *world)
{
    struct guest *guest = &world->guest[TARGET];
    const uint64_t *received = gw_target_received(&world->target);
    uint32_t unit = (uint32_t)world->plan.options.unit;
    for (uint32_t page = 0; page < world->plan.options.pages; page++) {
        if (!gw_bit_test(received, page)) { /* nobody may see this */
            memset(guest_page(world, TARGET, page), 0xee, world->plan.options.page_bytes);
            guest->touched &= ~(UINT64_C(1) << page);
        }
    }
    guest->absent = 0;
    for (uint32_t page = 0; page < world->plan.options.pages; page += unit) {
        if (gw_bits_next(&guest->touched, page, page + unit, true) == page + unit) {
            /* a hole faults too, even when it is known to be zero */
            (void)gw_bits_put(&guest->absent, page, unit, true);
        }
    }
    return GW_TARGET_EV_ARMED;
}

/* The guest may run before the engine hears that it does. */
static enum gw_target_event_type start_guest(struct world *world)
{
    struct guest *guest = &world->guest[TARGET];
    bool is_source_standing = world->is_up[SOURCE] && !world->was_booted_anew;
    guest->is_alive = true;
    guest->is_paused = !world->work.is_running;
    memset(guest->blocked_page, -1, sizeof(guest->blocked_page));
    guest_check_ram(world, TARGET);
    if (is_source_standing && !world->is_history_free) {
        guest_check_same(world);
    }
    say(world, "target", "runs", "");
    return GW_TARGET_EV_STARTED;
}

static enum gw_target_event_type write_record(struct world *world)
{
    bool is_written = !world->is_disk_full && (!world->is_work_failing || world_random(world, 2));
    if (is_written) {
        world->disk = world->work.history; /* or only the directory's fsync failed */
    }
    return is_written && !world->is_work_failing ? GW_TARGET_EV_RECORDED : GW_TARGET_EV_HOST_FAULT;
}

static bool work_step(struct world *world)
{
    if (!errand_is_due(world, &world->working)) {
        return false;
    }
    enum gw_target_event_type answer = GW_TARGET_EV_HOST_FAULT;
    world->working.is_owed = false;
    if (world->work.type == GW_TARGET_DO_RECORD) {
        answer = write_record(world);
    } else if (!world->is_work_failing) {
        answer = world->work.type == GW_TARGET_DO_LOAD  ? load(world)
                 : world->work.type == GW_TARGET_DO_ARM ? arm(world)
                                                        : start_guest(world);
    }
    world->is_work_failing = false;
    answer_later(world, answer);
    return true;
}

static bool answer_step(struct world *world)
{
    uint32_t at = world->answer_first;
    if (world->answer_count == 0 || !errand_is_due(world, &world->answering[at])) {
        return false;
    }
    world->answer_first = (at + 1) % SIM_ANSWERS;
    world->answer_count--;
    if (world->answer[at] == GW_TARGET_EV_HOST_FAULT) {
        host_fault(world, "the host failed");
    } else {
        (void)target_tell(world, &(struct gw_target_event){.type = world->answer[at]});
    }
    return true;
}

static void begin_work(struct world *world, const struct gw_target_action *action)
{
    world->work = *action;
    world->is_work_failing = world->is_failing[TARGET];
    world->is_failing[TARGET] = false;
    errand_begin(world, &world->working);
    if (action->type == GW_TARGET_DO_RECORD && !world->is_disk_full && !world->is_work_failing &&
        world_random(world, 2)) {
        world->disk = action->history; /* a crash on the way finds the old ones or these */
    }
}

/* ---- Devices ---- */

/* Each says so in its own time; one that is asked again begins anew. */
static void begin_devices(struct world *world)
{
    const struct options *options = &world->plan.options;
    uint64_t longest_us = world->is_quiet ? 1000 : 1000 * options->device_ms;
    if (world->is_failing[TARGET]) {
        world->is_failing[TARGET] = false;
        answer_later(world, GW_TARGET_EV_HOST_FAULT);
        return;
    }
    for (uint32_t i = 0; i < options->devices; i++) {
        bool is_stuck = i < options->stuck_devices && !world->are_devices_well;
        world->readying[i].is_owed = !is_stuck;
        world->readying[i].due_ns = world->now_ns + 1000 * world_random(world, longest_us + 1);
    }
}

static bool ready_step(struct world *world)
{
    for (uint32_t i = 0; i < SIM_DEVICES; i++) {
        if (errand_is_due(world, &world->readying[i])) {
            world->readying[i].is_owed = false;
            (void)target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_DEVICE_READY});
            return true;
        }
    }
    return false;
}

/* ---- Actions ---- */

static void send_received(struct world *world, struct connection *bulk)
{
    uint8_t bytes[GW_PAGE_MAP_BYTES_MAX];
    uint64_t pages = world->plan.options.pages;
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = GW_FRAME_RECEIVED,
                                     .payload_bytes = gw_page_map_bytes(pages),
                                     .generation = bulk->generation};
    gw_page_map_encode(gw_target_received(&world->target), pages, bytes);
    header.payload_crc = gw_crc32c(0, bytes, header.payload_bytes);
    link_send(world, bulk, TARGET, &header, bytes);
}

static void admit_channel(struct world *world, const struct gw_target_action *action)
{
    candidate->is_admitted = true;
    world->assembly[candidate->role == GW_ROLE_URGENT ? SIM_BULK : action->channel].unit.count = 0;
    send_message(world, candidate, TARGET, &action->message);
    if (action->has_map) {
        send_received(world, candidate);
    }
    if (action->type == GW_TARGET_DO_ADMIT_URGENT) {
        gw_target_urgent_ready(&world->target);
        demand_all(world);
    }
}

static void target_act(struct world *world, struct gw_target_action *action)
{
    struct guest *guest = &world->guest[TARGET];
    struct connection *control = link_newest(world, TARGET, GW_ROLE_CONTROL);
    switch (action->type) {
    case GW_TARGET_DO_ADMIT:
        candidate->is_admitted = true;
        break;
    case GW_TARGET_DO_ADMIT_BULK:
    case GW_TARGET_DO_ADMIT_URGENT:
        admit_channel(world, action);
        break;
    case GW_TARGET_DO_TURN_AWAY:
        send_message(world, candidate, TARGET, &action->message);
        link_close_one(world, candidate, TARGET);
        break;
    case GW_TARGET_DO_SEND:
        if (control) {
            send_message(world, control, TARGET, &action->message);
        }
        break;
    case GW_TARGET_DO_CLOSE:
        close_all(world);
        break;
    case GW_TARGET_DO_DISARM:
        guest->absent = 0;
        break;
    case GW_TARGET_DO_PREPARE_DEVICES:
        begin_devices(world);
        break;
    case GW_TARGET_DO_ARM:
    case GW_TARGET_DO_RECORD:
    case GW_TARGET_DO_LOAD:
    case GW_TARGET_DO_RUN:
        begin_work(world, action);
        break;
    case GW_TARGET_DO_FINISH:
        if (gw_target_state(&world->target) == GW_TARGET_LOST) {
            guest->is_alive =
                false; /* whoever waits for a page waits until the process ends: now */
        }
        say(world, "target", "ends", gw_target_fault(&world->target)->text);
        break;
    case GW_TARGET_DO_STATUS:
        say(world, "target", "state", gw_target_state_name(gw_target_state(&world->target)));
        break;
    default: /* for events only */
        break;
    }
}

static bool take_action(struct world *world)
{
    struct gw_target_action action;
    if (world->working.is_owed || world->stuck_until_ns > world->now_ns ||
        gw_target_next(&world->target, &action) != GW_OK) {
        return false;
    }
    target_act(world, &action);
    return true;
}

/* ---- Messages ---- */

/* A candidate is offered when nothing else is to be done, so that the engine's next word about one
 * is about this one. */
void target_introduce(struct world *world, struct connection *connection,
                      const struct gw_message *message)
{
    struct gw_target_action action;
    candidate = connection;
    (void)target_tell(world,
                      &(struct gw_target_event){.type = GW_TARGET_EV_INTRO, .message = message});
    while (!world->working.is_owed && gw_target_next(&world->target, &action) == GW_OK) {
        target_act(world, &action);
    }
    candidate = NULL;
}

static void keep_state(struct world *world, const struct gw_prepare *prepare)
{
    world->target_state_bytes = prepare->state_bytes;
    if (prepare->state_bytes <= sizeof(world->target_state)) {
        memcpy(world->target_state, prepare->state, prepare->state_bytes);
    }
}

static void receive_message(struct world *world, struct connection *connection,
                            const struct gw_frame_header *header, const uint8_t *payload)
{
    struct gw_message message;
    struct gw_fault fault = {0};
    if (gw_message_decode(&message, header->type, payload, header->payload_bytes, &fault)) {
        target_lost(world, fault.status, fault.text);
        return;
    }
    if (message.type == GW_FRAME_PING) {
        message.type = GW_FRAME_PONG;
        send_message(world, connection, TARGET, &message);
    } else if (message.type != GW_FRAME_PONG) {
        if (message.type == GW_FRAME_PREPARE) {
            keep_state(world, &message.prepare);
        }
        (void)target_tell(
            world, &(struct gw_target_event){.type = GW_TARGET_EV_MESSAGE, .message = &message});
    }
}

static void receive(struct world *world, struct connection *connection,
                    const struct gw_frame_header *header, const uint8_t *payload)
{
    bool is_bulk = connection->role == GW_ROLE_BULK;
    if (header->type == GW_FRAME_BATCH && connection->role != GW_ROLE_CONTROL) {
        target_receive_batch(world, connection, header, payload);
    } else if (header->type == GW_FRAME_MISSING && is_bulk && connection->channel == 0) {
        target_receive_map(world, header, payload);
    } else if (header->type == GW_FRAME_VERIFY && is_bulk) {
        target_receive_verify(world, connection->channel, header, payload);
    } else if (connection->role == GW_ROLE_CONTROL) {
        receive_message(world, connection, header, payload);
    } else {
        target_lost(world, GW_PROTOCOL, "a frame that has no place on this channel");
    }
}

/* Its first frame says who it is; what is none is let go, and harms nobody. */
static void receive_first(struct world *world, struct connection *connection,
                          const struct gw_frame_header *header, const uint8_t *payload)
{
    struct gw_message message;
    struct gw_fault fault = {0};
    if (gw_message_decode(&message, header->type, payload, header->payload_bytes, &fault) !=
            GW_OK ||
        message.type != GW_FRAME_INTRO) {
        link_close_one(world, connection, TARGET);
        return;
    }
    target_introduce(world, connection, &message);
}

bool target_is_free(const struct world *world)
{
    return world->target.action_count == 0 && !world->working.is_owed &&
           world->stuck_until_ns <= world->now_ns;
}

/* True when something came of it. */
static bool receive_from(struct world *world, struct connection *connection)
{
    struct gw_frame_header header;
    struct gw_fault fault = {0};
    const uint8_t *payload;
    if (!connection->is_used || !connection->is_open[TARGET] ||
        (!connection->is_admitted && !target_is_free(world))) {
        return false;
    }
    enum gw_status status = link_take(world, connection, TARGET, &header, &payload, &fault);
    if (status == GW_OK && connection->is_admitted) {
        receive(world, connection, &header, payload);
    } else if (status == GW_OK) {
        receive_first(world, connection, &header, payload);
    } else if (status != GW_AGAIN && connection->is_admitted) {
        target_lost(world, fault.status, fault.text);
    } else if (status != GW_AGAIN) {
        link_close_one(world, connection, TARGET);
    } else if (link_has_ended(world, connection, TARGET)) {
        if (!connection->is_admitted) {
            link_close_one(world, connection, TARGET);
        } else {
            target_lost(world, GW_LINK, "the link broke");
        }
    } else {
        return false;
    }
    return true;
}

static bool receive_step(struct world *world)
{
    uint32_t first = (uint32_t)world_random(world, SIM_CONNECTIONS);
    for (uint32_t n = 0; n < SIM_CONNECTIONS; n++) {
        if (receive_from(world, &world->connection[(first + n) % SIM_CONNECTIONS])) {
            return true;
        }
    }
    return false;
}

/* ---- Time ---- */

static bool let_go_of_the_silent(struct world *world)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        const struct lane *lane = &connection->lane[TARGET];
        bool has_come = lane->count > 0 && lane->slot[lane->first].due_ns <= world->now_ns;
        if (connection->is_used && connection->is_open[TARGET] && !connection->is_admitted &&
            !has_come && world->now_ns >= connection->opened_ns + SIM_INTRO_NS) {
            link_close_one(world, connection, TARGET);
            return true;
        }
    }
    return false;
}

static bool clock_step(struct world *world)
{
    bool is_dead = false;
    if (!world->plan.options.patient && world->now_ns >= gw_target_deadline(&world->target)) {
        (void)target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_TICK});
        return true;
    }
    if (let_go_of_the_silent(world)) {
        return true;
    }
    bool is_done = link_keep_alive(world, TARGET, &is_dead);
    if (is_dead) {
        target_lost(world, GW_LINK, "the source says nothing");
    }
    return is_done;
}

bool target_step(struct world *world, uint32_t choice)
{
    static bool (*const steps[TARGET_CHOICES])(struct world *) = {
        take_action, receive_step, work_step, answer_step, ready_step, clock_step};
    if (!world->is_up[TARGET] || world->hung_until_ns[TARGET] > world->now_ns) {
        return false;
    }
    return steps[choice](world);
}

void target_boot(struct world *world)
{
    const struct options *options = &world->plan.options;
    const struct gw_target_config config = {.facts = options->misfit ? &world->other_facts
                                                                     : &world->facts,
                                            .page_count = options->pages,
                                            .page_bytes = (uint32_t)options->page_bytes,
                                            .unit_pages = (uint32_t)options->unit,
                                            .vcpu_count = (uint32_t)options->vcpus,
                                            .device_count = (uint32_t)options->devices,
                                            .can_postcopy = options->can_postcopy,
                                            .is_ram_shared = options->shared,
                                            .recover_ns_max = options->strand_ms * SIM_MS,
                                            .history = world->disk};
    world->is_up[TARGET] = true;
    world->guest[TARGET].absent = 0; /* nobody watches it now; what is in it may be anything */
    world->working.is_owed = false;
    world->answer_count = 0;
    memset(world->readying, 0, sizeof(world->readying));
    world->is_work_failing = false;
    gw_target_init(&world->target, &config);
    (void)target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_START});
}
