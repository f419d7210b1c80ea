/* SPDX-License-Identifier: Apache-2.0 */
/* The cases. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "embedder.h"
#include "godwit/tls.h"

/* 32 MiB where pages have 4 KiB, of which 1 MiB is written most. */
#define SMALL .guest = {.pages = 8192, .regions = 1, .threads = 2, .hot = 256}
#if defined(__SANITIZE_THREAD__)
enum { HOT_HALF = 512 }; /* its eight channels send less a second than its guest writes */
#else
enum { HOT_HALF = 4096 };
#endif
#define TWO_REGIONS .guest = {.pages = 8192, .regions = 2, .threads = 3, .hot = HOT_HALF}
#define ANONYMOUS \
    .guest = {.pages = 8192, .regions = 2, .threads = 2, .hot = 512, .is_anonymous = true}
/* A sanitizer makes ciphers slow. */
#define TINY     .guest = {.pages = 1024, .regions = 1, .threads = 2, .hot = 64}
#define TINY_TWO .guest = {.pages = 2048, .regions = 2, .threads = 3, .hot = 256}
/* Written all over, and sent in one round: a write that falls between the reading of its page and
 * the re-arming, were they in the wrong order, is hardly ever hidden by a later one. */
#define WIDE .guest = {.pages = 8192, .regions = 1, .threads = 3, .hot = 8192}, .downtime_ms = 2000
#define TEXT .guest = {.pages = 8192, .regions = 1, .threads = 2, .hot = 256, .is_text = true}
#define TEXT_REGIONS \
    .guest = {.pages = 8192, .regions = 2, .threads = 3, .hot = 2048, .is_text = true}
#define LIMITS .downtime_ms = 100
/* For TWO_REGIONS's 16 MiB on a machine that does much else: a precopy that is never done is none.
 */
#define ENOUGH .downtime_ms = 2000
/* Slow enough that the first round lasts while mishaps happen. */
#define SLOW      .downtime_ms = 20, .bandwidth = 100000000
#define SLOW_TEXT .downtime_ms = 300, .bandwidth = 50000000

/* A's huge pages are written as a whole, so that all of RAM is dirty in every round. */
#define ALL_DIRTY .downtime_ms = 5000
#define HUGE_BOTH .is_huge_here = true, .is_huge_there = true

