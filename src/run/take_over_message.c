/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between two godwits of one host: see take_over_message.h. */
#include "run/take_over_message.h"

#include <string.h>

#include "base/bytes.h"
#include "godwit/crc32c.h"

/* 0 magic, 4 version, 8 type, 12 bytes of all, 16 CRC32C of what follows, begun with the type */
enum { MAGIC = 0x4f544447 /* "GDTO" */ };

/* A later godwit may write a later version of a section, and still read this one. */
/* An offer without TLS says what it said before there was any, so that an older godwit takes it. */
enum { SECTION_VERSION = 1, OFFER_TLS_VERSION = 2 };

static const char *name_of(enum gw_take_over_type type)
{
    switch (type) {
#define NAME(name, number, text) \
    case GW_TAKE_OVER_##name:    \
        return text;
        GW_TAKE_OVER_TYPES(NAME)
#undef NAME
    }
    return NULL;
}

/* ---- Writing ---- */

static void begin_version(struct gw_state_writer *writer, enum gw_take_over_type type,
                          uint32_t version, uint8_t *bytes, size_t capacity)
{
    GW_ASSERT(capacity > GW_TAKE_OVER_HEADER_BYTES);
    gw_state_writer_init(writer, bytes, capacity);
    (void)gw_state_put_room(writer, GW_TAKE_OVER_HEADER_BYTES);
    gw_state_section_start(writer, name_of(type), version);
}

static void begin(struct gw_state_writer *writer, enum gw_take_over_type type, uint8_t *bytes,
                  size_t capacity)
{
    begin_version(writer, type, SECTION_VERSION, bytes, capacity);
}

static enum gw_status end(struct gw_state_writer *writer, enum gw_take_over_type type, size_t *size)
{
    gw_state_section_stop(writer);
    if (writer->has_failed) {
        return GW_LIMIT;
    }
    uint8_t *bytes = writer->bytes;
    *size = writer->used;
    gw_put_32(bytes, MAGIC);
    gw_put_32(bytes + 4, GW_TAKE_OVER_VERSION);
    gw_put_32(bytes + 8, type);
    gw_put_32(bytes + 12, (uint32_t)*size);
    gw_put_32(bytes + 16, gw_crc32c(type, bytes + GW_TAKE_OVER_HEADER_BYTES,
                                    *size - GW_TAKE_OVER_HEADER_BYTES));
    return GW_OK;
}

static void put_bytes(struct gw_state_writer *writer, struct gw_take_over_bytes bytes)
{
    gw_state_put_u32(writer, bytes.count);
    if (bytes.count > 0) {
        gw_state_put_bytes(writer, bytes.at, bytes.count);
    }
}

static void put_text(struct gw_state_writer *writer, const char *text)
{
    put_bytes(writer, (struct gw_take_over_bytes){(const uint8_t *)text, (uint32_t)strlen(text)});
}

enum gw_status gw_take_over_encode_offer(const struct gw_take_over_offer *offer, uint8_t *bytes,
                                         size_t capacity, size_t *size)
{
    struct gw_state_writer writer;
    bool has_tls = offer->tls[0] != '\0';
    begin_version(&writer, GW_TAKE_OVER_OFFER, has_tls ? OFFER_TLS_VERSION : SECTION_VERSION, bytes,
                  capacity);
    put_text(&writer, offer->version);
    put_text(&writer, offer->name);
    put_text(&writer, offer->control_path);
    put_text(&writer, offer->state_dir);
    put_text(&writer, offer->console_path);
    gw_state_put_u64(&writer, offer->memory_bytes);
    gw_state_put_u32(&writer, offer->vcpu_count);
    gw_state_put_u32(&writer, offer->dirty_ring_entries);
    gw_state_put_u32(&writer, offer->console);
    gw_state_put_u8(&writer, offer->is_plaintext);
    gw_state_put_u8(&writer, offer->is_guest_clock_stopped);
    gw_state_put_u8(&writer, offer->is_lingering);
    if (has_tls) {
        put_text(&writer, offer->tls);
        put_text(&writer, offer->tls_hostname);
    }
    gw_state_put_u32(&writer, offer->fd_count);
    for (uint32_t i = 0; i < offer->fd_count; i++) {
        gw_state_put_u32(&writer, offer->fd_is[i]);
    }
    return end(&writer, GW_TAKE_OVER_OFFER, size);
}

