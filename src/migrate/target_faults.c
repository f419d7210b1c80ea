/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on missing pages of a guest that runs here: which are asked for, which need not be. Pure;
 * under the embedder's lock.
 */
#include "base/bitmap.h"
#include "migrate/target_private.h"

/* Pages wanted by a guest that never ran are nobody's wish any more (DISARM, or a new session). */
static bool can_demand(const struct gw_target *target)
{
    return target->is_armed && target->is_urgent_open && target->is_urgent_ready;
}

void gw_target_urgent_ready(struct gw_target *target)
{
    target->is_urgent_ready = true;
}

uint64_t gw_target_unit_of(const struct gw_target *target, uint64_t page)
{
    return page - page % target->config.unit_pages;
}

enum gw_fault_answer gw_target_page_fault(struct gw_target *target, uint64_t page, uint32_t who,
                                          uint64_t now_ns)
{
    page = gw_target_unit_of(target, page);
    gw_blocktime_wait(&target->blocktime, who, page, now_ns);
    if (gw_bit_test(target->received, page)) {
        return GW_FAULT_ZERO;
    }
    gw_bit_mark(target->wanted, page);
    if (!can_demand(target) || gw_bit_test(target->demanded, page)) {
        return GW_FAULT_WAIT;
    }
    gw_bit_mark(target->demanded, page);
    target->demands++;
    return GW_FAULT_DEMAND;
}

enum gw_status gw_target_next_demand(struct gw_target *target, uint64_t *page)
{
    uint64_t end = target->config.page_count;
    for (; can_demand(target) && *page < end; ++*page) {
        *page = gw_bits_next(target->wanted, *page, end, true);
        if (*page < end && !gw_bit_test(target->demanded, *page)) {
            gw_bit_mark(target->demanded, *page);
            target->demands++;
            return GW_OK;
        }
    }
    return GW_AGAIN;
}

bool gw_target_is_answer(const struct gw_target *target, const struct gw_batch_placed *placed)
{
    const struct gw_record *last = &placed->table->record[placed->table->record_count - 1];
    return (last->page + last->count) % target->config.unit_pages == 0;
}

void gw_target_zero_placed(struct gw_target *target, uint64_t page, uint64_t now_ns)
{
    gw_blocktime_resolve(&target->blocktime, gw_target_unit_of(target, page), now_ns);
}

const uint64_t *gw_target_received(const struct gw_target *target)
{
    return target->received;
}
