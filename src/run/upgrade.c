/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The old process's part of an upgrade: see upgrade.h.
 *
 *   OFFERED   OFFER is said, the guest runs on and is served as ever
 *   MOVING    ANSWER came: the source engine moves it, without pages (outbound.c)
 *   GIVEN     RUNNING came: clients and console have passed, the process ends
 *
 * Nothing is recorded of the departure: the guest does not leave this host. That NAME is not booted
 * beside it is the doing of the control socket and of the records' lock, which both processes hold.
 */
#include "run/upgrade.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/storage.h"

#define MONITOR  (&gw_run_storage.monitor)
#define UPGRADE  (&gw_run_storage.upgrade)
#define OUTGOING (&gw_run_storage.outgoing)

#define SEND_NS   (1 * GW_NS_PER_S)
#define MOVING_NS UINT64_MAX

/* ---- The pair ---- */

void gw_upgrade_close_pair(void)
{
    gw_loop_remove(&UPGRADE->watch);
    if (UPGRADE->fd >= 0) {
        (void)close(UPGRADE->fd);
    }
    UPGRADE->fd = -1;
}

static enum gw_status say(size_t size, const int *fds, uint32_t fd_count, uint64_t timeout_ns,
                          struct gw_fault *fault)
{
    struct gw_parcel parcel = {.bytes = UPGRADE->bytes, .size = size, .fd_count = fd_count};
    for (uint32_t i = 0; i < fd_count; i++) {
        parcel.fd[i] = fds[i];
    }
    return gw_parcel_send(UPGRADE->fd, &parcel, timeout_ns, fault);
}

/* The new process must never run the guest. While it is being moved it hears so before the guest
 * goes on here (MOVING_NS): had it heard nothing and found this process dead, it would run what it
 * has. So this ends only when it is said or the new process is gone, and until then the guest
 * stands still: longer than a moment only where the kernel has no memory for it, as nothing waits
 * before this message. Before that it has nothing to run. */
static void withdraw(uint64_t patience_ns)
{
    size_t size;
    struct gw_fault fault = {0};
    if (UPGRADE->fd < 0) {
        return;
    }
    if (gw_take_over_encode_withdraw(UPGRADE->bytes, sizeof(UPGRADE->bytes), &size) == GW_OK) {
        (void)!say(size, NULL, 0, patience_ns, &fault);
    }
    gw_upgrade_close_pair();
}

/* ---- The facts of shared memory ---- */

enum gw_status gw_upgrade_put_facts(struct gw_fault *fault)
{
    const struct gw_ram *ram = &gw_run_storage.ram;
    struct gw_facts *facts = &gw_run_storage.facts;
    enum gw_status status = GW_OK;
    UPGRADE->facts_before = facts->count;
    for (uint32_t i = 0; i < ram->region_count && status == GW_OK; i++) {
        char name[GW_FACT_NAME_BYTES];
        struct stat about;
        if (fstat(ram->region[i].fd, &about) != 0) {
            return gw_fault_set(fault, GW_HOST, "guest RAM's descriptor cannot be looked at");
        }
        (void)snprintf(name, sizeof(name), "shared RAM %u device", i);
        status = gw_facts_put(facts, name, GW_FACT_HEX, (uint64_t)about.st_dev);
        if (status == GW_OK) {
            (void)snprintf(name, sizeof(name), "shared RAM %u inode", i);
            status = gw_facts_put(facts, name, GW_FACT_DECIMAL, (uint64_t)about.st_ino);
        }
    }
    return status ? gw_fault_set(fault, status, "there is no room for the facts of shared RAM")
                  : GW_OK;
}

void gw_upgrade_drop_facts(void)
{
    if (UPGRADE->facts_before > 0) {
        gw_run_storage.facts.count = UPGRADE->facts_before;
    }
    UPGRADE->facts_before = 0;
}

/* ---- What passes as a number ---- */

