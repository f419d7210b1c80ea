/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target engine: receives a guest, and takes it only on COMMIT (docs/HANDOVER.md).
 *
 * Events in, actions out, as for the source (godwit/source.h). The embedder accepts connections,
 * reads the INTRO of each, and hands it in; the engine admits or turns away. A bulk channel's
 * thread asks before it places a batch (gw_target_may_place) and tells when it has
 * (GW_TARGET_EV_BATCH).
 *
 * Memory: struct gw_target, the caller's. Threads, time: as for the source.
 */
#ifndef GODWIT_TARGET_H
#define GODWIT_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/blocktime.h"
#include "godwit/message.h"
#include "godwit/record.h"
#include "godwit/source.h"
#include "godwit/status.h"

/* States: name, who may run the guest as far as this side knows, QEMU's MigrationStatus. */
#define GW_TARGET_STATES(S)                                                                       \
    S(NONE, SOURCE, "none")         /* not started */                                             \
    S(RECALLING, SOURCE, "none")    /* sessions of a former life are being recorded as aborted */ \
    S(LISTENING, SOURCE, "none")    /* waits for a source */                                      \
    S(NEGOTIATING, SOURCE, "setup") /* introduced; waits for HELLO */                             \
    S(OPENING, SOURCE, "setup")     /* the session is being recorded, RAM emptied */              \
    S(ACTIVE, SOURCE, "active")     /* receives pages */                                          \
    S(AWAITING, SOURCE, "setup")    /* link lost before READY: keeps RAM, waits for the source */ \
    S(GATHERING, SOURCE, "active")  /* PREPARE is here; waits for the last batches */             \
    S(ARMING, NOBODY, "device")     /* postcopy: missing pages are being made to be noticed */    \
    S(LOADING, NOBODY, "device")    /* the machine's state is being loaded */                     \
    S(READY, NOBODY, "device")      /* loaded; may not run without COMMIT */                      \
    S(TAKING, NOBODY, "device")     /* COMMIT heard; `took` is being recorded */                  \
    S(CLAIMING, NOBODY, "device")   /* the operator says run: `took` is being recorded; when that \
                                       cannot be, back to READY */                                \
    S(STARTING, TARGET, "device")   /* recorded: ours; the guest is being started */              \
    S(PULLING, TARGET, "postcopy-active")  /* ours; pages of it lack still */                     \
    S(STRANDED, TARGET, "postcopy-paused") /* the same, link lost: waits for the source */        \
    S(RUNNING, TARGET, "completed")        /* ours; the source has not said DONE yet */           \
    S(DONE, TARGET, "completed")           /* ours, and the source knows */                       \
    S(LOST, TARGET, "failed")              /* ours, and the pages that lack will never come */    \
    S(ABORTING, SOURCE, "device")          /* ABORTED is being recorded, then said */

#define GW_TARGET_STATE_ENUM(name, runner, status) GW_TARGET_##name,
enum gw_target_state { GW_TARGET_STATES(GW_TARGET_STATE_ENUM) GW_TARGET_STATE_COUNT };
#undef GW_TARGET_STATE_ENUM

