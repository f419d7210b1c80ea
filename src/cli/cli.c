/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the command, parses, runs it. Main thread. */
#include "godwit/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "interrupt.h"
#include "print.h"

const struct gw_cli_command *const gw_cli_commands[] = {
    &gw_cli_command_run,
    &gw_cli_command_migrate,
    &gw_cli_command_migrate_cancel,
    &gw_cli_command_migrate_postcopy,
    &gw_cli_command_migrate_continue,
    &gw_cli_command_migrate_pause,
    &gw_cli_command_migrate_recover,
    &gw_cli_command_upgrade,
    &gw_cli_command_status,
    &gw_cli_command_list,
    &gw_cli_command_dirty_rate,
    &gw_cli_command_block,
    &gw_cli_command_unblock,
    &gw_cli_command_resolve,
    &gw_cli_command_stop,
    &gw_cli_command_cont,
    &gw_cli_command_quit,
    &gw_cli_command_keygen,
    &gw_cli_command_limits,
    &gw_cli_command_doctor,
    &gw_cli_command_version,
    &gw_cli_command_help,
};
const size_t gw_cli_command_count = sizeof(gw_cli_commands) / sizeof(gw_cli_commands[0]);

int gw_cli_fail(int code, const char *format, ...)
{
    va_list arguments;
    (void)fflush(stdout);
    (void)fprintf(stderr, "godwit: ");
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\n");
    return code;
}

void gw_cli_tell_not_cancelled(const char *why)
{
    gw_cli_release_interrupts();
    (void)gw_cli_fail(0, "not cancelled: %s (once more, and this command ends without it)", why);
}

int gw_cli_fail_for(const struct gw_cli_values *values, int code, const char *format, ...)
{
    char text[GW_FAULT_TEXT_BYTES * 2];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (values->is_json)
        gw_cli_print_json_error(text);
    return gw_cli_fail(code, "%s", text);
}

int gw_cli_exit_of(const struct gw_fault *fault)
{
    return fault->status == GW_HOST       ? GW_RUN_EXIT_HOST
           : fault->status == GW_ARGUMENT ? GW_RUN_EXIT_USAGE
                                          : GW_RUN_EXIT_FAILED;
}

int gw_cli_fail_with(const struct gw_fault *fault)
{
    return gw_cli_fail(gw_cli_exit_of(fault), "%s", fault->text);
}

static const char *command_name(size_t index, const void *context)
{
    (void)context;
    return gw_cli_commands[index]->name;
}

static const struct gw_cli_command *find_command(const char *name)
{
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return &gw_cli_command_help;
    if (strcmp(name, "--version") == 0)
        return &gw_cli_command_version;
    for (size_t i = 0; i < gw_cli_command_count; i++) {
        if (strcmp(name, gw_cli_commands[i]->name) == 0)
            return gw_cli_commands[i];
    }
    return NULL;
}

static int fail_unknown(const char *name)
{
    const char *near = gw_cli_nearest(name, command_name, NULL, gw_cli_command_count);
    return gw_cli_fail(GW_RUN_EXIT_USAGE, "no command \"%.60s\"%s%s%s (see godwit help)", name,
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static int run_help(struct gw_cli_values *values)
{
    if (!values->name) {
        gw_cli_print_help();
        return GW_RUN_EXIT_DONE;
    }
    const struct gw_cli_command *command = find_command(values->name);
    if (!command)
        return fail_unknown(values->name);
    gw_cli_print_command_help(command);
    return GW_RUN_EXIT_DONE;
}

static int run_version(struct gw_cli_values *values)
{
    (void)values;
    (void)printf("godwit " GW_VERSION "\n");
    return GW_RUN_EXIT_DONE;
}

const struct gw_cli_command gw_cli_command_help = {
    .name = "help",
    .summary = "say what there is; `godwit help COMMAND` says more about one",
    .about = "",
    .examples = "godwit help migrate",
    .exits = "0 done; 2 no such command",
    .positional = {{"COMMAND", GW_CLI_AT(name), false}},
    .function = run_help,
};

const struct gw_cli_command gw_cli_command_version = {
    .name = "version",
    .summary = "print the version",
    .about = "",
    .examples = "godwit version",
    .exits = "0 done",
    .function = run_version,
};

int gw_cli_main(int count, char **arguments)
{
    static struct gw_cli_values values;
    struct gw_fault fault = {.status = GW_OK};
    bool is_help = false;
    if (count < 2) {
        gw_cli_print_help();
        return GW_RUN_EXIT_USAGE;
    }
    const struct gw_cli_command *command = find_command(arguments[1]);
    if (!command)
        return fail_unknown(arguments[1]);
    if (gw_cli_parse(command, count - 2, arguments + 2, &values, &is_help, &fault) != GW_OK)
        return gw_cli_fail(GW_RUN_EXIT_USAGE, "%s", fault.text);
    if (is_help) {
        gw_cli_print_command_help(command);
        return GW_RUN_EXIT_DONE;
    }
    int code = command->function(&values);
    bool is_written = fflush(stdout) == 0 && !ferror(stdout);
    return is_written || code != GW_RUN_EXIT_DONE
               ? code
               : gw_cli_fail(GW_RUN_EXIT_FAILED, "done, but what it says could not be written: %s",
                             strerror(errno));
}
