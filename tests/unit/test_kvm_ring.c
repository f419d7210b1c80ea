/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM dirty ring tracker (godwit/kvm_ring.h) under a real guest, while a mirror of its RAM is
 * kept. Runs wherever /dev/kvm has rings, on x86-64 and on aarch64; skips elsewhere. The backup
 * bitmap is arm64's, and is filled there by an interrupt controller that saves its tables.
 */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/ioctl.h"
#include "godwit/kvm_ring.h"
#include "kvm_guest.h"
#include "mirror.h"

enum {
    FEW_PAGES = 64,    /* the guest writes to so many: each soon again */
    MANY_PAGES = 1024, /* or to so many: more than a small ring holds */
    PAGES_B = 37,      /* and never to these */
};

static struct gw_fault fault;
static struct gw_ram ram;
static struct gw_marks marks;
static struct gw_tracker_kvm_ring tracker;
static struct mirror mirror;
static struct kvm_guest guest;
static uint32_t entries;

/* ---- Given ---- */

/* As small as this KVM takes: a page; and more than it reserves (on x86-64 another 512). */
static bool enable_small_rings(int vm_fd)
{
    entries = (uint32_t)sysconf(_SC_PAGESIZE) / GW_RING_ENTRY_BYTES;
    for (;; entries *= 2) {
        enum gw_status status = gw_kvm_ring_enable(vm_fd, entries, &fault);
        if (status == GW_OK || entries == GW_RING_ENTRIES_MAX) {
            return status == GW_OK;
        }
        gw_fault_clear(&fault);
    }
}

/* Never full with less pages than entries, if somebody collects now and then. */
static bool enable_large_rings(int vm_fd)
{
    entries = GW_RING_ENTRIES_MAX;
    return gw_kvm_ring_enable(vm_fd, entries, &fault) == GW_OK;
}

static bool is_overrun(const struct gw_fault *by)
{
    return strstr(by->text, "overran") != NULL;
}

/* A ring that KVM overran may be one it cannot protect any more: that ends no vCPU's thread, for
 * the next round finds it out. */
static bool relieve(void)
{
    struct gw_fault vcpu_fault = {.status = GW_OK};
    return gw_tracker_kvm_ring_relieve(&tracker, &vcpu_fault) == GW_OK || is_overrun(&vcpu_fault);
}

static void given_ram(uint64_t seed, uint64_t pages)
{
    gw_fault_clear(&fault);
    gw_marks_reset(&marks);
    gw_ram_init(&ram);
    uint64_t page = ram.page_bytes;
    uint64_t address_b = KVM_GUEST_RAM_ADDRESS + 128 * GW_MIB;
    assert_int_equal(gw_ram_add_memfd(&ram, address_b, PAGES_B * page, &fault), GW_OK);
    assert_int_equal(gw_ram_add_memfd(&ram, KVM_GUEST_RAM_ADDRESS, pages * page, &fault), GW_OK);
    for (uint64_t i = 0; i < pages; i += 1 + (seed + i) % 3) {
        *gw_ram_page(&ram, PAGES_B + i) = 1;
    }
}

static bool has_rings(void)
{
    struct kvm_guest probe;
    bool is_there = kvm_guest_make(&probe, &ram, 0, NULL);
    if (is_there) {
        is_there = gw_kvm_ring_entries_max(probe.vm_fd) > 0;
        kvm_guest_unmake(&probe);
    }
    return is_there;
}

static void given_guest(uint64_t seed, uint64_t pages, uint32_t vcpu_count,
                        bool (*enable)(int vm_fd))
{
    given_ram(seed, pages);
    if (!has_rings()) {
        gw_ram_close(&ram);
        print_message("    skipped: no usable /dev/kvm with dirty rings here\n");
        skip();
    }
    assert_true(kvm_guest_make(&guest, &ram, vcpu_count, enable));
    guest.ring_full = relieve;
    struct kvm_dirty_gfn *rings[KVM_GUEST_VCPUS_MAX];
    for (uint32_t i = 0; i < vcpu_count; i++) {
        rings[i] = gw_kvm_ring_map(guest.vcpu_fd[i], entries);
        assert_non_null(rings[i]);
    }
    gw_tracker_kvm_ring_init(&tracker, guest.vm_fd, &ram, kvm_guest_slots, &marks, rings,
                             vcpu_count, entries);
}

static void finish(void)
{
    tracker.tracker.operations->stop(&tracker.tracker);
    tracker.tracker.operations->stop(&tracker.tracker);
    for (uint32_t i = 0; i < guest.vcpu_count; i++) {
        gw_kvm_ring_unmap(tracker.vcpu[i].entry, entries);
    }
    kvm_guest_unmake(&guest);
    gw_ram_close(&ram);
}

static uint64_t trials(void)
{
    const char *text = getenv("GODWIT_TRIALS");
    return text == NULL ? 4 : strtoull(text, NULL, 10);
}

/* A round of the mirror: how many pages. A KVM that does not look at its rings in time cannot be
 * tested any further, but must have been found out. */
