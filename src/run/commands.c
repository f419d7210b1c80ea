/* SPDX-License-Identifier: Apache-2.0 */
/* What each control command does. A refusal is a sentence; nothing was done then. */
#include <stdio.h>

#include "run/handed.h"
#include "run/storage.h"

#define MONITOR (&gw_run_storage.monitor)

static enum gw_status refuse_held(struct gw_fault *fault, const char *what)
{
    return gw_fault_set(fault, GW_ARGUMENT,
                        "guest %s is held: %s is refused until its outcome is known; wait for the "
                        "link, or see `godwit resolve %s`",
                        MONITOR->config->name, what, MONITOR->config->name);
}

static bool is_held(void)
{
    return gw_outbound_is_held() || gw_inbound_is_held();
}

static enum gw_status stop(struct gw_fault *fault)
{
    switch (MONITOR->state) {
    case GW_INFO_RUN_PAUSED:
        return GW_OK;
    case GW_INFO_RUN_RUNNING:
        gw_guest_pause();
        return GW_OK;
    default:
        return gw_fault_set(fault, GW_ARGUMENT, "the guest does not run here: it is in state %s",
                            gw_info_run_state_name(MONITOR->state));
    }
}

static enum gw_status cont(struct gw_fault *fault)
{
    if (is_held()) {
        return refuse_held(fault, "cont");
    }
    switch (MONITOR->state) {
    case GW_INFO_RUN_RUNNING:
        return GW_OK;
    case GW_INFO_RUN_PAUSED:
        return gw_guest_run(fault);
    case GW_INFO_RUN_POSTMIGRATE:
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the guest runs at %s: running it here too would make two of it",
                            MONITOR->peer);
    default:
        return gw_fault_set(fault, GW_ARGUMENT, "the guest cannot run now: it is in state %s",
                            gw_info_run_state_name(MONITOR->state));
    }
}

static enum gw_status quit(struct gw_fault *fault)
{
    if (is_held()) {
        return refuse_held(fault, "quit");
    }
    if (gw_outbound_is_pushing()) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "guest %s runs at %s and needs the memory that is still here; it is "
                            "done by itself when all of it is there (to give the guest up: godwit "
                            "resolve %s --give-up)",
                            MONITOR->config->name, MONITOR->peer, MONITOR->config->name);
    }
    if (gw_inbound_is_owing()) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the source has not confirmed that guest %s runs here, and may ask: "
                            "wait for the link, or see `godwit resolve %s`",
                            MONITOR->config->name, MONITOR->config->name);
    }
    (void)gw_monitor_quit();
    return GW_OK;
}

static enum gw_status cancel(struct gw_fault *fault)
{
    if (gw_upgrade_cancel()) {
        return GW_OK;
    }
    gw_outbound_conclude();
    if (MONITOR->is_leaving) {
        return gw_outgoing_cancel(&gw_run_storage.outgoing, fault);
    }
    if (gw_inbound_is_held()) {
        return refuse_held(fault, "migrate_cancel");
    }
    if (MONITOR->is_unsettled) {
        return gw_fault_set(fault, GW_ARGUMENT, "guest %s runs here: there is nothing to cancel",
                            MONITOR->config->name);
    }
    if (gw_inbound_is_coming()) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "guest %s comes here from %s: it is for that side to cancel, or for "
                            "`godwit quit %s` here",
                            MONITOR->config->name, gw_incoming_source(&gw_run_storage.incoming),
                            MONITOR->config->name);
    }
    return GW_OK; /* as in QEMU, cancelling nothing succeeds */
}

static enum gw_status refuse_idle(struct gw_fault *fault)
{
    return gw_fault_set(fault, GW_ARGUMENT, "no migration away from here is under way");
}

static enum gw_status start_postcopy(struct gw_fault *fault)
{
    if (!MONITOR->is_leaving) {
        return refuse_idle(fault);
    }
    if (!MONITOR->capability[GW_INFO_CAPABILITY_POSTCOPY_RAM]) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "postcopy is switched off: set the capability postcopy-ram first");
    }
    return gw_outgoing_postcopy(&gw_run_storage.outgoing, fault);
}

static enum gw_status pause_postcopy(struct gw_fault *fault)
{
    return MONITOR->is_leaving ? gw_outgoing_pause(&gw_run_storage.outgoing, fault)
                               : refuse_idle(fault);
}

