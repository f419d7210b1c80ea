/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of struct gw_receiver share. Its thread only. */
#ifndef GODWIT_DRIVE_RECEIVER_INTERNAL_H
#define GODWIT_DRIVE_RECEIVER_INTERNAL_H

#include "godwit/receiver.h"

/* A batch whose header and table were read and checked, and whose body follows. */
struct gw_receiving {
    const struct gw_frame_header *header;
    uint32_t table_bytes;
    uint32_t body_bytes;
    bool is_packed;
};

enum gw_status gw_receiver_refuse_damaged(const struct gw_receiver *receiver,
                                          const struct gw_frame_header *header,
                                          struct gw_fault *fault);

/* The raw records' pages where they belong, as parts to read into: in guest RAM, where one that
 * spans regions becomes several. Returns how many. */
int gw_receiver_gather(struct gw_receiver *receiver);

/* The CRC of the table and of the first `count` parts. */
uint32_t gw_receiver_crc(const struct gw_receiver *receiver, int count, uint32_t table_bytes);

/* ---- Pages before their bytes (receiver_pages.c) ---- */

/* The batch's pages of zeros, where nobody runs. */
enum gw_status gw_receiver_place_zeros(struct gw_receiver *receiver, struct gw_fault *fault);

/* Has the kernel make what its other pages need. */
void gw_receiver_make_pages(struct gw_receiver *receiver, const struct gw_frame_header *header);

/* ---- Bodies that are packed, and pages that are repeated (receiver_body.c) ---- */

/* Reads a packed body, and sums it with the table. */
enum gw_status gw_receiver_read_packed(struct gw_receiver *receiver,
                                       const struct gw_receiving *batch, uint32_t *crc,
                                       struct gw_fault *fault);

/* Unpacks it: raw_pages pages. Only of a body that is whole. */
enum gw_status gw_receiver_unpack(const struct gw_receiver *receiver,
                                  const struct gw_receiving *batch, uint8_t *pages,
                                  struct gw_fault *fault);

/* The same into guest RAM, where nobody runs. */
enum gw_status gw_receiver_unpack_direct(struct gw_receiver *receiver,
                                         const struct gw_receiving *batch, struct gw_fault *fault);

/* Fills and copies pages of guest RAM, where nobody runs, from raw pages that are there. */
void gw_receiver_repeat_direct(const struct gw_receiver *receiver);

/* The same where the guest runs, from the raw pages at `bytes`. */
enum gw_status gw_receiver_repeat_staged(struct gw_receiver *receiver,
                                         const struct gw_record *record, const uint8_t *bytes,
                                         struct gw_fault *fault);

/* ---- Units larger than a page (receiver_unit.c) ---- */

/* Pages of a unit: put aside until all of it is there, then placed as one, which `whole` tells. */
enum gw_status gw_receiver_take_part(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                     struct gw_run *whole, struct gw_fault *fault);

#endif