#define GW_TARGET_EVENTS(E)                                                                    \
    E(START, OPERATOR)                                                                         \
    E(GIVE_UP, OPERATOR)    /* resolve: this epoch never runs here */                          \
    E(RUN_ANYWAY, OPERATOR) /* resolve: run here; token checked, or the operator was warned */ \
    E(FORGET, OPERATOR)     /* resolve: runs already; do not wait for DONE any longer */       \
    E(INTRO, HOST)          /* a candidate connection introduced itself; becomes one of: */    \
    E(LINK_LOST, HOST)      /* a connection of the session failed; `fault`. All are closed */  \
    E(RECORDED, HOST)       /* answer to RECORD */                                             \
    E(ARMED, HOST)          /* answer to ARM */                                                \
    E(LOADED, HOST)         /* answer to LOAD */                                               \
    E(STARTED, HOST)        /* answer to RUN */                                                \
    E(HOST_FAULT, HOST)     /* an action could not be done; `fault` */                         \
    E(BATCH, HOST)          /* a batch was read and placed; `placed` */                        \
    E(VERIFIED, HOST)       /* a stretch was digested; `verified` */                           \
    E(MAP, HOST)            /* MISSING was read; `map` */                                      \
    E(DEVICE_READY, HOST)   /* one answer to PREPARE_DEVICES */                                \
    E(TICK, HOST)                                                                              \
    E(MESSAGE, HOST)       /* a message came on the control channel; becomes one of these: */  \
    E(INTRO_NEW, PEER)     /* INTRO, control, a session not known */                           \
    E(INTRO_SAME, PEER)    /* INTRO, control, the session at hand, of a newer generation */    \
    E(INTRO_RESUME, PEER)  /* INTRO, control, the same: it was not committed and goes on */    \
    E(INTRO_BULK, PEER)    /* INTRO, bulk, of the session at hand */                           \
    E(INTRO_URGENT, PEER)  /* INTRO, urgent, of the session at hand */                         \
    E(INTRO_REPLACE, PEER) /* INTRO, control, a new session that withdraws the one at hand */  \
    E(HELLO, PEER)                                                                             \
    E(PREPARE, PEER)                                                                           \
    E(COMMIT, PEER)                                                                            \
    E(ABORT, PEER)                                                                             \
    E(DONE, PEER)                                                                              \
    E(MISFIT, SELF)     /* facts differ */                                                     \
    E(BREACH, SELF)     /* the link was given up because the source broke the protocol */      \
    E(TIME_OUT, SELF)   /* the state's own limit has passed */                                 \
    E(GATHERED, SELF)   /* all batches up to the last are placed */                            \
    E(PARTIAL, SELF)    /* the same, and pages lack as the source said */                      \
    E(PULLS, SELF)      /* STARTED, of a guest whose pages lack */                             \
    E(WHOLE, SELF)      /* none lacks any more */                                              \
    E(INCOMPLETE, SELF) /* they are, but a page was never validly received */

#define GW_TARGET_EVENT_ENUM(name, origin) GW_TARGET_EV_##name,
enum gw_target_event_type { GW_TARGET_EVENTS(GW_TARGET_EVENT_ENUM) GW_TARGET_EVENT_COUNT };
#undef GW_TARGET_EVENT_ENUM

struct gw_batch_placed {
    bool is_urgent; /* on the urgent channel; else on this bulk channel: */
    uint32_t channel;
    uint64_t sequence;
    uint32_t starved_us;                /* bulk: as ACK tells it (godwit/message.h) */
    bool is_suspect;                    /* the payload did not match its CRC; never in postcopy */
    const struct gw_batch_table *table; /* during the call */
    struct gw_run whole; /* where pages are placed by larger units: the one that was placed with
                            this batch; count 0: none yet, its pages were put aside */
};

struct gw_map_read {
    uint64_t sequence;       /* of bulk channel 0 */
    const uint64_t *missing; /* GW_BITMAP_WORDS, during the call */
};

struct gw_verified {
    uint32_t channel;
    uint64_t sequence;
    struct gw_verify theirs;
    uint64_t digest_ours;
};

struct gw_target_event {
    enum gw_target_event_type type;
    uint64_t now_ns;
    union {
        const struct gw_fault *fault;     /* LINK_LOST, HOST_FAULT */
        const struct gw_message *message; /* INTRO, MESSAGE */
        struct gw_batch_placed placed;    /* BATCH */
        struct gw_verified verified;      /* VERIFIED */
        struct gw_map_read map;           /* MAP */
    };
};

