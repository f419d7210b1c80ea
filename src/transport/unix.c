/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets as a transport, between processes of one gateway. The contract:
 * godwit/transport.h. */
#include <stdio.h>

#include "godwit/clock.h"
#include "godwit/unix_socket.h"
#include "transport/internal.h"

static enum gw_status unix_listen(struct gw_listener *listener, struct gw_fault *fault)
{
    return gw_unix_listen(listener->uri.path, &listener->fd, fault);
}

static enum gw_status unix_accept(struct gw_listener *listener, struct gw_connection *connection,
                                  struct gw_fault *fault)
{
    /* The peer's own socket has no name: it goes by the one it came to. */
    (void)gw_uri_encode(&listener->uri, connection->peer);
    return gw_unix_accept(listener->fd, &connection->fd, fault);
}

static void unix_unlisten(struct gw_listener *listener)
{
    gw_unix_close(listener->fd, listener->uri.path);
    listener->fd = -1;
}

static enum gw_status unix_connect(struct gw_connection *connection, const struct gw_uri *uri,
                                   uint64_t deadline_ns, struct gw_fault *fault)
{
    uint64_t now = gw_clock_now_ns();
    return gw_unix_connect(uri->path, deadline_ns > now ? deadline_ns - now : 0,
                           connection->cancel.fd, &connection->fd, fault);
}

const struct gw_transport_operations gw_transport_unix = {
    .name = "unix",
    .listen = unix_listen,
    .accept = unix_accept,
    .unlisten = unix_unlisten,
    .connect = unix_connect,
    .read = gw_socket_read,
    .write = gw_socket_write,
    .shut = gw_socket_shut,
    .close = gw_socket_close,
};
