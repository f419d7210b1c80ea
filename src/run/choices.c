/* SPDX-License-Identifier: Apache-2.0 */
/* One line of the log for each choice of the source engine, with the figures it was made from. */
#include <inttypes.h>
#include <stdio.h>

#include "run/storage.h"

#define MONITOR (&gw_run_storage.monitor)

static void say_speed(const struct gw_source_figures *figures, const char *choice)
{
    uint64_t page_bytes = gw_run_storage.ram.page_bytes;
    gw_monitor_say("guest %s dirties %" PRIu64 " KiB/s, the link takes %" PRIu64 " KiB/s: %s",
                   MONITOR->config->name, figures->dirty_pages_per_s * page_bytes / 1024,
                   figures->bandwidth / 1024, choice);
}

static void say_deadline(const struct gw_source_figures *figures, const char *choice)
{
    gw_monitor_say("%" PRIu64 " KiB are left, the link takes %" PRIu64
                   " KiB/s, and the deadline is near: %s",
                   figures->remaining_pages * gw_run_storage.ram.page_bytes / 1024,
                   figures->bandwidth / 1024, choice);
}

static void say_throttle(const struct gw_source_figures *figures)
{
    char text[80];
    (void)snprintf(text, sizeof(text), "its CPUs lose %u%% of their time until it has moved",
                   figures->throttle_percent);
    say_speed(figures, text);
}

static void say_fits(const struct gw_source_figures *figures)
{
    gw_monitor_say("%" PRIu64 " KiB are left, up to %" PRIu64
                   " KiB fit into the downtime limit: guest %s is handed over, and will stand "
                   "still for about %" PRIu64 " ms",
                   figures->remaining_pages * gw_run_storage.ram.page_bytes / 1024,
                   figures->threshold_bytes / 1024, MONITOR->config->name,
                   figures->expected_downtime_ns / GW_NS_PER_MS);
}

static void say_further(const struct gw_source_figures *figures)
{
    uint64_t page_bytes = gw_run_storage.ram.page_bytes;
    gw_monitor_say("%" PRIu64 " KiB are left, up to %" PRIu64
                   " KiB fit into the downtime limit; guest %s dirties %" PRIu64
                   " KiB/s, the link takes %" PRIu64 " KiB/s: it is sent on, to stop for less",
                   figures->remaining_pages * page_bytes / 1024, figures->threshold_bytes / 1024,
                   MONITOR->config->name, figures->dirty_pages_per_s * page_bytes / 1024,
                   figures->bandwidth / 1024);
}

/* Rates in MB/s as links have them. */
static void say_packing(const struct gw_packing_figures *packing)
{
    unsigned percent = (packing->permille + 5) / 10;
    uint64_t pack_mb = packing->pack_rate / 1000000;
    uint64_t link_mb = packing->link_rate / 1000000;
    switch (packing->reason) {
    case GW_PACKING_AT_FIRST:
        break;
    case GW_PACKING_WANTED:
        gw_monitor_say("pages are packed by lz4, as asked for");
        break;
    case GW_PACKING_UNABLE:
        gw_monitor_say("pages travel as they are: the target cannot unpack them");
        break;
    case GW_PACKING_PAYS:
        gw_monitor_say("the link takes %" PRIu64 " MB/s, lz4 packs %" PRIu64
                       " MB/s of pages to %u%%: they are packed",
                       link_mb, pack_mb, percent);
        break;
    case GW_PACKING_BAD_RATIO:
        gw_monitor_say("packed pages still have %u%% of their size: they travel as they are",
                       percent);
        break;
    case GW_PACKING_FAST_LINK:
        gw_monitor_say("lz4 packs %" PRIu64
                       " MB/s of pages, and the link takes more: they travel as they are",
                       pack_mb);
        break;
    case GW_PACKING_NO_GAIN:
        gw_monitor_say("packed pages get there no faster, something else limits: they travel as "
                       "they are");
        break;
    }
}

void gw_choices_say(enum gw_source_choice choice, const struct gw_source_figures *figures)
{
    switch (choice) {
    case GW_CHOICE_FITS:
        say_fits(figures);
        break;
    case GW_CHOICE_FURTHER:
        say_further(figures);
        break;
    case GW_CHOICE_LIMIT_TOO_LOW:
        gw_monitor_say("the handover alone takes about %" PRIu64
                       " ms, which is more than the downtime limit allows: guest %s will stand "
                       "still for longer than that",
                       figures->handover_ns / GW_NS_PER_MS, MONITOR->config->name);
        break;
    case GW_CHOICE_THROTTLE:
        say_throttle(figures);
        break;
    case GW_CHOICE_POSTCOPY_TOO_FAST:
        say_speed(figures, "it goes first, and the rest of its memory follows (postcopy)");
        break;
    case GW_CHOICE_POSTCOPY_DEADLINE:
        say_deadline(figures, "the guest goes first, and they follow (postcopy)");
        break;
    case GW_CHOICE_STOP_DEADLINE:
        say_deadline(figures, "they go while the guest stands still");
        break;
    case GW_CHOICE_HOLD:
        gw_monitor_say("guest %s could be handed over: waiting for godwit migrate-continue %s",
                       MONITOR->config->name, MONITOR->config->name);
        break;
    case GW_CHOICE_DONE_AGAIN:
        gw_monitor_say("guest %s runs at %s, which may not have heard that this side knows: it is "
                       "told again",
                       MONITOR->config->name, MONITOR->peer);
        break;
    case GW_CHOICE_PACKING:
        say_packing(&figures->packing);
        break;
    case GW_CHOICE_WAIT_FOR_DEVICES:
        gw_monitor_say("guest %s could be handed over: waiting for the target's devices to be "
                       "ready",
                       MONITOR->config->name);
        break;
    }
}
