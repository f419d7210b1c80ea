/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control channel: messages over a connection, without blocking (docs/WIRE.md, Channels).
 *
 * It counts each direction's frames (1, 2, 3... from INTRO and WELCOME on) and checks the peer's
 * numbers and generation. It answers PING by itself, asks a silent peer with one, and calls the
 * link lost when nothing came for the connection's idle time. A frame's header is checked before
 * its length is believed, and its length before its payload is read.
 *
 * Owner: the caller's storage, buffers included. Threads: one. Blocks: never. After any status
 * but GW_OK and GW_AGAIN the channel is of no more use: only close its connection.
 */
#ifndef GODWIT_CHANNEL_H
#define GODWIT_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/frame.h"
#include "godwit/limits.h"
#include "godwit/message.h"
#include "godwit/status.h"
#include "godwit/transport.h"

enum {
    /* Sent and not yet taken by the kernel: what a target says (small messages), and what a
     * source says (HELLO, PREPARE, small ones). A peer that lets it fill up does not read. */
    GW_CHANNEL_SMALL_OUT_BYTES = 16384,
    GW_CHANNEL_LARGE_OUT_BYTES = 16384 + (int)GW_PREPARE_BYTES_MAX,
};

/* Bytes of the caller's. */
struct gw_channel_buffer {
    uint8_t *bytes;
    size_t capacity;
};

struct gw_channel {
    struct gw_connection connection; /* opened, connected and closed by the caller */
    struct gw_channel_buffer in;     /* payloads but PREPARE's; valid until the next receive */
    struct gw_channel_buffer state;  /* PREPARE's; capacity 0: the peer may send none */
    struct gw_channel_buffer out;
    uint32_t generation;
    bool is_generation_known;    /* false: the first frame (INTRO) sets it */
    uint64_t sent, received;     /* sequence of the last frame each way */
    uint64_t out_first, out_end; /* bytes of `out` not yet taken by the kernel */
    uint64_t heard_ns;           /* when the peer was last heard */
    uint64_t pinged_ns;          /* when it was asked since then; 0: not */
    uint64_t wire_bytes;         /* sent, headers included */
    struct gw_frame_header header;
    bool has_header;
    uint32_t got; /* bytes of the header, or of the payload once has_header */
    uint8_t header_bytes[GW_FRAME_HEADER_BYTES];
};

/* Starts on a connection that is connected. The buffers must be set before. generation 0: take it
 * from the first frame that comes. */
void gw_channel_start(struct gw_channel *channel, uint32_t generation, uint64_t now_ns);

/* Queues a message, and gives the kernel what it takes. GW_LINK when the buffer is full: the peer
 * does not read. */
GW_MUST_USE enum gw_status gw_channel_send(struct gw_channel *channel,
                                           const struct gw_message *message,
                                           struct gw_fault *fault);

/* Gives the kernel what it takes. GW_AGAIN when something is left: come back at EPOLLOUT. */
GW_MUST_USE enum gw_status gw_channel_flush(struct gw_channel *channel, struct gw_fault *fault);

/* The next message; pointers in it are valid until the next call. A PONG asks for nothing: it is
 * the peer's, or what a PING was answered with, and comes out so that whoever reads a number of
 * messages at a time counts it. GW_AGAIN when none is whole yet. GW_LINK at the end of the
 * connection. */
GW_MUST_USE enum gw_status gw_channel_receive(struct gw_channel *channel, uint64_t now_ns,
                                              struct gw_message *message, struct gw_fault *fault);

/* Asks a silent peer whether it is there. GW_LINK when it said nothing for too long. */
GW_MUST_USE enum gw_status gw_channel_check_idle(struct gw_channel *channel, uint64_t now_ns,
                                                 struct gw_fault *fault);

/* When gw_channel_check_idle is due. */
uint64_t gw_channel_deadline(const struct gw_channel *channel);

#endif
