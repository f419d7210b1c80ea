/* SPDX-License-Identifier: Apache-2.0 */
/* Repeated pages, found and made. The contract: godwit/repeat.h. Pure. */
#include "godwit/repeat.h"

#include <string.h>

#include "godwit/limits.h"

static_assert(GW_BATCH_BYTES_MAX / GW_PAGE_BYTES_MIN < UINT16_MAX, "a page's number fits its slot");

void gw_repeat_reset(struct gw_repeat *repeat)
{
    memset(repeat, 0, sizeof(*repeat));
}

__attribute__((no_sanitize("thread"))) static uint64_t word_at(const uint8_t *bytes)
{
    return *(const volatile uint64_t *)(const void *)bytes;
}

__attribute__((no_sanitize("thread"))) bool gw_repeat_is_fill(const uint8_t *page, size_t bytes,
                                                              uint64_t *value)
{
    uint64_t first = word_at(page);
    for (size_t at = 0; at < bytes; at += 64) {
        uint64_t differs = 0;
        for (size_t i = at == 0 ? 8 : 0; i < 64; i += 8) {
            differs |= word_at(page + at + i) ^ first;
        }
        if (differs) {
            return false;
        }
    }
    *value = first;
    return true;
}

/* Words that lie far apart, so that pages which only begin or end alike are told apart. */
static uint32_t slot_of(const uint8_t *page, size_t page_bytes)
{
    static const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t sum = 0;
    for (size_t at = 0; at < page_bytes; at += page_bytes / 4) {
        uint64_t word;
        memcpy(&word, page + at + page_bytes / 8, sizeof(word));
        sum = (sum ^ word) * odd;
        sum ^= sum >> 32;
    }
    return (uint32_t)(sum >> 8) % GW_REPEAT_SLOTS;
}

bool gw_repeat_find(struct gw_repeat *repeat, const uint8_t *const *pages, size_t page_bytes,
                    uint32_t index, uint32_t *equal)
{
    const uint8_t *page = pages[index];
    uint16_t *slot = &repeat->page[slot_of(page, page_bytes)];
    if (*slot != 0 && memcmp(pages[*slot - 1u], page, page_bytes) == 0) {
        *equal = *slot - 1u;
        return true;
    }
    *slot = (uint16_t)(index + 1);
    return false;
}

void gw_repeat_fill(uint8_t *page, size_t bytes, uint64_t value)
{
    for (size_t at = 0; at < bytes; at += sizeof(value)) {
        memcpy(page + at, &value, sizeof(value));
    }
}
