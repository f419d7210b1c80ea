/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor: one loop in the main thread that everything is attached to. Who owns what:
 *
 *   monitor.c   the run state, and when and how the process ends
 *   guest.c     the machine's events: halted, powered off, crashed, console
 *   outbound.c  the guest leaves: what the source engine asks of the machine
 *   choices.c   the log's line for each choice that the source engine makes
 *   blockers.c  why the guest may not leave
 *   inbound.c   a guest comes: what the target engine asks of the machine
 *   clients.c   control connections: bytes, events
 *   commands.c  what each command does
 *   report.c    figures as the control protocol wants them
 *   console.c   where the guest's console goes
 *   upgrade.c   the guest goes to a new godwit on this host; take_over.c: this is the new one
 *
 * All of it runs in the main thread; none of it blocks but for records on disk.
 */
#ifndef GW_RUN_MONITOR_H
#define GW_RUN_MONITOR_H

#include "godwit/info.h"
#include "godwit/loop.h"
#include "godwit/message.h"
#include "godwit/qmp.h"
#include "godwit/record.h"
#include "godwit/run.h"
#include "godwit/source.h"

struct gw_monitor {
    const struct gw_run_config *config;
    struct gw_loop loop;
    enum gw_info_run_state state; /* written by gw_monitor_set_state alone */
    uint64_t start_ns;
    bool is_ending;
    int exit_code;
    uint64_t end_ns;         /* ending: at the latest then */
    uint64_t guest_ended_ns; /* before its source was settled; 0: it did not */
    int guest_exit_code;
    int log_fd;          /* standard error, or its terminal */
    uint32_t lines_lost; /* of the log, since the last that was written */

    struct gw_watch vm_watch, signal_watch, outgoing_watch, incoming_watch;
    int lock_fd; /* on the guest's records, until this process ends */
    int signal_fd;
    bool is_tracker_ready;

    /* guest.c */
    bool is_stop_told; /* STOP was told, and RESUME not since */

    /* outbound.c */
    bool is_leaving;    /* a migration away is under way */
    bool has_left_once; /* outgoing figures are there to be reported */
    bool was_running;   /* before STOP */
    bool is_halt_awaited;
    bool is_verifying;
    bool is_link_lost; /* and said so */
    bool is_release_told, is_loss_told;
    bool capability[GW_INFO_CAPABILITY_COUNT];
    uint64_t handover_ns; /* what all but pages takes of a handover, as measured at the start */
    char peer[GW_INFO_URI_BYTES];
    struct gw_session session;
    union { /* the last that will never commit: its target may still hold the guest, and is told */
        struct gw_session session;
        uint64_t half[2]; /* as an upgrade passes it on */
    } withdrawn;
    struct gw_qmp_block blocker[GW_INFO_BLOCKERS_MAX]; /* id "": free */
    struct gw_info_parameters parameters;              /* of the next migration */
    struct gw_info_parameters limits;                  /* of the one under way */
    uint64_t held_since_ns;
    uint64_t stranger_ns; /* when somebody who was turned away was last told of; 0: not yet */

    /* inbound.c */
    bool is_arriving; /* listens or receives */
    bool is_unsettled;
    bool is_departure_old; /* the guest runs here again: that it left is to be forgotten */
    uint64_t arrived_ns;
    uint64_t took_ns; /* when it was recorded that all of the guest is here; 0: it was not */
};

/* The one place where the run state changes. */
void gw_monitor_set_state(enum gw_info_run_state state);

/* The guest ended here: so does the process, with `code`, but not before its source is settled:
 * that may have memory that is to come yet, or hold the guest until it hears that it ran here. */
void gw_monitor_guest_ended(int code);

/* It is. */
void gw_monitor_settled(void);

/* Ends the process with `code` once control clients have heard the last word, within a second. */
void gw_monitor_end(int code);

/* `quit`: ends, unless a guest is held. Returns false and says why when it is. */
bool gw_monitor_quit(void);

