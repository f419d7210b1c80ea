/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the channel threads do with guest RAM: read runs for a batch, digest a stretch. Holes are
 * never read, because reading one through the mapping allocates it.
 *
 * Memory: guest RAM and the caller's. Any thread, each on pages of its own.
 */
#ifndef GODWIT_RAM_IO_H
#define GODWIT_RAM_IO_H

#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/ram.h"

/* What was last looked up: [from, first) were holes, [first, end) were touched. Zeroed: nothing. */
struct gw_ram_data {
    uint64_t from, first, end;
};

/* Adds the pages of a run, which may span regions, to the batch. They are armed, or nobody writes
 * to them any more. `data` remembers touched pages from one call to the next. */
void gw_ram_io_read(const struct gw_ram *ram, struct gw_ram_data *data, const struct gw_run *run,
                    struct gw_batch_builder *builder);

/* The digest of pages nobody writes now, nor has between calls with the same `data` that had none
 * of gw_ram_io_read in between (godwit/digest.h). */
uint64_t gw_ram_io_digest(const struct gw_ram *ram, struct gw_ram_data *data, uint64_t page,
                          uint64_t count);

#endif
