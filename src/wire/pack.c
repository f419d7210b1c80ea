/* SPDX-License-Identifier: Apache-2.0 */
/* lz4 blocks. The contract: godwit/pack.h. Pure. */
#include "godwit/pack.h"

#include <lz4.h>
static_assert(sizeof(LZ4_stream_t) == sizeof(struct gw_packer), "a packer holds lz4's state");
static_assert(_Alignof(LZ4_stream_t) <= _Alignof(struct gw_packer), "and is aligned for it");

uint32_t gw_pack(struct gw_packer *packer, const uint8_t *bytes, uint32_t count, uint8_t *packed)
{
    int room = (int)(count - count / GW_PACK_WORTH_DIVISOR);
    GW_ASSERT(count > 0 && count <= GW_BATCH_BYTES_MAX);
    int used = LZ4_compress_fast_extState(packer->state, (const char *)bytes, (char *)packed,
                                          (int)count, room, 1);
    return used > 0 ? (uint32_t)used : 0;
}

enum gw_status gw_unpack(const uint8_t *packed, uint32_t packed_count, uint8_t *bytes,
                         uint32_t count, struct gw_fault *fault)
{
    GW_ASSERT(packed_count <= GW_BATCH_BYTES_MAX && count <= GW_BATCH_BYTES_MAX);
    int made =
        LZ4_decompress_safe((const char *)packed, (char *)bytes, (int)packed_count, (int)count);
    if (made < 0) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%u packed bytes of a batch are no lz4 block of at most %u bytes",
                            packed_count, count);
    }
    if ((uint32_t)made != count) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%u packed bytes of a batch hold %d bytes, wanted %u", packed_count,
                            made, count);
    }
    return GW_OK;
}
