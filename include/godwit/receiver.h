/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiver: a thread of the target that reads a bulk or an urgent channel and tells the engine
 * what it placed: straight into guest RAM before the guest runs; by way of `staging`, whole and
 * checked, from then on.
 *
 * Owner: part of struct gw_incoming, whose thread starts it on a welcomed connection, looks how
 * it stands, interrupts and joins it. The lock around the engine is never held during I/O.
 */
#ifndef GODWIT_RECEIVER_H
#define GODWIT_RECEIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "godwit/assembly.h"
#include "godwit/batch.h"
#include "godwit/faults.h"
#include "godwit/frame.h"
#include "godwit/loop.h"
#include "godwit/message.h"
#include "godwit/ram.h"
#include "godwit/ram_io.h"
#include "godwit/status.h"
#include "godwit/target.h"
#include "godwit/thread.h"
#include "godwit/transport.h"

enum {
    /* Read at once: header, table of one page and the page, where pages are small. */
    GW_RECEIVER_AHEAD_BYTES = GW_FRAME_HEADER_BYTES + GW_BATCH_TABLE_HEADER_BYTES +
                              GW_BATCH_RUN_BYTES + GW_PAGE_BYTES_MIN,
};

struct gw_receiver {
    /* Set once, before the first start. */
    pthread_mutex_t *lock;
    struct gw_target *target;     /* under the lock */
    const struct gw_notify *wake; /* the owner's: the engine changed, or the thread ended */
    const struct gw_ram *ram;
    struct gw_faults *faults; /* where the guest runs, pages are placed by its `missing` */
    bool is_urgent;
    uint32_t channel; /* its number; GW_TARGET_URGENT */
    uint8_t *staging; /* GW_UNIT_BYTES_MAX: for the pages of a batch, or for a unit */
    uint64_t *map;    /* channel 0: GW_BITMAP_WORDS for MISSING and RECEIVED */

    /* Under the lock. */
    uint64_t *woken_ns; /* when a receiver last woke the owner for what does not wait */
    bool has_ended;
    struct gw_fault fault; /* why; never GW_OK once it has ended */

    /* The thread's. */
    struct gw_connection *connection;
    uint8_t ahead[GW_RECEIVER_AHEAD_BYTES];
    struct gw_message welcome;
    uint32_t generation;
    bool has_map;            /* RECEIVED follows WELCOME */
    uint64_t answered;       /* urgent: DEMANDs that were */
    struct gw_ram_data data; /* the last run of touched pages that was looked up */
    struct gw_batch_table records;
    struct gw_assembly assembly; /* of the unit in `staging` */
    bool is_pulling;             /* the guest runs here: nobody waits for an acknowledgement */
    bool is_stopped;       /* no guest runs on either side: nothing waits longer than it must */
    uint32_t huge_pause;   /* stretches left out when the host was slow to give one, or had none */
    uint32_t huge_wait;    /* and of those still to come; a new connection asks at once */
    bool is_owing;         /* an acknowledgement that waits for more batches */
    uint64_t stretch_seen; /* the last told as whole: asked for, or left out; UINT64_MAX: none */
    bool is_huge;          /* it became a huge page */
    uint8_t table[GW_BATCH_TABLE_BYTES_MAX];
    uint8_t packed[GW_BATCH_BYTES_MAX]; /* as it came */
    struct iovec part[GW_BATCH_RECORDS_MAX + GW_RAM_REGIONS_MAX];

    struct gw_thread thread;
};

/* Sends `welcome` on the connection, and RECEIVED when has_map; then reads frames from it, until
 * something fails: the end of the connection, too. */
GW_MUST_USE enum gw_status gw_receiver_start(struct gw_receiver *receiver,
                                             struct gw_connection *connection,
                                             const struct gw_message *welcome, bool has_map,
                                             uint32_t generation, struct gw_fault *fault);

/* It ends soon, whatever it is doing. Idempotent; harmless when it does not run. */
void gw_receiver_interrupt(struct gw_receiver *receiver);

/* True once the thread is past its last access to guest RAM; `fault` says why it ended. */
bool gw_receiver_has_ended(struct gw_receiver *receiver, struct gw_fault *fault);

/* Waits for its end. Idempotent. */
void gw_receiver_join(struct gw_receiver *receiver);

#endif
