/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer, scanner and document. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "godwit/json.h"
#include "godwit/json_read.h"

/* How far the scanner comes: index of the byte that ended the object, or -1-index of the bad
 * byte, or 1000 when it wants more. */
static int scan(const char *text)
{
    struct gw_json_scanner scanner;
    gw_json_scanner_init(&scanner);
    for (int i = 0; text[i]; i++) {
        enum gw_json_scan result = gw_json_scanner_put(&scanner, (uint8_t)text[i]);
        if (result == GW_JSON_SCAN_DONE)
            return i;
        if (result == GW_JSON_SCAN_BAD) {
            assert_non_null(scanner.wanted);
            return -1 - i;
        }
    }
    return 1000;
}

static void test_scanner_accepts_json(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}",
        "{\"a\":1}",
        " \t\r\n{ \"a\" : [ ] }",
        "{\"a\":[1,-2,0.5,1e9,1E-3,-0,12.25e+07]}",
        "{\"a\":[true,false,null,\"\",{}]}",
        "{\"\\u00e9\\n\\\"\\\\\\/\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa6\"}",
        "{\"a\":{\"b\":{\"c\":[[[]]]}}}",
        "{\"a\":0}",
        "{\"a\":[0,10]}",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(scan(good[i]), (int)strlen(good[i]) - 1);
}

static void test_scanner_finds_the_first_bad_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int bad;
    } cases[] = {
        {"x", 0},
        {"[]", 0},
        {"{'a':1}", 1},
        {"{\"a\" 1}", 5},
        {"{\"a\":}", 5},
        {"{\"a\":1,}", 7},
        {"{,}", 1},
        {"{\"a\":[1,]}", 8},
        {"{\"a\":01}", 6},
        {"{\"a\":1.}", 7},
        {"{\"a\":-}", 6},
        {"{\"a\":1e}", 7},
        {"{\"a\":+1}", 5},
        {"{\"a\":tru}", 8},
        {"{\"a\":nulL", 8},
        {"{\"a\":\"\\x\"}", 7},
        {"{\"a\"]", 4},
        {"{\"a\":[}", 6},
        {"{\"a\":1]", 6},
        {"{\"a\":\"\\u12g4\"}", 10},
        {"{1:2}", 1},
        {"{\"\xc0\xaf\"", 2},
        {"{\"\xed\xa0\x80", 3},
        {"{\"\xf4\x90", 3},
        {"{\"a\":\"\n", 6},
        {"{\"a\":1 2", 7},
        {"{\"a\":.5", 5},
        {"{\"a\":\"\x80", 6},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (scan(cases[i].text) != -1 - cases[i].bad)
            fail_msg("%s: %d", cases[i].text, scan(cases[i].text));
    }
}

static void test_scanner_bounds_nesting(void **state)
{
    (void)state;
    char text[80] = "{\"a\":";
    memset(text + 5, '[', GW_JSON_DEPTH_MAX);
    assert_int_equal(scan(text), -1 - (5 + GW_JSON_DEPTH_MAX - 1));
    memset(text + 5, '[', GW_JSON_DEPTH_MAX - 1);
    text[5 + GW_JSON_DEPTH_MAX - 1] = 0;
    assert_int_equal(scan(text), 1000);
}

static struct gw_json_document document;

static void read_text(const char *text)
{
    assert_int_equal(scan(text), (int)strlen(text) - 1);
    assert_int_equal(gw_json_read_document(&document, text, strlen(text), NULL), GW_OK);
}

static void test_document_reads_values_by_kind(void **state)
{
    (void)state;
    read_text("{\"n\": 18446744073709551615, \"big\": 18446744073709551616, \"neg\": -1, "
              "\"frac\": 1.5, \"t\": \"a\\u0041\\n\\ud83d\\udc26\", \"nul\": \"\\u0000\", "
              "\"b\": true, \"o\": {\"n\": 7}, \"a\": [1, [2, 3], {\"x\": 4}, 5], \"z\": null}");
    uint64_t number = 0;
    bool truth = false;
    char text[32] = "same";
    int whole = 0;

    assert_true(
        gw_json_read_number(&document, gw_json_read_member(&document, whole, "n"), &number));
    assert_true(number == UINT64_MAX);
    static const char *const no_numbers[] = {"big", "neg", "frac", "t", "b", "o", "a", "z", "none"};
    for (size_t i = 0; i < 9; i++)
        assert_false(gw_json_read_number(
            &document, gw_json_read_member(&document, whole, no_numbers[i]), &number));

    assert_false(gw_json_read_text(&document, gw_json_read_member(&document, whole, "nul"), text,
                                   sizeof(text)));
    assert_false(gw_json_read_text(&document, gw_json_read_member(&document, whole, "t"), text, 7));
    assert_string_equal(text, "same");
    assert_true(gw_json_read_text(&document, gw_json_read_member(&document, whole, "t"), text, 8));
    assert_string_equal(text, "aA\n\xf0\x9f\x90\xa6");

    assert_true(gw_json_read_bool(&document, gw_json_read_member(&document, whole, "b"), &truth));
    assert_true(truth);
    assert_false(gw_json_read_bool(&document, gw_json_read_member(&document, whole, "z"), &truth));

    int inner = gw_json_read_member(&document, gw_json_read_member(&document, whole, "o"), "n");
    assert_true(gw_json_read_number(&document, inner, &number));
    assert_true(number == 7);

    int count = 0;
    int array = gw_json_read_member(&document, whole, "a");
    for (int i = gw_json_read_first(&document, array); i >= 0; i = gw_json_read_next(&document, i))
        count++;
    assert_int_equal(count, 4);
}

