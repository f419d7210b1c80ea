/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong, and what operators do. */
#include <stdio.h>
#include <string.h>

#include "godwit/crc32c.h"
#include "sim.h"

#define OUTAGE_NS      (1500 * SIM_MS) /* a cut lasts this long */
#define LONG_OUTAGE_NS (300 * SIM_S)   /* and an outage, longer than a source tries before COMMIT */
#define HANG_NS        (40 * SIM_S)    /* longer than any side waits for a word */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The source's phase, as docs/HANDOVER.md names it ("What becomes of the guest"). */
enum phase source_phase(const struct world *world)
{
    if (!world->is_source_started) {
        return PHASE_OVER;
    }
    switch (gw_source_state(&world->source)) {
    case GW_SOURCE_STOPPING:
    case GW_SOURCE_PAUSING:
    case GW_SOURCE_FALLING_BACK:
    case GW_SOURCE_CANCELLING:
    case GW_SOURCE_COLLECTING:
    case GW_SOURCE_FINISHING:
    case GW_SOURCE_PREPARED:
        return PHASE_B;
    case GW_SOURCE_HELD:
    case GW_SOURCE_HELD_WAITING:
    case GW_SOURCE_HELD_CONNECTING:
    case GW_SOURCE_HELD_ASKING:
        return PHASE_C;
    case GW_SOURCE_PUSHING:
    case GW_SOURCE_PUSH_WAITING:
    case GW_SOURCE_PUSH_PAUSED:
    case GW_SOURCE_PUSH_CONNECTING:
    case GW_SOURCE_PUSH_ASKING:
    case GW_SOURCE_PUSH_OPENING:
        return PHASE_P;
    case GW_SOURCE_SETTLING:
    case GW_SOURCE_SETTLING_WAITING:
    case GW_SOURCE_SETTLING_AGAIN:
    case GW_SOURCE_COMPLETED:
        return PHASE_D;
    case GW_SOURCE_NONE:
    case GW_SOURCE_FAILED:
    case GW_SOURCE_CANCELLED:
    case GW_SOURCE_LOST:
        return PHASE_OVER;
    default:
        return PHASE_A;
    }
}

bool is_link_fault(enum fault_kind kind)
{
    return kind <= FAULT_CUT_CONTROL || (kind >= FAULT_STALL_CONTROL && kind <= FAULT_HOLD_BULK);
}

static void lasts(struct world *world, uint64_t until_ns)
{
    world->quiet_from_ns = later(world->quiet_from_ns, until_ns);
}

/* ---- Hosts ---- */

void world_crash(struct world *world, enum side side, bool is_silent)
{
    world->is_up[side] = false;
    world->has_died[side] = world->has_died[side] || world->guest[side].is_alive;
    world->guest[side].is_alive = false;
    memset(world->guest[side].blocked_page, -1, sizeof(world->guest[side].blocked_page));
    if (side == SOURCE) {
        world->connecting.is_owed = world->connecting_bulk.is_owed = false;
        world->stopping.is_owed = world->collecting.is_owed = world->departing.is_owed = false;
        world->is_tracking_asked = false;
        world->bulk_limit_ns = 0;
        for (uint32_t i = 0; i < SIM_BULK; i++) {
            world->bulk[i].stage = 0;
        }
    }
    world->answer_count = side == TARGET ? 0 : world->answer_count;
    world->working.is_owed = side == TARGET ? false : world->working.is_owed;
    world->hung_until_ns[side] = 0;
    if (is_silent) {
        link_vanish(world, side);
    } else {
        link_close_side(world, side);
    }
}

/* NAME is booted anew, from its disk, unless its record says that it may run elsewhere. */
static void restart_source(struct world *world)
{
    const struct gw_departure *record = &world->departure_disk;
    bool is_elsewhere = record->state == GW_DEPARTURE_LEAVING || record->state == GW_DEPARTURE_LEFT;
    world_crash(world, SOURCE, false);
    if (is_elsewhere || world->plan.options.shared) { /* that one would have memory of its own */
        return;
    }
    world->is_up[SOURCE] = true;
    world->is_source_started = false;
    world->was_booted_anew = true;
    guest_boot(world, SOURCE, world->history + 1000000);
}

static void hang(struct world *world, enum side side)
{
    world->hung_until_ns[side] = world->now_ns + HANG_NS;
    lasts(world, world->hung_until_ns[side]);
}

