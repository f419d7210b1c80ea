/* SPDX-License-Identifier: Apache-2.0 */
/* godwit run: checks what the operator wants and hands it to the monitor. Main thread. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "commands.h"
#include "godwit/limits.h"
#include "godwit/transport.h"
#include "godwit/units.h"
#include "godwit/unix_socket.h"
#include "places.h"

enum { MEMORY_DEFAULT_MIB = 256 };

/* Beside the guests' control sockets one that is called like them would be taken for one. */
static enum gw_status check_socket(const char *path, struct gw_fault *fault)
{
    char directory[GW_CLI_PATH_BYTES];
    struct gw_fault ignored = {.status = GW_OK};
    size_t length = strlen(path);
    if (length < 5 || strcmp(path + length - 5, ".sock") != 0 ||
        gw_cli_runtime_dir(directory, &ignored) != GW_OK ||
        strncmp(path, directory, strlen(directory)) != 0 || path[strlen(directory)] != '/')
        return GW_OK;
    return gw_fault_set(fault, GW_ARGUMENT,
                        "--console unix:%.100s: NAME.sock in %.80s is a guest's control socket; "
                        "wanted another name or place",
                        path, directory);
}

/* A descriptor that nobody passed would be one that godwit opens itself later. */
static enum gw_status check_passed(const char *incoming, struct gw_fault *fault)
{
    struct gw_uri uri;
    if (!incoming || strncmp(incoming, "fd:", 3) != 0)
        return GW_OK;
    enum gw_status status = gw_uri_decode(&uri, incoming, fault);
    for (uint32_t i = 0; status == GW_OK && i < uri.fd_count; i++) {
        if (fcntl(uri.fd[i], F_GETFD) < 0)
            status =
                gw_fault_set(fault, GW_ARGUMENT,
                             "--incoming %.60s: nobody passed a descriptor %d; wanted a socket "
                             "that listens",
                             incoming, uri.fd[i]);
    }
    return status;
}

/* stdio | file:PATH | unix:PATH | PATH */
static enum gw_status decode_console(const char *text, struct gw_run_config *config,
                                     struct gw_fault *fault)
{
    if (!text || strcmp(text, "stdio") == 0) {
        config->console = GW_RUN_CONSOLE_STDIO;
        return GW_OK;
    }
    bool is_unix = strncmp(text, "unix:", 5) == 0;
    bool is_file = strncmp(text, "file:", 5) == 0;
    config->console = is_unix ? GW_RUN_CONSOLE_UNIX : GW_RUN_CONSOLE_FILE;
    config->console_path = is_unix || is_file ? text + 5 : text;
    /* a word before a colon is no name, but one misspelt */
    if (config->console_path[0] == 0 ||
        (config->console_path == text && text[strcspn(text, "/:")] == ':'))
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--console is \"%.60s\"; wanted stdio, file:PATH, "
                            "unix:PATH or PATH",
                            text);
    return is_unix ? check_socket(config->console_path, fault) : GW_OK;
}

static enum gw_status decode_guest_clock(const char *text, struct gw_run_config *config,
                                         struct gw_fault *fault)
{
    config->is_guest_clock_stopped = text && strcmp(text, "stop") == 0;
    if (text && !config->is_guest_clock_stopped && strcmp(text, "continue") != 0)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--guest-clock is \"%.60s\"; wanted continue or "
                            "stop",
                            text);
    return GW_OK;
}

/* log | ring | ring:ENTRIES. What entries make sense the host knows. */
static enum gw_status decode_dirty(const char *text, struct gw_run_config *config,
                                   struct gw_fault *fault)
{
    uint64_t entries = GW_RING_ENTRIES_MAX;
    if (!text || strcmp(text, "log") == 0)
        return GW_OK;
    bool has_entries = strncmp(text, "ring:", 5) == 0;
    if (!has_entries && strcmp(text, "ring") != 0)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--dirty is \"%.60s\"; wanted log, ring or ring:ENTRIES", text);
    enum gw_status status = has_entries ? gw_units_decode_number(text + 5, "--dirty ring:ENTRIES",
                                                                 1, UINT32_MAX, &entries, fault)
                                        : GW_OK;
    config->dirty_ring_entries = (uint32_t)entries;
    return status;
}

/* Where the guest comes from: exactly one of three. */
static enum gw_status check_origin(const struct gw_cli_values *values, struct gw_fault *fault)
{
    int count = !!values->kernel + !!values->flat + !!values->incoming;
    if (count != 1)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%d of --kernel, --flat and --incoming are given; "
                            "wanted exactly one",
                            count);
    if (!values->kernel && (values->initrd || values->cmdline))
        return gw_fault_set(fault, GW_ARGUMENT, "%s is given without --kernel; wanted both",
                            values->initrd ? "--initrd" : "--cmdline");
    if (values->tls && values->is_plaintext)
        return gw_fault_set(fault, GW_ARGUMENT, "--tls and --plaintext are both given; wanted one");
    if (values->tls_hostname && !values->tls)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "--tls-hostname is given without --tls; wanted "
                            "both");
    if (values->has_memory && values->memory_bytes == 0)
        return gw_fault_set(fault, GW_ARGUMENT, "--memory is 0; wanted a size, such as 256M");
    if ((values->is_once || values->is_plaintext) && !values->incoming)
        return gw_fault_set(fault, GW_ARGUMENT, "%s is given without --incoming; wanted both",
                            values->is_once ? "--once" : "--plaintext");
    return GW_OK;
}

