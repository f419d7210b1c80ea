/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc over one static buffer, for what libc allocates when it resolves a name. The contract:
 * godwit/arena.h.
 *
 * A list of blocks, first fit, neighbours merged on free: a handful of short-lived blocks need no
 * more. musl calls its own heap by other names in places (atexit, for one): all are defined here,
 * so that none of its code that could grow a heap is linked.
 */
#include "godwit/arena.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "godwit/limits.h"
#include "godwit/status.h"

enum { ALIGN = 16 }; /* what C's max_align_t and AAPCS64 want */

/* Before each block; sizes are multiples of ALIGN and count the header. */
struct header {
    size_t size;
    size_t is_used;
};

static_assert(sizeof(struct header) == ALIGN, "a block starts aligned behind its header");
static_assert(GW_ARENA_BYTES % ALIGN == 0 && GW_ARENA_BYTES >= 4096, "whole blocks, and room");

static alignas(ALIGN) uint8_t arena[GW_ARENA_BYTES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t used;
static size_t high_water;
static size_t failed;

static struct header *header_at(size_t offset)
{
    return (struct header *)(void *)(arena + offset);
}

static struct header *header_of(void *block)
{
    uint8_t *bytes = block;
    GW_ASSERT(bytes >= arena + ALIGN && bytes < arena + sizeof(arena));
    GW_ASSERT((uintptr_t)bytes % ALIGN == 0);
    return (struct header *)(void *)(bytes - ALIGN);
}

static size_t offset_of(const struct header *header)
{
    return (size_t)((const uint8_t *)header - arena);
}

/* One free block of all, the first time. Under the lock. */
static void init_once(void)
{
    struct header *first = header_at(0);
    if (first->size == 0) {
        first->size = sizeof(arena);
    }
}

/* Merges the free blocks that follow a free one into it. */
static void merge_following(struct header *header)
{
    size_t next = offset_of(header) + header->size;
    while (next < sizeof(arena) && !header_at(next)->is_used) {
        header->size += header_at(next)->size;
        next = offset_of(header) + header->size;
    }
}

/* Cuts what is over `size` off a block, as a free block of its own. */
static void split(struct header *header, size_t size)
{
    if (header->size - size >= 2 * ALIGN) {
        struct header *rest = header_at(offset_of(header) + size);
        *rest = (struct header){.size = header->size - size};
        header->size = size;
    }
}

static void *take(struct header *header, size_t size)
{
    split(header, size);
    header->is_used = 1;
    used += header->size;
    high_water = used > high_water ? used : high_water;
    return (uint8_t *)header + ALIGN;
}

/* The offset of the first byte behind a header at or after `offset` that is aligned as asked,
 * less the header: where an aligned block would start. */
static size_t aligned_start(size_t offset, size_t alignment)
{
    uintptr_t address = (uintptr_t)arena + offset + ALIGN;
    uintptr_t aligned = (address + alignment - 1) & ~((uintptr_t)alignment - 1);
    return offset + (size_t)(aligned - address);
}

/* First fit. `size` counts the header and is a multiple of ALIGN. NULL: no room. */
static void *find_and_take(size_t size, size_t alignment)
{
    init_once();
    for (size_t at = 0; at < sizeof(arena); at += header_at(at)->size) {
        struct header *header = header_at(at);
        if (header->is_used) {
            continue;
        }
        merge_following(header);
        size_t start = aligned_start(at, alignment);
        size_t lead = start - at;
        if (header->size < lead || header->size - lead < size) {
            continue;
        }
        if (lead > 0) { /* a multiple of ALIGN, so there is room for a header */
            *header_at(start) = (struct header){.size = header->size - lead};
            header->size = lead;
        }
        return take(header_at(start), size);
    }
    return NULL;
}

static void *allocate(size_t bytes, size_t alignment)
{
    void *block = NULL;
    (void)pthread_mutex_lock(&lock);
    if (bytes <= sizeof(arena) - ALIGN) {
        size_t size = (bytes + ALIGN + ALIGN - 1) & ~((size_t)ALIGN - 1);
        block = find_and_take(size < 2 * (size_t)ALIGN ? 2 * (size_t)ALIGN : size, alignment);
    }
    if (block == NULL) {
        failed++;
    }
    (void)pthread_mutex_unlock(&lock);
    if (block == NULL) {
        errno = ENOMEM;
    }
    return block;
}

static void release(void *block)
{
    if (block == NULL) {
        return;
    }
    struct header *header = header_of(block);
    (void)pthread_mutex_lock(&lock);
    GW_ASSERT(header->is_used == 1); /* else: freed twice */
    header->is_used = 0;
    used -= header->size;
    merge_following(header);
    (void)pthread_mutex_unlock(&lock);
}

static void *allocate_zeroed(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = allocate(count * size, ALIGN);
    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

static void *reallocate(void *old, size_t bytes)
{
    if (old == NULL) {
        return allocate(bytes, ALIGN);
    }
    size_t old_bytes = header_of(old)->size - ALIGN;
    if (bytes <= old_bytes) {
        return old;
    }
    void *block = allocate(bytes, ALIGN);
    if (block != NULL) {
        memcpy(block, old, old_bytes);
        release(old);
    }
    return block;
}

void gw_arena_get_use(struct gw_arena_use *use)
{
    (void)pthread_mutex_lock(&lock);
    *use = (struct gw_arena_use){
        .size = sizeof(arena), .used = used, .high_water = high_water, .failed = failed};
    (void)pthread_mutex_unlock(&lock);
}

/* ---- The names libc calls ---- */

void *malloc(size_t bytes);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t bytes);
void free(void *block);
void *aligned_alloc(size_t alignment, size_t bytes);
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t bytes);
void __libc_free(void *block);

void *malloc(size_t bytes)
{
    return allocate(bytes, ALIGN);
}

void *calloc(size_t count, size_t size)
{
    return allocate_zeroed(count, size);
}

void *realloc(void *old, size_t bytes)
{
    return reallocate(old, bytes);
}

void free(void *block)
{
    release(block);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        errno = EINVAL;
        return NULL;
    }
    return allocate(bytes, alignment < ALIGN ? ALIGN : alignment);
}

void *__libc_malloc(size_t bytes)
{
    return allocate(bytes, ALIGN);
}

void *__libc_calloc(size_t count, size_t size)
{
    return allocate_zeroed(count, size);
}

void *__libc_realloc(void *old, size_t bytes)
{
    return reallocate(old, bytes);
}

void __libc_free(void *block)
{
    release(block);
}
