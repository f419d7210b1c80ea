/* SPDX-License-Identifier: Apache-2.0 */
/* A timer that a set of descriptors can be polled with. The owner's thread; never blocks. */
#ifndef GODWIT_DEADLINE_H
#define GODWIT_DEADLINE_H

#include <stdint.h>

#include "godwit/status.h"

struct gw_deadline {
    int fd; /* readable from then on, or a little before; -1: not open */
    uint64_t set_ns;
};

/* Makes a timer on gw_clock_now_ns()'s clock, set to never. GW_HOST when the kernel refuses. */
GW_MUST_USE enum gw_status gw_deadline_open(struct gw_deadline *timer, struct gw_fault *fault);
void gw_deadline_close(struct gw_deadline *timer); /* idempotent */

/* The fd is readable from deadline_ns on (UINT64_MAX: never), and may be once before. A deadline
 * that moves on with each message costs no system call. */
void gw_deadline_set(struct gw_deadline *timer, uint64_t deadline_ns);

#endif