static enum gw_status recover(const char *uri, struct gw_fault *fault)
{
    struct gw_handed handed;
    if (!MONITOR->is_leaving) {
        return refuse_idle(fault);
    }
    if (uri[0] == '\0') {
        return gw_outgoing_recover(&gw_run_storage.outgoing, NULL, fault);
    }
    if (gw_upgrade_is_moving()) { /* another address would be somebody else's */
        return gw_fault_set(fault, GW_ARGUMENT,
                            "guest %s is passing to a new godwit on this host: that link is tried "
                            "again by itself, and nobody else has its memory",
                            MONITOR->config->name);
    }
    enum gw_status status = gw_handed_take(&handed, uri, fault);
    if (status != GW_OK) {
        return status;
    }
    status = gw_outgoing_recover(&gw_run_storage.outgoing, handed.uri, fault);
    if (status == GW_OK) {
        (void)snprintf(MONITOR->peer, sizeof(MONITOR->peer), "%s", handed.peer);
    } else {
        gw_handed_close(&handed);
    }
    return status;
}

static enum gw_status upgrade(struct gw_fault *fault)
{
    struct gw_parcel came;
    came.fd_count = gw_clients_take_fds(came.fd);
    bool is_one = came.fd_count == 1;
    if (!is_one) {
        gw_parcel_close_fds(&came);
    }
    return gw_upgrade_start(is_one ? came.fd[0] : -1, fault);
}

static enum gw_status continue_migration(struct gw_fault *fault)
{
    return MONITOR->is_leaving ? gw_outgoing_continue(&gw_run_storage.outgoing, fault)
                               : refuse_idle(fault);
}

/* The throttle's numbers hold from the next migration on. */
static enum gw_status set_throttle(const struct gw_qmp_parameters *parameters,
                                   struct gw_fault *fault)
{
    struct gw_info_parameters *now = &MONITOR->parameters;
    uint64_t initial = parameters->has_throttle_initial ? parameters->value.throttle_initial_percent
                                                        : now->throttle_initial_percent;
    uint64_t max = parameters->has_throttle_max ? parameters->value.throttle_max_percent
                                                : now->throttle_max_percent;
    if (max < initial) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "max-cpu-throttle is %llu, below cpu-throttle-initial, which is %llu",
                            (unsigned long long)max, (unsigned long long)initial);
    }
    now->throttle_initial_percent = initial;
    now->throttle_max_percent = max;
    if (parameters->has_throttle_trigger) {
        now->throttle_trigger_percent = parameters->value.throttle_trigger_percent;
    }
    if (parameters->has_throttle_increment) {
        now->throttle_increment_percent = parameters->value.throttle_increment_percent;
    }
    if (parameters->has_throttle_tail_slow) {
        now->is_throttle_tail_slow = parameters->value.is_throttle_tail_slow;
    }
    return GW_OK;
}

static void put_limits(struct gw_info_parameters *limits,
                       const struct gw_qmp_parameters *parameters)
{
    if (parameters->has_downtime_limit) {
        limits->downtime_limit_ms = parameters->value.downtime_limit_ms;
    }
    if (parameters->has_bandwidth_max) {
        limits->bandwidth_max_bytes = parameters->value.bandwidth_max_bytes;
    }
    if (parameters->has_postcopy_bandwidth_max) {
        limits->postcopy_bandwidth_max_bytes = parameters->value.postcopy_bandwidth_max_bytes;
    }
    if (parameters->has_channels) { /* for the next migration */
        limits->channels = parameters->value.channels;
    }
    if (parameters->has_compress) { /* the same */
        limits->compress = parameters->value.compress;
    }
}

/* Limits hold at once, for a migration under way too. */
static enum gw_status set_parameters(const struct gw_qmp_parameters *parameters,
                                     struct gw_fault *fault)
{
    struct gw_info_parameters *now = &MONITOR->parameters;
    enum gw_status status = set_throttle(parameters, fault);
    if (status) {
        return status;
    }
    put_limits(now, parameters);
    if (MONITOR->is_leaving) {
        struct gw_info_parameters *limits = &MONITOR->limits;
        put_limits(limits, parameters);
        gw_outgoing_set_limits(&gw_run_storage.outgoing, limits->downtime_limit_ms * GW_NS_PER_MS,
                               limits->bandwidth_max_bytes, limits->postcopy_bandwidth_max_bytes);
    }
    return GW_OK;
}

