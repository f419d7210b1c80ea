/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interrupt controller: KVM's GICv3, without ITS and so without message interrupts.
 *
 * Its state is one row of registers, read and written in the same order (Linux
 * Documentation/virt/kvm/devices/arm-vgic-v3.rst), but that what is pending or active is written
 * last. GICD_IIDR comes first because it chooses the behaviour of the rest. ISPENDR holds only
 * latches, so line levels are read beside it. Registers that KVM keeps constant without an ITS
 * (STATUSR, WAKER, GICR_CTLR) are left out.
 *
 * Owner: the machine, while halted. Blocks for its system calls.
 */
#include "internal.h"

#include <asm/kvm.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <unistd.h>

#include "layout.h"

/* Arm IHI 0069, "The Distributor register map" and "The Redistributor register map". */
enum {
    GICD_CTLR = 0x0000,
    GICD_IIDR = 0x0008,
    IGROUPR = 0x0080,
    ISENABLER = 0x0100,
    ICENABLER = 0x0180,
    ISPENDR = 0x0200,
    ISACTIVER = 0x0300,
    IPRIORITYR = 0x0400,
    ICFGR = 0x0c00,
    GICD_IROUTER = 0x6000,
    GICR_SGI = 0x10000, /* the redistributor's second frame has the private interrupts */
};

/* Registers with a field per interrupt: bits per interrupt, in the order of loading. */
static const struct {
    uint32_t offset;
    uint32_t bits;
} fields[] = {
    {IGROUPR, 1}, {ISENABLER, 1}, {ICFGR, 2}, {ISPENDR, 1}, {ISACTIVER, 1}, {IPRIORITYR, 8},
};

/* Of a fresh controller (Linux arch/arm64/kvm/vgic/vgic-init.c) every interrupt is in group 1, and
 * a shared one is an edge: there 0 is something else. */
static bool is_zero_fresh(uint32_t offset)
{
    return offset != IGROUPR && offset != ICFGR;
}

/* KVM gives an interrupt that becomes pending or active to the CPU that it is routed to then, and
 * one that is active stays there (vgic.c, vgic_target_oracle). */
static bool is_last(uint32_t offset)
{
    return offset == ISPENDR || offset == ISACTIVER;
}

#define ICC(op1, crn, crm, op2) \
    ((UINT64_C(3) << 14) | ((uint64_t)(op1) << 11) | ((crn) << 7) | ((crm) << 3) | (op2))

/* The CPU interface. SRE and CTLR first: they decide what the others mean. Of the active
 * priorities only AP0R0 and AP1R0 exist with 5 bits of priority; the others follow CTLR. */
static const uint64_t interface_registers[] = {
    ICC(0, 12, 12, 5), /* ICC_SRE_EL1 */
    ICC(0, 12, 12, 4), /* ICC_CTLR_EL1 */
    ICC(0, 12, 12, 6), /* ICC_IGRPEN0_EL1 */
    ICC(0, 12, 12, 7), /* ICC_IGRPEN1_EL1 */
    ICC(0, 4, 6, 0),   /* ICC_PMR_EL1 */
    ICC(0, 12, 8, 3),  /* ICC_BPR0_EL1 */
    ICC(0, 12, 12, 3), /* ICC_BPR1_EL1 */
};
#define ICC_AP0R(n)  ICC(0, 12, 8, 4 + (n))
#define ICC_AP1R(n)  ICC(0, 12, 9, (n))
#define ICC_CTLR_EL1 ICC(0, 12, 12, 4)

/* What is_last says, of a register and of a pass that loads. */
enum order { FIRST, LAST };

/* One pass over the registers, saving (writer) or loading (reader), which takes two: each reads all
 * of them and writes those of its order. The first error sticks. */
struct pass {
    int fd;
    struct gw_state_writer *writer; /* NULL when loading */
    struct gw_state_reader *reader;
    enum order order;
    int error;
    uint32_t group;
    uint64_t attribute;
};

static void fail(struct pass *pass, int error, uint32_t group, uint64_t attribute)
{
    pass->error = error;
    pass->group = group;
    pass->attribute = attribute;
}

/* A value of zero is what a fresh controller has wherever `is_fresh` says so; writing it again is a
 * system call for nothing. */
