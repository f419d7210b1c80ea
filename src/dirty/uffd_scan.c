/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unprotected pages, by PAGEMAP_SCAN or by reading pagemap. The contract: dirty/uffd_scan.h.
 *
 * The difference between the kinds of memory. An anonymous page's entry in the page table always
 * tells: none means never touched, and a swapped page keeps its protection bit. A memfd's entry
 * may vanish when the kernel takes the page out (only a protected one leaves a marker behind), so
 * there everything counts as written but what is known to be protected.
 */
#include "dirty/uffd_scan.h"

#include <errno.h>
#include <linux/fs.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "godwit/ioctl.h"

/* Linux Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_UFFD_WP (UINT64_C(1) << 57)

enum { SCAN_RANGES = 64, READ_ENTRIES = 256 };

static void put(const struct gw_uffd_scan *scan, uint64_t page, uint64_t count)
{
    *scan->added += gw_bits_put(scan->bitmap, page, count, true);
    if (scan->reported != NULL && count > 0) {
        scan->reported(scan->context, page, count);
    }
}

/* [start, end) are addresses of the region's mapping. */
static void put_addresses(const struct gw_uffd_scan *scan, uint64_t start, uint64_t end)
{
    uint64_t base = (uintptr_t)scan->region->base;
    uint64_t page_bytes = scan->ram->page_bytes;
    put(scan, scan->region->page_first + (start - base) / page_bytes, (end - start) / page_bytes);
}

/* What to ask for. Anonymous: written, and present or swapped. (The last is no tautology: asked
 * for "written" alone the kernel takes a short way that reports holes too.) Memfd: the opposite
 * set, protected and present or swapped, where a marker counts as swapped. */
static struct pm_scan_arg make_question(const struct gw_uffd_scan *scan, struct page_region *ranges)
{
    uint64_t start = (uintptr_t)gw_ram_page(scan->ram, scan->first);
    struct pm_scan_arg question = {
        .size = sizeof(question),
        .start = start,
        .end = start + (scan->end - scan->first) * scan->ram->page_bytes,
        .vec = (uintptr_t)ranges,
        .vec_len = SCAN_RANGES,
        .category_mask = PAGE_IS_WRITTEN,
        .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        .return_mask = PAGE_IS_WRITTEN,
    };
    if (scan->region->kind != GW_RAM_ANONYMOUS) {
        question.category_inverted = PAGE_IS_WRITTEN;
    }
    return question;
}

enum gw_status gw_uffd_scan_fast(const struct gw_uffd_scan *scan, struct gw_fault *fault)
{
    struct page_region ranges[SCAN_RANGES];
    bool is_anonymous = scan->region->kind == GW_RAM_ANONYMOUS;
    struct pm_scan_arg question = make_question(scan, ranges);
    uint64_t known_end = question.start; /* memfd: everything before is settled */
    while (question.start < question.end) {
        int count = gw_ioctl(scan->pagemap_fd, PAGEMAP_SCAN, &question);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return gw_fault_set_os(fault, errno, "PAGEMAP_SCAN");
        }
        for (int i = 0; i < count; i++) {
            if (is_anonymous) {
                put_addresses(scan, ranges[i].start, ranges[i].end);
            } else {
                put_addresses(scan, known_end, ranges[i].start);
                known_end = ranges[i].end;
            }
        }
        GW_ASSERT(question.walk_end > question.start);
        question.start = question.walk_end;
    }
    if (!is_anonymous) {
        put_addresses(scan, known_end, question.end);
    }
    return GW_OK;
}

static bool is_unprotected(enum gw_ram_kind kind, uint64_t entry)
{
    bool is_there = (entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) != 0;
    return (entry & PAGEMAP_UFFD_WP) == 0 && (is_there || kind != GW_RAM_ANONYMOUS);
}

/* A huge page is protected as a whole, so one of its entries tells of all, and is looked at once:
 * of two looks with a write between them, the second would report only the pages that it covers,
 * and their re-arming would protect the written one as well. */
enum gw_status gw_uffd_scan_slow(const struct gw_uffd_scan *scan, struct gw_fault *fault)
{
    const struct gw_ram *ram = scan->ram;
    const struct gw_ram_region *region = scan->region;
    bool is_huge = region->kind == GW_RAM_HUGETLB;
    uint64_t entry_pages = is_huge ? ram->unit_pages : 1;
    uint64_t entries_max = is_huge ? 1 : READ_ENTRIES;
    uint64_t entry[READ_ENTRIES];
    uint64_t base = (uintptr_t)region->base / ram->page_bytes - region->page_first;
    for (uint64_t page = scan->first; page < scan->end;) {
        uint64_t left = (scan->end - page) / entry_pages;
        uint64_t count = left < entries_max ? left : entries_max;
        ssize_t got = pread(scan->pagemap_fd, entry, count * sizeof(entry[0]),
                            (off_t)((base + page) * sizeof(entry[0])));
        if (got < (ssize_t)sizeof(entry[0])) {
            return gw_fault_set_os(fault, got < 0 ? errno : EIO, "reading /proc/self/pagemap");
        }
        count = (uint64_t)got / sizeof(entry[0]);
        for (uint64_t i = 0; i < count; i++) {
            if (is_unprotected(region->kind, entry[i])) {
                put(scan, page + i * entry_pages, entry_pages);
            }
        }
        page += count * entry_pages;
    }
    return GW_OK;
}