static int64_t send_round(uint64_t run_pages)
{
    int64_t sent = mirror_round(&mirror, run_pages, &fault);
    if (sent < 0 && is_overrun(&fault)) {
        kvm_guest_stop(&guest);
        finish();
        print_message("    skipped: this KVM overruns its dirty rings\n");
        skip();
    }
    assert_true(sent >= 0);
    return sent;
}

static void then_the_mirror_is_equal(void)
{
    (void)send_round(64);
    assert_true(mirror_is_equal(&mirror));
    /* Nothing runs: no page may be dirty. */
    assert_int_equal(send_round(64), 0);
}

/* Until rings were full so often. */
static void wait_for_full_rings(uint64_t count)
{
    while (gw_tracker_kvm_ring_full_count(&tracker) < count) {
        (void)sched_yield();
    }
}

/* Until so many entries wait in the first ring. */
static void wait_for_entries(uint32_t count)
{
    const struct gw_kvm_ring_vcpu *vcpu = &tracker.vcpu[0];
    const struct kvm_dirty_gfn *last = &vcpu->entry[(vcpu->next + count - 1) % entries];
    while (__atomic_load_n(&last->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) {
        (void)sched_yield();
    }
}

/* Until the guest wrote to every page a few times, about. */
static void wait_for_writes(void)
{
    const volatile uint32_t *word = (uint32_t *)(void *)gw_ram_page(&ram, PAGES_B + 5);
    uint32_t before = *word;
    while (*word - before < 3) {
        (void)sched_yield();
    }
}

/* ---- Under a guest that writes ---- */

static void one_trial(uint64_t seed, uint32_t vcpu_count)
{
    given_guest(seed, FEW_PAGES, vcpu_count, enable_large_rings);
    kvm_guest_start(&guest, &ram, seed, (seed % 8) * 400);
    /* The guest runs already: start races with it, and each collect. */
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    for (int round = 0; round < 4; round++) {
        wait_for_writes();
        (void)send_round(1 + (seed + (uint64_t)round) % 90);
    }
    wait_for_writes();
    gw_marks_put(&marks, PAGES_B - 1, 1); /* the monitor's own write, to a hole */
    *gw_ram_page(&ram, PAGES_B - 1) = 0x77;
    kvm_guest_stop(&guest);
    then_the_mirror_is_equal();
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, PAGES_B, &count), PAGES_B - 1);
    finish();
}

static void one_vcpu_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= trials(); seed++) {
        one_trial(seed, 1);
    }
}

static void two_vcpus_lose_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= trials(); seed++) {
        one_trial(seed, 2);
    }
}

/* Nobody collects while they fill up. Kicks come at any moment, in the midst of emptying too. */
static void fill_rings(uint64_t seed)
{
    for (uint64_t full = 1; full <= 3; full++) {
        wait_for_full_rings(2 * full);
        for (int i = 0; i < 200; i++) {
            assert_int_equal(pthread_kill(guest.thread[i % 2], SIGUSR1), 0);
        }
        (void)send_round(1 + seed % 90);
    }
    wait_for_full_rings(8);
}

static void full_rings_lose_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= trials(); seed++) {
        given_guest(seed, MANY_PAGES, 2, enable_small_rings);
        assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
        kvm_guest_start(&guest, &ram, seed, 0);
        assert_true(mirror_send(&mirror, 64, &fault) > 0);
        fill_rings(seed);
        kvm_guest_stop(&guest);
        then_the_mirror_is_equal();
        assert_false(tracker.is_interrupted);
        finish();
    }
}

/* ---- Start, stop, and what is left over ---- */

/* Lets the guest write until some pages wait in the ring. */
static void let_it_write(uint64_t seed)
{
    kvm_guest_start(&guest, &ram, seed, 0);
    wait_for_entries(100);
    kvm_guest_stop(&guest);
}

static void what_was_left_over_is_not_told_again(void **state)
{
    (void)state;
    given_guest(1, MANY_PAGES, 1, enable_large_rings);
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    let_it_write(1);
    assert_true(relieve());
    let_it_write(2); /* some pages were taken from the ring, others lie in it */
    tracker.tracker.operations->stop(&tracker.tracker);
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    assert_int_equal(send_round(64), 0);

    let_it_write(3); /* and it tracks as it did */
    then_the_mirror_is_equal();
    finish();
}

static void written_while_it_was_off_is_told_by_start(void **state)
{
    (void)state;
    given_guest(1, MANY_PAGES, 1, enable_large_rings);
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    let_it_write(1);
    tracker.tracker.operations->stop(&tracker.tracker);
    kvm_guest_start(&guest, &ram, 7, 0);
    wait_for_writes();
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    kvm_guest_stop(&guest);
    then_the_mirror_is_equal();
    finish();
}

/* ---- What goes wrong ---- */

