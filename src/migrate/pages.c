/* SPDX-License-Identifier: Apache-2.0 */
/* What is left to send. Pure; under the source's lock. */
#include "godwit/pages.h"

#include <string.h>

#include "base/bitmap.h"

static uint64_t word_count(const struct gw_pages *pages)
{
    return (pages->page_count + 63) / 64;
}

void gw_pages_init(struct gw_pages *pages, uint64_t page_count, uint32_t page_bytes)
{
    GW_ASSERT(page_count >= 1 && page_count <= GW_PAGES_MAX);
    GW_ASSERT(page_bytes >= GW_PAGE_BYTES_MIN && page_bytes <= GW_BATCH_BYTES_MAX);
    pages->page_count = page_count;
    pages->page_bytes = page_bytes;
    pages->batch_pages = (uint32_t)(GW_BATCH_BYTES_MAX / page_bytes);
    pages->pick_pages = 0;
    pages->unit_pages = 1;
    pages->is_first_round = false;
    pages->dirty_count = 0;
    pages->merges = 0;
    memset(pages->dirty, 0, word_count(pages) * sizeof(pages->dirty[0]));
    gw_pages_set_channels(pages, 1);
}

void gw_pages_set_channels(struct gw_pages *pages, uint32_t count)
{
    GW_ASSERT(count >= 1 && count <= GW_BULK_CHANNELS_MAX);
    pages->channel_count = count;
    pages->stretch_pages = count == 1 ? pages->page_count : GW_STRETCH_BYTES / pages->page_bytes;
    for (uint32_t i = 0; i < count; i++) {
        struct gw_pages_channel *channel = &pages->channel[i];
        channel->cursor = pages->page_count;
        channel->next_cursor = pages->page_count + 1;
        channel->verify_cursor = 0;
        channel->sequence_picked = 0;
        channel->sequence_sent = 0;
        channel->sequence_acked = 0;
        channel->sequence_unstopped = 0;
    }
}

uint32_t gw_pages_channel_of(uint64_t page, uint32_t page_bytes, uint32_t channel_count)
{
    return (uint32_t)(page / (GW_STRETCH_BYTES / page_bytes) % channel_count);
}

/* ---- A channel's share ---- */

/* The first page of the channel's share at or behind `page`; page_count: there is none. */
static uint64_t next_own(const struct gw_pages *pages, uint32_t channel, uint64_t page)
{
    uint64_t stretch = page / pages->stretch_pages;
    uint64_t owner = stretch % pages->channel_count;
    if (owner == channel || page >= pages->page_count) {
        return page < pages->page_count ? page : pages->page_count;
    }
    uint64_t ahead = (channel + pages->channel_count - owner) % pages->channel_count;
    uint64_t first = (stretch + ahead) * pages->stretch_pages;
    return first < pages->page_count ? first : pages->page_count;
}

static uint64_t stretch_end(const struct gw_pages *pages, uint64_t page)
{
    uint64_t end = page - page % pages->stretch_pages + pages->stretch_pages;
    return end < pages->page_count ? end : pages->page_count;
}

/* The same of its dirty pages. */
static uint64_t next_dirty(const struct gw_pages *pages, uint32_t channel, uint64_t page)
{
    page = next_own(pages, channel, page);
    while (page < pages->page_count) {
        uint64_t end = stretch_end(pages, page);
        uint64_t dirty = gw_bits_next(pages->dirty, page, end, true);
        if (dirty < end) {
            return dirty;
        }
        page = next_own(pages, channel, end);
    }
    return page;
}

/* The round has picked its whole share. */
static bool is_picked(const struct gw_pages *pages, uint32_t channel)
{
    return next_own(pages, channel, pages->channel[channel].cursor) == pages->page_count;
}

/* ---- Rounds ---- */

void gw_pages_set_unit(struct gw_pages *pages, uint32_t unit_pages)
{
    GW_ASSERT(unit_pages >= 1 && pages->page_count % unit_pages == 0);
    pages->unit_pages = unit_pages;
}

void gw_pages_round_out(struct gw_pages *pages)
{
    uint64_t unit = pages->unit_pages;
    uint64_t page = gw_bits_next(pages->dirty, 0, pages->page_count, true);
    while (unit > 1 && page < pages->page_count) {
        page -= page % unit;
        pages->dirty_count += gw_bits_put(pages->dirty, page, unit, true);
        page = gw_bits_next(pages->dirty, page + unit, pages->page_count, true);
    }
}

