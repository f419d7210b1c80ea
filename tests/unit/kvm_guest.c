/* SPDX-License-Identifier: Apache-2.0 */
/* A real guest for tests of the KVM trackers. See kvm_guest.h. */
#include "kvm_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/ioctl.h"

enum { CODE_ADDRESS = 0x8000, CODE_BYTES = 65536 };

const struct gw_kvm_slot kvm_guest_slots[2] = {{.slot = 1}, {.slot = 3}};

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

static bool set_registers(int fd, const struct gw_ram *ram, uint64_t seed, uint64_t wait)
{
    uint64_t page_mask = ram->region[1].bytes / ram->page_bytes - 1;
    struct kvm_sregs special;
    if (gw_ioctl(fd, KVM_GET_SREGS, &special) != 0) {
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
                               .rsi = KVM_GUEST_RAM_ADDRESS,
                               .rdi = page_mask,
                               .rbp = wait,
                               .rcx = (uint32_t)__builtin_ctz(ram->page_bytes),
                               .rip = CODE_ADDRESS,
                               .rflags = 2};
    return gw_ioctl(fd, KVM_SET_SREGS, &special) == 0 && gw_ioctl(fd, KVM_SET_REGS, &general) == 0;
}

static bool init_vcpu(int vm_fd, int fd)
{
    return vm_fd != fd;
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

static bool set_core(int fd, uint64_t index, uint64_t value)
{
    struct kvm_one_reg reg = {
        .id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | index,
        .addr = (uintptr_t)&value,
    };
    return gw_ioctl(fd, KVM_SET_ONE_REG, &reg) == 0;
}

static bool set_registers(int fd, const struct gw_ram *ram, uint64_t seed, uint64_t wait)
{
    uint64_t page_mask = ram->region[1].bytes / ram->page_bytes - 1;
    const uint64_t x[7] = {seed,
                           KVM_GUEST_RAM_ADDRESS,
                           page_mask,
                           wait,
                           (uint64_t)__builtin_ctz(ram->page_bytes),
                           1664525,
                           1013904223};
    for (uint64_t i = 0; i < 7; i++) {
        if (!set_core(fd, 2 * i, x[i])) { /* KVM_REG_ARM_CORE_REG(regs.regs[i]): in 32-bit words */
            return false;
        }
    }
    return set_core(fd, 2 * 32, CODE_ADDRESS); /* regs.pc */
}

static bool init_vcpu(int vm_fd, int fd)
{
    struct kvm_vcpu_init init;
    return gw_ioctl(vm_fd, KVM_ARM_PREFERRED_TARGET, &init) == 0 &&
           gw_ioctl(fd, KVM_ARM_VCPU_INIT, &init) == 0;
}
#else
const uint8_t guest_code[1];
const uint8_t guest_code_end[1];
static bool set_registers(int fd, const struct gw_ram *ram, uint64_t seed, uint64_t wait)
{
    return fd < 0 && ram == NULL && seed != wait;
}
static bool init_vcpu(int vm_fd, int fd)
{
    return vm_fd < 0 && fd < 0;
}
#endif

/* ---- The VM ---- */

static bool set_slot(int vm_fd, uint32_t slot, uint64_t address, void *base, uint64_t bytes)
{
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = address,
                                                 .memory_size = bytes,
                                                 .userspace_addr = (uintptr_t)base};
    return gw_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static void make_vcpu(struct kvm_guest *guest, uint32_t index)
{
    int fd = ioctl(guest->vm_fd, KVM_CREATE_VCPU, index);
    assert_true(fd >= 0);
    void *run = mmap(NULL, guest->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(run, MAP_FAILED);
    guest->vcpu_fd[index] = fd;
    guest->run[index] = run;
    assert_true(init_vcpu(guest->vm_fd, fd));
}

bool kvm_guest_make(struct kvm_guest *guest, const struct gw_ram *ram, uint32_t vcpu_count,
                    bool (*prepare)(int vm_fd))
{
    *guest = (struct kvm_guest){.vm_fd = -1, .vcpu_count = vcpu_count};
    guest->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    guest->vm_fd = guest->kvm_fd < 0 ? -1 : ioctl(guest->kvm_fd, KVM_CREATE_VM, 0);
    if (guest->vm_fd < 0) {
        (void)close(guest->kvm_fd);
        return false;
    }
    assert_true(prepare == NULL || prepare(guest->vm_fd));
    guest->code =
        mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(guest->code, MAP_FAILED);
    memcpy(guest->code, guest_code, (size_t)(guest_code_end - guest_code));
    __builtin___clear_cache(guest->code, (char *)guest->code + CODE_BYTES);
    assert_true(set_slot(guest->vm_fd, 7, CODE_ADDRESS, guest->code, CODE_BYTES));
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(set_slot(guest->vm_fd, kvm_guest_slots[i].slot, ram->region[i].gpa,
                             ram->region[i].base, ram->region[i].bytes));
    }
    guest->run_bytes = (size_t)ioctl(guest->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    for (uint32_t i = 0; i < vcpu_count; i++) {
        make_vcpu(guest, i);
    }
    return true;
}

void kvm_guest_unmake(struct kvm_guest *guest)
{
    for (uint32_t i = 0; i < guest->vcpu_count; i++) {
        (void)munmap(guest->run[i], guest->run_bytes);
        (void)close(guest->vcpu_fd[i]);
    }
    (void)munmap(guest->code, CODE_BYTES);
    (void)close(guest->vm_fd);
    (void)close(guest->kvm_fd);
}

/* ---- Its threads ---- */

struct vcpu {
    struct kvm_guest *guest;
    uint32_t index;
};

static struct vcpu vcpus[KVM_GUEST_VCPUS_MAX];

static void ignore_signal(int number)
{
    (void)number;
}

static bool handle_exit(struct kvm_guest *guest, uint32_t index)
{
    uint32_t reason = guest->run[index]->exit_reason;
    if (reason == KVM_EXIT_DIRTY_RING_FULL && guest->ring_full != NULL) {
        return guest->ring_full();
    }
    if (reason != KVM_EXIT_INTR) {
        print_error("guest: exit reason %u\n", reason);
        return false;
    }
    return true;
}

static void *run_vcpu(void *argument)
{
    const struct vcpu *vcpu = argument;
    struct kvm_guest *guest = vcpu->guest;
    while (!atomic_load(&guest->is_over)) {
        int result = ioctl(guest->vcpu_fd[vcpu->index], KVM_RUN, 0);
        bool is_well =
            result == 0 ? handle_exit(guest, vcpu->index) : errno == EINTR || errno == EAGAIN;
        if (!is_well) {
            return guest;
        }
    }
    return NULL;
}

void kvm_guest_start(struct kvm_guest *guest, const struct gw_ram *ram, uint64_t seed,
                     uint64_t wait)
{
    const struct sigaction action = {.sa_handler = ignore_signal};
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    atomic_store(&guest->is_over, false);
    guest->is_running = true;
    for (uint32_t i = 0; i < guest->vcpu_count; i++) {
        guest->run[i]->immediate_exit = 0;
        assert_true(set_registers(guest->vcpu_fd[i], ram, seed + i, wait));
        vcpus[i] = (struct vcpu){guest, i};
        assert_int_equal(pthread_create(&guest->thread[i], NULL, run_vcpu, &vcpus[i]), 0);
    }
}

void kvm_guest_stop(struct kvm_guest *guest)
{
    if (!guest->is_running) {
        return;
    }
    guest->is_running = false;
    atomic_store(&guest->is_over, true);
    for (uint32_t i = 0; i < guest->vcpu_count; i++) {
        __atomic_store_n(&guest->run[i]->immediate_exit, 1, __ATOMIC_SEQ_CST);
        assert_int_equal(pthread_kill(guest->thread[i], SIGUSR1), 0);
    }
    for (uint32_t i = 0; i < guest->vcpu_count; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(guest->thread[i], &failed), 0);
        assert_null(failed);
    }
}
