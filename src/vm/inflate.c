/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip members into memory, by zlib's inflateBack with the window and the decoder's state in the
 * caller's scratch memory. Pure. Never blocks.
 */
#include "vm/image.h"

#include <string.h>

#define ZLIB_CONST /* input is not written to */
#include <zlib.h>

enum {
    WINDOW_BYTES = 32768,
    /* RFC 1952, 2.3.1: flags. */
    FHCRC = 2,
    FEXTRA = 4,
    FNAME = 8,
    FCOMMENT = 16,
    HEADER_BYTES = 10,
    TRAILER_BYTES = 8,
};

/* Bytes that are handed out once and never taken back. */
struct arena {
    uint8_t *next;
    size_t left;
};

static void *allocate(void *opaque, unsigned items, unsigned size)
{
    struct arena *arena = opaque;
    size_t bytes = ((size_t)items * size + 15) & ~(size_t)15;
    if (bytes > arena->left)
        return NULL;
    void *memory = arena->next;
    arena->next += bytes;
    arena->left -= bytes;
    return memory;
}

static void release(void *opaque, void *memory)
{
    (void)opaque;
    (void)memory;
}

struct output {
    uint8_t *bytes;
    size_t capacity, used;
    uint32_t crc;
    bool is_full;
};

static int put_window(void *opaque, unsigned char *bytes, unsigned count)
{
    struct output *output = opaque;
    if (count > output->capacity - output->used) {
        output->is_full = true;
        return 1;
    }
    memcpy(output->bytes + output->used, bytes, count);
    output->used += count;
    output->crc = (uint32_t)crc32(output->crc, bytes, count);
    return 0;
}

/* All input is in memory and given at the start; there is no more. */
static unsigned get_nothing(void *opaque, z_const unsigned char **bytes)
{
    (void)opaque;
    *bytes = NULL;
    return 0;
}

/* How many bytes a member's header has, or 0 when it is none. */
static size_t header_bytes(const uint8_t *bytes, size_t count)
{
    if (count < HEADER_BYTES + TRAILER_BYTES || bytes[0] != 0x1f || bytes[1] != 0x8b ||
        bytes[2] != Z_DEFLATED)
        return 0;
    size_t at = HEADER_BYTES;
    if (bytes[3] & FEXTRA) {
        if (count < at + 2)
            return 0;
        at += 2 + (size_t)(bytes[at] | bytes[at + 1] << 8);
    }
    for (unsigned flag = FNAME; flag <= FCOMMENT; flag <<= 1) {
        if (!(bytes[3] & flag))
            continue;
        while (at < count && bytes[at] != 0)
            at++;
        at++;
    }
    if (bytes[3] & FHCRC)
        at += 2;
    return at + TRAILER_BYTES <= count ? at : 0;
}

static uint32_t get_u32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static enum gw_status corrupt(const char *path, const char *what, struct gw_fault *fault)
{
    return gw_fault_set(fault, GW_CORRUPT, "kernel %s is a damaged gzip file: %s", path, what);
}

enum gw_status gw_image_inflate(const char *path, const uint8_t *from, size_t from_bytes,
                                uint8_t *to, size_t to_capacity, uint8_t *scratch, size_t *to_bytes,
                                struct gw_fault *fault)
{
    size_t skip = header_bytes(from, from_bytes);
    if (skip == 0)
        return corrupt(path, "its header is cut or none", fault);
    if (from_bytes - skip > UINT32_MAX)
        return gw_fault_set(fault, GW_LIMIT, "kernel %s has %zu bytes, wanted less than 4 GiB",
                            path, from_bytes);

    struct arena arena = {scratch + WINDOW_BYTES, GW_IMAGE_SCRATCH_BYTES - WINDOW_BYTES};
    struct output output = {.bytes = to, .capacity = to_capacity};
    z_stream stream = {.zalloc = allocate, .zfree = release, .opaque = &arena};
    stream.next_in = from + skip;
    stream.avail_in = (unsigned)(from_bytes - skip);
    int result = inflateBackInit(&stream, 15, scratch);
    GW_ASSERT(result == Z_OK);
    result = inflateBack(&stream, get_nothing, NULL, put_window, &output);

    if (output.is_full)
        return gw_fault_set(fault, GW_LIMIT,
                            "kernel %s does not fit into guest memory: wanted at most %zu bytes "
                            "unpacked",
                            path, to_capacity);
    if (result != Z_STREAM_END)
        return corrupt(path, stream.msg ? stream.msg : "it ends too early", fault);
    if (stream.avail_in < TRAILER_BYTES)
        return corrupt(path, "its trailer is cut", fault);
    if (get_u32(stream.next_in) != output.crc ||
        get_u32(stream.next_in + 4) != (uint32_t)output.used)
        return corrupt(path, "its checksum does not match", fault);
    const uint8_t *rest = stream.next_in + TRAILER_BYTES;
    if (stream.avail_in >= TRAILER_BYTES + 2 && rest[0] == 0x1f && rest[1] == 0x8b)
        return corrupt(path, "it has more than one member, wanted one", fault);
    *to_bytes = output.used;
    return GW_OK;
}
