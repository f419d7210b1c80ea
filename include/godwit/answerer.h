/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answerer: the source's thread on the urgent channel. The target demands a page that its
 * guest stands still for; the answerer reads it from guest RAM and sends it, before any other: with
 * all of its unit, where the target places larger ones, in as many batches as that takes.
 *
 * Owner: part of struct gw_outgoing, whose thread starts it, looks how it stands, interrupts and
 * joins it. The lock around the engine is never held during I/O.
 */
#ifndef GODWIT_ANSWERER_H
#define GODWIT_ANSWERER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/frame.h"
#include "godwit/loop.h"
#include "godwit/ram.h"
#include "godwit/ram_io.h"
#include "godwit/source.h"
#include "godwit/status.h"
#include "godwit/thread.h"
#include "godwit/transport.h"

enum {
    GW_ANSWER_BYTES = 65536, /* of a batch, at most: one page of the largest page size */
};

struct gw_answerer {
    /* Set once, before the first start. */
    pthread_mutex_t *lock;
    pthread_cond_t *kicked;
    struct gw_source *source;     /* under the lock */
    const struct gw_notify *wake; /* the owner's: the phase changed */
    const struct gw_ram *ram;
    const struct gw_uri *uri;
    const struct gw_transport_options *options;

    /* Under the lock. */
    bool is_up; /* introduced and welcomed, answering */
    bool has_ended;
    struct gw_fault fault; /* why; never GW_OK once it has ended */

    /* The thread's. */
    struct gw_connection connection;
    uint8_t ahead[4 * GW_FRAME_HEADER_BYTES]; /* a demand's header and page, read at once */
    struct gw_intro intro;
    uint64_t sequence; /* of the last BATCH sent */
    struct gw_ram_data data;
    struct gw_batch batch;
    struct gw_batch_builder builder;
    uint8_t table[GW_FRAME_HEADER_BYTES + GW_BATCH_TABLE_BYTES_MAX];

    struct gw_thread thread;
};

/* Starts to connect answerer->connection, which is open, to introduce it, and to answer demands on
 * it until something fails: its end, too. */
GW_MUST_USE enum gw_status gw_answerer_start(struct gw_answerer *answerer,
                                             const struct gw_intro *intro, struct gw_fault *fault);

/* It ends soon, whatever it is doing. Idempotent; harmless when it does not run. */
void gw_answerer_interrupt(struct gw_answerer *answerer);

/* True from its WELCOME on. */
bool gw_answerer_is_up(struct gw_answerer *answerer);

/* True once the thread is past its last access to guest RAM; `fault` says why it ended. */
bool gw_answerer_has_ended(struct gw_answerer *answerer, struct gw_fault *fault);

/* Waits for its end. Idempotent. */
void gw_answerer_join(struct gw_answerer *answerer);

#endif
