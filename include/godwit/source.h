/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source engine: sends a running guest away (docs/HANDOVER.md).
 *
 * Events in, actions out. The embedder tells the engine what happened (gw_source_handle), then
 * does what it asks for (gw_source_next, until GW_AGAIN), in that order. A channel's thread asks
 * for pages to send (gw_source_next_batch), re-arms the dirty tracker for them, reads and sends
 * them, and says so (GW_SOURCE_EV_BATCH_SENT).
 *
 * Memory: struct gw_source, the caller's, under a MiB for a 4 GiB guest. No I/O, clock,
 * thread or heap. Threads: none of its own; every call under one lock of the embedder's. Time is
 * what the events say: nanoseconds of any clock that never goes back.
 */
#ifndef GODWIT_SOURCE_H
#define GODWIT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/compression.h"
#include "godwit/message.h"
#include "godwit/pack.h"
#include "godwit/pace.h"
#include "godwit/pages.h"
#include "godwit/record.h"
#include "godwit/release.h"
#include "godwit/status.h"

/* States: name, who may run the guest, QEMU's MigrationStatus. */
#define GW_SOURCE_STATES(S)                                                                      \
    S(NONE, SOURCE, "none")         /* nothing asked for yet */                                  \
    S(CONNECTING, SOURCE, "setup")  /* the control channel is being connected */                 \
    S(GREETING, SOURCE, "setup")    /* introduced; waits for WELCOME */                          \
    S(NEGOTIATING, SOURCE, "setup") /* welcomed; the facts are being compared */                 \
    S(OPENING, SOURCE, "setup")     /* bulk channels are being connected, the tracker started */ \
    S(TRACKING, SOURCE, "setup")    /* the channels are there, the tracker is not yet */         \
    S(TRACKED, SOURCE, "setup")     /* the tracker is there, the channels are not yet */         \
    S(ACTIVE, SOURCE, "active")     /* rounds of pages */                                        \
    S(PRE_SWITCHOVER, SOURCE,                                                                    \
      "pre-switchover")                   /* could stop now: waits for the operator's word */    \
    S(RETRY_WAITING, SOURCE, "setup")     /* link lost before COMMIT: waits to try again */      \
    S(RETRY_CONNECTING, SOURCE, "setup")  /* connecting again */                                 \
    S(RETRY_ASKING, SOURCE, "setup")      /* asked the target to go on where it was */           \
    S(RETRY_OPENING, SOURCE, "setup")     /* the bulk channel is being connected again */        \
    S(LEAVING, SOURCE, "active")          /* the departure is being recorded; pages go on */     \
    S(STOPPING, SOURCE, "device")         /* the guest is being stopped and its state saved */   \
    S(COLLECTING, NOBODY, "device")       /* the last dirty pages are being looked up */         \
    S(FINISHING, NOBODY, "device")        /* the last pages (and digests) are being sent */      \
    S(PREPARED, NOBODY, "device")         /* PREPARE sent; may still go back */                  \
    S(HELD, NOBODY, "device")             /* COMMIT sent: the outcome is the target's to tell */ \
    S(HELD_WAITING, NOBODY, "device")     /* held, link lost: waits to try again */              \
    S(HELD_CONNECTING, NOBODY, "device")  /* held, connecting again */                           \
    S(HELD_ASKING, NOBODY, "device")      /* held, asked the target how it stands */             \
    S(PUSHING, TARGET, "postcopy-active") /* it runs there; the pages that lack follow */        \
    S(PUSH_WAITING, TARGET, "postcopy-paused")     /* the same, link lost: waits to try again */ \
    S(PUSH_PAUSED, TARGET, "postcopy-paused")      /* the same, until the operator says so */    \
    S(PUSH_CONNECTING, TARGET, "postcopy-recover") /* connecting again */                        \
    S(PUSH_ASKING, TARGET, "postcopy-recover")     /* asked the target how it stands */          \
    S(PUSH_OPENING, TARGET, "postcopy-recover")    /* the bulk and urgent channels come again */ \
    S(SETTLING, TARGET,                                                                          \
      "completed") /* RUNNING or COMPLETE heard, DONE sent; waits for its answer */              \
    S(SETTLING_WAITING, TARGET, "completed") /* DONE may be lost: waits to say it again */       \
    S(SETTLING_AGAIN, TARGET, "completed")   /* connecting to say it again */                    \
    S(PAUSING, SOURCE, "device")             /* link lost while the guest was stopping */        \
    S(FALLING_BACK, SOURCE, "device")        /* failed while the guest was stopping */           \
    S(CANCELLING, SOURCE, "cancelling")      /* cancelled while the guest was stopping */        \
    S(COMPLETED, TARGET, "completed")        /* the guest runs there */                          \
    S(LOST, TARGET, "failed")         /* it ran there without all of its RAM, and is gone */     \
    S(FAILED, SOURCE, "failed")       /* the guest runs here */                                  \
    S(CANCELLED, SOURCE, "cancelled") /* the guest runs here */

