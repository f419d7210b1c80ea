/* SPDX-License-Identifier: Apache-2.0 */
/* BATCH frames, sent. The contract: pages_frame.h. */
#include "drive/pages_frame.h"

enum gw_status gw_pages_frame_send(struct gw_connection *connection,
                                   const struct gw_pages_frame *frame,
                                   const struct gw_batch_builder *builder,
                                   struct gw_batch_sent *sent, struct gw_fault *fault)
{
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = GW_FRAME_BATCH,
        .flags = frame->is_stopped ? GW_FRAME_STOPPED : 0,
        .generation = frame->generation,
        .sequence = frame->sequence,
    };
    uint32_t table_bytes =
        gw_batch_finish(builder, frame->table + GW_FRAME_HEADER_BYTES, &header.payload_crc);
    size_t page_bytes = (size_t)builder->table.raw_pages * builder->page_bytes;
    header.payload_bytes = table_bytes + (uint32_t)page_bytes;
    gw_frame_encode_header(&header, frame->table);
    struct iovec parts[2] = {
        {.iov_base = frame->table, .iov_len = GW_FRAME_HEADER_BYTES + table_bytes},
        {.iov_base = builder->pages, .iov_len = page_bytes},
    };
    sent->raw_pages = builder->table.raw_pages;
    sent->zero_pages = builder->zero_pages;
    sent->wire_bytes = GW_FRAME_HEADER_BYTES + header.payload_bytes;
    return gw_connection_write_all(connection, parts, 2, fault);
}
