/* SPDX-License-Identifier: Apache-2.0 */
/* Blocktime, and maps of pages as MISSING and RECEIVED carry them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/blocktime.h"
#include "godwit/page_map.h"

/* ---- Blocktime ---- */

static struct gw_blocktime blocktime;

static void waits_are_counted_by_thread_and_by_all(void **state)
{
    (void)state;
    gw_blocktime_init(&blocktime, 2);
    gw_blocktime_wait(&blocktime, 11, 5, 1000);
    gw_blocktime_wait(&blocktime, 12, 5, 1400); /* both now */
    gw_blocktime_resolve(&blocktime, 4, 1500);  /* nobody waits for that */
    gw_blocktime_resolve(&blocktime, 5, 2000);
    gw_blocktime_wait(&blocktime, 12, 9, 3000);
    gw_blocktime_resolve(&blocktime, 9, 3100);
    assert_int_equal(blocktime.thread[0].total_ns, 1000);
    assert_int_equal(blocktime.thread[1].total_ns, 600 + 100);
    assert_int_equal(blocktime.all_total_ns, 600);
    assert_int_equal(blocktime.faults, 3);
    assert_int_equal(blocktime.min_ns, 100);
    assert_int_equal(blocktime.max_ns, 1000);
    assert_int_equal(blocktime.waiting, 0);
}

static void a_thread_that_waits_anew_has_ended_its_wait(void **state)
{
    (void)state;
    gw_blocktime_init(&blocktime, 0);
    gw_blocktime_wait(&blocktime, 11, 5, 1000);
    gw_blocktime_wait(&blocktime, 11, 6, 1200);
    gw_blocktime_resolve(&blocktime, 5, 1300);
    gw_blocktime_resolve(&blocktime, 6, 1500);
    assert_int_equal(blocktime.thread[0].total_ns, 500);
    assert_int_equal(blocktime.faults, 2);
    assert_int_equal(blocktime.all_total_ns, 0);
}

static void more_threads_than_there_is_room_for_are_told(void **state)
{
    (void)state;
    gw_blocktime_init(&blocktime, 1);
    for (uint32_t who = 1; who <= GW_BLOCKTIME_THREADS + 3; who++) {
        gw_blocktime_wait(&blocktime, who, who, 100);
    }
    assert_int_equal(blocktime.unmeasured, 3);
    for (uint32_t who = 1; who <= GW_BLOCKTIME_THREADS + 3; who++) {
        gw_blocktime_resolve(&blocktime, who, 200);
    }
    assert_int_equal(blocktime.faults, GW_BLOCKTIME_THREADS);
    assert_int_equal(blocktime.waiting, 0);
}

/* Against the definition: sort, and look. */
static void percentiles_are_right_to_a_quarter(void **state)
{
    enum { FAULTS = 1000 };
    static uint64_t took[FAULTS];
    struct chance chance = chance_of(31);
    (void)state;
    gw_blocktime_init(&blocktime, 1);
    for (int i = 0; i < FAULTS; i++) {
        took[i] = chance_next(&chance, UINT64_C(1) << chance_next(&chance, 33));
        gw_blocktime_wait(&blocktime, 1, 1, 1000);
        gw_blocktime_resolve(&blocktime, 1, 1000 + took[i]);
        for (int at = i; at > 0 && took[at] < took[at - 1]; at--) {
            uint64_t more = took[at - 1];
            took[at - 1] = took[at];
            took[at] = more;
        }
    }
    for (uint32_t percent = 1; percent <= 100; percent++) {
        uint64_t exact = took[(FAULTS * percent + 99) / 100 - 1];
        uint64_t told = gw_blocktime_percentile(&blocktime, percent);
        assert_true(told >= exact && told <= exact + exact / 4);
    }
    gw_blocktime_init(&blocktime, 1);
    gw_blocktime_wait(&blocktime, 1, 1, 0);
    gw_blocktime_resolve(&blocktime, 1, 60 * UINT64_C(1000000000));
    assert_int_equal(gw_blocktime_percentile(&blocktime, 50), 60 * UINT64_C(1000000000));
    gw_blocktime_init(&blocktime, 1);
    assert_int_equal(gw_blocktime_percentile(&blocktime, 50), 0); /* of none */
}

/* ---- Maps ---- */

static uint8_t bytes[GW_PAGE_MAP_BYTES_MAX];
static uint64_t bitmap[GW_BITMAP_WORDS], again[GW_BITMAP_WORDS];

static void a_map_comes_back_as_it_went(void **state)
{
    static const uint64_t counts[] = {1, 63, 64, 65, 1000, GW_PAGES_MAX};
    struct chance chance = chance_of(32);
    (void)state;
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        uint64_t words = (counts[n] + 63) / 64;
        for (uint64_t i = 0; i < words; i++) {
            bitmap[i] = chance_next(&chance, UINT64_MAX);
        }
        if (counts[n] % 64 != 0) {
            bitmap[words - 1] &= (UINT64_C(1) << counts[n] % 64) - 1;
        }
        uint32_t size = gw_page_map_bytes(counts[n]);
        assert_true(size <= GW_PAGE_MAP_BYTES_MAX);
        gw_page_map_encode(bitmap, counts[n], bytes);
        assert_int_equal(gw_page_map_decode(again, counts[n], bytes, size, NULL), GW_OK);
        assert_memory_equal(again, bitmap, words * 8);
    }
}

static void a_map_of_something_else_is_refused(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    memset(bitmap, 0, sizeof(bitmap));
    gw_page_map_encode(bitmap, 100, bytes);
    assert_int_equal(gw_page_map_bytes(100), 24);
    assert_int_equal(gw_page_map_decode(again, 100, bytes, 24, NULL), GW_OK);
    for (uint32_t count = 0; count < 40; count++) {
        gw_fault_clear(&fault);
        assert_int_equal(gw_page_map_decode(again, 100, bytes, count, &fault),
                         count == 24 ? GW_OK : GW_PROTOCOL);
        assert_true(count == 24 || strstr(fault.text, "wanted 100 pages in 24 bytes"));
    }
    assert_int_equal(gw_page_map_decode(again, 101, bytes, 24, NULL), GW_PROTOCOL);
    bytes[8 + 8 + 4] = 0x10; /* page 64 + 36 */
    gw_fault_clear(&fault);
    assert_int_equal(gw_page_map_decode(again, 100, bytes, 24, &fault), GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "above the last, 99"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_are_counted_by_thread_and_by_all),
        cmocka_unit_test(a_thread_that_waits_anew_has_ended_its_wait),
        cmocka_unit_test(more_threads_than_there_is_room_for_are_told),
        cmocka_unit_test(percentiles_are_right_to_a_quarter),
        cmocka_unit_test(a_map_comes_back_as_it_went),
        cmocka_unit_test(a_map_of_something_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
