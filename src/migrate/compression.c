/* SPDX-License-Identifier: Apache-2.0 */
/* Whether pages are packed. The contract: godwit/compression.h. Pure. */
#include "godwit/compression.h"

#include <string.h>

enum {
    WINDOW_BYTES = 4 << 20, /* of pages: then it is thought over */
    WAITING_DIVISOR = 8,    /* the link limits when so much of the time is waiting for room */
    STARVED_DIVISOR = 4,    /* and so much of the target's for bytes */
    GAIN_PERCENT = 10,      /* to begin; half of it to go on */
    SPENT_PER_TRIAL = 50,   /* a trial may cost this part of the time */
    TRIALS_IN_VAIN_MAX = 4, /* each doubles that, so many times */
    JUDGED_WINDOW = 4,      /* whether it is a gain: by the second to this one */
    PLAIN_PERMILLE = 1000,
    BAD_PERMILLE = 850,
    /* What packing a byte takes at the very least, so that a fast link is spared the trials: on any
     * CPU so many picoseconds, and on a slow one so many times what copying and summing it does
     * (lz4: 7 times and more). */
    PACK_PS_MIN = 1000,
    PACK_WORKS_MIN = 3,
};
/* The first window ends earlier where the link limits: all of it travels as it is. */
#define FIRST_WINDOW_NS  (UINT64_C(60) * 1000 * 1000) /* of each channel's thread */
#define FIRST_BYTES_MIN  (UINT64_C(512) << 10)
#define SAMPLE_BYTES_MIN (UINT64_C(32) << 10) /* a batch that says something of packing */
#define HOLD_BYTES_MIN   (UINT64_C(64) << 20)
#define HOLD_BYTES_MAX   (UINT64_C(1) << 30)
#define NS_PER_US        UINT64_C(1000)
#define PS_PER_NS        UINT64_C(1000)
#define PS_PER_S         UINT64_C(1000000000000)

static_assert(GW_BULK_CHANNELS_MAX <= 32, "a bit of `waited` for each");

