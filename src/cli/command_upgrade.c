/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit upgrade: the guest goes on in a new process of this host.
 *
 * The running monitor offers the guest to one end of a pair of sockets; the new process, which this
 * command starts, has the other. From then on it only watches: its control connection passes to the
 * new process too, so that the one that answers says how far it is. Main thread. Blocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "godwit/clock.h"
#include "godwit/parcel.h"
#include "godwit/units.h"
#include "places.h"
#include "interrupt.h"
#include "print.h"

#define POLL_NS (10 * GW_NS_PER_MS)

enum { VERSION_BYTES = 32 };

static struct gw_cli_client *const client = &gw_cli_shared_client;

/* Of the monitor that answers now. */
static enum gw_status ask_version(char version[VERSION_BYTES], struct gw_fault *fault)
{
    static const char name[] = "godwit ";
    char package[sizeof(name) + VERSION_BYTES] = "";
    enum gw_status status = gw_cli_client_call(client, GW_QMP_QUERY_VERSION, fault);
    if (status != GW_OK)
        return status;
    (void)gw_json_read_text(&client->document,
                            gw_json_read_member(&client->document, client->result, "package"),
                            package, sizeof(package));
    bool is_named = strncmp(package, name, sizeof(name) - 1) == 0;
    (void)snprintf(version, VERSION_BYTES, "%.*s", VERSION_BYTES - 1,
                   is_named ? package + sizeof(name) - 1 : "?");
    return GW_OK;
}

/* In a session of its own: what the terminal says to this command is not for it. */
static enum gw_status start_process(const struct gw_cli_values *values, int fd, pid_t *process,
                                    struct gw_fault *fault)
{
    const char *binary = values->binary ? values->binary : "/proc/self/exe";
    char end[16];
    (void)snprintf(end, sizeof(end), "fd:%d", fd);
    char run[] = "run", option[] = "--take-over", godwit[] = "godwit";
    char name[GW_INFO_NAME_BYTES];
    (void)snprintf(name, sizeof(name), "%s", values->name);
    char *const arguments[] = {godwit, run, name, option, end, NULL};
    posix_spawnattr_t attributes;
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    int error = fcntl(fd, F_SETFD, 0) != 0
                    ? errno
                    : posix_spawn(process, binary, NULL, &attributes, arguments, environ);
    (void)posix_spawnattr_destroy(&attributes);
    return error == 0 ? GW_OK
                      : gw_fault_set(fault, GW_ARGUMENT, "%s cannot be started: %s",
                                     values->binary ? binary : "this godwit", strerror(error));
}

/* The offer first: where it is refused nothing need be started. Our ends are closed, so that each
 * process hears when the other ends. */
static enum gw_status begin(const struct gw_cli_values *values, pid_t *process,
                            struct gw_fault *fault)
{
    int pair[2];
    enum gw_status status = gw_parcel_pair(pair, fault);
    if (status != GW_OK)
        return status;
    (void)gw_cli_client_begin(client, GW_QMP_UPGRADE);
    client->passed_fd[0] = pair[0];
    client->passed_count = 1;
    status = gw_cli_client_end(client, fault);
    if (status == GW_OK)
        status = start_process(values, pair[1], process, fault);
    (void)close(pair[0]);
    (void)close(pair[1]);
    return status;
}

/* The new process has it and knows that the old one does; or the old one keeps it, or knows that
 * the new one took it and died. */
static bool is_over(const struct gw_info_migrate *info, uint64_t *held_ns)
{
    uint64_t now_ns = gw_clock_now_ns();
    if (!info->held.is_held)
        *held_ns = now_ns; /* a new process that waits for the old one tells no time */
    if (info->held.is_held)
        return now_ns - *held_ns >= GW_CLI_HELD_MS_MAX * GW_NS_PER_MS;
    return gw_info_migration_is_final(info->status) &&
           (info->role == GW_INFO_SOURCE || info->status == GW_INFO_MIGRATION_COMPLETED);
}

/* A monitor that could not pass this connection on has closed it; whoever has the guest listens
 * where the old one did. */
static enum gw_status ask(const char *control, struct gw_info_migrate *info, struct gw_fault *fault)
{
    struct gw_fault lost = {.status = GW_OK};
    if (gw_cli_client_query(client, info, &lost) == GW_OK)
        return GW_OK;
    gw_cli_client_close(client);
    enum gw_status status = gw_cli_client_open(client, control, GW_CLI_REPLY_NS_MAX, fault);
    return status == GW_OK ? gw_cli_client_query(client, info, fault) : status;
}

static enum gw_status follow(const char *control, struct gw_info_migrate *info,
                             struct gw_fault *fault)
{
    struct gw_fault ignored = {.status = GW_OK};
    bool is_cancelled = false;
    uint64_t held_ns = gw_clock_now_ns();
    for (;;) {
        enum gw_status status = ask(control, info, fault);
        if (status != GW_OK || is_over(info, &held_ns))
            return status;
        if (gw_cli_is_interrupted() && !is_cancelled) {
            is_cancelled = true;
            struct gw_fault refusal = {.status = GW_OK};
            if (gw_cli_client_call(client, GW_QMP_MIGRATE_CANCEL, &refusal) == GW_REFUSED)
                gw_cli_tell_not_cancelled(refusal.text);
        } else {
            (void)!gw_cli_client_wait(client, POLL_NS, &ignored); /* the next question tells */
        }
    }
}

