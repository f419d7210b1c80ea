/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP, the control socket's language: bytes in, requests out; structs in, messages out.
 *
 * Framing is QEMU's: a greeting, then qmp_capabilities before anything else; requests
 * {"execute": NAME, "arguments": {...}, "id": ANY}; replies {"return": ...} or {"error": {"class",
 * "desc"}} with the id echoed; events {"event", "data", "timestamp"}. Every message to the client
 * is one line of ASCII that ends with CR LF. Differences from QEMU: strings in 'single quotes'
 * are refused (they are no JSON); there is no out-of-band command yet, so the greeting offers no
 * capability and exec-oob is refused.
 *
 * A request may come in any pieces and span lines. It holds at most GW_CONTROL_LINE_MAX bytes and
 * GW_JSON_TOKENS_MAX values. After a byte that is no JSON, and after an over-long request, the
 * client gets one error and the rest of that line is skipped; the connection goes on. A control
 * character or 0xFF drops a half-read request with one error; between requests it means nothing.
 *
 * Memory: the caller's. Blocks: never. Threads: the owner's; the document inside a session is
 * only used during gw_qmp_next_request().
 */
#ifndef GODWIT_QMP_H
#define GODWIT_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/info.h"
#include "godwit/json_read.h"
#include "godwit/limits.h"
#include "godwit/status.h"

enum {
    GW_QMP_ID_BYTES = 128,        /* an id as JSON text, with the NUL; a longer one is refused */
    GW_QMP_MESSAGE_BYTES = 20480, /* every message fits, however its texts need escaping */
    GW_QMP_DOWNTIME_MS_MAX = 2000000,
    GW_QMP_DAY_MS = 86400000,
    GW_QMP_CHANNELS_MAX = 8, /* a board may have fewer (godwit/limits.h): then it takes those */
};

/* Commands: enumerator, name. query-commands answers this list in this order. */
#define GW_QMP_COMMANDS(X)                                      \
    X(CAPABILITIES, "qmp_capabilities")                         \
    X(QUERY_VERSION, "query-version")                           \
    X(QUERY_COMMANDS, "query-commands")                         \
    X(QUERY_STATUS, "query-status")                             \
    X(QUERY_NAME, "query-name")                                 \
    X(STOP, "stop")                                             \
    X(CONT, "cont")                                             \
    X(QUIT, "quit")                                             \
    X(MIGRATE, "migrate")                                       \
    X(MIGRATE_CANCEL, "migrate_cancel")                         \
    X(MIGRATE_START_POSTCOPY, "migrate-start-postcopy")         \
    X(MIGRATE_CONTINUE, "migrate-continue")                     \
    X(MIGRATE_PAUSE, "migrate-pause")                           \
    X(MIGRATE_RECOVER, "migrate-recover")                       \
    X(QUERY_MIGRATE, "query-migrate")                           \
    X(MIGRATE_SET_PARAMETERS, "migrate-set-parameters")         \
    X(QUERY_MIGRATE_PARAMETERS, "query-migrate-parameters")     \
    X(MIGRATE_SET_CAPABILITIES, "migrate-set-capabilities")     \
    X(QUERY_MIGRATE_CAPABILITIES, "query-migrate-capabilities") \
    X(CALC_DIRTY_RATE, "calc-dirty-rate")                       \
    X(QUERY_DIRTY_RATE, "query-dirty-rate")                     \
    X(BLOCK, "__org.godwit_block")                              \
    X(UNBLOCK, "__org.godwit_unblock")                          \
    X(STATUS, "__org.godwit_status")                            \
    X(RESOLVE, "__org.godwit_resolve")                          \
    X(UPGRADE, "__org.godwit_upgrade")

#define GW_QMP_ENUM(name, text) GW_QMP_##name,
enum gw_qmp_command { GW_QMP_COMMANDS(GW_QMP_ENUM) GW_QMP_COMMAND_COUNT };
#undef GW_QMP_ENUM

/* The name of a command. Never NULL. */
const char *gw_qmp_command_name(enum gw_qmp_command command);

