/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated link: connections of frames, in real bytes. Within a connection, order is kept;
 * between connections there is none, as each has a latency and a bandwidth of its own.
 */
#include <stdio.h>
#include <string.h>

#include "godwit/crc32c.h"
#include "sim.h"

enum { SMALL_BYTES = 1024, LARGE_BUFFERS = 64 };

static uint8_t small[SIM_CONNECTIONS][2][SIM_SLOTS][SMALL_BYTES];
static uint8_t large[LARGE_BUFFERS][SIM_FRAME_BYTES];
static uint8_t taken[SIM_FRAME_BYTES]; /* the frame that was taken last */

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- Slots ---- */

static uint8_t *bytes_of(struct world *world, const struct connection *connection, enum side side,
                         uint32_t index)
{
    const struct slot *slot = &connection->lane[side].slot[index];
    return slot->buffer >= 0 ? large[slot->buffer]
                             : small[connection - world->connection][side][index];
}

static void free_slot(struct world *world, const struct slot *slot)
{
    if (slot->buffer >= 0) {
        world->buffers &= ~(UINT64_C(1) << slot->buffer);
    }
}

static void empty(struct world *world, struct lane *lane)
{
    for (; lane->count > 0; lane->count--) {
        free_slot(world, &lane->slot[lane->first]);
        lane->first = (lane->first + 1) % SIM_SLOTS;
    }
}

static uint8_t *add_slot(struct world *world, struct connection *connection, enum side side,
                         uint32_t bytes, uint64_t due_ns)
{
    struct lane *lane = &connection->lane[side];
    uint32_t index = (lane->first + lane->count) % SIM_SLOTS;
    if (lane->count == SIM_SLOTS || world->buffers == UINT64_MAX) {
        world_fail(world, "more is under way than any window allows");
        return NULL;
    }
    lane->slot[index] = (struct slot){.due_ns = due_ns, .bytes = bytes, .buffer = -1};
    if (bytes > SMALL_BYTES) {
        lane->slot[index].buffer = __builtin_ctzll(~world->buffers);
        world->buffers |= UINT64_C(1) << lane->slot[index].buffer;
    }
    lane->count++;
    return bytes_of(world, connection, side, index);
}

/* ---- Connections ---- */

struct connection *link_open(struct world *world, enum gw_role role, uint32_t generation)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (!connection->is_used) {
            memset(connection, 0, sizeof(*connection));
            connection->is_used = true;
            connection->role = role;
            connection->generation = generation;
            connection->opened_ns = world->now_ns;
            for (int side = 0; side < 2; side++) {
                struct lane *lane = &connection->lane[side];
                connection->is_open[side] = true;
                connection->heard_ns[side] = world->now_ns;
                lane->latency_ns = 1000 * world_random(world, world->plan.options.latency_us + 1);
                lane->held_until_ns = world->deaf_until_ns[side];
                lane->end_ns = SIM_NEVER;
            }
            return connection;
        }
    }
    world_fail(world, "more than %d connections", SIM_CONNECTIONS);
    return NULL;
}

struct connection *link_newest(struct world *world, enum side side, enum gw_role role)
{
    struct connection *newest = NULL;
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        bool is_ours = connection->is_used && connection->role == role &&
                       connection->is_open[side] && (side == SOURCE || connection->is_admitted);
        if (is_ours && (!newest || connection->generation >= newest->generation)) {
            newest = connection;
        }
    }
    return newest;
}

struct connection *link_bulk(struct world *world, uint32_t channel)
{
    struct connection *newest = NULL;
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        bool is_it = connection->is_used && connection->role == GW_ROLE_BULK &&
                     connection->channel == channel && connection->is_open[SOURCE];
        if (is_it && (!newest || connection->generation > newest->generation)) {
            newest = connection;
        }
    }
    return newest;
}

/* When a frame of so many bytes arrives: behind those before it, at the lane's pace. */
static uint64_t arrival(struct world *world, struct lane *lane, uint32_t bytes)
{
    const struct options *options = &world->plan.options;
    uint64_t start_ns = max_of(world->now_ns, lane->free_ns);
    lane->free_ns = start_ns + (options->rate ? bytes * SIM_S / options->rate : 0);
    uint64_t due_ns = max_of(lane->free_ns, lane->held_until_ns) + lane->latency_ns;
    if (options->stall_one_in && !world->is_quiet &&
        world_random(world, options->stall_one_in) == 0) {
        due_ns += world_random(world, options->stall_ms + 1) * SIM_MS;
    }
    lane->last_due_ns = max_of(due_ns, lane->last_due_ns);
    return lane->last_due_ns;
}

