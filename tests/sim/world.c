/* SPDX-License-Identifier: Apache-2.0 */
/* The world: chance, time, faults, and whose turn it is. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

enum { SOURCE_CHOICES = 6, TARGET_CHOICES = 3, GUEST_CHOICES = 2 };

#define STEP_NS   UINT64_C(1000000)     /* every step takes a millisecond */
#define OUTAGE_NS UINT64_C(1500000000)  /* a cut lasts this long */
#define HANG_NS   UINT64_C(40000000000) /* longer than any side waits for a word */
#define RESUME_NS (20 * OUTAGE_NS)      /* a source that tries again does so for this long */

uint64_t world_random(struct world *world, uint64_t below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return below ? world->random % below : 0;
}

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;
    if (world->failure[0]) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(world->failure, sizeof(world->failure), format, arguments);
    va_end(arguments);
}

struct connection *world_channel(struct world *world, enum side side, enum gw_role role)
{
    struct connection *newest = NULL;
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        bool is_ours = connection->is_used && connection->role == role &&
                       connection->is_open[side] &&
                       (side == SOURCE || role != GW_ROLE_CONTROL || connection->is_admitted);
        if (is_ours && (!newest || connection->generation > newest->generation)) {
            newest = connection;
        }
    }
    return newest;
}

void world_init(struct world *world, const struct plan *plan, bool is_verbose)
{
    memset(world, 0, sizeof(*world));
    world->plan = *plan;
    world->is_verbose = is_verbose;
    world->random = (plan->seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    world->now_ns = UINT64_C(1000000000);
    (void)world_random(world, 1);
    GW_ASSERT(gw_facts_put(&world->facts, "vCPUs", GW_FACT_DECIMAL, 1) == GW_OK);
    GW_ASSERT(gw_facts_put(&world->facts, "machine", GW_FACT_TEXT, gw_fact_text_encode("sim")) ==
              GW_OK);
    world->is_alive[SOURCE] = true;
    world->is_patient = world_random(world, 2) == 0;
    world->can_postcopy = world_random(world, 8) > 0;
    world->unit_pages = plan->seed % 3 == 0 ? SIM_UNIT : 1;
    world->is_releasing = plan->seed % 2 == 0;
    guest_boot(world);
    target_boot(world);
}

void world_start_migration(struct world *world, const struct gw_session *withdrawn)
{
    struct gw_source_config config = {.facts = &world->facts,
                                      .page_count = SIM_PAGES,
                                      .page_bytes = SIM_PAGE_BYTES,
                                      .guest_name = "sim",
                                      .downtime_ns_max = (20 + world_random(world, 200)) * STEP_NS,
                                      .resume_ns_max = world_random(world, 2) ? RESUME_NS : 0,
                                      .throttle = {world_random(world, 2) == 0, 50, 20, 10, 99},
                                      .recover_ns_max = 60 * OUTAGE_NS};
    config.is_postcopy = withdrawn == NULL && world_random(world, 3) == 0 && world->can_postcopy;
    config.is_verifying = !config.is_postcopy && world_random(world, 2) == 0;
    if (withdrawn == NULL && world_random(world, 3) == 0) {
        config.deadline_ns = (1 + world_random(world, 300)) * STEP_NS;
        config.on_deadline = (enum gw_on_deadline)world_random(world, 3);
    }
    for (int i = 0; i < GW_SESSION_BYTES; i++) {
        config.session.id[i] = (uint8_t)(1 + world_random(world, 255));
    }
    if (withdrawn) {
        config.withdrawn = *withdrawn;
    }
    world->session = config.session;
    world->is_source_started = true;
    world->is_source_finished = false;
    world->bulk_stage = 0;
    config.is_releasing = world->is_releasing;
    gw_source_init(&world->source, &config);
    if (world->unit_pages > 1) {
        world->source.pages.batch_pages = SIM_UNIT_BATCH;
    }
    source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_START});
}

static void crash(struct world *world, enum side side)
{
    world->is_alive[side] = false;
    world->guest[side].is_running = false;
    world->guest[side].blocked_page = -1;
    if (side == SOURCE) {
        world->is_connecting = world->is_connecting_bulk = world->is_stopping = false;
        world->is_departure_owed = false;
    }
    link_close_side(world, side);
}