static void move32(struct pass *pass, uint32_t group, uint64_t attribute, bool is_fresh,
                   enum order order)
{
    uint32_t value = 0;
    int error = 0;
    if (pass->error)
        return;
    if (pass->writer) {
        error = gw_kvm_get_attribute(pass->fd, group, attribute, &value);
        gw_state_put_u32(pass->writer, value);
    } else {
        value = gw_state_get_u32(pass->reader);
        if (order == pass->order && (value != 0 || !is_fresh))
            error = gw_kvm_set_attribute(pass->fd, group, attribute, &value);
    }
    if (error)
        fail(pass, error, group, attribute);
}

/* One of `fields`. */
static void move_field(struct pass *pass, uint32_t group, uint64_t frame, uint32_t offset,
                       uint32_t at)
{
    move32(pass, group, frame + offset + at, is_zero_fresh(offset), is_last(offset) ? LAST : FIRST);
}

static uint64_t move64(struct pass *pass, uint32_t group, uint64_t attribute)
{
    uint64_t value = 0;
    int error = 0;
    if (pass->error)
        return 0;
    if (pass->writer) {
        error = gw_kvm_get_attribute(pass->fd, group, attribute, &value);
        gw_state_put_u64(pass->writer, value);
    } else {
        value = gw_state_get_u64(pass->reader);
        if (pass->order == FIRST)
            error = gw_kvm_set_attribute(pass->fd, group, attribute, &value);
    }
    if (error)
        fail(pass, error, group, attribute);
    return value;
}

/* Line levels, 32 interrupts at a time from `first`. */
static void move_levels(struct pass *pass, uint64_t cpu, uint32_t first)
{
    uint64_t info = (uint64_t)VGIC_LEVEL_INFO_LINE_LEVEL << KVM_DEV_ARM_VGIC_LINE_LEVEL_INFO_SHIFT;
    move32(pass, KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, cpu | info | first, true, FIRST);
}

static void move_distributor(struct pass *pass)
{
    const uint32_t group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
    move32(pass, group, GICD_IIDR, false, FIRST);
    move32(pass, group, GICD_CTLR, false, FIRST);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        uint32_t bits = fields[i].bits;
        for (uint32_t first = 32; first < GW_LAYOUT_INTERRUPTS; first += 32 / bits)
            move_field(pass, group, 0, fields[i].offset, first * bits / 8);
    }
    /* The upper word is affinity 3, which is always 0. A fresh interrupt is routed to CPU 0. */
    for (uint32_t i = 32; i < GW_LAYOUT_INTERRUPTS; i++)
        move32(pass, group, GICD_IROUTER + 8 * i, true, FIRST);
    for (uint32_t first = 32; first < GW_LAYOUT_INTERRUPTS; first += 32)
        move_levels(pass, 0, first);
}

static void move_redistributor(struct pass *pass, uint64_t cpu)
{
    const uint32_t group = KVM_DEV_ARM_VGIC_GRP_REDIST_REGS;
    if (!pass->writer && pass->order == FIRST) {
        /* A fresh controller has its 16 software interrupts enabled. */
        uint32_t all = UINT32_MAX;
        int error = gw_kvm_set_attribute(pass->fd, group, cpu | GICR_SGI | ICENABLER, &all);
        if (error && !pass->error)
            fail(pass, error, group, cpu | GICR_SGI | ICENABLER);
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        uint32_t bits = fields[i].bits;
        for (uint32_t first = 0; first < 32; first += 32 / bits)
            move_field(pass, group, cpu | GICR_SGI, fields[i].offset, first * bits / 8);
    }
    move_levels(pass, cpu, 0);
}

static void move_interface(struct pass *pass, uint64_t cpu)
{
    const uint32_t group = KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
    uint64_t control = 0;
    for (size_t i = 0; i < sizeof(interface_registers) / sizeof(interface_registers[0]); i++) {
        uint64_t value = move64(pass, group, cpu | interface_registers[i]);
        if (interface_registers[i] == ICC_CTLR_EL1)
            control = value;
    }
    /* ICC_CTLR_EL1.PRIbits, bits 10:8, is the number of priority bits less one; each active
     * priority register covers 5 of them: 5 bits take one register, 6 two, 7 four. */
    uint32_t priority_bits = (uint32_t)(control >> 8 & 7) + 1;
    uint32_t count = priority_bits >= 7 ? 4 : priority_bits == 6 ? 2 : 1;
    for (uint32_t n = 0; n < count; n++) {
        (void)move64(pass, group, cpu | ICC_AP0R(n));
        (void)move64(pass, group, cpu | ICC_AP1R(n));
    }
}

