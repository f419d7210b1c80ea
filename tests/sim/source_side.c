/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the embedder of the source does: carries out its actions, answers them, moves messages and
 * pages. Each call does one small thing, so that the world can interleave them.
 */
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "godwit/crc32c.h"
#include "godwit/digest.h"
#include "sim.h"

static uint8_t payload_buffer[SIM_FRAME_BYTES];
static uint8_t page_buffer[GW_BATCH_BYTES_MAX];

/* What is given back holds something that nobody may see from then on. */
static void release(struct world *world)
{
    struct gw_run run;
    while (gw_source_next_release(&world->source, SIM_UNIT_BATCH, &run) == GW_OK) {
        memset(world->guest[SOURCE].ram[run.page], 0xdd, (size_t)run.count * SIM_PAGE_BYTES);
        (void)gw_bits_put(&world->guest[SOURCE].touched, run.page, run.count, true);
    }
}

void source_tell(struct world *world, const struct gw_source_event *event)
{
    struct gw_source_event timed = *event;
    struct gw_fault fault = {0};
    timed.now_ns = world->now_ns;
    if (gw_source_handle(&world->source, &timed, &fault) != GW_OK) {
        say(world, "source", "refuses", fault.text);
    }
    release(world);
}

static void source_lost(struct world *world, enum gw_source_event_type type, const char *why)
{
    struct gw_fault fault = {0};
    (void)gw_fault_set(&fault, GW_LINK, "%s", why);
    link_close_side(world, SOURCE);
    world->is_connecting = false;
    world->is_connecting_bulk = false;
    world->bulk_stage = 0;
    say(world, "source", "lost", why);
    source_tell(world, &(struct gw_source_event){.type = type, .fault = &fault});
}

static void source_send(struct world *world, struct gw_message *message)
{
    struct connection *control = world_channel(world, SOURCE, GW_ROLE_CONTROL);
    if (message->type == GW_FRAME_PREPARE) {
        message->prepare.state = world->source_state;
        message->prepare.state_bytes = sizeof(world->source_state);
        message->prepare.is_running = world->was_running;
    }
    if (control) {
        send_message(world, control, SOURCE, message);
    }
}

static void source_stop_guest(struct world *world)
{
    struct guest *guest = &world->guest[SOURCE];
    world->is_stopping = false;
    world->was_running = guest->is_running;
    guest->is_running = false;
    memcpy(world->source_state, &guest->state, sizeof(guest->state));
    source_tell(
        world, &(struct gw_source_event){.type = GW_SOURCE_EV_STOPPED, .halted_ns = world->now_ns});
}

static void source_collect(struct world *world, enum gw_source_event_type type, uint64_t pages)
{
    static uint64_t bitmap[GW_BITMAP_WORDS];
    memset(bitmap, 0, sizeof(bitmap));
    bitmap[0] = pages;
    source_tell(world, &(struct gw_source_event){.type = type, .bitmap = bitmap});
}

/* What the host was asked for just now could not be done. */
static bool source_fails(struct world *world)
{
    struct gw_fault fault = {0};
    if (!world->is_source_failing) {
        return false;
    }
    world->is_source_failing = false;
    (void)gw_fault_set(&fault, GW_HOST, "the host failed");
    say(world, "source", "fails", "");
    source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_HOST_FAULT, .fault = &fault});
    return true;
}

