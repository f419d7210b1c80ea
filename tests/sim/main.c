/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: runs worlds, as many processes at once as there are processors, and tells what no run took.
 *
 * - sim: everything: scripts, pairs, faults in every state, cuts at every step, 20 000 random runs
 * - sim --runs N [--seed S]: N random runs, of seeds from S on
 * - sim --only NAME: one of scripts, pairs, states, cuts, random
 * - sim ... --rows: tells what these runs did not see, too
 * - sim --replay PLAN: one run, told step by step (plan.c)
 *
 * With neither --runs, --only nor --replay a row that was not taken, and a pair that was not tried,
 * is a failure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

enum { SCRIPT_SEEDS = 24, PAIR_SEEDS = 4, STATE_SEEDS = 4 };

/* ---- Runs of one process ---- */

static uint64_t job, jobs = 1, submitted;
static bool has_failed;

/* Every process goes through all plans, and runs its share of them. */
static void submit(const struct plan *plan)
{
    if (submitted++ % jobs == job && !has_failed) {
        tally->running[job] = *plan;
        has_failed = !run_plan(plan, false, NULL);
    }
}

static void parse_or_die(struct plan *plan, uint64_t seed, const char *text)
{
    char whole[SIM_PLAN_BYTES];
    (void)snprintf(whole, sizeof(whole), "%llu/%s", (unsigned long long)seed, text);
    if (!plan_parse(plan, whole)) {
        exit(2);
    }
}

static void run_scripts(void)
{
    struct plan plan;
    for (uint32_t i = 0; i < scenario_count; i++) {
        for (uint64_t seed = 1; seed <= SCRIPT_SEEDS; seed++) {
            parse_or_die(&plan, seed, scenarios[i]);
            submit(&plan);
        }
    }
}

/* ---- In every state ---- */

static bool find_state(enum side side, const char *name, uint32_t *state)
{
    for (*state = 0; *state < side_states(side); ++*state) {
        if (strcmp(side_state_name(side, *state), name) == 0) {
            return true;
        }
    }
    return false;
}

static void add_fault(struct plan *plan, const struct way *way, const struct fault_plan *fault,
                      uint64_t after)
{
    struct plan longer = *plan;
    struct fault_plan *last = &longer.fault[longer.fault_count++];
    *last = *fault;
    last->is_by_state = true;
    last->side = way->side;
    last->after = after;
    if (!find_state(way->side, way->state, &last->state)) {
        fprintf(stderr, "sim: there is no state %s any more\n", way->state);
        exit(2);
    }
    submit(&longer);
}

static bool is_pair(enum side side, uint32_t state, uint32_t event)
{
    return side_origin(side, event) != ORIGIN_SELF && !side_is_carrier(side, event) &&
           !side_is_row(side, state, event);
}

/* Every event that has no place, in every state; a state that one seed does not reach, another
 * does. */
static void run_pairs(void)
{
    for (uint32_t i = 0; i < way_count; i++) {
        const struct way *way = &ways[i];
        struct plan plan;
        uint32_t state = 0;
        (void)find_state(way->side, way->state, &state);
        for (uint64_t seed = 1; seed <= PAIR_SEEDS; seed++) {
            parse_or_die(&plan, seed, way->plan);
            for (uint32_t event = 0; event < side_events(way->side); event++) {
                const struct fault_plan fault = {
                    .kind = FAULT_TELL, .told = way->side, .event = event};
                if (is_pair(way->side, state, event)) {
                    add_fault(&plan, way, &fault, 0);
                }
            }
        }
    }
}

/* Every fault, and every wish of the source's operator, in every state. */
static void run_states(void)
{
    for (uint32_t i = 0; i < way_count; i++) {
        const struct way *way = &ways[i];
        struct plan plan;
        for (uint64_t seed = 1; seed <= STATE_SEEDS; seed++) {
            parse_or_die(&plan, seed, way->plan);
            for (int kind = 0; kind < FAULT_TELL; kind++) {
                add_fault(&plan, way, &(struct fault_plan){.kind = (enum fault_kind)kind},
                          seed == 1 ? 0 : 1 + i % 3);
            }
            for (uint32_t event = 0; event < side_events(SOURCE); event++) {
                if (side_origin(SOURCE, event) == ORIGIN_OPERATOR) {
                    add_fault(
                        &plan, way,
                        &(struct fault_plan){.kind = FAULT_TELL, .told = SOURCE, .event = event},
                        seed - 1);
                }
            }
        }
    }
}

/* ---- At every step ---- */

static uint64_t steps_of(const struct plan *plan)
{
    uint64_t steps = 0;
    if (!run_plan(plan, false, &steps)) {
        exit(1);
    }
    return steps;
}

