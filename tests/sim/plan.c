/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans: what a run is made of, drawn from a seed or read from text, and written as text.
 *
 * Swarm testing: a seed draws not only values but which faults there may be at all, so that some
 * runs meet one kind of harm again and again, and others none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

uint64_t chance_next(uint64_t *random, uint64_t below)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return below ? *random % below : 0;
}

static const char *const fault_names[] = {
#define NAME(name, text) text,
    SIM_FAULTS(NAME)
#undef NAME
};

const char *fault_name(enum fault_kind kind)
{
    return fault_names[kind];
}

static const struct {
    const char *name;
    size_t offset;
} option_names[] = {
#define NAME(name) {#name, offsetof(struct options, name)},
    SIM_OPTIONS(NAME)
#undef NAME
};
enum { OPTIONS = sizeof(option_names) / sizeof(option_names[0]) };

static uint64_t *option_at(struct options *options, size_t index)
{
    return (uint64_t *)(void *)((char *)options + option_names[index].offset);
}

/* ---- Drawing ---- */

static uint64_t random_of(uint64_t seed, uint64_t what)
{
    uint64_t random = (seed + 1) * UINT64_C(0xd1342543de82ef95) ^ what;
    random = random ? random : 1;
    (void)chance_next(&random, 1);
    (void)chance_next(&random, 1);
    return random;
}

