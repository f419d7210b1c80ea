/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: built from pages, and read from a peer who may be lying. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "chance.h"
#include "godwit/batch.h"
#include "godwit/crc32c.h"
#include "godwit/pack.h"

enum { PAGE = 4096, PAGES = 1000 };

static uint8_t storage[GW_BATCH_BYTES_MAX];
static uint8_t table_bytes[GW_BATCH_TABLE_BYTES_MAX];
static uint8_t zeros[PAGE] __attribute__((aligned(64)));
static uint8_t filled[PAGE] __attribute__((aligned(64)));
static struct gw_batch_builder builder;
static struct gw_batch_table table;

static void begin(void)
{
    gw_batch_begin(&builder, storage, PAGE);
    memset(filled, 0x11, sizeof(filled));
}

/* A page that is like no other. */
static void add_raw(uint64_t page)
{
    gw_put_64(filled + PAGE / 8, page);
    gw_batch_add_page(&builder, page, filled);
}

static uint32_t finish(void)
{
    uint32_t crc = 0;
    uint32_t used = gw_batch_finish(&builder, table_bytes, &crc);
    uint32_t check = gw_crc32c(0, table_bytes, used);
    assert_int_equal(crc, gw_crc32c(check, storage, (size_t)builder.table.raw_pages * PAGE));
    return used;
}

static void expect_record(uint32_t i, uint64_t page, uint32_t count, enum gw_record_kind kind)
{
    assert_true(i < table.record_count);
    assert_int_equal(table.record[i].page, page);
    assert_int_equal(table.record[i].count, count);
    assert_int_equal(table.record[i].kind, kind);
}

static void read_back(uint32_t used)
{
    uint32_t payload = used + builder.table.raw_pages * PAGE;
    uint32_t bytes = 0;
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(gw_batch_table_bytes(table_bytes, payload, &bytes, &fault), GW_OK);
    assert_int_equal(bytes, used);
    if (gw_batch_decode_table(&table, table_bytes, used, payload, false, PAGE, PAGES, &fault) !=
        GW_OK) {
        fail_msg("%s", fault.text);
    }
}

/* 3 pages, the last of which equals the first, and a zero one. */
static void pages_nobody_writes_go_from_where_they_lie(void **state)
{
    (void)state;
    static uint8_t three[3 * PAGE] __attribute__((aligned(64)));
    uint32_t crc = 0;
    memset(three, 0x22, sizeof(three));
    gw_put_64(three + PAGE / 8, 1);
    gw_put_64(three + PAGE + PAGE / 8, 2);
    gw_put_64(three + 2 * PAGE + PAGE / 8, 1);
    gw_batch_begin(&builder, NULL, PAGE);
    for (uint64_t i = 0; i < 3; i++) {
        gw_batch_add_page(&builder, 77 + i, three + i * PAGE);
    }
    gw_batch_add_page(&builder, 80, zeros);
    uint32_t used = gw_batch_finish(&builder, table_bytes, &crc);
    assert_ptr_equal(builder.raw[0], three);
    assert_ptr_equal(builder.raw[1], three + PAGE);
    assert_int_equal(crc, gw_crc32c(gw_crc32c(0, table_bytes, used), three, 2 * PAGE));
    read_back(used);
    assert_int_equal(table.record_count, 3);
    expect_record(0, 77, 2, GW_RECORD_RAW);
    expect_record(1, 79, 1, GW_RECORD_COPY);
    assert_int_equal(table.record[1].value, 0);
    expect_record(2, 80, 1, GW_RECORD_ZERO);
}

static void neighbours_of_one_kind_become_one_record(void **state)
{
    (void)state;
    begin();
    add_raw(10);
    add_raw(11);
    gw_batch_add_page(&builder, 12, zeros);
    gw_batch_add_zero(&builder, 13, 7);
    add_raw(20);
    add_raw(22); /* 21 is not in it */
    read_back(finish());
    assert_int_equal(table.record_count, 4);
    expect_record(0, 10, 2, GW_RECORD_RAW);
    expect_record(1, 12, 8, GW_RECORD_ZERO);
    expect_record(2, 20, 1, GW_RECORD_RAW);
    expect_record(3, 22, 1, GW_RECORD_RAW);
    assert_int_equal(table.raw_pages, 4);
    assert_int_equal(builder.zero_pages, 8);
}

