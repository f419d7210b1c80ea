/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM dirty log tracker (godwit/kvm_log.h) under a real guest: a few instructions that write
 * to random pages without end, while a mirror of its RAM is kept. Runs wherever /dev/kvm does, on
 * x86-64 and on aarch64; skips elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/ioctl.h"
#include "godwit/kvm_log.h"
#include "mirror.h"

enum {
    CODE_ADDRESS = 0x8000,
    RAM_ADDRESS = 0x40000000,
    PAGES_A = 512, /* the guest writes to these: a power of two */
    PAGES_B = 37,  /* and never to these */
};

static struct gw_fault fault;
static struct gw_ram ram;
static struct gw_marks marks;
static struct gw_tracker_kvm_log tracker;
static struct mirror mirror;

static int kvm_fd = -1;
static int vm_fd = -1;
static int vcpu_fd = -1;
static struct kvm_run *run;
static size_t run_bytes;
static void *code;
static atomic_bool is_over;

/* ---- The guest: state = state * a + c; page = state >> 16 & mask; ++*(word in page); wait ---- */

extern const uint8_t guest_code[];
extern const uint8_t guest_code_end[];

#ifdef __x86_64__
/* 32-bit protected mode without paging. eax state, esi RAM, edi page mask, ebp wait, cl shift. */
__asm__(".pushsection .rodata\n"
        ".global guest_code, guest_code_end\n"
        ".code32\n"
        "guest_code:\n"
        "1: imull $1664525, %eax, %eax\n"
        "   addl $1013904223, %eax\n"
        "   movl %eax, %ebx\n"
        "   shrl $16, %ebx\n"
        "   andl %edi, %ebx\n"
        "   shll %cl, %ebx\n"
        "   addl %esi, %ebx\n"
        "   incl (%ebx)\n"
        "   movl %ebp, %edx\n"
        "2: decl %edx\n"
        "   jns 2b\n"
        "   jmp 1b\n"
        "guest_code_end:\n"
        ".code64\n"
        ".popsection\n");

static bool set_registers(uint64_t seed, uint64_t wait)
{
    struct kvm_sregs special;
    if (gw_ioctl(vcpu_fd, KVM_GET_SREGS, &special) != 0) {
        return false;
    }
    struct kvm_segment flat = {
        .limit = 0xffffffff, .present = 1, .type = 3, .s = 1, .db = 1, .g = 1, .selector = 16};
    special.ds = special.es = special.ss = special.fs = special.gs = flat;
    flat.type = 11;
    flat.selector = 8;
    special.cs = flat;
    special.cr0 = 0x11; /* PE, ET */
    struct kvm_regs general = {.rax = seed & 0xffffffff,
                               .rsi = RAM_ADDRESS,
                               .rdi = PAGES_A - 1,
                               .rbp = wait,
                               .rcx = (uint32_t)__builtin_ctz(ram.page_bytes),
                               .rip = CODE_ADDRESS,
                               .rflags = 2};
    return gw_ioctl(vcpu_fd, KVM_SET_SREGS, &special) == 0 &&
           gw_ioctl(vcpu_fd, KVM_SET_REGS, &general) == 0;
}

static bool init_vcpu(void)
{
    return true;
}
#elif defined(__aarch64__)
/* EL1, MMU off: stores bypass the caches, so on hardware without FEAT_S2FWB (Armv8.4) the host may
 * read stale lines; emulated gateways have no such caches. w0 state, x1 RAM, w2 page mask, x3 wait,
 * x4 shift, w5 a, w6 c. */
__asm__(".pushsection .rodata\n"
        ".balign 4\n"
        ".global guest_code, guest_code_end\n"
        "guest_code:\n"
        "1: madd w0, w0, w5, w6\n"
        "   lsr w7, w0, #16\n"
        "   and w7, w7, w2\n"
        "   lsl x7, x7, x4\n"
        "   add x7, x7, x1\n"
        "   ldr w8, [x7]\n"
        "   add w8, w8, #1\n"
        "   str w8, [x7]\n"
        "   mov x9, x3\n"
        "2: subs x9, x9, #1\n"
        "   b.pl 2b\n"
        "   b 1b\n"
        "guest_code_end:\n"
        ".popsection\n");

static bool set_core(uint64_t index, uint64_t value)
{
    struct kvm_one_reg reg = {
        .id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | index,
        .addr = (uintptr_t)&value,
    };
    return gw_ioctl(vcpu_fd, KVM_SET_ONE_REG, &reg) == 0;
}

static bool set_registers(uint64_t seed, uint64_t wait)
{
    const uint64_t x[7] = {
        seed,    RAM_ADDRESS, PAGES_A - 1, wait, (uint64_t)__builtin_ctz(ram.page_bytes),
        1664525, 1013904223};
    for (uint64_t i = 0; i < 7; i++) {
        if (!set_core(2 * i, x[i])) { /* KVM_REG_ARM_CORE_REG(regs.regs[i]): in 32-bit words */
            return false;
        }
    }
    return set_core(2 * 32, CODE_ADDRESS); /* regs.pc */
}

static bool init_vcpu(void)
{
    struct kvm_vcpu_init init;
    return gw_ioctl(vm_fd, KVM_ARM_PREFERRED_TARGET, &init) == 0 &&
           gw_ioctl(vcpu_fd, KVM_ARM_VCPU_INIT, &init) == 0;
}
#else
const uint8_t guest_code[1];
const uint8_t guest_code_end[1];
static bool set_registers(uint64_t seed, uint64_t wait)
{
    return seed != wait && false;
}
static bool init_vcpu(void)
{
    return false;
}
#endif

