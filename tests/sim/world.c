/* SPDX-License-Identifier: Apache-2.0 */
/* The world: chance, time, and whose turn it is; and what must be true after every step. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

enum { WAIT_STEPS_MAX = 300 }; /* for a state to be met by a fault */

uint64_t world_random(struct world *world, uint64_t below)
{
    return chance_next(&world->random, below);
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

void say(const struct world *world, const char *who, const char *what, const char *more)
{
    if (world->is_verbose) {
        printf("%6llu %12.3f ms  %-6s %-9s %s\n", (unsigned long long)world->step,
               (double)(world->now_ns - SIM_S) / 1e6, who, what, more);
    }
}

/* ---- Errands ---- */

void errand_begin(struct world *world, struct errand *errand)
{
    uint64_t longest_us = world->is_quiet ? 1000 : world->plan.options.host_us;
    errand->is_owed = true;
    errand->due_ns = world->now_ns + 1000 * world_random(world, longest_us + 1);
}

bool errand_is_due(const struct world *world, const struct errand *errand)
{
    return errand->is_owed && errand->due_ns <= world->now_ns;
}

/* ---- Beginnings ---- */

void world_init(struct world *world, const struct plan *plan, bool is_verbose)
{
    memset(world, 0, offsetof(struct world, guest));
    world->plan = *plan;
    world->is_verbose = is_verbose;
    world->random = (plan->seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    world->now_ns = SIM_S;
    for (uint32_t i = 0; i < SIM_BULK; i++) {
        world->bulk[i].retry_ns = SIM_NEVER;
    }
    (void)world_random(world, 1);
    GW_ASSERT(gw_facts_put(&world->facts, "vCPUs", GW_FACT_DECIMAL, plan->options.vcpus) == GW_OK);
    GW_ASSERT(gw_facts_put(&world->facts, "machine", GW_FACT_TEXT, gw_fact_text_encode("sim")) ==
              GW_OK);
    GW_ASSERT(gw_facts_put(&world->other_facts, "vCPUs", GW_FACT_DECIMAL, 77) == GW_OK);
    world->is_up[SOURCE] = true;
    memset(&world->guest[TARGET], 0, offsetof(struct guest, ram));
    memset(world->guest[TARGET].blocked_page, -1, sizeof(world->guest[TARGET].blocked_page));
    guest_boot(world, SOURCE, 0);
    target_boot(world);
}

/* Plain: with no option that may keep it from succeeding. */
void world_start_migration(struct world *world, const struct gw_session *withdrawn, bool is_plain)
{
    const struct options *options = &world->plan.options;
    struct gw_source_config config = {.facts = &world->facts,
                                      .page_count = options->pages,
                                      .page_bytes = (uint32_t)options->page_bytes,
                                      .channel_count = (uint32_t)options->channels,
                                      .guest_name = "sim",
                                      .downtime_ns_max = options->downtime_ms * SIM_MS,
                                      .bandwidth_max = options->limit,
                                      .postcopy_bandwidth_max = options->push_limit,
                                      .resume_ns_max = options->resume_ms * SIM_MS,
                                      .recover_ns_max = options->recover_ms * SIM_MS,
                                      .throttle = {options->throttle, 50, 20, 10, 99},
                                      .is_auto = options->is_auto,
                                      .compress = (enum gw_compress)options->compress,
                                      .is_ack_ignored = options->no_ack,
                                      .is_releasing = options->release,
                                      .is_ram_shared = options->shared,
                                      .own_unit_pages = (uint32_t)options->own_unit,
                                      .handover_ns = options->handover_ms * SIM_MS};
    world->is_told_lost = false;
    if (!is_plain) {
        config.is_pausing = options->pausing;
        config.is_postcopy = options->postcopy;
        config.is_verifying = options->verify;
        config.deadline_ns = options->deadline_ms * SIM_MS;
        config.on_deadline = (enum gw_on_deadline)options->on_deadline;
    } else {
        world->are_devices_well = true;
        config.downtime_ns_max = SIM_S;
        config.bandwidth_max = 0;
    }
    for (int i = 0; i < GW_SESSION_BYTES; i++) {
        config.session.id[i] = (uint8_t)(1 + world_random(world, 255));
    }
    if (withdrawn) {
        config.withdrawn = *withdrawn;
    }
    world->session = config.session;
    world->is_source_started = true;
    for (uint32_t i = 0; i < SIM_BULK; i++) {
        world->bulk[i].stage = 0;
    }
    world->throttle_percent = 0;
    world->agreeing.is_owed = false;
    gw_source_init(&world->source, &config);
    if (options->unit > 1 && world->source.pages.batch_pages > SIM_UNIT_BATCH) {
        world->source.pages.batch_pages = SIM_UNIT_BATCH;
    }
    world_inject_due(world);
    (void)source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_START});
}