static void a_page_is_zero_only_if_every_byte_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < PAGE; i++) {
        zeros[i] = 1;
        assert_false(gw_page_is_zero(zeros, PAGE));
        zeros[i] = 0;
    }
    assert_true(gw_page_is_zero(zeros, PAGE));
}

/* What is summed is what is sent: the guest's next write does not change the copy. */
static void what_was_added_is_a_copy(void **state)
{
    (void)state;
    begin();
    add_raw(5);
    uint32_t first = 0;
    uint32_t second = 0;
    (void)gw_batch_finish(&builder, table_bytes, &first);
    memset(filled, 0x22, sizeof(filled));
    (void)gw_batch_finish(&builder, table_bytes, &second);
    assert_int_equal(first, second);
    assert_int_equal(storage[0], 0x11);
}

static void the_fullest_batch_fits(void **state)
{
    (void)state;
    begin();
    uint64_t page = 0;
    for (uint64_t n = 0; n < GW_BATCH_BYTES_MAX / PAGE; n++, page += 2) {
        add_raw(page);
    }
    for (uint32_t n = 0; n < GW_BATCH_RUNS_MAX; n++, page += 2) {
        gw_batch_add_zero(&builder, page, 1);
    }
    assert_int_equal(builder.table.record_count, GW_BATCH_RECORDS_MAX);
    read_back(finish());
    assert_int_equal(table.record_count, GW_BATCH_RECORDS_MAX);
}

/* Nor is it too long when each of its pages repeats another. */
static void the_longest_table_fits(void **state)
{
    (void)state;
    begin();
    uint64_t page = 0;
    for (uint64_t n = 0; n < GW_BATCH_BYTES_MAX / PAGE; n++, page += 2) {
        memset(filled, (int)n + 1, PAGE);
        gw_batch_add_page(&builder, page, filled);
    }
    for (uint32_t n = 0; n < GW_BATCH_RUNS_MAX; n++, page += 2) {
        gw_batch_add_zero(&builder, page, 1);
    }
    read_back(finish());
    assert_int_equal(table.record_count, GW_BATCH_RECORDS_MAX);
    assert_int_equal(table.repeat_pages, GW_BATCH_BYTES_MAX / PAGE);
    assert_int_equal(table.raw_pages, 0);
}

/* ---- Repeated pages ---- */

static void one_value_over_and_over_costs_a_value(void **state)
{
    (void)state;
    begin();
    gw_batch_add_page(&builder, 7, filled); /* 0x11 all over */
    gw_batch_add_page(&builder, 8, filled);
    for (size_t at = 0; at < PAGE; at += 8) {
        gw_put_64(filled + at, UINT64_C(0x1234567890abcdef));
    }
    gw_batch_add_page(&builder, 9, filled);
    uint32_t used = finish();
    assert_int_equal(used, 16 + 2 * 16 + 2 * 8);
    read_back(used);
    expect_record(0, 7, 2, GW_RECORD_FILL);
    expect_record(1, 9, 1, GW_RECORD_FILL);
    assert_true(table.record[0].value == UINT64_C(0x1111111111111111));
    assert_true(table.record[1].value == UINT64_C(0x1234567890abcdef));
    assert_int_equal(table.raw_pages, 0);
    assert_int_equal(table.repeat_pages, 3);
    uint8_t again[PAGE];
    gw_repeat_fill(again, PAGE, table.record[1].value);
    assert_memory_equal(again, filled, PAGE);
}

static void a_page_is_a_fill_only_if_every_byte_fits(void **state)
{
    (void)state;
    uint64_t value = 0;
    begin();
    for (size_t i = 0; i < PAGE; i++) {
        filled[i] ^= 1;
        assert_false(gw_repeat_is_fill(filled, PAGE, &value));
        filled[i] ^= 1;
    }
    assert_true(gw_repeat_is_fill(filled, PAGE, &value));
}

