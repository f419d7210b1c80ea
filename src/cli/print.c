/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations as text for people, and JSON for programs. Main thread. */
#include "print.h"

#include <stdio.h>
#include <unistd.h>

#include "godwit/units.h"

void gw_cli_print_json(const struct gw_json_document *document, int value)
{
    static char line[GW_QMP_MESSAGE_BYTES];
    if (gw_json_read_raw(document, value, line, sizeof(line)))
        (void)printf("%s\n", line);
    (void)fflush(stdout);
}

void gw_cli_print_json_migrate(const struct gw_info_migrate *info)
{
    static struct gw_qmp_message message;
    static struct gw_json_document document;
    gw_qmp_encode_migrate(&message, "", info);
    if (gw_json_read_document(&document, message.text, message.bytes, NULL) == GW_OK)
        gw_cli_print_json(&document, gw_json_read_member(&document, 0, "return"));
}

void gw_cli_print_json_error(const char *text)
{
    char line[GW_FAULT_TEXT_BYTES * 2 * 6 + 32];
    struct gw_json json;
    gw_json_init(&json, line, sizeof(line));
    gw_json_open_object(&json, NULL);
    gw_json_put_text(&json, "error", text);
    gw_json_close_object(&json);
    if (gw_json_end(&json) == GW_OK)
        (void)printf("%s\n", line);
    (void)fflush(stdout);
}

static void print_time(const char *before, uint64_t ns)
{
    char text[GW_UNITS_TEXT_BYTES];
    (void)printf("%s%s", before, gw_units_encode_time(text, ns));
}

static void print_size(const char *before, uint64_t bytes, const char *after)
{
    char text[GW_UNITS_TEXT_BYTES];
    (void)printf("%s%s%s", before, gw_units_encode_size(text, bytes), after);
}

static void print_rate(const char *before, uint64_t bytes_per_second)
{
    char text[GW_UNITS_TEXT_BYTES];
    (void)printf("%s%s", before, gw_units_encode_rate(text, bytes_per_second));
}

static void print_postcopy(const struct gw_info_migrate *info)
{
    const struct gw_info_postcopy *postcopy = &info->postcopy;
    (void)printf(", postcopy: %llu page%s demanded", (unsigned long long)postcopy->demands,
                 postcopy->demands == 1 ? "" : "s");
    if (postcopy->recoveries)
        (void)printf(", link lost and back %llu time%s", (unsigned long long)postcopy->recoveries,
                     postcopy->recoveries == 1 ? "" : "s");
    if (postcopy->faults) {
        print_time(", its CPUs stood still together for ", postcopy->blocktime_ms * GW_NS_PER_MS);
        print_time(" of ", postcopy->time_ms * GW_NS_PER_MS);
        for (uint32_t i = 0; i < postcopy->vcpu_count && postcopy->vcpu_count > 1; i++) {
            (void)printf("%sCPU %u ", i ? ", " : " (", i);
            print_time("", postcopy->vcpu_ms[i] * GW_NS_PER_MS);
            (void)printf(i + 1 < postcopy->vcpu_count ? "" : ")");
        }
        print_time("; a page took ", postcopy->min_us * GW_NS_PER_US);
        print_time(" at least, ", postcopy->p50_us * GW_NS_PER_US);
        print_time(" (half of them), ", postcopy->p90_us * GW_NS_PER_US);
        print_time(" (90 of 100), ", postcopy->p99_us * GW_NS_PER_US);
        print_time(" (99 of 100), ", postcopy->max_us * GW_NS_PER_US);
        (void)printf(" at most");
    }
}

/* "lz4 2GiB to 31%" */
static void print_packed(const char *before, const struct gw_info_compression *compression)
{
    uint64_t raw = compression->raw_bytes;
    (void)printf("%s%s ", before, gw_info_packing_name(GW_INFO_PACKING_LZ4));
    print_size("", raw, "");
    (void)printf(" to %llu%%",
                 (unsigned long long)(raw == 0 ? 100 : compression->packed_bytes * 100 / raw));
}