#define GW_SOURCE_STATE_ENUM(name, runner, status) GW_SOURCE_##name,
enum gw_source_state { GW_SOURCE_STATES(GW_SOURCE_STATE_ENUM) GW_SOURCE_STATE_COUNT };
#undef GW_SOURCE_STATE_ENUM

enum gw_runner { GW_RUNNER_SOURCE, GW_RUNNER_TARGET, GW_RUNNER_NOBODY };

/* Events: name and where it comes from. A PEER event with no row in the table is a protocol
 * fault; a HOST event with none came too late and is ignored; an OPERATOR one is refused. SELF
 * events are the engine's own. */
#define GW_SOURCE_EVENTS(E)                                                                      \
    E(START, OPERATOR)                                                                           \
    E(CANCEL, OPERATOR)                                                                          \
    E(GIVE_UP, OPERATOR)    /* resolve: this copy never runs again */                            \
    E(RUN_ANYWAY, OPERATOR) /* resolve: run here; the caller checked the token or was warned */  \
    E(POSTCOPY, OPERATOR)   /* switch now; what lacks follows while the guest runs there */      \
    E(CONTINUE, OPERATOR)   /* after PRE_SWITCHOVER: hand over as soon as what is left fits */   \
    E(PAUSE, OPERATOR)      /* postcopy: let go of the link until RECOVER */                     \
    E(RECOVER, OPERATOR)    /* postcopy: connect again now */                                    \
    E(LINK_UP, HOST)        /* the control connection asked for by CONNECT is there */           \
    E(BULK_UP, HOST)        /* the bulk connections are introduced and welcomed */               \
    E(LINK_LOST, HOST)      /* a connection failed; `fault` says how. All are closed */          \
    E(TRACKED, HOST)        /* answer to TRACK; `bitmap` has a bit per page ever touched */      \
    E(COLLECTED, HOST)      /* answer to COLLECT; `bitmap` has a bit per dirty page */           \
    E(RECORDED, HOST)       /* answer to RECORD, each; with its fault if it failed */            \
    E(STOPPED, HOST)        /* answer to STOP: guest halted, state saved; `halted_ns` */         \
    E(HOST_FAULT, HOST)     /* an action could not be done; `fault` */                           \
    E(BATCH_SENT, HOST)     /* by the channel's thread; `sent` */                                \
    E(RECONCILED, HOST)     /* by the channel's thread: RECEIVED came; `bitmap` has its bits */  \
    E(TICK, HOST)           /* at gw_source_deadline() */                                        \
    E(MESSAGE, HOST)        /* a message came on the control channel; becomes one of these: */   \
    E(WELCOMED, PEER)       /* WELCOME, standing NEW */                                          \
    E(STANDS_OPEN, PEER)    /* WELCOME, standing OPEN */                                         \
    E(STANDS_READY, PEER)   /* WELCOME, standing READY for our epoch */                          \
    E(STANDS_RUNNING, PEER) /* WELCOME, standing RUNNING for our epoch */                        \
    E(STANDS_ABORTED, PEER) /* WELCOME, standing ABORTED for our epoch */                        \
    E(STANDS_PULLING, PEER) /* WELCOME, standing PULLING for our epoch */                        \
    E(STANDS_LOST, PEER)    /* WELCOME, standing LOST for our epoch */                           \
    E(STANDS_SETTLED, PEER) /* WELCOME, standing SETTLED for our epoch */                        \
    E(STANDS_UNKNOWN, PEER) /* WELCOME, any other standing */                                    \
    E(REFUSE, PEER)                                                                              \
    E(ACCEPT, PEER)                                                                              \
    E(SWITCHOVER_ACK, PEER) /* the target's devices are ready for the guest */                   \
    E(ACK, PEER)                                                                                 \
    E(SUSPECT, PEER)                                                                             \
    E(MISMATCH, PEER)                                                                            \
    E(READY, PEER)                                                                               \
    E(ABORTED, PEER)                                                                             \
    E(RUNNING, PEER)                                                                             \
    E(PULLS, PEER)      /* RUNNING, without all of its RAM, and the channels are there */        \
    E(PULLS_BARE, PEER) /* the same, and they must come again first */                           \
    E(COMPLETE, PEER)                                                                            \
    E(DONE, PEER)           /* the target knows that we know */                                  \
    E(ACCEPT_SHARED, PEER)  /* ACCEPT, and RAM is shared: no page travels */                     \
    E(STOPPED_SHARED, SELF) /* STOPPED, the same */                                              \
    E(ROUND_END, SELF)      /* nothing of the round is left to pick, all of it sent */           \
    E(SWITCH, SELF)         /* it fits into the downtime limit, or is to go first, or is late */ \
    E(HOLD, SELF)           /* the same, and the operator wants to be asked first */             \
    E(DRAINED, SELF)        /* stopped, and everything is sent */                                \
    E(BREACH, SELF)         /* the link was given up because the peer broke the protocol */      \
    E(DEADLINE, SELF)       /* config.deadline_ns has passed, and it stays here */               \
    E(EXHAUSTED, SELF)      /* the link stayed lost for config.resume_ns_max */                  \
    E(TIME_OUT, SELF)       /* the state's own limit has passed */

