/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One whole run: a phase of faults, then the quiet, in which both processes live and the link is
 * back; and what must have become of the guest by then (docs/HANDOVER.md, "What becomes of the
 * guest").
 */
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "sim.h"

#define FAULTY_NS_MAX (1500 * SIM_S) /* virtual time; most end long before */
#define QUIET_NS_MAX  (300 * SIM_S)  /* within which all that can end has ended */
#define BUSY_NS_MAX   (60 * SIM_S)   /* then the guest stands still: any migration converges */

enum { FAULTY_STEPS_MAX = 8000, QUIET_STEPS_MAX = 500000 };

struct tally *tally;
static struct world world;

static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void note_rows(void)
{
    for (uint32_t i = 0; i < GW_SOURCE_STATE_COUNT && world.is_source_started; i++) {
        for (uint32_t j = 0; j < GW_SOURCE_EVENT_COUNT; j++) {
            tally->row[SOURCE][i][j] |= world.source.row_taken[i][j];
        }
    }
    for (uint32_t i = 0; i < GW_TARGET_STATE_COUNT; i++) {
        for (uint32_t j = 0; j < GW_TARGET_EVENT_COUNT; j++) {
            tally->row[TARGET][i][j] |= world.target.row_taken[i][j];
        }
    }
}

/* ---- Phases ---- */

static bool is_source_over(void)
{
    enum gw_source_state state = gw_source_state(&world.source);
    bool is_idle = world.source.action_count == 0 && !world.departing.is_owed;
    return !world.is_up[SOURCE] || !world.is_source_started ||
           (is_idle && (state == GW_SOURCE_COMPLETED || state == GW_SOURCE_FAILED ||
                        state == GW_SOURCE_CANCELLED || state == GW_SOURCE_LOST));
}

static bool is_target_over(void)
{
    const struct gw_target *target = &world.target;
    if (target->action_count > 0 || world.working.is_owed || world.answer_count > 0) {
        return false;
    }
    switch (gw_target_state(target)) {
    case GW_TARGET_LISTENING:
    case GW_TARGET_AWAITING:
    case GW_TARGET_DONE:
    case GW_TARGET_LOST:
        return true;
    case GW_TARGET_READY:
    case GW_TARGET_RUNNING:
    case GW_TARGET_STRANDED:
        return !target->is_linked;
    default:
        return false;
    }
}

static void run_faulty_phase(void)
{
    uint64_t until_ns = SIM_NEVER;
    while (world_step(&world)) {
        if (world.plan.fault_count == 0) {
            until_ns = is_source_over() && is_target_over() ? 0 : SIM_NEVER;
        } else if (world.faults_fired == world.plan.fault_count && until_ns == SIM_NEVER) {
            uint64_t from_ns =
                world.quiet_from_ns > world.now_ns ? world.quiet_from_ns : world.now_ns;
            until_ns = from_ns + world.plan.options.linger_ms * SIM_MS;
        }
        if (world.now_ns >= until_ns || world.now_ns > FAULTY_NS_MAX ||
            world.step > FAULTY_STEPS_MAX) {
            break;
        }
    }
    note_rows();
}

static bool run_quiet_phase(void)
{
    uint64_t from_ns = world.now_ns;
    uint64_t steps = world.step + QUIET_STEPS_MAX;
    bool is_over = false;
    while (!is_over && world_step(&world)) {
        is_over = is_source_over() && is_target_over();
        world.is_idle = world.now_ns > from_ns + BUSY_NS_MAX;
        if (gw_target_state(&world.target) == GW_TARGET_NONE) {
            target_boot(&world); /* it could not write its records, and ended */
        }
        if (world.now_ns > from_ns + QUIET_NS_MAX || world.step > steps) {
            break;
        }
    }
    note_rows();
    return is_over || (is_source_over() && is_target_over());
}

/* ---- Operators, in the end ---- */

static bool is_target_at_hand(void)
{
    return memcmp(&world.target.session, &world.session, sizeof(world.session)) == 0 &&
           gw_target_state(&world.target) != GW_TARGET_LISTENING;
}

static void ask_source(enum gw_source_event_type type)
{
    world.is_helped = true;
    (void)source_tell(&world, &(struct gw_source_event){.type = type});
}

static void ask_target(enum gw_target_event_type type)
{
    world.is_helped = true;
    (void)target_tell(&world, &(struct gw_target_event){.type = type});
}

/* It ran there (or may have: `took` was written), and that process died, as any host may. */
static bool has_died_there(void)
{
    const struct gw_record_entry *entry = gw_history_get(&world.disk, &world.session);
    bool is_recorded =
        entry && (entry->state == GW_RECORD_TOOK || entry->state == GW_RECORD_PULLING);
    return is_recorded && !is_target_at_hand();
}

/* The source waits for one who cannot answer: its operator sees so on the target. */
static void help_source(void)
{
    enum phase phase = source_phase(&world);
    bool is_dead_there = !is_target_at_hand() || gw_target_state(&world.target) == GW_TARGET_LOST;
    if (!is_dead_there || (phase != PHASE_C && phase != PHASE_P)) {
        return;
    }
    bool was_released = world.source.release.released_count > 0;
    bool is_shared = world.plan.options.shared;
    const struct gw_record_entry *entry = gw_history_get(&world.disk, &world.session);
    bool is_known = entry && entry->state != GW_RECORD_TOOK && entry->state != GW_RECORD_PULLING;
    if (is_shared && is_known) { /* its record, on this host, says that it never ran */
        world.is_helped = true;
        (void)source_tell(
            &world, &(struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY, .has_token = true});
        return;
    }
    if (phase == PHASE_P && world_random(&world, 2)) {
        ask_source(GW_SOURCE_EV_GIVE_UP);
    } else if (world_run_at_source(&world)) {
        world.is_helped = true;
    } else if (was_released || is_shared) {
        world.was_given_up = true;
        ask_source(GW_SOURCE_EV_GIVE_UP); /* it is as lost as the one there */
    }
}

/* A guest that its source's operator gave up, here with the token in hand; or one whose rest will
 * never come. */
static void help_target(void)
{
    enum gw_target_state state = gw_target_state(&world.target);
    struct gw_fault fault = {0};
    struct gw_token token;
    if (state == GW_TARGET_STRANDED && is_source_over()) {
        ask_target(GW_TARGET_EV_GIVE_UP);
    }
    if (state == GW_TARGET_READY && world.was_given_up && world.is_up[SOURCE] &&
        gw_source_state(&world.source) == GW_SOURCE_COMPLETED) {
        gw_source_token(&world.source, &token);
        if (gw_target_check_token(&world.target, &token, &fault) == GW_OK) {
            ask_target(GW_TARGET_EV_RUN_ANYWAY);
        }
    }
}

/* One who let go of the link says when to go on; to PRE_SWITCHOVER source_side.c answers. */
static void prompt_source(void)
{
    if (world.is_up[SOURCE] && gw_source_state(&world.source) == GW_SOURCE_PUSH_PAUSED) {
        ask_source(GW_SOURCE_EV_RECOVER);
    }
}

/* Who needs a person gets one, and as much time again; nobody else does. */
static void run_to_the_end(bool is_over)
{
    for (int i = 0; i < 3 && !world.failure[0]; i++) {
        world.is_helped = false;
        prompt_source();
        help_target();
        if (!is_over && world.is_up[SOURCE] && world.is_source_started) {
            help_source();
        }
        if (!world.is_helped) {
            break;
        }
        is_over = run_quiet_phase();
    }
    if (!is_over) {
        world_fail(&world, "no end in sight: source %s, target %s",
                   gw_source_state_name(gw_source_state(&world.source)),
                   gw_target_state_name(gw_target_state(&world.target)));
    }
}

/* ---- The guest ---- */

static void expect_guest(void)
{
    bool is_at_source = world.guest[SOURCE].is_alive;
    bool is_at_target = world.guest[TARGET].is_alive;
    bool is_lost = gw_source_state(&world.source) == GW_SOURCE_LOST ||
                   gw_target_state(&world.target) == GW_TARGET_LOST;
    bool may_be_gone = !world.is_up[SOURCE] || has_died_there() || is_lost || world.was_given_up ||
                       world.has_died[TARGET];
    if (!is_at_source && !is_at_target && !may_be_gone) {
        world_fail(&world, "the guest runs nowhere: source %s, target %s",
                   gw_source_state_name(gw_source_state(&world.source)),
                   gw_target_state_name(gw_target_state(&world.target)));
    }
    if (is_at_target && world.is_up[SOURCE] && world.is_source_started && !is_lost &&
        world.target.missing > 0 && !world.is_history_free) {
        world_fail(&world, "the guest runs there without %llu pages that the source has",
                   (unsigned long long)world.target.missing);
    }
    for (int side = 0; side < 2; side++) {
        if (world.guest[side].is_alive) {
            guest_check_ram(&world, (enum side)side);
        }
    }
}

/* ---- The table: one fault, by the source's phase ---- */

enum cell { CELL_NONE, CELL_LINK, CELL_CANCEL, CELL_TARGET_DIES, CELL_SOURCE_DIES };

static enum cell cell_of(const struct fault_plan *fault)
{
    switch (fault->kind) {
    case FAULT_TELL:
        return fault->told == SOURCE && fault->event == GW_SOURCE_EV_CANCEL ? CELL_CANCEL
                                                                            : CELL_NONE;
    case FAULT_CRASH_SOURCE:
    case FAULT_LOSE_SOURCE:
        return CELL_SOURCE_DIES;
    case FAULT_CRASH_TARGET:
    case FAULT_LOSE_TARGET:
    case FAULT_RESTART_TARGET:
        return CELL_TARGET_DIES;
    default:
        return is_link_fault(fault->kind) ? CELL_LINK : CELL_NONE;
    }
}

/* What the table says of where the guest is in the end; the words are for the failure. */
static const char *find_breach(enum cell cell, enum phase phase)
{
    bool is_at_source = world.guest[SOURCE].is_alive;
    bool is_at_target = world.guest[TARGET].is_alive;
    bool is_before_commit = phase == PHASE_A || phase == PHASE_B;
    switch (cell) {
    case CELL_LINK:
        return !is_before_commit && !is_at_target ? "a lost link took the guest from the target"
               : !is_at_source && !is_at_target   ? "a lost link cost the guest"
                                                  : NULL;
    case CELL_CANCEL:
        return is_before_commit && !is_at_source ? "cancelled, and the guest is not at the source"
               : !is_before_commit && !is_at_target
                   ? "cancelled too late, and the guest is not at the target"
                   : NULL;
    case CELL_TARGET_DIES:
        return (phase == PHASE_A && !is_at_source && !is_at_target) ||
                       (phase == PHASE_B && !is_at_source)
                   ? "the target died before COMMIT, and that cost the guest"
                   : NULL;
    case CELL_SOURCE_DIES:
        return phase == PHASE_A && is_at_target ? "the target runs what was never prepared"
               : phase == PHASE_D && !is_at_target
                   ? "the source died, and took the guest that was at the target"
                   : NULL;
    case CELL_NONE:
        break;
    }
    return NULL;
}

/* How long a lost link may last is the operator's: here it is long enough for all that PING needs.
 */
static bool is_patient_enough(const struct options *options)
{
    return options->resume_ms >= 60000 && options->recover_ms >= 60000 &&
           (options->strand_ms == 0 || options->strand_ms >= 60000);
}

/* Before a person resolves anything. */
static void expect_table(void)
{
    const struct options *options = &world.plan.options;
    enum cell cell = cell_of(&world.plan.fault[0]);
    if ((cell == CELL_LINK && !is_patient_enough(options)) || world.plan.fault_count != 1 ||
        !world.has_fired[0] || options->damage_one_in || world.fault_phase[0] == PHASE_OVER) {
        return;
    }
    enum phase phase = world.fault_phase[0];
    const char *breach = find_breach(cell, phase);
    if (breach) {
        world_fail(&world, "%s (phase %c): source %s, target %s", breach, "ABCPD"[phase],
                   gw_source_state_name(gw_source_state(&world.source)),
                   gw_target_state_name(gw_target_state(&world.target)));
    }
}

static bool has_only_lost_links(void)
{
    for (uint32_t i = 0; i < world.plan.fault_count; i++) {
        const struct fault_plan *fault = &world.plan.fault[i];
        bool is_wish =
            fault->kind == FAULT_TELL && fault->told == SOURCE &&
            (fault->event == GW_SOURCE_EV_POSTCOPY || fault->event == GW_SOURCE_EV_RECOVER ||
             fault->event == GW_SOURCE_EV_CONTINUE);
        if (!is_link_fault(fault->kind) && !is_wish) {
            return false;
        }
    }
    return true;
}

/* Then nobody tires, and nobody waits for a device that is stuck: no person is needed. */
static bool is_only_link_lost(void)
{
    const struct options *options = &world.plan.options;
    bool may_wait_in_vain = options->stuck_devices > 0 && !options->no_ack;
    return !may_wait_in_vain && is_patient_enough(options) && has_only_lost_links();
}

/* Before a person could have done anything. */
static void expect_over(bool is_over)
{
    if (!is_over && is_only_link_lost()) {
        world_fail(&world, "only the link was lost, and there is no end: source %s, target %s",
                   gw_source_state_name(gw_source_state(&world.source)),
                   gw_target_state_name(gw_target_state(&world.target)));
    }
}

/* A lost link costs a pause: once pages went, the migration ends as if it had not been lost. */
static void expect_resumed(void)
{
    const struct gw_source *source = &world.source;
    const struct options *options = &world.plan.options;
    bool may_be_late =
        source->config.deadline_ns > 0 && (source->config.on_deadline == GW_ON_DEADLINE_CANCEL ||
                                           source->config.on_deadline == GW_ON_DEADLINE_AUTO);
    if (options->shared || !is_only_link_lost() || may_be_late || options->damage_one_in ||
        options->corrupt_one_in || source->setup_ns == 0) {
        return;
    }
    if (!world.guest[TARGET].is_alive || world.target.missing > 0) {
        world_fail(&world, "only the link was lost, and the guest did not move: source %s (%s)",
                   gw_source_state_name(gw_source_state(source)), gw_source_fault(source)->text);
    }
}

/* ---- After it ---- */

/* Whatever went wrong left the source able to try again, and this time it succeeds. */
static void expect_second_try(void)
{
    const struct gw_session before = world.session;
    enum gw_target_state target = gw_target_state(&world.target);
    if (!world.guest[SOURCE].is_alive || world.guest[TARGET].is_alive || target == GW_TARGET_DONE ||
        target == GW_TARGET_LOST || target == GW_TARGET_RUNNING || world.plan.options.misfit ||
        !is_source_over()) {
        return;
    }
    if (world.was_booted_anew && target == GW_TARGET_READY) {
        ask_target(GW_TARGET_EV_GIVE_UP); /* a guest that never comes: nobody else can know */
        (void)run_quiet_phase();
    }
    bool is_known = world.is_source_started;
    world.was_booted_anew = false;
    world.is_idle = false;
    world_start_migration(&world, is_known ? &before : NULL, true);
    bool is_over = run_quiet_phase();
    if (!is_over || !world.guest[TARGET].is_alive) {
        world_fail(&world, "the second migration did not succeed: source %s (%s), target %s (%s)",
                   gw_source_state_name(gw_source_state(&world.source)),
                   gw_source_fault(&world.source)->text,
                   gw_target_state_name(gw_target_state(&world.target)),
                   gw_target_fault(&world.target)->text);
        return;
    }
    guest_check_ram(&world, TARGET);
    count(&tally->second_tries);
}

/* The source is dead for good: what the target holds can still be saved by its operator. */
static void expect_saved(void)
{
    struct guest_state loaded;
    if (world.is_up[SOURCE] || gw_target_state(&world.target) != GW_TARGET_READY ||
        !guest_is_loaded_whole(&world)) {
        return;
    }
    memcpy(&loaded, world.target_state, sizeof(loaded));
    world.is_history_free = loaded.tick != world.history; /* the source had run on before it died */
    bool is_whole = world.target.missing == 0;
    ask_target(GW_TARGET_EV_RUN_ANYWAY);
    (void)run_quiet_phase();
    if (world.guest[TARGET].is_alive != is_whole) {
        world_fail(&world, "the target was ready, and its operator %s",
                   is_whole ? "could not run the guest" : "ran half a guest");
    }
    if (is_whole) {
        guest_check_ram(&world, TARGET);
        count(&tally->saved);
    }
}

/* ---- A run ---- */

static void tell_failure(const struct plan *plan)
{
    char text[SIM_PLAN_BYTES];
    plan_print(plan, text);
    printf("FAILED: %s\n  again, step by step: tools/test sim --replay '%s'\n", world.failure,
           text);
    fflush(stdout);
}

/* One whose state never came, or whose step did not: the run says nothing about it. */
static void tell_unfired(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        char text[SIM_PLAN_BYTES];
        if (!world.has_fired[i]) {
            (void)fault_write(&plan->fault[i], text, sizeof(text));
            printf("note: the fault %s never fired\n", text);
        }
    }
}

