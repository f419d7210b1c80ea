/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of the engines as the control protocol wants them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "run/storage.h"

#define MONITOR (&gw_run_storage.monitor)

enum gw_info_migration gw_report_migration(const char *name)
{
    for (int i = 0; i < GW_INFO_MIGRATION_COUNT; i++) {
        if (strcmp(gw_info_migration_name((enum gw_info_migration)i), name) == 0) {
            return (enum gw_info_migration)i;
        }
    }
    return GW_INFO_MIGRATION_NONE;
}

void gw_report_session(const struct gw_session *session, char text[GW_INFO_SESSION_BYTES])
{
    for (int i = 0; i < GW_SESSION_BYTES; i++) {
        (void)snprintf(text + 2 * i, (size_t)(GW_INFO_SESSION_BYTES - 2 * i), "%02x",
                       session->id[i]);
    }
}

static void report_ram(const struct gw_source_figures *figures, struct gw_info_ram *ram)
{
    uint64_t page_bytes = gw_run_storage.ram.page_bytes;
    *ram = (struct gw_info_ram){.transferred_bytes = figures->wire_bytes,
                                .remaining_bytes = figures->remaining_pages * page_bytes,
                                .total_bytes = figures->total_pages * page_bytes,
                                .zero_pages = figures->zero_pages + figures->repeat_pages,
                                .normal_pages = figures->raw_pages,
                                .downtime_bytes = figures->stopped_bytes,
                                .rounds = figures->rounds,
                                .dirty_pages_per_second = figures->dirty_pages_per_s,
                                .pages_per_second = figures->bandwidth / page_bytes,
                                .acked_bits_per_second = figures->bandwidth * 8,
                                .page_bytes = (uint32_t)page_bytes};
}

static void report_waiting(const struct gw_waiting *waiting, struct gw_info_postcopy *info)
{
    info->time_ms = waiting->time_ns / GW_NS_PER_MS;
    info->blocktime_ms = waiting->blocktime_ns / GW_NS_PER_MS;
    info->faults = waiting->faults;
    info->min_us = waiting->min_ns / GW_NS_PER_US;
    info->p50_us = waiting->p50_ns / GW_NS_PER_US;
    info->p90_us = waiting->p90_ns / GW_NS_PER_US;
    info->p99_us = waiting->p99_ns / GW_NS_PER_US;
    info->max_us = waiting->max_ns / GW_NS_PER_US;
}

static void report_blocktime(const struct gw_target_figures *figures, struct gw_info_postcopy *info)
{
    const struct gw_blocktime *blocktime = &figures->blocktime;
    struct gw_waiting waiting;
    gw_blocktime_summarize(blocktime, &waiting);
    waiting.time_ns = figures->postcopy_ns;
    report_waiting(&waiting, info);
    info->vcpu_count = MONITOR->config->vcpu_count;
    for (uint32_t i = 0; i < info->vcpu_count && i < GW_INFO_VCPUS_MAX; i++) {
        uint32_t who = gw_vm_thread_id(&gw_run_storage.vm, i);
        for (uint32_t t = 0; t < blocktime->thread_count; t++) {
            if (blocktime->thread[t].who == who) {
                info->vcpu_ms[i] = blocktime->thread[t].total_ns / GW_NS_PER_MS;
            }
        }
    }
}

static enum gw_info_verify verify_state(const struct gw_source_figures *figures)
{
    if (!MONITOR->is_verifying) {
        return GW_INFO_VERIFY_OFF;
    }
    if (figures->is_verified) {
        return GW_INFO_VERIFY_EQUAL;
    }
    return figures->is_different ? GW_INFO_VERIFY_DIFFERENT : GW_INFO_VERIFY_PENDING;
}

static void report_rounds(const struct gw_source_figures *figures, struct gw_info_migrate *info)
{
    uint64_t page_bytes = gw_run_storage.ram.page_bytes;
    info->channels = figures->channel_count;
    info->compression =
        (struct gw_info_compression){.packing = (enum gw_info_packing)figures->packing.packing,
                                     .raw_bytes = figures->packing.raw_bytes,
                                     .packed_bytes = figures->packing.packed_bytes};
    info->round_count = figures->history_count;
    for (uint32_t i = 0; i < figures->history_count; i++) {
        const struct gw_source_round *round = &figures->history[i];
        info->round[i] = (struct gw_info_round){.number = round->number,
                                                .time_ms = round->took_ns / GW_NS_PER_MS,
                                                .sent_bytes = round->sent_pages * page_bytes,
                                                .dirty_bytes = round->dirty_pages * page_bytes,
                                                .bandwidth = round->bandwidth,
                                                .throttle_percent = round->throttle_percent};
    }
}

static_assert((int)GW_PACKING_NONE == (int)GW_INFO_PACKING_NONE &&
                  (int)GW_PACKING_LZ4 == (int)GW_INFO_PACKING_LZ4,
              "the same kinds");
static_assert((int)GW_INFO_ROUNDS_MAX == (int)GW_SOURCE_ROUNDS_KEPT, "as many as the engine keeps");

