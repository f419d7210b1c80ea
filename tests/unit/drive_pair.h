/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source and a target in one process and one loop, over Unix sockets, each with a few pages of
 * RAM and a guest that only knows whether it runs. For tests of what the drive does when the
 * bytes, or the peer, are not what they should be.
 */
#ifndef DRIVE_PAIR_H
#define DRIVE_PAIR_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "godwit/incoming.h"
#include "godwit/outgoing.h"

enum { PAIR_PAGES = 24, PAIR_STATE_BYTES = 64 };

#define PAIR_INTRO_NS (2 * GW_NS_PER_S) /* the target's patience with strangers */

struct pair {
    struct gw_ram source_ram, target_ram;
    char target_uri[GW_URI_TEXT_BYTES];
    bool runs_on_source, runs_on_target;
    bool is_shared;       /* both have the same RAM, by pair_share() */
    bool is_over;         /* the source's FINISH was handed out */
    unsigned taken;       /* how often the target was told to run the guest */
    uint64_t idle_ns_max; /* for what is opened next */
    uint64_t resume_ns_max;
    uint32_t channel_count;                                /* bulk; 0: one */
    const struct gw_tls_identity *source_tls, *target_tls; /* for what is opened next */
    bool is_tcp;      /* for what is opened next; else a Unix socket */
    bool is_postcopy; /* the guest goes first; then nothing is verified. For what is opened next */
    uint64_t recover_ns_max, postcopy_bandwidth_max;
    /* A third party in the loop; both may be NULL. `fill` returns how many it filled, at most 16.
     */
    int (*fill)(struct pollfd *wait);
    void (*serve)(void);
};

extern struct pair pair;
extern struct gw_outgoing pair_outgoing;
extern struct gw_incoming pair_incoming;
extern const uint8_t pair_state[PAIR_STATE_BYTES]; /* of the machine */

/* A fresh directory, RAM and a listening target. */
void pair_open(void);
void pair_close(void);

/* From now on the target's RAM is the source's own. Its guest writes a page as soon as it runs
 * there, and a guest that goes on at the source finds its RAM as it was (the pair checks it). */
void pair_share(void);

/* Forgets what the target has, and lets it listen again. */
void pair_restart_target(void);

/* Starts a migration to `uri`; false when that fails at once. */
void pair_migrate(const char *uri);

/* Waits for something to happen and does it. Fails the test when nothing does for 20 s. */
void pair_step(void);

/* Steps until the migration is over, and ends it. Returns how. */
enum gw_source_state pair_finish(void);

/* Fails the test unless the guest runs in exactly one place, and it is the one that `ended` says;
 * on the target, with the same RAM. */
void pair_check(enum gw_source_state ended);

/* A socket connected to the target as any program could; and one that listens as a target. */
int pair_connect(void);
int pair_listen(char uri[GW_URI_TEXT_BYTES], const char *name);

#endif
