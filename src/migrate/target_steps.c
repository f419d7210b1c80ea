/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the target does at each transition (target_table.h). A step asks for actions and keeps
 * the books; it never changes the state. Pure.
 */
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "migrate/lost.h"
#include "migrate/target_private.h"

/* Sessions of a former life: whoever opened them here and did not take them never will. */
void gw_target_step_recall(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    (void)gw_history_abort_opened(&target->history);
    (void)gw_target_emit(target, GW_TARGET_DO_RECORD);
}

enum gw_standing gw_target_standing(const struct gw_target *target,
                                    const struct gw_session *session, uint64_t *epoch)
{
    const struct gw_record_entry *entry = gw_history_get(&target->history, session);
    bool is_settled = target->state == GW_TARGET_LISTENING || target->state == GW_TARGET_DONE ||
                      target->state == GW_TARGET_LOST ||
                      memcmp(target->session.id, session->id, GW_SESSION_BYTES) != 0;
    *epoch = entry ? entry->epoch : 0;
    if (!entry || !is_settled) {
        return GW_STANDING_UNKNOWN; /* none, or one whose outcome is being recorded right now */
    }
    switch ((enum gw_record_state)entry->state) {
    case GW_RECORD_TOOK:
        return GW_STANDING_SETTLED;
    case GW_RECORD_ABORTED:
        return GW_STANDING_ABORTED;
    case GW_RECORD_PULLING:
        return GW_STANDING_LOST; /* what lacked never came, or it would be TOOK */
    default:
        return GW_STANDING_UNKNOWN;
    }
}

void gw_target_close_channels(struct gw_target *target)
{
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        target->channel[i].is_open = false;
    }
    target->is_urgent_open = false;
}

bool gw_target_has_channel(const struct gw_target *target)
{
    bool has_any = false;
    for (uint32_t i = 0; i < target->channel_count; i++) {
        has_any = has_any || target->channel[i].is_open;
    }
    return has_any;
}

/* Whatever is not acknowledged, nor told as suspect, never will be. */
static void forget_acks(struct gw_target *target)
{
    for (uint32_t i = 0; i < target->channel_count; i++) {
        target->channel[i].sequence_told = target->channel[i].sequence;
        target->channel[i].suspect_count = 0;
    }
}

/* Pages that lack are not noticed any more; all channels are closed. */
static void disarm(struct gw_target *target)
{
    if (target->is_armed) {
        (void)gw_target_emit(target, GW_TARGET_DO_DISARM);
        target->is_armed = false;
    }
}

static uint64_t bitmap_bytes(const struct gw_target *target)
{
    return sizeof(target->received[0]) * ((target->config.page_count + 63) / 64);
}

/* Coming in */

static void welcome(struct gw_target *target, enum gw_standing standing)
{
    struct gw_welcome *answer = &gw_target_send(target, GW_FRAME_WELCOME)->welcome;
    *answer = (struct gw_welcome){.version = GW_PROTOCOL_VERSION,
                                  .standing = (uint8_t)standing,
                                  .epoch = standing == GW_STANDING_NEW ? 0 : target->epoch};
}

static void begin_session(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_intro *intro = &event->message->intro;
    gw_fault_clear(&target->fault);
    target->session = intro->session;
    target->generation = intro->generation;
    target->epoch = 0;
    target->is_linked = true;
    target->is_urgent_open = false;
    target->is_map_told = false;
    target->is_partial = false;
    target->demands = 0;
    target->recoveries = 0;
    target->started_ns = 0;
    target->whole_ns = 0;
    gw_blocktime_init(&target->blocktime, target->config.vcpu_count);
    target->is_mismatched = false;
    target->channel_count = 0; /* HELLO says */
    memset(target->channel, 0, sizeof(target->channel));
    target->end_ns = 0;
    target->round_trip_ns = 0;
    target->start_ns = event->now_ns;
}

void gw_target_step_admit(struct gw_target *target, const struct gw_target_event *event)
{
    begin_session(target, event);
    (void)gw_target_emit(target, GW_TARGET_DO_ADMIT);
    welcome(target, GW_STANDING_NEW);
}

