/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments of commands, from tables: each key with its kind, its range and where it goes. An
 * argument that is unknown, missing, given twice, or of another kind is refused by name, with
 * what was found and what was wanted, before anything happens. Pure; the session's thread.
 */
#include <stdio.h>
#include <string.h>

#include "qmp_request.h"

enum { EXCERPT_BYTES = 48, FIELDS_MAX = 21 };

enum kind { TEXT, NUMBER, BOOL };

enum { NO_FLAG = 0xffff };

struct field {
    const char *key;
    const char *wanted; /* for messages */
    enum kind kind;
    bool is_required;
    size_t offset; /* of the value */
    size_t size;   /* TEXT: bytes there; NUMBER: the least value */
    uint64_t max;  /* NUMBER */
    size_t flag;   /* offset of a bool that says the argument was there, or NO_FLAG */
};

#define DOWNTIME_WANTED    "a number from 0 to 2000000 (milliseconds)"
#define BANDWIDTH_WANTED   "a number from 0 to 18446744073709551615 (bytes a second; 0: no limit)"
#define DAY_WANTED         "a number from 0 to 86400000 (milliseconds)"
#define ON_DEADLINE_WANTED "\"cancel\", \"stop-and-copy\", \"postcopy\" or \"auto\""
#define TLS_WANTED         "\"psk:FILE\" or \"x509:DIR\""
#define CHANNELS_WANTED    "a number from 1 to 8"
#define COMPRESS_WANTED    "\"auto\", \"none\" or \"lz4\""
#define PERCENT_WANTED     "a number from 1 to 99 (percent)"
#define CAPABILITY_WANTED  "one that query-migrate-capabilities names"

enum { COMPRESS_BYTES = 16 };

struct migrate {
    struct gw_qmp_migrate migrate;
    char on_deadline[16];
    char compress[COMPRESS_BYTES];
};
#define AT(member) offsetof(struct migrate, member)
static const struct field migrate_fields[] = {
    {"uri", "a text of 1 to 271 bytes", TEXT, true, AT(migrate.uri), GW_INFO_URI_BYTES, 0, NO_FLAG},
    {"detach", "true or false", BOOL, false, NO_FLAG, 0, 0, NO_FLAG},
    {"resume", "true or false", BOOL, false, AT(migrate.is_resume), 0, 0, NO_FLAG},
    {"__org.godwit_verify", "true or false", BOOL, false, AT(migrate.is_verify), 0, 0, NO_FLAG},
    {"__org.godwit_plaintext", "true or false", BOOL, false, AT(migrate.is_plaintext), 0, 0,
     NO_FLAG},
    {"__org.godwit_tls", TLS_WANTED, TEXT, false, AT(migrate.tls), GW_INFO_TLS_BYTES, 0, NO_FLAG},
    {"__org.godwit_tls-hostname", "a text of 1 to 253 bytes", TEXT, false, AT(migrate.tls_hostname),
     GW_INFO_HOST_BYTES, 0, NO_FLAG},
    {"__org.godwit_downtime-limit", DOWNTIME_WANTED, NUMBER, false, AT(migrate.downtime_limit_ms),
     0, GW_QMP_DOWNTIME_MS_MAX, AT(migrate.has_downtime_limit)},
    {"__org.godwit_max-bandwidth", BANDWIDTH_WANTED, NUMBER, false, AT(migrate.bandwidth_max_bytes),
     0, UINT64_MAX, AT(migrate.has_bandwidth_max)},
    {"__org.godwit_retry", DAY_WANTED, NUMBER, false, AT(migrate.retry_ms), 0, GW_QMP_DAY_MS,
     AT(migrate.has_retry)},
    {"__org.godwit_auto-converge", "true or false", BOOL, false, AT(migrate.is_throttling), 0, 0,
     AT(migrate.has_throttling)},
    {"__org.godwit_deadline", DAY_WANTED, NUMBER, false, AT(migrate.deadline_ms), 0, GW_QMP_DAY_MS,
     NO_FLAG},
    {"__org.godwit_on-deadline", ON_DEADLINE_WANTED, TEXT, false, AT(on_deadline), 16, 0, NO_FLAG},
    {"__org.godwit_max-postcopy-bandwidth", BANDWIDTH_WANTED, NUMBER, false,
     AT(migrate.postcopy_bandwidth_max_bytes), 0, UINT64_MAX,
     AT(migrate.has_postcopy_bandwidth_max)},
    {"__org.godwit_channels", CHANNELS_WANTED, NUMBER, false, AT(migrate.channels), 1,
     GW_QMP_CHANNELS_MAX, AT(migrate.has_channels)},
    {"__org.godwit_compress", COMPRESS_WANTED, TEXT, false, AT(compress), COMPRESS_BYTES, 0,
     AT(migrate.has_compress)},
    {"__org.godwit_postcopy", "true or false", BOOL, false, AT(migrate.is_postcopy), 0, 0, NO_FLAG},
    {"__org.godwit_precopy", "true or false", BOOL, false, AT(migrate.is_precopy), 0, 0, NO_FLAG},
    {"__org.godwit_pause-before-switchover", "true or false", BOOL, false, AT(migrate.is_pausing),
     0, 0, AT(migrate.has_pause)},
    {"__org.godwit_release-ram", "true or false", BOOL, false, AT(migrate.is_release), 0, 0,
     NO_FLAG},
};
#undef AT

