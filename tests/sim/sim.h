/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: both engines in one thread, a link of connections with latency and bandwidth, two
 * hosts that can crash, operators, and a guest whose every step can tell whether history forked or
 * a page was lost.
 *
 * One struct world holds everything; nothing depends on anything but the plan (a seed, options, a
 * list of faults), so one line replays any run. Time is virtual.
 */
#ifndef GW_SIM_H
#define GW_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/arming.h"
#include "godwit/assembly.h"
#include "godwit/page_map.h"
#include "godwit/source.h"
#include "godwit/target.h"

#define SIM_MS    UINT64_C(1000000)
#define SIM_S     (1000 * SIM_MS)
#define SIM_NEVER UINT64_MAX

/* As the drive has it: a third of the idle time to wonder, two thirds for an answer; a lost
 * packet's sender gives up after as long (TCP_USER_TIMEOUT), so does who only listens (keepalive).
 */
#define SIM_IDLE_NS    (10 * SIM_S)
#define SIM_CONNECT_NS (10 * SIM_S)
#define SIM_INTRO_NS   (5 * SIM_S)
#define SIM_WELCOME_NS (30 * SIM_S)

enum {
    SIM_PAGES = 64,
    SIM_RAM_BYTES = 1 << 20,
    SIM_VCPUS = 2,
    SIM_SLOTS = 64, /* frames under way in one direction of a connection */
    SIM_FRAME_BYTES = GW_FRAME_HEADER_BYTES + GW_BATCH_PAYLOAD_BYTES_MAX,
    SIM_CONNECTIONS = 24,
    SIM_BULK = GW_BULK_CHANNELS_MAX,
    SIM_FAULTS_MAX = 8,
    SIM_ANSWERS = 8,
    SIM_PLAN_BYTES = 1024,
    SIM_JOBS_MAX = 64,
    SIM_UNIT_BATCH = 3, /* pages of a batch, where the target places units: each takes several */
    SIM_DEVICES = 2,
};

enum side { SOURCE = 0, TARGET = 1 };

/* ---- What a run is made of ---- */

/* Options: all drawn from the seed unless the plan says otherwise. 0 means none, or off. */
#define SIM_OPTIONS(O)                                                                   \
    O(pages)          /* of guest RAM */                                                 \
    O(page_bytes)     /* of one of them */                                               \
    O(vcpus)          /* that run the guest */                                           \
    O(channels)       /* bulk channels that its source wants */                          \
    O(paused)         /* 1: its operator stopped the guest before it leaves */           \
    O(calm)           /* the guest does something in one of so many turns */             \
    O(step_us)        /* of time that every step of the world takes */                   \
    O(host_us)        /* at most: how long a host takes for what an engine asks */       \
    O(latency_us)     /* at most: of a connection, each way its own */                   \
    O(rate)           /* bytes a second of each connection */                            \
    O(stall_one_in)   /* frames, one of which is held up... */                           \
    O(stall_ms)       /* ...for so long at most, with all behind it on its connection */ \
    O(corrupt_one_in) /* batches, one of which arrives with a damaged page */            \
    O(damage_one_in)  /* frames of any kind, one of which arrives damaged anywhere */    \
    O(downtime_ms)    /* limit of the downtime */                                        \
    O(limit)          /* bytes a second that the source may send */                      \
    O(push_limit)     /* the same in postcopy */                                         \
    O(resume_ms)      /* how long a link is tried again before COMMIT */                 \
    O(recover_ms)     /* how long in postcopy, by the source */                          \
    O(strand_ms)      /* how long the target waits for it */                             \
    O(deadline_ms)    /* of the whole migration */                                       \
    O(on_deadline)    /* enum gw_on_deadline */                                          \
    O(throttle)       /* 1: a guest that is too fast is slowed down */                   \
    O(verify)         /* 1: digests of RAM are compared */                               \
    O(postcopy)       /* 1: from the start */                                            \
    O(can_postcopy)   /* 1: the target's host can */                                     \
    O(misfit)         /* 1: the target is another machine */                             \
    O(patient)        /* 1: the target never tires of waiting */                         \
    O(linger_ms)      /* between the last fault and the quiet */                         \
    O(unit)           /* pages that the target places as one, if they divide its RAM */  \
    O(own_unit)       /* the same of the source's own RAM */                             \
    O(release)        /* 1: the source gives back what the target has, in postcopy */    \
    O(pausing)        /* 1: the source asks before it stops the guest... */              \
    O(hold_ms)        /* ...and its operator answers within so long, or in the quiet */  \
    O(devices)        /* of the target that must be ready before */                      \
    O(device_ms)      /* at most: how long one of them takes */                          \
    O(stuck_devices)  /* that are never ready */                                         \
    O(no_ack)         /* 1: the source does not wait for them */                         \
    O(handover_ms)    /* that the source's owner takes its own part to last */           \
    O(is_auto)        /* 1: it may switch to postcopy by itself */                       \
    O(compress)       /* enum gw_compress */                                             \
    O(shared)         /* 1: both sides are processes of one host, with one memory */

