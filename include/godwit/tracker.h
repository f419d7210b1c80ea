/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dirty trackers: which pages of guest RAM were written.
 *
 * A tracker is *collect* and *re-arm*. Collect says which pages were written and not re-armed
 * since; re-arm, called before those pages are read to be sent, makes the next write to them show
 * up in a later collect. The promise: re-protected before read. A write that comes after re-arm is
 * either in the bytes that were read or in a later collect, so no version of a page is lost.
 *
 * The tracker is one of godwit's three tables of functions (transport, tracker, device). Its
 * state follows the table as the first member of a larger struct: struct gw_tracker_kvm_log
 * (src/dirty/kvm_log.c), struct gw_tracker_kvm_ring (src/dirty/kvm_ring.c), struct
 * gw_tracker_uffd_wp (src/dirty/uffd_wp.c).
 *
 * A bitmap has one bit per page, page n at bit n % 64 of word n / 64.
 *
 * Threads: start, collect and stop come from one thread; rearm may come from channel threads at
 * the same time, for pages that no other thread re-arms. Blocks: for the length of a system call.
 */
#ifndef GODWIT_TRACKER_H
#define GODWIT_TRACKER_H

#include <stdint.h>

#include "godwit/ram.h"
#include "godwit/status.h"

struct gw_tracker;

struct gw_tracker_operations {
    const char *name; /* "KVM dirty log", "userfaultfd write-protect" */

    /* Turns tracking on and ORs into `bitmap` every page that was ever touched; pages left clear
     * are holes, and a write to one of them from now on is reported by collect. */
    enum gw_status (*start)(struct gw_tracker *tracker, uint64_t *bitmap, struct gw_fault *fault);

    /* ORs into `bitmap` every page written since it was last re-armed (or, for pages not re-armed
     * yet, since start). A page that was reported and not re-armed may be reported again each time,
     * and is after the next write to it. Returns the number of bits that were not set in `bitmap`
     * before in *added. */
    enum gw_status (*collect)(struct gw_tracker *tracker, uint64_t *bitmap, uint64_t *added,
                              struct gw_fault *fault);

    /* Re-protects page first + i for each set bit i of `count` bits; `first` is a multiple of 64.
     * The pages may be of several regions. Each of them is read afterwards: of one that is not,
     * what was written before is lost. What a collect reports is re-armed again before it is read,
     * even if it was and has not been read since: a tracker may protect larger units, and does so
     * to all of one at the first re-arm behind its report. */
    enum gw_status (*rearm)(struct gw_tracker *tracker, uint64_t first, uint64_t count,
                            const uint64_t *bits, struct gw_fault *fault);

    /* Turns tracking off. Idempotent. */
    void (*stop)(struct gw_tracker *tracker);
};

struct gw_tracker {
    const struct gw_tracker_operations *operations;
};

#endif