struct parameters {
    struct gw_qmp_parameters parameters;
    char compress[COMPRESS_BYTES];
};
#define AT(member) offsetof(struct parameters, parameters.member)
static const struct field parameters_fields[] = {
    {"downtime-limit", DOWNTIME_WANTED, NUMBER, false, AT(value.downtime_limit_ms), 0,
     GW_QMP_DOWNTIME_MS_MAX, AT(has_downtime_limit)},
    {"max-bandwidth", BANDWIDTH_WANTED, NUMBER, false, AT(value.bandwidth_max_bytes), 0, UINT64_MAX,
     AT(has_bandwidth_max)},
    {"max-postcopy-bandwidth", BANDWIDTH_WANTED, NUMBER, false,
     AT(value.postcopy_bandwidth_max_bytes), 0, UINT64_MAX, AT(has_postcopy_bandwidth_max)},
    {"multifd-channels", CHANNELS_WANTED, NUMBER, false, AT(value.channels), 1, GW_QMP_CHANNELS_MAX,
     AT(has_channels)},
    {"multifd-compression", COMPRESS_WANTED, TEXT, false, offsetof(struct parameters, compress),
     COMPRESS_BYTES, 0, AT(has_compress)},
    {"throttle-trigger-threshold", "a number from 1 to 100 (percent)", NUMBER, false,
     AT(value.throttle_trigger_percent), 1, 100, AT(has_throttle_trigger)},
    {"cpu-throttle-initial", PERCENT_WANTED, NUMBER, false, AT(value.throttle_initial_percent), 1,
     99, AT(has_throttle_initial)},
    {"cpu-throttle-increment", PERCENT_WANTED, NUMBER, false, AT(value.throttle_increment_percent),
     1, 99, AT(has_throttle_increment)},
    {"max-cpu-throttle", PERCENT_WANTED, NUMBER, false, AT(value.throttle_max_percent), 1, 99,
     AT(has_throttle_max)},
    {"cpu-throttle-tailslow", "true or false", BOOL, false, AT(value.is_throttle_tail_slow), 0, 0,
     AT(has_throttle_tail_slow)},
};
#undef AT

static const struct field recover_fields[] = {
    {"uri", "a text of 1 to 271 bytes", TEXT, false, 0, GW_INFO_URI_BYTES, 0, NO_FLAG},
};

static const struct field calc_fields[] = {
    {"calc-time", "a number from 1 to 60 (seconds)", NUMBER, true, 0, 1,
     GW_INFO_DIRTY_RATE_SECONDS_MAX, NO_FLAG},
};

/* migrate-continue's state: the one that the migration is to be in. */
static const struct field continue_fields[] = {
    {"state", "\"pre-switchover\"", TEXT, false, 0, GW_INFO_BLOCKER_ID_BYTES, 0, NO_FLAG},
};

