/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State: the bytes a stopped machine becomes, and back.
 *
 * A state is a row of sections. A section is a name of up to 15 characters, NUL-padded to 16
 * bytes, a version (u32), the number of payload bytes (u32), then the payload. All numbers are
 * little-endian, nothing is aligned, and nothing follows the last section.
 *
 * Writing and reading are cursors with a sticky failure: once something did not fit (or was not
 * there) every later put does nothing and every later get gives zero, so that a codec reads as a
 * list and checks once at its end. The reader accepts any bytes at all: they come from a peer.
 *
 * Memory: the caller's buffer, which outlives the cursor. Blocks: never. Threads: the owner's.
 */
#ifndef GODWIT_STATE_H
#define GODWIT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/status.h"

enum {
    GW_STATE_NAME_BYTES = 16,    /* with at least one NUL */
    GW_STATE_SECTION_BYTES = 24, /* name, version, payload length */
};

struct gw_state_writer {
    uint8_t *bytes;
    size_t capacity;
    size_t used;    /* bytes written so far; <= capacity */
    size_t section; /* where the open section begins */
    bool has_failed;
};

struct gw_state_reader {
    const uint8_t *bytes;
    size_t left;
    bool has_failed;
};

struct gw_state_section {
    char name[GW_STATE_NAME_BYTES]; /* printable ASCII, NUL-terminated */
    uint32_t version;
    struct gw_state_reader payload;
};

void gw_state_writer_init(struct gw_state_writer *writer, uint8_t *bytes, size_t capacity);
void gw_state_put_u8(struct gw_state_writer *writer, uint8_t value);
void gw_state_put_u32(struct gw_state_writer *writer, uint32_t value);
void gw_state_put_u64(struct gw_state_writer *writer, uint64_t value);
void gw_state_put_bytes(struct gw_state_writer *writer, const void *bytes, size_t count);

/* Makes room for `count` bytes for the caller to fill at once; NULL when they do not fit. */
uint8_t *gw_state_put_room(struct gw_state_writer *writer, size_t count);

/* Opens a section; all that is put until stop is its payload. Sections do not nest (asserted). */
void gw_state_section_start(struct gw_state_writer *writer, const char *name, uint32_t version);
void gw_state_section_stop(struct gw_state_writer *writer);

/* GW_OK, or GW_LIMIT when the buffer was too small. */
GW_MUST_USE enum gw_status gw_state_writer_check(const struct gw_state_writer *writer,
                                                 struct gw_fault *fault);

void gw_state_reader_init(struct gw_state_reader *reader, const uint8_t *bytes, size_t count);
uint8_t gw_state_get_u8(struct gw_state_reader *reader);
uint32_t gw_state_get_u32(struct gw_state_reader *reader);
uint64_t gw_state_get_u64(struct gw_state_reader *reader);

/* The next `count` bytes where they lie, or NULL when there are fewer. */
const uint8_t *gw_state_get_bytes(struct gw_state_reader *reader, size_t count);

/* Takes the next section. GW_AGAIN at the end of the state; GW_CORRUPT when what is left is no
 * section. Afterwards the reader stands behind the section, whose payload has a reader of its
 * own. */
GW_MUST_USE enum gw_status gw_state_next_section(struct gw_state_reader *reader,
                                                 struct gw_state_section *section,
                                                 struct gw_fault *fault);

/* GW_OK when the payload was read to its end and no further; else GW_CORRUPT naming the section
 * and how many bytes too many or too few it has. */
GW_MUST_USE enum gw_status gw_state_section_check(const struct gw_state_section *section,
                                                  struct gw_fault *fault);

#endif
