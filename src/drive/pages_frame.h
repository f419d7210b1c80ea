/* SPDX-License-Identifier: Apache-2.0 */
/* A BATCH frame out of a filled builder. Blocks as the connection's write_all does. */
#ifndef GODWIT_DRIVE_PAGES_FRAME_H
#define GODWIT_DRIVE_PAGES_FRAME_H

#include "godwit/batch.h"
#include "godwit/pack.h"
#include "godwit/source.h"
#include "godwit/status.h"
#include "godwit/transport.h"

struct gw_pages_frame {
    uint32_t generation;
    uint64_t sequence;
    bool is_stopped;          /* flag GW_FRAME_STOPPED */
    bool is_whole;            /* flag GW_FRAME_WHOLE */
    uint8_t *table;           /* room for the header and the table */
    enum gw_packing packing;  /* NONE unless the builder copies its pages */
    struct gw_packer *packer; /* these two unless packing is NONE */
    uint8_t *packed;          /* GW_BATCH_BYTES_MAX */
};

/* Sends it, packed where that is wanted and worth it; *sent is filled in but for its channel and
 * sequence. */
GW_MUST_USE enum gw_status gw_pages_frame_send(struct gw_connection *connection,
                                               const struct gw_pages_frame *frame,
                                               const struct gw_batch_builder *builder,
                                               struct gw_batch_sent *sent, struct gw_fault *fault);

#endif
