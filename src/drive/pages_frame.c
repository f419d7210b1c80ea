/* SPDX-License-Identifier: Apache-2.0 */
/* BATCH frames, sent. The contract: pages_frame.h. */
#include "drive/pages_frame.h"

#include "godwit/clock.h"

/* What stands behind the table. */
struct body {
    const uint8_t *bytes;
    uint32_t count;
    bool is_packed;
};

static struct body make_body(const struct gw_pages_frame *frame,
                             const struct gw_batch_builder *builder, struct gw_batch_sent *sent)
{
    struct body body = {.bytes = builder->pages,
                        .count = builder->table.raw_pages * builder->page_bytes};
    if (frame->packing == GW_PACKING_NONE || body.count == 0) {
        return body;
    }
    uint64_t start_ns = gw_clock_now_ns();
    uint32_t packed = gw_pack(frame->packer, body.bytes, body.count, frame->packed);
    sent->cost.packing = frame->packing;
    sent->cost.pack_ns = gw_clock_now_ns() - start_ns;
    return packed == 0 ? body
                       : (struct body){.bytes = frame->packed, .count = packed, .is_packed = true};
}

enum gw_status gw_pages_frame_send(struct gw_connection *connection,
                                   const struct gw_pages_frame *frame,
                                   const struct gw_batch_builder *builder,
                                   struct gw_batch_sent *sent, struct gw_fault *fault)
{
    const struct body body = make_body(frame, builder, sent);
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = GW_FRAME_BATCH,
        .flags = (uint16_t)((frame->is_stopped ? GW_FRAME_STOPPED : 0) |
                            (body.is_packed ? GW_FRAME_PACKED : 0) |
                            (frame->is_whole ? GW_FRAME_WHOLE : 0)),
        .generation = frame->generation,
        .sequence = frame->sequence,
    };
    uint8_t *table = frame->table + GW_FRAME_HEADER_BYTES;
    uint32_t table_bytes = body.is_packed ? gw_batch_finish_packed(builder, body.bytes, body.count,
                                                                   table, &header.payload_crc)
                                          : gw_batch_finish(builder, table, &header.payload_crc);
    header.payload_bytes = table_bytes + body.count;
    gw_frame_encode_header(&header, frame->table);
    struct iovec parts[2] = {
        {.iov_base = frame->table, .iov_len = GW_FRAME_HEADER_BYTES + table_bytes},
        {.iov_base = (uint8_t *)(uintptr_t)body.bytes, .iov_len = body.count},
    };
    sent->raw_pages = builder->table.raw_pages;
    sent->repeat_pages = builder->table.repeat_pages;
    sent->zero_pages = builder->zero_pages;
    sent->wire_bytes = GW_FRAME_HEADER_BYTES + header.payload_bytes;
    sent->cost.raw_bytes = (uint64_t)builder->table.raw_pages * builder->page_bytes;
    sent->cost.packed_bytes = body.count;
    uint64_t start_ns = gw_clock_now_ns();
    uint64_t waited_ns = connection->waited_ns;
    enum gw_status status = gw_connection_write_all(connection, parts, 2, fault);
    sent->cost.wait_ns = connection->waited_ns - waited_ns;
    sent->cost.write_ns = gw_clock_now_ns() - start_ns - sent->cost.wait_ns;
    return status;
}
