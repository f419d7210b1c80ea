/* SPDX-License-Identifier: Apache-2.0 */
/* See dirty_rate.h. */
#include "run/dirty_rate.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "godwit/clock.h"
#include "run/storage.h"

#define RATE    (&gw_run_storage.dirty_rate)
#define MONITOR (&gw_run_storage.monitor)
#define RAM     (&gw_run_storage.ram)
#define TRACKER (&gw_run_storage.tracker.tracker)

static void clear_bitmap(void)
{
    memset(RATE->bitmap, 0, (RAM->page_count + 63) / 64 * sizeof(RATE->bitmap[0]));
}

void gw_dirty_rate_abandon(void)
{
    if (RATE->info.status != GW_INFO_DIRTY_RATE_MEASURING) {
        return;
    }
    TRACKER->operations->stop(TRACKER);
    gw_loop_remove(&RATE->watch);
    (void)close(RATE->timer_fd);
    RATE->info.status = GW_INFO_DIRTY_RATE_UNSTARTED;
}

static void measured(uint64_t pages_per_s)
{
    RATE->info.status = GW_INFO_DIRTY_RATE_MEASURED;
    RATE->info.pages_per_second = pages_per_s;
    RATE->info.page_bytes = RAM->page_bytes;
}

static void look(void *context, uint32_t events)
{
    uint64_t count;
    uint64_t pages = 0;
    struct gw_fault fault = {0};
    (void)context;
    (void)events;
    if (read(RATE->timer_fd, &count, sizeof(count)) != sizeof(count)) {
        return;
    }
    clear_bitmap();
    enum gw_status status = TRACKER->operations->collect(TRACKER, RATE->bitmap, &pages, &fault);
    uint64_t took_ns = gw_clock_now_ns() - RATE->begin_ns;
    gw_dirty_rate_abandon();
    if (status != GW_OK) {
        gw_monitor_say("the dirty rate was not measured: %s", fault.text);
        return;
    }
    measured((uint64_t)((__uint128_t)pages * GW_NS_PER_S / (took_ns ? took_ns : 1)));
}

/* From now on every page is clean: what is written to is reported. */
static enum gw_status track(struct gw_fault *fault)
{
    clear_bitmap();
    enum gw_status status = TRACKER->operations->start(TRACKER, RATE->bitmap, fault);
    if (status == GW_OK) {
        (void)gw_bits_put(RATE->bitmap, 0, RAM->page_count, true);
        status = TRACKER->operations->rearm(TRACKER, 0, RAM->page_count, RATE->bitmap, fault);
    }
    if (status != GW_OK) {
        TRACKER->operations->stop(TRACKER);
    }
    return status;
}

static enum gw_status set_timer(uint64_t seconds, struct gw_fault *fault)
{
    struct itimerspec after = {.it_value = {.tv_sec = (time_t)seconds}};
    RATE->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (RATE->timer_fd < 0 || timerfd_settime(RATE->timer_fd, 0, &after, NULL) != 0) {
        return gw_fault_set_os(fault, errno, "timerfd");
    }
    return gw_loop_add(&MONITOR->loop, &RATE->watch, RATE->timer_fd, EPOLLIN, look, NULL, fault);
}

/* Before the guest is here the machine may be built anew, under the tracker. And while memory lacks
 * (postcopy) a vCPU may sleep on a page: switching tracking on waits for it in the kernel, and with
 * it the loop, which has to mend the link that the page comes by. */
static enum gw_status check_guest(struct gw_fault *fault)
{
    if (MONITOR->is_leaving) {
        return GW_OK;
    }
    if (MONITOR->state != GW_INFO_RUN_RUNNING && MONITOR->state != GW_INFO_RUN_PAUSED) {
        return gw_fault_set(fault, GW_ARGUMENT, "the guest does not run here: it is in state %s",
                            gw_info_run_state_name(MONITOR->state));
    }
    if (MONITOR->is_unsettled) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the dirty rate is not measured until the source has confirmed that "
                            "the guest runs here, all of it");
    }
    return GW_OK;
}

enum gw_status gw_dirty_rate_begin(uint64_t seconds, struct gw_fault *fault)
{
    if (RATE->info.status == GW_INFO_DIRTY_RATE_MEASURING) {
        return gw_fault_set(fault, GW_ARGUMENT, "the dirty rate is being measured already");
    }
    enum gw_status status = check_guest(fault);
    if (status != GW_OK) {
        return status;
    }
    struct gw_source_figures figures;
    if (MONITOR->is_leaving) {
        gw_outgoing_get_figures(&gw_run_storage.outgoing, &figures);
        if (figures.history_count == 0) {
            return gw_fault_set(fault, GW_ARGUMENT,
                                "the migration under way measures the dirty rate, and does not "
                                "know it before its first round is over: ask again then");
        }
    }
    RATE->begin_ns = gw_clock_now_ns();
    RATE->info = (struct gw_info_dirty_rate){.start_seconds = RATE->begin_ns / GW_NS_PER_S,
                                             .seconds = seconds,
                                             .is_by_ring = MONITOR->config->dirty_ring_entries > 0};
    if (MONITOR->is_leaving) {
        measured(figures.dirty_pages_per_s);
        return GW_OK;
    }
    status = gw_outbound_ready_tracker(fault);
    if (status == GW_OK) {
        status = track(fault);
    }
    if (status != GW_OK) {
        return status;
    }
    RATE->timer_fd = -1;
    RATE->info.status = GW_INFO_DIRTY_RATE_MEASURING;
    status = set_timer(seconds, fault);
    if (status != GW_OK) {
        gw_dirty_rate_abandon();
    }
    return status;
}