/* A line on standard error. */
void gw_monitor_say(const char *format, ...) GW_PRINTF(1, 2);

/* An event to every control client. */
void gw_monitor_event(enum gw_qmp_event event);
void gw_monitor_event_migration(const char *status);
void gw_monitor_event_pass(uint64_t pass);

/* guest.c */
GW_MUST_USE enum gw_status gw_guest_open(struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_guest_boot(struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_guest_run(struct gw_fault *fault); /* state RUNNING */
void gw_guest_tell_resume(void); /* if STOP was told, and whoever heard it is here */
void gw_guest_pause(void);       /* state PAUSED follows */
void gw_guest_console_ready(void);

/* outbound.c */
GW_MUST_USE enum gw_status gw_outbound_start(const struct gw_qmp_migrate *migrate,
                                             struct gw_fault *fault);
/* One whose outcome was told, and whose guest stayed, is over now. */
void gw_outbound_conclude(void);
/* GW_ARGUMENT, saying why, while the guest cannot leave. */
GW_MUST_USE enum gw_status gw_outbound_check_start(struct gw_fault *fault);
/* To a process of this host that has the guest's RAM already. */
GW_MUST_USE enum gw_status gw_outbound_start_shared(const char *uri, struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_outbound_ready_tracker(struct gw_fault *fault);
/* GW_ARGUMENT with the reason when the guest, which is here, may not leave now. */
GW_MUST_USE enum gw_status gw_outbound_check(struct gw_fault *fault);
void gw_outbound_halted(void);
void gw_outbound_guest_ended(void);
bool gw_outbound_is_held(void);
/* The guest runs there, and needs this side's memory. */
bool gw_outbound_is_pushing(void);
/* This process is about to end, and what is under way with it. */
void gw_outbound_quit(void);
/* It ends now. */
void gw_outbound_end(void);

/* choices.c */
void gw_choices_say(enum gw_source_choice choice, const struct gw_source_figures *figures);

/* blockers.c: an operator's reasons, each under an id. Fewer than GW_INFO_BLOCKERS_MAX, and none is
 * added while the guest leaves. */
GW_MUST_USE enum gw_status gw_blockers_put(const char *id, const char *reason,
                                           struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_blockers_remove(const char *id, struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_blockers_check(struct gw_fault *fault); /* the first one, if any */
void gw_blockers_report(struct gw_info_migrate *info);

/* inbound.c */
GW_MUST_USE enum gw_status gw_inbound_start(struct gw_fault *fault);
bool gw_inbound_is_held(void);
bool gw_inbound_is_coming(void); /* and may still stay where it is */
bool gw_inbound_is_owing(void);  /* its source waits for this process, which must not end yet */

/* records.c */
GW_MUST_USE enum gw_status gw_records_hold(const struct gw_run_config *config, int *lock_fd,
                                           struct gw_fault *fault);
/* GW_REFUSED unless that is the lock of the records that `config` names. */
GW_MUST_USE enum gw_status gw_records_check_hold(const struct gw_run_config *config, int lock_fd,
                                                 struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_records_check_boot(const struct gw_run_config *config,
                                                 struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_records_get_history(const struct gw_run_config *config,
                                                  struct gw_history *history,
                                                  struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_records_put_history(const struct gw_run_config *config,
                                                  const struct gw_history *history,
                                                  struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_records_put_departure(const struct gw_run_config *config,
                                                    const struct gw_departure *departure,
                                                    struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_records_clear_departure(const struct gw_run_config *config,
                                                      struct gw_fault *fault);

/* report.c */
void gw_report_migrate(struct gw_info_migrate *info);
enum gw_info_migration gw_report_migration(const char *status); /* the engine's word for it */
void gw_report_status(struct gw_info_status *info);
void gw_report_session(const struct gw_session *session, char text[GW_INFO_SESSION_BYTES]);

/* commands.c: executes one request and fills the reply. */
void gw_command_execute(const struct gw_qmp_request *request, struct gw_qmp_message *reply);

#endif