static void a_page_that_is_there_already_is_named(void **state)
{
    (void)state;
    begin();
    add_raw(10);
    add_raw(11); /* raw page 1 */
    gw_batch_add_page(&builder, 3, filled);
    gw_batch_add_page(&builder, 4, filled);
    add_raw(5);
    gw_put_64(filled + PAGE / 8, 10);
    gw_batch_add_page(&builder, 6, filled);
    read_back(finish());
    assert_int_equal(table.record_count, 4);
    expect_record(0, 10, 2, GW_RECORD_RAW);
    expect_record(1, 3, 2, GW_RECORD_COPY);
    expect_record(2, 5, 1, GW_RECORD_RAW);
    expect_record(3, 6, 1, GW_RECORD_COPY);
    assert_int_equal(table.record[1].value, 1);
    assert_int_equal(table.record[3].value, 0);
    assert_int_equal(gw_batch_raw_page(&table, 0), 10);
    assert_int_equal(gw_batch_raw_page(&table, 1), 11);
    assert_int_equal(gw_batch_raw_page(&table, 2), 5);
    assert_int_equal(table.raw_pages, 3);
}

/* Equal to the last byte, or it is no copy, whatever its few words that are looked at first say. */
static void a_page_that_differs_anywhere_is_no_copy(void **state)
{
    (void)state;
    for (size_t i = 0; i < PAGE; i++) {
        begin();
        add_raw(1);
        filled[i] ^= 0x80;
        gw_batch_add_page(&builder, 2, filled);
        assert_int_equal(builder.table.raw_pages, 2);
        assert_int_equal(builder.table.repeat_pages, 0);
    }
}

/* A table of one record, with a right CRC whatever it says. */
static void forge(uint64_t page, uint32_t count, uint32_t kind, uint32_t raw_pages)
{
    memset(table_bytes, 0, 32);
    gw_put_32(table_bytes, 1);
    gw_put_32(table_bytes + 4, PAGE);
    gw_put_32(table_bytes + 8, raw_pages);
    gw_put_64(table_bytes + 16, page);
    gw_put_32(table_bytes + 24, count);
    gw_put_32(table_bytes + 28, kind);
    uint32_t crc = gw_crc32c(0, table_bytes, 12);
    gw_put_32(table_bytes + 12, gw_crc32c(crc, table_bytes + 16, 16));
}

static void expect_refused(uint32_t payload_bytes, enum gw_status wanted, const char *text)
{
    struct gw_fault fault = {.status = GW_OK};
    enum gw_status status =
        gw_batch_decode_table(&table, table_bytes, 32, payload_bytes, false, PAGE, PAGES, &fault);
    if (status != wanted || !strstr(fault.text, text)) {
        fail_msg("status %d, \"%s\", wanted \"%s\"", status, fault.text, text);
    }
}

static void a_lying_table_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t page;
        uint32_t count, kind, raw_pages, payload_bytes;
        const char *text;
    } cases[] = {
        {PAGES, 1, GW_RECORD_ZERO, 0, 32, "a batch names 1 pages from page 1000, RAM has 1000"},
        {PAGES - 1, 2, GW_RECORD_ZERO, 0, 32, "a batch names 2 pages from page 999"},
        {UINT64_MAX, 1, GW_RECORD_ZERO, 0, 32, "from page 18446744073709551615"},
        {UINT64_MAX, 2, GW_RECORD_ZERO, 0, 32, "RAM has"}, /* page + count wraps to 1 */
        {UINT64_MAX - 5, UINT32_MAX, GW_RECORD_ZERO, 0, 32, "RAM has"},
        {1, UINT32_MAX, GW_RECORD_RAW, UINT32_MAX, 32, "RAM has"},
        {0, 0, GW_RECORD_ZERO, 0, 32, "a batch names 0 pages"},
        {0, 1, 5, 0, 32, "a record of kind 5, wanted 0 (zero), 1 (raw), 2 (gone), 3 (fill)"},
        {0, 1, GW_RECORD_FILL, 0, 32, "1 repeated ones and 1 values in the records, 0 and 0"},
        {0, 1, GW_RECORD_COPY, 0, 32, "page 0 as a copy of its raw page number 0, wanted one of"},
        {0, 1, GW_RECORD_RAW, 0, 32 + PAGE, "lengths disagree"},
        {0, 1, GW_RECORD_RAW, 1, 32, "lengths disagree"},
        {0, 1, GW_RECORD_RAW, 1, 32 + PAGE + 1, "lengths disagree"},
        {0, 1, GW_RECORD_ZERO, 1, 32 + PAGE, "lengths disagree"},
        {0, 1, GW_RECORD_ZERO, 0, 33, "lengths disagree"},
        {0, GW_BATCH_BYTES_MAX / PAGE + 1, GW_RECORD_RAW, GW_BATCH_BYTES_MAX / PAGE + 1,
         32 + GW_BATCH_BYTES_MAX + PAGE, "lengths disagree"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        forge(cases[i].page, cases[i].count, cases[i].kind, cases[i].raw_pages);
        expect_refused(cases[i].payload_bytes, GW_PROTOCOL, cases[i].text);
    }
    forge(0, 1, GW_RECORD_RAW, 1); /* the forger forges rightly, too */
    assert_int_equal(
        gw_batch_decode_table(&table, table_bytes, 32, 32 + PAGE, false, PAGE, PAGES, NULL), GW_OK);
}

