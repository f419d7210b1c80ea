/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C (Castagnoli; RFC 3720 appendix B.4: 32 bytes of zeros give 0x8a9136aa). By the CPU's
 * instructions where the build or the CPU has them. Pure.
 */
#ifndef GODWIT_CRC32C_H
#define GODWIT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues a CRC over more bytes; start with 0. */
uint32_t gw_crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
