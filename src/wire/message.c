/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to bytes and back. One encoder and one checked decoder per layout. Pure. */
#include "godwit/message.h"

#include <string.h>

#include "base/bytes.h"

enum {
    INTRO_BYTES = 56,
    WELCOME_BYTES = 16,
    ACCEPT_BYTES = 12,
    HELLO_FIXED_BYTES = 88,
    FACT_BYTES = 40,
    ACK_BYTES = 16,
    PING_BYTES = 8,
    DEMAND_BYTES = 8,
    COMPLETE_BYTES = 72,
    MISMATCH_BYTES = 32,
    PREPARE_FIXED_BYTES = 24,
    VERDICT_FIXED_BYTES = 16,
    VERDICT_BYTES_MAX = VERDICT_FIXED_BYTES + GW_REASON_BYTES - 1,
};

/* PREPARE's flags */
enum { PREPARE_RUNNING = 1, PREPARE_POSTCOPY = 2 };

static_assert((int)VERDICT_BYTES_MAX <= (int)GW_MESSAGE_SMALL_BYTES,
              "GW_MESSAGE_SMALL_BYTES bounds it");
static_assert(HELLO_FIXED_BYTES + (int)GW_FACTS_MAX * FACT_BYTES == (int)GW_HELLO_BYTES_MAX,
              "message.h says how long a HELLO can be");

uint32_t gw_message_payload_max(uint8_t type)
{
    switch (type) {
    case GW_FRAME_INTRO:
        return INTRO_BYTES;
    case GW_FRAME_WELCOME:
        return WELCOME_BYTES;
    case GW_FRAME_HELLO:
        return GW_HELLO_BYTES_MAX;
    case GW_FRAME_ACCEPT:
        return ACCEPT_BYTES;
    case GW_FRAME_DEMAND:
        return DEMAND_BYTES;
    case GW_FRAME_PING:
    case GW_FRAME_PONG:
        return PING_BYTES;
    case GW_FRAME_ACK:
    case GW_FRAME_SUSPECT:
        return ACK_BYTES;
    case GW_FRAME_MISMATCH:
        return MISMATCH_BYTES;
    case GW_FRAME_PREPARE:
        return GW_PREPARE_BYTES_MAX;
    case GW_FRAME_READY:
    case GW_FRAME_COMMIT:
    case GW_FRAME_RUNNING:
    case GW_FRAME_SWITCHOVER_ACK:
    case GW_FRAME_DONE:
        return VERDICT_FIXED_BYTES;
    case GW_FRAME_COMPLETE:
        return COMPLETE_BYTES;
    case GW_FRAME_REFUSE:
    case GW_FRAME_ABORTED:
    case GW_FRAME_ABORT:
        return VERDICT_BYTES_MAX;
    default:
        return 0;
    }
}

/* Encoding */

static uint32_t encode_intro(const struct gw_intro *intro, uint8_t *bytes)
{
    memset(bytes, 0, INTRO_BYTES);
    memcpy(bytes, intro->session.id, GW_SESSION_BYTES);
    memcpy(bytes + 16, intro->withdrawn.id, GW_SESSION_BYTES);
    gw_put_16(bytes + 32, intro->version_min);
    gw_put_16(bytes + 34, intro->version_max);
    bytes[36] = intro->role;
    bytes[37] = intro->channel;
    bytes[38] = intro->purpose;
    gw_put_32(bytes + 40, intro->generation);
    gw_put_64(bytes + 48, intro->sequence);
    return INTRO_BYTES;
}

static uint32_t encode_welcome(const struct gw_welcome *welcome, uint8_t *bytes)
{
    memset(bytes, 0, WELCOME_BYTES);
    gw_put_16(bytes, welcome->version);
    bytes[2] = welcome->standing;
    gw_put_64(bytes + 8, welcome->epoch);
    return WELCOME_BYTES;
}