static const struct scenario scenarios[] = {
    {"tcp", SMALL, LIMITS, .wanted = GW_SOURCE_COMPLETED},
    {"unix", SMALL, LIMITS, .is_unix = true, .wanted = GW_SOURCE_COMPLETED},
    {"sync", SMALL, LIMITS, .tracker = GW_UFFD_WP_SYNC, .wanted = GW_SOURCE_COMPLETED},
    {"regions", TWO_REGIONS, ENOUGH, .is_unix = true, .wanted = GW_SOURCE_COMPLETED},
    {"anonymous", ANONYMOUS, LIMITS, .wanted = GW_SOURCE_COMPLETED},
    {"anonymous-sync", ANONYMOUS, LIMITS, .tracker = GW_UFFD_WP_SYNC,
     .wanted = GW_SOURCE_COMPLETED},
    {"wide", WIDE, .wanted = GW_SOURCE_COMPLETED},
    {"wide-sync", WIDE, .tracker = GW_UFFD_WP_SYNC, .wanted = GW_SOURCE_COMPLETED},
    {"rounds", SMALL, SLOW, .is_unix = true, .wanted = GW_SOURCE_COMPLETED},
    {"verify", TWO_REGIONS, ENOUGH, .is_verifying = true, .wanted = GW_SOURCE_COMPLETED},
    {"verify-anonymous", ANONYMOUS, LIMITS, .is_verifying = true, .is_unix = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"paused", SMALL, LIMITS, .is_paused = true, .wanted = GW_SOURCE_COMPLETED},
    {"cancel-at-round", SMALL, SLOW, .mishap = MISHAP_CANCEL_AT_ROUND,
     .wanted = GW_SOURCE_CANCELLED},
    {"cancel-at-record", SMALL, LIMITS, .mishap = MISHAP_CANCEL_AT_RECORD,
     .wanted = GW_SOURCE_CANCELLED},
    {"cancel-at-stop", SMALL, LIMITS, .is_unix = true, .mishap = MISHAP_CANCEL_AT_STOP,
     .wanted = GW_SOURCE_CANCELLED},
    {"record-fails", SMALL, LIMITS, .mishap = MISHAP_RECORD_FAILS, .wanted = GW_SOURCE_FAILED},
    {"stop-fails", SMALL, LIMITS, .mishap = MISHAP_STOP_FAILS, .wanted = GW_SOURCE_FAILED},
    {"kill-at-round", SMALL, SLOW, .mishap = MISHAP_KILL_AT_ROUND, .wanted = GW_SOURCE_FAILED},
    {"kill-at-stop", SMALL, LIMITS, .is_unix = true, .mishap = MISHAP_KILL_AT_STOP,
     .wanted = GW_SOURCE_FAILED},
    {"load-fails", SMALL, LIMITS, .mishap = MISHAP_LOAD_FAILS, .wanted = GW_SOURCE_FAILED},
    {"die-at-load", SMALL, LIMITS, .mishap = MISHAP_DIE_AT_LOAD, .wanted = GW_SOURCE_FAILED},
    /* Held: B's records settle it when B is back. Before `took` the guest goes on in A; after it
     * the guest was B's, and died with it. */
    {"die-at-took", SMALL, LIMITS, .is_unix = true, .mishap = MISHAP_DIE_AT_TOOK,
     .wanted = GW_SOURCE_FAILED},
    {"die-at-run", SMALL, LIMITS, .is_unix = true, .mishap = MISHAP_DIE_AT_RUN,
     .wanted = GW_SOURCE_COMPLETED},
    {"postcopy", SMALL, LIMITS, .way = POSTCOPY, .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-regions", TWO_REGIONS, LIMITS, .way = POSTCOPY, .is_unix = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-anonymous", ANONYMOUS, LIMITS, .way = POSTCOPY, .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-paused", SMALL, LIMITS, .way = POSTCOPY, .is_paused = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-wide", .guest = {.pages = 8192, .regions = 1, .threads = 3, .hot = 8192},
     .downtime_ms = 20, .way = POSTCOPY, .postcopy_bandwidth = 40000000,
     .wanted = GW_SOURCE_COMPLETED},
    {"hybrid", SMALL, SLOW, .way = HYBRID, .wanted = GW_SOURCE_COMPLETED},
    {"hybrid-anonymous", ANONYMOUS, SLOW, .way = HYBRID, .is_unix = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-cut", SMALL, LIMITS, .way = POSTCOPY, .postcopy_bandwidth = 20000000,
     .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-cut-anonymous", ANONYMOUS, LIMITS, .way = POSTCOPY, .is_unix = true,
     .postcopy_bandwidth = 20000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-pause", SMALL, LIMITS, .way = POSTCOPY, .postcopy_bandwidth = 20000000,
     .mishap = MISHAP_PAUSE_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"postcopy-load-fails", SMALL, LIMITS, .way = POSTCOPY, .mishap = MISHAP_LOAD_FAILS,
     .wanted = GW_SOURCE_FAILED},
    {"postcopy-kill-at-stop", SMALL, LIMITS, .way = POSTCOPY, .is_unix = true,
     .mishap = MISHAP_KILL_AT_STOP, .wanted = GW_SOURCE_FAILED},
    /* 32 MiB are 16 huge pages. */
    {"huge", SMALL, ALL_DIRTY, HUGE_BOTH, .wanted = GW_SOURCE_COMPLETED},
    {"huge-sync", SMALL, ALL_DIRTY, HUGE_BOTH, .tracker = GW_UFFD_WP_SYNC,
     .wanted = GW_SOURCE_COMPLETED},
    {"huge-wide", WIDE, HUGE_BOTH, .wanted = GW_SOURCE_COMPLETED},
    {"huge-verify", SMALL, ALL_DIRTY, HUGE_BOTH, .is_verifying = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"huge-to-normal", SMALL, ALL_DIRTY, .is_huge_here = true, .wanted = GW_SOURCE_COMPLETED},
    {"normal-to-huge", SMALL, LIMITS, .is_huge_there = true, .is_verifying = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"huge-cancel-at-stop", SMALL, ALL_DIRTY, HUGE_BOTH, .mishap = MISHAP_CANCEL_AT_STOP,
     .wanted = GW_SOURCE_CANCELLED},
    {"huge-postcopy", SMALL, LIMITS, HUGE_BOTH, .way = POSTCOPY, .wanted = GW_SOURCE_COMPLETED},
    /* Most of it comes because it is asked for, and not with the bulk, which would take half a
     * minute. */
    {"huge-postcopy-demanded", WIDE, HUGE_BOTH, .way = POSTCOPY, .postcopy_bandwidth = 1000000,
     .demands_min = 8, .wanted = GW_SOURCE_COMPLETED},
    {"huge-postcopy-from-normal", SMALL, LIMITS, .is_huge_there = true, .way = POSTCOPY,
     .is_unix = true, .wanted = GW_SOURCE_COMPLETED},
    {"huge-postcopy-to-normal", SMALL, LIMITS, .is_huge_here = true, .way = POSTCOPY,
     .wanted = GW_SOURCE_COMPLETED},
    {"huge-hybrid", SMALL, SLOW, HUGE_BOTH, .way = HYBRID, .wanted = GW_SOURCE_COMPLETED},
    {"huge-postcopy-cut", SMALL, LIMITS, HUGE_BOTH, .way = POSTCOPY, .postcopy_bandwidth = 20000000,
     .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"release", SMALL, LIMITS, .way = POSTCOPY, .is_releasing = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"release-hybrid-anonymous", ANONYMOUS, SLOW, .way = HYBRID, .is_releasing = true,
     .is_unix = true, .wanted = GW_SOURCE_COMPLETED},
    {"release-cut", SMALL, LIMITS, .way = POSTCOPY, .is_releasing = true,
     .postcopy_bandwidth = 20000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"huge-release-cut", SMALL, LIMITS, HUGE_BOTH, .way = POSTCOPY, .is_releasing = true,
     .postcopy_bandwidth = 20000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"channels", WIDE, .channels = 4, .wanted = GW_SOURCE_COMPLETED},
    {"channels-sync", WIDE, .channels = 3, .tracker = GW_UFFD_WP_SYNC, .is_unix = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"channels-rounds", TWO_REGIONS, .downtime_ms = 60, .bandwidth = 100000000, .channels = 8,
     .is_verifying = true, .wanted = GW_SOURCE_COMPLETED},
    {"channels-hybrid", ANONYMOUS, SLOW, .channels = 2, .way = HYBRID, .is_unix = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"channels-postcopy-cut", TWO_REGIONS, LIMITS, .channels = 4, .way = POSTCOPY,
     .postcopy_bandwidth = 20000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"channels-release-cut", SMALL, LIMITS, .channels = 3, .way = POSTCOPY, .is_releasing = true,
     .postcopy_bandwidth = 20000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"huge-channels", SMALL, ALL_DIRTY, HUGE_BOTH, .channels = 4, .is_verifying = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"huge-channels-postcopy-cut", SMALL, LIMITS, HUGE_BOTH, .channels = 3, .way = POSTCOPY,
     .postcopy_bandwidth = 20000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"channels-cancel-at-stop", SMALL, LIMITS, .channels = 4, .mishap = MISHAP_CANCEL_AT_STOP,
     .wanted = GW_SOURCE_CANCELLED},
    {"tls", TINY, LIMITS, .is_tls = true, .is_verifying = true, .wanted = GW_SOURCE_COMPLETED},
    {"tls-unix-channels", TINY_TWO, .downtime_ms = 2000, .is_tls = true, .is_unix = true,
     .channels = 4, .wanted = GW_SOURCE_COMPLETED},
    {"tls-channels-8", TINY_TWO, LIMITS, .is_tls = true, .channels = 8, .is_verifying = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"tls-postcopy", TINY, LIMITS, .is_tls = true, .way = POSTCOPY, .wanted = GW_SOURCE_COMPLETED},
    {"tls-hybrid", TINY_TWO, LIMITS, .is_tls = true, .channels = 2, .way = HYBRID,
     .wanted = GW_SOURCE_COMPLETED},
    {"tls-postcopy-cut", TINY_TWO, LIMITS, .is_tls = true, .way = POSTCOPY,
     .postcopy_bandwidth = 5000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"tls-channels-postcopy-cut", TINY_TWO, LIMITS, .is_tls = true, .channels = 4, .way = POSTCOPY,
     .postcopy_bandwidth = 5000000, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"tls-cancel-at-stop", TINY, LIMITS, .is_tls = true, .mishap = MISHAP_CANCEL_AT_STOP,
     .wanted = GW_SOURCE_CANCELLED},
    {"tls-kill-at-stop", TINY, LIMITS, .is_tls = true, .mishap = MISHAP_KILL_AT_STOP,
     .wanted = GW_SOURCE_FAILED},
    {"tls-die-at-run", TINY, LIMITS, .is_tls = true, .is_unix = true, .mishap = MISHAP_DIE_AT_RUN,
     .wanted = GW_SOURCE_COMPLETED},
    {"lz4", TEXT, LIMITS, .compress = GW_COMPRESS_LZ4, .wanted = GW_SOURCE_COMPLETED},
    {"lz4-regions", TEXT_REGIONS, SLOW_TEXT, .is_unix = true, .is_verifying = true,
     .compress = GW_COMPRESS_LZ4, .wanted = GW_SOURCE_COMPLETED},
    {"lz4-channels", TEXT, LIMITS, .channels = 4, .is_verifying = true, .compress = GW_COMPRESS_LZ4,
     .wanted = GW_SOURCE_COMPLETED},
    {"lz4-postcopy", TEXT, LIMITS, .way = POSTCOPY, .compress = GW_COMPRESS_LZ4,
     .wanted = GW_SOURCE_COMPLETED},
    {"lz4-hybrid", TEXT_REGIONS, SLOW, .way = HYBRID, .compress = GW_COMPRESS_LZ4,
     .wanted = GW_SOURCE_COMPLETED},
    {"lz4-postcopy-cut", TEXT, LIMITS, .way = POSTCOPY, .postcopy_bandwidth = 5000000,
     .compress = GW_COMPRESS_LZ4, .mishap = MISHAP_CUT_AT_PUSH, .wanted = GW_SOURCE_COMPLETED},
    {"lz4-channels-release-cut", TEXT, LIMITS, .channels = 3, .way = POSTCOPY, .is_releasing = true,
     .postcopy_bandwidth = 5000000, .compress = GW_COMPRESS_LZ4, .mishap = MISHAP_CUT_AT_PUSH,
     .wanted = GW_SOURCE_COMPLETED},
    {"lz4-huge", TEXT, ALL_DIRTY, HUGE_BOTH, .is_verifying = true, .compress = GW_COMPRESS_LZ4,
     .wanted = GW_SOURCE_COMPLETED},
    {"lz4-huge-postcopy-cut", TEXT, LIMITS, HUGE_BOTH, .way = POSTCOPY,
     .postcopy_bandwidth = 5000000, .compress = GW_COMPRESS_LZ4, .mishap = MISHAP_CUT_AT_PUSH,
     .wanted = GW_SOURCE_COMPLETED},
    {"text", TEXT, LIMITS, .compress = GW_COMPRESS_NONE, .is_verifying = true,
     .wanted = GW_SOURCE_COMPLETED},
    {"text-auto", TEXT_REGIONS, SLOW_TEXT, .is_verifying = true, .wanted = GW_SOURCE_COMPLETED},
    {"misfit", SMALL, LIMITS, .mishap = MISHAP_MISFIT, .wanted = GW_SOURCE_FAILED},
    {"nobody", SMALL, LIMITS, .is_unix = true, .mishap = MISHAP_NOBODY, .wanted = GW_SOURCE_FAILED},
};

