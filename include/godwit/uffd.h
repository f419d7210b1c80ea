/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening userfaultfd with the features asked for, in the ways a host may allow it.
 *
 * Owner: the fd is the caller's. Blocks: never. Threads: any. Numbers: Linux
 * Documentation/admin-guide/mm/userfaultfd.rst and include/uapi/linux/userfaultfd.h.
 */
#ifndef GODWIT_UFFD_H
#define GODWIT_UFFD_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/status.h"

struct gw_uffd {
    int fd;
    uint64_t features;      /* what this kernel has, not only what was asked for */
    bool is_user_mode_only; /* faults of the kernel itself (KVM, read(2)) fail instead of waiting */
};

/* Opens a userfaultfd (close-on-exec, non-blocking) with exactly `features` switched on. Tries
 * /dev/userfaultfd, the system call, and, where `is_user_mode_enough`, the system call for user
 * faults only. GW_HOST, with the remedy, when none is allowed; GW_HOST when the kernel lacks a
 * feature asked for (the fault names the bits). */
GW_MUST_USE enum gw_status gw_uffd_open(struct gw_uffd *uffd, uint64_t features,
                                        bool is_user_mode_enough, struct gw_fault *fault);

void gw_uffd_close(struct gw_uffd *uffd); /* idempotent */

#endif
