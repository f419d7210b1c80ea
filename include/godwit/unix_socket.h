/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix stream sockets by path: the control socket, consoles, and migration within one gateway.
 *
 * A listener is made with mode 0600. One that lives is never replaced; a socket file that no one
 * listens on any more (its process died) is. Every fd is close-on-exec and non-blocking.
 *
 * Owner: the fds are the caller's. Blocks: connect, up to its time-out; listen, for as long as
 * another listen in the same directory takes. Threads: any.
 */
#ifndef GODWIT_UNIX_SOCKET_H
#define GODWIT_UNIX_SOCKET_H

#include <stdint.h>

#include "godwit/status.h"

enum { GW_UNIX_PATH_BYTES = 108 }; /* with the NUL: sun_path, unix(7) */

/* GW_ARGUMENT: the path is empty or too long, someone listens there, or a file that is no socket
 * is there. GW_HOST: the kernel refused. */
GW_MUST_USE enum gw_status gw_unix_listen(const char *path, int *fd, struct gw_fault *fault);

/* The next waiting client; GW_AGAIN when there is none. Also GW_AGAIN when the client has gone
 * in the meantime. GW_HOST when out of descriptors: the client waits on. */
GW_MUST_USE enum gw_status gw_unix_accept(int listener_fd, int *fd, struct gw_fault *fault);

/* GW_LINK when no one listens there (the fault says whether the file exists), or the listener's
 * queue stayed full until the time was over. GW_CANCELLED as soon as cancel_fd (-1: none) becomes
 * readable. */
GW_MUST_USE enum gw_status gw_unix_connect(const char *path, uint64_t timeout_ns, int cancel_fd,
                                           int *fd, struct gw_fault *fault);

/* Closes a listener made by gw_unix_listen and removes its file, if it is still its own. */
void gw_unix_close(int listener_fd, const char *path);

#endif