enum gw_status gw_take_over_encode_answer(const struct gw_take_over_answer *answer, uint8_t *bytes,
                                          size_t capacity, size_t *size)
{
    struct gw_state_writer writer;
    begin(&writer, GW_TAKE_OVER_ANSWER, bytes, capacity);
    gw_state_put_u32(&writer, answer->status);
    put_text(&writer, answer->version);
    put_text(&writer, answer->uri);
    put_text(&writer, answer->text);
    return end(&writer, GW_TAKE_OVER_ANSWER, size);
}

enum gw_status gw_take_over_encode_withdraw(uint8_t *bytes, size_t capacity, size_t *size)
{
    struct gw_state_writer writer;
    begin(&writer, GW_TAKE_OVER_WITHDRAW, bytes, capacity);
    return end(&writer, GW_TAKE_OVER_WITHDRAW, size);
}

enum gw_status gw_take_over_encode_client(const struct gw_take_over_client *client, uint8_t *bytes,
                                          size_t capacity, size_t *size)
{
    struct gw_state_writer writer;
    begin(&writer, GW_TAKE_OVER_CLIENT, bytes, capacity);
    gw_state_put_u8(&writer, client->is_negotiated);
    gw_state_put_u8(&writer, client->is_skipping);
    put_bytes(&writer, client->line);
    put_bytes(&writer, client->in);
    put_bytes(&writer, client->out);
    return end(&writer, GW_TAKE_OVER_CLIENT, size);
}

enum gw_status gw_take_over_encode_rest(const struct gw_take_over_rest *rest, uint8_t *bytes,
                                        size_t capacity, size_t *size)
{
    struct gw_state_writer writer;
    begin(&writer, GW_TAKE_OVER_REST, bytes, capacity);
    gw_state_put_u32(&writer, rest->setting_count);
    for (uint32_t i = 0; i < rest->setting_count; i++) {
        gw_state_put_u32(&writer, rest->setting[i].number);
        gw_state_put_u64(&writer, rest->setting[i].value);
    }
    put_bytes(&writer, rest->console_in);
    put_bytes(&writer, rest->console_out);
    return end(&writer, GW_TAKE_OVER_REST, size);
}

/* ---- Reading ---- */

enum gw_status gw_take_over_open(const uint8_t *bytes, size_t size, enum gw_take_over_type *type,
                                 struct gw_state_section *section, struct gw_fault *fault)
{
    if (size < GW_TAKE_OVER_HEADER_BYTES || gw_get_32(bytes) != MAGIC) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "%zu bytes that are no message of godwit came from the other process",
                            size);
    }
    if (gw_get_32(bytes + 4) != GW_TAKE_OVER_VERSION) {
        return gw_fault_set(fault, GW_REFUSED,
                            "the other godwit hands over in version %u, this one in version %d",
                            gw_get_32(bytes + 4), GW_TAKE_OVER_VERSION);
    }
    uint32_t number = gw_get_32(bytes + 8);
    uint32_t crc =
        gw_crc32c(number, bytes + GW_TAKE_OVER_HEADER_BYTES, size - GW_TAKE_OVER_HEADER_BYTES);
    if (gw_get_32(bytes + 12) != size || gw_get_32(bytes + 16) != crc) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "the other process's message has %zu bytes and CRC32C 0x%08x, it says "
                            "%u and 0x%08x",
                            size, crc, gw_get_32(bytes + 12), gw_get_32(bytes + 16));
    }
    *type = (enum gw_take_over_type)number;
    const char *name = name_of(*type);
    struct gw_state_reader reader;
    gw_state_reader_init(&reader, bytes + GW_TAKE_OVER_HEADER_BYTES,
                         size - GW_TAKE_OVER_HEADER_BYTES);
    enum gw_status status = gw_state_next_section(&reader, section, fault);
    if (status != GW_OK || reader.left > 0 || name == NULL || strcmp(name, section->name) != 0) {
        gw_fault_clear(fault);
        return gw_fault_set(fault, GW_CORRUPT,
                            "the other process's message %u has not the one section it should have",
                            number);
    }
    uint32_t version_max = *type == GW_TAKE_OVER_OFFER ? OFFER_TLS_VERSION : SECTION_VERSION;
    if (section->version < SECTION_VERSION || section->version > version_max) {
        return gw_fault_set(
            fault, GW_REFUSED,
            "the other godwit's %s has version %u, this one knows versions up to %u", name,
            section->version, version_max);
    }
    return GW_OK;
}

