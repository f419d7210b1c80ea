/* SPDX-License-Identifier: Apache-2.0 */
/* How sizes, times and migrations read on a terminal. Memory: the caller's. Main thread. */
#ifndef GW_CLI_PRINT_H
#define GW_CLI_PRINT_H

#include "client.h"

/* Prints one JSON value of the client's last message as one line. */
void gw_cli_print_json(const struct gw_json_document *document, int value);

/* A migration as one line, as query-migrate has it. */
void gw_cli_print_json_migrate(const struct gw_info_migrate *info);

/* {"error": TEXT} as one line, for --json. */
void gw_cli_print_json_error(const char *text);

/* "migrated to tcp:b:1: total 2.3s, downtime 85ms, ..." without a line end; final or held. */
void gw_cli_print_outcome(const struct gw_info_migrate *info);

/* The exit code a final or held migration means. */
int gw_cli_outcome_exit(const struct gw_info_migrate *info);

/* Follows a migration on standard output. */
struct gw_cli_progress {
    uint64_t shown_ns; /* when the last line was printed; 0: never */
    uint64_t rounds;   /* what it said */
    enum gw_info_migration status;
    bool is_held;
    bool is_terminal;
    bool is_json;
    bool is_open; /* a bar stands on the line, without a line end */
};
void gw_cli_progress_begin(struct gw_cli_progress *progress, bool is_json);
void gw_cli_progress_show(struct gw_cli_progress *progress, const struct gw_info_migrate *info,
                          uint64_t now_ns);
/* Ends the bar's line, so that other lines may follow. */
void gw_cli_progress_end(struct gw_cli_progress *progress);

#endif
