/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connecting side and an accepting one, each with an identity of its own, in one process: the
 * first shakes hands in a thread of its own, as it blocks; the second as it is read, as in an event
 * loop. For tests of TLS.
 */
#ifndef TLS_PAIR_H
#define TLS_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/tls.h"
#include "godwit/transport.h"

struct tls_pair {
    struct gw_tls_identity source, target;
    struct gw_transport_options source_options, target_options;
    struct gw_listener listener;
    struct gw_connection client, server;
    enum gw_status client_status, server_status; /* of the handshake */
    struct gw_fault client_fault, server_fault;
};

extern struct tls_pair tls;
extern char tls_directory[40]; /* for files; removed by tls_close with all that is in it */

#define TLS_KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define TLS_KEY_B "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* Fresh, without identities. Setup and teardown of each test. */
int tls_setup(void **state);
int tls_teardown(void **state);

/* Writes a file into the directory and returns its path in `path`. */
void tls_write(char path[128], const char *name, const char *text, unsigned mode);

/* An identity by a key file of this text. */
void tls_given_key(struct gw_tls_identity *identity, const char *text);

/* Listens, connects and accepts. The connections have TLS where the options have. */
void tls_given_listener(const char *uri);
void tls_shake(void);

/* Connects for tls_shake: for a thread. */
void *tls_connect_thread(void *argument);

/* Connects without TLS, and accepts with the target's. */
void tls_connect_raw(void);

/* Closes connections, listener and identities. */
void tls_end(void);

/* The same, with the key "a" on both, and it must succeed. */
void tls_given_pair(void);

/* Waits until the connection has something to read, and reads once. */
enum gw_status tls_read_some(struct gw_connection *connection, void *bytes, size_t size,
                             size_t *count, struct gw_fault *fault);

#endif
