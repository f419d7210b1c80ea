/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that are not what they should be: another program, another version, silent ones, liars.
 * A target goes on waiting for the right source; a source fails with a sentence, and its guest
 * goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive_pair.h"
#include "godwit/crc32c.h"
#include "godwit/pack.h"

static int open_pair(void **context)
{
    (void)context;
    pair_open();
    return 0;
}

static int close_pair(void **context)
{
    (void)context;
    pair_close();
    return 0;
}

/* ---- Frames by hand ---- */

static size_t frame_of(uint8_t *bytes, const struct gw_message *message, uint32_t generation,
                       uint64_t sequence)
{
    uint32_t count =
        gw_message_encode(message, bytes + GW_FRAME_HEADER_BYTES, GW_MESSAGE_SMALL_BYTES);
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = (uint8_t)message->type,
        .payload_bytes = count,
        .payload_crc = count == 0 ? 0 : gw_crc32c(0, bytes + GW_FRAME_HEADER_BYTES, count),
        .generation = generation,
        .sequence = sequence,
    };
    gw_frame_encode_header(&header, bytes);
    return GW_FRAME_HEADER_BYTES + count;
}

static struct gw_message intro_of(enum gw_role role, uint8_t session)
{
    return (struct gw_message){.type = GW_FRAME_INTRO,
                               .intro = {.session = {.id = {session}},
                                         .version_min = GW_PROTOCOL_VERSION,
                                         .version_max = GW_PROTOCOL_VERSION,
                                         .role = (uint8_t)role,
                                         .generation = 1}};
}

static void put(int fd, const void *bytes, size_t count)
{
    assert_int_equal(send(fd, bytes, count, MSG_NOSIGNAL), count);
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

static void expect_success(void)
{
    pair_migrate(pair.target_uri);
    enum gw_source_state ended = pair_finish();
    assert_int_equal(ended, GW_SOURCE_COMPLETED);
    pair_check(ended);
}

/* ---- To the target ---- */

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

/* ---- To the target, by a source that was let in ---- */

enum { MAP_WORDS = 1, MAP_BYTES = 8 + 8 * MAP_WORDS };

/* A session up to its bulk channel. */
static void open_session(int *control, int *bulk)
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
    intro.intro.role = GW_ROLE_BULK;
    *bulk = pair_connect();
    put(*bulk, bytes, frame_of(bytes, &intro, 1, 0));
    (void)get(*bulk, bytes, GW_FRAME_HEADER_BYTES + 16);
    assert_int_equal(bytes[5], GW_FRAME_WELCOME);
}

/* The target gives the session up for this frame, and says so; then the next source is served. */
static void expect_breach(enum gw_frame_type type, uint64_t sequence, uint16_t flags,
                          const uint8_t *payload, uint32_t count, const char *part)
{
    int control;
    int bulk;
    uint8_t bytes[512];
    struct gw_fault fault;
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = (uint8_t)type,
                                     .flags = flags,
                                     .payload_bytes = count,
                                     .payload_crc = gw_crc32c(0, payload, count),
                                     .generation = 1,
                                     .sequence = sequence};
    open_session(&control, &bulk);
    gw_frame_encode_header(&header, bytes);
    put(bulk, bytes, GW_FRAME_HEADER_BYTES);
    put(bulk, payload, count);
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

/* ---- To the source ---- */

/* What a target that is none says, to the first connection; then it closes, or is silent. */
static struct {
    int listener, fd;
    const uint8_t *says;
    size_t count;
    bool is_closing;
} liar;

static int fill_liar(struct pollfd *wait)
{
    wait[0] = (struct pollfd){.fd = liar.listener, .events = POLLIN};
    return 1;
}

static void serve_liar(void)
{
    int fd = accept4(liar.listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    liar.fd = fd;
    put(fd, liar.says, liar.count);
    if (liar.is_closing) {
        (void)shutdown(fd, SHUT_WR);
    }
}

static void expect_failure(const void *says, size_t count, bool is_closing, const char *part)
{
    char uri[GW_URI_TEXT_BYTES];
    liar.listener = pair_listen(uri, "between");
    liar.fd = -1;
    liar.says = says;
    liar.count = count;
    liar.is_closing = is_closing;
    pair.fill = fill_liar;
    pair.serve = serve_liar;
    pair_migrate(uri);
    assert_int_equal(pair_finish(), GW_SOURCE_FAILED);
    pair.fill = NULL;
    pair.serve = NULL;
    (void)close(liar.fd);
    (void)close(liar.listener);
    assert_true(pair.runs_on_source);
    struct gw_fault fault;
    gw_outgoing_get_fault(&pair_outgoing, &fault);
    if (strstr(fault.text, part) == NULL) {
        fail_msg("it failed with '%s', where '%s' was wanted", fault.text, part);
    }
    expect_success();
}

static void a_target_that_is_another_program(void **context)
{
    (void)context;
    static const char answer[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
    expect_failure(answer, sizeof(answer) - 1, false, "does not speak godwit's protocol");
}

static void a_target_that_hangs_up(void **context)
{
    (void)context;
    expect_failure("", 0, true, "closed the connection");
}

static void a_target_that_ends_within_a_frame(void **context)
{
    (void)context;
    expect_failure("GDWT", 4, true, "in the middle of a frame");
}

static void a_target_that_says_nothing(void **context)
{
    (void)context;
    pair.idle_ns_max = 300 * GW_NS_PER_MS;
    pair_restart_target();
    expect_failure("", 0, false, "said nothing");
}

static void a_target_that_refuses(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message refuse = {.type = GW_FRAME_REFUSE,
                                .verdict = {.reason = "no guests on Sundays"}};
    expect_failure(bytes, frame_of(bytes, &refuse, 0, 0), true, "no guests on Sundays");
}

static void a_target_that_counts_wrong(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message welcome = {.type = GW_FRAME_WELCOME,
                                 .welcome = {.version = GW_PROTOCOL_VERSION}};
    expect_failure(bytes, frame_of(bytes, &welcome, 1, 2), false, "where 1 is wanted");
}

static void a_target_of_another_generation(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message welcome = {.type = GW_FRAME_WELCOME,
                                 .welcome = {.version = GW_PROTOCOL_VERSION}};
    expect_failure(bytes, frame_of(bytes, &welcome, 7, 1), false, "of generation 7");
}

static void a_target_that_sends_a_state(void **context)
{
    (void)context;
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    struct gw_frame_header header = {.version = GW_PROTOCOL_VERSION,
                                     .type = GW_FRAME_PREPARE,
                                     .payload_bytes = 100000,
                                     .generation = 1,
                                     .sequence = 1};
    gw_frame_encode_header(&header, bytes);
    expect_failure(bytes, sizeof(bytes), false, "PREPARE");
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
        TEST(a_length_beyond_all_bounds_is_refused),
        TEST(a_session_that_falls_silent_is_given_up),
        TEST(maps_of_another_guest_are_refused),
        TEST(pages_that_cannot_be_are_refused),
        TEST(packed_pages_that_lie_are_refused),
        TEST(a_target_that_is_another_program),
        TEST(a_target_that_hangs_up),
        TEST(a_target_that_ends_within_a_frame),
        TEST(a_target_that_says_nothing),
        TEST(a_target_that_refuses),
        TEST(a_target_that_counts_wrong),
        TEST(a_target_of_another_generation),
        TEST(a_target_that_sends_a_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
