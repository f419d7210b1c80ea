/* SPDX-License-Identifier: Apache-2.0 */
/* BATCH payloads: building them on the source, reading their table on the target. Pure. */
#include "godwit/batch.h"

#include <string.h>

#include "base/bytes.h"
#include "godwit/crc32c.h"

static_assert((uint64_t)GW_BATCH_PAYLOAD_BYTES_MAX < UINT32_MAX, "payload lengths have 32 bits");

/* The guest may write these bytes meanwhile: a torn read is sent again, because the page was
 * re-armed before and is dirty now. */
__attribute__((no_sanitize("thread"))) bool gw_page_is_zero(const uint8_t *page, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 64) {
        uint64_t seen = 0;
        for (size_t i = 0; i < 64; i += 8) {
            seen |= *(const volatile uint64_t *)(const void *)(page + at + i);
        }
        if (seen) {
            return false;
        }
    }
    return true;
}

__attribute__((no_sanitize("thread"))) static void copy_live(uint8_t *to, const uint8_t *from,
                                                             size_t bytes)
{
#if defined(__SANITIZE_THREAD__)
    for (size_t at = 0; at < bytes; at += 8) {
        *(uint64_t *)(void *)(to + at) = *(const volatile uint64_t *)(const void *)(from + at);
    }
#else
    memcpy(to, from, bytes);
#endif
}

void gw_batch_begin(struct gw_batch_builder *builder, uint8_t *pages, uint32_t page_bytes)
{
    builder->pages = pages;
    builder->page_bytes = page_bytes;
    builder->zero_pages = 0;
    builder->table.record_count = 0;
    builder->table.raw_pages = 0;
}

static void add_record(struct gw_batch_table *table, uint64_t page, uint32_t count,
                       enum gw_record_kind kind)
{
    if (table->record_count > 0) {
        struct gw_record *last = &table->record[table->record_count - 1];
        if (last->kind == kind && last->page + last->count == page &&
            last->count <= UINT32_MAX - count) {
            last->count += count;
            return;
        }
    }
    GW_ASSERT(table->record_count < GW_BATCH_RECORDS_MAX);
    table->record[table->record_count++] =
        (struct gw_record){.page = page, .count = count, .kind = kind};
}

void gw_batch_add_zero(struct gw_batch_builder *builder, uint64_t page, uint32_t count)
{
    add_record(&builder->table, page, count, GW_RECORD_ZERO);
    builder->zero_pages += count;
}

void gw_batch_add_gone(struct gw_batch_builder *builder, uint64_t page, uint32_t count)
{
    add_record(&builder->table, page, count, GW_RECORD_GONE);
}

void gw_batch_add_page(struct gw_batch_builder *builder, uint64_t page, const uint8_t *bytes)
{
    if (gw_page_is_zero(bytes, builder->page_bytes)) {
        gw_batch_add_zero(builder, page, 1);
        return;
    }
    size_t at = (size_t)builder->table.raw_pages * builder->page_bytes;
    GW_ASSERT(at + builder->page_bytes <= GW_BATCH_BYTES_MAX);
    copy_live(builder->pages + at, bytes, builder->page_bytes);
    builder->table.raw_pages++;
    add_record(&builder->table, page, 1, GW_RECORD_RAW);
}

void gw_batch_put_page(struct gw_batch_builder *builder, uint64_t page, const uint8_t *bytes)
{
    GW_ASSERT(builder->table.record_count == 0);
    if (gw_page_is_zero(bytes, builder->page_bytes)) {
        gw_batch_add_zero(builder, page, 1);
        return;
    }
    builder->pages = (uint8_t *)(uintptr_t)bytes; /* only read from here on */
    builder->table.raw_pages = 1;
    add_record(&builder->table, page, 1, GW_RECORD_RAW);
}

static uint32_t encode_table(const struct gw_batch_table *table, uint32_t page_bytes,
                             uint8_t *bytes)
{
    uint32_t at = GW_BATCH_TABLE_HEADER_BYTES;
    gw_put_32(bytes, table->record_count);
    gw_put_32(bytes + 4, page_bytes);
    gw_put_32(bytes + 8, table->raw_pages);
    for (uint32_t i = 0; i < table->record_count; i++, at += GW_BATCH_RUN_BYTES) {
        gw_put_64(bytes + at, table->record[i].page);
        gw_put_32(bytes + at + 8, table->record[i].count);
        gw_put_32(bytes + at + 12, table->record[i].kind);
    }
    uint32_t crc = gw_crc32c(0, bytes, 12);
    gw_put_32(bytes + 12, gw_crc32c(crc, bytes + 16, at - 16));
    return at;
}

