/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets by path. The contract: godwit/unix_socket.h. */
#include "godwit/unix_socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "godwit/clock.h"

enum {
    BACKLOG = 16,           /* clients that may wait to be accepted */
    FULL_QUEUE_WAIT_MS = 5, /* a full queue tells no one when it empties: look again */
};

static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == GW_UNIX_PATH_BYTES, "unix(7)");

static enum gw_status make_address(const char *path, struct sockaddr_un *address,
                                   struct gw_fault *fault)
{
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address->sun_path)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "socket path \"%.120s\": has %zu characters, wanted 1 to %zu", path,
                            length, sizeof(address->sun_path) - 1);
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length + 1);
    return GW_OK;
}

static int make_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* 0, or the errno of one attempt to connect. EAGAIN: someone listens, its queue is full. */
static int try_connect(int fd, const struct sockaddr_un *address)
{
    int result;
    do {
        result = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

/* Others hold a directory for as long as a look at a socket takes. Whoever holds one for longer, as
 * anybody may who can read it, is not waited for. */
enum { LOCK_TRIES = 40 };
#define LOCK_PAUSE_NS (50 * (long)GW_NS_PER_MS)

/* Opens the directory of the path and locks it: of two processes that find the same stale socket
 * the later one must not remove what the earlier one put in its place. -1: errno. */
static int lock_directory(const char *path)
{
    char directory[GW_UNIX_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    memcpy(directory, path, length);
    directory[length] = '\0';
    const char *name = slash == NULL ? "." : length == 0 ? "/" : directory;
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    for (int tries = LOCK_TRIES; flock(fd, LOCK_EX | LOCK_NB) != 0;) {
        const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
        int error = errno;
        if ((error != EINTR && error != EWOULDBLOCK) || tries-- == 0) {
            (void)close(fd);
            errno = error;
            return -1;
        }
        (void)nanosleep(&pause, NULL);
    }
    return fd;
}

/* Removes the file at the path if it is a socket that no one listens on. Under the lock. */
static enum gw_status remove_stale(const struct sockaddr_un *address, struct gw_fault *fault)
{
    const char *path = address->sun_path;
    struct stat found;
    if (lstat(path, &found) != 0) {
        return errno == ENOENT ? GW_OK : gw_fault_set_os(fault, errno, "socket %s", path);
    }
    if (!S_ISSOCK(found.st_mode)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "socket %s: a file that is no socket is there; it was left alone",
                            path);
    }
    /* By a socket of another type: whoever listens there hears of no connection (Linux
     * net/unix/af_unix.c, unix_find_bsd: EPROTOTYPE where a socket is, ECONNREFUSED where none). */
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return gw_fault_set_os(fault, errno, "socket");
    }
    int error = try_connect(probe, address);
    (void)close(probe);
    if (error != ECONNREFUSED && error != ENOENT) {
        return error == 0 || error == EPROTOTYPE
                   ? gw_fault_set(fault, GW_ARGUMENT, "socket %s: another process listens there",
                                  path)
                   : gw_fault_set_os(fault, error, "socket %s: is there already", path);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return gw_fault_set_os(fault, errno, "removing the stale socket %s", path);
    }
    return GW_OK;
}

/* The mode is set before bind makes the file, so that it is never open to others; and not by
 * umask, which belongs to all threads. */
static enum gw_status bind_listener(const struct sockaddr_un *address, int *fd,
                                    struct gw_fault *fault)
{
    int listener = make_socket();
    if (listener < 0) {
        return gw_fault_set_os(fault, errno, "socket");
    }
    if (fchmod(listener, 0600) != 0 ||
        bind(listener, (const struct sockaddr *)address, sizeof(*address)) != 0 ||
        listen(listener, BACKLOG) != 0) {
        enum gw_status status =
            gw_fault_set_os(fault, errno, "listening on socket %s", address->sun_path);
        (void)close(listener);
        return status;
    }
    *fd = listener;
    return GW_OK;
}

enum gw_status gw_unix_listen(const char *path, int *fd, struct gw_fault *fault)
{
    struct sockaddr_un address;
    enum gw_status status = make_address(path, &address, fault);
    if (status != GW_OK) {
        return status;
    }
    int directory_fd = lock_directory(path);
    if (directory_fd < 0) {
        return gw_fault_set_os(fault, errno, "directory of socket %s", path);
    }
    status = remove_stale(&address, fault);
    if (status == GW_OK) {
        status = bind_listener(&address, fd, fault);
    }
    (void)close(directory_fd);
    return status;
}

enum gw_status gw_unix_accept(int listener_fd, int *fd, struct gw_fault *fault)
{
    int peer = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer >= 0) {
        *fd = peer;
        return GW_OK;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) {
        return GW_AGAIN;
    }
    return gw_fault_set_os(fault, errno, "accepting a client");
}

static enum gw_status connect_fault(int error, const char *path, struct gw_fault *fault)
{
    if (error == ECONNREFUSED) {
        return gw_fault_set(fault, GW_LINK, "unix:%s: no one listens there (its process is gone)",
                            path);
    }
    if (error == ENOENT) {
        return gw_fault_set(fault, GW_LINK, "unix:%s: there is no such socket", path);
    }
    return gw_fault_set_os(fault, error, "unix:%s", path);
}

/* Waits a little, for a queue to empty. True when cancel_fd became readable. */
static bool wait_cancelled(int cancel_fd)
{
    struct pollfd wait = {.fd = cancel_fd, .events = POLLIN};
    return poll(&wait, 1, FULL_QUEUE_WAIT_MS) > 0;
}

enum gw_status gw_unix_connect(const char *path, uint64_t timeout_ns, int cancel_fd, int *fd,
                               struct gw_fault *fault)
{
    struct sockaddr_un address;
    enum gw_status status = make_address(path, &address, fault);
    if (status != GW_OK) {
        return status;
    }
    int peer = make_socket();
    if (peer < 0) {
        return gw_fault_set_os(fault, errno, "socket");
    }
    uint64_t start = gw_clock_now_ns();
    int error = try_connect(peer, &address);
    while (error == EAGAIN && gw_clock_now_ns() - start < timeout_ns) {
        if (wait_cancelled(cancel_fd)) {
            (void)close(peer);
            return gw_fault_set(fault, GW_CANCELLED, "unix:%s: interrupted", path);
        }
        error = try_connect(peer, &address);
    }
    if (error == 0) {
        *fd = peer;
        return GW_OK;
    }
    (void)close(peer);
    return error == EAGAIN
               ? gw_fault_set(fault, GW_LINK, "unix:%s: its process does not answer", path)
               : connect_fault(error, path, fault);
}

void gw_unix_close(int listener_fd, const char *path)
{
    struct sockaddr_un address;
    struct gw_fault ignored;
    gw_fault_clear(&ignored);
    int directory_fd = lock_directory(path);
    /* Once closed, ours is stale like any other; one that lives there by now is not ours. */
    (void)close(listener_fd);
    if (directory_fd >= 0 && make_address(path, &address, &ignored) == GW_OK) {
        (void)remove_stale(&address, &ignored);
    }
    if (directory_fd >= 0) {
        (void)close(directory_fd);
    }
}