#define GW_SOURCE_EVENT_ENUM(name, origin) GW_SOURCE_EV_##name,
enum gw_source_event_type { GW_SOURCE_EVENTS(GW_SOURCE_EVENT_ENUM) GW_SOURCE_EVENT_COUNT };
#undef GW_SOURCE_EVENT_ENUM

struct gw_batch_sent {
    uint32_t channel;
    uint64_t sequence;
    uint64_t raw_pages, zero_pages, repeat_pages;
    uint64_t wire_bytes;       /* header, table and data */
    struct gw_batch_cost cost; /* all zero where it does not count: an answer, say */
};

struct gw_source_event {
    enum gw_source_event_type type;
    uint64_t now_ns;
    union {
        const struct gw_fault *fault;     /* LINK_LOST, HOST_FAULT, RECORDED (NULL: it is stored);
                                             lives during the call */
        const struct gw_message *message; /* MESSAGE; lives during the call */
        const uint64_t *bitmap;           /* TRACKED, COLLECTED, RECONCILED; GW_BITMAP_WORDS, during
                                             the call */
        uint64_t halted_ns;               /* STOPPED: when the saved counter was read */
        bool has_token;                   /* RUN_ANYWAY: by the target's word, not the operator's */
        struct gw_batch_sent sent;        /* BATCH_SENT */
    };
};

/* What the embedder must do. Each is done before the next is asked for; those marked "answer"
 * are answered by an event, at once or later. */
