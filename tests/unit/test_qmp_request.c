/* SPDX-License-Identifier: Apache-2.0 */
/* QMP requests: what a client may send, in any pieces, and what it gets for anything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "godwit/qmp.h"

static struct gw_qmp_session session;
static struct gw_qmp_request request;
static struct gw_qmp_bad bad;

/* Gives `text` to the session and returns the first result. */
static enum gw_status give(const char *text)
{
    const uint8_t *data = (const uint8_t *)text;
    size_t bytes = strlen(text);
    return gw_qmp_next_request(&session, &data, &bytes, &request, &bad);
}

static void begin(void)
{
    gw_qmp_session_init(&session);
    session.is_negotiated = true;
}

static void assert_bad(const char *text, const char *sentence)
{
    begin();
    enum gw_status status = give(text);
    assert_true(status != GW_OK && status != GW_AGAIN);
    assert_int_equal(status, bad.fault.status);
    assert_string_equal(bad.fault.text, sentence);
}

static void test_negotiation_comes_first(void **state)
{
    (void)state;
    gw_qmp_session_init(&session);
    assert_int_equal(give("{\"execute\":\"query-status\",\"id\":1}"), GW_ARGUMENT);
    assert_int_equal(bad.class, GW_QMP_COMMAND_NOT_FOUND);
    assert_string_equal(bad.fault.text,
                        "Expecting capabilities negotiation with 'qmp_capabilities'");
    assert_string_equal(bad.id, "1");
    assert_int_equal(give("{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}"),
                     GW_OK);
    assert_int_equal(request.command, GW_QMP_CAPABILITIES);
    assert_true(session.is_negotiated);
    assert_int_equal(give("{\"execute\":\"qmp_capabilities\"}"), GW_ARGUMENT);
    assert_int_equal(bad.class, GW_QMP_COMMAND_NOT_FOUND);
    assert_bad("{\"execute\":\"qmp_capabilities\"}",
               "Capabilities negotiation is already complete, command ignored");
}

static void test_every_command_is_found(void **state)
{
    (void)state;
    for (unsigned int i = GW_QMP_CAPABILITIES + 1; i < GW_QMP_COMMAND_COUNT; i++) {
        char text[128];
        const char *arguments = i == GW_QMP_MIGRATE                    ? "{\"uri\":\"tcp:b:1\"}"
                                : i == GW_QMP_CALC_DIRTY_RATE          ? "{\"calc-time\":60}"
                                : i == GW_QMP_RESOLVE                  ? "{\"action\":\"give-up\"}"
                                : i == GW_QMP_MIGRATE_SET_CAPABILITIES ? "{\"capabilities\":[]}"
                                : i == GW_QMP_BLOCK   ? "{\"id\":\"a\",\"reason\":\"b\"}"
                                : i == GW_QMP_UNBLOCK ? "{\"id\":\"a\"}"
                                                      : "{}";
        (void)snprintf(text, sizeof(text), "{\"execute\":\"%s\",\"arguments\":%s}",
                       gw_qmp_command_name((enum gw_qmp_command)i), arguments);
        begin();
        assert_int_equal(give(text), GW_OK);
        assert_int_equal(request.command, i);
        assert_string_equal(request.id, "");
    }
}

static void test_ids_are_echoed_whatever_they_are(void **state)
{
    (void)state;
    static const char *const ids[][2] = {
        {"1", "1"},          {"\"a\\\"b\"", "\"a\\\"b\""},   {"null", "null"}, {"-1.5e3", "-1.5e3"},
        {"[1, 2]", "[1,2]"}, {"{\"a\": {} }", "{\"a\":{}}"}, {"\"\"", "\"\""}, {"true", "true"},
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "{\"id\": %s, \"execute\":\"stop\"}", ids[i][0]);
        begin();
        assert_int_equal(give(text), GW_OK);
        assert_string_equal(request.id, ids[i][1]);
    }
    char text[400] = "{\"execute\":\"stop\",\"id\":\"";
    size_t used = strlen(text);
    memset(text + used, 'x', 200);
    memcpy(text + used + 200, "\"}", 3);
    assert_bad(text, "\"id\" is longer than 127 bytes");
    assert_string_equal(bad.id, "");
}

