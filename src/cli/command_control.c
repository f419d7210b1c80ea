/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that say one word to a monitor: stop, cont, quit, and migrate-... Main thread. */
#include <stdio.h>

#include "commands.h"
#include "print.h"

static struct gw_cli_client *const client = &gw_cli_shared_client;

static int say(const struct gw_cli_values *values, enum gw_qmp_command command)
{
    struct gw_fault fault = {.status = GW_OK};
    int code = gw_cli_client_find(client, values);
    if (code != GW_RUN_EXIT_DONE)
        return code;
    if (gw_cli_client_call(client, command, &fault) != GW_OK) {
        gw_cli_client_close(client);
        return gw_cli_fail(GW_RUN_EXIT_FAILED, "%s", fault.text);
    }
    return GW_RUN_EXIT_DONE;
}

/* The same, with nothing to follow. */
static int say_all(const struct gw_cli_values *values, enum gw_qmp_command command)
{
    int code = say(values, command);
    gw_cli_client_close(client);
    return code;
}

static int run_stop(struct gw_cli_values *values)
{
    return say_all(values, GW_QMP_STOP);
}

static int run_cont(struct gw_cli_values *values)
{
    return say_all(values, GW_QMP_CONT);
}

static int run_migrate_postcopy(struct gw_cli_values *values)
{
    return say_all(values, GW_QMP_MIGRATE_START_POSTCOPY);
}

static int run_migrate_continue(struct gw_cli_values *values)
{
    return say_all(values, GW_QMP_MIGRATE_CONTINUE);
}

static int say_blocker(struct gw_cli_values *values, enum gw_qmp_command command)
{
    struct gw_fault fault = {.status = GW_OK};
    int code = gw_cli_client_find(client, values);
    if (code != GW_RUN_EXIT_DONE)
        return code;
    struct gw_json *json = gw_cli_client_begin(client, command);
    gw_json_put_text(json, "id", values->blocker);
    if (command == GW_QMP_BLOCK)
        gw_json_put_text(json, "reason", values->reason ? values->reason : "an operator said so");
    if (gw_cli_client_end(client, &fault) != GW_OK)
        code = gw_cli_fail(GW_RUN_EXIT_FAILED, "%s", fault.text);
    gw_cli_client_close(client);
    return code;
}

static int run_block(struct gw_cli_values *values)
{
    return say_blocker(values, GW_QMP_BLOCK);
}

static int run_unblock(struct gw_cli_values *values)
{
    return say_blocker(values, GW_QMP_UNBLOCK);
}

static int run_migrate_pause(struct gw_cli_values *values)
{
    return say_all(values, GW_QMP_MIGRATE_PAUSE);
}

static int run_migrate_recover(struct gw_cli_values *values)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_uri uri;
    if (values->uri && gw_cli_decode_target(values->uri, &uri, &fault) != GW_OK)
        return gw_cli_fail_with(&fault);
    int code = gw_cli_client_find(client, values);
    if (code != GW_RUN_EXIT_DONE)
        return code;
    (void)gw_cli_client_begin(client, GW_QMP_MIGRATE_RECOVER);
    if (values->uri)
        gw_cli_client_put_uri(client, &uri);
    if (gw_cli_client_end(client, &fault) != GW_OK)
        code = gw_cli_fail(GW_RUN_EXIT_FAILED, "%s", fault.text);
    gw_cli_client_close(client);
    return code;
}

/* Ends when the monitor has closed, so that its name can be used again. */
static int run_quit(struct gw_cli_values *values)
{
    struct gw_fault fault = {.status = GW_OK};
    int code = say(values, GW_QMP_QUIT);
    if (code != GW_RUN_EXIT_DONE)
        return code;
    uint64_t deadline_ns = gw_clock_now_ns() + GW_CLI_REPLY_NS_MAX;
    while (gw_cli_client_wait(client, GW_NS_PER_S, &fault) == GW_OK) {
        if (gw_clock_now_ns() >= deadline_ns) {
            gw_cli_client_close(client);
            return gw_cli_fail(GW_RUN_EXIT_FAILED,
                               "the monitor of %s was told to quit and is "
                               "still there after 10 seconds",
                               values->name);
        }
    }
    gw_cli_client_close(client);
    return GW_RUN_EXIT_DONE;
}

