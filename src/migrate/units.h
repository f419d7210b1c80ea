/* SPDX-License-Identifier: Apache-2.0 */
/* Maps of whole units of pages, which is what a target with huge pages has and lacks. Pure. */
#ifndef GW_MIGRATE_UNITS_H
#define GW_MIGRATE_UNITS_H

#include "base/bitmap.h"

/* The first set bit of a unit that is not all set; page_count: there is none. */
static inline uint64_t gw_units_find_part(const uint64_t *bitmap, uint64_t page_count,
                                          uint64_t unit_pages)
{
    uint64_t page = gw_bits_next(bitmap, 0, page_count, true);
    while (unit_pages > 1 && page < page_count) {
        uint64_t first = page - page % unit_pages;
        if (page != first ||
            gw_bits_next(bitmap, first, first + unit_pages, false) != first + unit_pages) {
            return page;
        }
        page = gw_bits_next(bitmap, first + unit_pages, page_count, true);
    }
    return page_count;
}

#endif