/* `godwit run NAME` and `godwit run --name NAME` are the same. */
static enum gw_status check_name(struct gw_cli_values *values, struct gw_fault *fault)
{
    const char *positional = values->run_name;
    if (!values->name)
        values->name = positional;
    if (!values->name)
        return gw_fault_set(fault, GW_ARGUMENT, "run lacks its NAME (see godwit run --help)");
    if (positional && strcmp(positional, values->name) != 0)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the name is \"%.60s\" and --name \"%.60s\"; "
                            "wanted one",
                            positional, values->name);
    return GW_OK;
}

static enum gw_status make_config(struct gw_cli_values *values, struct gw_cli_places *places,
                                  struct gw_run_config *config, struct gw_fault *fault)
{
    enum gw_status status = check_name(values, fault);
    if (status == GW_OK)
        status = check_origin(values, fault);
    if (status == GW_OK)
        status = gw_cli_find_places(values, places, fault);
    if (status == GW_OK)
        status = decode_console(values->console, config, fault);
    if (status == GW_OK)
        status = check_passed(values->incoming, fault);
    if (status == GW_OK)
        status = decode_guest_clock(values->guest_clock, config, fault);
    if (status == GW_OK)
        status = decode_dirty(values->dirty, config, fault);
    config->name = values->name;
    config->kernel = values->kernel;
    config->initrd = values->initrd;
    config->cmdline = values->cmdline;
    config->flat = values->flat;
    config->incoming_uri = values->incoming;
    config->control_path = places->control;
    config->state_dir = places->state_dir;
    config->memory_bytes = values->has_memory ? values->memory_bytes : MEMORY_DEFAULT_MIB * GW_MIB;
    config->vcpu_count = values->cpus ? (uint32_t)values->cpus : 1;
    config->is_plaintext = values->is_plaintext;
    config->tls = values->tls;
    config->tls_hostname = values->tls_hostname;
    config->is_huge = values->is_huge;
    config->is_lingering = values->is_lingering;
    config->is_once = values->is_once;
    return status;
}

/* fd:N; everything but the name comes through it. */
static enum gw_status decode_take_over(struct gw_cli_values *values, struct gw_run_config *config,
                                       struct gw_fault *fault)
{
    uint64_t number = 0;
    const char *text = values->take_over;
    if (strncmp(text, "fd:", 3) != 0)
        return gw_fault_set(fault, GW_ARGUMENT, "--take-over is \"%.60s\"; wanted fd:N", text);
    enum gw_status status =
        gw_units_decode_number(text + 3, "--take-over", 3, INT_MAX, &number, fault);
    if (status == GW_OK)
        status = check_name(values, fault);
    config->is_taking_over = true;
    config->take_over_fd = (int)number;
    config->name = values->name;
    return status;
}

static int run_run(struct gw_cli_values *values)
{
    static struct gw_cli_places places;
    static struct gw_run_config config;
    struct gw_fault fault = {.status = GW_OK};
    if (values->take_over) {
        if (decode_take_over(values, &config, &fault) != GW_OK)
            return gw_cli_fail(GW_RUN_EXIT_USAGE, "%s", fault.text);
        return gw_run(&config);
    }
    if (make_config(values, &places, &config, &fault) != GW_OK)
        return gw_cli_fail(GW_RUN_EXIT_USAGE, "%s", fault.text);
    int fd;
    if (!values->control && gw_unix_connect(places.control, 0, -1, &fd, &fault) == GW_OK)
        return gw_cli_fail(GW_RUN_EXIT_USAGE, "guest %s is here already: godwit status %s",
                           values->name, values->name);
    return gw_run(&config);
}