static int tell_cancelled(const struct gw_info_migrate *info)
{
    gw_cli_print_outcome(info);
    (void)printf("\n");
    if (info->held.is_held)
        return GW_RUN_EXIT_HELD;
    return info->status == GW_INFO_MIGRATION_CANCELLED ? GW_RUN_EXIT_DONE : GW_RUN_EXIT_FAILED;
}

/* The outcome of an earlier one is not this command's. */
static bool is_idle(const struct gw_info_migrate *info)
{
    return !info->held.is_held &&
           (gw_info_migration_is_final(info->status) || info->status == GW_INFO_MIGRATION_NONE);
}

static int run_migrate_cancel(struct gw_cli_values *values)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_info_migrate info = {.status = GW_INFO_MIGRATION_NONE};
    int code = gw_cli_client_find(client, values);
    if (code != GW_RUN_EXIT_DONE)
        return code;
    enum gw_status status = gw_cli_client_query(client, &info, &fault);
    if (status == GW_OK && is_idle(&info)) {
        gw_cli_client_close(client);
        (void)printf("no migration was under way\n");
        return GW_RUN_EXIT_DONE;
    }
    if (status == GW_OK)
        status = gw_cli_client_call(client, GW_QMP_MIGRATE_CANCEL, &fault);
    while (status == GW_OK) {
        status = gw_cli_client_query(client, &info, &fault);
        bool is_over = info.status == GW_INFO_MIGRATION_NONE || info.held.is_held ||
                       gw_info_migration_is_final(info.status);
        if (status != GW_OK || is_over)
            break;
        status = gw_cli_client_wait(client, 100 * GW_NS_PER_MS, &fault);
        if (status != GW_OK)
            break;
    }
    if (client->has_final) {
        info = client->final;
        status = GW_OK;
    }
    gw_cli_client_close(client);
    bool is_held = info.held.is_held && !info.postcopy.is_on;
    return status == GW_OK
               ? tell_cancelled(&info)
               : gw_cli_fail(is_held ? GW_RUN_EXIT_HELD : GW_RUN_EXIT_FAILED, "%s", fault.text);
}

static const struct gw_cli_option options[] = {
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
};

#define COMMON                                                           \
    .positional = {{"NAME", GW_CLI_AT(name), true}}, .options = options, \
    .option_count = sizeof(options) / sizeof(options[0])

const struct gw_cli_command gw_cli_command_stop = {
    .name = "stop",
    .summary = "halt a guest's CPUs",
    .about = "The guest stands still until `godwit cont`. It can be moved while it does, and\n"
             "stands still on the other side, too.",
    .examples = "godwit stop router",
    .exits = "0 done; 1 refused, or no monitor of that name; 2 usage",
    .function = run_stop,
    COMMON,
};

const struct gw_cli_command gw_cli_command_cont = {
    .name = "cont",
    .summary = "let a halted guest go on",
    .about = "Refused while the guest is held in a handover: see godwit resolve --help.",
    .examples = "godwit cont router",
    .exits = "0 done; 1 refused, or no monitor of that name; 2 usage",
    .function = run_cont,
    COMMON,
};

const struct gw_cli_command gw_cli_command_quit = {
    .name = "quit",
    .summary = "end a monitor, and its guest with it",
    .about = "As if its power was cut. A guest that moves away at the moment stays here and\n"
             "ends. Refused while the guest is held: see godwit resolve --help.",
    .examples = "godwit quit router",
    .exits = "0 the monitor has ended; 1 refused, or no monitor of that name; 2 usage",
    .function = run_quit,
    COMMON,
};

const struct gw_cli_command gw_cli_command_migrate_cancel = {
    .name = "migrate-cancel",
    .summary = "cancel a migration; the guest stays where it is",
    .about = "Possible until the handover. Ends when the outcome stands.",
    .examples = "godwit migrate-cancel router",
    .exits = "0 cancelled, or none was under way; 1 too late, refused, or no monitor of that\n"
             "name; 2 usage; 6 held: see godwit resolve",
    .function = run_migrate_cancel,
    COMMON,
};