uint32_t gw_batch_finish(const struct gw_batch_builder *builder, uint8_t *bytes,
                         uint32_t *payload_crc)
{
    uint32_t used = encode_table(&builder->table, builder->page_bytes, bytes);
    uint32_t crc = gw_crc32c(0, bytes, used);
    *payload_crc =
        gw_crc32c(crc, builder->pages, (size_t)builder->table.raw_pages * builder->page_bytes);
    return used;
}

enum gw_status gw_batch_table_bytes(const uint8_t *header, uint32_t payload_bytes,
                                    uint32_t *table_bytes, struct gw_fault *fault)
{
    uint32_t records = gw_get_32(header);
    if (records < 1 || records > GW_BATCH_RECORDS_MAX) {
        return gw_fault_set(fault, GW_PROTOCOL, "a batch has %u records, wanted 1 to %d", records,
                            GW_BATCH_RECORDS_MAX);
    }
    *table_bytes = GW_BATCH_TABLE_HEADER_BYTES + records * GW_BATCH_RUN_BYTES;
    if (*table_bytes > payload_bytes) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "a batch of %u bytes says it has %u records, which need %u bytes",
                            payload_bytes, records, *table_bytes);
    }
    return GW_OK;
}

static enum gw_status decode_record(struct gw_record *record, const uint8_t *bytes,
                                    uint64_t page_count, struct gw_fault *fault)
{
    *record = (struct gw_record){
        .page = gw_get_64(bytes), .count = gw_get_32(bytes + 8), .kind = gw_get_32(bytes + 12)};
    if (record->count == 0 || record->page >= page_count ||
        record->count > page_count - record->page) {
        return gw_fault_set(
            fault, GW_PROTOCOL, "a batch names %u pages from page %llu, RAM has %llu pages",
            record->count, (unsigned long long)record->page, (unsigned long long)page_count);
    }
    if (record->kind > GW_RECORD_GONE) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "a batch has a record of kind %u, wanted 0 (zero), 1 (raw) or 2 (gone)",
                            record->kind);
    }
    return GW_OK;
}

enum gw_status gw_batch_decode_table(struct gw_batch_table *table, const uint8_t *bytes,
                                     uint32_t table_bytes, uint32_t payload_bytes,
                                     uint32_t page_bytes, uint64_t page_count,
                                     struct gw_fault *fault)
{
    uint32_t crc = gw_crc32c(gw_crc32c(0, bytes, 12), bytes + 16, table_bytes - 16);
    if (crc != gw_get_32(bytes + 12)) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "a batch's table arrived damaged: its CRC32C is 0x%08x, it says 0x%08x",
                            crc, gw_get_32(bytes + 12));
    }
    if (gw_get_32(bytes + 4) != page_bytes) {
        return gw_fault_set(fault, GW_PROTOCOL, "a batch has pages of %u bytes, wanted %u",
                            gw_get_32(bytes + 4), page_bytes);
    }
    uint64_t raw = 0;
    table->record_count = (table_bytes - GW_BATCH_TABLE_HEADER_BYTES) / GW_BATCH_RUN_BYTES;
    for (uint32_t i = 0; i < table->record_count; i++) {
        const uint8_t *at = bytes + GW_BATCH_TABLE_HEADER_BYTES + (size_t)i * GW_BATCH_RUN_BYTES;
        enum gw_status status = decode_record(&table->record[i], at, page_count, fault);
        if (status) {
            return status;
        }
        raw += table->record[i].kind == GW_RECORD_RAW ? table->record[i].count : 0;
    }
    if (raw != gw_get_32(bytes + 8) || raw * page_bytes > GW_BATCH_BYTES_MAX ||
        table_bytes + raw * page_bytes != payload_bytes) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "a batch's lengths disagree: %llu raw pages in the records, %u in the "
                            "table, %u bytes in all",
                            (unsigned long long)raw, gw_get_32(bytes + 8), payload_bytes);
    }
    table->raw_pages = (uint32_t)raw;
    return GW_OK;
}
