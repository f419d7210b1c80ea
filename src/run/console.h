/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the guest's console goes: standard input and output, a file, or whoever is connected to a
 * Unix socket. Output that nobody takes (a full disk, a stuck pipe, no client) is dropped; the
 * guest never waits for it. Main thread; never blocks but for a file's disk.
 */
#ifndef GW_RUN_CONSOLE_H
#define GW_RUN_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "godwit/loop.h"
#include "godwit/run.h"
#include "godwit/status.h"
#include "run/take_over_message.h"

enum { GW_CONSOLE_OUT_BYTES = 8192, GW_CONSOLE_IN_BYTES = 64 };

struct gw_console {
    enum gw_run_console kind;
    int out_fd, in_fd; /* -1: none */
    int listener_fd;
    bool is_ours; /* the listener: its file goes when this process ends */
    struct gw_watch out_watch, in_watch, listener_watch;
    bool is_out_pollable;
    bool is_frozen; /* nothing is read or written: output is queued */
    bool is_terminal;
    bool is_escape;     /* Ctrl-A was typed */
    bool is_fault_told; /* the file cannot be written: said once */
    struct termios terminal;
    size_t out_at, out_count, in_count;
    uint8_t out[GW_CONSOLE_OUT_BYTES];
    uint8_t in[GW_CONSOLE_IN_BYTES];
};

GW_MUST_USE enum gw_status gw_console_open(const struct gw_run_config *config,
                                           struct gw_fault *fault);

/* The same for a console that another process opened: `fd` is its file or listener (-1: stdio).
 * Frozen. A terminal's input stays with whoever reads it then: its shell. */
void gw_console_adopt(const struct gw_run_config *config, int fd);

/* Reads and writes nothing any more, or again. Each may be called twice. */
void gw_console_freeze(void);
void gw_console_thaw(void);

/* Frozen: goes on where another process stopped, with what it read and did not give to the guest,
 * what it did not write (before anything queued here), and its client (-1: none). */
void gw_console_continue(const struct gw_take_over_rest *rest, int client_fd);

/* What continue wants. Returns the client's descriptor, which stays this process's; -1: none. */
int gw_console_get_rest(struct gw_take_over_rest *rest);

/* It is another process's now. */
void gw_console_let_go(void);

/* Puts the terminal back and closes. */
void gw_console_close(void);

/* Output of the guest. */
void gw_console_write(const uint8_t *bytes, size_t count);

/* The guest has room for input again. */
void gw_console_feed(void);

#endif
