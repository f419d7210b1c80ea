/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM VM: memory slots, vCPUs, interrupt controller. Made at open, and again when load needs
 * a fresh one: much of a controller's and a vCPU's state can be set only once.
 *
 * vCPUs are made in order of their number, before the controller, on both sides of a migration
 * alike. Owner: the machine, while halted. Blocks for its system calls.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "godwit/kvm_ring.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* Bits of a guest physical address. 36 reach 64 GiB, far beyond any board's RAM, and every host
 * has them; fewer bits than the host's most make shorter page-table walks. A host that cannot be
 * asked has 40, which is what type 0 means (api.rst, KVM_CREATE_VM). */
static unsigned long vm_type(int kvm_fd)
{
    int limit = gw_kvm_call(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);
    if (limit <= 0)
        return 0;
    uint32_t bits = limit < 36 ? (uint32_t)limit : 36;
    return KVM_VM_TYPE_ARM_IPA_SIZE(bits);
}

static enum gw_status add_slots(struct gw_vm *vm, struct gw_fault *fault)
{
    for (uint32_t i = 0; i < vm->ram->region_count; i++) {
        const struct gw_ram_region *region = &vm->ram->region[i];
        struct kvm_userspace_memory_region slot = {.slot = i,
                                                   .guest_phys_addr = region->gpa,
                                                   .memory_size = region->bytes,
                                                   .userspace_addr = (uintptr_t)region->base};
        if (gw_kvm_call(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
            return gw_fault_set_os(fault, errno,
                                   "KVM refused %" PRIu64 " bytes of guest RAM at 0x%" PRIx64,
                                   region->bytes, region->gpa);
    }
    return GW_OK;
}

static uint32_t choose_features(struct gw_vm *vm)
{
    uint32_t features = 1U << KVM_ARM_VCPU_PSCI_0_2;
    if (gw_kvm_call(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_SVE) > 0)
        features |= 1U << KVM_ARM_VCPU_SVE;
    /* Both kinds of pointer authentication, or neither (api.rst, KVM_ARM_VCPU_INIT). */
    if (gw_kvm_call(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0 &&
        gw_kvm_call(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_PTRAUTH_GENERIC) > 0)
        features |= 1U << KVM_ARM_VCPU_PTRAUTH_ADDRESS | 1U << KVM_ARM_VCPU_PTRAUTH_GENERIC;
    return features;
}

/* Older kernels want the target of the very core that asks, and this thread may be moved to another
 * kind of core between the two calls. */
enum { INIT_TRIES = 16 };

static enum gw_status init_vcpu(struct gw_vm *vm, uint32_t index, struct gw_fault *fault)
{
    int result = -1;
    for (int i = 0; i < INIT_TRIES && result < 0 && (i == 0 || errno == EINVAL); i++) {
        struct kvm_vcpu_init init;
        if (gw_kvm_call(vm->fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
            return gw_fault_set_os(fault, errno, "KVM does not know this host's CPU");
        init.features[0] = vm->features;
        if (index > 0)
            init.features[0] |= 1U << KVM_ARM_VCPU_POWER_OFF; /* until PSCI's CPU_ON */
        result = gw_kvm_call(vm->vcpu[index].fd, KVM_ARM_VCPU_INIT, &init);
    }
    return result < 0
               ? gw_fault_set_os(fault, errno, "KVM refused to initialize vCPU %" PRIu32, index)
               : GW_OK;
}

static enum gw_status add_vcpu(struct gw_vm *vm, uint32_t index, struct gw_fault *fault)
{
    struct gw_vm_vcpu *vcpu = &vm->vcpu[index];
    vcpu->fd = gw_kvm_call(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (vcpu->fd < 0)
        return gw_fault_set_os(fault, errno, "KVM refused to make vCPU %" PRIu32, index);
    void *run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED)
        return gw_fault_set_os(fault, errno,
                               "the run structure of vCPU %" PRIu32 " cannot be mapped", index);
    vcpu->run = run;
    if (vm->config.dirty_ring_entries) {
        vcpu->ring = gw_kvm_ring_map(vcpu->fd, vm->config.dirty_ring_entries);
        if (!vcpu->ring)
            return gw_fault_set_os(fault, errno,
                                   "the dirty ring of vCPU %" PRIu32 " cannot be mapped", index);
    }

    enum gw_status status = init_vcpu(vm, index, fault);
    if (status != GW_OK)
        return status;
    int finalized = KVM_ARM_VCPU_SVE;
    if ((vm->features & 1U << KVM_ARM_VCPU_SVE) &&
        gw_kvm_call(vcpu->fd, KVM_ARM_VCPU_FINALIZE, &finalized) < 0)
        return gw_fault_set_os(fault, errno, "KVM refused SVE for vCPU %" PRIu32, index);
    return GW_OK;
}

enum gw_status gw_vm_build(struct gw_vm *vm, struct gw_fault *fault)
{
    do { /* a signal on its way, a debugger's say, ends it early (Linux mm_take_all_locks) */
        vm->fd = gw_kvm_call(vm->kvm_fd, KVM_CREATE_VM, vm_type(vm->kvm_fd));
    } while (vm->fd < 0 && errno == EINTR);
    if (vm->fd < 0)
        return gw_fault_set_os(fault, errno, "KVM refused to make a VM");
    vm->features = choose_features(vm);
    vm->has_counter_offset = gw_kvm_call(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_COUNTER_OFFSET) > 0;
    /* Before the slots and the vCPUs, or KVM refuses. */
    enum gw_status status = vm->config.dirty_ring_entries
                                ? gw_kvm_ring_enable(vm->fd, vm->config.dirty_ring_entries, fault)
                                : GW_OK;
    if (status == GW_OK)
        status = add_slots(vm, fault);
    for (uint32_t i = 0; status == GW_OK && i < vm->config.vcpu_count; i++)
        status = add_vcpu(vm, i, fault);
    if (status == GW_OK)
        status = gw_vm_gic_open(vm, fault);
    if (status == GW_OK)
        status = gw_vm_registers_list(vm, fault);
    if (status == GW_OK)
        status = gw_vm_time_start(vm, fault);
    vm->is_fresh = status == GW_OK;
    vm->has_guest = false;
    return status;
}

void gw_vm_demolish(struct gw_vm *vm)
{
    for (uint32_t i = 0; i < GW_VCPUS_MAX; i++) {
        struct gw_vm_vcpu *vcpu = &vm->vcpu[i];
        if (vcpu->run)
            (void)munmap(vcpu->run, vm->run_bytes);
        vcpu->run = NULL;
        if (vcpu->ring)
            gw_kvm_ring_unmap(vcpu->ring, vm->config.dirty_ring_entries);
        vcpu->ring = NULL;
        close_fd(&vcpu->fd);
    }
    close_fd(&vm->gic_fd);
    close_fd(&vm->fd);
    vm->is_fresh = false;
    vm->has_guest = false;
}

static enum gw_status open_kvm(struct gw_vm *vm, struct gw_fault *fault)
{
    vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm_fd < 0)
        return gw_fault_set_os(fault, errno, "/dev/kvm cannot be opened");
    int version = gw_kvm_call(vm->kvm_fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return gw_fault_set(fault, GW_HOST, "KVM has interface version %d, wanted %d", version,
                            KVM_API_VERSION);
    int bytes = gw_kvm_call(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(struct kvm_run))
        return gw_fault_set(fault, GW_HOST, "KVM's run structure has %d bytes, wanted %zu", bytes,
                            sizeof(struct kvm_run));
    vm->run_bytes = (size_t)bytes;
    int vcpus = gw_kvm_call(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (vcpus > 0 && (uint32_t)vcpus < vm->config.vcpu_count)
        return gw_fault_set(fault, GW_HOST, "KVM on this host makes %d vCPUs, wanted %" PRIu32,
                            vcpus, vm->config.vcpu_count);
    return GW_OK;
}

/* One descriptor to wait on stands for the events, the devices' alarm clock and the console's. */
static enum gw_status open_events(struct gw_vm *vm, struct gw_fault *fault)
{
    struct epoll_event readable = {.events = EPOLLIN};
    vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    vm->alarm_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    vm->console_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    vm->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (vm->event_fd < 0 || vm->alarm_fd < 0 || vm->console_fd < 0 || vm->poll_fd < 0 ||
        epoll_ctl(vm->poll_fd, EPOLL_CTL_ADD, vm->event_fd, &readable) < 0 ||
        epoll_ctl(vm->poll_fd, EPOLL_CTL_ADD, vm->alarm_fd, &readable) < 0 ||
        epoll_ctl(vm->poll_fd, EPOLL_CTL_ADD, vm->console_fd, &readable) < 0)
        return gw_fault_set_os(fault, errno, "the machine's event descriptors cannot be made");
    return GW_OK;
}

static void init(struct gw_vm *vm, const struct gw_vm_config *config, const struct gw_ram *ram)
{
    /* Not the stacks: clearing them would touch them. */
    vm->config = *config;
    vm->ram = ram;
    vm->kvm_fd = vm->fd = vm->gic_fd = vm->event_fd = -1;
    vm->alarm_fd = vm->console_fd = vm->poll_fd = -1;
    vm->goal = GW_VM_GOAL_HALT;
    vm->parked_count = config->vcpu_count;
    vm->pending = 0;
    vm->is_halt_asked = false;
    vm->is_fresh = vm->has_guest = vm->is_settled = false;
    gw_vm_forget_ending(vm);
    for (uint32_t i = 0; i < GW_VCPUS_MAX; i++) {
        vm->vcpu[i].vm = vm;
        vm->vcpu[i].index = i;
        vm->vcpu[i].fd = -1;
        vm->vcpu[i].run = NULL;
        vm->vcpu[i].ring = NULL;
        vm->vcpu[i].is_parked = true;
    }
    (void)pthread_mutex_init(&vm->lock, NULL);
    (void)pthread_mutex_init(&vm->device_lock, NULL);
    (void)pthread_cond_init(&vm->wake, NULL);
    gw_vm_devices_init(vm);
}

enum gw_status gw_vm_open(struct gw_vm *vm, const struct gw_vm_config *config,
                          const struct gw_ram *ram, struct gw_fault *fault)
{
    GW_ASSERT(!vm->is_open);
    if (config->vcpu_count < 1 || config->vcpu_count > GW_VCPUS_MAX)
        return gw_fault_set(fault, GW_LIMIT, "%" PRIu32 " vCPUs asked for, wanted 1 to %d",
                            config->vcpu_count, GW_VCPUS_MAX);
    init(vm, config, ram);
    vm->is_open = true;
    enum gw_status status = open_kvm(vm, fault);
    if (status == GW_OK)
        status = open_events(vm, fault);
    if (status == GW_OK)
        status = gw_vm_build(vm, fault);
    if (status == GW_OK) {
        gw_vm_time_note(vm);
        status = gw_vm_threads_start(vm, fault);
    }
    if (status != GW_OK)
        gw_vm_close(vm);
    return status;
}

void gw_vm_close(struct gw_vm *vm)
{
    if (!vm->is_open)
        return;
    gw_vm_threads_stop(vm);
    gw_vm_demolish(vm);
    close_fd(&vm->poll_fd);
    close_fd(&vm->console_fd);
    close_fd(&vm->alarm_fd);
    close_fd(&vm->event_fd);
    close_fd(&vm->kvm_fd);
    (void)pthread_cond_destroy(&vm->wake);
    (void)pthread_mutex_destroy(&vm->device_lock);
    (void)pthread_mutex_destroy(&vm->lock);
    vm->is_open = false;
}

int gw_vm_fd(const struct gw_vm *vm)
{
    return vm->fd;
}

struct kvm_dirty_gfn *gw_vm_dirty_ring(const struct gw_vm *vm, uint32_t vcpu)
{
    GW_ASSERT(vcpu < vm->config.vcpu_count);
    return vm->vcpu[vcpu].ring;
}

int gw_vm_event_fd(const struct gw_vm *vm)
{
    return vm->poll_fd;
}
