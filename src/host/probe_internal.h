/* SPDX-License-Identifier: Apache-2.0 */
/* What probe.c and probe_kvm.c share. The contract: godwit/probe.h. */
#ifndef GW_HOST_PROBE_INTERNAL_H
#define GW_HOST_PROBE_INTERNAL_H

#include "godwit/probe.h"
#include "godwit/status.h"

/* Appends an item: verdict, what was found, and the remedy (NULL: none). */
void gw_probe_put(struct gw_probe *probe, const char *name, enum gw_probe_verdict verdict,
                  const char *remedy, const char *found_format, ...) GW_PRINTF(5, 6);

/* /dev/kvm and what it can do. */
void gw_probe_kvm(struct gw_probe *probe);

#endif
