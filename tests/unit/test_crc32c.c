/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C against published vectors and against the definition, bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/crc32c.h"

/* The definition: reflected polynomial 0x82f63b78, one bit at a time. */
static uint32_t crc_by_bits(const uint8_t *data, size_t bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    return ~crc;
}

/* RFC 3720, appendix B.4. */
static void published_vectors_hold(void **state)
{
    (void)state;
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,    0,
    };
    uint8_t bytes[32];
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(gw_crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(gw_crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (uint8_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = i;
    }
    assert_int_equal(gw_crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
    for (uint8_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(gw_crc32c(0, bytes, sizeof(bytes)), 0x113fdb5c);
    assert_int_equal(gw_crc32c(0, read_command, sizeof(read_command)), 0xd9963a56);
    assert_int_equal(gw_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(gw_crc32c(0, "", 0), 0);
}

static void every_length_at_every_alignment_agrees_with_the_definition(void **state)
{
    (void)state;
    enum { LENGTH = 200 };
    static uint8_t bytes[LENGTH + 16];
    struct chance chance = chance_of(1);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)chance_next(&chance, 256);
    }
    for (size_t at = 0; at < 16; at++) {
        for (size_t length = 0; length <= LENGTH; length++) {
            assert_int_equal(gw_crc32c(0, bytes + at, length), crc_by_bits(bytes + at, length));
        }
    }
}

/* Long ones are taken in three lanes at a time; a page and a batch are such. */
static void long_ones_agree_with_the_definition(void **state)
{
    (void)state;
    static uint8_t bytes[3 * 4096 + 8];
    struct chance chance = chance_of(2);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)chance_next(&chance, 256);
    }
    for (size_t length = 4070; length <= 4110; length++) {
        assert_int_equal(gw_crc32c(0, bytes + 3, length), crc_by_bits(bytes + 3, length));
        assert_int_equal(gw_crc32c(0, bytes, 2 * length), crc_by_bits(bytes, 2 * length));
    }
    assert_int_equal(gw_crc32c(0, bytes, sizeof(bytes)), crc_by_bits(bytes, sizeof(bytes)));
}

static void a_crc_continues_over_any_cut(void **state)
{
    (void)state;
    uint8_t bytes[97];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 37);
    }
    for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
        uint32_t crc = gw_crc32c(0, bytes, cut);
        assert_int_equal(gw_crc32c(crc, bytes + cut, sizeof(bytes) - cut),
                         crc_by_bits(bytes, sizeof(bytes)));
    }
}

/* Whatever lies where it fetches from: nothing is mapped at the end of the address space. */
static void what_it_fetches_does_not_matter(void **state)
{
    (void)state;
    static uint8_t bytes[3 * 4096];
    memset(bytes, 0x5a, sizeof(bytes));
    uint32_t wanted = crc_by_bits(bytes, sizeof(bytes));
    assert_int_equal(gw_crc32c_fetching(0, bytes, sizeof(bytes), NULL), wanted);
    assert_int_equal(gw_crc32c_fetching(0, bytes, sizeof(bytes), bytes + 1), wanted);
    assert_int_equal(gw_crc32c_fetching(0, bytes, sizeof(bytes), (void *)(UINTPTR_MAX - 4095)),
                     wanted);
}

static void two_crcs_join_at_any_cut(void **state)
{
    (void)state;
    static uint8_t bytes[70000];
    struct chance chance = chance_of(3);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)chance_next(&chance, 256);
    }
    uint32_t wanted = gw_crc32c(0, bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= sizeof(bytes); cut += cut < 300 ? 1 : 997) {
        size_t rest = sizeof(bytes) - cut;
        assert_int_equal(gw_crc32c_join(gw_crc32c(0, bytes, cut), gw_crc32c(0, bytes + cut, rest),
                                        (uint32_t)rest),
                         wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_hold),
        cmocka_unit_test(every_length_at_every_alignment_agrees_with_the_definition),
        cmocka_unit_test(long_ones_agree_with_the_definition),
        cmocka_unit_test(a_crc_continues_over_any_cut),
        cmocka_unit_test(what_it_fetches_does_not_matter),
        cmocka_unit_test(two_crcs_join_at_any_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
