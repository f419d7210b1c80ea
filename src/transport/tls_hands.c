/* SPDX-License-Identifier: Apache-2.0 */
/* A TLS handshake, as far as it can go, and what the library leaves to its user on the way. */
#include "transport/tls_internal.h"

void mbedtls_ssl_set_outbound_transform(mbedtls_ssl_context *ssl, mbedtls_ssl_transform *transform);
int mbedtls_ssl_flush_output(mbedtls_ssl_context *ssl);

/* After a target's Finished all it says is sealed by the application's keys (RFC 8446, 4.4.4 and
 * 7.1), and a source reads so. The library keeps the handshake's until the source's Finished is
 * here: what it thinks of a certificate could not be read. A quick source's certificate is here as
 * soon as Finished has left. */
static int take_application_keys(struct gw_tls_session *session)
{
    mbedtls_ssl_context *ssl = &session->ssl;
    if (ssl->MBEDTLS_PRIVATE(state) != MBEDTLS_SSL_CLIENT_CERTIFICATE ||
        !gw_tls_is_target(session)) {
        return 0;
    }
    int error = mbedtls_ssl_flush_output(ssl);
    if (error == 0) {
        mbedtls_ssl_set_outbound_transform(ssl, ssl->MBEDTLS_PRIVATE(transform_application));
    }
    return error;
}

/* The library has nothing for that to say. A peer that has gone is not why this ends. */
static void say_internal_error(struct gw_tls_session *session)
{
    int io_error = session->io_error;
    if (mbedtls_ssl_flush_output(&session->ssl) == 0) {
        (void)mbedtls_ssl_send_alert_message(&session->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                             MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR);
    }
    session->io_error = io_error;
}

static int step(struct gw_tls_session *session)
{
    int error = take_application_keys(session);
    if (error == 0 && gw_tls_is_short_of_memory(session)) {
        error = MBEDTLS_ERR_SSL_ALLOC_FAILED;
    }
    return error == 0 ? mbedtls_ssl_handshake_step(&session->ssl) : error;
}

/* A ticket is good for an hour from the certificate that it stands for. The library would give
 * another to whoever comes with one, and that source's certificate was never looked at again. */
static void skip_ticket(mbedtls_ssl_context *ssl)
{
    if (ssl->MBEDTLS_PRIVATE(state) == MBEDTLS_SSL_TLS1_3_NEW_SESSION_TICKET &&
        mbedtls_ssl_get_peer_cert(ssl) == NULL) {
        ssl->MBEDTLS_PRIVATE(state) = MBEDTLS_SSL_HANDSHAKE_OVER;
    }
}

bool gw_tls_is_again(int error)
{
    return error == MBEDTLS_ERR_SSL_WANT_READ || error == MBEDTLS_ERR_SSL_WANT_WRITE;
}

int gw_tls_step_hands(struct gw_tls_session *session)
{
    int error = 0;
    while (error == 0 && !mbedtls_ssl_is_handshake_over(&session->ssl)) {
        error = step(session);
    }
    if (error == 0 && gw_tls_is_target(session)) {
        skip_ticket(&session->ssl);
    }
    bool is_own =
        error != 0 && !gw_tls_is_again(error) && error != MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE;
    if (is_own && session->blocks.failed > 0) {
        say_internal_error(session);
    }
    return error;
}
