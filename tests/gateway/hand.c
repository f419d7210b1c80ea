/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hand: what socket activation and orchestrators do. Makes sockets, then runs a command that has
 * them as its descriptors 3 and up.
 *
 *   hand listen URI PROGRAM ARGUMENTS            one that listens
 *   hand connect URI COUNT PROGRAM ARGUMENTS     so many that are connected
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "godwit/transport.h"

enum { FIRST = 3, ASIDE = 64 };

static struct gw_transport_options options;
static struct gw_fault fault;

static int listen_at(const struct gw_uri *uri)
{
    static struct gw_listener listener;
    return gw_listener_open(&listener, uri, &options, &fault) == GW_OK ? listener.fd : -1;
}

static int connect_to(const struct gw_uri *uri)
{
    static struct gw_connection connection;
    if (gw_connection_open(&connection, &fault) != GW_OK ||
        gw_connection_connect(&connection, uri, &options, &fault) != GW_OK) {
        return -1;
    }
    return gw_connection_fd(&connection);
}

int main(int argc, char **argv)
{
    struct gw_uri uri;
    bool is_listener = argc > 3 && strcmp(argv[1], "listen") == 0;
    bool is_connecting = argc > 4 && strcmp(argv[1], "connect") == 0;
    int count = is_connecting ? atoi(argv[3]) : 1;
    char **command = argv + (is_connecting ? 4 : 3);
    options = gw_transport_defaults;
    options.is_plaintext_allowed = true;
    if ((!is_listener && !is_connecting) || gw_uri_decode(&uri, argv[2], &fault) != GW_OK) {
        (void)fprintf(stderr,
                      "usage: hand listen URI COMMAND | hand connect URI COUNT COMMAND\n%s\n",
                      fault.text);
        return 126;
    }
    for (int i = 0; i < count; i++) {
        int fd = is_listener ? listen_at(&uri) : connect_to(&uri);
        if (fd < 0 || fcntl(fd, F_DUPFD_CLOEXEC, ASIDE + i) != ASIDE + i || close(fd) != 0) {
            (void)fprintf(stderr, "hand: %s\n", fault.text);
            return 126;
        }
    }
    for (int i = 0; i < count; i++) { /* not close-on-exec, unlike what they are copies of */
        if (dup2(ASIDE + i, FIRST + i) < 0) {
            perror("hand");
            return 126;
        }
    }
    (void)execvp(command[0], command);
    perror(command[0]);
    return 126;
}
