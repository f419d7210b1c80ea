/* SPDX-License-Identifier: Apache-2.0 */
/* Bitmaps of pages. The contract: dirty/bitmap.h. */
#include "dirty/bitmap.h"

static uint64_t put_bits(uint64_t *word, uint64_t bits)
{
    uint64_t added = bits & ~*word;
    *word |= bits;
    return (uint64_t)__builtin_popcountll(added);
}

uint64_t gw_bitmap_merge(uint64_t *bitmap, uint64_t page, const uint64_t *from, uint64_t count)
{
    uint64_t added = 0;
    uint64_t shift = page % 64;
    uint64_t *to = &bitmap[page / 64];
    for (uint64_t i = 0; i * 64 < count; i++) {
        uint64_t left = count - i * 64;
        uint64_t bits = left < 64 ? from[i] & (UINT64_MAX >> (64 - left)) : from[i];
        if (bits == 0) {
            continue;
        }
        added += put_bits(&to[i], bits << shift);
        if (shift > 0 && bits >> (64 - shift) != 0) {
            added += put_bits(&to[i + 1], bits >> (64 - shift));
        }
    }
    return added;
}
