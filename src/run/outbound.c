/* SPDX-License-Identifier: Apache-2.0 */
/* The guest leaves: does for the source engine what only the machine's owner can. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "run/handed.h"
#include "run/storage.h"

#define MONITOR  (&gw_run_storage.monitor)
#define OUTGOING (&gw_run_storage.outgoing)

/* How long a lost link is tried again, unless the operator says otherwise: a gateway that reboots
 * its modem, or a cable that is plugged in again. */
enum { RETRY_MS = 60000 };

/* How long a guest that runs there waits for the rest of its memory before it is taken for lost.
 * Until then nothing is lost: it goes on when the link is back. */
#define RECOVER_NS (3600 * GW_NS_PER_S)

static void ready_rings(const struct gw_kvm_slot *slots)
{
    struct kvm_dirty_gfn *rings[GW_VCPUS_MAX];
    uint32_t vcpu_count = MONITOR->config->vcpu_count;
    for (uint32_t i = 0; i < vcpu_count; i++) {
        rings[i] = gw_vm_dirty_ring(&gw_run_storage.vm, i);
    }
    gw_tracker_kvm_ring_init(&gw_run_storage.tracker.ring, gw_vm_fd(&gw_run_storage.vm),
                             &gw_run_storage.ram, slots, &gw_run_storage.marks, rings, vcpu_count,
                             MONITOR->config->dirty_ring_entries);
}

enum gw_status gw_outbound_ready_tracker(struct gw_fault *fault)
{
    struct gw_kvm_slot slots[GW_RAM_REGIONS_MAX];
    for (uint32_t i = 0; i < GW_RAM_REGIONS_MAX; i++) {
        slots[i] = (struct gw_kvm_slot){.slot = i};
    }
    if (MONITOR->is_tracker_ready) {
        return GW_OK;
    }
    enum gw_status status = GW_OK;
    if (MONITOR->config->dirty_ring_entries) {
        ready_rings(slots);
    } else {
        status = gw_tracker_kvm_log_init(&gw_run_storage.tracker.log, gw_vm_fd(&gw_run_storage.vm),
                                         &gw_run_storage.ram, slots, &gw_run_storage.marks, fault);
    }
    MONITOR->is_tracker_ready = status == GW_OK;
    return status;
}

bool gw_outbound_is_held(void)
{
    struct gw_source_figures figures = {.is_held = false};
    if (MONITOR->is_leaving) {
        gw_outgoing_get_figures(OUTGOING, &figures);
    }
    return figures.is_held;
}

bool gw_outbound_is_pushing(void)
{
    return MONITOR->is_leaving && gw_outgoing_runner(OUTGOING) == GW_RUNNER_TARGET &&
           gw_outgoing_state(OUTGOING) < GW_SOURCE_SETTLING;
}

/* STOP: the machine is halted first; gw_outbound_halted() goes on. */
static void stop_guest(void)
{
    MONITOR->was_running = MONITOR->state == GW_INFO_RUN_RUNNING;
    MONITOR->is_halt_awaited = true;
    gw_monitor_set_state(GW_INFO_RUN_FINISH_MIGRATE);
    gw_vm_halt(&gw_run_storage.vm);
}

void gw_outbound_halted(void)
{
    struct gw_saved_state *saved = &gw_run_storage.saved;
    struct gw_fault fault = {0};
    size_t bytes = 0;
    uint64_t halted_ns = gw_clock_now_ns() - gw_vm_elapsed(&gw_run_storage.vm);
    MONITOR->is_halt_awaited = false;
    gw_upgrade_halted();
    if (MONITOR->was_running) {
        MONITOR->is_stop_told = true;
        gw_monitor_event(GW_QMP_EVENT_STOP);
    }
    if (gw_vm_save(&gw_run_storage.vm, saved->bytes, sizeof(saved->bytes), &bytes, &fault)) {
        gw_outgoing_host_fault(OUTGOING, &fault);
        return;
    }
    gw_outgoing_stopped(OUTGOING, halted_ns, saved->bytes, (uint32_t)bytes, MONITOR->was_running);
}

void gw_outbound_guest_ended(void)
{
    struct gw_fault fault = {0};
    if (!MONITOR->is_leaving) {
        return;
    }
    MONITOR->was_running = false;
    (void)gw_fault_set(&fault, GW_HOST, "the guest ended by itself before it could move");
    MONITOR->is_halt_awaited = false;
    gw_outgoing_host_fault(OUTGOING, &fault);
}

