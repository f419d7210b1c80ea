/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a unit is put together: the target's pages that can only be placed as a whole (a huge
 * page), and come in batches. One for each channel, on its thread.
 *
 * A batch brings pages of one unit, the next ones of the unit at hand, or the first ones of
 * another: then what was put aside of the one at hand is forgotten, and never was received.
 *
 * Pure; the caller's memory, zeroed to begin with.
 */
#ifndef GODWIT_ASSEMBLY_H
#define GODWIT_ASSEMBLY_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/status.h"

struct gw_assembly {
    struct gw_run unit; /* the one at hand; count 0: none */
    uint32_t aside;     /* of its pages, from the first on */
    uint32_t raw_aside; /* of these, with bytes; while 0 the unit is zeros so far */
};

/* May this batch come next? GW_PROTOCOL when its pages do not follow each other, are of two units,
 * or are not the next ones. is_urgent: nor may the unit at hand be given up for another. */
GW_MUST_USE enum gw_status gw_assembly_check(const struct gw_assembly *assembly,
                                             const struct gw_batch_table *table,
                                             uint32_t unit_pages, bool is_urgent,
                                             struct gw_fault *fault);

/* The unit of a checked batch becomes the one at hand, if it is not yet. */
void gw_assembly_begin(struct gw_assembly *assembly, const struct gw_batch_table *table,
                       uint32_t unit_pages);

/* The next `count` pages were put aside; is_raw: with bytes. */
void gw_assembly_add(struct gw_assembly *assembly, uint32_t count, bool is_raw);

/* All of it is there. It is to be placed, and then forgotten (`*assembly = {0}`). */
bool gw_assembly_is_whole(const struct gw_assembly *assembly);

#endif