enum gw_qmp_on_deadline {
    GW_QMP_ON_DEADLINE_CANCEL = 0,
    GW_QMP_ON_DEADLINE_STOP_AND_COPY = 1,
    GW_QMP_ON_DEADLINE_POSTCOPY = 2,
    GW_QMP_ON_DEADLINE_AUTO = 3, /* postcopy where it is possible, else cancel */
};

/* migrate {uri, detach?, resume? (as migrate-recover {uri}), __org.godwit_verify?,
 * __org.godwit_plaintext?,
 *          __org.godwit_tls? ("psk:FILE" | "x509:DIR", absolute; else the monitor's; not with
 *          plaintext), __org.godwit_tls-hostname? (that the target's certificate must have; else
 *          the uri's),
 *          __org.godwit_downtime-limit? (ms), __org.godwit_max-bandwidth? (bytes a second),
 *          __org.godwit_retry? (ms), __org.godwit_auto-converge? (default true),
 *          __org.godwit_deadline? (ms; 0: none),
 *          __org.godwit_on-deadline? ("cancel" | "stop-and-copy" | "postcopy" | "auto"; default
 *          auto, cancel with precopy; postcopy not with verify),
 *          __org.godwit_precopy? (never postcopy by itself; not with postcopy),
 *          __org.godwit_pause-before-switchover? (else the capability holds),
 *          __org.godwit_max-postcopy-bandwidth? (bytes a second),
 *          __org.godwit_channels? (bulk channels, 1 to 8; the target may take fewer),
 *          __org.godwit_compress? ("auto" | "none" | "lz4"; else the parameter holds),
 *          __org.godwit_postcopy? (at once; not with verify),
 *          __org.godwit_release-ram? (as the capability, for this migration)}
 * detach is accepted and means nothing, as in QEMU: migrate always returns at once. */
struct gw_qmp_migrate {
    char uri[GW_INFO_URI_BYTES];           /* not empty; its form is the transport's to check */
    char tls[GW_INFO_TLS_BYTES];           /* "": the monitor's */
    char tls_hostname[GW_INFO_HOST_BYTES]; /* "": the uri's */
    bool is_resume;                        /* nothing but uri counts */
    bool is_verify;
    bool is_plaintext;
    bool is_postcopy;
    bool is_precopy;
    bool has_channels;
    uint64_t channels; /* 1..GW_QMP_CHANNELS_MAX */
    bool has_compress;
    enum gw_info_compress compress;
    bool is_release;
    bool has_pause; /* else the capability pause-before-switchover holds */
    bool is_pausing;
    bool has_throttling;     /* else the capability auto-converge holds */
    bool has_downtime_limit; /* else the parameters hold */
    bool has_bandwidth_max;
    bool has_postcopy_bandwidth_max;
    uint64_t postcopy_bandwidth_max_bytes;
    uint64_t downtime_limit_ms;   /* 0..GW_QMP_DOWNTIME_MS_MAX */
    uint64_t bandwidth_max_bytes; /* a second; 0: no limit */
    bool has_retry;
    bool is_throttling;   /* slow a guest down that dirties faster than the link takes */
    uint64_t deadline_ms; /* 0: none */
    enum gw_qmp_on_deadline on_deadline;
    uint64_t retry_ms; /* how long a link lost before COMMIT is tried again; 0: not at all */
};

/* migrate-set-parameters {downtime-limit? (ms), max-bandwidth? (bytes a second),
 *                         max-postcopy-bandwidth? (the same), multifd-channels?,
 *                         multifd-compression? ("auto" | "none" | "lz4"),
 * throttle-trigger-threshold?, cpu-throttle-initial?, cpu-throttle-increment?, max-cpu-throttle?
 * (%), cpu-throttle-tailslow?} */
struct gw_qmp_parameters {
    bool has_throttle_trigger, has_throttle_initial, has_throttle_increment, has_throttle_max;
    bool has_throttle_tail_slow;
    bool has_downtime_limit;
    bool has_bandwidth_max;
    bool has_postcopy_bandwidth_max;
    bool has_channels, has_compress;
    struct gw_info_parameters value;
};

/* migrate-set-capabilities {capabilities: [{capability: GW_INFO_CAPABILITIES, state: BOOL}]}; one
 * that is always on is refused with false. */
