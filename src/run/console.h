/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the guest's console goes: standard input and output, a file, or whoever is connected to a
 * Unix socket. Output that nobody takes (a full disk, a stuck pipe, no client) is dropped and
 * counted; the guest never waits for it. Main thread; never blocks but for a file's disk.
 */
#ifndef GW_RUN_CONSOLE_H
#define GW_RUN_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "godwit/loop.h"
#include "godwit/run.h"
#include "godwit/status.h"

enum { GW_CONSOLE_OUT_BYTES = 8192, GW_CONSOLE_IN_BYTES = 64 };

struct gw_console {
    enum gw_run_console kind;
    int out_fd, in_fd; /* -1: none */
    int listener_fd;
    struct gw_watch out_watch, in_watch, listener_watch;
    bool is_out_pollable;
    bool is_terminal;
    bool is_escape;     /* Ctrl-A was typed */
    bool is_fault_told; /* the file cannot be written: said once */
    struct termios terminal;
    uint64_t dropped;
    size_t out_at, out_count, in_count;
    uint8_t out[GW_CONSOLE_OUT_BYTES];
    uint8_t in[GW_CONSOLE_IN_BYTES];
};

GW_MUST_USE enum gw_status gw_console_open(const struct gw_run_config *config,
                                           struct gw_fault *fault);

/* Puts the terminal back and closes. */
void gw_console_close(void);

/* Output of the guest. */
void gw_console_write(const uint8_t *bytes, size_t count);

/* The guest has room for input again. */
void gw_console_feed(void);

#endif
