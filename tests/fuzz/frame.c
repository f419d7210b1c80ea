/* SPDX-License-Identifier: Apache-2.0 */
/* Frame headers. The forger knows the CRC: a second look at each input gives it the right one. */
#include <string.h>

#include "base/bytes.h"
#include "fuzz.h"
#include "godwit/crc32c.h"
#include "godwit/frame.h"

static void look(const uint8_t *bytes)
{
    struct gw_frame_header header;
    struct gw_fault fault = {.status = GW_OK};
    uint8_t again[GW_FRAME_HEADER_BYTES];
    enum gw_status status = gw_frame_decode_header(&header, bytes, &fault);
    if (status == GW_OK) {
        gw_frame_encode_header(&header, again);
        GW_ASSERT(memcmp(again, bytes, sizeof(again)) == 0);
        GW_ASSERT(gw_frame_type_name(header.type)[0] != '\0');
    } else {
        GW_ASSERT(fault.status == status && fault.text[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    uint8_t header[GW_FRAME_HEADER_BYTES] = {0};
    memcpy(header, bytes, count < sizeof(header) ? count : sizeof(header));
    look(header);
    gw_put_32(header + 28, gw_crc32c(0, header, 28));
    look(header);
    return 0;
}

void fuzz_make_seeds(void)
{
#define TYPE(name, number) number,
    static const uint8_t types[] = {GW_FRAME_TYPES(TYPE)};
#undef TYPE
    for (size_t i = 0; i < sizeof(types); i++) {
        uint8_t bytes[GW_FRAME_HEADER_BYTES];
        const struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                               .type = types[i],
                                               .flags = (uint16_t)(i % 8),
                                               .payload_bytes = (uint32_t)i << (i % 24),
                                               .generation = 1,
                                               .sequence = i};
        gw_frame_encode_header(&header, bytes);
        fuzz_seed(bytes, sizeof(bytes));
    }
}
