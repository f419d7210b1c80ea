/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest goes from one godwit process to another on the same host, which is given the descriptor
 * of the guest's memory: no page is copied. upgrade.c is the old process's part, take_over.c the
 * new one's; between them runs the handover of docs/HANDOVER.md, over a Unix socket, and beside it
 * a pair of sockets for what that does not know: descriptors, clients, the console.
 *
 * That pair is also how each side knows that the other is dead: neither closes its end before it
 * ends, but the old one behind WITHDRAW and the new one after DONE. Main thread. Blocks: while the
 * other process does not read, a second at most (WITHDRAW: until it does, or is gone); the new one
 * until the OFFER is there.
 */
#ifndef GW_RUN_UPGRADE_H
#define GW_RUN_UPGRADE_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/loop.h"
#include "godwit/run.h"
#include "run/clients.h"
#include "run/take_over_message.h"

enum gw_upgrade_phase {
    GW_UPGRADE_NONE = 0,
    GW_UPGRADE_OFFERED, /* old: waits for the new process's ANSWER */
    GW_UPGRADE_MOVING,  /* old: the source engine is at work */
    GW_UPGRADE_GIVEN,   /* old: the guest runs there, and all else has passed */
    GW_UPGRADE_TAKING,  /* new: until all has passed */
    GW_UPGRADE_TAKEN,   /* new: it is an ordinary monitor */
};

enum {
    /* the largest message is a control client's */
    GW_UPGRADE_MESSAGE_BYTES = GW_CONTROL_LINE_MAX + GW_CLIENT_OUT_BYTES + 2048,
};

struct gw_upgrade {
    enum gw_upgrade_phase phase;
    int fd; /* the other process; -1: none */
    struct gw_watch watch;
    bool is_other_gone;    /* it ended: its end of the pair is closed */
    bool has_died_there;   /* old: the new process took the guest, and died before it said so */
    bool is_stuck;         /* old: it is dead, and its records settle nothing: that was said */
    uint32_t facts_before; /* how many facts there are without those of shared RAM */
    struct gw_fault fault; /* old: why it ended before the engine began; else GW_OK */
    uint64_t total_us, downtime_us; /* of the last one */

    /* new: what came */
    struct gw_run_config config;
    struct gw_take_over_offer offer;
    int passed[GW_TAKE_OVER_FD_COUNT]; /* by enum gw_take_over_fd; -1: none, or used */
    char uri[GW_INFO_URI_BYTES];

    uint8_t bytes[GW_UPGRADE_MESSAGE_BYTES]; /* the message at hand */
};

/* Adds the facts that name the guest's memory, so that only a side that has the very same agrees,
 * and takes them out again. */
GW_MUST_USE enum gw_status gw_upgrade_put_facts(struct gw_fault *fault);
void gw_upgrade_drop_facts(void);

/* Either process is done with the other. */
void gw_upgrade_close_pair(void);

/* New: a number that this godwit does not know, or whose value makes no sense to it, stays as it is
 * here. */
void gw_upgrade_take_setting(const struct gw_take_over_setting *setting);

/* ---- The old process ---- */

/* Offers the guest to the process at the other end of `fd` (-1: the client sent none), which is
 * this function's to close. Whatever fails later leaves the guest here. */
GW_MUST_USE enum gw_status gw_upgrade_start(int fd, struct gw_fault *fault);

/* Takes back an offer that was not answered yet; false when there is none. */
bool gw_upgrade_cancel(void);

bool gw_upgrade_is_moving(void);

/* What the engine does: the guest stands still; is about to go on here; runs there; or it is
 * over. is_kept: the guest is here. */
void gw_upgrade_halted(void);
void gw_upgrade_resumes(void);
void gw_upgrade_runs_there(void);
void gw_upgrade_over(bool is_kept);

/* How the process ends, once the guest is not its own any more. */
int gw_upgrade_exit_code(void);

/* After the engine was served: a held guest whose new process is dead is settled by its records. */
void gw_upgrade_settle(void);

/* ---- The new process ---- */

/* Waits for the OFFER, and makes its configuration the monitor's. */
GW_MUST_USE enum gw_status gw_take_over_begin(const struct gw_run_config *config,
                                              struct gw_fault *fault);

/* A descriptor that passed, the caller's from then on. */
int gw_take_over_fd(enum gw_take_over_fd which);

/* Tells the old process that all is ready (reason NULL), or why it is not. */
GW_MUST_USE enum gw_status gw_take_over_answer(const struct gw_fault *reason,
                                               struct gw_fault *fault);

/* After the engine was served: the old process may be dead. */
void gw_take_over_settle(void);

/* All has passed, and the old process has confirmed that the guest runs here: what becomes of it is
 * of no interest any more. */
void gw_take_over_end(void);

#endif