static uint64_t held_ms(void)
{
    return MONITOR->held_since_ns ? (gw_clock_now_ns() - MONITOR->held_since_ns) / GW_NS_PER_MS : 0;
}

/* Postcopy, link lost: what an operator may do, and what release-ram has ruled out. */
static void report_parted(const struct gw_source_figures *figures, const char *reason,
                          struct gw_info_held *held)
{
    uint64_t released_mib = figures->released_pages * gw_run_storage.ram.page_bytes / GW_MIB;
    bool is_paused = figures->state == GW_SOURCE_PUSH_PAUSED;
    char copy[96] = "running it here again would undo all that it did there";
    if (figures->released_pages > 0) {
        (void)snprintf(copy, sizeof(copy),
                       "this copy cannot be run again: %" PRIu64
                       " MiB of it were given back (release-ram)",
                       released_mib);
    }
    *held = (struct gw_info_held){.is_held = true,
                                  .can_give_up = figures->can_give_up,
                                  .can_run_other_is_dead = figures->can_run_anyway};
    (void)snprintf(held->text, sizeof(held->text), "the guest went to %.60s%s; %s; %s%s",
                   MONITOR->peer, figures->is_lost_there ? "" : " and needs memory of this side",
                   copy,
                   is_paused ? "the link was let go: migrate-recover connects again, within an hour"
                             : "tried again: ",
                   is_paused ? "" : reason);
}

static void report_source(struct gw_info_migrate *info)
{
    struct gw_source_figures figures;
    struct gw_fault fault;
    gw_outgoing_get_figures(&gw_run_storage.outgoing, &figures);
    gw_outgoing_get_fault(&gw_run_storage.outgoing, &fault);
    info->status = gw_report_migration(figures.status);
    info->role = GW_INFO_SOURCE;
    info->has_ram = figures.setup_ns > 0;
    report_ram(&figures, &info->ram);
    info->has_downtime = figures.downtime_ns > 0;
    info->verify = verify_state(&figures);
    info->total_ms = figures.total_ns / GW_NS_PER_MS;
    info->setup_ms = figures.setup_ns / GW_NS_PER_MS;
    info->downtime_us = figures.downtime_ns / GW_NS_PER_US;
    info->expected_downtime_us = figures.expected_downtime_ns == UINT64_MAX
                                     ? 0
                                     : figures.expected_downtime_ns / GW_NS_PER_US;
    info->verify_ms = figures.verify_ns / GW_NS_PER_MS;
    info->round_trip_us = figures.round_trip_ns / GW_NS_PER_US;
    info->is_link_lost = figures.is_link_lost;
    info->throttle_percent = figures.throttle_percent;
    info->handover_us = figures.handover_ns / GW_NS_PER_US;
    info->threshold_bytes = figures.threshold_bytes;
    report_rounds(&figures, info);
    info->resumes = figures.resumes;
    info->resent_bytes = figures.resent_pages * gw_run_storage.ram.page_bytes;
    info->postcopy.is_on = figures.is_postcopy;
    info->postcopy.is_lost = figures.state == GW_SOURCE_LOST;
    info->postcopy.demands = figures.demands;
    info->postcopy.sent_bytes = figures.postcopy_bytes;
    info->postcopy.recoveries = figures.recoveries;
    report_waiting(&figures.waiting, &info->postcopy);
    info->postcopy.released_bytes = figures.released_pages * gw_run_storage.ram.page_bytes;
    info->epoch = figures.epoch;
    info->reason = fault.status;
    (void)snprintf(info->error, sizeof(info->error), "%s", fault.text);
    (void)snprintf(info->peer, sizeof(info->peer), "%s", MONITOR->peer);
    gw_report_session(&MONITOR->session, info->session);
    if (figures.is_held) {
        info->held = (struct gw_info_held){.is_held = true,
                                           .can_give_up = figures.can_give_up,
                                           .can_run_with_token = true,
                                           .can_run_other_is_dead = figures.can_run_anyway,
                                           .held_ms = held_ms()};
        (void)snprintf(info->held.text, sizeof(info->held.text),
                       "the guest was committed to %s, which has not confirmed that it runs "
                       "there%s%s; it is asked again until it answers",
                       MONITOR->peer, fault.text[0] ? ": " : "", fault.text);
    } else if (gw_outbound_is_pushing() && figures.is_link_lost) {
        report_parted(&figures, fault.text, &info->held);
    }
}

