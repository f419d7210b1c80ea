/* SPDX-License-Identifier: Apache-2.0 */
/* Units larger than a page, put together in a receiver's staging memory. The contract:
 * receiver_internal.h. */
#include <string.h>

#include "drive/exchange.h"
#include "drive/receiver_internal.h"
#include "godwit/crc32c.h"

static uint8_t *unit_slot(const struct gw_receiver *receiver, uint64_t page)
{
    return receiver->staging + (page - receiver->assembly.unit.page) * receiver->ram->page_bytes;
}

/* The raw records as stretches of the unit that is being put together. */
static int gather_unit_parts(struct gw_receiver *receiver)
{
    int count = 0;
    for (uint32_t i = 0; i < receiver->records.record_count; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        if (record->kind == GW_RECORD_RAW) {
            receiver->part[count].iov_base = unit_slot(receiver, record->page);
            receiver->part[count].iov_len = (size_t)record->count * receiver->ram->page_bytes;
            count++;
        }
    }
    return count;
}

/* A body that was unpacked lies at the front of its pages; behind it, some may be no raw ones. */
static void spread(struct gw_receiver *receiver, uint8_t *pages)
{
    const struct gw_batch_table *table = &receiver->records;
    size_t page_bytes = receiver->ram->page_bytes;
    uint64_t left = table->raw_pages;
    for (uint32_t i = table->record_count; i-- > 0;) {
        const struct gw_record *record = &table->record[i];
        if (record->kind == GW_RECORD_RAW) {
            left -= record->count;
            memmove(unit_slot(receiver, record->page), pages + left * page_bytes,
                    record->count * page_bytes);
        }
    }
}

static void repeat(struct gw_receiver *receiver, const struct gw_record *record)
{
    size_t page_bytes = receiver->ram->page_bytes;
    uint8_t *slot = unit_slot(receiver, record->page);
    if (record->kind == GW_RECORD_FILL) {
        gw_repeat_fill(slot, record->count * page_bytes, record->value);
        return;
    }
    const uint8_t *from = unit_slot(receiver, gw_batch_raw_page(&receiver->records, record->value));
    for (uint32_t i = 0; i < record->count; i++) {
        memcpy(slot + i * page_bytes, from, page_bytes);
    }
}

/* Zeros are written only into a unit that has other pages too. */
static void put_aside(struct gw_receiver *receiver)
{
    struct gw_assembly *assembly = &receiver->assembly;
    size_t page_bytes = receiver->ram->page_bytes;
    for (uint32_t i = 0; i < receiver->records.record_count; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        bool is_zero = record->kind == GW_RECORD_ZERO;
        if (!is_zero && assembly->raw_aside == 0) {
            memset(receiver->staging, 0, assembly->aside * page_bytes);
        } else if (is_zero && assembly->raw_aside > 0) {
            memset(unit_slot(receiver, record->page), 0, record->count * page_bytes);
        }
        if (!is_zero && record->kind != GW_RECORD_RAW) {
            repeat(receiver, record);
        }
        gw_assembly_add(assembly, record->count, !is_zero);
    }
}

static enum gw_status place_unit(struct gw_receiver *receiver, struct gw_run *whole,
                                 struct gw_fault *fault)
{
    const struct gw_missing *missing = &receiver->faults->missing;
    const struct gw_assembly *assembly = &receiver->assembly;
    const struct gw_run unit = assembly->unit;
    enum gw_status status =
        assembly->raw_aside > 0
            ? gw_missing_place(missing, unit.page, unit.count, receiver->staging, fault)
            : gw_missing_place_zero(missing, unit.page, unit.count, fault);
    *whole = unit;
    receiver->assembly = (struct gw_assembly){.aside = 0};
    return status;
}

/* To where its pages are put aside, and summed. */
static enum gw_status read_part(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                uint32_t *crc, struct gw_fault *fault)
{
    if (batch->is_packed) {
        return gw_receiver_read_packed(receiver, batch, crc, fault);
    }
    int count = gather_unit_parts(receiver);
    enum gw_status status =
        count > 0 ? gw_connection_read_all(receiver->connection, receiver->part, count, fault)
                  : GW_OK;
    /* read_all may have moved the parts' starts on. */
    *crc = gw_receiver_crc(receiver, gather_unit_parts(receiver), batch->table_bytes);
    return status;
}

static enum gw_status unpack_part(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                  struct gw_fault *fault)
{
    uint8_t *pages = unit_slot(receiver, receiver->records.record[0].page);
    enum gw_status status = gw_receiver_unpack(receiver, batch, pages, fault);
    if (status == GW_OK) {
        spread(receiver, pages);
    }
    return status;
}

/* There is no body. */
static enum gw_status take_gone(const struct gw_receiver *receiver,
                                const struct gw_receiving *batch, struct gw_fault *fault)
{
    return gw_receiver_crc(receiver, 0, batch->table_bytes) == batch->header->payload_crc
               ? GW_OK
               : gw_receiver_refuse_damaged(receiver, batch->header, fault);
}

enum gw_status gw_receiver_take_part(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                     struct gw_run *whole, struct gw_fault *fault)
{
    uint32_t unit_pages = receiver->ram->unit_pages;
    uint32_t crc = 0;
    enum gw_status status = gw_assembly_check(&receiver->assembly, &receiver->records, unit_pages,
                                              receiver->is_urgent, fault);
    if (status != GW_OK) {
        return status;
    }
    if (receiver->records.record[0].kind == GW_RECORD_GONE) {
        return take_gone(receiver, batch, fault);
    }
    gw_assembly_begin(&receiver->assembly, &receiver->records, unit_pages);
    status = read_part(receiver, batch, &crc, fault);
    if (status != GW_OK) {
        return status;
    }
    if (crc != batch->header->payload_crc) {
        return gw_receiver_refuse_damaged(receiver, batch->header, fault);
    }
    status = batch->is_packed ? unpack_part(receiver, batch, fault) : GW_OK;
    if (status != GW_OK) {
        return status;
    }
    put_aside(receiver);
    return gw_assembly_is_whole(&receiver->assembly) ? place_unit(receiver, whole, fault) : GW_OK;
}
