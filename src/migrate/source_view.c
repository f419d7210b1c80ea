/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator sees of the source, and may set. Pure; under the embedder's lock. */
#include <string.h>

#include "migrate/source_private.h"

void gw_source_set_limits(struct gw_source *source, uint64_t downtime_ns_max,
                          uint64_t bandwidth_max, uint64_t postcopy_bandwidth_max)
{
    bool is_pushing = gw_source_runner(source) == GW_RUNNER_TARGET;
    source->config.downtime_ns_max = downtime_ns_max;
    source->config.bandwidth_max = bandwidth_max;
    source->config.postcopy_bandwidth_max = postcopy_bandwidth_max;
    gw_pace_set_limit(&source->pace, is_pushing ? postcopy_bandwidth_max : bandwidth_max);
}

static struct gw_packing_figures packing_figures(const struct gw_compression *compression)
{
    return (struct gw_packing_figures){
        .wish = compression->wish,
        .packing = compression->packing,
        .reason = compression->reason,
        .raw_bytes = compression->raw_bytes,
        .packed_bytes = compression->packed_bytes,
        .pack_rate = gw_compression_pack_rate(compression),
        .link_rate = gw_compression_link_rate(compression),
        .permille = compression->permille,
    };
}

static bool is_held(enum gw_source_state state)
{
    return state == GW_SOURCE_HELD || state == GW_SOURCE_HELD_WAITING ||
           state == GW_SOURCE_HELD_CONNECTING || state == GW_SOURCE_HELD_ASKING;
}

static uint64_t expected_downtime_ns(const struct gw_source *source, uint64_t pages)
{
    uint64_t pages_ns = gw_pace_time_ns(&source->pace, pages * source->config.page_bytes);
    return pages_ns == UINT64_MAX ? pages_ns : pages_ns + gw_source_handover_ns(source);
}

static void copy_history(const struct gw_source *source, struct gw_source_figures *figures)
{
    uint64_t count = source->history_total < GW_SOURCE_ROUNDS_KEPT ? source->history_total
                                                                   : GW_SOURCE_ROUNDS_KEPT;
    figures->history_count = (uint32_t)count;
    for (uint64_t i = 0; i < count; i++) {
        figures->history[i] =
            source->history[(source->history_total - count + i) % GW_SOURCE_ROUNDS_KEPT];
    }
}

void gw_source_figures(const struct gw_source *source, uint64_t now_ns,
                       struct gw_source_figures *figures)
{
    uint64_t remaining = gw_pages_remaining(&source->pages);
    uint64_t end_ns = source->end_ns ? source->end_ns : now_ns;
    bool is_opened = source->state > GW_SOURCE_NEGOTIATING && !source->config.is_ram_shared;
    *figures = (struct gw_source_figures){
        .state = source->state,
        .status = gw_source_status_name(source->state),
        .total_ns = source->start_ns ? end_ns - source->start_ns : 0,
        .setup_ns = source->setup_ns,
        .downtime_ns = source->downtime_ns,
        .verify_ns = source->verify_ns,
        .expected_downtime_ns = expected_downtime_ns(source, remaining),
        .handover_ns = gw_source_handover_ns(source),
        .threshold_bytes = gw_source_threshold(source),
        .round_trip_ns = source->round_trip_ns,
        .channel_count = is_opened ? source->pages.channel_count : 0,
        .wire_bytes = source->wire_bytes,
        .stopped_bytes = source->stopped_bytes,
        .raw_pages = source->raw_pages,
        .zero_pages = source->zero_pages,
        .repeat_pages = source->repeat_pages,
        .remaining_pages = remaining,
        .total_pages = source->config.page_count,
        .rounds = source->rounds,
        .dirty_pages_per_s = source->dirty_pages_per_s,
        .throttle_percent = source->throttle_percent,
        .bandwidth = gw_pace_expected(&source->pace),
        .resumes = source->resumes,
        .resent_pages = source->resent_pages,
        .epoch = source->epoch,
        .demands = source->demands,
        .postcopy_bytes = source->postcopy_bytes,
        .recoveries = source->recoveries,
        .waiting = source->waiting,
        .released_pages = source->release.released_count,
        .packing = packing_figures(&source->compression),
        .is_releasing = source->config.is_releasing,
        .is_postcopy = source->is_postcopy,
        .is_link_lost =
            (source->state >= GW_SOURCE_RETRY_WAITING &&
             source->state <= GW_SOURCE_RETRY_OPENING) ||
            (source->state >= GW_SOURCE_PUSH_WAITING && source->state <= GW_SOURCE_PUSH_OPENING) ||
            source->state == GW_SOURCE_SETTLING_WAITING ||
            source->state == GW_SOURCE_SETTLING_AGAIN,
        .is_lost_there = source->is_lost_there,
        .is_held = is_held(source->state),
        .can_give_up = gw_source_may(source, GW_SOURCE_EV_GIVE_UP),
        .can_run_anyway = gw_source_may(source, GW_SOURCE_EV_RUN_ANYWAY),
        .is_verified = source->is_verified,
        .is_different = source->is_different,
    };
    copy_history(source, figures);
}

void gw_source_token(const struct gw_source *source, struct gw_token *token)
{
    *token =
        (struct gw_token){.session = source->config.session, .epoch = source->epoch, .who = 's'};
}

enum gw_status gw_source_check_token(const struct gw_source *source, const struct gw_token *token,
                                     struct gw_fault *fault)
{
    if (memcmp(&token->session, &source->config.session, sizeof(token->session)) != 0 ||
        token->epoch < source->epoch) { /* giving an epoch up gives all before it up too */
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the token is of another migration: it names epoch %llu, wanted "
                            "epoch %llu of this session",
                            (unsigned long long)token->epoch, (unsigned long long)source->epoch);
    }
    if (gw_source_runner(source) == GW_RUNNER_TARGET) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the guest has run on the target: its token cannot undo that");
    }
    if (token->who != 't') {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the token is this side's own: wanted the one that `godwit resolve "
                            "--give-up` printed on the target");
    }
    return GW_OK;
}
