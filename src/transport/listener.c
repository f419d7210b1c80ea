/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners of any kind. The contract: godwit/transport.h. */
#include "transport/internal.h"
#include "transport/tls_internal.h"

const struct gw_transport_operations *gw_transport_of(enum gw_uri_scheme scheme)
{
    switch (scheme) {
    case GW_URI_UNIX:
        return &gw_transport_unix;
    case GW_URI_VSOCK:
        return &gw_transport_vsock;
    case GW_URI_FD:
        return &gw_transport_fd;
    case GW_URI_TCP:
        break;
    }
    return &gw_transport_tcp;
}

enum gw_status gw_listener_open(struct gw_listener *listener, const struct gw_uri *uri,
                                const struct gw_transport_options *options, struct gw_fault *fault)
{
    const struct gw_transport_operations *operations = gw_transport_of(uri->scheme);
    *listener = (struct gw_listener){.options = *options, .uri = *uri, .fd = -1};
    enum gw_status status = options->tls != NULL ? gw_tls_check_target(options->tls, fault) : GW_OK;
    if (status == GW_OK) {
        status = operations->listen(listener, fault);
    }
    if (status == GW_OK) {
        listener->operations = operations;
    }
    return status;
}

enum gw_status gw_listener_accept(struct gw_listener *listener, struct gw_connection *connection,
                                  struct gw_fault *fault)
{
    GW_ASSERT(listener->operations != NULL && connection->operations == NULL);
    connection->options = listener->options;
    enum gw_status status = listener->operations->accept(listener, connection, fault);
    if (status != GW_OK) {
        return status;
    }
    connection->operations = listener->operations;
    if (listener->options.tls != NULL) {
        status = gw_tls_accept(connection, fault);
    }
    if (status != GW_OK) {
        listener->operations->close(connection);
        connection->operations = NULL;
    }
    return status;
}

void gw_listener_close(struct gw_listener *listener)
{
    if (listener->operations != NULL) {
        listener->operations->unlisten(listener);
    }
    listener->operations = NULL;
    listener->fd = -1;
}
