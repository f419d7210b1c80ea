/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to send: the dirty bitmap, and for each bulk channel the walk through its share of
 * it and the window of batches that are sent and not acknowledged (docs/WIRE.md, Acknowledgements).
 *
 * A page is in exactly one of three places: dirty here, in a batch of a window, or checked and
 * placed at the target. What comes back (a suspect batch) becomes dirty again.
 *
 * A channel's share is every n-th stretch of GW_STRETCH_BYTES: a page travels by one channel only,
 * where no version of it can overtake a later one. A unit lies in one stretch.
 *
 * Pure; part of struct gw_source, under its lock.
 */
#ifndef GODWIT_PAGES_H
#define GODWIT_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/batch.h"
#include "godwit/limits.h"
#include "godwit/pack.h"
#include "godwit/status.h"

enum gw_batch_kind {
    GW_BATCH_PAGES,  /* read these runs, after re-arming them */
    GW_BATCH_HOLES,  /* this run was never touched: send it as zero, unread */
    GW_BATCH_VERIFY, /* digest this one run (a stretch) and send VERIFY */
    GW_BATCH_PUSH,   /* as PAGES, but the guest runs elsewhere: there is nothing to re-arm */
    GW_BATCH_MAP,    /* send MISSING: gw_source_missing tells which pages. No runs */
    GW_BATCH_GONE,   /* demanded, and released here: say so (gw_batch_add_gone) */
};

struct gw_batch {
    uint64_t sequence; /* 1, 2, 3... on its channel */
    uint32_t channel;
    enum gw_batch_kind kind;
    bool is_stopped;         /* the guest stands still: flag GW_FRAME_STOPPED */
    enum gw_packing packing; /* how its pages travel, if they are worth it */
    uint32_t run_count;
    struct gw_run run[GW_BATCH_RUNS_MAX]; /* ascending; may cross regions of RAM */
};

/* One bulk channel's part. */
struct gw_pages_channel {
    uint64_t cursor;      /* the round has picked all of its share below */
    uint64_t next_cursor; /* where to go on when the unit at hand is picked; page_count + 1: behind
                             it */
    uint64_t verify_cursor; /* its stretches below were given out */
    uint64_t sequence_picked, sequence_sent, sequence_acked;
    uint64_t sequence_unstopped;               /* the last batch picked while the guest ran */
    struct gw_batch window[GW_WINDOW_BATCHES]; /* batch n at n % GW_WINDOW_BATCHES */
};

struct gw_pages {
    uint64_t page_count;
    uint32_t page_bytes;
    uint32_t batch_pages; /* pages in a full batch */
    uint32_t pick_pages;  /* what the operator's limit allows of them; 0: all */
    uint32_t unit_pages;  /* what the target places as one; 1: a page */
    uint32_t channel_count;
    uint64_t stretch_pages; /* what belongs to one channel; all of RAM where there is only one */
    bool is_first_round;    /* pages that are not dirty are holes, and told so */
    uint64_t dirty_count;
    uint64_t merges; /* how often a tracker's bits were added */
    uint64_t dirty[GW_BITMAP_WORDS];
    struct gw_pages_channel channel[GW_BULK_CHANNELS_MAX];
};

/* With one channel, and pages placed one by one. */
void gw_pages_init(struct gw_pages *pages, uint64_t page_count, uint32_t page_bytes);

/* Before anything is picked: so many channels, 1 to GW_BULK_CHANNELS_MAX. */
void gw_pages_set_channels(struct gw_pages *pages, uint32_t count);

/* The channel that a page travels by, where there are channel_count of them. */
uint32_t gw_pages_channel_of(uint64_t page, uint32_t page_bytes, uint32_t channel_count);

/* The target places pages by units of so many, which divide page_count. */
void gw_pages_set_unit(struct gw_pages *pages, uint32_t unit_pages);

/* Every unit with a dirty page becomes dirty as a whole: for the switch to postcopy. From then on
 * units are picked whole, from their first page to their last (_PUSH). */
void gw_pages_round_out(struct gw_pages *pages);

/* From now on a batch has no more pages than that; 0: as many as fit. */
void gw_pages_limit_batch(struct gw_pages *pages, uint32_t page_count);

/* Begins the first round: set bits are touched pages, clear ones holes. */
void gw_pages_begin(struct gw_pages *pages, const uint64_t *touched);

