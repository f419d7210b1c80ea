/* SPDX-License-Identifier: Apache-2.0 */
/* The fault thread. The contract: godwit/faults.h. */
#include "godwit/faults.h"

#include <errno.h>
#include <poll.h>

#include "drive/exchange.h"
#include "godwit/clock.h"

/* ---- The thread ---- */

static void note_failure(struct gw_faults *faults, const struct gw_fault *fault)
{
    if (!faults->has_failed) {
        faults->has_failed = true;
        faults->fault = *fault;
        gw_notify_signal(faults->wake);
    }
}

static void demand(struct gw_faults *faults, uint64_t page)
{
    struct gw_fault fault = {.status = GW_OK};
    pthread_mutex_lock(&faults->channel_lock);
    struct gw_connection *channel = atomic_load(&faults->channel);
    if (channel != NULL && !faults->has_failed) {
        const struct gw_message message = {.type = GW_FRAME_DEMAND, .demanded_page = page};
        if (gw_exchange_send(channel, &message, faults->generation, ++faults->sequence, &fault) !=
            GW_OK) {
            note_failure(faults, &fault);
        }
    }
    pthread_mutex_unlock(&faults->channel_lock);
}

static enum gw_status place_zero(struct gw_faults *faults, uint64_t page, struct gw_fault *fault)
{
    enum gw_status status =
        gw_missing_place_zero(&faults->missing, page, faults->ram->unit_pages, fault);
    pthread_mutex_lock(faults->lock);
    gw_target_zero_placed(faults->target, page, gw_clock_now_ns());
    pthread_mutex_unlock(faults->lock);
    return status;
}

static enum gw_status handle_faults(struct gw_faults *faults, struct gw_fault *fault)
{
    uint64_t page;
    uint32_t who;
    enum gw_status status;
    while ((status = gw_missing_next(&faults->missing, &page, &who, fault)) == GW_OK) {
        pthread_mutex_lock(faults->lock);
        enum gw_fault_answer answer =
            gw_target_page_fault(faults->target, page, who, gw_clock_now_ns());
        page = gw_target_unit_of(faults->target, page);
        pthread_mutex_unlock(faults->lock);
        if (answer == GW_FAULT_DEMAND) {
            demand(faults, page);
        } else if (answer == GW_FAULT_ZERO) {
            status = place_zero(faults, page, fault);
            if (status != GW_OK) {
                return status;
            }
        }
    }
    return status == GW_AGAIN ? GW_OK : status;
}

/* What somebody waits for already when an urgent channel comes. */
static void demand_again(struct gw_faults *faults)
{
    uint64_t page = 0;
    for (;;) {
        pthread_mutex_lock(faults->lock);
        enum gw_status status = gw_target_next_demand(faults->target, &page);
        pthread_mutex_unlock(faults->lock);
        if (status != GW_OK) {
            return;
        }
        demand(faults, page);
    }
}

static bool is_stopping(struct gw_faults *faults)
{
    pthread_mutex_lock(faults->lock);
    bool is_stopping = faults->is_stopping;
    pthread_mutex_unlock(faults->lock);
    return is_stopping;
}

static void run(void *context)
{
    struct gw_faults *faults = context;
    struct gw_fault fault = {.status = GW_OK};
    struct pollfd wait[2] = {
        {.fd = gw_missing_fd(&faults->missing), .events = POLLIN},
        {.fd = faults->kick.fd, .events = POLLIN},
    };
    while (!is_stopping(faults)) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR) {
            (void)gw_fault_set_os(&fault, errno, "waiting for missing pages");
        } else if ((wait[1].revents & POLLIN) != 0) {
            (void)gw_notify_drain(&faults->kick);
            demand_again(faults);
        }
        if (fault.status != GW_OK || handle_faults(faults, &fault) != GW_OK) {
            pthread_mutex_lock(&faults->channel_lock);
            note_failure(faults, &fault);
            pthread_mutex_unlock(&faults->channel_lock);
            return;
        }
    }
}

/* ---- The owner ---- */

enum gw_status gw_faults_start(struct gw_faults *faults, bool is_user_mode_enough,
                               struct gw_fault *fault)
{
    GW_ASSERT(!faults->is_started);
    faults->is_stopping = false;
    faults->has_failed = false;
    enum gw_status status = gw_notify_open(&faults->kick, fault);
    if (status != GW_OK) {
        return status;
    }
    status = gw_missing_start(&faults->missing, faults->ram, gw_target_received(faults->target),
                              is_user_mode_enough, fault);
    if (status == GW_OK) {
        status = gw_thread_start(&faults->thread, "gw-faults", run, faults, fault);
    }
    if (status != GW_OK) {
        gw_missing_stop(&faults->missing);
        gw_notify_close(&faults->kick);
        return status;
    }
    pthread_mutex_lock(faults->lock);
    faults->is_started = true;
    pthread_mutex_unlock(faults->lock);
    return GW_OK;
}

void gw_faults_attach(struct gw_faults *faults, struct gw_connection *channel, uint32_t generation)
{
    pthread_mutex_lock(&faults->channel_lock);
    atomic_store(&faults->channel, channel);
    faults->generation = generation;
    faults->sequence = 0;
    faults->has_failed = false;
    pthread_mutex_unlock(&faults->channel_lock);
    pthread_mutex_lock(faults->lock);
    gw_target_urgent_ready(faults->target);
    bool is_started = faults->is_started;
    pthread_mutex_unlock(faults->lock);
    if (is_started) {
        gw_notify_signal(&faults->kick);
    }
}

void gw_faults_detach(struct gw_faults *faults)
{
    struct gw_connection *channel = atomic_load(&faults->channel);
    if (channel != NULL) {
        gw_connection_interrupt(channel); /* whoever writes there lets go of the lock */
        pthread_mutex_lock(&faults->channel_lock);
        atomic_store(&faults->channel, NULL);
        pthread_mutex_unlock(&faults->channel_lock);
    }
}

bool gw_faults_has_failed(struct gw_faults *faults, struct gw_fault *fault)
{
    if (!faults->is_started) {
        return false;
    }
    pthread_mutex_lock(&faults->channel_lock);
    bool has_failed = faults->has_failed;
    *fault = faults->fault;
    pthread_mutex_unlock(&faults->channel_lock);
    return has_failed;
}

void gw_faults_stop(struct gw_faults *faults)
{
    if (!faults->is_started) {
        return;
    }
    gw_faults_detach(faults);
    pthread_mutex_lock(faults->lock);
    faults->is_stopping = true;
    pthread_mutex_unlock(faults->lock);
    gw_notify_signal(&faults->kick);
    gw_thread_join(&faults->thread);
    gw_missing_stop(&faults->missing);
    pthread_mutex_lock(faults->lock);
    faults->is_started = false; /* nobody kicks it any more */
    pthread_mutex_unlock(faults->lock);
    gw_notify_close(&faults->kick);
}
