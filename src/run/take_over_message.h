/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two godwits of one host say to each other when the guest goes from the old process to the
 * new one (docs/WIRE.md, "Between two processes of one host"): one parcel each, a header and one
 * section.
 *
 *   old -> new   OFFER     the guest's configuration, with the descriptors that pass at once
 *   new -> old   ANSWER    where the handover's protocol may come to, or why it cannot
 *   old -> new   WITHDRAW  the guest goes on in the old process: the new one ends
 *   old -> new   CLIENT    one control connection, with what was half read and half written
 *   old -> new   REST      what is left: settings, the console's pending bytes. The last one
 *
 * Pure. Memory: the caller's; what a decoder points to lies in the parcel's bytes. The bytes come
 * from another process, perhaps of another version: all of them are checked.
 */
#ifndef GW_RUN_TAKE_OVER_MESSAGE_H
#define GW_RUN_TAKE_OVER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/info.h"
#include "godwit/parcel.h"
#include "godwit/run.h"
#include "godwit/state.h"
#include "godwit/unix_socket.h"

#define GW_TAKE_OVER_TYPES(X)  \
    X(OFFER, 1, "offer")       \
    X(ANSWER, 2, "answer")     \
    X(WITHDRAW, 3, "withdraw") \
    X(CLIENT, 4, "client")     \
    X(REST, 5, "rest")

#define GW_TAKE_OVER_ENUM(name, number, text) GW_TAKE_OVER_##name = number,
enum gw_take_over_type { GW_TAKE_OVER_TYPES(GW_TAKE_OVER_ENUM) };
#undef GW_TAKE_OVER_ENUM

/* What a descriptor of OFFER is. A device that has one adds a line. */
enum gw_take_over_fd {
    GW_TAKE_OVER_RAM = 1,       /* guest RAM, one sealed memfd */
    GW_TAKE_OVER_CONTROL = 2,   /* the control socket's listener */
    GW_TAKE_OVER_DIRECTORY = 3, /* where the old process stands: relative paths count from there */
    GW_TAKE_OVER_INPUT = 4,     /* standard input, output and error */
    GW_TAKE_OVER_OUTPUT = 5,
    GW_TAKE_OVER_ERRORS = 6,
    GW_TAKE_OVER_CONSOLE = 7, /* the console's file, or its listener; none for stdio */
    GW_TAKE_OVER_LOCK = 8,    /* on the guest's records; an older godwit has none */
    GW_TAKE_OVER_FD_COUNT,
};

enum {
    GW_TAKE_OVER_VERSION = 1,
    GW_TAKE_OVER_HEADER_BYTES = 20,
    GW_TAKE_OVER_PATH_BYTES = 256,
    GW_TAKE_OVER_WORD_BYTES = 32, /* a version's text */
    GW_TAKE_OVER_SETTINGS_MAX = 32,
};

struct gw_take_over_offer {
    char version[GW_TAKE_OVER_WORD_BYTES]; /* the old godwit's */
    char name[GW_INFO_NAME_BYTES];
    char control_path[GW_UNIX_PATH_BYTES];
    char state_dir[GW_TAKE_OVER_PATH_BYTES];
    char console_path[GW_UNIX_PATH_BYTES]; /* a console that listens; else "" */
    uint64_t memory_bytes;
    uint32_t vcpu_count;
    uint32_t dirty_ring_entries; /* of each vCPU; 0: the dirty log */
    enum gw_run_console console;
    bool is_plaintext, is_guest_clock_stopped, is_lingering;
    char tls[GW_INFO_TLS_BYTES], tls_hostname[GW_INFO_HOST_BYTES]; /* "": none. The file itself is
                                                                      read anew */
    uint32_t fd_count;
    uint32_t fd_is[GW_PARCEL_FDS_MAX]; /* enum gw_take_over_fd, in the parcel's order */
};

struct gw_take_over_answer {
    enum gw_status status; /* GW_OK, or the reason's */
    char version[GW_TAKE_OVER_WORD_BYTES];
    char uri[GW_INFO_URI_BYTES];    /* GW_OK: where it listens for the handover's protocol */
    char text[GW_FAULT_TEXT_BYTES]; /* else: the reason */
};

/* Bytes that lie in the parcel, or in the sender's buffers. */
struct gw_take_over_bytes {
    const uint8_t *at;
    uint32_t count;
};

/* Comes with one descriptor. */
struct gw_take_over_client {
    bool is_negotiated, is_skipping;    /* struct gw_qmp_session */
    struct gw_take_over_bytes line, in; /* read: of a request that is not whole; not looked at */
    struct gw_take_over_bytes out;      /* to be written */
};

/* What an operator set, and what the old process measured: a number and its value each, so that a
 * godwit that does not know one leaves it (upgrade.c has the list). */
struct gw_take_over_setting {
    uint32_t number;
    uint64_t value;
};

/* Comes with the console's client as its descriptor, if there is one. */
struct gw_take_over_rest {
    uint32_t setting_count;
    struct gw_take_over_setting setting[GW_TAKE_OVER_SETTINGS_MAX];
    struct gw_take_over_bytes console_in, console_out;
};

/* Each writes a whole message, *size bytes; GW_LIMIT when it does not fit. */
GW_MUST_USE enum gw_status gw_take_over_encode_offer(const struct gw_take_over_offer *offer,
                                                     uint8_t *bytes, size_t capacity, size_t *size);
GW_MUST_USE enum gw_status gw_take_over_encode_answer(const struct gw_take_over_answer *answer,
                                                      uint8_t *bytes, size_t capacity,
                                                      size_t *size);
GW_MUST_USE enum gw_status gw_take_over_encode_withdraw(uint8_t *bytes, size_t capacity,
                                                        size_t *size);
GW_MUST_USE enum gw_status gw_take_over_encode_client(const struct gw_take_over_client *client,
                                                      uint8_t *bytes, size_t capacity,
                                                      size_t *size);
GW_MUST_USE enum gw_status gw_take_over_encode_rest(const struct gw_take_over_rest *rest,
                                                    uint8_t *bytes, size_t capacity, size_t *size);

/* Opens a message: header, CRC, the section by its name and version. GW_REFUSED for another
 * version, GW_CORRUPT for anything that is no whole message. */
GW_MUST_USE enum gw_status gw_take_over_open(const uint8_t *bytes, size_t size,
                                             enum gw_take_over_type *type,
                                             struct gw_state_section *section,
                                             struct gw_fault *fault);

/* Each reads the section of an opened message of its type. GW_CORRUPT, naming what is wrong. OFFER
 * has exactly the descriptors that it says (fd_count), each known and none twice, and none lacks
 * but, perhaps, the lock. */
GW_MUST_USE enum gw_status gw_take_over_decode_offer(struct gw_state_section *section,
                                                     uint32_t fd_count,
                                                     struct gw_take_over_offer *offer,
                                                     struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_take_over_decode_answer(struct gw_state_section *section,
                                                      struct gw_take_over_answer *answer,
                                                      struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_take_over_decode_client(struct gw_state_section *section,
                                                      struct gw_take_over_client *client,
                                                      struct gw_fault *fault);
GW_MUST_USE enum gw_status gw_take_over_decode_rest(struct gw_state_section *section,
                                                    struct gw_take_over_rest *rest,
                                                    struct gw_fault *fault);

#endif
