/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dirty tracker (godwit/tracker.h) by userfaultfd write-protection, for embedders whose guest
 * is not under KVM: it sees writes through this process's mapping of the RAM, by any thread and
 * by the kernel (read(2) into it). It does not see writes through another mapping, by another
 * process, or by write(2) to the memfd; nor writes to pages that were pinned before they were
 * re-armed (O_DIRECT, io_uring's registered buffers, vhost, a device): whoever writes so marks the
 * pages when it is complete (gw_marks_put).
 *
 * Two ways, chosen by what the kernel has:
 *   asynchronous  Linux 6.7: the kernel un-protects a page by itself on a write, and PAGEMAP_SCAN
 *                 tells which are protected; no thread, no fault message
 *   synchronous   Linux 5.19 (anonymous memory: 5.14): a thread receives each fault and
 *                 un-protects the page; /proc/self/pagemap tells which are protected
 * Before Linux 6.3 an embedder's anonymous region must be one mapping to the kernel: it protects no
 * run across two, and re-arming fails.
 * The choice of 4 KiB pages and huge pages stays the kernel's; where RAM is in huge pages (hugetlb)
 * one is protected, and written, as a whole. How nothing gets lost is argued in
 * src/dirty/uffd_wp.c.
 *
 * Owner: the caller's static storage (a thread's stack is in it). Threads and blocking: as the
 * table says.
 */
#ifndef GODWIT_UFFD_WP_H
#define GODWIT_UFFD_WP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "godwit/loop.h"
#include "godwit/marks.h"
#include "godwit/ram.h"
#include "godwit/thread.h"
#include "godwit/tracker.h"
#include "godwit/uffd.h"

/* A bit for each huge page, or as much. */
#define GW_UFFD_WP_UNIT_WORDS (GW_RAM_BYTES_MAX / GW_HUGE_PAGE_BYTES / 64 + 1)

enum gw_uffd_wp_mode {
    GW_UFFD_WP_BEST = 0,  /* what the kernel has, asynchronous first */
    GW_UFFD_WP_ASYNC = 1, /* this or GW_HOST */
    GW_UFFD_WP_SYNC = 2,
};

struct gw_tracker_uffd_wp {
    struct gw_tracker tracker; /* pass &wp.tracker to whoever takes a tracker */
    const struct gw_ram *ram;
    struct gw_marks *marks;    /* may be NULL */
    struct gw_uffd uffd;       /* open from start to stop */
    enum gw_uffd_wp_mode mode; /* what was asked for */
    bool is_async;             /* what it became at start */
    bool is_on;
    int pagemap_fd;
    struct gw_notify quit;
    struct gw_thread thread; /* synchronous only */

    /* hugetlb: protected since collect last reported it */
    _Atomic uint64_t armed[GW_UFFD_WP_UNIT_WORDS];
    /* memfd: as much of it was a hole at the last look, and is not protected */
    uint64_t untouched[GW_UFFD_WP_UNIT_WORDS];
};

/* Binds the tracker to RAM; both ram and marks must outlive it. start opens everything and says
 * GW_HOST, with the remedy, where this host does not allow it. */
void gw_tracker_uffd_wp_init(struct gw_tracker_uffd_wp *wp, const struct gw_ram *ram,
                             struct gw_marks *marks, enum gw_uffd_wp_mode mode);

#endif