static void print_figures(const struct gw_info_migrate *info)
{
    print_time(": total ", info->total_ms * GW_NS_PER_MS);
    if (info->has_downtime)
        print_time(", downtime ", info->downtime_us * GW_NS_PER_US);
    if (info->has_ram) {
        print_size(", ", info->ram.transferred_bytes, " sent");
        (void)printf(", %llu round%s", (unsigned long long)info->ram.rounds,
                     info->ram.rounds == 1 ? "" : "s");
    }
    if (info->compression.raw_bytes > info->ram.transferred_bytes / 16)
        print_packed(", ", &info->compression);
    if (info->resumes) {
        (void)printf(", resumed %llu time%s", (unsigned long long)info->resumes,
                     info->resumes == 1 ? "" : "s");
        print_size(" (", info->resent_bytes, " sent again)");
    }
    if (info->postcopy.is_on)
        print_postcopy(info);
    if (info->verify == GW_INFO_VERIFY_EQUAL)
        print_time(", RAM verified equal in ", info->verify_ms * GW_NS_PER_MS);
}

/* How far it is. */
static void print_way(const struct gw_info_migrate *info)
{
    const struct gw_info_ram *ram = &info->ram;
    print_size("  ", ram->transferred_bytes, " sent");
    print_rate("  ", ram->acked_bits_per_second / 8);
    (void)printf("  round %llu", (unsigned long long)ram->rounds);
    print_size("  ", ram->remaining_bytes, " left");
    print_rate("  dirty ", ram->dirty_pages_per_second * ram->page_bytes);
    if (info->expected_downtime_us)
        print_time("  downtime ~", info->expected_downtime_us * GW_NS_PER_US);
    if (info->throttle_percent)
        (void)printf("  CPUs slowed by %llu%%", (unsigned long long)info->throttle_percent);
    if (info->compression.packing != GW_INFO_PACKING_NONE)
        print_packed("  ", &info->compression);
}

void gw_cli_print_outcome(const struct gw_info_migrate *info)
{
    bool is_source = info->role == GW_INFO_SOURCE;
    unsigned int status = info->status;
    if (info->held.is_held) {
        (void)printf("held: %s", info->held.text);
        if (info->held.held_ms > 0) {
            print_time(" (for ", info->held.held_ms * GW_NS_PER_MS);
            (void)printf(")");
        }
        return;
    }
    switch (status) {
    case GW_INFO_MIGRATION_COMPLETED:
        if (info->reason == GW_CANCELLED) {
            (void)printf("given up here: %s", info->error);
            return;
        }
        (void)printf("migrated %s %s", is_source ? "to" : "from", info->peer);
        print_figures(info);
        return;
    case GW_INFO_MIGRATION_CANCELLED:
        (void)printf("cancelled; the guest %s", is_source ? "runs on here" : "stayed there");
        if (info->error[0])
            (void)printf(": %s", info->error);
        return;
    case GW_INFO_MIGRATION_POSTCOPY_ACTIVE:
    case GW_INFO_MIGRATION_POSTCOPY_PAUSED:
    case GW_INFO_MIGRATION_POSTCOPY_RECOVER:
        (void)printf("%s; the guest runs %s, ", gw_info_migration_name(info->status),
                     is_source ? "there" : "here");
        print_size("", is_source ? info->ram.remaining_bytes : info->postcopy.missing_bytes,
                   " of its memory follow");
        if (info->postcopy.released_bytes)
            print_size("; ", info->postcopy.released_bytes,
                       " of this copy were given back, which cannot be run again");
        if (info->error[0])
            (void)printf("; link lost, trying again: %s", info->error);
        return;
    case GW_INFO_MIGRATION_FAILED:
        if (info->postcopy.is_lost) {
            (void)printf("the guest is lost: %s", info->error);
            return;
        }
        (void)printf("failed; the guest %s: %s", is_source ? "stays here" : "stayed there",
                     info->error);
        return;
    case GW_INFO_MIGRATION_PRE_SWITCHOVER:
        (void)printf("pre-switchover; the guest runs on here until godwit migrate-continue");
        return;
    default:
        (void)printf("%s", gw_info_migration_name(info->status));
        if (info->is_link_lost)
            (void)printf("; link lost, %s: %s",
                         is_source ? "trying again" : "its source is waited for", info->error);
        else if (info->has_ram)
            print_way(info);
    }
}

