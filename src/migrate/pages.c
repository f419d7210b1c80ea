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
    pages->unit_pages = 1;
    pages->next_cursor = page_count + 1;
    pages->is_first_round = false;
    pages->dirty_count = 0;
    pages->cursor = page_count;
    pages->verify_cursor = 0;
    pages->merges = 0;
    pages->sequence_picked = 0;
    pages->sequence_sent = 0;
    pages->sequence_acked = 0;
    pages->sequence_unstopped = 0;
    memset(pages->dirty, 0, word_count(pages) * sizeof(pages->dirty[0]));
}

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

/* Holes too short for a batch of their own go as pages, which turn out to be zero. */
static void fill_short_holes(struct gw_pages *pages)
{
    uint64_t hole = gw_bits_next(pages->dirty, 0, pages->page_count, false);
    while (hole < pages->page_count) {
        uint64_t end = gw_bits_next(pages->dirty, hole, pages->page_count, true);
        if (end - hole < pages->batch_pages) {
            pages->dirty_count += gw_bits_put(pages->dirty, hole, end - hole, true);
        }
        hole = gw_bits_next(pages->dirty, end, pages->page_count, false);
    }
}

void gw_pages_begin(struct gw_pages *pages, const uint64_t *touched)
{
    (void)gw_pages_merge(pages, touched);
    fill_short_holes(pages);
    pages->is_first_round = true;
    pages->cursor = 0;
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
    pages->cursor = 0;
}

static uint64_t end_of_hole(const struct gw_pages *pages, uint64_t page)
{
    return gw_bits_next(pages->dirty, page, pages->page_count, true);
}

/* A hole worth a batch of its own; shorter ones are sent as pages, which turn out to be zero. */
static bool is_long_hole(const struct gw_pages *pages, uint64_t page)
{
    return end_of_hole(pages, page) - page >= pages->batch_pages;
}

static void put_run(struct gw_batch *batch, uint64_t page, uint64_t count)
{
    batch->run[batch->run_count++] = (struct gw_run){.page = page, .count = (uint32_t)count};
}

/* First round: one stretch of pages up to the next long hole, or one long hole. */
static void pick_first(struct gw_pages *pages, struct gw_batch *batch)
{
    uint64_t from = pages->cursor;
    if (!gw_bit_test(pages->dirty, from) && is_long_hole(pages, from)) {
        batch->kind = GW_BATCH_HOLES;
        pages->cursor = end_of_hole(pages, from);
        put_run(batch, from, pages->cursor - from);
        return;
    }
    uint64_t most = pages->page_count - from;
    uint64_t end = from + (most < pages->batch_pages ? most : pages->batch_pages);
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
    pages->cursor = at;
    put_run(batch, from, at - from);
}

/* Later rounds: runs of dirty pages. */
static void pick_dirty(struct gw_pages *pages, struct gw_batch *batch)
{
    uint32_t room = pages->batch_pages;
    while (room > 0 && batch->run_count < GW_BATCH_RUNS_MAX) {
        uint64_t from = gw_bits_next(pages->dirty, pages->cursor, pages->page_count, true);
        if (from == pages->page_count) {
            pages->cursor = from;
            return;
        }
        uint64_t most = pages->page_count - from < room ? pages->page_count : from + room;
        uint64_t end = gw_bits_next(pages->dirty, from, most, false);
        put_run(batch, from, end - from);
        room -= (uint32_t)(end - from);
        pages->cursor = end;
    }
}

/* The next pages of one unit. A unit is dirty as a whole, or from the cursor on. */
static void pick_unit(struct gw_pages *pages, struct gw_batch *batch)
{
    uint64_t from = gw_bits_next(pages->dirty, pages->cursor, pages->page_count, true);
    uint64_t end = from - from % pages->unit_pages + pages->unit_pages;
    if (from == pages->page_count) {
        pages->cursor = from;
        return;
    }
    end = end - from < pages->batch_pages ? end : from + pages->batch_pages;
    put_run(batch, from, end - from);
    pages->cursor = end;
}

static bool is_window_full(const struct gw_pages *pages)
{
    return pages->sequence_picked - pages->sequence_acked == GW_WINDOW_BATCHES;
}

static void put_into_window(struct gw_pages *pages, struct gw_batch *batch)
{
    batch->sequence = ++pages->sequence_picked;
    if (!batch->is_stopped) {
        pages->sequence_unstopped = batch->sequence;
    }
    pages->window[batch->sequence % GW_WINDOW_BATCHES] = *batch;
}

