/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS in front of a connection's own reads and writes. The contract: godwit/tls.h.
 *
 * A session's lock is held around each step of the library, which is not for two threads at a time;
 * never while waiting for the peer. Whoever waits does so outside, for the descriptor; what has
 * been decrypted and not been read yet shows in has_more. The library reads on over records that
 * carry nothing (RFC 8446: change_cipher_spec; warnings; tickets), however many: a caller's turn
 * ends by the number of bytes, and the descriptor still has the rest.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "godwit/clock.h"
#include "transport/internal.h"
#include "transport/tls_internal.h"

#define REFUSAL_NS GW_NS_PER_S /* a target's time to read why it was turned away */
enum { TURN_BYTES = 2 * GW_TLS_RECORD_BYTES };

static void enter(struct gw_tls_session *session)
{
    pthread_mutex_lock(&session->lock);
    (void)gw_tls_use_memory_of(session);
    session->turn_bytes = 0;
}

static void leave(struct gw_tls_session *session)
{
    (void)gw_tls_use_memory_of(NULL);
    pthread_mutex_unlock(&session->lock);
}

bool gw_tls_is_target(const struct gw_tls_session *session)
{
    return mbedtls_ssl_conf_get_endpoint(mbedtls_ssl_context_get_config(&session->ssl)) ==
           MBEDTLS_SSL_IS_SERVER;
}

static bool is_read_by_kernel(const struct gw_tls_session *session)
{
    return session->is_by_kernel && gw_tls_is_target(session);
}

static bool is_written_by_kernel(const struct gw_tls_session *session)
{
    return session->is_by_kernel && !gw_tls_is_target(session);
}

/* ---- The socket, for the library ---- */

/* The library passes them through, and has no others like them for us. */
enum { IO_FAILED = MBEDTLS_ERR_SSL_BAD_INPUT_DATA, PLAIN_PEER = MBEDTLS_ERR_SSL_INVALID_RECORD };

int gw_tls_fail_io(struct gw_tls_session *session, int error, int again)
{
    if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR) {
        return again;
    }
    session->io_error = error;
    return IO_FAILED;
}

/* For words about what was no TLS, or not sealed. */
static void note_raw(struct gw_tls_session *session, const unsigned char *bytes, size_t count)
{
    enum { LAST = sizeof(session->raw_last) };
    for (size_t i = 0; i < count && session->raw_count < sizeof(session->raw); i++) {
        session->raw[session->raw_count++] = bytes[i];
    }
    size_t here = count < LAST ? count : LAST;
    memmove(session->raw_last, session->raw_last + here, LAST - here);
    memcpy(session->raw_last + LAST - here, bytes + count - here, here);
}

static int receive_raw(void *context, unsigned char *bytes, size_t count)
{
    struct gw_tls_session *session = context;
    if (session->turn_bytes >= TURN_BYTES) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    ssize_t got = recv(session->connection->fd, bytes, count, MSG_DONTWAIT);
    if (got < 0) {
        return gw_tls_fail_io(session, errno, MBEDTLS_ERR_SSL_WANT_READ);
    }
    session->turn_bytes += (uint32_t)got;
    if (!session->is_up) {
        note_raw(session, bytes, (size_t)got);
    }
    /* The library would answer with what that peer does not understand. */
    return gw_tls_is_plain_godwit(session) ? PLAIN_PEER : (int)got;
}

static int send_raw(void *context, const unsigned char *bytes, size_t count)
{
    struct gw_tls_session *session = context;
    if (is_written_by_kernel(session)) { /* an alert, which the kernel would seal once more */
        return (int)count;
    }
    int more = session->has_next ? MSG_MORE : 0; /* fewer and fuller packets */
    ssize_t sent = send(session->connection->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL | more);
    return sent < 0 ? gw_tls_fail_io(session, errno, MBEDTLS_ERR_SSL_WANT_WRITE) : (int)sent;
}

/* ---- The end ---- */

/* The first reason is the one for all later calls. */
static enum gw_status explain(struct gw_tls_session *session, int error, struct gw_fault *fault)
{
    if (session->end.status == GW_OK) {
        (void)gw_tls_explain(session, error, &session->end);
    }
    if (fault != NULL && fault->status == GW_OK) {
        *fault = session->end;
    }
    return session->end.status;
}

