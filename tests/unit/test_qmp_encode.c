/* SPDX-License-Identifier: Apache-2.0 */
/* QMP replies and events: each one byte for byte, and read back by the client's side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "godwit/qmp.h"

static struct gw_qmp_message message;
static struct gw_json_document document;
static const struct gw_qmp_time noon = {.seconds = 1700000000, .microseconds = 42};

static void assert_line(const char *line)
{
    assert_string_equal(message.text, line);
    assert_int_equal(message.bytes, strlen(line));
}

/* Reads the message back; returns its "return", or its whole when it has none. */
static int read_back(void)
{
    struct gw_json_scanner scanner;
    gw_json_scanner_init(&scanner);
    for (size_t i = 0; i + 2 < message.bytes; i++) {
        enum gw_json_scan wanted = i + 3 == message.bytes ? GW_JSON_SCAN_DONE : GW_JSON_SCAN_MORE;
        assert_int_equal(gw_json_scanner_put(&scanner, (uint8_t)message.text[i]), wanted);
    }
    assert_int_equal(gw_json_read_document(&document, message.text, message.bytes, NULL), GW_OK);
    int value = gw_json_read_member(&document, 0, "return");
    return value < 0 ? 0 : value;
}

static void test_plain_replies(void **state)
{
    (void)state;
    gw_qmp_encode_empty(&message, "");
    assert_line("{\"return\": {}}\r\n");
    gw_qmp_encode_empty(&message, "[1,\"x\"]");
    assert_line("{\"return\": {}, \"id\": [1,\"x\"]}\r\n");
    gw_qmp_encode_error(&message, "3", "no \"such\" thing");
    assert_line("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no \\\"such\\\" thing\"}, "
                "\"id\": 3}\r\n");
    struct gw_qmp_bad bad = {.class = GW_QMP_COMMAND_NOT_FOUND, .id = "null"};
    (void)gw_fault_set(&bad.fault, GW_ARGUMENT, "The command x has not been found");
    gw_qmp_encode_bad(&message, &bad);
    assert_line("{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command x has not "
                "been found\"}, \"id\": null}\r\n");
    gw_qmp_encode_name(&message, "", "caf\xc3\xa9");
    assert_line("{\"return\": {\"name\": \"caf\\u00e9\"}}\r\n");
    gw_qmp_encode_run_state(&message, "", GW_INFO_RUN_FINISH_MIGRATE);
    assert_line("{\"return\": {\"running\": false, \"status\": \"finish-migrate\"}}\r\n");
    gw_qmp_encode_run_state(&message, "", GW_INFO_RUN_RUNNING);
    assert_line("{\"return\": {\"running\": true, \"status\": \"running\"}}\r\n");
    struct gw_info_parameters parameters = {.downtime_limit_ms = 300,
                                            .throttle_trigger_percent = 50,
                                            .throttle_initial_percent = 20,
                                            .throttle_increment_percent = 10,
                                            .throttle_max_percent = 99,
                                            .is_throttle_tail_slow = true,
                                            .channels = 2,
                                            .compress = GW_INFO_COMPRESS_LZ4};
    gw_qmp_encode_parameters(&message, "", &parameters);
    assert_line("{\"return\": {\"downtime-limit\": 300, \"max-bandwidth\": 0, "
                "\"max-postcopy-bandwidth\": 0, \"multifd-channels\": 2, "
                "\"multifd-compression\": \"lz4\", "
                "\"throttle-trigger-threshold\": 50, "
                "\"cpu-throttle-initial\": 20, \"cpu-throttle-increment\": 10, "
                "\"max-cpu-throttle\": 99, \"cpu-throttle-tailslow\": true}}\r\n");
    const bool capabilities[GW_INFO_CAPABILITY_COUNT] = {[GW_INFO_CAPABILITY_EVENTS] = true};
    gw_qmp_encode_capabilities(&message, "", capabilities);
    static const char first[] = "{\"return\": [{\"capability\": \"events\", \"state\": true}, "
                                "{\"capability\": \"postcopy-ram\", \"state\": false}, ";
    assert_memory_equal(message.text, first, sizeof(first) - 1);
    assert_non_null(strstr(message.text, "{\"capability\": \"pause-before-switchover\", "));
    struct gw_info_resolve resolve = {.token = "T1", .text = "given up"};
    gw_qmp_encode_resolve(&message, "", &resolve);
    assert_line("{\"return\": {\"token\": \"T1\", \"text\": \"given up\"}}\r\n");
}

