/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the guest dirties its memory, measured without a migration: track, wait, look. The
 * monitor's thread; nothing here waits.
 */
#ifndef GW_RUN_DIRTY_RATE_H
#define GW_RUN_DIRTY_RATE_H

#include <stdint.h>

#include "godwit/info.h"
#include "godwit/limits.h"
#include "godwit/loop.h"
#include "godwit/status.h"

struct gw_dirty_rate {
    struct gw_info_dirty_rate info;
    uint64_t begin_ns;
    int timer_fd; /* while measuring */
    struct gw_watch watch;
    uint64_t bitmap[GW_BITMAP_WORDS];
};

/* Begins to measure for that long (1..GW_INFO_DIRTY_RATE_SECONDS_MAX). During a migration it takes
 * the migration's own figure at once. GW_ARGUMENT while one is being measured, or without a guest
 * that is here and settled; GW_HOST when the host does not let it track. */
GW_MUST_USE enum gw_status gw_dirty_rate_begin(uint64_t seconds, struct gw_fault *fault);

/* Ends a measurement without a result: a migration wants the tracker. Harmless without one. */
void gw_dirty_rate_abandon(void);

#endif