int gw_cli_outcome_exit(const struct gw_info_migrate *info)
{
    if (info->held.is_held)
        return GW_RUN_EXIT_HELD;
    if (info->status == GW_INFO_MIGRATION_COMPLETED) /* given up: the token is to be used there */
        return info->reason == GW_CANCELLED ? GW_RUN_EXIT_HELD : GW_RUN_EXIT_DONE;
    if (info->status == GW_INFO_MIGRATION_CANCELLED)
        return GW_RUN_EXIT_CANCELLED;
    if (info->postcopy.is_lost)
        return GW_RUN_EXIT_LOST;
    return info->reason == GW_REFUSED ? GW_RUN_EXIT_REFUSED : GW_RUN_EXIT_FAILED;
}

void gw_cli_progress_begin(struct gw_cli_progress *progress, bool is_json)
{
    *progress = (struct gw_cli_progress){.is_json = is_json,
                                         .is_terminal = !is_json && isatty(STDOUT_FILENO)};
}

/* What part of RAM the target has in its latest version, in percent. */
static unsigned int percent_done(const struct gw_info_ram *ram)
{
    if (ram->total_bytes == 0 || ram->remaining_bytes > ram->total_bytes)
        return 0;
    uint64_t done = ram->total_bytes - ram->remaining_bytes;
    return (unsigned int)(done / (ram->total_bytes / 100 + 1));
}

static void print_bar(unsigned int percent)
{
    enum { CELLS = 20 };
    char bar[CELLS + 1];
    for (unsigned int i = 0; i < CELLS; i++)
        bar[i] = i * 100 < percent * CELLS ? '#' : '-';
    bar[CELLS] = 0;
    (void)printf("[%s] ", bar);
}

static void print_progress(const struct gw_info_migrate *info, bool is_bar)
{
    const struct gw_info_ram *ram = &info->ram;
    if (info->held.is_held) {
        gw_cli_print_outcome(info);
        return;
    }
    if (!info->has_ram || ram->total_bytes == 0) {
        (void)printf("%s", gw_info_migration_name(info->status));
        return;
    }
    unsigned int percent = percent_done(ram);
    if (is_bar)
        print_bar(percent);
    (void)printf("%3u%%", percent);
    print_way(info);
    if (info->is_link_lost)
        (void)printf("  link lost, trying again: %s", info->error);
    else if (info->status != GW_INFO_MIGRATION_ACTIVE)
        (void)printf("  %s", gw_info_migration_name(info->status));
}

/* Plain lines come once a second, and whenever something other than figures changes. */
static bool is_due(const struct gw_cli_progress *progress, const struct gw_info_migrate *info,
                   uint64_t now_ns)
{
    return progress->is_terminal || progress->is_json || progress->shown_ns == 0 ||
           now_ns - progress->shown_ns >= GW_NS_PER_S || progress->status != info->status ||
           progress->rounds != info->ram.rounds || progress->is_held != info->held.is_held;
}

void gw_cli_progress_show(struct gw_cli_progress *progress, const struct gw_info_migrate *info,
                          uint64_t now_ns)
{
    if (!is_due(progress, info, now_ns))
        return;
    progress->shown_ns = now_ns;
    progress->status = info->status;
    progress->rounds = info->ram.rounds;
    progress->is_held = info->held.is_held;
    if (progress->is_json) {
        gw_cli_print_json_migrate(info);
        return;
    }
    if (progress->is_terminal)
        (void)printf("\r");
    print_progress(info, progress->is_terminal);
    (void)printf(progress->is_terminal ? "\x1b[K" : "\n");
    progress->is_open = progress->is_terminal;
    (void)fflush(stdout);
}

void gw_cli_progress_end(struct gw_cli_progress *progress)
{
    if (progress->is_open)
        (void)printf("\n");
    progress->is_open = false;
}
