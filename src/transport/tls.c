/* SPDX-License-Identifier: Apache-2.0 */
/* Identities. The contract: godwit/tls.h. */
#include "godwit/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <mbedtls/aes.h>
#include <mbedtls/sha256.h>
#include <psa/crypto.h>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "transport/tls_internal.h"

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

void *gw_tls_calloc(size_t count, size_t size);
void gw_tls_free(void *block);

/* ---- Random numbers ---- */

static int get_random(void *context, unsigned char *bytes, size_t count)
{
    (void)context;
    while (count > 0) {
        ssize_t got = getrandom(bytes, count, 0);
        if (got < 0 && errno != EINTR) {
            return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
        }
        if (got > 0) {
            bytes += got;
            count -= (size_t)got;
        }
    }
    return 0;
}

psa_status_t mbedtls_psa_external_get_random(mbedtls_psa_external_random_context_t *context,
                                             uint8_t *output, size_t output_size,
                                             size_t *output_length)
{
    (void)context;
    *output_length = output_size;
    return get_random(NULL, output, output_size) == 0 ? PSA_SUCCESS
                                                      : PSA_ERROR_INSUFFICIENT_ENTROPY;
}

/* ---- Ciphers ---- */

bool gw_tls_has_aes(void)
{
#if defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0 && (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
#elif defined(__x86_64__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#else
    return false;
#endif
}

void gw_tls_set_ciphers(struct gw_tls_identity *identity, unsigned ciphers)
{
    const unsigned both[2] = {GW_TLS_AES_128_GCM, GW_TLS_CHACHA20_POLY1305};
    const int number[2] = {MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
                           MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256};
    int count = 0;
    for (int i = 0; i < 2; i++) {
        int which = gw_tls_has_aes() ? i : 1 - i;
        if ((ciphers & both[which]) != 0) {
            identity->keys->ciphers[count++] = number[which];
        }
    }
    GW_ASSERT(count > 0);
    identity->keys->ciphers[count] = 0;
}

/* ---- Pre-shared keys ---- */

static void note_offer(struct gw_tls_session *session, const uint8_t *name, size_t length)
{
    size_t count = length < sizeof(session->offered) ? length : sizeof(session->offered) - 1;
    for (size_t i = 0; i < count; i++) { /* the peer's bytes, for a log */
        session->offered[i] = (char)(name[i] > 0x20 && name[i] < 0x7f ? name[i] : '?');
    }
    session->offered[count] = '\0';
}

/* For a target: the source's key, by its name. */
static int find_secret(void *context, mbedtls_ssl_context *ssl, const unsigned char *name,
                       size_t length)
{
    const struct gw_tls_keys *keys = context;
    const struct gw_tls_secret *secret = &keys->secret;
    struct gw_tls_session *session = mbedtls_ssl_get_user_data_p(ssl);
    note_offer(session, name, length);
    if (length != strlen(secret->name) || memcmp(name, secret->name, length) != 0) {
        return MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
    }
    session->is_key_known = true;
    return mbedtls_ssl_set_hs_psk(ssl, secret->bytes, secret->byte_count);
}

static int configure_psk(struct gw_tls_keys *keys)
{
    const struct gw_tls_secret *secret = &keys->secret;
    mbedtls_ssl_conf_psk_cb(&keys->config[MBEDTLS_SSL_IS_SERVER], find_secret, keys);
    return mbedtls_ssl_conf_psk(&keys->config[MBEDTLS_SSL_IS_CLIENT], secret->bytes,
                                secret->byte_count, (const unsigned char *)secret->name,
                                strlen(secret->name));
}

/* ---- Certificates ---- */

static int configure_x509(struct gw_tls_keys *keys)
{
    int error = gw_tls_configure_tickets(keys, get_random);
    for (int endpoint = 0; endpoint < 2 && error == 0; endpoint++) {
        mbedtls_ssl_config *config = &keys->config[endpoint];
        mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_REQUIRED);
        mbedtls_ssl_conf_ca_chain(config, &keys->authority, NULL);
        mbedtls_ssl_conf_tls13_key_exchange_modes(
            config, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL |
                        MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
        if (keys->has_own[endpoint]) {
            error =
                mbedtls_ssl_conf_own_cert(config, &keys->own[endpoint], &keys->own_key[endpoint]);
        }
    }
    return error;
}

/* ---- Open and close ---- */

static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
                                  MBEDTLS_SSL_IANA_TLS_GROUP_NONE};