enum gw_source_action_type {
    GW_SOURCE_DO_CONNECT,      /* connect the control channel; answer LINK_UP or LINK_LOST */
    GW_SOURCE_DO_CONNECT_BULK, /* connect `channel_count` bulk channels and introduce them (`intro`,
                                  with each one's number, and acked[number] as its sequence),
                                  and when `has_urgent` the urgent channel, with channel 0's intro
                                  but for its role; when `has_map`, read RECEIVED from channel 0
                                  (RECONCILED) before that one. Answer BULK_UP when all are there,
                                  or LINK_LOST */
    GW_SOURCE_DO_SEND,         /* send `message` on the control channel (PREPARE: the embedder
                                  puts the saved state in) */
    GW_SOURCE_DO_CLOSE,        /* close all channels after what was sent is flushed; the channel's
                                  thread has let go when this is done */
    GW_SOURCE_DO_TRACK,        /* start the dirty tracker, while the first bulk channels are being
                                  connected; answer TRACKED or HOST_FAULT, before or after BULK_UP */
    GW_SOURCE_DO_COLLECT,      /* collect dirty pages; answer COLLECTED or HOST_FAULT */
    GW_SOURCE_DO_UNTRACK,      /* stop the dirty tracker */
    GW_SOURCE_DO_RECORD,       /* store `departure` (the embedder adds the peer); answer RECORDED,
                                  which LEAVING waits for */
    GW_SOURCE_DO_STOP,         /* stop the guest, save its state; answer STOPPED or HOST_FAULT */
    GW_SOURCE_DO_RESUME,       /* the guest goes on here, if it was running before STOP */
    GW_SOURCE_DO_THROTTLE,     /* slow the guest's CPUs down to run (100 - throttle_percent) % of
                                  the time; 0: let them go */
    GW_SOURCE_DO_EXPLAIN, /* a choice was made: `choice`, with the figures of now (for the log) */
    GW_SOURCE_DO_STATUS,  /* the status changed (for events) */
    GW_SOURCE_DO_ROUND,   /* a new round began (for events) */
    GW_SOURCE_DO_FINISH,  /* over: the state is COMPLETED, FAILED, CANCELLED or LOST */
};

/* What the engine chose by itself, and why. */
enum gw_source_choice {
    GW_CHOICE_FITS,              /* hand over: what is left fits into the downtime limit */
    GW_CHOICE_FURTHER,           /* it fits, and another round is likely to halve it */
    GW_CHOICE_LIMIT_TOO_LOW,     /* the handover alone takes more than the downtime limit */
    GW_CHOICE_THROTTLE,          /* the guest dirties faster than the link takes: slow it down */
    GW_CHOICE_POSTCOPY_TOO_FAST, /* the same, and slowing down is not enough, or not wanted */
    GW_CHOICE_POSTCOPY_DEADLINE, /* the deadline could not be met otherwise */
    GW_CHOICE_STOP_DEADLINE,     /* the same: the rest goes while the guest stands still */
    GW_CHOICE_WAIT_FOR_DEVICES,  /* could hand over, but the target's devices are not ready */
    GW_CHOICE_HOLD,              /* could hand over, and waits for the operator's word */
    GW_CHOICE_DONE_AGAIN,        /* it runs there; the link broke under DONE, which is repeated */
    GW_CHOICE_PACKING,           /* pages are packed from now on, or otherwise, or not any more */
};

struct gw_source_action {
    enum gw_source_action_type type;
    enum gw_source_choice choice;         /* EXPLAIN */
    uint32_t generation;                  /* CONNECT, CONNECT_BULK */
    const char *status;                   /* STATUS: the new one; it may be past already */
    uint32_t throttle_percent;            /* THROTTLE */
    bool has_map, has_urgent;             /* CONNECT_BULK */
    uint32_t channel_count;               /* CONNECT_BULK */
    uint64_t acked[GW_BULK_CHANNELS_MAX]; /* CONNECT_BULK */
    union {
        struct gw_message message;
        struct gw_intro intro;
        struct gw_departure departure;
    };
};

/* What happens when the deadline cannot be met by rounds alone. CANCEL comes when it passes; the
 * others so much earlier that what is left, at the acknowledged bandwidth, is there in time. */
