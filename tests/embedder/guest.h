/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that is not a machine: threads that scribble over a mapping.
 *
 * Every page has a version. Whoever writes a page counts it on and fills the page from (page,
 * version), or with zeros now and then; a version of 0 means never written. The versions are the
 * guest's state: they travel like registers, and on the other side each page must hold exactly
 * what its version says. So a lost, stale or torn write of even one word is found, and named.
 */
#ifndef EMBEDDER_GUEST_H
#define EMBEDDER_GUEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "godwit/ram.h"

enum { GUEST_PAGES_MAX = 61440, GUEST_THREADS_MAX = 4 };

struct guest_config {
    uint64_t pages;    /* 64..GUEST_PAGES_MAX */
    uint32_t regions;  /* 1 or 2 */
    uint32_t threads;  /* 1..GUEST_THREADS_MAX */
    uint32_t hot;      /* 15 of 16 writes go to the first so many pages */
    bool is_anonymous; /* else memfd */
    bool is_text; /* whole pages are written: text, and some that repeat a value or each other */
    bool is_huge; /* memfd of huge pages, in this process; pages is a multiple of theirs */
    uint64_t seed;
};

/* Makes the RAM, untouched, and the threads, parked. False: said why on stderr. */
bool guest_open(const struct guest_config *config);

/* Can this host give so many pages in huge ones, twice? Says why not on stdout. */
bool guest_probe_huge(uint64_t pages);

const struct gw_ram *guest_ram(void);

/* Lets the threads go on; parks them. Both return when it is so. */
void guest_go(void);
void guest_halt(void);
bool guest_is_running(void);

/* Writes of a guest that has been at it for a while. Under ThreadSanitizer it is slow (guest.c):
 * one thread makes 640 a second, and a case has a minute. */
#ifdef __SANITIZE_THREAD__
enum { GUEST_WRITES = 5000 };
#else
enum { GUEST_WRITES = 20000 };
#endif

/* Waits until the threads have made so many more writes. */
void guest_wait(uint64_t writes);

/* While halted: writes every page once. */
void guest_fill(void);

/* While halted: the state, at most GW_STATE_BYTES_MAX bytes; and back (false: not a state). */
uint32_t guest_save(uint8_t *bytes);
bool guest_load(const uint8_t *bytes, uint32_t count);

/* While halted: how many pages hold anything else than their version says. Names the first. */
uint64_t guest_count_wrong(void);

#endif
