/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a TLS connection ended, in words for the person who can mend it. Never what a key is. The
 * contract: transport/tls_internal.h.
 */
#include <errno.h>
#include <string.h>

#include "transport/internal.h"
#include "transport/tls_internal.h"

static const char *peer_of(const struct gw_tls_session *session)
{
    return session->connection->peer;
}

/* ---- What the peer said (RFC 8446, 6.2) ---- */

static const struct {
    uint8_t alert;
    const char *words;
} alerts[] = {
    {MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE, "it found no cipher, or no kind of key, in common"},
    {MBEDTLS_SSL_ALERT_MSG_NO_CERT, "it wants a certificate"},
    {MBEDTLS_SSL_ALERT_MSG_BAD_CERT, "this side's certificate is not good"},
    {MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT, "this side's certificate is not for that"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED, "this side's certificate has expired (by its clock)"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN, "this side's certificate is not good"},
    {MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA, "it does not know who signed this side's certificate"},
    {MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED, "it denies access"},
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

static bool is_about_certificate(uint8_t alert)
{
    return (alert >= MBEDTLS_SSL_ALERT_MSG_NO_CERT &&
            alert <= MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN) ||
           (alert >= MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA &&
            alert <= MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED);
}

static enum gw_status explain_alert(const struct gw_tls_session *session, uint8_t alert,
                                    struct gw_fault *fault)
{
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
    /* The library offers nothing but the key, and so misses "signature_algorithms" when it has none
     * of that name. */
    bool is_unknown = alert == MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE ||
                      alert == MBEDTLS_SSL_ALERT_MSG_MISSING_EXTENSION;
    if (is_unknown && !session->keys->is_x509) {
        return gw_fault_set(
            fault, GW_REFUSED,
            "%.80s: the peer has no key \"%s\", no cipher in common, or is one with "
            "certificates (its log says which; --tls must name the same key there)",
            peer_of(session), name);
    }
    /* A source's hands are shaken before the target has looked at its certificate. */
    bool is_refusal = !session->is_up || is_about_certificate(alert);
    return gw_fault_set(fault, is_refusal ? GW_REFUSED : GW_LINK,
                        "%.120s: the peer ended TLS: %s (alert %u)", peer_of(session),
                        words_of(alert), alert);
}

/* ---- What this side found ---- */

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

/* The first of what is wrong with the peer's certificate. */
static const struct {
    uint32_t flag;
    const char *words;
} flaws[] = {
    {MBEDTLS_X509_BADCERT_MISSING, "there is none"},
    {MBEDTLS_X509_BADCERT_NOT_TRUSTED, "not signed by an authority of ca-cert.pem"},
    {MBEDTLS_X509_BADCERT_EXPIRED, "it has expired, by this host's clock"},
    {MBEDTLS_X509_BADCERT_FUTURE, "it is not valid yet, by this host's clock"},
    {MBEDTLS_X509_BADCERT_EXT_KEY_USAGE, "it is not for that (extended key usage)"},
    {MBEDTLS_X509_BADCERT_KEY_USAGE, "it is not for that (key usage)"},
    {MBEDTLS_X509_BADCERT_BAD_MD, "its signature is by a hash that is too weak"},
    {MBEDTLS_X509_BADCERT_BAD_KEY, "its key is too weak"},
};

static enum gw_status explain_certificate(struct gw_tls_session *session, struct gw_fault *fault)
{
    uint32_t flags = mbedtls_ssl_get_verify_result(&session->ssl);
    if (flags == MBEDTLS_X509_BADCERT_CN_MISMATCH) {
        return gw_fault_set(
            fault, GW_REFUSED,
            "%.80s: the target's certificate has not the name %.100s (--tls-hostname "
            "names another)",
            peer_of(session), session->host);
    }
    const char *words = "it cannot be verified";
    for (size_t i = sizeof(flaws) / sizeof(flaws[0]); i > 0; i--) {
        words = (flags & flaws[i - 1].flag) != 0 ? flaws[i - 1].words : words;
    }
    return gw_fault_set(fault, GW_REFUSED, "%.120s: the peer's certificate: %s", peer_of(session),
                        words);
}

static enum gw_status explain_handshake(struct gw_tls_session *session, int error,
                                        struct gw_fault *fault)
{
    if (gw_tls_is_plain_godwit(session)) {
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
    /* A source of this library says what it does not like unsealed: it ends here either way, and
     * the words are as good as nobody's. */
    if (memcmp(session->raw_last, gw_tls_refusal, GW_TLS_REFUSAL_BYTES - 1) == 0) {
        return explain_alert(session, session->raw_last[GW_TLS_REFUSAL_BYTES - 1], fault);
    }
    if (gw_tls_is_target(session) && session->keys->is_x509 &&
        session->ssl.MBEDTLS_PRIVATE(alert_type) == MBEDTLS_SSL_ALERT_MSG_MISSING_EXTENSION) {
        return gw_fault_set(fault, GW_REFUSED,
                            "%.100s: the peer comes with a pre-shared key, this side wants a "
                            "certificate (--tls must be of one kind on both sides)",
                            peer_of(session));
    }
    if (error == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED || error == MBEDTLS_ERR_SSL_BAD_CERTIFICATE ||
        error == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE) {
        return explain_certificate(session, fault);
    }
    if (error == MBEDTLS_ERR_X509_FATAL_ERROR) {
        return gw_fault_set(fault, GW_REFUSED,
                            "%.120s: the peer's certificate has more than %d others between it and "
                            "one of ca-cert.pem",
                            peer_of(session), MBEDTLS_X509_MAX_INTERMEDIATE_CA);
    }
    if (gw_tls_is_target(session) && !session->keys->is_x509 &&
        (error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE || session->offered[0] != '\0')) {
        return explain_key(session, fault);
    }
    return gw_fault_set(fault, GW_REFUSED, "%.120s: the TLS handshake failed (error -0x%04x)",
                        peer_of(session), (unsigned)-error);
}

static enum gw_status explain_end(const struct gw_tls_session *session, struct gw_fault *fault)
{
    if (!session->is_up) {
        return gw_fault_set(
            fault, GW_LINK, "%.120s: the peer closed the connection %s", peer_of(session),
            session->raw_count > 0      ? "in the TLS handshake"
            : gw_tls_is_target(session) ? "before it said anything"
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
    if (session->blocks.failed > 0 && !session->is_up &&
        error != MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        error = MBEDTLS_ERR_SSL_ALLOC_FAILED; /* for which the library has many words */
    }
    switch (error) {
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
        return gw_fault_set(fault, GW_LINK, "%.140s: the peer closed the connection",
                            peer_of(session));
    case MBEDTLS_ERR_SSL_CONN_EOF:
        return explain_end(session, fault);
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        return explain_alert(session, session->ssl.MBEDTLS_PRIVATE(in_msg)[1], fault);
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
        return gw_fault_set(fault, session->is_up ? GW_LIMIT : GW_REFUSED,
                            "%.120s: TLS wants more than a connection's share of memory, %d KiB",
                            peer_of(session), (int)(GW_TLS_SESSION_BYTES / GW_KIB));
    case MBEDTLS_ERR_SSL_COUNTER_WRAPPING:
        return gw_fault_set(fault, GW_LINK,
                            "%.120s: %d records were sealed by one key, which is enough (connect "
                            "again)",
                            peer_of(session), GW_TLS_RECORDS_MAX);
    default:
        break;
    }
    return session->is_up ? explain_record(session, error, fault)
                          : explain_handshake(session, error, fault);
}
