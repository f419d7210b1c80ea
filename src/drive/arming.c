/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of pages to be re-armed together. The contract: godwit/arming.h. */
#include "godwit/arming.h"

#include <string.h>

#include "base/bitmap.h"
#include "godwit/pages.h"

void gw_arming_reset(struct gw_arming *arming)
{
    arming->first = 0;
    arming->end = 0;
    arming->collects = 0;
}

void gw_arming_begin(struct gw_arming *arming, uint64_t collects)
{
    if (arming->collects != collects) {
        gw_arming_reset(arming);
        arming->collects = collects;
    }
}

/* The first of [page, end) that is not armed, or end. */
static uint64_t next_bare(const struct gw_arming *arming, uint64_t page, uint64_t end)
{
    if (page < arming->first || page >= arming->end) {
        return page;
    }
    uint64_t stop = end < arming->end ? end : arming->end;
    return arming->first +
           gw_bits_next(arming->bits, page - arming->first, stop - arming->first, false);
}

bool gw_arming_lacks(const struct gw_arming *arming, const struct gw_batch *batch, uint64_t *page)
{
    for (uint32_t i = 0; i < batch->run_count; i++) {
        uint64_t end = batch->run[i].page + batch->run[i].count;
        uint64_t from = batch->run[i].page > *page ? batch->run[i].page : *page;
        uint64_t bare = from < end ? next_bare(arming, from, end) : end;
        if (bare < end) {
            *page = bare;
            return true;
        }
    }
    return false;
}

static void put_batch(struct gw_arming *arming, const struct gw_batch *batch, bool is_armed)
{
    for (uint32_t i = 0; i < batch->run_count; i++) {
        uint64_t end = batch->run[i].page + batch->run[i].count;
        uint64_t first = batch->run[i].page;
        first = first > arming->first ? first : arming->first;
        end = end < arming->end ? end : arming->end;
        if (first < end) {
            (void)gw_bits_put(arming->bits, first - arming->first, end - first, is_armed);
        }
    }
}

/* No further than to so many pages: whole words of the bitmap, of which the first begins late. */
static void limit(struct gw_arming *arming, uint64_t pages_max)
{
    uint64_t count = 0;
    for (uint64_t first = arming->first; first < arming->end; first += 64) {
        if (count >= pages_max) {
            arming->end = first;
            return;
        }
        count += (uint64_t)__builtin_popcountll(arming->bits[(first - arming->first) / 64]);
    }
}

/* What another channel sends, it re-arms. */
static void keep_share(struct gw_arming *arming, uint32_t channel, uint32_t channel_count,
                       uint32_t page_bytes)
{
    uint64_t at = channel_count > 1 ? arming->first : arming->end;
    while (at < arming->end) {
        uint64_t stretch_pages = GW_STRETCH_BYTES / page_bytes;
        uint64_t stop = at - at % stretch_pages + stretch_pages;
        stop = stop < arming->end ? stop : arming->end;
        if (gw_pages_channel_of(at, page_bytes, channel_count) != channel) {
            (void)gw_bits_put(arming->bits, at - arming->first, stop - at, false);
        }
        at = stop;
    }
}

void gw_arming_plan(struct gw_arming *arming, uint64_t page, const struct gw_batch *batch,
                    const uint64_t *pending, const struct gw_ram *ram, uint32_t channel_count)
{
    arming->first = page & ~UINT64_C(63);
    uint64_t left = ram->page_count - arming->first;
    arming->end = arming->first + (left < GW_ARMING_SPAN ? left : GW_ARMING_SPAN);
    uint64_t words = (arming->end - arming->first + 63) / 64;
    memcpy(arming->bits, pending + arming->first / 64, words * sizeof(arming->bits[0]));
    keep_share(arming, batch->channel, channel_count, ram->page_bytes);
    put_batch(arming, batch, true);
    (void)gw_bits_put(arming->bits, 0, page - arming->first, false);
    limit(arming, GW_ARMING_BYTES / ram->page_bytes);
}

void gw_arming_take(struct gw_arming *arming, const struct gw_batch *batch)
{
    put_batch(arming, batch, false);
}
