/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An embedder that is not godwit: it has a guest of its own (guest.h) and moves it from one
 * process (A, the source) to another (B, the target) with the library and its public headers.
 *
 * A starts B, and talks to it over B's standard input and output, a line at a time. Cases say what
 * happens on the way and how it must end.
 */
#ifndef EMBEDDER_H
#define EMBEDDER_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/fact.h"
#include "godwit/source.h"
#include "godwit/transport.h"
#include "godwit/uffd_wp.h"
#include "guest.h"

enum { DIES = 9 }; /* B's exit status where a case lets it die */

/* What goes wrong, and when. */
enum mishap {
    MISHAP_NONE,
    MISHAP_CANCEL_AT_ROUND,  /* the operator cancels as round 1 begins */
    MISHAP_CANCEL_AT_RECORD, /* ... as the departure is recorded */
    MISHAP_CANCEL_AT_STOP,   /* ... as the guest stops */
    MISHAP_RECORD_FAILS,     /* A's disk is full */
    MISHAP_STOP_FAILS,       /* A's guest cannot be stopped */
    MISHAP_KILL_AT_ROUND,    /* B is killed as round 1 begins */
    MISHAP_KILL_AT_STOP,     /* ... as the guest stops */
    MISHAP_LOAD_FAILS,       /* B cannot load the state */
    MISHAP_DIE_AT_LOAD,      /* B dies as it loads the state */
    MISHAP_DIE_AT_TOOK,      /* B dies before it has recorded that it took the guest */
    MISHAP_DIE_AT_RUN,       /* B dies after that */
    MISHAP_MISFIT,           /* B has other facts */
    MISHAP_NOBODY,           /* there is no B */
    MISHAP_CUT_AT_PUSH,      /* postcopy: the link is lost once the guest runs in B, and again */
    MISHAP_PAUSE_AT_PUSH,    /* postcopy: the operator lets go of it, and connects again */
};

struct scenario {
    const char *name;
    bool is_unix;                           /* else TCP on loopback */
    bool is_tls;                            /* with a key that A makes */
    bool is_verifying;                      /* compare digests of RAM */
    bool is_paused;                         /* the guest stands still before, and after */
    enum { PRECOPY, POSTCOPY, HYBRID } way; /* HYBRID: switched as round 2 begins */
    uint64_t postcopy_bandwidth;            /* bytes a second; 0: no limit */
    uint64_t demands_min;                   /* B asks for so many pages, or units, at least */
    bool is_huge_here, is_huge_there;       /* A's, and B's RAM is in huge pages */
    bool is_releasing;                      /* A gives back what B has (release-ram) */
    enum gw_uffd_wp_mode tracker;
    struct guest_config guest;
    uint64_t downtime_ms;
    uint64_t bandwidth; /* bytes a second; 0: no limit */
    uint32_t channels;  /* bulk; 0: one */
    enum gw_compress compress;
    enum mishap mishap;
    enum gw_source_state wanted; /* how the first try ends; FAILED and CANCELLED: try again */
};

/* Fills `scenario` from a case's name ("random" too) and a seed; false: no such case. */
bool scenario_get(struct scenario *scenario, const char *name, uint64_t seed);

/* The names of all cases, one a line. */
void scenario_list(void);

/* Facts of this embedder's machine. */
void embedder_facts(struct gw_facts *facts, const struct scenario *scenario, bool is_target);

/* How to connect, or to be connected to; a key lies in `directory`, made first where `is_target` is
 * false. False: said why. */
bool embedder_transport(struct gw_transport_options *options, const struct scenario *scenario,
                        const char *directory, bool is_target);

/* The two processes. Return the exit status: 0 as wanted, 1 not, 77 cannot be tried here.
 * away: where B is to be found, which someone else has started; NULL: A starts it. */
int source_main(const struct scenario *scenario, uint64_t seed, const char *program,
                const char *away);
int target_main(const struct scenario *scenario, const char *uri, const char *directory);

#endif
