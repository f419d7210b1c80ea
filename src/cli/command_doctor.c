/* SPDX-License-Identifier: Apache-2.0 */
/* godwit doctor: what this host has and lacks. Main thread. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "godwit/probe.h"
#include "places.h"

static struct gw_probe probe;

static void print_item(const struct gw_probe_item *item)
{
    (void)printf("%-9s %-32s %s\n", gw_probe_verdict_name(item->verdict), item->name, item->found);
    if (item->remedy[0])
        (void)printf("%-9s %-32s -> %s\n", "", "", item->remedy);
}

static int run_doctor(struct gw_cli_values *values)
{
    char directory[GW_CLI_PATH_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    if (!values->state_dir && gw_cli_runtime_dir(directory, &fault) != GW_OK)
        return gw_cli_fail_with(&fault);
    gw_probe_host(&probe, values->state_dir ? values->state_dir : directory);
    for (uint32_t i = 0; i < probe.count; i++)
        print_item(&probe.item[i]);
    if (gw_probe_worst(&probe) == GW_PROBE_MISSING)
        return gw_cli_fail(GW_RUN_EXIT_HOST, "this host cannot run guests: see what is missing "
                                             "above");
    return GW_RUN_EXIT_DONE;
}

static const struct gw_cli_option options[] = {
    {"--state-dir", "DIR", GW_CLI_TEXT, GW_CLI_AT(state_dir), 0,
     "look at this place for records (default: the usual one)"},
};

const struct gw_cli_command gw_cli_command_doctor = {
    .name = "doctor",
    .summary = "say what this host has and lacks, with the remedy",
    .about = "ok: there. optional: not there, and godwit does without. missing: not there, and\n"
             "godwit cannot run guests here.",
    .examples = "godwit doctor",
    .exits = "0 guests can run here; 2 usage; 3 something that is required is missing",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_doctor,
};
