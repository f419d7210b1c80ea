/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dirty tracker (godwit/tracker.h) over KVM's dirty log. Linux Documentation/virt/kvm/api.rst:
 * KVM_SET_USER_MEMORY_REGION, KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG,
 * KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. How nothing gets lost is argued in src/dirty/kvm_log.c.
 *
 * Owner: the caller's (static) storage, GW_PAGES_MAX / 8 bytes and some. Threads and blocking: as
 * the table says. One tracker per VM.
 */
#ifndef GODWIT_KVM_LOG_H
#define GODWIT_KVM_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/marks.h"
#include "godwit/ram.h"
#include "godwit/tracker.h"

/* The memory slot that holds one region of RAM, as the VM's maker set it. */
struct gw_kvm_slot {
    uint32_t slot;  /* KVM's number, with the address space in bits 16-31 */
    uint32_t flags; /* without KVM_MEM_LOG_DIRTY_PAGES */
};

struct gw_tracker_kvm_log {
    struct gw_tracker tracker; /* pass &log.tracker to whoever takes a tracker */
    const struct gw_ram *ram;
    struct gw_marks *marks; /* NULL: the monitor itself writes no guest RAM */
    int vm_fd;
    uint64_t manual_flags; /* KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET */
    bool is_on;
    struct gw_kvm_slot slot[GW_RAM_REGIONS_MAX]; /* one per region, in the ram's order */
    uint64_t scratch[GW_BITMAP_WORDS];
};

/* Binds the tracker to a VM whose slots are set and not logged, and switches manual protection
 * on where the kernel has it (it must be done before the first start, and stays). ram, marks
 * and vm_fd must outlive the tracker. `slots` has one entry per region. GW_HOST when this KVM
 * has no dirty log or refuses. Cannot be undone; call it once per VM. */
GW_MUST_USE enum gw_status gw_tracker_kvm_log_init(struct gw_tracker_kvm_log *log, int vm_fd,
                                                   const struct gw_ram *ram,
                                                   const struct gw_kvm_slot *slots,
                                                   struct gw_marks *marks, struct gw_fault *fault);

#endif