/* S(number, where it is, its largest value). A number is never used anew. */
#define SETTINGS(S)                                                           \
    S(1, CAPABILITY(EVENTS), 1) /* as 9 */                                    \
    S(2, CAPABILITY(POSTCOPY_RAM), 1)                                         \
    S(3, monitor.parameters.downtime_limit_ms, GW_QMP_DOWNTIME_MS_MAX)        \
    S(4, monitor.parameters.bandwidth_max_bytes, UINT64_MAX)                  \
    S(5, monitor.parameters.postcopy_bandwidth_max_bytes, UINT64_MAX)         \
    S(6, upgrade.total_us, UINT64_MAX) /* as the old process measured them */ \
    S(7, upgrade.downtime_us, UINT64_MAX)                                     \
    S(8, console.is_escape, 1)                                                \
    S(9, CAPABILITY(EVENTS), 1)                                               \
    S(10, CAPABILITY(AUTO_CONVERGE), 1)                                       \
    S(11, CAPABILITY(PAUSE_BEFORE_SWITCHOVER), 1)                             \
    S(12, CAPABILITY(SWITCHOVER_ACK), 1)                                      \
    S(13, CAPABILITY(RELEASE_RAM), 1)                                         \
    S(14, monitor.parameters.throttle_trigger_percent, 100)                   \
    S(15, monitor.parameters.throttle_initial_percent, 99)                    \
    S(16, monitor.parameters.throttle_increment_percent, 99)                  \
    S(17, monitor.parameters.throttle_max_percent, 99)                        \
    S(18, monitor.parameters.channels, GW_QMP_CHANNELS_MAX)                   \
    S(19, monitor.parameters.compress, GW_INFO_COMPRESS_COUNT - 1)            \
    S(20, monitor.withdrawn.half[0], UINT64_MAX)                              \
    S(21, monitor.withdrawn.half[1], UINT64_MAX)                              \
    S(22, monitor.parameters.is_throttle_tail_slow, 1)

#define CAPABILITY(name) monitor.capability[GW_INFO_CAPABILITY_##name]

/* By number, less one. */
static const struct {
    uint32_t at;      /* in gw_run_storage: a bool where 1 is the largest, else a uint64_t */
    uint32_t largest; /* UINT32_MAX: any */
} settings[] = {
#define ROW(number, where, largest) \
    [(number) - 1] = {offsetof(struct gw_run_storage, where), (uint32_t)(largest)},
    SETTINGS(ROW)
#undef ROW
};

#define CHECK(number, where, largest)                                     \
    static_assert(sizeof(gw_run_storage.where) ==                         \
                      ((largest) == 1 ? sizeof(bool) : sizeof(uint64_t)), \
                  "as `settings` has it");
SETTINGS(CHECK)
#undef CHECK

enum { SETTING_COUNT = sizeof(settings) / sizeof(settings[0]) };
static_assert(SETTING_COUNT <= (int)GW_TAKE_OVER_SETTINGS_MAX, "they fit in REST");

static void *place_of(uint32_t index)
{
    return (uint8_t *)&gw_run_storage + settings[index].at;
}

static void put_settings(struct gw_take_over_rest *rest)
{
    rest->setting_count = SETTING_COUNT;
    for (uint32_t i = 0; i < SETTING_COUNT; i++) {
        const void *place = place_of(i);
        rest->setting[i] = (struct gw_take_over_setting){
            i + 1, settings[i].largest == 1 ? *(const bool *)place : *(const uint64_t *)place};
    }
}

void gw_upgrade_take_setting(const struct gw_take_over_setting *setting)
{
    uint32_t index = setting->number - 1;
    if (index >= SETTING_COUNT ||
        (settings[index].largest != UINT32_MAX && setting->value > settings[index].largest)) {
        return;
    }
    if (settings[index].largest == 1) {
        *(bool *)place_of(index) = setting->value != 0;
    } else {
        *(uint64_t *)place_of(index) = setting->value;
    }
}

/* ---- Offering ---- */

/* It ended before the engine began: the guest was not touched. */
static void fail(enum gw_status status, const char *text)
{
    gw_fault_clear(&UPGRADE->fault);
    (void)gw_fault_set(&UPGRADE->fault, status, "%s", text);
    UPGRADE->phase = GW_UPGRADE_NONE;
    withdraw(SEND_NS);
    gw_monitor_say("guest %s stays in this process: %s", MONITOR->config->name, text);
    gw_monitor_event_migration(status == GW_CANCELLED ? "cancelled" : "failed");
}

static void put_fd(struct gw_take_over_offer *offer, int *fds, enum gw_take_over_fd is, int fd)
{
    fds[offer->fd_count] = fd;
    offer->fd_is[offer->fd_count++] = is;
}

