/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit migrate: asks the source's monitor to move its guest, and follows until the end.
 *
 * The end is a final status, or a guest that stays held. It is read from query-migrate, or from
 * the MIGRATION event that carries it, since a source without --linger exits soon after.
 * Main thread. Blocks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "godwit/transport.h"
#include "interrupt.h"
#include "print.h"

#define POLL_NS (100 * GW_NS_PER_MS)

static struct gw_cli_client *const client = &gw_cli_shared_client;

/* Up to a whole millisecond, in which QMP counts: a short time is not none. */
static uint64_t ms_of(uint64_t ns)
{
    return ns / GW_NS_PER_MS + (ns % GW_NS_PER_MS != 0);
}

/* The monitor may stand in another directory. Each spec is a word, a colon and a path. */
static enum gw_status make_absolute(const char *text, char spec[GW_INFO_TLS_BYTES],
                                    struct gw_fault *fault)
{
    char directory[GW_INFO_TLS_BYTES] = "";
    const char *colon = strchr(text, ':');
    int word = colon != NULL ? (int)(colon - text) + 1 : 0;
    bool is_relative = colon != NULL && colon[1] != '/';
    if (is_relative && getcwd(directory, sizeof(directory)) == NULL)
        return gw_fault_set_os(fault, errno, "the working directory, for --tls %.100s", text);
    int length = snprintf(spec, GW_INFO_TLS_BYTES, "%.*s%s%s%s", word, text, directory,
                          is_relative ? "/" : "", text + word);
    if (length >= GW_INFO_TLS_BYTES)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--tls: %d characters with its directory; wanted at most %d", length,
                            GW_INFO_TLS_BYTES - 1);
    return GW_OK;
}

static enum gw_status start_migration(const struct gw_cli_values *values, const struct gw_uri *uri,
                                      struct gw_fault *fault)
{
    char spec[GW_INFO_TLS_BYTES] = "";
    if (values->tls != NULL && make_absolute(values->tls, spec, fault) != GW_OK)
        return fault->status;
    struct gw_json *json = gw_cli_client_begin(client, GW_QMP_MIGRATE);
    gw_cli_client_put_uri(client, uri);
    if (values->is_verify)
        gw_json_put_bool(json, "__org.godwit_verify", true);
    if (values->is_plaintext)
        gw_json_put_bool(json, "__org.godwit_plaintext", true);
    if (values->tls != NULL)
        gw_json_put_text(json, "__org.godwit_tls", spec);
    if (values->tls_hostname != NULL)
        gw_json_put_text(json, "__org.godwit_tls-hostname", values->tls_hostname);
    if (values->has_downtime)
        gw_json_put_number(json, "__org.godwit_downtime-limit", ms_of(values->downtime_ns));
    if (values->has_bandwidth)
        gw_json_put_number(json, "__org.godwit_max-bandwidth", values->bandwidth_bytes);
    if (values->has_retry)
        gw_json_put_number(json, "__org.godwit_retry", ms_of(values->retry_ns));
    if (values->has_deadline)
        gw_json_put_number(json, "__org.godwit_deadline", ms_of(values->deadline_ns));
    if (values->on_deadline != NULL)
        gw_json_put_text(json, "__org.godwit_on-deadline", values->on_deadline);
    if (values->has_postcopy_bandwidth)
        gw_json_put_number(json, "__org.godwit_max-postcopy-bandwidth",
                           values->postcopy_bandwidth_bytes);
    if (values->has_channels)
        gw_json_put_number(json, "__org.godwit_channels", values->channels);
    if (values->compress != NULL)
        gw_json_put_text(json, "__org.godwit_compress", values->compress);
    if (values->is_postcopy)
        gw_json_put_bool(json, "__org.godwit_postcopy", true);
    if (values->is_precopy)
        gw_json_put_bool(json, "__org.godwit_precopy", true);
    if (values->is_pausing)
        gw_json_put_bool(json, "__org.godwit_pause-before-switchover", true);
    if (values->is_release)
        gw_json_put_bool(json, "__org.godwit_release-ram", true);
    if (values->is_full_speed)
        gw_json_put_bool(json, "__org.godwit_auto-converge", false);
    return gw_cli_client_end(client, fault);
}

/* Passes Ctrl-C on as migrate_cancel, once. A refusal is told, and the migration goes on. */
static enum gw_status cancel(struct gw_cli_progress *progress, struct gw_fault *fault)
{
    struct gw_fault refusal = {.status = GW_OK};
    gw_cli_progress_end(progress);
    if (!progress->is_json)
        (void)printf("cancelling\n");
    enum gw_status status = gw_cli_client_call(client, GW_QMP_MIGRATE_CANCEL, &refusal);
    if (status == GW_REFUSED)
        gw_cli_tell_not_cancelled(refusal.text);
    else if (status != GW_OK)
        return gw_fault_set(fault, status, "%s", refusal.text);
    return GW_OK;
}