enum gw_on_deadline {
    GW_ON_DEADLINE_CANCEL = 0,   /* the guest stays here */
    GW_ON_DEADLINE_STOP = 1,     /* stopped and copied, whatever downtime that takes; but not before
                                    every page was sent once */
    GW_ON_DEADLINE_POSTCOPY = 2, /* switched to postcopy; as STOP where the target cannot, or
                                    while is_verifying */
    GW_ON_DEADLINE_AUTO = 3, /* as POSTCOPY where that is possible, else as CANCEL; and as CANCEL
                                when it passes before the guest was stopped all the same (a lost
                                link, devices that are not ready, a pause outrank the others) */
};

/* Slowing a guest down that dirties memory faster than the link carries it, by QEMU's rule
 * (qapi/migration.json, auto-converge): when a round dirtied more than trigger_percent of what it
 * sent, twice, the CPUs lose initial_percent of their time, then increment_percent more each time,
 * up to max_percent. trigger_percent also tells auto when to go on to postcopy, is_on or not. */
struct gw_throttle {
    bool is_on;
    uint32_t trigger_percent, initial_percent, increment_percent, max_percent; /* 1..99 (or 100) */
    bool is_tail_slow; /* the increment is never more than what the dirty rate still calls for */
};

struct gw_source_config {
    struct gw_session session;   /* fresh and random */
    struct gw_session withdrawn; /* of the last try that failed, or zero */
    char guest_name[GW_NAME_BYTES];
    const struct gw_facts *facts; /* outlives the engine's use */
    uint64_t page_count;          /* 1..GW_PAGES_MAX */
    uint32_t page_bytes;          /* a power of two, >= GW_PAGE_BYTES_MIN */
    uint64_t downtime_ns_max;     /* default 300 ms */
    uint64_t bandwidth_max;       /* bytes a second; 0: no limit */
    uint64_t resume_ns_max;       /* how long to try again when the link is lost before COMMIT,
                                     counted from the last progress; 0: not at all. And to say
                                     DONE again: 2 s at least */
    uint64_t deadline_ns;         /* from START on; 0: none */
    enum gw_on_deadline on_deadline;
    struct gw_throttle throttle;
    bool is_auto;                    /* may switch to postcopy by itself, when rounds alone, with
                                        the guest slowed down by GW_AUTO_THROTTLE_PERCENT at most,
                                        do not get it there */
    bool is_pausing;                 /* ask before the guest is stopped: PRE_SWITCHOVER, CONTINUE */
    bool is_ack_ignored;             /* do not wait for the target's devices */
    uint64_t handover_ns;            /* what stopping, saving, loading and starting take, by the
                                        owner's estimate; it counts into the downtime */
    bool is_verifying;               /* compare digests of RAM while the guest is stopped */
    bool is_postcopy;                /* switch as soon as the target has been told of all holes */
    uint64_t postcopy_bandwidth_max; /* of pushed pages; demanded ones are exempt. 0: no limit */
    uint64_t recover_ns_max; /* postcopy: how long a lost link is tried again before the guest is
                                taken for lost; 0: for ever */
    uint32_t channel_count; /* bulk channels, 1..GW_BULK_CHANNELS_MAX; the target may take fewer. 0:
                               1 */
    bool is_releasing;      /* postcopy: pages that the target has are given back here
                               (gw_source_next_release): then this copy never runs again */
    uint32_t own_unit_pages;   /* of this side's RAM (godwit/ram.h); 0: 1 */
    enum gw_compress compress; /* where the target can unpack */
    bool is_ram_shared; /* the target has the very same memory: no page travels, and from COMMIT on
                           this copy is worth nothing. The target's config says so too, and the
                           facts name the memory, so that no two sides think differently. Nothing
                           of pages, verification, postcopy or trying again applies */
};

#define GW_FURTHER_ROUNDS_MAX    8  /* begun although what is left fits into the downtime limit */
#define GW_AUTO_THROTTLE_PERCENT 50 /* auto: a guest is not slowed down by more than that */