static uint32_t encode_hello(const struct gw_hello *hello, uint8_t *bytes)
{
    memcpy(bytes, hello->guest_name, GW_NAME_BYTES);
    gw_put_64(bytes + 64, hello->page_count);
    gw_put_32(bytes + 72, hello->page_bytes);
    gw_put_32(bytes + 76, hello->facts->count);
    gw_put_32(bytes + 80, hello->channel_count);
    gw_put_32(bytes + 84, 0);
    uint8_t *at = bytes + HELLO_FIXED_BYTES;
    for (uint32_t i = 0; i < hello->facts->count; i++, at += FACT_BYTES) {
        const struct gw_fact *fact = &hello->facts->fact[i];
        memcpy(at, fact->name, GW_FACT_NAME_BYTES);
        gw_put_32(at + 28, fact->form);
        gw_put_64(at + 32, fact->value);
    }
    return (uint32_t)(at - bytes);
}

static uint32_t encode_ack(const struct gw_ack *ack, uint8_t *bytes)
{
    memset(bytes, 0, ACK_BYTES);
    bytes[0] = ack->channel;
    gw_put_32(bytes + 4, ack->starved_us);
    gw_put_64(bytes + 8, ack->sequence);
    return ACK_BYTES;
}

static uint32_t encode_mismatch(const struct gw_mismatch *mismatch, uint8_t *bytes)
{
    gw_put_64(bytes, mismatch->page);
    gw_put_32(bytes + 8, mismatch->count);
    gw_put_32(bytes + 12, 0);
    gw_put_64(bytes + 16, mismatch->digest_source);
    gw_put_64(bytes + 24, mismatch->digest_target);
    return MISMATCH_BYTES;
}

static uint32_t encode_prepare(const struct gw_prepare *prepare, uint8_t *bytes)
{
    gw_put_64(bytes, prepare->epoch);
    gw_put_32(bytes + 8, prepare->channel_count);
    gw_put_32(bytes + 12, (prepare->is_running ? PREPARE_RUNNING : 0u) |
                              (prepare->is_postcopy ? PREPARE_POSTCOPY : 0u));
    gw_put_32(bytes + 16, prepare->state_bytes);
    gw_put_32(bytes + 20, prepare->missing_pages);
    uint32_t at = PREPARE_FIXED_BYTES;
    for (uint32_t i = 0; i < prepare->channel_count; i++, at += 8) {
        gw_put_64(bytes + at, prepare->sequence_last[i]);
    }
    if (prepare->state_bytes > 0) {
        memcpy(bytes + at, prepare->state, prepare->state_bytes);
    }
    return at + prepare->state_bytes;
}

static uint32_t encode_verdict(const struct gw_verdict *verdict, uint8_t *bytes)
{
    gw_put_64(bytes, verdict->epoch);
    gw_put_64(bytes + 8, verdict->elapsed_ns);
    size_t length = strnlen(verdict->reason, GW_REASON_BYTES - 1);
    for (size_t i = 0; i < length; i++) { /* a path in it may be of any bytes */
        char byte = verdict->reason[i];
        bytes[VERDICT_FIXED_BYTES + i] = byte < ' ' || byte > '~' ? '?' : (uint8_t)byte;
    }
    return (uint32_t)(VERDICT_FIXED_BYTES + length);
}

static uint32_t encode_complete(const struct gw_complete *complete, uint8_t *bytes)
{
    const struct gw_waiting *waiting = &complete->waiting;
    gw_put_64(bytes, complete->epoch);
    gw_put_64(bytes + 8, waiting->time_ns);
    gw_put_64(bytes + 16, waiting->blocktime_ns);
    gw_put_64(bytes + 24, waiting->faults);
    gw_put_64(bytes + 32, waiting->min_ns);
    gw_put_64(bytes + 40, waiting->p50_ns);
    gw_put_64(bytes + 48, waiting->p90_ns);
    gw_put_64(bytes + 56, waiting->p99_ns);
    gw_put_64(bytes + 64, waiting->max_ns);
    return COMPLETE_BYTES;
}

/* How many bytes encoding will write. */
static size_t encoded_bytes(const struct gw_message *message)
{
    switch (message->type) {
    case GW_FRAME_HELLO:
        return HELLO_FIXED_BYTES + (size_t)message->hello.facts->count * FACT_BYTES;
    case GW_FRAME_PREPARE:
        return PREPARE_FIXED_BYTES + 8 * (size_t)message->prepare.channel_count +
               message->prepare.state_bytes;
    default:
        return gw_message_payload_max((uint8_t)message->type);
    }
}

