/* SPDX-License-Identifier: Apache-2.0 */
/* A control channel. The contract: godwit/channel.h. */
#include "godwit/channel.h"

#include <inttypes.h>
#include <string.h>

#include "drive/framing.h"
#include "godwit/clock.h"

void gw_channel_start(struct gw_channel *channel, uint32_t generation, uint64_t now_ns)
{
    channel->generation = generation;
    channel->is_generation_known = generation != 0;
    channel->sent = 0;
    channel->received = 0;
    channel->out_first = 0;
    channel->out_end = 0;
    channel->heard_ns = now_ns;
    channel->pinged_ns = 0;
    channel->wire_bytes = 0;
    channel->has_header = false;
    channel->got = 0;
}

/* ---- Sending ---- */

enum gw_status gw_channel_flush(struct gw_channel *channel, struct gw_fault *fault)
{
    while (channel->out_first < channel->out_end) {
        struct iovec part = {.iov_base = channel->out.bytes + channel->out_first,
                             .iov_len = channel->out_end - channel->out_first};
        size_t bytes = 0;
        enum gw_status status = gw_connection_write(&channel->connection, &part, 1, &bytes, fault);
        if (status != GW_OK) {
            return status;
        }
        channel->out_first += bytes;
    }
    channel->out_first = 0;
    channel->out_end = 0;
    return GW_OK;
}

static void move_to_front(struct gw_channel *channel)
{
    uint64_t waiting = channel->out_end - channel->out_first;
    memmove(channel->out.bytes, channel->out.bytes + channel->out_first, waiting);
    channel->out_first = 0;
    channel->out_end = waiting;
}

enum gw_status gw_channel_send(struct gw_channel *channel, const struct gw_message *message,
                               struct gw_fault *fault)
{
    size_t room = gw_framing_room(message);
    if (channel->out.capacity - channel->out_end < room) {
        move_to_front(channel);
    }
    if (channel->out.capacity - channel->out_end < room) {
        return gw_fault_set(
            fault, GW_LINK,
            "%.120s does not read: %" PRIu64 " bytes wait for it, and %s has no room",
            channel->connection.peer, channel->out_end, gw_frame_type_name((uint8_t)message->type));
    }
    uint32_t bytes = gw_framing_encode(message, channel->generation, channel->sent + 1,
                                       channel->out.bytes + channel->out_end,
                                       channel->out.capacity - channel->out_end);
    channel->sent++;
    channel->out_end += bytes;
    channel->wire_bytes += bytes;
    enum gw_status status = gw_channel_flush(channel, fault);
    return status == GW_AGAIN ? GW_OK : status;
}

/* ---- Receiving ---- */

/* Reads until `wanted` bytes of the header or payload are there. */
static enum gw_status read_part(struct gw_channel *channel, uint8_t *bytes, uint32_t wanted,
                                uint64_t now_ns, struct gw_fault *fault)
{
    while (channel->got < wanted) {
        struct iovec part = {.iov_base = bytes + channel->got, .iov_len = wanted - channel->got};
        size_t count = 0;
        struct gw_fault cause = {.status = GW_OK};
        enum gw_status status = gw_connection_read(&channel->connection, &part, 1, &count, &cause);
        if (status == GW_AGAIN) {
            return GW_AGAIN;
        }
        if (status != GW_OK) {
            bool is_end = status == GW_LINK && cause.os_error == 0;
            bool is_boundary = !channel->has_header && channel->got == 0;
            if (is_end && !is_boundary) {
                return gw_fault_set(fault, GW_LINK,
                                    "%.120s closed the connection in the middle of a frame",
                                    channel->connection.peer);
            }
            if (fault != NULL && fault->status == GW_OK) {
                *fault = cause;
            }
            return status;
        }
        channel->got += (uint32_t)count;
        channel->heard_ns = now_ns;
        channel->pinged_ns = 0;
    }
    return GW_OK;
}

/* A REFUSE may come before the peer understood our INTRO (another version, say): then it cannot
 * know the generation, and counts from 0. */
static bool is_early_refusal(const struct gw_channel *channel)
{
    return channel->is_generation_known && channel->header.type == GW_FRAME_REFUSE &&
           channel->received == 0;
}

/* The first frame tells a candidate's generation; bulk channels introduce themselves with number
 * 0, which whoever knows the role checks. */
