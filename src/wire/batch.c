/* SPDX-License-Identifier: Apache-2.0 */
/* BATCH payloads: building them on the source, reading their table on the target. Pure. */
#include "godwit/batch.h"

#include <string.h>

#include "base/bytes.h"
#include "godwit/crc32c.h"

static_assert((uint64_t)GW_BATCH_PAYLOAD_BYTES_MAX < UINT32_MAX, "payload lengths have 32 bits");

/* The guest may write these bytes meanwhile: a torn read is sent again, because the page was
 * re-armed before and is dirty now. A page that is not zero is soon told; one that is has to be
 * read to its end: by wide words, which any CPU of ours has, and with the next kilobytes on their
 * way. */
__attribute__((no_sanitize("thread"))) bool gw_page_is_zero(const uint8_t *page, size_t bytes)
{
    typedef uint64_t wide __attribute__((vector_size(16), may_alias, aligned(1)));
    enum { LINE = 64, AHEAD = 2048 };
    for (size_t at = 0; at < bytes; at += LINE) {
        const volatile wide *words = (const volatile wide *)(const void *)(page + at);
        __builtin_prefetch((const void *)((uintptr_t)page + at + AHEAD));
        wide seen = words[0] | words[1] | words[2] | words[3];
        if (seen[0] | seen[1]) {
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

void gw_batch_begin(struct gw_batch_builder *builder, uint8_t *room, uint32_t page_bytes)
{
    builder->room = room;
    builder->page_bytes = page_bytes;
    builder->zero_pages = 0;
    builder->pages_crc = 0;
    builder->table.record_count = 0;
    builder->table.raw_pages = 0;
    builder->table.repeat_pages = 0;
    gw_repeat_reset(&builder->repeat);
}

static void add_record(struct gw_batch_table *table, uint64_t page, uint32_t count,
                       enum gw_record_kind kind, uint64_t value)
{
    if (table->record_count > 0) {
        struct gw_record *last = &table->record[table->record_count - 1];
        if (last->kind == kind && last->value == value && last->page + last->count == page &&
            last->count <= UINT32_MAX - count) {
            last->count += count;
            return;
        }
    }
    GW_ASSERT(table->record_count < GW_BATCH_RECORDS_MAX);
    table->record[table->record_count++] =
        (struct gw_record){.page = page, .count = count, .kind = kind, .value = value};
}

void gw_batch_add_zero(struct gw_batch_builder *builder, uint64_t page, uint32_t count)
{
    add_record(&builder->table, page, count, GW_RECORD_ZERO, 0);
    builder->zero_pages += count;
}

void gw_batch_add_gone(struct gw_batch_builder *builder, uint64_t page, uint32_t count)
{
    add_record(&builder->table, page, count, GW_RECORD_GONE, 0);
}

static void add_repeat(struct gw_batch_builder *builder, uint64_t page, enum gw_record_kind kind,
                       uint64_t value)
{
    add_record(&builder->table, page, 1, kind, value);
    builder->table.repeat_pages++;
}

static const uint8_t *settle(const struct gw_batch_builder *builder, const uint8_t *bytes)
{
    if (builder->room == NULL) {
        return bytes;
    }
    uint8_t *copy = builder->room + (size_t)builder->table.raw_pages * builder->page_bytes;
    copy_live(copy, bytes, builder->page_bytes);
    return copy;
}

void gw_batch_add_page(struct gw_batch_builder *builder, uint64_t page, const uint8_t *bytes)
{
    struct gw_batch_table *table = &builder->table;
    uint64_t value = 0;
    uint32_t equal = 0;
    if (gw_page_is_zero(bytes, builder->page_bytes)) {
        gw_batch_add_zero(builder, page, 1);
        return;
    }
    GW_ASSERT((uint64_t)(table->raw_pages + table->repeat_pages + 1) * builder->page_bytes <=
              GW_BATCH_BYTES_MAX);
    if (gw_repeat_is_fill(bytes, builder->page_bytes, &value)) {
        add_repeat(builder, page, GW_RECORD_FILL, value);
        return;
    }
    const uint8_t *settled = settle(builder, bytes);
    builder->raw[table->raw_pages] = settled;
    if (gw_repeat_find(&builder->repeat, builder->raw, builder->page_bytes, table->raw_pages,
                       &equal)) {
        add_repeat(builder, page, GW_RECORD_COPY, equal);
        return;
    }
    /* A copy is summed while it is near, and what is likely to be read next comes nearer. */
    builder->pages_crc = gw_crc32c_fetching(builder->pages_crc, settled, builder->page_bytes,
                                            bytes + (size_t)2 * builder->page_bytes);
    table->raw_pages++;
    add_record(&builder->table, page, 1, GW_RECORD_RAW, 0);
}

static bool has_value(uint32_t kind)
{
    return kind == GW_RECORD_FILL || kind == GW_RECORD_COPY;
}

/* The header without the table's CRC, then all that is behind it. */
static uint32_t crc_of_table(const uint8_t *bytes, uint32_t table_bytes)
{
    return gw_crc32c(gw_crc32c(0, bytes, 12), bytes + 16, table_bytes - 16);
}

static uint32_t encode_table(const struct gw_batch_table *table, uint32_t page_bytes,
                             uint8_t *bytes)
{
    uint32_t values = 0;
    uint32_t at = GW_BATCH_TABLE_HEADER_BYTES;
    for (uint32_t i = 0; i < table->record_count; i++, at += GW_BATCH_RUN_BYTES) {
        gw_put_64(bytes + at, table->record[i].page);
        gw_put_32(bytes + at + 8, table->record[i].count);
        gw_put_32(bytes + at + 12, table->record[i].kind);
        values += has_value(table->record[i].kind);
    }
    for (uint32_t i = 0; i < table->record_count && values > 0; i++) {
        if (has_value(table->record[i].kind)) {
            gw_put_64(bytes + at, table->record[i].value);
            at += GW_BATCH_VALUE_BYTES;
        }
    }
    gw_put_16(bytes, (uint16_t)table->record_count);
    gw_put_16(bytes + 2, (uint16_t)values);
    gw_put_32(bytes + 4, page_bytes);
    gw_put_32(bytes + 8, table->raw_pages);
    gw_put_32(bytes + 12, crc_of_table(bytes, at));
    return at;
}

uint32_t gw_batch_finish(const struct gw_batch_builder *builder, uint8_t *bytes,
                         uint32_t *payload_crc)
{
    uint32_t used = encode_table(&builder->table, builder->page_bytes, bytes);
    *payload_crc = gw_crc32c_join(gw_crc32c(0, bytes, used), builder->pages_crc,
                                  builder->table.raw_pages * builder->page_bytes);
    return used;
}

uint32_t gw_batch_finish_packed(const struct gw_batch_builder *builder, const uint8_t *packed,
                                uint32_t packed_count, uint8_t *bytes, uint32_t *payload_crc)
{
    uint32_t used = encode_table(&builder->table, builder->page_bytes, bytes);
    *payload_crc = gw_crc32c(gw_crc32c(0, bytes, used), packed, packed_count);
    return used;
}

enum gw_status gw_batch_table_bytes(const uint8_t *header, uint32_t payload_bytes,
                                    uint32_t *table_bytes, struct gw_fault *fault)
{
    uint32_t records = gw_get_16(header);
    uint32_t values = gw_get_16(header + 2);
    if (records < 1 || records > GW_BATCH_RECORDS_MAX || values > records) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "a batch has %u records and %u values, wanted 1 to %d records, and a "
                            "value for a record at most",
                            records, values, GW_BATCH_RECORDS_MAX);
    }
    *table_bytes =
        GW_BATCH_TABLE_HEADER_BYTES + records * GW_BATCH_RUN_BYTES + values * GW_BATCH_VALUE_BYTES;
    if (*table_bytes > payload_bytes) {
        return gw_fault_set(
            fault, GW_PROTOCOL,
            "a batch of %u bytes says it has %u records and %u values, which need %u bytes",
            payload_bytes, records, values, *table_bytes);
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
    if (record->kind >= GW_RECORD_KINDS) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "a batch has a record of kind %u, wanted 0 (zero), 1 (raw), 2 (gone), "
                            "3 (fill) or 4 (copy)",
                            record->kind);
    }
    return GW_OK;
}