static void test_migrate_arguments(void **state)
{
    (void)state;
    begin();
    assert_int_equal(give("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:[::1]:4444\","
                          "\"detach\":true,\"resume\":true,\"__org.godwit_verify\":true,"
                          "\"__org.godwit_plaintext\":false,\"__org.godwit_downtime-limit\":0,"
                          "\"__org.godwit_max-bandwidth\":12500000}}"),
                     GW_OK);
    const struct gw_qmp_migrate *migrate = &request.arguments.migrate;
    assert_string_equal(migrate->uri, "tcp:[::1]:4444");
    assert_true(migrate->is_verify && migrate->is_resume);
    assert_false(migrate->is_plaintext);
    assert_true(migrate->has_downtime_limit);
    assert_int_equal(migrate->downtime_limit_ms, 0);
    assert_true(migrate->has_bandwidth_max);
    assert_int_equal(migrate->bandwidth_max_bytes, 12500000);

    assert_int_equal(give("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
                          "\"__org.godwit_tls\":\"x509:/etc/godwit\","
                          "\"__org.godwit_tls-hostname\":\"two\"}}"),
                     GW_OK);
    assert_string_equal(migrate->tls, "x509:/etc/godwit");
    assert_string_equal(migrate->tls_hostname, "two");

    assert_int_equal(give("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\"}}"), GW_OK);
    assert_string_equal(migrate->tls, "");
    assert_false(migrate->is_verify || migrate->has_downtime_limit || migrate->has_bandwidth_max);
    assert_true(!migrate->has_throttling && migrate->deadline_ms == 0 && !migrate->has_retry);
    assert_true(!migrate->has_pause && !migrate->is_precopy);
    assert_int_equal(migrate->on_deadline, GW_QMP_ON_DEADLINE_AUTO);
    assert_int_equal(give("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
                          "\"__org.godwit_precopy\":true,"
                          "\"__org.godwit_pause-before-switchover\":true}}"),
                     GW_OK);
    assert_true(migrate->has_pause && migrate->is_pausing && migrate->is_precopy);
    assert_int_equal(migrate->on_deadline, GW_QMP_ON_DEADLINE_CANCEL);
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
               "\"__org.godwit_postcopy\":true,\"__org.godwit_precopy\":true}}",
               "argument '__org.godwit_postcopy' of migrate is given with __org.godwit_precopy; "
               "wanted one of them");

    assert_int_equal(give("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
                          "\"__org.godwit_retry\":0,\"__org.godwit_auto-converge\":false,"
                          "\"__org.godwit_deadline\":90000,"
                          "\"__org.godwit_on-deadline\":\"stop-and-copy\"}}"),
                     GW_OK);
    assert_true(migrate->has_retry && migrate->retry_ms == 0);
    assert_true(migrate->has_throttling && !migrate->is_throttling);
    assert_int_equal(migrate->deadline_ms, 90000);
    assert_int_equal(migrate->on_deadline, GW_QMP_ON_DEADLINE_STOP_AND_COPY);
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
               "\"__org.godwit_on-deadline\":\"panic\"}}",
               "argument '__org.godwit_on-deadline' of migrate is panic; wanted \"cancel\", "
               "\"stop-and-copy\", \"postcopy\" or \"auto\"");
    assert_true(!migrate->has_compress);
    assert_int_equal(give("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
                          "\"__org.godwit_compress\":\"none\"}}"),
                     GW_OK);
    assert_true(migrate->has_compress && migrate->compress == GW_INFO_COMPRESS_NONE);
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
               "\"__org.godwit_compress\":\"gzip\"}}",
               "argument '__org.godwit_compress' of migrate is gzip; wanted \"auto\", \"none\" or "
               "\"lz4\"");
    assert_int_equal(give("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
                          "\"__org.godwit_postcopy\":true,\"__org.godwit_deadline\":1,"
                          "\"__org.godwit_on-deadline\":\"postcopy\"}}"),
                     GW_OK);
    assert_true(migrate->is_postcopy && migrate->on_deadline == GW_QMP_ON_DEADLINE_POSTCOPY);
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
               "\"__org.godwit_postcopy\":true,\"__org.godwit_verify\":true}}",
               "argument '__org.godwit_postcopy' of migrate is given with __org.godwit_verify; "
               "wanted one of them: the guest does not stand still until all of RAM is there");
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
               "\"__org.godwit_on-deadline\":\"postcopy\",\"__org.godwit_verify\":true}}",
               "argument '__org.godwit_on-deadline' of migrate is given with __org.godwit_verify; "
               "wanted another action than postcopy, or not both");
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/a\","
               "\"__org.godwit_on-deadline\":\"cancel\"}}",
               "argument '__org.godwit_on-deadline' of migrate is given without "
               "__org.godwit_deadline; wanted both");
}

