/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer. Memory: the caller's. The owner's thread. Never blocks. */
#include "godwit/json.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

void gw_json_init(struct gw_json *json, char *text, size_t capacity)
{
    *json = (struct gw_json){.text = text, .capacity = capacity};
    text[0] = 0;
}

/* Appends and leaves room for the NUL. */
static void append(struct gw_json *json, const char *text, size_t bytes)
{
    if (json->is_bad || bytes >= json->capacity - json->used) {
        json->is_bad = true;
        return;
    }
    memcpy(json->text + json->used, text, bytes);
    json->used += bytes;
}

static void append_literal(struct gw_json *json, const char *text)
{
    append(json, text, strlen(text));
}

static void append_unit(struct gw_json *json, uint32_t unit)
{
    char text[8];
    int bytes = snprintf(text, sizeof(text), "\\u%04x", (unsigned int)(unit & 0xffff));
    append(json, text, (size_t)bytes);
}

/* Characters above the basic plane are a surrogate pair (RFC 8259, section 7). */
static void append_escaped(struct gw_json *json, uint32_t character)
{
    if (character >= 0x10000) {
        append_unit(json, 0xd800 + ((character - 0x10000) >> 10));
        append_unit(json, 0xdc00 + ((character - 0x10000) & 0x3ff));
    } else {
        append_unit(json, character);
    }
}

static void append_string(struct gw_json *json, const char *text)
{
    append_literal(json, "\"");
    while (*text && !json->is_bad) {
        uint32_t character = 0;
        size_t bytes = gw_utf8_decode(text, &character);
        if (character == '\n') {
            append_literal(json, "\\n");
        } else if (character == '"' || character == '\\') {
            append_literal(json, "\\");
            append(json, text, 1);
        } else if (character < 0x20 || character >= 0x7f) {
            append_escaped(json, character);
        } else {
            append(json, text, 1);
        }
        text += bytes;
    }
    append_literal(json, "\"");
}

/* What stands before a value: the comma after the one before it, and its key. */
static void begin(struct gw_json *json, const char *key)
{
    uint32_t bit = UINT32_C(1) << (json->depth % GW_JSON_DEPTH_MAX);
    if (json->has_item & bit)
        append_literal(json, ", ");
    json->has_item |= bit;
    if (key) {
        append_string(json, key);
        append_literal(json, ": ");
    }
}

static void open_value(struct gw_json *json, const char *key, const char *bracket)
{
    begin(json, key);
    append_literal(json, bracket);
    if (json->depth + 1 >= GW_JSON_DEPTH_MAX) {
        json->is_bad = true;
        return;
    }
    json->depth++;
    json->has_item &= ~(UINT32_C(1) << json->depth);
}

static void close_value(struct gw_json *json, const char *bracket)
{
    if (!json->is_bad) {
        GW_ASSERT(json->depth > 0);
        json->depth--;
    }
    append_literal(json, bracket);
}

void gw_json_open_object(struct gw_json *json, const char *key)
{
    open_value(json, key, "{");
}

void gw_json_close_object(struct gw_json *json)
{
    close_value(json, "}");
}

void gw_json_open_array(struct gw_json *json, const char *key)
{
    open_value(json, key, "[");
}

void gw_json_close_array(struct gw_json *json)
{
    close_value(json, "]");
}

void gw_json_put_text(struct gw_json *json, const char *key, const char *value)
{
    begin(json, key);
    append_string(json, value);
}

void gw_json_put_bool(struct gw_json *json, const char *key, bool value)
{
    begin(json, key);
    append_literal(json, value ? "true" : "false");
}

void gw_json_put_number(struct gw_json *json, const char *key, uint64_t value)
{
    char text[24];
    begin(json, key);
    int bytes = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    append(json, text, (size_t)bytes);
}

void gw_json_put_thousandths(struct gw_json *json, const char *key, uint64_t value)
{
    char text[32];
    begin(json, key);
    int bytes = snprintf(text, sizeof(text), "%llu.%03u", (unsigned long long)(value / 1000),
                         (unsigned int)(value % 1000));
    append(json, text, (size_t)bytes);
}

void gw_json_put_raw(struct gw_json *json, const char *key, const char *value)
{
    begin(json, key);
    append_literal(json, value);
}

enum gw_status gw_json_end(struct gw_json *json)
{
    if (json->is_bad) {
        json->used = 0;
        json->text[0] = 0;
        return GW_LIMIT;
    }
    GW_ASSERT(json->depth == 0);
    json->text[json->used] = 0;
    return GW_OK;
}
