/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Missing pages: guest RAM some of whose pages are not there yet. Whoever touches one, a thread of
 * this process or the kernel for it (KVM, read(2)), sleeps until it is placed (userfaultfd).
 *
 * Between start and stop a page gets into RAM only by gw_missing_place and _place_zero; what is
 * there already is never overwritten. A page that reads as zero but was never placed is a hole,
 * and faults like one that is missing.
 *
 * Where RAM is in huge pages (ram->unit_pages > 1) all of this is of whole units: `received`, and
 * what is placed. A fault names any page of one.
 *
 * A thread that sleeps on a page cannot be interrupted but by a signal that ends the process: it
 * must hold nothing that placing needs.
 *
 * Owner: the caller's storage. Threads: start and stop by one, with nobody in the others; the
 * others by any, at the same time. Numbers: Linux Documentation/admin-guide/mm/userfaultfd.rst.
 */
#ifndef GODWIT_MISSING_H
#define GODWIT_MISSING_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/ram.h"
#include "godwit/status.h"
#include "godwit/uffd.h"

struct gw_missing {
    const struct gw_ram *ram;
    struct gw_uffd uffd;
    bool is_on;
};

/* Can this host do it, with RAM like this? GW_HOST, with the remedy, when not. is_user_mode_enough:
 * faults of the kernel itself need not be noticed (a guest under KVM needs that). */
GW_MUST_USE enum gw_status gw_missing_probe(const struct gw_ram *ram, bool is_user_mode_enough,
                                            struct gw_fault *fault);

/* Keeps the kernel from making huge pages of others: one would be there or missing as a whole. To
 * be said before the first page is placed. */
void gw_missing_prepare(const struct gw_ram *ram);

/* Makes holes of all pages whose bit is not set in `received`, sees that they are, and has every
 * touch of a hole noticed from now on. Nobody else uses RAM meanwhile. GW_HOST, GW_CORRUPT when a
 * page that should be a hole is none; then it is off. */
GW_MUST_USE enum gw_status gw_missing_start(struct gw_missing *missing, const struct gw_ram *ram,
                                            const uint64_t *received, bool is_user_mode_enough,
                                            struct gw_fault *fault);

/* Readable while a fault waits to be read. */
int gw_missing_fd(const struct gw_missing *missing);

/* The next fault: which page, and the kernel's id of the thread that waits for it. GW_AGAIN: none.
 * Never blocks. */
GW_MUST_USE enum gw_status gw_missing_next(struct gw_missing *missing, uint64_t *page,
                                           uint32_t *who, struct gw_fault *fault);

/* Places pages from `bytes` (count * page_bytes) where none is, and wakes who waits for them. */
GW_MUST_USE enum gw_status gw_missing_place(const struct gw_missing *missing, uint64_t page,
                                            uint64_t count, const uint8_t *bytes,
                                            struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_missing_place_zero(const struct gw_missing *missing, uint64_t page,
                                                 uint64_t count, struct gw_fault *fault);

/* Whoever waits for one of these pages touches it again. To be said for huge pages once more when
 * they are placed and the next fault on one of them will be answered by placing zeros: who touched
 * one while it was placed may have fallen asleep just behind that. */
void gw_missing_wake(const struct gw_missing *missing, uint64_t page, uint64_t count);

/* Back to ordinary memory: holes read as zero, sleepers go on. Idempotent; also when zeroed. */
void gw_missing_stop(struct gw_missing *missing);

#endif
