/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of RAM: holes cost nothing and count as zeros; one bit, or one place, is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/digest.h"

static uint8_t page[65536];

static void a_page_of_zeros_has_the_digest_that_is_known_unread(void **state)
{
    (void)state;
    memset(page, 0, sizeof(page));
    for (size_t bytes = 4096; bytes <= sizeof(page); bytes *= 2) {
        assert_true(gw_digest_page(page, bytes) == gw_digest_zero_page(bytes));
    }
    assert_true(gw_digest_zero_page(4096) != gw_digest_zero_page(16384));
}

static void every_single_bit_changes_the_digest(void **state)
{
    (void)state;
    struct chance chance = chance_of(2);
    for (size_t i = 0; i < 4096; i++) {
        page[i] = (uint8_t)chance_next(&chance, 256);
    }
    uint64_t whole = gw_digest_page(page, 4096);
    for (size_t bit = 0; bit < (size_t)4096 * 8; bit++) {
        page[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (gw_digest_page(page, 4096) == whole) {
            fail_msg("bit %zu is not seen", bit);
        }
        page[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_true(gw_digest_page(page, 4096) == whole);
}

static void words_that_change_places_change_the_digest(void **state)
{
    (void)state;
    uint64_t words[512] = {0};
    words[0] = 1;
    words[4] = 2; /* the same lane */
    words[7] = 3;
    uint64_t before = gw_digest_page((const uint8_t *)words, sizeof(words));
    words[0] = 2;
    words[4] = 1;
    assert_true(gw_digest_page((const uint8_t *)words, sizeof(words)) != before);
    words[0] = 1;
    words[4] = 2;
    words[7] = 0;
    words[6] = 3; /* another lane */
    assert_true(gw_digest_page((const uint8_t *)words, sizeof(words)) != before);
}

static void a_stretch_knows_the_order_and_number_of_its_pages(void **state)
{
    (void)state;
    uint64_t ab = gw_digest_fold(gw_digest_fold(GW_DIGEST_SEED, 10), 20);
    uint64_t ba = gw_digest_fold(gw_digest_fold(GW_DIGEST_SEED, 20), 10);
    uint64_t abb = gw_digest_fold(ab, 20);
    assert_true(ab != ba);
    assert_true(ab != abb);
    assert_true(gw_digest_fold(gw_digest_fold(GW_DIGEST_SEED, 10), 20) == ab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_of_zeros_has_the_digest_that_is_known_unread),
        cmocka_unit_test(every_single_bit_changes_the_digest),
        cmocka_unit_test(words_that_change_places_change_the_digest),
        cmocka_unit_test(a_stretch_knows_the_order_and_number_of_its_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
