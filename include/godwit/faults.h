/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults: the target hears of touched missing pages, and demands them on the urgent channel
 * (postcopy). Zero pages it places by itself. The answers are a receiver's business
 * (godwit/receiver.h), and while there is one, its thread also hears of the faults: a page then
 * costs no change of threads between its demand and its answer. A thread of its own hears of them
 * as long as there is none.
 *
 * Owner: part of struct gw_incoming, whose thread starts it for ARM and stops it for DISARM; in
 * between urgent channels come and go. The lock around the engine is never held during I/O.
 */
#ifndef GODWIT_FAULTS_H
#define GODWIT_FAULTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "godwit/loop.h"
#include "godwit/missing.h"
#include "godwit/ram.h"
#include "godwit/status.h"
#include "godwit/target.h"
#include "godwit/thread.h"
#include "godwit/transport.h"

enum {
    /* Asked for and not answered, on one channel: while there are more, answers are read first. So
     * few demands fit any socket's buffer, and writing one does not wait for the peer, who may be
     * waiting until its answers are read. */
    GW_FAULTS_DEMANDS_MAX = 64,
};

struct gw_faults {
    /* Set once, before the first start. */
    pthread_mutex_t *lock;
    struct gw_target *target;     /* under the lock */
    const struct gw_notify *wake; /* the owner's: has_failed */
    const struct gw_ram *ram;

    struct gw_missing missing; /* on from start to stop: receivers place by it */

    /* Under channel_lock, which is held while a fault is taken and its demand written. */
    pthread_mutex_t channel_lock;
    _Atomic(struct gw_connection *) channel; /* urgent; NULL: none */
    uint32_t generation;
    uint64_t sequence;
    bool has_failed; /* a demand could not be written: the channel is to be given up */
    struct gw_fault fault;

    struct gw_notify kick;        /* a channel came, or it is to stop */
    bool is_stopping, is_started; /* under the engine's lock */
    bool is_served;               /* under it: the receiver hears of faults, the thread does not */
    int wait_fd;                  /* epoll: what gw_faults_await waits for */
    struct gw_thread thread;
};

/* ARM: see gw_missing_start. */
GW_MUST_USE enum gw_status gw_faults_start(struct gw_faults *faults, bool is_user_mode_enough,
                                           struct gw_fault *fault);

/* From now on demands go out on this channel, which is welcomed; all that is wanted first. Called
 * by its receiver. */
void gw_faults_attach(struct gw_faults *faults, struct gw_connection *channel, uint32_t generation);

/* For the receiver of that channel, where a frame may begin: waits until there is something to
 * read, or the channel was interrupted, and serves faults meanwhile once it is started. `answered`:
 * how many demands were. gw_faults_leave: it ends, and serves no more. */
GW_MUST_USE enum gw_status gw_faults_await(struct gw_faults *faults, struct gw_connection *channel,
                                           uint64_t answered, struct gw_fault *fault);
void gw_faults_leave(struct gw_faults *faults, const struct gw_connection *channel);

/* Nobody touches the channel here any more when this returns. Interrupts it.
 * Idempotent; to be said again when its receiver is back, who may have attached it meanwhile. */
void gw_faults_detach(struct gw_faults *faults);

/* True when a demand could not be written; `fault` says why. */
bool gw_faults_has_failed(struct gw_faults *faults, struct gw_fault *fault);

/* DISARM. Idempotent; also when zeroed. */
void gw_faults_stop(struct gw_faults *faults);

#endif
