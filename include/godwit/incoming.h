/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Incoming: the target engine (godwit/target.h) with its listener, its sockets and its
 * threads. It decides nothing; it does what the engine asks for, and hands its owner what only the
 * owner of the machine can do.
 *
 * The owner's loop watches gw_incoming_fd() for input; then
 *
 *     gw_incoming_work(incoming);
 *     while (gw_incoming_next(incoming, &action) == GW_OK)
 *         do it: RECORD, PREPARE_DEVICES, LOAD, RUN, STATUS, FINISH
 *
 * Actions come in the engine's order: what follows one waits until it was pulled. RECORD, LOAD
 * and RUN are answered by one call, at once or later, from the same thread.
 *
 * In postcopy the guest runs (RUN) while pages of its RAM are missing: whoever touches one waits
 * for it, in the kernel, uninterruptibly. So from LOAD until the state is RUNNING the owner's
 * thread must not touch guest RAM, nor wait for a thread that may.
 *
 * Whoever connects is a candidate until it introduced itself, for which it has
 * GW_INCOMING_INTRO_NS. A newcomer that finds no room displaces the candidate that has been silent
 * the longest, so silence keeps nobody out. A session's failure leaves the listener waiting for
 * the next.
 *
 * Owner: the caller's static, zeroed storage, about 24 MiB on qemu-virt, most of it untouched
 * unless a large machine moves, or one in huge pages by postcopy; no heap: its alignment (4 KiB) is
 * more than malloc gives. Threads: all calls come from the owner's thread, but
 * gw_incoming_get_figures, which is for any. Threads of its own read the bulk channels and the
 * urgent one, and hear of faults on missing pages. Blocks: start in name resolution; work and next
 * for system calls on sockets that do not block and, before a postcopy, for the discard of what
 * lacks; stop until its threads are back, which takes a moment.
 */
#ifndef GODWIT_INCOMING_H
#define GODWIT_INCOMING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/answerer.h"
#include "godwit/channel.h"
#include "godwit/clock.h"
#include "godwit/deadline.h"
#include "godwit/faults.h"
#include "godwit/loop.h"
#include "godwit/ram.h"
#include "godwit/receiver.h"
#include "godwit/status.h"
#include "godwit/target.h"
#include "godwit/transport.h"

enum {
    GW_INCOMING_CHANNELS = GW_BULK_CHANNELS_MAX + 1, /* the last one is the urgent channel */
    /* connections: control, bulk, urgent, as many that end, and four candidates, or all of a
     * session's channels at once */
    GW_INCOMING_CANDIDATES = GW_INCOMING_CHANNELS > 4 ? GW_INCOMING_CHANNELS : 4,
    GW_INCOMING_PEERS_MAX = 2 * (1 + GW_INCOMING_CHANNELS) + GW_INCOMING_CANDIDATES,
};
/* A candidate's time to introduce itself: sockets that were connected beforehand (fd:) wait until
 * others have shaken hands, which takes a slow CPU seconds. */
#define GW_INCOMING_INTRO_NS (60 * GW_NS_PER_S)
#define GW_INCOMING_LEAVE_NS (1 * GW_NS_PER_S) /* a peer's time to hear what was said last */

struct gw_incoming_config {
    struct gw_target_config target; /* page_count and page_bytes are taken from ram */
    const char *uri;                /* where to listen; needed only in start */
    const struct gw_ram *ram;       /* outlives it; nothing else writes it before RUN */
    bool is_user_mode_enough;       /* postcopy: nobody but threads of this process, in user mode,
                                       touches guest RAM (no KVM, no read(2) into it) */
    uint64_t intro_ns;              /* a candidate's time; 0: GW_INCOMING_INTRO_NS */
    struct gw_transport_options transport; /* gw_transport_defaults; plaintext is in here */
};

enum gw_incoming_role {
    GW_INCOMING_FREE = 0,
    GW_INCOMING_CANDIDATE, /* has not introduced itself yet, or waits for the engine's word */
    GW_INCOMING_CONTROL,
    GW_INCOMING_CHANNEL, /* bulk or urgent */
    GW_INCOMING_LEAVING, /* was told all there was to tell; hears it, then is closed */
};

struct gw_incoming_peer {
    enum gw_incoming_role role;
    struct gw_channel channel;
    struct gw_watch watch;
    uint64_t deadline_ns; /* CANDIDATE, LEAVING */
    bool is_ready;        /* CANDIDATE: `intro` is here */
    bool is_shut;         /* LEAVING: our end was sent */
    struct gw_message intro;
    uint8_t in_bytes[GW_MESSAGE_SMALL_BYTES];
    uint8_t out_bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
};

/* Read only. */
struct gw_incoming {
    pthread_mutex_t lock; /* around `target`; never held during I/O */
    struct gw_target target;
    uint64_t woken_ns; /* the receivers', under the lock */
    const struct gw_ram *ram;

    struct gw_loop loop;
    struct gw_notify wake;
    struct gw_deadline timer;
    struct gw_watch wake_watch, timer_watch, listener_watch;
    struct gw_listener listener;
    uint64_t intro_ns;  /* a candidate's time */
    uint64_t accept_ns; /* the host could not accept: try again then; 0: it can */
    char address[GW_URI_TEXT_BYTES];
    char source[GW_URI_TEXT_BYTES]; /* the last session's source; "" before the first */

