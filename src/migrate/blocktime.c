/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for pages, and how long. Pure. */
#include "godwit/blocktime.h"

#include <stddef.h>

void gw_blocktime_init(struct gw_blocktime *blocktime, uint32_t vcpu_count)
{
    *blocktime = (struct gw_blocktime){.vcpu_count = vcpu_count};
}

/* Buckets 0 to 3 are the values themselves; from then on four to a power of two. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns < 4) {
        return (uint32_t)ns;
    }
    uint32_t power = 63 - (uint32_t)__builtin_clzll(ns);
    uint32_t bucket = 4 * (power - 1) + (uint32_t)(ns >> (power - 2) & 3);
    return bucket < GW_BLOCKTIME_BUCKETS ? bucket : GW_BLOCKTIME_BUCKETS - 1;
}

/* The largest value that falls into it. */
static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < 4) {
        return bucket;
    }
    uint32_t power = bucket / 4 + 1;
    return (UINT64_C(1) << power) + ((uint64_t)(bucket % 4 + 1) << (power - 2)) - 1;
}

static struct gw_blocktime_thread *thread_of(struct gw_blocktime *blocktime, uint32_t who)
{
    for (uint32_t i = 0; i < blocktime->thread_count; i++) {
        if (blocktime->thread[i].who == who) {
            return &blocktime->thread[i];
        }
    }
    if (blocktime->thread_count == GW_BLOCKTIME_THREADS) {
        return NULL;
    }
    struct gw_blocktime_thread *fresh = &blocktime->thread[blocktime->thread_count++];
    *fresh = (struct gw_blocktime_thread){.who = who};
    return fresh;
}

static void end_wait(struct gw_blocktime *blocktime, struct gw_blocktime_thread *thread,
                     uint64_t now_ns)
{
    uint64_t took_ns = now_ns - thread->since_ns;
    if (blocktime->waiting == blocktime->vcpu_count) {
        blocktime->all_total_ns += now_ns - blocktime->all_since_ns;
    }
    blocktime->waiting--;
    thread->is_waiting = false;
    thread->total_ns += took_ns;
    thread->faults++;
    if (blocktime->faults == 0 || took_ns < blocktime->min_ns) {
        blocktime->min_ns = took_ns;
    }
    if (took_ns > blocktime->max_ns) {
        blocktime->max_ns = took_ns;
    }
    blocktime->faults++;
    blocktime->bucket[bucket_of(took_ns)]++;
}

void gw_blocktime_wait(struct gw_blocktime *blocktime, uint32_t who, uint64_t page, uint64_t now_ns)
{
    struct gw_blocktime_thread *thread = thread_of(blocktime, who);
    if (thread == NULL) {
        blocktime->unmeasured++;
        return;
    }
    if (thread->is_waiting) { /* it was woken by something else, and waits anew */
        end_wait(blocktime, thread, now_ns);
    }
    thread->is_waiting = true;
    thread->page = page;
    thread->since_ns = now_ns;
    if (++blocktime->waiting == blocktime->vcpu_count) {
        blocktime->all_since_ns = now_ns;
    }
}

void gw_blocktime_resolve(struct gw_blocktime *blocktime, uint64_t page, uint64_t now_ns)
{
    for (uint32_t i = 0; i < blocktime->thread_count; i++) {
        struct gw_blocktime_thread *thread = &blocktime->thread[i];
        if (thread->is_waiting && thread->page == page) {
            end_wait(blocktime, thread, now_ns);
        }
    }
}

uint64_t gw_blocktime_percentile(const struct gw_blocktime *blocktime, uint32_t percent)
{
    uint64_t wanted = (blocktime->faults * percent + 99) / 100;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < GW_BLOCKTIME_BUCKETS && wanted > 0; i++) {
        seen += blocktime->bucket[i];
        if (seen >= wanted) {
            bool is_last = i == GW_BLOCKTIME_BUCKETS - 1; /* all that is longer, too */
            uint64_t end = is_last ? UINT64_MAX : bucket_end(i);
            return end < blocktime->max_ns ? end : blocktime->max_ns;
        }
    }
    return blocktime->max_ns;
}

void gw_blocktime_summarize(const struct gw_blocktime *blocktime, struct gw_waiting *waiting)
{
    *waiting = (struct gw_waiting){.blocktime_ns = blocktime->all_total_ns,
                                   .faults = blocktime->faults,
                                   .min_ns = blocktime->min_ns,
                                   .p50_ns = gw_blocktime_percentile(blocktime, 50),
                                   .p90_ns = gw_blocktime_percentile(blocktime, 90),
                                   .p99_ns = gw_blocktime_percentile(blocktime, 99),
                                   .max_ns = blocktime->max_ns};
}
