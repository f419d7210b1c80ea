/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with descriptors. The contract: godwit/parcel.h. */
#include "godwit/parcel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/clock.h"

enum { LACK_MS = 1 }; /* until a message that the kernel had no memory for is tried again */

/* The one control message there is: SCM_RIGHTS, unix(7). A header, then the descriptors. */
enum { FDS_AT = CMSG_LEN(0) };
struct control {
    _Alignas(struct cmsghdr) uint8_t bytes[FDS_AT + sizeof(int) * GW_PARCEL_FDS_MAX];
};
static_assert(GW_PARCEL_FDS_MAX % 2 == 0, "or the kernel would find room for one more in padding");

enum gw_status gw_parcel_pair(int fd[2], struct gw_fault *fault)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0) {
        return gw_fault_set_os(fault, errno, "a pair of sockets");
    }
    return GW_OK;
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

enum gw_status gw_parcel_adopt(int fd, struct gw_fault *fault)
{
    if (option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_TYPE) != SOCK_SEQPACKET) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "descriptor %d is no Unix socket that keeps messages apart "
                            "(SOCK_SEQPACKET)",
                            fd);
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return gw_fault_set_os(fault, errno, "descriptor %d", fd);
    }
    return GW_OK;
}

static int ms_until(uint64_t deadline_ns)
{
    uint64_t now = gw_clock_now_ns();
    uint64_t ms = now >= deadline_ns ? 0 : (deadline_ns - now + GW_NS_PER_MS - 1) / GW_NS_PER_MS;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static uint64_t deadline_in(uint64_t ns)
{
    uint64_t now = gw_clock_now_ns();
    return ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
}

static enum gw_status await(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd wait = {.fd = fd, .events = events};
    int ready;
    do {
        ready = poll(&wait, 1, ms_until(deadline_ns));
    } while (ready <= 0 && (ready == 0 || errno == EINTR) && ms_until(deadline_ns) > 0);
    return ready > 0 ? GW_OK : GW_AGAIN;
}

enum gw_status gw_parcel_await(int fd, uint64_t timeout_ns)
{
    return await(fd, POLLIN, deadline_in(timeout_ns));
}

/* What sendmsg says when the other side's end is closed, and of nothing else. */
static bool is_end(int error)
{
    return error == EPIPE || error == ECONNRESET || error == ENOTCONN || error == ECONNREFUSED;
}

enum gw_status gw_parcel_send(int fd, const struct gw_parcel *parcel, uint64_t timeout_ns,
                              struct gw_fault *fault)
{
    GW_ASSERT(parcel->size > 0 && parcel->fd_count <= GW_PARCEL_FDS_MAX);
    uint64_t deadline_ns = deadline_in(timeout_ns);
    struct cmsghdr header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    struct control control;
    struct iovec part = {.iov_base = parcel->bytes, .iov_len = parcel->size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (parcel->fd_count > 0) {
        socklen_t bytes = (socklen_t)(FDS_AT + sizeof(int) * parcel->fd_count);
        header.cmsg_len = bytes;
        memset(&control, 0, FDS_AT);
        memcpy(control.bytes, &header, sizeof(header));
        memcpy(control.bytes + FDS_AT, parcel->fd, sizeof(int) * parcel->fd_count);
        message.msg_control = &control;
        message.msg_controllen = bytes;
    }
    while (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        int error = errno;
        if (is_end(error)) {
            return gw_fault_set(fault, GW_LINK, "the other process is gone");
        }
        if (error == EINTR || (error == EAGAIN && await(fd, POLLOUT, deadline_ns) == GW_OK)) {
            continue;
        }
        bool is_lack = error == ENOBUFS || error == ENOMEM; /* no event tells when it is over */
        if ((is_lack && ms_until(deadline_ns) > 0) || deadline_ns == UINT64_MAX) {
            (void)poll(NULL, 0, LACK_MS);
            continue;
        }
        return gw_fault_set_os(fault, error, "%s",
                               error == EAGAIN ? "the other process does not read"
                                               : "a message to the other process");
    }
    return GW_OK;
}

void gw_parcel_unlinger(int fd)
{
    const struct linger none = {.l_onoff = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

static void take_fds(struct gw_parcel *parcel, const struct control *control, size_t bytes)
{
    struct cmsghdr header;
    if (bytes <= FDS_AT) {
        return;
    }
    memcpy(&header, control->bytes, sizeof(header));
    if (header.cmsg_level == SOL_SOCKET && header.cmsg_type == SCM_RIGHTS) {
        parcel->fd_count = (uint32_t)((header.cmsg_len - FDS_AT) / sizeof(int));
        memcpy(parcel->fd, control->bytes + FDS_AT, sizeof(int) * parcel->fd_count);
    }
    for (uint32_t i = 0; i < parcel->fd_count; i++) {
        gw_parcel_unlinger(parcel->fd[i]);
    }
}

enum gw_status gw_parcel_receive(int fd, struct gw_parcel *parcel, struct gw_fault *fault)
{
    struct control control;
    struct iovec part = {.iov_base = parcel->bytes, .iov_len = parcel->capacity};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    parcel->size = 0;
    parcel->fd_count = 0;
    ssize_t got;
    do {
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        /* The other side ended with something unread: Linux says so once, before what it sent. */
    } while (got < 0 && errno == ECONNRESET);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return GW_AGAIN;
    }
    if (got < 0) {
        return gw_fault_set_os(fault, errno, "the other process");
    }
    take_fds(parcel, &control, message.msg_controllen);
    if (got == 0 && parcel->fd_count == 0) {
        return gw_fault_set(fault, GW_LINK, "the other process is gone");
    }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        gw_parcel_close_fds(parcel);
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the other process sent a message of more than %zu bytes or %d "
                            "descriptors",
                            parcel->capacity, GW_PARCEL_FDS_MAX);
    }
    parcel->size = (size_t)got;
    return GW_OK;
}

void gw_parcel_close_fds(struct gw_parcel *parcel)
{
    for (uint32_t i = 0; i < parcel->fd_count; i++) {
        if (parcel->fd[i] >= 0) {
            (void)close(parcel->fd[i]);
        }
    }
    parcel->fd_count = 0;
}
