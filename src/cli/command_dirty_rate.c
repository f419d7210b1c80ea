/* SPDX-License-Identifier: Apache-2.0 */
/* godwit dirty-rate: how fast a guest changes its memory. Main thread. Blocks for --seconds. */
#include <stdio.h>

#include "commands.h"
#include "godwit/units.h"
#include "print.h"

#define POLL_NS (50 * GW_NS_PER_MS)

static struct gw_cli_client *const client = &gw_cli_shared_client;

static enum gw_status measure(uint64_t seconds, struct gw_info_dirty_rate *rate,
                              struct gw_fault *fault)
{
    struct gw_json *json = gw_cli_client_begin(client, GW_QMP_CALC_DIRTY_RATE);
    gw_json_put_number(json, "calc-time", seconds);
    enum gw_status status = gw_cli_client_end(client, fault);
    while (status == GW_OK) {
        status = gw_cli_client_call(client, GW_QMP_QUERY_DIRTY_RATE, fault);
        if (status != GW_OK)
            break;
        if (!gw_qmp_decode_dirty_rate(&client->document, client->result, rate))
            return gw_fault_set(fault, GW_PROTOCOL,
                                "the monitor's answer is one that this godwit "
                                "does not know");
        if (rate->status == GW_INFO_DIRTY_RATE_MEASURED)
            return GW_OK;
        if (rate->status == GW_INFO_DIRTY_RATE_UNSTARTED)
            return gw_fault_set(fault, GW_CANCELLED,
                                "not measured: a migration began meanwhile (godwit status has its "
                                "figures), or see the monitor's log");
        status = gw_cli_client_wait(client, POLL_NS, fault);
    }
    return status;
}

static int run_dirty_rate(struct gw_cli_values *values)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_info_dirty_rate rate;
    uint64_t seconds = values->seconds ? values->seconds : 1;
    int code = gw_cli_client_find(client, values);
    if (code != GW_RUN_EXIT_DONE)
        return code;
    enum gw_status status = measure(seconds, &rate, &fault);
    gw_cli_client_close(client);
    if (status != GW_OK)
        return gw_cli_fail_for(values, GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (values->is_json) {
        gw_cli_print_json(&client->document, client->result);
        return GW_RUN_EXIT_DONE;
    }
    char text[GW_UNITS_TEXT_BYTES];
    (void)printf("%s: dirties %s, %llu pages of %llu bytes a second\n", values->name,
                 gw_units_encode_rate(text, rate.pages_per_second * rate.page_bytes),
                 (unsigned long long)rate.pages_per_second, (unsigned long long)rate.page_bytes);
    return GW_RUN_EXIT_DONE;
}

static const struct gw_cli_option options[] = {
    {"--seconds", "N", GW_CLI_NUMBER_TO(GW_INFO_DIRTY_RATE_SECONDS_MAX), GW_CLI_AT(seconds), 0,
     "for how long to look, 1 to 60 (default 1)"},
    {"--json", NULL, GW_CLI_FLAG, GW_CLI_AT(is_json), 0,
     "one JSON object, as QMP's query-dirty-rate has it"},
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
};

const struct gw_cli_command gw_cli_command_dirty_rate = {
    .name = "dirty-rate",
    .summary = "measure how fast a guest changes its memory",
    .about = "Counts the pages that the guest NAME writes to in a while, each once. A link that\n"
             "carries less than that a second cannot move it without slowing it down (godwit\n"
             "migrate does) or a longer downtime. Looking costs the guest a fault for each of\n"
             "these pages. How they are told is chosen by godwit run --dirty (mode in --json:\n"
             "dirty-bitmap or dirty-ring). While it moves, the migration's own figure is told, at\n"
             "once.",
    .examples = "godwit dirty-rate router --seconds 5",
    .exits = "0 measured; 1 not measured; 2 usage",
    .positional = {{"NAME", GW_CLI_AT(name), true}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_dirty_rate,
};
