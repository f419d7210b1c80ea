/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing: the page bytes of a batch as one lz4 block (docs/WIRE.md, BATCH). A block stands for
 * itself: nothing of another one is needed to read it.
 *
 * What is packed must not change meanwhile: a private copy of guest memory, never the memory.
 * Unpacking takes any bytes: what they are made to say stays within the room that is given.
 *
 * Pure; all memory is the caller's, one packer for each channel. The lz4 block format:
 * lz4 1.10, doc/lz4_Block_format.md.
 */
#ifndef GODWIT_PACK_H
#define GODWIT_PACK_H

#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/status.h"

enum gw_packing {
    GW_PACKING_NONE = 0, /* they travel as they are */
    GW_PACKING_LZ4 = 1,
    GW_PACKING_COUNT,
};

enum {
    GW_PACK_STATE_BYTES = 32800, /* LZ4_STREAM_MINSIZE, lz4.h, by our LZ4_MEMORY_USAGE */
    GW_PACK_WORTH_DIVISOR = 16,  /* packed must be shorter by one part in so many */
};

struct gw_packer {
    uint64_t state[(GW_PACK_STATE_BYTES + 7) / 8];
};

/* Packs `count` bytes (1..GW_BATCH_BYTES_MAX) into `packed`, which has room for as many. Returns
 * how many they became, or 0 when that is not worth it. */
uint32_t gw_pack(struct gw_packer *packer, const uint8_t *bytes, uint32_t count, uint8_t *packed);

/* Unpacks into `bytes`, exactly `count` of them; neither overlaps the other. GW_PROTOCOL when it is
 * no block, or one of another length; `bytes` then holds anything. */
GW_MUST_USE enum gw_status gw_unpack(const uint8_t *packed, uint32_t packed_count, uint8_t *bytes,
                                     uint32_t count, struct gw_fault *fault);

#endif
