/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages the source sends next, and when it may. Pure; under the embedder's lock. */
#include "migrate/source_private.h"

bool gw_source_is_sending(const struct gw_source *source)
{
    bool is_state = source->state == GW_SOURCE_ACTIVE || source->state == GW_SOURCE_LEAVING ||
                    source->state == GW_SOURCE_STOPPING || source->state == GW_SOURCE_FINISHING ||
                    source->state == GW_SOURCE_PUSHING;
    return is_state && !source->is_collecting && !source->config.is_ram_shared;
}

static enum gw_status pick_last(struct gw_source *source, uint32_t channel, uint64_t now_ns,
                                struct gw_batch *batch)
{
    struct gw_pages *pages = &source->pages;
    if (source->is_partial) {
        if (channel != 0 || source->is_map_told || gw_pages_pick_map(pages, batch) != GW_OK) {
            return GW_AGAIN;
        }
        source->is_map_told = true;
        return GW_OK;
    }
    enum gw_status status = gw_pages_pick_around(pages, channel, GW_BATCH_PAGES, batch);
    if (status == GW_OK || !source->config.is_verifying) {
        return status;
    }
    status = gw_pages_pick_verify(pages, channel, batch);
    if (status == GW_OK && source->verify_start_ns == 0) {
        source->verify_start_ns = now_ns;
    }
    return status;
}

static enum gw_status pick(struct gw_source *source, uint32_t channel, uint64_t now_ns,
                           struct gw_batch *batch)
{
    struct gw_pages *pages = &source->pages;
    switch (source->state) {
    case GW_SOURCE_FINISHING:
        return pick_last(source, channel, now_ns, batch);
    case GW_SOURCE_PUSHING:
        source->has_given_way = source->demands_open > 0;
        return source->has_given_way ? GW_AGAIN
                                     : gw_pages_pick_around(pages, channel, GW_BATCH_PUSH, batch);
    case GW_SOURCE_ACTIVE:
        if (source->is_postcopy) {
            return gw_pages_pick_hole(pages, channel, batch);
        }
        break;
    default:
        if (source->is_postcopy) {
            return GW_AGAIN;
        }
        break;
    }
    return gw_pages_pick(pages, channel, false, batch);
}

/* No batch is larger than the limit's grain. */
static void limit_batch(struct gw_source *source)
{
    struct gw_pages *pages = &source->pages;
    uint64_t count = gw_pace_batch_bytes(&source->pace, pages->channel_count) / pages->page_bytes;
    count = count < pages->batch_pages ? count : pages->batch_pages;
    gw_pages_limit_batch(pages, count > 1 ? (uint32_t)count : 1);
}

/* What it may become on the wire. Zero pages and what is no pages are little. */
static uint64_t expected_bytes(const struct gw_source *source, const struct gw_batch *batch)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < batch->run_count; i++) {
        count += batch->run[i].count;
    }
    bool is_pages = batch->kind == GW_BATCH_PAGES || batch->kind == GW_BATCH_PUSH;
    return is_pages ? count * source->config.page_bytes : 0;
}

struct gw_flight *gw_source_flight(struct gw_source *source, uint32_t channel, uint64_t sequence)
{
    return &source->flight[channel][sequence % GW_WINDOW_BATCHES];
}

void gw_source_note_raw(struct gw_source *source, uint32_t channel, uint64_t before,
                        uint64_t now_ns)
{
    for (uint64_t n = before + 1; n <= source->pages.channel[channel].sequence_acked; n++) {
        const struct gw_flight *flight = gw_source_flight(source, channel, n);
        if (flight->raw_pages > 0) {
            gw_pace_raw_acked(&source->pace,
                              (uint64_t)flight->raw_pages * source->config.page_bytes,
                              flight->picked_ns, now_ns);
        }
    }
}

enum gw_status gw_source_next_batch(struct gw_source *source, uint32_t channel, uint64_t now_ns,
                                    struct gw_batch *batch, uint64_t *retry_ns)
{
    *retry_ns = UINT64_MAX;
    if (!gw_source_is_sending(source) || channel >= source->pages.channel_count) {
        return GW_AGAIN;
    }
    if (gw_pace_free_at(&source->pace) > now_ns) {
        *retry_ns = gw_pace_free_at(&source->pace);
        return GW_AGAIN;
    }
    limit_batch(source);
    enum gw_status status = pick(source, channel, now_ns, batch);
    if (status == GW_OK) {
        bool has_pages = batch->kind == GW_BATCH_PAGES || batch->kind == GW_BATCH_PUSH;
        batch->packing = has_pages ? gw_compression_next(&source->compression) : GW_PACKING_NONE;
        gw_pace_begin(&source->pace, now_ns);
        *gw_source_flight(source, channel, batch->sequence) =
            (struct gw_flight){.picked_ns = now_ns};
        source->taken_bytes[channel] = expected_bytes(source, batch);
        gw_pace_take(&source->pace, source->taken_bytes[channel], now_ns);
    }
    return status;
}