static enum gw_status check_order(struct gw_channel *channel, struct gw_fault *fault)
{
    const struct gw_frame_header *header = &channel->header;
    if (is_early_refusal(channel)) {
        return GW_OK;
    }
    if (!channel->is_generation_known) {
        if (header->type != GW_FRAME_INTRO || header->sequence > 1) {
            return gw_fault_set(fault, GW_PROTOCOL,
                                "%.120s: began with %s number %" PRIu64 ", where INTRO is wanted",
                                channel->connection.peer, gw_frame_type_name(header->type),
                                header->sequence);
        }
        return GW_OK;
    }
    if (header->generation != channel->generation) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%.120s: %s of generation %u on a connection of generation %u",
                            channel->connection.peer, gw_frame_type_name(header->type),
                            header->generation, channel->generation);
    }
    if (header->sequence != channel->received + 1) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%.120s: %s has number %" PRIu64 ", where %" PRIu64 " is wanted",
                            channel->connection.peer, gw_frame_type_name(header->type),
                            header->sequence, channel->received + 1);
    }
    return GW_OK;
}

static const struct gw_channel_buffer *payload_buffer(const struct gw_channel *channel)
{
    return channel->header.type == GW_FRAME_PREPARE ? &channel->state : &channel->in;
}

static enum gw_status read_header(struct gw_channel *channel, uint64_t now_ns,
                                  struct gw_fault *fault)
{
    enum gw_status status =
        read_part(channel, channel->header_bytes, GW_FRAME_HEADER_BYTES, now_ns, fault);
    if (status == GW_OK) {
        status = gw_frame_decode_header(&channel->header, channel->header_bytes, fault);
    }
    if (status == GW_OK) {
        status = gw_framing_check_length(&channel->header, payload_buffer(channel)->capacity,
                                         channel->connection.peer, fault);
    }
    if (status == GW_OK) {
        status = check_order(channel, fault);
    }
    if (status == GW_OK) {
        channel->has_header = true;
        channel->got = 0;
    }
    return status;
}

static enum gw_status receive_frame(struct gw_channel *channel, uint64_t now_ns,
                                    struct gw_message *message, struct gw_fault *fault)
{
    enum gw_status status = GW_OK;
    if (!channel->has_header) {
        status = read_header(channel, now_ns, fault);
        if (status != GW_OK) {
            return status;
        }
    }
    const struct gw_frame_header *header = &channel->header;
    uint8_t *payload = payload_buffer(channel)->bytes;
    status = read_part(channel, payload, header->payload_bytes, now_ns, fault);
    if (status != GW_OK) {
        return status;
    }
    channel->has_header = false;
    channel->got = 0;
    channel->received = header->sequence;
    if (!channel->is_generation_known) {
        channel->generation = header->generation;
        channel->is_generation_known = true;
    }
    status = gw_framing_check_payload(header, payload, channel->connection.peer, fault);
    if (status != GW_OK) {
        return status;
    }
    return gw_message_decode(message, header->type, payload, header->payload_bytes, fault);
}

enum gw_status gw_channel_receive(struct gw_channel *channel, uint64_t now_ns,
                                  struct gw_message *message, struct gw_fault *fault)
{
    enum gw_status status = receive_frame(channel, now_ns, message, fault);
    if (status != GW_OK || message->type != GW_FRAME_PING) {
        return status;
    }
    message->type = GW_FRAME_PONG;
    return gw_channel_send(channel, message, fault);
}

/* ---- Silence ---- */

/* A third of the idle time to wonder, the rest of it for an answer: counted from the question, so
 * that one who was busy elsewhere for long does not take his own silence for the peer's. */
uint64_t gw_channel_deadline(const struct gw_channel *channel)
{
    uint64_t idle_ns = channel->connection.options.idle_ns_max;
    return channel->pinged_ns == 0 ? channel->heard_ns + idle_ns / 3
                                   : channel->pinged_ns + (idle_ns - idle_ns / 3);
}

enum gw_status gw_channel_check_idle(struct gw_channel *channel, uint64_t now_ns,
                                     struct gw_fault *fault)
{
    if (now_ns < gw_channel_deadline(channel)) {
        return GW_OK;
    }
    if (channel->pinged_ns != 0) {
        return gw_fault_set(fault, GW_LINK, "%.120s said nothing for %" PRIu64 " ms",
                            channel->connection.peer, (now_ns - channel->heard_ns) / GW_NS_PER_MS);
    }
    channel->pinged_ns = now_ns;
    struct gw_message ping = {.type = GW_FRAME_PING, .ping_ns = now_ns};
    return gw_channel_send(channel, &ping, fault);
}