#define ONE_OF(random, ...) \
    one_of((random), (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8)

static uint64_t one_of(uint64_t *random, const uint64_t *values, size_t count)
{
    return values[chance_next(random, count)];
}

static void draw_link(struct options *options, uint64_t *random)
{
    options->latency_us = ONE_OF(random, 0, 100, 2000, 30000, 150000);
    options->rate = ONE_OF(random, 0, 0, 20000000, 2000000, 400000);
    options->stall_one_in = ONE_OF(random, 0, 0, 0, 40, 8);
    options->stall_ms = ONE_OF(random, 5, 200, 3000);
    options->corrupt_one_in = ONE_OF(random, 0, 0, 3, 12);
    options->damage_one_in = ONE_OF(random, 0, 0, 0, 0, 60, 15);
}

static void draw_migration(struct options *options, uint64_t *random)
{
    options->downtime_ms = ONE_OF(random, 1, 20, 60, 200, 2000);
    options->limit = ONE_OF(random, 0, 0, 0, 1000000, 5000000);
    options->push_limit = ONE_OF(random, 0, 0, 0, 1000000);
    options->resume_ms = ONE_OF(random, 0, 30000, 60000, 60000);
    options->recover_ms = ONE_OF(random, 3600000, 3600000, 60000, 5000);
    options->strand_ms = ONE_OF(random, 3600000, 3600000, 60000, 5000, 0);
    options->deadline_ms = chance_next(random, 4) ? 0 : 1 + chance_next(random, 1500);
    options->on_deadline = chance_next(random, 4);
    options->throttle = chance_next(random, 2);
    options->can_postcopy = chance_next(random, 8) > 0;
    options->postcopy = chance_next(random, 3) == 0;
    options->verify = !options->postcopy && chance_next(random, 3) == 0;
    options->misfit = chance_next(random, 50) == 0;
}

static void draw_units(struct options *options, uint64_t *random)
{
    uint64_t most = GW_STRETCH_BYTES / options->page_bytes; /* a unit lies in one stretch */
    uint64_t large = most < 8 ? most : 8;
    options->unit = options->pages % 8 == 0 ? ONE_OF(random, 1, 1, 2, large, large) : 1;
    options->release = chance_next(random, 2);
    options->own_unit = options->pages % 4 == 0 ? ONE_OF(random, 1, 1, 4) : 1;
}

static void draw_control_points(struct options *options, uint64_t *random)
{
    options->pausing = chance_next(random, 4) == 0;
    options->hold_ms = ONE_OF(random, 0, 20, 2000, 100000);
    options->devices = chance_next(random, SIM_DEVICES + 1);
    options->device_ms = ONE_OF(random, 0, 20, 2000, 40000);
    options->stuck_devices = options->devices > 0 && chance_next(random, 12) == 0;
    options->no_ack = chance_next(random, 6) == 0;
    options->handover_ms = ONE_OF(random, 0, 0, 5, 50);
    options->is_auto = chance_next(random, 3) == 0;
}

/* Now and then both sides are processes of one host, as `godwit upgrade` has them: no page travels,
 * nothing gets damaged on the way, nobody waits for a lost link. */
static void draw_upgrade(struct options *options, uint64_t *random)
{
    options->shared = chance_next(random, 16) == 0;
    if (options->shared) {
        options->patient = options->postcopy = options->verify = options->release = 0;
        options->corrupt_one_in = options->damage_one_in = 0;
        options->unit = options->own_unit = options->channels = 1;
    }
}

void plan_draw(struct plan *plan, uint64_t seed)
{
    uint64_t random = random_of(seed, UINT64_C(0x5eed));
    struct options *options = &plan->options;
    *plan = (struct plan){.seed = seed};
    options->pages = ONE_OF(&random, 1, 8, 16, 24, 40, 40, 64);
    options->page_bytes = ONE_OF(&random, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 16384);
    options->vcpus = 1 + chance_next(&random, SIM_VCPUS);
    options->channels = 1 + chance_next(&random, SIM_BULK);
    options->paused = chance_next(&random, 16) == 0;
    options->calm = ONE_OF(&random, 0, 0, 1, 4, 20);
    options->step_us = ONE_OF(&random, 5, 50, 300, 1000);
    options->host_us = ONE_OF(&random, 0, 200, 3000, 30000);
    options->patient = chance_next(&random, 2);
    options->linger_ms = ONE_OF(&random, 0, 50, 2000, 15000, 100000);
    draw_link(options, &random);
    draw_migration(options, &random);
    draw_units(options, &random);
    draw_control_points(options, &random);
    draw_upgrade(options, &random);
    options->compress = ONE_OF(&random, GW_COMPRESS_AUTO, GW_COMPRESS_NONE, GW_COMPRESS_LZ4);
}

/* An operator's wish mostly; now and then what has no place. */
static void draw_event(struct fault_plan *fault, uint64_t *random)
{
    bool is_any = chance_next(random, 4) == 0;
    fault->told = is_any ? (enum side)chance_next(random, 2) : SOURCE;
    do {
        fault->event = (uint32_t)chance_next(random, side_events(fault->told));
    } while (side_origin(fault->told, fault->event) == ORIGIN_SELF ||
             side_is_carrier(fault->told, fault->event) ||
             (!is_any && side_origin(fault->told, fault->event) != ORIGIN_OPERATOR));
}

static void draw_moment(struct fault_plan *fault, uint64_t *random, uint64_t horizon, bool is_first)
{
    fault->is_by_state = chance_next(random, 2);
    if (!fault->is_by_state) {
        fault->after = 1 + chance_next(random, horizon);
        return;
    }
    static const struct {
        enum side side;
        uint32_t state;
    } usual[] = {
        {SOURCE, GW_SOURCE_ACTIVE},    {SOURCE, GW_SOURCE_LEAVING},  {SOURCE, GW_SOURCE_STOPPING},
        {SOURCE, GW_SOURCE_FINISHING}, {SOURCE, GW_SOURCE_PREPARED}, {SOURCE, GW_SOURCE_HELD},
        {SOURCE, GW_SOURCE_PUSHING},   {SOURCE, GW_SOURCE_SETTLING}, {TARGET, GW_TARGET_READY},
        {TARGET, GW_TARGET_TAKING},    {TARGET, GW_TARGET_PULLING},  {TARGET, GW_TARGET_RUNNING}};
    uint64_t any = chance_next(random, sizeof(usual) / sizeof(usual[0]));
    fault->side = usual[any].side;
    fault->state = usual[any].state;
    if (!is_first && chance_next(random, 2)) { /* perhaps one that only harm leads to */
        fault->side = (enum side)chance_next(random, 2);
        fault->state = (uint32_t)chance_next(random, side_states(fault->side));
    }
    fault->after = chance_next(random, 4) ? chance_next(random, 12) : 0;
}

void plan_draw_faults(struct plan *plan)
{
    uint64_t random = random_of(plan->seed, UINT64_C(0xfa017));
    uint64_t allowed = 0;
    uint64_t share = 1 + chance_next(&random, 8); /* of eight kinds */
    uint64_t horizon = ONE_OF(&random, 20, 100, 300);
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        allowed |= (uint64_t)(chance_next(&random, 8) < share) << kind;
    }
    plan->fault_count = (uint32_t)chance_next(&random, 6);
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        struct fault_plan *fault = &plan->fault[i];
        fault->kind = (enum fault_kind)chance_next(&random, FAULT_KINDS);
        while (allowed != 0 && !(allowed >> fault->kind & 1)) {
            fault->kind = (enum fault_kind)((fault->kind + 1) % FAULT_KINDS);
        }
        draw_moment(fault, &random, horizon, i == 0);
        if (fault->kind == FAULT_TELL) {
            draw_event(fault, &random);
        }
    }
}
static_assert((int)FAULT_KINDS <= 64, "a bit for each kind");

/* ---- Reading ---- */

static bool starts_with(const char **text, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(*text, word, length) != 0) {
        return false;
    }
    *text += length;
    return true;
}

static bool read_option(struct options *options, const char **text)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *at = *text;
        if (starts_with(&at, option_names[i].name) && *at == '=') {
            *option_at(options, i) = strtoull(at + 1, (char **)(void *)text, 0);
            return true;
        }
    }
    return false;
}

/* A name out of `count`, up to a character that is in none. */
static bool read_name(const char **text, const char *(*name)(enum side, uint32_t), enum side side,
                      uint32_t count, uint32_t *index)
{
    size_t length = strcspn(*text, "@,+/");
    for (*index = 0; *index < count; ++*index) {
        const char *candidate = name(side, *index);
        if (strlen(candidate) == length && strncmp(candidate, *text, length) == 0) {
            *text += length;
            return true;
        }
    }
    return false;
}

