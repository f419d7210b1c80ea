/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why the guest may not leave: what an operator, or a program that works on the guest from outside,
 * has said, each under an id of its own. In memory only: they end with the process. Main thread.
 */
#include <stdio.h>
#include <string.h>

#include "run/storage.h"

#define MONITOR (&gw_run_storage.monitor)

/* The blocker of that id; with "" a free place. NULL: there is none. */
static struct gw_qmp_block *find(const char *id)
{
    for (int i = 0; i < GW_INFO_BLOCKERS_MAX; i++) {
        if (strcmp(MONITOR->blocker[i].id, id) == 0) {
            return &MONITOR->blocker[i];
        }
    }
    return NULL;
}

enum gw_status gw_blockers_put(const char *id, const char *reason, struct gw_fault *fault)
{
    struct gw_qmp_block *blocker = find(id);
    gw_outbound_conclude();
    if (MONITOR->is_leaving) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "guest %s is on its way to %s: cancel that first, or wait",
                            MONITOR->config->name, MONITOR->peer);
    }
    blocker = blocker ? blocker : find("");
    if (!blocker) {
        return gw_fault_set(fault, GW_LIMIT, "there are %d blockers already, the most there can be",
                            GW_INFO_BLOCKERS_MAX);
    }
    (void)snprintf(blocker->id, sizeof(blocker->id), "%s", id);
    (void)snprintf(blocker->reason, sizeof(blocker->reason), "%s", reason);
    return GW_OK;
}

enum gw_status gw_blockers_remove(const char *id, struct gw_fault *fault)
{
    struct gw_qmp_block *blocker = find(id);
    if (!blocker) {
        return gw_fault_set(fault, GW_ARGUMENT, "there is no blocker '%s'", id);
    }
    blocker->id[0] = 0;
    return GW_OK;
}

enum gw_status gw_blockers_check(struct gw_fault *fault)
{
    for (int i = 0; i < GW_INFO_BLOCKERS_MAX; i++) {
        const struct gw_qmp_block *blocker = &MONITOR->blocker[i];
        if (blocker->id[0]) {
            return gw_fault_set(
                fault, GW_ARGUMENT, "guest %s may not leave: %s (godwit unblock %s %s)",
                MONITOR->config->name, blocker->reason, MONITOR->config->name, blocker->id);
        }
    }
    return GW_OK;
}

static void add(struct gw_info_migrate *info, const char *id, const char *reason)
{
    (void)snprintf(info->blocked[info->blocked_count++], GW_INFO_BLOCKED_BYTES, "%s%s%s", id,
                   id[0] ? ": " : "", reason);
}

void gw_blockers_report(struct gw_info_migrate *info)
{
    struct gw_fault fault = {0};
    bool is_here = MONITOR->state == GW_INFO_RUN_RUNNING || MONITOR->state == GW_INFO_RUN_PAUSED;
    if (is_here && !MONITOR->is_leaving && gw_outbound_check(&fault) != GW_OK) {
        add(info, "", fault.text);
    }
    for (int i = 0; i < GW_INFO_BLOCKERS_MAX; i++) {
        if (MONITOR->blocker[i].id[0]) {
            add(info, MONITOR->blocker[i].id, MONITOR->blocker[i].reason);
        }
    }
}