/* Its source withdrew the session at hand: nobody will ever commit it. */
void gw_target_step_replace(struct gw_target *target, const struct gw_target_event *event)
{
    (void)gw_target_emit(target, GW_TARGET_DO_CLOSE);
    disarm(target);
    gw_history_put(&target->history, &target->session, GW_RECORD_ABORTED, UINT64_MAX);
    gw_target_step_admit(target, event);
    (void)gw_target_emit(target, GW_TARGET_DO_RECORD);
}

void gw_target_step_readmit(struct gw_target *target, const struct gw_target_event *event)
{
    if (target->is_linked) {
        (void)gw_target_emit(target, GW_TARGET_DO_CLOSE);
    }
    gw_fault_clear(&target->fault); /* of a link that was lost and is back */
    target->generation = event->message->intro.generation;
    target->is_linked = true;
    gw_target_close_channels(target);
    target->asked_ns = event->now_ns;
    (void)gw_target_emit(target, GW_TARGET_DO_ADMIT);
    welcome(target, target->state == GW_TARGET_READY     ? GW_STANDING_READY
                    : target->state == GW_TARGET_PULLING ? GW_STANDING_PULLING
                                                         : GW_STANDING_RUNNING);
}

static void prepare_devices(struct gw_target *target)
{
    target->devices_pending = target->config.device_count;
    if (target->devices_pending > 0) {
        (void)gw_target_emit(target, GW_TARGET_DO_PREPARE_DEVICES);
    }
}

/* The source does not stop the guest before it has heard this. */
static void tell_ready_devices(struct gw_target *target)
{
    if (target->config.device_count > 0 && target->devices_pending == 0 && target->is_linked) {
        (void)gw_target_send(target, GW_FRAME_SWITCHOVER_ACK);
    }
}

/* The source is back, and never committed: what is here of RAM stays, a loaded state does not. */
void gw_target_step_reopen(struct gw_target *target, const struct gw_target_event *event)
{
    if (target->is_linked) {
        (void)gw_target_emit(target, GW_TARGET_DO_CLOSE);
    }
    disarm(target);
    gw_fault_clear(&target->fault);
    target->generation = event->message->intro.generation;
    target->is_linked = true;
    gw_target_close_channels(target);
    target->is_map_told = false;
    target->is_mismatched = false; /* verification begins anew */
    forget_acks(target);           /* nothing is acknowledged but to a bulk channel */
    (void)gw_target_emit(target, GW_TARGET_DO_ADMIT);
    welcome(target, GW_STANDING_OPEN);
    if (target->is_loaded) { /* in vain: they must be made ready for another state */
        target->is_loaded = false;
        prepare_devices(target);
    } else {
        tell_ready_devices(target); /* it may not have heard it */
    }
}

/* The source may come back, or another one; nobody can have committed. */
void gw_target_step_await(struct gw_target *target, const struct gw_target_event *event)
{
    uint64_t wait_ns = target->config.is_ram_shared ? 0 : GW_AWAITING_NS_MAX; /* nothing to keep */
    target->limit_ns = event->now_ns + wait_ns;
}

static struct gw_target_action *admit_channel(struct gw_target *target,
                                              enum gw_target_action_type type)
{
    struct gw_target_action *action = gw_target_emit(target, type);
    action->message.type = GW_FRAME_WELCOME;
    action->message.welcome =
        (struct gw_welcome){.version = GW_PROTOCOL_VERSION, .standing = GW_STANDING_OPEN};
    return action;
}

/* Whatever was asked for on an earlier one is asked for again. */
void gw_target_step_admit_urgent(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    (void)admit_channel(target, GW_TARGET_DO_ADMIT_URGENT);
    target->is_urgent_open = true;
    target->is_urgent_ready = false;
    target->urgent_sequence = 0;
    memset(target->demanded, 0, bitmap_bytes(target));
}

void gw_target_step_admit_bulk(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_intro *intro = &event->message->intro;
    struct gw_target_channel *channel = &target->channel[intro->channel];
    struct gw_target_action *action = admit_channel(target, GW_TARGET_DO_ADMIT_BULK);
    action->channel = intro->channel;
    action->has_map = intro->channel == 0 && target->state == GW_TARGET_PULLING;
    channel->is_open = true;
    /* What the source heard stands. The rest it sends again, so no suspect of it need be told. */
    channel->sequence = intro->sequence;
    channel->sequence_told = channel->sequence;
    channel->sequence_asked = channel->sequence;
    channel->suspect_count = 0;
}

