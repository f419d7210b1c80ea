/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of a region are not write-protected by userfaultfd: the question that
 * src/dirty/uffd_wp.c asks, put to the kernel in one of two ways.
 *
 * Memory: the caller's. Blocks: for the length of some system calls.
 */
#ifndef GW_DIRTY_UFFD_SCAN_H
#define GW_DIRTY_UFFD_SCAN_H

#include "godwit/ram.h"

/* By ioctl PAGEMAP_SCAN (Linux 6.7). ORs the unprotected pages of the region into `bitmap`, and
 * adds to *added. For anonymous memory a page never touched counts as protected. */
GW_MUST_USE enum gw_status gw_uffd_scan_fast(int pagemap_fd, const struct gw_ram *ram,
                                             const struct gw_ram_region *region, uint64_t *bitmap,
                                             uint64_t *added, struct gw_fault *fault);

/* The same by reading /proc/self/pagemap (Linux 5.14; shmem 5.19). */
GW_MUST_USE enum gw_status gw_uffd_scan_slow(int pagemap_fd, const struct gw_ram *ram,
                                             const struct gw_ram_region *region, uint64_t *bitmap,
                                             uint64_t *added, struct gw_fault *fault);

#endif
