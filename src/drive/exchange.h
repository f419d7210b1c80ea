/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single messages on a connection of a thread's own, which may block: introductions, demands.
 * Memory: the caller's. Blocks as the connection's read_all and write_all do, except where a frame
 * may begin at any time.
 */
#ifndef GODWIT_DRIVE_EXCHANGE_H
#define GODWIT_DRIVE_EXCHANGE_H

#include "godwit/frame.h"
#include "godwit/message.h"
#include "godwit/status.h"
#include "godwit/transport.h"

GW_MUST_USE enum gw_status gw_exchange_write(struct gw_connection *connection, const void *bytes,
                                             size_t count, struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_exchange_read(struct gw_connection *connection, void *bytes,
                                            size_t count, struct gw_fault *fault);

/* A message of up to GW_MESSAGE_SMALL_BYTES of payload. */
GW_MUST_USE enum gw_status gw_exchange_send(struct gw_connection *connection,
                                            const struct gw_message *message, uint32_t generation,
                                            uint64_t sequence, struct gw_fault *fault);

/* Bytes (or the end of them) are here, or come within so many milliseconds: what waits next will
 * not sleep. False also when the connection is interrupted meanwhile. */
bool gw_exchange_is_readable(const struct gw_connection *connection, int within_ms);

/* Until a frame begins or the connection is interrupted: between frames a channel may be silent for
 * as long as it likes (a bandwidth limit, a held guest); within one the idle time counts. */
GW_MUST_USE enum gw_status gw_exchange_wait(struct gw_connection *connection,
                                            struct gw_fault *fault);

/* The header of a frame that begins. */
GW_MUST_USE enum gw_status gw_exchange_read_header(struct gw_connection *connection,
                                                   struct gw_frame_header *header,
                                                   struct gw_fault *fault);

/* The payload of that header, as a message. */
GW_MUST_USE enum gw_status gw_exchange_receive(struct gw_connection *connection,
                                               const struct gw_frame_header *header,
                                               struct gw_message *message, struct gw_fault *fault);

/* Checks that it belongs to the connection. */
GW_MUST_USE enum gw_status gw_exchange_check_generation(const struct gw_connection *connection,
                                                        const struct gw_frame_header *header,
                                                        uint32_t generation,
                                                        struct gw_fault *fault);

/* Connects a bulk or urgent channel, sends INTRO, and waits for its WELCOME. GW_REFUSED when the
 * target does not want it. */
GW_MUST_USE enum gw_status gw_exchange_join(struct gw_connection *connection,
                                            const struct gw_uri *uri,
                                            const struct gw_transport_options *options,
                                            const struct gw_intro *intro, struct gw_fault *fault);

#endif
