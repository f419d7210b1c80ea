/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit resolve: settles a guest that a broken handover left held. A living monitor is told over
 * its socket; where none is left, its records are read. Main thread.
 */
#include <stdio.h>

#include "commands.h"
#include "places.h"
#include "print.h"

static struct gw_cli_client *const client = &gw_cli_shared_client;

enum action { SHOW, GIVE_UP, RUN_TOKEN, RUN_OTHER_IS_DEAD };

static enum gw_status decode_action(const struct gw_cli_values *values, enum action *action,
                                    struct gw_fault *fault)
{
    bool has_run_detail = values->token || values->is_other_dead;
    *action = values->is_give_up      ? GIVE_UP
              : !values->is_run       ? SHOW
              : values->is_other_dead ? RUN_OTHER_IS_DEAD
                                      : RUN_TOKEN;
    if (values->is_give_up && (values->is_run || has_run_detail))
        return gw_fault_set(fault, GW_ARGUMENT, "--give-up is given with %s; wanted one of them",
                            values->is_run ? "--run" : "a token or --other-is-dead");
    if (!values->is_run && has_run_detail)
        return gw_fault_set(fault, GW_ARGUMENT, "%s is given without --run; wanted both",
                            values->token ? "a token" : "--other-is-dead");
    if (values->is_run && !!values->token == values->is_other_dead)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--run has %s; wanted --run TOKEN or --run "
                            "--other-is-dead",
                            values->token ? "a token and --other-is-dead" : "no token");
    return GW_OK;
}

static void print_result(const struct gw_info_resolve *result)
{
    (void)printf("%s\n", result->text);
    if (result->token[0])
        (void)printf("token: %s\n", result->token);
}

static void warn_of_two(enum action action)
{
    if (action == RUN_OTHER_IS_DEAD)
        (void)gw_cli_fail(0, "if the other side still runs this guest, or ever will, there are now "
                             "two of it");
}

