/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native postcopy bench: a guest's memory (tests/embedder/guest.h) goes from one process to
 * another over TCP on loopback, while a probe (probe.h) waits for pages of it. Moved by godwit's
 * library, or by the floor: the least that can do it.
 */
#ifndef POSTCOPY_H
#define POSTCOPY_H

#include <stdbool.h>
#include <stdint.h>

struct bench_case {
    const char *name;
    bool is_precopy;     /* all of it before the guest runs there; no probe */
    bool is_bulk_capped; /* the bulk channel is silent until the probe is done */
    uint32_t channels;   /* bulk channels */
    uint32_t probes;     /* faults wanted; 0: none */
    uint32_t probe_pause_us_max;
    uint64_t seed;
};

/* Between the processes: what the target tells. */
enum { TOLD_PROBED = 'P' };

/* Each is one process and returns its exit status. The target writes its address (a line), and
 * TOLD_PROBED, to `tell`; the source reads them from `hear`. The target prints the results. */
int godwit_source(const struct bench_case *wanted, int hear);
int godwit_target(const struct bench_case *wanted, int tell);
int floor_source(const struct bench_case *wanted, int hear);
int floor_target(const struct bench_case *wanted, int tell);

/* The guest of either side: RAM made, and on the source written all over. */
bool open_guest(bool is_source);

/* A line "bulk BYTES SECONDS": what was moved, how long it took. */
void print_bulk(uint64_t bytes, uint64_t ns);

#endif
