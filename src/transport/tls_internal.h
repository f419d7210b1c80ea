/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the TLS files share: an identity's keys, a connection's session, and the memory of both.
 * The contract: godwit/tls.h.
 */
#ifndef GW_TRANSPORT_TLS_INTERNAL_H
#define GW_TRANSPORT_TLS_INTERNAL_H

#include <pthread.h>
#include <stdint.h>

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>

#include "base/blocks.h"
#include "godwit/tls.h"
#include "godwit/transport.h"

enum {
    GW_TLS_RECORD_BYTES = MBEDTLS_SSL_OUT_CONTENT_LEN, /* of one record, in the clear */
    /* By one key: RFC 8446, 5.5, allows 2^24.5 full ones of AES-GCM. */
    GW_TLS_RECORDS_MAX = 1 << 24,
    GW_TLS_KEY_BYTES_MIN = 32,
    GW_TLS_KEY_BYTES_MAX = MBEDTLS_PSK_MAX_LEN,
    GW_TLS_TICKET_BYTES = 1024, /* a session to come back to, as the library writes it */
};

/* A pre-shared key. */
struct gw_tls_secret {
    char name[GW_TLS_NAME_BYTES];
    size_t byte_count;
    uint8_t bytes[GW_TLS_KEY_BYTES_MAX];
};

struct gw_tls_keys {
    bool is_x509;
    bool has_own[2];                  /* by endpoint: own and own_key are there */
    char hostname[GW_TLS_HOST_BYTES]; /* "": the URI's */
    struct gw_tls_secret secret;
    mbedtls_ssl_config config[2]; /* by endpoint: MBEDTLS_SSL_IS_CLIENT, _IS_SERVER */
    int ciphers[3];               /* by preference; 0 ends them */
    mbedtls_x509_crt authority, own[2];
    mbedtls_pk_context own_key[2];
    mbedtls_ssl_ticket_context tickets;
    pthread_mutex_t ticket_lock; /* around the rest */
    size_t ticket_bytes;         /* 0: none */
    char ticket_host[GW_TLS_HOST_BYTES];
    uint8_t ticket[GW_TLS_TICKET_BYTES];
};

struct gw_tls_session {
    pthread_mutex_t lock; /* around all that follows; never held while waiting */
    bool is_used;         /* under the pool's lock */
    bool is_up;           /* the handshake is over */
    bool is_shut;         /* our close_notify is out */
    bool is_key_known;    /* the peer's key has the same name as ours */
    bool has_more;    /* bytes, or the end, that the descriptor does not tell of. The reader's */
    int io_error;     /* errno of the socket; 0: none */
    size_t pending;   /* bytes of a record that the socket has not taken all of; 0: none */
    uint32_t sealed;  /* records, of GW_TLS_RECORDS_MAX */
    size_t raw_count; /* bytes that came, as far as they are in raw */
    uint8_t raw[4];   /* the first that came */
    uint8_t raw_last[GW_TLS_REFUSAL_BYTES]; /* the last that came in the handshake */
    uint32_t turn_bytes;                    /* read since the caller got something, of TURN_BYTES */
    struct gw_fault end; /* the first reason why it does not go on; GW_OK: it does */
    bool is_ended;       /* nothing more can be read */
    bool is_broken;      /* nothing more can be said */
    bool is_by_kernel;   /* a source's writes, a target's reads (tls_kernel.c) */
    bool has_traffic_secret;
    uint8_t traffic_secret[32]; /* of the source's application data (RFC 8446, 7.1), SHA-256's */
    bool has_next;   /* the record that is being written is followed by another at once */
    bool is_drained; /* what comes then is thrown away, so that what was said last arrives */
    char offered[GW_TLS_NAME_BYTES]; /* target: the name of the peer's key */
    char host[GW_TLS_HOST_BYTES];    /* source, certificates: the name the target's must have */
    struct gw_connection *connection;
    struct gw_tls_keys *keys;
    mbedtls_ssl_context ssl;
    struct gw_blocks blocks;
};

/* ---- Memory (tls_memory.c) ---- */

/* NULL: all are in use. Zeroed, but for its lock and memory. */
struct gw_tls_session *gw_tls_take_session(void);
void gw_tls_give_session(struct gw_tls_session *session);

/* How often the common memory had too little. */
size_t gw_tls_count_failed(void);

/* For gw_tls_use: a ticket made a handshake shorter. */
void gw_tls_note_resumed(void);

/* Whose memory the library's next allocations of this thread are; NULL: the common one. Returns
 * whose they were. */
struct gw_tls_session *gw_tls_use_memory_of(struct gw_tls_session *session);

/* ---- Keys (tls_key.c) ---- */

/* Reads a file of "name:hex", which nobody but its owner may read or write. */
GW_MUST_USE enum gw_status gw_tls_read_secret(struct gw_tls_secret *secret, const char *path,
                                              struct gw_fault *fault);

