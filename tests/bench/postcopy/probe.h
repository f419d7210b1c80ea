/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that waits for pages: it touches pages of RAM in random order, as a guest would, and
 * notes how long each touch of a missing one took, from fault to resumed. It is the same for
 * godwit and for the floor.
 *
 * Owner: the caller's storage. Threads: probe_run by one, which may sleep in the kernel on a
 * missing page; the results by others after it.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdint.h>

#include "godwit/ram.h"

enum { PROBES_MAX = 16384 };

struct probe {
    const struct gw_ram *ram;
    uint32_t wanted; /* so many faults, at most PROBES_MAX; less when nothing lacks any more */
    uint32_t pause_us_max; /* sleeps half of it to all of it behind each fault; 0: none */
    uint64_t seed;

    uint32_t count;
    uint32_t ns[PROBES_MAX]; /* each from the touch to the byte */
};

void probe_run(struct probe *probe);

/* A line "samples N N ...". */
void probe_print(const struct probe *probe);

#endif
