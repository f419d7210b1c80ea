/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPU threads: parked, or in the guest.
 *
 * A thread parks only after KVM_RUN returned EINTR. Asked to leave, a vCPU has immediate_exit set
 * and gets a signal; if it was at that moment served by a device, the next KVM_RUN first completes
 * that access and then returns EINTR at once. So a parked vCPU never has half an access, and that
 * is the rule by which its registers may be read (api.rst, KVM_RUN, note on KVM_EXIT_MMIO).
 *
 * A vCPU that left because its dirty ring is full has no access pending: KVM looks at the ring
 * before it enters the guest. Its thread has the rings emptied; if it is asked to leave meanwhile,
 * the next KVM_RUN returns EINTR before it looks.
 *
 * Locks: vm->lock for the fields that say so, held for a few instructions, never in the guest and
 * never while a device is called or rings are emptied.
 */
#include "internal.h"

#include <asm/kvm.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Under the lock. The descriptor is written only when something new is pending. */
static void raise_locked(struct gw_vm *vm, enum gw_vm_event_kind kind)
{
    uint32_t bit = 1U << kind;
    if (vm->pending & bit)
        return;
    vm->pending |= bit;
    (void)eventfd_write(vm->event_fd, 1);
}

void gw_vm_raise(struct gw_vm *vm, enum gw_vm_event_kind kind)
{
    (void)pthread_mutex_lock(&vm->lock);
    raise_locked(vm, kind);
    (void)pthread_mutex_unlock(&vm->lock);
}

void gw_vm_forget_ending(struct gw_vm *vm)
{
    vm->ending = 0;
    vm->ending_text[0] = '\0';
    vm->pending &= ~(1U << GW_VM_POWERED_OFF | 1U << GW_VM_RESET_ASKED | 1U << GW_VM_CRASHED);
}

/* All are out: the moment the guest's time stopped. */
static void all_parked_locked(struct gw_vm *vm)
{
    gw_vm_time_note(vm);
    if (vm->ending)
        raise_locked(vm, vm->ending);
    if (vm->is_halt_asked)
        raise_locked(vm, GW_VM_HALTED);
    vm->is_halt_asked = false;
}

static void set_immediate_exit(struct gw_vm_vcpu *vcpu, uint8_t value)
{
    __atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

/* Under the lock. A vCPU asleep on a missing page takes the signal when the page has come. */
static void kick_all_locked(struct gw_vm *vm)
{
    for (uint32_t i = 0; i < vm->config.vcpu_count; i++) {
        if (vm->vcpu[i].is_parked)
            continue;
        set_immediate_exit(&vm->vcpu[i], 1);
        (void)pthread_kill(vm->vcpu[i].thread.id, GW_VM_SIGNAL);
    }
}

/* From the vCPU that met the end. The first to do so is remembered. */
static void end_guest(struct gw_vm *vm, enum gw_vm_event_kind kind, const char *text)
{
    (void)pthread_mutex_lock(&vm->lock);
    if (!vm->ending) {
        vm->ending = kind;
        (void)snprintf(vm->ending_text, sizeof(vm->ending_text), "%s", text);
    }
    if (vm->goal == GW_VM_GOAL_RUN)
        vm->goal = GW_VM_GOAL_HALT;
    kick_all_locked(vm);
    (void)pthread_cond_broadcast(&vm->wake);
    (void)pthread_mutex_unlock(&vm->lock);
}

static void crash(struct gw_vm_vcpu *vcpu, const char *format, ...) GW_PRINTF(2, 3);

/* The sentence names the vCPU and where it was. */
static void crash(struct gw_vm_vcpu *vcpu, const char *format, ...)
{
    char why[GW_FAULT_TEXT_BYTES - 48], text[GW_FAULT_TEXT_BYTES];
    uint64_t pc = 0;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    (void)gw_kvm_get(
        vcpu->fd,
        KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc), &pc);
    (void)snprintf(text, sizeof(text), "vCPU %" PRIu32 " stopped at 0x%" PRIx64 ": %s", vcpu->index,
                   pc, why);
    end_guest(vcpu->vm, GW_VM_CRASHED, text);
}

static void handle_system_event(struct gw_vm_vcpu *vcpu)
{
    switch (vcpu->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        end_guest(vcpu->vm, GW_VM_POWERED_OFF, "");
        return;
    case KVM_SYSTEM_EVENT_RESET:
        end_guest(vcpu->vm, GW_VM_RESET_ASKED, "");
        return;
    default:
        crash(vcpu, "the guest raised system event %" PRIu32 ", wanted a power-off or a reset",
              vcpu->run->system_event.type);
    }
}

static bool relieve_ring(struct gw_vm_vcpu *vcpu)
{
    const struct gw_vm_config *config = &vcpu->vm->config;
    struct gw_fault fault = {0};
    if (config->ring_full(config->context, &fault) == GW_OK)
        return true;
    crash(vcpu, "its dirty ring is full and cannot be emptied: %s", fault.text);
    return false;
}

