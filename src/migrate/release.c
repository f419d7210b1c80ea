/* SPDX-License-Identifier: Apache-2.0 */
/* Pages a source gives back. The contract: godwit/release.h. Pure; under the source's lock. */
#include "godwit/release.h"

#include <string.h>

#include "base/bitmap.h"

static uint64_t word_count(const struct gw_release *release)
{
    return (release->page_count + 63) / 64;
}

/* Bits of a word that stand for pages. */
static uint64_t valid_bits(const struct gw_release *release, uint64_t word)
{
    uint64_t left = release->page_count - 64 * word;
    return gw_bit_mask(0, left < 64 ? left : 64);
}

static void add_word(struct gw_release *release, uint64_t word, uint64_t bits)
{
    bits &= valid_bits(release, word) & ~release->released[word] & ~release->due[word];
    release->due[word] |= bits;
    release->due_count += (uint64_t)__builtin_popcountll(bits);
}

void gw_release_begin(struct gw_release *release, uint64_t page_count, uint32_t unit_pages,
                      const uint64_t *missing)
{
    release->is_on = true;
    release->page_count = page_count;
    release->unit_pages = unit_pages;
    release->due_count = 0;
    release->released_count = 0;
    memset(release->due, 0, word_count(release) * sizeof(release->due[0]));
    memset(release->released, 0, word_count(release) * sizeof(release->released[0]));
    for (uint64_t i = 0; i < word_count(release); i++) {
        add_word(release, i, ~missing[i]);
    }
}

void gw_release_add(struct gw_release *release, uint64_t page, uint64_t count)
{
    while (release->is_on && count > 0) {
        uint64_t here = 64 - page % 64;
        here = here < count ? here : count;
        add_word(release, page / 64, gw_bit_mask(page % 64, here));
        page += here;
        count -= here;
    }
}

void gw_release_add_map(struct gw_release *release, const uint64_t *received)
{
    for (uint64_t i = 0; release->is_on && i < word_count(release); i++) {
        add_word(release, i, received != NULL ? received[i] : ~UINT64_C(0));
    }
}

static bool overlaps(const struct gw_run *kept, uint64_t page, uint64_t end)
{
    return kept->count > 0 && page < kept->page + kept->count && kept->page < end;
}

/* The first unit at or behind `page` that may go; page_count: none. */
static uint64_t first_unit(const struct gw_release *release, const struct gw_run *kept,
                           uint64_t page)
{
    uint64_t unit = release->unit_pages;
    for (;;) {
        page = gw_bits_next(release->due, page, release->page_count, true);
        if (page == release->page_count) {
            return page;
        }
        page = (page + unit - 1) / unit * unit;
        if (page >= release->page_count) {
            return release->page_count;
        }
        uint64_t gap = gw_bits_next(release->due, page, page + unit, false);
        if (gap == page + unit && !overlaps(kept, page, page + unit)) {
            return page;
        }
        page += unit;
    }
}

enum gw_status gw_release_next(struct gw_release *release, const struct gw_run *kept,
                               uint64_t run_pages, struct gw_run *run)
{
    if (!release->is_on || release->due_count == 0) {
        return GW_AGAIN;
    }
    uint64_t unit = release->unit_pages;
    uint64_t first = first_unit(release, kept, 0);
    if (first == release->page_count) {
        return GW_AGAIN;
    }
    uint64_t end = first + unit;
    while (end - first < run_pages && first_unit(release, kept, end) == end &&
           end < release->page_count) {
        end += unit;
    }
    *run = (struct gw_run){.page = first, .count = (uint32_t)(end - first)};
    release->due_count -= gw_bits_put(release->due, first, end - first, false);
    release->released_count += gw_bits_put(release->released, first, end - first, true);
    return GW_OK;
}

bool gw_release_has(const struct gw_release *release, uint64_t page)
{
    return release->is_on && gw_bit_test(release->released, page);
}

uint64_t gw_release_find_lost(const struct gw_release *release, const uint64_t *received)
{
    for (uint64_t i = 0; release->is_on && i < word_count(release); i++) {
        uint64_t lost = release->released[i] & ~received[i];
        if (lost != 0) {
            return 64 * i + (uint64_t)__builtin_ctzll(lost);
        }
    }
    return UINT64_MAX;
}
