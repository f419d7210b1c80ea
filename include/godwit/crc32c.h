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

/* The same, and as many bytes from `next` on are fetched into the cache meanwhile: what is read
 * after this. Anything may be there, or nothing. */
uint32_t gw_crc32c_fetching(uint32_t crc, const void *data, size_t bytes, const void *next);

/* The CRC of two stretches behind each other, of which each has its own, begun with 0. */
uint32_t gw_crc32c_join(uint32_t first, uint32_t second, uint32_t second_bytes);

#endif
