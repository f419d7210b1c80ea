/* SPDX-License-Identifier: Apache-2.0 */
/* Both engines' states, events and rows, from their tables: what is added there is known here. */
#include "sim.h"

#include "migrate/source_table.h"
#include "migrate/target_table.h"

static const char *const source_events[] = {
#define EVENT(name, origin) #name,
    GW_SOURCE_EVENTS(EVENT)
#undef EVENT
};

static const char *const target_events[] = {
#define EVENT(name, origin) #name,
    GW_TARGET_EVENTS(EVENT)
#undef EVENT
};

static const enum origin source_origins[] = {
#define EVENT(name, origin) ORIGIN_##origin,
    GW_SOURCE_EVENTS(EVENT)
#undef EVENT
};

static const enum origin target_origins[] = {
#define EVENT(name, origin) ORIGIN_##origin,
    GW_TARGET_EVENTS(EVENT)
#undef EVENT
};

static const bool source_rows[GW_SOURCE_STATE_COUNT][GW_SOURCE_EVENT_COUNT] = {
#define ROW(from, event, to, step) [GW_SOURCE_##from][GW_SOURCE_EV_##event] = true,
    GW_SOURCE_TRANSITIONS(ROW)
#undef ROW
};

static const bool target_rows[GW_TARGET_STATE_COUNT][GW_TARGET_EVENT_COUNT] = {
#define ROW(from, event, to, step) [GW_TARGET_##from][GW_TARGET_EV_##event] = true,
    GW_TARGET_TRANSITIONS(ROW)
#undef ROW
};

static_assert((int)GW_SOURCE_STATE_COUNT <= 64 && (int)GW_SOURCE_EVENT_COUNT <= 64 &&
                  (int)GW_TARGET_STATE_COUNT <= 64 && (int)GW_TARGET_EVENT_COUNT <= 64,
              "struct tally has room for as many");

uint32_t side_states(enum side side)
{
    return side == SOURCE ? (uint32_t)GW_SOURCE_STATE_COUNT : (uint32_t)GW_TARGET_STATE_COUNT;
}

uint32_t side_events(enum side side)
{
    return side == SOURCE ? (uint32_t)GW_SOURCE_EVENT_COUNT : (uint32_t)GW_TARGET_EVENT_COUNT;
}

const char *side_state_name(enum side side, uint32_t state)
{
    return side == SOURCE ? gw_source_state_name((enum gw_source_state)state)
                          : gw_target_state_name((enum gw_target_state)state);
}

const char *side_event_name(enum side side, uint32_t event)
{
    return side == SOURCE ? source_events[event] : target_events[event];
}

enum origin side_origin(enum side side, uint32_t event)
{
    return side == SOURCE ? source_origins[event] : target_origins[event];
}

bool side_is_row(enum side side, uint32_t state, uint32_t event)
{
    return side == SOURCE ? source_rows[state][event] : target_rows[state][event];
}

uint32_t side_state(const struct world *world, enum side side)
{
    return side == SOURCE ? (uint32_t)gw_source_state(&world->source)
                          : (uint32_t)gw_target_state(&world->target);
}

bool side_is_carrier(enum side side, uint32_t event)
{
    return side == SOURCE ? event == GW_SOURCE_EV_MESSAGE || event == GW_SOURCE_EV_TICK
                          : event == GW_TARGET_EV_MESSAGE || event == GW_TARGET_EV_TICK ||
                                event == GW_TARGET_EV_INTRO;
}
