/* SPDX-License-Identifier: Apache-2.0 */
/* Whether pages are packed. The contract: godwit/compression.h. Pure. */
#include "godwit/compression.h"

#include <string.h>

enum {
    WINDOW_BYTES = 4 << 20, /* of pages: then it is thought over */
    WAITING_DIVISOR = 8,    /* the link limits when so much of the time is waiting */
    GAIN_PERCENT = 10,      /* to begin; half of it to go on */
    SPENT_PER_TRIAL = 50,   /* a trial may cost this part of the time */
    TRIALS_IN_VAIN_MAX = 4, /* each doubles that, so many times */
    JUDGED_WINDOW = 4,      /* by then the sockets hold nothing from before */
    PLAIN_PERMILLE = 1000,
    BAD_PERMILLE = 850,
    /* Picoseconds a byte: what can be packed well never takes less. Saves trials on a fast link. */
    PACK_PS_MIN = 1000,
    HIGH_TO_FAST = 4, /* ... and HC at least so many times as long */
};
#define SAMPLE_BYTES_MIN (UINT64_C(32) << 10) /* a batch that says something of packing */
#define HOLD_BYTES_MIN   (UINT64_C(64) << 20)
#define HOLD_BYTES_MAX   (UINT64_C(1) << 30)
#define PS_PER_NS        UINT64_C(1000)
#define PS_PER_S         UINT64_C(1000000000000)

static const uint64_t unknown_ps = UINT64_MAX;