struct gw_qmp_capabilities {
    bool is_given[GW_INFO_CAPABILITY_COUNT];
    bool state[GW_INFO_CAPABILITY_COUNT];
};

/* __org.godwit_block {id, reason}: the guest may not leave until __org.godwit_unblock {id}. */
struct gw_qmp_block {
    char id[GW_INFO_BLOCKER_ID_BYTES];
    char reason[GW_INFO_BLOCKER_BYTES]; /* UNBLOCK: unused */
};

/* migrate-recover {uri?}: where the target listens now; "": where it did. (QEMU has it on the
 * target, where its uri is the new listener's.) */
struct gw_qmp_recover {
    char uri[GW_INFO_URI_BYTES];
};

/* __org.godwit_resolve {action: "give-up" | "run", token?, other-is-dead?}; for run exactly one
 * of token and other-is-dead: true is there, for give-up neither (checked). */
enum gw_qmp_resolve_action {
    GW_QMP_RESOLVE_GIVE_UP = 0,
    GW_QMP_RESOLVE_RUN_TOKEN = 1,
    GW_QMP_RESOLVE_RUN_OTHER_IS_DEAD = 2,
};
struct gw_qmp_resolve {
    enum gw_qmp_resolve_action action;
    char token[GW_INFO_TOKEN_BYTES]; /* "" but for RUN_TOKEN */
};

/* __org.godwit_upgrade {}: the guest goes to the process at the other end of the socket whose
 * descriptor the client sent with the command (SCM_RIGHTS). Returns at once, as migrate does, and
 * is followed and cancelled in the same way. */

struct gw_qmp_request {
    enum gw_qmp_command command;
    char id[GW_QMP_ID_BYTES]; /* JSON text to be echoed; "" when the client gave none */
    union {
        struct gw_qmp_migrate migrate;
        struct gw_qmp_parameters parameters;
        struct gw_qmp_capabilities capabilities;
        struct gw_qmp_resolve resolve;
        struct gw_qmp_recover recover;
        struct gw_qmp_block block;
        uint64_t calc_seconds; /* calc-dirty-rate {calc-time}: 1..GW_INFO_DIRTY_RATE_SECONDS_MAX */
    } arguments;               /* the command's own; unused for commands without arguments */
};

/* Error classes of QMP that godwit uses. */
enum gw_qmp_class {
    GW_QMP_GENERIC_ERROR = 0,
    GW_QMP_COMMAND_NOT_FOUND = 1,
};

/* What was wrong with a request: pass it to gw_qmp_encode_bad(). */
struct gw_qmp_bad {
    enum gw_qmp_class class;
    char id[GW_QMP_ID_BYTES]; /* "" when none could be read */
    struct gw_fault fault;    /* status GW_PROTOCOL, GW_ARGUMENT or GW_LIMIT, and the sentence */
};

/* One client's connection. */
struct gw_qmp_session {
    struct gw_json_scanner scanner;
    size_t used;        /* bytes of the request read so far */
    bool is_negotiated; /* qmp_capabilities was done: replies and events may be sent */
    bool is_skipping;   /* the rest of a line after an error */
    char line[GW_CONTROL_LINE_MAX];
    struct gw_json_document document;
};

/* A fresh connection: send it gw_qmp_encode_greeting() next. */
void gw_qmp_session_init(struct gw_qmp_session *session);

/* Takes bytes from *data until one request is complete, and moves *data and *bytes past what it
 * took. Returns
 *   GW_OK        `request` is filled: execute it and reply with its id;
 *   GW_AGAIN     all bytes are taken and no request is complete: read more;
 *   any other    `bad` is filled: reply with gw_qmp_encode_bad() and call again with what is left.
 * Arguments have been checked by kind, range and name before GW_OK; nothing was executed.
 * qmp_capabilities has taken effect in the session; reply to it with gw_qmp_encode_empty(). */
GW_MUST_USE enum gw_status gw_qmp_next_request(struct gw_qmp_session *session, const uint8_t **data,
                                               size_t *bytes, struct gw_qmp_request *request,
                                               struct gw_qmp_bad *bad);

