/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM dirty log tracker (godwit/kvm_log.h) under a real guest, while a mirror of its RAM is
 * kept. Runs wherever /dev/kvm does, on x86-64 and on aarch64; skips elsewhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "godwit/ioctl.h"
#include "godwit/kvm_log.h"
#include "kvm_guest.h"
#include "mirror.h"

enum {
    PAGES_A = 512, /* the guest writes to these: a power of two */
    PAGES_B = 37,  /* and never to these */
};

static struct gw_fault fault;
static struct gw_ram ram;
static struct gw_marks marks;
static struct gw_tracker_kvm_log tracker;
static struct mirror mirror;
static struct kvm_guest guest;

/* Half of the guest's pages are touched before, the other half are holes. */
static void given_ram(uint64_t seed)
{
    gw_fault_clear(&fault);
    gw_marks_reset(&marks);
    gw_ram_init(&ram);
    uint64_t page = ram.page_bytes;
    assert_int_equal(gw_ram_add_memfd(&ram, KVM_GUEST_RAM_ADDRESS + 16 * GW_MIB + PAGES_A * page,
                                      PAGES_B * page, &fault),
                     GW_OK);
    assert_int_equal(gw_ram_add_memfd(&ram, KVM_GUEST_RAM_ADDRESS, PAGES_A * page, &fault), GW_OK);
    for (uint64_t i = 0; i < PAGES_A; i += 1 + (seed + i) % 3) {
        *gw_ram_page(&ram, PAGES_B + i) = 1;
    }
}

static void one_trial(uint64_t seed, bool is_manual)
{
    given_ram(seed);
    if (!kvm_guest_make(&guest, &ram, 1, NULL)) {
        gw_ram_close(&ram);
        print_message("    skipped: no usable /dev/kvm here\n");
        skip();
    }
    assert_int_equal(
        gw_tracker_kvm_log_init(&tracker, guest.vm_fd, &ram, kvm_guest_slots, &marks, &fault),
        GW_OK);
    if (!is_manual) { /* as on a kernel without it */
        struct kvm_enable_cap off = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2};
        assert_int_equal(gw_ioctl(guest.vm_fd, KVM_ENABLE_CAP, &off), 0);
        tracker.manual_flags = 0;
    }
    kvm_guest_start(&guest, &ram, seed, (seed % 8) * 400);

    /* The guest runs already: start races with it. */
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    int64_t first = mirror_send(&mirror, 64, &fault);
    assert_true(first > 0);
    for (int round = 0; round < 8; round++) {
        assert_true(mirror_round(&mirror, 1 + (seed + (uint64_t)round) % 90, &fault) >= 0);
    }
    gw_marks_put(&marks, PAGES_B - 1, 1); /* the monitor's own write, to a hole */
    *gw_ram_page(&ram, PAGES_B - 1) = 0x77;
    kvm_guest_stop(&guest);
    assert_true(mirror_round(&mirror, 64, &fault) >= 1);
    assert_true(mirror_is_equal(&mirror));

    /* Nothing runs: no page may be dirty, and holes must not come back for ever. */
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, PAGES_B, &count), PAGES_B - 1);
    tracker.tracker.operations->stop(&tracker.tracker);
    tracker.tracker.operations->stop(&tracker.tracker);
    kvm_guest_unmake(&guest);
    gw_ram_close(&ram);
}

static uint64_t trials(void)
{
    const char *text = getenv("GODWIT_TRIALS");
    return text == NULL ? 40 : strtoull(text, NULL, 10);
}

static void manual_log_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= trials(); seed++) {
        one_trial(seed, true);
    }
}

static void plain_log_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= trials(); seed++) {
        one_trial(seed, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manual_log_loses_nothing),
        cmocka_unit_test(plain_log_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
