/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources that are not what they should be: another program, another version, silent ones, liars.
 * The target goes on waiting for the right one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive_frames.h"
#include "godwit/pack.h"

/* ---- Frames by hand ---- */

static struct gw_message intro_of(enum gw_role role, uint8_t session)
{
    return (struct gw_message){.type = GW_FRAME_INTRO,
                               .intro = {.session = {.id = {session}},
                                         .version_min = GW_PROTOCOL_VERSION,
                                         .version_max = GW_PROTOCOL_VERSION,
                                         .role = (uint8_t)role,
                                         .generation = 1}};
}

static int watched_fd = -1;

static int fill(struct pollfd *wait)
{
    wait[0] = (struct pollfd){.fd = watched_fd, .events = POLLIN};
    return 1;
}

/* Reads until the target closes, or `most` bytes are there. */
static size_t get(int fd, uint8_t *bytes, size_t most)
{
    size_t got = 0;
    watched_fd = fd;
    pair.fill = fill;
    while (got < most) {
        pair_step();
        ssize_t count = recv(fd, bytes + got, most - got, MSG_DONTWAIT);
        if (count == 0) {
            break;
        }
        got += count > 0 ? (size_t)count : 0;
    }
    pair.fill = NULL;
    return got;
}

/* The sentence of the REFUSE that must come, then the end. */
static void expect_refusal(int fd, const char *part)
{
    uint8_t bytes[512];
    struct gw_frame_header header;
    struct gw_message message;
    struct gw_fault fault = {.status = GW_OK};
    size_t got = get(fd, bytes, sizeof(bytes));
    assert_true(got > GW_FRAME_HEADER_BYTES);
    assert_int_equal(gw_frame_decode_header(&header, bytes, &fault), GW_OK);
    assert_int_equal(header.type, GW_FRAME_REFUSE);
    assert_int_equal(gw_message_decode(&message, header.type, bytes + GW_FRAME_HEADER_BYTES,
                                       header.payload_bytes, &fault),
                     GW_OK);
    if (strstr(message.verdict.reason, part) == NULL) {
        fail_msg("refused with '%s', where '%s' was wanted", message.verdict.reason, part);
    }
}

static void expect_end(int fd)
{
    uint8_t bytes[512];
    assert_int_equal(get(fd, bytes, sizeof(bytes)), 0);
}

/* ---- Strangers ---- */

static void another_program_is_hung_up_on(void **context)
{
    (void)context;
    static const char request[] = "GET / HTTP/1.1\r\nHost: gateway\r\nAccept: */*\r\n\r\n";
    int fd = pair_connect();
    put(fd, request, sizeof(request) - 1);
    expect_end(fd);
    (void)close(fd);
    expect_success();
}

static void another_version_is_told_so(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message intro = intro_of(GW_ROLE_CONTROL, 9);
    size_t count = frame_of(bytes, &intro, 1, 1);
    bytes[4] = 2; /* docs/WIRE.md, Frames: the version */
    uint32_t crc = gw_crc32c(0, bytes, 28);
    for (int i = 0; i < 4; i++) {
        bytes[28 + i] = (uint8_t)(crc >> 8 * i);
    }
    int fd = pair_connect();
    put(fd, bytes, count);
    expect_refusal(fd, "version 2");
    (void)close(fd);
    expect_success();
}

static void a_source_of_other_versions_is_told_so(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message intro = intro_of(GW_ROLE_CONTROL, 9);
    intro.intro.version_min = 3;
    intro.intro.version_max = 4;
    int fd = pair_connect();
    put(fd, bytes, frame_of(bytes, &intro, 1, 1));
    expect_refusal(fd, "versions 3 to 4");
    (void)close(fd);
    expect_success();
}

static void silence_keeps_nobody_out(void **context)
{
    (void)context;
    int fd[3 * GW_INCOMING_PEERS_MAX];
    for (size_t i = 0; i < sizeof(fd) / sizeof(fd[0]); i++) {
        fd[i] = pair_connect();
        if (i % 2 == 0) {
            put(fd[i], "GDWT", 4); /* and no more */
        }
        pair_step();
    }
    pair.channel_count = GW_BULK_CHANNELS_MAX;
    expect_success();
    for (size_t i = 0; i < sizeof(fd) / sizeof(fd[0]); i++) {
        (void)close(fd[i]);
    }
}

