/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mirror: what a migration does with a dirty tracker, without the migration. Each round takes
 * the dirty pages, re-arms each just before it is copied, and copies it; when the writers have
 * stopped, one more round must leave the copy equal to the RAM, or a write was lost.
 */
#ifndef GW_TEST_MIRROR_H
#define GW_TEST_MIRROR_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "godwit/tracker.h"

/* 1280 pages of 64 KiB. */
enum { MIRROR_BYTES = 80 << 20, MIRROR_RUN_PAGES_MAX = 512 };

struct mirror {
    struct gw_tracker *tracker;
    const struct gw_ram *ram;
    uint64_t dirty[GW_BITMAP_WORDS];
    uint8_t copy[MIRROR_BYTES];
};

static inline bool mirror_is_dirty(const struct mirror *mirror, uint64_t page)
{
    return (mirror->dirty[page / 64] >> (page % 64) & 1) != 0;
}

/* Word by word and atomically: the writers are at it. */
static inline void mirror_copy_page(struct mirror *mirror, uint64_t page)
{
    uint64_t *from = (uint64_t *)(void *)gw_ram_page(mirror->ram, page);
    uint64_t *to = (uint64_t *)(void *)(mirror->copy + page * mirror->ram->page_bytes);
    for (uint32_t i = 0; i < mirror->ram->page_bytes / 8; i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
}

static inline enum gw_status mirror_rearm(struct mirror *mirror, uint64_t page, uint64_t count,
                                          struct gw_fault *fault)
{
    uint64_t bits[(MIRROR_RUN_PAGES_MAX + 63) / 64 + 1] = {0};
    uint64_t before = page % 64;
    GW_ASSERT(count <= MIRROR_RUN_PAGES_MAX);
    (void)gw_bits_put(bits, before, count, true);
    return mirror->tracker->operations->rearm(mirror->tracker, page - before, before + count, bits,
                                              fault);
}

/* Sends what is dirty, in runs of up to run_pages. Returns how many pages, or -1. */
static inline int64_t mirror_send(struct mirror *mirror, uint64_t run_pages, struct gw_fault *fault)
{
    int64_t sent = 0;
    for (uint64_t page = 0; page < mirror->ram->page_count; page++) {
        uint64_t count = 0;
        uint64_t most = gw_ram_contiguous(mirror->ram, page);
        most = most < run_pages ? most : run_pages;
        while (count < most && mirror_is_dirty(mirror, page + count)) {
            uint64_t one = page + count++;
            mirror->dirty[one / 64] &= ~(UINT64_C(1) << (one % 64));
        }
        if (count == 0) {
            continue;
        }
        if (mirror_rearm(mirror, page, count, fault) != GW_OK) {
            return -1;
        }
        for (uint64_t i = 0; i < count; i++) {
            mirror_copy_page(mirror, page + i);
        }
        sent += (int64_t)count;
        page += count - 1;
    }
    return sent;
}

static inline bool mirror_start(struct mirror *mirror, struct gw_tracker *tracker,
                                const struct gw_ram *ram, struct gw_fault *fault)
{
    GW_ASSERT(ram->page_count * ram->page_bytes <= MIRROR_BYTES);
    memset(mirror->dirty, 0, sizeof(mirror->dirty));
    memset(mirror->copy, 0, ram->page_count * ram->page_bytes);
    mirror->tracker = tracker;
    mirror->ram = ram;
    return tracker->operations->start(tracker, mirror->dirty, fault) == GW_OK;
}

static inline int64_t mirror_round(struct mirror *mirror, uint64_t run_pages,
                                   struct gw_fault *fault)
{
    uint64_t added;
    if (mirror->tracker->operations->collect(mirror->tracker, mirror->dirty, &added, fault) !=
        GW_OK) {
        return -1;
    }
    return mirror_send(mirror, run_pages, fault);
}

/* True when the copy equals the RAM; holes count as zero. Says where not. */
static inline bool mirror_is_equal(const struct mirror *mirror)
{
    static const uint8_t zero[65536];
    uint32_t bytes = mirror->ram->page_bytes;
    for (uint64_t page = 0; page < mirror->ram->page_count; page++) {
        uint64_t count;
        bool is_data = gw_ram_next_data(mirror->ram, page, page + 1, &count) == page;
        const uint8_t *now = is_data ? gw_ram_page(mirror->ram, page) : zero;
        if (memcmp(now, mirror->copy + page * bytes, bytes) != 0) {
            (void)fprintf(stderr, "page %" PRIu64 ": the copy is stale\n", page);
            return false;
        }
    }
    return true;
}

#endif