static void test_version_has_three_numbers(void **state)
{
    (void)state;
    unsigned int part[3];
    char line[300];
    assert_int_equal(sscanf(GW_VERSION, "%u.%u.%u", &part[0], &part[1], &part[2]), 3);
    (void)snprintf(line, sizeof(line),
                   "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": %u, \"minor\": %u, \"major\": "
                   "%u}, \"package\": \"godwit %s\"}, \"capabilities\": []}}\r\n",
                   part[2], part[1], part[0], GW_VERSION);
    gw_qmp_encode_greeting(&message);
    assert_line(line);
    (void)snprintf(line, sizeof(line),
                   "{\"return\": {\"qemu\": {\"micro\": %u, \"minor\": %u, \"major\": %u}, "
                   "\"package\": \"godwit %s\"}}\r\n",
                   part[2], part[1], part[0], GW_VERSION);
    gw_qmp_encode_version(&message, "");
    assert_line(line);
}

static void test_commands_are_all_listed(void **state)
{
    (void)state;
    gw_qmp_encode_commands(&message, "");
    int list = read_back();
    unsigned int count = 0;
    for (int i = gw_json_read_first(&document, list); i >= 0; i = gw_json_read_next(&document, i)) {
        int name = gw_json_read_member(&document, i, "name");
        assert_true(gw_json_read_is_equal(&document, name,
                                          gw_qmp_command_name((enum gw_qmp_command)count)));
        count++;
    }
    assert_int_equal(count, GW_QMP_COMMAND_COUNT);
}

static struct gw_info_migrate sample(void)
{
    return (struct gw_info_migrate){
        .status = GW_INFO_MIGRATION_ACTIVE,
        .role = GW_INFO_SOURCE,
        .has_ram = true,
        .verify = GW_INFO_VERIFY_PENDING,
        .ram = {.transferred_bytes = 1000,
                .remaining_bytes = 2000,
                .total_bytes = 3000,
                .zero_pages = 4,
                .normal_pages = 5,
                .downtime_bytes = 6,
                .rounds = 7,
                .dirty_pages_per_second = 8,
                .pages_per_second = 9,
                .acked_bits_per_second = 12345000,
                .page_bytes = 4096},
        .total_ms = 100,
        .setup_ms = 10,
        .expected_downtime_us = 1500,
        .epoch = 2,
        .peer = "tcp:b:1",
        .session = "ab",
        .channels = 4,
        .compression = {GW_INFO_PACKING_LZ4, 1000, 250},
    };
}

/* What only a source in its rounds tells, and a guest that may not leave. */
static void test_rounds_and_blockers_read_back(void **state)
{
    (void)state;
    struct gw_info_migrate back;
    struct gw_info_migrate info = {.blocked_count = 2,
                                   .blocked = {"firmware: it is being flashed", "backup: runs"}};
    gw_qmp_encode_migrate(&message, "", &info);
    assert_line("{\"return\": {\"blocked-reasons\": [\"firmware: it is being flashed\", "
                "\"backup: runs\"]}}\r\n");
    assert_true(gw_qmp_decode_migrate(&document, read_back(), &back));
    assert_int_equal(back.status, GW_INFO_MIGRATION_NONE);
    assert_int_equal(back.blocked_count, 2);
    assert_string_equal(back.blocked[1], "backup: runs");

    info = sample();
    info.status = GW_INFO_MIGRATION_PRE_SWITCHOVER;
    info.handover_us = 20000;
    info.threshold_bytes = 1048576;
    info.round_count = 2;
    info.round[0] = (struct gw_info_round){1, 900, 70000000, 4096, 77000000, 0};
    info.round[1] = (struct gw_info_round){2, 3, 4096, 8192, 77000001, 20};
    gw_qmp_encode_migrate(&message, "", &info);
    assert_true(gw_qmp_decode_migrate(&document, read_back(), &back));
    assert_int_equal(back.status, GW_INFO_MIGRATION_PRE_SWITCHOVER);
    assert_int_equal(back.handover_us, 20000);
    assert_int_equal(back.threshold_bytes, 1048576);
    assert_int_equal(back.round_count, 2);
    assert_memory_equal(back.round, info.round, sizeof(info.round));
}

