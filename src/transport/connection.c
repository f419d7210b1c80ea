/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of any kind. The contract: godwit/transport.h. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "godwit/clock.h"
#include "godwit/units.h"
#include "transport/internal.h"
#include "transport/tls_internal.h"

const struct gw_transport_options gw_transport_defaults = {
    .is_plaintext_allowed = false,
    .connect_ns_max = 10 * GW_NS_PER_S,
    .idle_ns_max = 10 * GW_NS_PER_S,
};

enum gw_status gw_connection_open(struct gw_connection *connection, struct gw_fault *fault)
{
    connection->operations = NULL;
    connection->tls = NULL;
    connection->options = gw_transport_defaults;
    connection->peer[0] = '\0';
    connection->fd = -1;
    connection->ahead_bytes = 0;
    connection->ahead_at = 0;
    connection->ahead_end = 0;
    connection->stalled = NULL;
    connection->piece_bytes = 0;
    connection->waited_ns = 0;
    connection->starved_ns = 0;
    atomic_store(&connection->is_interrupted, false);
    return gw_notify_open(&connection->cancel, fault);
}

static uint64_t deadline_in(uint64_t ns)
{
    uint64_t now = gw_clock_now_ns();
    return ns > GW_LOOP_FOREVER - now ? GW_LOOP_FOREVER : now + ns;
}

enum gw_status gw_connection_connect(struct gw_connection *connection, const struct gw_uri *uri,
                                     const struct gw_transport_options *options,
                                     struct gw_fault *fault)
{
    GW_ASSERT(connection->operations == NULL && connection->cancel.fd >= 0);
    const struct gw_transport_operations *operations = gw_transport_of(uri->scheme);
    connection->options = *options;
    (void)gw_uri_encode(uri, connection->peer);
    enum gw_status status = gw_uri_check_target(uri, fault);
    if (status != GW_OK) {
        return status;
    }
    if (atomic_load(&connection->is_interrupted)) {
        return gw_socket_interrupted(connection->peer, fault);
    }
    uint64_t deadline_ns = deadline_in(options->connect_ns_max);
    status = operations->connect(connection, uri, deadline_ns, fault);
    if (status != GW_OK) {
        return status;
    }
    connection->operations = operations;
    if (options->tls != NULL) {
        const char *host = uri->scheme == GW_URI_TCP ? uri->host : "";
        status = gw_tls_connect(connection, host, deadline_ns, fault);
    } else {
        connection->piece_bytes = gw_tcp_piece_bytes(connection->fd);
    }
    if (status != GW_OK) {
        operations->close(connection);
        connection->operations = NULL;
    }
    return status;
}

enum gw_status gw_connection_shut(struct gw_connection *connection)
{
    return connection->operations->shut(connection);
}

void gw_connection_close(struct gw_connection *connection)
{
    if (connection->operations != NULL) {
        connection->operations->close(connection);
        connection->operations = NULL;
    }
    /* A zeroed connection was never opened: its 0 is not a descriptor of ours. */
    if (connection->cancel.fd > 0) {
        gw_notify_close(&connection->cancel);
    }
    connection->cancel.fd = -1;
    connection->fd = -1;
}

void gw_connection_interrupt(struct gw_connection *connection)
{
    atomic_store(&connection->is_interrupted, true);
    gw_notify_signal(&connection->cancel);
}

int gw_connection_fd(const struct gw_connection *connection)
{
    return connection->operations == NULL ? -1 : connection->fd;
}

/* ---- Reading ahead ---- */

void gw_connection_read_ahead(struct gw_connection *connection, uint8_t *bytes, size_t count)
{
    GW_ASSERT(connection->ahead_at == connection->ahead_end);
    connection->ahead = bytes;
    connection->ahead_bytes = count;
}

bool gw_connection_has_ahead(const struct gw_connection *connection)
{
    const struct gw_transport_operations *operations = connection->operations;
    return connection->ahead_at < connection->ahead_end ||
           (operations != NULL && operations->has_more != NULL && operations->has_more(connection));
}

