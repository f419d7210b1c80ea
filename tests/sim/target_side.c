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

static void target_demand(struct world *world, uint64_t page)
{
    struct connection *urgent = world_channel(world, TARGET, GW_ROLE_URGENT);
    struct gw_message demand = {.type = GW_FRAME_DEMAND,
                                .demanded_page = gw_target_unit_of(&world->target, page)};
    if (urgent) {
        send_message(world, urgent, TARGET, &demand);
    }
}

/* The fault thread. */
void target_fault(struct world *world, uint32_t page)
{
    struct guest *guest = &world->guest[TARGET];
    switch (gw_target_page_fault(&world->target, page, 1, world->now_ns)) {
    case GW_FAULT_WAIT:
        break;
    case GW_FAULT_DEMAND:
        target_demand(world, page);
        break;
    case GW_FAULT_ZERO:
        (void)gw_bits_put(&guest->absent, gw_target_unit_of(&world->target, page),
                          world->unit_pages, false);
        gw_target_zero_placed(&world->target, page, world->now_ns);
        break;
    }
}

/* What was demanded on an earlier channel. */
static void target_demand_all(struct world *world)
{
    uint64_t page = 0;
    while (gw_target_next_demand(&world->target, &page) == GW_OK) {
        target_demand(world, page);
    }
}

static void target_arm(struct world *world)
{
    struct guest *guest = &world->guest[TARGET];
    const uint64_t *received = gw_target_received(&world->target);
    for (uint32_t page = 0; page < SIM_PAGES; page++) {
        if (!gw_bit_test(received, page)) {
            memset(guest->ram[page], 0xee, SIM_PAGE_BYTES); /* nobody may see this */
            guest->touched &= ~(UINT64_C(1) << page);
        }
    }
    guest->absent = 0;
    for (uint32_t page = 0; page < SIM_PAGES; page += world->unit_pages) {
        uint64_t end = page + world->unit_pages;
        if (gw_bits_next(&guest->touched, page, end, true) == end) {
            /* a hole faults too, even when it is known to be zero */
            (void)gw_bits_put(&guest->absent, page, world->unit_pages, true);
        }
    }
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_ARMED});
}

static void send_received(struct world *world, struct connection *bulk)
{
    uint8_t bytes[GW_PAGE_MAP_BYTES_MAX];
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = GW_FRAME_RECEIVED,
                                     .payload_bytes = gw_page_map_bytes(SIM_PAGES),
                                     .generation = bulk->generation};
    gw_page_map_encode(gw_target_received(&world->target), SIM_PAGES, bytes);
    header.payload_crc = gw_crc32c(0, bytes, header.payload_bytes);
    link_send(world, bulk, TARGET, &header, bytes);
}

