/* SPDX-License-Identifier: Apache-2.0 */
/* The host's clocks and random numbers. The contract: godwit/clock.h. */
#include "godwit/clock.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    int result = clock_gettime(id, &now);
    GW_ASSERT(result == 0); /* all three are in every kernel since 2.6.39 */
    return (uint64_t)now.tv_sec * GW_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t gw_clock_now_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

uint64_t gw_clock_thread_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t gw_clock_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

enum gw_status gw_random_bytes(void *bytes, size_t size, struct gw_fault *fault)
{
    uint8_t *next = bytes;
    while (size > 0) {
        ssize_t got = getrandom(next, size, 0);
        if (got < 0 && errno != EINTR) {
            return gw_fault_set_os(fault, errno, "random numbers");
        }
        if (got > 0) {
            next += got;
            size -= (size_t)got;
        }
    }
    return GW_OK;
}