static enum gw_status end(struct gw_tls_session *session, int error, struct gw_fault *fault)
{
    session->is_ended = true;
    /* One that closes in order may still be told something. */
    session->is_broken = session->is_broken || error != MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY;
    return explain(session, error, fault);
}

/* A peer that says no and leaves breaks the write that comes next: what it said is still there to
 * be read, and says more, be it TLS's word or a message. */
static enum gw_status end_of_write(struct gw_tls_session *session, int error,
                                   struct gw_fault *fault)
{
    if (error != IO_FAILED || !session->is_up) {
        return end(session, error, fault);
    }
    unsigned char nothing;
    if (!is_read_by_kernel(session) && mbedtls_ssl_get_bytes_avail(&session->ssl) == 0 &&
        mbedtls_ssl_read(&session->ssl, &nothing, 0) == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        return end(session, MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE, fault);
    }
    session->is_broken = true;
    return explain(session, error, fault);
}

/* ---- Hands ---- */

/* GW_AGAIN: *events is what to wait for. */
static enum gw_status shake(struct gw_tls_session *session, short *events, struct gw_fault *fault)
{
    if (session->is_up) {
        return GW_OK;
    }
    if (session->is_broken) {
        return explain(session, 0, fault);
    }
    int error = gw_tls_step_hands(session);
    if (gw_tls_is_again(error)) {
        *events = error == MBEDTLS_ERR_SSL_WANT_READ ? POLLIN : POLLOUT;
        return GW_AGAIN;
    }
    session->is_up = error == 0;
    if (session->is_up) {
        gw_tls_give_to_kernel(session);
    }
    if (error == PLAIN_PEER && gw_tls_is_plain_godwit(session)) {
        gw_tls_refuse_plain_godwit(session);
    }
    return error == 0 ? GW_OK : end_of_write(session, error, fault);
}

static struct gw_tls_session *open_session(struct gw_connection *connection, int endpoint)
{
    struct gw_tls_session *session = gw_tls_take_session();
    if (session == NULL) {
        return NULL;
    }
    session->connection = connection;
    session->keys = connection->options.tls->keys;
    enter(session);
    mbedtls_ssl_init(&session->ssl);
    int error = mbedtls_ssl_setup(&session->ssl, &session->keys->config[endpoint]);
    mbedtls_ssl_set_user_data_p(&session->ssl, session);
    mbedtls_ssl_set_export_keys_cb(&session->ssl, gw_tls_note_secret, session);
    mbedtls_ssl_set_bio(&session->ssl, session, send_raw, receive_raw, NULL);
    leave(session);
    GW_ASSERT(error == 0); /* its own memory is enough for that */
    return session;
}

static void close_session(struct gw_tls_session *session)
{
    enter(session);
    mbedtls_ssl_free(&session->ssl);
    leave(session);
    explicit_bzero(session->traffic_secret, sizeof(session->traffic_secret));
    gw_tls_give_session(session);
}

static void put_in_front(struct gw_connection *connection, struct gw_tls_session *session)
{
    connection->below = connection->operations;
    connection->operations = &gw_transport_tls;
    connection->tls = session;
}

static enum gw_status refuse_another(const struct gw_connection *connection, struct gw_fault *fault)
{
    return gw_fault_set(fault, GW_LIMIT, "%.120s: %d TLS connections are all there can be",
                        connection->peer, GW_TLS_SESSIONS_MAX);
}

/* Of certificates: who is it to be? */
static enum gw_status expect_host(struct gw_tls_session *session, const char *host,
                                  struct gw_fault *fault)
{
    const struct gw_tls_keys *keys = session->keys;
    const char *wanted = keys->hostname[0] != '\0' ? keys->hostname : host;
    const char *peer = session->connection->peer;
    if (!keys->is_x509) {
        return GW_OK;
    }
    if (!keys->has_own[MBEDTLS_SSL_IS_CLIENT]) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: the directory of --tls x509 has no client-cert.pem and "
                            "client-key.pem, wanted where guests leave",
                            peer);
    }
    if (wanted[0] == '\0') {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: this URI names no host that the target's certificate could "
                            "have, wanted --tls-hostname NAME",
                            peer);
    }
    (void)snprintf(session->host, sizeof(session->host), "%s", wanted);
    enter(session);
    int error = mbedtls_ssl_set_hostname(&session->ssl, session->host);
    gw_tls_offer_ticket(session);
    leave(session);
    GW_ASSERT(error == 0);
    return GW_OK;
}