static void a_packed_body_is_shorter_than_its_pages(void **state)
{
    (void)state;
    static const struct {
        uint32_t payload_bytes;
        enum gw_status wanted;
    } cases[] = {{32, GW_PROTOCOL},
                 {33, GW_OK},
                 {32 + 2 * PAGE - 1, GW_OK},
                 {32 + 2 * PAGE, GW_PROTOCOL},
                 {32 + 2 * PAGE + 1, GW_PROTOCOL},
                 {UINT32_MAX, GW_PROTOCOL}};
    forge(0, 2, GW_RECORD_RAW, 2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(gw_batch_decode_table(&table, table_bytes, 32, cases[i].payload_bytes,
                                               true, PAGE, PAGES, NULL),
                         cases[i].wanted);
    }
    forge(0, 2, GW_RECORD_ZERO, 0); /* there is nothing to pack */
    assert_int_equal(gw_batch_decode_table(&table, table_bytes, 32, 32, true, PAGE, PAGES, NULL),
                     GW_PROTOCOL);
    forge(0, 200, GW_RECORD_RAW, 200);
    assert_int_equal(gw_batch_decode_table(&table, table_bytes, 32, 40, true, PAGE, PAGES, NULL),
                     GW_PROTOCOL);
}

static void what_was_packed_is_summed_as_it_travels(void **state)
{
    (void)state;
    static struct gw_packer packer;
    static uint8_t packed[GW_BATCH_BYTES_MAX];
    static uint8_t back[2 * PAGE];
    uint32_t crc = 0;
    struct gw_fault fault = {.status = GW_OK};
    begin();
    add_raw(4);
    add_raw(6);
    uint32_t count = gw_pack(&packer, storage, 2 * PAGE, packed);
    uint32_t used = gw_batch_finish_packed(&builder, packed, count, table_bytes, &crc);
    assert_true(count > 0 && count < 200);
    assert_int_equal(crc, gw_crc32c(gw_crc32c(0, table_bytes, used), packed, count));
    assert_int_equal(
        gw_batch_decode_table(&table, table_bytes, used, used + count, true, PAGE, PAGES, &fault),
        GW_OK);
    assert_int_equal(gw_unpack(packed, count, back, 2 * PAGE, &fault), GW_OK);
    assert_memory_equal(back, storage, 2 * PAGE);
}

static void pages_of_another_size_are_refused(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    forge(0, 1, GW_RECORD_ZERO, 0);
    assert_int_equal(
        gw_batch_decode_table(&table, table_bytes, 32, 32, false, 16384, PAGES, &fault),
        GW_PROTOCOL);
    assert_string_equal(fault.text, "a batch has pages of 4096 bytes, wanted 16384");
}

