/* SPDX-License-Identifier: Apache-2.0 */
/* Frames by hand, for tests whose peer is none of ours. */
#ifndef DRIVE_FRAMES_H
#define DRIVE_FRAMES_H

#include <string.h>
#include <sys/socket.h>

#include "drive_pair.h"
#include "godwit/crc32c.h"
#include "godwit/message.h"

static inline size_t frame_of(uint8_t *bytes, const struct gw_message *message, uint32_t generation,
                              uint64_t sequence)
{
    uint32_t count =
        gw_message_encode(message, bytes + GW_FRAME_HEADER_BYTES, GW_MESSAGE_SMALL_BYTES);
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = (uint8_t)message->type,
        .payload_bytes = count,
        .payload_crc = count == 0 ? 0 : gw_crc32c(0, bytes + GW_FRAME_HEADER_BYTES, count),
        .generation = generation,
        .sequence = sequence,
    };
    gw_frame_encode_header(&header, bytes);
    return GW_FRAME_HEADER_BYTES + count;
}

static inline void put(int fd, const void *bytes, size_t count)
{
    assert_int_equal(send(fd, bytes, count, MSG_NOSIGNAL), count);
}

/* The test's setup and teardown. */
static inline int open_pair(void **context)
{
    (void)context;
    pair_open();
    return 0;
}

static inline int close_pair(void **context)
{
    (void)context;
    pair_close();
    return 0;
}

/* Whoever came before: the right peer is served. */
static inline void expect_success(void)
{
    pair_migrate(pair.target_uri);
    enum gw_source_state ended = pair_finish();
    assert_int_equal(ended, GW_SOURCE_COMPLETED);
    pair_check(ended);
}

#endif