static uint64_t ps_per_byte(uint64_t ns, uint64_t bytes)
{
    return bytes == 0 ? 0 : ns * PS_PER_NS / bytes;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void begin_window(struct gw_compression *compression)
{
    compression->window = (struct gw_batch_cost){.packing = compression->packing};
}

static void set(struct gw_compression *compression, enum gw_packing packing,
                enum gw_packing_reason reason)
{
    compression->packing = packing;
    compression->reason = reason;
    compression->window_count = 0;
    compression->trials_in_vain = 0;
    compression->held_bytes = 0;
    begin_window(compression);
}

/* ---- The operator and the target ---- */

static void apply(struct gw_compression *compression)
{
    if (compression->wish == GW_COMPRESS_NONE) {
        set(compression, GW_PACKING_NONE, GW_PACKING_WANTED);
    } else if (!compression->is_able) {
        set(compression, GW_PACKING_NONE, GW_PACKING_UNABLE);
    } else if (compression->wish == GW_COMPRESS_LZ4) {
        set(compression, GW_PACKING_FAST, GW_PACKING_WANTED);
    } else {
        set(compression, GW_PACKING_NONE, GW_PACKING_AT_FIRST);
    }
}

void gw_compression_init(struct gw_compression *compression, enum gw_compress wish)
{
    memset(compression, 0, sizeof(*compression));
    compression->wish = wish;
    compression->rate[GW_PACKING_NONE] =
        (struct gw_packing_rate){.permille = PLAIN_PERMILLE, .is_known = true};
    apply(compression);
}

bool gw_compression_set_able(struct gw_compression *compression, bool is_able)
{
    compression->is_able = is_able;
    apply(compression);
    return compression->wish == GW_COMPRESS_LZ4;
}

/* ---- What it would take ---- */

/* A byte of a page, packed that way: by the thread, and by the slower of thread and link. */
static uint64_t thread_ps(const struct gw_compression *compression, enum gw_packing packing)
{
    const struct gw_packing_rate *rate = &compression->rate[packing];
    return compression->work_ps + rate->pack_ps + compression->write_ps * rate->permille / 1000;
}

static uint64_t total_ps(const struct gw_compression *compression, enum gw_packing packing)
{
    const struct gw_packing_rate *rate = &compression->rate[packing];
    return rate->is_known ? max_of(thread_ps(compression, packing),
                                   compression->link_ps * rate->permille / 1000)
                          : unknown_ps;
}

/* The kind that is tried beside each. */
static enum gw_packing other_of(enum gw_packing packing)
{
    return packing == GW_PACKING_FAST ? GW_PACKING_HIGH : GW_PACKING_FAST;
}

/* The least work that comes within reach of the best. What a trial said of the other kind is of
 * other pages than the last window's, and counts only while it is fresh. */
static enum gw_packing choose(const struct gw_compression *compression, bool has_trial)
{
    enum gw_packing best = GW_PACKING_NONE;
    for (enum gw_packing packing = GW_PACKING_FAST; packing < GW_PACKING_COUNT; packing++) {
        uint64_t gain = packing <= compression->packing ? GAIN_PERCENT / 2 : GAIN_PERCENT;
        uint64_t theirs = total_ps(compression, packing);
        bool counts = packing == compression->packing ||
                      (has_trial && packing == other_of(compression->packing));
        if (counts && theirs != unknown_ps &&
            theirs * 100 < total_ps(compression, best) * (100 - gain)) {
            best = packing;
        }
    }
    return best;
}

/* ---- Trials ---- */

/* False when it cannot pay, whatever a trial says. */
static bool may_pay(const struct gw_compression *compression, enum gw_packing packing)
{
    uint64_t fast_ps = max_of(compression->rate[GW_PACKING_FAST].pack_ps, PACK_PS_MIN);
    uint64_t pack_ps = packing == GW_PACKING_HIGH ? HIGH_TO_FAST * fast_ps : PACK_PS_MIN;
    return packing < compression->packing ||
           compression->work_ps + pack_ps < total_ps(compression, compression->packing);
}

static bool is_trial_due(const struct gw_compression *compression)
{
    uint64_t patience = SPENT_PER_TRIAL << compression->trials_in_vain;
    return compression->wish == GW_COMPRESS_AUTO && compression->is_able &&
           compression->window_count > 0 && compression->held_bytes >= compression->hold_bytes &&
           compression->spent_ns >= compression->trial_ns * patience &&
           may_pay(compression, other_of(compression->packing));
}

enum gw_packing gw_compression_next(struct gw_compression *compression)
{
    if (is_trial_due(compression)) {
        compression->spent_ns = 0; /* one at a time */
        return other_of(compression->packing);
    }
    return compression->packing;
}

static void learn(struct gw_compression *compression, const struct gw_batch_cost *cost)
{
    if (cost->packing != GW_PACKING_NONE) {
        compression->rate[cost->packing] = (struct gw_packing_rate){
            .pack_ps = ps_per_byte(cost->pack_ns, cost->raw_bytes),
            .permille = (uint32_t)(cost->packed_bytes * 1000 / cost->raw_bytes),
            .is_known = true};
    }
}

/* One batch says little of the next: a quarter of what is believed. */
static void learn_by_trial(struct gw_compression *compression, const struct gw_batch_cost *cost)
{
    const struct gw_packing_rate old = compression->rate[cost->packing];
    struct gw_packing_rate *rate = &compression->rate[cost->packing];
    learn(compression, cost);
    if (old.is_known) {
        rate->pack_ps = (3 * old.pack_ps + rate->pack_ps) / 4;
        rate->permille = (3 * old.permille + rate->permille) / 4;
    }
}

/* ---- Decisions ---- */

static uint64_t time_of(const struct gw_batch_cost *cost)
{
    return cost->pack_ns + cost->work_ns + cost->write_ns + cost->wait_ns;
}

static enum gw_packing_reason reason_for(const struct gw_compression *compression,
                                         enum gw_packing chosen)
{
    const struct gw_packing_rate *used = &compression->rate[compression->packing];
    if (chosen > compression->packing) {
        return GW_PACKING_PAYS;
    }
    if (chosen != GW_PACKING_NONE) {
        return GW_PACKING_TOO_SLOW;
    }
    return used->permille > BAD_PERMILLE ? GW_PACKING_BAD_RATIO : GW_PACKING_FAST_LINK;
}

static bool decide(struct gw_compression *compression, bool has_trial)
{
    enum gw_packing chosen = choose(compression, has_trial);
    if (chosen == compression->packing) {
        return false;
    }
    set(compression, chosen, reason_for(compression, chosen));
    return true;
}

/* Something else limits, the target's CPU perhaps: a longer and longer time without. */
static bool give_up(struct gw_compression *compression)
{
    uint64_t hold = compression->hold_bytes * 2;
    set(compression, GW_PACKING_NONE, GW_PACKING_NO_GAIN);
    compression->hold_bytes = hold < HOLD_BYTES_MIN   ? HOLD_BYTES_MIN
                              : hold > HOLD_BYTES_MAX ? HOLD_BYTES_MAX
                                                      : hold;
    return true;
}

/* The link's rate shows when the thread had to wait for it. When it had not, the link is at least
 * as fast as what it took; that is forgotten after a while, since it may be much faster. */
static void judge_link(struct gw_compression *compression)
{
    const struct gw_batch_cost *window = &compression->window;
    uint64_t seen_ps = ps_per_byte(time_of(window), window->packed_bytes);
    if (window->wait_ns >= time_of(window) / WAITING_DIVISOR) {
        compression->link_ps = seen_ps;
    } else if (compression->packing == GW_PACKING_NONE ||
               compression->window_count * WINDOW_BYTES >= HOLD_BYTES_MAX) {
        compression->link_ps = 0;
    } else if (seen_ps < compression->link_ps) {
        compression->link_ps = seen_ps;
    }
}

static bool end_window(struct gw_compression *compression)
{
    const struct gw_batch_cost window = compression->window;
    uint64_t all_ps = ps_per_byte(time_of(&window), window.raw_bytes);
    compression->work_ps = ps_per_byte(window.work_ns, window.raw_bytes);
    compression->write_ps = ps_per_byte(window.write_ns, window.packed_bytes);
    judge_link(compression);
    learn(compression, &window);
    compression->window_count++;
    begin_window(compression);
    if (compression->wish != GW_COMPRESS_AUTO || !compression->is_able) {
        return false;
    }
    if (window.packing == GW_PACKING_NONE) {
        compression->plain_ps = all_ps;
    } else if (compression->window_count == JUDGED_WINDOW &&
               all_ps * 100 > compression->plain_ps * (100 - GAIN_PERCENT / 2)) {
        return give_up(compression);
    }
    return decide(compression, false);
}

static void add(struct gw_batch_cost *sum, const struct gw_batch_cost *cost)
{
    sum->raw_bytes += cost->raw_bytes;
    sum->packed_bytes += cost->packed_bytes;
    sum->pack_ns += cost->pack_ns;
    sum->work_ns += cost->work_ns;
    sum->write_ns += cost->write_ns;
    sum->wait_ns += cost->wait_ns;
}

static bool end_trial(struct gw_compression *compression, const struct gw_batch_cost *cost)
{
    if (cost->raw_bytes < SAMPLE_BYTES_MIN) {
        return false;
    }
    compression->trial_ns = cost->pack_ns;
    learn_by_trial(compression, cost);
    if (decide(compression, true)) {
        return true;
    }
    compression->trials_in_vain += compression->trials_in_vain < TRIALS_IN_VAIN_MAX;
    return false;
}

bool gw_compression_sent(struct gw_compression *compression, const struct gw_batch_cost *cost)
{
    if (cost->raw_bytes == 0) {
        return false;
    }
    if (cost->packing != GW_PACKING_NONE) {
        compression->raw_bytes += cost->raw_bytes;
        compression->packed_bytes += cost->packed_bytes;
        compression->pack_ns += cost->pack_ns;
    }
    compression->spent_ns += time_of(cost);
    compression->held_bytes += cost->raw_bytes;
    if (cost->packing != compression->packing) { /* a trial, or from before a change */
        return compression->wish == GW_COMPRESS_AUTO &&
               cost->packing == other_of(compression->packing) && end_trial(compression, cost);
    }
    add(&compression->window, cost);
    return compression->window.raw_bytes >= WINDOW_BYTES && end_window(compression);
}

uint32_t gw_compression_permille(const struct gw_compression *compression)
{
    const struct gw_packing_rate *rate = &compression->rate[compression->packing];
    bool is_known = rate->is_known && rate->permille > 0;
    return is_known ? rate->permille : PLAIN_PERMILLE;
}

/* ---- For people ---- */

uint64_t gw_compression_pack_rate(const struct gw_compression *compression, enum gw_packing packing)
{
    uint64_t ps = compression->rate[packing].pack_ps;
    return ps == 0 ? 0 : PS_PER_S / ps;
}

uint64_t gw_compression_link_rate(const struct gw_compression *compression)
{
    return compression->link_ps == 0 ? 0 : PS_PER_S / compression->link_ps;
}