/* One side's operator gives up, the other's uses the token; only where the engines allow it. */
static void give_up(struct world *world, enum side side)
{
    struct gw_fault fault = {0};
    struct gw_token token;
    char text[GW_TOKEN_BYTES];
    link_cut(world, FAULT_CUT);
    if (side == TARGET) {
        const struct gw_target_event event = {.type = GW_TARGET_EV_GIVE_UP,
                                              .now_ns = world->now_ns};
        if (gw_target_handle(&world->target, &event, &fault) != GW_OK) {
            return;
        }
        gw_target_token(&world->target, &token);
    } else {
        const struct gw_source_event event = {.type = GW_SOURCE_EV_GIVE_UP,
                                              .now_ns = world->now_ns};
        if (gw_source_handle(&world->source, &event, &fault) != GW_OK) {
            return;
        }
        gw_source_token(&world->source, &token);
    }
    gw_token_encode(&token, text);
    GW_ASSERT(gw_token_decode(&token, text, &fault) == GW_OK);
    if (side == TARGET && gw_source_check_token(&world->source, &token, &fault) == GW_OK) {
        source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY});
    } else if (side == SOURCE && gw_target_check_token(&world->target, &token, &fault) == GW_OK) {
        target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_RUN_ANYWAY});
    }
}

/* While pages come: elsewhere HOST_FAULT is the answer to what was asked for. */
static void fail_target(struct world *world)
{
    struct gw_fault fault = {0};
    enum gw_target_state state = gw_target_state(&world->target);
    (void)gw_fault_set(&fault, GW_HOST, "the host failed");
    if (world->is_alive[TARGET] && (state == GW_TARGET_ACTIVE || state == GW_TARGET_AWAITING ||
                                    state == GW_TARGET_GATHERING)) {
        target_tell(world,
                    &(struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = &fault});
    }
}

/* A message that no table has a place for. */
static void lie(struct world *world, enum side side, enum gw_frame_type type)
{
    struct connection *control = world_channel(world, side, GW_ROLE_CONTROL);
    struct gw_message message = {.type = type, .welcome = {.version = GW_PROTOCOL_VERSION}};
    if (world->is_alive[side] && control) {
        send_message(world, control, side, &message);
    }
}

void world_inject(struct world *world, enum fault_kind kind)
{
    if (world->is_verbose) {
        printf("%6llu fault %d\n", (unsigned long long)world->step, kind);
    }
    switch (kind) {
    case FAULT_CUT:
    case FAULT_CUT_TO_TARGET:
    case FAULT_CUT_TO_SOURCE:
        link_cut(world, kind);
        world->network_down_until_ns = world->now_ns + OUTAGE_NS;
        break;
    case FAULT_CUT_UNSEEN:
        link_cut(world, kind);
        break;
    case FAULT_CANCEL:
        if (world->is_alive[SOURCE] && world->is_source_started) {
            source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_CANCEL});
        }
        break;
    case FAULT_CRASH_SOURCE:
        crash(world, SOURCE);
        break;
    case FAULT_CRASH_TARGET:
        crash(world, TARGET);
        break;
    case FAULT_RESTART_TARGET:
        crash(world, TARGET);
        target_boot(world);
        break;
    case FAULT_GIVE_UP_TARGET:
    case FAULT_GIVE_UP_SOURCE:
        if (world->is_alive[SOURCE] && world->is_alive[TARGET]) {
            give_up(world, kind == FAULT_GIVE_UP_TARGET ? TARGET : SOURCE);
        }
        break;
    case FAULT_DISK_FULL:
        world->is_disk_full = true;
        break;
    case FAULT_LOAD_FAILS:
        world->is_load_failing = true;
        break;
    case FAULT_SOURCE_FAILS:
        world->is_source_failing = true;
        break;
    case FAULT_TARGET_FAILS:
        fail_target(world);
        break;
    case FAULT_SOURCE_LIES:
        lie(world, SOURCE, GW_FRAME_WELCOME);
        break;
    case FAULT_TARGET_LIES:
        lie(world, TARGET, GW_FRAME_DONE);
        break;
    case FAULT_POSTCOPY:
    case FAULT_PAUSE:
    case FAULT_RECOVER:
        if (world->is_alive[SOURCE] && world->is_source_started) {
            source_tell(world, &(struct gw_source_event){
                                   .type = kind == FAULT_POSTCOPY ? GW_SOURCE_EV_POSTCOPY
                                           : kind == FAULT_PAUSE  ? GW_SOURCE_EV_PAUSE
                                                                  : GW_SOURCE_EV_RECOVER});
        }
        break;
    case FAULT_TARGET_HANGS:
        world->target_hangs_until_ns = world->now_ns + HANG_NS;
        break;
    case FAULT_NONE:
    case FAULT_KINDS:
        break;
    }
}