/* ---- The quiet ---- */

void world_heal(struct world *world)
{
    world->is_quiet = true;
    world->is_disk_full = world->is_load_failing = false;
    world->is_failing[SOURCE] = world->is_failing[TARGET] = world->is_work_failing = false;
    world->hung_until_ns[SOURCE] = world->hung_until_ns[TARGET] = world->stuck_until_ns = 0;
    world->deaf_until_ns[SOURCE] = world->deaf_until_ns[TARGET] = 0;
    for (int side = 0; side < 2; side++) {
        world->guest[side].is_paused = world->guest[side].is_paused && world->plan.options.paused;
    }
    if (!world->is_up[TARGET] || gw_target_state(&world->target) == GW_TARGET_NONE) {
        target_boot(world);
    }
}

/* ---- After every step ---- */

static void check_runners(struct world *world)
{
    const struct guest *at_source = &world->guest[SOURCE];
    const struct guest *at_target = &world->guest[TARGET];
    if (at_source->is_alive && at_target->is_alive && !world->is_history_free) {
        world_fail(world, "both sides run the guest");
    }
    if (at_target->is_alive && gw_target_runner(&world->target) != GW_RUNNER_TARGET) {
        world_fail(world, "the target runs the guest in state %s",
                   gw_target_state_name(gw_target_state(&world->target)));
    }
    if (at_source->is_alive && world->is_source_started && !world->was_booted_anew &&
        gw_source_runner(&world->source) != GW_RUNNER_SOURCE && world->source.action_count == 0) {
        world_fail(world, "the source runs the guest in state %s",
                   gw_source_state_name(gw_source_state(&world->source)));
    }
}

static void check_bounds(struct world *world)
{
    bool is_within = world->source.action_count <= GW_SOURCE_ACTIONS_MAX / 2 &&
                     world->target.action_count <= GW_TARGET_ACTIONS_MAX / 2 &&
                     world->target.history.count <= GW_HISTORY_MAX;
    for (uint32_t i = 0; i < SIM_BULK; i++) {
        const struct gw_pages_channel *channel = &world->source.pages.channel[i];
        bool is_used = world->is_source_started && i < world->source.pages.channel_count;
        is_within =
            is_within && world->target.channel[i].suspect_count <= GW_WINDOW_BATCHES &&
            (!is_used || channel->sequence_picked - channel->sequence_acked <= GW_WINDOW_BATCHES);
    }
    if (!is_within) {
        world_fail(world, "a bound is passed: %u and %u actions wait", world->source.action_count,
                   world->target.action_count);
    }
}

/* ---- Time ---- */

/* What is due already, and yet was not done, waits for something else. */
static void consider(const struct world *world, uint64_t *next_ns, uint64_t when_ns)
{
    if (when_ns > world->now_ns && when_ns < *next_ns) {
        *next_ns = when_ns;
    }
}

static void consider_errand(const struct world *world, uint64_t *next_ns,
                            const struct errand *errand)
{
    if (errand->is_owed) {
        consider(world, next_ns, errand->due_ns);
    }
}

/* While the way is closed: when it opens, or when the one who tries tires. */
static void consider_connecting(const struct world *world, uint64_t *next_ns,
                                const struct errand *errand)
{
    if (errand->is_owed) {
        consider(world, next_ns, errand->due_ns);
        consider(world, next_ns, errand->due_ns + SIM_CONNECT_NS);
        consider(world, next_ns, world->deaf_until_ns[SOURCE]);
        consider(world, next_ns, world->deaf_until_ns[TARGET]);
    }
}

static void consider_source(const struct world *world, uint64_t *next_ns)
{
    if (!world->is_up[SOURCE] || !world->is_source_started) {
        return;
    }
    if (world->hung_until_ns[SOURCE] > world->now_ns) {
        consider(world, next_ns, world->hung_until_ns[SOURCE]);
        return;
    }
    consider(world, next_ns, gw_source_deadline(&world->source));
    consider(world, next_ns, world->bulk_limit_ns);
    for (uint32_t i = 0; i < SIM_BULK; i++) {
        consider(world, next_ns, world->bulk[i].retry_ns);
    }
    consider_connecting(world, next_ns, &world->connecting);
    consider_connecting(world, next_ns, &world->connecting_bulk);
    consider_errand(world, next_ns, &world->stopping);
    consider_errand(world, next_ns, &world->departing);
    consider_errand(world, next_ns, &world->collecting);
    consider_errand(world, next_ns, &world->agreeing);
}

