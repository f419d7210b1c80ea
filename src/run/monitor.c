/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's loop: start, state, end. See monitor.h for who does what. */
#include "run/monitor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "godwit/record_file.h"
#include "godwit/terminal.h"
#include "godwit/unix_socket.h"
#include "run/storage.h"

#define MONITOR (&gw_run_storage.monitor)

#define LAST_WORD_NS (1 * GW_NS_PER_S) /* clients' time to hear how it ended */
#define SETTLE_NS    (3600 * GW_NS_PER_S)
#define SAY_NS       (10 * GW_NS_PER_S)

/* A pipe that polls as writable takes a whole line (PIPE_BUF). A terminal need not: it is written
 * through a description of its own, which never waits (gw_run). */
static bool is_log_read(void)
{
    struct pollfd wait = {.fd = MONITOR->log_fd, .events = POLLOUT};
    return poll(&wait, 1, 0) != 0;
}

/* A guest does not stand still because nobody reads the log. */
void gw_monitor_say(const char *format, ...)
{
    char text[GW_FAULT_TEXT_BYTES + 128], lost[64] = "";
    va_list arguments;
    if (!is_log_read()) {
        MONITOR->lines_lost++;
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (MONITOR->lines_lost > 0) {
        (void)snprintf(lost, sizeof(lost), "(%u lines lost: nobody read them) ",
                       MONITOR->lines_lost);
    }
    int written = dprintf(MONITOR->log_fd, "godwit: %s%s\n", lost, text);
    MONITOR->lines_lost = written < 0 ? MONITOR->lines_lost + 1 : 0;
}

void gw_monitor_set_state(enum gw_info_run_state state)
{
    MONITOR->state = state;
}

void gw_monitor_end(int code)
{
    if (MONITOR->is_ending) {
        return;
    }
    MONITOR->is_ending = true;
    MONITOR->exit_code = code;
    MONITOR->end_ns = gw_clock_now_ns() + LAST_WORD_NS;
}

void gw_monitor_guest_ended(int code)
{
    if (!MONITOR->is_unsettled) {
        gw_monitor_end(code);
    } else if (MONITOR->guest_ended_ns == 0) {
        MONITOR->guest_exit_code = code;
        MONITOR->guest_ended_ns = gw_clock_now_ns();
        gw_monitor_say("guest %s ended before its source has settled that it came: this process "
                       "stays until it has, an hour at most once all memory is here",
                       MONITOR->config->name);
    }
}

void gw_monitor_settled(void)
{
    MONITOR->is_unsettled = false;
    if (MONITOR->guest_ended_ns > 0) {
        gw_monitor_end(MONITOR->guest_exit_code);
    }
}

bool gw_monitor_quit(void)
{
    if (MONITOR->is_ending) {
        return true;
    }
    if (gw_outbound_is_held() || gw_inbound_is_held() || gw_inbound_is_owing() ||
        gw_outbound_is_pushing()) {
        gw_monitor_say("guest %s is not settled: see `godwit resolve %s`", MONITOR->config->name,
                       MONITOR->config->name);
        return false;
    }
    (void)gw_upgrade_cancel();
    gw_outbound_quit();
    gw_monitor_event(GW_QMP_EVENT_QUIT);
    gw_monitor_end(MONITOR->guest_ended_ns > 0                 ? MONITOR->guest_exit_code
                   : MONITOR->state == GW_INFO_RUN_POSTMIGRATE ? GW_RUN_EXIT_MIGRATED
                                                               : GW_RUN_EXIT_DONE);
    return true;
}

/* Events */

static struct gw_qmp_time now(void)
{
    uint64_t wall_ns = gw_clock_wall_ns();
    return (struct gw_qmp_time){.seconds = wall_ns / GW_NS_PER_S,
                                .microseconds = (uint32_t)(wall_ns % GW_NS_PER_S / GW_NS_PER_US)};
}

void gw_monitor_event(enum gw_qmp_event event)
{
    struct gw_qmp_message *message = &gw_run_storage.clients.message;
    gw_qmp_encode_event(message, now(), event);
    gw_clients_tell(message);
}

void gw_monitor_event_migration(const char *status)
{
    struct gw_info_migrate info;
    struct gw_qmp_message *message = &gw_run_storage.clients.message;
    bool is_for_all = MONITOR->capability[GW_INFO_CAPABILITY_EVENTS];
    enum gw_info_migration told = gw_report_migration(status);
    if (!is_for_all && !gw_info_migration_is_final(told)) {
        return;
    }
    gw_report_migrate(&info);
    if (info.status != told) { /* it is past already */
        info = (struct gw_info_migrate){.status = told};
    }
    gw_qmp_encode_event_migration(message, now(), &info);
    if (is_for_all) {
        gw_clients_tell(message);
    } else { /* this process may be gone before they ask */
        gw_clients_tell_followers(message);
    }
}

void gw_monitor_event_pass(uint64_t pass)
{
    struct gw_qmp_message *message = &gw_run_storage.clients.message;
    if (MONITOR->capability[GW_INFO_CAPABILITY_EVENTS]) {
        gw_qmp_encode_event_pass(message, now(), pass);
        gw_clients_tell(message);
    }
}

/* Signals */

static void handle_signal(void *context, uint32_t events)
{
    struct signalfd_siginfo info;
    (void)context;
    (void)events;
    if (read(MONITOR->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        (void)gw_monitor_quit();
    }
}

static enum gw_status open_signals(struct gw_fault *fault)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    MONITOR->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (MONITOR->signal_fd < 0) {
        return gw_fault_set_os(fault, errno, "signals cannot be watched");
    }
    return gw_loop_add(&MONITOR->loop, &MONITOR->signal_watch, MONITOR->signal_fd, EPOLLIN,
                       handle_signal, NULL, fault);
}

/* Start and end */

static enum gw_status check_limits(const struct gw_run_config *config, struct gw_fault *fault)
{
    if (config->memory_bytes > GW_RAM_BYTES_MAX) {
        return gw_fault_set(
            fault, GW_LIMIT,
            "--memory is %llu bytes, this build for board " GW_BOARD_NAME " takes at most %llu",
            (unsigned long long)config->memory_bytes, (unsigned long long)GW_RAM_BYTES_MAX);
    }
    if (config->vcpu_count > GW_VCPUS_MAX) {
        return gw_fault_set(fault, GW_LIMIT,
                            "--cpus is %u, this build for board " GW_BOARD_NAME " takes at most %d",
                            config->vcpu_count, GW_VCPUS_MAX);
    }
    return GW_OK;
}

/* The control socket's directory: made when it is missing, taken as it is when it is there. */
static enum gw_status open_control_directory(const char *path, struct gw_fault *fault)
{
    char directory[GW_UNIX_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path || (size_t)(slash - path) >= sizeof(directory)) {
        return GW_OK; /* listening says what is wrong with the path, if anything */
    }
    (void)snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
    return access(directory, F_OK) == 0 ? GW_OK : gw_state_directory_open(directory, fault);
}

static enum gw_status open_control(const struct gw_run_config *config, struct gw_fault *fault)
{
    if (config->is_taking_over) {
        gw_clients_adopt(gw_take_over_fd(GW_TAKE_OVER_CONTROL));
        gw_console_adopt(config, gw_take_over_fd(GW_TAKE_OVER_CONSOLE));
        return GW_OK;
    }
    enum gw_status status = gw_clients_open(config->control_path, fault);
    return status ? status : gw_console_open(config, fault);
}

/* With the old process, if that holds it: the records are never without one of the two. */
static enum gw_status hold_records(const struct gw_run_config *config, struct gw_fault *fault)
{
    MONITOR->lock_fd = config->is_taking_over ? gw_take_over_fd(GW_TAKE_OVER_LOCK) : -1;
    return MONITOR->lock_fd >= 0 ? gw_records_check_hold(config, MONITOR->lock_fd, fault)
                                 : gw_records_hold(config, &MONITOR->lock_fd, fault);
}

static enum gw_status start(const struct gw_run_config *config, struct gw_fault *fault)
{
    enum gw_status status = check_limits(config, fault);
    if (!status) {
        status = gw_state_directory_open(config->state_dir, fault);
    }
    if (!status) {
        status = open_control_directory(config->control_path, fault);
    }
    if (!status && !config->incoming_uri) {
        status = gw_records_check_boot(config, fault);
    }
    if (!status) {
        status = gw_identity_open(config, fault);
    }
    if (!status) {
        status = gw_loop_open(&MONITOR->loop, fault);
    }
    if (!status) {
        status = open_signals(fault);
    }
    if (!status) {
        status = open_control(config, fault);
    }
    if (!status) {
        status = hold_records(config, fault);
    }
    if (!status && !config->incoming_uri) {
        status =
            gw_records_check_boot(config, fault); /* whoever held them may have written since */
    }
    if (!status) {
        status = gw_guest_open(fault);
    }
    if (!status) {
        status = config->incoming_uri ? gw_inbound_start(fault) : gw_guest_boot(fault);
    }
    return status;
}

/* What was told of the end goes out, to clients and, where a migration was cancelled for it, to the
 * record and the target. */
static bool is_over(void)
{
    return MONITOR->is_ending &&
           ((!gw_clients_is_any() && !MONITOR->is_leaving) || gw_clock_now_ns() >= MONITOR->end_ns);
}

static uint64_t latest(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

/* The guest's source may hold its copy until it hears that the guest ran here; the record on disk
 * says so, too, to whoever asks later. An hour after it came, but not before there was time to say
 * it. */
static uint64_t settled_by(void)
{
    bool is_waiting = MONITOR->guest_ended_ns > 0 && !gw_inbound_is_owing();
    uint64_t since_ns = latest(MONITOR->took_ns, MONITOR->guest_ended_ns);
    return is_waiting ? latest(MONITOR->arrived_ns + SETTLE_NS, since_ns + SAY_NS)
                      : GW_LOOP_FOREVER;
}

static uint64_t time_until(uint64_t at_ns)
{
    uint64_t now_ns = gw_clock_now_ns();
    return at_ns == GW_LOOP_FOREVER ? GW_LOOP_FOREVER : at_ns > now_ns ? at_ns - now_ns : 0;
}

static void loop(void)
{
    struct gw_fault fault = {0};
    while (!is_over()) {
        if (time_until(settled_by()) == 0) {
            gw_monitor_end(MONITOR->guest_exit_code);
        }
        uint64_t at_ns = MONITOR->is_ending ? MONITOR->end_ns : settled_by();
        if (gw_loop_run_once(&MONITOR->loop, time_until(at_ns), &fault) != GW_OK) {
            gw_monitor_say("%s", fault.text);
            gw_monitor_end(GW_RUN_EXIT_MONITOR);
            return;
        }
    }
}

static int exit_code(const struct gw_fault *fault)
{
    switch (fault->status) {
    case GW_HOST:
        return GW_RUN_EXIT_HOST;
    case GW_ARGUMENT:
    case GW_LIMIT:
        return GW_RUN_EXIT_USAGE;
    default:
        return GW_RUN_EXIT_FAILED;
    }
}

/* Whoever asked for it hears why: the old godwit tells the one who waits for the upgrade. */
static void tell_start_failed(const struct gw_run_config *config, const struct gw_fault *reason)
{
    struct gw_fault ignored = {0};
    if (!config->is_taking_over || gw_take_over_answer(reason, &ignored) != GW_OK) {
        gw_monitor_say("%s", reason->text);
    }
}

/* A second pays on two CPUs: one channel's threads wait for each other while they copy and sum. */
static uint64_t channel_count_default(void)
{
    bool has_room = sysconf(_SC_NPROCESSORS_ONLN) >= 2 && GW_BULK_CHANNELS_MAX >= 2;
    return has_room ? 2 : 1;
}

/* Again where standard error is another one's now. */
static void open_log(void)
{
    if (MONITOR->log_fd > STDERR_FILENO) {
        (void)close(MONITOR->log_fd);
    }
    MONITOR->log_fd = gw_terminal_open_own(STDERR_FILENO);
    MONITOR->log_fd = MONITOR->log_fd >= 0 ? MONITOR->log_fd : STDERR_FILENO;
}

int gw_run(const struct gw_run_config *config)
{
    struct gw_fault fault = {0};
    MONITOR->config = config;
    MONITOR->state = GW_INFO_RUN_PRELAUNCH;
    MONITOR->start_ns = gw_clock_now_ns();
    MONITOR->parameters =
        (struct gw_info_parameters){.downtime_limit_ms = 300,
                                    .throttle_trigger_percent = 50,
                                    .throttle_initial_percent = 20,
                                    .throttle_increment_percent = 10,
                                    .throttle_max_percent = GW_THROTTLE_PERCENT_MAX,
                                    .channels = channel_count_default()};
    for (int i = 0; i < GW_INFO_CAPABILITY_COUNT; i++) {
        MONITOR->capability[i] = gw_info_capability_default((enum gw_info_capability)i);
    }
    MONITOR->lock_fd = -1;
    open_log();
    gw_run_storage.clients.listener_fd = -1;
    gw_run_storage.console.listener_fd = -1;
    gw_run_storage.upgrade.fd = -1;
    enum gw_status status = config->is_taking_over ? gw_take_over_begin(config, &fault) : GW_OK;
    config = MONITOR->config;
    open_log();
    if (!status) {
        status = start(config, &fault);
    }
    if (!status && config->is_taking_over) {
        status = gw_take_over_answer(NULL, &fault);
    }
    if (!status) {
        loop();
        gw_outbound_end();
    } else {
        tell_start_failed(config, &fault);
        MONITOR->exit_code = exit_code(&fault);
    }
    gw_outgoing_stop(&gw_run_storage.outgoing);
    if (gw_run_storage.vm.is_open) {
        gw_vm_halt(&gw_run_storage.vm); /* a vCPU that waits for a page leaves without it */
    }
    gw_incoming_stop(&gw_run_storage.incoming);
    if (gw_run_storage.vm.is_open) {
        gw_guest_console_ready(); /* a line that is not whole waits for the rest of it */
    }
    gw_vm_close(&gw_run_storage.vm);
    if (MONITOR->lock_fd >= 0) {
        (void)close(MONITOR->lock_fd); /* before anybody hears that the name is free */
    }
    gw_console_close();
    gw_clients_close(config->control_path);
    return MONITOR->exit_code;
}