static bool is_over(const struct gw_info_migrate *info)
{
    return gw_info_migration_is_final(info->status) ||
           (info->held.is_held && info->held.held_ms >= GW_CLI_HELD_MS_MAX);
}

/* Polls until the migration is over. Any status but GW_OK: the monitor went away before. */
static enum gw_status follow(struct gw_cli_progress *progress, struct gw_info_migrate *info,
                             struct gw_fault *fault)
{
    bool is_cancelled = false;
    for (;;) {
        enum gw_status status = gw_cli_client_query(client, info, fault);
        if (client->has_final) {
            /* The event came first: query-migrate may have found the monitor gone already. */
            *info = client->final;
            status = GW_OK;
        }
        if (status != GW_OK)
            return status;
        gw_cli_progress_show(progress, info, gw_clock_now_ns());
        if (is_over(info))
            return GW_OK;
        if (gw_cli_is_interrupted() && !is_cancelled) {
            is_cancelled = true;
            status = cancel(progress, fault);
        } else {
            status = gw_cli_client_wait(client, POLL_NS, fault);
        }
        if (status != GW_OK && !client->has_final)
            return status;
    }
}

static int tell_outcome(struct gw_cli_progress *progress, const struct gw_info_migrate *info)
{
    gw_cli_progress_end(progress);
    if (!progress->is_json) {
        gw_cli_print_outcome(info);
        (void)printf("\n");
    }
    if (info->held.is_held)
        return gw_cli_fail(GW_RUN_EXIT_HELD, "the guest is held: see godwit resolve --help");
    return gw_cli_outcome_exit(info);
}

static enum gw_status check_time(const char *option, uint64_t ns, uint64_t most_ms,
                                 struct gw_fault *fault)
{
    return ms_of(ns) <= most_ms
               ? GW_OK
               : gw_fault_set(fault, GW_ARGUMENT, "%s is more than %llus, the most there is",
                              option, (unsigned long long)most_ms / 1000);
}

static enum gw_status check_values(const struct gw_cli_values *values, struct gw_fault *fault)
{
    const char *on_deadline = values->on_deadline;
    if (check_time("--downtime", values->downtime_ns, GW_QMP_DOWNTIME_MS_MAX, fault) != GW_OK ||
        check_time("--retry", values->retry_ns, GW_QMP_DAY_MS, fault) != GW_OK ||
        check_time("--deadline", values->deadline_ns, GW_QMP_DAY_MS, fault) != GW_OK)
        return fault->status;
    if (values->has_deadline && values->deadline_ns == 0)
        return gw_fault_set(fault, GW_ARGUMENT, "--deadline is 0; wanted a time to move in");
    if (on_deadline != NULL && strcmp(on_deadline, "cancel") != 0 &&
        strcmp(on_deadline, "stop-and-copy") != 0 && strcmp(on_deadline, "postcopy") != 0 &&
        strcmp(on_deadline, "auto") != 0)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--on-deadline is \"%.40s\"; wanted cancel, stop-and-copy, postcopy or "
                            "auto",
                            on_deadline);
    if (on_deadline != NULL && !values->has_deadline)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--on-deadline is given without --deadline; wanted both");
    if (values->tls != NULL &&
        ((strncmp(values->tls, "psk:", 4) != 0 && strncmp(values->tls, "x509:", 5) != 0) ||
         strchr(values->tls, ':')[1] == '\0'))
        return gw_fault_set(fault, GW_ARGUMENT, "--tls is \"%.60s\"; wanted psk:FILE or x509:DIR",
                            values->tls);
    if (values->compress != NULL && gw_info_compress_of(values->compress) == GW_INFO_COMPRESS_COUNT)
        return gw_fault_set(fault, GW_ARGUMENT, "--compress is \"%.40s\"; wanted auto, none or lz4",
                            values->compress);
    return GW_OK;
}

struct pair {
    bool has_one, has_other;
    const char *one, *other, *why;
};

/* What would leave one of two options without effect. */
static enum gw_status check_pairs(const struct gw_cli_values *values, struct gw_fault *fault)
{
    bool is_late_postcopy =
        values->on_deadline != NULL && strcmp(values->on_deadline, "postcopy") == 0;
    const struct pair pairs[] = {
        {values->is_postcopy, values->is_precopy, "--postcopy", "--precopy", ""},
        {values->is_postcopy, values->is_verify, "--postcopy", "--verify",
         ": all of RAM is compared while the guest stands still"},
        {is_late_postcopy, values->is_verify, "--on-deadline postcopy", "--verify",
         ": all of RAM is compared while the guest stands still"},
        {values->is_plaintext, values->tls != NULL, "--plaintext", "--tls", ""},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i].has_one && pairs[i].has_other)
            return gw_fault_set(fault, GW_ARGUMENT, "%s and %s: wanted one of them%s", pairs[i].one,
                                pairs[i].other, pairs[i].why);
    }
    return GW_OK;
}

