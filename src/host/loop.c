/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop over epoll, and notifies over eventfd. The contract: godwit/loop.h. */
#include "godwit/loop.h"

#include <errno.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "godwit/clock.h"

enum gw_status gw_loop_open(struct gw_loop *loop, struct gw_fault *fault)
{
    *loop = (struct gw_loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    if (loop->epoll_fd < 0) {
        return gw_fault_set_os(fault, errno, "epoll");
    }
    return GW_OK;
}

void gw_loop_close(struct gw_loop *loop)
{
    if (loop->epoll_fd >= 0) {
        (void)close(loop->epoll_fd);
    }
    *loop = (struct gw_loop){.epoll_fd = -1};
}

/* The kernel reports EPOLLHUP and EPOLLERR whatever is asked for, and again and again: who wants
 * nothing now could do nothing about them, and would be woken for ever. */
static uint32_t asked_for(uint32_t events)
{
    return events != 0 ? events : EPOLLONESHOT;
}

enum gw_status gw_loop_add(struct gw_loop *loop, struct gw_watch *watch, int fd, uint32_t events,
                           gw_loop_handler *handler, void *context, struct gw_fault *fault)
{
    GW_ASSERT(watch->loop == NULL);
    struct epoll_event event = {.events = asked_for(events), .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return gw_fault_set_os(fault, errno, "watching descriptor %d", fd);
    }
    *watch = (struct gw_watch){
        .loop = loop, .fd = fd, .events = events, .handler = handler, .context = context};
    return GW_OK;
}

void gw_loop_change(struct gw_watch *watch, uint32_t events)
{
    GW_ASSERT(watch->loop != NULL);
    if (watch->events == events) {
        return;
    }
    struct epoll_event event = {.events = asked_for(events), .data.ptr = watch};
    int result = epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
    GW_ASSERT(result == 0);
    watch->events = events;
}

void gw_loop_remove(struct gw_watch *watch)
{
    struct gw_loop *loop = watch->loop;
    if (loop == NULL) {
        return;
    }
    /* A failure means that the fd was closed before: epoll has forgotten it by itself then. */
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = 0; i < loop->pending_count; i++) {
        if (loop->pending[i].data.ptr == watch) {
            loop->pending[i].data.ptr = NULL;
        }
    }
    watch->loop = NULL;
}

/* Rounded up: a loop woken a little early would spin until its deadline. */
static int timeout_in_ms(uint64_t timeout_ns)
{
    if (timeout_ns == GW_LOOP_FOREVER) {
        return -1;
    }
    uint64_t ms = timeout_ns / GW_NS_PER_MS + (timeout_ns % GW_NS_PER_MS != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

enum gw_status gw_loop_run_once(struct gw_loop *loop, uint64_t timeout_ns, struct gw_fault *fault)
{
    GW_ASSERT(loop->pending_count == 0); /* a handler must not run the loop */
    int count =
        epoll_wait(loop->epoll_fd, loop->pending, GW_LOOP_EVENTS_MAX, timeout_in_ms(timeout_ns));
    if (count < 0) {
        return errno == EINTR ? GW_OK : gw_fault_set_os(fault, errno, "waiting for events");
    }
    loop->pending_count = count;
    for (int i = 0; i < count; i++) {
        struct gw_watch *watch = loop->pending[i].data.ptr;
        if (watch != NULL) { /* NULL: removed by a handler before this one */
            watch->handler(watch->context, loop->pending[i].events);
        }
    }
    loop->pending_count = 0;
    return GW_OK;
}

enum gw_status gw_notify_open(struct gw_notify *notify, struct gw_fault *fault)
{
    notify->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (notify->fd < 0) {
        return gw_fault_set_os(fault, errno, "eventfd");
    }
    return GW_OK;
}

void gw_notify_close(struct gw_notify *notify)
{
    if (notify->fd >= 0) {
        (void)close(notify->fd);
    }
    notify->fd = -1;
}

void gw_notify_signal(const struct gw_notify *notify)
{
    int error = errno; /* a signal handler must leave it as it was */
    uint64_t one = 1;
    ssize_t written = write(notify->fd, &one, sizeof(one));
    (void)written; /* EAGAIN: 2^64 - 2 signals wait already */
    errno = error;
}

bool gw_notify_drain(const struct gw_notify *notify)
{
    uint64_t count;
    return read(notify->fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}
