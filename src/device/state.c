/* SPDX-License-Identifier: Apache-2.0 */
/* The section codec. Memory: the caller's. Any thread. Never blocks. */
#include "godwit/state.h"

#include <inttypes.h>
#include <string.h>

void gw_state_writer_init(struct gw_state_writer *writer, uint8_t *bytes, size_t capacity)
{
    *writer = (struct gw_state_writer){
        .bytes = bytes, .capacity = capacity, .section = SIZE_MAX, .has_failed = false};
}

uint8_t *gw_state_put_room(struct gw_state_writer *writer, size_t count)
{
    if (writer->has_failed || count > writer->capacity - writer->used) {
        writer->has_failed = true;
        return NULL;
    }
    uint8_t *room = writer->bytes + writer->used;
    writer->used += count;
    return room;
}

static void encode(uint8_t *bytes, uint64_t value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t decode(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void put(struct gw_state_writer *writer, uint64_t value, size_t count)
{
    uint8_t *room = gw_state_put_room(writer, count);
    if (room)
        encode(room, value, count);
}

void gw_state_put_u8(struct gw_state_writer *writer, uint8_t value)
{
    put(writer, value, 1);
}

void gw_state_put_u32(struct gw_state_writer *writer, uint32_t value)
{
    put(writer, value, 4);
}

void gw_state_put_u64(struct gw_state_writer *writer, uint64_t value)
{
    put(writer, value, 8);
}

void gw_state_put_bytes(struct gw_state_writer *writer, const void *bytes, size_t count)
{
    uint8_t *room = gw_state_put_room(writer, count);
    if (room)
        memcpy(room, bytes, count);
}

void gw_state_section_start(struct gw_state_writer *writer, const char *name, uint32_t version)
{
    GW_ASSERT(writer->section == SIZE_MAX);
    char padded[GW_STATE_NAME_BYTES] = {0};
    size_t length = strlen(name);
    GW_ASSERT(length > 0 && length < sizeof(padded));
    memcpy(padded, name, length);
    writer->section = writer->used;
    gw_state_put_bytes(writer, padded, sizeof(padded));
    gw_state_put_u32(writer, version);
    gw_state_put_u32(writer, 0);
}

void gw_state_section_stop(struct gw_state_writer *writer)
{
    GW_ASSERT(writer->section != SIZE_MAX);
    if (!writer->has_failed) {
        size_t payload = writer->used - writer->section - GW_STATE_SECTION_BYTES;
        encode(writer->bytes + writer->section + GW_STATE_SECTION_BYTES - 4, payload, 4);
    }
    writer->section = SIZE_MAX;
}

enum gw_status gw_state_writer_check(const struct gw_state_writer *writer, struct gw_fault *fault)
{
    if (!writer->has_failed)
        return GW_OK;
    return gw_fault_set(fault, GW_LIMIT,
                        "the machine's state is larger than the %zu bytes this board has for it",
                        writer->capacity);
}

void gw_state_reader_init(struct gw_state_reader *reader, const uint8_t *bytes, size_t count)
{
    *reader = (struct gw_state_reader){.bytes = bytes, .left = count, .has_failed = false};
}

const uint8_t *gw_state_get_bytes(struct gw_state_reader *reader, size_t count)
{
    if (reader->has_failed || count > reader->left) {
        reader->has_failed = true;
        return NULL;
    }
    const uint8_t *bytes = reader->bytes;
    reader->bytes += count;
    reader->left -= count;
    return bytes;
}

static uint64_t get(struct gw_state_reader *reader, size_t count)
{
    const uint8_t *bytes = gw_state_get_bytes(reader, count);
    return bytes ? decode(bytes, count) : 0;
}

uint8_t gw_state_get_u8(struct gw_state_reader *reader)
{
    return (uint8_t)get(reader, 1);
}

uint32_t gw_state_get_u32(struct gw_state_reader *reader)
{
    return (uint32_t)get(reader, 4);
}

uint64_t gw_state_get_u64(struct gw_state_reader *reader)
{
    return get(reader, 8);
}

/* A name is printable and NUL-padded to its end, so that it can be shown and compared. */
static bool is_name(const uint8_t *bytes)
{
    size_t length = 0;
    while (length < GW_STATE_NAME_BYTES && bytes[length] > 0x20 && bytes[length] < 0x7f)
        length++;
    if (length == 0 || length == GW_STATE_NAME_BYTES)
        return false;
    for (size_t i = length; i < GW_STATE_NAME_BYTES; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

enum gw_status gw_state_next_section(struct gw_state_reader *reader,
                                     struct gw_state_section *section, struct gw_fault *fault)
{
    if (reader->left == 0 && !reader->has_failed)
        return GW_AGAIN;
    size_t left = reader->left;
    const uint8_t *head = gw_state_get_bytes(reader, GW_STATE_SECTION_BYTES);
    if (!head)
        return gw_fault_set(fault, GW_CORRUPT,
                            "the machine's state ends with %zu bytes where a section of at least "
                            "%d bytes was wanted",
                            left, GW_STATE_SECTION_BYTES);
    if (!is_name(head))
        return gw_fault_set(fault, GW_CORRUPT,
                            "the machine's state has a section whose name is no name, "
                            "%zu bytes before its end",
                            left);
    memcpy(section->name, head, GW_STATE_NAME_BYTES);
    section->version = (uint32_t)decode(head + GW_STATE_NAME_BYTES, 4);
    uint32_t bytes = (uint32_t)decode(head + GW_STATE_NAME_BYTES + 4, 4);
    left = reader->left;
    const uint8_t *payload = gw_state_get_bytes(reader, bytes);
    if (!payload)
        return gw_fault_set(fault, GW_CORRUPT,
                            "section %s of the machine's state says it has %" PRIu32
                            " bytes, but only %zu are left",
                            section->name, bytes, left);
    gw_state_reader_init(&section->payload, payload, bytes);
    return GW_OK;
}

enum gw_status gw_state_section_check(const struct gw_state_section *section,
                                      struct gw_fault *fault)
{
    if (section->payload.has_failed)
        return gw_fault_set(fault, GW_CORRUPT,
                            "section %s of the machine's state is shorter than its fields",
                            section->name);
    if (section->payload.left != 0)
        return gw_fault_set(fault, GW_CORRUPT,
                            "section %s of the machine's state has %zu bytes after its last field, "
                            "wanted 0",
                            section->name, section->payload.left);
    return GW_OK;
}
