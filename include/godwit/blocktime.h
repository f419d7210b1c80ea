/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocktime: how long the guest's CPUs stood still for missing pages (postcopy), each, all at
 * once, and fault by fault as a histogram of latencies.
 *
 * A fault is one thread that waits for one page, from when its message was read to when the page
 * was placed.
 *
 * Pure; part of struct gw_target, under its lock. Times are nanoseconds.
 */
#ifndef GODWIT_BLOCKTIME_H
#define GODWIT_BLOCKTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/message.h"

enum {
    GW_BLOCKTIME_THREADS = GW_VCPUS_MAX + 4, /* vCPUs, and threads of the embedder's own */
    GW_BLOCKTIME_BUCKETS = 128, /* four to a power of two: values within 25 %, to 8.5 s */
};

struct gw_blocktime_thread {
    uint32_t who; /* the kernel's thread id; 0: a free slot */
    bool is_waiting;
    uint64_t page, since_ns, total_ns, faults;
};

struct gw_blocktime {
    uint32_t thread_count, vcpu_count, waiting;
    struct gw_blocktime_thread thread[GW_BLOCKTIME_THREADS];
    uint64_t all_since_ns, all_total_ns; /* while as many threads waited as there are vCPUs */
    uint64_t faults, unmeasured;         /* resolved; of threads beyond the table */
    uint64_t min_ns, max_ns;
    uint32_t bucket[GW_BLOCKTIME_BUCKETS];
};

/* vcpu_count 0: "all at once" is not counted. */
void gw_blocktime_init(struct gw_blocktime *blocktime, uint32_t vcpu_count);

void gw_blocktime_wait(struct gw_blocktime *blocktime, uint32_t who, uint64_t page,
                       uint64_t now_ns);

/* Whoever waited for that page goes on. */
void gw_blocktime_resolve(struct gw_blocktime *blocktime, uint64_t page, uint64_t now_ns);

/* What `percent` (1..100) of the faults took at most, to within 25 %; those of more than
 * 8.5 s count as the longest. min and max are exact. */
uint64_t gw_blocktime_percentile(const struct gw_blocktime *blocktime, uint32_t percent);

/* All of that in a few numbers; time_ns is left 0. */
void gw_blocktime_summarize(const struct gw_blocktime *blocktime, struct gw_waiting *waiting);

#endif