const uint8_t *gw_connection_take_ahead(struct gw_connection *connection, size_t count)
{
    if (connection->ahead_end - connection->ahead_at < count) {
        return NULL;
    }
    connection->ahead_at += count;
    return connection->ahead + connection->ahead_at - count;
}

static size_t copy_ahead(struct gw_connection *connection, const struct iovec *parts, int count)
{
    size_t taken = 0;
    for (int i = 0; i < count && connection->ahead_at < connection->ahead_end; i++) {
        size_t left = connection->ahead_end - connection->ahead_at;
        size_t here = parts[i].iov_len < left ? parts[i].iov_len : left;
        memcpy(parts[i].iov_base, connection->ahead + connection->ahead_at, here);
        connection->ahead_at += here;
        taken += here;
    }
    return taken;
}

void gw_connection_on_stall(struct gw_connection *connection, void (*stalled)(void *context),
                            void *context)
{
    connection->stalled = stalled;
    connection->stalled_context = context;
}

static bool is_less(const struct iovec *parts, int count, size_t bytes)
{
    size_t sum = 0;
    for (int i = 0; i < count && sum < bytes; i++) {
        sum += parts[i].iov_len;
    }
    return sum < bytes;
}

static enum gw_status fill_ahead(struct gw_connection *connection, struct gw_fault *fault)
{
    const struct iovec room = {.iov_base = connection->ahead, .iov_len = connection->ahead_bytes};
    connection->ahead_at = 0;
    connection->ahead_end = 0;
    return connection->operations->read(connection, &room, 1, &connection->ahead_end, fault);
}

/* ---- Reading and writing ---- */

enum gw_status gw_connection_read(struct gw_connection *connection, const struct iovec *parts,
                                  int count, size_t *bytes, struct gw_fault *fault)
{
    GW_ASSERT(connection->operations != NULL && count > 0 && count <= GW_CONNECTION_PARTS_MAX);
    if (atomic_load(&connection->is_interrupted)) {
        return gw_socket_interrupted(connection->peer, fault);
    }
    if (connection->ahead_at == connection->ahead_end) {
        if (!is_less(parts, count, connection->ahead_bytes)) {
            return connection->operations->read(connection, parts, count, bytes, fault);
        }
        enum gw_status status = fill_ahead(connection, fault);
        if (status != GW_OK) {
            return status;
        }
    }
    *bytes = copy_ahead(connection, parts, count);
    return GW_OK;
}

enum gw_status gw_connection_write(struct gw_connection *connection, const struct iovec *parts,
                                   int count, size_t *bytes, struct gw_fault *fault)
{
    GW_ASSERT(connection->operations != NULL && count > 0 && count <= GW_CONNECTION_PARTS_MAX);
    if (atomic_load(&connection->is_interrupted)) {
        return gw_socket_interrupted(connection->peer, fault);
    }
    return connection->operations->write(connection, parts, count, bytes, fault);
}

/* What is left of the parts. */
struct rest {
    struct iovec *parts;
    int count;
};

/* Takes `bytes` off the front, and every part that is empty then. */
static void advance(struct rest *rest, size_t bytes)
{
    while (rest->count > 0 && bytes >= rest->parts->iov_len) {
        bytes -= rest->parts->iov_len;
        rest->parts++;
        rest->count--;
    }
    if (rest->count > 0) {
        rest->parts->iov_base = (uint8_t *)rest->parts->iov_base + bytes;
        rest->parts->iov_len -= bytes;
    }
}

static enum gw_status wait_for_peer(struct gw_connection *connection, short events,
                                    struct gw_fault *fault)
{
    uint64_t idle_ns = connection->options.idle_ns_max;
    enum gw_status status =
        gw_socket_wait(connection, connection->fd, events, deadline_in(idle_ns));
    if (status == GW_CANCELLED) {
        return gw_socket_interrupted(connection->peer, fault);
    }
    if (status == GW_AGAIN) {
        char time[GW_UNITS_TEXT_BYTES];
        return gw_fault_set(fault, GW_LINK, "%.140s: the peer %s for %s", connection->peer,
                            events == POLLIN ? "sent nothing" : "read nothing",
                            gw_units_encode_time(time, idle_ns));
    }
    return status;
}

