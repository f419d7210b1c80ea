/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bitmaps of pages as trackers merge them: one bit per page, page n at bit n % 64 of word n / 64.
 * Pure; the caller's memory.
 */
#ifndef GW_DIRTY_BITMAP_H
#define GW_DIRTY_BITMAP_H

#include <stdint.h>

/* ORs `count` bits of `from`, starting at its bit 0, into `bitmap` from `page` on; returns how
 * many were clear there. Bits of `from` behind `count` are ignored. */
uint64_t gw_bitmap_merge(uint64_t *bitmap, uint64_t page, const uint64_t *from, uint64_t count);

#endif
