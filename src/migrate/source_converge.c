/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convergence: when the source hands over, and what it does when rounds alone do not get it there.
 * It slows the guest down, switches to postcopy, or keeps to a deadline; each choice is told by
 * EXPLAIN. Pure; under the embedder's lock.
 */
#include "migrate/source_private.h"

#define NS_PER_S UINT64_C(1000000000)

static void explain(struct gw_source *source, enum gw_source_choice choice)
{
    gw_source_emit(source, GW_SOURCE_DO_EXPLAIN)->choice = choice;
}

static void explain_once(struct gw_source *source, enum gw_source_choice choice)
{
    if (!(source->explained & (1u << choice))) {
        source->explained |= 1u << choice;
        explain(source, choice);
    }
}

/* ---- Rounds ---- */

void gw_source_begin_round(struct gw_source *source, uint64_t now_ns)
{
    source->rounds++;
    source->round_pages = source->raw_pages + source->zero_pages;
    source->round_ns = now_ns;
    source->is_round_open = true;
    (void)gw_source_emit(source, GW_SOURCE_DO_ROUND);
}

void gw_source_end_round(struct gw_source *source, uint64_t dirty_pages, uint64_t now_ns)
{
    if (!source->is_round_open) {
        return; /* between the last round and the stop */
    }
    source->is_round_open = false;
    source->history[source->history_total++ % GW_SOURCE_ROUNDS_KEPT] = (struct gw_source_round){
        .number = source->rounds,
        .sent_pages = source->raw_pages + source->zero_pages - source->round_pages,
        .dirty_pages = dirty_pages,
        .took_ns = now_ns - source->round_ns,
        .bandwidth = gw_pace_expected(&source->pace),
        .throttle_percent = source->throttle_percent,
    };
}

/* ---- What the guest will feel ---- */

/* The last pages' acknowledgement, PREPARE and READY, and COMMIT's way: two and a half round
 * trips. */
uint64_t gw_source_handover_ns(const struct gw_source *source)
{
    return source->config.handover_ns + 5 * source->round_trip_ns / 2;
}

/* Of the downtime limit, what is left for pages. A limit below the handover itself cannot be met:
 * a quarter of it goes to pages all the same, or the guest would never leave. */
static uint64_t pages_ns_max(const struct gw_source *source)
{
    uint64_t limit_ns = source->config.downtime_ns_max;
    uint64_t handover_ns = gw_source_handover_ns(source);
    uint64_t left_ns = limit_ns > handover_ns ? limit_ns - handover_ns : 0;
    return left_ns > limit_ns / 4 ? left_ns : limit_ns / 4;
}

uint64_t gw_source_threshold(const struct gw_source *source)
{
    return gw_pace_bytes(&source->pace, pages_ns_max(source));
}

static uint64_t remaining_ns(const struct gw_source *source)
{
    return gw_pace_time_ns(&source->pace,
                           gw_pages_remaining(&source->pages) * source->config.page_bytes);
}

static bool is_fitting(const struct gw_source *source)
{
    return remaining_ns(source) <= pages_ns_max(source);
}

/* ---- Slowing down, and going first ---- */

void gw_source_set_throttle(struct gw_source *source, uint32_t percent)
{
    if (source->throttle_percent != percent) {
        source->throttle_percent = percent;
        gw_source_emit(source, GW_SOURCE_DO_THROTTLE)->throttle_percent = percent;
    }
    source->slow_rounds = 0;
}

void gw_source_begin_postcopy(struct gw_source *source)
{
    source->is_postcopy = true;
    source->is_switching = false;
    gw_source_set_throttle(source, 0);
}

bool gw_source_can_postcopy(const struct gw_source *source)
{
    return source->can_postcopy && !source->config.is_verifying;
}

static void throttle_more(struct gw_source *source)
{
    const struct gw_throttle *rule = &source->config.throttle;
    uint32_t more = source->throttle_percent + rule->increment_percent;
    uint32_t next = source->throttle_percent == 0 ? rule->initial_percent : more;
    gw_source_set_throttle(source, next < rule->max_percent ? next : rule->max_percent);
    explain(source, GW_CHOICE_THROTTLE);
}

/* The round dirtied `added` pages: is the guest faster than the link? Once may be chance. */
static void judge_speed(struct gw_source *source, uint64_t added)
{
    const struct gw_throttle *rule = &source->config.throttle;
    uint64_t sent = source->raw_pages + source->zero_pages - source->round_pages;
    if (added * 100 <= sent * rule->trigger_percent || ++source->slow_rounds < 2) {
        return;
    }
    bool is_gentle = rule->is_on && source->throttle_percent < GW_AUTO_THROTTLE_PERCENT &&
                     source->throttle_percent < rule->max_percent;
    if (source->config.is_auto && !is_gentle && gw_source_can_postcopy(source)) {
        gw_source_begin_postcopy(source);
        explain(source, GW_CHOICE_POSTCOPY_TOO_FAST);
    } else if (rule->is_on && source->throttle_percent < rule->max_percent) {
        throttle_more(source);
    }
}

