/* SPDX-License-Identifier: Apache-2.0 */
/* A guest comes: does for the target engine what only the machine's owner can. */
#include <inttypes.h>
#include <string.h>

#include "run/storage.h"

#define MONITOR  (&gw_run_storage.monitor)
#define INCOMING (&gw_run_storage.incoming)

enum { DEVICES = 1 + GW_VM_DEVICES }; /* the machine itself, and what the guest sees in it */

bool gw_inbound_is_held(void)
{
    struct gw_target_figures figures;
    if (!MONITOR->is_arriving) {
        return false;
    }
    gw_incoming_get_figures(INCOMING, &figures);
    return figures.is_held;
}

bool gw_inbound_is_coming(void)
{
    struct gw_target_figures figures;
    if (!MONITOR->is_arriving) {
        return false;
    }
    gw_incoming_get_figures(INCOMING, &figures);
    return strcmp(figures.status, "none") != 0 && !figures.is_held && !figures.is_unsettled;
}

/* A guest that ended when all its memory was here needs nobody any more. */
bool gw_inbound_is_owing(void)
{
    return MONITOR->is_unsettled && (MONITOR->guest_ended_ns == 0 || MONITOR->took_ns == 0);
}

/* How long a guest waits for memory that only its source has, before it is taken for lost. */
#define RECOVER_NS (3600 * GW_NS_PER_S)

/* Whatever the machine and its devices need before they can take a guest is done while the guest
 * still runs over there: a machine that was loaded before, in vain, is built anew. */
static void prepare_devices(void)
{
    struct gw_fault fault = {0};
    if (gw_vm_renew(&gw_run_storage.vm, &fault) != GW_OK) {
        gw_incoming_host_fault(INCOMING, &fault);
        return;
    }
    MONITOR->is_tracker_ready = false;
    for (int i = 0; i < DEVICES; i++) {
        gw_incoming_device_ready(INCOMING);
    }
}

/* Who was told to quit takes no guest any more, which would end with it: its source keeps it. */
static bool is_turned_away(void)
{
    struct gw_fault fault = {0};
    if (MONITOR->is_ending) {
        (void)gw_fault_set(&fault, GW_CANCELLED, "the target was told to quit");
        gw_incoming_host_fault(INCOMING, &fault);
    }
    return MONITOR->is_ending;
}

static void load(void)
{
    struct gw_fault fault = {0};
    uint32_t bytes = 0;
    if (is_turned_away()) {
        return;
    }
    const uint8_t *state = gw_incoming_get_state(INCOMING, &bytes);
    if (gw_vm_load(&gw_run_storage.vm, state, bytes, &fault) != GW_OK) {
        gw_incoming_host_fault(INCOMING, &fault);
        return;
    }
    MONITOR->is_tracker_ready = false; /* load may have built the VM anew */
    gw_incoming_loaded(INCOMING);
}

/* It is here now: that it once left is history. Not worth a failure: `run --incoming` does not
 * look at that record, and a boot refused for it says what to do. */
static void forget_departure(void)
{
    struct gw_fault fault = {0};
    if (gw_records_clear_departure(MONITOR->config, &fault) != GW_OK) {
        gw_monitor_say("%s", fault.text);
    }
}

static void run(const struct gw_target_action *action)
{
    struct gw_fault fault = {0};
    if (is_turned_away()) {
        return;
    }
    uint64_t elapsed_ns = MONITOR->config->is_guest_clock_stopped ? 0 : action->elapsed_ns;
    enum gw_status status = gw_vm_set_elapsed(&gw_run_storage.vm, elapsed_ns, &fault);
    MONITOR->is_stop_told = true; /* on the source */
    if (!status && action->is_running) {
        status = gw_guest_run(&fault);
    } else if (!status) {
        gw_monitor_set_state(GW_INFO_RUN_PAUSED);
    }
    if (status) {
        gw_incoming_host_fault(INCOMING, &fault);
        return;
    }
    gw_incoming_running(INCOMING);
    MONITOR->is_departure_old = true;
    MONITOR->arrived_ns = gw_clock_now_ns();
    MONITOR->is_unsettled = true;
}

static void record(const struct gw_target_action *action)
{
    struct gw_fault fault = {0};
    enum gw_status status = gw_records_put_history(MONITOR->config, &action->history, &fault);
    bool has_taken = action->history.count > 0 && action->history.entry[0].state == GW_RECORD_TOOK;
    if (status) {
        gw_monitor_say("guest %s: %s", MONITOR->config->name, fault.text);
    } else { /* the newest entry is this guest's: one it took before came at another time */
        MONITOR->took_ns = has_taken ? gw_clock_now_ns() : 0;
    }
    gw_incoming_recorded(INCOMING, status ? &fault : NULL);
}

static void finish(void)
{
    struct gw_fault fault;
    if (gw_incoming_state(INCOMING) == GW_TARGET_DONE) {
        gw_loop_remove(&MONITOR->incoming_watch);
        gw_incoming_stop(INCOMING);
        MONITOR->is_arriving = false;
        gw_take_over_end();
        gw_upgrade_drop_facts();
        gw_monitor_say("guest %s came and is settled", MONITOR->config->name);
        gw_monitor_settled();
        return;
    }
    gw_incoming_get_fault(INCOMING, &fault);
    if (gw_incoming_state(INCOMING) == GW_TARGET_LOST && MONITOR->guest_ended_ns > 0) {
        gw_monitor_settled();
        return;
    }
    if (gw_incoming_state(INCOMING) == GW_TARGET_LOST) {
        gw_monitor_say("guest %s is lost: %s", MONITOR->config->name, fault.text);
        gw_monitor_set_state(GW_INFO_RUN_INTERNAL_ERROR);
        MONITOR->is_unsettled = false;
        gw_monitor_end(GW_RUN_EXIT_LOST);
        return;
    }
    gw_monitor_say("no guest came: %s", fault.text[0] ? fault.text : "the source went away");
    if (gw_incoming_state(INCOMING) == GW_TARGET_NONE) {
        gw_monitor_end(GW_RUN_EXIT_HOST);
    } else if (MONITOR->config->is_once) {
        gw_monitor_end(GW_RUN_EXIT_FAILED);
    }
}

