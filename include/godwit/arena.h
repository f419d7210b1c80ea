/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena: malloc and its kin over one static buffer of GW_ARENA_BYTES, for what libraries
 * allocate (libc's name resolution). godwit's own code calls none of it. Only the musl executable
 * links it; libgodwit.a leaves malloc to its embedder.
 *
 * When it is full malloc returns NULL with ENOMEM, and the library call fails with an error.
 * Any thread; a call may wait for another's (short) one.
 */
#ifndef GODWIT_ARENA_H
#define GODWIT_ARENA_H

#include <stddef.h>

struct gw_arena_use {
    size_t size;       /* GW_ARENA_BYTES */
    size_t used;       /* now, headers included */
    size_t high_water; /* the most there ever was */
    size_t failed;     /* allocations that did not fit */
};

void gw_arena_get_use(struct gw_arena_use *use);

#endif
