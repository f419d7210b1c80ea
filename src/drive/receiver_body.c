/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that did not travel as they are: packed ones, and repeated ones. The contract:
 * receiver_internal.h. */
#include <string.h>

#include "drive/exchange.h"
#include "drive/receiver_internal.h"
#include "godwit/crc32c.h"
#include "godwit/pack.h"

static_assert(GW_UNIT_BYTES_MAX >= GW_BATCH_BYTES_MAX, "the staging memory takes what is unpacked");

/* ---- Packed ---- */

enum gw_status gw_receiver_read_packed(struct gw_receiver *receiver,
                                       const struct gw_receiving *batch, uint32_t *crc,
                                       struct gw_fault *fault)
{
    enum gw_status status =
        gw_exchange_read(receiver->connection, receiver->packed, batch->body_bytes, fault);
    *crc = gw_crc32c(gw_crc32c(0, receiver->table, batch->table_bytes), receiver->packed,
                     batch->body_bytes);
    return status;
}

enum gw_status gw_receiver_unpack(const struct gw_receiver *receiver,
                                  const struct gw_receiving *batch, uint8_t *pages,
                                  struct gw_fault *fault)
{
    return gw_unpack(receiver->packed, batch->body_bytes, pages,
                     receiver->records.raw_pages * receiver->ram->page_bytes, fault);
}

/* Pages that follow each other are unpacked where they belong; others on the way. */
enum gw_status gw_receiver_unpack_direct(struct gw_receiver *receiver,
                                         const struct gw_receiving *batch, struct gw_fault *fault)
{
    int count = gw_receiver_gather(receiver);
    if (count == 1) {
        return gw_receiver_unpack(receiver, batch, receiver->part[0].iov_base, fault);
    }
    enum gw_status status = gw_receiver_unpack(receiver, batch, receiver->staging, fault);
    const uint8_t *from = receiver->staging;
    for (int i = 0; i < count && status == GW_OK; i++) {
        memcpy(receiver->part[i].iov_base, from, receiver->part[i].iov_len);
        from += receiver->part[i].iov_len;
    }
    return status;
}

/* ---- Repeated ---- */

void gw_receiver_repeat_direct(const struct gw_receiver *receiver)
{
    const struct gw_ram *ram = receiver->ram;
    for (uint32_t i = 0; i < receiver->records.record_count; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        bool is_copy = record->kind == GW_RECORD_COPY;
        if (!is_copy && record->kind != GW_RECORD_FILL) {
            continue;
        }
        for (uint64_t page = record->page; page < record->page + record->count; page++) {
            if (is_copy) {
                uint64_t from = gw_batch_raw_page(&receiver->records, record->value);
                memmove(gw_ram_page(ram, page), gw_ram_page(ram, from), ram->page_bytes);
            } else {
                gw_repeat_fill(gw_ram_page(ram, page), ram->page_bytes, record->value);
            }
        }
    }
}

/* A filled page is made where packed bytes are no longer needed. */
enum gw_status gw_receiver_repeat_staged(struct gw_receiver *receiver,
                                         const struct gw_record *record, const uint8_t *bytes,
                                         struct gw_fault *fault)
{
    size_t page_bytes = receiver->ram->page_bytes;
    enum gw_status status = GW_OK;
    const uint8_t *page = receiver->packed;
    if (record->kind == GW_RECORD_FILL) {
        gw_repeat_fill(receiver->packed, page_bytes, record->value);
    } else {
        page = bytes + record->value * page_bytes;
    }
    for (uint32_t i = 0; i < record->count && status == GW_OK; i++) {
        status = gw_missing_place(&receiver->faults->missing, record->page + i, 1, page, fault);
    }
    return status;
}
