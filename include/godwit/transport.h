/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport: how bytes get to the peer. URIs, listeners, connections, and the table of functions
 * behind them, which each kind of transport fills (tcp, vsock, unix, and fd for sockets that
 * someone else made; others fit the same table, and a layer such as TLS puts its own read and write
 * in front of another's).
 *
 * A connection is used in one of two ways:
 *  - in an event loop: watch gw_connection_fd(); read and write return GW_AGAIN;
 *  - by a thread of its own: read_all and write_all return when all bytes are through, the peer
 *    said nothing for idle_ns_max (GW_LINK), or another thread interrupted it (GW_CANCELLED).
 * A connection that returned GW_LINK, GW_REFUSED or GW_CANCELLED is over: only close it.
 *
 * Owner: the caller's storage. Threads: a connection belongs to one thread for reading and one
 * for writing (they may differ); gw_connection_interrupt is for all threads, between open and
 * close. Blocks: connect, read_all, write_all. Never raises SIGPIPE. Errors: the fault names the
 * peer's URI first: "tcp:10.0.0.2:4444: connection refused (is the target listening?)".
 */
#ifndef GODWIT_TRANSPORT_H
#define GODWIT_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "godwit/loop.h"
#include "godwit/status.h"

/* ---- URIs ---- */

enum gw_uri_scheme {
    GW_URI_TCP = 0,   /* tcp:HOST:PORT, tcp:[V6]:PORT */
    GW_URI_UNIX = 1,  /* unix:/PATH */
    GW_URI_VSOCK = 2, /* vsock:CID:PORT */
    GW_URI_FD = 3,    /* fd:N: a socket that listens; fd:N,N,...: sockets that are connected */
};

enum {
    GW_URI_HOST_BYTES = 254,   /* RFC 1035, 2.3.4: 253 characters, and the NUL */
    GW_URI_PATH_BYTES = 108,   /* unix(7): sun_path */
    GW_URI_TEXT_BYTES = 272,   /* the longest URI and its NUL */
    GW_URI_ADDRESS_BYTES = 64, /* a v6 address, '%', a scope's number, and the NUL */
    GW_URI_FDS_MAX = 10,       /* a control channel, eight bulk channels, an urgent one */
};

/* Context ids that have a name in a URI (vsock(7)). */
#define GW_URI_CID_ANY   UINT32_MAX /* "any": listening, on whatever this machine has */
#define GW_URI_CID_LOCAL 1u         /* "local": this machine */
#define GW_URI_CID_HOST  2u         /* "host": the hypervisor */

struct gw_uri {
    enum gw_uri_scheme scheme;
    uint32_t port;                      /* tcp: up to 65535, vsock; 0 only for listening: the kernel
                                           chooses */
    uint32_t cid;                       /* vsock */
    char host[GW_URI_HOST_BYTES];       /* tcp: name, v4, or v6 without brackets ("fe80::1%eth0") */
    char path[GW_URI_PATH_BYTES];       /* unix: absolute */
    char address[GW_URI_ADDRESS_BYTES]; /* tcp: where to look for host, no part of the text;
                                           empty: ask the resolver */
    uint32_t fd_count;                  /* fd: 1..GW_URI_FDS_MAX */
    int fd[GW_URI_FDS_MAX];             /* of this process; none twice */
};

/* Pure. GW_ARGUMENT: the fault says which part is wrong, what was found and what is wanted. */
GW_MUST_USE enum gw_status gw_uri_decode(struct gw_uri *uri, const char *text,
                                         struct gw_fault *fault);

/* The same for one to connect to: it lacks no port, and is not of any host. */
GW_MUST_USE enum gw_status gw_uri_check_target(const struct gw_uri *uri, struct gw_fault *fault);

/* Pure. Writes the URI with brackets where they belong; returns `text`. */
char *gw_uri_encode(const struct gw_uri *uri, char text[GW_URI_TEXT_BYTES]);

/* ---- Options ---- */

struct gw_sockets;
struct gw_tls_identity;

struct gw_transport_options {
    const struct gw_tls_identity *tls; /* open, outlives the connections; NULL: no TLS */
    bool is_plaintext_allowed;         /* the operator's --plaintext */
    uint64_t connect_ns_max;           /* > 0; for all addresses of a name together */
    uint64_t idle_ns_max;              /* > 0; a peer silent (or not reading) for so long is gone */
    struct gw_sockets *sockets;        /* what connects to a URI fd:... take; NULL: there is none */
};

/* Neither TLS nor plaintext, 10 s to connect, 10 s idle, no sockets. */
extern const struct gw_transport_options gw_transport_defaults;

/* ---- Sockets that someone else connected ---- */

/* What a connect to fd:... takes from, one after the other: which channel each becomes does not
 * matter, as channels introduce themselves. What was taken is not there a second time: only whoever
 * connected them can do so again. Owner: the caller's; zeroed is empty. Threads: several may
 * connect at a time; put and close while none does. */
struct gw_sockets {
    uint32_t count;
    atomic_uint next; /* the first of them that is not taken */
    int fd[GW_URI_FDS_MAX];
};

/* Looks at each descriptor of a URI fd:..., and makes it close-on-exec and non-blocking (for
 * whoever else has it, too). GW_ARGUMENT: one is no connected stream socket of AF_INET, AF_INET6
 * (TCP), AF_UNIX or AF_VSOCK, or goes beyond this host by plain TCP and is_plaintext_allowed is not
 * set. */
GW_MUST_USE enum gw_status gw_sockets_check(const struct gw_uri *uri,
                                            const struct gw_transport_options *options,
                                            struct gw_fault *fault);

/* Checked descriptors, which are the set's from now on; those it has still are closed. */
void gw_sockets_put(struct gw_sockets *sockets, const struct gw_uri *uri);

/* Closes those that were not taken. Idempotent. */
void gw_sockets_close(struct gw_sockets *sockets);

/* From now on who connects to it goes where that socket got to: a name may stand for several hosts,
 * and nobody can interrupt a resolver. For TCP; others have one place anyway. */
void gw_uri_keep_to(struct gw_uri *uri, int fd);

/* The URI of whom a socket is connected to. False: it has no address that a URI could say. */
bool gw_uri_of_peer(int fd, struct gw_uri *uri);

/* ---- The table ---- */

struct gw_connection;
struct gw_listener;

struct gw_transport_operations {
    const char *name; /* "tcp" */

    /* Makes listener->fd and writes the actual address to listener->uri. */
    enum gw_status (*listen)(struct gw_listener *listener, struct gw_fault *fault);
    /* Takes the next peer: connection->fd and ->peer. GW_AGAIN when there is none. */
    enum gw_status (*accept)(struct gw_listener *listener, struct gw_connection *connection,
                             struct gw_fault *fault);
    void (*unlisten)(struct gw_listener *listener);

    /* Blocks up to deadline_ns of gw_clock_now_ns() or an interrupt. */
    enum gw_status (*connect)(struct gw_connection *connection, const struct gw_uri *uri,
                              uint64_t deadline_ns, struct gw_fault *fault);

    /* Never block. GW_OK with *bytes > 0, or GW_AGAIN, or GW_LINK (the peer closed, too). */
    enum gw_status (*read)(struct gw_connection *connection, const struct iovec *parts, int count,
                           size_t *bytes, struct gw_fault *fault);
    enum gw_status (*write)(struct gw_connection *connection, const struct iovec *parts, int count,
                            size_t *bytes, struct gw_fault *fault);

    /* NULL: never. Bytes, or the end, are here that the descriptor does not tell of. */
    bool (*has_more)(const struct gw_connection *connection);

    /* Says that no more will be written. GW_AGAIN: not yet; the caller comes again. */
    enum gw_status (*shut)(struct gw_connection *connection);

    void (*close)(struct gw_connection *connection);
};

/* ---- Listeners ---- */

struct gw_listener {
    const struct gw_transport_operations *operations;
    struct gw_transport_options options;
    struct gw_uri uri; /* where it really listens: the port the kernel chose */
    int fd;            /* for the event loop: EPOLLIN, then gw_listener_accept until GW_AGAIN */
};

/* Listens. TCP without TLS on an address that is not loopback needs is_plaintext_allowed:
 * GW_ARGUMENT.
 * Unix and vsock do not: what goes there stays in this machine and its hypervisor. (Whoever listens
 * on vsock:any hears from each virtual machine of this host.)
 * fd:N is a socket of those kinds that listens already, and the same holds for where it is bound;
 * it is made close-on-exec and non-blocking, and closed by gw_listener_close. GW_ARGUMENT: it is
 * none. On an error the listener is closed, but for fd:N. May block in name resolution. */
GW_MUST_USE enum gw_status gw_listener_open(struct gw_listener *listener, const struct gw_uri *uri,
                                            const struct gw_transport_options *options,
                                            struct gw_fault *fault);

/* The next peer, in an opened connection that is not connected; GW_AGAIN when none waits. */
GW_MUST_USE enum gw_status gw_listener_accept(struct gw_listener *listener,
                                              struct gw_connection *connection,
                                              struct gw_fault *fault);

/* Idempotent on a listener that was opened, or zeroed. */
void gw_listener_close(struct gw_listener *listener);

/* ---- Connections ---- */

enum { GW_CONNECTION_PARTS_MAX = 1024 }; /* parts one call may have: IOV_MAX of Linux */

struct gw_connection {
    const struct gw_transport_operations *operations; /* NULL: not connected */
    const struct gw_transport_operations *below;      /* what TLS is in front of */
    struct gw_tls_session *tls;                       /* NULL: none */
    struct gw_transport_options options;
    char peer[GW_URI_TEXT_BYTES]; /* the peer's URI, for messages; "unix:/path" of the listener */
    int fd;                       /* -1: not connected */
    struct gw_notify cancel;
    atomic_bool is_interrupted; /* sticks until the next open */
    size_t piece_bytes;         /* write_all: at most so many a system call; 0: all at once */
    uint64_t waited_ns;         /* the writing thread's: in write_all, for room in the socket */
    uint64_t starved_ns;        /* the reading thread's: in read_all, for bytes */

    /* gw_connection_read_ahead. */
    uint8_t *ahead;
    size_t ahead_bytes, ahead_at, ahead_end;

    /* gw_connection_on_stall. */
    void (*stalled)(void *context); /* NULL: nobody wants to know */
    void *stalled_context;
};

/* Makes the storage ready for one connect or accept, and for interrupts, not yet connected. */
GW_MUST_USE enum gw_status gw_connection_open(struct gw_connection *connection,
                                              struct gw_fault *fault);

/* Connects: resolves the name, tries each address; with TLS, shakes hands. Plain TCP to an address
 * that is not loopback needs is_plaintext_allowed: GW_ARGUMENT, and no byte was sent. fd:... takes
 * the next of options->sockets. GW_LINK: refused, unreachable, no such name, the time is over, or
 * no socket is left. GW_REFUSED: one side does not believe the other, or no TLS is spoken there.
 * GW_CANCELLED: interrupted (name resolution itself cannot be
 * interrupted; the resolver's own time-outs bound it). */
GW_MUST_USE enum gw_status gw_connection_connect(struct gw_connection *connection,
                                                 const struct gw_uri *uri,
                                                 const struct gw_transport_options *options,
                                                 struct gw_fault *fault);

/* Says that no more will be written, so that the peer sees an end in order; reading goes on. Behind
 * what the last write returned GW_OK for. GW_AGAIN: come again (EPOLLOUT), else GW_OK. */
GW_MUST_USE enum gw_status gw_connection_shut(struct gw_connection *connection);

/* Idempotent; also on a zeroed connection. No thread may be inside any of its functions. */
void gw_connection_close(struct gw_connection *connection);

/* Whoever is inside connect, read_all or write_all returns GW_CANCELLED at once, and so does
 * every later call, until the connection is opened anew. The peer sees the end when it is
 * closed. Any thread. */
void gw_connection_interrupt(struct gw_connection *connection);

/* For the event loop. -1 when not connected. */
int gw_connection_fd(const struct gw_connection *connection);

/* From now on reads of less than `count` bytes take what is there up to so many, and keep the rest
 * here for the next: a frame of a few parts then costs one system call. Not for a connection that
 * an event loop watches: its descriptor does not tell of what is kept. `bytes` outlives it. */
void gw_connection_read_ahead(struct gw_connection *connection, uint8_t *bytes, size_t count);

/* `stalled` is called in read_all, by the thread that reads, when bytes do not come for
 * GW_STALL_NS: what else it has to do is somebody else's until it returns. */
enum { GW_STALL_NS = 5000000 };
void gw_connection_on_stall(struct gw_connection *connection, void (*stalled)(void *context),
                            void *context);

/* Bytes (or the end of them) are kept here, or by TLS: the descriptor does not tell of them. For
 * the thread that reads. */
bool gw_connection_has_ahead(const struct gw_connection *connection);

/* The next `count` bytes where they are kept, valid until the next read; NULL: not all of them are
 * here, and nothing was taken. */
const uint8_t *gw_connection_take_ahead(struct gw_connection *connection, size_t count);

/* Non-blocking: GW_OK with *bytes > 0 (perhaps less than asked), GW_AGAIN (wait for EPOLLIN or
 * EPOLLOUT), GW_LINK, GW_CANCELLED; GW_REFUSED from TLS, whose hands an accepted connection shakes
 * in here. After GW_AGAIN the next write begins with the same bytes. An end in order is GW_LINK
 * without an os_error. count 1..GW_CONNECTION_PARTS_MAX, not all parts empty. */
GW_MUST_USE enum gw_status gw_connection_read(struct gw_connection *connection,
                                              const struct iovec *parts, int count, size_t *bytes,
                                              struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_connection_write(struct gw_connection *connection,
                                               const struct iovec *parts, int count, size_t *bytes,
                                               struct gw_fault *fault);

/* Blocking: all bytes of all parts, or an error. `parts` is used up: its entries are changed.
 * The idle time starts anew with each byte that gets through. */
GW_MUST_USE enum gw_status gw_connection_read_all(struct gw_connection *connection,
                                                  struct iovec *parts, int count,
                                                  struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_connection_write_all(struct gw_connection *connection,
                                                   struct iovec *parts, int count,
                                                   struct gw_fault *fault);

#endif