static void report_target(struct gw_info_migrate *info)
{
    struct gw_target_figures figures;
    struct gw_fault fault;
    gw_incoming_get_figures(&gw_run_storage.incoming, &figures);
    gw_incoming_get_fault(&gw_run_storage.incoming, &fault);
    info->status = gw_report_migration(figures.status);
    info->role = GW_INFO_TARGET;
    info->total_ms = figures.total_ns / GW_NS_PER_MS;
    info->round_trip_us = figures.round_trip_ns / GW_NS_PER_US;
    info->postcopy.is_on = figures.is_postcopy;
    if (figures.is_postcopy) {
        info->postcopy.is_lost = figures.state == GW_TARGET_LOST;
        info->postcopy.demands = figures.demands;
        info->postcopy.recoveries = figures.recoveries;
        info->postcopy.missing_bytes = figures.missing_pages * gw_run_storage.ram.page_bytes;
        report_blocktime(&figures, &info->postcopy);
    }
    if (info->status == GW_INFO_MIGRATION_NONE && fault.status != GW_OK) {
        info->status = GW_INFO_MIGRATION_FAILED; /* the last one; the next is waited for */
    }
    info->is_link_lost = figures.state == GW_TARGET_AWAITING || figures.state == GW_TARGET_STRANDED;
    info->epoch = figures.epoch;
    info->reason = fault.status;
    (void)snprintf(info->error, sizeof(info->error), "%s", fault.text);
    (void)snprintf(info->peer, sizeof(info->peer), "%s",
                   gw_incoming_source(&gw_run_storage.incoming));
    gw_report_session(&gw_run_storage.incoming.target.session, info->session);
    if (figures.is_held) {
        info->held = (struct gw_info_held){.is_held = true,
                                           .can_give_up = true,
                                           .can_run_with_token = figures.can_run_anyway,
                                           .can_run_other_is_dead = figures.can_run_anyway,
                                           .held_ms = held_ms()};
        (void)snprintf(info->held.text, sizeof(info->held.text),
                       "the guest is loaded and waits for the source's word%s%s",
                       fault.text[0] ? ": " : "", fault.text);
    } else if (figures.state == GW_TARGET_STRANDED) {
        info->held = (struct gw_info_held){.is_held = true, .can_give_up = true};
        (void)snprintf(info->held.text, sizeof(info->held.text),
                       "the guest runs here until it needs memory that only the source has; it "
                       "goes on when the source is back: %s",
                       fault.text);
    } else if (figures.state == GW_TARGET_PULLING) {
        return; /* nothing to settle yet */
    } else if (figures.is_unsettled) {
        info->held = (struct gw_info_held){.is_held = true, .can_run_other_is_dead = true};
        (void)snprintf(info->held.text, sizeof(info->held.text),
                       "the guest runs here; the source has not confirmed that it knows. To stop "
                       "waiting for it: resolve --run --other-is-dead");
    }
}

/* An upgrade before its engine has begun, or that ended there. */
static void report_offer(struct gw_info_migrate *info)
{
    const struct gw_upgrade *upgrade = &gw_run_storage.upgrade;
    info->role = GW_INFO_SOURCE;
    info->status = upgrade->phase == GW_UPGRADE_OFFERED    ? GW_INFO_MIGRATION_SETUP
                   : upgrade->fault.status == GW_CANCELLED ? GW_INFO_MIGRATION_CANCELLED
                                                           : GW_INFO_MIGRATION_FAILED;
    info->reason = upgrade->fault.status;
    (void)snprintf(info->error, sizeof(info->error), "%s", upgrade->fault.text);
    (void)snprintf(info->peer, sizeof(info->peer), "another process of this host");
}

/* What the old process measured: this one saw only its end. */
static void report_taken(struct gw_info_migrate *info)
{
    const struct gw_upgrade *upgrade = &gw_run_storage.upgrade;
    if (MONITOR->config->is_taking_over) {
        (void)snprintf(info->peer, sizeof(info->peer), "another process of this host");
    }
    if (upgrade->downtime_us > 0) {
        info->has_downtime = true;
        info->downtime_us = upgrade->downtime_us;
        info->total_ms = upgrade->total_us / 1000;
    }
}

void gw_report_migrate(struct gw_info_migrate *info)
{
    const struct gw_upgrade *upgrade = &gw_run_storage.upgrade;
    *info = (struct gw_info_migrate){.status = GW_INFO_MIGRATION_NONE};
    gw_blockers_report(info);
    if (upgrade->phase == GW_UPGRADE_OFFERED || upgrade->fault.status != GW_OK) {
        report_offer(info);
    } else if (MONITOR->has_left_once) {
        report_source(info);
    } else if (MONITOR->config->incoming_uri) {
        report_target(info);
        report_taken(info);
    }
}

void gw_report_status(struct gw_info_status *info)
{
    *info = (struct gw_info_status){
        .state = MONITOR->state,
        .memory_bytes = MONITOR->config->memory_bytes,
        .up_ms = (gw_clock_now_ns() - MONITOR->start_ns) / GW_NS_PER_MS,
        .vcpu_count = MONITOR->config->vcpu_count,
        .pid = (uint32_t)getpid(),
        .dirty_ring_entries = MONITOR->config->dirty_ring_entries,
    };
    if (MONITOR->is_tracker_ready && info->dirty_ring_entries) {
        info->dirty_ring_full = gw_tracker_kvm_ring_full_count(&gw_run_storage.tracker.ring);
    }
    (void)snprintf(info->name, sizeof(info->name), "%s", MONITOR->config->name);
    if (MONITOR->is_arriving) {
        (void)snprintf(info->incoming, sizeof(info->incoming), "%s",
                       gw_incoming_address(&gw_run_storage.incoming));
    }
}
