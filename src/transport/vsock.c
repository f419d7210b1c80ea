/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_VSOCK: between a virtual machine and its hypervisor, or within one machine (vsock(7)). A peer
 * is a context id and a port; there is no name to resolve and nothing to tune: data goes out at
 * once, and a peer whose machine is gone is told by the kernel. The contract: godwit/transport.h.
 */
#include <assert.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/internal.h"

static_assert(GW_URI_CID_ANY == VMADDR_CID_ANY && GW_URI_CID_HOST == VMADDR_CID_HOST, "vsock(7)");
static_assert(GW_URI_CID_LOCAL == VMADDR_CID_LOCAL, "vsock(7)");

static int make_socket(void)
{
    return socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static struct sockaddr_vm address_of(const struct gw_uri *uri)
{
    return (struct sockaddr_vm){.svm_family = AF_VSOCK,
                                .svm_cid = uri->cid,
                                .svm_port = uri->port == 0 ? VMADDR_PORT_ANY : uri->port};
}

void gw_vsock_get_uri(const struct sockaddr_vm *address, struct gw_uri *uri)
{
    *uri =
        (struct gw_uri){.scheme = GW_URI_VSOCK, .cid = address->svm_cid, .port = address->svm_port};
}

/* What a person may try. Empty where the errno says it all. */
static const char *hint_of(int error)
{
    switch (error) {
    case EAFNOSUPPORT:
        return " (this kernel has no AF_VSOCK: load the module vsock, and one of vsock_loopback, "
               "vhost_vsock, vmw_vsock_virtio_transport)";
    case EADDRNOTAVAIL:
        return " (is this a context id of this machine? any takes all it has)";
    default:
        return "";
    }
}

static enum gw_status vsock_listen(struct gw_listener *listener, struct gw_fault *fault)
{
    struct sockaddr_vm address = address_of(&listener->uri);
    socklen_t size = sizeof(address);
    int fd = make_socket();
    if (fd >= 0) {
        fd = gw_socket_listen(fd, (const struct sockaddr *)(const void *)&address, size);
    }
    if (fd < 0) {
        int error = errno;
        char text[GW_URI_TEXT_BYTES];
        return gw_fault_set_os(fault, error, "%.120s: cannot listen%s",
                               gw_uri_encode(&listener->uri, text), hint_of(error));
    }
    int result = getsockname(fd, (struct sockaddr *)(void *)&address, &size);
    GW_ASSERT(result == 0);
    gw_vsock_get_uri(&address, &listener->uri);
    listener->fd = fd;
    return GW_OK;
}

static enum gw_status vsock_accept(struct gw_listener *listener, struct gw_connection *connection,
                                   struct gw_fault *fault)
{
    struct sockaddr_vm peer = {.svm_family = AF_VSOCK};
    socklen_t size = sizeof(peer);
    int fd = -1;
    enum gw_status status =
        gw_socket_accept(listener, (struct sockaddr *)(void *)&peer, &size, &fd, fault);
    if (status != GW_OK) {
        return status;
    }
    struct gw_uri uri;
    gw_vsock_get_uri(&peer, &uri);
    (void)gw_uri_encode(&uri, connection->peer);
    connection->fd = fd;
    return GW_OK;
}

static void vsock_unlisten(struct gw_listener *listener)
{
    (void)close(listener->fd);
    listener->fd = -1;
}

static enum gw_status vsock_connect(struct gw_connection *connection, const struct gw_uri *uri,
                                    uint64_t deadline_ns, struct gw_fault *fault)
{
    struct sockaddr_vm address = address_of(uri);
    int error = 0;
    int fd = make_socket();
    if (fd < 0) {
        error = errno;
        return gw_fault_set_os(fault, error, "%.120s: socket%s", connection->peer, hint_of(error));
    }
    enum gw_status status =
        gw_socket_connect(connection, fd, (const struct sockaddr *)(const void *)&address,
                          sizeof(address), deadline_ns, &error);
    if (status == GW_CANCELLED) {
        return gw_socket_interrupted(connection->peer, fault);
    }
    return status == GW_OK ? GW_OK : gw_socket_fault(connection->peer, error, fault);
}

const struct gw_transport_operations gw_transport_vsock = {
    .name = "vsock",
    .listen = vsock_listen,
    .accept = vsock_accept,
    .unlisten = vsock_unlisten,
    .connect = vsock_connect,
    .read = gw_socket_read,
    .write = gw_socket_write,
    .shut = gw_socket_shut,
    .close = gw_socket_close,
};
