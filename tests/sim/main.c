/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: runs worlds, checks how each ends, and prints the line that replays a failure.
 *
 *   sim                            a short check: exhaustive faults on a few seeds, random runs
 *   sim --runs N [--seed S]        N random runs from seed S
 *   sim --exhaustive SEEDS         every fault at every step, on that many seeds
 *   sim --replay SEED[:STEP,KIND]... [--corrupt N]    one run, told step by step
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { STEPS_MAX = 60000, QUIET_AFTER = 3000 };

static struct world world;
static uint64_t resumed_runs, recovered_runs, refused_runs;
static uint8_t source_rows[GW_SOURCE_STATE_COUNT][GW_SOURCE_EVENT_COUNT];
static uint8_t target_rows[GW_TARGET_STATE_COUNT][GW_TARGET_EVENT_COUNT];

static void note_rows(void)
{
    for (int i = 0; i < GW_SOURCE_STATE_COUNT; i++) {
        for (int j = 0; j < GW_SOURCE_EVENT_COUNT; j++) {
            source_rows[i][j] |= world.source.row_taken[i][j];
        }
    }
    for (int i = 0; i < GW_TARGET_STATE_COUNT; i++) {
        for (int j = 0; j < GW_TARGET_EVENT_COUNT; j++) {
            target_rows[i][j] |= world.target.row_taken[i][j];
        }
    }
}

static void run_until_still(void)
{
    uint64_t limit = world.step + STEPS_MAX;
    uint64_t quiet_at = world.step + QUIET_AFTER;
    while (world_step(&world)) {
        world.is_quiet = world.step > quiet_at;
        if (world.step > limit) {
            world_fail(&world, "no end in sight: source %s, target %s",
                       gw_source_state_name(gw_source_state(&world.source)),
                       gw_target_state_name(gw_target_state(&world.target)));
        }
    }
    note_rows();
}

static bool was_given_up(void)
{
    for (uint32_t i = 0; i < world.plan.fault_count; i++) {
        if (world.plan.fault[i].kind == FAULT_GIVE_UP_SOURCE) {
            return true;
        }
    }
    return false;
}

static bool has_only_cuts(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        enum fault_kind kind = plan->fault[i].kind;
        if (kind != FAULT_CUT && kind != FAULT_CUT_TO_TARGET && kind != FAULT_CUT_TO_SOURCE &&
            kind != FAULT_CUT_UNSEEN && kind != FAULT_POSTCOPY && kind != FAULT_RECOVER &&
            !(kind == FAULT_PAUSE && world.is_patient)) { /* else it is given up meanwhile */
            return false;
        }
    }
    return true;
}

/* A lost link costs a pause: once pages went, the migration ends as if it had not been lost. */
static void expect_resumed(void)
{
    const struct gw_source *source = &world.source;
    bool may_be_late =
        source->config.deadline_ns > 0 && source->config.on_deadline == GW_ON_DEADLINE_CANCEL;
    if (source->config.resume_ns_max == 0 || may_be_late || !has_only_cuts(&world.plan) ||
        source->setup_ns == 0) {
        return;
    }
    resumed_runs += source->resumes > 0;
    recovered_runs += source->recoveries > 0;
    if (!world.guest[TARGET].is_running || world.target.missing > 0) {
        world_fail(&world, "only the link was lost, and the guest did not move: source %s (%s)",
                   gw_source_state_name(gw_source_state(source)), gw_source_fault(source)->text);
    }
}

/* Both processes live and the link is back: the guest must run, on one side. */
static void expect_running(void)
{
    bool is_at_source = world.guest[SOURCE].is_running;
    bool is_at_target = world.guest[TARGET].is_running;
    bool died_with_target = false;
    const struct gw_record_entry *entry = gw_history_get(&world.disk, &world.session);
    if (entry && (entry->state == GW_RECORD_TOOK || entry->state == GW_RECORD_PULLING) &&
        gw_target_state(&world.target) == GW_TARGET_LISTENING) {
        died_with_target = true; /* it ran there, and that process crashed: as with any host */
    }
    bool is_lost = gw_source_state(&world.source) == GW_SOURCE_LOST ||
                   gw_target_state(&world.target) == GW_TARGET_LOST;
    if (!is_at_source && !is_at_target && !died_with_target && !is_lost && !was_given_up()) {
        world_fail(&world, "the guest runs nowhere: source %s, target %s",
                   gw_source_state_name(gw_source_state(&world.source)),
                   gw_target_state_name(gw_target_state(&world.target)));
    }
    if (is_at_source) {
        guest_check_ram(&world, SOURCE);
    }
    if (is_at_target) {
        guest_check_ram(&world, TARGET);
    }
}

