/* SPDX-License-Identifier: Apache-2.0 */
/* How long a link is lost, by both sides' count. Pure. */
#ifndef GW_MIGRATE_LOST_H
#define GW_MIGRATE_LOST_H

#include <stdint.h>

/* It is lost (again) now: since when, of what brought nothing; before it was so since lost_ns (0:
 * it was not, or something came since) and back at back_ns. Time with a link does not count, if it
 * brought nothing either. */
static inline uint64_t gw_lost_since(uint64_t lost_ns, uint64_t back_ns, uint64_t now_ns)
{
    uint64_t linked_ns = back_ns > lost_ns ? now_ns - back_ns : 0;
    return lost_ns != 0 ? lost_ns + linked_ns : now_ns;
}

#endif