void gw_target_step_open(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_hello *hello = &event->message->hello;
    target->channel_count =
        hello->channel_count < GW_BULK_CHANNELS_MAX ? hello->channel_count : GW_BULK_CHANNELS_MAX;
    memset(target->received, 0, bitmap_bytes(target));
    target->missing = target->config.is_ram_shared ? 0 : target->config.page_count;
    gw_history_put(&target->history, &target->session, GW_RECORD_OPENED, 0);
    (void)gw_target_emit(target, GW_TARGET_DO_RECORD);
}

void gw_target_step_accept(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    bool can_postcopy = target->config.can_postcopy && !target->config.is_ram_shared;
    target->is_loaded = false;
    gw_target_send(target, GW_FRAME_ACCEPT)->accept = (struct gw_accept){
        .capabilities = (can_postcopy ? GW_CAN_POSTCOPY : 0u) |
                        (target->config.is_ram_shared ? 0u : GW_CAN_UNPACK) |
                        (target->config.device_count > 0 ? GW_WILL_ACK_SWITCHOVER : 0u),
        .unit_log2 = (uint32_t)__builtin_ctz(target->config.unit_pages),
        .channel_count = target->channel_count};
    prepare_devices(target);
}

void gw_target_step_count_ready(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    if (target->devices_pending > 0) {
        target->devices_pending--;
        tell_ready_devices(target);
    }
}

/* Pages */

static void mark_received(struct gw_target *target, uint64_t page, uint64_t count, bool is_suspect)
{
    uint64_t changed = gw_bits_put(target->received, page, count, !is_suspect);
    target->stranded_ns = changed > 0 && !is_suspect ? 0 : target->stranded_ns;
    target->missing = is_suspect ? target->missing + changed : target->missing - changed;
}

/* Nobody waits for these any longer. */
static void resolve(struct gw_target *target, uint64_t page, uint64_t count, uint64_t now_ns)
{
    uint64_t end = page + count;
    page = gw_bits_next(target->wanted, page, end, true);
    for (; page < end; page = gw_bits_next(target->wanted, page, end, true)) {
        gw_bit_clear(target->wanted, page);
        gw_blocktime_resolve(&target->blocktime, page, now_ns);
    }
}

/* They are in RAM now. */
static void take_in(struct gw_target *target, uint64_t page, uint64_t count, bool is_suspect,
                    uint64_t now_ns)
{
    mark_received(target, page, count, is_suspect);
    if (target->is_armed) {
        resolve(target, page, count, now_ns);
    }
}

/* What of the batch is in RAM: its pages, or the unit that it made whole. */
static void take_in_batch(struct gw_target *target, const struct gw_batch_placed *placed,
                          uint64_t now_ns)
{
    if (target->is_armed && target->config.unit_pages > 1) {
        take_in(target, placed->whole.page, placed->whole.count, false, now_ns);
        return;
    }
    for (uint32_t i = 0; i < placed->table->record_count; i++) {
        const struct gw_record *record = &placed->table->record[i];
        take_in(target, record->page, record->count, placed->is_suspect, now_ns);
    }
}

static void note_answered(struct gw_target *target, const struct gw_batch_placed *placed)
{
    target->urgent_sequence = placed->sequence;
    if (gw_target_is_answer(target, placed)) {
        gw_bit_clear(target->demanded, gw_target_unit_of(target, placed->table->record[0].page));
    }
}

void gw_target_step_place(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_batch_placed *placed = &event->placed;
    take_in_batch(target, placed, event->now_ns);
    if (placed->is_urgent) {
        note_answered(target, placed);
        return;
    }
    struct gw_target_channel *channel = &target->channel[placed->channel];
    channel->sequence = placed->sequence;
    channel->starved_us = placed->starved_us;
    if (placed->is_suspect) {
        GW_ASSERT(channel->suspect_count < GW_WINDOW_BATCHES);
        uint32_t at = (channel->suspect_first + channel->suspect_count++) % GW_WINDOW_BATCHES;
        channel->suspect[at] = placed->sequence;
    }
}