static void source_act(struct world *world, struct gw_source_action *action)
{
    struct guest *guest = &world->guest[SOURCE];
    switch (action->type) {
    case GW_SOURCE_DO_CONNECT:
        world->is_connecting = true;
        break;
    case GW_SOURCE_DO_CONNECT_BULK:
        world->is_connecting_bulk = true;
        world->bulk_intro = action->intro;
        world->bulk_has_map = action->has_map;
        world->bulk_has_urgent = action->has_urgent;
        break;
    case GW_SOURCE_DO_SEND:
        source_send(world, &action->message);
        break;
    case GW_SOURCE_DO_CLOSE:
        link_close_side(world, SOURCE);
        world->is_connecting = false;
        world->is_connecting_bulk = false;
        world->bulk_stage = 0;
        break;
    case GW_SOURCE_DO_TRACK:
        if (source_fails(world)) {
            break;
        }
        guest->is_tracked = true;
        guest->log = 0;
        source_collect(world, GW_SOURCE_EV_TRACKED, guest->touched);
        break;
    case GW_SOURCE_DO_COLLECT:
        if (source_fails(world)) {
            break;
        }
        source_collect(world, GW_SOURCE_EV_COLLECTED, guest->log);
        break;
    case GW_SOURCE_DO_UNTRACK:
        guest->is_tracked = false;
        break;
    case GW_SOURCE_DO_RECORD:
        world->departure = action->departure;
        world->is_departure_owed = true;
        break;
    case GW_SOURCE_DO_STOP:
        world->is_stopping = true;
        break;
    case GW_SOURCE_DO_RESUME:
        guest->is_running = world->was_running;
        say(world, "source", "resumes", "");
        break;
    case GW_SOURCE_DO_FINISH:
        world->is_source_finished = true;
        say(world, "source", "ends", gw_source_state_name(gw_source_state(&world->source)));
        break;
    case GW_SOURCE_DO_THROTTLE:
        world->throttle_percent = action->throttle_percent;
        break;
    case GW_SOURCE_DO_EXPLAIN:
    case GW_SOURCE_DO_STATUS:
    case GW_SOURCE_DO_ROUND:
        break;
    }
}

static void fill(struct world *world, const struct gw_batch *batch, struct gw_frame_header *header,
                 struct gw_batch_sent *sent)
{
    static struct gw_batch_builder builder;
    struct guest *guest = &world->guest[SOURCE];
    gw_batch_begin(&builder, page_buffer, SIM_PAGE_BYTES);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        for (uint32_t j = 0; j < batch->run[i].count; j++) {
            uint64_t page = batch->run[i].page + j;
            if (batch->kind == GW_BATCH_GONE) {
                gw_batch_add_gone(&builder, page, 1);
            } else if (batch->kind == GW_BATCH_HOLES || !gw_bit_test(&guest->touched, page)) {
                gw_batch_add_zero(&builder, page, 1);
            } else {
                gw_batch_add_page(&builder, page, guest->ram[page]);
            }
        }
    }
    uint32_t table = gw_batch_finish(&builder, payload_buffer, &header->payload_crc);
    uint32_t raw = builder.table.raw_pages * SIM_PAGE_BYTES;
    memcpy(payload_buffer + table, page_buffer, raw);
    header->payload_bytes = table + raw;
    if (raw > 0 && world->plan.corrupt_one_in > 0 &&
        (!batch->is_stopped || batch->kind == GW_BATCH_PUSH) &&
        world_random(world, world->plan.corrupt_one_in) == 0) {
        payload_buffer[table + world_random(world, raw)] ^= 0x40;
    }
    sent->raw_pages = builder.table.raw_pages;
    sent->zero_pages = builder.zero_pages;
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
    say(world, "source", "answers", "DEMAND");
    link_send(world, urgent, SOURCE, &header, payload_buffer);
}

/* The urgent channel's thread. */
static void source_answer(struct world *world, struct connection *urgent, uint64_t page)
{
    struct gw_batch batch;
    struct gw_batch_sent sent = {0};
    struct gw_fault fault = {0};
    if (gw_source_demand(&world->source, page, &batch, &fault) != GW_OK) {
        source_lost(world, GW_SOURCE_EV_LINK_LOST, fault.text);
        return;
    }
    struct gw_run left = batch.run[0];
    while (left.count > 0) {
        bool is_part = batch.kind != GW_BATCH_GONE && left.count > SIM_UNIT_BATCH;
        batch.run[0] = (struct gw_run){left.page, is_part ? SIM_UNIT_BATCH : left.count};
        left.page += batch.run[0].count;
        left.count -= batch.run[0].count;
        send_answer(world, urgent, &batch, &sent);
    }
    (void)gw_source_answered(&world->source, &sent);
}

