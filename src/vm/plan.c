/* SPDX-License-Identifier: Apache-2.0 */
/* Which sections a state has. Pure. Memory: the caller's. Never blocks. */
#include "vm/plan.h"

#include <inttypes.h>
#include <string.h>

/* All sections are of version 1 today; vCPUs are numbered by one digit. */
static_assert(GW_VCPUS_MAX <= 10, "vcpu0 to vcpu9");
enum { VERSION = 1 };

static void name_of(uint32_t index, char name[GW_STATE_NAME_BYTES])
{
    static const char *const fixed[] = {"time", "pl011", "pl031", "gicv3"};
    memset(name, 0, GW_STATE_NAME_BYTES);
    if (index < GW_PLAN_VCPU) {
        memcpy(name, fixed[index], strlen(fixed[index]));
    } else {
        memcpy(name, "vcpu", 4);
        name[4] = (char)('0' + (index - GW_PLAN_VCPU));
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
        if (section->version != VERSION)
            return gw_fault_set(fault, GW_REFUSED,
                                "section %s of the machine's state has version %" PRIu32
                                ", this godwit knows version %d",
                                name, section->version, VERSION);
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