uint32_t gw_message_encode(const struct gw_message *message, uint8_t *bytes, size_t capacity)
{
    GW_ASSERT(encoded_bytes(message) <= capacity);
    switch (message->type) {
    case GW_FRAME_INTRO:
        return encode_intro(&message->intro, bytes);
    case GW_FRAME_WELCOME:
        return encode_welcome(&message->welcome, bytes);
    case GW_FRAME_HELLO:
        return encode_hello(&message->hello, bytes);
    case GW_FRAME_ACCEPT:
        gw_put_32(bytes, message->accept.capabilities);
        gw_put_32(bytes + 4, message->accept.unit_log2);
        gw_put_32(bytes + 8, message->accept.channel_count);
        return ACCEPT_BYTES;
    case GW_FRAME_DEMAND:
        gw_put_64(bytes, message->demanded_page);
        return DEMAND_BYTES;
    case GW_FRAME_PING:
    case GW_FRAME_PONG:
        gw_put_64(bytes, message->ping_ns);
        return PING_BYTES;
    case GW_FRAME_ACK:
    case GW_FRAME_SUSPECT:
        return encode_ack(&message->ack, bytes);
    case GW_FRAME_MISMATCH:
        return encode_mismatch(&message->mismatch, bytes);
    case GW_FRAME_PREPARE:
        return encode_prepare(&message->prepare, bytes);
    case GW_FRAME_REFUSE:
    case GW_FRAME_READY:
    case GW_FRAME_ABORTED:
    case GW_FRAME_COMMIT:
    case GW_FRAME_RUNNING:
    case GW_FRAME_SWITCHOVER_ACK:
    case GW_FRAME_DONE:
    case GW_FRAME_ABORT:
        return encode_verdict(&message->verdict, bytes);
    case GW_FRAME_COMPLETE:
        return encode_complete(&message->complete, bytes);
    case GW_FRAME_BATCH:
    case GW_FRAME_VERIFY:
    case GW_FRAME_MISSING:
    case GW_FRAME_RECEIVED:
        break;
    }
    return 0;
}

/* Decoding */

static enum gw_status bad(struct gw_fault *fault, enum gw_frame_type type, const char *what,
                          uint64_t found, uint64_t wanted)
{
    return gw_fault_set(fault, GW_PROTOCOL, "%s from the peer: %s is %llu, wanted %llu",
                        gw_frame_type_name((uint8_t)type), what, (unsigned long long)found,
                        (unsigned long long)wanted);
}

static enum gw_status decode_intro(struct gw_intro *intro, const uint8_t *bytes,
                                   struct gw_fault *fault)
{
    memcpy(intro->session.id, bytes, GW_SESSION_BYTES);
    memcpy(intro->withdrawn.id, bytes + 16, GW_SESSION_BYTES);
    intro->version_min = gw_get_16(bytes + 32);
    intro->version_max = gw_get_16(bytes + 34);
    intro->role = bytes[36];
    intro->channel = bytes[37];
    intro->purpose = bytes[38];
    intro->generation = gw_get_32(bytes + 40);
    intro->sequence = gw_get_64(bytes + 48);
    if (intro->version_min > GW_PROTOCOL_VERSION || intro->version_max < GW_PROTOCOL_VERSION) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the source speaks versions %u to %u of the protocol, the target %d",
                            intro->version_min, intro->version_max, GW_PROTOCOL_VERSION);
    }
    if (intro->role > GW_ROLE_URGENT) {
        return bad(fault, GW_FRAME_INTRO, "role", intro->role, GW_ROLE_URGENT);
    }
    if (intro->channel >= GW_BULK_CHANNELS_MAX) {
        return bad(fault, GW_FRAME_INTRO, "channel", intro->channel, GW_BULK_CHANNELS_MAX - 1);
    }
    if (intro->purpose > GW_PURPOSE_RESUME) {
        return bad(fault, GW_FRAME_INTRO, "purpose", intro->purpose, GW_PURPOSE_RESUME);
    }
    if (bytes[39] != 0 || gw_get_32(bytes + 44) != 0) {
        return bad(fault, GW_FRAME_INTRO, "a reserved field", 1, 0);
    }
    static const uint8_t none[GW_SESSION_BYTES];
    if (memcmp(intro->session.id, none, GW_SESSION_BYTES) == 0) {
        return gw_fault_set(fault, GW_PROTOCOL, "INTRO from the peer: its session is all zero");
    }
    return GW_OK;
}

