/* SPDX-License-Identifier: Apache-2.0 */
/* Page maps to bytes and back. Pure. */
#include "godwit/page_map.h"

#include "base/bytes.h"

static uint64_t word_count(uint64_t page_count)
{
    return (page_count + 63) / 64;
}

uint32_t gw_page_map_bytes(uint64_t page_count)
{
    return (uint32_t)(8 + 8 * word_count(page_count));
}

void gw_page_map_encode(const uint64_t *bitmap, uint64_t page_count, uint8_t *bytes)
{
    gw_put_64(bytes, page_count);
    for (uint64_t i = 0; i < word_count(page_count); i++) {
        gw_put_64(bytes + 8 + 8 * i, bitmap[i]);
    }
}

enum gw_status gw_page_map_decode(uint64_t *bitmap, uint64_t page_count, const uint8_t *bytes,
                                  uint32_t count, struct gw_fault *fault)
{
    uint64_t pages = count >= 8 ? gw_get_64(bytes) : 0;
    if (count != gw_page_map_bytes(page_count) || pages != page_count) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "a map of %llu pages in %u bytes, wanted %llu pages in %u bytes",
                            (unsigned long long)pages, count, (unsigned long long)page_count,
                            gw_page_map_bytes(page_count));
    }
    for (uint64_t i = 0; i < word_count(page_count); i++) {
        bitmap[i] = gw_get_64(bytes + 8 + 8 * i);
    }
    if (page_count % 64 != 0 && bitmap[page_count / 64] >> (page_count % 64) != 0) {
        return gw_fault_set(fault, GW_PROTOCOL, "a map names pages above the last, %llu",
                            (unsigned long long)page_count - 1);
    }
    return GW_OK;
}
