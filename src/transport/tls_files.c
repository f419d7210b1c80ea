/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and their keys, from the files that QEMU looks for too. The contract: godwit/tls.h
 * and transport/tls_internal.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "godwit/named_file.h"
#include "transport/tls_internal.h"

enum { FILE_BYTES_MAX = 16384 }; /* a chain of certificates */

/* ---- A file ---- */

/* What others can read is no secret, whoever they are; root's eyes nobody can shut. */
enum gw_status gw_tls_check_secret_file(int fd, const char *path, struct gw_fault *fault)
{
    struct stat facts;
    if (fstat(fd, &facts) != 0) {
        return gw_fault_set_os(fault, errno, "%.120s", path);
    }
    if (!S_ISREG(facts.st_mode)) {
        return gw_fault_set(fault, GW_ARGUMENT, "%.120s: not a file, wanted one with a key", path);
    }
    if (facts.st_uid != geteuid() && facts.st_uid != 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.100s: belongs to user %u, wanted this one's own, %u (chown it; "
                            "make a new key if that user is not to be trusted)",
                            path, (unsigned)facts.st_uid, (unsigned)geteuid());
    }
    if ((facts.st_mode & 077) != 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.100s: has mode %04o, so others can read the key; wanted 0600 (chmod "
                            "600 it; make a new key if somebody may have read it)",
                            path, (unsigned)facts.st_mode & 07777);
    }
    return GW_OK;
}

/* A text of the common memory, with its NUL. */
struct text {
    char path[GW_TLS_SPEC_BYTES + 32];
    unsigned char *bytes;
    size_t count;  /* with the NUL */
    size_t failed; /* allocations, before it */
};

/* The end of a file: its text is given back. The library has many words for too little memory. */
static enum gw_status give_text(struct text *text, enum gw_status status, struct gw_fault *fault)
{
    if (text->bytes != NULL) {
        explicit_bzero(text->bytes, FILE_BYTES_MAX + 1);
    }
    gw_tls_free(text->bytes);
    text->bytes = NULL;
    if (status == GW_OK || status == GW_AGAIN || gw_tls_count_failed() == text->failed) {
        return status;
    }
    gw_fault_clear(fault);
    return gw_fault_set(fault, GW_LIMIT, "%.140s: more than the memory left for keys, of %d KiB",
                        text->path, (int)(GW_TLS_COMMON_BYTES / GW_KIB));
}

static enum gw_status read_fd(struct text *text, int fd, bool is_secret, struct gw_fault *fault)
{
    enum gw_status status = is_secret ? gw_tls_check_secret_file(fd, text->path, fault) : GW_OK;
    if (status != GW_OK) {
        return status;
    }
    ssize_t count = read(fd, text->bytes, FILE_BYTES_MAX + 1);
    if (count < 0) {
        return gw_fault_set_os(fault, errno, "%.200s", text->path);
    }
    if (count > FILE_BYTES_MAX) {
        return gw_fault_set(fault, GW_LIMIT, "%.200s: longer than %d bytes", text->path,
                            FILE_BYTES_MAX);
    }
    text->bytes[count] = '\0';
    text->count = (size_t)count + 1;
    return GW_OK;
}

/* GW_AGAIN: there is no such file. */
static enum gw_status take_text(struct text *text, const char *directory, const char *name,
                                bool is_secret, struct gw_fault *fault)
{
    (void)snprintf(text->path, sizeof(text->path), "%s/%s", directory, name);
    text->failed = gw_tls_count_failed();
    text->bytes = gw_tls_calloc(1, FILE_BYTES_MAX + 1);
    if (text->bytes == NULL) {
        return GW_LIMIT; /* give_text says it */
    }
    int fd = open(text->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        return GW_AGAIN;
    }
    if (fd < 0) {
        (void)gw_fault_set_os(fault, errno, "%.200s", text->path);
        return gw_named_file_judge(fault);
    }
    enum gw_status status = read_fd(text, fd, is_secret, fault);
    (void)close(fd);
    return status;
}

/* ---- What is in it ---- */

static enum gw_status refuse(const struct text *text, int error, const char *wanted,
                             struct gw_fault *fault)
{
    return error > 0 ? gw_fault_set(fault, GW_ARGUMENT, "%.120s: wanted %s; %d in it are none",
                                    text->path, wanted, error)
                     : gw_fault_set(fault, GW_ARGUMENT, "%.120s: wanted %s (error -0x%04x)",
                                    text->path, wanted, (unsigned)-error);
}

static enum gw_status parse_certificates(mbedtls_x509_crt *certificates, const struct text *text,
                                         struct gw_fault *fault)
{
    int error = mbedtls_x509_crt_parse(certificates, text->bytes, text->count);
    if (error != 0) {
        return refuse(
            text, error,
            "certificates in PEM with keys of the curves P-256 or P-384, or RSA of up to 4096 bits",
            fault);
    }
    const mbedtls_x509_time *end = &certificates->valid_to;
    if (mbedtls_x509_time_is_past(end)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.140s: the certificate expired on %04d-%02d-%02d (make a new one, or "
                            "set this host's clock)",
                            text->path, end->year, end->mon, end->day);
    }
    return GW_OK;
}

/* The library's own rule for certificates (mbedtls_x509_crt_profile_default), told where it can be
 * put right. */
