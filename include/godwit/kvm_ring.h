/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dirty tracker (godwit/tracker.h) over KVM's dirty rings, one per vCPU, and their backup bitmap.
 * Linux Documentation/virt/kvm/api.rst: KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
 * KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, KVM_RESET_DIRTY_RINGS. How nothing gets lost is argued in
 * src/dirty/kvm_ring.c.
 *
 * Rings must be chosen when a VM is made, in this order: gw_kvm_ring_enable on the new VM, memory
 * slots, vCPUs, gw_kvm_ring_map for each vCPU, gw_tracker_kvm_ring_init.
 *
 * A vCPU whose ring is full leaves the guest with KVM_EXIT_DIRTY_RING_FULL, and cannot go back in
 * until somebody has emptied it: its thread calls gw_tracker_kvm_ring_relieve and enters again.
 *
 * Owner: the caller's (static) storage, two times GW_PAGES_MAX / 8 bytes and some; the rings
 * themselves are the kernel's memory. One tracker per VM, and no other tracker beside it.
 * Threads and blocking: as the table says; relieve may come from any vCPU's thread at any time
 * after init. The lock inside is held for the system calls that empty the rings, which wait for no
 * page of guest RAM, and never while anything else is waited for.
 */
#ifndef GODWIT_KVM_RING_H
#define GODWIT_KVM_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "godwit/kvm_log.h"
#include "godwit/marks.h"
#include "godwit/ram.h"
#include "godwit/tracker.h"

struct kvm_dirty_gfn;

/* Whether a VM (or /dev/kvm) of this kernel can have rings: the most entries per ring, or 0. */
uint32_t gw_kvm_ring_entries_max(int kvm_fd);

/* Switches rings of that many entries on for a VM without memory slots and vCPUs, and the backup
 * bitmap where the kernel needs one. A power of two, GW_RING_ENTRIES_MAX at most, and whole pages;
 * GW_ARGUMENT when it is not, GW_HOST when this KVM has no rings or refuses. */
GW_MUST_USE enum gw_status gw_kvm_ring_enable(int vm_fd, uint32_t entries, struct gw_fault *fault);

/* Maps a vCPU's ring; NULL and errno when it cannot be. For gw_kvm_ring_unmap, after the tracker's
 * last use. */
struct kvm_dirty_gfn *gw_kvm_ring_map(int vcpu_fd, uint32_t entries);
void gw_kvm_ring_unmap(struct kvm_dirty_gfn *ring, uint32_t entries);

struct gw_kvm_ring_vcpu {
    struct kvm_dirty_gfn *entry; /* as mapped */
    uint32_t next;               /* the next to be looked at, counted without end */
};

struct gw_tracker_kvm_ring {
    struct gw_tracker tracker; /* pass &ring.tracker to whoever takes a tracker */
    const struct gw_ram *ram;
    struct gw_marks *marks; /* NULL: the monitor itself writes no guest RAM */
    int vm_fd;
    bool has_bitmap;
    bool is_on;
    struct gw_kvm_slot slot[GW_RAM_REGIONS_MAX]; /* one per region, in the ram's order */
    uint32_t entry_count;                        /* of each ring */
    uint32_t vcpu_count;

    /* Guarded by `lock`. */
    pthread_mutex_t lock;
    struct gw_kvm_ring_vcpu vcpu[GW_VCPUS_MAX];
    struct gw_fault fault;               /* of the kernel's bytes or calls; the first one sticks */
    bool is_interrupted;                 /* some pages may have been left unprotected */
    uint64_t full_count;                 /* rings that were full since init */
    uint64_t harvested[GW_BITMAP_WORDS]; /* taken from the rings, protected, not yet collected */

    uint64_t scratch[GW_BITMAP_WORDS]; /* collect's: the backup bitmap of a slot */
};

/* Binds the tracker to a VM whose slots are set and not logged. ram, marks, vm_fd and the rings
 * (one per vCPU, `entries` each, as enabled) must outlive the tracker. `slots` has one entry per
 * region. No vCPU may be relieved at the same time. Call it once per VM. */
void gw_tracker_kvm_ring_init(struct gw_tracker_kvm_ring *ring, int vm_fd, const struct gw_ram *ram,
                              const struct gw_kvm_slot *slots, struct gw_marks *marks,
                              struct kvm_dirty_gfn *const *rings, uint32_t vcpu_count,
                              uint32_t entries);

/* Empties the rings for a vCPU that met KVM_EXIT_DIRTY_RING_FULL; what was in them is kept for the
 * next collect. From its thread, outside the guest. GW_HOST: the kernel does not empty them, and
 * the vCPU cannot go on. */
GW_MUST_USE enum gw_status gw_tracker_kvm_ring_relieve(struct gw_tracker_kvm_ring *ring,
                                                       struct gw_fault *fault);

/* How often gw_tracker_kvm_ring_relieve was needed. */
uint64_t gw_tracker_kvm_ring_full_count(struct gw_tracker_kvm_ring *ring);

#endif