static void check_runners(struct world *world)
{
    if (world->guest[SOURCE].is_running && world->guest[TARGET].is_running) {
        world_fail(world, "both sides run the guest");
    }
    if (world->guest[TARGET].is_running && gw_target_runner(&world->target) != GW_RUNNER_TARGET) {
        world_fail(world, "the target runs the guest in state %s",
                   gw_target_state_name(gw_target_state(&world->target)));
    }
    if (world->guest[SOURCE].is_running && world->is_source_started &&
        gw_source_runner(&world->source) != GW_RUNNER_SOURCE && world->is_alive[SOURCE] &&
        world->source.action_count == 0) {
        world_fail(world, "the source runs the guest in state %s",
                   gw_source_state_name(gw_source_state(&world->source)));
    }
}

/* Time passes for whoever waits: the next moment anything is due. */
static bool jump_to_deadline(struct world *world)
{
    bool has_source = world->is_alive[SOURCE] && world->is_source_started;
    uint64_t source_at = has_source ? gw_source_deadline(&world->source) : UINT64_MAX;
    bool has_target = world->is_alive[TARGET] && !world->is_patient;
    uint64_t target_at = has_target ? gw_target_deadline(&world->target) : UINT64_MAX;
    if (world->target_hangs_until_ns > world->now_ns) {
        target_at = world->target_hangs_until_ns;
    }
    uint64_t at = source_at < target_at ? source_at : target_at;
    if (at == UINT64_MAX) {
        return false;
    }
    world->now_ns = at > world->now_ns ? at : world->now_ns;
    if (at == source_at) {
        source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_TICK});
    } else {
        target_tell(world, &(struct gw_target_event){.type = GW_TARGET_EV_TICK});
    }
    return true;
}

static bool take_turn(struct world *world, uint32_t choice)
{
    if (choice < SOURCE_CHOICES) {
        return source_step(world, choice);
    }
    choice -= SOURCE_CHOICES;
    if (choice < TARGET_CHOICES) {
        return target_step(world, choice);
    }
    enum side side = choice - TARGET_CHOICES == 0 ? SOURCE : TARGET;
    /* QEMU's rule lets the CPUs have at least a hundredth of the time. */
    bool is_slowed = side == SOURCE && world_random(world, 100) < world->throttle_percent;
    if (world->guest[side].is_running && !is_slowed &&
        (!world->is_quiet || world_random(world, 6) == 0)) {
        guest_step(world, side);
    }
    return false; /* a guest's step alone does not keep the world going */
}

bool world_step(struct world *world)
{
    enum { CHOICES = SOURCE_CHOICES + TARGET_CHOICES + GUEST_CHOICES };
    uint32_t first = (uint32_t)world_random(world, CHOICES);
    world->step++;
    world->now_ns += STEP_NS;
    for (uint32_t i = 0; i < world->plan.fault_count; i++) {
        if (world->plan.fault[i].step == world->step) {
            world_inject(world, world->plan.fault[i].kind);
        }
    }
    bool is_done = false;
    for (uint32_t n = 0; n < CHOICES && !is_done; n++) {
        is_done = take_turn(world, (first + n) % CHOICES);
    }
    if (!is_done) {
        is_done = jump_to_deadline(world);
    }
    check_runners(world);
    return is_done && !world->failure[0];
}
