/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 both ways (Unicode 15, table 3-7). Pure; any thread. */
#ifndef GW_CONTROL_UTF8_H
#define GW_CONTROL_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* What may follow a first byte. */
struct gw_utf8_lead {
    uint8_t count; /* bytes that follow: 0..3 */
    uint8_t low;   /* range of the first of them; all later ones are 0x80..0xbf */
    uint8_t high;
};

/* Returns count 0xff for a byte that cannot come first. */
struct gw_utf8_lead gw_utf8_lead(uint8_t byte);

/* The first character of a NUL-terminated text and how many bytes it takes (>= 1). Bytes that are
 * no UTF-8 give U+FFFD, one byte at a time. */
size_t gw_utf8_decode(const char *text, uint32_t *character);

/* Writes a character (at most 0x10ffff) as 1..4 bytes; returns how many. */
size_t gw_utf8_encode(uint32_t character, char output[4]);

#endif
