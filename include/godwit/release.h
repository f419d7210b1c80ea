/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source may give back of its RAM while its guest runs elsewhere (release-ram): pages that
 * the target has for good. They become due as the target's word comes in, and are handed out in
 * runs of whole units to whoever gives them back; from then on they are gone.
 *
 * Pure; part of struct gw_source, under its lock. All of it stays untouched unless it is used.
 */
#ifndef GODWIT_RELEASE_H
#define GODWIT_RELEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/limits.h"
#include "godwit/status.h"

struct gw_release {
    bool is_on;
    uint64_t page_count;
    uint32_t unit_pages; /* of the source's own RAM: a huge page is given back as a whole */
    uint64_t due_count, released_count;
    uint64_t due[GW_BITMAP_WORDS];      /* at the target, and still here */
    uint64_t released[GW_BITMAP_WORDS]; /* gone */
};

/* Begins: nothing is released; due is all that is not `missing` at the target. */
void gw_release_begin(struct gw_release *release, uint64_t page_count, uint32_t unit_pages,
                      const uint64_t *missing);

/* The target has these pages. What is released already stays so. Nothing when it is not on. */
void gw_release_add(struct gw_release *release, uint64_t page, uint64_t count);

/* The same for every page whose bit is set; NULL: for all. */
void gw_release_add_map(struct gw_release *release, const uint64_t *received);

/* The next run of due pages, whole units, at most run_pages (a multiple of the unit) of them and
 * none of `kept`; they count as released now. GW_AGAIN: none. */
GW_MUST_USE enum gw_status gw_release_next(struct gw_release *release, const struct gw_run *kept,
                                           uint64_t run_pages, struct gw_run *run);

bool gw_release_has(const struct gw_release *release, uint64_t page);

/* The first page that is gone although it is not `received`; UINT64_MAX: none. */
uint64_t gw_release_find_lost(const struct gw_release *release, const uint64_t *received);

#endif
