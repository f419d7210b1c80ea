/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Linux this is: for what no call and no flag tells, such as a fault that was mended.
 *
 * Any thread. Blocks: never.
 */
#ifndef GODWIT_KERNEL_H
#define GODWIT_KERNEL_H

#include <stdbool.h>

/* Is the running kernel's version, as uname tells it, that one or a later one? */
bool gw_kernel_is_from(unsigned long major, unsigned long minor);

#endif
