/* SPDX-License-Identifier: Apache-2.0 */
/* What the source's bulk and urgent channels carry, and what is given back meanwhile. */
#include <string.h>

#include "base/bitmap.h"
#include "godwit/crc32c.h"
#include "godwit/digest.h"
#include "sim.h"

static uint8_t payload_buffer[SIM_FRAME_BYTES];
static uint8_t page_buffer[GW_BATCH_BYTES_MAX];
static uint8_t packed_buffer[GW_BATCH_BYTES_MAX];

/* What is given back holds something that nobody may see from then on. It is done on a thread of
 * its own, when that gets to it. */
void source_release(struct world *world)
{
    struct guest *guest = &world->guest[SOURCE];
    struct gw_run run;
    if (!world->plan.options.release || world_random(world, 2)) {
        return;
    }
    while (gw_source_next_release(&world->source, SIM_UNIT_BATCH, &run) == GW_OK) {
        if (world->is_told_lost) {
            world_fail(world, "memory of the last copy is given back");
        }
        memset(guest_page(world, SOURCE, run.page), 0xdd,
               run.count * world->plan.options.page_bytes);
        (void)gw_bits_put(&guest->touched, run.page, run.count, true);
        (void)gw_bits_put(&guest->given_back, run.page, run.count, true);
    }
}

/* Nobody needs what is read there; once no page lacks any more, nobody looks at it either. */
static void check_is_here(struct world *world, uint64_t page)
{
    bool is_needed = gw_source_state(&world->source) != GW_SOURCE_SETTLING;
    if (is_needed && world->guest[SOURCE].given_back >> page & 1) {
        world_fail(world, "page %llu is sent, and its memory was given back",
                   (unsigned long long)page);
    }
}

/* Table and body, packed where the engine wants it and it is worth it. Returns the body's bytes. */
static uint32_t put_body(const struct gw_batch_builder *builder, const struct gw_batch *batch,
                         struct gw_frame_header *header, struct gw_batch_sent *sent)
{
    static struct gw_packer packer;
    uint32_t raw = builder->table.raw_pages * builder->page_bytes;
    uint32_t packed = 0;
    if (batch->packing != GW_PACKING_NONE && raw > 0) {
        packed = gw_pack(&packer, page_buffer, raw, packed_buffer);
        sent->cost.packing = batch->packing;
        sent->cost.pack_ns = raw;
    }
    sent->cost.raw_bytes = raw;
    sent->cost.packed_bytes = packed > 0 ? packed : raw;
    sent->cost.work_ns = raw / 4;
    sent->cost.write_ns = sent->cost.packed_bytes / 4;
    uint32_t table = packed > 0 ? gw_batch_finish_packed(builder, packed_buffer, packed,
                                                         payload_buffer, &header->payload_crc)
                                : gw_batch_finish(builder, payload_buffer, &header->payload_crc);
    uint32_t body = packed > 0 ? packed : raw;
    memcpy(payload_buffer + table, packed > 0 ? packed_buffer : page_buffer, body);
    header->flags |= packed > 0 ? GW_FRAME_PACKED : 0;
    header->payload_bytes = table + body;
    return body;
}

