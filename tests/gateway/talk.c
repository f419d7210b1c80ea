/* SPDX-License-Identifier: Apache-2.0 */
/*
 * talk PATH: passes standard input to a Unix stream socket and what it answers to standard output,
 * until the other side ends or, after the end of the input, has nothing more to say. A side that
 * stops reading is no failure: what it answered still counts.
 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        perror(path);
        return -1;
    }
    return fd;
}

/* False at the end. */
static bool pass(int from, int to)
{
    char bytes[65536];
    ssize_t got = read(from, bytes, sizeof(bytes));
    for (ssize_t done = 0; done < got;) {
        ssize_t written = write(to, bytes + done, (size_t)(got - done));
        if (written <= 0) {
            return false;
        }
        done += written;
    }
    return got > 0;
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 2) {
        (void)fprintf(stderr, "usage: talk PATH\n");
        return 2;
    }
    int fd = open_socket(arguments[1]);
    if (fd < 0) {
        return 1;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    struct pollfd side[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (poll(side, 2, -1) > 0) {
        if (side[0].revents != 0 && !pass(fd, 1)) {
            return 0;
        }
        if (side[1].fd >= 0 && side[1].revents != 0 && !pass(0, fd)) {
            (void)shutdown(fd, SHUT_WR);
            side[1].fd = -1;
        }
    }
    return 1;
}
