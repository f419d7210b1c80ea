/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pace: how fast the target takes pages (by what it acknowledged, not by what a socket buffer
 * swallowed), and the operator's limit on bytes a second. Pure.
 *
 * There are two measures. Of all pages: how long the rest of memory will take, where it is like
 * what went before. Of raw ones, those that travel whole: how long what a guest dirties will take,
 * little of which is zero. Memory that is mostly zero goes many times faster than the link carries
 * bytes.
 *
 * The limit is a bucket that all channels take from before they send. It holds within 2 % over any
 * second, as nothing larger than GW_PACE_BATCH_NS of it goes out at a time on all channels together
 * and no more than GW_PACE_SAVED_NS is saved up. A page is never split: below 4096 bytes in
 * GW_PACE_BATCH_NS, 400 kB/s for one channel, it is the page that sets the grain.
 */
#ifndef GODWIT_PACE_H
#define GODWIT_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define GW_PACE_WINDOW_NS UINT64_C(100000000) /* a measurement spans at least 100 ms of work */

#define GW_PACE_BATCH_NS \
    UINT64_C(10000000) /* of the limit: what is under way unacknowledged by it */
#define GW_PACE_SAVED_NS \
    UINT64_C(5000000) /* of the limit: so late may a sender wake and lose nothing */

enum { GW_PACE_WINDOWS = 10 }; /* a second of it is worth believing */

struct gw_pace_measure {
    uint64_t window_ns, window_bytes;
    uint64_t bytes_per_s; /* smoothed; 0: not known yet */
    uint32_t windows;     /* measured; up to GW_PACE_WINDOWS */
};

struct gw_pace {
    uint64_t limit;      /* bytes a second; 0: none */
    uint32_t permille;   /* of a page's bytes travel, by how they are packed: 1..1000 */
    uint64_t free_at_ns; /* the limit allows the next byte then */
    uint64_t busy_since_ns;
    bool is_busy;          /* batches are in flight */
    uint64_t raw_until_ns; /* up to then the time with raw pages in flight is counted */
    struct gw_pace_measure all, raw;
};

void gw_pace_init(struct gw_pace *pace, uint64_t limit);
void gw_pace_set_limit(struct gw_pace *pace, uint64_t limit);

/* What a limit of bytes on the way means for pages. */
void gw_pace_set_permille(struct gw_pace *pace, uint32_t permille);

/* When the limit allows to send again; 0: now. */
uint64_t gw_pace_free_at(const struct gw_pace *pace);

/* The most that one of so many channels may send at a time; UINT64_MAX: no limit. */
uint64_t gw_pace_batch_bytes(const struct gw_pace *pace, uint32_t channel_count);

/* About `bytes` go out now. */
void gw_pace_take(struct gw_pace *pace, uint64_t bytes, uint64_t now_ns);

/* It became `bytes`, headers and all, where `taken` were taken. */
void gw_pace_settle(struct gw_pace *pace, uint64_t taken, uint64_t bytes);

/* Something is in flight from now on. */
void gw_pace_begin(struct gw_pace *pace, uint64_t now_ns);

/* `bytes` of pages were acknowledged; is_idle: nothing is in flight any more. */
void gw_pace_acked(struct gw_pace *pace, uint64_t bytes, bool is_idle, uint64_t now_ns);

/* `bytes` of raw pages were, of a batch that was picked at `since_ns`. */
void gw_pace_raw_acked(struct gw_pace *pace, uint64_t bytes, uint64_t since_ns, uint64_t now_ns);

/* The link is lost, or nothing is under way and its acknowledgement came already: until the next
 * batch, time passes that says nothing of the bandwidth. */
void gw_pace_lost(struct gw_pace *pace);

/* True when GW_PACE_WINDOWS of all pages were measured: before, gw_pace_bandwidth is a first guess.
 */
bool gw_pace_is_measured(const struct gw_pace *pace);

/* Acknowledged bytes a second, of all pages; 0: nothing measured yet. */
uint64_t gw_pace_bandwidth(const struct gw_pace *pace);

/* The bandwidth to count with for what a guest dirties: that of raw pages (of all, where none was
 * raw), or the limit where the limit is less; 0: not known. */
uint64_t gw_pace_expected(const struct gw_pace *pace);

/* How long `bytes` take at it; UINT64_MAX when there is none and bytes > 0. */
uint64_t gw_pace_time_ns(const struct gw_pace *pace, uint64_t bytes);

/* The opposite: how many bytes go in that time. 0 when no bandwidth is known. */
uint64_t gw_pace_bytes(const struct gw_pace *pace, uint64_t ns);

#endif
