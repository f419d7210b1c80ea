/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a batch may land: what a target asks between a batch's table and its pages. Ten bytes say
 * how the target stands; then either a map of what lacks, as MISSING brings it, or batches, one
 * after the other on a channel, as records of six bytes. What passes lies in the channel's share,
 * or was asked for; a unit is put together of its pages in their order, in memory of just its size.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/bytes.h"
#include "fuzz.h"
#include "godwit/assembly.h"
#include "godwit/crc32c.h"
#include "godwit/pages.h"
#include "godwit/target.h"

enum { PAGE_BYTES = 16384, PAGES = 1024, HEAD_BYTES = 10, RECORD_BYTES = 6, RECORDS_MAX = 8 };

enum {
    HAS_MAP = 1,
    IS_OPEN = 2,
    IS_URGENT_OPEN = 4,
    IS_ARMED = 8,
    IS_MAP_TOLD = 16,
    IS_PARTIAL = 32
};

static struct gw_target target;
static struct gw_assembly assembly;
static struct gw_batch_table table;
static uint32_t channel; /* that the batches come on */
static bool is_urgent;

/* ---- How it stands ---- */

static void stand(const uint8_t head[static HEAD_BYTES])
{
    static const uint32_t unit_pages[] = {1, 2, 8, 128};
    const struct gw_target_config config = {
        .page_count = PAGES, .page_bytes = PAGE_BYTES, .unit_pages = unit_pages[head[0] % 4]};
    gw_target_init(&target, &config);
    target.state = (enum gw_target_state)(head[1] % GW_TARGET_STATE_COUNT);
    target.channel_count = 1 + head[2] % GW_BULK_CHANNELS_MAX;
    is_urgent = head[3] >= GW_BULK_CHANNELS_MAX;
    channel = is_urgent ? GW_TARGET_URGENT : head[3];
    struct gw_target_channel *bulk = &target.channel[is_urgent ? 0 : channel];
    bulk->is_open = (head[4] & IS_OPEN) != 0;
    bulk->sequence_last = head[5] % 8;
    target.is_urgent_open = (head[4] & IS_URGENT_OPEN) != 0;
    target.is_armed = (head[4] & IS_ARMED) != 0;
    target.is_map_told = (head[4] & IS_MAP_TOLD) != 0;
    target.is_partial = (head[4] & IS_PARTIAL) != 0;
    memset(target.received, 0, PAGES / 8);
    memset(target.demanded, 0, PAGES / 8);
    for (uint32_t i = 0; i < 16 && (i + 1) * config.unit_pages <= PAGES; i++) {
        uint64_t unit = (uint64_t)i * config.unit_pages;
        if (gw_get_16(head + 6) >> i & 1) {
            gw_bit_mark(target.demanded, unit);
        }
        if (gw_get_16(head + 8) >> i & 1) {
            (void)gw_bits_put(target.received, unit, config.unit_pages, true);
        }
    }
    assembly = (struct gw_assembly){.aside = 0};
}

/* ---- MISSING ---- */

static void look_at_missing(const uint8_t *bytes, size_t count)
{
    static uint64_t map[PAGES / 64];
    struct gw_fault fault = {.status = GW_OK};
    uint32_t unit_pages = target.config.unit_pages;
    bool is_whole = true;
    memset(map, 0, sizeof(map));
    memcpy(map, bytes, count < sizeof(map) ? count : sizeof(map));
    for (uint64_t page = 0; page < PAGES; page++) {
        is_whole = is_whole &&
                   gw_bit_test(map, page) == gw_bit_test(map, gw_target_unit_of(&target, page));
    }
    enum gw_status status = gw_target_check_missing(&target, map, &fault);
    GW_ASSERT(status == (is_whole || unit_pages == 1 ? GW_OK : GW_PROTOCOL));
    GW_ASSERT(status == GW_OK || fault.text[0] != '\0');
}

/* ---- Batches ---- */