static void consider_target(const struct world *world, uint64_t *next_ns)
{
    if (!world->is_up[TARGET]) {
        return;
    }
    if (world->hung_until_ns[TARGET] > world->now_ns) {
        consider(world, next_ns, world->hung_until_ns[TARGET]);
        return;
    }
    if (!world->plan.options.patient) {
        consider(world, next_ns, gw_target_deadline(&world->target));
    }
    if (world->answer_count > 0) {
        consider_errand(world, next_ns, &world->answering[world->answer_first]);
    }
    consider(world, next_ns, world->stuck_until_ns);
    consider_errand(world, next_ns, &world->working);
    for (int i = 0; i < SIM_DEVICES; i++) {
        consider_errand(world, next_ns, &world->readying[i]);
    }
}

/* Nobody can do anything now: on to the next moment when somebody can. */
static bool jump(struct world *world)
{
    uint64_t next_ns = link_next_due(world);
    consider_source(world, &next_ns);
    consider_target(world, &next_ns);
    if (next_ns == SIM_NEVER) {
        return false;
    }
    world->now_ns = next_ns;
    return true;
}

/* ---- Turns ---- */

static void guest_turn(struct world *world, enum side side, uint32_t vcpu)
{
    /* QEMU's rule lets the CPUs have at least a hundredth of the time. */
    bool is_slowed = side == SOURCE && world_random(world, 100) < world->throttle_percent;
    uint64_t calm = world->is_quiet ? 6 + world->plan.options.calm : world->plan.options.calm;
    if (guest_runs(world, side) && !is_slowed && !world->is_idle &&
        world->hung_until_ns[side] <= world->now_ns && world_random(world, calm + 1) == 0) {
        guest_step(world, side, vcpu);
    }
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
    choice -= TARGET_CHOICES;
    uint32_t vcpu = choice / 2;
    if (vcpu < world->plan.options.vcpus) {
        guest_turn(world, choice % 2 ? TARGET : SOURCE, vcpu);
    }
    return false; /* a guest's step alone does not keep the world going */
}

void world_inject_due(struct world *world)
{
    while (!world->is_quiet && world->faults_fired < world->plan.fault_count) {
        const struct fault_plan *fault = &world->plan.fault[world->faults_fired];
        if (fault->is_by_state && !world->armed_step && ++world->waited > WAIT_STEPS_MAX) {
            world->faults_fired++; /* passed over */
            world->waited = 0;
            continue;
        }
        if (fault->is_by_state && !world->armed_step) {
            bool is_there = side_state(world, fault->side) == fault->state &&
                            (fault->side == TARGET || world->is_source_started);
            world->armed_step = is_there ? world->step + 1 : 0;
        }
        bool is_waiting = fault->kind == FAULT_TELL && fault->told == TARGET &&
                          side_origin(TARGET, fault->event) == ORIGIN_PEER &&
                          !target_is_free(world);
        if (is_waiting) {
            return;
        }
        bool is_due = fault->is_by_state
                          ? world->armed_step && world->step + 1 >= world->armed_step + fault->after
                          : world->step >= world->fired_step + fault->after;
        if (!is_due) {
            return;
        }
        world->armed_step = 0;
        world->waited = 0;
        world->fired_step = world->step;
        world->faults_fired++;
        world_inject(world, world->faults_fired - 1);
    }
}

bool world_step(struct world *world)
{
    enum { CHOICES = SOURCE_CHOICES + TARGET_CHOICES + 2 * SIM_VCPUS };
    uint32_t first = (uint32_t)world_random(world, CHOICES);
    world->step++;
    world->now_ns += world->plan.options.step_us * 1000;
    world_inject_due(world);
    bool is_done = false;
    for (uint32_t n = 0; n < CHOICES && !is_done; n++) {
        is_done = take_turn(world, (first + n) % CHOICES);
    }
    if (!is_done) {
        is_done = jump(world);
    }
    check_runners(world);
    check_bounds(world);
    return is_done && !world->failure[0];
}