/* A target that is turned away may still be writing: the rest of its certificates, the proof of
 * them. Closed with that unread, the socket would break that write, and what this side said would
 * never be read. So it is told that no more comes, and what it says is dropped until it ends. */
static void let_it_hear(const struct gw_connection *connection, uint64_t deadline_ns)
{
    uint8_t bytes[1024];
    uint64_t latest_ns = gw_clock_now_ns() + REFUSAL_NS;
    ssize_t got = 1;
    (void)shutdown(connection->fd, SHUT_WR);
    while (got > 0 && gw_socket_wait(connection, connection->fd, POLLIN,
                                     latest_ns < deadline_ns ? latest_ns : deadline_ns) == GW_OK) {
        got = recv(connection->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    }
}

enum gw_status gw_tls_connect(struct gw_connection *connection, const char *host,
                              uint64_t deadline_ns, struct gw_fault *fault)
{
    struct gw_tls_session *session = open_session(connection, MBEDTLS_SSL_IS_CLIENT);
    if (session == NULL) {
        return refuse_another(connection, fault);
    }
    enum gw_status status = expect_host(session, host, fault);
    status = status == GW_OK ? GW_AGAIN : status;
    while (status == GW_AGAIN) {
        short events = POLLIN;
        enter(session);
        status = shake(session, &events, fault);
        leave(session);
        if (status != GW_AGAIN) {
            break;
        }
        enum gw_status waited = gw_socket_wait(connection, connection->fd, events, deadline_ns);
        if (waited == GW_CANCELLED) {
            status = gw_socket_interrupted(connection->peer, fault);
        } else if (waited == GW_AGAIN) {
            status =
                gw_fault_set(fault, GW_LINK,
                             "%.120s: connected, but the TLS handshake did not end in time (is "
                             "the target one with --tls?)",
                             connection->peer);
        }
    }
    if (status == GW_REFUSED) {
        let_it_hear(connection, deadline_ns);
    }
    if (status != GW_OK) {
        close_session(session);
        return status;
    }
    if (session->keys->is_x509 && mbedtls_ssl_get_peer_cert(&session->ssl) == NULL) {
        gw_tls_note_resumed();
    }
    put_in_front(connection, session);
    return GW_OK;
}

enum gw_status gw_tls_check_target(const struct gw_tls_identity *identity, struct gw_fault *fault)
{
    const struct gw_tls_keys *keys = identity->keys;
    if (keys->is_x509 && !keys->has_own[MBEDTLS_SSL_IS_SERVER]) {
        return gw_fault_set(
            fault, GW_ARGUMENT,
            "the directory of --tls x509 has no server-cert.pem and server-key.pem, "
            "wanted where guests come");
    }
    return GW_OK;
}

enum gw_status gw_tls_accept(struct gw_connection *connection, struct gw_fault *fault)
{
    struct gw_tls_session *session = open_session(connection, MBEDTLS_SSL_IS_SERVER);
    if (session == NULL) {
        return refuse_another(connection, fault);
    }
    put_in_front(connection, session);
    return GW_OK;
}

/* ---- Reading ---- */

/* Until the part is full: 0; else why not. */
static int fill_part(struct gw_tls_session *session, const struct iovec *part, size_t *bytes)
{
    size_t got = 0;
    while (got < part->iov_len) {
        int count = mbedtls_ssl_read(&session->ssl, (unsigned char *)part->iov_base + got,
                                     part->iov_len - got);
        if (count == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            gw_tls_keep_ticket(session);
            continue;
        }
        if (count <= 0) {
            return count == 0 ? MBEDTLS_ERR_SSL_CONN_EOF : count;
        }
        got += (size_t)count;
        *bytes += (size_t)count;
        session->turn_bytes = 0;
    }
    return 0;
}

static enum gw_status read_parts(struct gw_tls_session *session, const struct iovec *parts,
                                 int count, size_t *bytes, struct gw_fault *fault)
{
    int error = 0;
    *bytes = 0;
    if (session->is_ended) {
        return explain(session, 0, fault);
    }
    for (int i = 0; i < count && error == 0; i++) {
        error = fill_part(session, &parts[i], bytes);
    }
    if (error != 0 && !gw_tls_is_again(error)) {
        (void)end(session, error, *bytes > 0 ? NULL : fault);
    }
    session->has_more = session->is_ended || mbedtls_ssl_get_bytes_avail(&session->ssl) > 0;
    if (*bytes > 0) {
        return GW_OK;
    }
    return session->is_ended ? session->end.status : GW_AGAIN;
}

static enum gw_status read_by_kernel(struct gw_tls_session *session, const struct iovec *parts,
                                     int count, size_t *bytes, struct gw_fault *fault)
{
    if (session->is_ended) {
        return explain(session, 0, fault);
    }
    int error = gw_tls_kernel_read(session, parts, count, bytes);
    if (error == 0 || gw_tls_is_again(error)) {
        return error == 0 ? GW_OK : GW_AGAIN;
    }
    session->has_more = true; /* the end */
    return end(session, error, fault);
}

/* GW_AGAIN until the peer ends, too: closed with bytes unread, a socket would take back what the
 * peer has not read yet. */
static enum gw_status drain(const struct gw_connection *connection, struct gw_fault *fault)
{
    enum { AT_A_TIME = 64 }; /* then the others have a turn */
    uint8_t bytes[1024];
    ssize_t got = 1;
    for (int i = 0; i < AT_A_TIME && got > 0; i++) {
        got = recv(connection->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    }
    bool is_silent = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    return got <= 0 && !is_silent ? end(connection->tls, 0, fault) : GW_AGAIN;
}

static enum gw_status tls_read(struct gw_connection *connection, const struct iovec *parts,
                               int count, size_t *bytes, struct gw_fault *fault)
{
    struct gw_tls_session *session = connection->tls;
    short events;
    enter(session);
    enum gw_status status =
        session->is_drained ? drain(connection, fault) : shake(session, &events, fault);
    if (status == GW_OK) {
        status = is_read_by_kernel(session) ? read_by_kernel(session, parts, count, bytes, fault)
                                            : read_parts(session, parts, count, bytes, fault);
    }
    leave(session);
    return status;
}

/* ---- Writing ---- */

/* The next record's bytes: where they lie if that fills a record or is all there is, else put
 * together from several parts. */
struct chunk {
    const unsigned char *bytes;
    size_t count;
};

static size_t gather(const struct iovec *parts, int count, size_t first, unsigned char *room)
{
    size_t sum = 0;
    for (int i = 0; i < count && sum < GW_TLS_RECORD_BYTES; i++) {
        size_t here = parts[i].iov_len - first;
        here = here < GW_TLS_RECORD_BYTES - sum ? here : GW_TLS_RECORD_BYTES - sum;
        memcpy(room + sum, (const unsigned char *)parts[i].iov_base + first, here);
        sum += here;
        first = 0;
    }
    return sum;
}

static struct chunk next_chunk(const struct iovec *parts, int count, size_t first,
                               unsigned char *room)
{
    size_t here = parts[0].iov_len - first;
    if (here >= GW_TLS_RECORD_BYTES || count == 1) {
        return (struct chunk){(const unsigned char *)parts[0].iov_base + first,
                              here < GW_TLS_RECORD_BYTES ? here : GW_TLS_RECORD_BYTES};
    }
    return (struct chunk){room, gather(parts, count, first, room)};
}

static bool is_last(const struct iovec *parts, int count, size_t bytes)
{
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > bytes) {
            return false;
        }
        bytes -= parts[i].iov_len;
    }
    return true;
}