/* ---- The VM ---- */

static bool set_slot(uint32_t slot, uint64_t address, void *base, uint64_t bytes)
{
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = address,
                                                 .memory_size = bytes,
                                                 .userspace_addr = (uintptr_t)base};
    return gw_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static bool make_vm(void)
{
    kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    vm_fd = kvm_fd < 0 ? -1 : ioctl(kvm_fd, KVM_CREATE_VM, 0);
    if (vm_fd < 0) {
        return false;
    }
    code = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(code, MAP_FAILED);
    memcpy(code, guest_code, (size_t)(guest_code_end - guest_code));
    __builtin___clear_cache(code, (char *)code + 65536);
    assert_true(set_slot(7, CODE_ADDRESS, code, 65536));
    assert_true(set_slot(1, ram.region[0].gpa, ram.region[0].base, ram.region[0].bytes));
    assert_true(set_slot(3, ram.region[1].gpa, ram.region[1].base, ram.region[1].bytes));
    vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0);
    assert_true(vcpu_fd >= 0);
    run_bytes = (size_t)ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);
    assert_ptr_not_equal(run, MAP_FAILED);
    assert_true(init_vcpu());
    return true;
}

static void unmake_vm(void)
{
    if (run != NULL) {
        (void)munmap(run, run_bytes);
        (void)munmap(code, 65536);
        run = NULL;
    }
    (void)close(vcpu_fd);
    (void)close(vm_fd);
    (void)close(kvm_fd);
    kvm_fd = vm_fd = vcpu_fd = -1;
}

/* Half of the guest's pages are touched before, the other half are holes. */
static void given_ram(uint64_t seed)
{
    gw_fault_clear(&fault);
    gw_marks_reset(&marks);
    gw_ram_init(&ram);
    uint64_t page = ram.page_bytes;
    assert_int_equal(
        gw_ram_add_memfd(&ram, RAM_ADDRESS + 16 * GW_MIB + PAGES_A * page, PAGES_B * page, &fault),
        GW_OK);
    assert_int_equal(gw_ram_add_memfd(&ram, RAM_ADDRESS, PAGES_A * page, &fault), GW_OK);
    for (uint64_t i = 0; i < PAGES_A; i += 1 + (seed + i) % 3) {
        *gw_ram_page(&ram, PAGES_B + i) = 1;
    }
}

static void ignore_signal(int number)
{
    (void)number;
}

static void *run_vcpu(void *argument)
{
    (void)argument;
    while (!atomic_load(&is_over)) {
        if (ioctl(vcpu_fd, KVM_RUN, 0) != 0 && errno != EINTR && errno != EAGAIN) {
            return &is_over;
        }
        if (run->exit_reason != KVM_EXIT_INTR && !atomic_load(&is_over)) {
            print_error("guest: exit reason %u\n", run->exit_reason);
            return &is_over;
        }
    }
    return NULL;
}

static void stop_vcpu(pthread_t thread)
{
    atomic_store(&is_over, true);
    __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    assert_int_equal(pthread_kill(thread, SIGUSR1), 0);
    void *failed = NULL;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
}

static void one_trial(uint64_t seed, bool is_manual)
{
    given_ram(seed);
    if (!make_vm()) {
        gw_ram_close(&ram);
        print_message("    skipped: no usable /dev/kvm here\n");
        skip();
    }
    if (!set_registers(seed, (seed % 8) * 400)) {
        fail();
    }
    const struct gw_kvm_slot slots[2] = {{.slot = 1}, {.slot = 3}};
    assert_int_equal(gw_tracker_kvm_log_init(&tracker, vm_fd, &ram, slots, &marks, &fault), GW_OK);
    if (!is_manual) { /* as on a kernel without it */
        struct kvm_enable_cap off = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2};
        assert_int_equal(gw_ioctl(vm_fd, KVM_ENABLE_CAP, &off), 0);
        tracker.manual_flags = 0;
    }
    pthread_t thread;
    atomic_store(&is_over, false);
    assert_int_equal(pthread_create(&thread, NULL, run_vcpu, NULL), 0);

    /* The guest runs already: start races with it. */
    assert_true(mirror_start(&mirror, &tracker.tracker, &ram, &fault));
    int64_t first = mirror_send(&mirror, 64, &fault);
    assert_true(first > 0);
    for (int round = 0; round < 8; round++) {
        assert_true(mirror_round(&mirror, 1 + (seed + (uint64_t)round) % 90, &fault) >= 0);
    }
    gw_marks_put(&marks, PAGES_B - 1, 1); /* the monitor's own write, to a hole */
    *gw_ram_page(&ram, PAGES_B - 1) = 0x77;
    stop_vcpu(thread);
    assert_true(mirror_round(&mirror, 64, &fault) >= 1);
    assert_true(mirror_is_equal(&mirror));

    /* Nothing runs: no page may be dirty, and holes must not come back for ever. */
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, PAGES_B, &count), PAGES_B - 1);
    tracker.tracker.operations->stop(&tracker.tracker);
    tracker.tracker.operations->stop(&tracker.tracker);
    unmake_vm();
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
    const struct sigaction action = {.sa_handler = ignore_signal};
    (void)sigaction(SIGUSR1, &action, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manual_log_loses_nothing),
        cmocka_unit_test(plain_log_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
