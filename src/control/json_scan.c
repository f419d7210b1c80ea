/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON scanner: a pushdown automaton over single bytes (RFC 8259), so that input may be cut
 * anywhere and an error is found at its first byte. jsmn alone would not do: it wants the whole
 * text and takes much that is no JSON.
 *
 * Memory: the caller's. The owner's thread. Never blocks.
 */
#include "godwit/json_read.h"
#include "utf8.h"

enum state {
    START = 0,    /* before the top object */
    VALUE,        /* a value must come */
    VALUE_OR_END, /* after [ : a value or ] */
    KEY_OR_END,   /* after { : a key or } */
    KEY,          /* after , in an object */
    COLON,        /* after a key */
    AFTER_VALUE,  /* , or the end of what is open */
    STRING,
    STRING_ESCAPE, /* after \ */
    STRING_HEX,    /* `count` hex digits to come */
    STRING_UTF8,   /* `count` bytes of a character to come */
    WORD,          /* the rest of true, false, null */
    MINUS,         /* after - : a digit */
    ZERO,          /* after a leading 0: no more digits */
    INTEGER,
    POINT, /* after . : a digit */
    FRACTION,
    EXPONENT,      /* after e: sign or digit */
    EXPONENT_SIGN, /* after the sign: a digit */
    EXPONENT_DIGITS,
};

void gw_json_scanner_init(struct gw_json_scanner *scanner)
{
    *scanner = (struct gw_json_scanner){.state = START};
}

static enum gw_json_scan bad(struct gw_json_scanner *scanner, const char *wanted)
{
    scanner->wanted = wanted;
    return GW_JSON_SCAN_BAD;
}

static enum gw_json_scan go(struct gw_json_scanner *scanner, enum state state)
{
    scanner->state = (uint8_t)state;
    return GW_JSON_SCAN_MORE;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static bool is_in_object(const struct gw_json_scanner *scanner)
{
    return scanner->is_object & (UINT32_C(1) << (scanner->depth - 1));
}

static enum gw_json_scan open_value(struct gw_json_scanner *scanner, bool is_object)
{
    if (scanner->depth == GW_JSON_DEPTH_MAX)
        return bad(scanner, "at most 32 objects and arrays inside each other");
    uint32_t bit = UINT32_C(1) << scanner->depth++;
    scanner->is_object = is_object ? scanner->is_object | bit : scanner->is_object & ~bit;
    return go(scanner, is_object ? KEY_OR_END : VALUE_OR_END);
}

static enum gw_json_scan close_value(struct gw_json_scanner *scanner)
{
    scanner->depth--;
    if (scanner->depth == 0)
        return GW_JSON_SCAN_DONE;
    return go(scanner, AFTER_VALUE);
}

static enum gw_json_scan open_string(struct gw_json_scanner *scanner, bool is_key)
{
    scanner->is_key = is_key;
    return go(scanner, STRING);
}

static enum gw_json_scan open_word(struct gw_json_scanner *scanner, const char *rest)
{
    scanner->word = rest;
    return go(scanner, WORD);
}

static enum gw_json_scan put_value(struct gw_json_scanner *scanner, uint8_t byte)
{
    switch (byte) {
    case '{':
        return open_value(scanner, true);
    case '[':
        return open_value(scanner, false);
    case '"':
        return open_string(scanner, false);
    case 't':
        return open_word(scanner, "rue");
    case 'f':
        return open_word(scanner, "alse");
    case 'n':
        return open_word(scanner, "ull");
    case '-':
        return go(scanner, MINUS);
    case '0':
        return go(scanner, ZERO);
    default:
        if (is_digit(byte))
            return go(scanner, INTEGER);
        return bad(scanner, "a value (strings stand in \"double quotes\")");
    }
}

static enum gw_json_scan put_after_value(struct gw_json_scanner *scanner, uint8_t byte)
{
    bool is_object = is_in_object(scanner);
    if (byte == ',')
        return go(scanner, is_object ? KEY : VALUE);
    if (byte == (is_object ? '}' : ']'))
        return close_value(scanner);
    return bad(scanner, is_object ? "',' or '}'" : "',' or ']'");
}

/* Between values: blanks may stand everywhere here. */
static enum gw_json_scan put_between(struct gw_json_scanner *scanner, uint8_t byte)
{
    if (is_blank(byte))
        return GW_JSON_SCAN_MORE;
    switch (scanner->state) {
    case START:
        return byte == '{' ? open_value(scanner, true) : bad(scanner, "an object: '{'");
    case VALUE_OR_END:
        return byte == ']' ? close_value(scanner) : put_value(scanner, byte);
    case KEY_OR_END:
        if (byte == '}')
            return close_value(scanner);
        return byte == '"' ? open_string(scanner, true) : bad(scanner, "'\"' or '}'");
    case KEY:
        return byte == '"' ? open_string(scanner, true) : bad(scanner, "'\"' before a name");
    case COLON:
        return byte == ':' ? go(scanner, VALUE) : bad(scanner, "':'");
    case AFTER_VALUE:
        return put_after_value(scanner, byte);
    default:
        return put_value(scanner, byte);
    }
}

static enum gw_json_scan put_string(struct gw_json_scanner *scanner, uint8_t byte)
{
    if (byte == '"')
        return go(scanner, scanner->is_key ? COLON : AFTER_VALUE);
    if (byte == '\\')
        return go(scanner, STRING_ESCAPE);
    if (byte < 0x20)
        return bad(scanner, "a string without control characters");
    struct gw_utf8_lead lead = gw_utf8_lead(byte);
    if (lead.count == 0)
        return GW_JSON_SCAN_MORE;
    if (lead.count == 0xff)
        return bad(scanner, "UTF-8");
    scanner->count = lead.count;
    scanner->utf8_low = lead.low;
    scanner->utf8_high = lead.high;
    return go(scanner, STRING_UTF8);
}

static enum gw_json_scan put_utf8(struct gw_json_scanner *scanner, uint8_t byte)
{
    if (byte < scanner->utf8_low || byte > scanner->utf8_high)
        return bad(scanner, "UTF-8");
    scanner->utf8_low = 0x80;
    scanner->utf8_high = 0xbf;
    return go(scanner, --scanner->count ? STRING_UTF8 : STRING);
}

static enum gw_json_scan put_escape(struct gw_json_scanner *scanner, uint8_t byte)
{
    switch (byte) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return go(scanner, STRING);
    case 'u':
        scanner->count = 4;
        return go(scanner, STRING_HEX);
    default:
        return bad(scanner, "one of \"\\/bfnrtu after '\\'");
    }
}