/* ---- Certificates (tls_files.c) ---- */

GW_MUST_USE enum gw_status gw_tls_read_certificates(struct gw_tls_keys *keys, const char *directory,
                                                    int (*random)(void *, unsigned char *, size_t),
                                                    struct gw_fault *fault);

/* Is it a file that nobody but its owner may read or write? */
GW_MUST_USE enum gw_status gw_tls_check_secret_file(int fd, const char *path,
                                                    struct gw_fault *fault);

/* ---- RSA (tls_rsa.c) ---- */

enum { GW_TLS_SIGNING_TIMES = 24 }; /* so many times a key's length takes a signature, or less */

/* To be called for each key of an identity, in the common memory: no use of it takes any that stays
 * from then on. 0, or the library's error. */
int gw_tls_settle_key(mbedtls_pk_context *key, bool is_private,
                      int (*random)(void *, unsigned char *, size_t));

/* Has the memory in use enough for a signature by this key? */
bool gw_tls_can_sign(const mbedtls_pk_context *key);

/* Would the handshake's next step sign, and has not? */
bool gw_tls_is_short_of_memory(const struct gw_tls_session *session);

/* ---- Hands (tls_hands.c) ---- */

/* The library goes on when the socket can be read, or written. */
bool gw_tls_is_again(int error);

/* 0: they are shaken; MBEDTLS_ERR_SSL_WANT_READ or _WRITE: as far as it goes now; else the
 * library's error, and where it was want of memory, the peer was told that this side failed. */
int gw_tls_step_hands(struct gw_tls_session *session);

/* ---- Tickets (tls_ticket.c) ---- */

/* Certificates are verified once; who was believed gets a ticket, and shows it when it connects
 * again: the next channel, or the same after a lost link. 0, or the library's error. */
int gw_tls_configure_tickets(struct gw_tls_keys *keys,
                             int (*random)(void *, unsigned char *, size_t));

/* A source: offers the ticket it has for that host, if any; and keeps one that came. */
void gw_tls_offer_ticket(struct gw_tls_session *session);
void gw_tls_keep_ticket(struct gw_tls_session *session);

/* ---- Who does not speak TLS (tls_plain.c) ---- */

/* Did a godwit without TLS begin a connection here? */
bool gw_tls_is_plain_godwit(const struct gw_tls_session *session);

/* Tells it why it is left, in a frame that it understands. */
void gw_tls_refuse_plain_godwit(const struct gw_tls_session *session);

/* ---- Words (tls_words.c) ---- */

/* Why the library says `error`: to be the session's end. */
enum gw_status gw_tls_explain(struct gw_tls_session *session, int error, struct gw_fault *fault);

/* ---- Records by the kernel (tls_kernel.c) ---- */

/* For the library (mbedtls_ssl_export_keys_t); the context is the session. */
void gw_tls_note_secret(void *context, mbedtls_ssl_key_export_type type,
                        const unsigned char *secret, size_t count,
                        const unsigned char client_random[32],
                        const unsigned char server_random[32], mbedtls_tls_prf_types prf);

/* Once hands are shaken, before anything else is read or written: is_by_kernel says whether it took
 * them. By AES-GCM over TCP, where the kernel has its module `tls`. */
void gw_tls_give_to_kernel(struct gw_tls_session *session);

/* Of a session by the kernel. They never block. read, of a target, and write, of a source: 0 and
 * *bytes > 0, or the library's error. say_end, of a source: false: come again. */
int gw_tls_kernel_read(struct gw_tls_session *session, const struct iovec *parts, int count,
                       size_t *bytes);
int gw_tls_kernel_write(struct gw_tls_session *session, const struct iovec *parts, int count,
                        size_t *bytes);
bool gw_tls_kernel_say_end(const struct gw_tls_session *session);

/* ---- Connections (tls_connection.c) ---- */

/* The library's error for an errno of the socket: `again`, or one that stands for io_error. */
int gw_tls_fail_io(struct gw_tls_session *session, int error, int again);

bool gw_tls_is_target(const struct gw_tls_session *session);

extern const struct gw_transport_operations gw_transport_tls;

/* Puts TLS in front of a connection that was just made, and shakes hands up to deadline_ns. On an
 * error the connection is as it was. `host`: the URI's, "" if it has none. */
GW_MUST_USE enum gw_status gw_tls_connect(struct gw_connection *connection, const char *host,
                                          uint64_t deadline_ns, struct gw_fault *fault);

/* Has it what a target needs? */
GW_MUST_USE enum gw_status gw_tls_check_target(const struct gw_tls_identity *identity,
                                               struct gw_fault *fault);

/* The same for one that was accepted; its hands are shaken as it is read and written. */
GW_MUST_USE enum gw_status gw_tls_accept(struct gw_connection *connection, struct gw_fault *fault);

#endif
