/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host has and lacks, for `godwit doctor`: each thing looked for, what was found, and
 * what to do where it is missing.
 *
 * Memory: the caller's. Blocks: for the length of some system calls; makes a KVM VM and a few
 * file descriptors and closes them again. Threads: any one.
 */
#ifndef GODWIT_PROBE_H
#define GODWIT_PROBE_H

#include <stdint.h>

enum gw_probe_verdict {
    GW_PROBE_OK = 0,
    GW_PROBE_OPTIONAL = 1, /* missing, godwit does without: slower, or without one feature */
    GW_PROBE_MISSING = 2,  /* missing, and godwit cannot run guests here */
};

enum { GW_PROBE_ITEMS_MAX = 32, GW_PROBE_FOUND_BYTES = 96, GW_PROBE_REMEDY_BYTES = 200 };

struct gw_probe_item {
    const char *name; /* static text: "KVM", "userfaultfd" */
    enum gw_probe_verdict verdict;
    char found[GW_PROBE_FOUND_BYTES];   /* "API version 12", "no: Permission denied" */
    char remedy[GW_PROBE_REMEDY_BYTES]; /* empty when there is nothing to do */
};

struct gw_probe {
    uint32_t count; /* 0..GW_PROBE_ITEMS_MAX */
    struct gw_probe_item item[GW_PROBE_ITEMS_MAX];
};

/* Looks at the host. `state_directory` may not exist yet (its nearest parent is looked at). */
void gw_probe_host(struct gw_probe *probe, const char *state_directory);

/* The worst verdict of all items: GW_PROBE_MISSING means exit code 3. */
enum gw_probe_verdict gw_probe_worst(const struct gw_probe *probe);

/* "ok", "optional", "missing". Never NULL. */
const char *gw_probe_verdict_name(enum gw_probe_verdict verdict);

#endif
