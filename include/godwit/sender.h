/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sender: the source's thread of one bulk channel. It makes connections, and sends pages on its
 * channel as the engine asks for them (gw_source_next_batch). That of channel 0 connects the
 * control channel before.
 *
 * One job at a time: each is a run of its thread. Owner: part of struct gw_outgoing, whose thread
 * starts jobs, looks how they stand, interrupts and joins them. The lock around the engine is
 * never held during I/O.
 */
#ifndef GODWIT_SENDER_H
#define GODWIT_SENDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "godwit/arming.h"
#include "godwit/batch.h"
#include "godwit/loop.h"
#include "godwit/message.h"
#include "godwit/ram.h"
#include "godwit/ram_io.h"
#include "godwit/source.h"
#include "godwit/status.h"
#include "godwit/thread.h"
#include "godwit/tracker.h"
#include "godwit/transport.h"

enum gw_sender_phase {
    GW_SENDER_IDLE = 0,   /* no job; the thread is joined */
    GW_SENDER_CONNECTING, /* on its way */
    GW_SENDER_UP,         /* bulk: introduced and welcomed, sending */
    GW_SENDER_ENDED,      /* the job is over: join it, and look at `fault` */
};

struct gw_sender {
    /* Set once, before the first job. */
    uint32_t channel;
    pthread_mutex_t *lock;
    pthread_cond_t *kicked;
    struct gw_source *source;     /* under the lock */
    const struct gw_notify *wake; /* the owner's: the phase or the engine changed */
    const struct gw_ram *ram;
    struct gw_tracker *tracker;
    uint64_t *map; /* GW_BITMAP_WORDS for RECEIVED; channel 0 */
    const struct gw_uri *uri;
    const struct gw_transport_options *options;

    /* Under the lock. */
    enum gw_sender_phase phase;
    bool is_interrupted;
    struct gw_fault fault; /* how the job failed; GW_OK: it did not */

    /* The job. */
    struct gw_connection *connecting; /* the control channel's, or `bulk` */
    struct gw_connection bulk;
    struct gw_intro intro;
    bool has_map;            /* the target begins with RECEIVED */
    struct gw_ram_data data; /* the last run of touched pages that was looked up */
    struct gw_arming arming;
    uint64_t paced_ns; /* waited for the operator's limit, before the batch at hand */
    struct gw_batch batch;
    struct gw_batch_builder builder;
    uint8_t table[GW_FRAME_HEADER_BYTES + GW_BATCH_TABLE_BYTES_MAX];
    _Alignas(GW_PAGE_BYTES_MIN) uint8_t pages[GW_BATCH_BYTES_MAX];
    struct gw_packer packer;
    uint8_t packed[GW_BATCH_BYTES_MAX];

    struct gw_thread thread;
};

/* Starts to connect `connection`, which is open; it belongs to the thread until the job ended. */
GW_MUST_USE enum gw_status gw_sender_connect(struct gw_sender *sender,
                                             struct gw_connection *connection,
                                             struct gw_fault *fault);

/* Starts to connect sender->bulk, which is open, to introduce it, to read RECEIVED from it
 * (has_map) and tell the engine, and to send. Once the phase is UP, reading from the bulk channel
 * is the owner's. */
GW_MUST_USE enum gw_status gw_sender_send(struct gw_sender *sender, const struct gw_intro *intro,
                                          bool has_map, struct gw_fault *fault);

/* The job ends soon, whatever it is doing. Idempotent; harmless without a job. */
void gw_sender_interrupt(struct gw_sender *sender);

/* How the job stands; how it failed, once it ended. */
enum gw_sender_phase gw_sender_get_phase(struct gw_sender *sender, struct gw_fault *fault);

/* Waits for the job's end; IDLE afterwards. */
void gw_sender_join(struct gw_sender *sender);

#endif