/* The table as it would have come, by one who knows the lengths and the CRC; GW_OK: it is one. */
static enum gw_status decode(const uint8_t *records, uint32_t record_count, struct gw_fault *fault)
{
    static uint8_t bytes[GW_BATCH_TABLE_HEADER_BYTES +
                         RECORDS_MAX * (GW_BATCH_RUN_BYTES + GW_BATCH_VALUE_BYTES)];
    uint8_t *values = bytes + GW_BATCH_TABLE_HEADER_BYTES + record_count * GW_BATCH_RUN_BYTES;
    uint32_t value_count = 0;
    uint32_t raw_pages = 0;
    for (uint32_t i = 0; i < record_count; i++) {
        const uint8_t *from = records + (size_t)i * RECORD_BYTES;
        uint8_t *to = bytes + GW_BATCH_TABLE_HEADER_BYTES + (size_t)i * GW_BATCH_RUN_BYTES;
        uint32_t kind = from[4] % (GW_RECORD_KINDS + 1u);
        gw_put_64(to, gw_get_16(from));
        gw_put_32(to + 8, gw_get_16(from + 2));
        gw_put_32(to + 12, kind);
        raw_pages += kind == GW_RECORD_RAW ? gw_get_16(from + 2) : 0;
        if (kind == GW_RECORD_FILL || kind == GW_RECORD_COPY) {
            gw_put_64(values + (size_t)value_count++ * GW_BATCH_VALUE_BYTES, from[5]);
        }
    }
    uint32_t table_bytes = (uint32_t)(values - bytes) + value_count * GW_BATCH_VALUE_BYTES;
    gw_put_16(bytes, (uint16_t)record_count);
    gw_put_16(bytes + 2, (uint16_t)value_count);
    gw_put_32(bytes + 4, PAGE_BYTES);
    gw_put_32(bytes + 8, raw_pages);
    uint32_t crc = gw_crc32c(0, bytes, 12);
    gw_put_32(bytes + 12, gw_crc32c(crc, bytes + 16, table_bytes - 16));
    return gw_batch_decode_table(&table, bytes, table_bytes, table_bytes + raw_pages * PAGE_BYTES,
                                 false, PAGE_BYTES, PAGES, fault);
}

static void expect_place(uint64_t sequence, enum gw_placing placing)
{
    bool is_open = target.channel[is_urgent ? 0 : channel].is_open;
    bool may_come = target.state == GW_TARGET_ACTIVE || target.state == GW_TARGET_GATHERING ||
                    target.state == GW_TARGET_STARTING || target.state == GW_TARGET_PULLING ||
                    target.state == GW_TARGET_RUNNING;
    GW_ASSERT(is_open && may_come && sequence > 0);
    GW_ASSERT(!is_urgent || target.is_urgent_open);
    GW_ASSERT((placing == GW_PLACE_NOT) == (target.state == GW_TARGET_RUNNING));
    GW_ASSERT(target.state != GW_TARGET_GATHERING || is_urgent ||
              sequence <= target.channel[channel].sequence_last);
}

/* Each page by itself. */
static void expect_share(void)
{
    uint64_t asked = gw_target_unit_of(&target, table.record[0].page);
    GW_ASSERT(!is_urgent || gw_bit_test(target.demanded, asked));
    for (uint32_t i = 0; i < table.record_count; i++) {
        const struct gw_record *record = &table.record[i];
        GW_ASSERT(record->kind != GW_RECORD_GONE || is_urgent);
        for (uint64_t page = record->page; page < record->page + record->count; page++) {
            GW_ASSERT(page < PAGES);
            GW_ASSERT(is_urgent ||
                      gw_pages_channel_of(page, PAGE_BYTES, target.channel_count) == channel);
            GW_ASSERT(record->kind != GW_RECORD_GONE || gw_bit_test(target.received, page));
        }
    }
}

/* A byte stands for a page. */
static void put_aside(uint8_t *unit)
{
    for (uint32_t i = 0; i < table.record_count; i++) {
        const struct gw_record *record = &table.record[i];
        GW_ASSERT(record->page == assembly.unit.page + assembly.aside);
        memset(unit + (record->page - assembly.unit.page), 1, record->count);
        if (record->kind == GW_RECORD_COPY) {
            uint64_t from = gw_batch_raw_page(&table, record->value) - assembly.unit.page;
            GW_ASSERT(unit[from] == 1);
        }
        gw_assembly_add(&assembly, record->count, record->kind != GW_RECORD_ZERO);
    }
    GW_ASSERT(assembly.raw_aside <= assembly.aside);
    if (gw_assembly_is_whole(&assembly)) {
        GW_ASSERT(memchr(unit, 0, assembly.unit.count) == NULL);
        assembly = (struct gw_assembly){.aside = 0};
    }
}

