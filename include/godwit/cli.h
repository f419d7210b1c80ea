/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line as one call. Memory: static, and texts in `arguments`. Main thread. Blocks for
 * as long as the command does.
 */
#ifndef GODWIT_CLI_H
#define GODWIT_CLI_H

/* The whole program: finds the command, parses its options, runs it. The first of `arguments` is
 * the program's name. Returns the exit code (enum gw_run_exit of godwit/run.h). */
int gw_cli_main(int count, char **arguments);

#endif