/* Its acknowledgement may have come before this word of it: then it tells nothing. */
void gw_source_begin_probe(struct gw_source *source, const struct gw_batch_sent *sent,
                           uint64_t now_ns)
{
    if (source->probe_sequence == 0 &&
        source->pages.channel[sent->channel].sequence_acked < sent->sequence) {
        source->probe_channel = sent->channel;
        source->probe_sequence = sent->sequence;
        source->probe_ns = now_ns;
        source->probe_bytes = sent->wire_bytes;
    }
}

/* The quickest acknowledgement since the link was last new, less the time that its batch took on
 * the link, is a round trip. One that came sooner than the link is thought to be able to tells
 * nothing: the link's speed is not known yet. */
void gw_source_end_probe(struct gw_source *source, uint64_t now_ns)
{
    const struct gw_pages_channel *channel = &source->pages.channel[source->probe_channel];
    if (source->probe_sequence == 0 || channel->sequence_acked < source->probe_sequence) {
        return;
    }
    uint64_t sending_ns = gw_pace_time_ns(&source->pace, source->probe_bytes);
    uint64_t took_ns = now_ns - source->probe_ns;
    source->probe_sequence = 0;
    if (sending_ns >= took_ns) {
        return;
    }
    uint64_t trip_ns = took_ns - sending_ns;
    if (source->round_trip_ns == 0 || trip_ns < source->round_trip_ns) {
        source->round_trip_ns = trip_ns;
    }
}

/* Nothing of it was given back. */
static bool has_all(const struct gw_source *source, uint64_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (gw_release_has(&source->release, page + i)) {
            return false;
        }
    }
    return true;
}

/* Since COMMIT the guest may run there, and want pages before RUNNING is heard here. One page's
 * demand may have crossed COMPLETE: the target has it by now, and drops what it is sent. */
enum gw_status gw_source_demand(struct gw_source *source, uint64_t page, struct gw_batch *batch,
                                struct gw_fault *fault)
{
    bool is_due = source->is_partial &&
                  (source->state == GW_SOURCE_HELD || source->state == GW_SOURCE_PUSHING ||
                   source->state == GW_SOURCE_PUSH_OPENING || source->state == GW_SOURCE_SETTLING);
    uint32_t unit = source->pages.unit_pages;
    if (page < source->config.page_count && page % unit != 0) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the target demands page %llu, wanted the first page of a unit of %u",
                            (unsigned long long)page, unit);
    }
    if (!is_due || page >= source->config.page_count) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the target demands page %llu of %llu while the source is in state %s",
                            (unsigned long long)page, (unsigned long long)source->config.page_count,
                            gw_source_state_name(source->state));
    }
    gw_pages_demanded(&source->pages, page);
    source->demands_open++;
    /* It crossed an acknowledgement, or the target asks for what it said it had. */
    bool is_gone = !has_all(source, page, unit);
    source->answering = (struct gw_run){.page = page, .count = unit};
    *batch = (struct gw_batch){.kind = is_gone ? GW_BATCH_GONE : GW_BATCH_PUSH,
                               .is_stopped = true,
                               .run_count = 1,
                               .run = {source->answering}};
    return GW_OK;
}

static void end_answer(struct gw_source *source)
{
    source->answering.count = 0;
    source->demands_open -= source->demands_open > 0;
}

bool gw_source_answered(struct gw_source *source, const struct gw_batch_sent *sent)
{
    end_answer(source);
    source->demands++;
    source->wire_bytes += sent->wire_bytes;
    source->postcopy_bytes += sent->wire_bytes;
    source->raw_pages += sent->raw_pages;
    source->zero_pages += sent->zero_pages;
    source->repeat_pages += sent->repeat_pages;
    return source->has_given_way && source->demands_open == 0;
}

/* The link broke under it. The target demands it again on the next one. */
void gw_source_not_answered(struct gw_source *source)
{
    end_answer(source);
}

/* The target has said that the guest runs there, and takes what it lacks right now. While the link
 * is lost nobody knows whether it does: then this copy may be the last one, and stays as it is. So
 * it does from COMPLETE on, which may overtake batches, until DONE, which is soon: they go from
 * where they lie, and are still looked at there. */
static bool may_release(const struct gw_source *source)
{
    return source->state == GW_SOURCE_PUSHING || source->state == GW_SOURCE_SETTLING_WAITING ||
           source->state == GW_SOURCE_SETTLING_AGAIN || source->state == GW_SOURCE_COMPLETED;
}

enum gw_status gw_source_next_release(struct gw_source *source, uint64_t run_pages,
                                      struct gw_run *run)
{
    if (!may_release(source)) {
        return GW_AGAIN;
    }
    return gw_release_next(&source->release, &source->answering, run_pages, run);
}

const uint64_t *gw_source_missing(const struct gw_source *source)
{
    return source->pages.dirty;
}

uint32_t gw_source_channels(const struct gw_source *source)
{
    return source->pages.channel_count;
}

uint64_t gw_source_collects(const struct gw_source *source)
{
    return source->pages.merges;
}