static int run_migrate(struct gw_cli_values *values)
{
    struct gw_uri uri;
    struct gw_fault fault = {.status = GW_OK};
    if (gw_cli_decode_target(values->uri, &uri, &fault) != GW_OK ||
        check_values(values, &fault) != GW_OK || check_pairs(values, &fault) != GW_OK)
        return gw_cli_fail_for(values, GW_RUN_EXIT_USAGE, "%s", fault.text);
    int code = gw_cli_client_find(client, values);
    if (code != GW_RUN_EXIT_DONE)
        return code;

    struct gw_cli_progress progress;
    struct gw_info_migrate info = {.status = GW_INFO_MIGRATION_NONE};
    gw_cli_progress_begin(&progress, values->is_json);
    gw_cli_catch_interrupts();
    if (start_migration(values, &uri, &fault) != GW_OK) {
        gw_cli_client_close(client);
        return gw_cli_fail_for(values, GW_RUN_EXIT_FAILED, "%s", fault.text);
    }
    enum gw_status status = follow(&progress, &info, &fault);
    gw_cli_client_close(client);
    if (status == GW_OK)
        return tell_outcome(&progress, &info);
    gw_cli_progress_end(&progress);
    (void)gw_cli_fail_for(values, GW_RUN_EXIT_HELD, "%s", fault.text);
    return gw_cli_fail(GW_RUN_EXIT_HELD,
                       "the outcome is not known: godwit resolve %s says what "
                       "the records hold",
                       values->name);
}

static const struct gw_cli_option options[] = {
    {"--downtime", "TIME", GW_CLI_TIME, GW_CLI_AT(downtime_ns), GW_CLI_AT(has_downtime),
     "how long the guest may stand still at the end, at most\n(default: the monitor's, 300ms)"},
    {"--bandwidth", "RATE", GW_CLI_RATE, GW_CLI_AT(bandwidth_bytes), GW_CLI_AT(has_bandwidth),
     "send no faster; 100M is bytes, 100Mbit bits a second;\n0: no limit (default: the "
     "monitor's, no limit)"},
    {"--channels", "N", GW_CLI_NUMBER_TO(GW_QMP_CHANNELS_MAX), GW_CLI_AT(channels),
     GW_CLI_AT(has_channels),
     "send memory by so many connections, each with a thread\non both sides: 1 to 8 (default: the "
     "monitor's, 2, or 1 on\na host with one CPU). More than one helps where one CPU\n"
     "is slower than the link"},
    {"--compress", "HOW", GW_CLI_TEXT, GW_CLI_AT(compress), 0,
     "auto (default): pack memory by lz4 where the link is\nslower than that and it helps, as "
     "measured on the way;\nlz4: always; none: never"},
    {"--retry", "TIME", GW_CLI_TIME, GW_CLI_AT(retry_ns), GW_CLI_AT(has_retry),
     "when the link is lost, try again for this long without\nprogress (default 60s; 0s: end at "
     "once)"},
    {"--deadline", "TIME", GW_CLI_TIME, GW_CLI_AT(deadline_ns), GW_CLI_AT(has_deadline),
     "how long all of it may take (default: as long as it\ntakes)"},
    {"--on-deadline", "WHAT", GW_CLI_TEXT, GW_CLI_AT(on_deadline), 0,
     "when that would not be met otherwise: cancel (it stays\nhere); stop-and-copy (it stands "
     "still for as long as the\nrest takes); postcopy (it goes on there, and the rest\nfollows); "
     "auto (default): postcopy where that is\npossible, else cancel; with --precopy: cancel"},
    {"--precopy", NULL, GW_CLI_FLAG, GW_CLI_AT(is_precopy), 0,
     "never go on to postcopy by itself (before the deadline,\nif --on-deadline is postcopy)"},
    {"--postcopy", NULL, GW_CLI_FLAG, GW_CLI_AT(is_postcopy), 0,
     "the guest goes first, its memory follows while it runs\nthere (godwit migrate-postcopy does "
     "so at any time)"},
    {"--postcopy-bandwidth", "RATE", GW_CLI_RATE, GW_CLI_AT(postcopy_bandwidth_bytes),
     GW_CLI_AT(has_postcopy_bandwidth),
     "postcopy: let memory follow no faster; what the guest\nwaits for is not held back (default: "
     "the monitor's, no\nlimit)"},
    {"--release-ram", NULL, GW_CLI_FLAG, GW_CLI_AT(is_release), 0,
     "postcopy: give memory back here as the other side has\nit. A lost link is still recovered "
     "from; but this copy can\nthen not be run again if that host dies"},
    {"--full-speed", NULL, GW_CLI_FLAG, GW_CLI_AT(is_full_speed), 0,
     "do not slow a guest down that changes its memory\nfaster than the link carries it"},
    {"--pause-before-switchover", NULL, GW_CLI_FLAG, GW_CLI_AT(is_pausing), 0,
     "when it could be handed over, wait for godwit\nmigrate-continue; the guest runs on here "
     "meanwhile"},
    {"--verify", NULL, GW_CLI_FLAG, GW_CLI_AT(is_verify), 0,
     "compare digests of all RAM on both sides while the\nguest stands still; its time is told "
     "apart from the\ndowntime. Rules out postcopy"},
    {"--tls", "psk:FILE|x509:DIR", GW_CLI_TEXT, GW_CLI_AT(tls), 0,
     "by TLS 1.3: with the key in FILE, which the other side\nhas too (godwit keygen), or with "
     "DIR/client-cert.pem\nand believing DIR/ca-cert.pem (default: as godwit run\n--tls said)"},
    {"--tls-hostname", "NAME", GW_CLI_TEXT, GW_CLI_AT(tls_hostname), 0,
     "x509: the name the other side's certificate must have\n(default: the URI's host)"},
    {"--plaintext", NULL, GW_CLI_FLAG, GW_CLI_AT(is_plaintext), 0,
     "allow TCP beyond loopback, which anyone on the way\ncan read and forge"},
    {"--json", NULL, GW_CLI_FLAG, GW_CLI_AT(is_json), 0,
     "one JSON object a line, as QMP's query-migrate has it"},
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
};

