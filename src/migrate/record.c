/* SPDX-License-Identifier: Apache-2.0 */
/* Handover records and tokens: their bytes and texts. Pure. */
#include "godwit/record.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "godwit/crc32c.h"

enum {
    HISTORY_MAGIC = 0x31484757,   /* "WGH1" */
    DEPARTURE_MAGIC = 0x31444757, /* "WGD1" */
    HEADER_BYTES = 16,            /* magic, count or state, CRC32C of the rest, zero */
    ENTRY_BYTES = 32,             /* session, epoch, state, zero */
};

static bool is_same(const struct gw_session *a, const struct gw_session *b)
{
    return memcmp(a->id, b->id, GW_SESSION_BYTES) == 0;
}

const struct gw_record_entry *gw_history_get(const struct gw_history *history,
                                             const struct gw_session *session)
{
    for (uint32_t i = 0; i < history->count; i++) {
        if (is_same(&history->entry[i].session, session)) {
            return &history->entry[i];
        }
    }
    return NULL;
}

/* Where the session stands, or where the oldest falls out. */
static uint32_t slot_of(struct gw_history *history, const struct gw_session *session)
{
    const struct gw_record_entry *entry = gw_history_get(history, session);
    if (entry) {
        return (uint32_t)(entry - history->entry);
    }
    return history->count < GW_HISTORY_MAX ? history->count++ : GW_HISTORY_MAX - 1;
}

void gw_history_put(struct gw_history *history, const struct gw_session *session,
                    enum gw_record_state state, uint64_t epoch)
{
    struct gw_record_entry fresh = {.session = *session, .epoch = epoch, .state = state};
    uint32_t slot = slot_of(history, session);
    memmove(&history->entry[1], &history->entry[0], slot * sizeof(history->entry[0]));
    history->entry[0] = fresh;
}

bool gw_history_abort_opened(struct gw_history *history)
{
    bool is_changed = false;
    for (uint32_t i = 0; i < history->count; i++) {
        struct gw_record_entry *entry = &history->entry[i];
        if (entry->state == GW_RECORD_OPENED) {
            entry->state = GW_RECORD_ABORTED;
            entry->epoch = UINT64_MAX; /* every epoch of it */
            is_changed = true;
        }
    }
    return is_changed;
}

static void seal(uint8_t *bytes, uint32_t magic, uint32_t count, size_t size)
{
    gw_put_32(bytes, magic);
    gw_put_32(bytes + 4, count);
    gw_put_32(bytes + 8, gw_crc32c(count, bytes + HEADER_BYTES, size - HEADER_BYTES));
    gw_put_32(bytes + 12, 0);
}

static enum gw_status check_seal(const uint8_t *bytes, size_t count, uint32_t magic, size_t size,
                                 struct gw_fault *fault)
{
    if (count != size || gw_get_32(bytes) != magic) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "the record has %zu bytes and magic 0x%08x, wanted %zu and 0x%08x",
                            count, count >= 4 ? gw_get_32(bytes) : 0, size, magic);
    }
    uint32_t crc = gw_crc32c(gw_get_32(bytes + 4), bytes + HEADER_BYTES, size - HEADER_BYTES);
    if (crc != gw_get_32(bytes + 8)) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "the record is damaged: its CRC32C is 0x%08x, it says 0x%08x", crc,
                            gw_get_32(bytes + 8));
    }
    return GW_OK;
}

void gw_history_encode(const struct gw_history *history, uint8_t bytes[GW_RECORD_FILE_BYTES])
{
    memset(bytes, 0, GW_RECORD_FILE_BYTES);
    for (uint32_t i = 0; i < history->count; i++) {
        uint8_t *at = bytes + HEADER_BYTES + (size_t)i * ENTRY_BYTES;
        memcpy(at, history->entry[i].session.id, GW_SESSION_BYTES);
        gw_put_64(at + 16, history->entry[i].epoch);
        gw_put_32(at + 24, history->entry[i].state);
    }
    seal(bytes, HISTORY_MAGIC, history->count, GW_RECORD_FILE_BYTES);
}

enum gw_status gw_history_decode(struct gw_history *history, const uint8_t *bytes, size_t count,
                                 struct gw_fault *fault)
{
    enum gw_status status = check_seal(bytes, count, HISTORY_MAGIC, GW_RECORD_FILE_BYTES, fault);
    if (status) {
        return status;
    }
    uint32_t entries = gw_get_32(bytes + 4);
    if (entries > GW_HISTORY_MAX) {
        return gw_fault_set(fault, GW_CORRUPT, "the record has %u sessions, wanted at most %d",
                            entries, GW_HISTORY_MAX);
    }
    *history = (struct gw_history){.count = entries};
    for (uint32_t i = 0; i < entries; i++) {
        const uint8_t *at = bytes + HEADER_BYTES + (size_t)i * ENTRY_BYTES;
        struct gw_record_entry *entry = &history->entry[i];
        memcpy(entry->session.id, at, GW_SESSION_BYTES);
        entry->epoch = gw_get_64(at + 16);
        entry->state = gw_get_32(at + 24);
        if (entry->state < GW_RECORD_OPENED || entry->state > GW_RECORD_PULLING) {
            return gw_fault_set(fault, GW_CORRUPT, "the record has a session in state %u",
                                entry->state);
        }
    }
    return GW_OK;
}

