/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handover records: what a side writes to its state directory, so that after a crash it still
 * knows who may run the guest (docs/HANDOVER.md).
 *
 * A target keeps a history of the last sessions it opened (NAME.incoming); a source keeps one
 * record of where its guest went (NAME.outgoing). The engines decide what is recorded and when;
 * the embedder stores the encoded bytes so that they survive (gw_record_file_put).
 *
 * Pure; fixed sizes; each encoding holds a CRC32C of itself.
 */
#ifndef GODWIT_RECORD_H
#define GODWIT_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/message.h"
#include "godwit/status.h"

enum {
    GW_HISTORY_MAX = 8,                              /* sessions a target remembers */
    GW_PEER_BYTES = 128,                             /* a peer's URI with its NUL */
    GW_RECORD_FILE_BYTES = 16 + GW_HISTORY_MAX * 32, /* the encoding of a history */
    GW_TOKEN_BYTES = 72,                             /* a resolve token with its NUL */
};

/* What a target knows of a session. */
enum gw_record_state {
    GW_RECORD_OPENED = 1,  /* its guest was being received; never ran here */
    GW_RECORD_TOOK = 2,    /* the guest became ours at `epoch` */
    GW_RECORD_ABORTED = 3, /* `epoch` and all before it never run here: irrevocable */
    GW_RECORD_PULLING = 4, /* as TOOK, but pages of it lacked still */
};

struct gw_record_entry {
    struct gw_session session;
    uint64_t epoch;
    uint32_t state; /* enum gw_record_state */
};

struct gw_history {
    uint32_t count;
    struct gw_record_entry entry[GW_HISTORY_MAX]; /* newest first */
};

/* The entry of a session, or NULL. */
const struct gw_record_entry *gw_history_get(const struct gw_history *history,
                                             const struct gw_session *session);

/* Sets a session's entry, as the newest; the oldest falls out when all are used. */
void gw_history_put(struct gw_history *history, const struct gw_session *session,
                    enum gw_record_state state, uint64_t epoch);

/* Whoever opened a session here and did not take its guest never will. False: there was none. */
bool gw_history_abort_opened(struct gw_history *history);

void gw_history_encode(const struct gw_history *history, uint8_t bytes[GW_RECORD_FILE_BYTES]);

/* GW_CORRUPT with a sentence when the bytes are not a whole history. */
GW_MUST_USE enum gw_status gw_history_decode(struct gw_history *history, const uint8_t *bytes,
                                             size_t count, struct gw_fault *fault);

/* What a source knows of its guest. */
enum gw_departure_state {
    GW_DEPARTURE_LEAVING = 1, /* stopped for `peer`; no outcome known: it may run there */
    GW_DEPARTURE_LEFT = 2,    /* runs there */
    GW_DEPARTURE_KEPT = 3,    /* stayed here */
};

struct gw_departure {
    uint32_t state; /* enum gw_departure_state */
    struct gw_session session;
    uint64_t epoch;
    char peer[GW_PEER_BYTES];
};

enum { GW_DEPARTURE_FILE_BYTES = 16 + 32 + GW_PEER_BYTES };

void gw_departure_encode(const struct gw_departure *departure,
                         uint8_t bytes[GW_DEPARTURE_FILE_BYTES]);
GW_MUST_USE enum gw_status gw_departure_decode(struct gw_departure *departure, const uint8_t *bytes,
                                               size_t count, struct gw_fault *fault);

/* A token: one side's word that it gave `epoch` of a session up for good, carried by a person to
 * the other side. It names who gave up, so that a side cannot use its own. */
struct gw_token {
    struct gw_session session;
    uint64_t epoch;
    char who; /* 's' the source, 't' the target */
};

void gw_token_encode(const struct gw_token *token, char text[GW_TOKEN_BYTES]);
GW_MUST_USE enum gw_status gw_token_decode(struct gw_token *token, const char *text,
                                           struct gw_fault *fault);

#endif
