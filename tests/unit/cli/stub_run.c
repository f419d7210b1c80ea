/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the monitor's place, for tests of the command line: prints what it was asked to run, and
 * knows records for guests whose names begin with "lost".
 */
#include <stdio.h>
#include <string.h>

#include "godwit/run.h"

static const char *or_none(const char *text)
{
    return text ? text : "none";
}

int gw_run(const struct gw_run_config *config)
{
    (void)printf("name=%s\nkernel=%s\ninitrd=%s\ncmdline=%s\nflat=%s\nincoming=%s\n", config->name,
                 or_none(config->kernel), or_none(config->initrd), or_none(config->cmdline),
                 or_none(config->flat), or_none(config->incoming_uri));
    (void)printf("console=%d %s\ncontrol=%s\nstate_dir=%s\nmemory=%llu\ncpus=%u\n",
                 (int)config->console, or_none(config->console_path), config->control_path,
                 config->state_dir, (unsigned long long)config->memory_bytes,
                 (unsigned int)config->vcpu_count);
    (void)printf("plaintext=%d clock_stopped=%d lingering=%d once=%d\n", config->is_plaintext,
                 config->is_guest_clock_stopped, config->is_lingering, config->is_once);
    (void)printf("tls=%s %s\n", or_none(config->tls), or_none(config->tls_hostname));
    (void)printf("ring=%u\n", (unsigned int)config->dirty_ring_entries);
    (void)printf("hugepages=%d\n", config->is_huge);
    return GW_RUN_EXIT_MIGRATED;
}

size_t gw_run_budget(const struct gw_budget_item **items)
{
    static const struct gw_budget_item list[] = {{"first thing", 1000, 3}, {"second", 24, 1}};
    *items = list;
    return sizeof(list) / sizeof(list[0]);
}

enum gw_status gw_run_resolve_dead(const char *state_dir, const char *name,
                                   enum gw_run_dead_action action, struct gw_run_dead *dead,
                                   struct gw_fault *fault)
{
    (void)state_dir;
    memset(dead, 0, sizeof(*dead));
    if (strcmp(name, "damaged") == 0)
        return gw_fault_set(fault, GW_CORRUPT, "the record of damaged is damaged");
    if (strncmp(name, "lost", 4) != 0) {
        (void)snprintf(dead->result.text, sizeof(dead->result.text), "no record of %s", name);
        return GW_OK;
    }
    dead->has_record = true;
    dead->is_open = action == GW_RUN_DEAD_SHOW;
    (void)snprintf(dead->result.text, sizeof(dead->result.text), "the records of %s %s", name,
                   action == GW_RUN_DEAD_SHOW ? "say leaving" : "now say given up");
    if (action == GW_RUN_DEAD_GIVE_UP)
        (void)snprintf(dead->result.token, sizeof(dead->result.token), "T-%s", name);
    return GW_OK;
}