/* The first of them is all that unblocking wants. */
#define AT(member) offsetof(struct gw_qmp_block, member)
static const struct field block_fields[] = {
    {"id", "a text of 1 to 31 bytes", TEXT, true, AT(id), GW_INFO_BLOCKER_ID_BYTES, 0, NO_FLAG},
    {"reason", "a text of 1 to 127 bytes", TEXT, true, AT(reason), GW_INFO_BLOCKER_BYTES, 0,
     NO_FLAG},
};
#undef AT

/* One element of migrate-set-capabilities' list. */
struct capability {
    char name[32];
    bool state;
};
#define AT(member) offsetof(struct capability, member)
static const struct field capability_fields[] = {
    {"capability", CAPABILITY_WANTED, TEXT, true, AT(name), sizeof(((struct capability *)0)->name),
     0, NO_FLAG},
    {"state", "true or false", BOOL, true, AT(state), 0, 0, NO_FLAG},
};
#undef AT

struct resolve {
    char action[16];
    char token[GW_INFO_TOKEN_BYTES];
    bool is_other_dead;
};
#define AT(member) offsetof(struct resolve, member)
static const struct field resolve_fields[] = {
    {"action", "\"give-up\" or \"run\"", TEXT, true, AT(action), 16, 0, NO_FLAG},
    {"token", "the token that give-up printed on the other side", TEXT, false, AT(token),
     GW_INFO_TOKEN_BYTES, 0, NO_FLAG},
    {"other-is-dead", "true or false", BOOL, false, AT(is_other_dead), 0, 0, NO_FLAG},
};
#undef AT

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
_Static_assert(COUNT(migrate_fields) <= FIELDS_MAX, "decode_object remembers which it saw");

static enum gw_status refuse(const char *command, const char *key, const char *found,
                             const char *wanted, struct gw_fault *fault)
{
    return gw_fault_set(fault, GW_ARGUMENT, "argument '%s' of %s is %s; wanted %s", key, command,
                        found, wanted);
}

/* Puts one value where its field says. False when it is of another kind or out of range. */
static bool put_value(const struct gw_json_document *document, int value, const struct field *field,
                      char *output)
{
    bool truth = false;
    uint64_t number = 0;
    switch (field->kind) {
    case TEXT:
        return gw_json_read_text(document, value, output + field->offset, field->size) &&
               output[field->offset] != 0;
    case BOOL:
        if (!gw_json_read_bool(document, value, &truth))
            return false;
        if (field->offset != NO_FLAG)
            memcpy(output + field->offset, &truth, sizeof(truth));
        return true;
    case NUMBER:
        if (!gw_json_read_number(document, value, &number) || number < field->size ||
            number > field->max)
            return false;
        memcpy(output + field->offset, &number, sizeof(number));
        return true;
    }
    return false;
}

static enum gw_status refuse_unknown(const char *command, const char *found,
                                     const struct field *fields, size_t count,
                                     struct gw_fault *fault)
{
    static const char more[] = ", ...";
    char known[160] = "none";
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_room = used + strlen(fields[i].key) + 2 + sizeof(more) <= sizeof(known);
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
                                 is_room && i > 0 ? ", " : "", is_room ? fields[i].key : more);
        if (!is_room) {
            break; /* whole names, and no end without saying so */
        }
    }
    return gw_fault_set(fault, GW_ARGUMENT, "%s has no argument %s; it has: %s", command, found,
                        known);
}