static void target_act(struct world *world, struct gw_target_action *action)
{
    struct guest *guest = &world->guest[TARGET];
    switch (action->type) {
    case GW_TARGET_DO_ADMIT:
        candidate->is_admitted = true;
        break;
    case GW_TARGET_DO_ADMIT_BULK:
    case GW_TARGET_DO_ADMIT_URGENT:
        send_message(world, candidate, TARGET, &action->message);
        world->assembly[candidate->role == GW_ROLE_URGENT].unit.count = 0;
        if (action->has_map) {
            send_received(world, candidate);
        }
        if (action->type == GW_TARGET_DO_ADMIT_URGENT) {
            gw_target_urgent_ready(&world->target);
            target_demand_all(world);
        }
        break;
    case GW_TARGET_DO_TURN_AWAY:
        send_message(world, candidate, TARGET, &action->message);
        candidate->is_open[TARGET] = false;
        candidate->to[TARGET].count = 0;
        break;
    case GW_TARGET_DO_SEND: {
        struct connection *control = world_channel(world, TARGET, GW_ROLE_CONTROL);
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
        guest->absent = 0;
        break;
    case GW_TARGET_DO_ARM:
        target_arm(world);
        break;
    case GW_TARGET_DO_DISARM:
        guest->absent = 0;
        break;
    case GW_TARGET_DO_PREPARE_DEVICES:
        for (uint32_t i = 0; i < world->target.config.device_count; i++) {
            target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_DEVICE_READY});
        }
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

static void place(struct world *world, const struct gw_batch_table *table, const uint8_t *raw,
                  enum gw_placing placing)
{
    struct guest *guest = &world->guest[TARGET];
    for (uint32_t i = 0; i < table->record_count; i++) {
        for (uint32_t j = 0; j < table->record[i].count; j++) {
            uint64_t page = table->record[i].page + j;
            bool is_raw = table->record[i].kind == GW_RECORD_RAW;
            uint64_t bit = UINT64_C(1) << page;
            if (table->record[i].kind == GW_RECORD_GONE) {
                continue;
            }
            if (placing == GW_PLACE_DIRECT || guest->absent & bit) {
                if (is_raw) {
                    memcpy(guest->ram[page], raw, SIM_PAGE_BYTES);
                } else {
                    memset(guest->ram[page], 0, SIM_PAGE_BYTES);
                }
                guest->touched = is_raw ? guest->touched | bit : guest->touched & ~bit;
                guest->absent &= ~bit;
            }
            raw += is_raw ? SIM_PAGE_BYTES : 0;
        }
    }
    if (guest->is_running && placing == GW_PLACE_DIRECT) {
        world_fail(world, "a page was placed under a running guest");
    }
}

/* Larger units: put aside until one is whole, then placed if none is there. */
static enum gw_status place_part(struct world *world, bool is_urgent,
                                 const struct gw_batch_table *table, const uint8_t *raw,
                                 struct gw_run *whole, struct gw_fault *fault)
{
    struct guest *guest = &world->guest[TARGET];
    struct gw_assembly *assembly = &world->assembly[is_urgent];
    if (gw_assembly_check(assembly, table, SIM_UNIT, is_urgent, fault) != GW_OK) {
        return GW_PROTOCOL;
    }
    if (table->record[0].kind == GW_RECORD_GONE) {
        return GW_OK;
    }
    gw_assembly_begin(assembly, table, SIM_UNIT);
    for (uint32_t i = 0; i < table->record_count; i++) {
        bool is_raw = table->record[i].kind == GW_RECORD_RAW;
        size_t bytes = (size_t)table->record[i].count * SIM_PAGE_BYTES;
        uint8_t *slot = world->aside[is_urgent][table->record[i].page - assembly->unit.page];
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
        memcpy(guest->ram[whole->page], world->aside[is_urgent], SIM_UNIT * SIM_PAGE_BYTES);
        (void)gw_bits_put(&guest->touched, whole->page, SIM_UNIT, true);
        (void)gw_bits_put(&guest->absent, whole->page, SIM_UNIT, false);
    }
    assembly->unit.count = 0;
    return GW_OK;
}

static void target_batch(struct world *world, bool is_urgent, const struct gw_frame_header *header,
                         const uint8_t *payload)
{
    enum gw_placing placing;
    static struct gw_batch_table table;
    struct gw_fault fault = {0};
    struct gw_run whole = {.count = 0};
    uint32_t table_bytes = 0;
    bool is_whole = gw_crc32c(0, payload, header->payload_bytes) == header->payload_crc;
    if (gw_target_may_place(&world->target, is_urgent, header->sequence, &placing, &fault) !=
            GW_OK ||
        gw_batch_table_bytes(payload, header->payload_bytes, &table_bytes, &fault) != GW_OK ||
        gw_batch_decode_table(&table, payload, table_bytes, header->payload_bytes, SIM_PAGE_BYTES,
                              SIM_PAGES, &fault) != GW_OK ||
        gw_target_check_pages(&world->target, is_urgent, &table, &fault) != GW_OK) {
        target_lost(world, fault.text);
        return;
    }
    if (!is_whole && placing != GW_PLACE_DIRECT) {
        target_lost(world, "a batch arrived damaged");
        return;
    }
    if (placing == GW_PLACE_STAGED && world->unit_pages > 1) {
        if (place_part(world, is_urgent, &table, payload + table_bytes, &whole, &fault) != GW_OK) {
            target_lost(world, fault.text);
            return;
        }
    } else if (placing != GW_PLACE_NOT) {
        place(world, &table, payload + table_bytes, placing);
    }
    if (!is_whole && (header->flags & GW_FRAME_STOPPED)) {
        target_lost(world, "a batch of a stopped guest arrived damaged");
        return;
    }
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_BATCH,
                                                 .placed = {.is_urgent = is_urgent,
                                                            .sequence = header->sequence,
                                                            .is_suspect = !is_whole,
                                                            .table = &table,
                                                            .whole = whole}});
}

static void target_verify(struct world *world, const struct gw_frame_header *header,
                          const uint8_t *payload)
{
    struct gw_fault fault = {0};
    struct gw_verified verified = {.sequence = header->sequence, .digest_ours = GW_DIGEST_SEED};
    enum gw_placing placing;
    if (gw_target_may_place(&world->target, false, header->sequence, &placing, &fault) != GW_OK ||
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

static void target_map(struct world *world, const struct gw_frame_header *header,
                       const uint8_t *payload)
{
    static uint64_t bitmap[GW_BITMAP_WORDS];
    struct gw_fault fault = {0};
    enum gw_placing placing;
    if (gw_target_may_place(&world->target, false, header->sequence, &placing, &fault) != GW_OK ||
        gw_page_map_decode(bitmap, SIM_PAGES, payload, header->payload_bytes, &fault) ||
        gw_target_check_missing(&world->target, bitmap, &fault) != GW_OK) {
        target_lost(world, fault.text);
        return;
    }
    target_tell(
        world, &(struct gw_target_event){.type = GW_TARGET_EV_MAP,
                                         .map = {.sequence = header->sequence, .missing = bitmap}});
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
                target_batch(world, connection->role == GW_ROLE_URGENT, &header, payload);
            } else if (header.type == GW_FRAME_MISSING) {
                target_map(world, &header, payload);
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
                                            .unit_pages = world->unit_pages,
                                            .vcpu_count = 1,
                                            .can_postcopy = world->can_postcopy,
                                            .recover_ns_max = UINT64_C(100000000000),
                                            .history = world->disk};
    world->is_alive[TARGET] = true;
    world->is_record_owed = false;
    gw_target_init(&world->target, &config);
    target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_START});
}