static enum gw_status await(struct gw_connection *connection, short events, struct gw_fault *fault)
{
    uint64_t start_ns = gw_clock_now_ns();
    if (events == POLLIN && connection->stalled != NULL &&
        gw_socket_wait(connection, connection->fd, events, start_ns + GW_STALL_NS) == GW_AGAIN) {
        connection->stalled(connection->stalled_context);
    }
    enum gw_status status = wait_for_peer(connection, events, fault);
    *(events == POLLOUT ? &connection->waited_ns : &connection->starved_ns) +=
        gw_clock_now_ns() - start_ns;
    return status;
}

/* A reader that gets on faster than the bytes come would be woken for each packet, which costs both
 * sides more than the packet: it sleeps until a good part is here, if so much is sure to come. Not
 * for long: a slow link is none of this, and the idle time counts bytes. */
enum { PART_BYTES = 128 * 1024, PART_NS = 2000000 };

static void set_low_water(int fd, int bytes)
{
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)); /* where there is one */
}

/* True when it waited for some more, and they, or the time, have come. */
static bool await_part(struct gw_connection *connection, const struct rest *rest)
{
    if (is_less(rest->parts, rest->count, 2 * (size_t)PART_BYTES - 16384)) {
        return false;
    }
    uint64_t start_ns = gw_clock_now_ns();
    set_low_water(connection->fd, PART_BYTES);
    enum gw_status status =
        gw_socket_wait(connection, connection->fd, POLLIN, deadline_in(PART_NS));
    set_low_water(connection->fd, 1);
    connection->starved_ns += gw_clock_now_ns() - start_ns;
    return status == GW_OK;
}

/* Leaves what fits into `bytes`, in so many parts; *cut is what the last of them has lost. */
static int cut_to(const struct rest *rest, size_t bytes, size_t *cut)
{
    *cut = 0;
    for (int i = 0; i < rest->count; i++) {
        if (rest->parts[i].iov_len > bytes) {
            *cut = rest->parts[i].iov_len - bytes;
            rest->parts[i].iov_len = bytes;
            return i + 1;
        }
        bytes -= rest->parts[i].iov_len;
    }
    return rest->count;
}

typedef enum gw_status transfer(struct gw_connection *connection, const struct iovec *parts,
                                int count, size_t *bytes, struct gw_fault *fault);

static enum gw_status transfer_all(struct gw_connection *connection, struct rest rest,
                                   transfer *some, short events, struct gw_fault *fault)
{
    size_t most =
        events == POLLOUT && connection->piece_bytes > 0 ? connection->piece_bytes : SIZE_MAX;
    advance(&rest, 0);
    while (rest.count > 0) {
        size_t bytes = 0;
        size_t cut = 0;
        int count = cut_to(&rest, most, &cut);
        enum gw_status status = some(connection, rest.parts, count, &bytes, fault);
        rest.parts[count - 1].iov_len += cut;
        if (status == GW_OK) {
            advance(&rest, bytes);
        } else if (status == GW_AGAIN && (events != POLLIN || !await_part(connection, &rest))) {
            status = await(connection, events, fault);
        } else if (status == GW_AGAIN) {
            status = GW_OK;
        }
        if (status != GW_OK) {
            return status;
        }
    }
    return GW_OK;
}

enum gw_status gw_connection_read_all(struct gw_connection *connection, struct iovec *parts,
                                      int count, struct gw_fault *fault)
{
    return transfer_all(connection, (struct rest){parts, count}, gw_connection_read, POLLIN, fault);
}

enum gw_status gw_connection_write_all(struct gw_connection *connection, struct iovec *parts,
                                       int count, struct gw_fault *fault)
{
    return transfer_all(connection, (struct rest){parts, count}, gw_connection_write, POLLOUT,
                        fault);
}
