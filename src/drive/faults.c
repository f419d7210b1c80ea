/* SPDX-License-Identifier: Apache-2.0 */
/* The fault thread. The contract: godwit/faults.h. */
#include "godwit/faults.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "drive/exchange.h"
#include "godwit/clock.h"

enum { WATCHED = 3 }; /* userfaultfd, the channel's socket, its interrupt */
enum { RETRY_MS = 10 };

/* ---- The thread ---- */

/* With channel_lock. Without a channel there is none to give up. */
static void note_failure(struct gw_faults *faults, const struct gw_fault *fault)
{
    if (!faults->has_failed && atomic_load(&faults->channel) != NULL) {
        faults->has_failed = true;
        faults->fault = *fault;
        gw_notify_signal(faults->wake);
    }
}

/* With channel_lock. */
static void demand(struct gw_faults *faults, uint64_t page)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_connection *channel = atomic_load(&faults->channel);
    if (channel != NULL && !faults->has_failed) {
        const struct gw_message message = {.type = GW_FRAME_DEMAND, .demanded_page = page};
        if (gw_exchange_send(channel, &message, faults->generation, ++faults->sequence, &fault) !=
            GW_OK) {
            note_failure(faults, &fault);
        }
    }
}

/* Nobody sends a page of zeros again: if the host has no memory for it, whoever waits asks again.
 */
static enum gw_status place_zero(struct gw_faults *faults, uint64_t page, struct gw_fault *fault)
{
    uint32_t count = faults->ram->unit_pages;
    enum gw_status status = gw_missing_place_zero(&faults->missing, page, count, fault);
    if (status != GW_OK) {
        gw_missing_wake(&faults->missing, page, count);
        return status;
    }
    pthread_mutex_lock(faults->lock);
    gw_target_zero_placed(faults->target, page, gw_clock_now_ns());
    pthread_mutex_unlock(faults->lock);
    return GW_OK;
}

/* One, if there is one: if there are more, the next poll says so. With channel_lock. */
static enum gw_status serve_one(struct gw_faults *faults, struct gw_fault *fault)
{
    uint64_t page;
    uint32_t who;
    enum gw_status status = gw_missing_next(&faults->missing, &page, &who, fault);
    if (status != GW_OK) {
        return status == GW_AGAIN ? GW_OK : status;
    }
    pthread_mutex_lock(faults->lock);
    enum gw_fault_answer answer =
        gw_target_page_fault(faults->target, page, who, gw_clock_now_ns());
    page = gw_target_unit_of(faults->target, page);
    pthread_mutex_unlock(faults->lock);
    if (answer == GW_FAULT_DEMAND) {
        demand(faults, page);
    }
    return answer == GW_FAULT_ZERO ? place_zero(faults, page, fault) : GW_OK;
}

static enum gw_status serve(struct gw_faults *faults, struct gw_fault *fault)
{
    pthread_mutex_lock(&faults->channel_lock);
    enum gw_status status = serve_one(faults, fault);
    pthread_mutex_unlock(&faults->channel_lock);
    return status;
}

/* What is noted as demanded is so on the channel of that moment. */
static bool demand_next(struct gw_faults *faults, uint64_t *page)
{
    pthread_mutex_lock(&faults->channel_lock);
    pthread_mutex_lock(faults->lock);
    enum gw_status status = gw_target_next_demand(faults->target, page);
    pthread_mutex_unlock(faults->lock);
    if (status == GW_OK) {
        demand(faults, *page);
    }
    pthread_mutex_unlock(&faults->channel_lock);
    return status == GW_OK;
}

/* What somebody waits for already when an urgent channel comes. */
static void demand_again(struct gw_faults *faults)
{
    uint64_t page = 0;
    while (demand_next(faults, &page)) {
    }
}

static void get_orders(struct gw_faults *faults, bool *is_stopping, bool *is_served)
{
    pthread_mutex_lock(faults->lock);
    *is_stopping = faults->is_stopping;
    *is_served = faults->is_served;
    pthread_mutex_unlock(faults->lock);
}

static enum gw_status step(struct gw_faults *faults, bool is_served, struct gw_fault *fault)
{
    struct pollfd wait[2] = {
        {.fd = is_served ? -1 : gw_missing_fd(&faults->missing), .events = POLLIN},
        {.fd = faults->kick.fd, .events = POLLIN},
    };
    if (poll(wait, 2, -1) < 0) {
        return errno == EINTR ? GW_OK : gw_fault_set_os(fault, errno, "waiting for missing pages");
    }
    if ((wait[1].revents & POLLIN) != 0) {
        (void)gw_notify_drain(&faults->kick);
        demand_again(faults);
    }
    return wait[0].revents != 0 ? serve(faults, fault) : GW_OK;
}

/* The channel is given up, and the thread goes on: what the host lacks now it may have a little
 * later, and a guest whose link is lost has nobody else. */
static void fail(struct gw_faults *faults, const struct gw_fault *fault)
{
    struct pollfd kick = {.fd = faults->kick.fd, .events = POLLIN};
    pthread_mutex_lock(&faults->channel_lock);
    note_failure(faults, fault);
    pthread_mutex_unlock(&faults->channel_lock);
    (void)poll(&kick, 1, RETRY_MS);
}

