/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, rates, times and numbers as text. The contract: godwit/units.h. */
#include "godwit/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { FRACTION_DIGITS_MAX = 6 };

/* A unit's largest factor times 10^FRACTION_DIGITS_MAX stays below 2^64. */
struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"K", UINT64_C(1) << 10},
    {"k", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"m", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"g", UINT64_C(1) << 30},
    {"T", UINT64_C(1) << 40},
    {"t", UINT64_C(1) << 40},
    {NULL, 0},
};

static const struct unit rate_units[] = {
    {"", 1},       {"k", 1000},   {"K", 1000},      {"M", 1000000},      {"G", 1000000000},
    {"kbit", 125}, {"Kbit", 125}, {"Mbit", 125000}, {"Gbit", 125000000}, {NULL, 0},
};

static const struct unit time_units[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000u}, {NULL, 0},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits into *value; the first that is no digit is returned. NULL: none, or over 2^64. */
static const char *read_digits(const char *text, uint64_t *value)
{
    if (!is_digit(*text)) {
        return NULL;
    }
    *value = 0;
    for (; is_digit(*text); text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (*value > (UINT64_MAX - digit) / 10) {
            return NULL;
        }
        *value = *value * 10 + digit;
    }
    return text;
}

/* Reads what follows the decimal point, as millionths. */
static const char *read_fraction(const char *text, uint64_t *millionths)
{
    uint64_t value;
    const char *end = read_digits(text, &value);
    if (end == NULL || end - text > FRACTION_DIGITS_MAX) {
        return NULL;
    }
    for (ptrdiff_t i = end - text; i < FRACTION_DIGITS_MAX; i++) {
        value *= 10;
    }
    *millionths = value;
    return end;
}

static const struct unit *find_unit(const struct unit *units, const char *name)
{
    for (; units->name != NULL; units++) {
        if (strcmp(units->name, name) == 0) {
            return units;
        }
    }
    return NULL;
}

/* "1.5G" by a table of units. False: not of that form, or over 2^64. */
static bool decode(const char *text, const struct unit *units, uint64_t *value)
{
    uint64_t whole;
    uint64_t millionths = 0;
    const char *rest = read_digits(text, &whole);
    if (rest != NULL && *rest == '.') {
        rest = read_fraction(rest + 1, &millionths);
    }
    if (rest == NULL) {
        return false;
    }
    const struct unit *unit = find_unit(units, rest);
    if (unit == NULL) {
        /* 0 needs no unit where the others do. */
        *value = 0;
        return *rest == '\0' && whole == 0 && millionths == 0;
    }
    if (whole > UINT64_MAX / unit->factor) {
        return false;
    }
    uint64_t part = millionths * unit->factor / 1000000;
    bool is_lost = whole == 0 && part == 0 && millionths > 0; /* 0 would mean something else */
    whole *= unit->factor;
    if (is_lost || part > UINT64_MAX - whole) {
        return false;
    }
    *value = whole + part;
    return true;
}

static bool is_short(const char *text)
{
    return strnlen(text, GW_UNITS_TEXT_BYTES) < GW_UNITS_TEXT_BYTES;
}

static enum gw_status decode_or_fault(const char *text, const char *what, const struct unit *units,
                                      const char *wanted, uint64_t *value, struct gw_fault *fault)
{
    uint64_t found;
    if (!is_short(text) || !decode(text, units, &found)) {
        return gw_fault_set(fault, GW_ARGUMENT, "%.40s: found \"%.40s\", wanted %s", what, text,
                            wanted);
    }
    *value = found;
    return GW_OK;
}

enum gw_status gw_units_decode_size(const char *text, const char *what, uint64_t *bytes,
                                    struct gw_fault *fault)
{
    return decode_or_fault(text, what, size_units, "a size such as 256M or 2G (bytes, K, M, G, T)",
                           bytes, fault);
}

enum gw_status gw_units_decode_rate(const char *text, const char *what, uint64_t *bytes_per_s,
                                    struct gw_fault *fault)
{
    return decode_or_fault(text, what, rate_units,
                           "a rate such as 100M (bytes a second; k, M, G) or 100Mbit (kbit, Mbit, "
                           "Gbit)",
                           bytes_per_s, fault);
}

enum gw_status gw_units_decode_time(const char *text, const char *what, uint64_t *ns,
                                    struct gw_fault *fault)
{
    return decode_or_fault(text, what, time_units, "a time such as 300ms or 2s (ns, us, ms, s, m)",
                           ns, fault);
}

enum gw_status gw_units_decode_number(const char *text, const char *what, uint64_t least,
                                      uint64_t most, uint64_t *number, struct gw_fault *fault)
{
    uint64_t found;
    const char *end = is_short(text) ? read_digits(text, &found) : NULL;
    if (end == NULL || *end != '\0' || found < least || found > most) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%.40s: found \"%.40s\", wanted a number from %" PRIu64 " to %" PRIu64,
                            what, text, least, most);
    }
    *number = found;
    return GW_OK;
}

/* Writes value / unit with up to `digits` decimals, rounded down, without zeros at their end. */
static void put_decimal(char text[GW_UNITS_TEXT_BYTES], uint64_t value, uint64_t unit, int digits,
                        const char *name)
{
    uint64_t whole = value / unit;
    uint64_t rest = value % unit;
    char fraction[FRACTION_DIGITS_MAX + 1];
    int used = 0;
    for (int i = 0; i < digits; i++) {
        rest *= 10; /* rest < unit <= 2^40 */
        fraction[i] = (char)('0' + rest / unit);
        rest %= unit;
        if (fraction[i] != '0') {
            used = i + 1;
        }
    }
    fraction[used] = '\0';
    (void)snprintf(text, GW_UNITS_TEXT_BYTES, "%" PRIu64 "%s%s%s", whole, used > 0 ? "." : "",
                   fraction, name);
}

char *gw_units_encode_size(char text[GW_UNITS_TEXT_BYTES], uint64_t bytes)
{
    static const char *const names[] = {"", "K", "M", "G", "T"};
    int power = 0;
    while (power < 4 && bytes >> (10 * (power + 1)) != 0) {
        power++;
    }
    put_decimal(text, bytes, UINT64_C(1) << (10 * power), 1, names[power]);
    return text;
}

/* The largest decimal unit that is not larger than the value. */
static char *encode_decimal(char text[GW_UNITS_TEXT_BYTES], uint64_t value,
                            const char *const names[4], int digits)
{
    uint64_t unit = 1;
    int power = 0;
    while (power < 3 && value / unit >= 1000) {
        unit *= 1000;
        power++;
    }
    put_decimal(text, value, unit, digits, names[power]);
    return text;
}

char *gw_units_encode_rate(char text[GW_UNITS_TEXT_BYTES], uint64_t bytes_per_s)
{
    static const char *const names[4] = {"/s", "k/s", "M/s", "G/s"};
    return encode_decimal(text, bytes_per_s, names, 1);
}

char *gw_units_encode_time(char text[GW_UNITS_TEXT_BYTES], uint64_t ns)
{
    static const char *const names[4] = {"ns", "us", "ms", "s"};
    return encode_decimal(text, ns, names, 2);
}
