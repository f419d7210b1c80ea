/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the source does at each transition (source_table.h). A step asks for actions and keeps
 * the books; it never changes the state. Pure.
 */
#include <stdio.h>
#include <string.h>

#include "migrate/lost.h"
#include "migrate/source_private.h"
#include "migrate/units.h"

static struct gw_intro intro(const struct gw_source *source, enum gw_role role,
                             enum gw_purpose purpose)
{
    return (struct gw_intro){.session = source->config.session,
                             .withdrawn = source->config.withdrawn,
                             .version_min = GW_PROTOCOL_VERSION,
                             .version_max = GW_PROTOCOL_VERSION,
                             .role = (uint8_t)role,
                             .purpose = (uint8_t)purpose,
                             .generation = source->generation,
                             .sequence = 0};
}

static void record(struct gw_source *source, enum gw_departure_state state)
{
    struct gw_departure *departure = &gw_source_emit(source, GW_SOURCE_DO_RECORD)->departure;
    source->records_owed++;
    departure->state = state;
    departure->session = source->config.session;
    departure->epoch = source->epoch;
}

/* Setting up */

void gw_source_step_connect(struct gw_source *source, const struct gw_source_event *event)
{
    if (source->start_ns == 0) {
        source->start_ns = event->now_ns;
    }
    source->generation++;
    (void)gw_source_emit(source, GW_SOURCE_DO_CONNECT);
}

void gw_source_step_introduce(struct gw_source *source, const struct gw_source_event *event)
{
    source->is_linked = true;
    gw_source_send(source, GW_FRAME_INTRO)->intro = intro(source, GW_ROLE_CONTROL, GW_PURPOSE_OPEN);
    source->limit_ns = event->now_ns + GW_GREETING_NS_MAX;
}

void gw_source_step_hello(struct gw_source *source, const struct gw_source_event *event)
{
    source->limit_ns = event->now_ns + GW_GREETING_NS_MAX;
    struct gw_hello *hello = &gw_source_send(source, GW_FRAME_HELLO)->hello;
    *hello = (struct gw_hello){.page_count = source->config.page_count,
                               .page_bytes = source->config.page_bytes,
                               .fact_count = source->config.facts->count,
                               .facts = source->config.facts};
    hello->channel_count = source->config.channel_count;
    memcpy(hello->guest_name, source->config.guest_name, GW_NAME_BYTES);
}

static void open_bulk(struct gw_source *source, enum gw_purpose purpose, bool has_map)
{
    struct gw_source_action *action = gw_source_emit(source, GW_SOURCE_DO_CONNECT_BULK);
    action->intro = intro(source, GW_ROLE_BULK, purpose);
    action->has_map = has_map;
    action->has_urgent = source->can_postcopy;
    action->channel_count = source->pages.channel_count;
    for (uint32_t i = 0; i < action->channel_count; i++) {
        action->acked[i] = source->pages.channel[i].sequence_acked;
    }
}

void gw_source_step_open_bulk(struct gw_source *source, const struct gw_source_event *event)
{
    uint32_t capabilities = event->message->accept.capabilities;
    source->can_postcopy = (capabilities & GW_CAN_POSTCOPY) != 0;
    bool will_ack = (capabilities & GW_WILL_ACK_SWITCHOVER) != 0;
    source->wants_ack = will_ack && !source->config.is_ack_ignored;
    source->is_acked = !source->wants_ack;
    if (gw_compression_set_able(&source->compression, (capabilities & GW_CAN_UNPACK) != 0)) {
        gw_source_emit(source, GW_SOURCE_DO_EXPLAIN)->choice = GW_CHOICE_PACKING;
    }
    gw_pages_set_unit(&source->pages, UINT32_C(1) << event->message->accept.unit_log2);
    gw_pages_set_channels(&source->pages, event->message->accept.channel_count);
    open_bulk(source, GW_PURPOSE_OPEN, false);
    source->is_tracking = true; /* it may take as long as the channels do: both at a time */
    (void)gw_source_emit(source, GW_SOURCE_DO_TRACK);
}