static void run(void *context)
{
    struct gw_faults *faults = context;
    bool is_stopping;
    bool is_served;
    gw_thread_set_part(GW_THREAD_BRIEF);
    for (get_orders(faults, &is_stopping, &is_served); !is_stopping;
         get_orders(faults, &is_stopping, &is_served)) {
        struct gw_fault fault = {.status = GW_OK};
        if (step(faults, is_served, &fault) != GW_OK) {
            fail(faults, &fault);
        }
    }
}

/* ---- The urgent channel's receiver ---- */

static enum gw_status watch(const struct gw_faults *faults, int fd, const void *what,
                            struct gw_fault *fault)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = (void *)(uintptr_t)what}};
    if (epoll_ctl(faults->wait_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return gw_fault_set_os(fault, errno, "watching for missing pages");
    }
    return GW_OK;
}

static enum gw_status begin_serving(struct gw_faults *faults, struct gw_connection *channel,
                                    bool *serves, struct gw_fault *fault)
{
    pthread_mutex_lock(faults->lock);
    bool is_new = faults->is_started && !faults->is_served;
    faults->is_served = faults->is_started;
    *serves = faults->is_started;
    pthread_mutex_unlock(faults->lock);
    if (!is_new) {
        return GW_OK;
    }
    gw_notify_signal(&faults->kick); /* the thread need not hear of faults any more */
    enum gw_status status = watch(faults, gw_connection_fd(channel), channel, fault);
    return status == GW_OK ? watch(faults, channel->cancel.fd, channel, fault) : status;
}

static bool may_demand(struct gw_faults *faults, uint64_t answered)
{
    pthread_mutex_lock(&faults->channel_lock);
    bool may = faults->sequence < answered + GW_FAULTS_DEMANDS_MAX;
    pthread_mutex_unlock(&faults->channel_lock);
    return may;
}

/* By epoll: it costs half as much as poll, and both are on the way of every page. */
static enum gw_status serve_until(struct gw_faults *faults, const struct gw_connection *channel,
                                  bool *has_input, struct gw_fault *fault)
{
    struct epoll_event event[WATCHED];
    int count = epoll_wait(faults->wait_fd, event, WATCHED, -1);
    if (count < 0 && errno != EINTR) {
        return gw_fault_set_os(fault, errno, "waiting for answers and missing pages");
    }
    enum gw_status status = GW_OK;
    for (int i = 0; i < count && status == GW_OK; i++) {
        *has_input = *has_input || event[i].data.ptr == channel;
        status = event[i].data.ptr == channel ? GW_OK : serve(faults, fault);
    }
    return status;
}

enum gw_status gw_faults_await(struct gw_faults *faults, struct gw_connection *channel,
                               uint64_t answered, struct gw_fault *fault)
{
    bool has_input = gw_connection_has_ahead(channel);
    enum gw_status status = GW_OK;
    while (status == GW_OK && !has_input) {
        bool serves = false;
        status = begin_serving(faults, channel, &serves, fault);
        if (status == GW_OK && (!serves || !may_demand(faults, answered))) {
            return gw_exchange_wait(channel, fault);
        }
        if (status == GW_OK) {
            status = serve_until(faults, channel, &has_input, fault);
        }
    }
    return status;
}

void gw_faults_leave(struct gw_faults *faults, const struct gw_connection *channel)
{
    pthread_mutex_lock(faults->lock);
    bool was_served = faults->is_served;
    faults->is_served = false;
    pthread_mutex_unlock(faults->lock);
    if (was_served) {
        (void)epoll_ctl(faults->wait_fd, EPOLL_CTL_DEL, gw_connection_fd(channel), NULL);
        (void)epoll_ctl(faults->wait_fd, EPOLL_CTL_DEL, channel->cancel.fd, NULL);
        gw_notify_signal(&faults->kick);
    }
}

/* ---- The owner ---- */

static enum gw_status start_all(struct gw_faults *faults, bool is_user_mode_enough,
                                struct gw_fault *fault)
{
    enum gw_status status = gw_notify_open(&faults->kick, fault);
    if (status == GW_OK) {
        status = gw_missing_start(&faults->missing, faults->ram, gw_target_received(faults->target),
                                  is_user_mode_enough, fault);
    }
    if (status == GW_OK) {
        faults->wait_fd = epoll_create1(EPOLL_CLOEXEC);
        status = faults->wait_fd < 0
                     ? gw_fault_set_os(fault, errno, "epoll")
                     : watch(faults, gw_missing_fd(&faults->missing), faults, fault);
    }
    return status == GW_OK ? gw_thread_start(&faults->thread, "gw-faults", run, faults, fault)
                           : status;
}

static void stop_all(struct gw_faults *faults)
{
    gw_missing_stop(&faults->missing);
    gw_notify_close(&faults->kick);
    if (faults->wait_fd >= 0) {
        (void)close(faults->wait_fd);
    }
}

enum gw_status gw_faults_start(struct gw_faults *faults, bool is_user_mode_enough,
                               struct gw_fault *fault)
{
    GW_ASSERT(!faults->is_started);
    faults->is_stopping = false;
    faults->is_served = false;
    faults->has_failed = false;
    faults->wait_fd = -1;
    enum gw_status status = start_all(faults, is_user_mode_enough, fault);
    if (status != GW_OK) {
        stop_all(faults);
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
        faults->has_failed = false;
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
    pthread_mutex_lock(faults->lock);
    faults->is_started = false; /* nobody kicks it any more */
    pthread_mutex_unlock(faults->lock);
    stop_all(faults);
}
