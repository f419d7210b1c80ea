/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies and events. Each encoder fills a whole message or, should it not fit, puts an error in
 * its place. Memory: the caller's. Any thread. Never blocks.
 */
#include <stdio.h>
#include <string.h>

#include "godwit/qmp.h"
#include "qmp_info.h"

/* What every message needs after its text. */
enum { LINE_END_BYTES = 2 };

static void begin(struct gw_json *json, struct gw_qmp_message *message)
{
    gw_json_init(json, message->text, sizeof(message->text) - LINE_END_BYTES);
    gw_json_open_object(json, NULL);
}

static bool end_line(struct gw_json *json, struct gw_qmp_message *message)
{
    gw_json_close_object(json);
    bool is_ok = gw_json_end(json) == GW_OK;
    memcpy(message->text + json->used, "\r\n", LINE_END_BYTES + 1);
    message->bytes = json->used + LINE_END_BYTES;
    return is_ok;
}

static void put_error(struct gw_json *json, const char *id, const char *class, const char *text)
{
    gw_json_open_object(json, "error");
    gw_json_put_text(json, "class", class);
    gw_json_put_text(json, "desc", text);
    gw_json_close_object(json);
    if (id[0])
        gw_json_put_raw(json, "id", id);
}

static void encode_error(struct gw_qmp_message *message, const char *id, enum gw_qmp_class class,
                         const char *text)
{
    const char *name = class == GW_QMP_COMMAND_NOT_FOUND ? "CommandNotFound" : "GenericError";
    struct gw_json json;
    begin(&json, message);
    put_error(&json, id, name, text);
    if (end_line(&json, message))
        return;
    begin(&json, message);
    put_error(&json, id, name, "the reply does not fit in a message");
    bool is_ok = end_line(&json, message);
    GW_ASSERT(is_ok);
}

static void end_reply(struct gw_json *json, struct gw_qmp_message *message, const char *id)
{
    if (id[0])
        gw_json_put_raw(json, "id", id);
    if (!end_line(json, message))
        encode_error(message, id, GW_QMP_GENERIC_ERROR, "the reply does not fit in a message");
}

static void begin_return(struct gw_json *json, struct gw_qmp_message *message)
{
    begin(json, message);
    gw_json_open_object(json, "return");
}

static void end_return(struct gw_json *json, struct gw_qmp_message *message, const char *id)
{
    gw_json_close_object(json);
    end_reply(json, message, id);
}

/* godwit's version in QEMU's shape: some clients want three numbers. */
static void put_version(struct gw_json *json)
{
    unsigned int part[3] = {0, 0, 0};
    size_t i = 0;
    for (const char *c = GW_VERSION; *c && i < 3; c++) {
        if (*c >= '0' && *c <= '9')
            part[i] = part[i] * 10 + (unsigned int)(*c - '0');
        else
            i++;
    }
    gw_json_open_object(json, "qemu");
    gw_json_put_number(json, "micro", part[2]);
    gw_json_put_number(json, "minor", part[1]);
    gw_json_put_number(json, "major", part[0]);
    gw_json_close_object(json);
    gw_json_put_text(json, "package", "godwit " GW_VERSION);
}

void gw_qmp_encode_greeting(struct gw_qmp_message *message)
{
    struct gw_json json;
    begin(&json, message);
    gw_json_open_object(&json, "QMP");
    gw_json_open_object(&json, "version");
    put_version(&json);
    gw_json_close_object(&json);
    gw_json_open_array(&json, "capabilities");
    gw_json_close_array(&json);
    gw_json_close_object(&json);
    end_reply(&json, message, "");
}

void gw_qmp_encode_bad(struct gw_qmp_message *message, const struct gw_qmp_bad *bad)
{
    encode_error(message, bad->id, bad->class, bad->fault.text);
}

void gw_qmp_encode_error(struct gw_qmp_message *message, const char *id, const char *text)
{
    encode_error(message, id, GW_QMP_GENERIC_ERROR, text);
}

void gw_qmp_encode_empty(struct gw_qmp_message *message, const char *id)
{
    struct gw_json json;
    begin_return(&json, message);
    end_return(&json, message, id);
}

void gw_qmp_encode_version(struct gw_qmp_message *message, const char *id)
{
    struct gw_json json;
    begin_return(&json, message);
    put_version(&json);
    end_return(&json, message, id);
}

