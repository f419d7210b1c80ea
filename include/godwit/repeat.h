/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repeated pages: one value over and over, or equal to a page that is sent already in the same
 * batch. Looking must cost next to nothing where there are none: the first words of a page tell
 * that it is no fill; one line of words, of what was just copied or looked at, whether it may be a
 * copy.
 *
 * Pure; the caller's memory.
 */
#ifndef GODWIT_REPEAT_H
#define GODWIT_REPEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GW_REPEAT_SLOTS = 256 };

/* Which raw pages of the batch to compare with, by what a few words of them say. */
struct gw_repeat {
    uint16_t page[GW_REPEAT_SLOTS]; /* its number in the batch, plus 1; 0: none */
};

void gw_repeat_reset(struct gw_repeat *repeat);

/* True when all `bytes` (a multiple of 64) are *value over and over. The guest may be writing to
 * them: what counts is that each word was read once. */
bool gw_repeat_is_fill(const uint8_t *page, size_t bytes, uint64_t *value);

/* Looks for pages[index], the last one of these (all of page_bytes, and nobody writes to them),
 * among those before it. True: it equals number *equal. False: it will be found itself. */
bool gw_repeat_find(struct gw_repeat *repeat, const uint8_t *const *pages, size_t page_bytes,
                    uint32_t index, uint32_t *equal);

/* Writes the value over and over; bytes is a multiple of 64. */
void gw_repeat_fill(uint8_t *page, size_t bytes, uint64_t value);

#endif
