/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets that someone else made and this process inherited or was handed: one that listens (socket
 * activation), or some that are connected (an orchestrator that sets the connections up itself).
 * They may be of any kind that the other transports make. The contract: godwit/transport.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "godwit/parcel.h"
#include "transport/address.h"
#include "transport/internal.h"

static int option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

static bool is_inet(int domain)
{
    return domain == AF_INET || domain == AF_INET6;
}

/* A stream socket of a kind known here; `what` names it in the fault. */
static enum gw_status check_kind(int fd, const char *what, struct gw_fault *fault)
{
    int domain = option(fd, SO_DOMAIN);
    if (domain < 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%s is %s, wanted a socket that this process was started with or was "
                            "sent",
                            what, errno == EBADF ? "not open" : "no socket");
    }
    bool is_known = is_inet(domain) || domain == AF_UNIX || domain == AF_VSOCK;
    int protocol = option(fd, SO_PROTOCOL);
    if (!is_known || option(fd, SO_TYPE) != SOCK_STREAM ||
        (is_inet(domain) && protocol != IPPROTO_TCP)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%s is a socket of family %d, type %d, protocol %d; wanted a stream "
                            "socket: TCP, Unix or vsock",
                            what, domain, option(fd, SO_TYPE), protocol);
    }
    return GW_OK;
}

static enum gw_status adopt(int fd, const char *what, struct gw_fault *fault)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return gw_fault_set_os(fault, errno, "%s", what);
    }
    gw_parcel_unlinger(fd); /* a listener's connections have it from there */
    return GW_OK;
}

static enum gw_status check_plaintext(const struct gw_address *address,
                                      const struct gw_transport_options *options,
                                      struct gw_fault *fault)
{
    struct gw_address_list list = {.count = 1, .address = {*address}};
    return is_inet(address->storage.ss_family) ? gw_address_check_plaintext(&list, options, fault)
                                               : GW_OK;
}

/* False: no URI says it. */
static bool get_uri(const struct gw_address *address, struct gw_uri *uri)
{
    const void *storage = &address->storage;
    const struct sockaddr_un *local = storage;
    switch (address->storage.ss_family) {
    case AF_INET:
    case AF_INET6:
        gw_address_get_uri(address, uri);
        return true;
    case AF_VSOCK:
        gw_vsock_get_uri(storage, uri);
        return true;
    default:
        break;
    }
    /* The kernel ends the path itself, within the size that it tells, if there is room. */
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t bytes = address->size > head ? address->size - head : 0;
    bytes = strnlen(local->sun_path, bytes < sizeof(local->sun_path) ? bytes : 0);
    if (address->storage.ss_family != AF_UNIX || bytes == 0 || local->sun_path[0] != '/') {
        return false;
    }
    *uri = (struct gw_uri){.scheme = GW_URI_UNIX};
    memcpy(uri->path, local->sun_path, bytes);
    return true;
}

static bool get_peer(int fd, struct gw_address *peer)
{
    *peer = (struct gw_address){.size = sizeof(peer->storage)};
    return getpeername(fd, (struct sockaddr *)(void *)&peer->storage, &peer->size) == 0;
}

bool gw_uri_of_peer(int fd, struct gw_uri *uri)
{
    struct gw_address peer;
    return get_peer(fd, &peer) && get_uri(&peer, uri);
}

void gw_uri_keep_to(struct gw_uri *uri, int fd)
{
    struct gw_uri peer;
    if (uri->scheme == GW_URI_TCP && gw_uri_of_peer(fd, &peer)) {
        (void)snprintf(uri->address, sizeof(uri->address), "%s", peer.host);
    }
}

/* ---- Listening ---- */

static enum gw_status fd_listen(struct gw_listener *listener, struct gw_fault *fault)
{
    int fd = listener->uri.fd[0];
    char what[GW_URI_TEXT_BYTES];
    (void)gw_uri_encode(&listener->uri, what);
    if (listener->uri.fd_count != 1) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: found %u descriptors, wanted one socket "
                            "that listens",
                            what, listener->uri.fd_count);
    }
    enum gw_status status = check_kind(fd, what, fault);
    if (status == GW_OK && option(fd, SO_ACCEPTCONN) != 1) {
        struct gw_uri peer;
        status = gw_fault_set(fault, GW_ARGUMENT,
                              "%.120s is a socket that %s, wanted one that listens: every channel "
                              "of a migration is a connection of its own",
                              what, gw_uri_of_peer(fd, &peer) ? "is connected" : "does not listen");
    }
    struct gw_address address = {.size = sizeof(address.storage)};
    if (status == GW_OK) {
        int result = getsockname(fd, (struct sockaddr *)(void *)&address.storage, &address.size);
        GW_ASSERT(result == 0);
        status = check_plaintext(&address, &listener->options, fault);
    }
    if (status == GW_OK) {
        status = adopt(fd, what, fault);
    }
    if (status == GW_OK) {
        listener->fd = fd;
        (void)get_uri(&address, &listener->uri); /* or it goes by its number */
    }
    return status;
}

