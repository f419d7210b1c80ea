/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the other side must equal, read from a machine that stands ready: so the facts are those
 * the guest would meet, not those a manual promises.
 *
 * Registers that are zero are left out: a side that does not know one has it as zero too.
 * Firmware registers are compared like the others; a host whose KVM offers more is refused for
 * now rather than asked to hide it.
 *
 * Owner: the machine, while halted. Blocks for its system calls.
 */
#include "internal.h"

#include <asm/kvm.h>
#include <errno.h>
#include <linux/kvm.h>
#include <inttypes.h>
#include <stdio.h>

#include "layout.h"
#include "vm/plan.h"

/* A register by its architecture name. */
struct named {
    uint64_t id;
    const char *name;
};

/* Arm ARM, "AArch64 System Register Descriptions"; Linux Documentation/virt/kvm/arm/
 * fw-pseudo-registers.rst. */
static const struct named registers[] = {
    {ARM64_SYS_REG(3, 0, 0, 0, 6), "REVIDR_EL1"},
    {ARM64_SYS_REG(3, 1, 0, 0, 7), "AIDR_EL1"},
    {ARM64_SYS_REG(3, 1, 0, 0, 1), "CLIDR_EL1"},
    {ARM64_SYS_REG(3, 3, 0, 0, 1), "CTR_EL0"},
    {KVM_REG_ARM_PSCI_VERSION, "PSCI version"},
    {KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1, "SMCCC workaround 1"},
    {KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2, "SMCCC workaround 2"},
    {KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3, "SMCCC workaround 3"},
    {KVM_REG_ARM_STD_BMAP, "SMCCC standard calls"},
    {KVM_REG_ARM_STD_HYP_BMAP, "SMCCC standard hypervisor"},
    {KVM_REG_ARM_VENDOR_HYP_BMAP, "SMCCC vendor hypervisor"},
};

/* The ID registers op0 3, op1 0, CRn 0, by CRm 1..7 and op2. NULL: not allocated. */
static const char *const id_names[7][8] = {
    {"ID_PFR0_EL1", "ID_PFR1_EL1", "ID_DFR0_EL1", "ID_AFR0_EL1", "ID_MMFR0_EL1", "ID_MMFR1_EL1",
     "ID_MMFR2_EL1", "ID_MMFR3_EL1"},
    {"ID_ISAR0_EL1", "ID_ISAR1_EL1", "ID_ISAR2_EL1", "ID_ISAR3_EL1", "ID_ISAR4_EL1", "ID_ISAR5_EL1",
     "ID_MMFR4_EL1", "ID_ISAR6_EL1"},
    {"MVFR0_EL1", "MVFR1_EL1", "MVFR2_EL1", NULL, "ID_PFR2_EL1", "ID_DFR1_EL1", "ID_MMFR5_EL1",
     NULL},
    {"ID_AA64PFR0_EL1", "ID_AA64PFR1_EL1", "ID_AA64PFR2_EL1", NULL, "ID_AA64ZFR0_EL1",
     "ID_AA64SMFR0_EL1", NULL, "ID_AA64FPFR0_EL1"},
    {"ID_AA64DFR0_EL1", "ID_AA64DFR1_EL1", "ID_AA64DFR2_EL1", NULL, "ID_AA64AFR0_EL1",
     "ID_AA64AFR1_EL1", NULL, NULL},
    {"ID_AA64ISAR0_EL1", "ID_AA64ISAR1_EL1", "ID_AA64ISAR2_EL1", "ID_AA64ISAR3_EL1", NULL, NULL,
     NULL, NULL},
    {"ID_AA64MMFR0_EL1", "ID_AA64MMFR1_EL1", "ID_AA64MMFR2_EL1", "ID_AA64MMFR3_EL1",
     "ID_AA64MMFR4_EL1", NULL, NULL, NULL},
};

/* Puts facts until one does not fit; that one's status stays. */
struct put {
    struct gw_facts *facts;
    enum gw_status status;
};

static void put(struct put *to, const char *name, enum gw_fact_form form, uint64_t value)
{
    if (to->status == GW_OK)
        to->status = gw_facts_put(to->facts, name, form, value);
}

static void put_ram(const struct gw_vm *vm, struct put *to)
{
    char name[GW_FACT_NAME_BYTES];
    for (uint32_t i = 0; i < vm->ram->region_count; i++) {
        (void)snprintf(name, sizeof(name), "RAM %" PRIu32 " address", i);
        put(to, name, GW_FACT_HEX, vm->ram->region[i].gpa);
        (void)snprintf(name, sizeof(name), "RAM %" PRIu32 " size", i);
        put(to, name, GW_FACT_BYTES, vm->ram->region[i].bytes);
    }
}