/* The bulk channel's thread: pick, re-arm, read and send, tell; one of these per call. */
static bool source_bulk_step(struct world *world)
{
    struct guest *guest = &world->guest[SOURCE];
    struct gw_batch *batch = &world->batch;
    struct connection *bulk = world_channel(world, SOURCE, GW_ROLE_BULK);
    uint64_t retry_ns = 0;
    if (!bulk || !bulk->is_admitted) {
        return false;
    }
    switch (world->bulk_stage) {
    case 0:
        if (gw_source_next_batch(&world->source, world->now_ns, batch, &retry_ns) != GW_OK) {
            return false;
        }
        break;
    case 1:
        for (uint32_t i = 0; i < batch->run_count && batch->kind == GW_BATCH_PAGES; i++) {
            (void)gw_bits_put(&guest->log, batch->run[i].page, batch->run[i].count, false);
        }
        break;
    case 2: {
        struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                         .type = GW_FRAME_BATCH,
                                         .flags = batch->is_stopped ? GW_FRAME_STOPPED : 0,
                                         .generation = bulk->generation,
                                         .sequence = batch->sequence};
        world->sent = (struct gw_batch_sent){.sequence = batch->sequence};
        if (batch->kind == GW_BATCH_VERIFY) {
            struct gw_verify verify = {
                .page = batch->run[0].page, .count = batch->run[0].count, .digest = GW_DIGEST_SEED};
            for (uint32_t i = 0; i < verify.count; i++) {
                verify.digest = gw_digest_fold(
                    verify.digest, gw_digest_page(guest->ram[verify.page + i], SIM_PAGE_BYTES));
            }
            gw_verify_encode(&verify, payload_buffer);
            header.type = GW_FRAME_VERIFY;
            header.payload_bytes = GW_VERIFY_BYTES;
            header.payload_crc = gw_crc32c(0, payload_buffer, GW_VERIFY_BYTES);
        } else if (batch->kind == GW_BATCH_MAP) {
            gw_page_map_encode(gw_source_missing(&world->source), SIM_PAGES, payload_buffer);
            header.type = GW_FRAME_MISSING;
            header.payload_bytes = gw_page_map_bytes(SIM_PAGES);
            header.payload_crc = gw_crc32c(0, payload_buffer, header.payload_bytes);
        } else {
            fill(world, batch, &header, &world->sent);
        }
        world->sent.wire_bytes = GW_FRAME_HEADER_BYTES + header.payload_bytes;
        say(world, "source", "sends", gw_frame_type_name(header.type));
        link_send(world, bulk, SOURCE, &header, payload_buffer);
        break;
    }
    default:
        world->bulk_stage = 0;
        source_tell(
            world, &(struct gw_source_event){.type = GW_SOURCE_EV_BATCH_SENT, .sent = world->sent});
        return true;
    }
    world->bulk_stage++;
    return true;
}

static void source_introduce(struct world *world, enum gw_role role)
{
    struct gw_message intro = {.type = GW_FRAME_INTRO, .intro = world->bulk_intro};
    struct connection *connection = link_open(world, role, world->bulk_intro.generation);
    intro.intro.role = (uint8_t)role;
    if (connection) {
        send_message(world, connection, SOURCE, &intro);
    }
}

static bool source_connect_step(struct world *world)
{
    bool can_reach = world->is_alive[TARGET] && world->now_ns >= world->network_down_until_ns &&
                     gw_target_state(&world->target) != GW_TARGET_NONE;
    if (!world->is_connecting && !world->is_connecting_bulk) {
        return false;
    }
    if (can_reach && gw_target_state(&world->target) == GW_TARGET_RECALLING) {
        return false; /* it listens in a moment */
    }
    if (!can_reach) {
        source_lost(world, GW_SOURCE_EV_LINK_LOST, "cannot connect");
        return true;
    }
    if (world->is_connecting) {
        world->is_connecting = false;
        if (link_open(world, GW_ROLE_CONTROL, world->source.generation)) {
            source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_LINK_UP});
        }
        return true;
    }
    world->is_connecting_bulk = false;
    source_introduce(world, GW_ROLE_BULK);
    return true;
}

