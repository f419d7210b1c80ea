/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches: a byte of flags (1: packed, 2: the forger knows the CRC), then the payload, as a target
 * reads it: table, check, unpack, and place in a RAM of a few pages, whose ends the sanitizer
 * watches.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz.h"
#include "godwit/batch.h"
#include "godwit/crc32c.h"
#include "godwit/pack.h"

enum { PAGE = 4096, PAGES = 40, IS_PACKED = 1, IS_FORGED = 2 };

static struct gw_batch_table table;

static void place(const uint8_t *raw, uint8_t *ram)
{
    uint64_t placed = 0;
    for (uint32_t i = 0; i < table.record_count; i++) {
        const struct gw_record *record = &table.record[i];
        for (uint64_t page = record->page; page < record->page + record->count; page++) {
            if (record->kind == GW_RECORD_RAW) {
                GW_ASSERT(gw_batch_raw_page(&table, placed) == page);
                memcpy(ram + page * PAGE, raw + placed++ * PAGE, PAGE);
            } else if (record->kind == GW_RECORD_FILL) {
                gw_repeat_fill(ram + page * PAGE, PAGE, record->value);
            } else if (record->kind == GW_RECORD_COPY) {
                uint64_t from = gw_batch_raw_page(&table, record->value);
                memmove(ram + page * PAGE, ram + from * PAGE, PAGE);
            } else if (record->kind == GW_RECORD_ZERO) {
                memset(ram + page * PAGE, 0, PAGE);
            }
        }
    }
    GW_ASSERT(placed == table.raw_pages);
}

static void receive(const uint8_t *payload, uint32_t payload_bytes, uint32_t table_bytes,
                    bool is_packed)
{
    struct gw_fault fault = {.status = GW_OK};
    if (gw_batch_decode_table(&table, payload, table_bytes, payload_bytes, is_packed, PAGE, PAGES,
                              &fault) != GW_OK) {
        GW_ASSERT(fault.text[0] != '\0');
        return;
    }
    uint32_t raw_bytes = table.raw_pages * PAGE;
    uint32_t body_bytes = payload_bytes - table_bytes;
    uint8_t *raw = malloc(raw_bytes + 1);
    uint8_t *ram = malloc((size_t)PAGES * PAGE);
    enum gw_status status = GW_OK;
    GW_ASSERT(is_packed ? body_bytes < raw_bytes : body_bytes == raw_bytes);
    if (is_packed) {
        uint8_t *exact = realloc(raw, raw_bytes);
        raw = exact;
        status = gw_unpack(payload + table_bytes, body_bytes, raw, raw_bytes, &fault);
    } else {
        memcpy(raw, payload + table_bytes, body_bytes);
    }
    if (status == GW_OK) {
        place(raw, ram);
    }
    free(ram);
    free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    uint32_t table_bytes = 0;
    struct gw_fault fault = {.status = GW_OK};
    if (count < 1 + GW_BATCH_TABLE_HEADER_BYTES || count > GW_BATCH_PAYLOAD_BYTES_MAX) {
        return 0;
    }
    uint32_t payload_bytes = (uint32_t)count - 1;
    uint8_t *payload = malloc(payload_bytes);
    memcpy(payload, bytes + 1, payload_bytes);
    if (gw_batch_table_bytes(payload, payload_bytes, &table_bytes, &fault) == GW_OK) {
        if (bytes[0] & IS_FORGED) {
            uint32_t crc = gw_crc32c(0, payload, 12);
            gw_put_32(payload + 12, gw_crc32c(crc, payload + 16, table_bytes - 16));
        }
        receive(payload, payload_bytes, table_bytes, (bytes[0] & IS_PACKED) != 0);
    }
    free(payload);
    return 0;
}

static struct gw_batch_builder builder;
static uint8_t pages[GW_BATCH_BYTES_MAX];
static uint8_t packed[GW_BATCH_BYTES_MAX];
static uint8_t seed[1 + GW_BATCH_PAYLOAD_BYTES_MAX];

static void put_seed(bool is_packed)
{
    static struct gw_packer packer;
    uint32_t crc = 0;
    uint32_t raw_bytes = builder.table.raw_pages * PAGE;
    uint32_t count = is_packed ? gw_pack(&packer, pages, raw_bytes, packed) : raw_bytes;
    uint32_t used = is_packed ? gw_batch_finish_packed(&builder, packed, count, seed + 1, &crc)
                              : gw_batch_finish(&builder, seed + 1, &crc);
    seed[0] = (uint8_t)(IS_FORGED | (is_packed ? IS_PACKED : 0));
    memcpy(seed + 1 + used, is_packed ? packed : pages, count);
    fuzz_seed(seed, 1 + used + count);
}

/* Of every kind: 1 to 16 pages, as they are and packed. */
void fuzz_make_seeds(void)
{
    static uint8_t page[PAGE] __attribute__((aligned(64)));
    for (uint32_t most = 1; most <= 16; most *= 2) {
        gw_batch_begin(&builder, pages, PAGE);
        for (uint32_t n = 0; n < most; n++) {
            memset(page, n % 4 == 3 ? 0 : (int)n, PAGE);
            for (uint32_t i = 0; i < PAGE && n % 4 < 2; i += 8) {
                gw_put_64(page + i, (uint64_t)(i * 7 % 100) << 8 | n / 8);
            }
            gw_batch_add_page(&builder, n + n / 8, page);
        }
        put_seed(false);
        if (builder.table.raw_pages > 0) {
            put_seed(true);
        }
    }
    gw_batch_begin(&builder, pages, PAGE);
    gw_batch_add_gone(&builder, 3, 1);
    put_seed(false);
}
