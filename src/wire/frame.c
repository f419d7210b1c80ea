/* SPDX-License-Identifier: Apache-2.0 */
/* Frame headers. Pure. */
#include "godwit/frame.h"

#include "base/bytes.h"
#include "godwit/crc32c.h"

const char *gw_frame_type_name(uint8_t type)
{
#define CASE(name, number) \
    case GW_FRAME_##name:  \
        return #name;
    switch ((enum gw_frame_type)type) {
        GW_FRAME_TYPES(CASE)
    }
#undef CASE
    return "unknown";
}

void gw_frame_encode_header(const struct gw_frame_header *header,
                            uint8_t bytes[static GW_FRAME_HEADER_BYTES])
{
    gw_put_32(bytes, GW_FRAME_MAGIC);
    bytes[4] = header->version;
    bytes[5] = header->type;
    gw_put_16(bytes + 6, header->flags);
    gw_put_32(bytes + 8, header->payload_bytes);
    gw_put_32(bytes + 12, header->payload_crc);
    gw_put_64(bytes + 16, header->sequence);
    gw_put_32(bytes + 24, header->generation);
    gw_put_32(bytes + 28, gw_crc32c(0, bytes, 28));
}

/* What stands where the magic should, readable: an HTTP client or ssh is told apart at a look. */
static void printable(const uint8_t bytes[4], char text[5])
{
    for (int i = 0; i < 4; i++) {
        text[i] = bytes[i] >= ' ' && bytes[i] <= '~' ? (char)bytes[i] : '.';
    }
    text[4] = '\0';
}

enum gw_status gw_frame_decode_header(struct gw_frame_header *header,
                                      const uint8_t bytes[static GW_FRAME_HEADER_BYTES],
                                      struct gw_fault *fault)
{
    if (gw_get_32(bytes) != GW_FRAME_MAGIC) {
        char found[5];
        printable(bytes, found);
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the peer does not speak godwit's protocol: a frame begins with "
                            "\"%s\" (0x%08x), wanted \"GDWT\"",
                            found, gw_get_32(bytes));
    }
    uint32_t crc = gw_crc32c(0, bytes, 28);
    if (crc != gw_get_32(bytes + 28)) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "a frame header arrived damaged: its CRC32C is 0x%08x, it says 0x%08x",
                            crc, gw_get_32(bytes + 28));
    }
    if (bytes[4] != GW_PROTOCOL_VERSION) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the peer speaks version %u of the protocol, wanted %u: run the same "
                            "godwit on both sides",
                            bytes[4], GW_PROTOCOL_VERSION);
    }
    *header = (struct gw_frame_header){
        .version = bytes[4],
        .type = bytes[5],
        .flags = gw_get_16(bytes + 6),
        .payload_bytes = gw_get_32(bytes + 8),
        .payload_crc = gw_get_32(bytes + 12),
        .sequence = gw_get_64(bytes + 16),
        .generation = gw_get_32(bytes + 24),
    };
    return GW_OK;
}
