/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vCPU as bytes: power state, pending exceptions, and every register KVM lists but the
 * counters (src/vm/time.c has those).
 *
 * Order of loading (Linux Documentation/virt/kvm/api.rst, KVM_SET_ONE_REG and "ID registers"):
 * ID registers and their kin first, then firmware registers, whose bitmaps are fixed by the first
 * run, then all others as KVM lists them. The source writes them in that order, and the target
 * takes them as they come. KVM_REG_ARM64_SVE_VLS was fixed when the vCPU was finalized, so the
 * saved one must equal it.
 *
 * Each register costs a system call while the guest stands still, so what is known is not asked:
 * a fresh vCPU's values are read when it is made. ID and firmware registers never change after
 * that and are saved from there; and a register whose saved value the fresh vCPU has already is
 * not set again, which is most of them.
 *
 * Owner: the machine, while halted. Blocks for its system calls.
 */
#include "internal.h"

#include <asm/kvm.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>

enum { REGISTER_BYTES_MAX = 256 }; /* an SVE vector of 2048 bits */

/* The identification space is op0 3, CRn 0 (Arm ARM, "System register encodings"); of these only
 * CSSELR, op1 2, identifies nothing. */
static bool is_id_register(uint64_t id)
{
    const uint64_t mask =
        KVM_REG_ARM_COPROC_MASK | KVM_REG_ARM64_SYSREG_OP0_MASK | KVM_REG_ARM64_SYSREG_CRN_MASK;
    const uint64_t op1 = (id & KVM_REG_ARM64_SYSREG_OP1_MASK) >> KVM_REG_ARM64_SYSREG_OP1_SHIFT;
    return (id & mask) == (KVM_REG_ARM64_SYSREG | UINT64_C(3) << KVM_REG_ARM64_SYSREG_OP0_SHIFT) &&
           op1 != 2;
}

static bool is_firmware_register(uint64_t id)
{
    uint64_t class = id & KVM_REG_ARM_COPROC_MASK;
    return class == KVM_REG_ARM_FW || class == KVM_REG_ARM_FW_FEAT_BMAP;
}

enum { IDENTITY, FIRMWARE, MUTABLE };

static int order(uint64_t id)
{
    if (is_id_register(id))
        return IDENTITY;
    return is_firmware_register(id) ? FIRMWARE : MUTABLE;
}

static bool is_counter(uint64_t id)
{
    return id == KVM_REG_ARM_TIMER_CNT || id == KVM_REG_ARM_PTIMER_CNT;
}

/* The sizes of caches. Before Linux 6.3 KVM reads them from whatever core it happens to run on, and
 * refuses those of another kind of core (arch/arm64/kvm/sys_regs.c, demux_c15_set): a machine with
 * two kinds would move or not by chance. Guests know that they may differ from core to core. */
static bool is_of_this_core(uint64_t id)
{
    return (id & KVM_REG_ARM_COPROC_MASK) == KVM_REG_ARM_DEMUX;
}

static enum gw_status list_registers(struct gw_vm *vm, struct gw_fault *fault)
{
    struct {
        struct kvm_reg_list head;
        uint64_t ids[GW_VM_REGISTERS_MAX];
    } list;
    list.head.n = GW_VM_REGISTERS_MAX;
    if (gw_kvm_call(vm->vcpu[0].fd, KVM_GET_REG_LIST, &list) < 0) {
        if (errno == E2BIG)
            return gw_fault_set(fault, GW_LIMIT,
                                "a vCPU of this host has %" PRIu64 " registers, wanted at most %d",
                                (uint64_t)list.head.n, GW_VM_REGISTERS_MAX);
        return gw_fault_set_os(fault, errno, "KVM refused to list a vCPU's registers");
    }
    vm->register_count = 0;
    for (int rank = IDENTITY; rank <= MUTABLE; rank++) {
        if (rank == MUTABLE)
            vm->constant_count = vm->register_count;
        for (uint64_t i = 0; i < list.head.n; i++) {
            if (order(list.ids[i]) == rank && !is_counter(list.ids[i]))
                vm->registers[vm->register_count++] = list.ids[i];
        }
    }
    return GW_OK;
}

/* Whether `fresh` holds a register: those of up to 64 bits. */
static bool is_small(uint64_t id)
{
    return gw_kvm_register_bytes(id) <= sizeof(uint64_t);
}