void gw_target_step_compare(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_verified *verified = &event->verified;
    target->channel[verified->channel].sequence = verified->sequence;
    if (verified->theirs.digest == verified->digest_ours || target->is_mismatched) {
        return;
    }
    target->is_mismatched = true;
    gw_target_send(target, GW_FRAME_MISMATCH)->mismatch =
        (struct gw_mismatch){.page = verified->theirs.page,
                             .count = verified->theirs.count,
                             .digest_source = verified->theirs.digest,
                             .digest_target = verified->digest_ours};
}

/* What the source still has for later is not here, whatever came of it before. */
void gw_target_step_mark_missing(struct gw_target *target, const struct gw_target_event *event)
{
    uint64_t words = (target->config.page_count + 63) / 64;
    target->channel[0].sequence = event->map.sequence;
    target->is_map_told = true;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t gone = target->received[i] & event->map.missing[i];
        target->received[i] ^= gone;
        target->missing += (uint64_t)__builtin_popcountll(gone);
    }
}

/* Handing over */

void gw_target_step_gather(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_prepare *prepare = &event->message->prepare;
    target->epoch = prepare->epoch;
    for (uint32_t i = 0; i < target->channel_count; i++) {
        target->channel[i].sequence_last = prepare->sequence_last[i];
    }
    target->is_guest_running = prepare->is_running;
    target->is_partial = prepare->is_postcopy;
    target->missing_told = prepare->missing_pages;
    target->prepared_ns = event->now_ns;
}

void gw_target_step_load(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    target->is_loaded = true;
    (void)gw_target_emit(target, GW_TARGET_DO_LOAD);
}

void gw_target_step_arm(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    memset(target->wanted, 0, bitmap_bytes(target));
    memset(target->demanded, 0, bitmap_bytes(target));
    target->is_armed = true;
    (void)gw_target_emit(target, GW_TARGET_DO_ARM);
}

void gw_target_step_ready(struct gw_target *target, const struct gw_target_event *event)
{
    target->asked_ns = event->now_ns;
    (void)gw_target_send(target, GW_FRAME_READY);
}

static void record(struct gw_target *target, enum gw_record_state state)
{
    gw_history_put(&target->history, &target->session, state, target->epoch);
    (void)gw_target_emit(target, GW_TARGET_DO_RECORD);
}

/* A guest that dies before all of it is here is lost, and its source must hear so. */
static enum gw_record_state taken(const struct gw_target *target)
{
    return target->missing > 0 ? GW_RECORD_PULLING : GW_RECORD_TOOK;
}

/* The source answers READY, said with the link at hand, at once: half of the way there and back is
 * COMMIT's own, and the guest's clock is right to within the other half. */
void gw_target_step_take(struct gw_target *target, const struct gw_target_event *event)
{
    target->round_trip_ns = event->now_ns - target->asked_ns;
    target->elapsed_ns = event->message->verdict.elapsed_ns + target->round_trip_ns / 2;
    target->elapsed_from_ns = event->now_ns;
    record(target, taken(target));
}

/* No COMMIT told how long the guest has stood still: it has at least since PREPARE. */
void gw_target_step_take_anyway(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    target->elapsed_ns = 0;
    target->elapsed_from_ns = target->prepared_ns;
    record(target, taken(target));
}

void gw_target_step_run(struct gw_target *target, const struct gw_target_event *event)
{
    struct gw_target_action *action = gw_target_emit(target, GW_TARGET_DO_RUN);
    action->is_running = target->is_guest_running;
    action->elapsed_ns = target->elapsed_ns + (event->now_ns - target->elapsed_from_ns);
}

static void tell_running(struct gw_target *target)
{
    gw_fault_clear(&target->fault);
    if (target->is_linked) {
        (void)gw_target_send(target, GW_FRAME_RUNNING);
    }
}

void gw_target_step_tell_running(struct gw_target *target, const struct gw_target_event *event)
{
    target->end_ns = event->now_ns;
    tell_running(target);
}

/* Postcopy */

void gw_target_step_pull(struct gw_target *target, const struct gw_target_event *event)
{
    target->started_ns = event->now_ns;
    tell_running(target);
}

