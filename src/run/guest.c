/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's life on this side: the machine's events and the console's bytes. */
#include "run/storage.h"

#define MONITOR (&gw_run_storage.monitor)
#define VM      (&gw_run_storage.vm)
#define UPGRADE (&gw_run_storage.upgrade)

/* At a time: a guest that writes without end does not keep the loop from everything else. Both are
 * more than one that stands still can have. */
enum { TAKES_MAX = 16, EVENTS_MAX = 8 };

void gw_guest_console_ready(void)
{
    uint8_t bytes[512];
    if (UPGRADE->phase == GW_UPGRADE_TAKING) {
        return; /* the old godwit has the console: it waits as on a slow line */
    }
    for (int i = 0; i < TAKES_MAX; i++) {
        size_t count = gw_vm_console_take(VM, bytes, sizeof(bytes));
        if (count == 0) {
            return;
        }
        gw_console_write(bytes, count);
    }
    gw_vm_console_again(VM);
}

/* Pages the machine itself wrote: a migration must send them. */
static void mark_written(void *context, uint64_t page, uint64_t count)
{
    gw_marks_put(context, page, count);
}

/* From a vCPU's thread. Only a tracker that is on fills rings, so it is there. */
static enum gw_status empty_rings(void *context, struct gw_fault *fault)
{
    (void)context;
    return gw_tracker_kvm_ring_relieve(&gw_run_storage.tracker.ring, fault);
}

static void ended(enum gw_info_run_state state, enum gw_qmp_event event, int code)
{
    gw_guest_console_ready();
    gw_outbound_guest_ended();
    gw_monitor_set_state(state);
    gw_monitor_event(event);
    gw_monitor_guest_ended(code);
}

static void halted(void)
{
    gw_guest_console_ready();
    if (MONITOR->is_halt_awaited) {
        gw_outbound_halted();
    }
}

static void handle_event(const struct gw_vm_event *event)
{
    switch (event->kind) {
    case GW_VM_HALTED:
        halted();
        break;
    case GW_VM_POWERED_OFF:
        gw_monitor_say("guest %s powered off", MONITOR->config->name);
        ended(GW_INFO_RUN_SHUTDOWN, GW_QMP_EVENT_SHUTDOWN, GW_RUN_EXIT_DONE);
        break;
    case GW_VM_RESET_ASKED:
        gw_monitor_say("guest %s asked for a reset, which godwit does not do: start it again with "
                       "godwit run",
                       MONITOR->config->name);
        ended(GW_INFO_RUN_SHUTDOWN, GW_QMP_EVENT_RESET, GW_RUN_EXIT_RESET);
        break;
    case GW_VM_CRASHED:
        gw_monitor_say("guest %s crashed: %s", MONITOR->config->name, event->text);
        ended(GW_INFO_RUN_GUEST_PANICKED, GW_QMP_EVENT_GUEST_PANICKED, GW_RUN_EXIT_CRASHED);
        gw_monitor_event(GW_QMP_EVENT_PANIC_ENDS);
        break;
    case GW_VM_CONSOLE:
        gw_guest_console_ready();
        break;
    case GW_VM_CONSOLE_ROOM:
        gw_console_feed();
        break;
    }
}

static void handle(void *context, uint32_t events)
{
    struct gw_vm_event event;
    (void)context;
    (void)events;
    for (int i = 0; i < EVENTS_MAX && gw_vm_event_next(VM, &event) == GW_OK; i++) {
        handle_event(&event);
    }
}

/* What a handover takes of the downtime, pages and the link aside: stopping and saving here,
 * loading and starting there, and a few threads that wake each other. Where it was measured that
 * was 5 to 10 times what the quickest of three savings of a machine took that was just built. */
static enum gw_status measure_handover(struct gw_fault *fault)
{
    struct gw_saved_state *saved = &gw_run_storage.saved;
    enum gw_status status = GW_OK;
    uint64_t least_ns = UINT64_MAX;
    for (int i = 0; i < 3 && status == GW_OK; i++) {
        size_t bytes = 0;
        uint64_t start_ns = gw_clock_now_ns();
        status = gw_vm_save(VM, saved->bytes, sizeof(saved->bytes), &bytes, fault);
        uint64_t took_ns = gw_clock_now_ns() - start_ns;
        least_ns = took_ns < least_ns ? took_ns : least_ns;
    }
    MONITOR->handover_ns = 8 * least_ns;
    return status;
}

static enum gw_status open_ram(const struct gw_run_config *config, struct gw_fault *fault)
{
    struct gw_ram *ram = &gw_run_storage.ram;
    if (!config->is_taking_over) {
        return config->is_huge
                   ? gw_ram_add_hugetlb(ram, GW_VM_RAM_BASE, config->memory_bytes, fault)
                   : gw_ram_add_memfd(ram, GW_VM_RAM_BASE, config->memory_bytes, fault);
    }
    return gw_ram_add_shared(ram, GW_VM_RAM_BASE, config->memory_bytes,
                             gw_take_over_fd(GW_TAKE_OVER_RAM), fault);
}

enum gw_status gw_guest_open(struct gw_fault *fault)
{
    const struct gw_run_config *config = MONITOR->config;
    const struct gw_vm_config vm_config = {.vcpu_count = config->vcpu_count,
                                           .dirty_ring_entries = config->dirty_ring_entries,
                                           .ring_full = empty_rings,
                                           .pages_written = mark_written,
                                           .context = &gw_run_storage.marks};
    gw_run_storage.dirty_rate.info.is_by_ring = config->dirty_ring_entries > 0;
    gw_ram_init(&gw_run_storage.ram);
    enum gw_status status = open_ram(config, fault);
    if (!status) {
        status = gw_vm_open(VM, &vm_config, &gw_run_storage.ram, fault);
    }
    if (!status) {
        status = gw_vm_facts(VM, &gw_run_storage.facts, fault);
    }
    if (!status) {
        status = measure_handover(fault);
    }
    if (status) {
        return status;
    }
    return gw_loop_add(&MONITOR->loop, &MONITOR->vm_watch, gw_vm_event_fd(VM), EPOLLIN, handle,
                       NULL, fault);
}

enum gw_status gw_guest_boot(struct gw_fault *fault)
{
    const struct gw_run_config *config = MONITOR->config;
    const struct gw_vm_boot boot = {.kernel = config->kernel,
                                    .flat = config->flat,
                                    .initrd = config->initrd,
                                    .command_line = config->cmdline};
    enum gw_status status = gw_vm_boot(VM, &boot, fault);
    return status ? status : gw_guest_run(fault);
}

enum gw_status gw_guest_run(struct gw_fault *fault)
{
    enum gw_status status = gw_vm_run(VM, fault);
    if (status) {
        return status;
    }
    gw_monitor_set_state(GW_INFO_RUN_RUNNING);
    gw_console_feed(); /* what was typed before it came */
    gw_guest_tell_resume();
    return GW_OK;
}

void gw_guest_tell_resume(void)
{
    if (MONITOR->is_stop_told && MONITOR->state == GW_INFO_RUN_RUNNING &&
        UPGRADE->phase != GW_UPGRADE_TAKING) {
        MONITOR->is_stop_told = false;
        gw_monitor_event(GW_QMP_EVENT_RESUME);
    }
}

void gw_guest_pause(void)
{
    gw_vm_halt(VM);
    gw_monitor_set_state(GW_INFO_RUN_PAUSED);
    MONITOR->is_stop_told = true;
    gw_monitor_event(GW_QMP_EVENT_STOP);
}
