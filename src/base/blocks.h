/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of any size out of one stretch of bytes: a list of blocks, first fit, neighbours merged
 * when freed. For what libraries allocate: a handful of blocks need no more. Pure.
 *
 * Memory: the caller's, bytes and struct, zeroed before first use. Threads: one at a time; whoever
 * needs more locks around it. Blocks: never.
 */
#ifndef GW_BASE_BLOCKS_H
#define GW_BASE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GW_BLOCK_ALIGN = 16 }; /* what C's max_align_t and AAPCS64 want */

struct gw_blocks {
    uint8_t *bytes;    /* aligned to GW_BLOCK_ALIGN */
    size_t size;       /* whole GW_BLOCK_ALIGNs */
    size_t used;       /* now, headers included */
    size_t high_water; /* the most there ever was */
    size_t failed;     /* allocations that did not fit */
};

/* At least `bytes` bytes (0 too), not cleared; `alignment` a power of two. NULL: no room. */
void *gw_blocks_take(struct gw_blocks *blocks, size_t bytes, size_t alignment);

/* The same, cleared. NULL also when count * size is no size. */
void *gw_blocks_take_clear(struct gw_blocks *blocks, size_t count, size_t size);

/* A block of these, once. */
void gw_blocks_give(struct gw_blocks *blocks, void *block);

/* How many bytes a block has; at least what was asked for. */
size_t gw_blocks_room(const struct gw_blocks *blocks, void *block);

bool gw_blocks_hold(const struct gw_blocks *blocks, const void *block);

#endif