static const struct gw_cli_option options[] = {
    {"--name", "NAME", GW_CLI_TEXT, GW_CLI_AT(name), 0, "the same as NAME as the first word"},
    {"--kernel", "FILE", GW_CLI_TEXT, GW_CLI_AT(kernel), 0,
     "an arm64 Linux Image, as it is or gzip-compressed"},
    {"--initrd", "FILE", GW_CLI_TEXT, GW_CLI_AT(initrd), 0, "its initial RAM disk"},
    {"--cmdline", "TEXT", GW_CLI_TEXT, GW_CLI_AT(cmdline), 0,
     "its command line, such as \"console=ttyAMA0\""},
    {"--flat", "FILE", GW_CLI_TEXT, GW_CLI_AT(flat), 0,
     "a bare-metal program instead of a kernel: loaded and\nentered at 0x40080000, with the "
     "device tree in x0"},
    {"--incoming", "URI", GW_CLI_TEXT, GW_CLI_AT(incoming), 0,
     "boot nothing: listen at URI for a guest that moves here.\nMemory and CPUs must be the same "
     "as the guest's. fd:N: a\nsocket that listens and was opened by whoever starts this\n(socket "
     "activation: fd:3)"},
    {"--memory", "SIZE", GW_CLI_SIZE, GW_CLI_AT(memory_bytes), GW_CLI_AT(has_memory),
     "the guest's RAM (default 256M; most: godwit limits)"},
    {"--hugepages", NULL, GW_CLI_FLAG, GW_CLI_AT(is_huge), 0,
     "RAM in huge pages of 2 MiB, all of them reserved at the\nstart (godwit doctor counts them). "
     "The other side of a\nmigration need not have it so"},
    {"--cpus", "N", GW_CLI_NUMBER_TO(GW_VCPUS_MAX), GW_CLI_AT(cpus), 0,
     "the guest's CPUs (default 1; most: godwit limits)"},
    {"--console", "WHERE", GW_CLI_TEXT, GW_CLI_AT(console), 0,
     "the guest's serial port: stdio, file:PATH (appended to),\nunix:PATH (listens), or PATH, "
     "which is file:PATH\n(default stdio, where Ctrl-A x ends godwit)"},
    {"--guest-clock", "continue|stop", GW_CLI_TEXT, GW_CLI_AT(guest_clock), 0,
     "does time pass for the guest while it moves: for one that\ncomes here (default continue: its "
     "clock stays right)"},
    {"--dirty", "log|ring[:N]", GW_CLI_TEXT, GW_CLI_AT(dirty), 0,
     "how KVM tells which pages the guest writes while it moves\nor is measured: in one log, or in "
     "a ring of N entries for\neach CPU (a power of two; default and most: godwit\nlimits), which "
     "slows down a CPU that fills it. Rings need\nLinux 6.2 (godwit doctor). Cannot be changed "
     "later\n(default log)"},
    {"--tls", "psk:FILE|x509:DIR", GW_CLI_TEXT, GW_CLI_AT(tls), 0,
     "with --incoming: let only those come, by TLS 1.3, who\nhave the same key (godwit keygen "
     "FILE) or a certificate\nof DIR/ca-cert.pem. The guest goes the same way later,\nunless "
     "migrate says otherwise"},
    {"--tls-hostname", "NAME", GW_CLI_TEXT, GW_CLI_AT(tls_hostname), 0,
     "x509: the name the other side's certificate must have\nwhen the guest goes (default: the "
     "URI's host)"},
    {"--plaintext", NULL, GW_CLI_FLAG, GW_CLI_AT(is_plaintext), 0,
     "allow TCP beyond loopback for --incoming, which anyone on\nthe way can read and forge"},
    {"--linger", NULL, GW_CLI_FLAG, GW_CLI_AT(is_lingering), 0,
     "after the guest has moved away stay in postmigrate,\ninstead of ending with 20"},
    {"--once", NULL, GW_CLI_FLAG, GW_CLI_AT(is_once), 0,
     "with --incoming: end after a migration that failed,\ninstead of waiting for the next"},
    {"--take-over", "fd:N", GW_CLI_TEXT, GW_CLI_AT(take_over), 0,
     "for `godwit upgrade`, which starts this: the guest and all\noptions come from the godwit "
     "that "
     "runs it now"},
    {"--control", "PATH", GW_CLI_TEXT, GW_CLI_AT(control), 0,
     "the control socket (default: NAME.sock, see godwit help)"},
    {"--state-dir", "DIR", GW_CLI_TEXT, GW_CLI_AT(state_dir), 0,
     "where records of handovers are kept (default: beside the\ndefault socket; on a disk they "
     "outlive a crash of the host)"},
};

const struct gw_cli_command gw_cli_command_run = {
    .name = "run",
    .summary = "boot a guest, or wait for one, and run it until its end",
    .about = "Runs the guest NAME in this process: boots a kernel (--kernel), a bare-metal\n"
             "program (--flat), or waits for a guest that another godwit sends (--incoming).\n"
             "While it runs, `godwit status NAME`, `godwit migrate NAME URI` and the others\n"
             "talk to it through its control socket. A NAME is refused while records say that\n"
             "its guest is elsewhere; `godwit resolve NAME` explains them.",
    .examples =
        "godwit run router --kernel Image --initrd initrd.gz --cmdline "
        "\"console=ttyAMA0\" --memory 256M --cpus 2\n"
        "godwit run router --incoming tcp:0.0.0.0:4444 --tls psk:key --memory 256M --cpus 2",
    .exits = "0 the guest powered off, or godwit was told to quit; 1 it did not start, or with\n"
             "--once no guest came; 2 usage; 3 this host lacks something (see godwit doctor);\n"
             "7 the guest is lost: it ran here, or at its target, without all of its memory, and\n"
             "the rest is gone; 20 the guest moved away; 21 the guest asked for a reset, which is\n"
             "not done; 22 the guest crashed; 23 the monitor failed",
    .positional = {{"NAME", GW_CLI_AT(run_name), false}},
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_run,
};
