/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sections a machine's state must have: found, known, once each, before anything is loaded.
 *
 * Pure. Memory: the caller's; the sections point into the bytes they were read from.
 */
#ifndef GODWIT_VM_PLAN_H
#define GODWIT_VM_PLAN_H

#include "godwit/limits.h"
#include "godwit/state.h"

enum {
    GW_PLAN_TIME = 0,
    GW_PLAN_PL011,
    GW_PLAN_PL031,
    GW_PLAN_GIC,
    GW_PLAN_VCPU, /* and one for each further vCPU */
    GW_PLAN_MAX = GW_PLAN_VCPU + GW_VCPUS_MAX,
    GW_PLAN_KINDS = GW_PLAN_VCPU + 1, /* all vCPUs' sections are of one kind */
};

/* What this godwit writes and reads; a changed section is a new version. */
struct gw_vm_plan_kind {
    const char *name; /* "time", "pl011", "vcpu" */
    uint32_t version;
};
extern const struct gw_vm_plan_kind gw_vm_plan_kinds[GW_PLAN_KINDS];

struct gw_vm_plan {
    struct gw_state_section sections[GW_PLAN_MAX];
    bool is_there[GW_PLAN_MAX];
};

/* GW_REFUSED when a section is unknown or of another version, GW_CORRUPT when one is missing, is
 * there twice or is cut. */
GW_MUST_USE enum gw_status gw_vm_plan_read(struct gw_vm_plan *plan, const uint8_t *bytes,
                                           size_t count, uint32_t vcpu_count,
                                           struct gw_fault *fault);

#endif
