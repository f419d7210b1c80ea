/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: how everything travels on every channel (docs/WIRE.md, Frames).
 *
 * A frame is a header of 32 bytes and a payload. The header carries its own CRC32C, so that a
 * length is believed only when the header is whole; the payload's CRC32C stands in the header.
 *
 * Pure: bytes in the caller's memory, no I/O. All integers are little-endian on the wire.
 */
#ifndef GODWIT_FRAME_H
#define GODWIT_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

enum {
    GW_FRAME_HEADER_BYTES = 32,
    GW_FRAME_MAGIC = 0x54574447, /* "GDWT" as bytes */
    GW_PROTOCOL_VERSION = 1,
};

/* Frame types. The direction is source to target unless it says otherwise. */
#define GW_FRAME_TYPES(F)                                                                        \
    F(INTRO, 1)     /* first on every connection: session, role, channel, generation */          \
    F(WELCOME, 2)   /* target: the answer to INTRO, with the session's standing */               \
    F(REFUSE, 3)    /* target: why this connection or session cannot be */                       \
    F(HELLO, 4)     /* the facts to be equal */                                                  \
    F(ACCEPT, 5)    /* target: they are */                                                       \
    F(PING, 6)      /* either: are you there? */                                                 \
    F(PONG, 7)      /* either: yes */                                                            \
    F(BATCH, 16)    /* bulk: pages */                                                            \
    F(VERIFY, 17)   /* bulk: the digest of a stretch */                                          \
    F(ACK, 18)      /* target: batches up to this number are checked and placed */               \
    F(SUSPECT, 19)  /* target: that batch's payload did not match; its pages are needed again */ \
    F(MISMATCH, 20) /* target: that stretch's digest differs */                                  \
    F(MISSING, 21)  /* bulk: which pages come only after the switch (postcopy) */                \
    F(RECEIVED, 22) /* target, bulk: which pages it has of a guest that runs there */            \
    F(DEMAND, 23)   /* target, urgent: this page now */                                          \
    F(PREPARE, 32)  /* the machine's state: load it, check it, do not run */                     \
    F(READY, 33)    /* target: loaded and checked; COMMIT is all that lacks */                   \
    F(ABORTED, 34)  /* target: this epoch will never run here */                                 \
    F(COMMIT, 35)   /* the guest is yours */                                                     \
    F(RUNNING, 36)  /* target: it is mine now */                                                 \
    F(DONE, 37)     /* either: I know: forget me */                                              \
    F(ABORT, 38)    /* the source goes on by itself; drop the session */                         \
    F(COMPLETE, 39) /* target: the guest runs here, and all of its RAM is here */                \
    F(SWITCHOVER_ACK, 40) /* target: its devices are ready, the guest may be stopped */

#define GW_FRAME_ENUM(name, number) GW_FRAME_##name = (number),
enum gw_frame_type { GW_FRAME_TYPES(GW_FRAME_ENUM) };
#undef GW_FRAME_ENUM

/* "PREPARE", or "unknown". Never NULL. */
const char *gw_frame_type_name(uint8_t type);

enum {
    GW_FRAME_STOPPED = 1, /* BATCH: the guest stands still; a payload that mismatches is an error */
    GW_FRAME_PACKED = 2,  /* BATCH: the bytes of its raw pages are one lz4 block */
    GW_FRAME_WHOLE = 4,   /* BATCH: the source has touched all of the stretch that it begins in */
};

struct gw_frame_header {
    uint8_t version;        /* GW_PROTOCOL_VERSION */
    uint8_t type;           /* enum gw_frame_type */
    uint16_t flags;         /* GW_FRAME_STOPPED and the others */
    uint32_t payload_bytes; /* bytes that follow the header */
    uint32_t payload_crc;   /* CRC32C of the payload; 0 for an empty one */
    uint32_t generation;    /* of the connection, as introduced */
    uint64_t sequence;      /* control channel: 1, 2, 3... in each direction, from INTRO and from
                               WELCOME or REFUSE on. Bulk channel: 0 for those, then the number
                               of the batch */
};

void gw_frame_encode_header(const struct gw_frame_header *header,
                            uint8_t bytes[static GW_FRAME_HEADER_BYTES]);

/* Checks magic, CRC and version, in that order. GW_PROTOCOL: not godwit, or another version;
 * GW_CORRUPT: the header's CRC does not match. */
GW_MUST_USE enum gw_status gw_frame_decode_header(struct gw_frame_header *header,
                                                  const uint8_t bytes[static GW_FRAME_HEADER_BYTES],
                                                  struct gw_fault *fault);

#endif