static int tell_failure(const struct gw_cli_values *values, const struct gw_info_migrate *info,
                        pid_t process)
{
    char why[48] = "";
    int how = 0;
    if (waitpid(process, &how, WNOHANG) == process && WIFEXITED(how) && WEXITSTATUS(how) != 0)
        (void)snprintf(why, sizeof(why), " (it ended with code %d)", WEXITSTATUS(how));
    if (values->is_json)
        gw_cli_print_json_migrate(info);
    if (info->held.is_held)
        return gw_cli_fail(GW_RUN_EXIT_HELD, "%s is held: %s", values->name, info->held.text);
    if (info->status == GW_INFO_MIGRATION_COMPLETED)
        return gw_cli_fail(GW_RUN_EXIT_LOST,
                           "the new process took %s and died, and the guest with it", values->name);
    if (info->status == GW_INFO_MIGRATION_CANCELLED)
        return gw_cli_fail(GW_RUN_EXIT_CANCELLED, "cancelled; %s runs on in the old process",
                           values->name);
    int code = info->reason == GW_HOST      ? GW_RUN_EXIT_HOST
               : info->reason == GW_REFUSED ? GW_RUN_EXIT_REFUSED
                                            : GW_RUN_EXIT_FAILED;
    return gw_cli_fail(code, "%s runs on in the old process: %s%s", values->name, info->error, why);
}

static int tell_success(const struct gw_cli_values *values, const struct gw_info_migrate *info,
                        const char *before)
{
    char after[VERSION_BYTES] = "?", time[GW_UNITS_TEXT_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    if (values->is_json) {
        gw_cli_print_json_migrate(info);
        return GW_RUN_EXIT_DONE;
    }
    (void)!ask_version(after, &fault); /* the guest may have ended meanwhile */
    (void)printf("upgraded from %s to %s: ", before, after);
    if (info->has_downtime)
        (void)printf("downtime %s, ", gw_units_encode_time(time, info->downtime_us * GW_NS_PER_US));
    (void)printf("nothing copied\n");
    return GW_RUN_EXIT_DONE;
}

static int run_upgrade(struct gw_cli_values *values)
{
    char control[GW_CLI_PATH_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    struct gw_info_migrate info = {.status = GW_INFO_MIGRATION_NONE};
    char before[VERSION_BYTES] = "?";
    pid_t process = -1;
    if (gw_cli_find_control(values, control, &fault) != GW_OK)
        return gw_cli_fail_for(values, gw_cli_exit_of(&fault), "%s", fault.text);
    int code = gw_cli_client_find(client, values);
    if (code != GW_RUN_EXIT_DONE)
        return code;
    gw_cli_catch_interrupts();
    enum gw_status status = ask_version(before, &fault);
    if (status == GW_OK)
        status = begin(values, &process, &fault);
    if (status != GW_OK) {
        gw_cli_client_close(client);
        return gw_cli_fail_for(values,
                               status == GW_ARGUMENT ? GW_RUN_EXIT_USAGE : GW_RUN_EXIT_FAILED, "%s",
                               fault.text);
    }
    status = follow(control, &info, &fault);
    if (status != GW_OK)
        code =
            gw_cli_fail_for(values, GW_RUN_EXIT_HELD, "the outcome is not known: %s", fault.text);
    else if (info.role == GW_INFO_TARGET && !info.held.is_held)
        code = tell_success(values, &info, before);
    else
        code = tell_failure(values, &info, process);
    gw_cli_client_close(client);
    return code;
}

static const struct gw_cli_option options[] = {
    {"--binary", "PATH", GW_CLI_TEXT, GW_CLI_AT(binary), 0,
     "the godwit to go on in (default: this one)"},
    {"--json", NULL, GW_CLI_FLAG, GW_CLI_AT(is_json), 0,
     "one JSON object, as QMP's query-migrate has it"},
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
};

const struct gw_cli_command gw_cli_command_upgrade = {
    .name = "upgrade",
    .summary = "go on with a running guest in a new godwit process",
    .about =
        "Starts a new godwit (this binary, or --binary) on this host, and the guest NAME goes on\n"
        "in it: the new process gets the descriptor of the guest's memory, of which nothing is\n"
        "copied, and with it the console, the control socket and who is connected there. The\n"
        "guest stands still for milliseconds. The old `godwit run` then ends with 20.\n\n"
        "Whether the new one can take the guest (its limits, its host, the versions of the\n"
        "guest's state) is looked at before the guest is stopped. Whatever goes wrong until the\n"
        "guest has changed hands leaves it in the old process, and Ctrl-C cancels.\n\n"
        "The new process has another process id and belongs to where this command was called,\n"
        "not to where the old one was started: a supervisor must know. A terminal that was the\n"
        "guest's console is written to as before, but read by its shell.",
    .examples = "godwit upgrade router\n"
                "godwit upgrade router --binary /usr/local/bin/godwit.new",
    .exits = "0 the guest runs in the new process; it runs on in the old one: 1 failed, 2 usage,\n"
             "3 the new one lacks something of this host, 4 the new one cannot take it,\n"
             "5 cancelled; 6 held or unknown: see godwit resolve; 7 the new process took\n"
             "the guest and died",
    .positional = {{"NAME", GW_CLI_AT(name), true}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_upgrade,
};