/* While pages come: elsewhere HOST_FAULT is the answer to what was asked for. */
static void fail_receiving(struct world *world)
{
    static const struct gw_fault fault = {.status = GW_HOST, .text = "the host failed"};
    enum gw_target_state state = gw_target_state(&world->target);
    if (world->is_up[TARGET] && world->target.records_owed == 0 &&
        (state == GW_TARGET_ACTIVE || state == GW_TARGET_AWAITING ||
         state == GW_TARGET_GATHERING)) {
        (void)target_tell(
            world, &(struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = &fault});
    }
}

/* Something that nobody asks for by itself, as a thread that cannot be made. */
static void break_source(struct world *world)
{
    static const struct gw_fault fault = {.status = GW_HOST, .text = "the host failed"};
    uint32_t state = side_state(world, SOURCE);
    if (world->is_up[SOURCE] && world->is_source_started &&
        side_is_row(SOURCE, state, GW_SOURCE_EV_HOST_FAULT)) {
        world->stopping.is_owed = false;
        (void)source_tell(
            world, &(struct gw_source_event){.type = GW_SOURCE_EV_HOST_FAULT, .fault = &fault});
    }
}

/* Only where somebody will look again: digests are yet to be compared. */
static void flip_bit(struct world *world)
{
    const struct gw_source *source = &world->source;
    uint64_t page = world_random(world, world->plan.options.pages);
    uint64_t byte = world_random(world, world->plan.options.page_bytes);
    if (world->is_up[TARGET] && world->is_source_started && source->config.is_verifying &&
        source->verify_start_ns == 0 && !world->guest[TARGET].is_alive &&
        gw_target_state(&world->target) == GW_TARGET_ACTIVE) {
        guest_page(world, TARGET, page)[byte] ^= 4;
        world->guest[TARGET].touched |= UINT64_C(1) << page;
    }
}

/* ---- Operators ---- */

/* --run --other-is-dead: the copy as it was when it left, unless memory of it was given back. True
 * when it runs. */
bool world_run_at_source(struct world *world)
{
    bool was_free = world->is_history_free;
    bool is_whole = world->source.release.released_count == 0;
    world->is_history_free = was_free || world->guest[SOURCE].state.tick != world->history;
    bool is_run =
        source_tell(world, &(struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY}) == GW_OK;
    world->is_history_free = is_run ? world->is_history_free : was_free;
    if (!is_whole) {
        __atomic_fetch_add(&tally->refused, 1, __ATOMIC_RELAXED);
    }
    if (is_run && !is_whole) {
        world_fail(world, "the source runs a copy whose memory was given back");
    }
    return is_run;
}

static enum gw_status ask_source(struct world *world, enum gw_source_event_type type)
{
    return source_tell(world, &(struct gw_source_event){.type = type});
}

static enum gw_status ask_target(struct world *world, enum gw_target_event_type type)
{
    return target_tell(world, &(struct gw_target_event){.type = type});
}

/* Its token, as it is printed, goes to the other side's operator. */
static void carry_token(struct world *world, enum side from)
{
    struct gw_fault fault = {0};
    struct gw_token token;
    char text[GW_TOKEN_BYTES];
    if (from == TARGET) {
        gw_target_token(&world->target, &token);
    } else {
        gw_source_token(&world->source, &token);
    }
    gw_token_encode(&token, text);
    GW_ASSERT(gw_token_decode(&token, text, &fault) == GW_OK);
    if (!world->is_up[!from]) {
        return;
    }
    if (from == TARGET && gw_source_check_token(&world->source, &token, &fault) == GW_OK) {
        (void)source_tell(
            world, &(struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY, .has_token = true});
    } else if (from == SOURCE && gw_target_check_token(&world->target, &token, &fault) == GW_OK) {
        (void)ask_target(world, GW_TARGET_EV_RUN_ANYWAY);
    }
}

/* One side's operator gives the guest up, the other's uses the token: for when they cannot reach
 * each other. */
