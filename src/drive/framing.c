/* SPDX-License-Identifier: Apache-2.0 */
/* Whole frames of messages. The contract: framing.h. */
#include "drive/framing.h"

#include "godwit/crc32c.h"

/* The state is by far the largest thing a message can hold, and mostly it is much smaller. */
size_t gw_framing_room(const struct gw_message *message)
{
    size_t room = GW_FRAME_HEADER_BYTES + gw_message_payload_max((uint8_t)message->type);
    if (message->type == GW_FRAME_PREPARE) {
        room -= GW_STATE_BYTES_MAX - message->prepare.state_bytes;
    }
    return room;
}

uint32_t gw_framing_encode(const struct gw_message *message, uint32_t generation, uint64_t sequence,
                           uint8_t *bytes, size_t capacity)
{
    GW_ASSERT(capacity >= gw_framing_room(message));
    uint8_t *payload = bytes + GW_FRAME_HEADER_BYTES;
    uint32_t payload_bytes = gw_message_encode(message, payload, capacity - GW_FRAME_HEADER_BYTES);
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = (uint8_t)message->type,
        .payload_bytes = payload_bytes,
        .payload_crc = payload_bytes == 0 ? 0 : gw_crc32c(0, payload, payload_bytes),
        .generation = generation,
        .sequence = sequence,
    };
    gw_frame_encode_header(&header, bytes);
    return GW_FRAME_HEADER_BYTES + payload_bytes;
}

enum gw_status gw_framing_check_length(const struct gw_frame_header *header, size_t capacity,
                                       const char *peer, struct gw_fault *fault)
{
    uint32_t most = gw_message_payload_max(header->type);
    if (header->payload_bytes > most || header->payload_bytes > capacity) {
        return gw_fault_set(
            fault, GW_PROTOCOL,
            "%.120s: a frame %s (type %u) with %u bytes of payload, where at most %zu "
            "are possible",
            peer, gw_frame_type_name(header->type), header->type, header->payload_bytes,
            most < capacity ? (size_t)most : capacity);
    }
    return GW_OK;
}

enum gw_status gw_framing_check_payload(const struct gw_frame_header *header,
                                        const uint8_t *payload, const char *peer,
                                        struct gw_fault *fault)
{
    uint32_t crc = header->payload_bytes == 0 ? 0 : gw_crc32c(0, payload, header->payload_bytes);
    if (crc != header->payload_crc) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "%.120s: the payload of %s number %llu is damaged: CRC32C %08x, its "
                            "header says %08x",
                            peer, gw_frame_type_name(header->type),
                            (unsigned long long)header->sequence, crc, header->payload_crc);
    }
    return GW_OK;
}
