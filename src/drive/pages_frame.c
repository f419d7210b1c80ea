/* SPDX-License-Identifier: Apache-2.0 */
/* BATCH frames, sent. The contract: pages_frame.h. */
#include "drive/pages_frame.h"

#include "godwit/clock.h"

/* Of the whole frame: its header and table, and what stands behind them. */
struct parts {
    int count;
    struct iovec part[1 + GW_BATCH_PAGES_MAX];
};

static_assert(1 + GW_BATCH_PAGES_MAX <= GW_CONNECTION_PARTS_MAX, "a frame is written in one call");

/* How many bytes the raw pages pack into, at frame->packed; 0: they go as they are. */
static uint32_t pack(const struct gw_pages_frame *frame, const struct gw_batch_builder *builder,
                     struct gw_batch_sent *sent)
{
    if (frame->packing == GW_PACKING_NONE || builder->table.raw_pages == 0) {
        return 0;
    }
    GW_ASSERT(builder->room != NULL); /* one behind the other */
    uint64_t start_ns = gw_clock_now_ns();
    uint32_t packed = gw_pack(frame->packer, builder->room,
                              builder->table.raw_pages * builder->page_bytes, frame->packed);
    sent->cost.packing = frame->packing;
    sent->cost.pack_ns = gw_clock_now_ns() - start_ns;
    return packed;
}

static void add_part(struct parts *parts, const uint8_t *bytes, size_t count)
{
    struct iovec *last = &parts->part[parts->count - 1];
    if ((const uint8_t *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += count;
        return;
    }
    parts->part[parts->count++] =
        (struct iovec){.iov_base = (uint8_t *)(uintptr_t)bytes, .iov_len = count};
}

static void add_raw(struct parts *parts, const struct gw_batch_builder *builder)
{
    for (uint32_t i = 0; i < builder->table.raw_pages; i++) {
        add_part(parts, builder->raw[i], builder->page_bytes);
    }
}

enum gw_status gw_pages_frame_send(struct gw_connection *connection,
                                   const struct gw_pages_frame *frame,
                                   const struct gw_batch_builder *builder,
                                   struct gw_batch_sent *sent, struct gw_fault *fault)
{
    uint32_t packed = pack(frame, builder, sent);
    uint32_t raw_bytes = builder->table.raw_pages * builder->page_bytes;
    uint32_t body_bytes = packed > 0 ? packed : raw_bytes;
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = GW_FRAME_BATCH,
        .flags =
            (uint16_t)((frame->is_stopped ? GW_FRAME_STOPPED : 0) |
                       (packed > 0 ? GW_FRAME_PACKED : 0) | (frame->is_whole ? GW_FRAME_WHOLE : 0)),
        .generation = frame->generation,
        .sequence = frame->sequence,
    };
    uint8_t *table = frame->table + GW_FRAME_HEADER_BYTES;
    uint32_t table_bytes = packed > 0 ? gw_batch_finish_packed(builder, frame->packed, packed,
                                                               table, &header.payload_crc)
                                      : gw_batch_finish(builder, table, &header.payload_crc);
    header.payload_bytes = table_bytes + body_bytes;
    gw_frame_encode_header(&header, frame->table);
    struct parts parts = {.count = 1,
                          .part = {{frame->table, GW_FRAME_HEADER_BYTES + table_bytes}}};
    if (packed > 0) {
        add_part(&parts, frame->packed, packed);
    } else {
        add_raw(&parts, builder);
    }
    sent->raw_pages = builder->table.raw_pages;
    sent->repeat_pages = builder->table.repeat_pages;
    sent->zero_pages = builder->zero_pages;
    sent->wire_bytes = GW_FRAME_HEADER_BYTES + header.payload_bytes;
    sent->cost.raw_bytes = raw_bytes;
    sent->cost.packed_bytes = body_bytes;
    uint64_t start_ns = gw_clock_now_ns();
    uint64_t waited_ns = connection->waited_ns;
    enum gw_status status = gw_connection_write_all(connection, parts.part, parts.count, fault);
    sent->cost.wait_ns = connection->waited_ns - waited_ns;
    sent->cost.write_ns = gw_clock_now_ns() - start_ns - sent->cost.wait_ns;
    return status;
}