void gw_qmp_encode_commands(struct gw_qmp_message *message, const char *id)
{
    struct gw_json json;
    begin(&json, message);
    gw_json_open_array(&json, "return");
    for (unsigned int i = 0; i < GW_QMP_COMMAND_COUNT; i++) {
        gw_json_open_object(&json, NULL);
        gw_json_put_text(&json, "name", gw_qmp_command_name((enum gw_qmp_command)i));
        gw_json_close_object(&json);
    }
    gw_json_close_array(&json);
    end_reply(&json, message, id);
}

void gw_qmp_encode_run_state(struct gw_qmp_message *message, const char *id,
                             enum gw_info_run_state state)
{
    struct gw_json json;
    begin_return(&json, message);
    gw_json_put_bool(&json, "running", gw_info_run_state_is_running(state));
    gw_json_put_text(&json, "status", gw_info_run_state_name(state));
    end_return(&json, message, id);
}

void gw_qmp_encode_name(struct gw_qmp_message *message, const char *id, const char *name)
{
    struct gw_json json;
    begin_return(&json, message);
    gw_json_put_text(&json, "name", name);
    end_return(&json, message, id);
}

void gw_qmp_encode_migrate(struct gw_qmp_message *message, const char *id,
                           const struct gw_info_migrate *info)
{
    struct gw_json json;
    begin_return(&json, message);
    gw_qmp_put_migrate(&json, info);
    end_return(&json, message, id);
}

void gw_qmp_encode_parameters(struct gw_qmp_message *message, const char *id,
                              const struct gw_info_parameters *parameters)
{
    struct gw_json json;
    begin_return(&json, message);
    gw_json_put_number(&json, "downtime-limit", parameters->downtime_limit_ms);
    gw_json_put_number(&json, "max-bandwidth", parameters->bandwidth_max_bytes);
    gw_json_put_number(&json, "max-postcopy-bandwidth", parameters->postcopy_bandwidth_max_bytes);
    gw_json_put_number(&json, "multifd-channels", parameters->channels);
    gw_json_put_text(&json, "multifd-compression",
                     gw_info_compress_name((enum gw_info_compress)parameters->compress));
    gw_json_put_number(&json, "throttle-trigger-threshold", parameters->throttle_trigger_percent);
    gw_json_put_number(&json, "cpu-throttle-initial", parameters->throttle_initial_percent);
    gw_json_put_number(&json, "cpu-throttle-increment", parameters->throttle_increment_percent);
    gw_json_put_number(&json, "max-cpu-throttle", parameters->throttle_max_percent);
    gw_json_put_bool(&json, "cpu-throttle-tailslow", parameters->is_throttle_tail_slow);
    end_return(&json, message, id);
}

static void put_capability(struct gw_json *json, const char *name, bool state)
{
    gw_json_open_object(json, NULL);
    gw_json_put_text(json, "capability", name);
    gw_json_put_bool(json, "state", state);
    gw_json_close_object(json);
}

void gw_qmp_encode_capabilities(struct gw_qmp_message *message, const char *id,
                                const bool state[static GW_INFO_CAPABILITY_COUNT])
{
    struct gw_json json;
    begin(&json, message);
    gw_json_open_array(&json, "return");
    for (unsigned int i = 0; i < GW_INFO_CAPABILITY_COUNT; i++)
        put_capability(&json, gw_info_capability_name((enum gw_info_capability)i), state[i]);
    gw_json_close_array(&json);
    end_reply(&json, message, id);
}

static const char *const rate_words[] = {"unstarted", "measuring", "measured"};

void gw_qmp_encode_dirty_rate(struct gw_qmp_message *message, const char *id,
                              const struct gw_info_dirty_rate *rate)
{
    struct gw_json json;
    uint64_t bytes = rate->pages_per_second * rate->page_bytes;
    begin_return(&json, message);
    gw_json_put_text(&json, "status", rate_words[rate->status]);
    gw_json_put_number(&json, "start-time", rate->start_seconds);
    gw_json_put_number(&json, "calc-time", rate->seconds);
    gw_json_put_number(&json, "sample-pages", 0);
    gw_json_put_text(&json, "mode", gw_info_dirty_mode_name(rate->is_by_ring));
    if (rate->status == GW_INFO_DIRTY_RATE_MEASURED) {
        gw_json_put_number(&json, "dirty-rate", bytes / GW_MIB);
        gw_json_put_number(&json, "__org.godwit_pages-per-second", rate->pages_per_second);
        gw_json_put_number(&json, "__org.godwit_page-size", rate->page_bytes);
    }
    end_return(&json, message, id);
}