static void assemble(uint8_t *unit, struct gw_fault *fault)
{
    uint32_t unit_pages = target.config.unit_pages;
    struct gw_assembly before = assembly;
    if (gw_assembly_check(&assembly, &table, unit_pages, is_urgent, fault) != GW_OK) {
        GW_ASSERT(fault->status == GW_PROTOCOL);
        GW_ASSERT(memcmp(&before, &assembly, sizeof(before)) == 0);
        return;
    }
    if (table.record[0].kind == GW_RECORD_GONE) {
        return;
    }
    gw_assembly_begin(&assembly, &table, unit_pages);
    if (assembly.aside == 0) {
        memset(unit, 0, unit_pages);
    }
    GW_ASSERT(assembly.unit.page % unit_pages == 0 && assembly.unit.count == unit_pages);
    put_aside(unit);
}

static void receive(const uint8_t *records, uint32_t record_count, uint8_t *unit)
{
    struct gw_fault fault = {.status = GW_OK};
    enum gw_placing placing;
    uint64_t *sequence = is_urgent ? &target.urgent_sequence : &target.channel[channel].sequence;
    if (decode(records, record_count, &fault) == GW_OK &&
        gw_target_may_place(&target, channel, *sequence + 1, &placing, &fault) == GW_OK) {
        expect_place(*sequence + 1, placing);
        if (gw_target_check_pages(&target, channel, &table, &fault) == GW_OK) {
            expect_share();
            assemble(unit, &fault);
            ++*sequence;
        }
    }
    GW_ASSERT(fault.status == GW_OK || fault.text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count < HEAD_BYTES) {
        return 0;
    }
    stand(bytes);
    const uint8_t *at = bytes + HEAD_BYTES;
    const uint8_t *end = bytes + count;
    if (bytes[4] & HAS_MAP) {
        look_at_missing(at, (size_t)(end - at));
        return 0;
    }
    uint8_t *unit = calloc(1, target.config.unit_pages);
    while (at < end) {
        uint32_t record_count = 1 + *at++ % RECORDS_MAX;
        if ((size_t)(end - at) < (size_t)record_count * RECORD_BYTES) {
            break;
        }
        receive(at, record_count, unit);
        at += (size_t)record_count * RECORD_BYTES;
    }
    free(unit);
    return 0;
}

/* ---- Seeds ---- */

static size_t put_record(uint8_t *bytes, uint16_t page, uint16_t count, uint8_t kind)
{
    gw_put_16(bytes, page);
    gw_put_16(bytes + 2, count);
    bytes[4] = kind;
    bytes[5] = 0;
    return RECORD_BYTES;
}

/* A unit in two batches; the same on the urgent channel; GONE; a map. */
void fuzz_make_seeds(void)
{
    static const uint8_t heads[][HEAD_BYTES] = {
        {0, GW_TARGET_ACTIVE, 0, 0, IS_OPEN},
        {2, GW_TARGET_ACTIVE, 1, 0, IS_OPEN},
        {2, GW_TARGET_GATHERING, 0, 0, IS_OPEN, 7},
        {2, GW_TARGET_PULLING, 0, 0, IS_OPEN | IS_ARMED | IS_PARTIAL},
        {2, GW_TARGET_PULLING, 0, 255, IS_OPEN | IS_URGENT_OPEN | IS_ARMED, 0, 1, 0, 0, 0},
    };
    uint8_t bytes[128];
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        memcpy(bytes, heads[i], HEAD_BYTES);
        size_t used = HEAD_BYTES;
        bytes[used++] = 1;
        used += put_record(bytes + used, 0, 2, GW_RECORD_RAW);
        used += put_record(bytes + used, 2, 2, GW_RECORD_COPY);
        bytes[used++] = 0;
        used += put_record(bytes + used, 4, 4, GW_RECORD_ZERO);
        fuzz_seed(bytes, used);
    }
    bytes[8] = 1; /* received, too */
    bytes[HEAD_BYTES] = 0;
    fuzz_seed(bytes, HEAD_BYTES + 1 + put_record(bytes + HEAD_BYTES + 1, 0, 8, GW_RECORD_GONE));
    memset(bytes + HEAD_BYTES, 0, sizeof(bytes) - HEAD_BYTES);
    bytes[4] = HAS_MAP;
    bytes[HEAD_BYTES] = bytes[HEAD_BYTES + 8] = 0xff;
    fuzz_seed(bytes, sizeof(bytes));
}
