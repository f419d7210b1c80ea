/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records by the kernel (Linux, Documentation/networking/tls.rst), where it can: those that a
 * source seals and a target opens, on every channel the way the guest's pages go. The other way,
 * with its acknowledgements and the target's tickets, stays the library's. The contract:
 * transport/tls_internal.h.
 */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <psa/crypto.h>

#include "godwit/kernel.h"
#include "transport/internal.h"
#include "transport/tls_internal.h"

#ifndef SOL_TLS
#define SOL_TLS 282 /* Linux include/linux/socket.h; C libraries have it not all */
#endif

enum { ALERT = 21, DATA = 23 /* RFC 8446, 5.1 */ };

/* RFC 8446, 6.1: level warning, description close_notify. */
static const unsigned char close_notify[2] = {1, 0};

/* Of the library, and of no header of it. */
int mbedtls_ssl_tls13_hkdf_expand_label(psa_algorithm_t hash, const unsigned char *secret,
                                        size_t secret_len, const unsigned char *label,
                                        size_t label_len, const unsigned char *ctx, size_t ctx_len,
                                        unsigned char *buf, size_t buf_len);

void gw_tls_note_secret(void *context, mbedtls_ssl_key_export_type type,
                        const unsigned char *secret, size_t count,
                        const unsigned char client_random[32],
                        const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
    struct gw_tls_session *session = context;
    (void)client_random;
    (void)server_random;
    (void)prf;
    if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET &&
        count == sizeof(session->traffic_secret)) {
        memcpy(session->traffic_secret, secret, count);
        session->has_traffic_secret = true;
    }
}

static bool expand(const struct gw_tls_session *session, const char *label, unsigned char *bytes,
                   size_t count)
{
    return mbedtls_ssl_tls13_hkdf_expand_label(
               PSA_ALG_SHA_256, session->traffic_secret, sizeof(session->traffic_secret),
               (const unsigned char *)label, strlen(label), NULL, 0, bytes, count) == 0;
}

/* The key, the nonce's beginning and its rest (RFC 8446, 7.3 and 5.3), and the next record's
 * number. */
static bool describe(const struct gw_tls_session *session, bool is_target,
                     struct tls12_crypto_info_aes_gcm_128 *info)
{
    const mbedtls_ssl_context *ssl = &session->ssl;
    unsigned char nonce[TLS_CIPHER_AES_GCM_128_SALT_SIZE + TLS_CIPHER_AES_GCM_128_IV_SIZE];
    *info = (struct tls12_crypto_info_aes_gcm_128){
        .info = {.version = TLS_1_3_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128}};
    bool is_known = expand(session, "key", info->key, sizeof(info->key)) &&
                    expand(session, "iv", nonce, sizeof(nonce));
    memcpy(info->salt, nonce, sizeof(info->salt));
    memcpy(info->iv, nonce + sizeof(info->salt), sizeof(info->iv));
    memcpy(info->rec_seq,
           is_target ? ssl->MBEDTLS_PRIVATE(in_ctr) : ssl->MBEDTLS_PRIVATE(cur_out_ctr),
           sizeof(info->rec_seq));
    explicit_bzero(nonce, sizeof(nonce));
    return is_known;
}

/* Has the library nothing of that direction in its hands? */
static bool is_between_records(const struct gw_tls_session *session, bool is_target)
{
    const mbedtls_ssl_context *ssl = &session->ssl;
    return is_target ? ssl->MBEDTLS_PRIVATE(in_left) == 0 && mbedtls_ssl_check_pending(ssl) == 0
                     : ssl->MBEDTLS_PRIVATE(out_left) == 0;
}

/* Before Linux 6.5 a socket whose records the kernel opens polls as readable with a part of one
 * there, which nobody can read: who waits for the rest would not wait (121dca784fc0, "tls: suppress
 * wakeups unless we have a full record"). */
static bool can_wait_for_records(void)
{
    return gw_kernel_is_from(6, 5);
}

/* A kernel without it, or a socket that is none of TCP, refuses; so does one whose records it has
 * begun with. */
void gw_tls_give_to_kernel(struct gw_tls_session *session)
{
    int fd = session->connection->fd;
    bool is_target = gw_tls_is_target(session);
    struct tls12_crypto_info_aes_gcm_128 info;
    session->is_by_kernel =
        session->has_traffic_secret && (!is_target || can_wait_for_records()) &&
        mbedtls_ssl_get_ciphersuite_id_from_ssl(&session->ssl) ==
            MBEDTLS_TLS1_3_AES_128_GCM_SHA256 &&
        is_between_records(session, is_target) && describe(session, is_target, &info) &&
        setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0 &&
        setsockopt(fd, SOL_TLS, is_target ? TLS_RX : TLS_TX, &info, sizeof(info)) == 0;
    explicit_bzero(&info, sizeof(info));
    explicit_bzero(session->traffic_secret, sizeof(session->traffic_secret));
    session->has_traffic_secret = false;
}

