/* SPDX-License-Identifier: Apache-2.0 */
/* What the embedder of the target does; see source_side.c. */
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "godwit/crc32c.h"
#include "godwit/digest.h"
#include "sim.h"

void target_tell(struct world *world, const struct gw_target_event *event)
{
    struct gw_target_event timed = *event;
    struct gw_fault fault = {0};
    timed.now_ns = world->now_ns;
    if (gw_target_handle(&world->target, &timed, &fault) != GW_OK) {
        say(world, "target", "refuses", fault.text);
    }
}

/* Events that may bring the queue's actions for one candidate: they are carried out at once. */
static struct connection *candidate;

static void target_load(struct world *world)
{
    struct gw_fault fault = {0};
    if (world->is_load_failing || world->target_state_bytes != sizeof(struct guest_state)) {
        (void)gw_fault_set(&fault, GW_HOST, "the state could not be loaded");
        target_tell(world,
                    &(struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = &fault});
        return;
    }
    memcpy(&world->guest[TARGET].state, world->target_state, sizeof(struct guest_state));
    guest_check_ram(world, TARGET);
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_LOADED});
}

static void target_act(struct world *world, struct gw_target_action *action)
{
    struct guest *guest = &world->guest[TARGET];
    switch (action->type) {
    case GW_TARGET_DO_ADMIT:
        candidate->is_admitted = true;
        break;
    case GW_TARGET_DO_ADMIT_BULK:
        candidate->is_admitted = true;
        send_message(world, candidate, TARGET, &action->message);
        candidate->is_admitted = false; /* the source's word on it: set when it hears WELCOME */
        break;
    case GW_TARGET_DO_TURN_AWAY:
        send_message(world, candidate, TARGET, &action->message);
        candidate->is_open[TARGET] = false;
        candidate->to[TARGET].count = 0;
        break;
    case GW_TARGET_DO_SEND: {
        struct connection *control = world_control(world, TARGET);
        if (control) {
            send_message(world, control, TARGET, &action->message);
        }
        break;
    }
    case GW_TARGET_DO_CLOSE:
        for (int i = 0; i < SIM_CONNECTIONS; i++) {
            struct connection *connection = &world->connection[i];
            if (connection->is_used && connection != candidate && connection->is_open[TARGET]) {
                connection->is_open[TARGET] = false;
                connection->to[TARGET].count = 0;
                connection->is_used = connection->is_open[SOURCE];
            }
        }
        break;
    case GW_TARGET_DO_DISCARD:
        memset(guest->ram, 0, sizeof(guest->ram));
        guest->touched = 0;
        break;
    case GW_TARGET_DO_RECORD:
        if (!world->is_disk_full) {
            world->disk = action->history;
        }
        world->is_record_owed = true;
        break;
    case GW_TARGET_DO_LOAD:
        target_load(world);
        break;
    case GW_TARGET_DO_RUN:
        guest->is_running = action->is_running;
        guest_check_ram(world, TARGET);
        say(world, "target", "runs", "");
        target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_STARTED});
        break;
    case GW_TARGET_DO_FINISH:
        world->is_target_finished = gw_target_state(&world->target) == GW_TARGET_DONE;
        say(world, "target", "ends", gw_target_state_name(gw_target_state(&world->target)));
        break;
    case GW_TARGET_DO_STATUS:
        break;
    }
}

static void target_lost(struct world *world, const char *why)
{
    struct gw_fault fault = {0};
    (void)gw_fault_set(&fault, GW_LINK, "%s", why);
    link_close_side(world, TARGET);
    say(world, "target", "lost", why);
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_LINK_LOST, .fault = &fault});
}

static void place(struct world *world, const struct gw_batch_table *table, const uint8_t *raw)
{
    struct guest *guest = &world->guest[TARGET];
    for (uint32_t i = 0; i < table->record_count; i++) {
        for (uint32_t j = 0; j < table->record[i].count; j++) {
            uint64_t page = table->record[i].page + j;
            if (table->record[i].kind == GW_RECORD_RAW) {
                memcpy(guest->ram[page], raw, SIM_PAGE_BYTES);
                raw += SIM_PAGE_BYTES;
            } else {
                memset(guest->ram[page], 0, SIM_PAGE_BYTES);
            }
        }
    }
    if (guest->is_running) {
        world_fail(world, "a page was placed under a running guest");
    }
}

