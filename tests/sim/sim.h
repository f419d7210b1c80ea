/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: both engines in one thread, a link, two hosts that can crash, an operator, and
 * a guest whose every step can tell whether history forked or a page was lost.
 *
 * One struct world holds everything; nothing depends on anything but the seed and the plan of
 * faults, so one line replays any run. Time is virtual.
 */
#ifndef GW_SIM_H
#define GW_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/assembly.h"
#include "godwit/page_map.h"
#include "godwit/source.h"
#include "godwit/target.h"

enum {
    SIM_PAGES = 40, /* two and a half batches of board/sim */
    SIM_PAGE_BYTES = 4096,
    SIM_QUEUE = 64,
    SIM_FRAME_BYTES = GW_FRAME_HEADER_BYTES + GW_BATCH_PAYLOAD_BYTES_MAX,
    SIM_CONNECTIONS = 8,
    SIM_FAULTS_MAX = 4,
    SIM_UNIT = 8,       /* pages that some targets place as one */
    SIM_UNIT_BATCH = 3, /* pages of a batch then: a unit takes several */
};

/* The guest's registers: what travels as machine state. */
struct guest_state {
    uint64_t tick;               /* steps lived */
    uint32_t version[SIM_PAGES]; /* what each page of RAM must hold */
};

/* A host's copy of the guest. */
struct guest {
    bool is_running;
    struct guest_state state;
    uint8_t ram[SIM_PAGES][SIM_PAGE_BYTES];
    uint64_t touched, log; /* bitmaps: pages ever written; written and not re-armed */
    uint64_t absent;       /* pages that fault when they are touched */
    int blocked_page;      /* the guest waits for it; -1: for none */
    bool is_tracked;
};

struct queue {
    uint32_t first, count;
    struct {
        uint32_t bytes;
        uint8_t frame[SIM_FRAME_BYTES];
    } slot[SIM_QUEUE];
};

enum side { SOURCE = 0, TARGET = 1 };

/* One connection; side s writes into to[other(s)]. */
struct connection {
    bool is_used, is_admitted;
    enum gw_role role;
    uint32_t generation;
    uint64_t answers;  /* urgent: sent */
    bool is_open[2];   /* that side has not closed it */
    bool is_dark;      /* the target will not notice that the source is gone */
    bool is_broken[2]; /* that side will see an error when its queue is empty */
    struct queue to[2];
};

enum fault_kind {
    FAULT_NONE,
    FAULT_CUT,           /* everything under way is lost */
    FAULT_CUT_TO_TARGET, /* what was under way to the target still arrives */
    FAULT_CUT_TO_SOURCE, /* what was under way to the source still arrives */
    FAULT_CUT_UNSEEN,    /* the source sees it at once, the target not at all */
    FAULT_CANCEL,
    FAULT_CRASH_SOURCE,
    FAULT_CRASH_TARGET,
    FAULT_RESTART_TARGET, /* crash, and start again from its records */
    FAULT_GIVE_UP_TARGET, /* cut; the target's operator gives up, the source's uses the token */
    FAULT_GIVE_UP_SOURCE, /* cut; the source's operator gives up, the target's uses the token */
    FAULT_DISK_FULL,      /* the target cannot record any more */
    FAULT_LOAD_FAILS,     /* the target cannot load the state */
    FAULT_SOURCE_FAILS,   /* the next thing the source's host is asked for cannot be done */
    FAULT_TARGET_FAILS,   /* the target's host reports a failure out of the blue */
    FAULT_SOURCE_LIES,    /* it says what no source may say now */
    FAULT_TARGET_LIES,
    FAULT_POSTCOPY,     /* the operator switches to postcopy */
    FAULT_PAUSE,        /* the operator lets go of the link in postcopy */
    FAULT_RECOVER,      /* and connects again */
    FAULT_TARGET_HANGS, /* nothing happens there for a while, and no connection breaks */
    FAULT_KINDS,
};