/* Each kind of fault at each step of this run, behind those that it has. */
static void cut_everywhere(const struct plan *plan, int first_kind, int last_kind)
{
    uint64_t steps = steps_of(plan);
    for (int kind = first_kind; kind <= last_kind; kind++) {
        for (uint64_t step = 1; step <= steps && !has_failed; step++) {
            struct plan cut = *plan;
            cut.fault[cut.fault_count++] =
                (struct fault_plan){.kind = (enum fault_kind)kind, .after = step};
            submit(&cut);
        }
    }
}

#define SMALL                                                                                      \
    "pages=20,page_bytes=4096,vcpus=1,channels=2,paused=0,calm=3,step_us=100,host_us=0,latency_"   \
    "us=200,"                                                                                      \
    "rate=0,stall_one_in=0,corrupt_one_in=0,damage_one_in=0,downtime_ms=200,limit=0,push_limit=0," \
    "resume_ms=60000,recover_ms=3600000,strand_ms=3600000,deadline_ms=0,throttle=0,can_postcopy="  \
    "1,"                                                                                           \
    "verify=0,misfit=0,patient=0,linger_ms=0,unit=1,own_unit=1,release=0,pausing=0,devices=0,"     \
    "stuck_devices=0,no_ack=0,handover_ms=0,is_auto=0,compress=0"

/* One precopy, one postcopy, one recovery, and one with all that it may have to reckon with: each
 * fault at each step; and of smaller ones two cuts, the second at every step of what the first one
 * began. */
static void run_cuts(void)
{
    struct plan plan;
    parse_or_die(&plan, 1, SMALL ",postcopy=0");
    cut_everywhere(&plan, 0, FAULT_TELL - 1);
    parse_or_die(&plan, 1, SMALL ",postcopy=1");
    cut_everywhere(&plan, 0, FAULT_TELL - 1);
    parse_or_die(&plan, 1, SMALL ",postcopy=1/cut@s:PUSHING+2");
    cut_everywhere(&plan, 0, FAULT_TELL - 1);
    parse_or_die(&plan, 1,
                 SMALL ",postcopy=1,pages=16,unit=8,release=1,pausing=1,hold_ms=1,"
                       "devices=1,device_ms=1/cut@s:PUSHING+2");
    cut_everywhere(&plan, 0, FAULT_TELL - 1);
    parse_or_die(&plan, 1, SMALL ",postcopy=0,shared=1");
    cut_everywhere(&plan, 0, FAULT_TELL - 1);
    for (uint64_t postcopy = 0; postcopy < 2; postcopy++) {
        parse_or_die(&plan, 2, SMALL ",pages=1");
        plan.options.postcopy = postcopy;
        uint64_t steps = steps_of(&plan);
        for (uint64_t step = 1; step <= steps && !has_failed; step++) {
            struct plan cut = plan;
            cut.fault_count = 1;
            cut.fault[0] = (struct fault_plan){.kind = FAULT_CUT, .after = step};
            cut_everywhere(&cut, FAULT_CUT, FAULT_CUT);
        }
    }
}

static uint64_t runs = 20000, first_seed = 1;

static void run_random(void)
{
    for (uint64_t n = 0; n < runs && !has_failed; n++) {
        struct plan plan;
        plan_draw(&plan, first_seed + n);
        plan_draw_faults(&plan);
        submit(&plan);
    }
}

/* ---- What nobody has seen ---- */

static uint32_t report_side(enum side side, uint32_t *rows, uint32_t *pairs)
{
    const char *name = side == SOURCE ? "source" : "target";
    uint32_t missed = 0;
    for (uint32_t state = 0; state < side_states(side); state++) {
        for (uint32_t event = 0; event < side_events(side); event++) {
            bool is_row = side_is_row(side, state, event);
            *rows += is_row;
            if (is_row && !tally->row[side][state][event]) {
                missed++;
                printf("no run took this row: %s, %s on %s (script it: tests/sim/scenarios.c)\n",
                       name, side_state_name(side, state), side_event_name(side, event));
            }
            *pairs += is_pair(side, state, event);
            if (is_pair(side, state, event) && tally->pair[side][state][event] == PAIR_UNTRIED) {
                missed++;
                printf("no run tried this pair: %s, %s on %s (tests/sim/scenarios.c, pairs.c)\n",
                       name, side_state_name(side, state), side_event_name(side, event));
            }
        }
    }
    return missed;
}