static void test_document_gives_text_back(void **state)
{
    (void)state;
    read_text("{\"a\" : [ 1 , \"x \\\" y\\\\\" , { } ] }");
    char text[64];
    int array = gw_json_read_member(&document, 0, "a");
    assert_true(gw_json_read_raw(&document, array, text, sizeof(text)));
    assert_string_equal(text, "[1,\"x \\\" y\\\\\",{}]");
    assert_false(gw_json_read_raw(&document, array, text, 17));
    assert_true(gw_json_read_raw(&document, array, text, 18));
    gw_json_read_excerpt(&document, array, text, 9);
    assert_string_equal(text, "[ 1 ,...");
    gw_json_read_excerpt(&document, array + 2, text, sizeof(text));
    assert_string_equal(text, "\"x \\\" y\\\\\"");
}

static void test_document_refuses_too_many_values(void **state)
{
    (void)state;
    static char text[GW_JSON_TOKENS_MAX * 2 + 16] = "{\"a\":[0";
    size_t used = strlen(text);
    for (size_t i = 0; i < GW_JSON_TOKENS_MAX; i++) {
        memcpy(text + used, ",0", 2);
        used += 2;
    }
    memcpy(text + used, "]}", 3);
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(gw_json_read_document(&document, text, used + 2, &fault), GW_LIMIT);
    assert_int_equal(document.count, 0);
    assert_int_equal(gw_json_read_member(&document, 0, "a"), -1);
}

static void write_sample(struct gw_json *json)
{
    gw_json_open_object(json, NULL);
    gw_json_put_text(json, "t", "q\" b\\ n\n \x01 \x7f \xc3\xa9 \xf0\x9f\x90\xa6 \xff\xc3");
    gw_json_put_number(json, "n", UINT64_MAX);
    gw_json_put_thousandths(json, "d", 1002);
    gw_json_put_bool(json, "b", false);
    gw_json_open_array(json, "a");
    gw_json_put_number(json, NULL, 1);
    gw_json_open_object(json, NULL);
    gw_json_close_object(json);
    gw_json_put_raw(json, NULL, "[2]");
    gw_json_close_array(json);
    gw_json_close_object(json);
}

static void test_writer_escapes(void **state)
{
    (void)state;
    char text[512];
    struct gw_json json;
    gw_json_init(&json, text, sizeof(text));
    write_sample(&json);
    assert_int_equal(gw_json_end(&json), GW_OK);
    assert_string_equal(text, "{\"t\": \"q\\\" b\\\\ n\\n \\u0001 \\u007f \\u00e9 \\ud83d\\udc26 "
                              "\\ufffd\\ufffd\", \"n\": 18446744073709551615, \"d\": 1.002, "
                              "\"b\": false, \"a\": [1, {}, [2]]}");
    assert_int_equal(scan(text), (int)strlen(text) - 1);
}

static void test_writer_never_cuts(void **state)
{
    (void)state;
    char whole[512];
    struct gw_json json;
    gw_json_init(&json, whole, sizeof(whole));
    write_sample(&json);
    assert_int_equal(gw_json_end(&json), GW_OK);
    size_t needed = strlen(whole) + 1;
    for (size_t capacity = 1; capacity < sizeof(whole); capacity++) {
        char text[512];
        memset(text, 0x55, sizeof(text));
        gw_json_init(&json, text, capacity);
        write_sample(&json);
        assert_int_equal(gw_json_end(&json), capacity >= needed ? GW_OK : GW_LIMIT);
        assert_string_equal(text, capacity >= needed ? whole : "");
        assert_int_equal(text[capacity], 0x55);
    }
}

static void test_writer_bounds_nesting(void **state)
{
    (void)state;
    char text[256];
    struct gw_json json;
    gw_json_init(&json, text, sizeof(text));
    for (int i = 0; i < GW_JSON_DEPTH_MAX + 3; i++)
        gw_json_open_array(&json, NULL);
    for (int i = 0; i < GW_JSON_DEPTH_MAX + 3; i++)
        gw_json_close_array(&json);
    assert_int_equal(gw_json_end(&json), GW_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scanner_accepts_json),
        cmocka_unit_test(test_scanner_finds_the_first_bad_byte),
        cmocka_unit_test(test_scanner_bounds_nesting),
        cmocka_unit_test(test_document_reads_values_by_kind),
        cmocka_unit_test(test_document_gives_text_back),
        cmocka_unit_test(test_document_refuses_too_many_values),
        cmocka_unit_test(test_writer_escapes),
        cmocka_unit_test(test_writer_never_cuts),
        cmocka_unit_test(test_writer_bounds_nesting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
