/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages of guest RAM were ever touched. The contract: godwit/ram.h. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "host/ram_private.h"

/* Linux Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)

/* In both of these, [first, end) are pages of the region, counted from its start; they return
 * the first touched one (end: none) and the end of that run in *run_end. */
static uint64_t next_data_memfd(const struct gw_ram *ram, const struct gw_ram_region *region,
                                uint64_t first, uint64_t end, uint64_t *run_end)
{
    off_t data = lseek(region->fd, (off_t)(first * ram->page_bytes), SEEK_DATA);
    if (data < 0) {
        *run_end = end;
        return errno == ENXIO ? end : first; /* ENXIO: only a hole up to the file's end */
    }
    uint64_t page = (uint64_t)data / ram->page_bytes;
    if (page >= end) {
        *run_end = end;
        return end;
    }
    off_t hole = lseek(region->fd, data, SEEK_HOLE);
    uint64_t stop = hole < 0 ? end : ((uint64_t)hole + ram->page_bytes - 1) / ram->page_bytes;
    *run_end = stop <= page || stop > end ? end : stop;
    return page;
}

static uint64_t next_data_anonymous(const struct gw_ram *ram, const struct gw_ram_region *region,
                                    uint64_t first, uint64_t end, uint64_t *run_end)
{
    uint64_t entry[256];
    uint64_t found = end;
    uint64_t start = (uintptr_t)region->base / ram->page_bytes;
    for (uint64_t page = first; page < end;) {
        uint64_t count = end - page < 256 ? end - page : 256;
        ssize_t got = pread(region->fd, entry, count * sizeof(entry[0]),
                            (off_t)((start + page) * sizeof(entry[0])));
        if (got != (ssize_t)(count * sizeof(entry[0]))) {
            *run_end = end;
            return found == end ? page : found;
        }
        for (uint64_t i = 0; i < count; i++, page++) {
            bool is_touched = (entry[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) != 0;
            if (is_touched && found == end) {
                found = page;
            } else if (!is_touched && found != end) {
                *run_end = page;
                return found;
            }
        }
    }
    *run_end = end;
    return found;
}

/* By mincore, since pagemap takes one that the kernel
 * is just moving elsewhere for a hole (Linux mm/mincore.c, fs/proc/task_mmu.c). */
bool gw_ram_is_huge_touched(const struct gw_ram *ram, const struct gw_ram_region *region,
                            uint64_t page)
{
    unsigned char is_there = 1;
    int result;
    do {
        result = mincore(region->base + page * ram->page_bytes, ram->page_bytes, &is_there);
    } while (result != 0 && errno == EAGAIN);
    return result != 0 || (is_there & 1) != 0;
}

static uint64_t next_huge(uint64_t page, uint64_t unit_pages, uint64_t end)
{
    uint64_t next = page - page % unit_pages + unit_pages;
    return next < end ? next : end;
}

static uint64_t next_data_hugetlb(const struct gw_ram *ram, const struct gw_ram_region *region,
                                  uint64_t first, uint64_t end, uint64_t *run_end)
{
    uint64_t unit_pages = GW_HUGE_PAGE_BYTES / ram->page_bytes;
    uint64_t page = first;
    while (page < end && !gw_ram_is_huge_touched(ram, region, page)) {
        page = next_huge(page, unit_pages, end);
    }
    *run_end = page;
    while (*run_end < end && gw_ram_is_huge_touched(ram, region, *run_end)) {
        *run_end = next_huge(*run_end, unit_pages, end);
    }
    return page;
}

static uint64_t next_data(const struct gw_ram *ram, const struct gw_ram_region *region,
                          uint64_t first, uint64_t end, uint64_t *run_end)
{
    switch (region->kind) {
    case GW_RAM_HUGETLB:
        return next_data_hugetlb(ram, region, first, end, run_end);
    case GW_RAM_ANONYMOUS:
        return next_data_anonymous(ram, region, first, end, run_end);
    case GW_RAM_MEMFD:
        break;
    }
    return next_data_memfd(ram, region, first, end, run_end);
}

uint64_t gw_ram_next_data(const struct gw_ram *ram, uint64_t page, uint64_t end, uint64_t *count)
{
    GW_ASSERT(end <= ram->page_count);
    while (page < end) {
        const struct gw_ram_region *region = gw_ram_region_of(ram, page);
        uint64_t base = region->page_first;
        uint64_t stop = base + region->bytes / ram->page_bytes;
        stop = stop < end ? stop : end;
        uint64_t run_end;
        uint64_t found = next_data(ram, region, page - base, stop - base, &run_end);
        if (base + found < stop) {
            *count = run_end - found;
            return base + found;
        }
        page = stop;
    }
    *count = 0;
    return end;
}

uint64_t gw_ram_put_data(const struct gw_ram *ram, uint64_t page, uint64_t end, uint64_t *bitmap)
{
    uint64_t added = 0;
    while (page < end) {
        uint64_t count;
        uint64_t data = gw_ram_next_data(ram, page, end, &count);
        added += gw_bits_put(bitmap, data, count, true);
        page = data + count;
    }
    return added;
}

/* One look from `page` on, and none for the end of a run of data, which may be far. */
bool gw_ram_is_hole(const struct gw_ram *ram, uint64_t page, uint64_t count)
{
    const struct gw_ram_region *region = gw_ram_region_of(ram, page);
    if (region->kind != GW_RAM_MEMFD || count > gw_ram_contiguous(ram, page)) {
        return false;
    }
    off_t offset = (off_t)((page - region->page_first) * ram->page_bytes);
    off_t data = lseek(region->fd, offset, SEEK_DATA);
    return data < 0 ? errno == ENXIO : (uint64_t)(data - offset) >= count * ram->page_bytes;
}
