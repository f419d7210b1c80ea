/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's clocks and its random numbers: the only place where godwit asks for either.
 *
 * Any thread. Blocks: gw_random_bytes may, early at boot, until the kernel's generator is seeded.
 */
#ifndef GODWIT_CLOCK_H
#define GODWIT_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

#define GW_NS_PER_S  UINT64_C(1000000000)
#define GW_NS_PER_MS UINT64_C(1000000)
#define GW_NS_PER_US UINT64_C(1000)

/* Nanoseconds since the host booted; never goes back. This is CLOCK_BOOTTIME, not
 * CLOCK_MONOTONIC: a gateway may suspend, and then the guest's elapsed time and an operator's
 * deadline include the suspension, as the arm64 system counter does. */
uint64_t gw_clock_now_ns(void);

/* Nanoseconds that the calling thread has had of a CPU, the kernel's work for it included. */
uint64_t gw_clock_thread_ns(void);

/* Nanoseconds since 1970, as the host believes. May jump. For people and for the guest's RTC. */
uint64_t gw_clock_wall_ns(void);

/* Fills `bytes` with random bytes fit for session ids and keys. */
GW_MUST_USE enum gw_status gw_random_bytes(void *bytes, size_t size, struct gw_fault *fault);

#endif
