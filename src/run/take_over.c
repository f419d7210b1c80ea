/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The new process's part of an upgrade: see upgrade.h.
 *
 * It maps the guest's RAM while the guest runs in the old process, and changes none of it: the
 * machine over it is built, loaded and its time set, all without RAM; the first to write it is the
 * guest, after `took` was recorded. Until the old process has passed all, nobody is served at the
 * control socket and the console stands still.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "run/storage.h"

#define MONITOR  (&gw_run_storage.monitor)
#define UPGRADE  (&gw_run_storage.upgrade)
#define INCOMING (&gw_run_storage.incoming)

#define OFFER_NS (10 * GW_NS_PER_S)

/* ---- The offer ---- */

static void keep_fds(const struct gw_take_over_offer *offer, const struct gw_parcel *parcel)
{
    for (uint32_t i = 0; i < parcel->fd_count; i++) {
        UPGRADE->passed[offer->fd_is[i]] = parcel->fd[i];
    }
}

static enum gw_status receive_offer(struct gw_fault *fault)
{
    struct gw_parcel parcel = {.bytes = UPGRADE->bytes, .capacity = sizeof(UPGRADE->bytes)};
    struct gw_state_section section;
    enum gw_take_over_type type = GW_TAKE_OVER_OFFER;
    if (gw_parcel_await(UPGRADE->fd, OFFER_NS) != GW_OK) {
        return gw_fault_set(fault, GW_LINK, "no guest was offered within 10 s");
    }
    enum gw_status status = gw_parcel_receive(UPGRADE->fd, &parcel, fault);
    if (status != GW_OK) {
        return status;
    }
    status = gw_take_over_open(parcel.bytes, parcel.size, &type, &section, fault);
    if (status == GW_OK && type != GW_TAKE_OVER_OFFER) {
        status = gw_fault_set(fault, GW_CANCELLED, "the old godwit keeps the guest");
    }
    if (status == GW_OK) {
        status = gw_take_over_decode_offer(&section, parcel.fd_count, &UPGRADE->offer, fault);
    }
    if (status != GW_OK) {
        gw_parcel_close_fds(&parcel);
        return status;
    }
    keep_fds(&UPGRADE->offer, &parcel);
    return GW_OK;
}

/* Standard input, output and error are the old process's: the log goes on where it was. */
static enum gw_status stand_where_it_stood(struct gw_fault *fault)
{
    static const enum gw_take_over_fd standard[] = {GW_TAKE_OVER_INPUT, GW_TAKE_OVER_OUTPUT,
                                                    GW_TAKE_OVER_ERRORS};
    int directory_fd = gw_take_over_fd(GW_TAKE_OVER_DIRECTORY);
    int moved = fchdir(directory_fd);
    (void)close(directory_fd);
    if (moved != 0) {
        return gw_fault_set_os(fault, errno, "the old godwit's working directory");
    }
    for (int i = 0; i < 3; i++) {
        int fd = gw_take_over_fd(standard[i]);
        if (dup2(fd, i) < 0) {
            return gw_fault_set_os(fault, errno, "standard descriptor %d", i);
        }
        (void)close(fd);
    }
    return GW_OK;
}

/* A socket of its own, for the handover's protocol: beside the control socket, which is the old
 * process's still. */
static enum gw_status make_uri(struct gw_fault *fault)
{
    char directory[GW_UNIX_PATH_BYTES] = "";
    const char *path = UPGRADE->offer.control_path;
    bool is_relative = path[0] != '/';
    if (is_relative && getcwd(directory, sizeof(directory) - 1) == NULL) {
        return gw_fault_set_os(fault, errno, "the working directory");
    }
    int length = snprintf(UPGRADE->uri, sizeof(UPGRADE->uri), "unix:%s%s%s.next", directory,
                          is_relative ? "/" : "", path);
    if (length - 5 >= GW_UNIX_PATH_BYTES) {
        return gw_fault_set(fault, GW_REFUSED,
                            "the control socket's path has %d characters, wanted at most %d for an "
                            "upgrade",
                            length - 10, GW_UNIX_PATH_BYTES - 6);
    }
    return GW_OK;
}