enum gw_target_action_type {
    GW_TARGET_DO_ADMIT,        /* the candidate becomes the session's control channel */
    GW_TARGET_DO_ADMIT_BULK,   /* the candidate becomes bulk channel `channel`: send `message` on
                                  it (WELCOME), then, when `has_map`, the map of received pages
                                  (gw_target_received), then read it on a thread of its own */
    GW_TARGET_DO_ADMIT_URGENT, /* the same for the urgent channel */
    GW_TARGET_DO_TURN_AWAY,    /* send `message` on the candidate and close it */
    GW_TARGET_DO_SEND,         /* send `message` on the control channel */
    GW_TARGET_DO_CLOSE,        /* close all the session's channels after flushing; no thread reads
                                  into guest RAM when this is done */
    GW_TARGET_DO_ARM,          /* make holes of all pages that are not received, see that they are,
                                  and have every fault on a missing page told from now on
                                  (gw_target_page_fault); answer ARMED or HOST_FAULT */
    GW_TARGET_DO_DISARM,       /* the opposite; all channels are closed */
    GW_TARGET_DO_PREPARE_DEVICES, /* do ahead what each device needs before it can take the guest;
                                  answer DEVICE_READY config.device_count times, or HOST_FAULT */
    GW_TARGET_DO_RECORD,          /* store `history` so that it survives; answer RECORDED or
                                     HOST_FAULT */
    GW_TARGET_DO_LOAD,            /* load the state that came with PREPARE; answer LOADED or
                                     HOST_FAULT */
    GW_TARGET_DO_RUN,             /* set the guest's counter on by `elapsed_ns` (since the state was
                                     saved) and start it, if `is_running`; answer STARTED, or
                                     HOST_FAULT when no vCPU ran an instruction */
    GW_TARGET_DO_STATUS,          /* the status changed (for events) */
    GW_TARGET_DO_FINISH, /* the session is over: DONE (the guest is ours for good), LOST, or
                            LISTENING again (`fault` of the engine says why); or NONE: the first
                            record failed, and it could not begin to listen */
};

struct gw_target_action {
    enum gw_target_action_type type;
    uint8_t channel;
    bool is_running; /* RUN */
    bool has_map;    /* ADMIT_BULK */
    uint64_t elapsed_ns;
    const char *status; /* STATUS: the new one; it may be past already */
    union {
        struct gw_message message;
        struct gw_history history;
    };
};

struct gw_target_config {
    const struct gw_facts *facts; /* ours; outlives the engine's use */
    uint64_t page_count;
    uint32_t page_bytes;
    uint32_t unit_pages;     /* what is placed as one (godwit/ram.h), a power of two that divides
                                page_count; 0: 1 */
    uint32_t vcpu_count;     /* for the blocktime; 0: not known */
    bool can_postcopy;       /* ARM can be done on this host */
    uint32_t device_count;   /* that must be ready (DEVICE_READY) before the source stops the
                                guest; 0: it need not ask */
    uint64_t recover_ns_max; /* how long a stranded guest waits for its source; 0: for ever */
    bool is_ram_shared;      /* RAM is the very same as the source's (source.h): all of it is here,
                                and none of it is touched before RUN: no pages */
    struct gw_history history; /* read from the state directory */
};

struct gw_target_figures {
    enum gw_target_state state;
    const char *status;
    uint64_t total_ns;
    uint64_t round_trip_ns; /* READY said to COMMIT heard; 0: not yet */
    uint64_t epoch;
    bool is_postcopy;       /* it came, or comes, by postcopy */
    uint64_t missing_pages; /* that lack still, of a guest that runs here or will */
    uint64_t demands;       /* pages that were asked for */
    uint64_t recoveries;    /* postcopy: times it went on after a lost link */
    uint64_t postcopy_ns;   /* from the first instruction here until no page lacked */
    struct gw_blocktime blocktime;
    bool is_held;        /* READY or later, without COMMIT: it may be needed */
    bool can_run_anyway; /* and all of it is here: resolve would run it */
    bool is_unsettled;   /* runs here, DONE not heard */
};