struct options {
#define SIM_OPTION(name) uint64_t name;
    SIM_OPTIONS(SIM_OPTION)
#undef SIM_OPTION
};

/* Faults, by the name a plan calls them. */
#define SIM_FAULTS(F)                                                                             \
    F(CUT, "cut")                             /* all connections; all under way is lost */        \
    F(CUT_TO_TARGET, "cut-to-target")         /* what is under way to the target still arrives */ \
    F(CUT_TO_SOURCE, "cut-to-source")         /* the same, to the source */                       \
    F(CUT_SEEN_BY_SOURCE, "half-open-target") /* the target hears nothing of it */                \
    F(CUT_SEEN_BY_TARGET, "half-open-source") /* the source hears nothing of it */                \
    F(CUT_UNSEEN, "half-open")                /* both go by each other's silence */               \
    F(CUT_BULK, "cut-bulk")                   /* only that connection */                          \
    F(CUT_URGENT, "cut-urgent")                                                                   \
    F(CUT_CONTROL, "cut-control")                                                                 \
    F(OUTAGE, "outage")               /* cut, and nobody can connect for minutes */               \
    F(DEAF_TARGET, "deaf-target")     /* one-way partition: nothing reaches the target */         \
    F(DEAF_SOURCE, "deaf-source")     /* nothing reaches the source */                            \
    F(STALL_CONTROL, "stall-control") /* that connection stands still for seconds */              \
    F(STALL_BULK, "stall-bulk")                                                                   \
    F(STALL_URGENT, "stall-urgent")                                                               \
    F(HOLD_BULK, "hold-bulk")           /* until something else happened, in order of seconds */  \
    F(CRASH_SOURCE, "crash-source")     /* its process; the guest dies with it */                 \
    F(LOSE_SOURCE, "lose-source")       /* its host: nobody is told */                            \
    F(RESTART_SOURCE, "restart-source") /* crash; NAME is booted again if its record allows */    \
    F(CRASH_TARGET, "crash-target")                                                               \
    F(LOSE_TARGET, "lose-target")                                                                 \
    F(RESTART_TARGET, "restart-target")     /* crash, and start again from its records */         \
    F(FORGETFUL_TARGET, "forgetful-target") /* the same, and its records are gone */              \
    F(HANG_SOURCE, "hang-source") /* nothing happens there for longer than anybody waits */       \
    F(HANG_TARGET, "hang-target")                                                                 \
    F(STUCK_TARGET, "stuck-target") /* the same, but it answers PING */                           \
    F(FAIL_SOURCE, "fail-source")   /* the next thing asked of the host cannot be done */         \
    F(FAIL_TARGET, "fail-target")                                                                 \
    F(BREAK_SOURCE, "break-source")     /* the source's host fails, whatever it does */           \
    F(FAIL_RECEIVING, "fail-receiving") /* the target's host fails while pages come */            \
    F(DISK_FULL, "disk-full")           /* the target can record nothing any more */              \
    F(LOAD_FAILS, "load-fails")         /* the target can load no state any more */               \
    F(FLIP_BIT, "flip-bit")             /* in the target's RAM, behind everyone's back */         \
    F(GIVE_UP_TARGET, "give-up-target") /* cut; its token is used at the source */                \
    F(GIVE_UP_SOURCE, "give-up-source") /* cut; its token is used at the target */                \
    F(CLAIM_TARGET, "claim-target") /* --run --other-is-dead there, when that is true enough */   \
    F(CLAIM_SOURCE, "claim-source")                                                               \
    F(RASH_CLAIM_TARGET,                                                                          \
      "rash-claim-target") /* the same, when it is not true: history may fork */                  \
    F(RASH_GIVE_UP_TARGET, "rash-give-up-target") /* without a token, while the link is up */     \
    F(FORGET_TARGET, "forget-target")             /* its operator stops waiting for DONE */       \
    F(ABANDON_TARGET, "abandon-target")           /* its operator gives a stranded guest up */    \
    F(ABANDON_SOURCE, "abandon-source") /* the source's gives the rest of its memory up */        \
    F(PAUSE_GUEST, "pause-guest")       /* stop or cont, by turns */                              \
    F(LIMITS, "limits")                 /* the operator changes limits while it runs */           \
    F(REPLACE, "replace")               /* a new migration that withdraws the one at hand */      \
    F(NEWCOMER, "newcomer")             /* another source comes to the target */                  \
    F(SAY_REFUSE, "say-refuse")         /* the target refuses, in whatever state */               \
    F(HASTY_SOURCE, "hasty-source")     /* PREPARE before all digests are acknowledged */         \
    F(TELL, "tell")                     /* an event: SIDE.EVENT in a plan */