static void test_calc_dirty_rate(void **state)
{
    (void)state;
    begin();
    assert_int_equal(give("{\"execute\":\"calc-dirty-rate\",\"arguments\":{\"calc-time\":5}}"),
                     GW_OK);
    assert_int_equal(request.arguments.calc_seconds, 5);
    assert_bad(
        "{\"execute\":\"calc-dirty-rate\",\"arguments\":{\"calc-time\":0}}",
        "argument 'calc-time' of calc-dirty-rate is 0; wanted a number from 1 to 60 (seconds)");
    assert_bad("{\"execute\":\"calc-dirty-rate\",\"arguments\":{\"calc-time\":61}}",
               "argument 'calc-time' of calc-dirty-rate is 61; wanted a number from 1 to 60 "
               "(seconds)");
}

static void test_blockers_and_continue(void **state)
{
    (void)state;
    begin();
    assert_int_equal(give("{\"execute\":\"__org.godwit_block\",\"arguments\":"
                          "{\"id\":\"firmware\",\"reason\":\"it is being flashed\"}}"),
                     GW_OK);
    assert_string_equal(request.arguments.block.id, "firmware");
    assert_string_equal(request.arguments.block.reason, "it is being flashed");
    assert_bad("{\"execute\":\"__org.godwit_block\",\"arguments\":{\"id\":\"firmware\"}}",
               "argument 'reason' of __org.godwit_block is missing; wanted a text of 1 to 127 "
               "bytes");
    assert_bad("{\"execute\":\"__org.godwit_block\",\"arguments\":{\"id\":\"\","
               "\"reason\":\"x\"}}",
               "argument 'id' of __org.godwit_block is \"\"; wanted a text of 1 to 31 bytes");
    assert_int_equal(give("{\"execute\":\"migrate-continue\"}"), GW_OK);
    assert_int_equal(give("{\"execute\":\"migrate-continue\",\"arguments\":"
                          "{\"state\":\"pre-switchover\"}}"),
                     GW_OK);
    assert_bad("{\"execute\":\"migrate-continue\",\"arguments\":{\"state\":\"device\"}}",
               "argument 'state' of migrate-continue is device; wanted \"pre-switchover\"");
}

static void test_throttle_parameters(void **state)
{
    (void)state;
    begin();
    assert_int_equal(give("{\"execute\":\"migrate-set-parameters\",\"arguments\":"
                          "{\"throttle-trigger-threshold\":100,\"cpu-throttle-initial\":1,"
                          "\"cpu-throttle-increment\":99,\"max-cpu-throttle\":80,"
                          "\"cpu-throttle-tailslow\":true}}"),
                     GW_OK);
    const struct gw_qmp_parameters *parameters = &request.arguments.parameters;
    assert_true(parameters->has_throttle_trigger && parameters->has_throttle_initial &&
                parameters->has_throttle_increment && parameters->has_throttle_max &&
                parameters->has_throttle_tail_slow && parameters->value.is_throttle_tail_slow);
    assert_int_equal(parameters->value.throttle_trigger_percent, 100);
    assert_int_equal(parameters->value.throttle_initial_percent, 1);
    assert_int_equal(parameters->value.throttle_increment_percent, 99);
    assert_int_equal(parameters->value.throttle_max_percent, 80);
    assert_bad("{\"execute\":\"migrate-set-parameters\",\"arguments\":"
               "{\"multifd-channels\":9}}",
               "argument 'multifd-channels' of migrate-set-parameters is 9; wanted a number from "
               "1 to 8");
    assert_bad("{\"execute\":\"migrate-set-parameters\",\"arguments\":"
               "{\"multifd-compression\":\"zstd\"}}",
               "argument 'multifd-compression' of migrate-set-parameters is zstd; wanted "
               "\"auto\", \"none\" or \"lz4\"");
    assert_int_equal(give("{\"execute\":\"migrate-set-parameters\",\"arguments\":"
                          "{\"multifd-compression\":\"lz4\"}}"),
                     GW_OK);
    assert_true(parameters->has_compress && !parameters->has_channels);
    assert_int_equal(parameters->value.compress, GW_INFO_COMPRESS_LZ4);
    assert_bad("{\"execute\":\"migrate-set-parameters\",\"arguments\":"
               "{\"cpu-throttle-initial\":0}}",
               "argument 'cpu-throttle-initial' of migrate-set-parameters is 0; wanted a number "
               "from 1 to 99 (percent)");
}