static void give_up(struct world *world, enum side side)
{
    if (!world->is_up[side] || !world->is_source_started) {
        return;
    }
    enum phase phase = source_phase(world);
    if (side == SOURCE && phase != PHASE_C) {
        return; /* in postcopy it means something else: see ABANDON_SOURCE */
    }
    if (side == TARGET && gw_target_state(&world->target) != GW_TARGET_READY) {
        return;
    }
    link_cut(world, FAULT_CUT);
    enum gw_status status = side == SOURCE ? ask_source(world, GW_SOURCE_EV_GIVE_UP)
                                           : ask_target(world, GW_TARGET_EV_GIVE_UP);
    if (status == GW_OK) {
        world->was_given_up = true;
        carry_token(world, side);
    }
}

/* --run --other-is-dead. When the other is not, history may fork, as the command says first: the
 * simulator's operator uses it only when the other is dead, and what it did since is lost with it.
 */
static void claim(struct world *world, enum side side)
{
    if (!world->is_up[side] || world->is_up[!side] || !world->is_source_started) {
        return;
    }
    if (side == TARGET && gw_target_state(&world->target) == GW_TARGET_READY &&
        guest_is_loaded_whole(world)) {
        struct guest_state loaded;
        memcpy(&loaded, world->target_state, sizeof(loaded));
        world->is_history_free = loaded.tick != world->history;
        (void)ask_target(world, GW_TARGET_EV_RUN_ANYWAY);
    }
    enum phase phase = source_phase(world);
    if (side == SOURCE && (phase == PHASE_C || phase == PHASE_P)) {
        (void)world_run_at_source(world);
    }
}

/* By one who is wrong: the source lives. From then on anything may come of the guest but a crash.
 */
static void rash_claim(struct world *world)
{
    bool is_parted = !world->plan.options.shared; /* else nobody is left to be wrong about */
    if (is_parted && world->is_up[TARGET] && gw_target_state(&world->target) == GW_TARGET_READY &&
        world->target.missing == 0) {
        world->is_history_free = true;
        (void)ask_target(world, GW_TARGET_EV_RUN_ANYWAY);
    }
}

static void rash_give_up(struct world *world)
{
    if (world->is_up[TARGET] && gw_target_state(&world->target) == GW_TARGET_READY) {
        (void)ask_target(world, GW_TARGET_EV_GIVE_UP);
    }
}

/* A guest that runs without all of its memory is ended, by the operator of either side. */
static void abandon(struct world *world, enum side side)
{
    if (side == SOURCE && world->is_up[SOURCE] && source_phase(world) == PHASE_P) {
        (void)ask_source(world, GW_SOURCE_EV_GIVE_UP);
    }
    if (side == TARGET && world->is_up[TARGET] &&
        gw_target_state(&world->target) == GW_TARGET_STRANDED) {
        (void)ask_target(world, GW_TARGET_EV_GIVE_UP);
    }
}

static void change_limits(struct world *world)
{
    if (world->is_up[SOURCE] && world->is_source_started) {
        gw_source_set_limits(&world->source, (1 + world_random(world, 300)) * SIM_MS,
                             world_random(world, 3) * 3000000, world_random(world, 3) * 3000000);
    }
}

/* ---- Other sources ---- */

/* A source that gives its session up for a new one; the migration at hand must have ended. */
static void replace(struct world *world)
{
    struct gw_session before = world->session;
    enum gw_source_state state = gw_source_state(&world->source);
    if (world->is_up[SOURCE] && world->is_source_started &&
        (state == GW_SOURCE_FAILED || state == GW_SOURCE_CANCELLED) &&
        world->source.action_count == 0 && !world->departing.is_owed) {
        world_start_migration(world, &before, false);
    }
}

/* It introduces itself, and is gone before it says more. */
static void newcomer(struct world *world)
{
    struct gw_message intro = {.type = GW_FRAME_INTRO,
                               .intro = {.version_min = GW_PROTOCOL_VERSION,
                                         .version_max = GW_PROTOCOL_VERSION,
                                         .generation = 1}};
    for (int i = 0; i < GW_SESSION_BYTES; i++) {
        intro.intro.session.id[i] = (uint8_t)(1 + world_random(world, 255));
    }
    struct connection *connection = link_open(world, GW_ROLE_CONTROL, 1);
    if (connection && world->is_up[TARGET]) {
        send_message(world, connection, SOURCE, &intro);
        link_close_one(world, connection, SOURCE);
    } else if (connection) {
        connection->is_used = false;
    }
}

/* ---- Peers that say what none of godwit's would say now ---- */