/* Within its stretch: what a channel takes for a hole depends on its own share alone. */
static uint64_t end_of_hole(const struct gw_pages *pages, uint64_t page)
{
    return gw_bits_next(pages->dirty, page, stretch_end(pages, page), true);
}

/* A hole worth a batch of its own; shorter ones are sent as pages, which turn out to be zero. */
static bool is_long_hole(const struct gw_pages *pages, uint64_t page)
{
    return end_of_hole(pages, page) - page >= pages->batch_pages;
}

/* Holes too short for a batch of their own go as pages, which turn out to be zero. */
static void fill_short_holes(struct gw_pages *pages)
{
    uint64_t hole = gw_bits_next(pages->dirty, 0, pages->page_count, false);
    while (hole < pages->page_count) {
        uint64_t end = end_of_hole(pages, hole);
        if (!is_long_hole(pages, hole)) {
            pages->dirty_count += gw_bits_put(pages->dirty, hole, end - hole, true);
        }
        hole = gw_bits_next(pages->dirty, end, pages->page_count, false);
    }
}

void gw_pages_begin(struct gw_pages *pages, const uint64_t *touched)
{
    (void)gw_pages_merge(pages, touched);
    fill_short_holes(pages);
    gw_pages_begin_round(pages);
    pages->is_first_round = true;
}

uint64_t gw_pages_merge(struct gw_pages *pages, const uint64_t *bitmap)
{
    uint64_t added = 0;
    uint64_t words = word_count(pages);
    for (uint64_t i = 0; i < words; i++) {
        added += (uint64_t)__builtin_popcountll(bitmap[i] & ~pages->dirty[i]);
        pages->dirty[i] |= bitmap[i];
    }
    pages->dirty_count += added;
    pages->merges++;
    return added;
}

void gw_pages_begin_round(struct gw_pages *pages)
{
    pages->is_first_round = false;
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        pages->channel[i].cursor = 0;
    }
}

static void put_run(struct gw_batch *batch, uint64_t page, uint64_t count)
{
    batch->run[batch->run_count++] = (struct gw_run){.page = page, .count = (uint32_t)count};
}

void gw_pages_limit_batch(struct gw_pages *pages, uint32_t page_count)
{
    pages->pick_pages = page_count;
}

static uint32_t room_of(const struct gw_pages *pages)
{
    bool is_limited = pages->pick_pages != 0 && pages->pick_pages < pages->batch_pages;
    return is_limited ? pages->pick_pages : pages->batch_pages;
}

/* First round: long holes, in as many runs as they have parts in the channel's share. */
static void pick_holes(struct gw_pages *pages, uint32_t channel, struct gw_batch *batch)
{
    uint64_t *cursor = &pages->channel[channel].cursor;
    batch->kind = GW_BATCH_HOLES;
    while (*cursor < pages->page_count && batch->run_count < GW_BATCH_RUNS_MAX &&
           !gw_bit_test(pages->dirty, *cursor) && is_long_hole(pages, *cursor)) {
        uint64_t end = end_of_hole(pages, *cursor);
        put_run(batch, *cursor, end - *cursor);
        *cursor = next_own(pages, channel, end);
    }
}

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* First round: pages up to the next long hole, within one stretch, so that a fresh one can be made
 * at one go (GW_FRAME_WHOLE). */
static void pick_first(struct gw_pages *pages, uint32_t channel, struct gw_batch *batch)
{
    uint64_t from = pages->channel[channel].cursor;
    uint64_t stretch_pages = GW_STRETCH_BYTES / pages->page_bytes;
    uint64_t most = least(room_of(pages), stretch_pages - from % stretch_pages);
    uint64_t end = least(from + most, pages->page_count);
    uint64_t at = from;
    while (at < end) {
        if (gw_bit_test(pages->dirty, at)) {
            at = gw_bits_next(pages->dirty, at, end, false);
        } else if (is_long_hole(pages, at)) {
            break;
        } else {
            at = gw_bits_next(pages->dirty, at, end, true);
        }
    }
    pages->channel[channel].cursor = at;
    put_run(batch, from, at - from);
}