/* As in QEMU, only events may be switched while the guest leaves. */
static enum gw_status set_capabilities(const struct gw_qmp_capabilities *capabilities,
                                       struct gw_fault *fault)
{
    gw_outbound_conclude();
    for (int i = 0; i < GW_INFO_CAPABILITY_COUNT && MONITOR->is_leaving; i++) {
        if (capabilities->is_given[i] && i != GW_INFO_CAPABILITY_EVENTS) {
            return gw_fault_set(fault, GW_ARGUMENT,
                                "There's a migration process in progress: %s cannot be changed "
                                "before it is over",
                                gw_info_capability_name((enum gw_info_capability)i));
        }
    }
    for (int i = 0; i < GW_INFO_CAPABILITY_COUNT; i++) {
        if (capabilities->is_given[i]) {
            MONITOR->capability[i] = capabilities->state[i];
        }
    }
    return GW_OK;
}

/* Resolving */

static enum gw_status give_up(struct gw_info_resolve *result, struct gw_fault *fault)
{
    struct gw_token token;
    bool is_source = MONITOR->is_leaving;
    enum gw_status status =
        is_source ? gw_outgoing_give_up(&gw_run_storage.outgoing, &token, fault)
        : MONITOR->is_arriving
            ? gw_incoming_give_up(&gw_run_storage.incoming, &token, fault)
            : gw_fault_set(fault, GW_ARGUMENT, "nothing to resolve: no migration is under way");
    if (status) {
        return status;
    }
    if (is_source ? gw_outgoing_state(&gw_run_storage.outgoing) == GW_SOURCE_LOST
                  : gw_incoming_state(&gw_run_storage.incoming) == GW_TARGET_LOST) {
        (void)snprintf(result->text, sizeof(result->text),
                       "guest %s is given up: it ran at the target without all of its memory",
                       MONITOR->config->name);
        return GW_OK;
    }
    gw_token_encode(&token, result->token);
    (void)snprintf(result->text, sizeof(result->text),
                   "this side never runs %s; on the other: godwit resolve %s --run TOKEN",
                   MONITOR->config->name, MONITOR->config->name);
    return GW_OK;
}

static enum gw_status run_anyway(const struct gw_token *token, struct gw_info_resolve *result,
                                 struct gw_fault *fault)
{
    enum gw_status status;
    if (MONITOR->is_leaving) {
        status = gw_outgoing_run_anyway(&gw_run_storage.outgoing, token, fault);
    } else if (MONITOR->is_unsettled && token != NULL) {
        status =
            gw_fault_set(fault, GW_ARGUMENT,
                         "guest %s runs here already: that takes no token. To stop waiting for "
                         "its source: --run --other-is-dead",
                         MONITOR->config->name);
    } else if (MONITOR->is_unsettled) {
        status = gw_incoming_forget(&gw_run_storage.incoming, fault);
    } else if (MONITOR->is_arriving) {
        status = gw_incoming_run_anyway(&gw_run_storage.incoming, token, fault);
    } else {
        status = gw_fault_set(fault, GW_ARGUMENT, "nothing to resolve: no migration is under way");
    }
    if (status == GW_OK) {
        (void)snprintf(result->text, sizeof(result->text),
                       "guest %s is this side's, and goes on here (see `godwit status %s`)",
                       MONITOR->config->name, MONITOR->config->name);
    }
    return status;
}

static enum gw_status resolve(const struct gw_qmp_resolve *resolve, struct gw_info_resolve *result,
                              struct gw_fault *fault)
{
    struct gw_token token;
    enum gw_status status;
    switch (resolve->action) {
    case GW_QMP_RESOLVE_GIVE_UP:
        return give_up(result, fault);
    case GW_QMP_RESOLVE_RUN_TOKEN:
        status = gw_token_decode(&token, resolve->token, fault);
        return status ? status : run_anyway(&token, result, fault);
    case GW_QMP_RESOLVE_RUN_OTHER_IS_DEAD:
        return run_anyway(NULL, result, fault);
    }
    return GW_OK;
}

static void reply_empty(struct gw_qmp_message *reply, const char *id, enum gw_status status,
                        const struct gw_fault *fault)
{
    if (status == GW_OK) {
        gw_qmp_encode_empty(reply, id);
    } else {
        gw_qmp_encode_error(reply, id, fault->text);
    }
}

static void reply_resolve(struct gw_qmp_message *reply, const char *id,
                          const struct gw_qmp_resolve *arguments)
{
    struct gw_fault fault = {0};
    struct gw_info_resolve result = {0};
    if (resolve(arguments, &result, &fault) == GW_OK) {
        gw_qmp_encode_resolve(reply, id, &result);
    } else {
        gw_qmp_encode_error(reply, id, fault.text);
    }
}

