/* SPDX-License-Identifier: Apache-2.0 */
/* A command that lasts is asked to end: SIGINT or SIGTERM. Main thread. */
#ifndef GW_CLI_INTERRUPT_H
#define GW_CLI_INTERRUPT_H

#include <stdbool.h>

/* From now on either signal is only noted; what is waited for (gw_cli_client_wait) ends. */
void gw_cli_catch_interrupts(void);
bool gw_cli_is_interrupted(void);

/* Nothing came of it: the next one ends this program, as signals do. */
void gw_cli_release_interrupts(void);

#endif
