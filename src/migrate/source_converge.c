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

static uint64_t pages_sent(const struct gw_source *source)
{
    return source->raw_pages + source->zero_pages + source->repeat_pages;
}

void gw_source_begin_round(struct gw_source *source, uint64_t now_ns)
{
    source->rounds++;
    source->round_pages = pages_sent(source);
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
        .sent_pages = pages_sent(source) - source->round_pages,
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

/* What is left fits. Does another round pay? It does where the guest dirties no more than half of
 * it meanwhile, by its speed in the last round, the handover itself would not hide the gain, and
 * the deadline is not near. */
static bool is_round_worth(const struct gw_source *source, uint64_t now_ns)
{
    uint64_t left_ns = remaining_ns(source);
    uint64_t round_ns = left_ns + source->round_trip_ns;
    uint64_t bytes_per_s = source->dirty_pages_per_s * source->config.page_bytes;
    uint64_t dirtied = (uint64_t)((__uint128_t)bytes_per_s * round_ns / NS_PER_S);
    uint64_t late_ns = gw_source_late_at(source);
    bool is_in_time = late_ns == UINT64_MAX || now_ns + 2 * round_ns < late_ns;
    return source->further_rounds < GW_FURTHER_ROUNDS_MAX && is_in_time &&
           left_ns > gw_source_handover_ns(source) / 4 &&
           gw_pace_time_ns(&source->pace, dirtied) <= left_ns / 2;
}

static void reconsider(struct gw_source *source, uint64_t now_ns);

/* ---- Slowing down, and going first ---- */

void gw_source_set_throttle(struct gw_source *source, uint32_t percent)
{
    if (source->throttle_percent != percent) {
        source->throttle_percent = percent;
        gw_source_emit(source, GW_SOURCE_DO_THROTTLE)->throttle_percent = percent;
    }
    source->slow_rounds = 0;
}

void gw_source_spare(struct gw_source *source)
{
    if (source->throttle_percent > 0 || source->slow_rounds > 0) {
        source->spared_percent = source->throttle_percent;
        source->spared_rounds = source->slow_rounds;
    }
    gw_source_set_throttle(source, 0);
}

void gw_source_slow_again(struct gw_source *source)
{
    if (!source->is_postcopy) {
        gw_source_set_throttle(source, source->spared_percent);
        source->slow_rounds = source->spared_rounds;
    }
    source->spared_percent = 0;
    source->spared_rounds = 0;
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

/* By itself it goes no further than that, where there is something better. */
static uint32_t throttle_max(const struct gw_source *source)
{
    const struct gw_throttle *rule = &source->config.throttle;
    bool is_gentle = source->config.is_auto && gw_source_can_postcopy(source) &&
                     rule->max_percent > GW_AUTO_THROTTLE_PERCENT;
    return is_gentle ? GW_AUTO_THROTTLE_PERCENT : rule->max_percent;
}

/* Slow at the tail: no more than makes the dirty rate match, if pages are dirtied in proportion to
 * the CPU that the guest gets. */
static uint32_t increment(const struct gw_source *source, uint64_t added, uint64_t allowed)
{
    const struct gw_throttle *rule = &source->config.throttle;
    uint64_t now = 100 - source->throttle_percent;
    uint64_t more = now - now * allowed / added;
    return rule->is_tail_slow && more < rule->increment_percent ? (uint32_t)more
                                                                : rule->increment_percent;
}

/* The round dirtied `added` pages, of which `allowed` would not have been too many. */
static void throttle_more(struct gw_source *source, uint64_t added, uint64_t allowed)
{
    const struct gw_throttle *rule = &source->config.throttle;
    uint32_t more = source->throttle_percent + increment(source, added, allowed);
    uint32_t next = source->throttle_percent == 0 ? rule->initial_percent : more;
    gw_source_set_throttle(source, next < throttle_max(source) ? next : throttle_max(source));
    explain(source, GW_CHOICE_THROTTLE);
}

/* The round dirtied `added` pages: is the guest faster than the link? Once may be chance. */
static void judge_speed(struct gw_source *source, uint64_t added)
{
    const struct gw_throttle *rule = &source->config.throttle;
    uint64_t sent = pages_sent(source) - source->round_pages;
    uint64_t allowed = sent * rule->trigger_percent / 100;
    if (added <= allowed || ++source->slow_rounds < 2) {
        return;
    }
    if (rule->is_on && source->throttle_percent < throttle_max(source)) {
        throttle_more(source, added, allowed);
    } else if (source->config.is_auto && gw_source_can_postcopy(source)) {
        gw_source_begin_postcopy(source);
        explain(source, GW_CHOICE_POSTCOPY_TOO_FAST);
    }
}

/* What a whole round tells of the guest's speed. */
static void close_round(struct gw_source *source, uint64_t added, uint64_t now_ns)
{
    uint64_t took_ns = now_ns - source->round_ns;
    source->dirtied_pages = added;
    source->dirty_pages_per_s = took_ns ? (uint64_t)((__uint128_t)added * NS_PER_S / took_ns) : 0;
    gw_source_end_round(source, added, now_ns);
}

/* The log of what was dirtied is here: another round, or the end of it? */
void gw_source_step_judge(struct gw_source *source, const struct gw_source_event *event)
{
    uint64_t added = gw_pages_merge(&source->pages, event->bitmap);
    bool is_round = source->is_round_open;
    source->is_collecting = false;
    if (is_round) {
        close_round(source, added, event->now_ns);
    }
    gw_pages_begin_round(&source->pages);
    reconsider(source, event->now_ns);
    if (source->config.downtime_ns_max <= gw_source_handover_ns(source)) {
        explain_once(source, GW_CHOICE_LIMIT_TOO_LOW);
    }
    bool fits = is_fitting(source);
    if (source->is_postcopy) {
        return; /* it leaves when nothing is under way any more, and not before */
    }
    source->is_switching = fits && !(is_round && is_round_worth(source, event->now_ns));
    if (source->is_switching) {
        return;
    }
    if (fits) {
        source->further_rounds++;
        explain_once(source, GW_CHOICE_FURTHER);
    } else if (is_round) {
        judge_speed(source, added);
    }
    if (!source->is_postcopy) {
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

/* What would have to go if the guest were stopped now: what is left, and what it has dirtied again
 * of that which this round has sent; as much as in the round before, for all that is known. */
static uint64_t pages_left(const struct gw_source *source)
{
    uint64_t again = source->is_round_open ? pages_sent(source) - source->round_pages : 0;
    return gw_pages_remaining(&source->pages) +
           (again < source->dirtied_pages ? again : source->dirtied_pages);
}

/* How long that will take, with a quarter to spare: it begins that much before. By the link's own
 * speed, and by the limit that will hold then. 0 before that speed is known. */
static uint64_t lead_ns(const struct gw_source *source, enum gw_on_deadline action)
{
    uint64_t limit = action == GW_ON_DEADLINE_POSTCOPY ? source->config.postcopy_bandwidth_max
                                                       : source->config.bandwidth_max;
    uint64_t bandwidth = gw_pace_bandwidth(&source->pace);
    uint64_t bytes = pages_left(source) * source->config.page_bytes;
    if (!gw_pace_is_measured(&source->pace) || bandwidth == 0) {
        return 0;
    }
    bandwidth = limit > 0 && limit < bandwidth ? limit : bandwidth;
    uint64_t left_ns = (uint64_t)((__uint128_t)bytes * NS_PER_S / bandwidth);
    return left_ns + left_ns / 4 + gw_source_handover_ns(source);
}

static uint64_t begins_at(const struct gw_source *source, enum gw_on_deadline action)
{
    uint64_t lead = lead_ns(source, action);
    return lead < source->config.deadline_ns ? source->start_ns + source->config.deadline_ns - lead
                                             : source->start_ns;
}

uint64_t gw_source_late_at(const struct gw_source *source)
{
    bool is_before_stop = source->state > GW_SOURCE_NONE && source->state < GW_SOURCE_LEAVING;
    if (!source->config.deadline_ns || !is_before_stop) {
        return UINT64_MAX;
    }
    enum gw_on_deadline action = deadline_action(source);
    uint64_t end_ns = source->start_ns + source->config.deadline_ns;
    if (action == GW_ON_DEADLINE_CANCEL) {
        return end_ns;
    }
    bool is_begun = source->is_late || source->is_postcopy;
    bool is_known = source->state >= GW_SOURCE_OPENING; /* what the target can do */
    uint64_t last_ns = source->config.on_deadline == GW_ON_DEADLINE_AUTO ? end_ns : UINT64_MAX;
    return is_known && !is_begun ? begins_at(source, action) : last_ns;
}

bool gw_source_be_late(struct gw_source *source)
{
    enum gw_on_deadline action = deadline_action(source);
    if (action == GW_ON_DEADLINE_CANCEL || source->is_late || source->is_postcopy) {
        return true;
    }
    source->is_late = true;
    if (action == GW_ON_DEADLINE_POSTCOPY) {
        gw_source_begin_postcopy(source);
        explain(source, GW_CHOICE_POSTCOPY_DEADLINE);
    }
    return false;
}

/* A round more is known: what looked late may not be, as long as nothing was done about it. */
static void reconsider(struct gw_source *source, uint64_t now_ns)
{
    if (source->is_late && !source->is_postcopy) {
        source->is_late = now_ns >= begins_at(source, deadline_action(source));
    }
}

/* ---- Who must agree ---- */

bool gw_source_may_switch(struct gw_source *source, uint64_t now_ns)
{
    if (source->is_acked) {
        return true;
    }
    if (source->limit_ns == 0) { /* the guest must not be kept slow for it, nor for ever */
        source->limit_ns = now_ns + GW_DEVICES_NS_MAX;
        gw_source_set_throttle(source, 0);
        explain(source, GW_CHOICE_WAIT_FOR_DEVICES);
    }
    return false;
}

void gw_source_explain_switch(struct gw_source *source)
{
    if (source->is_switching) {
        explain(source, GW_CHOICE_FITS);
    } else if (!source->is_postcopy) {
        explain(source, GW_CHOICE_STOP_DEADLINE);
    }
}

/* What fitted when it was looked at may not fit any more: look again. How fast the guest is cannot
 * be told from that: it had more time than a round. */
static void look_again(struct gw_source *source)
{
    source->is_switching = false;
    source->slow_rounds = 0;
    if (!source->is_collecting) {
        source->is_collecting = true;
        (void)gw_source_emit(source, GW_SOURCE_DO_COLLECT);
    }
}

void gw_source_step_acknowledge(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->is_acked = true;
    if (source->state == GW_SOURCE_ACTIVE) {
        source->limit_ns = 0;
    }
    if (source->state == GW_SOURCE_ACTIVE && source->is_switching) {
        look_again(source);
    }
}

/* The guest runs on at its own speed for as long as the operator likes. */
void gw_source_step_hold(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    gw_source_set_throttle(source, 0);
    explain(source, GW_CHOICE_HOLD);
}

void gw_source_step_go_on(struct gw_source *source, const struct gw_source_event *event)
{
    (void)event;
    source->is_continued = true;
    look_again(source);
}
