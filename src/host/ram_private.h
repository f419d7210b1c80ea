/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of guest RAM ask each other. */
#ifndef GW_HOST_RAM_PRIVATE_H
#define GW_HOST_RAM_PRIVATE_H

#include "godwit/ram.h"

/* The region of a page; page < page_count. */
const struct gw_ram_region *gw_ram_region_of(const struct gw_ram *ram, uint64_t page);

/* Is the huge page of that page of a hugetlb region, counted from its start, mapped here? */
bool gw_ram_is_huge_touched(const struct gw_ram *ram, const struct gw_ram_region *region,
                            uint64_t page);

/* The end of the pages of [first, end), counted as above, that are in memory, one behind the other.
 * The next one may be touched as well: swapped out. */
uint64_t gw_ram_resident_end(const struct gw_ram *ram, const struct gw_ram_region *region,
                             uint64_t first, uint64_t end);

#endif
