/* SPDX-License-Identifier: Apache-2.0 */
/* Bitmaps of pages: page n is bit n % 64 of word n / 64. Pure; the caller's memory. */
#ifndef GW_BASE_BITMAP_H
#define GW_BASE_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

static inline bool gw_bit_test(const uint64_t *bitmap, uint64_t bit)
{
    return (bitmap[bit / 64] >> (bit % 64)) & 1;
}

static inline void gw_bit_mark(uint64_t *bitmap, uint64_t bit)
{
    bitmap[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static inline void gw_bit_clear(uint64_t *bitmap, uint64_t bit)
{
    bitmap[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

/* The bits [from, from + count) of one word, 1 <= count <= 64 - from. */
static inline uint64_t gw_bit_mask(uint64_t from, uint64_t count)
{
    return (count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1) << from;
}

/* Sets (or clears) [first, first + count); returns how many bits changed. */
static inline uint64_t gw_bits_put(uint64_t *bitmap, uint64_t first, uint64_t count, bool is_set)
{
    uint64_t changed = 0;
    while (count > 0) {
        uint64_t from = first % 64;
        uint64_t here = count < 64 - from ? count : 64 - from;
        uint64_t mask = gw_bit_mask(from, here);
        uint64_t before = bitmap[first / 64];
        uint64_t after = is_set ? before | mask : before & ~mask;
        bitmap[first / 64] = after;
        changed += (uint64_t)__builtin_popcountll(before ^ after);
        first += here;
        count -= here;
    }
    return changed;
}

/* The first bit in [from, end) that equals `is_set`, or end. */
static inline uint64_t gw_bits_next(const uint64_t *bitmap, uint64_t from, uint64_t end,
                                    bool is_set)
{
    while (from < end) {
        uint64_t word = is_set ? bitmap[from / 64] : ~bitmap[from / 64];
        word &= ~UINT64_C(0) << (from % 64);
        if (word) {
            uint64_t bit = (from & ~UINT64_C(63)) + (uint64_t)__builtin_ctzll(word);
            return bit < end ? bit : end;
        }
        from = (from & ~UINT64_C(63)) + 64;
    }
    return end;
}

#endif