static void fill(struct world *world, const struct gw_batch *batch, struct gw_frame_header *header,
                 struct gw_batch_sent *sent)
{
    static struct gw_batch_builder builder;
    uint32_t page_bytes = (uint32_t)world->plan.options.page_bytes;
    gw_batch_begin(&builder, page_buffer, page_bytes);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        for (uint32_t j = 0; j < batch->run[i].count; j++) {
            uint64_t page = batch->run[i].page + j;
            bool is_touched = world->guest[SOURCE].touched >> page & 1;
            if (batch->kind == GW_BATCH_GONE) {
                gw_batch_add_gone(&builder, page, 1);
            } else if (batch->kind == GW_BATCH_HOLES || !is_touched) {
                gw_batch_add_zero(&builder, page, 1);
            } else {
                check_is_here(world, page);
                gw_batch_add_page(&builder, page, guest_page(world, SOURCE, page));
            }
        }
    }
    uint32_t raw = put_body(&builder, batch, header, sent);
    uint32_t table = header->payload_bytes - raw;
    uint64_t chance = world->is_quiet ? 0 : world->plan.options.corrupt_one_in;
    if (raw > 0 && chance > 0 && (!batch->is_stopped || batch->kind == GW_BATCH_PUSH) &&
        world_random(world, chance) == 0) {
        payload_buffer[table + world_random(world, raw)] ^= 0x40;
    }
    sent->raw_pages = builder.table.raw_pages;
    sent->zero_pages = builder.zero_pages;
    sent->repeat_pages = builder.table.repeat_pages;
}

static void send_answer(struct world *world, struct connection *urgent,
                        const struct gw_batch *batch, struct gw_batch_sent *sent)
{
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = GW_FRAME_BATCH,
                                     .flags = GW_FRAME_STOPPED,
                                     .generation = urgent->generation,
                                     .sequence = ++urgent->answers};
    fill(world, batch, &header, sent);
    sent->wire_bytes = GW_FRAME_HEADER_BYTES + header.payload_bytes;
    say(world, "source", "answers", batch->kind == GW_BATCH_GONE ? "DEMAND: gone" : "DEMAND");
    link_send(world, urgent, SOURCE, &header, payload_buffer);
}

/* The urgent channel's thread: in as many batches as it takes. */
void source_answer_demand(struct world *world, struct connection *urgent, uint64_t page)
{
    struct gw_batch batch;
    struct gw_batch_sent sent = {0};
    struct gw_fault fault = {0};
    if (gw_source_demand(&world->source, page, &batch, &fault) != GW_OK) {
        source_lost(world, fault.status, fault.text);
        return;
    }
    struct gw_run left = batch.run[0];
    while (left.count > 0) {
        source_release(world); /* not what is being read */
        bool is_part = batch.kind != GW_BATCH_GONE && left.count > SIM_UNIT_BATCH;
        batch.run[0] = (struct gw_run){left.page, is_part ? SIM_UNIT_BATCH : left.count};
        left.page += batch.run[0].count;
        left.count -= batch.run[0].count;
        send_answer(world, urgent, &batch, &sent);
    }
    (void)gw_source_answered(&world->source, &sent); /* source_send_pages asks again in any case */
}

static void make_verify(struct world *world, const struct gw_batch *batch,
                        struct gw_frame_header *header)
{
    uint64_t page_bytes = world->plan.options.page_bytes;
    struct gw_verify verify = {
        .page = batch->run[0].page, .count = batch->run[0].count, .digest = GW_DIGEST_SEED};
    for (uint32_t i = 0; i < verify.count; i++) {
        uint64_t digest = gw_digest_page(guest_page(world, SOURCE, verify.page + i), page_bytes);
        verify.digest = gw_digest_fold(verify.digest, digest);
    }
    gw_verify_encode(&verify, payload_buffer);
    header->type = GW_FRAME_VERIFY;
    header->payload_bytes = GW_VERIFY_BYTES;
    header->payload_crc = gw_crc32c(0, payload_buffer, GW_VERIFY_BYTES);
}

/* It is in order with its own channel only. */
static void check_is_alone(struct world *world)
{
    const struct gw_pages *pages = &world->source.pages;
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        const struct gw_pages_channel *channel = &pages->channel[i];
        if (channel->sequence_picked - channel->sequence_acked > (i == 0 ? 1 : 0)) {
            world_fail(world, "MISSING is sent while channel %u has batches under way", i);
        }
    }
}