static void an_interrupted_reset_begins_anew(void **state)
{
    (void)state;
    given_guest(1, MANY_PAGES, 1, enable_large_rings);
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    let_it_write(1);
    assert_true(send_round(64) > 0);
    tracker.is_interrupted = true; /* as if it had been */
    uint64_t added;
    assert_int_equal(
        tracker.tracker.operations->collect(&tracker.tracker, mirror.dirty, &added, &fault), GW_OK);
    uint64_t data = 0;
    uint64_t count;
    for (uint64_t page = 0; page < ram.page_count; page += count + (count == 0)) {
        page = gw_ram_next_data(&ram, page, ram.page_count, &count);
        data += count;
    }
    assert_int_equal(added, data);
    assert_int_equal(mirror_send(&mirror, 64, &fault), data);
    let_it_write(2);
    then_the_mirror_is_equal();
    finish();
}

static void an_entry_that_is_no_ram_fails_the_collect_and_no_more(void **state)
{
    (void)state;
    given_guest(1, MANY_PAGES, 1, enable_large_rings);
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    let_it_write(1);
    struct gw_kvm_ring_vcpu *vcpu = &tracker.vcpu[0];
    vcpu->entry[vcpu->next % entries].slot = 9;
    vcpu->entry[vcpu->next % entries].offset = 77;
    assert_int_equal(mirror_round(&mirror, 64, &fault), -1);
    assert_int_equal(fault.status, GW_HOST);
    assert_non_null(strstr(fault.text, "page 77 of slot 9"));
    tracker.tracker.operations->stop(&tracker.tracker);

    gw_fault_clear(&fault);
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    let_it_write(3);
    then_the_mirror_is_equal();
    finish();
}

static void what_cannot_be_a_ring_is_refused(void **state)
{
    (void)state;
    given_guest(1, MANY_PAGES, 1, enable_large_rings);
    const uint32_t bad[] = {0, 1, 3 * entries, 2 * GW_RING_ENTRIES_MAX};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gw_fault_clear(&fault);
        assert_int_equal(gw_kvm_ring_enable(guest.vm_fd, bad[i], &fault), GW_ARGUMENT);
    }
    gw_fault_clear(&fault);
    assert_int_equal(gw_kvm_ring_enable(guest.vm_fd, entries, &fault), GW_HOST); /* a second time */
    finish();
}

/* ---- The backup bitmap ---- */

#ifdef __aarch64__
enum {
    DISTRIBUTOR = 0x08000000,
    REDISTRIBUTOR = 0x080a0000,
    TABLES = 0x08080000, /* the interrupt translation service's registers */
    GITS_BASER1 = 0x108, /* GICv3 specification, 12.19.1; KVM's ITS: the collection table */
};

static int make_device(uint32_t type)
{
    struct kvm_create_device device = {.type = type};
    assert_int_equal(gw_ioctl(guest.vm_fd, KVM_CREATE_DEVICE, &device), 0);
    return (int)device.fd;
}

static void set_attribute(int fd, uint32_t group, uint64_t attribute, uint64_t value)
{
    struct kvm_device_attr request = {.group = group, .attr = attribute, .addr = (uintptr_t)&value};
    assert_int_equal(gw_ioctl(fd, KVM_SET_DEVICE_ATTR, &request), 0);
}

/* KVM saves the tables of its ITS into guest RAM with no vCPU running: it ends an empty collection
 * table by an entry of 8 bytes of zeros (Linux Documentation/virt/kvm/devices/arm-vgic-its.rst). */
static void pages_written_outside_a_vcpu_are_told(void **state)
{
    (void)state;
    given_guest(1, MANY_PAGES, 1, enable_large_rings);
    assert_true(tracker.has_bitmap);
    int gic = make_device(KVM_DEV_TYPE_ARM_VGIC_V3);
    set_attribute(gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, DISTRIBUTOR);
    set_attribute(gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, REDISTRIBUTOR);
    int its = make_device(KVM_DEV_TYPE_ARM_VGIC_ITS);
    set_attribute(its, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, TABLES);
    set_attribute(its, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0);
    set_attribute(gic, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0);
    set_attribute(its, KVM_DEV_ARM_VGIC_GRP_ITS_REGS, GITS_BASER1,
                  UINT64_C(1) << 63 | ram.region[1].gpa);
    memset(gw_ram_page(&ram, PAGES_B), 0x5a, ram.page_bytes);

    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    for (int i = 0; i < 2; i++) { /* told each time, once */
        set_attribute(its, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_ITS_SAVE_TABLES, 0);
        assert_int_equal(*(uint64_t *)(void *)gw_ram_page(&ram, PAGES_B), 0);
        assert_int_equal(mirror_round(&mirror, 64, &fault), 1);
        assert_true(mirror_is_equal(&mirror));
        assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    }
    (void)close(its);
    (void)close(gic);
    finish();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_vcpu_loses_nothing),
        cmocka_unit_test(two_vcpus_lose_nothing),
        cmocka_unit_test(full_rings_lose_nothing),
        cmocka_unit_test(what_was_left_over_is_not_told_again),
        cmocka_unit_test(written_while_it_was_off_is_told_by_start),
        cmocka_unit_test(an_interrupted_reset_begins_anew),
        cmocka_unit_test(an_entry_that_is_no_ram_fails_the_collect_and_no_more),
        cmocka_unit_test(what_cannot_be_a_ring_is_refused),
#ifdef __aarch64__
        cmocka_unit_test(pages_written_outside_a_vcpu_are_told),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
