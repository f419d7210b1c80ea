/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coming back: tickets (RFC 8446, 4.6.1), for certificates alone. A pre-shared key's handshake is
 * no longer than a ticket's, and either has its own ephemeral exchange. The contract:
 * transport/tls_internal.h.
 */
#include <stdio.h>
#include <string.h>

#include "transport/tls_internal.h"

enum { LIFETIME_S = 3600 }; /* as long as a target waits for a source that it lost */

/* ---- The target gives them out ---- */

/* What sealing and opening allocate is the identity's, and lives on when the session ends. */
static int write_ticket(void *context, const mbedtls_ssl_session *kept, unsigned char *start,
                        const unsigned char *end, size_t *length, uint32_t *lifetime)
{
    struct gw_tls_session *session = gw_tls_use_memory_of(NULL);
    int error = mbedtls_ssl_ticket_write(context, kept, start, end, length, lifetime);
    (void)gw_tls_use_memory_of(session);
    return error;
}

static int parse_ticket(void *context, mbedtls_ssl_session *kept, unsigned char *bytes,
                        size_t count)
{
    struct gw_tls_session *session = gw_tls_use_memory_of(NULL);
    int error = mbedtls_ssl_ticket_parse(context, kept, bytes, count);
    (void)gw_tls_use_memory_of(session);
    return error;
}

int gw_tls_configure_tickets(struct gw_tls_keys *keys,
                             int (*random)(void *, unsigned char *, size_t))
{
    mbedtls_ssl_config *target = &keys->config[MBEDTLS_SSL_IS_SERVER];
    mbedtls_ssl_conf_session_tickets_cb(target, write_ticket, parse_ticket, &keys->tickets);
    mbedtls_ssl_conf_new_session_tickets(target, 1);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        &keys->config[MBEDTLS_SSL_IS_CLIENT],
        MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    return mbedtls_ssl_ticket_setup(&keys->tickets, random, NULL, MBEDTLS_CIPHER_AES_128_GCM,
                                    LIFETIME_S);
}

/* ---- The source comes back with one ---- */

void gw_tls_offer_ticket(struct gw_tls_session *session)
{
    struct gw_tls_keys *keys = session->keys;
    mbedtls_ssl_session kept;
    mbedtls_ssl_session_init(&kept);
    pthread_mutex_lock(&keys->ticket_lock);
    bool is_there = keys->ticket_bytes > 0 && strcmp(keys->ticket_host, session->host) == 0 &&
                    mbedtls_ssl_session_load(&kept, keys->ticket, keys->ticket_bytes) == 0;
    pthread_mutex_unlock(&keys->ticket_lock);
    if (is_there) {
        (void)mbedtls_ssl_set_session(&session->ssl, &kept); /* else: all of the handshake */
    }
    mbedtls_ssl_session_free(&kept);
}

void gw_tls_keep_ticket(struct gw_tls_session *session)
{
    struct gw_tls_keys *keys = session->keys;
    mbedtls_ssl_session kept;
    mbedtls_ssl_session_init(&kept);
    pthread_mutex_lock(&keys->ticket_lock);
    keys->ticket_bytes = 0;
    if (mbedtls_ssl_get_session(&session->ssl, &kept) == 0 &&
        mbedtls_ssl_session_save(&kept, keys->ticket, sizeof(keys->ticket), &keys->ticket_bytes) !=
            0) {
        keys->ticket_bytes = 0;
    }
    (void)snprintf(keys->ticket_host, sizeof(keys->ticket_host), "%s", session->host);
    pthread_mutex_unlock(&keys->ticket_lock);
    mbedtls_ssl_session_free(&kept);
}