struct gw_target;

void gw_target_init(struct gw_target *target, const struct gw_target_config *config);
GW_MUST_USE enum gw_status gw_target_handle(struct gw_target *target,
                                            const struct gw_target_event *event,
                                            struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_target_next(struct gw_target *target,
                                          struct gw_target_action *action);

/* True when gw_target_next has something. */
bool gw_target_has_action(const struct gw_target *target);

/* True when all it has is the acknowledgement of a few batches: that may wait for
 * more of them, unless the source waits for it. */
bool gw_target_may_wait(const struct gw_target *target);

/* How a batch gets into guest RAM. */
enum gw_placing {
    GW_PLACE_DIRECT, /* the guest does not run: as it comes, into RAM */
    GW_PLACE_STAGED, /* it runs, or is about to: whole and checked, page by page, where none is; by
                        larger units where there are such (godwit/assembly.h) */
    GW_PLACE_NOT,    /* all is here already: read it, and do not look */
};

/* In these two `channel` is a bulk channel's number, or GW_TARGET_URGENT. */
#define GW_TARGET_URGENT UINT32_MAX

/* May this batch, VERIFY or MISSING of a channel be read now, and how? GW_PROTOCOL when its
 * number is not the next one or none is expected. Ask before the first byte is read into RAM. */
GW_MUST_USE enum gw_status gw_target_may_place(struct gw_target *target, uint32_t channel,
                                               uint64_t sequence, enum gw_placing *placing,
                                               struct gw_fault *fault);

/* May these pages come? GW_PROTOCOL on the urgent channel when they were not asked for, on a bulk
 * channel when they belong to another, and on any when they are called gone. */
GW_MUST_USE enum gw_status gw_target_check_pages(const struct gw_target *target, uint32_t channel,
                                                 const struct gw_batch_table *table,
                                                 struct gw_fault *fault);

/* May this be MISSING? GW_PROTOCOL when it is not of whole units. */
GW_MUST_USE enum gw_status gw_target_check_missing(const struct gw_target *target,
                                                   const uint64_t *missing, struct gw_fault *fault);

/* What to do about a fault on a missing page. */
enum gw_fault_answer {
    GW_FAULT_WAIT,   /* it is on its way, or will be asked for when there is a channel again */
    GW_FAULT_DEMAND, /* send DEMAND on the urgent channel */
    GW_FAULT_ZERO,   /* it was received as zero, or is there already: place zeros, or wake */
};

/* Thread `who` (the kernel's id) waits for a page; page < page_count. What is to be demanded, or
 * placed, is its unit, whose first page is gw_target_unit_of. */
enum gw_fault_answer gw_target_page_fault(struct gw_target *target, uint64_t page, uint32_t who,
                                          uint64_t now_ns);
uint64_t gw_target_unit_of(const struct gw_target *target, uint64_t page);

/* WELCOME was said on the urgent channel: DEMANDs may follow, first those of all pages that
 * somebody waits for already (gw_target_next_demand). */
void gw_target_urgent_ready(struct gw_target *target);

/* The next page that somebody waits for and that was not asked for on this urgent channel, at or
 * after *page: GW_OK, to be demanded. GW_AGAIN: none. */
GW_MUST_USE enum gw_status gw_target_next_demand(struct gw_target *target, uint64_t *page);

/* Of a batch on the urgent channel: is it the last one that answers its DEMAND? A larger unit takes
 * several, which end where it ends. Needs no lock. */
bool gw_target_is_answer(const struct gw_target *target, const struct gw_batch_placed *placed);

/* That page's unit, known to be zero, was placed. */
void gw_target_zero_placed(struct gw_target *target, uint64_t page, uint64_t now_ns);

/* A bit per page that is here in its last version, GW_BITMAP_WORDS. */
const uint64_t *gw_target_received(const struct gw_target *target);

uint64_t gw_target_deadline(const struct gw_target *target);
enum gw_target_state gw_target_state(const struct gw_target *target);
enum gw_runner gw_target_runner(const struct gw_target *target);
void gw_target_figures(const struct gw_target *target, uint64_t now_ns,
                       struct gw_target_figures *figures);

/* Why the last session ended without the guest. */
const struct gw_fault *gw_target_fault(const struct gw_target *target);

void gw_target_token(const struct gw_target *target, struct gw_token *token);
GW_MUST_USE enum gw_status gw_target_check_token(const struct gw_target *target,
                                                 const struct gw_token *token,
                                                 struct gw_fault *fault);

const char *gw_target_state_name(enum gw_target_state state);
const char *gw_target_status_name(enum gw_target_state state);

/* The storage. Its fields are the engine's own; only gw_target_* functions touch them. */
enum { GW_TARGET_ACTIONS_MAX = 24 };

/* One bulk channel's part. */
struct gw_target_channel {
    bool is_open;
    uint64_t sequence, sequence_told; /* placed; acknowledged */
    uint64_t sequence_asked;          /* may be on its way into RAM */
    uint64_t sequence_last;           /* PREPARE: the channel's last number */
    uint32_t starved_us;              /* up to the last batch */
    uint32_t suspect_first, suspect_count;
    uint64_t suspect[GW_WINDOW_BATCHES]; /* to be told before they are acknowledged */
};

struct gw_target {
    struct gw_target_config config;
    enum gw_target_state state;
    struct gw_fault fault;
    struct gw_history history;
    struct gw_session session; /* at hand, or the last one */
    uint64_t epoch;            /* of the last PREPARE */
    uint32_t generation;
    bool is_linked;
    bool is_urgent_open, is_urgent_ready;
    bool is_armed;            /* ARM was asked for, and DISARM not yet */
    bool is_map_told;         /* MISSING was read since the session was (re)opened */
    bool is_partial;          /* PREPARE: pages lack; they come while the guest runs */
    uint32_t missing_told;    /* PREPARE: how many */
    uint32_t devices_pending; /* not ready yet for the guest of this session */
    bool is_loaded;           /* LOAD was asked for since they were made ready */
    uint64_t urgent_sequence; /* answers placed on this urgent channel */
    uint64_t demands, recoveries, started_ns, whole_ns;
    struct gw_blocktime blocktime;
    bool is_mismatched;     /* a digest differed */
    bool is_guest_running;  /* PREPARE: it ran when it was stopped */
    uint32_t records_owed;  /* RECORD asked for and not answered */
    uint32_t channel_count; /* bulk channels of the session */
    uint64_t limit_ns;      /* the state's own limit; 0: none */
    uint64_t start_ns, end_ns, prepared_ns, elapsed_ns, elapsed_from_ns;
    uint64_t stranded_ns;   /* postcopy: when, if no page came since; 0: it was not */
    uint64_t recovered_ns;  /* when it last had a link again */
    uint64_t asked_ns;      /* READY was last said */
    uint64_t round_trip_ns; /* from there to COMMIT */
    uint64_t missing;       /* pages not validly received yet */
    struct gw_facts theirs;
    uint32_t action_first, action_count;
    struct gw_target_action action[GW_TARGET_ACTIONS_MAX];
    uint8_t row_taken[GW_TARGET_STATE_COUNT][GW_TARGET_EVENT_COUNT]; /* coverage */
    struct gw_target_channel channel[GW_BULK_CHANNELS_MAX];
    uint64_t received[GW_BITMAP_WORDS]; /* validly, in the latest version sent */
    uint64_t wanted[GW_BITMAP_WORDS];   /* somebody waits for it */
    uint64_t demanded[GW_BITMAP_WORDS]; /* asked for on this urgent channel, and not answered */
};

#endif
