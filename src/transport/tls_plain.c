/* SPDX-License-Identifier: Apache-2.0 */
/* Where one side has TLS and the other has not: each tells the other so in its own language. The
 * contract: godwit/tls.h and transport/tls_internal.h. */
#include <string.h>
#include <sys/socket.h>

#include "godwit/crc32c.h"
#include "godwit/message.h"
#include "transport/tls_internal.h"

/* ---- A side with TLS ---- */

bool gw_tls_is_plain_godwit(const struct gw_tls_session *session)
{
    static const uint8_t magic[] = {'G', 'D', 'W', 'T'}; /* docs/WIRE.md, Frames */
    return session->raw_count >= sizeof(magic) && memcmp(session->raw, magic, sizeof(magic)) == 0;
}

void gw_tls_refuse_plain_godwit(const struct gw_tls_session *session)
{
    static const char reason[] = "this side speaks TLS only: give --tls on both sides";
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message message = {.type = GW_FRAME_REFUSE};
    memcpy(message.verdict.reason, reason, sizeof(reason));
    uint32_t count = gw_message_encode(&message, bytes + GW_FRAME_HEADER_BYTES,
                                       sizeof(bytes) - GW_FRAME_HEADER_BYTES);
    const struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = GW_FRAME_REFUSE,
        .payload_bytes = count,
        .payload_crc = gw_crc32c(0, bytes + GW_FRAME_HEADER_BYTES, count),
        .sequence = 1,
    };
    gw_frame_encode_header(&header, bytes);
    /* A fresh socket takes it whole; one that does not has a peer that does not read. */
    (void)!send(session->connection->fd, bytes, GW_FRAME_HEADER_BYTES + count,
                MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- A side without ---- */

bool gw_tls_is_hello(const uint8_t *bytes, size_t count)
{
    return count >= 2 && bytes[0] == MBEDTLS_SSL_MSG_HANDSHAKE && bytes[1] == 3;
}

const uint8_t gw_tls_refusal[GW_TLS_REFUSAL_BYTES] = {MBEDTLS_SSL_MSG_ALERT,
                                                      3,
                                                      3,
                                                      0,
                                                      2,
                                                      MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                                      MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION};
