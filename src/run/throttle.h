/* SPDX-License-Identifier: Apache-2.0 */
/* Slowing the guest's CPUs down while it moves. The monitor's thread. */
#ifndef GW_RUN_THROTTLE_H
#define GW_RUN_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/loop.h"
#include "godwit/status.h"

enum { GW_THROTTLE_PERCENT_MAX = 99 };

struct gw_throttle_timer {
    uint32_t percent; /* of their time that the CPUs lose; 0: off, nothing is open */
    bool is_held_back;
    int timer_fd;
    struct gw_watch watch;
};

/* 0..GW_THROTTLE_PERCENT_MAX; 0 lets them go. GW_HOST when the kernel gives no timer: then nothing
 * changed. */
GW_MUST_USE enum gw_status gw_throttle_set(uint32_t percent, struct gw_fault *fault);

#endif
