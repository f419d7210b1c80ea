/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop: file descriptors, each with a handler, over epoll; and a notify, with which
 * any thread wakes the loop.
 *
 * Owner: loop and watches are the caller's storage. A watch is in at most one loop, and must
 * stay where it is from add to remove. Blocks: gw_loop_run_once only. Threads: the loop belongs
 * to one thread; gw_notify_signal is for all. Timers are not its business: its caller works out
 * the next deadline and passes what is left of it as the time-out.
 */
#ifndef GODWIT_LOOP_H
#define GODWIT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "godwit/status.h"

enum { GW_LOOP_EVENTS_MAX = 16 }; /* events taken from the kernel at a time; the rest come next */

#define GW_LOOP_FOREVER UINT64_MAX

struct gw_loop;

/* `events`: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as the kernel reports them (level-triggered).
 * The handler may add, change and remove any watch, its own too. */
typedef void gw_loop_handler(void *context, uint32_t events);

/* Zero-initialised it is in no loop. */
struct gw_watch {
    struct gw_loop *loop; /* NULL: in none */
    int fd;
    uint32_t events;
    gw_loop_handler *handler;
    void *context;
};

struct gw_loop {
    int epoll_fd;
    int pending_count; /* events being handled now */
    struct epoll_event pending[GW_LOOP_EVENTS_MAX];
};

GW_MUST_USE enum gw_status gw_loop_open(struct gw_loop *loop, struct gw_fault *fault);

/* The watches still in it are forgotten by the kernel, and must not be removed afterwards. */
void gw_loop_close(struct gw_loop *loop);

/* Watches `fd`, which stays the caller's. GW_HOST when the kernel refuses (a regular file cannot
 * be watched: EPERM). */
GW_MUST_USE enum gw_status gw_loop_add(struct gw_loop *loop, struct gw_watch *watch, int fd,
                                       uint32_t events, gw_loop_handler *handler, void *context,
                                       struct gw_fault *fault);

/* Changes the events of an added watch; 0: EPOLLHUP and EPOLLERR, once (while a loop is only polled
 * as one descriptor they keep that readable). Cannot fail for an fd that is still open (asserted).
 * No system call when nothing changes. */
void gw_loop_change(struct gw_watch *watch, uint32_t events);

/* Takes the watch out, before its fd is closed. No handler of it is called afterwards, not even
 * for an event already taken from the kernel. A watch in no loop is left alone. */
void gw_loop_remove(struct gw_watch *watch);

/* Waits up to `timeout_ns` (rounded up to milliseconds; 0: only looks; GW_LOOP_FOREVER: no
 * limit) for events and calls their handlers. Returns when they are done, the time is over, or a
 * signal came. GW_HOST when the kernel refuses. */
GW_MUST_USE enum gw_status gw_loop_run_once(struct gw_loop *loop, uint64_t timeout_ns,
                                            struct gw_fault *fault);

/* Wakes whoever polls `fd` for input. Signals add up to one until it is drained. */
struct gw_notify {
    int fd; /* eventfd, non-blocking; -1: not open */
};

GW_MUST_USE enum gw_status gw_notify_open(struct gw_notify *notify, struct gw_fault *fault);
void gw_notify_close(struct gw_notify *notify); /* idempotent */

/* From any thread, and from a signal handler. Never blocks. */
void gw_notify_signal(const struct gw_notify *notify);

/* Takes back all signals so far; true when there was one. */
bool gw_notify_drain(const struct gw_notify *notify);

#endif