void gw_qmp_encode_status(struct gw_qmp_message *message, const char *id,
                          const struct gw_info_status *status,
                          const struct gw_info_migrate *migrate)
{
    struct gw_json json;
    begin_return(&json, message);
    gw_qmp_put_status(&json, status);
    gw_json_open_object(&json, "migrate");
    gw_qmp_put_migrate(&json, migrate);
    gw_json_close_object(&json);
    end_return(&json, message, id);
}

void gw_qmp_encode_resolve(struct gw_qmp_message *message, const char *id,
                           const struct gw_info_resolve *result)
{
    struct gw_json json;
    begin_return(&json, message);
    if (result->token[0])
        gw_json_put_text(&json, "token", result->token);
    gw_json_put_text(&json, "text", result->text);
    end_return(&json, message, id);
}

static void begin_event(struct gw_json *json, struct gw_qmp_message *message, const char *name,
                        struct gw_qmp_time time)
{
    begin(json, message);
    gw_json_open_object(json, "timestamp");
    gw_json_put_number(json, "seconds", time.seconds);
    gw_json_put_number(json, "microseconds", time.microseconds);
    gw_json_close_object(json);
    gw_json_put_text(json, "event", name);
}

void gw_qmp_encode_event(struct gw_qmp_message *message, struct gw_qmp_time time,
                         enum gw_qmp_event event)
{
    /* A reason stands only with events that have one (QEMU's qapi/run-state.json). */
    static const struct {
        const char *name;
        const char *reason;
        const char *action;
        bool is_guest;
    } events[] = {
        [GW_QMP_EVENT_STOP] = {"STOP", NULL, NULL, false},
        [GW_QMP_EVENT_RESUME] = {"RESUME", NULL, NULL, false},
        [GW_QMP_EVENT_RESET] = {"SHUTDOWN", "guest-reset", NULL, true},
        [GW_QMP_EVENT_SHUTDOWN] = {"SHUTDOWN", "guest-shutdown", NULL, true},
        [GW_QMP_EVENT_QUIT] = {"SHUTDOWN", "host-qmp-quit", NULL, false},
        [GW_QMP_EVENT_PANIC_ENDS] = {"SHUTDOWN", "guest-panic", NULL, true},
        [GW_QMP_EVENT_GUEST_PANICKED] = {"GUEST_PANICKED", NULL, "poweroff", false},
    };
    struct gw_json json;
    begin_event(&json, message, events[event].name, time);
    if (events[event].reason) {
        gw_json_open_object(&json, "data");
        gw_json_put_bool(&json, "guest", events[event].is_guest);
        gw_json_put_text(&json, "reason", events[event].reason);
        gw_json_close_object(&json);
    } else if (events[event].action) {
        gw_json_open_object(&json, "data");
        gw_json_put_text(&json, "action", events[event].action);
        gw_json_close_object(&json);
    }
    end_reply(&json, message, "");
}

void gw_qmp_encode_event_migration(struct gw_qmp_message *message, struct gw_qmp_time time,
                                   const struct gw_info_migrate *info)
{
    struct gw_json json;
    begin_event(&json, message, "MIGRATION", time);
    gw_json_open_object(&json, "data");
    gw_json_put_text(&json, "status", gw_info_migration_name(info->status));
    if (info->held.is_held || gw_info_migration_is_final(info->status)) {
        gw_json_open_object(&json, "__org.godwit_info");
        gw_qmp_put_migrate(&json, info);
        gw_json_close_object(&json);
    }
    gw_json_close_object(&json);
    end_reply(&json, message, "");
}

void gw_qmp_encode_event_pass(struct gw_qmp_message *message, struct gw_qmp_time time,
                              uint64_t pass)
{
    struct gw_json json;
    begin_event(&json, message, "MIGRATION_PASS", time);
    gw_json_open_object(&json, "data");
    gw_json_put_number(&json, "pass", pass);
    gw_json_close_object(&json);
    end_reply(&json, message, "");
}