/* True while the vCPU goes back into the guest. */
static bool handle_exit(struct gw_vm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    switch (run->exit_reason) {
    case KVM_EXIT_MMIO:
        gw_vm_bus_access(vcpu->vm, run->mmio.phys_addr, run->mmio.len, run->mmio.is_write,
                         run->mmio.data);
        return true;
    case KVM_EXIT_INTR:
        return true;
    case KVM_EXIT_DIRTY_RING_FULL:
        return relieve_ring(vcpu);
    case KVM_EXIT_SYSTEM_EVENT:
        handle_system_event(vcpu);
        return false;
    case KVM_EXIT_INTERNAL_ERROR:
        crash(vcpu, "KVM met an internal error (suberror %" PRIu32 ")", run->internal.suberror);
        return false;
    case KVM_EXIT_FAIL_ENTRY:
        crash(vcpu, "the hardware refused to enter the guest (reason 0x%" PRIx64 ")",
              (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        return false;
    default:
        crash(vcpu, "KVM left the guest for exit reason %" PRIu32 ", which godwit does not know",
              run->exit_reason);
        return false;
    }
}

/* Out of the guest between two instructions. True when it shall go back in; before, it waits for as
 * long as it is held back. Under the lock, so that a halt asked for meanwhile is not undone. */
static bool goes_back_in(struct gw_vm_vcpu *vcpu)
{
    struct gw_vm *vm = vcpu->vm;
    (void)pthread_mutex_lock(&vm->lock);
    while (vm->is_held_back && vm->goal == GW_VM_GOAL_RUN)
        (void)pthread_cond_wait(&vm->wake, &vm->lock);
    bool is_running = vm->goal == GW_VM_GOAL_RUN;
    if (is_running)
        set_immediate_exit(vcpu, 0);
    (void)pthread_mutex_unlock(&vm->lock);
    return is_running;
}

static void run_guest(struct gw_vm_vcpu *vcpu)
{
    for (;;) {
        if (gw_kvm_call(vcpu->fd, KVM_RUN, 0) == 0) {
            if (!handle_exit(vcpu))
                return;
            continue;
        }
        if (errno == EINTR) {
            if (!goes_back_in(vcpu))
                return;
        } else if (errno == ENOSYS) {
            /* api.rst, KVM_CAP_ARM_NISV_TO_USER: an access without a valid syndrome. */
            crash(vcpu, "the instruction accessed an address where no RAM is in a way that KVM "
                        "cannot emulate");
            return;
        } else if (errno != EAGAIN) {
            crash(vcpu, "KVM refused to run it: %s", strerror(errno));
            return;
        }
    }
}

/* Parks, and waits to be let go. False when the thread shall end. */
static bool wait_parked(struct gw_vm_vcpu *vcpu)
{
    struct gw_vm *vm = vcpu->vm;
    (void)pthread_mutex_lock(&vm->lock);
    /* Not when it was let go again meanwhile, or before the thread came here at all. */
    if (!vcpu->is_parked && vm->goal == GW_VM_GOAL_HALT) {
        vcpu->is_parked = true;
        if (++vm->parked_count == vm->config.vcpu_count)
            all_parked_locked(vm);
    }
    while (vm->goal == GW_VM_GOAL_HALT && vcpu->is_parked)
        (void)pthread_cond_wait(&vm->wake, &vm->lock);
    bool goes_on = vm->goal != GW_VM_GOAL_END;
    (void)pthread_mutex_unlock(&vm->lock);
    return goes_on;
}

static void vcpu_main(void *context)
{
    struct gw_vm_vcpu *vcpu = context;
    sigset_t kick;
    (void)sigemptyset(&kick);
    (void)sigaddset(&kick, GW_VM_SIGNAL);
    (void)pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    __atomic_store_n(&vcpu->thread_id, (uint32_t)gettid(), __ATOMIC_RELAXED);
    while (wait_parked(vcpu))
        run_guest(vcpu);
}

/* The signal's only work is to end a system call. */
static void ignore_kick(int number)
{
    (void)number;
}

enum gw_status gw_vm_threads_start(struct gw_vm *vm, struct gw_fault *fault)
{
    struct sigaction action = {.sa_handler = ignore_kick};
    if (sigaction(GW_VM_SIGNAL, &action, NULL) < 0)
        return gw_fault_set_os(fault, errno, "the vCPUs' signal cannot be handled");
    for (uint32_t i = 0; i < vm->config.vcpu_count; i++) {
        char name[] = "vcpu0";
        name[4] = (char)('0' + i);
        enum gw_status status =
            gw_thread_start(&vm->vcpu[i].thread, name, vcpu_main, &vm->vcpu[i], fault);
        if (status != GW_OK)
            return status;
    }
    return GW_OK;
}

void gw_vm_threads_stop(struct gw_vm *vm)
{
    (void)pthread_mutex_lock(&vm->lock);
    __atomic_store_n(&vm->goal, GW_VM_GOAL_END, __ATOMIC_SEQ_CST);
    kick_all_locked(vm);
    (void)pthread_cond_broadcast(&vm->wake);
    (void)pthread_mutex_unlock(&vm->lock);
    for (uint32_t i = 0; i < vm->config.vcpu_count; i++)
        gw_thread_join(&vm->vcpu[i].thread);
}

enum gw_status gw_vm_run(struct gw_vm *vm, struct gw_fault *fault)
{
    (void)pthread_mutex_lock(&vm->lock);
    const char *missing = !vm->has_guest    ? "nothing was booted or loaded"
                          : vm->ending      ? "it has ended"
                          : !vm->is_settled ? "its time is not set"
                                            : NULL;
    if (missing) {
        (void)pthread_mutex_unlock(&vm->lock);
        return gw_fault_set(fault, GW_ARGUMENT, "there is no guest to run: %s", missing);
    }
    vm->is_halt_asked = false;
    vm->pending &= ~(1U << GW_VM_HALTED);
    vm->is_fresh = false;
    for (uint32_t i = 0; i < vm->config.vcpu_count; i++) {
        /* Also one that was asked to leave and has not parked yet: it goes on. */
        set_immediate_exit(&vm->vcpu[i], 0);
        if (!vm->vcpu[i].is_parked)
            continue;
        vm->vcpu[i].is_parked = false;
        vm->parked_count--;
    }
    __atomic_store_n(&vm->goal, GW_VM_GOAL_RUN, __ATOMIC_SEQ_CST);
    (void)pthread_cond_broadcast(&vm->wake);
    (void)pthread_mutex_unlock(&vm->lock);
    return GW_OK;
}

void gw_vm_halt(struct gw_vm *vm)
{
    (void)pthread_mutex_lock(&vm->lock);
    if (vm->parked_count == vm->config.vcpu_count) {
        raise_locked(vm, GW_VM_HALTED);
    } else {
        vm->is_halt_asked = true;
        __atomic_store_n(&vm->goal, GW_VM_GOAL_HALT, __ATOMIC_SEQ_CST);
        kick_all_locked(vm);
        (void)pthread_cond_broadcast(&vm->wake);
    }
    (void)pthread_mutex_unlock(&vm->lock);
}

void gw_vm_hold_back(struct gw_vm *vm, bool is_held_back)
{
    (void)pthread_mutex_lock(&vm->lock);
    vm->is_held_back = is_held_back;
    if (is_held_back && vm->goal == GW_VM_GOAL_RUN)
        kick_all_locked(vm);
    (void)pthread_cond_broadcast(&vm->wake);
    (void)pthread_mutex_unlock(&vm->lock);
}

uint32_t gw_vm_thread_id(struct gw_vm *vm, uint32_t vcpu)
{
    return __atomic_load_n(&vm->vcpu[vcpu].thread_id, __ATOMIC_RELAXED);
}

bool gw_vm_is_halted(struct gw_vm *vm)
{
    (void)pthread_mutex_lock(&vm->lock);
    bool is_halted = vm->parked_count == vm->config.vcpu_count;
    (void)pthread_mutex_unlock(&vm->lock);
    return is_halted;
}

enum gw_status gw_vm_event_next(struct gw_vm *vm, struct gw_vm_event *event)
{
    eventfd_t count;
    gw_vm_alarm_service(vm);
    gw_vm_console_service(vm);
    (void)pthread_mutex_lock(&vm->lock);
    (void)eventfd_read(vm->event_fd, &count);
    /* The guest's end before HALTED, so that nobody moves a guest that has ended. */
    static const enum gw_vm_event_kind by_rank[] = {GW_VM_CONSOLE,     GW_VM_CONSOLE_ROOM,
                                                    GW_VM_CRASHED,     GW_VM_POWERED_OFF,
                                                    GW_VM_RESET_ASKED, GW_VM_HALTED};
    enum gw_status status = GW_AGAIN;
    for (size_t i = 0; i < sizeof(by_rank) / sizeof(by_rank[0]) && status != GW_OK; i++) {
        if (!(vm->pending & 1U << by_rank[i]))
            continue;
        vm->pending &= ~(1U << by_rank[i]);
        *event = (struct gw_vm_event){.kind = by_rank[i]};
        if (event->kind == GW_VM_CRASHED)
            memcpy(event->text, vm->ending_text, sizeof(event->text));
        status = GW_OK;
    }
    if (vm->pending)
        (void)eventfd_write(vm->event_fd, 1);
    (void)pthread_mutex_unlock(&vm->lock);
    return status;
}
