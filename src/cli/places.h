/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things lie: /run/godwit as root, $XDG_RUNTIME_DIR/godwit otherwise; NAME.sock in it is a
 * guest's control socket. Memory: the caller's. Main thread.
 */
#ifndef GW_CLI_PLACES_H
#define GW_CLI_PLACES_H

#include "command.h"

enum { GW_CLI_PATH_BYTES = 256 };

struct gw_cli_places {
    char control[GW_CLI_PATH_BYTES];
    char state_dir[GW_CLI_PATH_BYTES];
};

/* The default directory. GW_ARGUMENT without XDG_RUNTIME_DIR, GW_LIMIT when it is too long. */
GW_MUST_USE enum gw_status gw_cli_runtime_dir(char path[GW_CLI_PATH_BYTES], struct gw_fault *fault);

/* Checks the name and finds the guest's control socket, --control first. */
GW_MUST_USE enum gw_status gw_cli_find_control(const struct gw_cli_values *values,
                                               char control[GW_CLI_PATH_BYTES],
                                               struct gw_fault *fault);

/* GW_HOST when --state-dir is given and not there: it may be misspelt. */
GW_MUST_USE enum gw_status gw_cli_check_state_dir(const struct gw_cli_values *values,
                                                  struct gw_fault *fault);

/* As gw_cli_find_control, and where its records are, --state-dir first. */
GW_MUST_USE enum gw_status gw_cli_find_places(const struct gw_cli_values *values,
                                              struct gw_cli_places *places, struct gw_fault *fault);

#endif
