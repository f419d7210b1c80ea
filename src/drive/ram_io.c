/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM as the channel threads use it. The contract: godwit/ram_io.h. */
#include "godwit/ram_io.h"

#include "godwit/digest.h"

/* gw_ram_next_data, remembering the last run of touched pages: the kernel walks such a run page by
 * page to find its end, which for each page of a large guest that was touched all over would be
 * the whole guest. What was touched stays so while a source runs; a hole is looked up anew, unless
 * nobody can have filled it (is_still). */
static uint64_t next_data(const struct gw_ram *ram, struct gw_ram_data *data, bool is_still,
                          uint64_t page, uint64_t end, uint64_t *count)
{
    if (page < (is_still ? data->from : data->first) || page >= data->end) {
        uint64_t run = 0;
        data->first = gw_ram_next_data(ram, page, ram->page_count, &run);
        data->end = data->first + run;
        data->from = is_still ? page : data->first;
    }
    uint64_t first = data->first > page ? data->first : page;
    if (first >= end) {
        *count = 0;
        return end;
    }
    *count = (data->end < end ? data->end : end) - first;
    return first;
}

/* The whole run is armed before its first page is looked at, holes too: a page that is filled after
 * it was taken for a hole is then dirty, as one that is written after it was read. */
void gw_ram_io_read(const struct gw_ram *ram, struct gw_ram_data *data, const struct gw_run *run,
                    struct gw_batch_builder *builder)
{
    uint64_t page = run->page;
    uint64_t end = run->page + run->count;
    while (page < end) {
        uint64_t count = 0;
        uint64_t first = next_data(ram, data, false, page, end, &count);
        if (first > page) {
            gw_batch_add_zero(builder, page, (uint32_t)(first - page));
        }
        for (page = first; page < first + count; page++) {
            gw_batch_add_page(builder, page, gw_ram_page(ram, page));
        }
    }
}

uint64_t gw_ram_io_digest(const struct gw_ram *ram, struct gw_ram_data *data, uint64_t page,
                          uint64_t count)
{
    uint64_t zero = gw_digest_zero_page(ram->page_bytes);
    uint64_t digest = GW_DIGEST_SEED;
    uint64_t end = page + count;
    while (page < end) {
        uint64_t run = 0;
        uint64_t first = next_data(ram, data, true, page, end, &run);
        for (; page < first; page++) {
            digest = gw_digest_fold(digest, zero);
        }
        for (; page < first + run; page++) {
            digest =
                gw_digest_fold(digest, gw_digest_page(gw_ram_page(ram, page), ram->page_bytes));
        }
    }
    return digest;
}