static void test_parameters_and_capabilities(void **state)
{
    (void)state;
    begin();
    assert_int_equal(give("{\"execute\":\"migrate-set-parameters\",\"arguments\":"
                          "{\"downtime-limit\":2000000}}"),
                     GW_OK);
    assert_true(request.arguments.parameters.has_downtime_limit);
    assert_false(request.arguments.parameters.has_bandwidth_max);
    assert_int_equal(request.arguments.parameters.value.downtime_limit_ms, 2000000);
    assert_int_equal(
        give("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\""
             ":[{\"capability\":\"events\",\"state\":true}]}}"),
        GW_OK);
    assert_true(request.arguments.capabilities.is_given[GW_INFO_CAPABILITY_EVENTS]);
    assert_true(request.arguments.capabilities.state[GW_INFO_CAPABILITY_EVENTS]);
    assert_false(request.arguments.capabilities.is_given[GW_INFO_CAPABILITY_POSTCOPY_RAM]);
    assert_int_equal(
        give("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\""
             ":[{\"capability\":\"postcopy-ram\",\"state\":false}]}}"),
        GW_OK);
    assert_true(request.arguments.capabilities.is_given[GW_INFO_CAPABILITY_POSTCOPY_RAM]);
    assert_false(request.arguments.capabilities.state[GW_INFO_CAPABILITY_POSTCOPY_RAM]);
    assert_int_equal(
        give("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\""
             ":[{\"capability\":\"return-path\",\"state\":true}]}}"),
        GW_OK);
    assert_bad("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\""
               ":[{\"capability\":\"return-path\",\"state\":false}]}}",
               "argument 'return-path' of migrate-set-capabilities is false; wanted true: it is "
               "always on");
    assert_bad("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\""
               ":[{\"capability\":\"xbzrle\",\"state\":true}]}}",
               "argument 'capability' of migrate-set-capabilities is xbzrle; wanted one that "
               "query-migrate-capabilities names");
}

static void test_recover_may_name_another_place(void **state)
{
    (void)state;
    begin();
    assert_int_equal(give("{\"execute\":\"migrate-recover\"}"), GW_OK);
    assert_string_equal(request.arguments.recover.uri, "");
    assert_int_equal(give("{\"execute\":\"migrate-recover\",\"arguments\":{\"uri\":\"unix:/b\"}}"),
                     GW_OK);
    assert_string_equal(request.arguments.recover.uri, "unix:/b");
}