/* What a table says of its pages, so far. */
struct sums {
    uint64_t raw, repeats;
    uint32_t values;
};

static enum gw_status decode_records(struct gw_batch_table *table, const uint8_t *bytes,
                                     uint64_t page_count, struct sums *sums, struct gw_fault *fault)
{
    uint32_t value_count = gw_get_16(bytes + 2);
    const uint8_t *at = bytes + GW_BATCH_TABLE_HEADER_BYTES;
    const uint8_t *values = at + (size_t)table->record_count * GW_BATCH_RUN_BYTES;
    for (uint32_t i = 0; i < table->record_count; i++, at += GW_BATCH_RUN_BYTES) {
        struct gw_record *record = &table->record[i];
        enum gw_status status = decode_record(record, at, page_count, fault);
        if (status != GW_OK) {
            return status;
        }
        if (has_value(record->kind) && sums->values < value_count) {
            record->value = gw_get_64(values + (size_t)sums->values * GW_BATCH_VALUE_BYTES);
        }
        if (record->kind == GW_RECORD_COPY && record->value >= sums->raw) {
            return gw_fault_set(fault, GW_PROTOCOL,
                                "a batch has page %llu as a copy of its raw page number %llu, "
                                "wanted one of the %llu before",
                                (unsigned long long)record->page, (unsigned long long)record->value,
                                (unsigned long long)sums->raw);
        }
        sums->values += has_value(record->kind);
        sums->repeats += has_value(record->kind) ? record->count : 0;
        sums->raw += record->kind == GW_RECORD_RAW ? record->count : 0;
    }
    return GW_OK;
}

