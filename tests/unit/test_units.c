/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, rates, times and numbers as text (godwit/units.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "godwit/units.h"

typedef enum gw_status decoder(const char *text, const char *what, uint64_t *value,
                               struct gw_fault *fault);

struct good {
    const char *text;
    uint64_t value;
};

static void check_good(decoder *decode, const struct good *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 42;
        struct gw_fault fault = {.status = GW_OK};
        if (decode(list[i].text, "--x", &value, &fault) != GW_OK || value != list[i].value) {
            print_error("%s: %s, value %llu\n", list[i].text, fault.text,
                        (unsigned long long)value);
            fail();
        }
    }
}

static void check_bad(decoder *decode, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 42;
        struct gw_fault fault = {.status = GW_OK};
        if (decode(list[i], "--memory", &value, &fault) != GW_ARGUMENT || value != 42) {
            print_error("\"%s\" was taken as %llu\n", list[i], (unsigned long long)value);
            fail();
        }
        assert_non_null(strstr(fault.text, "--memory: found \""));
        assert_non_null(strstr(fault.text, "wanted"));
    }
}

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void sizes_are_powers_of_1024(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"0", 0},
        {"4096", 4096},
        {"4K", 4096},
        {"256M", UINT64_C(256) << 20},
        {"2g", UINT64_C(2) << 30},
        {"1.5G", UINT64_C(3) << 29},
        {"16777215T", UINT64_C(16777215) << 40},
        {"18446744073709551615", UINT64_MAX},
    };
    check_good(gw_units_decode_size, good, COUNT(good));
}

static void sizes_of_other_forms_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " 1",
        "1 ",
        "-1",
        "+1",
        "M",
        "1Q",
        "1MB",
        "1.",
        ".5G",
        "1.0000000",
        "1e3",
        "0x10",
        "16777216T",
        "1.5.5",
        "18446744073709551616",
        "99999999999999999999",
        "16777215.9999999T",
        "1\n",
        "000000000000000000000000000000000000000001",
        "16777215.999999TT",
        "0.0001K", /* less than a byte, and not 0 */
    };
    check_bad(gw_units_decode_size, bad, COUNT(bad));
}

static void rates_are_bytes_or_bits(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"100M", 100000000},
        {"100Mbit", 12500000},
        {"1Gbit", 125000000},
        {"2.5Gbit", 312500000},
        {"8kbit", 1000},
        {"10k", 10000},
        {"0", 0},
        {"1G", 1000000000},
    };
    static const char *const bad[] = {"100Mbits", "1bit", "100 M",    "100MB",
                                      "1m",       "-1M",  "0.004kbit"};
    check_good(gw_units_decode_rate, good, COUNT(good));
    check_bad(gw_units_decode_rate, bad, COUNT(bad));
}

static void times_need_a_unit(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"300ms", 300000000},
        {"2s", 2000000000},
        {"0.5s", 500000000},
        {"500us", 500000},
        {"1m", 60000000000u},
        {"0", 0},
        {"0.0", 0},
        {"1.5ns", 1},
        {"18446744073s", 18446744073000000000u},
        {"307445734m", 18446744040000000000u},
    };
    static const char *const bad[] = {"300", "1h", "s", "18446744074s", "307445735m", "1S", "0.1"};
    check_good(gw_units_decode_time, good, COUNT(good));
    check_bad(gw_units_decode_time, bad, COUNT(bad));
}

static void numbers_have_bounds(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    uint64_t value = 0;
    assert_int_equal(gw_units_decode_number("8", "--cpus", 1, 8, &value, &fault), GW_OK);
    assert_int_equal(value, 8);
    assert_int_equal(gw_units_decode_number("9", "--cpus", 1, 8, &value, &fault), GW_ARGUMENT);
    assert_string_equal(fault.text, "--cpus: found \"9\", wanted a number from 1 to 8");
    static const char *const bad[] = {"0", "", "1.0", "1x", "18446744073709551617", " 1", "-1"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        gw_fault_clear(&fault);
        assert_int_equal(gw_units_decode_number(bad[i], "--cpus", 1, 8, &value, &fault),
                         GW_ARGUMENT);
        assert_int_equal(value, 8);
    }
}

static void values_read_well(void **state)
{
    (void)state;
    char text[GW_UNITS_TEXT_BYTES];
    assert_string_equal(gw_units_encode_size(text, 0), "0");
    assert_string_equal(gw_units_encode_size(text, 1000), "1000");
    assert_string_equal(gw_units_encode_size(text, UINT64_C(256) << 20), "256M");
    assert_string_equal(gw_units_encode_size(text, UINT64_C(3) << 29), "1.5G");
    assert_string_equal(gw_units_encode_size(text, UINT64_MAX), "16777215.9T");
    assert_string_equal(gw_units_encode_rate(text, 12500000), "12.5M/s");
    assert_string_equal(gw_units_encode_rate(text, UINT64_MAX), "18446744073.7G/s");
    assert_string_equal(gw_units_encode_time(text, 300000000), "300ms");
    assert_string_equal(gw_units_encode_time(text, 2050000000), "2.05s");
    assert_string_equal(gw_units_encode_time(text, 2009999999), "2s");
    assert_string_equal(gw_units_encode_time(text, 999), "999ns");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(sizes_of_other_forms_are_refused),
        cmocka_unit_test(rates_are_bytes_or_bits),
        cmocka_unit_test(times_need_a_unit),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(values_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