enum { SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };

/* Anything that must succeed, or be cancelled at round 1, drawn by the seed. */
static void draw(struct scenario *scenario, uint64_t seed)
{
    uint64_t bits = seed * UINT64_C(0x9e3779b97f4a7c15);
    bits ^= bits >> 29;
    *scenario = (struct scenario){.name = "random", .wanted = GW_SOURCE_COMPLETED};
    scenario->is_unix = (bits & 1) != 0;
    scenario->is_verifying = (bits >> 1 & 3) == 0;
    scenario->tracker = (bits >> 3 & 3) == 0 ? GW_UFFD_WP_SYNC : GW_UFFD_WP_BEST;
    scenario->guest.is_anonymous = (bits >> 5 & 1) != 0;
    scenario->guest.pages = 64 + (bits >> 6) % 4000;
    scenario->guest.regions = 1 + (uint32_t)(bits >> 20 & 1);
    scenario->guest.threads = 1 + (uint32_t)(bits >> 21 & 3);
    scenario->guest.hot = 16 + (uint32_t)((bits >> 23) % scenario->guest.pages) / 4;
    scenario->downtime_ms = 20 + (bits >> 37 & 255);
    scenario->bandwidth = (bits >> 45 & 3) == 0 ? 100000000 : 0;
    if ((bits >> 50 & 1) == 1 && !scenario->is_verifying) {
        scenario->way = (bits >> 51 & 1) != 0 ? POSTCOPY : HYBRID;
        scenario->postcopy_bandwidth = (bits >> 52 & 1) != 0 ? 50000000 : 0;
    }
    scenario->channels = 1 + (uint32_t)(bits >> 53 & 7) % GW_BULK_CHANNELS_MAX;
    scenario->guest.is_text = (bits >> 56 & 1) != 0;
    if (scenario->guest.is_text) {
        scenario->compress = (enum gw_compress)((bits >> 57 & 7) % GW_COMPRESS_COUNT);
    }
    if ((bits >> 47 & 7) == 0) {
        scenario->mishap = MISHAP_CANCEL_AT_STOP;
        scenario->wanted = GW_SOURCE_CANCELLED;
    }
}