/* Reads an object's members into the struct at `output`, as the table says. */
static enum gw_status decode_object(const struct gw_json_document *document, int object,
                                    const char *command, const struct field *fields, size_t count,
                                    void *output, struct gw_fault *fault)
{
    bool is_seen[FIELDS_MAX] = {false};
    char found[EXCERPT_BYTES];
    for (int key = gw_json_read_first(document, object); key >= 0;
         key = gw_json_read_next(document, key)) {
        size_t i = 0;
        while (i < count && !gw_json_read_is_equal(document, key, fields[i].key))
            i++;
        if (i == count) {
            gw_json_read_excerpt(document, key, found, sizeof(found));
            return refuse_unknown(command, found, fields, count, fault);
        }
        if (is_seen[i])
            return refuse(command, fields[i].key, "given twice", "it once", fault);
        is_seen[i] = true;
        gw_json_read_excerpt(document, key + 1, found, sizeof(found));
        if (!put_value(document, key + 1, &fields[i], output))
            return refuse(command, fields[i].key, found, fields[i].wanted, fault);
        if (fields[i].flag != NO_FLAG)
            memcpy((char *)output + fields[i].flag, &(bool){true}, sizeof(bool));
    }
    for (size_t i = 0; i < count; i++) {
        if (fields[i].is_required && !is_seen[i])
            return refuse(command, fields[i].key, "missing", fields[i].wanted, fault);
    }
    return GW_OK;
}

/* The array that is an object's only argument; -1 in *array when it may be and is missing. */
static enum gw_status find_array(const struct gw_json_document *document, int object,
                                 const char *command, const char *name, bool is_required,
                                 int *array, struct gw_fault *fault)
{
    const struct field only = {.key = name};
    char found[EXCERPT_BYTES];
    *array = -1;
    for (int key = gw_json_read_first(document, object); key >= 0;
         key = gw_json_read_next(document, key)) {
        gw_json_read_excerpt(document, key, found, sizeof(found));
        if (!gw_json_read_is_equal(document, key, name))
            return refuse_unknown(command, found, &only, 1, fault);
        if (*array >= 0)
            return refuse(command, name, "given twice", "it once", fault);
        gw_json_read_excerpt(document, key + 1, found, sizeof(found));
        if (!gw_json_read_is_array(document, key + 1))
            return refuse(command, name, found, "an array", fault);
        *array = key + 1;
    }
    if (is_required && *array < 0)
        return refuse(command, name, "missing", "an array", fault);
    return GW_OK;
}

/* qmp_capabilities {enable: []}: the greeting offers none. */
static enum gw_status decode_negotiation(const struct gw_json_document *document, int object,
                                         struct gw_fault *fault)
{
    int array = -1;
    char found[EXCERPT_BYTES];
    enum gw_status status =
        find_array(document, object, "qmp_capabilities", "enable", false, &array, fault);
    int first = status == GW_OK ? gw_json_read_first(document, array) : -1;
    if (first < 0)
        return status;
    gw_json_read_excerpt(document, first, found, sizeof(found));
    return refuse("qmp_capabilities", "enable", found, "none: the greeting offers no capability",
                  fault);
}

static enum gw_status decode_capabilities(const struct gw_json_document *document, int object,
                                          struct gw_qmp_capabilities *output,
                                          struct gw_fault *fault)
{
    static const char command[] = "migrate-set-capabilities";
    int array = -1;
    char found[EXCERPT_BYTES];
    enum gw_status status =
        find_array(document, object, command, "capabilities", true, &array, fault);
    if (status != GW_OK)
        return status;
    for (int i = gw_json_read_first(document, array); i >= 0; i = gw_json_read_next(document, i)) {
        struct capability capability = {.state = false};
        gw_json_read_excerpt(document, i, found, sizeof(found));
        if (!gw_json_read_is_object(document, i))
            return refuse(command, "capabilities", found, "objects", fault);
        status = decode_object(document, i, command, capability_fields, COUNT(capability_fields),
                               &capability, fault);
        if (status != GW_OK)
            return status;
        unsigned int which = 0;
        while (which < GW_INFO_CAPABILITY_COUNT &&
               strcmp(capability.name, gw_info_capability_name((enum gw_info_capability)which)) !=
                   0)
            which++;
        if (which == GW_INFO_CAPABILITY_COUNT)
            return refuse(command, "capability", capability.name, CAPABILITY_WANTED, fault);
        if (!capability.state && !gw_info_capability_is_free((enum gw_info_capability)which))
            return refuse(command, capability.name, "false", "true: it is always on", fault);
        output->is_given[which] = true;
        output->state[which] = capability.state;
    }
    return GW_OK;
}