/* A line of the log when the source is lost, and for each step of a guest that runs here before all
 * of its memory is here. */
static void say_status(void)
{
    struct gw_target_figures figures;
    struct gw_fault fault;
    const char *name = MONITOR->config->name;
    gw_incoming_get_figures(INCOMING, &figures);
    gw_incoming_get_fault(INCOMING, &fault);
    uint64_t missing_kib = figures.missing_pages * gw_run_storage.ram.page_bytes / 1024;
    if (figures.state == GW_TARGET_AWAITING) {
        gw_monitor_say("the source of guest %s is waited for, or another one: %s", name,
                       fault.text);
    } else if (figures.state == GW_TARGET_PULLING) {
        gw_monitor_say("guest %s runs here; %" PRIu64 " KiB of its memory follow", name,
                       missing_kib);
    } else if (figures.state == GW_TARGET_STRANDED) {
        gw_monitor_say("guest %s runs until it needs memory that is still on the source, %" PRIu64
                       " KiB: %s",
                       name, missing_kib, fault.text);
    } else if (figures.state == GW_TARGET_RUNNING && figures.is_postcopy) {
        gw_monitor_say("all memory of guest %s is here; its CPUs stood still together for %" PRIu64
                       " ms of %" PRIu64 " ms",
                       name, figures.blocktime.all_total_ns / GW_NS_PER_MS,
                       figures.postcopy_ns / GW_NS_PER_MS);
    }
}

static void act(const struct gw_target_action *action)
{
    switch (action->type) {
    case GW_TARGET_DO_RECORD:
        record(action);
        break;
    case GW_TARGET_DO_PREPARE_DEVICES:
        prepare_devices();
        break;
    case GW_TARGET_DO_LOAD:
        load();
        break;
    case GW_TARGET_DO_RUN:
        run(action);
        break;
    case GW_TARGET_DO_STATUS:
        say_status();
        gw_monitor_event_migration(strcmp(action->status, "none") == 0 ? "failed" : action->status);
        break;
    case GW_TARGET_DO_FINISH:
        finish();
        break;
    default:
        break; /* gw_incoming does the others itself */
    }
}

/* Once a second at most: anybody can knock. */
static void say_strangers(void)
{
    struct gw_fault fault;
    uint64_t now_ns = gw_clock_now_ns();
    if (now_ns - MONITOR->stranger_ns >= GW_NS_PER_S &&
        gw_incoming_next_stranger(INCOMING, &fault) == GW_OK) {
        MONITOR->stranger_ns = now_ns;
        gw_monitor_say("turned away: %s", fault.text);
    }
}

static void handle(void *context, uint32_t events)
{
    struct gw_target_action action;
    (void)context;
    (void)events;
    gw_incoming_work(INCOMING);
    say_strangers();
    while (MONITOR->is_arriving && gw_incoming_next(INCOMING, &action) == GW_OK) {
        act(&action);
    }
    if (MONITOR->is_departure_old) { /* RUNNING is out: nobody waits for this disk */
        MONITOR->is_departure_old = false;
        forget_departure();
    }
    if (!gw_inbound_is_held()) {
        MONITOR->held_since_ns = 0;
    } else if (MONITOR->held_since_ns == 0) {
        MONITOR->held_since_ns = gw_clock_now_ns();
    }
    gw_take_over_settle();
}

enum gw_status gw_inbound_start(struct gw_fault *fault)
{
    const struct gw_run_config *config = MONITOR->config;
    struct gw_incoming_config incoming = {
        .target = {.facts = &gw_run_storage.facts,
                   .vcpu_count = config->vcpu_count,
                   .device_count = config->is_taking_over ? 0 : DEVICES,
                   .can_postcopy = !config->is_taking_over,
                   .is_ram_shared = config->is_taking_over,
                   .recover_ns_max = RECOVER_NS},
        .uri = config->incoming_uri,
        .ram = &gw_run_storage.ram,
        .transport = gw_transport_defaults};
    if (!config->is_taking_over) {
        gw_identity_expect(config, &incoming.transport);
    }
    enum gw_status status = gw_records_get_history(config, &incoming.target.history, fault);
    if (!status && config->is_taking_over) {
        status = gw_upgrade_put_facts(fault);
    }
    if (!status) {
        status = gw_incoming_start(INCOMING, &incoming, fault);
    }
    if (!status) {
        status = gw_loop_add(&MONITOR->loop, &MONITOR->incoming_watch, gw_incoming_fd(INCOMING),
                             EPOLLIN, handle, NULL, fault);
    }
    if (status) {
        return status;
    }
    MONITOR->is_arriving = true;
    gw_monitor_set_state(GW_INFO_RUN_INMIGRATE);
    if (!config->is_taking_over) {
        gw_monitor_say("guest %s may come to %s", config->name, gw_incoming_address(INCOMING));
    }
    return GW_OK;
}
