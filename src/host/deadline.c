/* SPDX-License-Identifier: Apache-2.0 */
/* Timers over timerfd. The contract: godwit/deadline.h. */
#include "godwit/deadline.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "godwit/clock.h"

enum gw_status gw_deadline_open(struct gw_deadline *timer, struct gw_fault *fault)
{
    timer->set_ns = UINT64_MAX;
    timer->fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    return timer->fd < 0 ? gw_fault_set_os(fault, errno, "timerfd") : GW_OK;
}

void gw_deadline_close(struct gw_deadline *timer)
{
    if (timer->fd >= 0) {
        (void)close(timer->fd);
    }
    timer->fd = -1;
}

/* One that is set and has not come yet may come too early: that is a look for nothing, once.
 * Setting takes back an expiry nobody has read, so the fd need not be read at all. */
void gw_deadline_set(struct gw_deadline *timer, uint64_t deadline_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = 0}};
    if (deadline_ns == timer->set_ns ||
        (timer->set_ns < deadline_ns && timer->set_ns > gw_clock_now_ns())) {
        return;
    }
    if (deadline_ns != UINT64_MAX) {
        uint64_t ns = deadline_ns > 0 ? deadline_ns : 1; /* 0 would disarm it */
        when.it_value.tv_sec = (time_t)(ns / GW_NS_PER_S);
        when.it_value.tv_nsec = (long)(ns % GW_NS_PER_S);
    }
    int result = timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &when, NULL);
    GW_ASSERT(result == 0);
    timer->set_ns = deadline_ns;
}
