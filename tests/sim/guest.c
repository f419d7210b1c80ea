/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated guest: knows what every page of its RAM must hold, and how long it has lived. */
#include <string.h>

#include "base/bitmap.h"
#include "sim.h"

uint8_t *guest_page(struct world *world, enum side side, uint64_t page)
{
    enum side owner = world->plan.options.shared ? SOURCE : side;
    return world->guest[owner].ram + page * world->plan.options.page_bytes;
}

bool guest_runs(const struct world *world, enum side side)
{
    return world->guest[side].is_alive && !world->guest[side].is_paused;
}

/* A word of a page at a version. In turn: nothing, one value over and over, what other pages hold
 * at that version too, what packs well, and what does not. */
static uint64_t stamp(uint32_t page, uint32_t version, uint64_t at)
{
    uint64_t word = (uint64_t)(page + 1) << 32 | (uint64_t)version << 16;
    switch (version % 5) {
    case 0:
        return 0;
    case 1:
        return word;
    case 2:
        return (uint64_t)version << 16 | at;
    case 3:
        return word | (at & 0xff0);
    default:
        word = (word | at) * UINT64_C(0x9e3779b97f4a7c15);
        return (word ^ word >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    }
}

static bool is_page_right(struct world *world, enum side side, uint32_t page)
{
    const uint8_t *bytes = guest_page(world, side, page);
    uint32_t version = world->guest[side].state.version[page];
    uint64_t wrong = 0;
    for (uint64_t at = 0; at < world->plan.options.page_bytes; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof(word));
        wrong |= word ^ stamp(page, version, at);
    }
    return wrong == 0;
}

static void write_page(struct world *world, enum side side, uint32_t page)
{
    struct guest *guest = &world->guest[side];
    uint8_t *bytes = guest_page(world, side, page);
    uint64_t unit = world->plan.options.own_unit;
    guest->state.version[page]++;
    for (uint64_t at = 0; at < world->plan.options.page_bytes; at += 8) {
        uint64_t word = stamp(page, guest->state.version[page], at);
        memcpy(bytes + at, &word, sizeof(word));
    }
    guest->touched |= UINT64_C(1) << page;
    (void)gw_bits_put(&guest->log, page - page % unit, unit, true); /* as the tracker sees it */
}

/* `tick` sets its life apart from any other's. Some of RAM is one hole. */
void guest_boot(struct world *world, enum side side, uint64_t tick)
{
    struct guest *guest = &world->guest[side];
    uint64_t pages = world->plan.options.pages;
    memset(guest, 0, offsetof(struct guest, ram));
    memset(guest->ram, 0, pages * world->plan.options.page_bytes);
    guest->is_alive = true;
    guest->is_paused = world->plan.options.paused;
    guest->state.tick = tick;
    memset(guest->blocked_page, -1, sizeof(guest->blocked_page));
    for (uint32_t page = 0; page < pages; page++) {
        bool is_hole = page > pages / 5 && page < pages * 2 / 3;
        if (world_random(world, 3) > 0 && !is_hole) {
            write_page(world, side, page);
        }
    }
    world->history = tick;
}

static bool is_missing(const struct world *world, enum side side, uint32_t page)
{
    return side == TARGET && world->target.missing > 0 &&
           !gw_bit_test(world->target.received, page);
}

void guest_check_ram(struct world *world, enum side side)
{
    for (uint32_t page = 0; page < world->plan.options.pages; page++) {
        if (!is_missing(world, side, page) && !is_page_right(world, side, page)) {
            world_fail(world, "page %u on side %d is not version %u", page, side,
                       world->guest[side].state.version[page]);
        }
    }
}

void guest_check_same(struct world *world)
{
    uint64_t bytes = world->plan.options.page_bytes;
    for (uint32_t page = 0; page < world->plan.options.pages; page++) {
        if (!is_missing(world, TARGET, page) &&
            memcmp(guest_page(world, SOURCE, page), guest_page(world, TARGET, page), bytes) != 0) {
            world_fail(world, "page %u differs between the source and the target", page);
        }
    }
}

/* What was loaded at the target is the guest that its RAM belongs to: always, unless RAM is shared
 * and the source's guest went on in it. */
bool guest_is_loaded_whole(const struct world *world)
{
    struct guest_state loaded;
    memcpy(&loaded, world->target_state, sizeof(loaded));
    return !world->plan.options.shared || loaded.tick == world->history;
}

/* True while that vCPU waits for its page; else *page is what it touches next. */
static bool is_blocked(struct world *world, enum side side, uint32_t vcpu, uint32_t *page)
{
    struct guest *guest = &world->guest[side];
    if (guest->blocked_page[vcpu] >= 0) {
        *page = (uint32_t)guest->blocked_page[vcpu];
        if (guest->absent >> *page & 1) {
            return true;
        }
        guest->blocked_page[vcpu] = -1;
    }
    if (guest->absent >> *page & 1) {
        guest->blocked_page[vcpu] = (int)*page;
        target_fault(world, *page, vcpu);
        return true;
    }
    return false;
}

/* One instruction: history must not have gone on without this copy, and RAM must be right. */
void guest_step(struct world *world, enum side side, uint32_t vcpu)
{
    struct guest *guest = &world->guest[side];
    uint64_t pages = world->plan.options.pages;
    uint32_t page = (uint32_t)world_random(world, world_random(world, 4) ? (pages + 6) / 7 : pages);
    if (guest->state.tick != world->history && !world->is_history_free) {
        world_fail(world, "history forked: side %d runs tick %llu, the guest lived %llu", side,
                   (unsigned long long)guest->state.tick, (unsigned long long)world->history);
    }
    if (is_blocked(world, side, vcpu, &page)) {
        return;
    }
    if (!is_page_right(world, side, page)) {
        world_fail(world, "side %d: page %u is not version %u", side, page,
                   guest->state.version[page]);
    }
    write_page(world, side, page);
    guest->state.tick++;
    world->history = guest->state.tick;
}