static void the_number_of_records_is_bounded_before_it_is_read(void **state)
{
    (void)state;
    uint8_t header[GW_BATCH_TABLE_HEADER_BYTES] = {0};
    /* the upper half counts values */
    static const uint32_t bad[] = {
        0, GW_BATCH_RECORDS_MAX + 1, UINT32_MAX, 0x10000000, 0x00030002, 0xffff0001};
    uint32_t bytes = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gw_fault fault = {.status = GW_OK};
        gw_put_32(header, bad[i]);
        assert_int_equal(gw_batch_table_bytes(header, UINT32_MAX, &bytes, &fault), GW_PROTOCOL);
        assert_non_null(strstr(fault.text, "values, wanted 1 to"));
    }
    struct gw_fault fault = {.status = GW_OK};
    gw_put_32(header, 2);
    assert_int_equal(gw_batch_table_bytes(header, 47, &bytes, &fault), GW_PROTOCOL);
    assert_string_equal(fault.text,
                        "a batch of 47 bytes says it has 2 records and 0 values, which need 48 "
                        "bytes");
    assert_int_equal(gw_batch_table_bytes(header, 48, &bytes, NULL), GW_OK);
    assert_int_equal(bytes, 48);
    gw_put_32(header, 0x00020002);
    assert_int_equal(gw_batch_table_bytes(header, 63, &bytes, NULL), GW_PROTOCOL);
    assert_int_equal(gw_batch_table_bytes(header, 64, &bytes, NULL), GW_OK);
    assert_int_equal(bytes, 64);
}