enum fault_kind {
#define SIM_FAULT(name, text) FAULT_##name,
    SIM_FAULTS(SIM_FAULT)
#undef SIM_FAULT
        FAULT_KINDS
};

/* Faults fire in the plan's order: `after` steps behind the one before, or behind the first step
 * that finds that side's engine in that state; one whose state does not come for long is passed
 * over. */
struct fault_plan {
    enum fault_kind kind;
    enum side told; /* TELL: whom */
    uint32_t event; /* TELL: of that side's engine */
    bool is_by_state;
    enum side side;
    uint32_t state;
    uint64_t after;
};

struct plan {
    uint64_t seed;
    struct options options;
    uint32_t fault_count;
    struct fault_plan fault[SIM_FAULTS_MAX];
};

/* ---- The guest ---- */

/* Its registers: what travels as machine state. */
struct guest_state {
    uint64_t tick;               /* steps lived */
    uint32_t version[SIM_PAGES]; /* what each page of RAM must hold */
};

/* A host's copy of the guest. */
struct guest {
    bool is_alive; /* this copy is the guest: it runs, unless its operator paused it */
    bool is_paused;
    struct guest_state state;
    uint64_t touched, log;       /* bitmaps: pages ever written; written and not re-armed */
    uint64_t armed;              /* pages of larger units: re-armed since they were reported */
    uint64_t absent;             /* pages that fault when they are touched */
    uint64_t given_back;         /* at the source: pages whose memory is gone */
    int blocked_page[SIM_VCPUS]; /* what each vCPU waits for; -1: for none */
    uint8_t ram[SIM_RAM_BYTES];
};

/* ---- The link ---- */

struct slot {
    uint64_t due_ns;
    uint32_t bytes;
    int buffer; /* of those for large frames; -1: it is a small one */
};

/* What flows towards one side of a connection. */
struct lane {
    struct slot slot[SIM_SLOTS];
    uint32_t first, count;
    uint64_t latency_ns, free_ns, last_due_ns, held_until_ns;
    bool is_lost;    /* nothing sent from now on arrives */
    uint64_t end_ns; /* when that side sees the end, behind all frames */
};

/* One connection; what side s sends goes into lane[!s]. */
struct connection {
    bool is_used;
    bool is_admitted; /* by the target, to its session */
    bool is_welcomed; /* bulk, urgent: the source heard so */
    enum gw_role role;
    uint32_t channel; /* bulk: its number */
    uint32_t generation;
    uint64_t opened_ns;
    uint64_t answers; /* urgent: sent */
    bool is_open[2];  /* that side has not closed it */
    uint64_t heard_ns[2], pinged_ns[2];
    struct lane lane[2];
};

/* What an engine asked its host for, and is not done. */
struct errand {
    bool is_owed;
    uint64_t due_ns;
};

enum phase { PHASE_A, PHASE_B, PHASE_C, PHASE_P, PHASE_D, PHASE_OVER }; /* OVER: or not begun */

/* A bulk channel's thread at the source. */
struct bulk_thread {
    uint32_t stage; /* how far it is with `batch` */
    struct gw_arming arming;
    struct gw_batch batch;
    struct gw_batch_sent sent;
    uint64_t retry_ns;
};

struct world {
    struct plan plan;
    uint32_t faults_fired;
    uint64_t
        armed_step; /* one above the step at which the next fault's state was met; 0: not yet */
    uint64_t fired_step;    /* the last one's */
    uint64_t waited;        /* steps without meeting it: it is passed over in the end */
    uint64_t quiet_from_ns; /* when the last of all faults' effects ends */
    bool has_fired[SIM_FAULTS_MAX];
    enum phase fault_phase[SIM_FAULTS_MAX]; /* the source's, when it fired */