static void copy_text(char *text, size_t capacity, const char *from)
{
    (void)snprintf(text, capacity, "%s", from);
}

static void describe(struct gw_take_over_offer *offer)
{
    const struct gw_run_config *config = MONITOR->config;
    *offer = (struct gw_take_over_offer){.memory_bytes = config->memory_bytes,
                                         .vcpu_count = config->vcpu_count,
                                         .dirty_ring_entries = config->dirty_ring_entries,
                                         .console = config->console,
                                         .is_plaintext = config->is_plaintext,
                                         .is_guest_clock_stopped = config->is_guest_clock_stopped,
                                         .is_lingering = config->is_lingering};
    copy_text(offer->version, sizeof(offer->version), GW_VERSION);
    copy_text(offer->name, sizeof(offer->name), config->name);
    copy_text(offer->control_path, sizeof(offer->control_path), config->control_path);
    copy_text(offer->state_dir, sizeof(offer->state_dir), config->state_dir);
    copy_text(offer->tls, sizeof(offer->tls), config->tls != NULL ? config->tls : "");
    copy_text(offer->tls_hostname, sizeof(offer->tls_hostname),
              config->tls_hostname != NULL ? config->tls_hostname : "");
    if (config->console == GW_RUN_CONSOLE_UNIX) {
        copy_text(offer->console_path, sizeof(offer->console_path), config->console_path);
    }
}

static enum gw_status say_offer(int directory_fd, struct gw_fault *fault)
{
    struct gw_take_over_offer offer; /* not UPGRADE's: that is the configuration of one that was
                                        taken over itself */
    const struct gw_console *console = &gw_run_storage.console;
    int fds[GW_PARCEL_FDS_MAX];
    size_t size;
    describe(&offer);
    put_fd(&offer, fds, GW_TAKE_OVER_RAM, gw_run_storage.ram.region[0].fd);
    put_fd(&offer, fds, GW_TAKE_OVER_CONTROL, gw_run_storage.clients.listener_fd);
    put_fd(&offer, fds, GW_TAKE_OVER_DIRECTORY, directory_fd);
    put_fd(&offer, fds, GW_TAKE_OVER_INPUT, STDIN_FILENO);
    put_fd(&offer, fds, GW_TAKE_OVER_OUTPUT, STDOUT_FILENO);
    put_fd(&offer, fds, GW_TAKE_OVER_ERRORS, STDERR_FILENO);
    put_fd(&offer, fds, GW_TAKE_OVER_LOCK, MONITOR->lock_fd);
    if (offer.console != GW_RUN_CONSOLE_STDIO) {
        put_fd(&offer, fds, GW_TAKE_OVER_CONSOLE,
               offer.console == GW_RUN_CONSOLE_UNIX ? console->listener_fd : console->out_fd);
    }
    if (gw_take_over_encode_offer(&offer, UPGRADE->bytes, sizeof(UPGRADE->bytes), &size) != GW_OK) {
        return gw_fault_set(fault, GW_LIMIT, "the offer does not fit in a message");
    }
    return say(size, fds, offer.fd_count, SEND_NS, fault);
}

static void take_answer(const struct gw_take_over_answer *answer)
{
    struct gw_fault fault = {0};
    char text[GW_FAULT_TEXT_BYTES];
    if (answer->status != GW_OK) {
        (void)snprintf(text, sizeof(text), "godwit %s cannot take it over: %.180s", answer->version,
                       answer->text);
        fail(answer->status == GW_HOST ? GW_HOST : GW_REFUSED, text);
        return;
    }
    UPGRADE->phase = GW_UPGRADE_MOVING;
    if (gw_outbound_start_shared(answer->uri, &fault) != GW_OK) {
        fail(fault.status, fault.text);
    }
}

