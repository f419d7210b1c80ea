/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Units: how sizes, rates, times and numbers are written by people.
 *
 *   size   256M, 2G, 4096        bytes; K M G T are powers of 1024, upper or lower case
 *   rate   100M, 100Mbit, 1Gbit  bytes a second, or bits a second; k M G are powers of 1000, as
 *                                network rates are written everywhere
 *   time   300ms, 2s, 500us, 1m  ns us ms s m; a unit is required, except for 0
 *   number 0 to 18446744073709551615, decimal
 *
 * Sizes, rates and times may have a decimal fraction ("1.5G", "0.5s"); what is smaller than one
 * byte or one nanosecond is dropped. At most six decimals; no sign, no blanks, no exponent, no
 * hexadecimal.
 *
 * Memory: the caller's. Blocks: never. Errors: GW_ARGUMENT and a fault that names `what` (an
 * option or a parameter, "--memory"), the text found and the form wanted; *value is then left as
 * it was. Text longer than GW_UNITS_TEXT_BYTES - 1 is refused.
 */
#ifndef GODWIT_UNITS_H
#define GODWIT_UNITS_H

#include <stdint.h>

#include "godwit/status.h"

enum { GW_UNITS_TEXT_BYTES = 32 }; /* the longest text read or written, with its NUL */

GW_MUST_USE enum gw_status gw_units_decode_size(const char *text, const char *what, uint64_t *bytes,
                                                struct gw_fault *fault);

GW_MUST_USE enum gw_status gw_units_decode_rate(const char *text, const char *what,
                                                uint64_t *bytes_per_s, struct gw_fault *fault);

GW_MUST_USE enum gw_status gw_units_decode_time(const char *text, const char *what, uint64_t *ns,
                                                struct gw_fault *fault);

/* A decimal number in [least, most]. */
GW_MUST_USE enum gw_status gw_units_decode_number(const char *text, const char *what,
                                                  uint64_t least, uint64_t most, uint64_t *number,
                                                  struct gw_fault *fault);

/* For people: the largest unit that fits, with a decimal (times: two) where there is one, rounded
 * down: "256M", "1.5G", "12.5M/s", "300ms", "2.05s". Returns `text`. */
char *gw_units_encode_size(char text[GW_UNITS_TEXT_BYTES], uint64_t bytes);
char *gw_units_encode_rate(char text[GW_UNITS_TEXT_BYTES], uint64_t bytes_per_s);
char *gw_units_encode_time(char text[GW_UNITS_TEXT_BYTES], uint64_t ns);

#endif