static int configure(struct gw_tls_keys *keys)
{
    int error = 0;
    for (int endpoint = 0; endpoint < 2 && error == 0; endpoint++) {
        mbedtls_ssl_config *config = &keys->config[endpoint];
        error = mbedtls_ssl_config_defaults(config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                            MBEDTLS_SSL_PRESET_DEFAULT);
        mbedtls_ssl_conf_rng(config, get_random, NULL);
        mbedtls_ssl_conf_groups(config, groups);
        mbedtls_ssl_conf_ciphersuites(config, keys->ciphers);
        mbedtls_ssl_conf_tls13_key_exchange_modes(
            config, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
    }
    if (error != 0) {
        return error;
    }
    return keys->is_x509 ? configure_x509(keys) : configure_psk(keys);
}

/* The library makes tables, and finds out what this CPU can, when it first needs them, without a
 * lock: that must be before there are threads. */
static psa_status_t use_once(void)
{
    unsigned char bytes[32] = {0};
    mbedtls_aes_context aes;
    mbedtls_aes_init(&aes);
    int error = mbedtls_aes_setkey_enc(&aes, bytes, 128);
    if (error == 0) {
        error = mbedtls_aes_crypt_ecb(&aes, MBEDTLS_AES_ENCRYPT, bytes, bytes);
    }
    if (error == 0) {
        error = mbedtls_sha256(bytes, sizeof(bytes), bytes, 0);
    }
    mbedtls_aes_free(&aes);
    return error == 0 ? PSA_SUCCESS : PSA_ERROR_GENERIC_ERROR;
}

static psa_status_t start_library(void)
{
    pthread_mutex_lock(&start_lock);
    psa_status_t status = psa_crypto_init(); /* the second and later do nothing */
    if (status == PSA_SUCCESS) {
        status = use_once();
    }
    pthread_mutex_unlock(&start_lock);
    return status;
}

static enum gw_status read_spec(struct gw_tls_keys *keys, const char *spec, struct gw_fault *fault)
{
    if (strncmp(spec, "psk:", 4) == 0 && spec[4] != '\0') {
        return gw_tls_read_secret(&keys->secret, spec + 4, fault);
    }
    if (strncmp(spec, "x509:", 5) == 0 && spec[5] != '\0') {
        keys->is_x509 = true;
        return gw_tls_read_certificates(keys, spec + 5, get_random, fault);
    }
    return gw_fault_set(fault, GW_ARGUMENT, "TLS: found \"%.100s\", wanted psk:FILE or x509:DIR",
                        spec);
}

static void open_all(struct gw_tls_keys *keys)
{
    for (int endpoint = 0; endpoint < 2; endpoint++) {
        mbedtls_ssl_config_init(&keys->config[endpoint]);
        mbedtls_x509_crt_init(&keys->own[endpoint]);
        mbedtls_pk_init(&keys->own_key[endpoint]);
    }
    mbedtls_x509_crt_init(&keys->authority);
    mbedtls_ssl_ticket_init(&keys->tickets);
    (void)pthread_mutex_init(&keys->ticket_lock, NULL);
}

static void close_all(struct gw_tls_keys *keys)
{
    for (int endpoint = 0; endpoint < 2; endpoint++) {
        mbedtls_ssl_config_free(&keys->config[endpoint]);
        mbedtls_x509_crt_free(&keys->own[endpoint]);
        mbedtls_pk_free(&keys->own_key[endpoint]);
    }
    mbedtls_x509_crt_free(&keys->authority);
    mbedtls_ssl_ticket_free(&keys->tickets);
    (void)pthread_mutex_destroy(&keys->ticket_lock);
}

enum gw_status gw_tls_open(struct gw_tls_identity *identity, const char *spec, const char *hostname,
                           struct gw_fault *fault)
{
    (void)gw_tls_use_memory_of(NULL);
    identity->keys = NULL;
    struct gw_tls_keys *keys =
        start_library() == PSA_SUCCESS ? gw_tls_calloc(1, sizeof(*keys)) : NULL;
    if (keys == NULL) {
        return gw_fault_set(fault, GW_LIMIT, "TLS: no memory left for another identity");
    }
    identity->keys = keys;
    open_all(keys);
    gw_tls_set_ciphers(identity, GW_TLS_AES_128_GCM | GW_TLS_CHACHA20_POLY1305);
    if (hostname != NULL && strncmp(spec, "psk:", 4) == 0) {
        gw_tls_close(identity);
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s with the host name %.120s: only a certificate has one, wanted "
                            "x509:DIR or no name",
                            spec, hostname);
    }
    (void)snprintf(keys->hostname, sizeof(keys->hostname), "%s", hostname == NULL ? "" : hostname);
    enum gw_status status = read_spec(keys, spec, fault);
    if (status == GW_OK && configure(keys) != 0) {
        status = gw_fault_set(fault, GW_LIMIT, "%.120s: larger than the memory for keys, %d KiB",
                              spec, (int)(GW_TLS_COMMON_BYTES / GW_KIB));
    }
    if (status != GW_OK) {
        gw_tls_close(identity);
    }
    return status;
}

void gw_tls_close(struct gw_tls_identity *identity)
{
    struct gw_tls_keys *keys = identity->keys;
    if (keys == NULL) {
        return;
    }
    (void)gw_tls_use_memory_of(NULL);
    close_all(keys);
    explicit_bzero(keys, sizeof(*keys));
    gw_tls_free(keys);
    identity->keys = NULL;
}
