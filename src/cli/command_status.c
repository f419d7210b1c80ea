/* SPDX-License-Identifier: Apache-2.0 */
/* godwit status: what one guest does. Main thread. */
#include <stdio.h>

#include "commands.h"
#include "godwit/units.h"
#include "places.h"
#include "print.h"

static struct gw_cli_client *const client = &gw_cli_shared_client;

static void print_status(const struct gw_info_status *status, const struct gw_info_migrate *migrate)
{
    char memory[GW_UNITS_TEXT_BYTES];
    char up[GW_UNITS_TEXT_BYTES];
    (void)printf("%s: %s\n", status->name, gw_info_run_state_name(status->state));
    (void)printf("  guest      %u CPU%s, %s\n", (unsigned int)status->vcpu_count,
                 status->vcpu_count == 1 ? "" : "s",
                 gw_units_encode_size(memory, status->memory_bytes));
    (void)printf("  monitor    pid %u, up %s\n", (unsigned int)status->pid,
                 gw_units_encode_time(up, status->up_ms * GW_NS_PER_MS));
    if (!status->dirty_ring_entries)
        (void)printf("  tracking   dirty log\n");
    else
        (void)printf("  tracking   dirty ring of %llu entries a CPU, %llu time%s full\n",
                     (unsigned long long)status->dirty_ring_entries,
                     (unsigned long long)status->dirty_ring_full,
                     status->dirty_ring_full == 1 ? "" : "s");
    if (status->incoming[0])
        (void)printf("  incoming   %s\n", status->incoming);
    for (uint32_t i = 0; i < migrate->blocked_count; i++)
        (void)printf("  blocked    %s\n", migrate->blocked[i]);
    if (migrate->status == GW_INFO_MIGRATION_NONE)
        return;
    (void)printf("  migration  ");
    gw_cli_print_outcome(migrate);
    (void)printf("\n");
    if (migrate->session[0])
        (void)printf("  session    %s, epoch %llu\n", migrate->session,
                     (unsigned long long)migrate->epoch);
}

/* No monitor answers: records may still say where the guest is. */
static int explain_absence(const struct gw_cli_values *values, const struct gw_cli_places *places,
                           const char *reason)
{
    struct gw_run_dead dead = {.has_record = false};
    struct gw_fault fault = {.status = GW_OK};
    (void)gw_cli_fail_for(values, 0, "no monitor answers for %s: %s (see godwit list)",
                          values->name, reason);
    if (gw_cli_check_state_dir(values, &fault) != GW_OK ||
        gw_run_resolve_dead(places->state_dir, values->name, GW_RUN_DEAD_SHOW, &dead, &fault) !=
            GW_OK)
        return gw_cli_fail(GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (dead.has_record)
        (void)gw_cli_fail(0, "%s", dead.result.text);
    return GW_RUN_EXIT_FAILED;
}

static int run_status(struct gw_cli_values *values)
{
    struct gw_cli_places places;
    struct gw_fault fault = {.status = GW_OK};
    struct gw_info_status status;
    struct gw_info_migrate migrate;
    if (gw_cli_find_places(values, &places, &fault) != GW_OK)
        return gw_cli_fail_for(values, gw_cli_exit_of(&fault), "%s", fault.text);
    enum gw_status opened = gw_cli_client_open(client, places.control, GW_CLI_REPLY_NS_MAX, &fault);
    if (opened == GW_REFUSED)
        return gw_cli_fail_for(values, GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (opened != GW_OK)
        return explain_absence(values, &places, fault.text);
    bool is_ok = gw_cli_client_call(client, GW_QMP_STATUS, &fault) == GW_OK;
    gw_cli_client_close(client);
    if (!is_ok)
        return gw_cli_fail_for(values, GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (values->is_json) {
        gw_cli_print_json(&client->document, client->result);
        return GW_RUN_EXIT_DONE;
    }
    int inner = gw_json_read_member(&client->document, client->result, "migrate");
    if (!gw_qmp_decode_status(&client->document, client->result, &status) ||
        !gw_qmp_decode_migrate(&client->document, inner, &migrate))
        return gw_cli_fail(GW_RUN_EXIT_FAILED, "the monitor's status is one that this godwit does "
                                               "not know");
    print_status(&status, &migrate);
    return GW_RUN_EXIT_DONE;
}

static const struct gw_cli_option options[] = {
    {"--json", NULL, GW_CLI_FLAG, GW_CLI_AT(is_json), 0,
     "one JSON object: name, status, running, memory (bytes),\ncpus, pid, up-time (ms), dirty-mode "
     "(dirty-bitmap or\ndirty-ring, this with dirty-ring-size and -full),\nincoming, migrate (as "
     "QMP's query-migrate)"},
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
    {"--state-dir", "DIR", GW_CLI_TEXT, GW_CLI_AT(state_dir), 0,
     "where its records are (default: beside the default socket)"},
};

const struct gw_cli_command gw_cli_command_status = {
    .name = "status",
    .summary = "say what a guest and its migration do",
    .about = "The state is QMP's: running, paused, inmigrate (waits for a guest), finish-migrate\n"
             "(stopped to be handed over, or held), postmigrate (the guest runs elsewhere).",
    .examples = "godwit status router\ngodwit status router --json",
    .exits = "0 done; 1 no monitor of that name answers (what its records say is told); 2 usage",
    .positional = {{"NAME", GW_CLI_AT(name), true}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_status,
};