/* One message to a client, CR LF included; bytes < GW_QMP_MESSAGE_BYTES, text[bytes] is NUL. */
struct gw_qmp_message {
    size_t bytes;
    char text[GW_QMP_MESSAGE_BYTES];
};

/* Every encoder fills the whole message. The bound of GW_QMP_MESSAGE_BYTES holds for all of them;
 * should one not fit all the same, the message is an error reply that says so. `id` is the
 * request's. */
void gw_qmp_encode_greeting(struct gw_qmp_message *message);
void gw_qmp_encode_bad(struct gw_qmp_message *message, const struct gw_qmp_bad *bad);
void gw_qmp_encode_error(struct gw_qmp_message *message, const char *id, const char *text);
void gw_qmp_encode_empty(struct gw_qmp_message *message, const char *id); /* {"return": {}} */
void gw_qmp_encode_version(struct gw_qmp_message *message, const char *id);
void gw_qmp_encode_commands(struct gw_qmp_message *message, const char *id);
void gw_qmp_encode_run_state(struct gw_qmp_message *message, const char *id,
                             enum gw_info_run_state state);
void gw_qmp_encode_name(struct gw_qmp_message *message, const char *id, const char *name);
void gw_qmp_encode_migrate(struct gw_qmp_message *message, const char *id,
                           const struct gw_info_migrate *info);
void gw_qmp_encode_parameters(struct gw_qmp_message *message, const char *id,
                              const struct gw_info_parameters *parameters);
void gw_qmp_encode_capabilities(struct gw_qmp_message *message, const char *id,
                                const bool state[static GW_INFO_CAPABILITY_COUNT]);
void gw_qmp_encode_dirty_rate(struct gw_qmp_message *message, const char *id,
                              const struct gw_info_dirty_rate *rate);
void gw_qmp_encode_status(struct gw_qmp_message *message, const char *id,
                          const struct gw_info_status *status,
                          const struct gw_info_migrate *migrate);
void gw_qmp_encode_resolve(struct gw_qmp_message *message, const char *id,
                           const struct gw_info_resolve *result);

/* Events. The time is the wall clock's, since the epoch of Unix. Send them to sessions with
 * is_negotiated; MIGRATION and MIGRATION_PASS only when the capability `events` is on. */
struct gw_qmp_time {
    uint64_t seconds;
    uint32_t microseconds; /* 0..999999 */
};
enum gw_qmp_event {
    GW_QMP_EVENT_STOP = 0,
    GW_QMP_EVENT_RESUME,
    GW_QMP_EVENT_RESET,          /* SHUTDOWN: the guest asked for a reset, which ends it */
    GW_QMP_EVENT_SHUTDOWN,       /* the guest powered off */
    GW_QMP_EVENT_QUIT,           /* SHUTDOWN by `quit` */
    GW_QMP_EVENT_GUEST_PANICKED, /* the guest crashed, and then: */
    GW_QMP_EVENT_PANIC_ENDS,     /* SHUTDOWN */
};
void gw_qmp_encode_event(struct gw_qmp_message *message, struct gw_qmp_time time,
                         enum gw_qmp_event event);
/* MIGRATION; a final or held one carries the whole of `info` in __org.godwit_info, so that a
 * client whose monitor is about to exit need not ask again. */
void gw_qmp_encode_event_migration(struct gw_qmp_message *message, struct gw_qmp_time time,
                                   const struct gw_info_migrate *info);
void gw_qmp_encode_event_pass(struct gw_qmp_message *message, struct gw_qmp_time time,
                              uint64_t pass);

/* The client's side: reads the value at `value` of a document (the "return" of query-migrate or
 * __org.godwit_status, or __org.godwit_info of an event) back into the struct. Members that are
 * missing leave zeros; false when it is no object or its status is unknown. */
bool gw_qmp_decode_migrate(const struct gw_json_document *document, int value,
                           struct gw_info_migrate *info);
bool gw_qmp_decode_dirty_rate(const struct gw_json_document *document, int value,
                              struct gw_info_dirty_rate *rate);
bool gw_qmp_decode_status(const struct gw_json_document *document, int value,
                          struct gw_info_status *status);
bool gw_qmp_decode_resolve(const struct gw_json_document *document, int value,
                           struct gw_info_resolve *result);

#endif