void gw_departure_encode(const struct gw_departure *departure,
                         uint8_t bytes[GW_DEPARTURE_FILE_BYTES])
{
    memset(bytes, 0, GW_DEPARTURE_FILE_BYTES);
    memcpy(bytes + HEADER_BYTES, departure->session.id, GW_SESSION_BYTES);
    gw_put_64(bytes + HEADER_BYTES + 16, departure->epoch);
    memcpy(bytes + HEADER_BYTES + ENTRY_BYTES, departure->peer,
           strnlen(departure->peer, GW_PEER_BYTES - 1));
    seal(bytes, DEPARTURE_MAGIC, departure->state, GW_DEPARTURE_FILE_BYTES);
}

enum gw_status gw_departure_decode(struct gw_departure *departure, const uint8_t *bytes,
                                   size_t count, struct gw_fault *fault)
{
    enum gw_status status =
        check_seal(bytes, count, DEPARTURE_MAGIC, GW_DEPARTURE_FILE_BYTES, fault);
    if (status) {
        return status;
    }
    *departure = (struct gw_departure){.state = gw_get_32(bytes + 4),
                                       .epoch = gw_get_64(bytes + HEADER_BYTES + 16)};
    memcpy(departure->session.id, bytes + HEADER_BYTES, GW_SESSION_BYTES);
    memcpy(departure->peer, bytes + HEADER_BYTES + ENTRY_BYTES, GW_PEER_BYTES);
    departure->peer[GW_PEER_BYTES - 1] = '\0';
    if (departure->state < GW_DEPARTURE_LEAVING || departure->state > GW_DEPARTURE_KEPT) {
        return gw_fault_set(fault, GW_CORRUPT, "the record is in state %u", departure->state);
    }
    return GW_OK;
}

/* Tokens: "godwit-t-<32 hex digits>-<16 hex digits>-<8 hex digits>": who, session, epoch, CRC. */

enum { TOKEN_LENGTH = 9 + 32 + 1 + 16 + 1 + 8 };
static_assert((int)TOKEN_LENGTH < (int)GW_TOKEN_BYTES, "a token fits its text");

void gw_token_encode(const struct gw_token *token, char text[GW_TOKEN_BYTES])
{
    int at = snprintf(text, GW_TOKEN_BYTES, "godwit-%c-", token->who);
    for (int i = 0; i < GW_SESSION_BYTES; i++) {
        at += snprintf(text + at, (size_t)(GW_TOKEN_BYTES - at), "%02x", token->session.id[i]);
    }
    at += snprintf(text + at, (size_t)(GW_TOKEN_BYTES - at), "-%016llx",
                   (unsigned long long)token->epoch);
    (void)snprintf(text + at, (size_t)(GW_TOKEN_BYTES - at), "-%08x",
                   gw_crc32c(0, text, (size_t)at));
}

/* Reads `digits` lower-case hex digits; false when there is anything else. */
static bool decode_hex(const char *text, int digits, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++) {
        char c = text[i];
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && (c < 'a' || c > 'f')) {
            return false;
        }
        *value = *value << 4 | (uint64_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    return true;
}

enum gw_status gw_token_decode(struct gw_token *token, const char *text, struct gw_fault *fault)
{
    uint64_t crc = 0;
    bool is_whole = strlen(text) == TOKEN_LENGTH && memcmp(text, "godwit-", 7) == 0 &&
                    (text[7] == 's' || text[7] == 't') && text[TOKEN_LENGTH - 9] == '-' &&
                    decode_hex(text + TOKEN_LENGTH - 8, 8, &crc) &&
                    crc == gw_crc32c(0, text, TOKEN_LENGTH - 9);
    for (int i = 0; is_whole && i < GW_SESSION_BYTES; i++) {
        uint64_t byte = 0;
        is_whole = decode_hex(text + 9 + 2 * i, 2, &byte);
        token->session.id[i] = (uint8_t)byte;
    }
    if (!is_whole || !decode_hex(text + 42, 16, &token->epoch)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "\"%.80s\" is no token: wanted the line that `godwit resolve "
                            "--give-up` printed on the other side, whole",
                            text);
    }
    token->who = text[7];
    return GW_OK;
}
