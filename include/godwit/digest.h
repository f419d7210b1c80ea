/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of RAM: to find a stretch that differs between source and target (docs/WIRE.md,
 * Digest). Good against accident, not against malice: that is TLS's business.
 *
 * The digest of a stretch folds the digests of its pages in order; a page that is zero, or was
 * never touched, has the digest of a page of zeros, so holes need not be read. Pure.
 */
#ifndef GODWIT_DIGEST_H
#define GODWIT_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define GW_DIGEST_SEED UINT64_C(0x9e3779b97f4a7c15)

/* The digest of `bytes` bytes (a multiple of 32). */
uint64_t gw_digest_page(const uint8_t *page, size_t bytes);

/* The digest of a page of `bytes` zeros, without reading one. */
uint64_t gw_digest_zero_page(size_t bytes);

/* Folds one more page's digest into a stretch's; start with GW_DIGEST_SEED. */
uint64_t gw_digest_fold(uint64_t stretch, uint64_t page);

#endif