static void test_migrate_golden(void **state)
{
    (void)state;
    struct gw_info_migrate info = {.status = GW_INFO_MIGRATION_NONE};
    gw_qmp_encode_migrate(&message, "", &info);
    assert_line("{\"return\": {}}\r\n");

    info = sample();
    gw_qmp_encode_migrate(&message, "7", &info);
    assert_line("{\"return\": {\"status\": \"active\", \"total-time\": 100, \"setup-time\": 10, "
                "\"expected-downtime\": 2, \"ram\": {\"transferred\": 1000, \"remaining\": 2000, "
                "\"total\": 3000, \"duplicate\": 4, \"normal\": 5, \"normal-bytes\": 20480, "
                "\"dirty-pages-rate\": 8, \"mbps\": 12.345, \"dirty-sync-count\": 7, "
                "\"pages-per-second\": 9, \"page-size\": 4096, \"downtime-bytes\": 6}, "
                "\"__org.godwit\": {\"role\": \"source\", \"peer\": \"tcp:b:1\", \"session\": "
                "\"ab\", \"channels\": 4, "
                "\"compression\": {\"method\": \"lz4\", \"bytes\": 1000, "
                "\"compressed\": 250}, \"epoch\": 2, \"expected-downtime-us\": 1500, "
                "\"verify\": \"pending\", "
                "\"verify-time\": 0}}, \"id\": 7}\r\n");

    info = (struct gw_info_migrate){.status = GW_INFO_MIGRATION_FAILED,
                                    .reason = GW_REFUSED,
                                    .error = "memory size: 256M here, 128M there"};
    gw_qmp_encode_migrate(&message, "", &info);
    assert_line("{\"return\": {\"status\": \"failed\", \"total-time\": 0, \"setup-time\": 0, "
                "\"error-desc\": \"memory size: 256M here, 128M there\", \"__org.godwit\": "
                "{\"role\": \"source\", \"peer\": \"\", \"session\": \"\", \"epoch\": 0, "
                "\"verify\": \"off\", \"reason\": \"refused\"}}}\r\n");
}

static void assert_same(const struct gw_info_migrate *a, const struct gw_info_migrate *b)
{
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->role, b->role);
    assert_int_equal(a->has_ram, b->has_ram);
    assert_int_equal(a->has_downtime, b->has_downtime);
    assert_int_equal(a->verify, b->verify);
    assert_memory_equal(&a->ram, &b->ram, sizeof(a->ram));
    assert_int_equal(a->total_ms, b->total_ms);
    assert_int_equal(a->setup_ms, b->setup_ms);
    assert_int_equal(a->downtime_us, b->downtime_us);
    assert_int_equal(a->expected_downtime_us, b->expected_downtime_us);
    assert_int_equal(a->verify_ms, b->verify_ms);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->reason, b->reason);
    assert_string_equal(a->error, b->error);
    assert_int_equal(a->compression.packing, b->compression.packing);
    assert_int_equal(a->compression.raw_bytes, b->compression.raw_bytes);
    assert_int_equal(a->compression.packed_bytes, b->compression.packed_bytes);
    assert_string_equal(a->peer, b->peer);
    assert_string_equal(a->session, b->session);
    assert_int_equal(a->held.is_held, b->held.is_held);
    assert_int_equal(a->held.can_give_up, b->held.can_give_up);
    assert_int_equal(a->held.can_run_with_token, b->held.can_run_with_token);
    assert_int_equal(a->held.can_run_other_is_dead, b->held.can_run_other_is_dead);
    assert_int_equal(a->held.held_ms, b->held.held_ms);
    assert_string_equal(a->held.text, b->held.text);
}

static void test_migrate_reads_back(void **state)
{
    (void)state;
    struct gw_info_migrate info = sample();
    struct gw_info_migrate back;
    gw_qmp_encode_migrate(&message, "", &info);
    assert_true(gw_qmp_decode_migrate(&document, read_back(), &back));
    assert_same(&info, &back);

    info.status = GW_INFO_MIGRATION_DEVICE;
    info.has_downtime = true;
    info.downtime_us = 12345;
    info.expected_downtime_us = 0;
    info.role = GW_INFO_TARGET;
    info.verify = GW_INFO_VERIFY_EQUAL;
    info.verify_ms = 99;
    info.held = (struct gw_info_held){.is_held = true,
                                      .can_give_up = true,
                                      .can_run_other_is_dead = true,
                                      .held_ms = 5,
                                      .text = "COMMIT was sent"};
    gw_qmp_encode_migrate(&message, "", &info);
    assert_true(gw_qmp_decode_migrate(&document, read_back(), &back));
    assert_same(&info, &back);

    info = (struct gw_info_migrate){
        .status = GW_INFO_MIGRATION_FAILED, .reason = GW_LINK, .error = "gone"};
    gw_qmp_encode_migrate(&message, "", &info);
    assert_true(gw_qmp_decode_migrate(&document, read_back(), &back));
    assert_same(&info, &back);
}