static const char *kind_name(enum side side, uint32_t index)
{
    (void)side;
    return fault_names[index];
}

static bool read_fault(struct fault_plan *fault, const char **text)
{
    uint32_t kind = FAULT_TELL;
    *fault = (struct fault_plan){.kind = FAULT_TELL};
    if (starts_with(text, "source.") || (starts_with(text, "target.") && (fault->told = TARGET))) {
        if (!read_name(text, side_event_name, fault->told, side_events(fault->told),
                       &fault->event)) {
            return false;
        }
    } else if (!read_name(text, kind_name, SOURCE, FAULT_KINDS, &kind)) {
        return false;
    }
    fault->kind = (enum fault_kind)kind;
    if (!starts_with(text, "@")) {
        return false;
    }
    if (starts_with(text, "s:") || (starts_with(text, "t:") && (fault->side = TARGET))) {
        fault->is_by_state = true;
        if (!read_name(text, side_state_name, fault->side, side_states(fault->side),
                       &fault->state)) {
            return false;
        }
        if (!starts_with(text, "+")) {
            return true;
        }
    }
    fault->after = strtoull(*text, (char **)(void *)text, 0);
    return true;
}

/* After the options, or in their place when there is no '='. */
static bool read_faults(struct plan *plan, const char **text)
{
    do {
        if (plan->fault_count == SIM_FAULTS_MAX ||
            !read_fault(&plan->fault[plan->fault_count++], text)) {
            return false;
        }
    } while (starts_with(text, ","));
    return true;
}

static bool is_unit(const struct options *options, uint64_t unit)
{
    return unit >= 1 && (unit & (unit - 1)) == 0 && options->pages % unit == 0 &&
           unit * options->page_bytes <= GW_STRETCH_BYTES;
}

bool plan_parse(struct plan *plan, const char *text)
{
    const char *at = text;
    plan_draw(plan, strtoull(text, (char **)(void *)&at, 0));
    bool is_right = true;
    while (is_right && starts_with(&at, "/")) {
        if (*at == '\0' || *at == '/') {
            continue;
        }
        if (strcspn(at, "=") < strcspn(at, "/")) {
            do {
                is_right = read_option(&plan->options, &at);
            } while (is_right && starts_with(&at, ","));
        } else {
            is_right = read_faults(plan, &at);
        }
    }
    is_right = is_right && *at == '\0' && plan->options.pages >= 1 &&
               plan->options.pages <= SIM_PAGES && plan->options.vcpus <= SIM_VCPUS &&
               plan->options.channels >= 1 && plan->options.channels <= SIM_BULK &&
               plan->options.devices <= SIM_DEVICES &&
               plan->options.stuck_devices <= plan->options.devices &&
               is_unit(&plan->options, plan->options.unit) &&
               is_unit(&plan->options, plan->options.own_unit) &&
               plan->options.pages * plan->options.page_bytes <= SIM_RAM_BYTES;
    if (!is_right) {
        fprintf(stderr,
                "sim: not a plan from \"%s\" on (SEED[/NAME=VALUE,...][/FAULT@STEP,FAULT@s:STATE+N,"
                "source.EVENT@t:STATE...])\n",
                at);
    }
    return is_right;
}

/* ---- Writing ---- */

size_t fault_write(const struct fault_plan *fault, char *text, size_t room)
{
    const char *side = fault->side == SOURCE ? "s" : "t";
    int length = fault->kind == FAULT_TELL
                     ? snprintf(text, room, "%s.%s@", fault->told == SOURCE ? "source" : "target",
                                side_event_name(fault->told, fault->event))
                     : snprintf(text, room, "%s@", fault_names[fault->kind]);
    size_t at = (size_t)length;
    if (fault->is_by_state) {
        length =
            snprintf(text + at, room - at, "%s:%s+%llu", side,
                     side_state_name(fault->side, fault->state), (unsigned long long)fault->after);
    } else {
        length = snprintf(text + at, room - at, "%llu", (unsigned long long)fault->after);
    }
    return at + (size_t)length;
}

/* Only options that the seed would not draw are named. */
void plan_print(const struct plan *plan, char text[SIM_PLAN_BYTES])
{
    struct plan drawn;
    struct options options = plan->options;
    size_t at = (size_t)snprintf(text, SIM_PLAN_BYTES, "%llu", (unsigned long long)plan->seed);
    char before = '/';
    plan_draw(&drawn, plan->seed);
    for (size_t i = 0; i < OPTIONS; i++) {
        uint64_t value = *option_at(&options, i);
        if (value != *option_at(&drawn.options, i)) {
            at += (size_t)snprintf(text + at, SIM_PLAN_BYTES - at, "%c%s=%llu", before,
                                   option_names[i].name, (unsigned long long)value);
            before = ',';
        }
    }
    before = '/';
    for (uint32_t i = 0; i < plan->fault_count && at + 80 < SIM_PLAN_BYTES; i++) {
        text[at++] = before;
        before = ',';
        at += fault_write(&plan->fault[i], text + at, SIM_PLAN_BYTES - at);
    }
}