/* Rounds */

void gw_source_step_begin(struct gw_source *source, const struct gw_source_event *event)
{
    gw_pages_begin(&source->pages, event->bitmap);
}

/* On the later of TRACKED and BULK_UP. */
void gw_source_step_first_round(struct gw_source *source, const struct gw_source_event *event)
{
    if (event->type == GW_SOURCE_EV_TRACKED) {
        gw_source_step_begin(source, event);
    }
    source->is_bulk_up = true;
    source->setup_ns = event->now_ns - source->start_ns;
    gw_source_begin_round(source, event->now_ns);
}

/* The guest stands still: a target that takes nothing any more, alive or not, must not keep it
 * so. Time that the operator's limit asks to wait is not the target's. */
static void limit_standstill(struct gw_source *source, uint64_t now_ns)
{
    uint64_t free_at_ns = gw_pace_free_at(&source->pace);
    if (source->state == GW_SOURCE_FINISHING) {
        source->limit_ns = (free_at_ns > now_ns ? free_at_ns : now_ns) + GW_FINISHING_NS_MAX;
    } else if (source->state == GW_SOURCE_PREPARED) { /* the last pages may be on their way yet */
        source->limit_ns = now_ns + GW_PREPARED_NS_MAX;
    }
}

void gw_source_step_count_sent(struct gw_source *source, const struct gw_source_event *event)
{
    gw_pages_sent(&source->pages, event->sent.channel, event->sent.sequence);
    gw_source_begin_probe(source, &event->sent, event->now_ns);
    if (gw_pages_is_idle(&source->pages)) { /* its acknowledgement came before this word of it */
        gw_pace_lost(&source->pace);
    }
    gw_pace_settle(&source->pace, source->taken_bytes[event->sent.channel], event->sent.wire_bytes);
    source->taken_bytes[event->sent.channel] = 0;
    limit_standstill(source, event->now_ns);
    source->wire_bytes += event->sent.wire_bytes;
    source->stopped_bytes += source->state == GW_SOURCE_FINISHING ? event->sent.wire_bytes : 0;
    source->postcopy_bytes += source->state == GW_SOURCE_PUSHING ? event->sent.wire_bytes : 0;
    source->raw_pages += event->sent.raw_pages;
    gw_source_flight(source, event->sent.channel, event->sent.sequence)->raw_pages =
        (uint32_t)event->sent.raw_pages;
    source->zero_pages += event->sent.zero_pages;
    source->repeat_pages += event->sent.repeat_pages;
    bool is_changed =
        gw_compression_sent(&source->compression, event->sent.channel, &event->sent.cost);
    if (is_changed &&
        source->action_count < GW_SOURCE_ACTIONS_MAX / 2) { /* else not worth a line */
        gw_source_emit(source, GW_SOURCE_DO_EXPLAIN)->choice = GW_CHOICE_PACKING;
    }
    gw_pace_set_permille(&source->pace, gw_compression_permille(&source->compression));
}

/* The peer acknowledged something impossible, or a page was damaged where none may be. */
static void drop_on_fault(struct gw_source *source, enum gw_status status,
                          const struct gw_fault *fault, uint64_t now_ns)
{
    if (status != GW_OK) {
        gw_source_drop_link(source, fault, now_ns);
    }
}

/* What was acknowledged behind batch `before` of a channel the target has for good: its guest runs,
 * and the first that is placed is the one. Of a larger unit the last batch says so, since it is
 * placed only as a whole. */
static void note_placed(struct gw_source *source, const struct gw_pages_channel *channel,
                        uint64_t before)
{
    uint64_t unit = source->pages.unit_pages;
    for (uint64_t n = before + 1; n <= channel->sequence_acked; n++) {
        const struct gw_batch *batch = &channel->window[n % GW_WINDOW_BATCHES];
        for (uint32_t i = 0; batch->kind == GW_BATCH_PUSH && i < batch->run_count; i++) {
            uint64_t end = batch->run[i].page + batch->run[i].count;
            if (unit == 1) {
                gw_release_add(&source->release, batch->run[i].page, batch->run[i].count);
            } else if (end % unit == 0) {
                gw_release_add(&source->release, end - unit, unit);
            }
        }
    }
}