/* The bulk channel, then its map, then the urgent channel: one after the other. */
static void source_channel_frame(struct world *world, struct connection *connection,
                                 const struct gw_frame_header *header, const uint8_t *payload)
{
    static uint64_t bitmap[GW_BITMAP_WORDS];
    struct gw_message message;
    struct gw_fault fault = {0};
    if (header->type == GW_FRAME_RECEIVED) {
        GW_ASSERT(gw_page_map_decode(bitmap, SIM_PAGES, payload, header->payload_bytes, &fault) ==
                  GW_OK);
        source_tell(world,
                    &(struct gw_source_event){.type = GW_SOURCE_EV_RECONCILED, .bitmap = bitmap});
        world->bulk_has_map = false;
    } else {
        GW_ASSERT(gw_message_decode(&message, header->type, payload, header->payload_bytes,
                                    &fault) == GW_OK);
        if (message.type == GW_FRAME_DEMAND) {
            source_answer(world, connection, message.demanded_page);
            return;
        }
        connection->is_admitted = message.type == GW_FRAME_WELCOME;
        if (!connection->is_admitted) {
            source_lost(world, GW_SOURCE_EV_LINK_LOST, "the channel was refused");
            return;
        }
    }
    if (connection->role == GW_ROLE_BULK && world->bulk_has_map) {
        return;
    }
    if (connection->role == GW_ROLE_BULK && world->bulk_has_urgent) {
        source_introduce(world, GW_ROLE_URGENT);
        return;
    }
    source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_BULK_UP});
}

static bool source_receive_step(struct world *world)
{
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        struct gw_frame_header header;
        struct gw_message message;
        struct gw_fault fault = {0};
        const uint8_t *payload;
        if (!connection->is_used || !connection->is_open[SOURCE]) {
            continue;
        }
        if (!link_take(connection, SOURCE, &header, &payload)) {
            if (connection->is_broken[SOURCE]) {
                source_lost(world, GW_SOURCE_EV_LINK_LOST, "the link broke");
                return true;
            }
            if (!connection->is_open[TARGET]) {
                source_lost(world,
                            connection->role == GW_ROLE_CONTROL ? GW_SOURCE_EV_LINK_CLOSED
                                                                : GW_SOURCE_EV_LINK_LOST,
                            "the target closed");
                return true;
            }
            continue;
        }
        if (connection->role != GW_ROLE_CONTROL) {
            source_channel_frame(world, connection, &header, payload);
            return true;
        }
        GW_ASSERT(gw_message_decode(&message, header.type, payload, header.payload_bytes, &fault) ==
                  GW_OK);
        source_tell(world,
                    &(struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &message});
        return true;
    }
    return false;
}

bool source_step(struct world *world, uint32_t choice)
{
    struct gw_source_action action;
    if (!world->is_alive[SOURCE] || !world->is_source_started) {
        return false;
    }
    switch (choice) {
    case 0:
        if (world->is_departure_owed && world->departure.state == GW_DEPARTURE_LEAVING) {
            return false; /* an action is done before the next is asked for */
        }
        if (gw_source_next(&world->source, &action) != GW_OK) {
            return false;
        }
        source_act(world, &action);
        return true;
    case 1:
        return source_connect_step(world);
    case 2:
        return source_receive_step(world);
    case 3:
        return source_bulk_step(world);
    case 4:
        if (!world->is_stopping) {
            return false;
        }
        if (source_fails(world)) {
            world->is_stopping = false;
            world->was_running = world->guest[SOURCE].is_running;
            return true;
        }
        source_stop_guest(world);
        return true;
    case 5:
        if (!world->is_departure_owed) {
            return false;
        }
        world->is_departure_owed = false;
        if (source_fails(world)) {
            return true;
        }
        source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_RECORDED});
        return true;
    default:
        return false;
    }
}
