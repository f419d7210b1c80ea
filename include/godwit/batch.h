/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches: pages on a bulk channel (docs/WIRE.md, BATCH and VERIFY).
 *
 * A BATCH payload is a table (16 bytes, 16 per run, and 8 for each that needs a value) and the
 * bytes of its raw pages, in the table's order. The table has a CRC32C of its own, because on the
 * target page bytes are read straight into guest RAM: where they land must be certain before the
 * first one is read.
 *
 * The builder makes a payload from pages (one builder per channel, on its thread): it looks
 * whether a page is zero, or one value over and over, and copies those that are not, so that what
 * is summed is what is sent even while the guest writes; where nobody writes any more, they stay
 * where they are. One that equals an earlier one of the batch is not sent again.
 *
 * Pure; all memory is the caller's.
 */
#ifndef GODWIT_BATCH_H
#define GODWIT_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/repeat.h"
#include "godwit/status.h"

enum {
    GW_BATCH_TABLE_HEADER_BYTES = 16,
    GW_BATCH_RUN_BYTES = 16,
    GW_BATCH_VALUE_BYTES = 8,
    GW_VERIFY_BYTES = 24,                                               /* payload of VERIFY */
    GW_BATCH_PAGES_MAX = (int)(GW_BATCH_BYTES_MAX / GW_PAGE_BYTES_MIN), /* that are not zero */
    /* zero and raw runs can alternate at every page of the runs that were asked for */
    GW_BATCH_RECORDS_MAX = GW_BATCH_RUNS_MAX + GW_BATCH_PAGES_MAX,
    GW_BATCH_TABLE_BYTES_MAX = GW_BATCH_TABLE_HEADER_BYTES +
                               (GW_BATCH_RUN_BYTES + GW_BATCH_VALUE_BYTES) * GW_BATCH_RECORDS_MAX,
    GW_BATCH_PAYLOAD_BYTES_MAX = GW_BATCH_TABLE_BYTES_MAX + (int)GW_BATCH_BYTES_MAX,
};

/* Consecutive pages. */
struct gw_run {
    uint64_t page;
    uint32_t count; /* >= 1 */
};

enum gw_record_kind {
    GW_RECORD_ZERO = 0, /* every byte is zero; no bytes follow */
    GW_RECORD_RAW = 1,  /* count pages of bytes follow */
    GW_RECORD_GONE = 2, /* demanded, but the target has them, and the source not any more */
    GW_RECORD_FILL = 3, /* the same 8 bytes over and over: `value` */
    GW_RECORD_COPY = 4, /* each as a raw page of a record before: raw page number `value` */
    GW_RECORD_KINDS,
};

struct gw_record {
    uint64_t page;
    uint32_t count;
    uint32_t kind;  /* enum gw_record_kind */
    uint64_t value; /* FILL, as the host reads 8 bytes of memory; COPY: counted from 0 */
};

struct gw_batch_table {
    uint32_t record_count; /* 1..GW_BATCH_RECORDS_MAX */
    uint32_t raw_pages;    /* pages of all raw records */
    uint32_t repeat_pages; /* pages of all fill and copy records */
    struct gw_record record[GW_BATCH_RECORDS_MAX];
};

struct gw_batch_builder {
    uint8_t *room; /* for copies, GW_BATCH_BYTES_MAX; NULL: none are made */
    uint32_t page_bytes;
    uint64_t zero_pages;
    struct gw_repeat repeat;
    uint32_t pages_crc;                     /* of the raw pages so far */
    const uint8_t *raw[GW_BATCH_PAGES_MAX]; /* where they lie: table.raw_pages of them */
    struct gw_batch_table table;
};

/* True when all `bytes` (a multiple of 64) are zero. */
bool gw_page_is_zero(const uint8_t *page, size_t bytes);

/* Begins a batch. With room, the guest may be writing to its pages: raw ones are copied there, one
 * behind the other. Without (NULL), nobody writes to them until the batch is sent. */
void gw_batch_begin(struct gw_batch_builder *builder, uint8_t *room, uint32_t page_bytes);

/* Adds `count` pages known to be zero. */
void gw_batch_add_zero(struct gw_batch_builder *builder, uint64_t page, uint32_t count);

/* Says that `count` pages are gone here: the only record of its batch. */
void gw_batch_add_gone(struct gw_batch_builder *builder, uint64_t page, uint32_t count);

/* Adds one page: zero or a value, if it reads so, else its bytes. */
void gw_batch_add_page(struct gw_batch_builder *builder, uint64_t page, const uint8_t *bytes);

/* Writes the table with its CRC to `bytes` (GW_BATCH_TABLE_BYTES_MAX of room) and returns its
 * length. The payload is then these bytes followed by the raw pages', where they lie;
 * *payload_crc is the CRC32C of all. */
uint32_t gw_batch_finish(const struct gw_batch_builder *builder, uint8_t *bytes,
                         uint32_t *payload_crc);

/* The same for a batch whose raw pages travel as these packed bytes instead. */
uint32_t gw_batch_finish_packed(const struct gw_batch_builder *builder, const uint8_t *packed,
                                uint32_t packed_count, uint8_t *bytes, uint32_t *payload_crc);

/* How many bytes the table has, from its first GW_BATCH_TABLE_HEADER_BYTES. GW_PROTOCOL when it
 * cannot be. */
GW_MUST_USE enum gw_status gw_batch_table_bytes(const uint8_t *header, uint32_t payload_bytes,
                                                uint32_t *table_bytes, struct gw_fault *fault);

/* Decodes a whole table and checks its CRC (GW_CORRUPT), that each run lies below page_count,
 * and that the payload's length is exactly what the table says, or for a packed one
 * (GW_FRAME_PACKED) more than the table and less than that (GW_PROTOCOL). */
GW_MUST_USE enum gw_status gw_batch_decode_table(struct gw_batch_table *table, const uint8_t *bytes,
                                                 uint32_t table_bytes, uint32_t payload_bytes,
                                                 bool is_packed, uint32_t page_bytes,
                                                 uint64_t page_count, struct gw_fault *fault);

/* The page that is raw page number `number` of the batch, counted from 0; number < raw_pages. */
uint64_t gw_batch_raw_page(const struct gw_batch_table *table, uint64_t number);

/* The digest of a stretch while the guest stands still (VERIFY). */
struct gw_verify {
    uint64_t page;
    uint32_t count;
    uint64_t digest;
};

void gw_verify_encode(const struct gw_verify *verify, uint8_t bytes[static GW_VERIFY_BYTES]);
GW_MUST_USE enum gw_status gw_verify_decode(struct gw_verify *verify, const uint8_t *bytes,
                                            uint32_t count, uint64_t page_count,
                                            struct gw_fault *fault);

#endif