void gw_source_step_count_acked(struct gw_source *source, const struct gw_source_event *event)
{
    struct gw_fault fault = {0};
    uint64_t bytes = 0;
    struct gw_pages *pages = &source->pages;
    const struct gw_ack *ack = &event->message->ack;
    const struct gw_pages_channel *channel = &pages->channel[ack->channel];
    uint64_t before = channel->sequence_acked;
    enum gw_status status = gw_pages_acked(pages, ack->channel, ack->sequence, &bytes, &fault);
    if (status == GW_OK) {
        note_placed(source, channel, before);
        gw_compression_told(&source->compression, ack->channel, ack->starved_us, event->now_ns);
    }
    gw_pace_acked(&source->pace, bytes, gw_pages_is_idle(pages), event->now_ns);
    gw_source_note_raw(source, ack->channel, before, event->now_ns);
    source->lost_ns = 0; /* progress: trying again was worth it */
    gw_source_end_probe(source, event->now_ns);
    if (source->verify_start_ns && !source->is_verified && gw_pages_is_verified(pages)) {
        source->is_verified = true;
        source->verify_ns = event->now_ns - source->verify_start_ns;
    }
    limit_standstill(source, event->now_ns);
    drop_on_fault(source, status, &fault, event->now_ns);
}

void gw_source_step_take_back(struct gw_source *source, const struct gw_source_event *event)
{
    struct gw_fault fault = {0};
    const struct gw_ack *ack = &event->message->ack;
    enum gw_status status = gw_pages_suspect(&source->pages, ack->channel, ack->sequence, &fault);
    drop_on_fault(source, status, &fault, event->now_ns);
}

void gw_source_step_collect(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->is_collecting = true;
    (void)gw_source_emit(source, GW_SOURCE_DO_COLLECT);
}

/* Going on after a lost link */

/* The guest goes on at once; all that the target did not acknowledge is to be sent again. */
void gw_source_step_pause(struct gw_source *source, const struct gw_source_event *event)
{
    if (source->is_stopped) {
        (void)gw_source_emit(source, GW_SOURCE_DO_RESUME);
        source->is_stopped = false;
    }
    if (source->is_departing) {
        record(source, GW_DEPARTURE_KEPT);
        source->is_departing = false;
    }
    gw_source_spare(source);
    source->probe_sequence = 0;
    source->round_trip_ns = 0; /* it may come back by another way */
    source->resent_pages += gw_pages_rewind(&source->pages);
    source->is_partial = false;
    source->release.is_on = false;
    source->is_map_told = false;
    source->is_switching = false;
    source->is_verified = false;
    source->verify_start_ns = 0;
    source->verify_ns = 0;
    source->retry_ns = 0;
    source->lost_ns = gw_lost_since(source->lost_ns, source->resumed_ns, event->now_ns);
    gw_pace_lost(&source->pace);
    gw_source_step_back_off(source, event);
}

void gw_source_step_ask_again(struct gw_source *source, const struct gw_source_event *event)
{
    source->is_linked = true;
    source->limit_ns = event->now_ns + GW_ASKING_NS_MAX;
    gw_source_send(source, GW_FRAME_INTRO)->intro =
        intro(source, GW_ROLE_CONTROL, GW_PURPOSE_RESUME);
}

void gw_source_step_reopen(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->is_acked = !source->wants_ack; /* what it had loaded is void: it says so anew */
    open_bulk(source, GW_PURPOSE_RESUME, false);
}

void gw_source_step_resume(struct gw_source *source, const struct gw_source_event *event)
{
    source->resumes++;
    source->is_round_open = false; /* how long it lasted says nothing */
    source->is_bulk_up = true;
    source->resumed_ns = event->now_ns;
    gw_source_slow_again(source);
    gw_fault_clear(&source->fault);
}

