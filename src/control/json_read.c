/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking values up in a scanned JSON text. Memory: the caller's. The owner's thread. Never
 * blocks.
 */
#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#include <jsmn.h>

#include "godwit/json_read.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

enum gw_status gw_json_read_document(struct gw_json_document *document, const char *text,
                                     size_t bytes, struct gw_fault *fault)
{
    jsmn_parser parser;
    jsmn_init(&parser);
    document->text = text;
    document->count = jsmn_parse(&parser, text, bytes, document->token, GW_JSON_TOKENS_MAX);
    if (document->count > 0)
        return GW_OK;
    bool is_full = document->count == JSMN_ERROR_NOMEM;
    document->count = 0;
    if (is_full)
        return gw_fault_set(fault, GW_LIMIT, "more names and values in one JSON object than %u",
                            (unsigned int)GW_JSON_TOKENS_MAX);
    return gw_fault_set(fault, GW_PROTOCOL, "no JSON object");
}

static bool has_type(const struct gw_json_document *document, int value, jsmntype_t type)
{
    return value >= 0 && value < document->count && document->token[value].type == type;
}

bool gw_json_read_is_object(const struct gw_json_document *document, int value)
{
    return has_type(document, value, JSMN_OBJECT);
}

bool gw_json_read_is_array(const struct gw_json_document *document, int value)
{
    return has_type(document, value, JSMN_ARRAY);
}

bool gw_json_read_is_text(const struct gw_json_document *document, int value)
{
    return has_type(document, value, JSMN_STRING);
}

int gw_json_read_first(const struct gw_json_document *document, int container)
{
    if (!gw_json_read_is_object(document, container) && !gw_json_read_is_array(document, container))
        return -1;
    return document->token[container].size > 0 ? container + 1 : -1;
}

int gw_json_read_next(const struct gw_json_document *document, int item)
{
    int parent = document->token[item].parent;
    for (int i = item + 1; i < document->count; i++) {
        if (document->token[i].parent == parent)
            return i;
    }
    return -1;
}

int gw_json_read_member(const struct gw_json_document *document, int object, const char *key)
{
    if (!gw_json_read_is_object(document, object))
        return -1;
    for (int i = gw_json_read_first(document, object); i >= 0; i = gw_json_read_next(document, i)) {
        if (gw_json_read_is_equal(document, i, key))
            return i + 1;
    }
    return -1;
}

static size_t length(const struct gw_json_document *document, int value)
{
    return (size_t)(document->token[value].end - document->token[value].start);
}

static const char *begin(const struct gw_json_document *document, int value)
{
    return document->text + document->token[value].start;
}

bool gw_json_read_bool(const struct gw_json_document *document, int value, bool *output)
{
    if (!has_type(document, value, JSMN_PRIMITIVE))
        return false;
    char first = *begin(document, value);
    if (first != 't' && first != 'f')
        return false;
    *output = first == 't';
    return true;
}

bool gw_json_read_number(const struct gw_json_document *document, int value, uint64_t *output)
{
    if (!has_type(document, value, JSMN_PRIMITIVE))
        return false;
    const char *text = begin(document, value);
    uint64_t number = 0;
    for (size_t i = 0; i < length(document, value); i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *output = number;
    return true;
}

static uint32_t hex4(const char *text)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        uint32_t digit = c <= '9' ? (uint32_t)(c - '0') : (uint32_t)((c | 0x20) - 'a' + 10);
        value = value << 4 | digit;
    }
    return value;
}

/* The character behind a backslash, and how many bytes the escape takes with its backslash. */
static size_t unescape(const char *text, size_t bytes, uint32_t *character)
{
    static const char letters[] = "bfnrt";
    static const char meanings[] = "\b\f\n\r\t";
    if (text[1] != 'u') {
        const char *letter = strchr(letters, text[1]);
        *character = (uint8_t)(letter ? meanings[letter - letters] : text[1]);
        return 2;
    }
    uint32_t first = hex4(text + 2);
    *character = first;
    if (first < 0xd800 || first > 0xdfff)
        return 6;
    /* Half a surrogate pair is no character. */
    *character = 0xfffd;
    if (first > 0xdbff || bytes < 12 || text[6] != '\\' || text[7] != 'u')
        return 6;
    uint32_t second = hex4(text + 8);
    if (second < 0xdc00 || second > 0xdfff)
        return 6;
    *character = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    return 12;
}

bool gw_json_read_text(const struct gw_json_document *document, int value, char *output,
                       size_t size)
{
    if (!gw_json_read_is_text(document, value))
        return false;
    const char *text = begin(document, value);
    size_t bytes = length(document, value);
    size_t used = 0;
    for (int pass = 0; pass < 2; pass++) {
        /* First measure, so that output is left alone when the text does not fit. */
        used = 0;
        for (size_t i = 0; i < bytes;) {
            char encoded[4] = {text[i]};
            size_t count = 1;
            if (text[i] == '\\') {
                uint32_t character = 0;
                i += unescape(text + i, bytes - i, &character);
                count = gw_utf8_encode(character, encoded);
            } else {
                i++;
            }
            if (encoded[0] == 0 || used + count >= size)
                return false;
            if (pass == 1)
                memcpy(output + used, encoded, count);
            used += count;
        }
    }
    output[used] = 0;
    return true;
}

bool gw_json_read_is_equal(const struct gw_json_document *document, int value, const char *text)
{
    /* Longer than any name godwit compares with; a name written with escapes is equal, too. */
    char name[64];
    return gw_json_read_text(document, value, name, sizeof(name)) && strcmp(name, text) == 0;
}

void gw_json_read_excerpt(const struct gw_json_document *document, int value, char *output,
                          size_t size)
{
    output[0] = 0;
    if (value < 0 || value >= document->count)
        return;
    size_t quotes = gw_json_read_is_text(document, value) ? 1 : 0;
    const char *text = begin(document, value) - quotes;
    size_t bytes = length(document, value) + 2 * quotes;
    size_t used = 0;
    while (used < bytes && used + 4 < size) {
        output[used] = (uint8_t)text[used] < 0x20 ? ' ' : text[used];
        used++;
    }
    (void)snprintf(output + used, size - used, "%s", used < bytes ? "..." : "");
}

bool gw_json_read_raw(const struct gw_json_document *document, int value, char *output, size_t size)
{
    if (value < 0 || value >= document->count)
        return false;
    size_t quotes = gw_json_read_is_text(document, value) ? 1 : 0;
    const char *text = begin(document, value) - quotes;
    size_t bytes = length(document, value) + 2 * quotes;
    size_t used = 0;
    bool is_string = false;
    for (size_t i = 0; i < bytes; i++) {
        bool is_blank = strchr(" \t\r\n", text[i]) != NULL;
        if (is_blank && !is_string)
            continue;
        if (used + 1 >= size)
            return false;
        output[used++] = text[i];
        if (is_string && text[i] == '\\') {
            if (used + 1 >= size)
                return false;
            output[used++] = text[++i];
        } else if (text[i] == '"') {
            is_string = !is_string;
        }
    }
    output[used] = 0;
    return true;
}