struct fault_plan {
    uint64_t step;
    enum fault_kind kind;
};

struct plan {
    uint64_t seed;
    uint32_t fault_count;
    struct fault_plan fault[SIM_FAULTS_MAX];
    uint32_t corrupt_one_in; /* of bulk frames; 0: none */
};

struct world {
    struct plan plan;
    uint64_t random;
    uint64_t now_ns, step;
    uint64_t history;     /* ticks the one true guest has lived */
    bool is_history_free; /* an operator said --other-is-dead of a side that had run it */
    bool is_patient;      /* the target never tires of waiting for its source */
    bool is_quiet;        /* no more faults; the guest may be asked to stand still */
    uint64_t network_down_until_ns, target_hangs_until_ns;
    bool is_source_failing;
    struct guest guest[2];
    bool is_alive[2];
    struct connection connection[SIM_CONNECTIONS];

    struct gw_facts facts;
    struct gw_source source;
    struct gw_session session;
    bool is_source_started, is_source_finished;
    bool is_connecting, is_connecting_bulk;
    struct gw_intro bulk_intro;
    bool bulk_has_map, bulk_has_urgent;
    bool is_stopping, is_departure_owed;
    uint64_t bulk_stage;
    struct gw_batch batch;
    struct gw_batch_sent sent;
    uint8_t source_state[sizeof(struct guest_state)];
    uint32_t control_sequence;
    struct gw_departure departure;
    bool was_running;
    uint32_t throttle_percent;

    struct gw_target target;
    uint8_t target_state[sizeof(struct guest_state)];
    uint32_t target_state_bytes;
    struct gw_history disk; /* the target's records, which survive */
    bool is_record_owed;
    bool is_disk_full, is_load_failing;
    bool can_postcopy;
    bool is_target_finished;
    uint32_t unit_pages;            /* of the target: 1 or SIM_UNIT */
    bool is_releasing;              /* the source gives back what the target has */
    struct gw_assembly assembly[2]; /* of the bulk and the urgent channel */
    uint8_t aside[2][SIM_UNIT][SIM_PAGE_BYTES];

    char failure[200]; /* what rule was broken; empty: none */
    bool is_verbose;
};

/* world.c: the steps */
void world_init(struct world *world, const struct plan *plan, bool is_verbose);
void world_start_migration(struct world *world, const struct gw_session *withdrawn);
bool world_step(struct world *world); /* false: nothing is left to do */
void world_inject(struct world *world, enum fault_kind kind);
void world_fail(struct world *world, const char *format, ...) GW_PRINTF(2, 3);
uint64_t world_random(struct world *world, uint64_t below);
struct connection *world_channel(struct world *world, enum side side, enum gw_role role);

/* guest.c: the guest and its RAM */
void guest_boot(struct world *world);
void guest_step(struct world *world, enum side side);
void guest_check_ram(struct world *world, enum side side);
void target_fault(struct world *world, uint32_t page);

/* link.c: connections */
struct connection *link_open(struct world *world, enum gw_role role, uint32_t generation);
void link_send(struct world *world, struct connection *connection, enum side from,
               const struct gw_frame_header *header, const uint8_t *payload);
bool link_take(struct connection *connection, enum side at, struct gw_frame_header *header,
               const uint8_t **payload);
void link_close_side(struct world *world, enum side side);
void link_cut(struct world *world, enum fault_kind how);

void send_message(struct world *world, struct connection *connection, enum side from,
                  const struct gw_message *message);
void say(const struct world *world, const char *who, const char *what, const char *more);

/* source_side.c, target_side.c: what the embedder of each engine does */
bool source_step(struct world *world, uint32_t choice);
bool target_step(struct world *world, uint32_t choice);
void source_tell(struct world *world, const struct gw_source_event *event);
void target_tell(struct world *world, const struct gw_target_event *event);
void target_boot(struct world *world);

#endif