/* Back here: as it was before STOP. */
static void resume(void)
{
    struct gw_fault fault = {0};
    MONITOR->is_halt_awaited = false;
    gw_upgrade_resumes();
    if (MONITOR->is_ending) {
        return;
    }
    if (!MONITOR->was_running) {
        gw_monitor_set_state(GW_INFO_RUN_PAUSED);
    } else if (gw_guest_run(&fault) != GW_OK) {
        gw_monitor_say("the guest cannot go on here: %s", fault.text);
        gw_monitor_set_state(GW_INFO_RUN_INTERNAL_ERROR);
        gw_monitor_end(GW_RUN_EXIT_MONITOR);
    }
}

static void record(struct gw_source_action *action)
{
    struct gw_fault fault = {0};
    if (gw_upgrade_is_moving()) {
        gw_outgoing_recorded(OUTGOING, NULL); /* the guest does not leave this host */
        return;
    }
    (void)snprintf(action->departure.peer, sizeof(action->departure.peer), "%.*s",
                   GW_PEER_BYTES - 1, MONITOR->peer);
    enum gw_status status = gw_records_put_departure(MONITOR->config, &action->departure, &fault);
    if (status) {
        gw_monitor_say("guest %s: %s", MONITOR->config->name, fault.text);
    }
    gw_outgoing_recorded(OUTGOING, status ? &fault : NULL);
}

/* Postcopy: a line when the guest runs there, when the link breaks, and when it is back, or tells
 * that the guest is lost. */
static void say_postcopy(const struct gw_source_figures *figures, const char *reason)
{
    const char *name = MONITOR->config->name;
    if (figures->is_lost_there) {
        gw_monitor_say("guest %s went to %s: %s", name, MONITOR->peer, reason);
    } else if (figures->is_link_lost && figures->state == GW_SOURCE_PUSH_PAUSED) {
        gw_monitor_say(
            "the link to guest %s was let go: migrate-recover connects again, before its "
            "target takes it for lost: within an hour in all",
            name);
    } else if (figures->is_link_lost) {
        gw_monitor_say("guest %s runs at %s until it needs memory that is still here; the link is "
                       "tried again%s%s",
                       name, MONITOR->peer, reason[0] ? ": " : "", reason);
    } else if (figures->recoveries > 0) {
        gw_monitor_say("the link is back: %" PRIu64 " KiB of memory follow guest %s",
                       figures->remaining_pages * gw_run_storage.ram.page_bytes / 1024, name);
    } else {
        gw_monitor_say("guest %s runs at %s; %" PRIu64 " KiB of its memory follow", name,
                       MONITOR->peer,
                       figures->remaining_pages * gw_run_storage.ram.page_bytes / 1024);
    }
}

/* What release-ram rules out, said when it begins, whatever way that came about. */
static void say_release(const struct gw_source_figures *figures)
{
    bool is_begun = figures->state == GW_SOURCE_PUSHING || figures->released_pages > 0;
    if (figures->is_releasing && is_begun && !MONITOR->is_release_told) {
        MONITOR->is_release_told = true;
        gw_monitor_say("what guest %s has there is given back here (release-ram): from now on this "
                       "copy cannot be run again, whatever becomes of %s",
                       MONITOR->config->name, MONITOR->peer);
    }
}

/* A line of the log when the link breaks before COMMIT, and one when it is back. */
static void say_link(const struct gw_source_figures *figures)
{
    struct gw_fault fault;
    if (figures->is_link_lost == MONITOR->is_link_lost &&
        figures->is_lost_there == MONITOR->is_loss_told) {
        return;
    }
    MONITOR->is_link_lost = figures->is_link_lost;
    MONITOR->is_loss_told = figures->is_lost_there;
    gw_outgoing_get_fault(OUTGOING, &fault);
    if (gw_outbound_is_pushing()) {
        say_postcopy(figures, fault.text);
    } else if (figures->is_link_lost) {
        gw_monitor_say("guest %s runs on here; the link is tried again: %s", MONITOR->config->name,
                       fault.text);
    } else if (figures->state == GW_SOURCE_ACTIVE) {
        gw_monitor_say("the link is back: %" PRIu64 " KiB go again",
                       figures->resent_pages * gw_run_storage.ram.page_bytes / 1024);
    }
}