static void move_all(struct pass *pass, uint32_t vcpu_count)
{
    move_distributor(pass);
    for (uint32_t i = 0; i < vcpu_count; i++) {
        uint64_t cpu = (uint64_t)i << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT; /* affinity 0 */
        move_redistributor(pass, cpu);
        move_interface(pass, cpu);
    }
}

enum gw_status gw_vm_gic_save(struct gw_vm *vm, struct gw_state_writer *writer,
                              struct gw_fault *fault)
{
    struct pass pass = {.fd = vm->gic_fd, .writer = writer};
    gw_state_section_start(writer, "gicv3", 1);
    gw_state_put_u32(writer, GW_LAYOUT_INTERRUPTS);
    gw_state_put_u32(writer, vm->config.vcpu_count);
    move_all(&pass, vm->config.vcpu_count);
    gw_state_section_stop(writer);
    if (pass.error)
        return gw_fault_set_os(fault, pass.error,
                               "KVM refused to read register 0x%" PRIx64 " of group %" PRIu32
                               " of the interrupt controller",
                               pass.attribute, pass.group);
    return GW_OK;
}

enum gw_status gw_vm_gic_load(struct gw_vm *vm, struct gw_state_section *section,
                              struct gw_fault *fault)
{
    struct pass pass = {.fd = vm->gic_fd};
    uint32_t interrupts = gw_state_get_u32(&section->payload);
    uint32_t vcpus = gw_state_get_u32(&section->payload);
    if (interrupts != GW_LAYOUT_INTERRUPTS || vcpus != vm->config.vcpu_count)
        return gw_fault_set(fault, GW_REFUSED,
                            "section gicv3 is of %" PRIu32 " interrupts and %" PRIu32
                            " vCPUs, wanted %d and %" PRIu32,
                            interrupts, vcpus, GW_LAYOUT_INTERRUPTS, vm->config.vcpu_count);
    struct gw_state_reader again = section->payload;
    pass.reader = &again;
    move_all(&pass, vcpus);
    pass.reader = &section->payload;
    pass.order = LAST;
    move_all(&pass, vcpus);
    if (pass.error)
        return gw_fault_set(fault, GW_REFUSED,
                            "KVM refused the value for register 0x%" PRIx64 " of group %" PRIu32
                            " of the interrupt controller (error %d)",
                            pass.attribute, pass.group, pass.error);
    return gw_state_section_check(section, fault);
}

static int configure(struct gw_vm *vm)
{
    uint32_t interrupts = GW_LAYOUT_INTERRUPTS;
    uint64_t distributor = GW_LAYOUT_GIC_DISTRIBUTOR;
    uint64_t redistributor = GW_LAYOUT_GIC_REDISTRIBUTOR;
    int error = gw_kvm_set_attribute(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &interrupts);
    if (!error)
        error = gw_kvm_set_attribute(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_ADDR,
                                     KVM_VGIC_V3_ADDR_TYPE_DIST, &distributor);
    if (!error)
        error = gw_kvm_set_attribute(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_ADDR,
                                     KVM_VGIC_V3_ADDR_TYPE_REDIST, &redistributor);
    if (!error)
        error = gw_kvm_set_attribute(vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_CTRL,
                                     KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
    return error;
}

enum gw_status gw_vm_gic_open(struct gw_vm *vm, struct gw_fault *fault)
{
    struct kvm_create_device request = {.type = KVM_DEV_TYPE_ARM_VGIC_V3};
    if (gw_kvm_call(vm->fd, KVM_CREATE_DEVICE, &request) < 0) {
        if (errno == ENODEV)
            return gw_fault_set(fault, GW_HOST,
                                "KVM on this host has no GICv3, which the guest's interrupt "
                                "controller is; its own controller is probably a GICv2");
        return gw_fault_set_os(fault, errno, "KVM refused to make a GICv3");
    }
    vm->gic_fd = (int)request.fd;
    int error = configure(vm);
    if (error)
        return gw_fault_set_os(fault, error, "KVM refused to set up its GICv3");
    return GW_OK;
}
