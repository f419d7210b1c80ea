/* SPDX-License-Identifier: Apache-2.0 */
/* What every stream socket has in common. The contract: transport/internal.h. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "transport/internal.h"

/* Time until the deadline in milliseconds, rounded up. */
static int poll_timeout(uint64_t deadline_ns)
{
    if (deadline_ns == GW_LOOP_FOREVER) {
        return -1;
    }
    uint64_t now = gw_clock_now_ns();
    uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    uint64_t ms = left / GW_NS_PER_MS + (left % GW_NS_PER_MS != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

enum gw_status gw_socket_wait(const struct gw_connection *connection, int fd, short events,
                              uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd wait[2] = {{.fd = fd, .events = events},
                                 {.fd = connection->cancel.fd, .events = POLLIN}};
        int timeout = poll_timeout(deadline_ns);
        int count = timeout == 0 ? 0 : poll(wait, 2, timeout);
        if (atomic_load(&connection->is_interrupted)) {
            return GW_CANCELLED;
        }
        if (count > 0 && wait[0].revents != 0) {
            return GW_OK;
        }
        if (count == 0 && timeout != INT_MAX) {
            return GW_AGAIN;
        }
        GW_ASSERT(count >= 0 || errno == EINTR || errno == ENOMEM);
    }
}

/* What a person may try. Empty where the errno says it all. */
static const char *hint_of(int os_error)
{
    switch (os_error) {
    case ECONNREFUSED:
        return " (is the target listening?)";
    case ECONNRESET:
    case EPIPE:
        return " (has the peer's process ended?)";
    case ETIMEDOUT:
        return " (is the peer's host up, and no firewall between?)";
    case ENODEV:
        return " (of AF_VSOCK: has this kernel a transport to that context id?)";
    case EHOSTUNREACH:
    case ENETUNREACH:
        return " (is the link up, and a route there?)";
    default:
        return "";
    }
}

enum gw_status gw_socket_fault(const char *uri, int os_error, struct gw_fault *fault)
{
    bool is_first = fault != NULL && fault->status == GW_OK;
    enum gw_status status =
        gw_fault_set(fault, GW_LINK, "%.120s: %s%s", uri, strerror(os_error), hint_of(os_error));
    if (is_first) {
        fault->os_error = os_error;
    }
    return status;
}

enum gw_status gw_socket_interrupted(const char *uri, struct gw_fault *fault)
{
    return gw_fault_set(fault, GW_CANCELLED, "%.140s: interrupted", uri);
}

/* What became of a connect that was under way: 0 or errno. */
static int connect_result(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);
    int result = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    GW_ASSERT(result == 0);
    return error;
}

enum gw_status gw_socket_connect(struct gw_connection *connection, int fd,
                                 const struct sockaddr *address, socklen_t size,
                                 uint64_t deadline_ns, int *error)
{
    *error = connect(fd, address, size) == 0 ? 0 : errno;
    enum gw_status status = GW_OK;
    if (*error == EINPROGRESS || *error == EINTR) {
        status = gw_socket_wait(connection, fd, POLLOUT, deadline_ns);
        *error = status == GW_OK ? connect_result(fd) : ETIMEDOUT;
    }
    if (status == GW_OK && *error == 0) {
        connection->fd = fd;
        return GW_OK;
    }
    (void)close(fd);
    return status == GW_CANCELLED ? GW_CANCELLED : GW_LINK;
}

enum gw_status gw_socket_accept(struct gw_listener *listener, struct sockaddr *address,
                                socklen_t *size, int *fd, struct gw_fault *fault)
{
    *fd = accept4(listener->fd, address, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (*fd >= 0) {
        return GW_OK;
    }
    int error = errno;
    /* accept(2): of errors these are ours, or the listener's, which somebody may have shut down;
     * others are the new connection's, gone. */
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
        error == EINVAL) {
        char text[GW_URI_TEXT_BYTES];
        return gw_fault_set_os(fault, error, "%.120s: accepting a connection",
                               gw_uri_encode(&listener->uri, text));
    }
    return GW_AGAIN;
}

int gw_socket_listen(int fd, const struct sockaddr *address, socklen_t size)
{
    enum { BACKLOG = 16 }; /* channels of one migration, and strangers */
    if (bind(fd, address, size) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static bool is_again(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

struct msghdr gw_socket_message(const struct iovec *parts, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts};
    /* Its type differs between C libraries. */
    message.msg_iovlen = (__typeof__(message.msg_iovlen))count;
    return message;
}

enum gw_status gw_socket_read(struct gw_connection *connection, const struct iovec *parts,
                              int count, size_t *bytes, struct gw_fault *fault)
{
    struct msghdr message = gw_socket_message(parts, count);
    ssize_t got = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    if (got > 0) {
        *bytes = (size_t)got;
        return GW_OK;
    }
    if (got == 0) {
        return gw_fault_set(fault, GW_LINK, "%.140s: the peer closed the connection",
                            connection->peer);
    }
    return is_again(errno) ? GW_AGAIN : gw_socket_fault(connection->peer, errno, fault);
}

enum gw_status gw_socket_write(struct gw_connection *connection, const struct iovec *parts,
                               int count, size_t *bytes, struct gw_fault *fault)
{
    struct msghdr message = gw_socket_message(parts, count);
    /* MSG_NOSIGNAL: a peer that has gone is an error here, not a SIGPIPE to the process. */
    ssize_t sent = sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
        *bytes = (size_t)sent;
        return GW_OK;
    }
    if (sent == 0) {
        return GW_AGAIN;
    }
    return is_again(errno) ? GW_AGAIN : gw_socket_fault(connection->peer, errno, fault);
}

enum gw_status gw_socket_shut(struct gw_connection *connection)
{
    (void)shutdown(connection->fd, SHUT_WR); /* one that is gone needs to hear nothing */
    return GW_OK;
}

void gw_socket_close(struct gw_connection *connection)
{
    (void)close(connection->fd);
    connection->fd = -1;
}
