/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON out of a stream, in two steps, with every limit fixed.
 *
 * 1. The scanner takes bytes as they come, in any pieces, and finds the end of one object. It
 *    accepts exactly RFC 8259 and nothing more: the first byte that cannot belong to a JSON text
 *    is an error, at that byte.
 * 2. The document is the scanned text as jsmn tokens; values are looked up by index, with -1 for
 *    "not there". Index 0 is the whole.
 *
 * Memory: the caller's. Blocks: never. Threads: the owner's.
 */
#ifndef GODWIT_JSON_READ_H
#define GODWIT_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/json.h"
#include "godwit/limits.h"
#include "godwit/status.h"

#ifndef JSMN_STRICT
#define JSMN_STRICT
#endif
#ifndef JSMN_PARENT_LINKS
#define JSMN_PARENT_LINKS
#endif
#ifndef JSMN_HEADER
#define JSMN_HEADER
#endif
#include <jsmn.h>

/* Values and keys in one text: a client that needs more is confused or hostile. 20 bytes each. */
#define GW_JSON_TOKENS_MAX (GW_CONTROL_LINE_MAX / 16 + 32)

enum gw_json_scan {
    GW_JSON_SCAN_MORE = 0, /* the object is not complete yet (or has not begun) */
    GW_JSON_SCAN_DONE,     /* this byte was the last one of the object */
    GW_JSON_SCAN_BAD,      /* this byte cannot stand here: see `wanted` */
};

struct gw_json_scanner {
    const char *wanted; /* after GW_JSON_SCAN_BAD: what could have stood here; a literal */
    const char *word;   /* the rest of true, false or null that is being read */
    uint32_t is_object; /* bit d: the value open at depth d is an object, else an array */
    uint32_t depth;     /* 0: no object has begun */
    uint8_t state;
    uint8_t count;    /* hex digits or UTF-8 bytes still to come */
    uint8_t utf8_low; /* range of the next UTF-8 byte, which depends on the first */
    uint8_t utf8_high;
    bool is_key; /* the string being read names a member */
};

void gw_json_scanner_init(struct gw_json_scanner *scanner);

/* Takes the next byte. Only an object may stand at the top; white space before it is skipped.
 * After DONE or BAD, call init before the next byte. */
enum gw_json_scan gw_json_scanner_put(struct gw_json_scanner *scanner, uint8_t byte);

struct gw_json_document {
    const char *text; /* the caller's; must outlive the document */
    int count;
    jsmntok_t token[GW_JSON_TOKENS_MAX];
};

/* Splits a text that the scanner accepted. GW_LIMIT when it holds more than GW_JSON_TOKENS_MAX
 * values and keys; the document is empty then. */
GW_MUST_USE enum gw_status gw_json_read_document(struct gw_json_document *document,
                                                 const char *text, size_t bytes,
                                                 struct gw_fault *fault);

bool gw_json_read_is_object(const struct gw_json_document *document, int value);
bool gw_json_read_is_array(const struct gw_json_document *document, int value);
bool gw_json_read_is_text(const struct gw_json_document *document, int value);

/* The value of the first member called `key`; -1 when `object` is none or has no such member. */
int gw_json_read_member(const struct gw_json_document *document, int object, const char *key);

/* The first key of an object or element of an array, and the next one after `item`; -1 at the
 * end. The value of a key is at key + 1. */
int gw_json_read_first(const struct gw_json_document *document, int container);
int gw_json_read_next(const struct gw_json_document *document, int item);

/* These return false, and leave the output alone, when the value is not there, is of another
 * kind, or does not fit (a number that is negative, fractional or over 64 bits; a text of more
 * than size - 1 bytes, or with a NUL inside). */
bool gw_json_read_bool(const struct gw_json_document *document, int value, bool *output);
bool gw_json_read_number(const struct gw_json_document *document, int value, uint64_t *output);
bool gw_json_read_text(const struct gw_json_document *document, int value, char *output,
                       size_t size);

/* True when `value` is a string equal to `text`. */
bool gw_json_read_is_equal(const struct gw_json_document *document, int value, const char *text);

/* The value as it was written, for "found ..." in a message: cut with "..." to fit. */
void gw_json_read_excerpt(const struct gw_json_document *document, int value, char *output,
                          size_t size);

/* The whole value as it was written, without blanks outside strings. False when it does not fit
 * in size - 1 bytes. */
bool gw_json_read_raw(const struct gw_json_document *document, int value, char *output,
                      size_t size);

#endif
