/* SPDX-License-Identifier: Apache-2.0 */
/* A timer that a set of descriptors can be polled with. The owner's thread; never blocks. */
#ifndef GODWIT_DRIVE_DEADLINE_H
#define GODWIT_DRIVE_DEADLINE_H

#include <stdint.h>

#include "godwit/status.h"

/* Makes a timer on gw_clock_now_ns()'s clock. Returns its fd, or -1 and a fault. */
int gw_deadline_open(struct gw_fault *fault);

/* The fd is readable from deadline_ns on (UINT64_MAX: never). */
void gw_deadline_set(int fd, uint64_t deadline_ns);

#endif