const struct gw_cli_command gw_cli_command_migrate_postcopy = {
    .name = "migrate-postcopy",
    .summary = "let a guest that is on its way go first, its memory after it",
    .about = "For a migration that takes too long: the guest stops now, for the length of its\n"
             "state alone, and goes on there; the rest of its memory follows, what it waits for\n"
             "first. From then on both hosts are needed until all of it is there.",
    .examples = "godwit migrate-postcopy router",
    .exits = "0 done; 1 refused, or no monitor of that name; 2 usage",
    .function = run_migrate_postcopy,
    COMMON,
};

const struct gw_cli_command gw_cli_command_migrate_continue = {
    .name = "migrate-continue",
    .summary = "hand over a guest that waits for this word",
    .about = "For a migration with --pause-before-switchover, once its status is pre-switchover.\n"
             "What the guest changed while it waited goes first.",
    .examples = "godwit migrate-continue router",
    .exits = "0 done; 1 refused, or no monitor of that name; 2 usage",
    .function = run_migrate_continue,
    COMMON,
};

static const struct gw_cli_option block_options[] = {
    {"--reason", "TEXT", GW_CLI_TEXT, GW_CLI_AT(reason), 0,
     "what whoever is refused is told, up to 127 bytes"},
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
};

const struct gw_cli_command gw_cli_command_block = {
    .name = "block",
    .summary = "keep a guest from being moved, with a reason",
    .about = "While something is done to the guest or its host that a move would spoil. ID is a\n"
             "word of yours, up to 31 bytes; up to four of them hold at a time. It ends with\n"
             "godwit unblock NAME ID, or with the monitor. A migration that is under way is not\n"
             "touched: then this is refused.",
    .examples = "godwit block router firmware --reason 'its modem is being flashed'",
    .exits = "0 done; 1 refused, or no monitor of that name; 2 usage",
    .function = run_block,
    .positional = {{"NAME", GW_CLI_AT(name), true}, {"ID", GW_CLI_AT(blocker), true}},
    .options = block_options,
    .option_count = sizeof(block_options) / sizeof(block_options[0]),
};

const struct gw_cli_command gw_cli_command_unblock = {
    .name = "unblock",
    .summary = "take a reason of godwit block back",
    .about = "",
    .examples = "godwit unblock router firmware",
    .exits = "0 done; 1 refused, or no monitor of that name; 2 usage",
    .function = run_unblock,
    .positional = {{"NAME", GW_CLI_AT(name), true}, {"ID", GW_CLI_AT(blocker), true}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
};

const struct gw_cli_command gw_cli_command_migrate_pause = {
    .name = "migrate-pause",
    .summary = "let go of the link of a migration in postcopy",
    .about =
        "The guest runs on there until it needs memory that is still here. Nothing is tried\n"
        "again until godwit migrate-recover, which must come within an hour: then the guest is\n"
        "taken for lost there.",
    .examples = "godwit migrate-pause router",
    .exits = "0 done; 1 refused, or no monitor of that name; 2 usage",
    .function = run_migrate_pause,
    COMMON,
};

const struct gw_cli_command gw_cli_command_migrate_recover = {
    .name = "migrate-recover",
    .summary = "connect a migration whose link is lost again",
    .about =
        "A lost link is tried again by itself. In postcopy this does not wait for the next try,\n"
        "and ends a pause. URI: where the other side can be reached now, if not where it was.\n"
        "A migration over fd:N,N,... needs new sockets each time, in precopy too.",
    .examples = "godwit migrate-recover router tcp:10.1.0.2:4444\n"
                "godwit migrate-recover router fd:5,6,7",
    .exits = "0 connecting; 1 refused, or no monitor of that name; 2 usage",
    .function = run_migrate_recover,
    .positional = {{"NAME", GW_CLI_AT(name), true}, {"URI", GW_CLI_AT(uri), false}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
};
