/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl(2) with one face: glibc's takes the request as unsigned long, musl's (and POSIX's) as int,
 * and requests that write to user memory do not fit an int without a change of sign. The kernel
 * looks at the low 32 bits only.
 *
 * Any thread. Blocks as the request does. Returns what ioctl returns, and errno.
 */
#ifndef GODWIT_IOCTL_H
#define GODWIT_IOCTL_H

#include <sys/ioctl.h>

static inline int gw_ioctl(int fd, unsigned long request, void *argument)
{
#ifdef __GLIBC__
    return ioctl(fd, request, argument);
#else
    return ioctl(fd, (int)(unsigned int)request, argument);
#endif
}

#endif
