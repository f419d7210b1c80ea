/* SPDX-License-Identifier: Apache-2.0 */
/* URIs, read and written. Pure. The contract: godwit/transport.h. */
#include <stdio.h>
#include <string.h>

#include "godwit/transport.h"

#define WANTED "wanted tcp:HOST:PORT, tcp:[V6]:PORT or unix:/PATH"

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

static enum gw_status decode_port(const char *text, const char *uri_text, uint16_t *port,
                                  struct gw_fault *fault)
{
    uint32_t value = 0;
    size_t digits = 0;
    while (text[digits] >= '0' && text[digits] <= '9' && digits < 6) {
        value = value * 10 + (uint32_t)(text[digits] - '0');
        digits++;
    }
    if (digits == 0 || text[digits] != '\0' || value > UINT16_MAX) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: port: found \"%.20s\", wanted a number from 0 to 65535",
                            uri_text, text);
    }
    *port = (uint16_t)value;
    return GW_OK;
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
    return status == GW_OK ? decode_port(colon + 1, text, &uri->port, fault) : status;
}

/* `path` is what follows "unix:". */
static enum gw_status decode_unix(struct gw_uri *uri, const char *path, const char *text,
                                  struct gw_fault *fault)
{
    size_t length = strlen(path);
    if (path[0] != '/' || length >= sizeof(uri->path)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.120s: path: wanted an absolute one of at most %zu characters, "
                            "found %zu",
                            text, sizeof(uri->path) - 1, length);
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

enum gw_status gw_uri_decode(struct gw_uri *uri, const char *text, struct gw_fault *fault)
{
    *uri = (struct gw_uri){.scheme = GW_URI_TCP};
    if (strncmp(text, "tcp:", 4) == 0) {
        return decode_tcp(uri, text + 4, text, fault);
    }
    if (strncmp(text, "unix:", 5) == 0) {
        return decode_unix(uri, text + 5, text, fault);
    }
    return gw_fault_set(fault, GW_ARGUMENT, "URI: found \"%.120s\", " WANTED, text);
}

char *gw_uri_encode(const struct gw_uri *uri, char text[GW_URI_TEXT_BYTES])
{
    if (uri->scheme == GW_URI_UNIX) {
        (void)snprintf(text, GW_URI_TEXT_BYTES, "unix:%s", uri->path);
        return text;
    }
    bool is_v6 = strchr(uri->host, ':') != NULL;
    (void)snprintf(text, GW_URI_TEXT_BYTES, "tcp:%s%s%s:%u", is_v6 ? "[" : "", uri->host,
                   is_v6 ? "]" : "", (unsigned)uri->port);
    return text;
}
