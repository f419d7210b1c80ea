/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the channel threads do with guest RAM: read runs for a batch, digest a stretch, empty
 * pages. Holes are never read, because reading one through the mapping allocates it.
 *
 * Memory: guest RAM and the caller's. Any thread, each on pages of its own.
 */
#ifndef GODWIT_DRIVE_RAM_IO_H
#define GODWIT_DRIVE_RAM_IO_H

#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/ram.h"
#include "godwit/status.h"
#include "godwit/tracker.h"

/* Re-arms the tracker for a run, which may span regions, then adds its pages to the batch. */
GW_MUST_USE enum gw_status gw_ram_io_read(const struct gw_ram *ram, struct gw_tracker *tracker,
                                          const struct gw_run *run,
                                          struct gw_batch_builder *builder, struct gw_fault *fault);

/* The digest of pages nobody writes now (godwit/digest.h). */
uint64_t gw_ram_io_digest(const struct gw_ram *ram, uint64_t page, uint64_t count);

/* Makes [page, page+count) read as zero: discards those of them that hold data. */
GW_MUST_USE enum gw_status gw_ram_io_clear(const struct gw_ram *ram, uint64_t page, uint64_t count,
                                           struct gw_fault *fault);

#endif