static void told_status(const char *status)
{
    struct gw_source_figures figures;
    gw_outgoing_get_figures(OUTGOING, &figures);
    if (figures.state == GW_SOURCE_PUSHING && figures.recoveries == 0) {
        say_postcopy(&figures, "");
    }
    say_release(&figures);
    say_link(&figures);
    if (gw_outgoing_runner(OUTGOING) == GW_RUNNER_TARGET) {
        gw_monitor_set_state(GW_INFO_RUN_POSTMIGRATE);
    }
    gw_monitor_event_migration(status);
    if (figures.state >= GW_SOURCE_SETTLING && figures.state <= GW_SOURCE_SETTLING_AGAIN) {
        gw_upgrade_runs_there();
    }
}

static void say_unheard(const char *reason)
{
    gw_monitor_say(
        "guest %s moved to %s, which may wait there to hear that this side knows (`godwit "
        "resolve %s` there): %s",
        MONITOR->config->name, MONITOR->peer, MONITOR->config->name, reason);
}

void gw_outbound_quit(void)
{
    struct gw_fault fault = {0};
    if (MONITOR->is_leaving && gw_outgoing_runner(OUTGOING) != GW_RUNNER_TARGET &&
        gw_outgoing_cancel(OUTGOING, &fault) != GW_OK) {
        gw_monitor_say("%s", fault.text);
    }
}

void gw_outbound_end(void)
{
    if (MONITOR->is_leaving && gw_outgoing_state(OUTGOING) >= GW_SOURCE_SETTLING &&
        gw_outgoing_state(OUTGOING) <= GW_SOURCE_SETTLING_AGAIN) {
        say_unheard("this process was told to quit");
    }
}

static void finish(void)
{
    struct gw_fault fault;
    enum gw_source_state state = gw_outgoing_state(OUTGOING);
    gw_outgoing_get_fault(OUTGOING, &fault);
    gw_loop_remove(&MONITOR->outgoing_watch);
    gw_outgoing_stop(OUTGOING);
    (void)!gw_throttle_set(0, NULL); /* it moved: nothing is left to slow down */
    MONITOR->is_leaving = false;
    bool is_upgrade = gw_upgrade_is_moving();
    if (!is_upgrade) { /* of which no target over there knows */
        MONITOR->withdrawn.session = MONITOR->session;
    }
    gw_upgrade_over(gw_outgoing_runner(OUTGOING) == GW_RUNNER_SOURCE);
    if (state == GW_SOURCE_COMPLETED) {
        gw_monitor_set_state(GW_INFO_RUN_POSTMIGRATE);
        if (gw_run_storage.upgrade.has_died_there) {
            /* which was said */
        } else if (fault.status == GW_CANCELLED) {
            gw_monitor_say("guest %s is given up here: %s", MONITOR->config->name, fault.text);
        } else if (fault.status != GW_OK && !is_upgrade) {
            say_unheard(fault.text);
        } else {
            gw_monitor_say("guest %s moved to %s", MONITOR->config->name, MONITOR->peer);
        }
    } else if (state == GW_SOURCE_LOST) {
        gw_monitor_set_state(GW_INFO_RUN_POSTMIGRATE);
        gw_monitor_say("guest %s is lost: %s", MONITOR->config->name, fault.text);
        gw_monitor_end(GW_RUN_EXIT_LOST);
    } else {
        gw_monitor_say("guest %s stays here: %s", MONITOR->config->name, fault.text);
    }
    if (is_upgrade && state == GW_SOURCE_COMPLETED) {
        gw_monitor_end(gw_upgrade_exit_code());
    } else if (state == GW_SOURCE_COMPLETED && !MONITOR->config->is_lingering) {
        gw_monitor_end(GW_RUN_EXIT_MIGRATED);
    }
}

static void throttle(uint32_t percent)
{
    struct gw_fault fault = {0};
    if (gw_throttle_set(percent, &fault) != GW_OK) {
        gw_monitor_say("%s", fault.text);
    }
}

