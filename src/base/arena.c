/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc over one static buffer, for what libc allocates when it resolves a name. The contract:
 * godwit/arena.h.
 *
 * musl calls its own heap by other names in places (atexit, for one): all are defined here, so that
 * none of its code that could grow a heap is linked.
 */
#include "godwit/arena.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/blocks.h"
#include "godwit/limits.h"

enum { ALIGN = GW_BLOCK_ALIGN };

static_assert(GW_ARENA_BYTES % ALIGN == 0 && GW_ARENA_BYTES >= 4096, "whole blocks, and room");

static alignas(ALIGN) uint8_t arena[GW_ARENA_BYTES];
static struct gw_blocks blocks = {.bytes = arena, .size = sizeof(arena)};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *allocate(size_t bytes, size_t alignment)
{
    (void)pthread_mutex_lock(&lock);
    void *block = gw_blocks_take(&blocks, bytes, alignment);
    (void)pthread_mutex_unlock(&lock);
    if (block == NULL) {
        errno = ENOMEM;
    }
    return block;
}

static void release(void *block)
{
    if (block != NULL) {
        (void)pthread_mutex_lock(&lock);
        gw_blocks_give(&blocks, block);
        (void)pthread_mutex_unlock(&lock);
    }
}

static void *allocate_zeroed(size_t count, size_t size)
{
    (void)pthread_mutex_lock(&lock);
    void *block = gw_blocks_take_clear(&blocks, count, size);
    (void)pthread_mutex_unlock(&lock);
    if (block == NULL) {
        errno = ENOMEM;
    }
    return block;
}

static void *reallocate(void *old, size_t bytes)
{
    if (old == NULL) {
        return allocate(bytes, ALIGN);
    }
    size_t old_bytes = gw_blocks_room(&blocks, old);
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
    *use = (struct gw_arena_use){.size = blocks.size,
                                 .used = blocks.used,
                                 .high_water = blocks.high_water,
                                 .failed = blocks.failed};
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
