/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PL031: the real-time clock (Arm DDI 0224, PrimeCell Real Time Clock PL031 Technical Reference
 * Manual). Whole seconds in 32 bits, with one match register and its interrupt.
 *
 * The clock shows guest wall time plus an offset that is zero until the guest sets the clock. The
 * offset is what moves; guest wall time itself is the machine's to keep over a migration.
 *
 * Contract of threads, time and errors: godwit/device.h.
 */
#ifndef GODWIT_PL031_H
#define GODWIT_PL031_H

#include "godwit/device.h"

struct gw_pl031 {
    struct gw_device device;
    uint32_t offset_seconds; /* modulo 2^32 */
    uint32_t match, load, mask, raw;
    bool is_armed; /* the match register was written and has not been reached since */
};

void gw_pl031_init(struct gw_pl031 *pl031, uint64_t base, uint32_t interrupt);

#endif
