/* SPDX-License-Identifier: Apache-2.0 */
/* Pace: acknowledged bandwidth and the operator's limit. Pure. */
#include "godwit/pace.h"

#define NS_PER_S UINT64_C(1000000000)

/* a * b / c without overflow on the way; saturates. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
    __uint128_t result = (__uint128_t)a * b / c;
    return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}

void gw_pace_init(struct gw_pace *pace, uint64_t limit)
{
    *pace = (struct gw_pace){.limit = limit, .permille = 1000};
}

void gw_pace_set_limit(struct gw_pace *pace, uint64_t limit)
{
    pace->limit = limit;
    pace->free_at_ns = 0;
}

void gw_pace_set_permille(struct gw_pace *pace, uint32_t permille)
{
    pace->permille = permille;
}

uint64_t gw_pace_free_at(const struct gw_pace *pace)
{
    return pace->limit ? pace->free_at_ns : 0;
}

uint64_t gw_pace_batch_bytes(const struct gw_pace *pace, uint32_t channel_count)
{
    return pace->limit ? scale(pace->limit, GW_PACE_BATCH_NS, NS_PER_S * channel_count)
                       : UINT64_MAX;
}

static uint64_t add(uint64_t a, uint64_t b)
{
    return a + b < a ? UINT64_MAX : a + b;
}

void gw_pace_take(struct gw_pace *pace, uint64_t bytes, uint64_t now_ns)
{
    uint64_t saved_ns = now_ns > GW_PACE_SAVED_NS ? now_ns - GW_PACE_SAVED_NS : 0;
    uint64_t from = pace->free_at_ns > saved_ns ? pace->free_at_ns : saved_ns;
    if (pace->limit != 0) {
        pace->free_at_ns = add(from, scale(bytes, NS_PER_S, pace->limit));
    }
}

void gw_pace_settle(struct gw_pace *pace, uint64_t taken, uint64_t bytes)
{
    if (pace->limit == 0) {
        return;
    }
    if (bytes >= taken) {
        pace->free_at_ns = add(pace->free_at_ns, scale(bytes - taken, NS_PER_S, pace->limit));
        return;
    }
    uint64_t back_ns = scale(taken - bytes, NS_PER_S, pace->limit);
    pace->free_at_ns -= back_ns < pace->free_at_ns ? back_ns : pace->free_at_ns;
}

void gw_pace_begin(struct gw_pace *pace, uint64_t now_ns)
{
    if (!pace->is_busy) {
        pace->is_busy = true;
        pace->busy_since_ns = now_ns;
    }
}

static uint64_t rate_of(const struct gw_pace_measure *measure)
{
    if (measure->bytes_per_s > 0 || measure->window_ns == 0) {
        return measure->bytes_per_s;
    }
    return scale(measure->window_bytes, NS_PER_S, measure->window_ns);
}

/* A full window moves into the average. */
static void account(struct gw_pace_measure *measure, uint64_t ns)
{
    measure->window_ns += ns;
    if (measure->window_ns < GW_PACE_WINDOW_NS || measure->window_bytes == 0) {
        return;
    }
    uint64_t fresh = scale(measure->window_bytes, NS_PER_S, measure->window_ns);
    measure->bytes_per_s = measure->bytes_per_s ? (measure->bytes_per_s * 3 + fresh) / 4 : fresh;
    measure->window_ns = 0;
    measure->window_bytes = 0;
    measure->windows += measure->windows < GW_PACE_WINDOWS;
}

void gw_pace_acked(struct gw_pace *pace, uint64_t bytes, bool is_idle, uint64_t now_ns)
{
    pace->all.window_bytes += bytes;
    if (pace->is_busy) {
        account(&pace->all, now_ns - pace->busy_since_ns);
        pace->busy_since_ns = now_ns;
    }
    pace->is_busy = !is_idle;
}

void gw_pace_raw_acked(struct gw_pace *pace, uint64_t bytes, uint64_t since_ns, uint64_t now_ns)
{
    uint64_t from_ns = since_ns > pace->raw_until_ns ? since_ns : pace->raw_until_ns;
    pace->raw.window_bytes += bytes;
    account(&pace->raw, now_ns - from_ns);
    pace->raw_until_ns = now_ns;
}

void gw_pace_lost(struct gw_pace *pace)
{
    pace->is_busy = false;
}

bool gw_pace_is_measured(const struct gw_pace *pace)
{
    return pace->all.windows == GW_PACE_WINDOWS;
}

uint64_t gw_pace_bandwidth(const struct gw_pace *pace)
{
    return rate_of(&pace->all);
}

uint64_t gw_pace_expected(const struct gw_pace *pace)
{
    uint64_t raw = rate_of(&pace->raw);
    uint64_t bandwidth = raw ? raw : gw_pace_bandwidth(pace);
    uint64_t limit = scale(pace->limit, 1000, pace->permille);
    bool is_limit_less = limit != 0 && (bandwidth == 0 || limit < bandwidth);
    return is_limit_less ? limit : bandwidth;
}

uint64_t gw_pace_time_ns(const struct gw_pace *pace, uint64_t bytes)
{
    uint64_t bandwidth = gw_pace_expected(pace);
    if (bytes == 0) {
        return 0;
    }
    return bandwidth ? scale(bytes, NS_PER_S, bandwidth) : UINT64_MAX;
}

uint64_t gw_pace_bytes(const struct gw_pace *pace, uint64_t ns)
{
    return scale(gw_pace_expected(pace), ns, NS_PER_S);
}
