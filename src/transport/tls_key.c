/* SPDX-License-Identifier: Apache-2.0 */
/* Files of pre-shared keys: "name:hex" and a newline. The contract: godwit/tls.h and
 * transport/tls_internal.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "godwit/named_file.h"
#include "transport/tls_internal.h"

enum {
    RANDOM_NAME_BYTES = 4,
    FILE_BYTES_MAX = GW_TLS_NAME_BYTES + 2 * GW_TLS_KEY_BYTES_MAX + 2, /* name, colon, hex, LF */
};

/* ---- Reading ---- */

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '@';
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static enum gw_status decode_name(struct gw_tls_secret *secret, const char *text, size_t length,
                                  const char *path, struct gw_fault *fault)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_name_character(text[i])) {
            length = 0;
        }
    }
    if (length == 0 || length >= sizeof(secret->name)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: wanted NAME:HEX, NAME of 1 to %zu letters, digits and \"-_.@\""
                            " (godwit keygen writes such a file)",
                            path, sizeof(secret->name) - 1);
    }
    memcpy(secret->name, text, length);
    secret->name[length] = '\0';
    return GW_OK;
}

/* What is wrong is said without what was found: it may be a key. */
static enum gw_status decode_hex(struct gw_tls_secret *secret, const char *text, size_t length,
                                 const char *path, struct gw_fault *fault)
{
    size_t count = length / 2;
    bool is_hex = length % 2 == 0;
    for (size_t i = 0; i < length && is_hex; i++) {
        is_hex = digit_of(text[i]) >= 0;
    }
    if (!is_hex || count < GW_TLS_KEY_BYTES_MIN || count > GW_TLS_KEY_BYTES_MAX) {
        return gw_fault_set(
            fault, GW_ARGUMENT,
            "%.120s: the key is %zu characters%s, wanted %d to %d hexadecimal digits"
            " (godwit keygen makes a good one)",
            path, length, is_hex ? "" : " that are not all pairs of digits",
            2 * GW_TLS_KEY_BYTES_MIN, 2 * GW_TLS_KEY_BYTES_MAX);
    }
    secret->byte_count = count;
    for (size_t i = 0; i < count; i++) {
        secret->bytes[i] = (uint8_t)(digit_of(text[2 * i]) * 16 + digit_of(text[2 * i + 1]));
    }
    return GW_OK;
}

static enum gw_status decode(struct gw_tls_secret *secret, char *text, size_t length,
                             const char *path, struct gw_fault *fault)
{
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r')) {
        length--;
    }
    const char *colon = memchr(text, ':', length);
    size_t name_length = colon == NULL ? 0 : (size_t)(colon - text);
    enum gw_status status = decode_name(secret, text, name_length, path, fault);
    return status == GW_OK
               ? decode_hex(secret, text + name_length + 1, length - name_length - 1, path, fault)
               : status;
}

enum gw_status gw_tls_read_secret(struct gw_tls_secret *secret, const char *path,
                                  struct gw_fault *fault)
{
    char text[FILE_BYTES_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* of a FIFO, not forever */
    if (fd < 0) {
        (void)gw_fault_set_os(fault, errno, "%.120s", path);
        return gw_named_file_judge(fault);
    }
    enum gw_status status = gw_tls_check_secret_file(fd, path, fault);
    ssize_t count = status == GW_OK ? read(fd, text, sizeof(text)) : 0;
    if (status == GW_OK && count < 0) {
        status = gw_fault_set_os(fault, errno, "%.120s", path);
    } else if (status == GW_OK && (size_t)count == sizeof(text)) {
        status = gw_fault_set(fault, GW_ARGUMENT,
                              "%.120s: longer than %d bytes, wanted one line of NAME:HEX", path,
                              FILE_BYTES_MAX);
    }
    if (status == GW_OK) {
        status = decode(secret, text, (size_t)count, path, fault);
    }
    (void)close(fd);
    explicit_bzero(text, sizeof(text));
    return status;
}

/* ---- Writing ---- */

static char *put_hex(char *text, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = '\0';
    return text;
}

static enum gw_status write_new(const char *path, const char *text, struct gw_fault *fault)
{
    size_t length = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) {
        return gw_fault_set(
            fault, GW_ARGUMENT,
            "%.160s: there already; a key is never overwritten (move it away first)", path);
    }
    if (fd < 0) {
        (void)gw_fault_set_os(fault, errno, "making \"%.140s\" in its directory", path);
        return gw_named_file_judge(fault);
    }
    /* A umask may have taken bits away, none can have been added. */
    bool is_whole = write(fd, text, length) == (ssize_t)length && fsync(fd) == 0;
    int error = errno;
    if (close(fd) != 0 || !is_whole) {
        (void)unlink(path);
        return gw_fault_set_os(fault, is_whole ? errno : error, "%.160s", path);
    }
    return GW_OK;
}

enum gw_status gw_tls_make_key(const char *path, char name[GW_TLS_NAME_BYTES],
                               struct gw_fault *fault)
{
    uint8_t bytes[RANDOM_NAME_BYTES + GW_TLS_KEY_BYTES_MIN];
    char text[FILE_BYTES_MAX + 1];
    char hex[2 * RANDOM_NAME_BYTES + 1];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return gw_fault_set_os(fault, errno, "random numbers");
    }
    (void)put_hex(hex, bytes, RANDOM_NAME_BYTES);
    (void)snprintf(name, GW_TLS_NAME_BYTES, "godwit-%s", hex);
    int used = snprintf(text, sizeof(text), "%s:", name);
    char *end = put_hex(text + used, bytes + RANDOM_NAME_BYTES, GW_TLS_KEY_BYTES_MIN);
    (void)memcpy(end, "\n", 2);
    enum gw_status status = write_new(path, text, fault);
    explicit_bzero(bytes, sizeof(bytes));
    explicit_bzero(text, sizeof(text));
    return status;
}