static void target_batch(struct world *world, const struct gw_frame_header *header,
                         const uint8_t *payload)
{
    static struct gw_batch_table table;
    struct gw_fault fault = {0};
    uint32_t table_bytes = 0;
    bool is_whole = gw_crc32c(0, payload, header->payload_bytes) == header->payload_crc;
    if (gw_target_may_place(&world->target, 0, header->sequence, &fault) != GW_OK ||
        gw_batch_table_bytes(payload, header->payload_bytes, &table_bytes, &fault) != GW_OK ||
        gw_batch_decode_table(&table, payload, table_bytes, header->payload_bytes, SIM_PAGE_BYTES,
                              SIM_PAGES, &fault) != GW_OK) {
        target_lost(world, fault.text);
        return;
    }
    place(world, &table, payload + table_bytes);
    if (!is_whole && (header->flags & GW_FRAME_STOPPED)) {
        target_lost(world, "a batch of a stopped guest arrived damaged");
        return;
    }
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_BATCH,
                                                 .placed = {.sequence = header->sequence,
                                                            .is_suspect = !is_whole,
                                                            .table = &table}});
}

static void target_verify(struct world *world, const struct gw_frame_header *header,
                          const uint8_t *payload)
{
    struct gw_fault fault = {0};
    struct gw_verified verified = {.sequence = header->sequence, .digest_ours = GW_DIGEST_SEED};
    if (gw_target_may_place(&world->target, 0, header->sequence, &fault) != GW_OK ||
        gw_verify_decode(&verified.theirs, payload, header->payload_bytes, SIM_PAGES, &fault)) {
        target_lost(world, fault.text);
        return;
    }
    for (uint32_t i = 0; i < verified.theirs.count; i++) {
        const uint8_t *page = world->guest[TARGET].ram[verified.theirs.page + i];
        verified.digest_ours =
            gw_digest_fold(verified.digest_ours, gw_digest_page(page, SIM_PAGE_BYTES));
    }
    target_tell(world,
                &(struct gw_target_event){.type = GW_TARGET_EV_VERIFIED, .verified = verified});
}

static void target_message(struct world *world, struct connection *connection,
                           const struct gw_frame_header *header, const uint8_t *payload)
{
    struct gw_message message;
    struct gw_fault fault = {0};
    struct gw_target_action action;
    if (gw_message_decode(&message, header->type, payload, header->payload_bytes, &fault)) {
        target_lost(world, fault.text);
        return;
    }
    if (message.type == GW_FRAME_PREPARE) {
        world->target_state_bytes = message.prepare.state_bytes;
        memcpy(world->target_state, message.prepare.state,
               message.prepare.state_bytes < sizeof(world->target_state)
                   ? message.prepare.state_bytes
                   : sizeof(world->target_state));
    }
    if (message.type != GW_FRAME_INTRO) {
        target_tell(world,
                    &(struct gw_target_event){.type = GW_TARGET_EV_MESSAGE, .message = &message});
        return;
    }
    candidate = connection;
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_INTRO, .message = &message});
    while (gw_target_next(&world->target, &action) == GW_OK) {
        target_act(world, &action);
    }
    candidate = NULL;
}

static bool target_receive_step(struct world *world, uint32_t first)
{
    for (uint32_t n = 0; n < SIM_CONNECTIONS; n++) {
        struct connection *connection = &world->connection[(first + n) % SIM_CONNECTIONS];
        struct gw_frame_header header;
        const uint8_t *payload;
        if (!connection->is_used || !connection->is_open[TARGET]) {
            continue;
        }
        if (link_take(connection, TARGET, &header, &payload)) {
            if (header.type == GW_FRAME_BATCH) {
                target_batch(world, &header, payload);
            } else if (header.type == GW_FRAME_VERIFY) {
                target_verify(world, &header, payload);
            } else {
                target_message(world, connection, &header, payload);
            }
            return true;
        }
        if (connection->is_broken[TARGET] ||
            (!connection->is_open[SOURCE] && !connection->is_dark)) {
            target_lost(world, "the link broke");
            return true;
        }
    }
    return false;
}

bool target_step(struct world *world, uint32_t choice)
{
    struct gw_target_action action;
    struct gw_fault fault = {0};
    if (!world->is_alive[TARGET] || world->target_hangs_until_ns > world->now_ns) {
        return false;
    }
    switch (choice) {
    case 0:
        if (world->is_record_owed || gw_target_next(&world->target, &action) != GW_OK) {
            return false;
        }
        target_act(world, &action);
        return true;
    case 1:
        if (world->is_record_owed) {
            return false;
        }
        return target_receive_step(world, (uint32_t)world_random(world, SIM_CONNECTIONS));
    case 2:
        if (!world->is_record_owed) {
            return false;
        }
        world->is_record_owed = false;
        if (world->is_disk_full) {
            (void)gw_fault_set(&fault, GW_HOST, "the records cannot be written");
            target_tell(
                world, &(struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = &fault});
        } else {
            target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_RECORDED});
        }
        return true;
    default:
        return false;
    }
}

void target_boot(struct world *world)
{
    const struct gw_target_config config = {.facts = &world->facts,
                                            .page_count = SIM_PAGES,
                                            .page_bytes = SIM_PAGE_BYTES,
                                            .history = world->disk};
    world->is_alive[TARGET] = true;
    world->is_record_owed = false;
    gw_target_init(&world->target, &config);
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_START});
}
