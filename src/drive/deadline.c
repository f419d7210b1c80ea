/* SPDX-License-Identifier: Apache-2.0 */
/* Timers over timerfd. The contract: deadline.h. */
#include "drive/deadline.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>

#include "godwit/clock.h"

int gw_deadline_open(struct gw_fault *fault)
{
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0) {
        (void)gw_fault_set_os(fault, errno, "timerfd");
    }
    return fd;
}

/* Setting it takes back an expiry nobody has read, so the fd need not be read at all. */
void gw_deadline_set(int fd, uint64_t deadline_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = 0}};
    if (deadline_ns != UINT64_MAX) {
        uint64_t ns = deadline_ns > 0 ? deadline_ns : 1; /* 0 would disarm it */
        when.it_value.tv_sec = (time_t)(ns / GW_NS_PER_S);
        when.it_value.tv_nsec = (long)(ns % GW_NS_PER_S);
    }
    int result = timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
    GW_ASSERT(result == 0);
}