static enum gw_status decode_welcome(struct gw_welcome *welcome, const uint8_t *bytes,
                                     struct gw_fault *fault)
{
    *welcome = (struct gw_welcome){
        .version = gw_get_16(bytes), .standing = bytes[2], .epoch = gw_get_64(bytes + 8)};
    if (welcome->version != GW_PROTOCOL_VERSION) {
        return bad(fault, GW_FRAME_WELCOME, "version", welcome->version, GW_PROTOCOL_VERSION);
    }
    if (welcome->standing > GW_STANDING_SETTLED) {
        return bad(fault, GW_FRAME_WELCOME, "standing", welcome->standing, GW_STANDING_SETTLED);
    }
    if (bytes[3] != 0 || gw_get_32(bytes + 4) != 0) {
        return bad(fault, GW_FRAME_WELCOME, "a reserved field", 1, 0);
    }
    return GW_OK;
}

/* Text from a peer: of ASCII, and printable, so that no terminal takes it for more than that. */
static bool is_printable(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] < ' ' || bytes[i] > '~') {
            return false;
        }
    }
    return true;
}

/* A NUL-padded name within `size` bytes. */
static bool is_name(const uint8_t *bytes, size_t size)
{
    size_t length = strnlen((const char *)bytes, size);
    return length < size && is_printable(bytes, length);
}

static enum gw_status decode_hello(struct gw_hello *hello, const uint8_t *bytes, uint32_t count,
                                   struct gw_fault *fault)
{
    if (count < HELLO_FIXED_BYTES) {
        return bad(fault, GW_FRAME_HELLO, "length", count, HELLO_FIXED_BYTES);
    }
    *hello = (struct gw_hello){.page_count = gw_get_64(bytes + 64),
                               .page_bytes = gw_get_32(bytes + 72),
                               .fact_count = gw_get_32(bytes + 76),
                               .channel_count = gw_get_32(bytes + 80),
                               .fact_bytes = bytes + HELLO_FIXED_BYTES};
    if (!is_name(bytes, GW_NAME_BYTES)) {
        return gw_fault_set(fault, GW_PROTOCOL, "HELLO from the peer: the guest's name is no text");
    }
    memcpy(hello->guest_name, bytes, GW_NAME_BYTES);
    if (hello->channel_count < 1 || gw_get_32(bytes + 84) != 0) {
        return hello->channel_count < 1
                   ? bad(fault, GW_FRAME_HELLO, "number of bulk channels", 0, 1)
                   : bad(fault, GW_FRAME_HELLO, "a reserved field", 1, 0);
    }
    if (hello->fact_count > GW_FACTS_MAX) {
        return bad(fault, GW_FRAME_HELLO, "number of facts", hello->fact_count, GW_FACTS_MAX);
    }
    if (count != HELLO_FIXED_BYTES + hello->fact_count * FACT_BYTES) {
        return bad(fault, GW_FRAME_HELLO, "length", count,
                   HELLO_FIXED_BYTES + hello->fact_count * FACT_BYTES);
    }
    for (uint32_t i = 0; i < hello->fact_count; i++) {
        const uint8_t *fact = hello->fact_bytes + (size_t)i * FACT_BYTES;
        if (!is_name(fact, GW_FACT_NAME_BYTES) || gw_get_32(fact + 28) > GW_FACT_TEXT) {
            return gw_fault_set(fault, GW_PROTOCOL, "HELLO from the peer: fact %u is malformed", i);
        }
    }
    return GW_OK;
}

void gw_hello_facts(const struct gw_hello *hello, struct gw_facts *facts)
{
    facts->count = hello->fact_count;
    for (uint32_t i = 0; i < hello->fact_count; i++) {
        const uint8_t *bytes = hello->fact_bytes + (size_t)i * FACT_BYTES;
        struct gw_fact *fact = &facts->fact[i];
        memcpy(fact->name, bytes, GW_FACT_NAME_BYTES);
        fact->form = gw_get_32(bytes + 28);
        fact->value = gw_get_64(bytes + 32);
    }
}

