/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of a part of a region are not write-protected by userfaultfd: the question that
 * src/dirty/uffd_wp.c asks, put to the kernel in one of two ways.
 *
 * Memory: the caller's. Blocks: for the length of some system calls.
 */
#ifndef GW_DIRTY_UFFD_SCAN_H
#define GW_DIRTY_UFFD_SCAN_H

#include "godwit/ram.h"

struct gw_uffd_scan {
    int pagemap_fd;
    const struct gw_ram *ram;
    const struct gw_ram_region *region;
    uint64_t first, end; /* pages of it, as RAM counts them; of huge pages whole ones */
    uint64_t *bitmap;    /* pages are ORed in here */
    uint64_t *added;     /* and counted here, those that were not in it */
    void (*reported)(void *context, uint64_t page, uint64_t count); /* each run; may be NULL */
    void *context;
};

/* By ioctl PAGEMAP_SCAN (Linux 6.7). For anonymous memory a page never touched counts as
 * protected. */
GW_MUST_USE enum gw_status gw_uffd_scan_fast(const struct gw_uffd_scan *scan,
                                             struct gw_fault *fault);

/* The same by reading /proc/self/pagemap (Linux 5.14; shmem and hugetlb 5.19). */
GW_MUST_USE enum gw_status gw_uffd_scan_slow(const struct gw_uffd_scan *scan,
                                             struct gw_fault *fault);

#endif