bool scenario_get(struct scenario *scenario, const char *name, uint64_t seed)
{
    if (strcmp(name, "random") == 0) {
        draw(scenario, seed);
        scenario->guest.seed = seed;
        return true;
    }
    for (int i = 0; i < SCENARIOS; i++) {
        if (strcmp(scenarios[i].name, name) == 0) {
            *scenario = scenarios[i];
            scenario->guest.seed = seed;
            return true;
        }
    }
    return false;
}

void scenario_list(void)
{
    for (int i = 0; i < SCENARIOS; i++) {
        printf("%s\n", scenarios[i].name);
    }
    printf("random\n");
}

void embedder_facts(struct gw_facts *facts, const struct scenario *scenario, bool is_target)
{
    bool is_misfit = is_target && scenario->mishap == MISHAP_MISFIT;
    facts->count = 0;
    enum gw_status status =
        gw_facts_put(facts, "machine", GW_FACT_TEXT, gw_fact_text_encode("scribble"));
    GW_ASSERT(status == GW_OK);
    status = gw_facts_put(facts, "scribblers", GW_FACT_DECIMAL,
                          scenario->guest.threads + (is_misfit ? 1 : 0));
    GW_ASSERT(status == GW_OK);
}

static bool make_key(const char *path)
{
    struct gw_fault fault = {.status = GW_OK};
    char name[GW_TLS_NAME_BYTES];
    if (access(path, F_OK) == 0 || gw_tls_make_key(path, name, &fault) == GW_OK) {
        return true;
    }
    fprintf(stderr, "embedder: %s\n", fault.text);
    return false;
}

bool embedder_transport(struct gw_transport_options *options, const struct scenario *scenario,
                        const char *directory, bool is_target)
{
    static struct gw_tls_identity identity;
    struct gw_fault fault = {.status = GW_OK};
    char spec[GW_TLS_SPEC_BYTES];
    *options = gw_transport_defaults;
    if (!scenario->is_tls) {
        return true;
    }
    (void)snprintf(spec, sizeof(spec), "psk:%s/key", directory);
    if (!is_target && !make_key(spec + 4)) {
        return false;
    }
    gw_tls_close(&identity);
    if (gw_tls_open(&identity, spec, NULL, &fault) != GW_OK) {
        fprintf(stderr, "embedder: %s\n", fault.text);
        return false;
    }
    options->tls = &identity;
    return true;
}
