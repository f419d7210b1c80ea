/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel file is, told from its first bytes, and where an arm64 Image wants to be.
 *
 * Pure. Sources: Linux Documentation/arch/arm64/booting.rst, "Call the kernel image"; RFC 1952.
 */
#ifndef GODWIT_VM_IMAGE_H
#define GODWIT_VM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

enum {
    GW_IMAGE_HEADER_BYTES = 64,
    GW_IMAGE_ALIGN = 2 << 20, /* the base an Image's text_offset is counted from */
};

enum gw_image_kind {
    GW_IMAGE_ARM64,
    GW_IMAGE_GZIP, /* anything compressed by gzip; what is inside must be an Image */
};

/* Tells the kind of a file named `path` from its first `count` bytes (as many as it has, up to
 * GW_IMAGE_HEADER_BYTES). GW_ARGUMENT, saying what was found, when godwit cannot boot it. */
GW_MUST_USE enum gw_status gw_image_identify(const char *path, const uint8_t *bytes, size_t count,
                                             enum gw_image_kind *kind, struct gw_fault *fault);

/* An arm64 Image's bytes counted from its base: where it is loaded and entered, and how much
 * memory it takes from there on. GW_ARGUMENT for a kernel older than 3.17, which leaves the size 0;
 * before 4.2 one does not find its devicetree below itself (booting.rst). */
struct gw_image {
    uint64_t text_offset;
    uint64_t memory_bytes;
};
GW_MUST_USE enum gw_status gw_image_decode(const char *path, const uint8_t *header,
                                           uint64_t file_bytes, struct gw_image *image,
                                           struct gw_fault *fault);

/* Inflates the gzip member in [from, from+from_bytes) into `to`. `scratch` is memory for the
 * decoder alone (GW_IMAGE_SCRATCH_BYTES). Checks the member's CRC and length. GW_CORRUPT, or
 * GW_LIMIT when `to_capacity` is too small; `path` is for the sentence. */
enum { GW_IMAGE_SCRATCH_BYTES = 128 << 10 };
GW_MUST_USE enum gw_status gw_image_inflate(const char *path, const uint8_t *from,
                                            size_t from_bytes, uint8_t *to, size_t to_capacity,
                                            uint8_t *scratch, size_t *to_bytes,
                                            struct gw_fault *fault);

#endif