/* Given all places but one taken by those who hear why they were refused, when all channels of a
 * session come between two looks, then each is heard. */
static void channels_that_come_at_once_do_not_displace_each_other(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message intro = intro_of(GW_ROLE_BULK, 9);
    int stranger[GW_INCOMING_PEERS_MAX - 1];
    int fd[GW_BULK_CHANNELS_MAX];
    for (size_t i = 0; i < sizeof(stranger) / sizeof(stranger[0]); i++) {
        stranger[i] = pair_connect();
        put(stranger[i], bytes, frame_of(bytes, &intro, 1, 0));
        (void)get(stranger[i], bytes, 1); /* it stays, for a second */
    }
    for (uint8_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        intro.intro.channel = i;
        fd[i] = pair_connect();
        put(fd[i], bytes, frame_of(bytes, &intro, 1, 0));
    }
    for (int i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        expect_refusal(fd[i], "no open session");
        (void)close(fd[i]);
    }
    for (size_t i = 0; i < sizeof(stranger) / sizeof(stranger[0]); i++) {
        (void)close(stranger[i]);
    }
    expect_success();
}

static void a_candidate_has_limited_time(void **context)
{
    (void)context;
    int fd = pair_connect();
    uint64_t before_ns = gw_clock_now_ns();
    expect_end(fd);
    assert_true(gw_clock_now_ns() - before_ns >= PAIR_INTRO_NS);
    (void)close(fd);
}

static void a_bulk_channel_of_no_session_is_turned_away(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message intro = intro_of(GW_ROLE_BULK, 9);
    int fd = pair_connect();
    put(fd, bytes, frame_of(bytes, &intro, 1, 0));
    expect_refusal(fd, "no open session");
    (void)close(fd);
    expect_success();
}

static void anything_but_intro_first_is_refused(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message commit = {.type = GW_FRAME_COMMIT, .verdict = {.epoch = 1}};
    int fd = pair_connect();
    put(fd, bytes, frame_of(bytes, &commit, 1, 1));
    expect_refusal(fd, "INTRO is wanted");
    (void)close(fd);
    expect_success();
}

/* Its reason must not be read as the fields of an INTRO. */
static void a_refusal_introduces_nobody(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message refuse = {.type = GW_FRAME_REFUSE};
    memset(refuse.verdict.reason, 'A', 40);
    int fd = pair_connect();
    put(fd, bytes, frame_of(bytes, &refuse, 0x41414141, 0));
    expect_refusal(fd, "INTRO is wanted");
    (void)close(fd);
    expect_success();
}

static void a_length_beyond_all_bounds_is_refused(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = GW_FRAME_INTRO,
                                     .payload_bytes = UINT32_MAX,
                                     .generation = 1,
                                     .sequence = 1};
    gw_frame_encode_header(&header, bytes);
    int fd = pair_connect();
    put(fd, bytes, sizeof(bytes));
    expect_refusal(fd, "4294967295 bytes");
    (void)close(fd);
    expect_success();
}

/* A source that introduces itself, and then is silent in the middle of its HELLO: it is asked
 * whether it is there, given up, and the target waits for the next. */
static void a_session_that_falls_silent_is_given_up(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    pair.idle_ns_max = 300 * GW_NS_PER_MS;
    pair_restart_target();
    struct gw_message intro = intro_of(GW_ROLE_CONTROL, 9);
    int fd = pair_connect();
    put(fd, bytes, frame_of(bytes, &intro, 1, 1));
    put(fd, "GDWT", 4);
    (void)get(fd, bytes, GW_FRAME_HEADER_BYTES + 16); /* WELCOME */
    assert_int_equal(bytes[5], GW_FRAME_WELCOME);
    (void)get(fd, bytes, GW_FRAME_HEADER_BYTES + 8);
    assert_int_equal(bytes[5], GW_FRAME_PING);
    expect_end(fd);
    (void)close(fd);
    struct gw_fault fault;
    gw_incoming_get_fault(&pair_incoming, &fault);
    assert_non_null(strstr(fault.text, "said nothing"));
    pair.idle_ns_max = 5 * GW_NS_PER_S;
    pair_restart_target();
    expect_success();
}