/* A record that the socket did not take whole is not written yet: the caller comes again with the
 * same bytes, as the library wants it. */
static int write_record(struct gw_tls_session *session, const struct chunk *chunk)
{
    size_t count = session->pending > 0 ? session->pending : chunk->count;
    GW_ASSERT(count <= chunk->count);
    if (session->pending == 0 && session->sealed++ == GW_TLS_RECORDS_MAX) {
        return MBEDTLS_ERR_SSL_COUNTER_WRAPPING;
    }
    int sent = mbedtls_ssl_write(&session->ssl, chunk->bytes, count);
    while (sent == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) { /* the rest of one half read */
        gw_tls_keep_ticket(session);
        sent = mbedtls_ssl_write(&session->ssl, chunk->bytes, count);
    }
    session->pending = gw_tls_is_again(sent) ? count : 0;
    return sent;
}

static enum gw_status write_parts(struct gw_tls_session *session, const struct iovec *parts,
                                  int count, size_t *bytes, struct gw_fault *fault)
{
    unsigned char room[GW_TLS_RECORD_BYTES];
    size_t first = 0; /* of parts[0] */
    *bytes = 0;
    for (;;) {
        while (count > 0 && first >= parts->iov_len) {
            first -= parts->iov_len;
            parts++;
            count--;
        }
        if (count == 0) {
            return GW_OK;
        }
        struct chunk chunk = next_chunk(parts, count, first, room);
        session->has_next = !is_last(parts, count, first + chunk.count);
        int sent = write_record(session, &chunk);
        session->has_next = false;
        if (gw_tls_is_again(sent)) {
            return *bytes > 0 ? GW_OK : GW_AGAIN;
        }
        if (sent < 0) {
            return end_of_write(session, sent, fault);
        }
        first += (size_t)sent;
        *bytes += (size_t)sent;
    }
}