static enum gw_status check_size(const mbedtls_pk_context *key, const struct text *text,
                                 struct gw_fault *fault)
{
    enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8 * MBEDTLS_MPI_MAX_SIZE };
    size_t bits = mbedtls_pk_get_bitlen(key);
    if (mbedtls_pk_get_type(key) == MBEDTLS_PK_RSA && bits < RSA_BITS_MIN) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.140s: an RSA key of %zu bits, wanted %d to %d bits", text->path,
                            bits, RSA_BITS_MIN, RSA_BITS_MAX);
    }
    return GW_OK;
}

static enum gw_status settle(mbedtls_pk_context *key, bool is_private, const struct text *text,
                             int (*random)(void *, unsigned char *, size_t), struct gw_fault *fault)
{
    enum gw_status status = check_size(key, text, fault);
    int error = status == GW_OK ? gw_tls_settle_key(key, is_private, random) : 0;
    return error == 0 ? status : refuse(text, error, "an RSA key that works", fault);
}

static enum gw_status parse_key(struct gw_tls_keys *keys, int endpoint, const struct text *text,
                                int (*random)(void *, unsigned char *, size_t),
                                struct gw_fault *fault)
{
    mbedtls_pk_context *key = &keys->own_key[endpoint];
    int error = mbedtls_pk_parse_key(key, text->bytes, text->count, NULL, 0, random, NULL);
    if (error != 0) {
        return refuse(text, error,
                      "a private key in PEM of the curve P-256 or P-384, or RSA of up to 4096 "
                      "bits, without a password",
                      fault);
    }
    if (mbedtls_pk_check_pair(&keys->own[endpoint].pk, key, random, NULL) != 0) {
        return gw_fault_set(fault, GW_ARGUMENT, "%.140s: not the key of the certificate beside it",
                            text->path);
    }
    return settle(key, true, text, random, fault);
}

/* ---- All of them ---- */

static enum gw_status read_authority(struct gw_tls_keys *keys, const char *directory,
                                     int (*random)(void *, unsigned char *, size_t),
                                     struct gw_fault *fault)
{
    struct text text;
    enum gw_status status = take_text(&text, directory, "ca-cert.pem", false, fault);
    if (status == GW_AGAIN) {
        status = gw_fault_set(fault, GW_ARGUMENT, "%.200s: not there; it is who this side believes",
                              text.path);
    }
    if (status == GW_OK) {
        status = parse_certificates(&keys->authority, &text, fault);
    }
    for (mbedtls_x509_crt *one = &keys->authority; one != NULL && status == GW_OK;
         one = one->next) {
        status = settle(&one->pk, false, &text, random, fault);
    }
    return give_text(&text, status, fault);
}

/* A peer would not believe it. */
static enum gw_status check_chain(const mbedtls_x509_crt *own, const struct text *text,
                                  struct gw_fault *fault)
{
    int between = -1;
    for (const mbedtls_x509_crt *one = own; one != NULL; one = one->next) {
        between++;
    }
    return between <= MBEDTLS_X509_MAX_INTERMEDIATE_CA
               ? GW_OK
               : gw_fault_set(fault, GW_ARGUMENT,
                              "%.140s: %d certificates behind the first, wanted %d at most (the "
                              "authority's own is not needed)",
                              text->path, between, MBEDTLS_X509_MAX_INTERMEDIATE_CA);
}

static enum gw_status read_own(struct gw_tls_keys *keys, int endpoint, const char *directory,
                               int (*random)(void *, unsigned char *, size_t),
                               struct gw_fault *fault)
{
    static const char *const names[2][2] = {{"client-cert.pem", "client-key.pem"},
                                            {"server-cert.pem", "server-key.pem"}};
    struct text text;
    enum gw_status status = take_text(&text, directory, names[endpoint][0], false, fault);
    if (status == GW_OK) {
        status = parse_certificates(&keys->own[endpoint], &text, fault);
    }
    if (status == GW_OK) {
        status = check_chain(&keys->own[endpoint], &text, fault);
    }
    status = give_text(&text, status, fault);
    if (status != GW_OK) {
        return status == GW_AGAIN ? GW_OK : status;
    }
    status = take_text(&text, directory, names[endpoint][1], true, fault);
    if (status == GW_AGAIN) {
        status = gw_fault_set(fault, GW_ARGUMENT, "%.140s: not there, beside its certificate",
                              text.path);
    }
    if (status == GW_OK) {
        status = parse_key(keys, endpoint, &text, random, fault);
    }
    status = give_text(&text, status, fault);
    keys->has_own[endpoint] = status == GW_OK;
    return status;
}

enum gw_status gw_tls_read_certificates(struct gw_tls_keys *keys, const char *directory,
                                        int (*random)(void *, unsigned char *, size_t),
                                        struct gw_fault *fault)
{
    enum gw_status status = read_authority(keys, directory, random, fault);
    for (int endpoint = 0; endpoint < 2 && status == GW_OK; endpoint++) {
        status = read_own(keys, endpoint, directory, random, fault);
    }
    if (status == GW_OK && !keys->has_own[0] && !keys->has_own[1]) {
        status = gw_fault_set(fault, GW_ARGUMENT,
                              "%.120s: neither client-cert.pem, for where guests leave, nor "
                              "server-cert.pem, for where they come",
                              directory);
    }
    return status;
}
