/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Huge pages of this host (hugetlb, 2 MiB): how many there are.
 *
 * Any thread. Blocks for a few reads of /sys. Numbers: Linux
 * Documentation/admin-guide/mm/hugetlbpage.rst.
 */
#ifndef GODWIT_HUGE_PAGES_H
#define GODWIT_HUGE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define GW_HUGE_PAGES_PATH "/sys/kernel/mm/hugepages/hugepages-2048kB"

struct gw_huge_pages {
    bool is_known;      /* this kernel has pages of 2 MiB; else the rest is 0 */
    uint64_t total;     /* set aside: nr_hugepages */
    uint64_t available; /* of them, neither in use nor promised to anybody */
};

void gw_huge_pages_count(struct gw_huge_pages *pages);

#endif
