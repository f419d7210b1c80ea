/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page maps: a bit for each page of guest RAM, as MISSING and RECEIVED carry it on a bulk channel
 * (docs/WIRE.md). In memory bit n % 64 of word n / 64 is page n.
 *
 * Pure; the caller's memory.
 */
#ifndef GODWIT_PAGE_MAP_H
#define GODWIT_PAGE_MAP_H

#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/status.h"

enum { GW_PAGE_MAP_BYTES_MAX = 8 + 8 * (int)GW_BITMAP_WORDS };

static_assert((uint64_t)GW_PAGE_MAP_BYTES_MAX <= GW_BATCH_BYTES_MAX,
              "a map is sent from, and read into, the memory of a batch");

/* How long the payload is. */
uint32_t gw_page_map_bytes(uint64_t page_count);

/* Writes gw_page_map_bytes(page_count) bytes. */
void gw_page_map_encode(const uint64_t *bitmap, uint64_t page_count, uint8_t *bytes);

/* Reads `count` bytes whose CRC was checked, of a guest of `page_count` pages. GW_PROTOCOL when
 * it is a map of anything else. */
GW_MUST_USE enum gw_status gw_page_map_decode(uint64_t *bitmap, uint64_t page_count,
                                              const uint8_t *bytes, uint32_t count,
                                              struct gw_fault *fault);

#endif
