/* SPDX-License-Identifier: Apache-2.0 */
/* Frame headers: whole or refused, and refused in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/crc32c.h"
#include "godwit/frame.h"

static const struct gw_frame_header whole = {.version = GW_PROTOCOL_VERSION,
                                             .type = GW_FRAME_BATCH,
                                             .flags = GW_FRAME_STOPPED,
                                             .payload_bytes = 0x01020304,
                                             .payload_crc = 0x05060708,
                                             .generation = 0x090a0b0c,
                                             .sequence = UINT64_C(0x0d0e0f1011121314)};

static void a_header_comes_back_as_it_went(void **state)
{
    (void)state;
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    struct gw_frame_header header = {0};
    gw_frame_encode_header(&whole, bytes);
    assert_memory_equal(bytes, "GDWT", 4);
    assert_int_equal(gw_frame_decode_header(&header, bytes, NULL), GW_OK);
    assert_int_equal(header.version, whole.version);
    assert_int_equal(header.type, whole.type);
    assert_int_equal(header.flags, whole.flags);
    assert_int_equal(header.payload_bytes, whole.payload_bytes);
    assert_int_equal(header.payload_crc, whole.payload_crc);
    assert_int_equal(header.generation, whole.generation);
    assert_true(header.sequence == whole.sequence);
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    gw_frame_encode_header(&whole, bytes);
    for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
        struct gw_frame_header header;
        struct gw_fault fault = {.status = GW_OK};
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        enum gw_status wanted = bit < 32 ? GW_PROTOCOL : GW_CORRUPT;
        assert_int_equal(gw_frame_decode_header(&header, bytes, &fault), wanted);
        assert_int_not_equal(fault.text[0], 0);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void another_program_is_told_apart_at_a_look(void **state)
{
    (void)state;
    uint8_t bytes[GW_FRAME_HEADER_BYTES] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct gw_frame_header header;
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(gw_frame_decode_header(&header, bytes, &fault), GW_PROTOCOL);
    assert_string_equal(fault.text, "the peer does not speak godwit's protocol: a frame begins "
                                    "with \"GET \" (0x20544547), wanted \"GDWT\"");
}

static void another_version_is_named(void **state)
{
    (void)state;
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    struct gw_frame_header header = whole;
    struct gw_fault fault = {.status = GW_OK};
    header.version = 7;
    gw_frame_encode_header(&header, bytes);
    assert_int_equal(gw_frame_decode_header(&header, bytes, &fault), GW_PROTOCOL);
    assert_string_equal(fault.text, "the peer speaks version 7 of the protocol, wanted 1: run the "
                                    "same godwit on both sides");
}

static void a_damaged_header_says_both_sums(void **state)
{
    (void)state;
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    struct gw_frame_header header;
    struct gw_fault fault = {.status = GW_OK};
    gw_frame_encode_header(&whole, bytes);
    bytes[8] ^= 1; /* the length: believed only when the header is whole */
    assert_int_equal(gw_frame_decode_header(&header, bytes, &fault), GW_CORRUPT);
    assert_non_null(strstr(fault.text, "arrived damaged: its CRC32C is 0x"));
    assert_non_null(strstr(fault.text, "it says 0x"));
}

static void random_headers_never_pass(void **state)
{
    (void)state;
    enum { SEED = 11 };
    struct chance chance = chance_of(SEED);
    for (int run = 0; run < 100000; run++) {
        uint8_t bytes[GW_FRAME_HEADER_BYTES];
        struct gw_frame_header header;
        for (size_t i = 0; i < sizeof(bytes); i++) {
            bytes[i] = (uint8_t)chance_next(&chance, 256);
        }
        if (run % 2) {
            memcpy(bytes, "GDWT", 4);
        }
        if (gw_frame_decode_header(&header, bytes, NULL) == GW_OK) {
            fail_msg("seed %d, run %d: random bytes passed for a header", SEED, run);
        }
    }
}

static void each_type_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(gw_frame_type_name(GW_FRAME_PREPARE), "PREPARE");
    assert_string_equal(gw_frame_type_name(0), "unknown");
    assert_string_equal(gw_frame_type_name(255), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_comes_back_as_it_went),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(another_program_is_told_apart_at_a_look),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(a_damaged_header_says_both_sums),
        cmocka_unit_test(random_headers_never_pass),
        cmocka_unit_test(each_type_has_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
