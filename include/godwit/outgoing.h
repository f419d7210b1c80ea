/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outgoing: the source engine (godwit/source.h) with its sockets, its tracker and its threads. It
 * decides nothing; it does what the engine asks for, and hands its owner what only the owner
 * of the guest can do.
 *
 * The owner's loop watches gw_outgoing_fd() for input; then
 *
 *     gw_outgoing_work(outgoing);
 *     while (gw_outgoing_next(outgoing, &action) == GW_OK)
 *         do it: RECORD, STOP, RESUME, THROTTLE, EXPLAIN, STATUS, ROUND, FINISH
 *
 * Actions come in the engine's order: what follows one waits until it was pulled. RECORD and STOP
 * are answered by one call each, at once or later, from the same thread; all of them before the
 * next gw_outgoing_start.
 *
 * Owner: the caller's static, zeroed storage, about 5.9 MiB on qemu-virt, most of it untouched
 * unless a large machine moves by many channels; no heap: its alignment (4 KiB) is more than malloc
 * gives. Threads: all calls come from the owner's thread, but gw_outgoing_get_figures, which is for
 * any. Threads of its own, one for each bulk channel, send pages on it and make connections, so
 * that no name server blocks the owner; another answers demands on the urgent channel. Blocks: work
 * and next for system calls on sockets that do not block and for the tracker's collect;
 * gw_outgoing_stop until its threads are back, which takes a moment, except while a name is being
 * resolved.
 */
#ifndef GODWIT_OUTGOING_H
#define GODWIT_OUTGOING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/answerer.h"
#include "godwit/channel.h"
#include "godwit/clock.h"
#include "godwit/deadline.h"
#include "godwit/loop.h"
#include "godwit/ram.h"
#include "godwit/sender.h"
#include "godwit/source.h"
#include "godwit/status.h"
#include "godwit/tracker.h"
#include "godwit/transport.h"

#define GW_OUTGOING_LEAVE_NS (1 * GW_NS_PER_S) /* a peer's time to hear what was said last */

struct gw_outgoing_config {
    struct gw_source_config source;        /* page_count and page_bytes are taken from ram */
    const char *uri;                       /* where the target listens; needed only in start.
                                              fd:N,N,...: sockets that are connected to it, one for
                                              control, source.channel_count for pages, an urgent
                                              one; this struct's when start returns GW_OK */
    const struct gw_ram *ram;              /* outlives the migration */
    struct gw_tracker *tracker;            /* off; outlives the migration. Unused, and may be NULL,
                                              when source.is_ram_shared */
    struct gw_transport_options transport; /* gw_transport_defaults; plaintext is in here */
};

/* Read only. */
struct gw_outgoing {
    pthread_mutex_t lock;  /* around `source`; never held during I/O */
    pthread_cond_t kicked; /* a sender may ask for pages again */
    struct gw_source source;
    struct gw_uri uri;       /* while a thread connects, nobody writes it */
    struct gw_uri fresh_uri; /* an operator's, for the next connection */
    bool has_fresh_uri;
    struct gw_sockets sockets; /* of `uri`, if they were handed in */
    const struct gw_ram *ram;
    struct gw_tracker *tracker;
    struct gw_transport_options transport;

    struct gw_loop loop;
    struct gw_notify wake;
    struct gw_deadline timer;
    struct gw_watch wake_watch, timer_watch, control_watch;
    struct gw_watch bulk_watch[GW_BULK_CHANNELS_MAX];

    struct gw_channel control;
    struct gw_sender sender[GW_BULK_CHANNELS_MAX];
    uint32_t channel_count; /* of them that have a bulk channel; 0: none */
    struct gw_answerer answerer;
    bool has_urgent;      /* an urgent channel belongs to the bulk channels at hand */
    uint32_t generation;  /* of the connections at hand */
    uint32_t link;        /* how far they are: src/drive/outgoing_internal.h */
    struct gw_fault lost; /* why they are being torn down; GW_OK: they are not */
    uint64_t leave_ns;    /* when a connection that said its last is closed anyway; 0: now */
    bool is_shut;         /* our end of it was sent */
    bool is_bulk_told;    /* the engine knows that the bulk channels are up */
    bool is_closing;      /* CLOSE was asked for, and the senders are not back yet */
    bool has_lock, is_started, is_tracking, is_untracking;

    bool has_action; /* `action` waits for its owner */
    struct gw_source_action action;

    const uint8_t *state; /* the owner's */
    uint32_t state_bytes;
    bool is_running;

    uint64_t bitmap[GW_BITMAP_WORDS], map[GW_BITMAP_WORDS];
    uint8_t in_bytes[GW_MESSAGE_SMALL_BYTES];
    uint8_t out_bytes[GW_CHANNEL_LARGE_OUT_BYTES];
};

