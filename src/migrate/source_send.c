/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages the source sends next, and when it may. Pure; under the embedder's lock. */
#include "migrate/source_private.h"

/* Batches go out only in these states. */
static bool is_sending(const struct gw_source *source)
{
    return source->state == GW_SOURCE_ACTIVE || source->state == GW_SOURCE_LEAVING ||
           source->state == GW_SOURCE_STOPPING || source->state == GW_SOURCE_FINISHING ||
           source->state == GW_SOURCE_PUSHING;
}

static enum gw_status pick_last(struct gw_source *source, uint64_t now_ns, struct gw_batch *batch)
{
    struct gw_pages *pages = &source->pages;
    if (source->is_partial) {
        if (source->is_map_told || gw_pages_pick_map(pages, batch) != GW_OK) {
            return GW_AGAIN;
        }
        source->is_map_told = true;
        return GW_OK;
    }
    if (pages->dirty_count > 0) {
        return gw_pages_pick_around(pages, GW_BATCH_PAGES, batch);
    }
    if (!source->config.is_verifying || pages->sequence_acked < pages->sequence_unstopped) {
        return GW_AGAIN;
    }
    enum gw_status status = gw_pages_pick_verify(pages, batch);
    if (status == GW_OK && source->verify_start_ns == 0) {
        source->verify_start_ns = now_ns;
    }
    return status;
}

static enum gw_status pick(struct gw_source *source, uint64_t now_ns, struct gw_batch *batch)
{
    switch (source->state) {
    case GW_SOURCE_FINISHING:
        return pick_last(source, now_ns, batch);
    case GW_SOURCE_PUSHING:
        return source->demands_open > 0
                   ? GW_AGAIN
                   : gw_pages_pick_around(&source->pages, GW_BATCH_PUSH, batch);
    case GW_SOURCE_ACTIVE:
        if (source->is_postcopy) {
            return gw_pages_pick_hole(&source->pages, batch);
        }
        break;
    default:
        if (source->is_postcopy) {
            return GW_AGAIN;
        }
        break;
    }
    return gw_pages_pick(&source->pages, false, batch);
}

enum gw_status gw_source_next_batch(struct gw_source *source, uint64_t now_ns,
                                    struct gw_batch *batch, uint64_t *retry_ns)
{
    *retry_ns = UINT64_MAX;
    if (!is_sending(source) || source->is_collecting) {
        return GW_AGAIN;
    }
    if (gw_pace_free_at(&source->pace) > now_ns) {
        *retry_ns = gw_pace_free_at(&source->pace);
        return GW_AGAIN;
    }
    enum gw_status status = pick(source, now_ns, batch);
    if (status == GW_OK) {
        gw_pace_begin(&source->pace, now_ns);
    }
    return status;
}

/* Since COMMIT the guest may run there, and want pages before RUNNING is heard here. */
enum gw_status gw_source_demand(struct gw_source *source, uint64_t page, struct gw_batch *batch,
                                struct gw_fault *fault)
{
    bool is_due = source->is_partial &&
                  (source->state == GW_SOURCE_HELD || source->state == GW_SOURCE_PUSHING ||
                   source->state == GW_SOURCE_PUSH_OPENING);
    if (!is_due || page >= source->config.page_count) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the target demands page %llu of %llu while the source is in state %s",
                            (unsigned long long)page, (unsigned long long)source->config.page_count,
                            gw_source_state_name(source->state));
    }
    gw_pages_demanded(&source->pages, page);
    source->demands_open++;
    *batch = (struct gw_batch){.kind = GW_BATCH_PUSH,
                               .is_stopped = true,
                               .run_count = 1,
                               .run = {{.page = page, .count = 1}}};
    return GW_OK;
}

void gw_source_answered(struct gw_source *source, const struct gw_batch_sent *sent)
{
    source->demands_open -= source->demands_open > 0;
    source->demands++;
    source->lost_ns = 0;
    source->wire_bytes += sent->wire_bytes;
    source->postcopy_bytes += sent->wire_bytes;
    source->raw_pages += sent->raw_pages;
    source->zero_pages += sent->zero_pages;
}

const uint64_t *gw_source_missing(const struct gw_source *source)
{
    return source->pages.dirty;
}
