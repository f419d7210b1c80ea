/* SPDX-License-Identifier: Apache-2.0 */
/* Bitmaps and marks (src/dirty). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "dirty/bitmap.h"
#include "godwit/marks.h"

static struct gw_marks marks;

static void merged_bits_land_where_they_belong(void **state)
{
    (void)state;
    for (uint64_t shift = 0; shift < 130; shift++) {
        for (uint64_t count = 0; count < 140; count += 7) {
            uint64_t bitmap[6] = {0};
            uint64_t expected[6] = {0};
            const uint64_t from[3] = {0xdeadbeefcafe0123, ~UINT64_C(0), 0x8000000000000001};
            uint64_t bits = 0;
            for (uint64_t i = 0; i < count; i++) {
                if (from[i / 64] >> (i % 64) & 1) {
                    expected[(shift + i) / 64] |= UINT64_C(1) << ((shift + i) % 64);
                    bits++;
                }
            }
            assert_int_equal(gw_bitmap_merge(bitmap, shift, from, count), bits);
            assert_memory_equal(bitmap, expected, sizeof(bitmap));
            assert_int_equal(gw_bitmap_merge(bitmap, shift, from, count), 0);

            uint64_t range[6] = {0};
            assert_int_equal(gw_bits_put(range, shift, count, true), count);
            for (uint64_t i = 0; i < 6 * 64; i++) {
                bool is_in = i >= shift && i < shift + count;
                assert_int_equal(range[i / 64] >> (i % 64) & 1, is_in);
            }
        }
    }
}

static void marks_are_taken_once(void **state)
{
    (void)state;
    uint64_t bitmap[GW_BITMAP_WORDS] = {0};
    gw_marks_reset(&marks);
    gw_marks_put(&marks, 60, 10);
    bitmap[0] = UINT64_C(1) << 63;
    assert_int_equal(gw_marks_get(&marks, 128, bitmap), 9);
    assert_int_equal(bitmap[0], UINT64_C(0xf) << 60);
    assert_int_equal(bitmap[1], 0x3f);
    assert_int_equal(gw_marks_get(&marks, 128, bitmap), 0);
}

/* What lies behind the last page is nobody's: a dirty page that cannot be sent would never go. */
static void marks_behind_the_last_page_are_not_taken(void **state)
{
    (void)state;
    uint64_t bitmap[GW_BITMAP_WORDS] = {0};
    gw_marks_reset(&marks);
    gw_marks_put(&marks, 68, 4);
    assert_int_equal(gw_marks_get(&marks, 70, bitmap), 2);
    assert_int_equal(bitmap[1], UINT64_C(3) << 4);
    assert_int_equal(gw_marks_get(&marks, 70, bitmap), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_bits_land_where_they_belong),
        cmocka_unit_test(marks_are_taken_once),
        cmocka_unit_test(marks_behind_the_last_page_are_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