/* Whatever went wrong left the source able to try again, and this time it succeeds. */
static void expect_second_try(void)
{
    const struct gw_session before = world.session;
    enum gw_source_state state = gw_source_state(&world.source);
    if (!world.guest[SOURCE].is_running || gw_target_state(&world.target) == GW_TARGET_DONE ||
        (state != GW_SOURCE_FAILED && state != GW_SOURCE_CANCELLED)) {
        return;
    }
    world.plan.fault_count = 0;
    world.plan.corrupt_one_in = 0;
    world.is_disk_full = false;
    world.is_load_failing = false;
    world.is_source_failing = false;
    world.target_hangs_until_ns = 0;
    world.is_quiet = false;
    world.network_down_until_ns = 0;
    if (gw_target_state(&world.target) == GW_TARGET_NONE) {
        target_boot(&world); /* it ended because it could not write its records */
    }
    world_start_migration(&world, &before);
    run_until_still();
    if (!world.guest[TARGET].is_running && !world.failure[0]) {
        world_fail(&world, "the second migration did not succeed: source %s (%s), target %s (%s)",
                   gw_source_state_name(gw_source_state(&world.source)),
                   gw_source_fault(&world.source)->text,
                   gw_target_state_name(gw_target_state(&world.target)),
                   gw_target_fault(&world.target)->text);
    }
    if (world.guest[TARGET].is_running) {
        guest_check_ram(&world, TARGET);
    }
}

/* One side is dead for good: what the other holds can still be saved by its operator. */
static void expect_saved(void)
{
    uint64_t lived = world.history;
    world.plan.fault_count = 0;
    if (world.is_alive[TARGET] && gw_target_state(&world.target) == GW_TARGET_READY &&
        world.target.missing == 0) {
        struct guest_state loaded;
        memcpy(&loaded, world.target_state, sizeof(loaded));
        world.is_history_free = loaded.tick != lived; /* the source had run on before it died */
        target_tell(&world, &(struct gw_target_event){.type = GW_TARGET_EV_RUN_ANYWAY});
        run_until_still();
        if (world.is_disk_full) { /* it could not be recorded: nothing was lost; make room */
            world.is_disk_full = false;
            target_tell(&world, &(struct gw_target_event){.type = GW_TARGET_EV_RUN_ANYWAY});
            run_until_still();
        }
        if (!world.guest[TARGET].is_running) {
            world_fail(&world, "the target was ready, and its operator could not run the guest");
        }
    }
    if (world.is_alive[SOURCE] && gw_source_state(&world.source) >= GW_SOURCE_HELD &&
        gw_source_state(&world.source) <= GW_SOURCE_PUSH_OPENING) {
        bool is_whole = world.source.release.released_count == 0;
        world.is_history_free = world.guest[SOURCE].state.tick != lived;
        source_tell(&world, &(struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY});
        run_until_still();
        refused_runs += !is_whole;
        if (world.guest[SOURCE].is_running != is_whole) {
            world_fail(&world, "the source was held, its copy %s, and its operator could%s run it",
                       is_whole ? "whole" : "partly released", is_whole ? " not" : "");
        }
    }
    if (world.is_alive[SOURCE] && !world.guest[SOURCE].is_running &&
        gw_source_runner(&world.source) == GW_RUNNER_SOURCE) {
        world_fail(&world, "the target died and the source does not run the guest, in state %s",
                   gw_source_state_name(gw_source_state(&world.source)));
    }
}

/* A source that is held waits for as long as it takes: a target that is gone for good ends the
 * phase after a few tries to reach it. */
static void run_faulty_phase(void)
{
    uint64_t limit = world.step + STEPS_MAX;
    while (world_step(&world)) {
        bool is_target_gone =
            !world.is_alive[TARGET] || gw_target_state(&world.target) == GW_TARGET_NONE;
        bool is_held_for_good =
            is_target_gone && world.source.generation > 6 && world.source.state >= GW_SOURCE_HELD;
        world.is_quiet = world.step > QUIET_AFTER;
        if (is_held_for_good) {
            break;
        }
        if (world.step > limit) {
            world_fail(&world, "no end in sight: source %s, target %s",
                       gw_source_state_name(gw_source_state(&world.source)),
                       gw_target_state_name(gw_target_state(&world.target)));
        }
    }
    note_rows();
}

static bool run(const struct plan *plan, bool is_verbose)
{
    world_init(&world, plan, is_verbose);
    world_start_migration(&world, NULL);
    run_faulty_phase();
    if (world.is_alive[SOURCE] && gw_source_state(&world.source) == GW_SOURCE_PUSH_PAUSED) {
        source_tell(&world, &(struct gw_source_event){.type = GW_SOURCE_EV_RECOVER});
        run_faulty_phase();
    }
    bool is_target_alive =
        world.is_alive[TARGET] && gw_target_state(&world.target) != GW_TARGET_NONE;
    if (!world.failure[0] && world.is_alive[SOURCE] && is_target_alive) {
        expect_running();
        expect_resumed();
        expect_second_try();
    } else if (!world.failure[0]) {
        expect_saved();
    }
    if (!world.failure[0]) {
        return true;
    }
    printf("FAILED: %s\n  replay: sim --replay %llu", world.failure,
           (unsigned long long)plan->seed);
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        printf(":%llu,%d", (unsigned long long)plan->fault[i].step, plan->fault[i].kind);
    }
    printf(" --corrupt %u\n", plan->corrupt_one_in);
    return false;
}