/* The log of what was dirtied in the round is here: another one, or the end of it? */
void gw_source_step_judge(struct gw_source *source, const struct gw_source_event *event)
{
    uint64_t took_ns = event->now_ns - source->round_ns;
    uint64_t added = gw_pages_merge(&source->pages, event->bitmap);
    source->is_collecting = false;
    source->dirty_pages_per_s = took_ns ? (uint64_t)((__uint128_t)added * NS_PER_S / took_ns) : 0;
    gw_source_end_round(source, added, event->now_ns);
    gw_pages_begin_round(&source->pages);
    if (source->config.downtime_ns_max <= gw_source_handover_ns(source)) {
        explain_once(source, GW_CHOICE_LIMIT_TOO_LOW);
    }
    source->is_switching = is_fitting(source);
    if (source->is_switching) {
        explain(source, GW_CHOICE_FITS);
    } else if (!source->is_postcopy) {
        judge_speed(source, added);
        gw_source_begin_round(source, event->now_ns);
    }
}

void gw_source_step_want_postcopy(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    gw_source_begin_postcopy(source);
}

/* ---- Deadline ---- */

static enum gw_on_deadline deadline_action(const struct gw_source *source)
{
    bool can_postcopy = gw_source_can_postcopy(source);
    switch (source->config.on_deadline) {
    case GW_ON_DEADLINE_AUTO:
        return can_postcopy ? GW_ON_DEADLINE_POSTCOPY : GW_ON_DEADLINE_CANCEL;
    case GW_ON_DEADLINE_POSTCOPY:
        return can_postcopy ? GW_ON_DEADLINE_POSTCOPY : GW_ON_DEADLINE_STOP;
    case GW_ON_DEADLINE_STOP:
    case GW_ON_DEADLINE_CANCEL:
        break;
    }
    return source->config.on_deadline;
}

/* How long what is left will take, with a quarter to spare: it begins that much before. */
static uint64_t lead_ns(const struct gw_source *source)
{
    uint64_t left_ns = remaining_ns(source);
    bool is_known = gw_pace_is_measured(&source->pace) && left_ns != UINT64_MAX;
    return is_known ? left_ns + left_ns / 4 + gw_source_handover_ns(source) : 0;
}

uint64_t gw_source_late_at(const struct gw_source *source)
{
    bool is_before_stop = source->state > GW_SOURCE_NONE && source->state < GW_SOURCE_LEAVING;
    bool is_cancel = deadline_action(source) == GW_ON_DEADLINE_CANCEL;
    if (!source->config.deadline_ns || !is_before_stop || source->is_late ||
        (!is_cancel && source->is_postcopy)) {
        return UINT64_MAX;
    }
    uint64_t end_ns = source->start_ns + source->config.deadline_ns;
    if (is_cancel) {
        return end_ns;
    }
    if (source->state < GW_SOURCE_OPENING) {
        return UINT64_MAX; /* nothing can be done before the target is known */
    }
    uint64_t lead = lead_ns(source);
    return lead < source->config.deadline_ns ? end_ns - lead : source->start_ns;
}

bool gw_source_be_late(struct gw_source *source)
{
    source->is_late = true;
    switch (deadline_action(source)) {
    case GW_ON_DEADLINE_POSTCOPY:
        gw_source_begin_postcopy(source);
        explain(source, GW_CHOICE_POSTCOPY_DEADLINE);
        return false;
    case GW_ON_DEADLINE_STOP:
        explain(source, GW_CHOICE_STOP_DEADLINE);
        return false;
    case GW_ON_DEADLINE_AUTO:
    case GW_ON_DEADLINE_CANCEL:
        break;
    }
    return true;
}

/* ---- Who must agree ---- */

bool gw_source_may_switch(struct gw_source *source)
{
    if (!source->is_acked) {
        explain_once(source, GW_CHOICE_WAIT_FOR_DEVICES);
    }
    return source->is_acked;
}

/* What fitted when it was looked at may not fit any more: look again. */
static void look_again(struct gw_source *source)
{
    source->is_switching = false;
    if (!source->is_collecting) {
        source->is_collecting = true;
        (void)gw_source_emit(source, GW_SOURCE_DO_COLLECT);
    }
}

void gw_source_step_acknowledge(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->is_acked = true;
    if (source->state == GW_SOURCE_ACTIVE && source->is_switching) {
        look_again(source);
    }
}

/* The guest runs on at its own speed for as long as the operator likes. */
void gw_source_step_hold(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    gw_source_set_throttle(source, 0);
}

void gw_source_step_go_on(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->is_continued = true;
    look_again(source);
}