static enum gw_status write_by_kernel(struct gw_tls_session *session, const struct iovec *parts,
                                      int count, size_t *bytes, struct gw_fault *fault)
{
    int error = gw_tls_kernel_write(session, parts, count, bytes);
    if (error == 0 || gw_tls_is_again(error)) {
        return error == 0 ? GW_OK : GW_AGAIN;
    }
    return end_of_write(session, error, fault);
}

static enum gw_status tls_write(struct gw_connection *connection, const struct iovec *parts,
                                int count, size_t *bytes, struct gw_fault *fault)
{
    struct gw_tls_session *session = connection->tls;
    short events;
    enter(session);
    enum gw_status status = shake(session, &events, fault);
    if (status == GW_OK && session->is_broken) {
        status = explain(session, 0, fault);
    }
    if (status == GW_OK) {
        status = is_written_by_kernel(session)
                     ? write_by_kernel(session, parts, count, bytes, fault)
                     : write_parts(session, parts, count, bytes, fault);
    }
    leave(session);
    return status;
}

/* ---- Closing ---- */

/* What is under way goes first. */
static enum gw_status say_end(struct gw_tls_session *session)
{
    if (session->is_shut || !session->is_up || session->is_broken) {
        return GW_OK;
    }
    if (session->pending > 0) {
        return GW_AGAIN;
    }
    session->is_shut = true;
    if (is_written_by_kernel(session)) {
        session->is_shut = gw_tls_kernel_say_end(session);
        return session->is_shut ? GW_OK : GW_AGAIN;
    }
    int error = mbedtls_ssl_close_notify(&session->ssl);
    session->is_shut = !gw_tls_is_again(error);
    return session->is_shut ? GW_OK : GW_AGAIN;
}

static enum gw_status tls_shut(struct gw_connection *connection)
{
    enter(connection->tls);
    enum gw_status status = say_end(connection->tls);
    connection->tls->is_drained = connection->tls->is_broken;
    leave(connection->tls);
    return status == GW_OK ? connection->below->shut(connection) : status;
}

static bool tls_has_more(const struct gw_connection *connection)
{
    return connection->tls->has_more;
}

/* One that was cut, or is in the middle of something, ends without a word: the peer takes it for
 * what it is. */
static void tls_close(struct gw_connection *connection)
{
    if (!atomic_load(&connection->is_interrupted)) {
        enter(connection->tls);
        (void)say_end(connection->tls);
        leave(connection->tls);
    }
    close_session(connection->tls);
    connection->tls = NULL;
    connection->below->close(connection);
}

const struct gw_transport_operations gw_transport_tls = {
    .name = "tls",
    .read = tls_read,
    .write = tls_write,
    .has_more = tls_has_more,
    .shut = tls_shut,
    .close = tls_close,
};
