/* SPDX-License-Identifier: Apache-2.0 */
#include "interrupt.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t interrupt_count;

static void on_interrupt(int number)
{
    (void)number;
    interrupt_count++;
}

static void set_handler(void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

void gw_cli_catch_interrupts(void)
{
    set_handler(on_interrupt);
}

void gw_cli_release_interrupts(void)
{
    set_handler(SIG_DFL);
}

bool gw_cli_is_interrupted(void)
{
    return interrupt_count > 0;
}
