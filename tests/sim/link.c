/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated link: connections of frames, in real bytes. */
#include <stdio.h>
#include <string.h>

#include "godwit/crc32c.h"
#include "sim.h"

struct connection *link_open(struct world *world, enum gw_role role, uint32_t generation)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (!connection->is_used) {
            connection->is_used = true;
            connection->role = role;
            connection->is_admitted = false;
            connection->is_dark = false;
            connection->generation = generation;
            connection->answers = 0;
            for (int side = 0; side < 2; side++) {
                connection->is_open[side] = true;
                connection->is_broken[side] = false;
                connection->to[side].first = 0;
                connection->to[side].count = 0;
            }
            return connection;
        }
    }
    world_fail(world, "more than %d connections", SIM_CONNECTIONS);
    return NULL;
}

void link_send(struct world *world, struct connection *connection, enum side from,
               const struct gw_frame_header *header, const uint8_t *payload)
{
    struct queue *queue = &connection->to[!from];
    if (!connection->is_open[!from] || connection->is_broken[from] ||
        connection->is_broken[!from]) {
        return; /* the other side is gone: lost */
    }
    if (queue->count == SIM_QUEUE) {
        world_fail(world, "a queue of the link is full");
        return;
    }
    uint32_t at = (queue->first + queue->count++) % SIM_QUEUE;
    gw_frame_encode_header(header, queue->slot[at].frame);
    if (header->payload_bytes > 0) {
        memcpy(queue->slot[at].frame + GW_FRAME_HEADER_BYTES, payload, header->payload_bytes);
    }
    queue->slot[at].bytes = GW_FRAME_HEADER_BYTES + header->payload_bytes;
}

bool link_take(struct connection *connection, enum side at, struct gw_frame_header *header,
               const uint8_t **payload)
{
    struct queue *queue = &connection->to[at];
    struct gw_fault fault = {0};
    if (queue->count == 0) {
        return false;
    }
    uint8_t *frame = queue->slot[queue->first].frame;
    GW_ASSERT(gw_frame_decode_header(header, frame, &fault) == GW_OK);
    *payload = frame + GW_FRAME_HEADER_BYTES;
    queue->first = (queue->first + 1) % SIM_QUEUE;
    queue->count--;
    return true;
}

static void forget_if_closed(struct connection *connection)
{
    if (!connection->is_open[SOURCE] && !connection->is_open[TARGET]) {
        connection->is_used = false;
    }
}

void link_close_side(struct world *world, enum side side)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (connection->is_used && connection->is_open[side]) {
            connection->is_open[side] = false;
            connection->to[side].count = 0;
            forget_if_closed(connection);
        }
    }
}

void link_cut(struct world *world, enum fault_kind how)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (!connection->is_used) {
            continue;
        }
        connection->is_broken[SOURCE] = true;
        connection->is_dark = how == FAULT_CUT_UNSEEN;
        connection->is_broken[TARGET] = !connection->is_dark;
        if (how != FAULT_CUT_TO_TARGET) {
            connection->to[TARGET].count = 0;
        }
        if (how != FAULT_CUT_TO_SOURCE) {
            connection->to[SOURCE].count = 0;
        }
    }
}

static uint8_t message_buffer[SIM_FRAME_BYTES];

void say(const struct world *world, const char *who, const char *what, const char *more)
{
    if (world->is_verbose) {
        printf("%6llu %-6s %-10s %s\n", (unsigned long long)world->step, who, what, more);
    }
}

void send_message(struct world *world, struct connection *connection, enum side from,
                  const struct gw_message *message)
{
    uint32_t bytes = gw_message_encode(message, message_buffer, sizeof(message_buffer));
    const struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                           .type = (uint8_t)message->type,
                                           .payload_bytes = bytes,
                                           .payload_crc = gw_crc32c(0, message_buffer, bytes),
                                           .generation = connection->generation};
    say(world, from == SOURCE ? "source" : "target", "says",
        gw_frame_type_name((uint8_t)message->type));
    link_send(world, connection, from, &header, message_buffer);
}