static void act(struct gw_source_action *action)
{
    struct gw_source_figures figures;
    switch (action->type) {
    case GW_SOURCE_DO_RECORD:
        record(action);
        break;
    case GW_SOURCE_DO_STOP:
        stop_guest();
        break;
    case GW_SOURCE_DO_RESUME:
        resume();
        break;
    case GW_SOURCE_DO_THROTTLE:
        throttle(action->throttle_percent);
        break;
    case GW_SOURCE_DO_EXPLAIN:
        gw_outgoing_get_figures(OUTGOING, &figures);
        gw_choices_say(action->choice, &figures);
        break;
    case GW_SOURCE_DO_STATUS:
        told_status(action->status);
        break;
    case GW_SOURCE_DO_ROUND:
        gw_outgoing_get_figures(OUTGOING, &figures);
        gw_monitor_event_pass(figures.rounds);
        break;
    case GW_SOURCE_DO_FINISH:
        finish();
        break;
    default:
        break; /* gw_outgoing does the others itself */
    }
}

static void handle(void *context, uint32_t events)
{
    struct gw_source_action action;
    (void)context;
    (void)events;
    gw_outgoing_work(OUTGOING);
    while (MONITOR->is_leaving && gw_outgoing_next(OUTGOING, &action) == GW_OK) {
        act(&action);
    }
    if (!gw_outbound_is_held()) {
        MONITOR->held_since_ns = 0;
    } else if (MONITOR->held_since_ns == 0) {
        MONITOR->held_since_ns = gw_clock_now_ns();
    }
    gw_upgrade_settle();
}

/* The outcome was told: the next command does not wait until the peer has heard it, too. */
void gw_outbound_conclude(void)
{
    if (MONITOR->is_leaving && gw_outgoing_has_ended(OUTGOING) &&
        gw_outgoing_runner(OUTGOING) == GW_RUNNER_SOURCE) {
        finish();
    }
}

enum gw_status gw_outbound_check(struct gw_fault *fault)
{
    if (gw_inbound_is_held() || MONITOR->is_unsettled) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the source this guest came from has not confirmed that it runs here: "
                            "wait for the link, or see `godwit resolve %s`",
                            MONITOR->config->name);
    }
    switch (MONITOR->state) {
    case GW_INFO_RUN_RUNNING:
    case GW_INFO_RUN_PAUSED:
        return GW_OK;
    case GW_INFO_RUN_INMIGRATE:
        return gw_fault_set(fault, GW_ARGUMENT, "Guest is waiting for an incoming migration");
    case GW_INFO_RUN_POSTMIGRATE:
        return gw_fault_set(fault, GW_ARGUMENT,
                            "Can't migrate the vm that was paused due to previous migration: the "
                            "guest runs at %s",
                            MONITOR->peer);
    default:
        return gw_fault_set(fault, GW_ARGUMENT, "the guest is in state %s and cannot move",
                            gw_info_run_state_name(MONITOR->state));
    }
}

enum gw_status gw_outbound_check_start(struct gw_fault *fault)
{
    gw_outbound_conclude();
    if (MONITOR->is_ending) {
        return gw_fault_set(fault, GW_ARGUMENT, "this godwit is about to end, and guest %s with it",
                            MONITOR->config->name);
    }
    if (gw_run_storage.upgrade.phase == GW_UPGRADE_OFFERED) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "an upgrade is under way: wait for it, or end it with `godwit "
                            "migrate-cancel %s`",
                            MONITOR->config->name);
    }
    if (MONITOR->is_leaving) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "There's a migration process in progress: to %s; cancel it or wait",
                            MONITOR->peer);
    }
    enum gw_status status = gw_outbound_check(fault);
    return status ? status : gw_blockers_check(fault);
}

static bool can_postcopy(void)
{
    return MONITOR->capability[GW_INFO_CAPABILITY_POSTCOPY_RAM];
}

static enum gw_on_deadline on_deadline(const struct gw_qmp_migrate *migrate)
{
    switch (migrate->on_deadline) {
    case GW_QMP_ON_DEADLINE_STOP_AND_COPY:
        return GW_ON_DEADLINE_STOP;
    case GW_QMP_ON_DEADLINE_POSTCOPY:
        return GW_ON_DEADLINE_POSTCOPY;
    case GW_QMP_ON_DEADLINE_AUTO:
        return migrate->is_precopy || !can_postcopy() ? GW_ON_DEADLINE_CANCEL : GW_ON_DEADLINE_AUTO;
    case GW_QMP_ON_DEADLINE_CANCEL:
        break;
    }
    return GW_ON_DEADLINE_CANCEL;
}