static bool run_exhaustive(uint64_t seeds, uint64_t *count)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct plan plan = {.seed = seed};
        if (!run(&plan, false)) {
            return false;
        }
        uint64_t steps = world.step;
        for (int kind = FAULT_CUT; kind < FAULT_KINDS; kind++) {
            for (uint64_t step = 1; step <= steps; step++, (*count)++) {
                plan.fault_count = 1;
                plan.fault[0] = (struct fault_plan){.step = step, .kind = (enum fault_kind)kind};
                if (!run(&plan, false)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static bool run_random(uint64_t runs, uint64_t seed)
{
    for (uint64_t n = 0; n < runs; n++) {
        struct plan plan = {.seed = seed + n};
        uint64_t chance = (seed + n) * UINT64_C(0xd1342543de82ef95) + 1;
        plan.fault_count = (uint32_t)(chance >> 60) % (SIM_FAULTS_MAX + 1);
        plan.corrupt_one_in = (chance >> 58) & 1 ? 4 : 0;
        for (uint32_t i = 0; i < plan.fault_count; i++) {
            chance = chance * UINT64_C(0xd1342543de82ef95) + 99;
            plan.fault[i].step = 1 + (chance >> 33) % 150;
            plan.fault[i].kind = (enum fault_kind)(1 + (chance >> 20) % (FAULT_KINDS - 1));
        }
        if (!run(&plan, false)) {
            return false;
        }
    }
    return true;
}

static bool replay(const char *text, uint32_t corrupt_one_in)
{
    char *rest = NULL;
    struct plan plan = {.seed = strtoull(text, &rest, 0), .corrupt_one_in = corrupt_one_in};
    while (*rest == ':' && plan.fault_count < SIM_FAULTS_MAX) {
        plan.fault[plan.fault_count].step = strtoull(rest + 1, &rest, 0);
        plan.fault[plan.fault_count++].kind = (enum fault_kind)strtoul(rest + 1, &rest, 0);
    }
    return run(&plan, true);
}

/* Rows of the tables that no run took: each is a path nobody has seen. */
#define COUNT_ROW(engine, from, event)                                \
    all++;                                                            \
    if (!engine##_rows[from][event]) {                                \
        missed++;                                                     \
        printf("never taken: " #engine " " #from " on " #event "\n"); \
    }
#include "migrate/source_table.h"
#include "migrate/target_table.h"

static uint32_t report_rows(void)
{
    uint32_t all = 0;
    uint32_t missed = 0;
#define SOURCE_ROW(from, event, to, step) COUNT_ROW(source, GW_SOURCE_##from, GW_SOURCE_EV_##event)
    GW_SOURCE_TRANSITIONS(SOURCE_ROW)
#define TARGET_ROW(from, event, to, step) COUNT_ROW(target, GW_TARGET_##from, GW_TARGET_EV_##event)
    GW_TARGET_TRANSITIONS(TARGET_ROW)
    printf("%u of %u transitions taken\n", all - missed, all);
    return missed;
}

int main(int argc, char **argv)
{
    uint64_t runs = 20000;
    uint64_t seed = 1;
    uint64_t exhaustive = 3;
    uint64_t count = 0;
    const char *replayed = NULL;
    uint32_t corrupt = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--runs") == 0) {
            runs = strtoull(argv[i + 1], NULL, 0);
            exhaustive = 0;
        } else if (strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(argv[i + 1], NULL, 0);
        } else if (strcmp(argv[i], "--exhaustive") == 0) {
            exhaustive = strtoull(argv[i + 1], NULL, 0);
            runs = 0;
        } else if (strcmp(argv[i], "--replay") == 0) {
            replayed = argv[i + 1];
        } else if (strcmp(argv[i], "--corrupt") == 0) {
            corrupt = (uint32_t)strtoul(argv[i + 1], NULL, 0);
        }
    }
    if (replayed) {
        return replay(replayed, corrupt) ? 0 : 1;
    }
    if (!run_exhaustive(exhaustive, &count) || !run_random(runs, seed)) {
        return 1;
    }
    printf("%llu runs with one fault at every step, %llu random runs\n", (unsigned long long)count,
           (unsigned long long)runs);
    printf("%llu copies could not run again: memory of theirs was given back\n",
           (unsigned long long)refused_runs);
    printf("%llu went on after a lost link, %llu in postcopy\n", (unsigned long long)resumed_runs,
           (unsigned long long)recovered_runs);
    (void)report_rows();
    return 0;
}