enum gw_status gw_vm_registers_list(struct gw_vm *vm, struct gw_fault *fault)
{
    enum gw_status status = list_registers(vm, fault);
    if (status != GW_OK)
        return status;
    for (uint32_t index = 0; index < vm->config.vcpu_count; index++) {
        for (uint32_t i = 0; i < vm->register_count; i++) {
            uint64_t id = vm->registers[i];
            int error = is_small(id) ? gw_kvm_get(vm->vcpu[index].fd, id, &vm->fresh[index][i]) : 0;
            if (error)
                return gw_fault_set_os(
                    fault, error, "KVM refused to read register 0x%016" PRIx64 " of vCPU %" PRIu32,
                    id, index);
        }
    }
    return GW_OK;
}

static enum gw_status save_registers(struct gw_vm *vm, uint32_t index,
                                     struct gw_state_writer *writer, struct gw_fault *fault)
{
    gw_state_put_u32(writer, vm->register_count);
    for (uint32_t i = 0; i < vm->register_count; i++) {
        uint64_t id = vm->registers[i];
        gw_state_put_u64(writer, id);
        uint8_t *room = gw_state_put_room(writer, gw_kvm_register_bytes(id));
        if (!room)
            return GW_OK; /* the writer remembers */
        if (i < vm->constant_count && is_small(id)) {
            memcpy(room, &vm->fresh[index][i], gw_kvm_register_bytes(id));
            continue;
        }
        struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)room};
        if (gw_kvm_call(vm->vcpu[index].fd, KVM_GET_ONE_REG, &reg) < 0)
            return gw_fault_set_os(fault, errno,
                                   "KVM refused to read register 0x%016" PRIx64 " of vCPU %" PRIu32,
                                   id, index);
    }
    return GW_OK;
}

enum gw_status gw_vm_vcpu_save(struct gw_vm *vm, uint32_t index, struct gw_state_writer *writer,
                               struct gw_fault *fault)
{
    int fd = vm->vcpu[index].fd;
    struct kvm_mp_state power;
    struct kvm_vcpu_events events;
    if (gw_kvm_call(fd, KVM_GET_MP_STATE, &power) < 0 ||
        gw_kvm_call(fd, KVM_GET_VCPU_EVENTS, &events) < 0)
        return gw_fault_set_os(
            fault, errno, "KVM refused to read the power state and events of vCPU %" PRIu32, index);
    char name[GW_STATE_NAME_BYTES] = "vcpu0";
    name[4] = (char)('0' + index);
    gw_state_section_start(writer, name, 1);
    gw_state_put_u32(writer, power.mp_state);
    gw_state_put_u8(writer, events.exception.serror_pending);
    gw_state_put_u8(writer, events.exception.serror_has_esr);
    gw_state_put_u8(writer, events.exception.ext_dabt_pending);
    gw_state_put_u64(writer, events.exception.serror_esr);
    enum gw_status status = save_registers(vm, index, writer, fault);
    gw_state_section_stop(writer);
    return status;
}

/* Where a register stands in the list, or register_count when it is not there. `hint` is where it
 * stands when both hosts list the same. */
static uint32_t find(const struct gw_vm *vm, uint64_t id, uint32_t hint)
{
    if (hint < vm->register_count && vm->registers[hint] == id)
        return hint;
    uint32_t i = 0;
    while (i < vm->register_count && vm->registers[i] != id)
        i++;
    return i;
}

/* Vector lengths were fixed at the vCPU's birth to all the host has. */
static enum gw_status check_vector_lengths(int fd, uint32_t index, const uint8_t *wanted,
                                           struct gw_fault *fault)
{
    uint64_t lengths[KVM_ARM64_SVE_VLS_WORDS];
    struct kvm_one_reg reg = {.id = KVM_REG_ARM64_SVE_VLS, .addr = (uintptr_t)lengths};
    if (gw_kvm_call(fd, KVM_GET_ONE_REG, &reg) < 0)
        return gw_fault_set_os(fault, errno, "KVM refused to read the vector lengths of vCPU %u",
                               index);
    if (memcmp(lengths, wanted, sizeof(lengths)) != 0)
        return gw_fault_set(fault, GW_REFUSED,
                            "vCPU %" PRIu32 " comes with other SVE vector lengths than this "
                            "host's 0x%" PRIx64,
                            index, lengths[0]);
    return GW_OK;
}