/* One round, once it is over. */
struct gw_source_round {
    uint64_t number;      /* 1, 2, 3 ... */
    uint64_t sent_pages;  /* in it, zero pages too */
    uint64_t dirty_pages; /* that the guest made dirty meanwhile */
    uint64_t took_ns;
    uint64_t bandwidth;        /* acknowledged, at its end */
    uint32_t throttle_percent; /* while it lasted */
};
enum { GW_SOURCE_ROUNDS_KEPT = 16 };

/* How pages are packed, and what came of it. */
struct gw_packing_figures {
    enum gw_compress wish;
    enum gw_packing packing;
    enum gw_packing_reason reason;
    uint64_t raw_bytes, packed_bytes; /* of all that was packed: before, and after */
    uint64_t pack_rate, link_rate;    /* bytes a second: of pages packed as they are now, or by
                                         what was looked at; the link's. 0: not known */
    uint32_t permille;                /* what is left of a page, as they are packed now, or by
                                         what was looked at */
};

/* Figures for status and reports. Bytes, pages and nanoseconds; 0 where not known yet. */
struct gw_source_figures {
    enum gw_source_state state;
    bool is_link_lost;  /* before COMMIT, in postcopy, or under DONE: it is being tried again */
    const char *status; /* QEMU's MigrationStatus */
    uint64_t total_ns, setup_ns;
    uint64_t downtime_ns;          /* halted to RUNNING heard, without verify_ns; once known */
    uint64_t verify_ns;            /* of it all, spent on digests while stopped */
    uint64_t expected_downtime_ns; /* what is left at the acknowledged bandwidth, and handover_ns */
    uint64_t handover_ns;          /* of it, all but pages: stop, state, round trips */
    uint64_t threshold_bytes;      /* of pages left, at which it hands over */
    uint64_t round_trip_ns;        /* from a batch sent to its acknowledgement, at best; 0: none */
    uint32_t channel_count;        /* bulk channels; 0: the target has not said yet */
    uint32_t history_count;
    struct gw_source_round history[GW_SOURCE_ROUNDS_KEPT]; /* the last rounds, the oldest first */
    uint64_t wire_bytes, raw_pages, zero_pages, repeat_pages;
    uint64_t stopped_bytes; /* of wire_bytes, while the guest stood still */
    uint64_t remaining_pages, total_pages;
    uint64_t rounds;
    uint64_t dirty_pages_per_s; /* of the last round */
    uint32_t throttle_percent;  /* of their time that the guest's CPUs lose now */
    uint64_t bandwidth;         /* acknowledged bytes of pages a second, or the limit, if less */
    uint64_t resumes;           /* times it went on after a lost link */
    uint64_t resent_pages;      /* of pages, sent before and not acknowledged when it was lost */
    uint64_t epoch;
    uint64_t demands;          /* pages sent because the guest stood still for them */
    uint64_t postcopy_bytes;   /* of wire_bytes, since the guest runs there */
    uint64_t recoveries;       /* postcopy: times it went on after a lost link */
    struct gw_waiting waiting; /* what the guest felt of a postcopy, once it is over */
    uint64_t released_pages;   /* given back here, because the target has them */
    struct gw_packing_figures packing;
    bool is_releasing;  /* what the target has is given back here as it goes */
    bool is_postcopy;   /* switched, or about to */
    bool is_lost_there; /* by the target's word: the guest died there without all of its memory */
    bool is_held;       /* COMMIT sent, outcome unknown */
    bool can_give_up, can_run_anyway; /* resolve, without a token: what would be granted now */
    bool is_verified;                 /* every digest was sent and none differed */
    bool is_different;                /* one did */
};

struct gw_source;

void gw_source_init(struct gw_source *source, const struct gw_source_config *config);

/* Tells the engine. GW_OK, or for OPERATOR events GW_ARGUMENT with a sentence (in `fault`) that
 * says why not now and what can be done. */
GW_MUST_USE enum gw_status gw_source_handle(struct gw_source *source,
                                            const struct gw_source_event *event,
                                            struct gw_fault *fault);

