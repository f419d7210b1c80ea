/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether pages are packed: decided for all channels together from what each batch cost and
 * brought.
 *
 * A channel's thread works, packs and writes in turn, while its socket drains. So a byte of a page
 * takes as long as the slower of the two: the thread (work, packing, and writing what is left of
 * it), or the link (what is left of it, at the link's rate). What the thread costs is measured
 * always; the link's rate whenever both ends waited for it, this one for room and the target for
 * bytes (a target that never waits is what limits, and unpacking would only be more work for it);
 * packing, while nothing is packed,
 * by a batch now and then, for which a small part of the time is spent, and less and less while it
 * does not pay. Packing begins for a tenth of the time saved, and ends when it saves less than a
 * twentieth.
 *
 * Pure; part of struct gw_source, under its lock. Rates are picoseconds a byte.
 */
#ifndef GODWIT_COMPRESSION_H
#define GODWIT_COMPRESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/pack.h"

/* What the operator wants. */
enum gw_compress {
    GW_COMPRESS_AUTO = 0,
    GW_COMPRESS_NONE = 1,
    GW_COMPRESS_LZ4 = 2, /* every batch, fast */
    GW_COMPRESS_COUNT,
};

/* Why they are packed as they are now. */
enum gw_packing_reason {
    GW_PACKING_AT_FIRST = 0, /* nothing was decided yet */
    GW_PACKING_WANTED,       /* the operator says so */
    GW_PACKING_UNABLE,       /* the target cannot unpack */
    GW_PACKING_PAYS,         /* the link, or writing to it, takes longer than packing */
    GW_PACKING_BAD_RATIO,    /* hardly anything was saved */
    GW_PACKING_FAST_LINK,    /* the link takes more than can be packed */
    GW_PACKING_NO_GAIN,      /* it was no faster than before: something else limits */
};

/* What a batch cost. Bytes, and nanoseconds of its channel's thread. */
struct gw_batch_cost {
    enum gw_packing packing; /* that was tried */
    uint64_t raw_bytes;      /* its raw pages */
    uint64_t packed_bytes;   /* what they became; raw_bytes when they travelled as they are */
    uint64_t pack_ns;
    uint64_t work_ns;  /* re-arming, reading, summing */
    uint64_t write_ns; /* handing it to the kernel, with what a layer between does */
    uint64_t wait_ns;  /* for room in the socket */
    uint64_t paced_ns; /* for the operator's limit */
};

/* A target's word on a bulk channel. */
struct gw_compression_told {
    uint64_t at_ns; /* when it came; 0: none yet */
    uint32_t starved_us;
};

struct gw_compression {
    enum gw_compress wish;
    bool is_able; /* the target is */
    enum gw_packing packing;
    enum gw_packing_reason reason;
    struct gw_batch_cost window; /* sums, since the last decision */
    uint64_t window_count;       /* decisions since `packing` was chosen */
    uint64_t pack_ps;            /* to pack a byte; 0: not known */
    uint32_t permille;           /* that is left of it; 0: not known */
    uint64_t work_ps, write_ps;  /* a byte of a page; a byte written */
    uint64_t link_ps;            /* a byte written, where that is what limits; 0: it is not */
    uint64_t judged_ps;          /* sum of windows: a byte of a page, since they are packed */
    uint64_t plain_ps;           /* a byte of a page, when none was packed */
    uint64_t spent_ns;           /* since the last trial */
    uint64_t trial_ns;           /* what the last trial cost */
    uint32_t trials_in_vain;     /* since something changed */
    uint32_t waited;             /* channels, by bit, that have waited for the link */
    struct gw_compression_told told[GW_BULK_CHANNELS_MAX];
    uint64_t told_ns, starved_ns;     /* this window: of so long the target told, and its waiting */
    bool is_starved;                  /* in the last window of which it told */
    uint64_t hold_bytes, held_bytes;  /* no trial before so many bytes, and how many were */
    uint64_t raw_bytes, packed_bytes; /* of all that was packed, or tried */
};

void gw_compression_init(struct gw_compression *compression, enum gw_compress wish);

/* The target's word. True: that is worth telling. */
bool gw_compression_set_able(struct gw_compression *compression, bool is_able);

/* How to pack the next batch. */
enum gw_packing gw_compression_next(struct gw_compression *compression);

/* A batch was sent, on bulk channel `channel`. True when `packing` is another now: `reason` says
 * why. */
bool gw_compression_sent(struct gw_compression *compression, uint32_t channel,
                         const struct gw_batch_cost *cost);

/* The target has placed some of bulk channel `channel`, and waited for the rest of frames there for
 * `starved_us` since it was connected, modulo 2^32. */
void gw_compression_told(struct gw_compression *compression, uint32_t channel, uint32_t starved_us,
                         uint64_t now_ns);

/* What is left of a page as they are packed now: 1..1000, as the last ones show it. */
uint32_t gw_compression_permille(const struct gw_compression *compression);

/* Bytes of pages a second that packing takes, and bytes that the link does; 0: not known. */
uint64_t gw_compression_pack_rate(const struct gw_compression *compression);
uint64_t gw_compression_link_rate(const struct gw_compression *compression);

#endif