static void put_register(const struct gw_vm *vm, struct put *to, uint64_t id, const char *name)
{
    uint64_t value;
    if (gw_kvm_get(vm->vcpu[0].fd, id, &value) == 0 && value != 0)
        put(to, name, GW_FACT_HEX, value);
}

static void put_id_registers(const struct gw_vm *vm, struct put *to)
{
    char unallocated[GW_FACT_NAME_BYTES];
    for (uint32_t crm = 1; crm <= 7; crm++) {
        for (uint32_t op2 = 0; op2 <= 7; op2++) {
            const char *name = id_names[crm - 1][op2];
            if (!name) {
                (void)snprintf(unallocated, sizeof(unallocated), "S3_0_C0_C%" PRIu32 "_%" PRIu32,
                               crm, op2);
                name = unallocated;
            }
            put_register(vm, to, ARM64_SYS_REG(3, 0, 0, crm, op2), name);
        }
    }
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++)
        put_register(vm, to, registers[i].id, registers[i].name);
}

static void put_vcpus(const struct gw_vm *vm, struct put *to)
{
    for (uint32_t i = 0; i < vm->config.vcpu_count; i++) {
        char name[GW_FACT_NAME_BYTES];
        uint64_t value = 0;
        (void)snprintf(name, sizeof(name), "vCPU %" PRIu32 " MIDR_EL1", i);
        (void)gw_kvm_get(vm->vcpu[i].fd, ARM64_SYS_REG(3, 0, 0, 0, 0), &value);
        put(to, name, GW_FACT_HEX, value);
    }
}

/* So that a side that writes a section which the other cannot read is refused before a guest is
 * stopped for it. */
static void put_sections(struct put *to)
{
    for (uint32_t i = 0; i < GW_PLAN_KINDS; i++) {
        char name[GW_FACT_NAME_BYTES];
        (void)snprintf(name, sizeof(name), "state %s", gw_vm_plan_kinds[i].name);
        put(to, name, GW_FACT_DECIMAL, gw_vm_plan_kinds[i].version);
    }
}

/* One bit per vector length, 128 bits to 2048 (api.rst, KVM_REG_ARM64_SVE_VLS): a word. */
static void put_vector_lengths(const struct gw_vm *vm, struct put *to)
{
    uint64_t lengths[KVM_ARM64_SVE_VLS_WORDS] = {0};
    struct kvm_one_reg reg = {.id = KVM_REG_ARM64_SVE_VLS, .addr = (uintptr_t)lengths};
    if (vm->features & 1U << KVM_ARM_VCPU_SVE)
        (void)gw_kvm_call(vm->vcpu[0].fd, KVM_GET_ONE_REG, &reg);
    put(to, "SVE vector lengths", GW_FACT_HEX, lengths[0]);
}

enum gw_status gw_vm_facts(struct gw_vm *vm, struct gw_facts *facts, struct gw_fault *fault)
{
    struct put to = {.facts = facts, .status = GW_OK};
    uint64_t hz;
    __asm__("mrs %0, cntfrq_el0" : "=r"(hz));
    put(&to, "machine", GW_FACT_TEXT, gw_fact_text_encode("virt"));
    put(&to, "page size", GW_FACT_BYTES, vm->ram->page_bytes);
    put_ram(vm, &to);
    put(&to, "vCPUs", GW_FACT_DECIMAL, vm->config.vcpu_count);
    put(&to, "interrupt controller", GW_FACT_TEXT, gw_fact_text_encode("GICv3"));
    put(&to, "interrupts", GW_FACT_DECIMAL, GW_LAYOUT_INTERRUPTS);
    put(&to, "counter frequency", GW_FACT_DECIMAL, hz);
    put(&to, "counter set by", GW_FACT_TEXT,
        gw_fact_text_encode(vm->has_counter_offset ? "offset" : "value"));
    put(&to, "vCPU features", GW_FACT_HEX, vm->features);
    put_vector_lengths(vm, &to);
    put_vcpus(vm, &to);
    put_sections(&to);
    put_id_registers(vm, &to);
    if (to.status != GW_OK)
        return gw_fault_set(fault, to.status,
                            "the machine has more facts than the %d there is room for",
                            GW_FACTS_MAX);
    return GW_OK;
}