static void fill_config(void)
{
    const struct gw_take_over_offer *offer = &UPGRADE->offer;
    UPGRADE->config = (struct gw_run_config){
        .name = offer->name,
        .incoming_uri = UPGRADE->uri,
        .console_path = offer->console_path,
        .control_path = offer->control_path,
        .state_dir = offer->state_dir,
        .memory_bytes = offer->memory_bytes,
        .vcpu_count = offer->vcpu_count,
        .dirty_ring_entries = offer->dirty_ring_entries,
        .console = offer->console,
        .tls = offer->tls[0] != '\0' ? offer->tls : NULL,
        .tls_hostname = offer->tls_hostname[0] != '\0' ? offer->tls_hostname : NULL,
        .is_plaintext = offer->is_plaintext,
        .is_guest_clock_stopped = offer->is_guest_clock_stopped,
        .is_lingering = offer->is_lingering,
        .is_once = true,
        .is_taking_over = true,
    };
    MONITOR->config = &UPGRADE->config;
}

enum gw_status gw_take_over_begin(const struct gw_run_config *config, struct gw_fault *fault)
{
    for (int i = 0; i < GW_TAKE_OVER_FD_COUNT; i++) {
        UPGRADE->passed[i] = -1;
    }
    (void)prctl(PR_SET_NAME, "godwit"); /* started as /proc/self/exe it would be "exe" in lists */
    enum gw_status status = gw_parcel_adopt(config->take_over_fd, fault);
    if (status != GW_OK) {
        return status;
    }
    UPGRADE->fd = config->take_over_fd;
    status = receive_offer(fault);
    if (status == GW_OK && strcmp(UPGRADE->offer.name, config->name) != 0) {
        status = gw_fault_set(fault, GW_REFUSED, "guest %s is offered, %s is wanted",
                              UPGRADE->offer.name, config->name);
    }
    if (status == GW_OK) {
        status = stand_where_it_stood(fault);
    }
    if (status == GW_OK) {
        status = make_uri(fault);
    }
    if (status == GW_OK) {
        UPGRADE->phase = GW_UPGRADE_TAKING;
        fill_config();
    }
    return status;
}

int gw_take_over_fd(enum gw_take_over_fd which)
{
    int fd = UPGRADE->passed[which];
    UPGRADE->passed[which] = -1;
    return fd;
}

/* ---- While it comes ---- */

void gw_take_over_end(void)
{
    if (UPGRADE->phase == GW_UPGRADE_TAKEN && !MONITOR->is_arriving) {
        gw_upgrade_close_pair();
    }
}

/* All has passed, or the old process is dead: this is an ordinary monitor from now on. */
static void take(void)
{
    struct gw_fault fault = {0};
    UPGRADE->phase = GW_UPGRADE_TAKEN;
    gw_take_over_end();
    gw_console_thaw();
    gw_guest_console_ready();
    gw_guest_tell_resume();
    if (gw_clients_serve(&fault) != GW_OK) {
        gw_monitor_say("%s", fault.text);
    }
}

/* It runs on in the old process, or will: this one is not needed. Not once the guest is ours. */
static void leave(const char *why)
{
    enum gw_target_state state = gw_incoming_state(INCOMING);
    if (state == GW_TARGET_TAKING || gw_incoming_runner(INCOMING) == GW_RUNNER_TARGET) {
        return;
    }
    gw_monitor_say("guest %s was not taken over: %s", MONITOR->config->name, why);
    gw_monitor_end(GW_RUN_EXIT_FAILED);
}

static void take_client(struct gw_state_section *section, struct gw_parcel *parcel)
{
    struct gw_fault fault = {0};
    struct gw_take_over_client client;
    if (gw_take_over_decode_client(section, &client, &fault) != GW_OK || parcel->fd_count != 1) {
        gw_monitor_say("a control connection was not taken over: %s", fault.text);
        return;
    }
    parcel->fd_count = 0;
    gw_clients_adopt_client(&client, parcel->fd[0]);
}

static void take_rest(struct gw_state_section *section, struct gw_parcel *parcel)
{
    struct gw_fault fault = {0};
    struct gw_take_over_rest rest;
    if (gw_take_over_decode_rest(section, &rest, &fault) != GW_OK || parcel->fd_count > 1) {
        gw_monitor_say("the settings were not taken over: %s", fault.text);
    } else {
        gw_console_continue(&rest, parcel->fd_count > 0 ? parcel->fd[0] : -1);
        parcel->fd_count = 0;
        for (uint32_t i = 0; i < rest.setting_count; i++) {
            gw_upgrade_take_setting(&rest.setting[i]);
        }
    }
    take();
}