static int show_live(const char *name)
{
    struct gw_info_migrate info;
    struct gw_fault fault = {.status = GW_OK};
    if (gw_cli_client_query(client, &info, &fault) != GW_OK)
        return gw_cli_fail(GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (!info.held.is_held) {
        (void)printf("%s is not held: there is nothing to resolve\n", name);
        return GW_RUN_EXIT_DONE;
    }
    (void)printf("%s is held: %s\n", name, info.held.text);
    if (info.held.can_give_up)
        (void)printf("possible: godwit resolve %s --give-up\n", name);
    if (info.held.can_run_with_token)
        (void)printf("possible: godwit resolve %s --run TOKEN (from --give-up on the other "
                     "side)\n",
                     name);
    if (info.held.can_run_other_is_dead)
        (void)printf("possible: godwit resolve %s --run --other-is-dead (only if the other side "
                     "can never run the guest again)\n",
                     name);
    return GW_RUN_EXIT_HELD;
}

static int resolve_live(const struct gw_cli_values *values, enum action action)
{
    struct gw_info_resolve result;
    struct gw_fault fault = {.status = GW_OK};
    if (action == SHOW)
        return show_live(values->name);
    struct gw_json *json = gw_cli_client_begin(client, GW_QMP_RESOLVE);
    gw_json_put_text(json, "action", action == GIVE_UP ? "give-up" : "run");
    if (action == RUN_TOKEN)
        gw_json_put_text(json, "token", values->token);
    if (action == RUN_OTHER_IS_DEAD)
        gw_json_put_bool(json, "other-is-dead", true);
    if (gw_cli_client_end(client, &fault) != GW_OK)
        return gw_cli_fail(GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (!gw_qmp_decode_resolve(&client->document, client->result, &result))
        return gw_cli_fail(GW_RUN_EXIT_FAILED, "the monitor's answer has no text");
    print_result(&result);
    warn_of_two(action);
    return GW_RUN_EXIT_DONE;
}

static int resolve_dead(const struct gw_cli_values *values, const struct gw_cli_places *places,
                        enum action action)
{
    struct gw_run_dead dead = {.has_record = false};
    struct gw_fault fault = {.status = GW_OK};
    enum gw_run_dead_action what = action == GIVE_UP             ? GW_RUN_DEAD_GIVE_UP
                                   : action == RUN_OTHER_IS_DEAD ? GW_RUN_DEAD_FORGET
                                                                 : GW_RUN_DEAD_SHOW;
    if (gw_cli_check_state_dir(values, &fault) != GW_OK ||
        gw_run_resolve_dead(places->state_dir, values->name, what, &dead, &fault) != GW_OK)
        return gw_cli_fail_with(&fault);
    print_result(&dead.result);
    if (dead.has_record)
        warn_of_two(action);
    if (action == SHOW && dead.is_open)
        (void)printf("possible: godwit resolve %s --give-up\n", values->name);
    if (action == RUN_TOKEN)
        return gw_cli_fail(GW_RUN_EXIT_FAILED,
                           "no process holds %s here, so that there is nothing "
                           "to run; --run is for the side where the guest's memory is",
                           values->name);
    return action == SHOW && dead.is_open ? GW_RUN_EXIT_HELD : GW_RUN_EXIT_DONE;
}

static int run_resolve(struct gw_cli_values *values)
{
    enum action action = SHOW;
    struct gw_cli_places places;
    struct gw_fault fault = {.status = GW_OK};
    if (decode_action(values, &action, &fault) != GW_OK ||
        gw_cli_find_places(values, &places, &fault) != GW_OK)
        return gw_cli_fail_with(&fault);
    enum gw_status status = gw_cli_client_open(client, places.control, GW_CLI_REPLY_NS_MAX, &fault);
    if (status == GW_REFUSED)
        return gw_cli_fail(GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (status != GW_OK) {
        (void)gw_cli_fail(0, "no monitor answers for %s: %s (see godwit list)", values->name,
                          fault.text);
        return resolve_dead(values, &places, action);
    }
    int code = resolve_live(values, action);
    gw_cli_client_close(client);
    return code;
}

static const struct gw_cli_option options[] = {
    {"--give-up", NULL, GW_CLI_FLAG, GW_CLI_AT(is_give_up), 0,
     "this side will never run the guest; prints a token for\nthe other side. Refused where it "
     "may have run already"},
    {"--run", NULL, GW_CLI_FLAG, GW_CLI_AT(is_run), 0,
     "run the guest here, with the TOKEN from the other side,\nor with --other-is-dead"},
    {"--other-is-dead", NULL, GW_CLI_FLAG, GW_CLI_AT(is_other_dead), 0,
     "you say that the other side can never run the guest again.\nThis is the one command that "
     "can make two of one guest"},
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
    {"--state-dir", "DIR", GW_CLI_TEXT, GW_CLI_AT(state_dir), 0,
     "where its records are (default: beside the default socket)"},
};

const struct gw_cli_command gw_cli_command_resolve = {
    .name = "resolve",
    .summary = "settle a guest that a broken handover left held",
    .about =
        "A guest is held when the link broke, or a side died, after the source gave it away\n"
        "and before it heard that the target runs it. Each side then keeps it and runs it\n"
        "not, so that it never runs twice. When both reach each other again they settle it\n"
        "by themselves; this is for when they cannot.\n\n"
        "Without an option it says what is known and what can be done. Best: --give-up on\n"
        "one side, and --run TOKEN on the other with the token that it printed.\n\n"
        "Where no monitor is left, --run --other-is-dead forgets that the guest left here, so\n"
        "that `godwit run` may boot it anew. One that lives and does not answer keeps its\n"
        "records to itself.",
    .examples = "godwit resolve router\n"
                "godwit resolve router --give-up              # on one side: prints a token\n"
                "godwit resolve router --run TOKEN            # on the other\n"
                "godwit resolve router --run --other-is-dead  # the other host has burnt down",
    .exits =
        "0 settled, or nothing to settle; 1 refused, or the record is damaged; 2 usage; 3 the\n"
        "state directory cannot be read; 6 held, and nothing was done",
    .positional = {{"NAME", GW_CLI_AT(name), true}, {"TOKEN", GW_CLI_AT(token), false}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_resolve,
};