/* ---- Records of other kinds ---- */

/* A record's type, beside its bytes. */
union control {
    struct cmsghdr header;
    unsigned char bytes[CMSG_SPACE(sizeof(unsigned char))];
};

static struct msghdr make_message(const struct iovec *parts, int count, union control *control)
{
    struct msghdr message = gw_socket_message(parts, count);
    message.msg_control = control;
    message.msg_controllen = sizeof(*control);
    return message;
}

/* The kernel may have taken a record that the socket has not: what ends the connection next must
 * find nothing of it left. With room for POLLOUT there is room for that and for the alert. */
bool gw_tls_kernel_say_end(const struct gw_tls_session *session)
{
    struct pollfd wait = {.fd = session->connection->fd, .events = POLLOUT};
    const struct iovec part = {.iov_base = (void *)(uintptr_t)close_notify,
                               .iov_len = sizeof(close_notify)};
    union control control = {.header = {.cmsg_level = SOL_TLS,
                                        .cmsg_type = TLS_SET_RECORD_TYPE,
                                        .cmsg_len = CMSG_LEN(sizeof(unsigned char))}};
    *CMSG_DATA(&control.header) = ALERT;
    struct msghdr message = make_message(&part, 1, &control);
    if (poll(&wait, 1, 0) == 0) {
        return false;
    }
    return sendmsg(session->connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
           (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static unsigned char type_of(struct msghdr *message)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message); /* NULL: the end */
    bool is_told =
        header != NULL && header->cmsg_level == SOL_TLS && header->cmsg_type == TLS_GET_RECORD_TYPE;
    return is_told ? *CMSG_DATA(header) : DATA;
}

/* An alert lies where the caller wanted its bytes: it goes to where the library has its own. */
static int take_alert(struct gw_tls_session *session, const struct iovec *parts, int count,
                      size_t got)
{
    unsigned char *alert = session->ssl.MBEDTLS_PRIVATE(in_msg);
    size_t taken = 0;
    for (int i = 0; i < count && taken < 2; i++) {
        for (size_t j = 0; j < parts[i].iov_len && taken < 2; j++) {
            alert[taken++] = ((const unsigned char *)parts[i].iov_base)[j];
        }
    }
    if (got != 2 || taken != 2) {
        return MBEDTLS_ERR_SSL_INVALID_RECORD;
    }
    return alert[1] == close_notify[1] ? MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY
                                       : MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE;
}

int gw_tls_kernel_read(struct gw_tls_session *session, const struct iovec *parts, int count,
                       size_t *bytes)
{
    union control control;
    struct msghdr message = make_message(parts, count, &control);
    ssize_t got = recvmsg(session->connection->fd, &message, MSG_DONTWAIT);
    *bytes = 0;
    if (got < 0 && (errno == EBADMSG || errno == EMSGSIZE || errno == EINVAL)) {
        return MBEDTLS_ERR_SSL_INVALID_MAC;
    }
    if (got < 0) {
        return gw_tls_fail_io(session, errno, MBEDTLS_ERR_SSL_WANT_READ);
    }
    switch (type_of(&message)) {
    case DATA:
        *bytes = (size_t)got;
        return got > 0 ? 0 : MBEDTLS_ERR_SSL_CONN_EOF;
    case ALERT:
        return take_alert(session, parts, count, (size_t)got);
    default: /* a source has nothing else to say (RFC 8446, 4.6: tickets are a target's) */
        return MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE;
    }
}

int gw_tls_kernel_write(struct gw_tls_session *session, const struct iovec *parts, int count,
                        size_t *bytes)
{
    struct msghdr message = gw_socket_message(parts, count);
    *bytes = 0;
    if (session->sealed >= GW_TLS_RECORDS_MAX) {
        return MBEDTLS_ERR_SSL_COUNTER_WRAPPING;
    }
    ssize_t sent = sendmsg(session->connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        return gw_tls_fail_io(session, errno, MBEDTLS_ERR_SSL_WANT_WRITE);
    }
    *bytes = (size_t)sent;
    session->sealed += 1 + (uint32_t)(*bytes / GW_TLS_RECORD_BYTES); /* or less */
    return sent > 0 ? 0 : MBEDTLS_ERR_SSL_WANT_WRITE;
}
