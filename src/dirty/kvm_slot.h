/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the trackers over KVM share. Owner: none. Threads: the tracker's. Blocks: for the length of
 * a system call.
 */
#ifndef GW_DIRTY_KVM_SLOT_H
#define GW_DIRTY_KVM_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/kvm_log.h"
#include "godwit/ram.h"

uint64_t gw_kvm_slot_pages(const struct gw_ram *ram, uint32_t region);

/* Sets the slot of one region again, with or without logging. 0 or errno. Blocks until no vCPU
 * serves a fault by the slot as it was. */
int gw_kvm_slot_log(int vm_fd, const struct gw_ram *ram, uint32_t region,
                    const struct gw_kvm_slot *slot, bool is_on);

#endif
