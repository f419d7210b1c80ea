/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slows the guest's CPUs down: they run for a slice of 10 ms, then all of them are held back for as
 * long as makes the wanted share, and so on (QEMU's slice; softmmu/cpu-throttle.c). At 99 % the
 * guest has 10 ms a second. The slices are the monitor's loop's to end: when it is busy the guest
 * waits for it, which only slows it down more.
 */
#include "run/throttle.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "run/storage.h"

#define THROTTLE (&gw_run_storage.throttle)
#define SLICE_NS (10 * GW_NS_PER_MS)

static void arm(uint64_t ns)
{
    struct itimerspec after = {
        .it_value = {.tv_sec = (time_t)(ns / GW_NS_PER_S), .tv_nsec = (long)(ns % GW_NS_PER_S)}};
    (void)timerfd_settime(THROTTLE->timer_fd, 0, &after, NULL);
}

static void hold_back(bool is_held_back)
{
    THROTTLE->is_held_back = is_held_back;
    gw_vm_hold_back(&gw_run_storage.vm, is_held_back);
}

static void turn(void *context, uint32_t events)
{
    uint64_t count;
    uint32_t percent = THROTTLE->percent;
    (void)context;
    (void)events;
    if (read(THROTTLE->timer_fd, &count, sizeof(count)) != sizeof(count) || percent == 0) {
        return;
    }
    hold_back(!THROTTLE->is_held_back);
    arm(THROTTLE->is_held_back ? SLICE_NS * percent / (100 - percent) : SLICE_NS);
}

static enum gw_status start(struct gw_fault *fault)
{
    THROTTLE->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (THROTTLE->timer_fd < 0) {
        return gw_fault_set_os(fault, errno, "the guest cannot be slowed down: timerfd");
    }
    enum gw_status status = gw_loop_add(&gw_run_storage.monitor.loop, &THROTTLE->watch,
                                        THROTTLE->timer_fd, EPOLLIN, turn, NULL, fault);
    if (status != GW_OK) {
        (void)close(THROTTLE->timer_fd);
    }
    return status;
}

enum gw_status gw_throttle_set(uint32_t percent, struct gw_fault *fault)
{
    GW_ASSERT(percent <= GW_THROTTLE_PERCENT_MAX);
    bool was_on = THROTTLE->percent > 0;
    if (percent > 0 && !was_on) {
        enum gw_status status = start(fault);
        if (status != GW_OK) {
            return status;
        }
        arm(SLICE_NS);
    } else if (percent == 0 && was_on) {
        gw_loop_remove(&THROTTLE->watch);
        (void)close(THROTTLE->timer_fd);
        hold_back(false);
    }
    THROTTLE->percent = percent;
    return GW_OK;
}