static const struct gw_transport_operations *kind_of(int fd)
{
    int domain = option(fd, SO_DOMAIN);
    return is_inet(domain)      ? &gw_transport_tcp
           : domain == AF_VSOCK ? &gw_transport_vsock
                                : &gw_transport_unix;
}

static enum gw_status fd_accept(struct gw_listener *listener, struct gw_connection *connection,
                                struct gw_fault *fault)
{
    return kind_of(listener->fd)->accept(listener, connection, fault);
}

/* A socket file stays: whoever made it removes it. */
static void fd_unlisten(struct gw_listener *listener)
{
    (void)close(listener->fd);
    listener->fd = -1;
}

/* ---- Sockets that are connected ---- */

static enum gw_status check_connected(int fd, const char *what,
                                      const struct gw_transport_options *options,
                                      struct gw_fault *fault)
{
    struct gw_address peer;
    enum gw_status status = check_kind(fd, what, fault);
    if (status == GW_OK && option(fd, SO_ACCEPTCONN) == 1) {
        return gw_fault_set(fault, GW_ARGUMENT, "%s listens, wanted one that is connected", what);
    }
    if (status == GW_OK && !get_peer(fd, &peer)) {
        return gw_fault_set(fault, GW_ARGUMENT, "%s is not connected (%s)", what, strerror(errno));
    }
    if (status == GW_OK) {
        status = check_plaintext(&peer, options, fault);
    }
    return status == GW_OK ? adopt(fd, what, fault) : status;
}

enum gw_status gw_sockets_check(const struct gw_uri *uri,
                                const struct gw_transport_options *options, struct gw_fault *fault)
{
    GW_ASSERT(uri->scheme == GW_URI_FD);
    enum gw_status status = GW_OK;
    for (uint32_t i = 0; i < uri->fd_count && status == GW_OK; i++) {
        char what[64];
        (void)snprintf(what, sizeof(what), "socket %u of %u (fd:%d)", i + 1, uri->fd_count,
                       uri->fd[i]);
        status = check_connected(uri->fd[i], what, options, fault);
    }
    return status;
}

void gw_sockets_put(struct gw_sockets *sockets, const struct gw_uri *uri)
{
    gw_sockets_close(sockets);
    memcpy(sockets->fd, uri->fd, sizeof(sockets->fd));
    sockets->count = uri->fd_count;
    atomic_store(&sockets->next, 0);
}

void gw_sockets_close(struct gw_sockets *sockets)
{
    for (uint32_t i = atomic_load(&sockets->next); i < sockets->count; i++) {
        (void)close(sockets->fd[i]);
    }
    atomic_store(&sockets->next, sockets->count);
}

static enum gw_status fd_connect(struct gw_connection *connection, const struct gw_uri *uri,
                                 uint64_t deadline_ns, struct gw_fault *fault)
{
    struct gw_sockets *sockets = connection->options.sockets;
    (void)deadline_ns;
    uint32_t at = sockets != NULL ? atomic_fetch_add(&sockets->next, 1) : 0;
    if (sockets == NULL || at >= sockets->count) {
        if (sockets != NULL) {
            atomic_store(&sockets->next, sockets->count);
        }
        return gw_fault_set(fault, GW_LINK,
                            "%.120s: all sockets that were handed in are used up; wanted %u new "
                            "ones",
                            connection->peer, uri->fd_count);
    }
    struct gw_uri peer;
    connection->fd = sockets->fd[at];
    if (gw_uri_of_peer(connection->fd, &peer)) {
        (void)gw_uri_encode(&peer, connection->peer);
    } else {
        (void)snprintf(connection->peer, sizeof(connection->peer), "fd:%d", connection->fd);
    }
    if (is_inet(option(connection->fd, SO_DOMAIN))) {
        gw_tcp_tune(connection->fd, connection->options.idle_ns_max);
    }
    return GW_OK;
}

const struct gw_transport_operations gw_transport_fd = {
    .name = "fd",
    .listen = fd_listen,
    .accept = fd_accept,
    .unlisten = fd_unlisten,
    .connect = fd_connect,
    .read = gw_socket_read,
    .write = gw_socket_write,
    .shut = gw_socket_shut,
    .close = gw_socket_close,
};
