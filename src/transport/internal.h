/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: the tables, and what every socket has in common.
 * The contract: godwit/transport.h.
 */
#ifndef GW_TRANSPORT_INTERNAL_H
#define GW_TRANSPORT_INTERNAL_H

#include <sys/socket.h>

#include "godwit/transport.h"

extern const struct gw_transport_operations gw_transport_tcp;
extern const struct gw_transport_operations gw_transport_unix;
extern const struct gw_transport_operations gw_transport_vsock;
extern const struct gw_transport_operations gw_transport_fd;

/* What every TCP connection needs, whoever made it. */
void gw_tcp_tune(int fd, uint64_t idle_ns_max);

/* How much a system call should write to this socket, connected, of any kind; 0: as much as there
 * is. Over loopback the kernel cuts what one call writes into packets of an odd size (65483 bytes
 * by IPv4). It copies them into buffers of 32 KiB, and leaves the last bytes of one unused where a
 * packet ends a few bytes before it does: from then on all that is written lies at odd addresses,
 * and each copy into and out of the kernel is unaligned. What fits one packet leaves no odd rest.
 */
size_t gw_tcp_piece_bytes(int fd);

/* The URI of an address that a socket of AF_VSOCK has. */
struct sockaddr_vm;
void gw_vsock_get_uri(const struct sockaddr_vm *address, struct gw_uri *uri);

/* The table of a URI's scheme. */
const struct gw_transport_operations *gw_transport_of(enum gw_uri_scheme scheme);

/* Waits until `fd` has one of `events`, up to deadline_ns (GW_LOOP_FOREVER: none), or until the
 * connection is interrupted. GW_OK, GW_AGAIN when the time is over (whatever fd has by then: a peer
 * that never pauses has no more of it), GW_CANCELLED. */
GW_MUST_USE enum gw_status gw_socket_wait(const struct gw_connection *connection, int fd,
                                          short events, uint64_t deadline_ns);

/* GW_LINK about the peer named `uri`, with the errno's sentence and, where one helps, a hint. */
enum gw_status gw_socket_fault(const char *uri, int os_error, struct gw_fault *fault);

/* GW_CANCELLED, named likewise. */
enum gw_status gw_socket_interrupted(const char *uri, struct gw_fault *fault);

/* Connects a fresh socket that does not block: GW_OK and it is the connection's; GW_CANCELLED; or
 * GW_LINK with *error set (no fault yet: another address may do). On an error it is closed. */
GW_MUST_USE enum gw_status gw_socket_connect(struct gw_connection *connection, int fd,
                                             const struct sockaddr *address, socklen_t size,
                                             uint64_t deadline_ns, int *error);

/* Takes the next peer and its address. GW_AGAIN when there is none. */
GW_MUST_USE enum gw_status gw_socket_accept(struct gw_listener *listener, struct sockaddr *address,
                                            socklen_t *size, int *fd, struct gw_fault *fault);

/* Binds and listens. -1: errno, and the socket is closed. */
int gw_socket_listen(int fd, const struct sockaddr *address, socklen_t size);

/* For sendmsg and recvmsg of these parts, which it does not change. */
struct msghdr gw_socket_message(const struct iovec *parts, int count);

/* Entries of the table for any stream socket. */
enum gw_status gw_socket_read(struct gw_connection *connection, const struct iovec *parts,
                              int count, size_t *bytes, struct gw_fault *fault);
enum gw_status gw_socket_write(struct gw_connection *connection, const struct iovec *parts,
                               int count, size_t *bytes, struct gw_fault *fault);
enum gw_status gw_socket_shut(struct gw_connection *connection);
void gw_socket_close(struct gw_connection *connection);

#endif
