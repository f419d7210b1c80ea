/* SPDX-License-Identifier: Apache-2.0 */
/* What the target's bulk and urgent channels bring: batches, digests, the map of what lacks. */
#include <string.h>

#include "base/bitmap.h"
#include "godwit/crc32c.h"
#include "godwit/digest.h"
#include "sim.h"

static void place_page(struct world *world, uint64_t page, const uint8_t *raw)
{
    struct guest *guest = &world->guest[TARGET];
    uint64_t page_bytes = world->plan.options.page_bytes;
    uint64_t bit = UINT64_C(1) << page;
    if (raw) {
        memcpy(guest_page(world, TARGET, page), raw, page_bytes);
    } else {
        memset(guest_page(world, TARGET, page), 0, page_bytes);
    }
    guest->touched = raw ? guest->touched | bit : guest->touched & ~bit;
    guest->absent &= ~bit;
}

static void place(struct world *world, const struct gw_batch_table *table, const uint8_t *raw,
                  enum gw_placing placing)
{
    const struct guest *guest = &world->guest[TARGET];
    uint32_t faulting = 0;
    for (uint32_t i = 0; i < table->record_count; i++) {
        bool is_raw = table->record[i].kind != GW_RECORD_ZERO;
        for (uint32_t j = 0; j < table->record[i].count; j++) {
            uint64_t page = table->record[i].page + j;
            if (table->record[i].kind == GW_RECORD_GONE) {
                continue;
            }
            faulting += placing == GW_PLACE_DIRECT && (guest->absent >> page & 1);
            if (placing == GW_PLACE_DIRECT || guest->absent >> page & 1) {
                place_page(world, page, is_raw ? raw : NULL);
            }
            raw += is_raw ? world->plan.options.page_bytes : 0;
        }
    }
    if (guest->is_alive && placing == GW_PLACE_DIRECT) {
        world_fail(world, "a page was placed under a guest that runs");
    }
    if (faulting != 0) {
        world_fail(world, "a page was written where every touch is a fault that nobody resolves");
    }
}

/* Larger units: put aside until one is whole, then placed if none is there. */
static enum gw_status place_part(struct world *world, uint32_t channel,
                                 const struct gw_batch_table *table, const uint8_t *raw,
                                 struct gw_run *whole, struct gw_fault *fault)
{
    static uint8_t aside[SIM_BULK + 1][SIM_RAM_BYTES];
    bool is_urgent = channel == SIM_BULK;
    struct guest *guest = &world->guest[TARGET];
    struct gw_assembly *assembly = &world->assembly[channel];
    uint32_t unit = (uint32_t)world->plan.options.unit;
    uint64_t page_bytes = world->plan.options.page_bytes;
    if (gw_assembly_check(assembly, table, unit, is_urgent, fault) != GW_OK) {
        return GW_PROTOCOL;
    }
    if (table->record[0].kind == GW_RECORD_GONE) {
        return GW_OK;
    }
    gw_assembly_begin(assembly, table, unit);
    for (uint32_t i = 0; i < table->record_count; i++) {
        bool is_raw = table->record[i].kind != GW_RECORD_ZERO;
        uint64_t bytes = table->record[i].count * page_bytes;
        uint8_t *slot = aside[channel] + (table->record[i].page - assembly->unit.page) * page_bytes;
        if (is_raw) {
            memcpy(slot, raw, bytes);
            raw += bytes;
        } else {
            memset(slot, 0, bytes);
        }
        gw_assembly_add(assembly, table->record[i].count, is_raw);
    }
    if (!gw_assembly_is_whole(assembly)) {
        return GW_OK;
    }
    *whole = assembly->unit;
    if (gw_bit_test(&guest->absent, whole->page)) {
        memcpy(guest_page(world, TARGET, whole->page), aside[channel], unit * page_bytes);
        (void)gw_bits_put(&guest->touched, whole->page, unit, true);
        (void)gw_bits_put(&guest->absent, whole->page, unit, false);
    }
    *assembly = (struct gw_assembly){0};
    return GW_OK;
}

/* What travelled, as the pages of all records but zero ones, one behind the other; NULL when the
 * packed body lies. A damaged one stays as it is: nobody may see it. */
static const uint8_t *unroll(const struct world *world, const struct gw_batch_table *table,
                             const struct gw_frame_header *header, const uint8_t *body,
                             uint32_t body_bytes, bool is_whole, struct gw_fault *fault)
{
    static uint8_t raw[GW_BATCH_BYTES_MAX];
    static uint8_t all[GW_BATCH_BYTES_MAX];
    uint64_t page_bytes = world->plan.options.page_bytes;
    uint32_t raw_bytes = table->raw_pages * (uint32_t)page_bytes;
    uint8_t *to = all;
    const uint8_t *next = raw;
    memcpy(raw, body, body_bytes);
    if (is_whole && (header->flags & GW_FRAME_PACKED) &&
        gw_unpack(body, body_bytes, raw, raw_bytes, fault) != GW_OK) {
        return NULL;
    }
    for (uint32_t i = 0; i < table->record_count; i++) {
        const struct gw_record *record = &table->record[i];
        for (uint32_t j = 0;
             j < record->count && record->kind != GW_RECORD_ZERO && record->kind != GW_RECORD_GONE;
             j++, to += page_bytes) {
            if (record->kind == GW_RECORD_FILL) {
                gw_repeat_fill(to, page_bytes, record->value);
            } else if (record->kind == GW_RECORD_COPY) {
                memcpy(to, raw + record->value * page_bytes, page_bytes);
            } else {
                memcpy(to, next, page_bytes);
                next += page_bytes;
            }
        }
    }
    return all;
}

