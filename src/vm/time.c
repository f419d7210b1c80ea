/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest time: the counter and the wall clock.
 *
 * Where the host can (Linux 6.4 and later), KVM_ARM_SET_COUNTER_OFFSET sets one offset for the
 * virtual and the physical counter from birth on; writes to the counter registers mean nothing
 * from then on, so they are not part of a vCPU's saved registers. An older host moves the virtual
 * counter alone, by writing KVM_REG_ARM_TIMER_CNT of one vCPU, which acts on the whole VM. A fact
 * says which way it is, because a guest moves only between hosts of the same way.
 *
 * Either way the guest's counter is set once for the VM, as the last act before it runs. Compare
 * values are absolute and travel with the other registers.
 *
 * The guest's wall clock is this host's plus an offset, 0 at birth. What moves is its value at
 * the stop, so that it goes on evenly even if the two hosts' clocks disagree.
 *
 * Owner: the machine. Threads: note comes from the last vCPU to park, under the lock.
 */
#include "internal.h"

#include <asm/kvm.h>
#include <linux/kvm.h>
#include <errno.h>

#include "godwit/clock.h"

static uint64_t counter_hz(void)
{
    uint64_t hz;
    __asm__("mrs %0, cntfrq_el0" : "=r"(hz));
    return hz;
}

/* Both counters less their offset. The arithmetic is modulo 2^64, as the hardware's. */
static int set_offset(struct gw_vm *vm, uint64_t offset)
{
    struct kvm_arm_counter_offset request = {.counter_offset = offset};
    if (gw_kvm_call(vm->fd, KVM_ARM_SET_COUNTER_OFFSET, &request) < 0)
        return errno;
    vm->counter_offset = offset;
    return 0;
}

static int set_counter(struct gw_vm *vm, uint64_t counter)
{
    if (!vm->has_counter_offset)
        return gw_kvm_set(vm->vcpu[0].fd, KVM_REG_ARM_TIMER_CNT, counter);
    uint64_t now;
    int error = gw_kvm_get(vm->vcpu[0].fd, KVM_REG_ARM_TIMER_CNT, &now);
    return error ? error : set_offset(vm, now + vm->counter_offset - counter);
}

enum gw_status gw_vm_time_start(struct gw_vm *vm, struct gw_fault *fault)
{
    vm->wall_offset_ns = 0;
    if (!vm->has_counter_offset)
        return GW_OK; /* KVM starts the virtual counter at 0 by itself */
    uint64_t physical;
    int error = gw_kvm_get(vm->vcpu[0].fd, KVM_REG_ARM_PTIMER_CNT, &physical);
    if (!error)
        error = set_offset(vm, physical);
    if (error)
        return gw_fault_set_os(fault, error,
                               "KVM refused to set the guest's counter (counter offset)");
    return GW_OK;
}

uint64_t gw_vm_wall_ns(const struct gw_vm *vm)
{
    return gw_clock_wall_ns() + (uint64_t)vm->wall_offset_ns;
}

void gw_vm_time_note(struct gw_vm *vm)
{
    (void)gw_kvm_get(vm->vcpu[0].fd, KVM_REG_ARM_TIMER_CNT, &vm->halted_counter);
    vm->halted_now_ns = gw_clock_now_ns();
    vm->halted_wall_ns = gw_vm_wall_ns(vm);
}

uint64_t gw_vm_elapsed(const struct gw_vm *vm)
{
    return gw_clock_now_ns() - vm->halted_now_ns;
}

enum gw_status gw_vm_set_elapsed(struct gw_vm *vm, uint64_t elapsed_ns, struct gw_fault *fault)
{
    if (vm->is_settled)
        return gw_fault_set(fault, GW_ARGUMENT, "the guest's time is set already");
    uint64_t hz = counter_hz();
    uint64_t ticks = elapsed_ns / GW_NS_PER_S * hz + elapsed_ns % GW_NS_PER_S * hz / GW_NS_PER_S;
    vm->wall_offset_ns = (int64_t)(vm->halted_wall_ns + elapsed_ns - gw_clock_wall_ns());
    int error = set_counter(vm, vm->halted_counter + ticks);
    if (error)
        return gw_fault_set_os(fault, error, "KVM refused to set the guest's counter");
    vm->is_settled = true;
    gw_vm_time_note(vm); /* for one who moves it on without running it */
    gw_vm_alarm_service(vm);
    return GW_OK;
}