/* ---- By a source that was let in ---- */

enum { MAP_WORDS = 1, MAP_BYTES = 8 + 8 * MAP_WORDS };

static bool can_postcopy; /* as the target said to the last session */

/* A session up to its bulk channel. */
static struct gw_session open_session(int *control, int *bulk)
{
    static struct gw_facts facts = {
        .count = 1, .fact = {{.name = "machine", .form = GW_FACT_DECIMAL, .value = 7}}};
    static uint8_t session = 100;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message intro = intro_of(GW_ROLE_CONTROL, ++session);
    struct gw_message hello = {.type = GW_FRAME_HELLO,
                               .hello = {.guest_name = "forged",
                                         .channel_count = 1,
                                         .page_count = PAIR_PAGES,
                                         .page_bytes = pair.target_ram.page_bytes,
                                         .fact_count = 1,
                                         .facts = &facts}};
    *control = pair_connect();
    put(*control, bytes, frame_of(bytes, &intro, 1, 1));
    put(*control, bytes, frame_of(bytes, &hello, 1, 2));
    (void)get(*control, bytes, GW_FRAME_HEADER_BYTES + 16); /* WELCOME */
    (void)get(*control, bytes, GW_FRAME_HEADER_BYTES + 8);
    assert_int_equal(bytes[5], GW_FRAME_ACCEPT);
    can_postcopy = (bytes[GW_FRAME_HEADER_BYTES] & GW_CAN_POSTCOPY) != 0;
    intro.intro.role = GW_ROLE_BULK;
    *bulk = pair_connect();
    put(*bulk, bytes, frame_of(bytes, &intro, 1, 0));
    (void)get(*bulk, bytes, GW_FRAME_HEADER_BYTES + 16);
    assert_int_equal(bytes[5], GW_FRAME_WELCOME);
    return intro.intro.session;
}

/* Frames that ask for nothing take no more of a turn than others. */
static void pongs_without_end_leave_others_their_turn(void **context)
{
    (void)context;
    enum { PONGS = 1000 };
    static uint8_t bytes[PONGS * (GW_FRAME_HEADER_BYTES + 8)];
    struct gw_message pong = {.type = GW_FRAME_PONG};
    size_t count = 0;
    int control, bulk, waiting;
    (void)open_session(&control, &bulk);
    for (uint64_t i = 0; i < PONGS; i++) {
        count += frame_of(bytes + count, &pong, 1, 3 + i);
    }
    put(control, bytes, count);
    int fd = gw_connection_fd(&pair_incoming.control->channel.connection);
    pair_step();
    assert_int_equal(ioctl(fd, FIONREAD, &waiting), 0);
    assert_true(waiting > 0);
    while (waiting > 0) {
        pair_step();
        assert_int_equal(ioctl(fd, FIONREAD, &waiting), 0);
    }
    assert_int_equal(gw_incoming_state(&pair_incoming), GW_TARGET_ACTIVE);
    (void)close(control);
    (void)close(bulk);
}

static void put_message(int fd, const struct gw_message *message, uint64_t sequence)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    put(fd, bytes, frame_of(bytes, message, 1, sequence));
}

static void put_payload(int fd, enum gw_frame_type type, uint64_t sequence, uint16_t flags,
                        const uint8_t *payload, uint32_t count)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = (uint8_t)type,
                                     .flags = flags,
                                     .payload_bytes = count,
                                     .payload_crc = gw_crc32c(0, payload, count),
                                     .generation = 1,
                                     .sequence = sequence};
    gw_frame_encode_header(&header, bytes);
    put(fd, bytes, sizeof(bytes));
    put(fd, payload, count);
}

/* The target gives the session up for this frame, and says so; then the next source is served. */
static void expect_breach(enum gw_frame_type type, uint64_t sequence, uint16_t flags,
                          const uint8_t *payload, uint32_t count, const char *part)
{
    int control;
    int bulk;
    struct gw_fault fault;
    (void)open_session(&control, &bulk);
    put_payload(bulk, type, sequence, flags, payload, count);
    while (gw_incoming_state(&pair_incoming) != GW_TARGET_LISTENING) {
        pair_step();
    }
    gw_incoming_get_fault(&pair_incoming, &fault);
    if (strstr(fault.text, part) == NULL) {
        fail_msg("it ended with '%s', where '%s' was wanted", fault.text, part);
    }
    (void)close(control);
    (void)close(bulk);
}