static enum gw_status receive(struct gw_take_over_answer *answer, struct gw_fault *fault)
{
    struct gw_parcel parcel = {.bytes = UPGRADE->bytes, .capacity = sizeof(UPGRADE->bytes)};
    struct gw_state_section section;
    enum gw_take_over_type type;
    enum gw_status status = gw_parcel_receive(UPGRADE->fd, &parcel, fault);
    if (status != GW_OK) {
        return status;
    }
    gw_parcel_close_fds(&parcel); /* none is wanted */
    status = gw_take_over_open(parcel.bytes, parcel.size, &type, &section, fault);
    if (status == GW_OK && (type != GW_TAKE_OVER_ANSWER || UPGRADE->phase != GW_UPGRADE_OFFERED)) {
        status = gw_fault_set(fault, GW_PROTOCOL, "the new godwit said %s where nothing is due",
                              section.name);
    }
    return status ? status : gw_take_over_decode_answer(&section, answer, fault);
}

static void handle(void *context, uint32_t events)
{
    struct gw_fault fault = {0};
    struct gw_take_over_answer answer;
    (void)context;
    (void)events;
    enum gw_status status = receive(&answer, &fault);
    if (status == GW_AGAIN) {
        return;
    }
    if (status == GW_OK) {
        take_answer(&answer);
    } else if (UPGRADE->phase == GW_UPGRADE_OFFERED) {
        fail(status == GW_REFUSED ? GW_REFUSED : GW_LINK,
             status == GW_LINK ? "the new godwit ended before it answered" : fault.text);
    } else if (status == GW_LINK) {
        UPGRADE->is_other_gone = true;
        gw_upgrade_close_pair();
        gw_upgrade_settle();
    } else {
        gw_monitor_say("%s", fault.text); /* the engine's link is what counts now */
    }
}

static enum gw_status check_start(int fd, struct gw_fault *fault)
{
    if (fd < 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "no socket of a new process came with the command: use `godwit upgrade "
                            "%s`",
                            MONITOR->config->name);
    }
    enum gw_status status = gw_outbound_check_start(fault);
    return status ? status : gw_parcel_adopt(fd, fault);
}

enum gw_status gw_upgrade_start(int fd, struct gw_fault *fault)
{
    enum gw_status status = check_start(fd, fault);
    if (status != GW_OK) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return status;
    }
    UPGRADE->fd = fd;
    UPGRADE->is_other_gone = false;
    UPGRADE->has_died_there = false;
    UPGRADE->is_stuck = false;
    gw_fault_clear(&UPGRADE->fault);
    int directory_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    status = directory_fd < 0 ? gw_fault_set_os(fault, errno, "the working directory")
                              : say_offer(directory_fd, fault);
    if (directory_fd >= 0) {
        (void)close(directory_fd);
    }
    if (status == GW_OK) {
        status = gw_loop_add(&MONITOR->loop, &UPGRADE->watch, fd, EPOLLIN, handle, NULL, fault);
    }
    if (status != GW_OK) {
        withdraw(SEND_NS);
        return status;
    }
    UPGRADE->phase = GW_UPGRADE_OFFERED;
    gw_monitor_say("guest %s is offered to a new godwit on this host", MONITOR->config->name);
    return GW_OK;
}

bool gw_upgrade_cancel(void)
{
    if (UPGRADE->phase != GW_UPGRADE_OFFERED) {
        return false;
    }
    fail(GW_CANCELLED, "the upgrade was cancelled");
    return true;
}

/* ---- While the engine is at work ---- */

bool gw_upgrade_is_moving(void)
{
    return UPGRADE->phase == GW_UPGRADE_MOVING || UPGRADE->phase == GW_UPGRADE_GIVEN;
}

void gw_upgrade_halted(void)
{
    if (UPGRADE->phase == GW_UPGRADE_MOVING) {
        gw_console_freeze();
    }
}

void gw_upgrade_resumes(void)
{
    if (UPGRADE->phase == GW_UPGRADE_MOVING) {
        withdraw(MOVING_NS);
        gw_console_thaw();
    }
}

static void give_client(const struct gw_take_over_client *client, int fd)
{
    struct gw_fault fault = {0};
    size_t size;
    if (gw_take_over_encode_client(client, UPGRADE->bytes, sizeof(UPGRADE->bytes), &size) !=
            GW_OK ||
        say(size, &fd, 1, SEND_NS, &fault) != GW_OK) {
        gw_monitor_say("a control connection did not pass to the new godwit: %s", fault.text);
    }
}