/* As one of another version does, or a host that is being shut down. */
static void say_refuse(struct world *world)
{
    struct gw_message refuse = {.type = GW_FRAME_REFUSE, .verdict = {.reason = "not now"}};
    struct connection *newest = NULL;
    for (int i = 0; i < SIM_CONNECTIONS; i++) {
        struct connection *connection = &world->connection[i];
        if (connection->is_used && connection->role == GW_ROLE_CONTROL &&
            connection->is_open[TARGET] &&
            (!newest || connection->generation > newest->generation)) {
            newest = connection;
        }
    }
    if (newest && world->is_up[TARGET]) {
        send_message(world, newest, TARGET, &refuse);
    }
}

/* docs/WIRE.md lets a source say PREPARE before its last VERIFY is acknowledged; godwit's waits. */
static void be_hasty(struct world *world)
{
    struct connection *control = link_newest(world, SOURCE, GW_ROLE_CONTROL);
    struct connection *bulk = link_bulk(world, 0);
    uint64_t sequence = world->target.channel[0].sequence + 1;
    struct gw_message prepare = {.type = GW_FRAME_PREPARE,
                                 .prepare = {.epoch = world->target.epoch + 1,
                                             .channel_count = world->target.channel_count,
                                             .sequence_last = {sequence},
                                             .state = world->source_state}};
    struct gw_verify verify = {.page = 0, .count = 1};
    uint8_t payload[GW_VERIFY_BYTES];
    if (!world->is_up[SOURCE] || !control || !bulk || !bulk->is_admitted) {
        return;
    }
    for (uint32_t i = 1; i < world->target.channel_count; i++) {
        prepare.prepare.sequence_last[i] = world->target.channel[i].sequence;
    }
    gw_verify_encode(&verify, payload);
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = GW_FRAME_VERIFY,
                                     .payload_bytes = GW_VERIFY_BYTES,
                                     .payload_crc = gw_crc32c(0, payload, GW_VERIFY_BYTES),
                                     .generation = bulk->generation,
                                     .sequence = sequence};
    send_message(world, control, SOURCE, &prepare);
    link_hold(world, GW_ROLE_BULK, world->now_ns + 20 * SIM_MS);
    link_send(world, bulk, SOURCE, &header, payload);
}

/* ---- All of them ---- */

static void partition(struct world *world, enum side deaf)
{
    static const uint64_t lengths_ms[] = {300, 3000, 8000, 25000, 90000};
    uint64_t until_ns = world->now_ns + lengths_ms[world_random(world, 5)] * SIM_MS;
    link_deafen(world, deaf, until_ns);
    lasts(world, until_ns);
}

static void outage(struct world *world, uint64_t length_ns)
{
    for (int side = 0; side < 2; side++) {
        world->deaf_until_ns[side] = later(world->deaf_until_ns[side], world->now_ns + length_ns);
    }
    lasts(world, world->now_ns + length_ns);
}

static void stall(struct world *world, enum gw_role role)
{
    static const uint64_t lengths_ms[] = {20, 400, 4000, 9000};
    link_hold(world, role, world->now_ns + lengths_ms[world_random(world, 4)] * SIM_MS);
}

static void harm_host(struct world *world, enum fault_kind kind)
{
    switch (kind) {
    case FAULT_CRASH_SOURCE:
    case FAULT_LOSE_SOURCE:
        world_crash(world, SOURCE, kind == FAULT_LOSE_SOURCE);
        break;
    case FAULT_RESTART_SOURCE:
        restart_source(world);
        break;
    case FAULT_CRASH_TARGET:
    case FAULT_LOSE_TARGET:
        world_crash(world, TARGET, kind == FAULT_LOSE_TARGET);
        break;
    case FAULT_FORGETFUL_TARGET:
        memset(&world->disk, 0, sizeof(world->disk));
        world_crash(world, TARGET, true);
        target_boot(world);
        break;
    case FAULT_RESTART_TARGET:
        world_crash(world, TARGET, false);
        target_boot(world);
        break;
    case FAULT_HANG_SOURCE:
    case FAULT_HANG_TARGET:
        hang(world, kind == FAULT_HANG_SOURCE ? SOURCE : TARGET);
        break;
    case FAULT_STUCK_TARGET:
        world->stuck_until_ns = world->now_ns + HANG_NS;
        lasts(world, world->stuck_until_ns);
        break;
    case FAULT_FAIL_SOURCE:
        world->is_failing[SOURCE] = true;
        break;
    case FAULT_FAIL_TARGET:
        world->is_failing[TARGET] = true;
        break;
    case FAULT_BREAK_SOURCE:
        break_source(world);
        break;
    case FAULT_FAIL_RECEIVING:
        fail_receiving(world);
        break;
    case FAULT_DISK_FULL:
        world->is_disk_full = true;
        break;
    case FAULT_LOAD_FAILS:
        world->is_load_failing = true;
        break;
    case FAULT_FLIP_BIT:
        flip_bit(world);
        break;
    default:
        break;
    }
}

