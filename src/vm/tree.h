/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device tree that tells the guest what the machine has.
 *
 * Pure: written by libfdt straight into the memory given, which for a guest is its own RAM.
 */
#ifndef GODWIT_VM_TREE_H
#define GODWIT_VM_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

struct gw_tree {
    uint64_t ram_gpa, ram_bytes;
    uint32_t vcpu_count;
    const char *command_line;          /* NULL: none */
    uint64_t initrd_gpa, initrd_bytes; /* 0 bytes: none */
    const uint8_t *seed;               /* random bytes for the guest's own generator, */
    size_t seed_bytes;                 /* 8 of them for its address space layout */
};

/* Writes the tree into `bytes` (8-byte aligned, of `capacity` bytes). GW_LIMIT when it does not
 * fit. */
GW_MUST_USE enum gw_status gw_tree_encode(const struct gw_tree *tree, uint8_t *bytes,
                                          size_t capacity, struct gw_fault *fault);

#endif