static void reply_status(struct gw_qmp_message *reply, const char *id)
{
    struct gw_info_status status;
    struct gw_info_migrate migrate;
    gw_report_status(&status);
    gw_report_migrate(&migrate);
    gw_qmp_encode_status(reply, id, &status, &migrate);
}

static void reply_migrate(struct gw_qmp_message *reply, const char *id)
{
    struct gw_info_migrate migrate;
    gw_report_migrate(&migrate);
    gw_qmp_encode_migrate(reply, id, &migrate);
}

void gw_command_execute(const struct gw_qmp_request *request, struct gw_qmp_message *reply)
{
    struct gw_fault fault = {0};
    const char *id = request->id;
    switch (request->command) {
    case GW_QMP_CAPABILITIES:
        gw_qmp_encode_empty(reply, id);
        break;
    case GW_QMP_QUERY_VERSION:
        gw_qmp_encode_version(reply, id);
        break;
    case GW_QMP_QUERY_COMMANDS:
        gw_qmp_encode_commands(reply, id);
        break;
    case GW_QMP_QUERY_STATUS:
        gw_qmp_encode_run_state(reply, id, MONITOR->state);
        break;
    case GW_QMP_QUERY_NAME:
        gw_qmp_encode_name(reply, id, MONITOR->config->name);
        break;
    case GW_QMP_STOP:
        reply_empty(reply, id, stop(&fault), &fault);
        break;
    case GW_QMP_CONT:
        reply_empty(reply, id, cont(&fault), &fault);
        break;
    case GW_QMP_QUIT:
        reply_empty(reply, id, quit(&fault), &fault);
        break;
    case GW_QMP_MIGRATE:
        reply_empty(reply, id,
                    request->arguments.migrate.is_resume
                        ? recover(request->arguments.migrate.uri, &fault)
                        : gw_outbound_start(&request->arguments.migrate, &fault),
                    &fault);
        break;
    case GW_QMP_MIGRATE_CANCEL:
        reply_empty(reply, id, cancel(&fault), &fault);
        break;
    case GW_QMP_MIGRATE_START_POSTCOPY:
        reply_empty(reply, id, start_postcopy(&fault), &fault);
        break;
    case GW_QMP_MIGRATE_CONTINUE:
        reply_empty(reply, id, continue_migration(&fault), &fault);
        break;
    case GW_QMP_BLOCK:
        reply_empty(
            reply, id,
            gw_blockers_put(request->arguments.block.id, request->arguments.block.reason, &fault),
            &fault);
        break;
    case GW_QMP_UNBLOCK:
        reply_empty(reply, id, gw_blockers_remove(request->arguments.block.id, &fault), &fault);
        break;
    case GW_QMP_MIGRATE_PAUSE:
        reply_empty(reply, id, pause_postcopy(&fault), &fault);
        break;
    case GW_QMP_MIGRATE_RECOVER:
        reply_empty(reply, id, recover(request->arguments.recover.uri, &fault), &fault);
        break;
    case GW_QMP_QUERY_MIGRATE:
        reply_migrate(reply, id);
        break;
    case GW_QMP_MIGRATE_SET_PARAMETERS:
        reply_empty(reply, id, set_parameters(&request->arguments.parameters, &fault), &fault);
        break;
    case GW_QMP_QUERY_MIGRATE_PARAMETERS:
        gw_qmp_encode_parameters(reply, id, &MONITOR->parameters);
        break;
    case GW_QMP_MIGRATE_SET_CAPABILITIES:
        reply_empty(reply, id, set_capabilities(&request->arguments.capabilities, &fault), &fault);
        break;
    case GW_QMP_QUERY_MIGRATE_CAPABILITIES:
        gw_qmp_encode_capabilities(reply, id, MONITOR->capability);
        break;
    case GW_QMP_CALC_DIRTY_RATE:
        reply_empty(reply, id, gw_dirty_rate_begin(request->arguments.calc_seconds, &fault),
                    &fault);
        break;
    case GW_QMP_QUERY_DIRTY_RATE:
        gw_qmp_encode_dirty_rate(reply, id, &gw_run_storage.dirty_rate.info);
        break;
    case GW_QMP_STATUS:
        reply_status(reply, id);
        break;
    case GW_QMP_RESOLVE:
        reply_resolve(reply, id, &request->arguments.resolve);
        break;
    case GW_QMP_UPGRADE:
        reply_empty(reply, id, upgrade(&fault), &fault);
        break;
    case GW_QMP_COMMAND_COUNT:
        break;
    }
}