static void harm_link(struct world *world, enum fault_kind kind)
{
    switch (kind) {
    case FAULT_CUT:
    case FAULT_CUT_TO_TARGET:
    case FAULT_CUT_TO_SOURCE:
        link_cut(world, kind);
        outage(world, OUTAGE_NS);
        break;
    case FAULT_OUTAGE:
        link_cut(world, FAULT_CUT);
        outage(world, LONG_OUTAGE_NS);
        break;
    case FAULT_DEAF_TARGET:
    case FAULT_DEAF_SOURCE:
        partition(world, kind == FAULT_DEAF_TARGET ? TARGET : SOURCE);
        break;
    case FAULT_STALL_CONTROL:
        stall(world, GW_ROLE_CONTROL);
        break;
    case FAULT_STALL_BULK:
        stall(world, GW_ROLE_BULK);
        break;
    case FAULT_STALL_URGENT:
        stall(world, GW_ROLE_URGENT);
        break;
    case FAULT_HOLD_BULK:
        link_hold(world, GW_ROLE_BULK, world->now_ns + 2 * SIM_S);
        break;
    default:
        link_cut(world, kind);
        break;
    }
}

static void operate(struct world *world, enum fault_kind kind)
{
    switch (kind) {
    case FAULT_GIVE_UP_TARGET:
    case FAULT_GIVE_UP_SOURCE:
        give_up(world, kind == FAULT_GIVE_UP_TARGET ? TARGET : SOURCE);
        break;
    case FAULT_CLAIM_TARGET:
    case FAULT_CLAIM_SOURCE:
        claim(world, kind == FAULT_CLAIM_TARGET ? TARGET : SOURCE);
        break;
    case FAULT_RASH_CLAIM_TARGET:
        rash_claim(world);
        break;
    case FAULT_RASH_GIVE_UP_TARGET:
        rash_give_up(world);
        break;
    case FAULT_SAY_REFUSE:
        say_refuse(world);
        break;
    case FAULT_HASTY_SOURCE:
        be_hasty(world);
        break;
    case FAULT_FORGET_TARGET:
        if (world->is_up[TARGET]) {
            (void)ask_target(world, GW_TARGET_EV_FORGET);
        }
        break;
    case FAULT_ABANDON_TARGET:
    case FAULT_ABANDON_SOURCE:
        abandon(world, kind == FAULT_ABANDON_TARGET ? TARGET : SOURCE);
        break;
    case FAULT_PAUSE_GUEST:
        for (int side = 0; side < 2; side++) {
            struct guest *guest = &world->guest[side];
            guest->is_paused ^= guest->is_alive;
        }
        break;
    case FAULT_LIMITS:
        change_limits(world);
        break;
    case FAULT_REPLACE:
        replace(world);
        break;
    case FAULT_NEWCOMER:
        newcomer(world);
        break;
    default:
        break;
    }
}

void world_inject(struct world *world, uint32_t index)
{
    const struct fault_plan *fault = &world->plan.fault[index];
    world->has_fired[index] = true;
    world->fault_phase[index] = source_phase(world);
    say(world, "fault", fault_name(fault->kind),
        fault->kind == FAULT_TELL ? side_event_name(fault->told, fault->event) : "");
    if (fault->kind == FAULT_TELL) {
        world_tell(world, fault->told, fault->event);
    } else if (fault->kind < FAULT_CRASH_SOURCE) {
        harm_link(world, fault->kind);
    } else if (fault->kind < FAULT_GIVE_UP_TARGET) {
        harm_host(world, fault->kind);
    } else {
        operate(world, fault->kind);
    }
}
