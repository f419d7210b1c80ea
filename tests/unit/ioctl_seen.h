/* SPDX-License-Identifier: Apache-2.0 */
/* ioctl in place of libc's, for the code under test too: what the test makes of each. */
#ifndef GW_TEST_IOCTL_SEEN_H
#define GW_TEST_IOCTL_SEEN_H

#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The test's own; ioctl_do is the call itself. */
static int ioctl_seen(int fd, unsigned request, void *argument);

static inline int ioctl_do(int fd, unsigned request, void *argument)
{
    return (int)syscall(SYS_ioctl, fd, (unsigned long)request, argument);
}

#ifdef __GLIBC__
int ioctl(int fd, unsigned long number, ...)
#else
int ioctl(int fd, int number, ...)
#endif
{
    va_list rest;
    va_start(rest, number);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return ioctl_seen(fd, (unsigned)number, argument);
}

#endif