static enum gw_status decode_accept(struct gw_accept *accept, const uint8_t *bytes,
                                    struct gw_fault *fault)
{
    *accept = (struct gw_accept){.capabilities = gw_get_32(bytes),
                                 .unit_log2 = gw_get_32(bytes + 4),
                                 .channel_count = gw_get_32(bytes + 8)};
    if (accept->unit_log2 > GW_UNIT_LOG2_MAX) {
        return bad(fault, GW_FRAME_ACCEPT, "log2 of a unit's pages", accept->unit_log2,
                   GW_UNIT_LOG2_MAX);
    }
    if (accept->channel_count < 1 || accept->channel_count > GW_BULK_CHANNELS_MAX) {
        return bad(fault, GW_FRAME_ACCEPT, "number of bulk channels", accept->channel_count,
                   GW_BULK_CHANNELS_MAX);
    }
    return GW_OK;
}

static enum gw_status decode_ack(struct gw_ack *ack, enum gw_frame_type type, const uint8_t *bytes,
                                 struct gw_fault *fault)
{
    *ack = (struct gw_ack){
        .channel = bytes[0], .starved_us = gw_get_32(bytes + 4), .sequence = gw_get_64(bytes + 8)};
    if (ack->channel >= GW_BULK_CHANNELS_MAX) {
        return bad(fault, type, "channel", ack->channel, GW_BULK_CHANNELS_MAX - 1);
    }
    if (gw_get_32(bytes) != ack->channel || (type == GW_FRAME_SUSPECT && ack->starved_us != 0)) {
        return bad(fault, type, "a reserved field", 1, 0);
    }
    return GW_OK;
}

static enum gw_status decode_prepare(struct gw_prepare *prepare, const uint8_t *bytes,
                                     uint32_t count, struct gw_fault *fault)
{
    if (count < PREPARE_FIXED_BYTES) {
        return bad(fault, GW_FRAME_PREPARE, "length", count, PREPARE_FIXED_BYTES);
    }
    *prepare = (struct gw_prepare){.epoch = gw_get_64(bytes),
                                   .channel_count = gw_get_32(bytes + 8),
                                   .state_bytes = gw_get_32(bytes + 16),
                                   .missing_pages = gw_get_32(bytes + 20)};
    uint32_t flags = gw_get_32(bytes + 12);
    prepare->is_running = (flags & PREPARE_RUNNING) != 0;
    prepare->is_postcopy = (flags & PREPARE_POSTCOPY) != 0;
    if (prepare->channel_count < 1 || prepare->channel_count > GW_BULK_CHANNELS_MAX) {
        return bad(fault, GW_FRAME_PREPARE, "number of channels", prepare->channel_count,
                   GW_BULK_CHANNELS_MAX);
    }
    if (flags > (PREPARE_RUNNING | PREPARE_POSTCOPY)) {
        return bad(fault, GW_FRAME_PREPARE, "its flags", flags, PREPARE_RUNNING | PREPARE_POSTCOPY);
    }
    if (!prepare->is_postcopy && prepare->missing_pages != 0) {
        return bad(fault, GW_FRAME_PREPARE, "missing pages without postcopy",
                   prepare->missing_pages, 0);
    }
    uint32_t fixed = PREPARE_FIXED_BYTES + 8 * prepare->channel_count;
    if (prepare->state_bytes > GW_STATE_BYTES_MAX) {
        return bad(fault, GW_FRAME_PREPARE, "state's length", prepare->state_bytes,
                   GW_STATE_BYTES_MAX);
    }
    if (count < fixed || prepare->state_bytes != count - fixed) {
        return bad(fault, GW_FRAME_PREPARE, "length", count,
                   (uint64_t)fixed + prepare->state_bytes);
    }
    for (uint32_t i = 0; i < prepare->channel_count; i++) {
        prepare->sequence_last[i] = gw_get_64(bytes + PREPARE_FIXED_BYTES + (size_t)i * 8);
    }
    prepare->state = bytes + fixed;
    return GW_OK;
}

static enum gw_status decode_verdict(struct gw_verdict *verdict, enum gw_frame_type type,
                                     const uint8_t *bytes, uint32_t count, struct gw_fault *fault)
{
    if (count < VERDICT_FIXED_BYTES) {
        return bad(fault, type, "length", count, VERDICT_FIXED_BYTES);
    }
    uint32_t length = count - VERDICT_FIXED_BYTES;
    if (!is_printable(bytes + VERDICT_FIXED_BYTES, length)) {
        return gw_fault_set(fault, GW_PROTOCOL, "%s from the peer: its reason is no text",
                            gw_frame_type_name((uint8_t)type));
    }
    verdict->epoch = gw_get_64(bytes);
    verdict->elapsed_ns = gw_get_64(bytes + 8);
    memcpy(verdict->reason, bytes + VERDICT_FIXED_BYTES, length);
    verdict->reason[length] = '\0';
    return GW_OK;
}

