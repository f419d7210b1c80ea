/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts: what must be equal on source and target before a guest may move.
 *
 * A fact is a name and a 64-bit value: "page size" 4096, "vCPUs" 2, "counter frequency"
 * 62500000, "ID_AA64PFR0_EL1" 0x1101... The hello carries the source's facts; the target
 * compares them with its own, by name, and refuses before a page is sent, naming the fact and
 * both values. A fact that only one side has counts as different: an unknown one is refused too.
 *
 * Memory: the caller's. Blocks: never. Threads: plain data, the owner's.
 */
#ifndef GODWIT_FACT_H
#define GODWIT_FACT_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

enum {
    GW_FACT_NAME_BYTES = 28, /* with the NUL; printable ASCII */
    GW_FACTS_MAX = 160,      /* about 40 CPU ID registers, the machine, 8 vCPUs' MIDR and room */
};

/* How the value reads best in a message. */
enum gw_fact_form {
    GW_FACT_DECIMAL = 0, /* vCPUs: 2 */
    GW_FACT_HEX = 1,     /* ID_AA64PFR0_EL1: 0x0000000011111112 */
    GW_FACT_BYTES = 2,   /* page size: 4096 bytes */
    GW_FACT_TEXT = 3,    /* up to eight characters packed little-endian: machine: "virt" */
};

struct gw_fact {
    char name[GW_FACT_NAME_BYTES];
    uint32_t form; /* enum gw_fact_form */
    uint64_t value;
};

struct gw_facts {
    uint32_t count; /* 0..GW_FACTS_MAX */
    struct gw_fact fact[GW_FACTS_MAX];
};

/* Appends a fact. GW_LIMIT when full or the name is too long; names must not repeat. */
GW_MUST_USE enum gw_status gw_facts_put(struct gw_facts *facts, const char *name,
                                        enum gw_fact_form form, uint64_t value);

/* Packs up to eight characters for GW_FACT_TEXT. */
uint64_t gw_fact_text_encode(const char *text);

/* GW_OK when both lists hold the same facts; else GW_REFUSED, and the fault names the first
 * difference with both values: theirs is the peer's (the source's), ours the target's. */
GW_MUST_USE enum gw_status gw_facts_compare(const struct gw_facts *theirs,
                                            const struct gw_facts *ours, struct gw_fault *fault);

#endif