const struct gw_cli_command gw_cli_command_migrate = {
    .name = "migrate",
    .summary = "move a running guest to another host",
    .about =
        "Moves the guest NAME to the godwit that listens at URI (there: godwit run\n"
        "--incoming URI), while it runs. Memory goes first, then what the guest changed\n"
        "meanwhile, round after round, until what is left fits into the downtime limit;\n"
        "then the guest stops here and goes on there.\n\n"
        "A guest that changes its memory faster than the link carries it would never get\n"
        "there. Its CPUs are slowed down, by 20 percent and more (--full-speed: they are not);\n"
        "when half of their time is not enough it goes first, and its memory follows\n"
        "(postcopy, below; --precopy: it does not, and they are slowed down further).\n"
        "The monitor's log has a line for each of these choices.\n\n"
        "--downtime counts all that the guest feels: stopping, the last pages, its state, and\n"
        "the handover's round trips.\n\n"
        "A link that is lost on the way is tried again, and the migration goes on from\n"
        "what the other side has (--retry); the guest runs on here meanwhile.\n\n"
        "In postcopy (--postcopy) the guest stops for the length of its state alone, and\n"
        "its memory follows, what it waits for first. Both hosts are needed until all of it\n"
        "is there: a lost link makes the guest wait, and it goes on by itself when the link\n"
        "is back; a host that dies meanwhile takes the guest with it.\n\n"
        "URI is tcp:HOST:PORT, vsock:CID:PORT, unix:/PATH, or fd:N,N,...: sockets of this\n"
        "command that whoever starts it has connected to the other side, one for control, one\n"
        "for each channel, and an urgent one. When their link is lost only new ones help, given\n"
        "to godwit migrate-recover.\n\n"
        "Ctrl-C cancels: the guest then stays here. Until the handover nothing that goes\n"
        "wrong harms it. If the link breaks in the middle of the handover itself, both\n"
        "sides hold the guest until they reach each other again; when that takes more\n"
        "than 10s this command ends with 6, and `godwit resolve` tells what can be done.",
    .examples = "godwit migrate router tcp:10.0.0.2:4444 --tls psk:key --downtime 50ms --verify\n"
                "godwit migrate router tcp:10.0.0.2:4444 --tls psk:key --deadline 30s\n"
                "godwit migrate router fd:5,6,7",
    .exits =
        "0 the guest runs there; 1 failed, or its monitor refused an option: it runs on here;\n"
        "2 usage; 4 the other side refused, it runs on here; 5 cancelled, it runs on here; 6\n"
        "held or unknown: see godwit resolve; 7 lost: it ran there without all of its memory",
    .positional = {{"NAME", GW_CLI_AT(name), true}, {"URI", GW_CLI_AT(uri), true}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_migrate,
};
