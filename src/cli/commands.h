/* SPDX-License-Identifier: Apache-2.0 */
/* One table per command; src/cli/cli.c lists them. */
#ifndef GW_CLI_COMMANDS_H
#define GW_CLI_COMMANDS_H

#include "command.h"

extern const struct gw_cli_command gw_cli_command_run;
extern const struct gw_cli_command gw_cli_command_migrate;
extern const struct gw_cli_command gw_cli_command_migrate_cancel;
extern const struct gw_cli_command gw_cli_command_migrate_postcopy;
extern const struct gw_cli_command gw_cli_command_migrate_continue;
extern const struct gw_cli_command gw_cli_command_migrate_pause;
extern const struct gw_cli_command gw_cli_command_block;
extern const struct gw_cli_command gw_cli_command_unblock;
extern const struct gw_cli_command gw_cli_command_migrate_recover;
extern const struct gw_cli_command gw_cli_command_status;
extern const struct gw_cli_command gw_cli_command_list;
extern const struct gw_cli_command gw_cli_command_dirty_rate;
extern const struct gw_cli_command gw_cli_command_resolve;
extern const struct gw_cli_command gw_cli_command_stop;
extern const struct gw_cli_command gw_cli_command_cont;
extern const struct gw_cli_command gw_cli_command_quit;
extern const struct gw_cli_command gw_cli_command_upgrade;
extern const struct gw_cli_command gw_cli_command_keygen;
extern const struct gw_cli_command gw_cli_command_limits;
extern const struct gw_cli_command gw_cli_command_doctor;
extern const struct gw_cli_command gw_cli_command_version;
extern const struct gw_cli_command gw_cli_command_help;

#endif
