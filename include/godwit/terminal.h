/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals that others write to as well: a description of one's own, which can be non-blocking
 * without making theirs so. A terminal polls as writable as soon as it has room for a byte, and a
 * blocking write waits for room for all of them: where nobody reads (a pty whose other side stands
 * still), for ever.
 *
 * Any thread. Blocks: never.
 */
#ifndef GODWIT_TERMINAL_H
#define GODWIT_TERMINAL_H

/* A non-blocking descriptor, to be written and closed by the caller, of the terminal that `fd` is.
 * -1: it is none, or may not be opened anew (it is another user's; there is no /proc). */
int gw_terminal_open_own(int fd);

#endif
