/* SPDX-License-Identifier: Apache-2.0 */
/* Marks of the monitor's own writes. The contract: godwit/marks.h. */
#include "godwit/marks.h"

#include "base/bitmap.h"

void gw_marks_reset(struct gw_marks *marks)
{
    for (uint64_t i = 0; i < GW_BITMAP_WORDS; i++) {
        atomic_store_explicit(&marks->word[i], 0, memory_order_relaxed);
    }
}

/* Release here and acquire in get: whoever takes the mark and then reads the page sees what was
 * written before the mark. */
void gw_marks_put(struct gw_marks *marks, uint64_t page, uint64_t count)
{
    GW_ASSERT(page <= GW_PAGES_MAX && count <= GW_PAGES_MAX - page);
    while (count > 0) {
        uint64_t shift = page % 64;
        uint64_t here = count < 64 - shift ? count : 64 - shift;
        atomic_fetch_or_explicit(&marks->word[page / 64], (UINT64_MAX >> (64 - here)) << shift,
                                 memory_order_release);
        page += here;
        count -= here;
    }
}

void gw_marks_put_gpa(struct gw_marks *marks, const struct gw_ram *ram, uint64_t gpa,
                      uint64_t bytes)
{
    if (bytes == 0) {
        return;
    }
    for (uint32_t i = 0; i < ram->region_count; i++) {
        const struct gw_ram_region *region = &ram->region[i];
        if (gpa >= region->gpa && gpa - region->gpa < region->bytes) {
            uint64_t offset = gpa - region->gpa;
            GW_ASSERT(bytes <= region->bytes - offset);
            uint64_t first = offset / ram->page_bytes;
            uint64_t last = (offset + bytes - 1) / ram->page_bytes;
            gw_marks_put(marks, region->page_first + first, last - first + 1);
            return;
        }
    }
    GW_ASSERT(!"marks within one region");
}

uint64_t gw_marks_get(struct gw_marks *marks, uint64_t page_count, uint64_t *bitmap)
{
    uint64_t added = 0;
    for (uint64_t i = 0; i * 64 < page_count; i++) {
        /* A look first: most words are 0, and a plain load keeps their cache lines shared. */
        if (atomic_load_explicit(&marks->word[i], memory_order_relaxed) == 0) {
            continue;
        }
        uint64_t left = page_count - i * 64;
        uint64_t bits = atomic_exchange_explicit(&marks->word[i], 0, memory_order_acquire) &
                        gw_bit_mask(0, left < 64 ? left : 64);
        added += (uint64_t)__builtin_popcountll(bits & ~bitmap[i]);
        bitmap[i] |= bits;
    }
    return added;
}