/* A packed body is shorter than what it stands for: so it fits where that fits. */
static bool is_body(uint64_t body_bytes, uint64_t raw_bytes, bool is_packed)
{
    return is_packed ? body_bytes > 0 && body_bytes < raw_bytes : body_bytes == raw_bytes;
}

enum gw_status gw_batch_decode_table(struct gw_batch_table *table, const uint8_t *bytes,
                                     uint32_t table_bytes, uint32_t payload_bytes, bool is_packed,
                                     uint32_t page_bytes, uint64_t page_count,
                                     struct gw_fault *fault)
{
    uint32_t crc = crc_of_table(bytes, table_bytes);
    if (crc != gw_get_32(bytes + 12)) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "a batch's table arrived damaged: its CRC32C is 0x%08x, it says 0x%08x",
                            crc, gw_get_32(bytes + 12));
    }
    if (gw_get_32(bytes + 4) != page_bytes) {
        return gw_fault_set(fault, GW_PROTOCOL, "a batch has pages of %u bytes, wanted %u",
                            gw_get_32(bytes + 4), page_bytes);
    }
    struct sums sums = {.raw = 0};
    table->record_count = gw_get_16(bytes);
    enum gw_status status = decode_records(table, bytes, page_count, &sums, fault);
    if (status != GW_OK) {
        return status;
    }
    if (sums.raw != gw_get_32(bytes + 8) || sums.values != gw_get_16(bytes + 2) ||
        (sums.raw + sums.repeats) * page_bytes > GW_BATCH_BYTES_MAX ||
        !is_body((uint64_t)payload_bytes - table_bytes, sums.raw * page_bytes, is_packed)) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "a batch's lengths disagree: %llu raw pages, %llu repeated ones and %u "
                            "values in the records, %u and %u in the table, %u bytes in all%s",
                            (unsigned long long)sums.raw, (unsigned long long)sums.repeats,
                            sums.values, gw_get_32(bytes + 8), gw_get_16(bytes + 2), payload_bytes,
                            is_packed ? ", packed" : "");
    }
    table->raw_pages = (uint32_t)sums.raw;
    table->repeat_pages = (uint32_t)sums.repeats;
    return GW_OK;
}

uint64_t gw_batch_raw_page(const struct gw_batch_table *table, uint64_t number)
{
    uint32_t i = 0;
    while (table->record[i].kind != GW_RECORD_RAW || number >= table->record[i].count) {
        number -= table->record[i].kind == GW_RECORD_RAW ? table->record[i].count : 0;
        i++;
        GW_ASSERT(i < table->record_count);
    }
    return table->record[i].page + number;
}
