/* SPDX-License-Identifier: Apache-2.0 */
/* Whole frames of messages in the caller's memory. Pure; any thread. */
#ifndef GODWIT_DRIVE_FRAMING_H
#define GODWIT_DRIVE_FRAMING_H

#include <stddef.h>
#include <stdint.h>

#include "godwit/frame.h"
#include "godwit/message.h"
#include "godwit/status.h"

/* How much room gw_framing_encode wants for this message: header and the largest payload. */
size_t gw_framing_room(const struct gw_message *message);

/* Writes header and payload. Returns how many bytes they are; room as above (asserted). */
uint32_t gw_framing_encode(const struct gw_message *message, uint32_t generation, uint64_t sequence,
                           uint8_t *bytes, size_t capacity);

/* Checks, before its payload is read, that a header's length is possible for its type and fits
 * `capacity`. `peer` begins the sentence. */
GW_MUST_USE enum gw_status gw_framing_check_length(const struct gw_frame_header *header,
                                                   size_t capacity, const char *peer,
                                                   struct gw_fault *fault);

/* Checks the payload's CRC. */
GW_MUST_USE enum gw_status gw_framing_check_payload(const struct gw_frame_header *header,
                                                    const uint8_t *payload, const char *peer,
                                                    struct gw_fault *fault);

#endif