static void test_resolve_arguments(void **state)
{
    (void)state;
#define RESOLVE(arguments) "{\"execute\":\"__org.godwit_resolve\",\"arguments\":{" arguments "}}"
    begin();
    assert_int_equal(give(RESOLVE("\"action\":\"give-up\"")), GW_OK);
    assert_int_equal(request.arguments.resolve.action, GW_QMP_RESOLVE_GIVE_UP);
    assert_int_equal(give(RESOLVE("\"action\":\"run\",\"token\":\"t-1\"")), GW_OK);
    assert_int_equal(request.arguments.resolve.action, GW_QMP_RESOLVE_RUN_TOKEN);
    assert_string_equal(request.arguments.resolve.token, "t-1");
    assert_int_equal(give(RESOLVE("\"action\":\"run\",\"other-is-dead\":true")), GW_OK);
    assert_int_equal(request.arguments.resolve.action, GW_QMP_RESOLVE_RUN_OTHER_IS_DEAD);
    assert_bad(RESOLVE("\"action\":\"run\""),
               "argument 'token' of __org.godwit_resolve is missing; wanted exactly one of token "
               "and other-is-dead: true");
    assert_bad(RESOLVE("\"action\":\"run\",\"other-is-dead\":false"),
               "argument 'token' of __org.godwit_resolve is missing; wanted exactly one of token "
               "and other-is-dead: true");
    assert_bad(RESOLVE("\"action\":\"run\",\"other-is-dead\":true,\"token\":\"t\""),
               "argument 'token' of __org.godwit_resolve is given with other-is-dead; wanted "
               "exactly one of token and other-is-dead: true");
    assert_bad(RESOLVE("\"action\":\"give-up\",\"token\":\"t\""),
               "argument 'token' of __org.godwit_resolve is given with give-up; wanted it only "
               "with run");
    assert_bad(RESOLVE("\"action\":\"explode\""),
               "argument 'action' of __org.godwit_resolve is explode; wanted \"give-up\" or "
               "\"run\"");
}

static void test_bad_requests_are_named(void **state)
{
    (void)state;
    assert_bad("{}", "a request has no \"execute\"");
    assert_bad("{\"execute\":7}", "\"execute\" is 7; wanted a command's name");
    assert_bad("{\"execute\":\"explode\"}", "The command \"explode\" has not been found");
    assert_int_equal(bad.class, GW_QMP_COMMAND_NOT_FOUND);
    assert_bad("{\"exec-oob\":\"stop\"}",
               "command \"stop\" cannot run out of band; wanted \"execute\", not \"exec-oob\"");
    assert_bad("{\"execute\":\"stop\",\"colour\":1}",
               "a request has a member \"colour\"; wanted \"execute\", \"arguments\", \"id\"");
    assert_bad("{\"execute\":\"stop\",\"execute\":\"cont\"}",
               "a request has the member \"execute\" twice");
    assert_bad("{\"execute\":\"stop\",\"arguments\":[1]}",
               "\"arguments\" of stop is [1]; wanted an object");
    assert_bad("{\"execute\":\"stop\",\"arguments\":{\"now\":true}}",
               "stop has no argument \"now\"; it has: none");
    assert_bad("{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"downtime\":1}}",
               "migrate-set-parameters has no argument \"downtime\"; it has: downtime-limit, "
               "max-bandwidth, max-postcopy-bandwidth, multifd-channels, multifd-compression, "
               "throttle-trigger-threshold, "
               "cpu-throttle-initial, ...");
    assert_bad(
        "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"downtime-limit\":2000001}}",
        "argument 'downtime-limit' of migrate-set-parameters is 2000001; wanted a number "
        "from 0 to 2000000 (milliseconds)");
    assert_bad("{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"downtime-limit\":1,"
               "\"downtime-limit\":2}}",
               "argument 'downtime-limit' of migrate-set-parameters is given twice; wanted it "
               "once");
    assert_bad("{\"execute\":\"migrate\"}",
               "argument 'uri' of migrate is missing; wanted a text of 1 to 271 bytes");
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"\"}}",
               "argument 'uri' of migrate is \"\"; wanted a text of 1 to 271 bytes");
    assert_bad("{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:b:1\",\"detach\":\"yes\"}}",
               "argument 'detach' of migrate is \"yes\"; wanted true or false");
    assert_bad("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
               "[{\"capability\":\"xbzrle\",\"state\":true}]}}",
               "argument 'capability' of migrate-set-capabilities is xbzrle; wanted one that "
               "query-migrate-capabilities names");
    assert_bad("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":[1]}}",
               "argument 'capabilities' of migrate-set-capabilities is 1; wanted objects");
    assert_bad("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":7}}",
               "argument 'capabilities' of migrate-set-capabilities is 7; wanted an array");
    assert_bad("{\"execute\":\"migrate-set-capabilities\"}",
               "argument 'capabilities' of migrate-set-capabilities is missing; wanted an array");
    gw_qmp_session_init(&session);
    assert_int_equal(
        give("{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}"),
        GW_ARGUMENT);
    assert_string_equal(bad.fault.text, "argument 'enable' of qmp_capabilities is \"oob\"; wanted "
                                        "none: the greeting offers no capability");
    assert_false(session.is_negotiated);
}

