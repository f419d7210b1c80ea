/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks: pages of guest RAM that the monitor wrote itself (device I/O, loaders). KVM and
 * userfaultfd do not see, or do not see reliably, such writes; every tracker merges the marks in
 * its collect. A page that is discarded (a hole punched, MADV_DONTNEED) was written, too: with
 * zeros.
 *
 * The rule: mark *after* the write is complete. A page that is being sent while it is written may
 * go out torn; the mark that follows makes it dirty again, so the whole version follows.
 *
 * Owner: the caller's storage. Any thread may mark, one collects. Never blocks.
 */
#ifndef GODWIT_MARKS_H
#define GODWIT_MARKS_H

#include <stdatomic.h>
#include <stdint.h>

#include "godwit/ram.h"

struct gw_marks {
    _Atomic uint64_t word[GW_BITMAP_WORDS]; /* bit n % 64 of word n / 64: page n was written */
};

/* Forgets all marks. No other thread may be inside. */
void gw_marks_reset(struct gw_marks *marks);

/* Marks [page, page+count), within GW_PAGES_MAX (asserted). */
void gw_marks_put(struct gw_marks *marks, uint64_t page, uint64_t count);

/* Marks the pages of guest memory [gpa, gpa+bytes), which lies within one region (asserted);
 * bytes may be 0. */
void gw_marks_put_gpa(struct gw_marks *marks, const struct gw_ram *ram, uint64_t gpa,
                      uint64_t bytes);

/* Takes all marks of the first page_count pages and ORs them into `bitmap`; returns how many bits
 * were new there. A mark made meanwhile is taken now or next time, never lost. */
uint64_t gw_marks_get(struct gw_marks *marks, uint64_t page_count, uint64_t *bitmap);

#endif
