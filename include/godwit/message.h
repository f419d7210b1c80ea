/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: every frame but BATCH, VERIFY, MISSING and RECEIVED, as a struct (docs/WIRE.md,
 * Messages).
 *
 * A message is what the engines exchange; gw_message_encode and gw_message_decode are its only
 * byte forms. Decoding checks every length, count and range: bytes from a peer are hostile until
 * they have passed here. What is large (HELLO's facts, PREPARE's machine state) is not copied but
 * pointed to.
 *
 * Pure; the caller's memory.
 */
#ifndef GODWIT_MESSAGE_H
#define GODWIT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/fact.h"
#include "godwit/frame.h"
#include "godwit/limits.h"
#include "godwit/status.h"

enum {
    GW_SESSION_BYTES = 16,
    GW_NAME_BYTES = 64,           /* a guest's name with its NUL */
    GW_REASON_BYTES = 200,        /* a sentence with its NUL */
    GW_MESSAGE_SMALL_BYTES = 256, /* the largest payload of all messages but HELLO and PREPARE */
    GW_HELLO_BYTES_MAX = 88 + GW_FACTS_MAX * 40,
    GW_PREPARE_BYTES_MAX = 24 + 8 * GW_BULK_CHANNELS_MAX + (int)GW_STATE_BYTES_MAX,
};

struct gw_session {
    uint8_t id[GW_SESSION_BYTES]; /* random; all zero means none */
};

enum gw_role { GW_ROLE_CONTROL = 0, GW_ROLE_BULK = 1, GW_ROLE_URGENT = 2 };

/* How the target stands to the session a source introduces itself with. */
enum gw_standing {
    GW_STANDING_NEW = 0,     /* never heard of it, and free to take it */
    GW_STANDING_OPEN = 1,    /* open, before READY */
    GW_STANDING_READY = 2,   /* loaded `epoch`, waits for COMMIT */
    GW_STANDING_RUNNING = 3, /* took `epoch`, and waits for DONE */
    GW_STANDING_ABORTED = 4, /* never will run `epoch` or one before it */
    GW_STANDING_UNKNOWN = 5, /* asked to settle, but has no record: counts as nothing */
    GW_STANDING_PULLING = 6, /* took `epoch`, and lacks pages of it that the source has */
    GW_STANDING_LOST = 7,    /* took `epoch`, and died before it had all its pages */
    GW_STANDING_SETTLED = 8, /* took `epoch`, and waits for nobody any more */
};

/* What a source wants of the session it introduces itself with. */
enum gw_purpose {
    GW_PURPOSE_OPEN = 0,   /* a new one */
    GW_PURPOSE_SETTLE = 1, /* only to ask how it ended; COMMIT may have been sent */
    GW_PURPOSE_RESUME = 2, /* to go on where the link was lost; COMMIT was not sent */
};

struct gw_intro {
    struct gw_session session;
    struct gw_session withdrawn; /* a former session of this source that will never commit */
    uint16_t version_min, version_max;
    uint8_t role;        /* enum gw_role */
    uint8_t channel;     /* 0..GW_BULK_CHANNELS_MAX-1 within the role */
    uint8_t purpose;     /* enum gw_purpose */
    uint32_t generation; /* 1, 2, 3...: one more at each reconnection of the session */
    uint64_t sequence;   /* bulk: the last batch whose acknowledgement the source heard; the next
                            one it sends has the number behind it */
};

/* What a target can do; bits of ACCEPT. */
enum {
    GW_CAN_POSTCOPY = 1,        /* run a guest whose RAM is not all there yet */
    GW_WILL_ACK_SWITCHOVER = 2, /* says SWITCHOVER_ACK once its devices are ready for the guest */
    GW_CAN_UNPACK = 4,          /* take batches whose pages are packed (GW_FRAME_PACKED) */
};

struct gw_welcome {
    uint16_t version;
    uint8_t standing; /* enum gw_standing */
    uint64_t epoch;   /* which the standing speaks of; 0 if none */
};

struct gw_hello {
    char guest_name[GW_NAME_BYTES];
    uint64_t page_count;
    uint32_t page_bytes;
    uint32_t channel_count;       /* bulk channels that the source would use:
                                     1..GW_BULK_CHANNELS_MAX, or more after decoding */
    uint32_t fact_count;          /* 0..GW_FACTS_MAX */
    const struct gw_facts *facts; /* to encode: not owned. After decoding: NULL */
    const uint8_t *fact_bytes;    /* after decoding: checked; gw_hello_facts() reads them. Lives
                                     as long as the bytes it was decoded from */
};