static enum gw_status pick(struct gw_pages *pages, enum gw_batch_kind kind, bool is_stopped,
                           struct gw_batch *batch)
{
    batch->kind = kind;
    batch->is_stopped = is_stopped;
    batch->run_count = 0;
    if (pages->is_first_round) {
        pick_first(pages, batch);
    } else if (kind == GW_BATCH_PUSH && pages->unit_pages > 1) {
        pick_unit(pages, batch);
    } else {
        pick_dirty(pages, batch);
    }
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

enum gw_status gw_pages_pick(struct gw_pages *pages, bool is_stopped, struct gw_batch *batch)
{
    if (is_window_full(pages) || pages->cursor == pages->page_count) {
        return GW_AGAIN;
    }
    return pick(pages, GW_BATCH_PAGES, is_stopped, batch);
}

void gw_pages_skip_to_hole(struct gw_pages *pages)
{
    while (pages->is_first_round && pages->cursor < pages->page_count &&
           !is_long_hole(pages, pages->cursor)) {
        uint64_t from = pages->cursor;
        uint64_t data = end_of_hole(pages, from);
        pages->dirty_count += gw_bits_put(pages->dirty, from, data - from, true);
        pages->cursor = gw_bits_next(pages->dirty, data, pages->page_count, false);
    }
}

enum gw_status gw_pages_pick_hole(struct gw_pages *pages, struct gw_batch *batch)
{
    gw_pages_skip_to_hole(pages);
    if (is_window_full(pages) || !pages->is_first_round || pages->cursor == pages->page_count) {
        return GW_AGAIN;
    }
    return gw_pages_pick(pages, false, batch);
}

enum gw_status gw_pages_pick_map(struct gw_pages *pages, struct gw_batch *batch)
{
    if (is_window_full(pages)) {
        return GW_AGAIN;
    }
    batch->kind = GW_BATCH_MAP;
    batch->is_stopped = true;
    batch->run_count = 0;
    put_into_window(pages, batch);
    return GW_OK;
}

/* A unit was begun and its rest is to follow. */
static bool is_within_unit(const struct gw_pages *pages)
{
    return pages->cursor < pages->page_count && pages->cursor % pages->unit_pages != 0 &&
           gw_bit_test(pages->dirty, pages->cursor);
}

enum gw_status gw_pages_pick_around(struct gw_pages *pages, enum gw_batch_kind kind,
                                    struct gw_batch *batch)
{
    if (pages->dirty_count == 0 || is_window_full(pages)) {
        return GW_AGAIN;
    }
    if (pages->next_cursor <= pages->page_count && !is_within_unit(pages)) {
        pages->cursor = pages->next_cursor;
        pages->next_cursor = pages->page_count + 1;
    }
    if (gw_bits_next(pages->dirty, pages->cursor, pages->page_count, true) == pages->page_count) {
        pages->cursor = 0;
    }
    pages->is_first_round = false;
    return pick(pages, kind, true, batch);
}

void gw_pages_demanded(struct gw_pages *pages, uint64_t page)
{
    uint64_t unit = pages->unit_pages;
    uint64_t cleared = gw_bits_put(pages->dirty, page, unit, false);
    pages->dirty_count -= cleared;
    if (cleared > 0) {
        pages->next_cursor = page + unit;
    }
}

bool gw_pages_is_quiet(const struct gw_pages *pages)
{
    return pages->sequence_acked == pages->sequence_picked &&
           pages->sequence_sent == pages->sequence_picked &&
           (!pages->is_first_round || pages->cursor == pages->page_count);
}

static void forget_window(struct gw_pages *pages)
{
    pages->sequence_picked = pages->sequence_acked;
    pages->sequence_sent = pages->sequence_acked;
    if (pages->sequence_unstopped > pages->sequence_acked) {
        pages->sequence_unstopped = pages->sequence_acked;
    }
}

void gw_pages_reconcile(struct gw_pages *pages, const uint64_t *received)
{
    uint64_t words = word_count(pages);
    pages->dirty_count = 0;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t count = i + 1 < words ? 64 : pages->page_count - 64 * i;
        pages->dirty[i] = ~received[i] & gw_bit_mask(0, count);
        pages->dirty_count += (uint64_t)__builtin_popcountll(pages->dirty[i]);
    }
    pages->is_first_round = false;
    pages->cursor = 0;
    pages->next_cursor = pages->page_count + 1;
    forget_window(pages);
}