static uint32_t report(bool is_all)
{
    uint32_t rows = 0;
    uint32_t pairs = 0;
    uint32_t missed =
        is_all ? report_side(SOURCE, &rows, &pairs) + report_side(TARGET, &rows, &pairs) : 0;
    printf(
        "%llu runs: %llu moved the guest, %llu went on after a lost link, %llu in postcopy, %llu "
        "tried again, %llu saved from a dead source; the longest took %llu s of virtual time\n",
        (unsigned long long)tally->runs, (unsigned long long)tally->moved,
        (unsigned long long)tally->resumed, (unsigned long long)tally->recovered,
        (unsigned long long)tally->second_tries, (unsigned long long)tally->saved,
        (unsigned long long)tally->longest_s);
    printf("%llu copies could not run again: memory of theirs was given back\n",
           (unsigned long long)tally->refused);
    printf("faults in phase A: %llu, B: %llu, C: %llu, P: %llu, D: %llu, before or after it all: "
           "%llu\n",
           (unsigned long long)tally->fired[PHASE_A], (unsigned long long)tally->fired[PHASE_B],
           (unsigned long long)tally->fired[PHASE_C], (unsigned long long)tally->fired[PHASE_P],
           (unsigned long long)tally->fired[PHASE_D], (unsigned long long)tally->fired[PHASE_OVER]);
    if (is_all) {
        printf("%u rows, %u pairs without one; %u of them not seen\n", rows, pairs, missed);
    }
    return missed;
}

/* ---- Processes ---- */

static const struct {
    const char *name;
    void (*run)(void);
} campaigns[] = {{"scripts", run_scripts},
                 {"pairs", run_pairs},
                 {"states", run_states},
                 {"cuts", run_cuts},
                 {"random", run_random}};
enum { CAMPAIGNS = sizeof(campaigns) / sizeof(campaigns[0]) };

static void run_all(const char *only)
{
    for (size_t i = 0; i < CAMPAIGNS; i++) {
        if (!only || strcmp(only, campaigns[i].name) == 0) {
            campaigns[i].run();
        }
    }
}

/* True when no process found anything. */
static bool run_in_processes(const char *only)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    jobs = processors < 1 ? 1 : processors > SIM_JOBS_MAX ? SIM_JOBS_MAX : (uint64_t)processors;
    fflush(stdout);
    static pid_t children[SIM_JOBS_MAX];
    for (uint64_t n = 0; n < jobs; n++) {
        pid_t child = children[n] = fork();
        if (child < 0) {
            perror("sim: fork");
            return false;
        }
        if (child == 0) {
            job = n;
            run_all(only);
            fflush(stdout);
            _exit(has_failed ? 1 : 0);
        }
    }
    bool is_good = true;
    for (uint64_t n = 0; n < jobs; n++) {
        int status = 0;
        if (waitpid(children[n], &status, 0) != children[n] || status != 0) {
            is_good = false;
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) {
            char text[SIM_PLAN_BYTES];
            plan_print(&tally->running[n], text);
            printf("FAILED: a run died\n  again: tools/test sim --replay '%s'\n", text);
        }
    }
    return is_good;
}

/* ---- The command line ---- */

static bool is_campaign(const char *name)
{
    bool is_one = false;
    for (size_t i = 0; i < CAMPAIGNS; i++) {
        is_one = is_one || strcmp(name, campaigns[i].name) == 0;
    }
    return is_one;
}

static bool read_number(const char *text, uint64_t least, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    *number = strtoull(text, &end, 0);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number >= least;
}

/* False if it is no option, or its value none of it. */
static bool take_option(const char *name, const char *value, const char **only,
                        const char **replayed)
{
    if (strcmp(name, "--runs") == 0) {
        *only = *only ? *only : "random";
        return read_number(value, 1, &runs);
    }
    if (strcmp(name, "--seed") == 0) {
        return read_number(value, 0, &first_seed);
    }
    if (strcmp(name, "--only") == 0) {
        *only = value;
        return is_campaign(value);
    }
    *replayed = value;
    return strcmp(name, "--replay") == 0;
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    const char *replayed = NULL;
    bool has_rows = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rows") == 0) {
            has_rows = true;
            continue;
        }
        if (i + 1 == argc || !take_option(argv[i], argv[i + 1], &only, &replayed)) {
            fprintf(stderr, "sim: what is %s %s? (see the top of tests/sim/main.c)\n", argv[i],
                    i + 1 == argc ? "" : argv[i + 1]);
            return 2;
        }
        i++;
    }
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED) {
        perror("sim: mmap");
        return 2;
    }
    if (replayed) {
        struct plan plan;
        return plan_parse(&plan, replayed) && run_plan(&plan, true, NULL) ? 0 : 1;
    }
    bool is_good = run_in_processes(only);
    uint32_t missed = is_good ? report(!only || has_rows) : 0;
    return is_good && (missed == 0 || only) ? 0 : 1;
}
