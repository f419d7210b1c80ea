/* SPDX-License-Identifier: Apache-2.0 */
/* godwit: see src/cli for the commands and src/run for the monitor. */
#include <stdint.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "godwit/cli.h"

/* The linker's: all of static memory that begins as zeros. */
extern uint8_t __bss_start[], _end[];

/* Most of static memory is never touched, and so takes none. A transparent huge page under it would
 * make 2 MiB resident for the first byte that is: so before any. A kernel without them says EINVAL,
 * which is as good. */
static void forbid_huge_pages(void)
{
    uintptr_t mask = ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    uintptr_t start = (uintptr_t)__bss_start & mask;
    (void)madvise((void *)start, (uintptr_t)_end - start, MADV_NOHUGEPAGE);
}

/* Where a standard descriptor is closed, the next file that is opened would take its place, and be
 * written to. */
static void open_standard(void)
{
    int fd = 0;
    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDWR);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

int main(int count, char **arguments)
{
    open_standard();
    forbid_huge_pages();
    return gw_cli_main(count, arguments);
}
