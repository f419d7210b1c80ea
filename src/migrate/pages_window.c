/* SPDX-License-Identifier: Apache-2.0 */
/* Batches that are sent and not acknowledged, and what comes back of them. Pure; under the source's
 * lock. */
#include "base/bitmap.h"
#include "godwit/pages.h"

bool gw_pages_is_idle(const struct gw_pages *pages)
{
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        const struct gw_pages_channel *channel = &pages->channel[i];
        if (channel->sequence_acked != channel->sequence_picked ||
            channel->sequence_sent != channel->sequence_picked) {
            return false;
        }
    }
    return true;
}

bool gw_pages_is_drained(const struct gw_pages *pages)
{
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        const struct gw_pages_channel *channel = &pages->channel[i];
        if (channel->sequence_sent != channel->sequence_picked ||
            channel->sequence_acked < channel->sequence_unstopped) {
            return false;
        }
    }
    return true;
}

void gw_pages_sent(struct gw_pages *pages, uint32_t channel, uint64_t sequence)
{
    struct gw_pages_channel *own = &pages->channel[channel];
    GW_ASSERT(channel < pages->channel_count);
    GW_ASSERT(sequence == own->sequence_sent + 1 && sequence <= own->sequence_picked);
    own->sequence_sent = sequence;
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
static enum gw_status check_in_flight(const struct gw_pages *pages, uint32_t channel,
                                      uint64_t sequence, const char *what, struct gw_fault *fault)
{
    if (channel >= pages->channel_count) {
        return gw_fault_set(fault, GW_PROTOCOL, "%s for channel %u, wanted one below %u", what,
                            channel, pages->channel_count);
    }
    const struct gw_pages_channel *own = &pages->channel[channel];
    if (sequence > own->sequence_acked && sequence <= own->sequence_picked) {
        return GW_OK;
    }
    return gw_fault_set(fault, GW_PROTOCOL, "%s for batch %llu, wanted %llu to %llu", what,
                        (unsigned long long)sequence, (unsigned long long)own->sequence_acked + 1,
                        (unsigned long long)own->sequence_picked);
}

enum gw_status gw_pages_acked(struct gw_pages *pages, uint32_t channel, uint64_t sequence,
                              uint64_t *bytes, struct gw_fault *fault)
{
    enum gw_status status = check_in_flight(pages, channel, sequence, "ACK", fault);
    if (status) {
        return status;
    }
    struct gw_pages_channel *own = &pages->channel[channel];
    uint64_t count = 0;
    while (own->sequence_acked < sequence) {
        own->sequence_acked++;
        count += batch_pages(&own->window[own->sequence_acked % GW_WINDOW_BATCHES]);
    }
    *bytes = count * pages->page_bytes;
    return GW_OK;
}

static void make_dirty(struct gw_pages *pages, const struct gw_batch *batch)
{
    for (uint32_t i = 0; i < batch->run_count; i++) {
        pages->dirty_count +=
            gw_bits_put(pages->dirty, batch->run[i].page, batch->run[i].count, true);
    }
}

enum gw_status gw_pages_suspect(struct gw_pages *pages, uint32_t channel, uint64_t sequence,
                                struct gw_fault *fault)
{
    enum gw_status status = check_in_flight(pages, channel, sequence, "SUSPECT", fault);
    if (status) {
        return status;
    }
    const struct gw_batch *batch = &pages->channel[channel].window[sequence % GW_WINDOW_BATCHES];
    if (batch->is_stopped) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "batch %llu arrived damaged although the guest stood still",
                            (unsigned long long)sequence);
    }
    make_dirty(pages, batch);
    return GW_OK;
}

/* ---- After a lost link ---- */

static void forget_window(struct gw_pages_channel *channel)
{
    channel->sequence_picked = channel->sequence_acked;
    channel->sequence_sent = channel->sequence_acked;
    if (channel->sequence_unstopped > channel->sequence_acked) {
        channel->sequence_unstopped = channel->sequence_acked;
    }
}

void gw_pages_reconcile(struct gw_pages *pages, const uint64_t *received)
{
    uint64_t words = (pages->page_count + 63) / 64;
    pages->dirty_count = 0;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t count = i + 1 < words ? 64 : pages->page_count - 64 * i;
        pages->dirty[i] = ~received[i] & gw_bit_mask(0, count);
        pages->dirty_count += (uint64_t)__builtin_popcountll(pages->dirty[i]);
    }
    gw_pages_begin_round(pages);
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        pages->channel[i].next_cursor = pages->page_count + 1;
        forget_window(&pages->channel[i]);
    }
}

/* A run of the first round may hold short holes: as dirty pages they are sent as what they are. */
static uint64_t rewind_channel(struct gw_pages *pages, struct gw_pages_channel *channel)
{
    uint64_t count = 0;
    for (uint64_t n = channel->sequence_acked + 1; n <= channel->sequence_picked; n++) {
        const struct gw_batch *batch = &channel->window[n % GW_WINDOW_BATCHES];
        count += batch_pages(batch);
        if (batch->kind == GW_BATCH_PAGES) {
            make_dirty(pages, batch);
        }
    }
    if (pages->is_first_round && channel->sequence_picked > channel->sequence_acked) {
        /* Its batches go through RAM in order, so nothing behind the first of these was sent. */
        channel->cursor =
            channel->window[(channel->sequence_acked + 1) % GW_WINDOW_BATCHES].run[0].page;
    }
    channel->verify_cursor = 0;
    forget_window(channel);
    return count;
}

uint64_t gw_pages_rewind(struct gw_pages *pages)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        count += rewind_channel(pages, &pages->channel[i]);
    }
    return count;
}

uint64_t gw_pages_remaining(const struct gw_pages *pages)
{
    uint64_t count = pages->dirty_count;
    for (uint32_t i = 0; i < pages->channel_count; i++) {
        const struct gw_pages_channel *channel = &pages->channel[i];
        for (uint64_t n = channel->sequence_acked + 1; n <= channel->sequence_picked; n++) {
            count += batch_pages(&channel->window[n % GW_WINDOW_BATCHES]);
        }
    }
    return count;
}