static void note_time(void)
{
    uint64_t seconds = world.now_ns / SIM_S;
    if (seconds > tally->longest_s) {
        tally->longest_s = seconds;
    }
}

bool run_plan(const struct plan *plan, bool is_verbose, uint64_t *steps)
{
    world_init(&world, plan, is_verbose);
    world_start_migration(&world, NULL, false);
    run_faulty_phase();
    if (steps) {
        *steps = world.step;
    }
    world_heal(&world);
    say(&world, "world", "heals", "");
    prompt_source();
    bool is_over = run_quiet_phase();
    if (world.source.resumes > 0) {
        count(&tally->resumed);
    }
    if (world.source.recoveries > 0) {
        count(&tally->recovered);
    }
    if (!world.failure[0]) {
        expect_table();
    }
    if (!world.failure[0]) {
        expect_over(is_over);
    }
    if (!world.failure[0]) {
        run_to_the_end(is_over);
    }
    if (!world.failure[0]) {
        expect_guest();
        expect_resumed();
    }
    if (!world.failure[0]) {
        expect_second_try();
    }
    if (!world.failure[0]) {
        expect_saved();
    }
    if (is_verbose) {
        tell_unfired(plan);
    }
    note_time();
    count(&tally->runs);
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        if (world.has_fired[i]) {
            count(&tally->fired[world.fault_phase[i]]);
        }
    }
    if (world.guest[TARGET].is_alive) {
        count(&tally->moved);
    }
    if (world.failure[0]) {
        tell_failure(plan);
    }
    return !world.failure[0];
}