static void give_rest(void)
{
    struct gw_fault fault = {0};
    struct gw_source_figures figures;
    size_t size;
    struct gw_take_over_rest rest;
    gw_outgoing_get_figures(OUTGOING, &figures);
    UPGRADE->total_us = figures.total_ns / GW_NS_PER_US;
    UPGRADE->downtime_us = figures.downtime_ns / GW_NS_PER_US;
    put_settings(&rest);
    int client_fd = gw_console_get_rest(&rest);
    if (gw_take_over_encode_rest(&rest, UPGRADE->bytes, sizeof(UPGRADE->bytes), &size) != GW_OK ||
        say(size, &client_fd, client_fd >= 0, SEND_NS, &fault) != GW_OK) {
        gw_monitor_say("the console's last bytes did not pass to the new godwit: %s", fault.text);
    }
    gw_console_let_go();
}

void gw_upgrade_runs_there(void)
{
    if (UPGRADE->phase != GW_UPGRADE_MOVING) {
        return;
    }
    UPGRADE->phase = GW_UPGRADE_GIVEN;
    gw_clients_give(give_client);
    give_rest();
}

void gw_upgrade_over(bool is_kept)
{
    if (!gw_upgrade_is_moving()) {
        return;
    }
    gw_upgrade_drop_facts();
    if (is_kept) {
        UPGRADE->phase = GW_UPGRADE_NONE;
        withdraw(SEND_NS); /* if it is to be said still, the guest never stopped */
        gw_console_thaw();
    }
}

int gw_upgrade_exit_code(void)
{
    return UPGRADE->has_died_there ? GW_RUN_EXIT_MONITOR : GW_RUN_EXIT_MIGRATED;
}

/* ---- The new process is dead ---- */

/* What it wrote before it died says whether the guest ever ran there. If not, this is its word, and
 * it is made irrevocable before it is used. It had written `opened` before ACCEPT: where nothing
 * is, what it wrote is elsewhere or lost, and may have been `took`. */
static enum gw_status read_token(struct gw_token *token, bool *has_run, struct gw_fault *fault)
{
    struct gw_history history;
    enum gw_status status = gw_records_get_history(MONITOR->config, &history, fault);
    if (status != GW_OK) {
        return status;
    }
    const struct gw_record_entry *entry = gw_history_get(&history, &MONITOR->session);
    if (entry == NULL) {
        return gw_fault_set(fault, GW_HOST, "%s has no record of what the new godwit did",
                            MONITOR->config->state_dir);
    }
    *has_run = entry->state == GW_RECORD_TOOK || entry->state == GW_RECORD_PULLING;
    if (*has_run) {
        return GW_OK;
    }
    *token = (struct gw_token){.session = MONITOR->session, .epoch = UINT64_MAX, .who = 't'};
    gw_history_put(&history, &MONITOR->session, GW_RECORD_ABORTED, UINT64_MAX);
    return gw_records_put_history(MONITOR->config, &history, fault);
}

void gw_upgrade_settle(void)
{
    struct gw_fault fault = {0};
    struct gw_token token;
    bool has_run = false;
    enum gw_source_state state = gw_outgoing_state(OUTGOING);
    /* Not in HELD itself: the link may still bring what the new process said last. */
    bool is_due = UPGRADE->phase == GW_UPGRADE_MOVING && UPGRADE->is_other_gone &&
                  MONITOR->is_leaving && state >= GW_SOURCE_HELD_WAITING &&
                  state <= GW_SOURCE_HELD_ASKING;
    if (!is_due) {
        return;
    }
    enum gw_status status = read_token(&token, &has_run, &fault);
    if (status == GW_OK && !has_run) {
        gw_monitor_say("the new godwit died before guest %s ran there: it goes on here",
                       MONITOR->config->name);
        status = gw_outgoing_run_anyway(OUTGOING, &token, &fault);
    } else if (status == GW_OK) {
        gw_monitor_say("the new godwit took guest %s and died: the guest ended with it",
                       MONITOR->config->name);
        UPGRADE->has_died_there = true;
        gw_console_thaw(); /* nobody else says the rest */
        status = gw_outgoing_give_up(OUTGOING, &token, &fault);
    }
    if (status != GW_OK && !UPGRADE->is_stuck) { /* asked again as often as the engine asks */
        UPGRADE->is_stuck = true;
        gw_monitor_say("guest %s is held: %s", MONITOR->config->name, fault.text);
    }
}
