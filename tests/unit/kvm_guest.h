/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real guest for tests of the KVM trackers: vCPUs of a few instructions that write to random
 * pages without end. Runs wherever /dev/kvm does, on x86-64 and on aarch64.
 *
 * The guest writes to region 1 of the RAM (memory slot 3), whose size is a power of two of pages,
 * and never to region 0 (slot 1).
 */
#ifndef GW_TEST_KVM_GUEST_H
#define GW_TEST_KVM_GUEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "godwit/kvm_log.h"
#include "godwit/ram.h"

enum { KVM_GUEST_RAM_ADDRESS = 0x40000000, KVM_GUEST_VCPUS_MAX = 2 };

extern const struct gw_kvm_slot kvm_guest_slots[2];

struct kvm_guest {
    int kvm_fd, vm_fd;
    uint32_t vcpu_count;
    int vcpu_fd[KVM_GUEST_VCPUS_MAX];
    struct kvm_run *run[KVM_GUEST_VCPUS_MAX];
    pthread_t thread[KVM_GUEST_VCPUS_MAX];
    size_t run_bytes;
    void *code;
    bool is_running;
    atomic_bool is_over;
    bool (*ring_full)(void); /* what a vCPU does whose dirty ring is full; false: it fails */
};

/* Makes the VM and its memory slots, then vCPUs. `prepare` may be NULL, or does what must be done
 * to the VM before. False without a usable /dev/kvm. */
bool kvm_guest_make(struct kvm_guest *guest, const struct gw_ram *ram, uint32_t vcpu_count,
                    bool (*prepare)(int vm_fd));

/* Lets the vCPUs write, each by a seed of its own, waiting `wait` turns between any two writes. */
void kvm_guest_start(struct kvm_guest *guest, const struct gw_ram *ram, uint64_t seed,
                     uint64_t wait);

/* Until all vCPUs are out. Does nothing when they do not run. */
void kvm_guest_stop(struct kvm_guest *guest);
void kvm_guest_unmake(struct kvm_guest *guest);

#endif