static void test_garbage_gets_one_error_a_line(void **state)
{
    (void)state;
    assert_bad("hello {\"execute\":\"stop\"}",
               "no JSON at byte 1 of a request: found 'h', wanted an object: '{'");
    assert_int_equal(give(" world\n"), GW_AGAIN);
    assert_int_equal(give("{\"execute\":\"stop\"}\n"), GW_OK);
    assert_bad("{\"execute\":\"stop\"\n{\"execute\":\"cont\"}\n",
               "no JSON at byte 19 of a request: found '{', wanted ',' or '}'");
    assert_bad("{'execute'", "no JSON at byte 2 of a request: found ''', wanted '\"' or '}'");
    assert_bad("{\"a\":\"\xc3(", "no JSON at byte 8 of a request: found '(', wanted UTF-8");
}

static void test_reset_bytes_drop_half_a_request(void **state)
{
    (void)state;
    assert_bad("{\"exec\xff", "byte 0xff ended a request after 6 bytes");
    assert_int_equal(give("{\"execute\":\"stop\"}"), GW_OK);
    assert_bad("{\"exec\x1b", "byte 0x1b ended a request after 6 bytes");
    begin();
    assert_int_equal(give("\xff\xff\x01{\"execute\":\"stop\"}"), GW_OK);
}

static void test_endless_line_gets_one_error(void **state)
{
    (void)state;
    begin();
    static uint8_t chunk[1000];
    memset(chunk, 'x', sizeof(chunk));
    unsigned int errors = 0;
    assert_int_equal(give("{\"execute\":\""), GW_AGAIN);
    for (int i = 0; i < 10000; i++) { /* ten megabytes */
        const uint8_t *data = chunk;
        size_t bytes = sizeof(chunk);
        while (bytes > 0)
            errors += gw_qmp_next_request(&session, &data, &bytes, &request, &bad) != GW_AGAIN;
    }
    assert_int_equal(errors, 1);
    assert_int_equal(give("\"}\n{\"execute\":\"cont\",\"id\":9}\r\n"), GW_OK);
    assert_int_equal(request.command, GW_QMP_CONT);
    assert_string_equal(request.id, "9");
}

static void test_longest_request_fits(void **state)
{
    (void)state;
    static char text[GW_CONTROL_LINE_MAX + 2];
    static const char head[] = "{\"execute\":\"stop\"";
    memset(text, ' ', sizeof(text));
    memcpy(text, head, sizeof(head) - 1);
    text[GW_CONTROL_LINE_MAX - 1] = '}';
    text[GW_CONTROL_LINE_MAX] = 0;
    begin();
    assert_int_equal(give(text), GW_OK);
    text[GW_CONTROL_LINE_MAX - 1] = ' ';
    text[GW_CONTROL_LINE_MAX] = '}';
    text[GW_CONTROL_LINE_MAX + 1] = 0;
    assert_int_equal(give(text), GW_LIMIT);
}

static const char sample[] =
    "\r\n{\"execute\": \"migrate\",\n \"arguments\": {\"uri\": \"tcp:\\u0062:1\", "
    "\"__org.godwit_max-bandwidth\": 5}, \"id\": [1, {\"k\": null}]}\r\n{\"execute\":\"stop\"}\n";

static void assert_sample(enum gw_status status, unsigned int index)
{
    assert_int_equal(status, GW_OK);
    if (index == 0) {
        assert_int_equal(request.command, GW_QMP_MIGRATE);
        assert_string_equal(request.arguments.migrate.uri, "tcp:b:1");
        assert_int_equal(request.arguments.migrate.bandwidth_max_bytes, 5);
        assert_string_equal(request.id, "[1,{\"k\":null}]");
    } else {
        assert_int_equal(request.command, GW_QMP_STOP);
    }
}