static void every_flipped_bit_of_a_table_is_noticed(void **state)
{
    (void)state;
    begin();
    gw_batch_add_page(&builder, 5, filled); /* a fill */
    add_raw(3);
    gw_batch_add_zero(&builder, 9, 4);
    uint32_t used = finish();
    for (size_t bit = 0; bit < (size_t)used * 8; bit++) {
        table_bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (bit >= 32) { /* the count of records decides how much is read at all */
            assert_int_equal(gw_batch_decode_table(&table, table_bytes, used, used + PAGE, false,
                                                   PAGE, PAGES, NULL),
                             GW_CORRUPT);
        }
        table_bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void verify_takes_only_stretches_of_ram(void **state)
{
    (void)state;
    uint8_t bytes[GW_VERIFY_BYTES + 1] = {0};
    struct gw_verify verify = {.page = 990, .count = 10, .digest = 7};
    struct gw_verify back;
    struct gw_fault fault = {.status = GW_OK};
    gw_verify_encode(&verify, bytes);
    assert_int_equal(gw_verify_decode(&back, bytes, GW_VERIFY_BYTES, PAGES, NULL), GW_OK);
    assert_true(back.page == 990 && back.count == 10 && back.digest == 7);
    assert_int_equal(gw_verify_decode(&back, bytes, GW_VERIFY_BYTES - 1, PAGES, &fault),
                     GW_PROTOCOL);
    assert_string_equal(fault.text, "VERIFY has 23 bytes, wanted 24");
    assert_int_equal(gw_verify_decode(&back, bytes, GW_VERIFY_BYTES + 1, PAGES, NULL), GW_PROTOCOL);
    assert_int_equal(gw_verify_decode(&back, bytes, GW_VERIFY_BYTES, 999, NULL), GW_PROTOCOL);
    bytes[12] = 1;
    assert_int_equal(gw_verify_decode(&back, bytes, GW_VERIFY_BYTES, PAGES, NULL), GW_PROTOCOL);
    verify = (struct gw_verify){.page = UINT64_MAX, .count = 2};
    gw_verify_encode(&verify, bytes);
    assert_int_equal(gw_verify_decode(&back, bytes, GW_VERIFY_BYTES, PAGES, NULL), GW_PROTOCOL);
    verify = (struct gw_verify){.page = 0, .count = 0};
    gw_verify_encode(&verify, bytes);
    assert_int_equal(gw_verify_decode(&back, bytes, GW_VERIFY_BYTES, PAGES, NULL), GW_PROTOCOL);
}

/* A forger knows the CRC: whatever passes names only pages of RAM and sums up. */
static void forged_tables_pass_only_within_bounds(void **state)
{
    (void)state;
    const char *wish = getenv("GW_SEED");
    uint64_t seed = wish ? strtoull(wish, NULL, 0) : 21;
    struct chance chance = chance_of(seed);
    uint64_t passed = 0;
    print_message("seed %llu (GW_SEED changes it)\n", (unsigned long long)seed);
    for (int run = 0; run < 100000; run++) {
        uint32_t records = 1 + (uint32_t)chance_next(&chance, 4);
        uint32_t bytes = 16 + records * 16 + records * 8;
        uint32_t raw = 0;
        uint32_t values = 0;
        bool is_packed = chance_next(&chance, 4) == 0;
        uint8_t *exact = malloc(bytes);
        gw_put_32(exact + 4, PAGE);
        for (uint32_t i = 0; i < records; i++) {
            uint64_t page = chance_next(&chance, PAGES + 2);
            uint32_t count = 1 + (uint32_t)chance_next(&chance, 8);
            uint32_t kind = (uint32_t)chance_next(&chance, 5) + !chance_next(&chance, 32);
            page = chance_next(&chance, 16) ? page : chance_next(&chance, 0) << 20;
            count = chance_next(&chance, 16) ? count : (uint32_t)chance_next(&chance, 0);
            raw += kind == GW_RECORD_RAW ? count : 0;
            if (kind >= GW_RECORD_FILL) {
                gw_put_64(exact + 16 + 16 * records + 8 * values, chance_next(&chance, 4));
                values++;
            }
            gw_put_64(exact + 16 + 16 * i, page);
            gw_put_32(exact + 24 + 16 * i, count);
            gw_put_32(exact + 28 + 16 * i, kind);
        }
        values = chance_next(&chance, 16) || values == 0 ? values : values - 1;
        bytes = 16 + records * 16 + values * 8;
        exact = realloc(exact, bytes);
        gw_put_16(exact, (uint16_t)records);
        gw_put_16(exact + 2, (uint16_t)values);
        gw_put_32(exact + 8, raw);
        gw_put_32(exact + 12, gw_crc32c(gw_crc32c(0, exact, 12), exact + 16, bytes - 16));
        uint32_t payload = bytes + raw * PAGE + !chance_next(&chance, 16) - is_packed;
        if (gw_batch_decode_table(&table, exact, bytes, payload, is_packed, PAGE, PAGES, NULL) ==
            GW_OK) {
            uint64_t sum = 0;
            uint64_t repeated = 0;
            for (uint32_t i = 0; i < table.record_count; i++) {
                bool is_copy = table.record[i].kind == GW_RECORD_COPY;
                bool is_repeated = is_copy || table.record[i].kind == GW_RECORD_FILL;
                assert_true(!is_copy || table.record[i].value < sum);
                sum += table.record[i].kind == GW_RECORD_RAW ? table.record[i].count : 0;
                repeated += is_repeated ? table.record[i].count : 0;
                assert_true(table.record[i].page < PAGES);
                assert_true(table.record[i].count <= PAGES - table.record[i].page);
            }
            assert_true(sum == table.raw_pages && repeated == table.repeat_pages);
            assert_true((sum + repeated) * PAGE <= GW_BATCH_BYTES_MAX);
            assert_true(payload - bytes <= sum * PAGE);
            passed++;
        }
        free(exact);
    }
    assert_true(passed > 1000); /* the loop tries good ones too */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_nobody_writes_go_from_where_they_lie),
        cmocka_unit_test(neighbours_of_one_kind_become_one_record),
        cmocka_unit_test(a_page_is_zero_only_if_every_byte_is),
        cmocka_unit_test(what_was_added_is_a_copy),
        cmocka_unit_test(the_fullest_batch_fits),
        cmocka_unit_test(the_longest_table_fits),
        cmocka_unit_test(one_value_over_and_over_costs_a_value),
        cmocka_unit_test(a_page_is_a_fill_only_if_every_byte_fits),
        cmocka_unit_test(a_page_that_is_there_already_is_named),
        cmocka_unit_test(a_page_that_differs_anywhere_is_no_copy),
        cmocka_unit_test(a_packed_body_is_shorter_than_its_pages),
        cmocka_unit_test(what_was_packed_is_summed_as_it_travels),
        cmocka_unit_test(a_lying_table_is_refused),
        cmocka_unit_test(pages_of_another_size_are_refused),
        cmocka_unit_test(the_number_of_records_is_bounded_before_it_is_read),
        cmocka_unit_test(every_flipped_bit_of_a_table_is_noticed),
        cmocka_unit_test(verify_takes_only_stretches_of_ram),
        cmocka_unit_test(forged_tables_pass_only_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
