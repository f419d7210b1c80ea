/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a TLS connection ended, in words for the person who can mend it. Never what a key is. The
 * contract: transport/tls_internal.h.
 */
#include <errno.h>
#include <string.h>

#include "transport/internal.h"
#include "transport/tls_internal.h"

static bool is_target(const struct gw_tls_session *session)
{
    return mbedtls_ssl_conf_get_endpoint(mbedtls_ssl_context_get_config(&session->ssl)) ==
           MBEDTLS_SSL_IS_SERVER;
}

static const char *peer_of(const struct gw_tls_session *session)
{
    return session->connection->peer;
}

/* ---- What the peer said (RFC 8446, 6.2) ---- */

static const struct {
    uint8_t alert;
    const char *words;
} alerts[] = {
    {MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE, "it found no way to agree"},
    {MBEDTLS_SSL_ALERT_MSG_DECRYPT_ERROR, "it could not verify what this side proved"},
    {MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION, "it does not speak TLS 1.3"},
    {MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR, "it failed"},
};

static const char *words_of(uint8_t alert)
{
    for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
        if (alerts[i].alert == alert) {
            return alerts[i].words;
        }
    }
    return "it broke off";
}

static enum gw_status explain_alert(struct gw_tls_session *session, struct gw_fault *fault)
{
    uint8_t alert = session->ssl.MBEDTLS_PRIVATE(in_msg)[1];
    const char *name = session->keys->secret.name;
    if (alert == MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION && !session->is_up) {
        return gw_fault_set(fault, GW_REFUSED,
                            "%.120s: the peer does not speak TLS 1.3 (give --tls on both sides)",
                            peer_of(session));
    }
    if (alert == MBEDTLS_SSL_ALERT_MSG_DECRYPT_ERROR && !session->keys->is_x509) {
        return gw_fault_set(
            fault, GW_REFUSED,
            "%.100s: the peer's key \"%s\" is another than this side's of that name "
            "(copy the key file again)",
            peer_of(session), name);
    }
    if (alert == MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE && !session->keys->is_x509) {
        return gw_fault_set(
            fault, GW_REFUSED,
            "%.80s: the peer has no key \"%s\", no cipher in common, or is one with "
            "certificates (its log says which; --tls must name the same key there)",
            peer_of(session), name);
    }
    return gw_fault_set(fault, session->is_up ? GW_LINK : GW_REFUSED,
                        "%.120s: the peer ended TLS: %s (alert %u)", peer_of(session),
                        words_of(alert), alert);
}

/* ---- What this side found ---- */

static bool is_plain_godwit(const struct gw_tls_session *session)
{
    static const uint8_t magic[] = {'G', 'D', 'W', 'T'};
    return session->raw_count >= sizeof(magic) && memcmp(session->raw, magic, sizeof(magic)) == 0;
}

/* A record of TLS begins with its type: 20 to 23 (RFC 8446, 5.1), and a version of 3.x. */
static bool is_tls(const struct gw_tls_session *session)
{
    return session->raw_count < 2 ||
           (session->raw[0] >= 20 && session->raw[0] <= 23 && session->raw[1] == 3);
}

static enum gw_status explain_key(const struct gw_tls_session *session, struct gw_fault *fault)
{
    const char *name = session->keys->secret.name;
    if (session->is_key_known) {
        return gw_fault_set(
            fault, GW_REFUSED,
            "%.100s: the peer's key \"%s\" is another than this side's of that name "
            "(copy the key file again)",
            peer_of(session), name);
    }
    if (session->offered[0] != '\0') {
        return gw_fault_set(
            fault, GW_REFUSED,
            "%.80s: the peer has the key \"%.64s\", this side has \"%s\" (--tls must "
            "name the same key on both)",
            peer_of(session), session->offered, name);
    }
    return gw_fault_set(fault, GW_REFUSED,
                        "%.120s: the peer offered no key and cipher that this side knows",
                        peer_of(session));
}

static enum gw_status explain_handshake(struct gw_tls_session *session, int error,
                                        struct gw_fault *fault)
{
    if (is_plain_godwit(session)) {
        return gw_fault_set(fault, GW_REFUSED,
                            "%.120s: the peer is a godwit without TLS, and this side wants it "
                            "(give --tls on both sides)",
                            peer_of(session));
    }
    if (!is_tls(session)) {
        return gw_fault_set(fault, GW_REFUSED,
                            "%.120s: the peer does not speak TLS (its first bytes are %02x %02x)",
                            peer_of(session), session->raw[0], session->raw[1]);
    }
    if (is_target(session) && !session->keys->is_x509 &&
        error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE) {
        return explain_key(session, fault);
    }
    return gw_fault_set(fault, GW_REFUSED, "%.120s: the TLS handshake failed (error -0x%04x)",
                        peer_of(session), (unsigned)-error);
}

static enum gw_status explain_end(const struct gw_tls_session *session, struct gw_fault *fault)
{
    if (!session->is_up) {
        return gw_fault_set(fault, GW_LINK, "%.120s: the peer closed the connection %s",
                            peer_of(session),
                            session->raw_count > 0 ? "in the TLS handshake"
                            : is_target(session)   ? "before it said anything"
                                                   : "instead of answering TLS (is the target one "
                                                     "with --tls?)");
    }
    bool is_first = fault->status == GW_OK;
    enum gw_status status = gw_fault_set(
        fault, GW_LINK,
        "%.120s: the connection ended without TLS's close_notify (has the peer's process ended?)",
        peer_of(session));
    fault->os_error = is_first ? ECONNRESET : fault->os_error;
    return status;
}

static enum gw_status explain_record(const struct gw_tls_session *session, int error,
                                     struct gw_fault *fault)
{
    bool is_first = fault->status == GW_OK;
    enum gw_status status = gw_fault_set(
        fault, GW_LINK, "%.120s: a TLS record is not what the peer sealed (error -0x%04x)",
        peer_of(session), (unsigned)-error);
    fault->os_error = is_first ? EBADMSG : fault->os_error;
    return status;
}

enum gw_status gw_tls_explain(struct gw_tls_session *session, int error, struct gw_fault *fault)
{
    if (session->io_error != 0 && error != MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        return gw_socket_fault(peer_of(session), session->io_error, fault);
    }
    switch (error) {
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
        return gw_fault_set(fault, GW_LINK, "%.140s: the peer closed the connection",
                            peer_of(session));
    case MBEDTLS_ERR_SSL_CONN_EOF:
        return explain_end(session, fault);
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        return explain_alert(session, fault);
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
        return gw_fault_set(fault, GW_LIMIT,
                            "%.120s: TLS wants more than a connection's share of memory, %d KiB",
                            peer_of(session), (int)(GW_TLS_SESSION_BYTES / GW_KIB));
    default:
        break;
    }
    return session->is_up ? explain_record(session, error, fault)
                          : explain_handshake(session, error, fault);
}
