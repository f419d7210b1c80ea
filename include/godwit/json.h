/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON writer over the caller's buffer, with every limit fixed.
 *
 * Calls append in order. Commas, quotes and escapes are its work; the text is pure ASCII (other
 * characters become \uXXXX, bytes that are no UTF-8 become \ufffd). When the buffer or the
 * nesting overflows, the writer turns bad, stays bad, and gw_json_end() says GW_LIMIT: a cut
 * JSON text never leaves it.
 *
 * `key` is the member's name inside an object and NULL inside an array or at the top.
 *
 * Memory: the caller's. Blocks: never. Threads: the owner's.
 */
#ifndef GODWIT_JSON_H
#define GODWIT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

enum { GW_JSON_DEPTH_MAX = 32 }; /* objects and arrays inside each other, written or read */

struct gw_json {
    char *text;
    size_t capacity; /* bytes of `text` */
    size_t used;     /* bytes written so far, without a NUL */
    uint32_t depth;
    uint32_t has_item; /* bit d: the value at depth d already holds something */
    bool is_bad;
};

/* Starts an empty text in `text`, which must outlive the writer. capacity >= 1. */
void gw_json_init(struct gw_json *json, char *text, size_t capacity);

void gw_json_open_object(struct gw_json *json, const char *key);
void gw_json_close_object(struct gw_json *json);
void gw_json_open_array(struct gw_json *json, const char *key);
void gw_json_close_array(struct gw_json *json);

void gw_json_put_text(struct gw_json *json, const char *key, const char *value);
void gw_json_put_bool(struct gw_json *json, const char *key, bool value);
void gw_json_put_number(struct gw_json *json, const char *key, uint64_t value);

/* A number with three decimals: 12345 is written as 12.345. */
void gw_json_put_thousandths(struct gw_json *json, const char *key, uint64_t value);

/* `value` is a whole JSON value already (an id to be echoed, a reply to be passed on). */
void gw_json_put_raw(struct gw_json *json, const char *key, const char *value);

/* Ends the text with a NUL. GW_OK, or GW_LIMIT when something did not fit; the text is "" then.
 * A value left open is a bug of the caller. */
GW_MUST_USE enum gw_status gw_json_end(struct gw_json *json);

#endif
