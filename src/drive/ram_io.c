/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM as the channel threads use it. The contract: ram_io.h. */
#include "drive/ram_io.h"

#include "godwit/digest.h"

static enum gw_status rearm(const struct gw_ram *ram, struct gw_tracker *tracker, uint64_t page,
                            uint64_t end, struct gw_fault *fault)
{
    while (page < end) {
        uint64_t count = gw_ram_contiguous(ram, page);
        count = count < end - page ? count : end - page;
        enum gw_status status = tracker->operations->rearm(tracker, page, count, fault);
        if (status != GW_OK) {
            return status;
        }
        page += count;
    }
    return GW_OK;
}

/* The whole run is re-armed before its first page is looked at, holes too: a page that is filled
 * after it was taken for a hole is then dirty, as one that is written after it was read. */
enum gw_status gw_ram_io_read(const struct gw_ram *ram, struct gw_tracker *tracker,
                              const struct gw_run *run, struct gw_batch_builder *builder,
                              struct gw_fault *fault)
{
    uint64_t page = run->page;
    uint64_t end = run->page + run->count;
    enum gw_status status = rearm(ram, tracker, page, end, fault);
    while (status == GW_OK && page < end) {
        uint64_t count = 0;
        uint64_t data = gw_ram_next_data(ram, page, end, &count);
        if (data > page) {
            gw_batch_add_zero(builder, page, (uint32_t)(data - page));
        }
        for (page = data; page < data + count; page++) {
            gw_batch_add_page(builder, page, gw_ram_page(ram, page));
        }
    }
    return status;
}

uint64_t gw_ram_io_digest(const struct gw_ram *ram, uint64_t page, uint64_t count)
{
    uint64_t zero = gw_digest_zero_page(ram->page_bytes);
    uint64_t digest = GW_DIGEST_SEED;
    uint64_t end = page + count;
    while (page < end) {
        uint64_t run = 0;
        uint64_t data = gw_ram_next_data(ram, page, end, &run);
        for (; page < data; page++) {
            digest = gw_digest_fold(digest, zero);
        }
        for (; page < data + run; page++) {
            digest =
                gw_digest_fold(digest, gw_digest_page(gw_ram_page(ram, page), ram->page_bytes));
        }
    }
    return digest;
}

enum gw_status gw_ram_io_clear(const struct gw_ram *ram, uint64_t page, uint64_t count,
                               struct gw_fault *fault)
{
    uint64_t end = page + count;
    while (page < end) {
        uint64_t run = 0;
        page = gw_ram_next_data(ram, page, end, &run);
        if (run > 0) {
            enum gw_status status = gw_ram_discard(ram, page, run, fault);
            if (status != GW_OK) {
                return status;
            }
            page += run;
        }
    }
    return GW_OK;
}