void link_send(struct world *world, struct connection *connection, enum side from,
               const struct gw_frame_header *header, const uint8_t *payload)
{
    struct lane *lane = &connection->lane[!from];
    uint32_t bytes = GW_FRAME_HEADER_BYTES + header->payload_bytes;
    uint64_t due_ns = arrival(world, lane, bytes);
    if (!connection->is_open[!from] || lane->is_lost) {
        return;
    }
    uint8_t *frame = add_slot(world, connection, !from, bytes, due_ns);
    if (!frame) {
        return;
    }
    gw_frame_encode_header(header, frame);
    if (header->payload_bytes > 0) {
        memcpy(frame + GW_FRAME_HEADER_BYTES, payload, header->payload_bytes);
    }
    uint64_t chance = world->is_quiet ? 0 : world->plan.options.damage_one_in;
    if (chance && world_random(world, chance) == 0) {
        frame[world_random(world, bytes)] ^= (uint8_t)(1 << world_random(world, 8));
    }
}

static enum gw_status check_frame(struct gw_frame_header *header, uint32_t bytes,
                                  struct gw_fault *fault)
{
    enum gw_status status = gw_frame_decode_header(header, taken, fault);
    if (status != GW_OK) {
        return status;
    }
    if (header->payload_bytes != bytes - GW_FRAME_HEADER_BYTES) { /* a forged length */
        return gw_fault_set(fault, GW_PROTOCOL, "a frame's length is wrong");
    }
    if (header->type == GW_FRAME_BATCH) { /* of its payload, the receiver judges */
        return GW_OK;
    }
    const uint8_t *payload = taken + GW_FRAME_HEADER_BYTES;
    uint32_t crc = header->payload_bytes ? gw_crc32c(0, payload, header->payload_bytes) : 0;
    return crc == header->payload_crc ? GW_OK
                                      : gw_fault_set(fault, GW_CORRUPT, "%s arrived damaged",
                                                     gw_frame_type_name(header->type));
}

enum gw_status link_take(struct world *world, struct connection *connection, enum side at,
                         struct gw_frame_header *header, const uint8_t **payload,
                         struct gw_fault *fault)
{
    struct lane *lane = &connection->lane[at];
    const struct slot *slot = &lane->slot[lane->first];
    if (lane->count == 0 || slot->due_ns > world->now_ns) {
        return GW_AGAIN;
    }
    uint32_t bytes = slot->bytes;
    memcpy(taken, bytes_of(world, connection, at, lane->first), bytes);
    free_slot(world, slot);
    lane->first = (lane->first + 1) % SIM_SLOTS;
    lane->count--;
    connection->heard_ns[at] = world->now_ns;
    connection->pinged_ns[at] = 0;
    *payload = taken + GW_FRAME_HEADER_BYTES;
    return check_frame(header, bytes, fault);
}

bool link_has_ended(const struct world *world, const struct connection *connection, enum side at)
{
    const struct lane *lane = &connection->lane[at];
    return lane->count == 0 && lane->end_ns <= world->now_ns;
}

/* ---- Ends ---- */

/* What was sent before still arrives, then the end. */
static void end_lane(struct world *world, struct lane *lane)
{
    if (!lane->is_lost && lane->end_ns == SIM_NEVER) {
        lane->end_ns = max_of(lane->last_due_ns,
                              max_of(world->now_ns, lane->held_until_ns) + lane->latency_ns);
    }
}

void link_close_one(struct world *world, struct connection *connection, enum side side)
{
    connection->is_open[side] = false;
    empty(world, &connection->lane[side]);
    end_lane(world, &connection->lane[!side]);
    connection->is_used = connection->is_open[!side];
}

void link_close_side(struct world *world, enum side side)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        if (world->connection[i].is_used && world->connection[i].is_open[side]) {
            link_close_one(world, &world->connection[i], side);
        }
    }
}

/* From now on nothing gets through; that side hears so at `end_ns`. A silent control connection is
 * found by PING, any other one by the kernel. */
static void lose_lane(struct world *world, struct connection *connection, enum side side,
                      bool keeps_frames, bool is_seen)
{
    struct lane *lane = &connection->lane[side];
    uint64_t silent_ns = connection->role == GW_ROLE_CONTROL
                             ? SIM_NEVER
                             : world->now_ns + SIM_IDLE_NS + world_random(world, 3 * SIM_S);
    if (!keeps_frames) {
        empty(world, lane);
    }
    lane->is_lost = true;
    lane->end_ns =
        is_seen ? max_of(world->now_ns, keeps_frames ? lane->last_due_ns : 0) : silent_ns;
}

void link_vanish(struct world *world, enum side side)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (connection->is_used && connection->is_open[side]) {
            lose_lane(world, connection, !side, true, false);
            link_close_one(world, connection, side);
        }
    }
}

void link_cut(struct world *world, enum fault_kind how)
{
    bool is_seen[2] = {how != FAULT_CUT_UNSEEN && how != FAULT_CUT_SEEN_BY_TARGET,
                       how != FAULT_CUT_UNSEEN && how != FAULT_CUT_SEEN_BY_SOURCE};
    bool keeps[2] = {how == FAULT_CUT_TO_SOURCE, how == FAULT_CUT_TO_TARGET};
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        bool is_meant = (how != FAULT_CUT_BULK || connection->role == GW_ROLE_BULK) &&
                        (how != FAULT_CUT_URGENT || connection->role == GW_ROLE_URGENT) &&
                        (how != FAULT_CUT_CONTROL || connection->role == GW_ROLE_CONTROL);
        for (int side = 0; side < 2 && connection->is_used && is_meant; side++) {
            lose_lane(world, connection, (enum side)side, keeps[side], is_seen[side]);
        }
    }
}

