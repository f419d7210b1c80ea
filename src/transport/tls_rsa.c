/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An RSA key grows as it is used: what blinds a private one, and constants of its modulus, are made
 * by its first use and are as large as they ever get after its second. They would be made in the
 * memory of whatever session signs or verifies first, and outlive it. So a key of an identity is
 * used before there are sessions. (Mbed TLS 3.6, library/rsa.c: rsa_prepare_blinding, RN, RP, RQ;
 * its own lock is around each use.)
 */
#include <mbedtls/rsa.h>

#include "transport/tls_internal.h"

int gw_tls_settle_key(mbedtls_pk_context *key, bool is_private,
                      int (*random)(void *, unsigned char *, size_t))
{
    enum { USES = 2 };
    unsigned char bytes[MBEDTLS_MPI_MAX_SIZE] = {0};
    if (mbedtls_pk_get_type(key) != MBEDTLS_PK_RSA) {
        return 0;
    }
    mbedtls_rsa_context *rsa = mbedtls_pk_rsa(*key);
    bytes[mbedtls_rsa_get_len(rsa) - 1] = 2;
    int error = mbedtls_rsa_public(rsa, bytes, bytes);
    for (int i = 0; i < USES && is_private && error == 0; i++) {
        error = mbedtls_rsa_private(rsa, random, NULL, bytes, bytes);
    }
    return error;
}