/* An answer that comes while the link is lost. */
void gw_source_step_merge(struct gw_source *source, const struct gw_source_event *event)
{
    (void)gw_pages_merge(&source->pages, event->bitmap);
    source->is_collecting = false;
}

/* Handing over */

void gw_source_step_record_leaving(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->epoch++;
    source->is_departing = true;
    record(source, GW_DEPARTURE_LEAVING);
}

void gw_source_step_leave_shared(struct gw_source *source, const struct gw_source_event *event)
{
    source->setup_ns = event->now_ns - source->start_ns;
    source->is_acked = true; /* it is built for this guest, by now */
    gw_source_step_record_leaving(source, event);
}

void gw_source_step_stop(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->is_stopped = true;
    (void)gw_source_emit(source, GW_SOURCE_DO_STOP);
}

void gw_source_step_collect_last(struct gw_source *source, const struct gw_source_event *event)
{
    source->halted_ns = event->halted_ns;
    source->is_collecting = true;
    (void)gw_source_emit(source, GW_SOURCE_DO_COLLECT);
}

/* What lacks is whole units; the rest will be the target's for good when it runs the guest. */
static void begin_partial(struct gw_source *source)
{
    uint32_t own = source->config.own_unit_pages;
    gw_pages_round_out(&source->pages);
    if (source->config.is_releasing) {
        gw_release_begin(&source->release, source->config.page_count, own > 0 ? own : 1,
                         source->pages.dirty);
    }
}

void gw_source_step_last_round(struct gw_source *source, const struct gw_source_event *event)
{
    source->is_collecting = false;
    gw_source_end_round(source, gw_pages_merge(&source->pages, event->bitmap), event->now_ns);
    gw_pages_begin_round(&source->pages);
    source->is_partial = source->is_postcopy && source->pages.dirty_count > 0;
    if (source->is_partial) {
        begin_partial(source);
    }
    gw_source_begin_round(source, event->now_ns);
    limit_standstill(source, event->now_ns);
}

void gw_source_step_prepare(struct gw_source *source, const struct gw_source_event *event)
{
    struct gw_prepare *prepare = &gw_source_send(source, GW_FRAME_PREPARE)->prepare;
    gw_source_end_round(source, 0, event->now_ns);
    *prepare = (struct gw_prepare){
        .epoch = source->epoch,
        .channel_count = source->pages.channel_count,
        .is_postcopy = source->is_partial,
        .missing_pages = source->is_partial ? (uint32_t)source->pages.dirty_count : 0};
    for (uint32_t i = 0; i < prepare->channel_count; i++) {
        prepare->sequence_last[i] = source->pages.channel[i].sequence_sent;
    }
    limit_standstill(source, event->now_ns);
}

/* RAM is shared: what the guest wrote last is there already, and no page was ever dirty. */
void gw_source_step_prepare_shared(struct gw_source *source, const struct gw_source_event *event)
{
    source->halted_ns = event->halted_ns;
    gw_source_step_prepare(source, event);
}

void gw_source_step_commit(struct gw_source *source, const struct gw_source_event *event)
{
    struct gw_verdict *commit = &gw_source_send(source, GW_FRAME_COMMIT)->verdict;
    commit->elapsed_ns = event->now_ns - source->halted_ns; /* COMMIT's way there is not known */
    gw_fault_clear(&source->fault); /* of a link that was lost since COMMIT was said first */
    source->retry_ns = 0;
}

