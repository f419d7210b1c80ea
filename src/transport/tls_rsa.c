/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSA keys of an identity. What they grow to as they are used belongs to the identity and must not
 * be made in the memory of the session that happens to use them. Mbed TLS 3.6, library/rsa.c:
 *
 * - RN, RP and RQ, constants of the moduli, are made by the first use, and stay as they are.
 * - Vi and Vf, which blind a private key, are made by its first use and squared by each later one,
 *   in place, before they are reduced: that needs twice the words of N, or fewer while a value
 *   happens to be short. So they get all of that at once.
 * - If memory ends between a squaring and its reduction, or between Vi's and Vf's, the key is
 *   spoiled for good. So no session begins to sign that has not memory enough.
 *
 * The library's own lock is around each use.
 */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/rsa.h>

#include "transport/tls_internal.h"

int gw_tls_settle_key(mbedtls_pk_context *key, bool is_private,
                      int (*random)(void *, unsigned char *, size_t))
{
    unsigned char bytes[MBEDTLS_MPI_MAX_SIZE] = {0};
    if (mbedtls_pk_get_type(key) != MBEDTLS_PK_RSA) {
        return 0;
    }
    mbedtls_rsa_context *rsa = mbedtls_pk_rsa(*key);
    bytes[mbedtls_rsa_get_len(rsa) - 1] = 2;
    int error = mbedtls_rsa_public(rsa, bytes, bytes);
    if (error != 0 || !is_private) {
        return error;
    }
    error = mbedtls_rsa_private(rsa, random, NULL, bytes, bytes);
    if (error == 0) {
        error = mbedtls_mpi_grow(&rsa->Vi, 2 * rsa->N.n);
    }
    return error == 0 ? mbedtls_mpi_grow(&rsa->Vf, 2 * rsa->N.n) : error;
}

bool gw_tls_can_sign(const mbedtls_pk_context *key)
{
    if (mbedtls_pk_get_type(key) != MBEDTLS_PK_RSA) {
        return true;
    }
    void *room = gw_tls_calloc(GW_TLS_SIGNING_TIMES, mbedtls_rsa_get_len(mbedtls_pk_rsa(*key)));
    gw_tls_free(room);
    return room != NULL;
}

bool gw_tls_is_short_of_memory(const struct gw_tls_session *session)
{
    bool is_target = gw_tls_is_target(session);
    int endpoint = is_target ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;
    int signing =
        is_target ? MBEDTLS_SSL_CERTIFICATE_VERIFY : MBEDTLS_SSL_CLIENT_CERTIFICATE_VERIFY;
    return session->ssl.state == signing && !gw_tls_can_sign(&session->keys->own_key[endpoint]);
}