    uint64_t random;
    uint64_t now_ns, step;
    uint64_t history;     /* ticks the one true guest has lived */
    bool is_history_free; /* an operator said --other-is-dead of a side that had run it */
    bool is_quiet;        /* no more faults */
    bool is_idle;         /* the guest does nothing any more */
    bool has_died[2];     /* the guest ran on that side when its host died */
    bool was_given_up;    /* by an operator, for good */
    bool is_helped;       /* a person did something, in the end */
    bool was_booted_anew; /* the source's host, from its disk */
    bool is_told_lost;    /* the source was, that the guest died there */
    uint64_t deaf_until_ns[2], hung_until_ns[2], stuck_until_ns;
    bool is_up[2]; /* the side's process */
    struct connection connection[SIM_CONNECTIONS];
    uint64_t buffers; /* large ones in use */

    struct gw_facts facts, other_facts;
    struct gw_source source;
    struct gw_session session;
    bool is_source_started;
    struct errand connecting, connecting_bulk;
    struct gw_source_action bulk_wanted; /* CONNECT_BULK */
    bool bulk_lacks_map;
    uint64_t bulk_limit_ns; /* the channels must be there by then; 0: they are */
    struct errand stopping, departing, collecting;
    bool is_tracking_asked; /* `collecting` is the first look */
    struct errand agreeing; /* the operator's, who is asked in PRE_SWITCHOVER */
    struct gw_departure departure, departure_disk;
    bool is_failing[2];
    struct bulk_thread bulk[SIM_BULK];
    uint8_t source_state[sizeof(struct guest_state)];
    bool was_paused;
    uint32_t throttle_percent;

    struct gw_target target;
    uint8_t target_state[sizeof(struct guest_state)];
    uint32_t target_state_bytes;
    struct gw_history disk; /* the target's records, which survive */
    struct errand working;  /* one thing at a time; the engine hears of it some time after */
    struct gw_target_action work;
    struct errand answering[SIM_ANSWERS]; /* in the order the things were done */
    enum gw_target_event_type answer[SIM_ANSWERS];
    uint32_t answer_first, answer_count;
    struct errand readying[SIM_DEVICES];
    bool are_devices_well;                     /* none is stuck any more */
    struct gw_assembly assembly[SIM_BULK + 1]; /* of the bulk channels and the urgent one */
    bool is_work_failing;
    bool is_disk_full, is_load_failing;

    char failure[300]; /* what rule was broken; empty: none */
    bool is_verbose;

    struct guest guest[2]; /* last: its RAM is cleared only as far as it reaches */
};

/* ---- plan.c: runs as text: SEED[/NAME=VALUE,...][/FAULT@WHEN,...] ---- */
bool plan_parse(struct plan *plan, const char *text); /* says what is wrong on stderr */
void plan_print(const struct plan *plan, char text[SIM_PLAN_BYTES]);
void plan_draw(struct plan *plan, uint64_t seed); /* options of that seed; no faults */
void plan_draw_faults(struct plan *plan);
const char *fault_name(enum fault_kind kind);
size_t fault_write(const struct fault_plan *fault, char *text, size_t room); /* its length */
uint64_t chance_next(uint64_t *random, uint64_t below);

/* ---- names.c: states, events and rows of both tables ---- */
enum origin { ORIGIN_OPERATOR, ORIGIN_HOST, ORIGIN_PEER, ORIGIN_SELF };
uint32_t side_states(enum side side);
uint32_t side_events(enum side side);
const char *side_state_name(enum side side, uint32_t state);
const char *side_event_name(enum side side, uint32_t event);
enum origin side_origin(enum side side, uint32_t event);
bool side_is_carrier(enum side side, uint32_t event); /* it becomes another one */
bool side_is_row(enum side side, uint32_t state, uint32_t event);
uint32_t side_state(const struct world *world, enum side side);

/* ---- world.c: the steps ---- */
void world_init(struct world *world, const struct plan *plan, bool is_verbose);
void world_start_migration(struct world *world, const struct gw_session *withdrawn, bool is_plain);
bool world_step(struct world *world); /* false: nothing is left to do */
void world_inject_due(struct world *world);
void world_heal(struct world *world); /* no more faults, and what they left is mended */
void world_fail(struct world *world, const char *format, ...) GW_PRINTF(2, 3);
uint64_t world_random(struct world *world, uint64_t below);
void errand_begin(struct world *world, struct errand *errand);
bool errand_is_due(const struct world *world, const struct errand *errand);
void say(const struct world *world, const char *who, const char *what, const char *more);

/* ---- faults.c ---- */
void world_inject(struct world *world, uint32_t index);
void world_crash(struct world *world, enum side side, bool is_silent);
enum phase source_phase(const struct world *world);
bool is_link_fault(enum fault_kind kind);
bool world_run_at_source(struct world *world); /* on its operator's word; false: refused */