/* Later rounds: runs of dirty pages. */
static void pick_dirty(struct gw_pages *pages, uint32_t channel, struct gw_batch *batch)
{
    uint64_t *cursor = &pages->channel[channel].cursor;
    uint32_t room = room_of(pages);
    while (room > 0 && batch->run_count < GW_BATCH_RUNS_MAX) {
        uint64_t from = next_dirty(pages, channel, *cursor);
        *cursor = from;
        if (from == pages->page_count) {
            return;
        }
        uint64_t most = stretch_end(pages, from);
        most = most - from < room ? most : from + room;
        *cursor = gw_bits_next(pages->dirty, from, most, false);
        put_run(batch, from, *cursor - from);
        room -= (uint32_t)(*cursor - from);
    }
}

/* The next pages of one unit. A unit is dirty as a whole, or from the cursor on. */
static void pick_unit(struct gw_pages *pages, uint32_t channel, struct gw_batch *batch)
{
    uint64_t *cursor = &pages->channel[channel].cursor;
    uint64_t from = next_dirty(pages, channel, *cursor);
    uint64_t end = from - from % pages->unit_pages + pages->unit_pages;
    *cursor = from;
    if (from == pages->page_count) {
        return;
    }
    *cursor = end - from < room_of(pages) ? end : from + room_of(pages);
    put_run(batch, from, *cursor - from);
}

static bool is_window_full(const struct gw_pages *pages, uint32_t channel)
{
    const struct gw_pages_channel *own = &pages->channel[channel];
    return own->sequence_picked - own->sequence_acked == GW_WINDOW_BATCHES;
}

static void put_into_window(struct gw_pages *pages, struct gw_batch *batch)
{
    struct gw_pages_channel *channel = &pages->channel[batch->channel];
    batch->sequence = ++channel->sequence_picked;
    if (!batch->is_stopped) {
        channel->sequence_unstopped = batch->sequence;
    }
    channel->window[batch->sequence % GW_WINDOW_BATCHES] = *batch;
}

static void begin_batch(struct gw_batch *batch, uint32_t channel, enum gw_batch_kind kind,
                        bool is_stopped)
{
    batch->channel = channel;
    batch->kind = kind;
    batch->is_stopped = is_stopped;
    batch->run_count = 0;
}

static void pick_runs(struct gw_pages *pages, struct gw_batch *batch)
{
    uint32_t channel = batch->channel;
    uint64_t from = pages->channel[channel].cursor;
    if (!pages->is_first_round) {
        bool is_by_unit = batch->kind == GW_BATCH_PUSH && pages->unit_pages > 1;
        (is_by_unit ? pick_unit : pick_dirty)(pages, channel, batch);
    } else if (!gw_bit_test(pages->dirty, from) && is_long_hole(pages, from)) {
        pick_holes(pages, channel, batch);
    } else {
        pick_first(pages, channel, batch);
    }
}

static enum gw_status pick(struct gw_pages *pages, uint32_t channel, enum gw_batch_kind kind,
                           bool is_stopped, struct gw_batch *batch)
{
    begin_batch(batch, channel, kind, is_stopped);
    pick_runs(pages, batch);
    if (batch->run_count == 0) {
        return GW_AGAIN;
    }
    for (uint32_t i = 0; i < batch->run_count; i++) {
        pages->dirty_count -=
            gw_bits_put(pages->dirty, batch->run[i].page, batch->run[i].count, false);
    }
    put_into_window(pages, batch);
    return GW_OK;
}

enum gw_status gw_pages_pick(struct gw_pages *pages, uint32_t channel, bool is_stopped,
                             struct gw_batch *batch)
{
    if (is_window_full(pages, channel) || is_picked(pages, channel)) {
        return GW_AGAIN;
    }
    uint64_t *cursor = &pages->channel[channel].cursor;
    *cursor = next_own(pages, channel, *cursor);
    return pick(pages, channel, GW_BATCH_PAGES, is_stopped, batch);
}

static void skip_to_hole(struct gw_pages *pages, uint32_t channel)
{
    uint64_t from = next_own(pages, channel, pages->channel[channel].cursor);
    while (from < pages->page_count && !is_long_hole(pages, from)) {
        uint64_t end = stretch_end(pages, from);
        uint64_t data = gw_bits_next(pages->dirty, from, end, true);
        pages->dirty_count += gw_bits_put(pages->dirty, from, data - from, true);
        from = next_own(pages, channel, gw_bits_next(pages->dirty, data, end, false));
    }
    pages->channel[channel].cursor = from;
}