static enum gw_status load_register(struct gw_vm *vm, uint32_t index, uint64_t id,
                                    uint32_t position, const uint8_t *value, struct gw_fault *fault)
{
    int fd = vm->vcpu[index].fd;
    static const uint8_t zero[REGISTER_BYTES_MAX];
    if (position == vm->register_count && order(id) != MUTABLE &&
        memcmp(value, zero, gw_kvm_register_bytes(id)) == 0)
        return GW_OK; /* a newer kernel's, of something that neither has */
    if (position == vm->register_count)
        return gw_fault_set(fault, GW_REFUSED,
                            "vCPU %" PRIu32 " comes with register 0x%016" PRIx64
                            ", which this host's KVM does not have",
                            index, id);
    if (id == KVM_REG_ARM64_SVE_VLS)
        return check_vector_lengths(fd, index, value, fault);
    uint64_t low = 0;
    memcpy(&low, value, is_small(id) ? gw_kvm_register_bytes(id) : sizeof(low));
    if (is_small(id) && low == vm->fresh[index][position])
        return GW_OK;
    struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)value};
    if (gw_kvm_call(fd, KVM_SET_ONE_REG, &reg) < 0 && !is_of_this_core(id))
        return gw_fault_set(fault, GW_REFUSED,
                            "this host's KVM refused the value 0x%" PRIx64
                            " for register 0x%016" PRIx64 " of vCPU %" PRIu32 ": %s",
                            low, id, index, strerror(errno));
    if (position < vm->constant_count)
        vm->fresh[index][position] = low;
    return GW_OK;
}

/* All of the core's registers came. System registers that a newer kernel knows may be missing. */
static enum gw_status check_core(const struct gw_vm *vm, const char *section, const bool *has_come,
                                 struct gw_fault *fault)
{
    for (uint32_t i = 0; i < vm->register_count; i++) {
        bool is_core = (vm->registers[i] & KVM_REG_ARM_COPROC_MASK) == KVM_REG_ARM_CORE;
        if (is_core && !has_come[i])
            return gw_fault_set(fault, GW_CORRUPT, "section %s is without register 0x%016" PRIx64,
                                section, vm->registers[i]);
    }
    return GW_OK;
}

static enum gw_status load_registers(struct gw_vm *vm, uint32_t index,
                                     struct gw_state_section *section, struct gw_fault *fault)
{
    bool has_come[GW_VM_REGISTERS_MAX + 1] = {false}; /* the last: those that are not known here */
    uint32_t count = gw_state_get_u32(&section->payload);
    if (count > GW_VM_REGISTERS_MAX)
        return gw_fault_set(fault, GW_CORRUPT,
                            "section %s has %" PRIu32 " registers, wanted at most %d",
                            section->name, count, GW_VM_REGISTERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t id = gw_state_get_u64(&section->payload);
        size_t bytes = gw_kvm_register_bytes(id);
        if (bytes > REGISTER_BYTES_MAX)
            return gw_fault_set(fault, GW_CORRUPT,
                                "section %s has a register of %zu bytes, wanted at most %d",
                                section->name, bytes, REGISTER_BYTES_MAX);
        const uint8_t *value = gw_state_get_bytes(&section->payload, bytes);
        if (!value)
            break; /* the section's check says it */
        uint32_t position = find(vm, id, i);
        if (position < vm->register_count && has_come[position])
            return gw_fault_set(fault, GW_CORRUPT, "section %s has register 0x%016" PRIx64 " twice",
                                section->name, id);
        has_come[position] = true;
        enum gw_status status = load_register(vm, index, id, position, value, fault);
        if (status != GW_OK)
            return status;
    }
    enum gw_status status = gw_state_section_check(section, fault);
    return status ? status : check_core(vm, section->name, has_come, fault);
}

enum gw_status gw_vm_vcpu_load(struct gw_vm *vm, uint32_t index, struct gw_state_section *section,
                               struct gw_fault *fault)
{
    struct kvm_mp_state power = {.mp_state = gw_state_get_u32(&section->payload)};
    struct kvm_vcpu_events events = {0};
    events.exception.serror_pending = gw_state_get_u8(&section->payload);
    events.exception.serror_has_esr = gw_state_get_u8(&section->payload);
    events.exception.ext_dabt_pending = gw_state_get_u8(&section->payload);
    events.exception.serror_esr = gw_state_get_u64(&section->payload);
    if (power.mp_state != KVM_MP_STATE_RUNNABLE && power.mp_state != KVM_MP_STATE_STOPPED)
        return gw_fault_set(
            fault, GW_CORRUPT, "section %s has power state %" PRIu32 ", wanted %d or %d",
            section->name, power.mp_state, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED);
    enum gw_status status = load_registers(vm, index, section, fault);
    if (status != GW_OK)
        return status;
    int fd = vm->vcpu[index].fd;
    if (gw_kvm_call(fd, KVM_SET_MP_STATE, &power) < 0 ||
        gw_kvm_call(fd, KVM_SET_VCPU_EVENTS, &events) < 0)
        return gw_fault_set(fault, GW_REFUSED,
                            "this host's KVM refused the power state and events of vCPU %" PRIu32
                            ": %s",
                            index, strerror(errno));
    return GW_OK;
}
