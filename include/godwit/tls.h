/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 on connections (RFC 8446): who this side is, and whom it believes. A pointer to an
 * identity in gw_transport_options.tls makes every connection of those options a TLS one, over
 * whatever carries it; nothing above gw_connection_* sees a difference (docs/WIRE.md, TLS).
 *
 *  psk:FILE  both sides have the same key: a file that gw_tls_make_key() writes, of mode 0600. Each
 *            connection has an ephemeral exchange beside it: a key that is stolen later opens
 *            nothing of what was said before.
 *  x509:DIR  both sides show a certificate that an authority of theirs signed. Files, in PEM:
 *            ca-cert.pem; server-cert.pem and server-key.pem where guests come;
 *            client-cert.pem and client-key.pem where they leave.
 *
 * Memory: all that the library allocates comes from static memory of this file's own, a fixed share
 * for each connection (GW_TLS_SESSION_BYTES) and one for all identities (GW_TLS_COMMON_BYTES).
 * Owner: an identity is the caller's, and outlives its connections. Threads: open and close from
 * one; in between it serves connections of any. Blocks: open and make_key in reading and writing
 * files. Keys are cleared from memory on close, and stand in no message.
 */
#ifndef GODWIT_TLS_H
#define GODWIT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/status.h"

enum {
    GW_TLS_SPEC_BYTES = 256, /* "psk:/etc/godwit/key", with the NUL */
    GW_TLS_NAME_BYTES = 65,  /* an identity's name in a key file, with the NUL */
    GW_TLS_HOST_BYTES = 254, /* RFC 1035, 2.3.4 */
    /* Connections at the same time: all that a target may have (godwit/incoming.h), and all of a
     * source. */
    GW_TLS_SESSIONS_MAX = 4 * (2 + GW_BULK_CHANNELS_MAX) + 4,
};

/* Cipher suites, both with SHA-256, which a pre-shared key is tied to (RFC 8446, 4.2.11). */
enum gw_tls_cipher {
    GW_TLS_AES_128_GCM = 1,
    GW_TLS_CHACHA20_POLY1305 = 2,
};

struct gw_tls_keys;

struct gw_tls_identity {
    struct gw_tls_keys *keys; /* in the common memory; NULL: closed */
};

/* `spec` is "psk:FILE" or "x509:DIR". `hostname`: the name a target's certificate must have; NULL:
 * the host of the URI that is connected to. GW_ARGUMENT: what is wrong with it or its files, and
 * what to do. GW_HOST: a file cannot be read. GW_LIMIT: larger than the memory for it. After an
 * error it is closed. */
GW_MUST_USE enum gw_status gw_tls_open(struct gw_tls_identity *identity, const char *spec,
                                       const char *hostname, struct gw_fault *fault);

/* Idempotent; also on a zeroed one. No connection uses it any more. */
void gw_tls_close(struct gw_tls_identity *identity);

/* Offers only these (one or more of enum gw_tls_cipher), AES-GCM first where this CPU has
 * instructions for it, else ChaCha20-Poly1305 first. From open on: both. Before any connection. */
void gw_tls_set_ciphers(struct gw_tls_identity *identity, unsigned ciphers);

/* Has this CPU instructions for AES? */
bool gw_tls_has_aes(void);

/* Makes a fresh key of 32 random bytes and writes "name:hex" to a new file of mode 0600. `name`
 * receives what it is called. GW_ARGUMENT when the file exists, GW_HOST when it cannot be made. */
GW_MUST_USE enum gw_status gw_tls_make_key(const char *path, char name[GW_TLS_NAME_BYTES],
                                           struct gw_fault *fault);

/* Is that how a TLS client begins (RFC 8446, 5.1: a handshake record)? For a side without TLS. */
bool gw_tls_is_hello(const uint8_t *bytes, size_t count);

/* What such a client is told, in its own language, before it is left: protocol_version, fatal. */
enum { GW_TLS_REFUSAL_BYTES = 7 };
extern const uint8_t gw_tls_refusal[GW_TLS_REFUSAL_BYTES];

/* How much of the static memory is in use. Any thread. */
struct gw_tls_use {
    size_t sessions;           /* connections now */
    size_t session_used;       /* bytes of all of them now */
    size_t session_high_water; /* the most that one of them ever took, of GW_TLS_SESSION_BYTES */
    size_t common_used, common_high_water; /* of GW_TLS_COMMON_BYTES */
    size_t resumed; /* handshakes of sources that a ticket made shorter, since the start */
    size_t failed;  /* allocations that did not fit */
};
void gw_tls_get_use(struct gw_tls_use *use);

#endif
