/* SPDX-License-Identifier: Apache-2.0 */
/* Terminals. The contract: godwit/terminal.h. */
#include "godwit/terminal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int gw_terminal_open_own(int fd)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return isatty(fd) ? open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) : -1;
}