void gw_pages_skip_to_hole(struct gw_pages *pages)
{
    for (uint32_t i = 0; i < pages->channel_count && pages->is_first_round; i++) {
        skip_to_hole(pages, i);
    }
}

enum gw_status gw_pages_pick_hole(struct gw_pages *pages, uint32_t channel, struct gw_batch *batch)
{
    gw_pages_skip_to_hole(pages);
    return pages->is_first_round ? gw_pages_pick(pages, channel, false, batch) : GW_AGAIN;
}

enum gw_status gw_pages_pick_map(struct gw_pages *pages, struct gw_batch *batch)
{
    if (is_window_full(pages, 0)) {
        return GW_AGAIN;
    }
    begin_batch(batch, 0, GW_BATCH_MAP, true);
    put_into_window(pages, batch);
    return GW_OK;
}

/* A unit was begun and its rest is to follow. */
static bool is_within_unit(const struct gw_pages *pages, uint64_t page)
{
    return page < pages->page_count && page % pages->unit_pages != 0 &&
           gw_bit_test(pages->dirty, page);
}

enum gw_status gw_pages_pick_around(struct gw_pages *pages, uint32_t channel,
                                    enum gw_batch_kind kind, struct gw_batch *batch)
{
    struct gw_pages_channel *own = &pages->channel[channel];
    if (pages->dirty_count == 0 || is_window_full(pages, channel)) {
        return GW_AGAIN;
    }
    if (own->next_cursor <= pages->page_count && !is_within_unit(pages, own->cursor)) {
        own->cursor = own->next_cursor;
        own->next_cursor = pages->page_count + 1;
    }
    if (next_dirty(pages, channel, own->cursor) == pages->page_count) {
        own->cursor = 0;
    }
    pages->is_first_round = false;
    return pick(pages, channel, kind, true, batch);
}

void gw_pages_demanded(struct gw_pages *pages, uint64_t page)
{
    uint64_t unit = pages->unit_pages;
    uint64_t cleared = gw_bits_put(pages->dirty, page, unit, false);
    pages->dirty_count -= cleared;
    if (cleared > 0) {
        pages->channel[page / pages->stretch_pages % pages->channel_count].next_cursor =
            page + unit;
    }
}

bool gw_pages_is_quiet(const struct gw_pages *pages)
{
    bool is_told = true;
    for (uint32_t i = 0; i < pages->channel_count && pages->is_first_round; i++) {
        is_told = is_told && is_picked(pages, i);
    }
    return is_told && gw_pages_is_idle(pages);
}

/* ---- Verification ---- */

enum gw_status gw_pages_pick_verify(struct gw_pages *pages, uint32_t channel,
                                    struct gw_batch *batch)
{
    struct gw_pages_channel *own = &pages->channel[channel];
    uint64_t from = next_own(pages, channel, own->verify_cursor);
    uint64_t most = GW_STRETCH_BYTES / pages->page_bytes;
    uint64_t left = pages->page_count - from;
    if (is_window_full(pages, channel) || left == 0 ||
        own->sequence_acked < own->sequence_unstopped ||
        (pages->dirty_count > 0 && next_dirty(pages, channel, 0) < pages->page_count)) {
        return GW_AGAIN;
    }
    begin_batch(batch, channel, GW_BATCH_VERIFY, true);
    put_run(batch, from, left < most ? left : most);
    own->verify_cursor = from + batch->run[0].count;
    put_into_window(pages, batch);
    return GW_OK;
}

bool gw_pages_is_verified(const struct gw_pages *pages)
{
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        const struct gw_pages_channel *channel = &pages->channel[i];
        if (next_own(pages, i, channel->verify_cursor) < pages->page_count ||
            channel->sequence_acked != channel->sequence_picked) {
            return false;
        }
    }
    return true;
}

/* ---- The windows ---- */

bool gw_pages_is_round_over(const struct gw_pages *pages)
{
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        if (!is_picked(pages, i) &&
            (pages->is_first_round ||
             next_dirty(pages, i, pages->channel[i].cursor) < pages->page_count)) {
            return false;
        }
    }
    return gw_pages_is_idle(pages);
}
