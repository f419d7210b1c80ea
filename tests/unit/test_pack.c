/* SPDX-License-Identifier: Apache-2.0 */
/* Packing: back as it was, and nothing that a liar packs gets out of the room it is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/pack.h"

enum { BYTES = GW_BATCH_BYTES_MAX, GUARD = 64 };

static struct gw_packer packer;
static uint8_t bytes[BYTES];
static uint8_t packed[BYTES];
static uint8_t back[BYTES + GUARD];

/* A part of words of a few letters, and a part that has none. */
static void make(struct chance *chance, uint64_t text_percent)
{
    for (size_t at = 0; at < BYTES; at += 64) {
        bool is_text = chance_next(chance, 100) < text_percent;
        for (size_t i = 0; i < 64; i++) {
            uint64_t drawn = chance_next(chance, is_text ? 13 : 256);
            bytes[at + i] = is_text ? (uint8_t)"etaoin shrdlu"[drawn] : (uint8_t)drawn;
        }
        if (is_text && at >= 4096 && chance_next(chance, 4)) {
            memcpy(bytes + at, bytes + at - 64 * (1 + chance_next(chance, 60)), 64);
        }
    }
}

static void what_is_packed_comes_back(void **state)
{
    (void)state;
    struct chance chance = chance_of(5);
    uint32_t lengths[] = {BYTES, BYTES - 1, 65536, 4096, 100, 13, 1};
    uint32_t shorter = 0;
    for (uint64_t percent = 0; percent <= 100; percent += 20) {
        make(&chance, percent);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            uint32_t count = gw_pack(&packer, bytes, lengths[i], packed);
            assert_true(count <= lengths[i] - lengths[i] / GW_PACK_WORTH_DIVISOR);
            if (count == 0) {
                continue;
            }
            shorter++;
            memset(back, 0xee, sizeof(back));
            assert_int_equal(gw_unpack(packed, count, back, lengths[i], NULL), GW_OK);
            assert_memory_equal(back, bytes, lengths[i]);
            assert_int_equal(back[lengths[i]], 0xee);
        }
    }
    assert_true(shorter > 10);
}

static void what_does_not_shrink_is_left_as_it_is(void **state)
{
    (void)state;
    struct chance chance = chance_of(6);
    make(&chance, 0);
    assert_int_equal(gw_pack(&packer, bytes, BYTES, packed), 0);
}

static void a_block_of_another_length_is_refused(void **state)
{
    (void)state;
    struct chance chance = chance_of(8);
    struct gw_fault fault = {.status = GW_OK};
    make(&chance, 100);
    uint32_t count = gw_pack(&packer, bytes, 8192, packed);
    assert_int_equal(gw_unpack(packed, count, back, 8193, &fault), GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "hold 8192 bytes, wanted 8193"));
    gw_fault_clear(&fault);
    memset(back, 0xee, sizeof(back));
    assert_int_equal(gw_unpack(packed, count, back, 8191, &fault), GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "are no lz4 block of at most 8191 bytes"));
    assert_int_equal(back[8191], 0xee);
    assert_int_equal(gw_unpack(packed, count - 1, back, 8192, NULL), GW_PROTOCOL);
}

/* What was flipped, cut or drawn by lot: refused, or as long as wanted; never out of its room
 * (which the address sanitizer sees). */
static void no_block_gets_out_of_its_room(void **state)
{
    (void)state;
    struct chance chance = chance_of(9);
    make(&chance, 80);
    uint32_t count = gw_pack(&packer, bytes, 16384, packed);
    uint64_t refused = 0;
    for (int run = 0; run < 20000; run++) {
        uint32_t length = 1 + (uint32_t)chance_next(&chance, count);
        uint32_t room = 1 + (uint32_t)chance_next(&chance, 16384);
        uint8_t *lie = malloc(length);
        uint8_t *exact = malloc(room);
        memcpy(lie, packed, length);
        for (uint64_t flips = chance_next(&chance, 8); flips > 0; flips--) {
            lie[chance_next(&chance, length)] ^= (uint8_t)(1u << chance_next(&chance, 8));
        }
        refused += gw_unpack(lie, length, exact, room, NULL) != GW_OK;
        free(exact);
        free(lie);
    }
    assert_true(refused > 15000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(what_does_not_shrink_is_left_as_it_is),
        cmocka_unit_test(a_block_of_another_length_is_refused),
        cmocka_unit_test(no_block_gets_out_of_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
