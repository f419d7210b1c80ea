/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that came with a command: see handed.h. */
#include "run/handed.h"

#include <stdio.h>
#include <string.h>

#include "run/clients.h"

enum gw_status gw_handed_take(struct gw_handed *handed, const char *uri, struct gw_fault *fault)
{
    struct gw_uri given;
    struct gw_uri peer;
    struct gw_parcel came = {.fd_count = 0};
    enum gw_status status = gw_uri_decode(&given, uri, fault);
    handed->socket_count = 0;
    (void)snprintf(handed->uri, sizeof(handed->uri), "%s", uri);
    (void)snprintf(handed->peer, sizeof(handed->peer), "%s", uri);
    if (status != GW_OK || given.scheme != GW_URI_FD) {
        return status;
    }
    came.fd_count = gw_clients_take_fds(came.fd);
    if (came.fd_count != given.fd_count) {
        gw_parcel_close_fds(&came);
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.80s names %u sockets, and %u came with the command (SCM_RIGHTS); "
                            "wanted as many",
                            uri, given.fd_count, came.fd_count);
    }
    memcpy(given.fd, came.fd, sizeof(given.fd));
    handed->socket_count = given.fd_count;
    (void)gw_uri_encode(&given, handed->uri);
    if (gw_uri_of_peer(given.fd[0], &peer)) {
        (void)gw_uri_encode(&peer, handed->peer);
    }
    return GW_OK;
}

void gw_handed_close(const struct gw_handed *handed)
{
    struct gw_uri uri;
    struct gw_sockets sockets = {.count = 0};
    if (handed->socket_count > 0 && gw_uri_decode(&uri, handed->uri, NULL) == GW_OK) {
        gw_sockets_put(&sockets, &uri);
        gw_sockets_close(&sockets);
    }
}
