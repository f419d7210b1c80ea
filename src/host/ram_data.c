/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages of guest RAM were ever touched. The contract: godwit/ram.h. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "host/ram_private.h"

/* Linux Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)

/* ---- Holes of a memfd ----
 *
 * SEEK_DATA takes a page that the kernel is just moving elsewhere for a hole: its new place is in
 * the file's tree, and not up to date yet (Linux mm/migrate.c, folio_migrate_mapping; mm/filemap.c,
 * folio_seek_hole_data). So a hole is looked at again, by what counts all that is in the tree
 * (cachestat, from Linux 6.5 on). If that finds something, or is not there, the hole's first pages
 * are read, which waits for who moves them and makes none (mm/shmem.c, SGP_READ), and SEEK_DATA is
 * asked again.
 */

/* Linux include/uapi/linux/mman.h: struct cachestat_range and struct cachestat. */
struct cache_range {
    uint64_t offset, bytes;
};
struct cache_pages {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};
enum { CACHESTAT = 451 }; /* its number, on every architecture of ours */

enum look { LOOK_EMPTY, LOOK_TAKEN, LOOK_UNKNOWN };

static enum look look_at(int fd, uint64_t offset, uint64_t bytes)
{
    const struct cache_range range = {.offset = offset, .bytes = bytes};
    struct cache_pages pages;
    if (syscall(CACHESTAT, fd, &range, &pages, 0) != 0) {
        return LOOK_UNKNOWN;
    }
    return pages.cached + pages.evicted == 0 ? LOOK_EMPTY : LOOK_TAKEN;
}

enum { LOOKS_MAX = 50, READS_MAX = 512 };

/* True when [first, page) are holes for sure, as far as this kernel can tell; false: look anew. */
static bool is_sure(const struct gw_ram *ram, int fd, uint64_t first, uint64_t page, int looks)
{
    enum look look = look_at(fd, first * ram->page_bytes, (page - first) * ram->page_bytes);
    if (look == LOOK_EMPTY || (look == LOOK_UNKNOWN && looks > 0)) {
        return true;
    }
    for (uint64_t i = first; i < page && i < first + READS_MAX; i++) {
        char byte;
        (void)!pread(fd, &byte, 1, (off_t)(i * ram->page_bytes));
    }
    return false;
}

/* Where they are mapped the page table tells, at a tenth of what the file's tree takes for each;
 * where not it is that tree again: so the first question is short, and each one longer. */
uint64_t gw_ram_resident_end(const struct gw_ram *ram, const struct gw_ram_region *region,
                             uint64_t first, uint64_t end)
{
    unsigned char is_resident[512];
    uint64_t most = 1;
    while (first < end) {
        uint64_t count = end - first < most ? end - first : most;
        if (mincore(region->base + first * ram->page_bytes, count * ram->page_bytes, is_resident)) {
            return first;
        }
        for (uint64_t i = 0; i < count; i++, first++) {
            if ((is_resident[i] & 1) == 0) {
                return first;
            }
        }
        most = most < sizeof(is_resident) ? 8 * most : most;
    }
    return end;
}

/* In all of these, [first, end) are pages of the region, counted from its start; they return the
 * first touched one (end: none) and the end of that run in *run_end. */
static uint64_t next_data_memfd(const struct gw_ram *ram, const struct gw_ram_region *region,
                                uint64_t first, uint64_t end, uint64_t *run_end)
{
    uint64_t page = first;
    uint64_t stop = gw_ram_resident_end(ram, region, first, end);
    bool is_known = stop > first;
    for (int looks = 0; !is_known && looks < LOOKS_MAX; looks++) {
        off_t data = lseek(region->fd, (off_t)(first * ram->page_bytes), SEEK_DATA);
        page = data >= 0 ? (uint64_t)data / ram->page_bytes : errno == ENXIO ? end : first;
        page = page < end ? page : end; /* ENXIO: only a hole up to the file's end */
        is_known = page == first || is_sure(ram, region->fd, first, page, looks);
    }
    if (!is_known || page == end) { /* what is there and never gets a content counts as touched */
        *run_end = page;
        return is_known ? end : first;
    }
    stop = stop > page ? stop : gw_ram_resident_end(ram, region, page, end);
    off_t hole = stop < end ? lseek(region->fd, (off_t)(stop * ram->page_bytes), SEEK_HOLE) : -1;
    stop = hole < 0 ? end : (uint64_t)hole / ram->page_bytes;
    stop = stop > page ? stop : page + 1; /* it is just being moved */
    *run_end = stop < end ? stop : end;
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

bool gw_ram_is_hole(const struct gw_ram *ram, uint64_t page, uint64_t count)
{
    const struct gw_ram_region *region = gw_ram_region_of(ram, page);
    uint64_t first = page - region->page_first;
    return region->kind == GW_RAM_MEMFD && count <= gw_ram_contiguous(ram, page) &&
           gw_ram_resident_end(ram, region, first, first + 1) == first &&
           look_at(region->fd, first * ram->page_bytes, count * ram->page_bytes) == LOOK_EMPTY;
}
