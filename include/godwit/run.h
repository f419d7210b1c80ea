/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor as one call, for the command line: build a machine or wait for one, serve the
 * control socket, move the guest, end.
 *
 * Memory: src/run's own static storage; a process calls gw_run() once. Blocks: gw_run() for the
 * guest's life here. Threads: call it from the main thread; it starts the others.
 */
#ifndef GODWIT_RUN_H
#define GODWIT_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/info.h"
#include "godwit/status.h"

/* Exit codes. The first eight are every command's, the others `godwit run`'s. */
enum gw_run_exit {
    GW_RUN_EXIT_DONE = 0,      /* done; for run: the guest powered off, or QUIT was said */
    GW_RUN_EXIT_FAILED = 1,    /* failed, the guest unharmed */
    GW_RUN_EXIT_USAGE = 2,     /* the command line makes no sense */
    GW_RUN_EXIT_HOST = 3,      /* this host lacks something: see `godwit doctor` */
    GW_RUN_EXIT_REFUSED = 4,   /* the peer refused */
    GW_RUN_EXIT_CANCELLED = 5, /* the operator cancelled */
    GW_RUN_EXIT_HELD = 6,      /* held: needs `godwit resolve` */
    GW_RUN_EXIT_LOST = 7,      /* the guest is lost */
    GW_RUN_EXIT_MIGRATED = 20, /* the guest runs elsewhere */
    GW_RUN_EXIT_RESET = 21,    /* the guest asked for a reset, which godwit does not do */
    GW_RUN_EXIT_CRASHED = 22,  /* the guest crashed */
    GW_RUN_EXIT_MONITOR = 23,  /* godwit itself failed */
};

enum gw_run_console {
    GW_RUN_CONSOLE_STDIO = 0, /* the terminal, or standard input and output */
    GW_RUN_CONSOLE_FILE = 1,  /* append what the guest prints to console_path; no input */
    GW_RUN_CONSOLE_UNIX = 2,  /* listen on the Unix socket console_path; one client at a time */
};

/* Every text is NUL-terminated and stays valid and unchanged for the whole of gw_run(). */
struct gw_run_config {
    const char *name;         /* 1..GW_INFO_NAME_BYTES-1 of A-Z a-z 0-9 . _ -, checked */
    const char *kernel;       /* arm64 Image, may be gzip-compressed; NULL with flat or incoming */
    const char *initrd;       /* NULL: none */
    const char *cmdline;      /* kernel command line; NULL: none */
    const char *flat;         /* bare-metal binary; NULL with kernel or incoming */
    const char *incoming_uri; /* where to listen for a guest; NULL: boot one */
    const char *console_path; /* for FILE and UNIX, else NULL */
    const char *control_path; /* the control socket's; shorter than sockaddr_un's 108 bytes */
    const char *state_dir;    /* records of handovers lie here; made when it is missing */
    uint64_t memory_bytes;    /* > 0; default 256 MiB; gw_run checks it against the board */
    uint32_t vcpu_count;      /* >= 1; default 1; gw_run checks it against the board */
    uint32_t dirty_ring_entries; /* of each vCPU's dirty ring; 0: the dirty log. gw_run checks it */
    enum gw_run_console console;
    const char *tls;             /* godwit/tls.h's spec; NULL: none. Not with is_plaintext */
    const char *tls_hostname;    /* NULL: the host of the URI */
    bool is_plaintext;           /* TCP from beyond loopback is allowed in the clear */
    bool is_guest_clock_stopped; /* --guest-clock stop: downtime does not pass for the guest */
    bool is_huge;                /* --hugepages: RAM in huge pages (godwit/ram.h) */
    bool is_lingering;           /* stay in postmigrate after the guest left */
    bool is_once;                /* a target whose migration failed ends instead of waiting */
    bool is_taking_over; /* the guest comes from the godwit at the other end of take_over_fd, with
                            all of the above but name */
    int take_over_fd;    /* one end of gw_parcel_pair(); gw_run's from then on */
};

/* Runs the guest until it or the monitor ends. Every error has been told on standard error as a
 * sentence when it returns an enum gw_run_exit (to the old godwit, when taking over). Exactly one
 * of kernel, flat and incoming_uri is not NULL, or is_taking_over (the command line has checked
 * it). The process exits with the value returned. */
int gw_run(const struct gw_run_config *config);

/* One item of static storage; its bytes are bytes_each * count. */
struct gw_budget_item {
    const char *name; /* "dirty bitmap", "vCPU thread" */
    size_t bytes_each;
    size_t count;
};

/* The storage list, item by item. Returns how many; *items is static. */
size_t gw_run_budget(const struct gw_budget_item **items);

/* What `resolve` does where no process holds the guest and only records are left. */
enum gw_run_dead_action {
    GW_RUN_DEAD_SHOW = 0,    /* change nothing: say what the records say and what is possible */
    GW_RUN_DEAD_GIVE_UP = 1, /* record that this side never runs the guest; make a token */
    GW_RUN_DEAD_FORGET = 2,  /* drop the record of a guest that left: it may be booted here anew */
};

struct gw_run_dead {
    bool has_record;               /* records of NAME exist in state_dir */
    bool is_open;                  /* as far as they say it may run there, or here: held */
    struct gw_info_resolve result; /* SHOW: text explains; GIVE_UP: text and token */
};

/* Reads NAME's records in state_dir and acts. GW_OK also when there is no record (has_record
 * false, text says so). GW_REFUSED when the action is impossible (the fault says why), GW_CORRUPT
 * for a damaged record, GW_HOST when the directory cannot be read or written. The caller has
 * found that no process answers on the control socket. */
GW_MUST_USE enum gw_status gw_run_resolve_dead(const char *state_dir, const char *name,
                                               enum gw_run_dead_action action,
                                               struct gw_run_dead *dead, struct gw_fault *fault);

#endif
