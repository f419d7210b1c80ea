/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Huge pages for a test. Root lets the kernel make them when they are asked for and drop them when
 * they are given back (nr_overcommit_hugepages), so that nothing is set aside for good; without
 * root a test takes what there is, or says that it is skipped.
 */
#ifndef TESTS_HUGE_H
#define TESTS_HUGE_H

#include <fcntl.h>
#include <unistd.h>

#include "godwit/huge_pages.h"

static inline void huge_pages_allow(void)
{
    int fd = open(GW_HUGE_PAGES_PATH "/nr_overcommit_hugepages", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "256\n", 4);
        (void)close(fd);
    }
}

#endif