static void take_message(struct gw_parcel *parcel)
{
    struct gw_fault fault = {0};
    struct gw_state_section section;
    enum gw_take_over_type type;
    if (gw_take_over_open(parcel->bytes, parcel->size, &type, &section, &fault) != GW_OK) {
        gw_monitor_say("%s", fault.text);
        return;
    }
    bool is_taking = UPGRADE->phase == GW_UPGRADE_TAKING; /* until REST, which comes once */
    if (type == GW_TAKE_OVER_WITHDRAW) {
        leave("the old godwit keeps it");
    } else if (is_taking && type == GW_TAKE_OVER_CLIENT) {
        take_client(&section, parcel);
    } else if (is_taking && type == GW_TAKE_OVER_REST) {
        take_rest(&section, parcel);
    } else {
        gw_monitor_say("the old godwit said %s where nothing of the kind is due", section.name);
    }
}

static void handle(void *context, uint32_t events)
{
    struct gw_fault fault = {0};
    (void)context;
    (void)events;
    while (UPGRADE->fd >= 0 && !MONITOR->is_ending) {
        struct gw_parcel parcel = {.bytes = UPGRADE->bytes, .capacity = sizeof(UPGRADE->bytes)};
        enum gw_status status = gw_parcel_receive(UPGRADE->fd, &parcel, &fault);
        if (status == GW_AGAIN) {
            return;
        }
        if (status == GW_OK) {
            take_message(&parcel);
            gw_parcel_close_fds(&parcel);
            continue;
        }
        if (status == GW_LINK) {
            UPGRADE->is_other_gone = true;
            gw_upgrade_close_pair();
            gw_take_over_settle();
        } else {
            gw_monitor_say("%s", fault.text); /* what else there is comes next time */
        }
        return;
    }
}

enum gw_status gw_take_over_answer(const struct gw_fault *reason, struct gw_fault *fault)
{
    struct gw_take_over_answer answer = {.status = reason ? reason->status : GW_OK};
    size_t size = 0;
    (void)snprintf(answer.version, sizeof(answer.version), "%s", GW_VERSION);
    (void)snprintf(answer.uri, sizeof(answer.uri), "%s", reason ? "" : UPGRADE->uri);
    (void)snprintf(answer.text, sizeof(answer.text), "%s", reason ? reason->text : "");
    if (UPGRADE->fd < 0) {
        return gw_fault_set(fault, GW_LINK, "no other process is there");
    }
    enum gw_status status =
        gw_take_over_encode_answer(&answer, UPGRADE->bytes, sizeof(UPGRADE->bytes), &size);
    if (status == GW_OK) {
        struct gw_parcel parcel = {.bytes = UPGRADE->bytes, .size = size};
        status = gw_parcel_send(UPGRADE->fd, &parcel, GW_NS_PER_S, fault);
    }
    if (status == GW_OK && reason == NULL) {
        status =
            gw_loop_add(&MONITOR->loop, &UPGRADE->watch, UPGRADE->fd, EPOLLIN, handle, NULL, fault);
    }
    return status;
}

/* ---- The old process is dead ---- */

/* All its threads are gone, or its end of the pair would still be open. It did not say WITHDRAW,
 * which it does before the guest goes on there: so what is loaded here is the guest's last state,
 * and nobody else can run it. What it said on the link before is read first. */
void gw_take_over_settle(void)
{
    struct gw_fault fault = {0};
    bool is_first = UPGRADE->phase == GW_UPGRADE_TAKING;
    if (!UPGRADE->is_other_gone || INCOMING->control != NULL ||
        (!is_first && UPGRADE->phase != GW_UPGRADE_TAKEN)) {
        return;
    }
    switch (gw_incoming_state(INCOMING)) {
    case GW_TARGET_READY:
        if (is_first) { /* once: an operator may try again */
            gw_monitor_say("the old godwit is dead: guest %s goes on in this one",
                           MONITOR->config->name);
            take();
            (void)!gw_incoming_run_anyway(INCOMING, NULL, &fault);
        }
        break;
    case GW_TARGET_RUNNING:
        if (is_first) {
            take();
        }
        (void)!gw_incoming_forget(INCOMING, &fault);
        break;
    case GW_TARGET_DONE:
        if (is_first) {
            take();
        }
        break;
    case GW_TARGET_TAKING:
    case GW_TARGET_CLAIMING:
    case GW_TARGET_STARTING:
    case GW_TARGET_ABORTING:
        break; /* under way: asked again after it */
    default:
        if (is_first) {
            leave("the old godwit is gone");
        }
    }
}