static void maps_of_another_guest_are_refused(void **context)
{
    (void)context;
    uint8_t map[MAP_BYTES + 8] = {PAIR_PAGES};
    expect_breach(GW_FRAME_MISSING, 1, 0, map, MAP_BYTES - 8, "MISSING 1 has 8 bytes, wanted 16");
    expect_breach(GW_FRAME_MISSING, 1, 0, map, MAP_BYTES + 8, "MISSING 1 has 24 bytes, wanted 16");
    map[0] = PAIR_PAGES + 1;
    expect_breach(GW_FRAME_MISSING, 1, 0, map, MAP_BYTES, "a map of 25 pages");
    map[0] = PAIR_PAGES;
    map[8 + PAIR_PAGES / 8] = 1;
    expect_breach(GW_FRAME_MISSING, 1, 0, map, MAP_BYTES, "above the last, 23");
    map[8 + PAIR_PAGES / 8] = 0;
    expect_breach(GW_FRAME_MISSING, 2, 0, map, MAP_BYTES, "batch 2, wanted 1");
    expect_success();
}

/* Given a guest that runs here and has none of its pages, when its source has a page verified,
 * then nobody reads it: it would be waited for on the very connection that brings it. */
static void what_is_for_before_the_guest_runs_is_refused_then(void **context)
{
    (void)context;
    uint8_t map[MAP_BYTES] = {PAIR_PAGES};
    uint8_t verify[GW_VERIFY_BYTES];
    uint8_t bytes[GW_FRAME_HEADER_BYTES + 16];
    struct gw_message urgent = intro_of(GW_ROLE_URGENT, 0);
    struct gw_message prepare = {.type = GW_FRAME_PREPARE,
                                 .prepare = {.epoch = 1,
                                             .channel_count = 1,
                                             .is_running = true,
                                             .is_postcopy = true,
                                             .missing_pages = PAIR_PAGES,
                                             .sequence_last = {1},
                                             .state = pair_state,
                                             .state_bytes = PAIR_STATE_BYTES}};
    struct gw_message commit = {.type = GW_FRAME_COMMIT, .verdict = {.epoch = 1}};
    struct gw_fault fault;
    int control, bulk;
    pair.is_postcopy = true;
    pair_restart_target();
    urgent.intro.session = open_session(&control, &bulk);
    if (!can_postcopy) {
        skip();
    }
    int fd = pair_connect();
    put_message(fd, &urgent, 0);
    (void)get(fd, bytes, sizeof(bytes)); /* WELCOME */
    memset(map + 8, 0xff, PAIR_PAGES / 8);
    put_payload(bulk, GW_FRAME_MISSING, 1, 0, map, sizeof(map));
    put_message(control, &prepare, 3);
    while (gw_incoming_state(&pair_incoming) != GW_TARGET_READY) {
        pair_step();
    }
    pair.runs_on_source = false; /* the guest that comes is another */
    put_message(control, &commit, 4);
    while (gw_incoming_state(&pair_incoming) != GW_TARGET_PULLING) {
        pair_step();
    }
    gw_verify_encode(&(struct gw_verify){.page = 0, .count = 1}, verify);
    put_payload(bulk, GW_FRAME_VERIFY, 2, 0, verify, sizeof(verify));
    while (gw_incoming_state(&pair_incoming) != GW_TARGET_STRANDED) {
        pair_step();
    }
    gw_incoming_get_fault(&pair_incoming, &fault);
    assert_non_null(strstr(fault.text, "VERIFY 2 when its guest ran here"));
    (void)close(fd);
    (void)close(control);
    (void)close(bulk);
}

/* A batch of one record without bytes. */
static void expect_batch_refused(uint64_t page, uint32_t count, uint32_t kind, const char *part)
{
    static struct gw_batch_builder builder;
    uint8_t table[GW_BATCH_TABLE_BYTES_MAX];
    uint32_t ignored;
    gw_batch_begin(&builder, NULL, pair.target_ram.page_bytes);
    builder.table.record_count = 1;
    builder.table.record[0] = (struct gw_record){.page = page, .count = count, .kind = kind};
    uint32_t bytes = gw_batch_finish(&builder, table, &ignored);
    expect_breach(GW_FRAME_BATCH, 1, GW_FRAME_STOPPED, table, bytes, part);
}

