/* SPDX-License-Identifier: Apache-2.0 */
/* Which sections a state has. Pure. Memory: the caller's. Never blocks. */
#include "vm/plan.h"

#include <inttypes.h>
#include <string.h>

/* vCPUs are numbered by one digit. */
static_assert(GW_VCPUS_MAX <= 10, "vcpu0 to vcpu9");

const struct gw_vm_plan_kind gw_vm_plan_kinds[GW_PLAN_KINDS] = {
    {"time", 1}, {"pl011", 1}, {"pl031", 1}, {"gicv3", 1}, {"vcpu", 1},
};

static const struct gw_vm_plan_kind *kind_of(uint32_t index)
{
    return &gw_vm_plan_kinds[index < GW_PLAN_VCPU ? index : GW_PLAN_VCPU];
}

static void name_of(uint32_t index, char name[GW_STATE_NAME_BYTES])
{
    const char *kind = kind_of(index)->name;
    size_t length = strlen(kind);
    memset(name, 0, GW_STATE_NAME_BYTES);
    memcpy(name, kind, length);
    if (index >= GW_PLAN_VCPU) {
        name[length] = (char)('0' + (index - GW_PLAN_VCPU));
    }
}

static enum gw_status place(struct gw_vm_plan *plan, const struct gw_state_section *section,
                            uint32_t count, struct gw_fault *fault)
{
    for (uint32_t i = 0; i < count; i++) {
        char name[GW_STATE_NAME_BYTES];
        name_of(i, name);
        if (strcmp(name, section->name) != 0)
            continue;
        if (section->version != kind_of(i)->version)
            return gw_fault_set(fault, GW_REFUSED,
                                "section %s of the machine's state has version %" PRIu32
                                ", this godwit knows version %" PRIu32,
                                name, section->version, kind_of(i)->version);
        if (plan->is_there[i])
            return gw_fault_set(fault, GW_CORRUPT, "the machine's state has section %s twice",
                                name);
        plan->sections[i] = *section;
        plan->is_there[i] = true;
        return GW_OK;
    }
    return gw_fault_set(fault, GW_REFUSED,
                        "the machine's state has a section %s, which this machine does not have",
                        section->name);
}

enum gw_status gw_vm_plan_read(struct gw_vm_plan *plan, const uint8_t *bytes, size_t count,
                               uint32_t vcpu_count, struct gw_fault *fault)
{
    struct gw_state_reader reader;
    struct gw_state_section section;
    uint32_t wanted = GW_PLAN_VCPU + vcpu_count;
    memset(plan, 0, sizeof(*plan));
    gw_state_reader_init(&reader, bytes, count);
    enum gw_status status;
    while ((status = gw_state_next_section(&reader, &section, fault)) == GW_OK) {
        status = place(plan, &section, wanted, fault);
        if (status != GW_OK)
            return status;
    }
    if (status != GW_AGAIN)
        return status;
    for (uint32_t i = 0; i < wanted; i++) {
        char name[GW_STATE_NAME_BYTES];
        name_of(i, name);
        if (!plan->is_there[i])
            return gw_fault_set(fault, GW_CORRUPT, "the machine's state lacks section %s", name);
    }
    return GW_OK;
}
