/* SPDX-License-Identifier: Apache-2.0 */
/* What the trackers over KVM share. The contract: dirty/kvm_slot.h. */
#include "dirty/kvm_slot.h"

#include <errno.h>
#include <linux/kvm.h>

#include "godwit/ioctl.h"

uint64_t gw_kvm_slot_pages(const struct gw_ram *ram, uint32_t region)
{
    return ram->region[region].bytes / ram->page_bytes;
}

/* All but the flags is as its maker set it, else KVM refuses. */
int gw_kvm_slot_log(int vm_fd, const struct gw_ram *ram, uint32_t region,
                    const struct gw_kvm_slot *slot, bool is_on)
{
    struct kvm_userspace_memory_region memory = {
        .slot = slot->slot,
        .flags = slot->flags | (is_on ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = ram->region[region].gpa,
        .memory_size = ram->region[region].bytes,
        .userspace_addr = (uintptr_t)ram->region[region].base,
    };
    return gw_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &memory) == 0 ? 0 : errno;
}
