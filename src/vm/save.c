/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's state as bytes, and back.
 *
 * Order of saving, all vCPUs parked: time, vCPUs, interrupt controller, devices. Order of loading
 * into a fresh VM: devices first (they are pure and may refuse without a system call), vCPUs, the
 * controller, then the devices' interrupt lines; guest time is set by gw_vm_set_elapsed, last.
 *
 * Owner: the machine, while halted. Blocks for its system calls.
 */
#include "internal.h"

#include <inttypes.h>

#include "vm/plan.h"

static void save_time(const struct gw_vm *vm, struct gw_state_writer *writer)
{
    gw_state_section_start(writer, "time", 1);
    gw_state_put_u64(writer, vm->halted_counter);
    gw_state_put_u64(writer, vm->halted_wall_ns);
    gw_state_section_stop(writer);
}

static void save_device(const struct gw_device *device, struct gw_state_writer *writer)
{
    gw_state_section_start(writer, device->operations->name, device->operations->version);
    device->operations->save(device, writer);
    gw_state_section_stop(writer);
}

static void save_devices(struct gw_vm *vm, struct gw_state_writer *writer)
{
    (void)pthread_mutex_lock(&vm->device_lock);
    for (uint32_t i = 0; i < GW_VM_DEVICES; i++)
        save_device(vm->devices[i], writer);
    (void)pthread_mutex_unlock(&vm->device_lock);
}

enum gw_status gw_vm_save(struct gw_vm *vm, uint8_t *bytes, size_t capacity, size_t *bytes_used,
                          struct gw_fault *fault)
{
    struct gw_state_writer writer;
    GW_ASSERT(gw_vm_is_halted(vm));
    gw_state_writer_init(&writer, bytes, capacity);
    save_time(vm, &writer);
    enum gw_status status = GW_OK;
    for (uint32_t i = 0; status == GW_OK && i < vm->config.vcpu_count; i++)
        status = gw_vm_vcpu_save(vm, i, &writer, fault);
    if (status == GW_OK)
        status = gw_vm_gic_save(vm, &writer, fault);
    if (status != GW_OK)
        return status;
    save_devices(vm, &writer);
    *bytes_used = writer.used;
    return gw_state_writer_check(&writer, fault);
}

static enum gw_status load_time(struct gw_vm *vm, struct gw_state_section *section,
                                struct gw_fault *fault)
{
    vm->halted_counter = gw_state_get_u64(&section->payload);
    vm->halted_wall_ns = gw_state_get_u64(&section->payload);
    vm->is_settled = false;
    return gw_state_section_check(section, fault);
}

static enum gw_status load_devices(struct gw_vm *vm, struct gw_vm_plan *plan,
                                   struct gw_fault *fault)
{
    enum gw_status status =
        vm->pl011.device.operations->load(&vm->pl011.device, &plan->sections[GW_PLAN_PL011], fault);
    if (status == GW_OK)
        status = vm->pl031.device.operations->load(&vm->pl031.device,
                                                   &plan->sections[GW_PLAN_PL031], fault);
    return status;
}

static enum gw_status load_sections(struct gw_vm *vm, struct gw_vm_plan *plan,
                                    struct gw_fault *fault)
{
    enum gw_status status = load_time(vm, &plan->sections[GW_PLAN_TIME], fault);
    if (status == GW_OK)
        status = load_devices(vm, plan, fault);
    for (uint32_t i = 0; status == GW_OK && i < vm->config.vcpu_count; i++)
        status = gw_vm_vcpu_load(vm, i, &plan->sections[GW_PLAN_VCPU + i], fault);
    if (status == GW_OK)
        status = gw_vm_gic_load(vm, &plan->sections[GW_PLAN_GIC], fault);
    return status;
}

enum gw_status gw_vm_renew(struct gw_vm *vm, struct gw_fault *fault)
{
    GW_ASSERT(gw_vm_is_halted(vm));
    if (vm->is_fresh)
        return GW_OK;
    gw_vm_demolish(vm);
    return gw_vm_build(vm, fault);
}

enum gw_status gw_vm_load(struct gw_vm *vm, const uint8_t *bytes, size_t count,
                          struct gw_fault *fault)
{
    struct gw_vm_plan plan;
    GW_ASSERT(gw_vm_is_halted(vm));
    vm->has_guest = false; /* whatever comes of it */
    enum gw_status status = gw_vm_plan_read(&plan, bytes, count, vm->config.vcpu_count, fault);
    if (status != GW_OK)
        return status;
    status = gw_vm_renew(vm, fault);
    if (status != GW_OK)
        return status;
    vm->is_fresh = false;
    gw_vm_forget_ending(vm);
    status = load_sections(vm, &plan, fault);
    if (status != GW_OK) {
        gw_vm_devices_reset(vm);
        return status;
    }
    gw_vm_lines_settle(vm, true);
    vm->has_guest = true;
    return GW_OK;
}
