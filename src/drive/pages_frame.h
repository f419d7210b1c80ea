/* SPDX-License-Identifier: Apache-2.0 */
/* A BATCH frame out of a filled builder. Blocks as the connection's write_all does. */
#ifndef GODWIT_DRIVE_PAGES_FRAME_H
#define GODWIT_DRIVE_PAGES_FRAME_H

#include "godwit/batch.h"
#include "godwit/source.h"
#include "godwit/status.h"
#include "godwit/transport.h"

struct gw_pages_frame {
    uint32_t generation;
    uint64_t sequence;
    bool is_stopped; /* flag GW_FRAME_STOPPED */
    uint8_t *table;  /* room for the header and the table */
};

/* Sends it; *sent is filled in but for its sequence. */
GW_MUST_USE enum gw_status gw_pages_frame_send(struct gw_connection *connection,
                                               const struct gw_pages_frame *frame,
                                               const struct gw_batch_builder *builder,
                                               struct gw_batch_sent *sent, struct gw_fault *fault);

#endif