/* Adds dirty pages; returns how many were not dirty yet. */
uint64_t gw_pages_merge(struct gw_pages *pages, const uint64_t *bitmap);

/* Begins another round over what is dirty now. */
void gw_pages_begin_round(struct gw_pages *pages);

/* Picks the channel's next batch of the round; GW_AGAIN when its window is full or its share is
 * picked. */
GW_MUST_USE enum gw_status gw_pages_pick(struct gw_pages *pages, uint32_t channel, bool is_stopped,
                                         struct gw_batch *batch);

/* Ends the first round without sending: all of it that is no long hole becomes dirty, up to each
 * channel's next long hole, or to the end. */
void gw_pages_skip_to_hole(struct gw_pages *pages);

/* Skips, and picks that hole, so that its target need never ask for it. GW_AGAIN when the window
 * is full or there is none. */
GW_MUST_USE enum gw_status gw_pages_pick_hole(struct gw_pages *pages, uint32_t channel,
                                              struct gw_batch *batch);

/* Puts a map (MISSING) into channel 0's window: what is dirty now, and will be until it was pushed.
 */
GW_MUST_USE enum gw_status gw_pages_pick_map(struct gw_pages *pages, struct gw_batch *batch);

/* Picks the channel's dirty pages from its cursor on, and around from its first page: for a guest
 * that stands still (`kind` PAGES) or runs elsewhere (PUSH). GW_AGAIN when its window is full or it
 * has none. */
GW_MUST_USE enum gw_status gw_pages_pick_around(struct gw_pages *pages, uint32_t channel,
                                                enum gw_batch_kind kind, struct gw_batch *batch);

/* That page, the first of its unit, is sent apart from all batches, with its unit. The next batch
 * of its channel that begins a unit begins behind it, since who needs a page soon needs its
 * neighbours. */
void gw_pages_demanded(struct gw_pages *pages, uint64_t page);

/* True when nothing is under way, and the first round has told of every hole. */
bool gw_pages_is_quiet(const struct gw_pages *pages);

/* After a lost link, the guest running elsewhere: exactly the pages that are not `received` are
 * to be sent. */
void gw_pages_reconcile(struct gw_pages *pages, const uint64_t *received);

/* Picks the channel's next stretch to verify; GW_AGAIN when its window is full, all were picked, or
 * something that it sent while the guest ran may come back still, or did. */
GW_MUST_USE enum gw_status gw_pages_pick_verify(struct gw_pages *pages, uint32_t channel,
                                                struct gw_batch *batch);

/* Of all channels: nothing is sent and not acknowledged, nor picked and not sent; all stretches
 * were verified and acknowledged; nothing is dirty, nor can come back, and all was sent. */
bool gw_pages_is_idle(const struct gw_pages *pages);
bool gw_pages_is_verified(const struct gw_pages *pages);
bool gw_pages_is_drained(const struct gw_pages *pages);

/* True when the round has picked all it will, and all of it was sent and acknowledged: only then
 * is it known what came back suspect, and how fast the target takes pages. */
bool gw_pages_is_round_over(const struct gw_pages *pages);

void gw_pages_sent(struct gw_pages *pages, uint32_t channel, uint64_t sequence);

/* The target checked and placed all up to `sequence` of that channel. GW_PROTOCOL for a channel
 * that is none, or a batch never sent or told before. *bytes: how many bytes of picked pages that
 * acknowledges. */
GW_MUST_USE enum gw_status gw_pages_acked(struct gw_pages *pages, uint32_t channel,
                                          uint64_t sequence, uint64_t *bytes,
                                          struct gw_fault *fault);

/* That batch arrived damaged: its pages are dirty again. GW_PROTOCOL as above; GW_CORRUPT when
 * the guest stood still for it. */
GW_MUST_USE enum gw_status gw_pages_suspect(struct gw_pages *pages, uint32_t channel,
                                            uint64_t sequence, struct gw_fault *fault);

/* The link is lost: what was sent and not acknowledged is to be sent again, under the numbers
 * behind the last acknowledged one of each channel, and verification begins anew. Returns how many
 * pages. */
uint64_t gw_pages_rewind(struct gw_pages *pages);

/* Pages that are dirty or in a window. */
uint64_t gw_pages_remaining(const struct gw_pages *pages);

#endif
