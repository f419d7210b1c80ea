/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's state through the real KVM: what was saved, loaded into a machine that was built
 * anew, and saved again is the same, byte for byte, and is what was there. Skips where no machine
 * can be made: without aarch64's KVM.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <asm/kvm.h>
#include <linux/kvm.h>

#include "godwit/vm.h"
#include "vm/internal.h"

enum { VCPUS = 2, RAM_BYTES = 4 << 20 };

static struct gw_fault fault;
static struct gw_ram ram;
static struct gw_vm vm;
static uint8_t first[GW_STATE_BYTES_MAX], second[GW_STATE_BYTES_MAX];

static enum gw_status never_full(void *context, struct gw_fault *why)
{
    (void)context;
    (void)why;
    return GW_OK;
}

static void ignore(void *context, uint64_t page, uint64_t count)
{
    (void)context;
    (void)page;
    (void)count;
}

static int setup(void **state)
{
    (void)state;
    const struct gw_vm_config config = {
        .vcpu_count = VCPUS, .ring_full = never_full, .pages_written = ignore};
    gw_fault_clear(&fault);
    gw_ram_init(&ram);
    assert_int_equal(gw_ram_add_memfd(&ram, GW_VM_RAM_BASE, RAM_BYTES, &fault), GW_OK);
    if (gw_vm_open(&vm, &config, &ram, &fault) != GW_OK) {
        gw_vm_close(&vm);
        gw_ram_close(&ram);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (vm.is_open) {
        gw_vm_close(&vm);
        gw_ram_close(&ram);
    }
    return 0;
}

static void given_a_machine(void)
{
    if (!vm.is_open) {
        print_message("%s\n", fault.text);
        skip();
    }
}

static void given_register(uint32_t group, uint64_t attribute, uint32_t value)
{
    assert_int_equal(gw_kvm_set_attribute(vm.gic_fd, group, attribute, &value), 0);
}

static void has_register(uint32_t group, uint64_t attribute, uint32_t wanted)
{
    uint32_t value = ~wanted;
    assert_int_equal(gw_kvm_get_attribute(vm.gic_fd, group, attribute, &value), 0);
    assert_int_equal(value, wanted);
}

static size_t save(uint8_t bytes[GW_STATE_BYTES_MAX])
{
    size_t count = 0;
    if (gw_vm_save(&vm, bytes, GW_STATE_BYTES_MAX, &count, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
    return count;
}

static void move(size_t count)
{
    if (gw_vm_renew(&vm, &fault) != GW_OK || gw_vm_load(&vm, first, count, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
}

/* A machine that was loaded is built anew before it is loaded again; a fresh one is not. */
static void spoil(void)
{
    size_t count = save(first);
    if (gw_vm_load(&vm, first, count, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
}

#define DISTRIBUTOR KVM_DEV_ARM_VGIC_GRP_DIST_REGS
#define PRIVATE     KVM_DEV_ARM_VGIC_GRP_REDIST_REGS

/* Offsets: Arm IHI 0069. What a fresh controller of KVM has is often not 0. */
static void the_interrupt_controller_comes_as_it_was(void **state)
{
    static const struct {
        uint32_t group;
        uint64_t attribute;
        uint32_t value;
    } registers[] = {
        {DISTRIBUTOR, 0x0084, 0},          /* IGROUPR1: shared interrupts are of group 0 */
        {DISTRIBUTOR, 0x0104, 0x00000006}, /* ISENABLER1 */
        {DISTRIBUTOR, 0x0c08, 0},          /* ICFGR2: level, as every Linux makes them */
        {DISTRIBUTOR, 0x0c0c, 0},
        {DISTRIBUTOR, 0x6000 + 8 * 33, 1}, /* IROUTER33: to vCPU 1 */
        {DISTRIBUTOR, 0x0204, 0x00000004}, /* ISPENDR1: interrupt 34 */
        {DISTRIBUTOR, 0x0304, 0x00000002}, /* ISACTIVER1: interrupt 33 */
        {DISTRIBUTOR, 0x0420, 0x50608070}, /* IPRIORITYR8 */
        {PRIVATE, 0x10080, 0},             /* of vCPU 0: IGROUPR0 */
        {PRIVATE, 0x10c04, 0},             /* ICFGR1 */
    };
    enum { COUNT = sizeof(registers) / sizeof(registers[0]) };
    (void)state;
    given_a_machine();
    spoil();
    for (int i = 0; i < COUNT; i++) {
        given_register(registers[i].group, registers[i].attribute, registers[i].value);
    }
    size_t count = save(first);
    move(count);
    for (int i = 0; i < COUNT; i++) {
        has_register(registers[i].group, registers[i].attribute, registers[i].value);
    }
    assert_int_equal(save(second), count);
    assert_memory_equal(first, second, count);
}

static void a_fresh_machine_comes_as_it_was(void **state)
{
    (void)state;
    given_a_machine();
    spoil();
    size_t count = save(first);
    move(count);
    assert_int_equal(save(second), count);
    assert_memory_equal(first, second, count);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#define CORE_REGISTER(name) \
    (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

/* vCPU 0's PC, which is 0 in a fresh machine, has another name in the saved state. */
static void load_without_pc(size_t count, uint64_t other)
{
    const uint64_t pc = CORE_REGISTER(regs.pc);
    memcpy(second, first, count);
    uint8_t *at = memmem(second, count, &pc, sizeof(pc));
    assert_non_null(at);
    memcpy(at, &other, sizeof(other));
    gw_fault_clear(&fault);
    assert_int_not_equal(gw_vm_load(&vm, second, count, &fault), GW_OK);
}

static void a_vcpu_needs_each_of_its_core_registers_once(void **state)
{
    (void)state;
    given_a_machine();
    size_t count = save(first);
    load_without_pc(count, CORE_REGISTER(regs.pstate));
    assert_non_null(strstr(fault.text, "twice"));
    load_without_pc(count, KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_FW | 0xfff0);
    assert_non_null(strstr(fault.text, "is without register")); /* else a newer kernel's zero */
    load_without_pc(count, KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG | 0xfff0);
    assert_non_null(strstr(fault.text, "does not have"));
    move(count); /* and a whole one is taken after them */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_interrupt_controller_comes_as_it_was),
        TEST(a_fresh_machine_comes_as_it_was),
        TEST(a_vcpu_needs_each_of_its_core_registers_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