void gw_source_step_back_off(struct gw_source *source, const struct gw_source_event *event)
{
    bool is_waited_for = source->state == GW_SOURCE_PUSH_WAITING; /* the guest stands still */
    uint64_t first = is_waited_for ? GW_RECOVER_NS_FIRST : GW_RETRY_NS_FIRST;
    uint64_t next = source->retry_ns ? 2 * source->retry_ns : first;
    if (source->is_linked) {
        (void)gw_source_emit(source, GW_SOURCE_DO_CLOSE);
        source->is_linked = false;
    }
    source->is_bulk_up = false;
    source->demands_open = 0;
    bool is_bounded =
        source->state == GW_SOURCE_PUSH_WAITING || source->state == GW_SOURCE_SETTLING_WAITING;
    if (is_bounded && source->lost_ns == 0) {
        source->lost_ns = event->now_ns;
        if (source->state == GW_SOURCE_SETTLING_WAITING && gw_source_patience_ns(source) > 0) {
            gw_source_emit(source, GW_SOURCE_DO_EXPLAIN)->choice = GW_CHOICE_DONE_AGAIN;
        }
    }
    source->retry_ns = next < GW_RETRY_NS_MAX ? next : GW_RETRY_NS_MAX;
    source->limit_ns = event->now_ns + source->retry_ns;
}

void gw_source_step_ask(struct gw_source *source, const struct gw_source_event *event)
{
    source->is_linked = true;
    if (source->state == GW_SOURCE_HELD_ASKING || source->state == GW_SOURCE_PUSH_ASKING ||
        source->state == GW_SOURCE_SETTLING_AGAIN) {
        source->limit_ns = event->now_ns + GW_ASKING_NS_MAX;
    }
    gw_source_send(source, GW_FRAME_INTRO)->intro =
        intro(source, GW_ROLE_CONTROL, GW_PURPOSE_SETTLE);
}

/* Postcopy */

/* It runs there: its downtime is over, and what lacks is pushed as fast as it may. */
static void begin_push(struct gw_source *source, uint64_t now_ns)
{
    if (source->downtime_ns == 0) {
        source->downtime_ns = now_ns - source->halted_ns;
        gw_pace_set_limit(&source->pace, source->config.postcopy_bandwidth_max);
    }
    gw_fault_clear(&source->fault);
}

void gw_source_step_push(struct gw_source *source, const struct gw_source_event *event)
{
    begin_push(source, event->now_ns);
}

/* The target runs it, and has no channel to get the rest by. */
void gw_source_step_reopen_push(struct gw_source *source, const struct gw_source_event *event)
{
    begin_push(source, event->now_ns);
    source->limit_ns = event->now_ns + GW_GREETING_NS_MAX;
    open_bulk(source, GW_PURPOSE_SETTLE, true);
}

/* Units are received whole; and what was given back here because the target had it cannot lack. */
static enum gw_status check_received(const struct gw_source *source, const uint64_t *received,
                                     struct gw_fault *fault)
{
    uint64_t end = source->config.page_count;
    uint64_t lost = gw_release_find_lost(&source->release, received);
    uint64_t part = gw_units_find_part(received, end, source->pages.unit_pages);
    if (lost < end) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the target says that it lacks page %llu, which it acknowledged before",
                            (unsigned long long)lost);
    }
    return part == end
               ? GW_OK
               : gw_fault_set(fault, GW_PROTOCOL,
                              "the target says that it has page %llu and not all of its unit of %u",
                              (unsigned long long)part, source->pages.unit_pages);
}

void gw_source_step_reconcile(struct gw_source *source, const struct gw_source_event *event)
{
    struct gw_fault fault = {0};
    source->limit_ns = event->now_ns + GW_GREETING_NS_MAX;
    enum gw_status status = check_received(source, event->bitmap, &fault);
    if (status == GW_OK) {
        gw_pages_reconcile(&source->pages, event->bitmap);
        gw_release_add_map(&source->release, event->bitmap);
        bool has_come = source->pages.dirty_count < source->lacked; /* by the last link */
        source->lost_ns = has_come ? 0 : source->lost_ns;
        source->lacked = source->pages.dirty_count;
    }
    drop_on_fault(source, status, &fault, event->now_ns);
}

void gw_source_step_push_again(struct gw_source *source, const struct gw_source_event *event)
{
    source->is_bulk_up = true;
    source->recoveries++;
    source->resumed_ns = event->now_ns;
}