/* True when gw_source_next has something. */
bool gw_source_has_action(const struct gw_source *source);

/* The next thing to do, or GW_AGAIN. */
GW_MUST_USE enum gw_status gw_source_next(struct gw_source *source,
                                          struct gw_source_action *action);

/* False: there are no pages to send, whatever the channel, before another event. */
bool gw_source_is_sending(const struct gw_source *source);

/* The next pages for that bulk channel, or GW_AGAIN: then ask again after the next event behind
 * which gw_source_is_sending, or at *retry_ns (UINT64_MAX: only after an event). */
GW_MUST_USE enum gw_status gw_source_next_batch(struct gw_source *source, uint32_t channel,
                                                uint64_t now_ns, struct gw_batch *batch,
                                                uint64_t *retry_ns);

/* DEMAND came on the urgent channel: *batch is what to read and send there, before anything else,
 * one run, in as many BATCHes as it takes; then gw_source_answered, or gw_source_not_answered when
 * that could not be sent. GW_PROTOCOL when the page does not exist or is no unit's first, or none
 * can be wanted.
 * gw_source_answered: true when a bulk channel gave way, and may be asked again now. */
GW_MUST_USE enum gw_status gw_source_demand(struct gw_source *source, uint64_t page,
                                            struct gw_batch *batch, struct gw_fault *fault);
bool gw_source_answered(struct gw_source *source, const struct gw_batch_sent *sent);
void gw_source_not_answered(struct gw_source *source);

/* The next pages, at most run_pages of them, whose memory is to be given back (gw_ram_release), by
 * any thread, outside the lock, while no thread of a link that was given up may still send. They
 * are gone as soon as this returns. GW_AGAIN: none now, and none as long as the link of a postcopy
 * is lost, nor between COMPLETE and DONE. */
GW_MUST_USE enum gw_status gw_source_next_release(struct gw_source *source, uint64_t run_pages,
                                                  struct gw_run *run);

/* The pages that wait to be sent, GW_BITMAP_WORDS; for GW_BATCH_MAP, those that come after the
 * switch. */
const uint64_t *gw_source_missing(const struct gw_source *source);

/* How many bulk channels they travel by; known from BULK_UP on. */
uint32_t gw_source_channels(const struct gw_source *source);

/* How often a look of the tracker has added to them. */
uint64_t gw_source_collects(const struct gw_source *source);

/* When the next TICK is due; UINT64_MAX: none. */
uint64_t gw_source_deadline(const struct gw_source *source);

/* Changes limits while it runs (0 for bandwidths: none). */
void gw_source_set_limits(struct gw_source *source, uint64_t downtime_ns_max,
                          uint64_t bandwidth_max, uint64_t postcopy_bandwidth_max);

enum gw_source_state gw_source_state(const struct gw_source *source);
enum gw_runner gw_source_runner(const struct gw_source *source);
void gw_source_figures(const struct gw_source *source, uint64_t now_ns,
                       struct gw_source_figures *figures);

/* Why it failed, was cancelled or is held; while the link is lost, what broke it first. Status
 * GW_OK when there is no reason. */
const struct gw_fault *gw_source_fault(const struct gw_source *source);

/* The token to print after GIVE_UP was taken. */
void gw_source_token(const struct gw_source *source, struct gw_token *token);

/* GW_OK when `token` is the target's word on this very epoch; else GW_ARGUMENT. */
GW_MUST_USE enum gw_status gw_source_check_token(const struct gw_source *source,
                                                 const struct gw_token *token,
                                                 struct gw_fault *fault);

const char *gw_source_state_name(enum gw_source_state state);
const char *gw_source_status_name(enum gw_source_state state);

/* The storage. Its fields are the engine's own; only gw_source_* functions touch them. */
enum { GW_SOURCE_ACTIONS_MAX = 24 }; /* more than any one event can ask for at once */