/* ---- Delays ---- */

static void hold(struct lane *lane, uint64_t until_ns)
{
    lane->held_until_ns = max_of(lane->held_until_ns, until_ns);
    for (uint32_t i = 0; i < lane->count; i++) {
        struct slot *slot = &lane->slot[(lane->first + i) % SIM_SLOTS];
        slot->due_ns = max_of(slot->due_ns, until_ns);
    }
    lane->last_due_ns = max_of(lane->last_due_ns, until_ns);
    if (lane->end_ns != SIM_NEVER && !lane->is_lost) {
        lane->end_ns = max_of(lane->end_ns, until_ns);
    }
}

void link_hold(struct world *world, enum gw_role role, uint64_t until_ns)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        if (world->connection[i].is_used && world->connection[i].role == role) {
            hold(&world->connection[i].lane[SOURCE], until_ns);
            hold(&world->connection[i].lane[TARGET], until_ns);
        }
    }
}

/* Nothing reaches that side. What lasts longer than the kernel sends again is an error for both:
 * one's data is not acknowledged, the other's acknowledgements do not come. */
void link_deafen(struct world *world, enum side side, uint64_t until_ns)
{
    world->deaf_until_ns[side] = max_of(world->deaf_until_ns[side], until_ns);
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (!connection->is_used) {
            continue;
        }
        hold(&connection->lane[side], until_ns);
        if (until_ns > world->now_ns + SIM_IDLE_NS) {
            for (int at = 0; at < 2; at++) {
                struct lane *lane = &connection->lane[at];
                lane->end_ns = world->now_ns + SIM_IDLE_NS + world_random(world, 3 * SIM_S);
                lane->is_lost = lane->is_lost || at == (int)side;
            }
            empty(world, &connection->lane[side]);
        }
    }
}

/* ---- Silence ---- */

/* Asks a silent peer whether it is there: true when something was done, *is_dead when it was asked
 * long enough ago. */
bool link_keep_alive(struct world *world, enum side side, bool *is_dead)
{
    struct connection *control = link_newest(world, side, GW_ROLE_CONTROL);
    struct gw_message ping = {.type = GW_FRAME_PING, .ping_ns = world->now_ns};
    *is_dead = false;
    if (!control) {
        return false;
    }
    if (control->pinged_ns[side] == 0) {
        if (world->now_ns < control->heard_ns[side] + SIM_IDLE_NS / 3) {
            return false;
        }
        control->pinged_ns[side] = world->now_ns;
        send_message(world, control, side, &ping);
        return true;
    }
    *is_dead = world->now_ns >= control->pinged_ns[side] + (SIM_IDLE_NS - SIM_IDLE_NS / 3);
    return *is_dead;
}

static uint64_t silence_due(const struct connection *connection, enum side side)
{
    if (connection->role != GW_ROLE_CONTROL || (side == TARGET && !connection->is_admitted)) {
        return side == TARGET && !connection->is_admitted ? connection->opened_ns + SIM_INTRO_NS
                                                          : SIM_NEVER;
    }
    return connection->pinged_ns[side]
               ? connection->pinged_ns[side] + (SIM_IDLE_NS - SIM_IDLE_NS / 3)
               : connection->heard_ns[side] + SIM_IDLE_NS / 3;
}

uint64_t link_next_due(const struct world *world)
{
    uint64_t next_ns = SIM_NEVER;
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        const struct connection *connection = &world->connection[i];
        for (int side = 0; side < 2 && connection->is_used; side++) {
            const struct lane *lane = &connection->lane[side];
            if (!connection->is_open[side] || !world->is_up[side]) {
                continue;
            }
            uint64_t due_ns[2] = {lane->count > 0 ? lane->slot[lane->first].due_ns : lane->end_ns,
                                  silence_due(connection, (enum side)side)};
            for (int n = 0; n < 2; n++) { /* what is due already waits for something else */
                bool is_next = due_ns[n] > world->now_ns && due_ns[n] < next_ns;
                next_ns = is_next ? due_ns[n] : next_ns;
            }
        }
    }
    return next_ns;
}

/* ---- Messages ---- */

void send_message(struct world *world, struct connection *connection, enum side from,
                  const struct gw_message *message)
{
    static uint8_t payload[SIM_FRAME_BYTES];
    uint32_t bytes = gw_message_encode(message, payload, sizeof(payload));
    const struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                           .type = (uint8_t)message->type,
                                           .payload_bytes = bytes,
                                           .payload_crc = bytes ? gw_crc32c(0, payload, bytes) : 0,
                                           .generation = connection->generation};
    if (message->type != GW_FRAME_PING && message->type != GW_FRAME_PONG) {
        say(world, from == SOURCE ? "source" : "target", "says",
            gw_frame_type_name((uint8_t)message->type));
    }
    link_send(world, connection, from, &header, payload);
}