/* The guest goes on until it needs a page that only this side has. A link that brought nothing is
 * waited for longer each time. */
void gw_source_step_part(struct gw_source *source, const struct gw_source_event *event)
{
    bool is_by_hand = source->state == GW_SOURCE_PUSH_PAUSED;
    source->retry_ns = source->lost_ns && !is_by_hand ? source->retry_ns : 0;
    source->lost_ns =
        is_by_hand ? 0 : gw_lost_since(source->lost_ns, source->resumed_ns, event->now_ns);
    gw_pace_lost(&source->pace);
    gw_source_step_back_off(source, event);
    source->limit_ns = is_by_hand ? 0 : source->limit_ns;
}

void gw_source_step_let_go(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    (void)gw_source_emit(source, GW_SOURCE_DO_CLOSE);
    source->is_linked = false;
}

/* Endings */

void gw_source_step_done_again(struct gw_source *source, const struct gw_source_event *event)
{
    (void)gw_source_send(source, GW_FRAME_DONE);
    source->limit_ns = event->now_ns + GW_SETTLING_NS_MAX;
    gw_fault_clear(&source->fault); /* a link lost on the way is back */
}

/* It runs there, with all of its memory. */
static void note_moved(struct gw_source *source, const struct gw_source_event *event)
{
    source->end_ns = event->now_ns;
    source->retry_ns = source->lost_ns = 0;
    if (source->downtime_ns == 0) {
        source->downtime_ns = event->now_ns - source->halted_ns - source->verify_ns;
    }
    gw_release_add_map(&source->release, NULL);
    record(source, GW_DEPARTURE_LEFT);
}

void gw_source_step_done(struct gw_source *source, const struct gw_source_event *event)
{
    gw_source_step_done_again(source, event);
    note_moved(source, event);
}

void gw_source_step_complete(struct gw_source *source, const struct gw_source_event *event)
{
    source->waiting = event->message->complete.waiting;
    gw_source_step_done(source, event);
}

static void release(struct gw_source *source)
{
    if (source->is_tracking) {
        (void)gw_source_emit(source, GW_SOURCE_DO_UNTRACK);
        source->is_tracking = false;
    }
    (void)gw_source_emit(source, GW_SOURCE_DO_CLOSE);
    source->is_linked = false;
    (void)gw_source_emit(source, GW_SOURCE_DO_FINISH);
}

void gw_source_step_finish(struct gw_source *source, const struct gw_source_event *event)
{
    if (event->type != GW_SOURCE_EV_EXHAUSTED) { /* somebody answered: a link lost before is past */
        gw_fault_clear(&source->fault);
    }
    release(source);
}

void gw_source_step_settle(struct gw_source *source, const struct gw_source_event *event)
{
    note_moved(source, event);
    gw_source_step_finish(source, event);
}

void gw_source_step_give_up(struct gw_source *source, const struct gw_source_event *event)
{
    source->end_ns = event->now_ns;
    record(source, GW_DEPARTURE_LEFT);
    release(source);
}

void gw_source_step_nothing(struct gw_source *source, const struct gw_source_event *event)
{
    (void)source;
    (void)event;
}

/* FAILED or CANCELLED: the guest runs here. It goes on first; the books come after. */
void gw_source_step_end(struct gw_source *source, const struct gw_source_event *event)
{
    source->end_ns = event->now_ns;
    source->is_collecting = false;
    gw_source_set_throttle(source, 0);
    if (source->is_stopped) {
        (void)gw_source_emit(source, GW_SOURCE_DO_RESUME);
        source->is_stopped = false;
    }
    if (source->is_linked) {
        struct gw_verdict *abort = &gw_source_send(source, GW_FRAME_ABORT)->verdict;
        (void)snprintf(abort->reason, GW_REASON_BYTES, "%.*s", GW_REASON_BYTES - 1,
                       source->fault.text);
    }
    if (source->is_departing) {
        record(source, GW_DEPARTURE_KEPT);
        source->is_departing = false;
    }
    release(source);
}