static struct gw_throttle throttle_rule(const struct gw_qmp_migrate *migrate)
{
    const struct gw_info_parameters *parameters = &MONITOR->parameters;
    return (struct gw_throttle){
        .is_on = migrate->has_throttling ? migrate->is_throttling
                                         : MONITOR->capability[GW_INFO_CAPABILITY_AUTO_CONVERGE],
        .trigger_percent = (uint32_t)parameters->throttle_trigger_percent,
        .initial_percent = (uint32_t)parameters->throttle_initial_percent,
        .increment_percent = (uint32_t)parameters->throttle_increment_percent,
        .max_percent = (uint32_t)parameters->throttle_max_percent,
        .is_tail_slow = parameters->is_throttle_tail_slow};
}

/* No more than this board has; with sockets handed in, as many as there are some for: one is for
 * control, and of three and more the last is the urgent one. */
static uint32_t channel_count(const struct gw_qmp_migrate *migrate, uint32_t socket_count)
{
    uint64_t wanted = migrate->has_channels ? migrate->channels
                      : socket_count > 2    ? socket_count - 2
                      : socket_count > 0    ? 1
                                            : MONITOR->parameters.channels;
    return wanted < GW_BULK_CHANNELS_MAX ? (uint32_t)wanted : (uint32_t)GW_BULK_CHANNELS_MAX;
}

static_assert((int)GW_COMPRESS_AUTO == (int)GW_INFO_COMPRESS_AUTO &&
                  (int)GW_COMPRESS_NONE == (int)GW_INFO_COMPRESS_NONE &&
                  (int)GW_COMPRESS_LZ4 == (int)GW_INFO_COMPRESS_LZ4,
              "the same wishes");

static enum gw_compress compress(const struct gw_qmp_migrate *migrate)
{
    return migrate->has_compress ? (enum gw_compress)migrate->compress
                                 : (enum gw_compress)MONITOR->parameters.compress;
}

static void fill_config(struct gw_outgoing_config *config, const struct gw_qmp_migrate *migrate,
                        const struct gw_handed *handed, const struct gw_session *session)
{
    const struct gw_info_parameters *parameters = &MONITOR->parameters;
    uint64_t downtime_ms =
        migrate->has_downtime_limit ? migrate->downtime_limit_ms : parameters->downtime_limit_ms;
    uint64_t retry_ms = migrate->has_retry ? migrate->retry_ms : RETRY_MS;
    struct gw_info_parameters *limits = &MONITOR->limits;
    *limits = *parameters;
    limits->downtime_limit_ms = downtime_ms;
    if (migrate->has_bandwidth_max) {
        limits->bandwidth_max_bytes = migrate->bandwidth_max_bytes;
    }
    if (migrate->has_postcopy_bandwidth_max) {
        limits->postcopy_bandwidth_max_bytes = migrate->postcopy_bandwidth_max_bytes;
    }
    *config = (struct gw_outgoing_config){
        .source = {.session = *session,
                   .withdrawn = MONITOR->withdrawn.session,
                   .facts = &gw_run_storage.facts,
                   .downtime_ns_max = downtime_ms * GW_NS_PER_MS,
                   .bandwidth_max = limits->bandwidth_max_bytes,
                   .resume_ns_max = retry_ms * GW_NS_PER_MS,
                   .recover_ns_max = RECOVER_NS,
                   .is_postcopy = migrate->is_postcopy,
                   .is_releasing =
                       migrate->is_release || MONITOR->capability[GW_INFO_CAPABILITY_RELEASE_RAM],
                   .postcopy_bandwidth_max = limits->postcopy_bandwidth_max_bytes,
                   .channel_count = channel_count(migrate, handed->socket_count),
                   .compress = compress(migrate),
                   .deadline_ns = migrate->deadline_ms * GW_NS_PER_MS,
                   .on_deadline = on_deadline(migrate),
                   .throttle = throttle_rule(migrate),
                   .is_auto = !migrate->is_precopy && can_postcopy(),
                   .is_pausing =
                       migrate->has_pause
                           ? migrate->is_pausing
                           : MONITOR->capability[GW_INFO_CAPABILITY_PAUSE_BEFORE_SWITCHOVER],
                   .is_ack_ignored = !MONITOR->capability[GW_INFO_CAPABILITY_SWITCHOVER_ACK],
                   .handover_ns = MONITOR->handover_ns,
                   .is_verifying = migrate->is_verify},
        .uri = handed->uri,
        .ram = &gw_run_storage.ram,
        .tracker = &gw_run_storage.tracker.tracker};
    (void)snprintf(config->source.guest_name, sizeof(config->source.guest_name), "%s",
                   MONITOR->config->name);
}