static void decode_complete(struct gw_complete *complete, const uint8_t *bytes)
{
    *complete = (struct gw_complete){.epoch = gw_get_64(bytes),
                                     .waiting = {.time_ns = gw_get_64(bytes + 8),
                                                 .blocktime_ns = gw_get_64(bytes + 16),
                                                 .faults = gw_get_64(bytes + 24),
                                                 .min_ns = gw_get_64(bytes + 32),
                                                 .p50_ns = gw_get_64(bytes + 40),
                                                 .p90_ns = gw_get_64(bytes + 48),
                                                 .p99_ns = gw_get_64(bytes + 56),
                                                 .max_ns = gw_get_64(bytes + 64)}};
}

static enum gw_status decode_mismatch(struct gw_mismatch *mismatch, const uint8_t *bytes,
                                      struct gw_fault *fault)
{
    *mismatch = (struct gw_mismatch){.page = gw_get_64(bytes),
                                     .count = gw_get_32(bytes + 8),
                                     .digest_source = gw_get_64(bytes + 16),
                                     .digest_target = gw_get_64(bytes + 24)};
    if (gw_get_32(bytes + 12) != 0) {
        return bad(fault, GW_FRAME_MISMATCH, "a reserved field", gw_get_32(bytes + 12), 0);
    }
    return GW_OK;
}

/* Messages whose payload has exactly one length. */
static bool is_fixed(uint8_t type)
{
    return type != GW_FRAME_HELLO && type != GW_FRAME_PREPARE && type != GW_FRAME_REFUSE &&
           type != GW_FRAME_ABORTED && type != GW_FRAME_ABORT;
}

enum gw_status gw_message_decode(struct gw_message *message, uint8_t type, const uint8_t *bytes,
                                 uint32_t count, struct gw_fault *fault)
{
    message->type = (enum gw_frame_type)type;
    uint32_t most = gw_message_payload_max(type);
    if (count > most || (is_fixed(type) && count != most)) {
        return bad(fault, message->type, "length", count, most);
    }
    switch (message->type) {
    case GW_FRAME_INTRO:
        return decode_intro(&message->intro, bytes, fault);
    case GW_FRAME_WELCOME:
        return decode_welcome(&message->welcome, bytes, fault);
    case GW_FRAME_HELLO:
        return decode_hello(&message->hello, bytes, count, fault);
    case GW_FRAME_ACCEPT:
        return decode_accept(&message->accept, bytes, fault);
    case GW_FRAME_DEMAND:
        message->demanded_page = gw_get_64(bytes);
        return GW_OK;
    case GW_FRAME_PING:
    case GW_FRAME_PONG:
        message->ping_ns = gw_get_64(bytes);
        return GW_OK;
    case GW_FRAME_ACK:
    case GW_FRAME_SUSPECT:
        return decode_ack(&message->ack, message->type, bytes, fault);
    case GW_FRAME_MISMATCH:
        return decode_mismatch(&message->mismatch, bytes, fault);
    case GW_FRAME_PREPARE:
        return decode_prepare(&message->prepare, bytes, count, fault);
    case GW_FRAME_REFUSE:
    case GW_FRAME_READY:
    case GW_FRAME_ABORTED:
    case GW_FRAME_COMMIT:
    case GW_FRAME_RUNNING:
    case GW_FRAME_SWITCHOVER_ACK:
    case GW_FRAME_DONE:
    case GW_FRAME_ABORT:
        return decode_verdict(&message->verdict, message->type, bytes, count, fault);
    case GW_FRAME_COMPLETE:
        decode_complete(&message->complete, bytes);
        return GW_OK;
    case GW_FRAME_BATCH:
    case GW_FRAME_VERIFY:
    case GW_FRAME_MISSING:
    case GW_FRAME_RECEIVED:
        break;
    }
    return gw_fault_set(fault, GW_PROTOCOL,
                        "the peer sent a frame of type %u, which has no place on this channel",
                        type);
}