/* ---- pairs.c: events that have no place ---- */
enum pair { PAIR_UNTRIED, PAIR_UNSAYABLE, PAIR_TRIED };
void world_tell(struct world *world, enum side side, uint32_t event);

/* ---- guest.c: the guest and its RAM ---- */
void guest_boot(struct world *world, enum side side, uint64_t tick);
void guest_step(struct world *world, enum side side, uint32_t vcpu);
void guest_check_ram(struct world *world, enum side side);
bool guest_is_loaded_whole(const struct world *world);
void guest_check_same(struct world *world); /* the target's against the source's, which stands */
bool guest_runs(const struct world *world, enum side side);
uint8_t *guest_page(struct world *world, enum side side, uint64_t page);

/* ---- link.c: connections ---- */
struct connection *link_open(struct world *world, enum gw_role role, uint32_t generation);
void link_send(struct world *world, struct connection *connection, enum side from,
               const struct gw_frame_header *header, const uint8_t *payload);
/* GW_AGAIN: nothing is due; else the frame was taken: GW_OK, or what is wrong with it. */
enum gw_status link_take(struct world *world, struct connection *connection, enum side at,
                         struct gw_frame_header *header, const uint8_t **payload,
                         struct gw_fault *fault);
bool link_has_ended(const struct world *world, const struct connection *connection, enum side at);
void link_close_one(struct world *world, struct connection *connection, enum side side);
void link_close_side(struct world *world, enum side side);
void link_vanish(struct world *world, enum side side); /* as a host does: nobody is told */
void link_cut(struct world *world, enum fault_kind how);
void link_hold(struct world *world, enum gw_role role, uint64_t until_ns);
void link_deafen(struct world *world, enum side side, uint64_t until_ns);
struct connection *link_newest(struct world *world, enum side side, enum gw_role role);
struct connection *link_bulk(struct world *world, uint32_t channel); /* the source's newest */
bool link_keep_alive(struct world *world, enum side side, bool *is_dead);
uint64_t link_next_due(const struct world *world);
void send_message(struct world *world, struct connection *connection, enum side from,
                  const struct gw_message *message);

/* ---- source_side.c, target_side.c: what the embedder of each engine does ---- */
bool source_step(struct world *world, uint32_t choice);
bool target_step(struct world *world, uint32_t choice);
enum { SOURCE_CHOICES = 9, TARGET_CHOICES = 6 };
enum gw_status source_tell(struct world *world, const struct gw_source_event *event);
enum gw_status target_tell(struct world *world, const struct gw_target_event *event);
void source_lost(struct world *world, enum gw_status status, const char *why);
void target_boot(struct world *world);
bool target_is_free(const struct world *world); /* to look at who introduced himself */
void target_introduce(struct world *world, struct connection *connection,
                      const struct gw_message *message);
void target_fault(struct world *world, uint32_t page, uint32_t vcpu);
void target_lost(struct world *world, enum gw_status status, const char *why);

/* ---- source_pages.c: the source's bulk and urgent channels, and its memory ---- */
void source_release(struct world *world);    /* of what may go by now, if its thread gets to it */
bool source_send_pages(struct world *world); /* one step of a bulk channel's thread */
void source_answer_demand(struct world *world, struct connection *urgent, uint64_t page);

/* ---- target_pages.c: frames of the target's bulk and urgent channels ---- */
void target_receive_batch(struct world *world, const struct connection *connection,
                          const struct gw_frame_header *header, const uint8_t *payload);
void target_receive_verify(struct world *world, uint32_t channel,
                           const struct gw_frame_header *header, const uint8_t *payload);
void target_receive_map(struct world *world, const struct gw_frame_header *header,
                        const uint8_t *payload);

/* ---- outcome.c: one whole run, and what must have become of the guest ---- */
struct tally {
    uint64_t runs, moved, resumed, recovered, saved, refused, second_tries, longest_s;
    uint64_t fired[PHASE_OVER + 1]; /* faults, by the source's phase */
    uint8_t row[2][64][64];         /* taken, by side, state, event */
    uint8_t pair[2][64][64];        /* enum pair */
    struct plan running[SIM_JOBS_MAX];
};
extern struct tally *tally; /* shared by all processes */
bool run_plan(const struct plan *plan, bool is_verbose, uint64_t *steps);

/* ---- scenarios.c: scripted runs ---- */
struct way {
    enum side side;
    const char *state, *plan; /* a plan in which that state is met; another fault may follow */
};
extern const struct way ways[];
extern const uint32_t way_count;
extern const char *const scenarios[];
extern const uint32_t scenario_count;

#endif