    struct gw_incoming_peer peer[GW_INCOMING_PEERS_MAX];
    struct gw_incoming_peer *candidate;             /* the engine is deciding on it */
    struct gw_incoming_peer *control, *old_control; /* the session's, and one that was closed:
                                                       LEAVING; NULL: none */
    struct gw_incoming_peer *channel[GW_INCOMING_CHANNELS], *old_channel[GW_INCOMING_CHANNELS];
    struct gw_receiver receiver[GW_INCOMING_CHANNELS];
    struct gw_faults faults;
    bool is_user_mode_enough;
    struct gw_fault stranger; /* the first who was turned away since the owner asked */
    struct gw_fault lost;     /* why the session's are being torn down; GW_OK: they are not */
    bool is_broken;           /* all that came before was read: they are being closed */
    bool is_closing;          /* CLOSE was asked for, and the receiver is not back yet */
    bool is_loading;          /* LOAD was handed out and not answered: the state must stay */
    bool has_lock, is_started;

    bool has_action; /* `action` waits for its owner */
    struct gw_target_action action;

    const uint8_t *state; /* in state_bytes */
    uint32_t state_count;
    uint8_t in_bytes[GW_HELLO_BYTES_MAX];
    uint8_t out_bytes[GW_CHANNEL_SMALL_OUT_BYTES];
    uint8_t state_bytes[GW_PREPARE_BYTES_MAX];
    /* A batch, or a unit put together. */
    _Alignas(GW_PAGE_BYTES_MIN) uint8_t staging[GW_INCOMING_CHANNELS][GW_UNIT_BYTES_MAX];
    uint64_t map[GW_BITMAP_WORDS];
};

/* Listens. GW_ARGUMENT when the URI is wrong or needs --plaintext, GW_HOST when the kernel
 * refuses; then nothing was started. */
GW_MUST_USE enum gw_status gw_incoming_start(struct gw_incoming *incoming,
                                             const struct gw_incoming_config *config,
                                             struct gw_fault *fault);

/* Ends it all at once: connections are cut, nothing listens, the thread is back. The figures,
 * state and fault stay readable. Idempotent; also on a zeroed struct. It may be started again. */
void gw_incoming_stop(struct gw_incoming *incoming);

/* Where it listens, with the port the kernel chose. Valid from start on. */
const char *gw_incoming_address(const struct gw_incoming *incoming);

/* Where the source of the session at hand, or of the last one, connected from; "" before the
 * first. For the owner's thread. */
const char *gw_incoming_source(const struct gw_incoming *incoming);

/* Readable when gw_incoming_work has something to do; the same fd from start to stop. */
int gw_incoming_fd(const struct gw_incoming *incoming);

/* Does all that can be done without blocking. */
void gw_incoming_work(struct gw_incoming *incoming);

/* The next action of type RECORD, PREPARE_DEVICES, LOAD, RUN, STATUS or FINISH; or GW_AGAIN.
 * PREPARE_DEVICES (only with target.device_count > 0): make ready for a guest what takes time;
 * answer _device_ready for each of them, at once or later, or _host_fault. The source does not stop
 * the guest before. Answers count for the last PREPARE_DEVICES: one that would come after another
 * session has begun must not be given any more.
 * LOAD: load gw_incoming_get_state(); answer _loaded or _host_fault.
 * RUN: set the counter on by elapsed_ns, start the guest if is_running; answer _running, or
 * _host_fault when no vCPU ran an instruction.
 * FINISH: the session is over: gw_incoming_state() is DONE and gw_incoming_stop is next, or it is
 * LISTENING again (gw_incoming_get_fault says why), and another session may come; or LOST: the
 * guest ran here and never can again, and threads may wait for its pages until the process ends; or
 * NONE: it could not begin, since the first RECORD failed, and gw_incoming_stop is next. */
GW_MUST_USE enum gw_status gw_incoming_next(struct gw_incoming *incoming,
                                            struct gw_target_action *action);

/* The machine's state as it came with PREPARE; valid from LOAD until its answer. */
const uint8_t *gw_incoming_get_state(const struct gw_incoming *incoming, uint32_t *bytes);

/* Whom the listener turned away before a session began, and why (a wrong key, no TLS, another
 * version): for a log. GW_AGAIN: nobody since the last call. The first of several. */
GW_MUST_USE enum gw_status gw_incoming_next_stranger(struct gw_incoming *incoming,
                                                     struct gw_fault *fault);

/* Answers: to RECORD (NULL: stored), to LOAD, to RUN, and to any of them when it failed. */
void gw_incoming_recorded(struct gw_incoming *incoming, const struct gw_fault *fault);
void gw_incoming_loaded(struct gw_incoming *incoming);
void gw_incoming_device_ready(struct gw_incoming *incoming); /* one of them, once a session */
void gw_incoming_running(struct gw_incoming *incoming);
void gw_incoming_host_fault(struct gw_incoming *incoming, const struct gw_fault *fault);

/* The operator's wishes. GW_ARGUMENT with a sentence when the engine refuses them now. */
GW_MUST_USE enum gw_status gw_incoming_give_up(struct gw_incoming *incoming, struct gw_token *token,
                                               struct gw_fault *fault);
/* `token` NULL: the operator was warned and says that the other side is dead. */
GW_MUST_USE enum gw_status gw_incoming_run_anyway(struct gw_incoming *incoming,
                                                  const struct gw_token *token,
                                                  struct gw_fault *fault);
/* Runs here already: do not wait for the source's DONE any longer. */
GW_MUST_USE enum gw_status gw_incoming_forget(struct gw_incoming *incoming, struct gw_fault *fault);

/* Any thread. */
void gw_incoming_get_figures(struct gw_incoming *incoming, struct gw_target_figures *figures);
enum gw_target_state gw_incoming_state(struct gw_incoming *incoming);
enum gw_runner gw_incoming_runner(struct gw_incoming *incoming);

/* Why the last session ended without the guest; status GW_OK when it did not. Any thread. */
void gw_incoming_get_fault(struct gw_incoming *incoming, struct gw_fault *fault);

#endif
