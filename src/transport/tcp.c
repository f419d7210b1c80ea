/* SPDX-License-Identifier: Apache-2.0 */
/* Plain TCP, IPv4 and IPv6. The contract: godwit/transport.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "transport/address.h"
#include "transport/internal.h"

enum {
    KEEPALIVE_PROBES = 3, /* within one idle time */
    DEAD_S_MAX = 3600,    /* however long the idle time: a dead host is noticed within an hour */
    UNSENT_BYTES_MAX = 131072, /* half a batch */
    NETWORK_SEGMENT_BYTES_MAX =
        16384,               /* of jumbo frames and such; loopback's are at least 32 KiB */
    PIECE_BYTES = 15 * 4096, /* fits one packet of loopback, by IPv4 and IPv6 */
};

/* All in Linux since 3.12, with values in range. Where a sandbox says no it goes without. */
static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

/* A peer whose host died sends nothing, not even an end: probes find it when nothing is under
 * way, TCP_USER_TIMEOUT when something is (tcp(7)). Buffers are left to the kernel's tuning: a
 * size set by hand would cap it; but it sends what lies there, megabytes on a slow link, also when
 * the sender has stopped for a page that somebody waits for: so little of it lies there unsent. No
 * Nagle on any channel: whole batches are written at once, and the last, short segment of one must
 * not wait a round trip, least of all in the downtime. */
void gw_tcp_tune(int fd, uint64_t idle_ns_max)
{
    uint64_t idle_s = idle_ns_max / GW_NS_PER_S;
    int dead_s = idle_s < 1 ? 1 : idle_s > DEAD_S_MAX ? DEAD_S_MAX : (int)idle_s;
    int step_s = dead_s / (KEEPALIVE_PROBES + 1);
    step_s = step_s < 1 ? 1 : step_s;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, step_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, step_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, dead_s * 1000);
    set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX);
}

size_t gw_tcp_piece_bytes(int fd)
{
    int segment_bytes = 0;
    socklen_t size = sizeof(segment_bytes);
    return getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment_bytes, &size) == 0 &&
                   segment_bytes > NETWORK_SEGMENT_BYTES_MAX
               ? PIECE_BYTES
               : 0;
}

static int make_socket(const struct gw_address *address)
{
    return socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static const struct sockaddr *pointer_to(const struct gw_address *address)
{
    return (const struct sockaddr *)(const void *)&address->storage;
}

/* ---- Listening ---- */

/* -1: errno. */
static int listen_on(const struct gw_address *address)
{
    int fd = make_socket(address);
    if (fd < 0) {
        return -1;
    }
    /* A target started again must get its port although old connections are in TIME_WAIT. */
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return gw_socket_listen(fd, pointer_to(address), address->size);
}

static enum gw_status tcp_listen(struct gw_listener *listener, struct gw_fault *fault)
{
    struct gw_address_list list;
    enum gw_status status = gw_address_resolve(&listener->uri, &list, fault);
    if (status == GW_OK) {
        status = gw_address_check_plaintext(&list, &listener->options, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    int fd = -1;
    for (uint32_t i = 0; i < list.count && fd < 0; i++) {
        fd = listen_on(&list.address[i]);
    }
    if (fd < 0) {
        int error = errno;
        char text[GW_URI_TEXT_BYTES];
        return gw_fault_set_os(fault, error, "%.120s: cannot listen%s",
                               gw_uri_encode(&listener->uri, text),
                               error == EADDRNOTAVAIL ? " (is this an address of this host?)" : "");
    }
    struct gw_address actual = {.size = sizeof(actual.storage)};
    int result = getsockname(fd, (struct sockaddr *)(void *)&actual.storage, &actual.size);
    GW_ASSERT(result == 0);
    gw_address_get_uri(&actual, &listener->uri);
    listener->fd = fd;
    return GW_OK;
}

static enum gw_status tcp_accept(struct gw_listener *listener, struct gw_connection *connection,
                                 struct gw_fault *fault)
{
    struct gw_address peer = {.size = sizeof(peer.storage)};
    int fd = -1;
    enum gw_status status = gw_socket_accept(listener, (struct sockaddr *)(void *)&peer.storage,
                                             &peer.size, &fd, fault);
    if (status != GW_OK) {
        return status;
    }
    gw_tcp_tune(fd, connection->options.idle_ns_max);
    struct gw_uri uri;
    gw_address_get_uri(&peer, &uri);
    (void)gw_uri_encode(&uri, connection->peer);
    connection->fd = fd;
    return GW_OK;
}

static void tcp_unlisten(struct gw_listener *listener)
{
    (void)close(listener->fd);
    listener->fd = -1;
}

/* ---- Connecting ---- */

/* One address: GW_OK, GW_CANCELLED, or GW_LINK with *error set (no fault yet: the next address
 * may do). */
static enum gw_status connect_to(struct gw_connection *connection, const struct gw_address *address,
                                 uint64_t deadline_ns, int *error)
{
    int fd = make_socket(address);
    if (fd < 0) {
        *error = errno;
        return GW_LINK;
    }
    gw_tcp_tune(fd, connection->options.idle_ns_max);
    return gw_socket_connect(connection, fd, pointer_to(address), address->size, deadline_ns,
                             error);
}

static enum gw_status tcp_connect(struct gw_connection *connection, const struct gw_uri *uri,
                                  uint64_t deadline_ns, struct gw_fault *fault)
{
    struct gw_address_list list;
    enum gw_status status = gw_address_resolve(uri, &list, fault);
    if (status == GW_OK) {
        status = gw_address_check_plaintext(&list, &connection->options, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    int error = ETIMEDOUT;
    for (uint32_t i = 0; i < list.count; i++) {
        /* Each address gets its share of what is left: one that answers nothing (an IPv6 route
         * into nowhere) must not eat the time of the next. */
        uint64_t now = gw_clock_now_ns();
        uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
        status = connect_to(connection, &list.address[i], now + left / (list.count - i), &error);
        if (status == GW_OK) {
            return GW_OK;
        }
        if (status == GW_CANCELLED) {
            return gw_socket_interrupted(connection->peer, fault);
        }
    }
    return gw_socket_fault(connection->peer, error, fault);
}

const struct gw_transport_operations gw_transport_tcp = {
    .name = "tcp",
    .listen = tcp_listen,
    .accept = tcp_accept,
    .unlisten = tcp_unlisten,
    .connect = tcp_connect,
    .read = gw_socket_read,
    .write = gw_socket_write,
    .shut = gw_socket_shut,
    .close = gw_socket_close,
};