/* All fields were there and made sense, and nothing follows them. */
static enum gw_status check_end(const struct gw_state_section *section, struct gw_fault *fault)
{
    bool is_whole = !section->payload.has_failed && section->payload.left == 0;
    return is_whole ? GW_OK
                    : gw_fault_set(fault, GW_CORRUPT, "the other godwit's %s makes no sense: %s",
                                   section->name,
                                   section->payload.has_failed ? "a field is wrong or cut"
                                                               : "bytes follow its last field");
}

static struct gw_take_over_bytes get_bytes(struct gw_state_reader *reader)
{
    uint32_t count = gw_state_get_u32(reader);
    const uint8_t *at = gw_state_get_bytes(reader, count);
    return (struct gw_take_over_bytes){at, at != NULL ? count : 0};
}

/* A text with room for its NUL and none within; a failure sticks. */
static void get_text(struct gw_state_reader *reader, char *text, size_t capacity)
{
    struct gw_take_over_bytes bytes = get_bytes(reader);
    text[0] = '\0';
    if (bytes.at == NULL || bytes.count >= capacity || memchr(bytes.at, 0, bytes.count) != NULL) {
        reader->has_failed = true;
        return;
    }
    memcpy(text, bytes.at, bytes.count);
    text[bytes.count] = '\0';
}

/* 0 or 1 */
static bool get_bool(struct gw_state_reader *reader)
{
    uint8_t value = gw_state_get_u8(reader);
    reader->has_failed = reader->has_failed || value > 1;
    return value == 1;
}

static enum gw_status check_fds(const struct gw_take_over_offer *offer, uint32_t fd_count,
                                struct gw_fault *fault)
{
    uint32_t seen = 0;
    const uint32_t lock = 1U << GW_TAKE_OVER_LOCK;
    uint32_t wanted = (1U << GW_TAKE_OVER_FD_COUNT) - 2;
    if (offer->console == GW_RUN_CONSOLE_STDIO) {
        wanted &= ~(1U << GW_TAKE_OVER_CONSOLE);
    }
    if (offer->fd_count != fd_count) {
        return gw_fault_set(fault, GW_CORRUPT, "the old godwit offers %u descriptors, and %u came",
                            offer->fd_count, fd_count);
    }
    for (uint32_t i = 0; i < fd_count; i++) {
        uint32_t is = offer->fd_is[i];
        if (is >= GW_TAKE_OVER_FD_COUNT || !(wanted >> is & 1)) {
            return gw_fault_set(fault, GW_REFUSED,
                                "the old godwit offers a descriptor of kind %u, which this one "
                                "does not know here",
                                is);
        }
        if (seen >> is & 1) {
            return gw_fault_set(fault, GW_CORRUPT,
                                "the old godwit offers a descriptor of kind %u twice", is);
        }
        seen |= 1U << is;
    }
    if ((seen | lock) != wanted) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "the old godwit offers descriptors of kinds 0x%x, wanted 0x%x", seen,
                            wanted);
    }
    return GW_OK;
}