/* The guest goes on until it needs a page that only the source has. */
void gw_target_step_strand(struct gw_target *target, const struct gw_target_event *event)
{
    uint64_t wait_ns = target->config.recover_ns_max;
    target->stranded_ns = gw_lost_since(target->stranded_ns, target->recovered_ns, event->now_ns);
    target->limit_ns = wait_ns ? target->stranded_ns + wait_ns : 0;
}

void gw_target_step_recover(struct gw_target *target, const struct gw_target_event *event)
{
    target->recoveries++;
    target->recovered_ns = event->now_ns;
    gw_target_step_readmit(target, event);
}

/* The source need not keep anything; a restart would not lose the guest any more. */
void gw_target_step_complete(struct gw_target *target, const struct gw_target_event *event)
{
    target->end_ns = event->now_ns;
    target->whole_ns = event->now_ns;
    record(target, GW_RECORD_TOOK);
    if (target->is_linked) {
        struct gw_complete *complete = &gw_target_send(target, GW_FRAME_COMPLETE)->complete;
        gw_blocktime_summarize(&target->blocktime, &complete->waiting);
        complete->waiting.time_ns = target->whole_ns - target->started_ns;
    }
}

/* A batch that was under way when the last page came by another channel. */
void gw_target_step_ignore(struct gw_target *target, const struct gw_target_event *event)
{
    const struct gw_batch_placed *placed = &event->placed;
    *(placed->is_urgent ? &target->urgent_sequence : &target->channel[placed->channel].sequence) =
        placed->sequence;
    forget_acks(target); /* COMPLETE is the last word on pages */
}

void gw_target_step_disarm(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    disarm(target);
}

/* Endings */

void gw_target_step_finish(struct gw_target *target, const struct gw_target_event *event)
{
    target->end_ns = target->end_ns ? target->end_ns : event->now_ns;
    forget_acks(target);
    (void)gw_target_emit(target, GW_TARGET_DO_CLOSE);
    target->is_linked = false;
    gw_target_close_channels(target);
    disarm(target);
    (void)gw_target_emit(target, GW_TARGET_DO_FINISH);
}

/* Its memory stays as it is: whoever waits for a page of it waits until the process ends. */
void gw_target_step_lose(struct gw_target *target, const struct gw_target_event *event)
{
    if (target->fault.status != GW_CANCELLED) {
        struct gw_fault cause = target->fault;
        gw_fault_clear(&target->fault);
        (void)gw_fault_set(&target->fault, GW_LINK,
                           "the guest is lost: %llu pages of its memory never came (%.120s)",
                           (unsigned long long)target->missing, cause.text);
    }
    target->is_armed = false;
    gw_target_step_finish(target, event);
}

void gw_target_step_record_aborted(struct gw_target *target, const struct gw_target_event *event)
{
    (void)event;
    record(target, GW_RECORD_ABORTED);
}

static void say_reason(struct gw_target *target, enum gw_frame_type type)
{
    if (target->is_linked) {
        struct gw_verdict *verdict = &gw_target_send(target, type)->verdict;
        (void)snprintf(verdict->reason, GW_REASON_BYTES, "%.*s", GW_REASON_BYTES - 1,
                       target->fault.text);
    }
}

void gw_target_step_tell_aborted(struct gw_target *target, const struct gw_target_event *event)
{
    say_reason(target, GW_FRAME_ABORTED);
    gw_target_step_finish(target, event);
}

void gw_target_step_refuse(struct gw_target *target, const struct gw_target_event *event)
{
    say_reason(target, GW_FRAME_REFUSE);
    gw_target_step_drop(target, event);
}

/* Before READY nobody can have committed: the session is forgotten but for its name. */
void gw_target_step_drop(struct gw_target *target, const struct gw_target_event *event)
{
    if (gw_history_get(&target->history, &target->session)) {
        gw_history_put(&target->history, &target->session, GW_RECORD_ABORTED, UINT64_MAX);
        (void)gw_target_emit(target, GW_TARGET_DO_RECORD);
    }
    gw_target_step_finish(target, event);
}

void gw_target_step_confirm(struct gw_target *target, const struct gw_target_event *event)
{
    (void)gw_target_send(target, GW_FRAME_DONE);
    gw_target_step_finish(target, event);
}

void gw_target_step_nothing(struct gw_target *target, const struct gw_target_event *event)
{
    (void)target;
    (void)event;
}