/* Starts a migration. GW_ARGUMENT when the URI is wrong, GW_HOST when the kernel refuses; then
 * nothing was started. That a peer is not there comes later, as FINISH with a fault. */
GW_MUST_USE enum gw_status gw_outgoing_start(struct gw_outgoing *outgoing,
                                             const struct gw_outgoing_config *config,
                                             struct gw_fault *fault);

/* Ends it all at once: connections are cut, the threads are back, the tracker is off. After FINISH
 * this releases what is left. The figures, state and fault stay readable. Idempotent; also on a
 * zeroed struct. Afterwards it may be started again. */
void gw_outgoing_stop(struct gw_outgoing *outgoing);

/* Readable when gw_outgoing_work has something to do; the same fd from start to stop. */
int gw_outgoing_fd(const struct gw_outgoing *outgoing);

/* Does all that can be done without blocking. */
void gw_outgoing_work(struct gw_outgoing *outgoing);

/* The next action of type RECORD, STOP, RESUME, THROTTLE, EXPLAIN, STATUS, ROUND or FINISH; or
 * GW_AGAIN. FINISH is the last one: nothing is sent any more, and gw_outgoing_stop is next.
 *
 * STOP: halt the guest, finish its device I/O, save its state; then gw_outgoing_stopped (or
 * _host_fault with the guest still running or running again). From then on nobody writes to its
 * RAM, no device either, until RESUME: what follows it is sent from where it lies. RESUME comes
 * only after STOP, and means: go on if it ran before. FINISH says in gw_outgoing_state how it
 * ended. */
GW_MUST_USE enum gw_status gw_outgoing_next(struct gw_outgoing *outgoing,
                                            struct gw_source_action *action);

/* Answers to RECORD: stored (NULL), or why not (`fault`, of any status but GW_OK). */
void gw_outgoing_recorded(struct gw_outgoing *outgoing, const struct gw_fault *fault);

/* Answer to STOP: halted at halted_ns of gw_clock_now_ns(). The state's bytes (0 to
 * GW_STATE_BYTES_MAX) stay the owner's, unchanged until the next RESUME, STOP or FINISH is handed
 * out. is_running: the guest ran before, and shall run over there. */
void gw_outgoing_stopped(struct gw_outgoing *outgoing, uint64_t halted_ns, const uint8_t *state,
                         uint32_t state_bytes, bool is_running);

/* Answer to STOP: it could not be done. */
void gw_outgoing_host_fault(struct gw_outgoing *outgoing, const struct gw_fault *fault);

/* The operator's wishes. GW_ARGUMENT with a sentence when the engine refuses them now. */
GW_MUST_USE enum gw_status gw_outgoing_cancel(struct gw_outgoing *outgoing, struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_outgoing_postcopy(struct gw_outgoing *outgoing,
                                                struct gw_fault *fault);
/* After PRE_SWITCHOVER: hand over, as soon as what is left fits again. */
GW_MUST_USE enum gw_status gw_outgoing_continue(struct gw_outgoing *outgoing,
                                                struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_outgoing_pause(struct gw_outgoing *outgoing, struct gw_fault *fault);

/* While the link is lost: connects again now, or at the next try if one is under way. uri: where
 * the target listens now; NULL: where it did. fd:N,N,...: new sockets, as many as at the start or
 * as the target takes; this struct's when GW_OK is returned. */
GW_MUST_USE enum gw_status gw_outgoing_recover(struct gw_outgoing *outgoing, const char *uri,
                                               struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_outgoing_give_up(struct gw_outgoing *outgoing, struct gw_token *token,
                                               struct gw_fault *fault);
/* `token` NULL: the operator was warned and says that the other side is dead. */
GW_MUST_USE enum gw_status gw_outgoing_run_anyway(struct gw_outgoing *outgoing,
                                                  const struct gw_token *token,
                                                  struct gw_fault *fault);

void gw_outgoing_set_limits(struct gw_outgoing *outgoing, uint64_t downtime_ns_max,
                            uint64_t bandwidth_max, uint64_t postcopy_bandwidth_max);

/* Any thread. */
void gw_outgoing_get_figures(struct gw_outgoing *outgoing, struct gw_source_figures *figures);
enum gw_source_state gw_outgoing_state(struct gw_outgoing *outgoing);

/* All but FINISH was handed out, which waits for the peer to hear the last message: whoever cannot
 * wait may stop it now, without blocking. */
bool gw_outgoing_has_ended(const struct gw_outgoing *outgoing);
enum gw_runner gw_outgoing_runner(struct gw_outgoing *outgoing);

/* Why it failed, was cancelled or is held; status GW_OK when there is no reason. Any thread. */
void gw_outgoing_get_fault(struct gw_outgoing *outgoing, struct gw_fault *fault);

#endif
