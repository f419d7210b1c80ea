/* SPDX-License-Identifier: Apache-2.0 */
/* How many huge pages there are. The contract: godwit/huge_pages.h. */
#include "godwit/huge_pages.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static bool read_number(const char *path, uint64_t *number)
{
    char text[24];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[got > 0 ? got : 0] = '\0';
    *number = strtoull(text, NULL, 10);
    return got > 0;
}

/* A page that is reserved is still free, until it is touched. */
void gw_huge_pages_count(struct gw_huge_pages *pages)
{
    uint64_t unused = 0;
    uint64_t reserved = 0;
    *pages = (struct gw_huge_pages){.is_known = false};
    pages->is_known = read_number(GW_HUGE_PAGES_PATH "/nr_hugepages", &pages->total) &&
                      read_number(GW_HUGE_PAGES_PATH "/free_hugepages", &unused) &&
                      read_number(GW_HUGE_PAGES_PATH "/resv_hugepages", &reserved);
    pages->available = pages->is_known && unused > reserved ? unused - reserved : 0;
}
