/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated guest: knows what every page of its RAM must hold, and how long it has lived. */
#include <string.h>

#include "sim.h"

/* What a page holds at a version: nothing at 0 and at every fifth, else a stamp in every word. */
static uint64_t stamp(uint32_t page, uint32_t version)
{
    return version % 5 == 0 ? 0 : (uint64_t)(page + 1) << 32 | version;
}

static bool is_page_right(const struct guest *guest, uint32_t page)
{
    uint64_t want = stamp(page, guest->state.version[page]);
    for (uint32_t at = 0; at < SIM_PAGE_BYTES; at += 8) {
        uint64_t word;
        memcpy(&word, &guest->ram[page][at], sizeof(word));
        if (word != want) {
            return false;
        }
    }
    return true;
}

static void write_page(struct guest *guest, uint32_t page)
{
    guest->state.version[page]++;
    uint64_t word = stamp(page, guest->state.version[page]);
    for (uint32_t at = 0; at < SIM_PAGE_BYTES; at += 8) {
        memcpy(&guest->ram[page][at], &word, sizeof(word));
    }
    guest->touched |= UINT64_C(1) << page;
    guest->log |= UINT64_C(1) << page;
}

void guest_boot(struct world *world)
{
    struct guest *guest = &world->guest[SOURCE];
    guest->is_running = true;
    guest->blocked_page = -1;
    world->guest[TARGET].blocked_page = -1;
    for (uint32_t page = 0; page < SIM_PAGES; page++) {
        if (world_random(world, 3) > 0 && (page < 8 || page > 26)) {
            write_page(guest, page);
        }
    }
}

void guest_check_ram(struct world *world, enum side side)
{
    for (uint32_t page = 0; page < SIM_PAGES; page++) {
        bool is_missing =
            side == TARGET && world->target.missing > 0 && !(world->target.received[0] >> page & 1);
        if (!is_missing && !is_page_right(&world->guest[side], page)) {
            world_fail(world, "page %u on side %d is not version %u", page, side,
                       world->guest[side].state.version[page]);
        }
    }
}

/* One instruction: history must not have gone on without this copy, and RAM must be right. */
void guest_step(struct world *world, enum side side)
{
    struct guest *guest = &world->guest[side];
    uint32_t page = (uint32_t)world_random(world, world_random(world, 4) ? 6 : SIM_PAGES);
    if (guest->state.tick != world->history && !world->is_history_free) {
        world_fail(world, "history forked: side %d runs tick %llu, the guest lived %llu", side,
                   (unsigned long long)guest->state.tick, (unsigned long long)world->history);
    }
    if (guest->blocked_page >= 0) {
        page = (uint32_t)guest->blocked_page;
        if (guest->absent >> page & 1) {
            return;
        }
        guest->blocked_page = -1;
    }
    if (guest->absent >> page & 1) {
        guest->blocked_page = (int)page;
        target_fault(world, page);
        return;
    }
    if (!is_page_right(guest, page)) {
        world_fail(world, "side %d: page %u is not version %u", side, page,
                   guest->state.version[page]);
    }
    write_page(guest, page);
    guest->state.tick++;
    world->history = guest->state.tick;
}
