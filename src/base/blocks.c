/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks out of one stretch of bytes. The contract: base/blocks.h. */
#include "base/blocks.h"

#include <assert.h>
#include <string.h>

#include "godwit/status.h"

enum { ALIGN = GW_BLOCK_ALIGN };

/* Before each block; sizes are multiples of ALIGN and count the header. */
struct header {
    size_t size;
    size_t is_used;
};

static_assert(sizeof(struct header) == ALIGN, "a block starts aligned behind its header");

static struct header *header_at(const struct gw_blocks *blocks, size_t offset)
{
    return (struct header *)(void *)(blocks->bytes + offset);
}

bool gw_blocks_hold(const struct gw_blocks *blocks, const void *block)
{
    const uint8_t *bytes = block;
    return bytes >= blocks->bytes + ALIGN && bytes < blocks->bytes + blocks->size;
}

static struct header *header_of(const struct gw_blocks *blocks, void *block)
{
    uint8_t *bytes = block;
    GW_ASSERT(gw_blocks_hold(blocks, block) && (uintptr_t)bytes % ALIGN == 0);
    return (struct header *)(void *)(bytes - ALIGN);
}

static size_t offset_of(const struct gw_blocks *blocks, const struct header *header)
{
    return (size_t)((const uint8_t *)header - blocks->bytes);
}

/* One free block of all, the first time. */
static void init_once(const struct gw_blocks *blocks)
{
    struct header *first = header_at(blocks, 0);
    if (first->size == 0) {
        first->size = blocks->size;
    }
}

/* Merges the free blocks that follow a free one into it. */
static void merge_following(const struct gw_blocks *blocks, struct header *header)
{
    size_t next = offset_of(blocks, header) + header->size;
    while (next < blocks->size && !header_at(blocks, next)->is_used) {
        header->size += header_at(blocks, next)->size;
        next = offset_of(blocks, header) + header->size;
    }
}

/* Cuts what is over `size` off a block, as a free block of its own. */
static void split(const struct gw_blocks *blocks, struct header *header, size_t size)
{
    if (header->size - size >= 2 * ALIGN) {
        struct header *rest = header_at(blocks, offset_of(blocks, header) + size);
        *rest = (struct header){.size = header->size - size};
        header->size = size;
    }
}

static void *use(struct gw_blocks *blocks, struct header *header, size_t size)
{
    split(blocks, header, size);
    header->is_used = 1;
    blocks->used += header->size;
    blocks->high_water = blocks->used > blocks->high_water ? blocks->used : blocks->high_water;
    return (uint8_t *)header + ALIGN;
}

/* The offset of the first byte behind a header at or after `offset` that is aligned as asked,
 * less the header: where an aligned block would start. */
static size_t aligned_start(const struct gw_blocks *blocks, size_t offset, size_t alignment)
{
    uintptr_t address = (uintptr_t)blocks->bytes + offset + ALIGN;
    uintptr_t aligned = (address + alignment - 1) & ~((uintptr_t)alignment - 1);
    return offset + (size_t)(aligned - address);
}

/* First fit. `size` counts the header and is a multiple of ALIGN. NULL: no room. */
static void *find_and_use(struct gw_blocks *blocks, size_t size, size_t alignment)
{
    init_once(blocks);
    for (size_t at = 0; at < blocks->size; at += header_at(blocks, at)->size) {
        struct header *header = header_at(blocks, at);
        if (header->is_used) {
            continue;
        }
        merge_following(blocks, header);
        size_t start = aligned_start(blocks, at, alignment);
        size_t lead = start - at;
        if (header->size < lead || header->size - lead < size) {
            continue;
        }
        if (lead > 0) { /* a multiple of ALIGN, so there is room for a header */
            *header_at(blocks, start) = (struct header){.size = header->size - lead};
            header->size = lead;
        }
        return use(blocks, header_at(blocks, start), size);
    }
    return NULL;
}

void *gw_blocks_take(struct gw_blocks *blocks, size_t bytes, size_t alignment)
{
    void *block = NULL;
    if (bytes <= blocks->size - ALIGN) {
        size_t size = (bytes + ALIGN + ALIGN - 1) & ~((size_t)ALIGN - 1);
        alignment = alignment < ALIGN ? ALIGN : alignment;
        block =
            find_and_use(blocks, size < 2 * (size_t)ALIGN ? 2 * (size_t)ALIGN : size, alignment);
    }
    blocks->failed += block == NULL;
    return block;
}

void *gw_blocks_take_clear(struct gw_blocks *blocks, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    void *block = gw_blocks_take(blocks, count * size, ALIGN);
    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

void gw_blocks_give(struct gw_blocks *blocks, void *block)
{
    struct header *header = header_of(blocks, block);
    GW_ASSERT(header->is_used == 1); /* else: freed twice */
    header->is_used = 0;
    blocks->used -= header->size;
    merge_following(blocks, header);
}

size_t gw_blocks_room(const struct gw_blocks *blocks, void *block)
{
    return header_of(blocks, block)->size - ALIGN;
}
