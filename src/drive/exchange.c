/* SPDX-License-Identifier: Apache-2.0 */
/* Single messages on connections that may block. The contract: exchange.h. */
#include "drive/exchange.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>

#include "drive/framing.h"

enum gw_status gw_exchange_write(struct gw_connection *connection, const void *bytes, size_t count,
                                 struct gw_fault *fault)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = count};
    return gw_connection_write_all(connection, &part, 1, fault);
}

enum gw_status gw_exchange_read(struct gw_connection *connection, void *bytes, size_t count,
                                struct gw_fault *fault)
{
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    return gw_connection_read_all(connection, &part, 1, fault);
}

enum gw_status gw_exchange_send(struct gw_connection *connection, const struct gw_message *message,
                                uint32_t generation, uint64_t sequence, struct gw_fault *fault)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    uint32_t count = gw_framing_encode(message, generation, sequence, bytes, sizeof(bytes));
    return gw_exchange_write(connection, bytes, count, fault);
}

bool gw_exchange_is_readable(const struct gw_connection *connection, int within_ms)
{
    struct pollfd wait[2] = {
        {.fd = gw_connection_fd(connection), .events = POLLIN},
        {.fd = connection->cancel.fd, .events = POLLIN},
    };
    return gw_connection_has_ahead(connection) ||
           (poll(wait, 2, within_ms) > 0 && wait[0].revents != 0);
}

enum gw_status gw_exchange_wait(struct gw_connection *connection, struct gw_fault *fault)
{
    struct pollfd wait[2] = {
        {.fd = gw_connection_fd(connection), .events = POLLIN},
        {.fd = connection->cancel.fd, .events = POLLIN},
    };
    while (!gw_connection_has_ahead(connection) && poll(wait, 2, -1) < 0) {
        if (errno != EINTR) {
            return gw_fault_set_os(fault, errno, "waiting for a channel's bytes");
        }
    }
    return GW_OK;
}

enum gw_status gw_exchange_read_header(struct gw_connection *connection,
                                       struct gw_frame_header *header, struct gw_fault *fault)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    enum gw_status status = gw_exchange_read(connection, bytes, sizeof(bytes), fault);
    return status == GW_OK ? gw_frame_decode_header(header, bytes, fault) : status;
}

enum gw_status gw_exchange_receive(struct gw_connection *connection,
                                   const struct gw_frame_header *header, struct gw_message *message,
                                   struct gw_fault *fault)
{
    uint8_t bytes[GW_MESSAGE_SMALL_BYTES];
    enum gw_status status = gw_framing_check_length(header, sizeof(bytes), connection->peer, fault);
    if (status == GW_OK) {
        status = gw_exchange_read(connection, bytes, header->payload_bytes, fault);
    }
    if (status == GW_OK) {
        status = gw_framing_check_payload(header, bytes, connection->peer, fault);
    }
    return status == GW_OK
               ? gw_message_decode(message, header->type, bytes, header->payload_bytes, fault)
               : status;
}

enum gw_status gw_exchange_check_generation(const struct gw_connection *connection,
                                            const struct gw_frame_header *header,
                                            uint32_t generation, struct gw_fault *fault)
{
    if (header->generation != generation) {
        return gw_fault_set(
            fault, GW_PROTOCOL, "%.120s: %s of generation %u on a channel of generation %u",
            connection->peer, gw_frame_type_name(header->type), header->generation, generation);
    }
    return GW_OK;
}

static enum gw_status check_welcome(const struct gw_connection *connection,
                                    const struct gw_frame_header *header,
                                    const struct gw_message *message, uint32_t generation,
                                    struct gw_fault *fault)
{
    if (message->type == GW_FRAME_REFUSE) {
        return gw_fault_set(fault, GW_REFUSED, "%.100s refuses the channel: %s", connection->peer,
                            message->verdict.reason);
    }
    if (message->type != GW_FRAME_WELCOME || header->sequence != 0 ||
        header->generation != generation) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%.120s: answers a channel's INTRO with %s number %" PRIu64
                            " of generation %u, where WELCOME number 0 of generation %u is wanted",
                            connection->peer, gw_frame_type_name(header->type), header->sequence,
                            header->generation, generation);
    }
    if (message->welcome.standing != GW_STANDING_OPEN) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%.120s: welcomes a channel with standing %u, wanted %d (open)",
                            connection->peer, message->welcome.standing, GW_STANDING_OPEN);
    }
    return GW_OK;
}

/* Frames around a channel's introduction have the number 0: what follows counts from 1. */
enum gw_status gw_exchange_join(struct gw_connection *connection, const struct gw_uri *uri,
                                const struct gw_transport_options *options,
                                const struct gw_intro *intro, struct gw_fault *fault)
{
    struct gw_message message = {.type = GW_FRAME_INTRO, .intro = *intro};
    struct gw_frame_header header;
    enum gw_status status = gw_connection_connect(connection, uri, options, fault);
    if (status == GW_OK) {
        status = gw_exchange_send(connection, &message, intro->generation, 0, fault);
    }
    if (status == GW_OK) {
        status = gw_exchange_read_header(connection, &header, fault);
    }
    if (status == GW_OK) {
        status = gw_exchange_receive(connection, &header, &message, fault);
    }
    return status == GW_OK ? check_welcome(connection, &header, &message, intro->generation, fault)
                           : status;
}