static enum gw_status check_compress(const char *command, const char *key, bool is_given,
                                     const char *text, enum gw_info_compress *compress,
                                     struct gw_fault *fault)
{
    *compress = is_given ? gw_info_compress_of(text) : GW_INFO_COMPRESS_AUTO;
    return *compress == GW_INFO_COMPRESS_COUNT ? refuse(command, key, text, COMPRESS_WANTED, fault)
                                               : GW_OK;
}

static enum gw_status decode_parameters(const struct gw_json_document *document, int object,
                                        struct gw_qmp_parameters *output, struct gw_fault *fault)
{
    static const char command[] = "migrate-set-parameters";
    struct parameters parameters = {.compress = ""};
    enum gw_info_compress compress = GW_INFO_COMPRESS_AUTO;
    enum gw_status status = decode_object(document, object, command, parameters_fields,
                                          COUNT(parameters_fields), &parameters, fault);
    if (status == GW_OK)
        status = check_compress(command, "multifd-compression", parameters.parameters.has_compress,
                                parameters.compress, &compress, fault);
    *output = parameters.parameters;
    output->value.compress = compress;
    return status;
}

/* What cannot be had together, or alone. */
static enum gw_status check_pairs(const char *command, const struct gw_qmp_migrate *migrate,
                                  bool has_action, bool is_late_postcopy, struct gw_fault *fault)
{
    static const char postcopy[] = "__org.godwit_postcopy", late[] = "__org.godwit_on-deadline";
    static const char with_verify[] = "given with __org.godwit_verify";
    const struct {
        bool is_wrong;
        const char *name, *with, *wanted;
    } pairs[] = {
        {migrate->is_postcopy && migrate->is_verify, postcopy, with_verify,
         "one of them: the guest does not stand still until all of RAM is there"},
        {migrate->is_postcopy && migrate->is_precopy, postcopy, "given with __org.godwit_precopy",
         "one of them"},
        {is_late_postcopy && migrate->is_verify, late, with_verify,
         "another action than postcopy, or not both"},
        {has_action && migrate->deadline_ms == 0, late, "given without __org.godwit_deadline",
         "both"},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        if (pairs[i].is_wrong)
            return refuse(command, pairs[i].name, pairs[i].with, pairs[i].wanted, fault);
    }
    return GW_OK;
}

static enum gw_status decode_migrate(const struct gw_json_document *document, int object,
                                     struct gw_qmp_migrate *output, struct gw_fault *fault)
{
    static const char command[] = "migrate";
    struct migrate migrate = {.on_deadline = ""};
    enum gw_status status = decode_object(document, object, command, migrate_fields,
                                          COUNT(migrate_fields), &migrate, fault);
    if (status != GW_OK)
        return status;
    static const char *const actions[] = {[GW_QMP_ON_DEADLINE_CANCEL] = "cancel",
                                          [GW_QMP_ON_DEADLINE_STOP_AND_COPY] = "stop-and-copy",
                                          [GW_QMP_ON_DEADLINE_POSTCOPY] = "postcopy",
                                          [GW_QMP_ON_DEADLINE_AUTO] = "auto"};
    unsigned int action = 0;
    bool has_action = migrate.on_deadline[0] != 0;
    if (!has_action)
        (void)snprintf(migrate.on_deadline, sizeof(migrate.on_deadline), "%s",
                       migrate.migrate.is_precopy ? "cancel" : "auto");
    while (action < COUNT(actions) && strcmp(migrate.on_deadline, actions[action]) != 0)
        action++;
    if (action == COUNT(actions))
        return refuse(command, "__org.godwit_on-deadline", migrate.on_deadline, ON_DEADLINE_WANTED,
                      fault);
    status = check_compress(command, "__org.godwit_compress", migrate.migrate.has_compress,
                            migrate.compress, &migrate.migrate.compress, fault);
    if (status != GW_OK)
        return status;
    status = check_pairs(command, &migrate.migrate, has_action,
                         action == GW_QMP_ON_DEADLINE_POSTCOPY, fault);
    if (status != GW_OK)
        return status;
    *output = migrate.migrate;
    output->on_deadline = (enum gw_qmp_on_deadline)action;
    return GW_OK;
}