enum gw_status gw_pages_pick_verify(struct gw_pages *pages, struct gw_batch *batch)
{
    if (is_window_full(pages) || pages->verify_cursor == pages->page_count) {
        return GW_AGAIN;
    }
    uint64_t most = GW_STRETCH_BYTES / pages->page_bytes;
    uint64_t left = pages->page_count - pages->verify_cursor;
    batch->kind = GW_BATCH_VERIFY;
    batch->is_stopped = true;
    batch->run_count = 0;
    put_run(batch, pages->verify_cursor, left < most ? left : most);
    pages->verify_cursor += batch->run[0].count;
    put_into_window(pages, batch);
    return GW_OK;
}

bool gw_pages_is_round_over(const struct gw_pages *pages)
{
    if (pages->sequence_acked != pages->sequence_picked ||
        pages->sequence_sent != pages->sequence_picked) {
        return false;
    }
    return pages->cursor == pages->page_count ||
           (!pages->is_first_round && gw_bits_next(pages->dirty, pages->cursor, pages->page_count,
                                                   true) == pages->page_count);
}

void gw_pages_sent(struct gw_pages *pages, uint64_t sequence)
{
    GW_ASSERT(sequence == pages->sequence_sent + 1 && sequence <= pages->sequence_picked);
    pages->sequence_sent = sequence;
}

static uint64_t batch_pages(const struct gw_batch *batch)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < batch->run_count; i++) {
        count += batch->run[i].count;
    }
    return batch->kind == GW_BATCH_PAGES || batch->kind == GW_BATCH_PUSH ? count : 0;
}

/* Batches that were sent and not acknowledged yet. */
static enum gw_status check_in_flight(const struct gw_pages *pages, uint64_t sequence,
                                      const char *what, struct gw_fault *fault)
{
    if (sequence > pages->sequence_acked && sequence <= pages->sequence_picked) {
        return GW_OK;
    }
    return gw_fault_set(fault, GW_PROTOCOL, "%s for batch %llu, wanted %llu to %llu", what,
                        (unsigned long long)sequence, (unsigned long long)pages->sequence_acked + 1,
                        (unsigned long long)pages->sequence_picked);
}

enum gw_status gw_pages_acked(struct gw_pages *pages, uint64_t sequence, uint64_t *bytes,
                              struct gw_fault *fault)
{
    enum gw_status status = check_in_flight(pages, sequence, "ACK", fault);
    if (status) {
        return status;
    }
    uint64_t count = 0;
    while (pages->sequence_acked < sequence) {
        pages->sequence_acked++;
        count += batch_pages(&pages->window[pages->sequence_acked % GW_WINDOW_BATCHES]);
    }
    *bytes = count * pages->page_bytes;
    return GW_OK;
}

enum gw_status gw_pages_suspect(struct gw_pages *pages, uint64_t sequence, struct gw_fault *fault)
{
    enum gw_status status = check_in_flight(pages, sequence, "SUSPECT", fault);
    if (status) {
        return status;
    }
    const struct gw_batch *batch = &pages->window[sequence % GW_WINDOW_BATCHES];
    if (batch->is_stopped) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "batch %llu arrived damaged although the guest stood still",
                            (unsigned long long)sequence);
    }
    for (uint32_t i = 0; i < batch->run_count; i++) {
        pages->dirty_count +=
            gw_bits_put(pages->dirty, batch->run[i].page, batch->run[i].count, true);
    }
    return GW_OK;
}

/* A run of the first round may hold short holes: as dirty pages they are sent as what they are. */
uint64_t gw_pages_rewind(struct gw_pages *pages)
{
    uint64_t count = 0;
    for (uint64_t n = pages->sequence_acked + 1; n <= pages->sequence_picked; n++) {
        const struct gw_batch *batch = &pages->window[n % GW_WINDOW_BATCHES];
        count += batch_pages(batch);
        for (uint32_t i = 0; i < batch->run_count && batch->kind == GW_BATCH_PAGES; i++) {
            pages->dirty_count +=
                gw_bits_put(pages->dirty, batch->run[i].page, batch->run[i].count, true);
        }
    }
    if (pages->is_first_round && pages->sequence_picked > pages->sequence_acked) {
        /* Its batches go through RAM in order, so nothing behind the first of these was sent. */
        pages->cursor = pages->window[(pages->sequence_acked + 1) % GW_WINDOW_BATCHES].run[0].page;
    }
    pages->verify_cursor = 0;
    forget_window(pages);
    return count;
}

uint64_t gw_pages_remaining(const struct gw_pages *pages)
{
    uint64_t count = pages->dirty_count;
    for (uint64_t n = pages->sequence_acked + 1; n <= pages->sequence_picked; n++) {
        count += batch_pages(&pages->window[n % GW_WINDOW_BATCHES]);
    }
    return count;
}
