/* SPDX-License-Identifier: Apache-2.0 */
/* URIs, read and written. Pure. The contract: godwit/transport.h. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "godwit/transport.h"

#define WANTED "wanted tcp:HOST:PORT, tcp:[V6]:PORT, vsock:CID:PORT, unix:/PATH or fd:N"

static bool is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A host name or an IPv4 address. */
static bool is_host_character(char c)
{
    return is_letter_or_digit(c) || c == '.' || c == '-' || c == '_';
}

/* An IPv6 address with a zone (RFC 4007, 11: "fe80::1%eth0"). */
static bool is_v6_character(char c)
{
    return is_host_character(c) || c == ':' || c == '%';
}

/* One to ten digits up to `end`, and nothing else; at most `max`. */
static bool decode_number(const char *text, const char *end, uint32_t max, uint32_t *value)
{
    enum { DIGITS_MAX = 10 }; /* of any number of 32 bits */
    uint64_t number = 0;
    const char *digit = text;
    for (; digit < end && *digit >= '0' && *digit <= '9' && digit - text < DIGITS_MAX; digit++) {
        number = number * 10 + (uint64_t)(*digit - '0');
    }
    *value = (uint32_t)number;
    return digit == end && digit > text && number <= max;
}

static enum gw_status decode_port(const char *text, const char *uri_text, uint32_t max,
                                  uint32_t *port, struct gw_fault *fault)
{
    if (!decode_number(text, text + strlen(text), max, port)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: port: found \"%.20s\", wanted a number from 0 to %u", uri_text,
                            text, max);
    }
    return GW_OK;
}

static const struct {
    const char *name;
    uint32_t cid;
} cids[] = {{"any", GW_URI_CID_ANY}, {"local", GW_URI_CID_LOCAL}, {"host", GW_URI_CID_HOST}};

enum { CIDS = sizeof(cids) / sizeof(cids[0]) };

/* `rest` is what follows "vsock:". The last number of 32 bits means "any" to the kernel. */
static enum gw_status decode_vsock(struct gw_uri *uri, const char *rest, const char *text,
                                   struct gw_fault *fault)
{
    const char *colon = strchr(rest, ':');
    uri->scheme = GW_URI_VSOCK;
    if (colon == NULL) {
        return gw_fault_set(fault, GW_ARGUMENT, "%.120s: no port found, wanted vsock:CID:PORT",
                            text);
    }
    for (size_t i = 0; i < CIDS; i++) {
        if (strlen(cids[i].name) == (size_t)(colon - rest) &&
            strncmp(cids[i].name, rest, (size_t)(colon - rest)) == 0) {
            uri->cid = cids[i].cid;
            return decode_port(colon + 1, text, UINT32_MAX - 1, &uri->port, fault);
        }
    }
    if (!decode_number(rest, colon, UINT32_MAX - 1, &uri->cid)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: context id: found \"%.*s\", wanted a number, any, local or "
                            "host",
                            text, (int)(colon - rest > 20 ? 20 : colon - rest), rest);
    }
    return decode_port(colon + 1, text, UINT32_MAX - 1, &uri->port, fault);
}

static enum gw_status decode_host(struct gw_uri *uri, const char *host, size_t length, bool is_v6,
                                  const char *text, struct gw_fault *fault)
{
    if (length == 0 || length >= sizeof(uri->host)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: host: found %zu characters, wanted 1 to %zu", text, length,
                            sizeof(uri->host) - 1);
    }
    for (size_t i = 0; i < length; i++) {
        if (is_v6 ? is_v6_character(host[i]) : is_host_character(host[i])) {
            continue;
        }
        if (host[i] == ':') {
            return gw_fault_set(fault, GW_ARGUMENT,
                                "%.120s: host: an IPv6 address is written in brackets, "
                                "tcp:[V6]:PORT",
                                text);
        }
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: host: found character 0x%02x, wanted letters, digits, "
                            "\".\", \"-\" and \"_\"",
                            text, (unsigned)(unsigned char)host[i]);
    }
    memcpy(uri->host, host, length);
    uri->host[length] = '\0';
    return GW_OK;
}

/* `rest` is what follows "tcp:". */
static enum gw_status decode_tcp(struct gw_uri *uri, const char *rest, const char *text,
                                 struct gw_fault *fault)
{
    bool is_v6 = rest[0] == '[';
    const char *host = is_v6 ? rest + 1 : rest;
    const char *end = is_v6 ? strchr(host, ']') : strrchr(host, ':');
    const char *colon = is_v6 && end != NULL ? end + 1 : end;
    if (end == NULL || *colon != ':') {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: no port found, wanted tcp:HOST:PORT or "
                            "tcp:[V6]:PORT",
                            text);
    }
    uri->scheme = GW_URI_TCP;
    enum gw_status status = decode_host(uri, host, (size_t)(end - host), is_v6, text, fault);
    return status == GW_OK ? decode_port(colon + 1, text, UINT16_MAX, &uri->port, fault) : status;
}