enum gw_status gw_take_over_decode_offer(struct gw_state_section *section, uint32_t fd_count,
                                         struct gw_take_over_offer *offer, struct gw_fault *fault)
{
    struct gw_state_reader *reader = &section->payload;
    *offer = (struct gw_take_over_offer){.fd_count = 0};
    get_text(reader, offer->version, sizeof(offer->version));
    get_text(reader, offer->name, sizeof(offer->name));
    get_text(reader, offer->control_path, sizeof(offer->control_path));
    get_text(reader, offer->state_dir, sizeof(offer->state_dir));
    get_text(reader, offer->console_path, sizeof(offer->console_path));
    offer->memory_bytes = gw_state_get_u64(reader);
    offer->vcpu_count = gw_state_get_u32(reader);
    offer->dirty_ring_entries = gw_state_get_u32(reader);
    uint32_t console = gw_state_get_u32(reader);
    offer->console = (enum gw_run_console)console;
    offer->is_plaintext = get_bool(reader);
    offer->is_guest_clock_stopped = get_bool(reader);
    offer->is_lingering = get_bool(reader);
    if (section->version >= OFFER_TLS_VERSION) {
        get_text(reader, offer->tls, sizeof(offer->tls));
        get_text(reader, offer->tls_hostname, sizeof(offer->tls_hostname));
    }
    offer->fd_count = gw_state_get_u32(reader);
    reader->has_failed = reader->has_failed || offer->fd_count > GW_PARCEL_FDS_MAX ||
                         console > GW_RUN_CONSOLE_UNIX || offer->name[0] == '\0' ||
                         offer->control_path[0] == '\0' || offer->state_dir[0] == '\0' ||
                         (console == GW_RUN_CONSOLE_UNIX) != (offer->console_path[0] != '\0');
    for (uint32_t i = 0; i < offer->fd_count && !reader->has_failed; i++) {
        offer->fd_is[i] = gw_state_get_u32(reader);
    }
    enum gw_status status = check_end(section, fault);
    return status ? status : check_fds(offer, fd_count, fault);
}

enum gw_status gw_take_over_decode_answer(struct gw_state_section *section,
                                          struct gw_take_over_answer *answer,
                                          struct gw_fault *fault)
{
    struct gw_state_reader *reader = &section->payload;
    uint32_t status = gw_state_get_u32(reader);
    get_text(reader, answer->version, sizeof(answer->version));
    get_text(reader, answer->uri, sizeof(answer->uri));
    get_text(reader, answer->text, sizeof(answer->text));
    /* A later godwit may have other reasons: they are a refusal. */
    answer->status = status <= GW_CANCELLED ? (enum gw_status)status : GW_REFUSED;
    reader->has_failed = reader->has_failed ||
                         (answer->status == GW_OK) != (answer->uri[0] != '\0') ||
                         (answer->status == GW_OK) != (answer->text[0] == '\0');
    return check_end(section, fault);
}

enum gw_status gw_take_over_decode_client(struct gw_state_section *section,
                                          struct gw_take_over_client *client,
                                          struct gw_fault *fault)
{
    struct gw_state_reader *reader = &section->payload;
    client->is_negotiated = get_bool(reader);
    client->is_skipping = get_bool(reader);
    client->line = get_bytes(reader);
    client->in = get_bytes(reader);
    client->out = get_bytes(reader);
    return check_end(section, fault);
}

enum gw_status gw_take_over_decode_rest(struct gw_state_section *section,
                                        struct gw_take_over_rest *rest, struct gw_fault *fault)
{
    struct gw_state_reader *reader = &section->payload;
    rest->setting_count = gw_state_get_u32(reader);
    reader->has_failed = reader->has_failed || rest->setting_count > GW_TAKE_OVER_SETTINGS_MAX;
    for (uint32_t i = 0; i < rest->setting_count && !reader->has_failed; i++) {
        rest->setting[i].number = gw_state_get_u32(reader);
        rest->setting[i].value = gw_state_get_u64(reader);
    }
    rest->console_in = get_bytes(reader);
    rest->console_out = get_bytes(reader);
    return check_end(section, fault);
}
