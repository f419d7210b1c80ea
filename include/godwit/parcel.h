/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parcels: messages with descriptors between two processes of one host, over a Unix socket that
 * keeps messages apart (SOCK_SEQPACKET). What they mean is not this header's business.
 *
 * Owner: the descriptors are the caller's; those that come are close-on-exec. Blocks: send, while
 * the other side does not read; receive never. Threads: one per direction. The end of the other
 * process closes its side, so that GW_LINK from receive also says that it is gone, if it never
 * closes before its end.
 */
#ifndef GODWIT_PARCEL_H
#define GODWIT_PARCEL_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

enum { GW_PARCEL_FDS_MAX = 12 };

struct gw_parcel {
    uint8_t *bytes;  /* the caller's */
    size_t capacity; /* receive: how much may come */
    size_t size;     /* what is there */
    uint32_t fd_count;
    int fd[GW_PARCEL_FDS_MAX]; /* sent: they stay the sender's; received: the caller's to close */
};

/* Both ends, close-on-exec. GW_HOST. */
GW_MUST_USE enum gw_status gw_parcel_pair(int fd[2], struct gw_fault *fault);

/* GW_OK when a descriptor that came from elsewhere is one end of a pair; makes it non-blocking and
 * close-on-exec. GW_ARGUMENT when it is something else. */
GW_MUST_USE enum gw_status gw_parcel_adopt(int fd, struct gw_fault *fault);

/* size >= 1. On a stream socket all bytes go at once too, if they are few (32 KiB). GW_LINK when
 * the other side is gone, and only then; GW_HOST when it did not read, or the kernel had no memory,
 * for timeout_ns, or at once for what no time mends. With UINT64_MAX it is tried again, whatever
 * the error, until it is sent or the other side is gone. */
GW_MUST_USE enum gw_status gw_parcel_send(int fd, const struct gw_parcel *parcel,
                                          uint64_t timeout_ns, struct gw_fault *fault);

/* The next one; on a stream socket what has come so far. GW_AGAIN when there is none, GW_LINK when
 * the other side is gone, GW_PROTOCOL when it is larger than `capacity` or has more descriptors
 * than there is room for: all that came with it are closed then, and it is lost. */
GW_MUST_USE enum gw_status gw_parcel_receive(int fd, struct gw_parcel *parcel,
                                             struct gw_fault *fault);

/* Waits until one is there, or the other side is gone: GW_OK; GW_AGAIN when the time is over. */
GW_MUST_USE enum gw_status gw_parcel_await(int fd, uint64_t timeout_ns);

void gw_parcel_close_fds(struct gw_parcel *parcel);

/* Closing it, by whoever has it, will not wait for what its peer has not acknowledged (SO_LINGER).
 * Received descriptors are so already; what is no socket stays as it is. */
void gw_parcel_unlinger(int fd);

#endif
