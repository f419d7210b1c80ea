/* SPDX-License-Identifier: Apache-2.0 */
/* What may be placed now, and how: for the threads that read the bulk and the urgent channel. Pure;
 * under the embedder's lock. */
#include "base/bitmap.h"
#include "godwit/pages.h"
#include "migrate/target_private.h"
#include "migrate/units.h"

/* The guest may run here, if only since a moment of which the engine has not heard yet. */
static bool is_taken(const struct gw_target *target)
{
    return target->state == GW_TARGET_STARTING || target->state == GW_TARGET_PULLING ||
           target->state == GW_TARGET_RUNNING;
}

enum gw_status gw_target_may_place(struct gw_target *target, uint32_t channel, uint64_t sequence,
                                   enum gw_placing *placing, struct gw_fault *fault)
{
    bool is_urgent = channel == GW_TARGET_URGENT;
    struct gw_target_channel *bulk = &target->channel[is_urgent ? 0 : channel];
    bool is_running = target->state == GW_TARGET_PULLING ||
                      (target->state == GW_TARGET_RUNNING && target->is_partial);
    bool is_before = target->state == GW_TARGET_ACTIVE ||
                     (target->state == GW_TARGET_GATHERING && sequence <= bulk->sequence_last);
    /* Behind MISSING, on whatever channel, an older version would take its page for received. */
    bool is_coming = is_before && !target->is_map_told;
    uint64_t next = (is_urgent ? target->urgent_sequence : bulk->sequence) + 1;
    *placing = target->state == GW_TARGET_RUNNING ? GW_PLACE_NOT
               : target->is_armed                 ? GW_PLACE_STAGED
                                                  : GW_PLACE_DIRECT;
    bool is_wanted =
        is_urgent ? target->is_urgent_open && is_taken(target) : is_running || is_coming;
    if (!bulk->is_open || !is_wanted) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the source sent batch %llu in state %s, where none is expected",
                            (unsigned long long)sequence, gw_target_state_name(target->state));
    }
    if (!is_urgent && bulk->suspect_count == GW_WINDOW_BATCHES) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "the last %u batches all arrived damaged, and the source goes on "
                            "without hearing so",
                            bulk->suspect_count);
    }
    if (sequence != next) {
        return gw_fault_set(fault, GW_PROTOCOL, "the source sent batch %llu, wanted %llu",
                            (unsigned long long)sequence, (unsigned long long)next);
    }
    if (!is_urgent) {
        bulk->sequence_asked = sequence;
    }
    return GW_OK;
}

static enum gw_status refuse_pages(const struct gw_batch_table *pages, const char *wanted,
                                   struct gw_fault *fault)
{
    return gw_fault_set(fault, GW_PROTOCOL, "the source sent %u pages from page %llu%s",
                        pages->record[0].count, (unsigned long long)pages->record[0].page, wanted);
}

/* On the urgent channel one page that was asked for, or pages of one such unit; how they follow
 * each other is the assembly's business. */
static bool is_asked_for(const struct gw_target *target, const struct gw_batch_table *pages)
{
    const struct gw_record *last = &pages->record[pages->record_count - 1];
    uint64_t unit = target->config.unit_pages;
    uint64_t first = gw_target_unit_of(target, pages->record[0].page);
    bool is_one = pages->record_count == 1 && pages->record[0].count == 1;
    bool is_within = last->page >= first && last->page + last->count <= first + unit;
    return (unit == 1 ? is_one : is_within) && gw_bit_test(target->demanded, first);
}

/* In that bulk channel's share of RAM: versions of a page must not overtake each other. */
static enum gw_status check_share(const struct gw_target *target, uint32_t channel,
                                  const struct gw_record *record, struct gw_fault *fault)
{
    uint32_t page_bytes = target->config.page_bytes;
    uint32_t first = gw_pages_channel_of(record->page, page_bytes, target->channel_count);
    uint64_t stretch_pages = GW_STRETCH_BYTES / page_bytes;
    uint64_t end = record->page + record->count;
    bool is_within =
        target->channel_count == 1 || (end - 1) / stretch_pages == record->page / stretch_pages;
    if (first != channel || !is_within) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the source sent %u pages from page %llu on bulk channel %u of %u, "
                            "wanted no more than a stretch, on channel %u",
                            record->count, (unsigned long long)record->page, channel,
                            target->channel_count, first);
    }
    return GW_OK;
}

enum gw_status gw_target_check_pages(const struct gw_target *target, uint32_t channel,
                                     const struct gw_batch_table *pages, struct gw_fault *fault)
{
    const struct gw_record *record = &pages->record[0];
    bool is_urgent = channel == GW_TARGET_URGENT;
    for (uint32_t i = 0; i < pages->record_count && !is_urgent; i++) {
        enum gw_status status = check_share(target, channel, &pages->record[i], fault);
        if (status != GW_OK) {
            return status;
        }
    }
    if (is_urgent && !is_asked_for(target, pages)) {
        return refuse_pages(
            pages, " on the urgent channel, where pages that were asked for are wanted", fault);
    }
    for (uint32_t i = 0; i < pages->record_count; i++) {
        if (pages->record[i].kind != GW_RECORD_GONE) {
            continue;
        }
        bool is_whole = is_urgent && pages->record_count == 1 &&
                        record->page % target->config.unit_pages == 0 &&
                        record->count == target->config.unit_pages;
        if (!is_whole || !gw_bit_test(target->received, record->page)) {
            return refuse_pages(pages, " as gone, and they are not all here", fault);
        }
    }
    return GW_OK;
}

enum gw_status gw_target_check_missing(const struct gw_target *target, const uint64_t *missing,
                                       struct gw_fault *fault)
{
    uint64_t end = target->config.page_count;
    uint64_t part = gw_units_find_part(missing, end, target->config.unit_pages);
    return part == end ? GW_OK
                       : gw_fault_set(fault, GW_PROTOCOL,
                                      "MISSING has page %llu and not all of its unit of %u",
                                      (unsigned long long)part, target->config.unit_pages);
}