static uint64_t ps_per_byte(uint64_t ns, uint64_t bytes)
{
    return bytes == 0 ? 0 : ns * PS_PER_NS / bytes;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool is_starved(const struct gw_compression *compression)
{
    return compression->told_ns > 0
               ? compression->starved_ns * STARVED_DIVISOR >= compression->told_ns
               : compression->is_starved;
}

static void begin_window(struct gw_compression *compression)
{
    compression->is_starved = is_starved(compression);
    compression->told_ns = 0;
    compression->starved_ns = 0;
    compression->window = (struct gw_batch_cost){.packing = compression->packing};
}

static void set(struct gw_compression *compression, enum gw_packing packing,
                enum gw_packing_reason reason)
{
    compression->packing = packing;
    compression->reason = reason;
    compression->window_count = 0;
    compression->judged_ps = 0;
    compression->trials_in_vain = 0;
    compression->held_bytes = 0;
    begin_window(compression);
}

/* ---- The operator and the target ---- */

static void apply(struct gw_compression *compression)
{
    compression->waited = 0;
    if (compression->wish == GW_COMPRESS_NONE) {
        set(compression, GW_PACKING_NONE, GW_PACKING_WANTED);
    } else if (!compression->is_able) {
        set(compression, GW_PACKING_NONE, GW_PACKING_UNABLE);
    } else if (compression->wish == GW_COMPRESS_LZ4) {
        set(compression, GW_PACKING_LZ4, GW_PACKING_WANTED);
    } else {
        set(compression, GW_PACKING_NONE, GW_PACKING_AT_FIRST);
    }
}

void gw_compression_init(struct gw_compression *compression, enum gw_compress wish)
{
    memset(compression, 0, sizeof(*compression));
    compression->wish = wish;
    apply(compression);
}

bool gw_compression_set_able(struct gw_compression *compression, bool is_able)
{
    compression->is_able = is_able;
    apply(compression);
    return compression->wish == GW_COMPRESS_LZ4;
}

/* ---- What it would take ---- */

/* A byte of a page, by the slower of thread and link. */
static uint64_t total_ps(const struct gw_compression *compression, enum gw_packing packing)
{
    bool is_packed = packing == GW_PACKING_LZ4;
    uint64_t permille = is_packed ? compression->permille : PLAIN_PERMILLE;
    uint64_t thread_ps = compression->work_ps + (is_packed ? compression->pack_ps : 0) +
                         compression->write_ps * permille / 1000;
    return max_of(thread_ps, compression->link_ps * permille / 1000);
}

static enum gw_packing choose(const struct gw_compression *compression)
{
    uint64_t gain = compression->packing == GW_PACKING_LZ4 ? GAIN_PERCENT / 2 : GAIN_PERCENT;
    bool is_known = compression->permille > 0;
    return is_known && total_ps(compression, GW_PACKING_LZ4) * 100 <
                           total_ps(compression, GW_PACKING_NONE) * (100 - gain)
               ? GW_PACKING_LZ4
               : GW_PACKING_NONE;
}

/* ---- Trials ---- */

/* It was in vain: what another channel had under way then is no trial either. */
static bool is_held(const struct gw_compression *compression)
{
    return compression->held_bytes < compression->hold_bytes;
}

static bool is_trial_due(const struct gw_compression *compression)
{
    uint64_t patience = SPENT_PER_TRIAL << compression->trials_in_vain;
    uint64_t least_ps = max_of(PACK_PS_MIN, PACK_WORKS_MIN * compression->work_ps);
    bool may_pay = compression->work_ps + least_ps < total_ps(compression, GW_PACKING_NONE);
    return compression->wish == GW_COMPRESS_AUTO && compression->is_able &&
           compression->packing == GW_PACKING_NONE && compression->window_count > 0 &&
           !is_held(compression) && compression->spent_ns >= compression->trial_ns * patience &&
           may_pay;
}

enum gw_packing gw_compression_next(struct gw_compression *compression)
{
    if (is_trial_due(compression)) {
        compression->spent_ns = 0; /* one at a time */
        return GW_PACKING_LZ4;
    }
    return compression->packing;
}

static void learn(struct gw_compression *compression, const struct gw_batch_cost *cost)
{
    uint64_t permille = cost->packed_bytes * 1000 / cost->raw_bytes;
    compression->pack_ps = ps_per_byte(cost->pack_ns, cost->raw_bytes);
    compression->permille = (uint32_t)max_of(permille, 1);
}

/* One batch says little of the next: a quarter of what is believed. */
static void learn_by_trial(struct gw_compression *compression, const struct gw_batch_cost *cost)
{
    uint64_t pack_ps = compression->pack_ps;
    uint32_t permille = compression->permille;
    learn(compression, cost);
    if (permille > 0) {
        compression->pack_ps = (3 * pack_ps + compression->pack_ps) / 4;
        compression->permille = (3 * permille + compression->permille) / 4;
    }
}

/* ---- Decisions ---- */

static uint64_t time_of(const struct gw_batch_cost *cost)
{
    return cost->pack_ns + cost->work_ns + cost->write_ns + cost->wait_ns + cost->paced_ns;
}

static bool decide(struct gw_compression *compression)
{
    enum gw_packing chosen = choose(compression);
    bool is_bad = compression->permille > BAD_PERMILLE;
    if (chosen == compression->packing) {
        return false;
    }
    set(compression, chosen,
        chosen == GW_PACKING_LZ4 ? GW_PACKING_PAYS
        : is_bad                 ? GW_PACKING_BAD_RATIO
                                 : GW_PACKING_FAST_LINK);
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

/* Both ends wait for it: a target that does not is what limits, or this thread. The operator's
 * limit is one. */
static bool is_link_limiting(const struct gw_compression *compression)
{
    const struct gw_batch_cost *window = &compression->window;
    uint64_t least_ns = time_of(window) / WAITING_DIVISOR;
    return window->paced_ns >= least_ns || (window->wait_ns >= least_ns && is_starved(compression));
}

/* The link's rate shows when it was waited for. When it was not, the link is at least as fast as
 * what it took; that is forgotten after a while, since it may be much faster. */
static void judge_link(struct gw_compression *compression)
{
    const struct gw_batch_cost *window = &compression->window;
    uint64_t seen_ps = ps_per_byte(time_of(window), window->packed_bytes);
    if (is_link_limiting(compression)) {
        compression->link_ps = seen_ps;
    } else if (compression->packing == GW_PACKING_NONE ||
               compression->window_count * WINDOW_BYTES >= HOLD_BYTES_MAX) {
        compression->link_ps = 0;
    } else if (seen_ps < compression->link_ps) {
        compression->link_ps = seen_ps;
    }
}

static bool is_first_window(const struct gw_compression *compression)
{
    return compression->window_count == 0 && compression->packing == GW_PACKING_NONE;
}

static bool is_window_over(const struct gw_compression *compression)
{
    const struct gw_batch_cost *window = &compression->window;
    uint64_t least_ns = FIRST_WINDOW_NS * (uint64_t)__builtin_popcount(compression->waited);
    return window->raw_bytes >= WINDOW_BYTES ||
           (is_first_window(compression) && window->raw_bytes >= FIRST_BYTES_MIN &&
            time_of(window) >= least_ns && is_link_limiting(compression));
}

/* What a socket has room for at first says nothing of the link: of a channel that has to wait
 * counts only what follows its first wait, and of the others nothing from then on. */
static bool is_swallowed(struct gw_compression *compression, uint32_t channel, bool is_waiting)
{
    uint32_t before = compression->waited;
    compression->waited |= is_waiting ? UINT32_C(1) << channel : 0;
    if (!is_first_window(compression) || compression->waited == 0) {
        return false;
    }
    if (before == 0) {
        begin_window(compression);
    }
    return (before >> channel & 1) == 0;
}

static bool end_window(struct gw_compression *compression)
{
    const struct gw_batch_cost window = compression->window;
    uint64_t all_ps = ps_per_byte(time_of(&window), window.raw_bytes);
    compression->work_ps = ps_per_byte(window.work_ns, window.raw_bytes);
    compression->write_ps = ps_per_byte(window.write_ns, window.packed_bytes);
    judge_link(compression);
    if (window.packing == GW_PACKING_LZ4) {
        learn(compression, &window);
    }
    compression->window_count++;
    begin_window(compression);
    if (compression->wish != GW_COMPRESS_AUTO || !compression->is_able) {
        return false;
    }
    if (window.packing == GW_PACKING_NONE) { /* only a trial says how these pages would pack */
        compression->plain_ps = all_ps;
        return false;
    }
    if (compression->window_count > 1) {
        compression->judged_ps += all_ps;
    }
    uint64_t mean_ps = compression->judged_ps / (JUDGED_WINDOW - 1);
    bool is_gain = mean_ps * 100 <= compression->plain_ps * (100 - GAIN_PERCENT / 2);
    return compression->window_count == JUDGED_WINDOW && !is_gain ? give_up(compression)
                                                                  : decide(compression);
}

static void add(struct gw_batch_cost *sum, const struct gw_batch_cost *cost)
{
    sum->raw_bytes += cost->raw_bytes;
    sum->packed_bytes += cost->packed_bytes;
    sum->pack_ns += cost->pack_ns;
    sum->work_ns += cost->work_ns;
    sum->write_ns += cost->write_ns;
    sum->wait_ns += cost->wait_ns;
    sum->paced_ns += cost->paced_ns;
}

static bool end_trial(struct gw_compression *compression, const struct gw_batch_cost *cost)
{
    if (cost->raw_bytes < SAMPLE_BYTES_MIN) {
        return false;
    }
    compression->trial_ns = cost->pack_ns;
    learn_by_trial(compression, cost);
    if (decide(compression)) {
        return true;
    }
    compression->trials_in_vain += compression->trials_in_vain < TRIALS_IN_VAIN_MAX;
    return false;
}

bool gw_compression_sent(struct gw_compression *compression, uint32_t channel,
                         const struct gw_batch_cost *cost)
{
    if (cost->raw_bytes == 0) {
        return false;
    }
    if (cost->packing != GW_PACKING_NONE) {
        compression->raw_bytes += cost->raw_bytes;
        compression->packed_bytes += cost->packed_bytes;
    }
    compression->spent_ns += time_of(cost);
    compression->held_bytes += cost->raw_bytes;
    if (cost->packing != compression->packing) { /* a trial, or from before a change */
        return compression->wish == GW_COMPRESS_AUTO && cost->packing == GW_PACKING_LZ4 &&
               !is_held(compression) && end_trial(compression, cost);
    }
    if (is_swallowed(compression, channel, cost->wait_ns + cost->paced_ns > 0)) {
        return false;
    }
    add(&compression->window, cost);
    return is_window_over(compression) && end_window(compression);
}

/* Since its word before, which the network may have brought closer. Less than it said then: it is
 * connected anew, or was modulo 2^32, and said nothing yet. */
void gw_compression_told(struct gw_compression *compression, uint32_t channel, uint32_t starved_us,
                         uint64_t now_ns)
{
    struct gw_compression_told *told = &compression->told[channel];
    if (told->at_ns != 0 && starved_us >= told->starved_us) {
        uint64_t past_ns = now_ns - told->at_ns;
        uint64_t starved_ns = (starved_us - told->starved_us) * NS_PER_US;
        compression->told_ns += past_ns;
        compression->starved_ns += starved_ns < past_ns ? starved_ns : past_ns;
    }
    *told = (struct gw_compression_told){.at_ns = now_ns, .starved_us = starved_us};
}

uint32_t gw_compression_permille(const struct gw_compression *compression)
{
    bool is_packed = compression->packing == GW_PACKING_LZ4 && compression->permille > 0;
    return is_packed ? compression->permille : PLAIN_PERMILLE;
}

/* ---- For people ---- */

uint64_t gw_compression_pack_rate(const struct gw_compression *compression)
{
    return compression->pack_ps == 0 ? 0 : PS_PER_S / compression->pack_ps;
}

uint64_t gw_compression_link_rate(const struct gw_compression *compression)
{
    return compression->link_ps == 0 ? 0 : PS_PER_S / compression->link_ps;
}