static void make_map(struct world *world, struct gw_frame_header *header)
{
    uint64_t pages = world->plan.options.pages;
    check_is_alone(world);
    gw_page_map_encode(gw_source_missing(&world->source), pages, payload_buffer);
    header->type = GW_FRAME_MISSING;
    header->payload_bytes = gw_page_map_bytes(pages);
    header->payload_crc = gw_crc32c(0, payload_buffer, header->payload_bytes);
}

static void send_batch(struct world *world, struct bulk_thread *thread, struct connection *bulk)
{
    struct gw_batch *batch = &thread->batch;
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = GW_FRAME_BATCH,
                                     .flags = batch->is_stopped ? GW_FRAME_STOPPED : 0,
                                     .generation = bulk->generation,
                                     .sequence = batch->sequence};
    thread->sent = (struct gw_batch_sent){.channel = batch->channel, .sequence = batch->sequence};
    if (batch->kind == GW_BATCH_VERIFY) {
        make_verify(world, batch, &header);
    } else if (batch->kind == GW_BATCH_MAP) {
        make_map(world, &header);
    } else {
        fill(world, batch, &header, &thread->sent);
    }
    thread->sent.wire_bytes = GW_FRAME_HEADER_BYTES + header.payload_bytes;
    say(world, "source", "sends", gw_frame_type_name(header.type));
    link_send(world, bulk, SOURCE, &header, payload_buffer);
}

/* As a tracker of larger units does it: one that is armed was reported no more since. */
static void rearm(struct guest *guest, uint64_t pages, uint64_t unit)
{
    for (uint64_t page = 0; page < 64; page += unit) {
        uint64_t mask = gw_bit_mask(0, unit) << page;
        if (unit == 1) {
            guest->log &= ~(pages & mask);
        } else if ((pages & mask) != 0 && (guest->armed & mask) == 0) {
            guest->log &= ~mask;
            guest->armed |= mask;
        }
    }
}

/* By windows, as src/drive/sender.c does it: here one spans all of RAM. */
static void arm(struct world *world, struct bulk_thread *thread)
{
    const struct options *options = &world->plan.options;
    const struct gw_ram ram = {.page_count = options->pages,
                               .page_bytes = (uint32_t)options->page_bytes};
    uint64_t page = 0;
    while (gw_arming_lacks(&thread->arming, &thread->batch, &page)) {
        gw_arming_plan(&thread->arming, page, &thread->batch, gw_source_missing(&world->source),
                       &ram, gw_source_channels(&world->source));
        page = thread->arming.end;
        rearm(&world->guest[SOURCE], thread->arming.bits[0], options->own_unit);
    }
    gw_arming_take(&thread->arming, &thread->batch);
}

/* A bulk channel's thread: pick, re-arm, read and send, tell; one of these per call. */
static bool step_thread(struct world *world, uint32_t channel)
{
    struct bulk_thread *thread = &world->bulk[channel];
    struct connection *bulk = link_bulk(world, channel);
    thread->retry_ns = SIM_NEVER;
    if (!bulk || !bulk->is_welcomed || world->bulk_limit_ns) {
        return false;
    }
    switch (thread->stage) {
    case 0:
        if (gw_source_next_batch(&world->source, channel, world->now_ns, &thread->batch,
                                 &thread->retry_ns) != GW_OK) {
            return false;
        }
        gw_arming_begin(&thread->arming, gw_source_collects(&world->source));
        break;
    case 1:
        if (thread->batch.kind == GW_BATCH_PAGES) {
            arm(world, thread);
        }
        break;
    case 2:
        send_batch(world, thread, bulk);
        break;
    default:
        thread->stage = 0;
        (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_BATCH_SENT,
                                                           .sent = thread->sent});
        return true;
    }
    thread->stage++;
    return true;
}

bool source_send_pages(struct world *world)
{
    uint32_t first = (uint32_t)world_random(world, SIM_BULK);
    for (uint32_t i = 0; i < SIM_BULK; i++) {
        if (step_thread(world, (first + i) % SIM_BULK)) {
            return true;
        }
    }
    return false;
}