static void pages_that_cannot_be_are_refused(void **context)
{
    (void)context;
    expect_batch_refused(PAIR_PAGES, 1, GW_RECORD_ZERO, "RAM has 24 pages");
    expect_batch_refused(PAIR_PAGES - 1, 2, GW_RECORD_ZERO, "RAM has 24 pages");
    expect_batch_refused(UINT64_MAX, UINT32_MAX, GW_RECORD_ZERO, "RAM has 24 pages");
    expect_batch_refused(3, 1, GW_RECORD_GONE, "page 3 as gone");
    expect_batch_refused(3, 1, GW_RECORD_KINDS, "a record of kind 5");
    expect_batch_refused(3, 1, GW_RECORD_COPY, "page 3 as a copy of its raw page number 0");
    expect_batch_refused(0, PAIR_PAGES, GW_RECORD_RAW, "lengths disagree");
    expect_success();
}

/* ---- Packed batches ---- */

/* Pages from page 4 on; the body is what is put there as packed. */
static void expect_packed_refused(const uint8_t *body, uint32_t count, uint32_t raw_pages,
                                  const char *part)
{
    static struct gw_batch_builder builder;
    static uint8_t payload[GW_BATCH_PAYLOAD_BYTES_MAX];
    uint32_t page_bytes = pair.target_ram.page_bytes;
    uint32_t ignored;
    gw_batch_begin(&builder, NULL, page_bytes);
    builder.table.record_count = 1;
    builder.table.raw_pages = raw_pages;
    builder.table.record[0] =
        (struct gw_record){.page = 4, .count = raw_pages, .kind = GW_RECORD_RAW};
    uint32_t bytes = gw_batch_finish_packed(&builder, body, count, payload, &ignored);
    memcpy(payload + bytes, body, count);
    expect_breach(GW_FRAME_BATCH, 1, GW_FRAME_PACKED, payload, bytes + count, part);
}

static void packed_pages_that_lie_are_refused(void **context)
{
    (void)context;
    static struct gw_packer packer;
    static uint8_t pages[8 * 65536];
    static uint8_t packed[GW_BATCH_BYTES_MAX];
    uint32_t page_bytes = pair.target_ram.page_bytes;
    for (size_t i = 0; i < sizeof(pages); i++) {
        pages[i] = (uint8_t)(i / 7);
    }
    uint32_t three = gw_pack(&packer, pages, 3 * page_bytes, packed);
    assert_true(three > 0 && three < page_bytes);
    expect_packed_refused(packed, three, 2, "are no lz4 block of at most"); /* it has more */
    expect_packed_refused(packed, three, 4, "bytes, wanted ");              /* it has less */
    expect_packed_refused(packed, three - 1, 3, "packed bytes of a batch"); /* cut */
    expect_packed_refused(pages, 2 * page_bytes, 2, "lengths disagree");    /* not shorter */
    expect_packed_refused(pages, 2 * page_bytes - 1, 2, "packed bytes of a batch");
    static const uint8_t far[] = {0x10, 0x41, 0xff, 0xff, 0x00}; /* a match before the start */
    expect_packed_refused(far, sizeof(far), 2, "are no lz4 block");
    expect_success();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_program_is_hung_up_on),
        TEST(another_version_is_told_so),
        TEST(a_source_of_other_versions_is_told_so),
        TEST(silence_keeps_nobody_out),
        TEST(channels_that_come_at_once_do_not_displace_each_other),
        TEST(a_candidate_has_limited_time),
        TEST(a_bulk_channel_of_no_session_is_turned_away),
        TEST(anything_but_intro_first_is_refused),
        TEST(a_refusal_introduces_nobody),
        TEST(a_length_beyond_all_bounds_is_refused),
        TEST(a_session_that_falls_silent_is_given_up),
        TEST(pongs_without_end_leave_others_their_turn),
        TEST(what_is_for_before_the_guest_runs_is_refused_then),
        TEST(maps_of_another_guest_are_refused),
        TEST(pages_that_cannot_be_are_refused),
        TEST(packed_pages_that_lie_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