static void test_status_reads_back(void **state)
{
    (void)state;
    struct gw_info_status status = {.state = GW_INFO_RUN_INMIGRATE,
                                    .name = "router",
                                    .incoming = "tcp:0.0.0.0:4444",
                                    .memory_bytes = 268435456,
                                    .up_ms = 7,
                                    .vcpu_count = 2,
                                    .pid = 99};
    struct gw_info_migrate migrate = {.status = GW_INFO_MIGRATION_NONE};
    gw_qmp_encode_status(&message, "", &status, &migrate);
    assert_line("{\"return\": {\"name\": \"router\", \"running\": false, \"status\": "
                "\"inmigrate\", \"memory\": 268435456, \"cpus\": 2, \"pid\": 99, \"up-time\": 7, "
                "\"dirty-mode\": \"dirty-bitmap\", \"incoming\": \"tcp:0.0.0.0:4444\", "
                "\"migrate\": {}}}\r\n");
    struct gw_info_status back;
    int value = read_back();
    assert_true(gw_qmp_decode_status(&document, value, &back));
    assert_memory_equal(&back, &status, sizeof(status));
    status.dirty_ring_entries = 4096;
    status.dirty_ring_full = 3;
    gw_qmp_encode_status(&message, "", &status, &migrate);
    assert_non_null(strstr(message.text, "\"dirty-mode\": \"dirty-ring\", \"dirty-ring-size\": "
                                         "4096, \"dirty-ring-full\": 3"));
    value = read_back();
    assert_true(gw_qmp_decode_status(&document, value, &back));
    assert_memory_equal(&back, &status, sizeof(status));
    assert_true(gw_qmp_decode_migrate(&document, gw_json_read_member(&document, value, "migrate"),
                                      &migrate));
    assert_int_equal(migrate.status, GW_INFO_MIGRATION_NONE);
}

#define TIME "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 42}, "

static void test_events_golden(void **state)
{
    (void)state;
    static const char *const lines[] = {
        [GW_QMP_EVENT_STOP] = TIME "\"event\": \"STOP\"}\r\n",
        [GW_QMP_EVENT_RESUME] = TIME "\"event\": \"RESUME\"}\r\n",
        [GW_QMP_EVENT_RESET] = TIME "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, "
                                    "\"reason\": \"guest-reset\"}}\r\n",
        [GW_QMP_EVENT_SHUTDOWN] = TIME "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, "
                                       "\"reason\": \"guest-shutdown\"}}\r\n",
        [GW_QMP_EVENT_QUIT] = TIME "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, "
                                   "\"reason\": \"host-qmp-quit\"}}\r\n",
        [GW_QMP_EVENT_GUEST_PANICKED] =
            TIME "\"event\": \"GUEST_PANICKED\", \"data\": {\"action\": \"poweroff\"}}\r\n",
        [GW_QMP_EVENT_PANIC_ENDS] = TIME "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, "
                                         "\"reason\": \"guest-panic\"}}\r\n",
    };
    for (unsigned int i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        gw_qmp_encode_event(&message, noon, (enum gw_qmp_event)i);
        assert_line(lines[i]);
    }
    gw_qmp_encode_event_pass(&message, noon, 3);
    assert_line(TIME "\"event\": \"MIGRATION_PASS\", \"data\": {\"pass\": 3}}\r\n");
}

static void test_final_migration_event_carries_all(void **state)
{
    (void)state;
    struct gw_info_migrate info = sample();
    struct gw_info_migrate back;
    gw_qmp_encode_event_migration(&message, noon, &info);
    assert_line(TIME "\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\r\n");
    info.status = GW_INFO_MIGRATION_COMPLETED;
    gw_qmp_encode_event_migration(&message, noon, &info);
    int data = gw_json_read_member(&document, read_back(), "data");
    assert_true(gw_qmp_decode_migrate(
        &document, gw_json_read_member(&document, data, "__org.godwit_info"), &back));
    assert_same(&info, &back);
}