static void test_every_split_gives_the_same(void **state)
{
    (void)state;
    size_t length = sizeof(sample) - 1;
    for (size_t split = 0; split <= length; split++) {
        unsigned int index = 0;
        begin();
        for (int part = 0; part < 2; part++) {
            const uint8_t *data = (const uint8_t *)sample + (part ? split : 0);
            size_t bytes = part ? length - split : split;
            enum gw_status status;
            while ((status = gw_qmp_next_request(&session, &data, &bytes, &request, &bad)) !=
                   GW_AGAIN)
                assert_sample(status, index++);
            assert_int_equal(bytes, 0);
        }
        assert_int_equal(index, 2);
    }
}

static void test_every_truncation_recovers(void **state)
{
    (void)state;
    for (size_t length = 0; length < sizeof(sample); length++) {
        begin();
        char text[sizeof(sample)];
        memcpy(text, sample, length);
        text[length] = 0;
        const uint8_t *data = (const uint8_t *)text;
        size_t bytes = length;
        while (gw_qmp_next_request(&session, &data, &bytes, &request, &bad) != GW_AGAIN)
            ;
        /* Half a request is dropped by 0xff with an error; then all is as it was. */
        enum gw_status status = give("\xff");
        assert_true(status == GW_AGAIN || status == GW_PROTOCOL);
        assert_int_equal(give("{\"execute\":\"cont\"}"), GW_OK);
    }
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

/* Random bytes, and the sample with random bytes changed: no result but a request or an error
 * with a sentence, and the session works afterwards. */
static void test_random_bytes_do_no_harm(void **state)
{
    (void)state;
    static const char alphabet[] = "{}[]:,\"\\ \n\tetfu0123.-+execut";
    for (uint32_t run = 0; run < 20000; run++) {
        uint32_t seed = run;
        uint8_t text[sizeof(sample) - 1];
        memcpy(text, sample, sizeof(text));
        size_t changes = run % 3 == 0 ? sizeof(text) : 1 + next_random(&seed) % 4;
        for (size_t i = 0; i < changes; i++) {
            uint32_t value = next_random(&seed);
            size_t at = changes == sizeof(text) ? i : next_random(&seed) % sizeof(text);
            text[at] = run % 2 ? (uint8_t)value : (uint8_t)alphabet[value % (sizeof(alphabet) - 1)];
        }
        begin();
        const uint8_t *data = text;
        size_t bytes = sizeof(text);
        enum gw_status status;
        while ((status = gw_qmp_next_request(&session, &data, &bytes, &request, &bad)) !=
               GW_AGAIN) {
            if (status != GW_OK && (bad.fault.status != status || bad.fault.text[0] == 0))
                fail_msg("run %u: an error without a sentence", run);
        }
        (void)give("\xff\n");
        if (give("{\"execute\":\"cont\"}") != GW_OK)
            fail_msg("run %u: the session is broken", run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_negotiation_comes_first),
        cmocka_unit_test(test_every_command_is_found),
        cmocka_unit_test(test_ids_are_echoed_whatever_they_are),
        cmocka_unit_test(test_migrate_arguments),
        cmocka_unit_test(test_calc_dirty_rate),
        cmocka_unit_test(test_parameters_and_capabilities),
        cmocka_unit_test(test_throttle_parameters),
        cmocka_unit_test(test_blockers_and_continue),
        cmocka_unit_test(test_recover_may_name_another_place),
        cmocka_unit_test(test_resolve_arguments),
        cmocka_unit_test(test_bad_requests_are_named),
        cmocka_unit_test(test_garbage_gets_one_error_a_line),
        cmocka_unit_test(test_reset_bytes_drop_half_a_request),
        cmocka_unit_test(test_endless_line_gets_one_error),
        cmocka_unit_test(test_longest_request_fits),
        cmocka_unit_test(test_every_split_gives_the_same),
        cmocka_unit_test(test_every_truncation_recovers),
        cmocka_unit_test(test_random_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
