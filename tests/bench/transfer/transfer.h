/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native transfer bench: a stopped guest's memory goes once from one process to another.
 * Moved by godwit's library, as an embedder uses it, or bare: the same bytes through the same kind
 * and number of sockets, and nothing else.
 *
 * Both processes print figures to standard output, a line each: a name and a number.
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/ram.h"
#include "godwit/source.h"
#include "godwit/tls.h"

enum { PIECE_BYTES = (int)GW_BATCH_BYTES_MAX, CHANNELS_MAX = (int)GW_BULK_CHANNELS_MAX };

enum memory_kind {
    MEMORY_RANDOM,
    MEMORY_TEXT, /* words, as documents, logs and sources have them; no page like another */
    MEMORY_ZERO, /* written, with zeros */
    MEMORY_HOLES /* never touched */
};

struct transfer {
    enum memory_kind memory;
    bool is_touched; /* the target's memory was written before */
    uint64_t bytes;  /* a multiple of GW_STRETCH_BYTES */
    uint32_t channels;
    const char *host;  /* where the target listens, as the source reaches it */
    const char *netns; /* the target's network namespace, by name; NULL: this one */
    bool is_huge;      /* anonymous memory in transparent huge pages, as QEMU's; else a memfd */
    bool is_summed;    /* bare: each piece is summed (CRC32C) on both sides */
    unsigned cipher;   /* godwit: by TLS with this one (enum gw_tls_cipher); 0: plain */
    enum gw_compress compress; /* godwit */
};

/* Each is one process and returns its exit status. The target writes its address (a line) to
 * `tell`, from which the source reads it as `hear`. */
void godwit_open(const struct transfer *wanted); /* before the two processes part */
int godwit_source(const struct transfer *wanted, int hear);
int godwit_target(const struct transfer *wanted, int tell);
int bare_source(const struct transfer *wanted, int hear);
int bare_target(const struct transfer *wanted, int tell);

/* What single steps of it cost in this process, alone. */
int print_rates(const struct transfer *wanted);

/* RAM of one region, filled as wanted on the source, written all over on a target that is. */
void open_memory(struct gw_ram *ram, const struct transfer *wanted, bool is_source);

/* The bytes of that kind of memory, from a multiple of 64 on. */
void fill_memory(uint8_t *bytes, uint64_t count, enum memory_kind kind);

/* The CRC32C of all of it. */
uint32_t sum_memory(const struct gw_ram *ram);

/* Ends the bench with what is wrong, and errno: it is no use then. */
void must(bool is_right, const char *what);

/* A line: a name and a number. */
void print_figure(const char *name, uint64_t value);

/* This process's time on CPUs. */
uint64_t cpu_ns(void);

#endif