static void test_dirty_rate(void **state)
{
    (void)state;
    struct gw_info_dirty_rate back;
    struct gw_info_dirty_rate rate = {
        .status = GW_INFO_DIRTY_RATE_MEASURING, .start_seconds = 77, .seconds = 2};
    gw_qmp_encode_dirty_rate(&message, "", &rate);
    assert_line("{\"return\": {\"status\": \"measuring\", \"start-time\": 77, \"calc-time\": 2, "
                "\"sample-pages\": 0, \"mode\": \"dirty-bitmap\"}}\r\n");
    assert_true(gw_qmp_decode_dirty_rate(&document, read_back(), &back));
    assert_false(back.is_by_ring);
    rate.is_by_ring = true;
    rate.status = GW_INFO_DIRTY_RATE_MEASURED;
    rate.pages_per_second = 2560;
    rate.page_bytes = 4096;
    gw_qmp_encode_dirty_rate(&message, "", &rate);
    assert_line("{\"return\": {\"status\": \"measured\", \"start-time\": 77, \"calc-time\": 2, "
                "\"sample-pages\": 0, \"mode\": \"dirty-ring\", \"dirty-rate\": 10, "
                "\"__org.godwit_pages-per-second\": 2560, \"__org.godwit_page-size\": 4096}}\r\n");
    assert_true(gw_qmp_decode_dirty_rate(&document, read_back(), &back));
    assert_int_equal(back.status, GW_INFO_DIRTY_RATE_MEASURED);
    assert_int_equal(back.pages_per_second, 2560);
    assert_int_equal(back.page_bytes, 4096);
    assert_true(back.is_by_ring);
    gw_qmp_encode_empty(&message, "");
    assert_false(gw_qmp_decode_dirty_rate(&document, read_back(), &back)); /* no status */
}

/* The worst case of every text and number still fits: 0x01 needs six bytes. */
static void test_the_longest_message_fits(void **state)
{
    (void)state;
    struct gw_info_migrate info;
    struct gw_info_status status;
    memset(&info, 0x01, sizeof(info));
    memset(&status, 0x01, sizeof(status));
    memset(&info.ram, 0xff, sizeof(info.ram));
    info.compression = (struct gw_info_compression){GW_INFO_PACKING_LZ4, UINT64_MAX, UINT64_MAX};
    info.status = GW_INFO_MIGRATION_FAILED;
    info.role = GW_INFO_TARGET;
    info.verify = GW_INFO_VERIFY_DIFFERENT;
    info.reason = GW_CANCELLED;
    info.has_ram = info.has_downtime = true;
    info.total_ms = info.setup_ms = info.verify_ms = info.epoch = UINT64_MAX;
    info.downtime_us = info.expected_downtime_us = info.held.held_ms = UINT64_MAX;
    info.round_trip_us = info.resumes = info.resent_bytes = UINT64_MAX;
    info.held.is_held = true;
    info.held.can_give_up = info.held.can_run_with_token = info.held.can_run_other_is_dead = true;
    info.error[GW_INFO_TEXT_BYTES - 1] = 0;
    info.held.text[GW_INFO_TEXT_BYTES - 1] = 0;
    info.blocked_count = GW_INFO_BLOCKED_MAX;
    for (int i = 0; i < GW_INFO_BLOCKED_MAX; i++) {
        info.blocked[i][GW_INFO_BLOCKED_BYTES - 1] = 0;
    }
    info.round_count = GW_INFO_ROUNDS_MAX;
    memset(info.round, 0xff, sizeof(info.round));
    info.handover_us = info.threshold_bytes = UINT64_MAX;
    info.peer[GW_INFO_URI_BYTES - 1] = 0;
    info.session[GW_INFO_SESSION_BYTES - 1] = 0;
    status.state = GW_INFO_RUN_INTERNAL_ERROR;
    status.name[GW_INFO_NAME_BYTES - 1] = 0;
    status.incoming[GW_INFO_URI_BYTES - 1] = 0;
    char id[GW_QMP_ID_BYTES];
    memset(id, '7', sizeof(id));
    id[sizeof(id) - 1] = 0;
    gw_qmp_encode_status(&message, id, &status, &info);
    int value = read_back();
    assert_true(gw_qmp_decode_status(&document, value, &status));
    gw_qmp_encode_event_migration(&message, noon, &info);
    assert_true(gw_json_read_member(&document, read_back(), "data") > 0);
    info.role = GW_INFO_SOURCE;
    gw_qmp_encode_status(&message, id, &status, &info);
    assert_true(gw_qmp_decode_status(&document, read_back(), &status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_replies),
        cmocka_unit_test(test_version_has_three_numbers),
        cmocka_unit_test(test_commands_are_all_listed),
        cmocka_unit_test(test_migrate_golden),
        cmocka_unit_test(test_migrate_reads_back),
        cmocka_unit_test(test_rounds_and_blockers_read_back),
        cmocka_unit_test(test_status_reads_back),
        cmocka_unit_test(test_events_golden),
        cmocka_unit_test(test_final_migration_event_carries_all),
        cmocka_unit_test(test_dirty_rate),
        cmocka_unit_test(test_the_longest_message_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