static enum gw_status decode_continue(const struct gw_json_document *document, int object,
                                      struct gw_fault *fault)
{
    static const char command[] = "migrate-continue";
    char state[GW_INFO_BLOCKER_ID_BYTES] = "pre-switchover";
    enum gw_status status = decode_object(document, object, command, continue_fields,
                                          COUNT(continue_fields), state, fault);
    if (status != GW_OK || strcmp(state, "pre-switchover") == 0)
        return status;
    return refuse(command, "state", state, continue_fields[0].wanted, fault);
}

static enum gw_status decode_resolve(const struct gw_json_document *document, int object,
                                     struct gw_qmp_resolve *output, struct gw_fault *fault)
{
    static const char command[] = "__org.godwit_resolve";
    struct resolve resolve = {.action = ""};
    enum gw_status status = decode_object(document, object, command, resolve_fields,
                                          COUNT(resolve_fields), &resolve, fault);
    if (status != GW_OK)
        return status;
    bool has_token = resolve.token[0] != 0;
    if (strcmp(resolve.action, "give-up") == 0) {
        output->action = GW_QMP_RESOLVE_GIVE_UP;
        if (has_token || resolve.is_other_dead)
            return refuse(command, has_token ? "token" : "other-is-dead", "given with give-up",
                          "it only with run", fault);
        return GW_OK;
    }
    if (strcmp(resolve.action, "run") != 0)
        return refuse(command, "action", resolve.action, "\"give-up\" or \"run\"", fault);
    if (has_token == resolve.is_other_dead)
        return refuse(command, "token", has_token ? "given with other-is-dead" : "missing",
                      "exactly one of token and other-is-dead: true", fault);
    output->action = has_token ? GW_QMP_RESOLVE_RUN_TOKEN : GW_QMP_RESOLVE_RUN_OTHER_IS_DEAD;
    memcpy(output->token, resolve.token, sizeof(output->token));
    return GW_OK;
}

enum gw_status gw_qmp_arguments_decode(const struct gw_json_document *document, int object,
                                       struct gw_qmp_request *request, struct gw_fault *fault)
{
    const char *command = gw_qmp_command_name(request->command);
    if (object >= 0 && !gw_json_read_is_object(document, object)) {
        char found[EXCERPT_BYTES];
        gw_json_read_excerpt(document, object, found, sizeof(found));
        return gw_fault_set(fault, GW_ARGUMENT, "\"arguments\" of %s is %s; wanted an object",
                            command, found);
    }
    unsigned int which = request->command;
    switch (which) {
    case GW_QMP_CAPABILITIES:
        return decode_negotiation(document, object, fault);
    case GW_QMP_MIGRATE:
        return decode_migrate(document, object, &request->arguments.migrate, fault);
    case GW_QMP_CALC_DIRTY_RATE:
        return decode_object(document, object, command, calc_fields, COUNT(calc_fields),
                             &request->arguments.calc_seconds, fault);
    case GW_QMP_MIGRATE_CONTINUE:
        return decode_continue(document, object, fault);
    case GW_QMP_BLOCK:
        return decode_object(document, object, command, block_fields, COUNT(block_fields),
                             &request->arguments.block, fault);
    case GW_QMP_UNBLOCK:
        return decode_object(document, object, command, block_fields, 1, &request->arguments.block,
                             fault);
    case GW_QMP_MIGRATE_SET_PARAMETERS:
        return decode_parameters(document, object, &request->arguments.parameters, fault);
    case GW_QMP_MIGRATE_SET_CAPABILITIES:
        return decode_capabilities(document, object, &request->arguments.capabilities, fault);
    case GW_QMP_MIGRATE_RECOVER:
        return decode_object(document, object, command, recover_fields, COUNT(recover_fields),
                             &request->arguments.recover, fault);
    case GW_QMP_RESOLVE:
        return decode_resolve(document, object, &request->arguments.resolve, fault);
    default:
        return decode_object(document, object, command, NULL, 0, NULL, fault);
    }
}
