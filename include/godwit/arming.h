/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-arming ahead of the reader. Each call of a tracker's rearm costs the guest a flush of its TLBs
 * and waits for the kernel's lock; so pages that go soon are re-armed together, a window at a time,
 * and not batch by batch.
 *
 * Only pages that wait to be sent: what was written to them before will be in the bytes that are
 * read. Of a page that was sent already and written since, the tracker's note is all there is, and
 * re-arming would take it away.
 *
 * Not far ahead, either: what is written between its re-arming and its reading goes twice.
 *
 * Memory: the caller's. Thread: the one that reads the channel's pages, and the only one that
 * takes any of its share out of `pending`. Pure.
 */
#ifndef GODWIT_ARMING_H
#define GODWIT_ARMING_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/ram.h"
#include "godwit/source.h"

enum { GW_ARMING_SPAN = 4096 };      /* pages of RAM that a window spans, at most */
#define GW_ARMING_BYTES (4 * GW_MIB) /* that are re-armed in it, about */

/* [first, end): first is a multiple of 64. Empty: nothing is armed. */
struct gw_arming {
    uint64_t collects; /* when it was armed */
    uint64_t first, end;
    uint64_t bits[GW_ARMING_SPAN / 64]; /* page first + i: armed, and not read since */
};

void gw_arming_reset(struct gw_arming *arming);

/* Before a batch, under the engine's lock. `collects` counts the tracker's looks: what was armed
 * before the last one and not read yet may have been written and reported since, and is armed anew.
 * (A tracker of larger units counts on it: of one that it reported, none is read before it is armed
 * again.) */
void gw_arming_begin(struct gw_arming *arming, uint64_t collects);

/* Finds the first page of the batch, whose runs ascend, from *page on that is not armed. False when
 * there is none. */
bool gw_arming_lacks(const struct gw_arming *arming, const struct gw_batch *batch, uint64_t *page);

/* The next window: from `page` on, what the batch has and what is pending (one bit per page of
 * RAM) in the share of its channel, one of channel_count. The caller re-arms `bits` of it; the next
 * page to ask for is `end`. */
void gw_arming_plan(struct gw_arming *arming, uint64_t page, const struct gw_batch *batch,
                    const uint64_t *pending, const struct gw_ram *ram, uint32_t channel_count);

/* The batch's pages are going to be read, once. */
void gw_arming_take(struct gw_arming *arming, const struct gw_batch *batch);

#endif