/* Of a batch that was picked and not acknowledged yet. */
struct gw_flight {
    uint64_t picked_ns;
    uint32_t raw_pages; /* once it is sent */
};

struct gw_source {
    struct gw_source_config config;
    enum gw_source_state state;
    struct gw_fault fault;
    uint32_t generation;
    uint64_t epoch;
    bool is_linked;     /* the control channel is up */
    bool is_tracking;   /* TRACK was asked for */
    bool is_collecting; /* COLLECT was asked for and not answered */
    bool is_departing;  /* LEAVING was recorded, or asked to be */
    bool is_stopped;    /* STOP was asked for: RESUME is owed on the way back */
    bool is_switching;  /* judged: what is left fits into the downtime limit */
    bool wants_ack;     /* the target says when its devices are ready, and is waited for */
    bool is_acked;      /* they are, since the link was last opened; or nobody waits for them */
    bool is_continued;  /* the operator said so */
    bool is_round_open; /* a round is under way: it goes to the history when it is over */
    uint32_t explained; /* bit per enum gw_source_choice that is said only once */
    bool is_verified, is_different;
    bool is_postcopy;   /* no page is sent any more before the switch */
    bool is_partial;    /* stopped, with pages that come after the switch */
    bool is_map_told;   /* MISSING was picked */
    bool can_postcopy;  /* the target's word */
    bool is_lost_there; /* so is this: the guest ran there, and died without all of its memory */
    bool is_bulk_up;
    uint32_t demands_open;   /* being answered: the bulk channels give way */
    struct gw_run answering; /* being read for one of them; count 0: none */
    bool has_given_way;      /* one asked meanwhile, and got nothing */
    uint64_t demands, postcopy_bytes, recoveries;
    struct gw_waiting waiting; /* by COMPLETE */
    uint64_t retry_ns;         /* back-off while the link is lost */
    uint64_t lost_ns;    /* when it was lost, if nothing came of it since (lost.h); 0: it was not */
    uint64_t resumed_ns; /* when it was last back */
    uint64_t lacked;     /* pages, by the last RECEIVED; 0: none came */
    uint64_t resumes, resent_pages;
    uint32_t records_owed; /* RECORD asked for and not answered */
    uint64_t limit_ns;     /* the state's own limit; 0: none */
    uint64_t start_ns, setup_ns, round_ns, halted_ns, end_ns, downtime_ns;
    uint64_t verify_start_ns, verify_ns;
    uint64_t rounds, dirty_pages_per_s;
    uint64_t round_pages;      /* sent before this round began */
    uint64_t dirtied_pages;    /* in the last whole round */
    uint32_t throttle_percent; /* what was asked for last */
    uint32_t further_rounds;   /* begun although what was left fitted */
    uint32_t slow_rounds;      /* that dirtied too much, since throttling was last increased */
    uint32_t spared_percent, spared_rounds; /* these two when the link was lost */
    bool is_late;                           /* the deadline's action is due, or was begun */
    uint64_t wire_bytes, raw_pages, zero_pages, repeat_pages, stopped_bytes;
    uint32_t probe_channel;
    uint64_t probe_sequence, probe_bytes, probe_ns, round_trip_ns; /* of one batch, now and then */
    uint64_t history_total;
    struct gw_source_round history[GW_SOURCE_ROUNDS_KEPT]; /* round i at i % ROUNDS_KEPT */
    struct gw_pace pace;
    uint64_t taken_bytes[GW_BULK_CHANNELS_MAX]; /* of the limit, by a batch that is not sent yet */
    struct gw_flight flight[GW_BULK_CHANNELS_MAX]
                           [GW_WINDOW_BATCHES]; /* by sequence, as windows are */
    struct gw_compression compression;
    struct gw_pages pages;
    struct gw_release release;
    uint32_t action_first, action_count;
    struct gw_source_action action[GW_SOURCE_ACTIONS_MAX];
    uint8_t row_taken[GW_SOURCE_STATE_COUNT][GW_SOURCE_EVENT_COUNT]; /* coverage: 1 when taken */
};

#endif
