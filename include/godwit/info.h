/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What godwit tells about itself: plain structs that the monitor fills and QMP carries
 * (godwit/qmp.h encodes them under QMP's names; the command line decodes the same structs).
 *
 * Units stand in the names: _bytes, _pages, _ms (milliseconds), _us (microseconds). Texts are
 * NUL-terminated; "" means that there is none.
 *
 * Memory: the caller's. Plain data: the owner's thread.
 */
#ifndef GODWIT_INFO_H
#define GODWIT_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/status.h"

enum {
    GW_INFO_NAME_BYTES = 64,    /* a guest's name, with the NUL */
    GW_INFO_URI_BYTES = 272,    /* GW_URI_TEXT_BYTES of godwit/transport.h, with the NUL */
    GW_INFO_TLS_BYTES = 256,    /* "psk:FILE" or "x509:DIR", with the NUL */
    GW_INFO_HOST_BYTES = 254,   /* a host's name, with the NUL */
    GW_INFO_SESSION_BYTES = 40, /* 128 bits in hex, with the NUL and room */
    GW_INFO_TOKEN_BYTES = 96,   /* what `resolve --give-up` prints, with the NUL */
    GW_INFO_TEXT_BYTES = GW_FAULT_TEXT_BYTES,
};

/* QEMU's RunState, as far as godwit has it: name, QMP's word, does the guest run. */
#define GW_INFO_RUN_STATES(X)                                                                \
    X(PRELAUNCH, "prelaunch", false) /* being built, or started stopped */                   \
    X(INMIGRATE, "inmigrate", false) /* waits for, or receives, a guest */                   \
    X(RUNNING, "running", true)                                                              \
    X(PAUSED, "paused", false)                 /* `stop` */                                  \
    X(FINISH_MIGRATE, "finish-migrate", false) /* stopped to hand the guest over, or held */ \
    X(POSTMIGRATE, "postmigrate", false)       /* the guest runs elsewhere */                \
    X(SHUTDOWN, "shutdown", false)             /* the guest powered off */                   \
    X(GUEST_PANICKED, "guest-panicked", false) /* the guest crashed */                       \
    X(INTERNAL_ERROR, "internal-error", false)

/* QEMU's MigrationStatus, as far as godwit has it. A held guest is in `device`, with `held` set:
 * it never says `failed`. */
#define GW_INFO_MIGRATIONS(X)               \
    X(NONE, "none")                         \
    X(SETUP, "setup")                       \
    X(ACTIVE, "active")                     \
    X(PRE_SWITCHOVER, "pre-switchover")     \
    X(POSTCOPY_ACTIVE, "postcopy-active")   \
    X(POSTCOPY_PAUSED, "postcopy-paused")   \
    X(POSTCOPY_RECOVER, "postcopy-recover") \
    X(DEVICE, "device")                     \
    X(CANCELLING, "cancelling")             \
    X(CANCELLED, "cancelled")               \
    X(COMPLETED, "completed")               \
    X(FAILED, "failed")

/* QEMU's capabilities, as far as godwit has them: name, QMP's word, state at the start, may it be
 * changed. Those that may not are always on. */
#define GW_INFO_CAPABILITIES(X)                                        \
    X(EVENTS, "events", false, true)                                   \
    X(POSTCOPY_RAM, "postcopy-ram", true, true)                        \
    X(AUTO_CONVERGE, "auto-converge", true, true)                      \
    X(PAUSE_BEFORE_SWITCHOVER, "pause-before-switchover", false, true) \
    X(SWITCHOVER_ACK, "switchover-ack", true, true)                    \
    X(RELEASE_RAM, "release-ram", false, true)                         \
    X(RETURN_PATH, "return-path", true, false)                         \
    X(POSTCOPY_PREEMPT, "postcopy-preempt", true, false)               \
    X(POSTCOPY_BLOCKTIME, "postcopy-blocktime", true, false)

#define GW_INFO_VERIFIES(X)                                     \
    X(OFF, "off")             /* not asked for */               \
    X(PENDING, "pending")     /* asked for, not compared yet */ \
    X(EQUAL, "equal")         /* every digest was equal */      \
    X(DIFFERENT, "different") /* the migration failed for it; error_desc says where */

#define GW_INFO_ENUM(name, ...) GW_INFO_RUN_##name,
enum gw_info_run_state { GW_INFO_RUN_STATES(GW_INFO_ENUM) GW_INFO_RUN_STATE_COUNT };
#undef GW_INFO_ENUM
#define GW_INFO_ENUM(name, ...) GW_INFO_MIGRATION_##name,
enum gw_info_migration { GW_INFO_MIGRATIONS(GW_INFO_ENUM) GW_INFO_MIGRATION_COUNT };
#undef GW_INFO_ENUM
#define GW_INFO_ENUM(name, ...) GW_INFO_CAPABILITY_##name,
enum gw_info_capability { GW_INFO_CAPABILITIES(GW_INFO_ENUM) GW_INFO_CAPABILITY_COUNT };
#undef GW_INFO_ENUM
#define GW_INFO_ENUM(name, ...) GW_INFO_VERIFY_##name,
enum gw_info_verify { GW_INFO_VERIFIES(GW_INFO_ENUM) GW_INFO_VERIFY_COUNT };
#undef GW_INFO_ENUM

/* multifd-compression: what is wanted. The numbers are enum gw_compress's. */
#define GW_INFO_COMPRESSIONS(C)                                                  \
    C(AUTO, "auto") /* where the link, not the CPU, limits and it is worth it */ \
    C(NONE, "none")                                                              \
    C(LZ4, "lz4")
#define GW_INFO_ENUM(name, ...) GW_INFO_COMPRESS_##name,
enum gw_info_compress { GW_INFO_COMPRESSIONS(GW_INFO_ENUM) GW_INFO_COMPRESS_COUNT };
#undef GW_INFO_ENUM

/* How pages are packed now. The numbers are enum gw_packing's. */
enum gw_info_packing {
    GW_INFO_PACKING_NONE = 0,
    GW_INFO_PACKING_LZ4 = 1,
    GW_INFO_PACKING_COUNT,
};

struct gw_info_compression {
    enum gw_info_packing packing;
    uint64_t raw_bytes;    /* of pages that were packed, or tried; 0: none */
    uint64_t packed_bytes; /* what they became */
};

enum gw_info_role {
    GW_INFO_SOURCE = 0,
    GW_INFO_TARGET = 1,
};

struct gw_info_ram {
    uint64_t transferred_bytes; /* on the wire so far, headers included */
    uint64_t remaining_bytes;   /* dirty and not sent, plus sent and not acknowledged */
    uint64_t total_bytes;       /* guest RAM, holes included */
    uint64_t zero_pages;        /* sent as zero, or as a repeated value or page (QMP: duplicate) */
    uint64_t normal_pages;      /* sent with their bytes */
    uint64_t downtime_bytes;    /* of transferred_bytes, those sent while the guest was stopped */
    uint64_t rounds;            /* passes over RAM begun (QMP: dirty-sync-count) */
    uint64_t dirty_pages_per_second;
    uint64_t pages_per_second;      /* sent, over the last interval */
    uint64_t acked_bits_per_second; /* acknowledged by the peer, over the last interval */
    uint32_t page_bytes;
};

/* A guest whose COMMIT was sent, or that waits for one from a peer that is gone. */
struct gw_info_held {
    bool is_held;
    bool can_give_up;              /* `resolve --give-up` is possible here */
    bool can_run_with_token;       /* `resolve --run TOKEN` is possible here */
    bool can_run_other_is_dead;    /* `resolve --run --other-is-dead` is possible here */
    uint64_t held_ms;              /* since when */
    char text[GW_INFO_TEXT_BYTES]; /* what is known, and what to do; one or two sentences */
};

enum {
    GW_INFO_VCPUS_MAX = 8,
    GW_INFO_ROUNDS_MAX = 16,
    GW_INFO_BLOCKERS_MAX = 4,      /* of an operator */
    GW_INFO_BLOCKER_ID_BYTES = 32, /* with the NUL */
    GW_INFO_BLOCKER_BYTES = 128,   /* a reason, with the NUL */
    GW_INFO_BLOCKED_MAX = 1 + GW_INFO_BLOCKERS_MAX,
    GW_INFO_BLOCKED_BYTES = 176,
};

/* One round that is over. */
struct gw_info_round {
    uint64_t number;
    uint64_t time_ms;
    uint64_t sent_bytes;  /* of pages, zero ones too */
    uint64_t dirty_bytes; /* that the guest made dirty meanwhile */
    uint64_t bandwidth;   /* acknowledged bytes a second, at its end */
    uint64_t throttle_percent;
};

/* A guest that runs, or ran, at the target before all of its memory was there. Times of faults are
 * from when one was noticed to when its page was there. */
struct gw_info_postcopy {
    bool is_on;              /* switched, or about to; else all below is 0 */
    bool is_lost;            /* FAILED: the guest is lost */
    uint64_t demands;        /* pages asked for because the guest stood still for them */
    uint64_t sent_bytes;     /* source: of transferred_bytes, since the guest runs there */
    uint64_t released_bytes; /* source: of RAM, given back because the target has it */
    uint64_t missing_bytes;  /* target: of RAM, not there yet */
    uint64_t recoveries;     /* times it went on after a lost link */
    uint64_t time_ms;        /* from the first instruction until all was there. Of the source, this
                                and what follows but vcpu_ms only when it is over */
    uint64_t faults;         /* that were resolved */
    uint64_t min_us, p50_us, p90_us, p99_us, max_us;
    uint64_t blocktime_ms; /* while all vCPUs stood still */
    uint32_t vcpu_count;
    uint64_t vcpu_ms[GW_INFO_VCPUS_MAX]; /* target: while that vCPU stood still */
};

struct gw_info_migrate {
    enum gw_info_migration status; /* NONE: no migration since the start; all else is unused */
    enum gw_info_role role;        /* of this process */
    bool has_ram;                  /* `ram` is filled */
    bool is_link_lost; /* source, before COMMIT or in postcopy: tried again; `error` says how it
                          broke */
    bool has_downtime; /* downtime_us is known; else expected_downtime_us is used */
    enum gw_info_verify verify;
    struct gw_info_ram ram;
    uint64_t total_ms;
    uint64_t setup_ms;
    uint64_t downtime_us;          /* last guest instruction here to first there; never verify's */
    uint64_t expected_downtime_us; /* 0: not known yet */
    uint64_t verify_ms;            /* what the comparison of digests took; not in downtime_us */
    uint64_t round_trip_us;    /* source: of a batch, at best; target: READY said to COMMIT heard;
                                  0: not known */
    uint64_t epoch;            /* of the last stop in this session */
    enum gw_status reason;     /* when FAILED: why (GW_REFUSED: the peer said no) */
    uint64_t throttle_percent; /* of their time that the guest's CPUs lose; 0: none */
    uint64_t channels;         /* source: bulk channels in use; 0: not known */
    struct gw_info_compression compression; /* source */
    uint64_t resumes;                       /* times it went on after a lost link */
    uint64_t resent_bytes;                  /* of pages, sent again for that */
    uint64_t handover_us;                   /* of expected_downtime_us, all but pages */
    uint64_t threshold_bytes;               /* of pages left, at which the guest is handed over */
    uint32_t round_count;
    struct gw_info_round round[GW_INFO_ROUNDS_MAX]; /* source: the last ones, the oldest first */
    uint32_t blocked_count;
    char blocked[GW_INFO_BLOCKED_MAX][GW_INFO_BLOCKED_BYTES]; /* why the guest may not leave; also
                                                                 with status NONE */
    struct gw_info_postcopy postcopy;
    char error[GW_INFO_TEXT_BYTES]; /* FAILED, is_link_lost: the fault's sentence */
    char peer[GW_INFO_URI_BYTES];
    char session[GW_INFO_SESSION_BYTES];
    struct gw_info_held held;
};

/* The answer to __org.godwit_status. */
struct gw_info_status {
    enum gw_info_run_state state;
    char name[GW_INFO_NAME_BYTES];
    char incoming[GW_INFO_URI_BYTES]; /* where it listens for a guest; "" when it does not */
    uint64_t memory_bytes;
    uint64_t up_ms; /* since the process started */
    uint32_t vcpu_count;
    uint32_t pid;
    uint64_t dirty_ring_entries; /* of each vCPU's dirty ring; 0: the dirty log */
    uint64_t dirty_ring_full;    /* how often one was full */
};

/* The answer to __org.godwit_resolve. */
struct gw_info_resolve {
    char token[GW_INFO_TOKEN_BYTES]; /* give-up: to be used on the other side */
    char text[GW_INFO_TEXT_BYTES];   /* what was done */
};

/* What migrate-set-parameters changed, and query-migrate-parameters answers. */
struct gw_info_parameters {
    uint64_t throttle_trigger_percent;   /* 1..100; default 50 */
    uint64_t throttle_initial_percent;   /* 1..99; default 20 */
    uint64_t throttle_increment_percent; /* 1..99; default 10 */
    uint64_t throttle_max_percent;       /* 1..99, not below the initial one; default 99 */
    bool is_throttle_tail_slow;          /* default false */
    uint64_t downtime_limit_ms;          /* 0..2000000; default 300 */
    uint64_t bandwidth_max_bytes;        /* a second; 0: no limit; default 0 */
    uint64_t channels; /* bulk channels that a migration asks for, 1..8; default 2, on one CPU 1 */
    uint64_t compress; /* enum gw_info_compress; default auto */
    uint64_t postcopy_bandwidth_max_bytes; /* the same, of pushed pages; demanded ones are exempt */
};

enum { GW_INFO_DIRTY_RATE_SECONDS_MAX = 60 };

/* In the order of QMP's words: unstarted, measuring, measured. */
enum gw_info_dirty_rate_status {
    GW_INFO_DIRTY_RATE_UNSTARTED = 0,
    GW_INFO_DIRTY_RATE_MEASURING = 1,
    GW_INFO_DIRTY_RATE_MEASURED = 2,
};

struct gw_info_dirty_rate {
    enum gw_info_dirty_rate_status status;
    uint64_t start_seconds;                /* when it began, on the host's clock since its start */
    uint64_t seconds;                      /* how long it was to take */
    uint64_t pages_per_second, page_bytes; /* once measured */
    bool is_by_ring;                       /* by dirty ring; else by dirty bitmap */
};

/* QMP's words. Never NULL for a value of the enum. */
const char *gw_info_run_state_name(enum gw_info_run_state state);
bool gw_info_run_state_is_running(enum gw_info_run_state state);
const char *gw_info_migration_name(enum gw_info_migration migration);
const char *gw_info_verify_name(enum gw_info_verify verify);
const char *gw_info_compress_name(enum gw_info_compress compress);
const char *gw_info_packing_name(enum gw_info_packing packing);

/* The value whose name that is; GW_INFO_COMPRESS_COUNT: none. */
enum gw_info_compress gw_info_compress_of(const char *name);
const char *gw_info_capability_name(enum gw_info_capability capability);

/* As it is at the start; and whether an operator may change it. */
bool gw_info_capability_default(enum gw_info_capability capability);
bool gw_info_capability_is_free(enum gw_info_capability capability);
const char *gw_info_dirty_mode_name(bool is_by_ring); /* QEMU's DirtyRateMeasureMode */

/* True for CANCELLED, COMPLETED and FAILED: nothing changes any more. A held guest is not. */
bool gw_info_migration_is_final(enum gw_info_migration migration);

#endif