/* `path` is what follows "unix:". */
static enum gw_status decode_unix(struct gw_uri *uri, const char *path, const char *text,
                                  struct gw_fault *fault)
{
    size_t length = strlen(path);
    if (path[0] != '/' || length >= sizeof(uri->path)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: path: found \"%.20s\", of %zu characters, wanted an "
                            "absolute one of at most %zu",
                            text, path, length, sizeof(uri->path) - 1);
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f) {
            return gw_fault_set(fault, GW_ARGUMENT,
                                "unix path: found control character 0x%02x at place %zu",
                                (unsigned)(unsigned char)path[i], i);
        }
    }
    uri->scheme = GW_URI_UNIX;
    memcpy(uri->path, path, length + 1);
    return GW_OK;
}

static bool has_fd(const struct gw_uri *uri, uint32_t number)
{
    for (uint32_t i = 0; i < uri->fd_count; i++) {
        if ((uint32_t)uri->fd[i] == number) {
            return true;
        }
    }
    return false;
}

/* `rest` is what follows "fd:". */
static enum gw_status decode_fd(struct gw_uri *uri, const char *rest, const char *text,
                                struct gw_fault *fault)
{
    uri->scheme = GW_URI_FD;
    const char *end;
    do {
        end = rest + strcspn(rest, ",");
        uint32_t number = 0;
        if (!decode_number(rest, end, INT_MAX, &number) || uri->fd_count == GW_URI_FDS_MAX ||
            has_fd(uri, number)) {
            return gw_fault_set(
                fault, GW_ARGUMENT,
                "%.120s: descriptor %u: found \"%.*s\", wanted 1 to %d numbers with "
                "commas between, none twice",
                text, uri->fd_count + 1, (int)(end - rest > 20 ? 20 : end - rest), rest,
                GW_URI_FDS_MAX);
        }
        uri->fd[uri->fd_count++] = (int)number;
        rest = end + 1;
    } while (*end == ',');
    return GW_OK;
}

enum gw_status gw_uri_decode(struct gw_uri *uri, const char *text, struct gw_fault *fault)
{
    *uri = (struct gw_uri){.scheme = GW_URI_TCP};
    if (strncmp(text, "tcp:", 4) == 0) {
        return decode_tcp(uri, text + 4, text, fault);
    }
    if (strncmp(text, "unix:", 5) == 0) {
        return decode_unix(uri, text + 5, text, fault);
    }
    if (strncmp(text, "vsock:", 6) == 0) {
        return decode_vsock(uri, text + 6, text, fault);
    }
    if (strncmp(text, "fd:", 3) == 0) {
        return decode_fd(uri, text + 3, text, fault);
    }
    return gw_fault_set(fault, GW_ARGUMENT, "URI: found \"%.120s\", " WANTED, text);
}

enum gw_status gw_uri_check_target(const struct gw_uri *uri, struct gw_fault *fault)
{
    char text[GW_URI_TEXT_BYTES];
    bool has_port = uri->scheme == GW_URI_TCP || uri->scheme == GW_URI_VSOCK;
    if (!has_port || (uri->port != 0 && uri->cid != GW_URI_CID_ANY)) {
        return GW_OK;
    }
    return gw_fault_set(fault, GW_ARGUMENT, "%.120s: %s, wanted the one the target listens on",
                        gw_uri_encode(uri, text),
                        uri->port == 0 ? "port: found 0" : "context id: found any");
}

static char *encode_fd(const struct gw_uri *uri, char text[GW_URI_TEXT_BYTES])
{
    size_t used = 2;
    memcpy(text, "fd", used + 1);
    for (uint32_t i = 0; i < uri->fd_count; i++) {
        used += (size_t)snprintf(text + used, GW_URI_TEXT_BYTES - used, "%c%d", i ? ',' : ':',
                                 uri->fd[i]);
    }
    return text;
}

char *gw_uri_encode(const struct gw_uri *uri, char text[GW_URI_TEXT_BYTES])
{
    if (uri->scheme == GW_URI_FD) {
        return encode_fd(uri, text);
    }
    if (uri->scheme == GW_URI_UNIX) {
        (void)snprintf(text, GW_URI_TEXT_BYTES, "unix:%s", uri->path);
        return text;
    }
    if (uri->scheme == GW_URI_VSOCK) {
        for (size_t i = 0; i < CIDS; i++) {
            if (cids[i].cid == uri->cid) {
                (void)snprintf(text, GW_URI_TEXT_BYTES, "vsock:%s:%u", cids[i].name, uri->port);
                return text;
            }
        }
        (void)snprintf(text, GW_URI_TEXT_BYTES, "vsock:%u:%u", uri->cid, uri->port);
        return text;
    }
    bool is_v6 = strchr(uri->host, ':') != NULL;
    (void)snprintf(text, GW_URI_TEXT_BYTES, "tcp:%s%s%s:%u", is_v6 ? "[" : "", uri->host,
                   is_v6 ? "]" : "", (unsigned)uri->port);
    return text;
}
