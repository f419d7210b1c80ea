/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's version. The contract: godwit/kernel.h. */
#include "godwit/kernel.h"

#include <stdlib.h>
#include <sys/utsname.h>

bool gw_kernel_is_from(unsigned long major, unsigned long minor)
{
    struct utsname system;
    char *end = NULL;
    if (uname(&system) != 0) {
        return false;
    }
    unsigned long is_major = strtoul(system.release, &end, 10);
    unsigned long is_minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return is_major > major || (is_major == major && is_minor >= minor);
}