void target_receive_batch(struct world *world, const struct connection *connection,
                          const struct gw_frame_header *header, const uint8_t *payload)
{
    bool is_urgent = connection->role == GW_ROLE_URGENT;
    uint32_t channel = is_urgent ? GW_TARGET_URGENT : connection->channel;
    enum gw_placing placing;
    static struct gw_batch_table table;
    struct gw_fault fault = {0};
    struct gw_run whole = {.count = 0};
    uint32_t table_bytes = 0;
    bool is_whole = gw_crc32c(0, payload, header->payload_bytes) == header->payload_crc;
    bool is_stopped = header->flags & GW_FRAME_STOPPED;
    if (gw_batch_table_bytes(payload, header->payload_bytes, &table_bytes, &fault) != GW_OK ||
        gw_batch_decode_table(&table, payload, table_bytes, header->payload_bytes,
                              (header->flags & GW_FRAME_PACKED) != 0,
                              (uint32_t)world->plan.options.page_bytes, world->plan.options.pages,
                              &fault) != GW_OK ||
        gw_target_may_place(&world->target, channel, header->sequence, &placing, &fault) != GW_OK ||
        gw_target_check_pages(&world->target, channel, &table, &fault) != GW_OK) {
        target_lost(world, fault.status, fault.text);
        return;
    }
    if (!is_whole && placing != GW_PLACE_DIRECT) {
        target_lost(world, GW_CORRUPT, "a batch arrived damaged");
        return;
    }
    const uint8_t *pages = unroll(world, &table, header, payload + table_bytes,
                                  header->payload_bytes - table_bytes, is_whole, &fault);
    if (pages == NULL) {
        target_lost(world, fault.status, fault.text);
        return;
    }
    if (placing == GW_PLACE_STAGED && world->plan.options.unit > 1) {
        if (place_part(world, is_urgent ? SIM_BULK : channel, &table, pages, &whole, &fault) !=
            GW_OK) {
            target_lost(world, fault.status, fault.text);
            return;
        }
    } else if (placing != GW_PLACE_NOT) {
        place(world, &table, pages, placing);
    }
    if (!is_whole && is_stopped) {
        target_lost(world, GW_CORRUPT, "a batch of a stopped guest arrived damaged");
        return;
    }
    (void)target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_BATCH,
                                                       .placed = {.is_urgent = is_urgent,
                                                                  .channel = channel,
                                                                  .sequence = header->sequence,
                                                                  .is_suspect = !is_whole,
                                                                  .table = &table,
                                                                  .whole = whole}});
}

void target_receive_verify(struct world *world, uint32_t channel,
                           const struct gw_frame_header *header, const uint8_t *payload)
{
    struct gw_fault fault = {0};
    struct gw_verified verified = {
        .channel = channel, .sequence = header->sequence, .digest_ours = GW_DIGEST_SEED};
    enum gw_placing placing;
    if (gw_verify_decode(&verified.theirs, payload, header->payload_bytes,
                         world->plan.options.pages, &fault) != GW_OK ||
        gw_target_may_place(&world->target, channel, header->sequence, &placing, &fault) != GW_OK) {
        target_lost(world, fault.status, fault.text);
        return;
    }
    for (uint32_t i = 0; i < verified.theirs.count; i++) {
        const uint8_t *page = guest_page(world, TARGET, verified.theirs.page + i);
        uint64_t digest = gw_digest_page(page, world->plan.options.page_bytes);
        verified.digest_ours = gw_digest_fold(verified.digest_ours, digest);
    }
    (void)target_tell(
        world, &(struct gw_target_event){.type = GW_TARGET_EV_VERIFIED, .verified = verified});
}

void target_receive_map(struct world *world, const struct gw_frame_header *header,
                        const uint8_t *payload)
{
    static uint64_t bitmap[GW_BITMAP_WORDS];
    struct gw_fault fault = {0};
    enum gw_placing placing;
    if (gw_page_map_decode(bitmap, world->plan.options.pages, payload, header->payload_bytes,
                           &fault) != GW_OK ||
        gw_target_may_place(&world->target, 0, header->sequence, &placing, &fault) != GW_OK ||
        gw_target_check_missing(&world->target, bitmap, &fault) != GW_OK) {
        target_lost(world, fault.status, fault.text);
        return;
    }
    (void)target_tell(
        world, &(struct gw_target_event){.type = GW_TARGET_EV_MAP,
                                         .map = {.sequence = header->sequence, .missing = bitmap}});
}