/* `handed`, if any, is the engine's once it has started. What an earlier try left to be told stands
 * until then. */
static enum gw_status launch(const struct gw_outgoing_config *config, struct gw_handed *handed,
                             const char *peer, struct gw_fault *fault)
{
    enum gw_status status = gw_outgoing_start(OUTGOING, config, fault);
    if (status) {
        if (handed != NULL) {
            gw_handed_close(handed);
        }
        return status;
    }
    gw_fault_clear(&gw_run_storage.upgrade.fault); /* of an earlier try */
    gw_dirty_rate_abandon();
    MONITOR->session = config->source.session;
    (void)snprintf(MONITOR->peer, sizeof(MONITOR->peer), "%s", peer);
    MONITOR->is_leaving = true;
    MONITOR->is_link_lost = false;
    MONITOR->is_release_told = false;
    MONITOR->is_loss_told = false;
    MONITOR->has_left_once = true;
    MONITOR->is_verifying = config->source.is_verifying;
    status = gw_loop_add(&MONITOR->loop, &MONITOR->outgoing_watch, gw_outgoing_fd(OUTGOING),
                         EPOLLIN, handle, NULL, fault);
    if (status) {
        gw_outgoing_stop(OUTGOING);
        MONITOR->is_leaving = false;
    }
    return status;
}

enum gw_status gw_outbound_start(const struct gw_qmp_migrate *migrate, struct gw_fault *fault)
{
    struct gw_transport_options transport = gw_transport_defaults;
    struct gw_outgoing_config config;
    struct gw_session session;
    struct gw_handed handed;
    bool wants_postcopy =
        migrate->is_postcopy || migrate->on_deadline == GW_QMP_ON_DEADLINE_POSTCOPY;
    enum gw_status status = gw_outbound_check_start(fault);
    if (!status && wants_postcopy && !can_postcopy()) {
        status = gw_fault_set(fault, GW_ARGUMENT,
                              "postcopy is switched off: set the capability postcopy-ram first");
    }
    if (!status) {
        status = gw_outbound_ready_tracker(fault);
    }
    if (!status) {
        status = gw_random_bytes(&session, sizeof(session), fault);
    }
    if (!status) {
        status = gw_handed_take(&handed, migrate->uri, fault);
    }
    if (status) {
        return status;
    }
    status = gw_identity_choose(MONITOR->config, migrate, &transport, fault);
    if (status) {
        gw_handed_close(&handed);
        return status;
    }
    fill_config(&config, migrate, &handed, &session);
    config.transport = transport;
    status = launch(&config, &handed, handed.peer, fault);
    if (!status) {
        gw_clients_follow();
    }
    return status;
}

enum gw_status gw_outbound_start_shared(const char *uri, struct gw_fault *fault)
{
    struct gw_outgoing_config config;
    struct gw_session session;
    enum gw_status status = gw_outbound_check_start(fault);
    if (!status) {
        status = gw_random_bytes(&session, sizeof(session), fault);
    }
    if (!status) {
        status = gw_upgrade_put_facts(fault);
    }
    if (!status) {
        config = (struct gw_outgoing_config){.source = {.session = session,
                                                        .withdrawn = MONITOR->withdrawn.session,
                                                        .facts = &gw_run_storage.facts,
                                                        .is_ram_shared = true},
                                             .uri = uri,
                                             .ram = &gw_run_storage.ram,
                                             .transport = gw_transport_defaults};
        (void)snprintf(config.source.guest_name, sizeof(config.source.guest_name), "%s",
                       MONITOR->config->name);
        status = launch(&config, NULL, "another process of this host", fault);
    }
    if (status) {
        gw_upgrade_drop_facts();
    }
    return status;
}