static enum gw_json_scan put_hex(struct gw_json_scanner *scanner, uint8_t byte)
{
    uint8_t lower = byte | 0x20;
    if (!is_digit(byte) && (lower < 'a' || lower > 'f'))
        return bad(scanner, "four hex digits after '\\u'");
    return go(scanner, --scanner->count ? STRING_HEX : STRING);
}

static enum gw_json_scan put_word(struct gw_json_scanner *scanner, uint8_t byte)
{
    if (byte != (uint8_t)*scanner->word)
        return bad(scanner, "true, false or null");
    scanner->word++;
    return go(scanner, *scanner->word ? WORD : AFTER_VALUE);
}

/* A number ends with the first byte that does not belong to it; that byte is looked at again. */
static enum gw_json_scan end_number(struct gw_json_scanner *scanner, uint8_t byte)
{
    scanner->state = AFTER_VALUE;
    return put_between(scanner, byte);
}

static enum gw_json_scan put_number(struct gw_json_scanner *scanner, uint8_t byte)
{
    uint8_t state = scanner->state;
    bool is_whole = state == ZERO || state == INTEGER;
    if (state == MINUS && byte == '0')
        return go(scanner, ZERO);
    if (is_digit(byte) && state != ZERO) {
        if (state == MINUS)
            return go(scanner, INTEGER);
        if (state == POINT)
            return go(scanner, FRACTION);
        if (state == EXPONENT || state == EXPONENT_SIGN)
            return go(scanner, EXPONENT_DIGITS);
        return GW_JSON_SCAN_MORE;
    }
    if (is_whole && byte == '.')
        return go(scanner, POINT);
    if ((is_whole || state == FRACTION) && (byte | 0x20) == 'e')
        return go(scanner, EXPONENT);
    if (state == EXPONENT && (byte == '+' || byte == '-'))
        return go(scanner, EXPONENT_SIGN);
    if (is_whole || state == FRACTION || state == EXPONENT_DIGITS)
        return end_number(scanner, byte);
    return bad(scanner, "a digit");
}

enum gw_json_scan gw_json_scanner_put(struct gw_json_scanner *scanner, uint8_t byte)
{
    switch (scanner->state) {
    case STRING:
        return put_string(scanner, byte);
    case STRING_ESCAPE:
        return put_escape(scanner, byte);
    case STRING_HEX:
        return put_hex(scanner, byte);
    case STRING_UTF8:
        return put_utf8(scanner, byte);
    case WORD:
        return put_word(scanner, byte);
    case MINUS:
    case ZERO:
    case INTEGER:
    case POINT:
    case FRACTION:
    case EXPONENT:
    case EXPONENT_SIGN:
    case EXPONENT_DIGITS:
        return put_number(scanner, byte);
    default:
        return put_between(scanner, byte);
    }
}