enum { GW_UNIT_LOG2_MAX = 9 }; /* a huge page of 2 MiB in pages of 4 KiB */

struct gw_accept {
    uint32_t capabilities;  /* GW_CAN_...; bits that are not known are ignored */
    uint32_t unit_log2;     /* of the pages that it places as one: 0..GW_UNIT_LOG2_MAX */
    uint32_t channel_count; /* bulk channels to use: 1..GW_BULK_CHANNELS_MAX, at most HELLO's */
};

struct gw_ack {
    uint8_t channel;
    uint32_t starved_us; /* ACK: how long the target's end of the channel has waited for the rest of
                            frames since it was connected, modulo 2^32; SUSPECT: 0 */
    uint64_t sequence;   /* ACK: all up to it; SUSPECT: this one */
};

struct gw_mismatch {
    uint64_t page;
    uint32_t count;
    uint64_t digest_source, digest_target;
};

struct gw_prepare {
    uint64_t epoch;
    uint32_t channel_count;                       /* 1..GW_BULK_CHANNELS_MAX */
    uint64_t sequence_last[GW_BULK_CHANNELS_MAX]; /* READY waits for these */
    bool is_running;                              /* the guest ran when it was stopped for this */
    bool is_postcopy;       /* pages are missing: they come while the guest runs */
    uint32_t missing_pages; /* how many, by MISSING; 0 unless is_postcopy */
    const uint8_t *state;   /* not owned; lives as long as the bytes it was decoded from */
    uint32_t state_bytes;   /* 0..GW_STATE_BYTES_MAX */
};

struct gw_verdict {
    uint64_t epoch;
    uint64_t elapsed_ns;          /* COMMIT: guest time since the state was saved */
    char reason[GW_REASON_BYTES]; /* ABORTED, ABORT, REFUSE */
};

/* What a guest felt of a postcopy, as its target measured it: how long it ran without all of its
 * memory, how long all its CPUs stood still for a page at once, and its faults, from noticed to
 * resolved. Nanoseconds; percentiles to within 25 %. */
struct gw_waiting {
    uint64_t time_ns, blocktime_ns;
    uint64_t faults, min_ns, p50_ns, p90_ns, p99_ns, max_ns;
};

struct gw_complete {
    uint64_t epoch; /* as in gw_verdict */
    struct gw_waiting waiting;
};

struct gw_message {
    enum gw_frame_type type;
    union {
        struct gw_intro intro;
        struct gw_welcome welcome;
        struct gw_hello hello;
        struct gw_accept accept;
        struct gw_ack ack; /* ACK, SUSPECT */
        struct gw_mismatch mismatch;
        struct gw_prepare prepare;
        struct gw_verdict verdict; /* READY ABORTED COMMIT RUNNING DONE
                                      ABORT REFUSE SWITCHOVER_ACK */
        struct gw_complete complete;
        uint64_t demanded_page; /* DEMAND */
        uint64_t ping_ns;       /* PING: sender's clock; PONG: echoed */
    };
};

/* The largest payload the type may have: the bound for a header's payload_bytes before any of it
 * is read. 0 for types without a payload, and for types that are no message (BATCH, VERIFY,
 * unknown ones: gw_message_decode refuses them by number). */
uint32_t gw_message_payload_max(uint8_t type);

/* Encodes the payload. Returns its length; GW_ASSERTs that it fits `capacity` (size buffers by
 * gw_message_payload_max). For PREPARE the state bytes are copied in too. */
uint32_t gw_message_encode(const struct gw_message *message, uint8_t *bytes, size_t capacity);

/* Decodes a payload whose CRC was checked. GW_PROTOCOL with a sentence for anything that is not
 * exactly as docs/WIRE.md says. */
GW_MUST_USE enum gw_status gw_message_decode(struct gw_message *message, uint8_t type,
                                             const uint8_t *bytes, uint32_t count,
                                             struct gw_fault *fault);

/* Copies the facts out of a decoded HELLO. */
void gw_hello_facts(const struct gw_hello *hello, struct gw_facts *facts);

#endif
