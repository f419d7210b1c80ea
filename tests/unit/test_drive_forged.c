/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target that knows the protocol and lies, up to postcopy and beyond: a thread with a script. The
 * source refuses each lie with its reason, and the guest is where docs/HANDOVER.md says.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive_pair.h"
#include "godwit/crc32c.h"

enum lie {
    READY_OF_ANOTHER_EPOCH,
    DEMAND_BEYOND_RAM,
    RECEIVED_TOO_SHORT,
    RECEIVED_OF_MORE_PAGES,
    RECEIVED_ABOVE_THE_LAST,
    RECEIVED_WITH_A_NUMBER,
    READY_BEHIND_A_CUT,
};

/* One connection of the forger; blocking. */
struct line {
    int fd;
    uint32_t generation;
    uint64_t sequence; /* of the next frame of ours */
    uint8_t role;      /* as its INTRO says */
};

enum { INTRO_ROLE = 36 }; /* where that stands */

static struct {
    enum lie lie;
    int listener;
    struct line control, bulk, urgent;
    int prepared[2]; /* a pipe: PREPARE was read */
    bool is_cut;
} forger;

/* ---- Frames ---- */

static bool read_all(int fd, void *bytes, size_t count)
{
    uint8_t *to = bytes;
    while (count > 0) {
        ssize_t got = read(fd, to, count);
        if (got <= 0) {
            return false;
        }
        to += got;
        count -= (size_t)got;
    }
    return true;
}

/* The type of the next frame; 0 at the end. */
static uint8_t read_frame(struct line *line, struct gw_frame_header *header)
{
    static uint8_t payload[GW_BATCH_PAYLOAD_BYTES_MAX];
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    if (!read_all(line->fd, bytes, sizeof(bytes)) ||
        gw_frame_decode_header(header, bytes, NULL) != GW_OK ||
        header->payload_bytes > sizeof(payload) ||
        !read_all(line->fd, payload, header->payload_bytes)) {
        return 0;
    }
    line->generation = header->generation;
    line->role = header->type == GW_FRAME_INTRO ? payload[INTRO_ROLE] : line->role;
    return header->type;
}

static void read_until(struct line *line, uint8_t type)
{
    struct gw_frame_header header;
    uint8_t got;
    do {
        got = read_frame(line, &header);
    } while (got != 0 && got != type);
}

static void write_frame(struct line *line, uint8_t type, const uint8_t *payload, uint32_t count)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = type,
        .payload_bytes = count,
        .payload_crc = gw_crc32c(0, payload, count),
        .generation = line->generation,
        .sequence = line->sequence,
    };
    line->sequence += line->sequence > 0;
    gw_frame_encode_header(&header, bytes);
    memcpy(bytes + GW_FRAME_HEADER_BYTES, payload, count);
    (void)!send(line->fd, bytes, GW_FRAME_HEADER_BYTES + count, MSG_NOSIGNAL);
}

static void say(struct line *line, const struct gw_message *message)
{
    uint8_t payload[GW_MESSAGE_SMALL_BYTES];
    uint32_t count = gw_message_encode(message, payload, sizeof(payload));
    write_frame(line, (uint8_t)message->type, payload, count);
}

static void say_verdict(enum gw_frame_type type, uint64_t epoch)
{
    say(&forger.control, &(struct gw_message){.type = type, .verdict = {.epoch = epoch}});
}

/* ---- The script ---- */

/* Takes the next connection and welcomes it. */
static void welcome(struct line *line, uint64_t sequence, enum gw_standing standing, uint64_t epoch)
{
    struct gw_message message = {
        .type = GW_FRAME_WELCOME,
        .welcome = {.version = GW_PROTOCOL_VERSION, .standing = (uint8_t)standing, .epoch = epoch}};
    do {
        line->fd = accept4(forger.listener, NULL, NULL, SOCK_CLOEXEC);
    } while (line->fd < 0);
    line->sequence = sequence;
    read_until(line, GW_FRAME_INTRO);
    say(line, &message);
}

/* The bulk and the urgent channel, which come in any order. */
static void welcome_channels(void)
{
    for (int i = 0; i < 2; i++) {
        struct line line = {.fd = -1};
        welcome(&line, 0, GW_STANDING_OPEN, 0);
        *(line.role == GW_ROLE_URGENT ? &forger.urgent : &forger.bulk) = line;
    }
}

static void take_pages(void)
{
    struct gw_frame_header header;
    for (;;) {
        uint8_t type = read_frame(&forger.bulk, &header);
        if (type == 0) {
            return;
        }
        say(&forger.control,
            &(struct gw_message){.type = GW_FRAME_ACK, .ack = {.sequence = header.sequence}});
        if (type == GW_FRAME_MISSING) {
            return;
        }
    }
}

static void send_received(void)
{
    uint8_t map[16] = {PAIR_PAGES + (forger.lie == RECEIVED_OF_MORE_PAGES)};
    map[8 + PAIR_PAGES / 8] = forger.lie == RECEIVED_ABOVE_THE_LAST;
    forger.bulk.sequence += forger.lie == RECEIVED_WITH_A_NUMBER;
    write_frame(&forger.bulk, GW_FRAME_RECEIVED, map,
                forger.lie == RECEIVED_TOO_SHORT ? sizeof(map) - 8 : sizeof(map));
}

static void close_all(void)
{
    (void)close(forger.control.fd);
    (void)close(forger.bulk.fd);
    (void)close(forger.urgent.fd);
}

static void *serve(void *context)
{
    welcome(&forger.control, 1, GW_STANDING_NEW, 0);
    read_until(&forger.control, GW_FRAME_HELLO);
    say(&forger.control,
        &(struct gw_message){.type = GW_FRAME_ACCEPT,
                             .accept = {.capabilities = GW_CAN_POSTCOPY, .channel_count = 1}});
    welcome_channels();
    take_pages();
    read_until(&forger.control, GW_FRAME_PREPARE);
    if (forger.lie == READY_BEHIND_A_CUT) { /* by the source's own thread, between two looks */
        (void)!write(forger.prepared[1], "", 1);
        return context;
    }
    say_verdict(GW_FRAME_READY, forger.lie == READY_OF_ANOTHER_EPOCH ? 7 : 1);
    if (forger.lie == READY_OF_ANOTHER_EPOCH) {
        read_until(&forger.control, 0);
        close_all();
        return context;
    }
    read_until(&forger.control, GW_FRAME_COMMIT);
    say_verdict(GW_FRAME_RUNNING, 1);
    if (forger.lie == DEMAND_BEYOND_RAM) {
        forger.urgent.sequence = 1;
        say(&forger.urgent,
            &(struct gw_message){.type = GW_FRAME_DEMAND, .demanded_page = PAIR_PAGES});
        read_until(&forger.control, 0);
        close_all();
        return context;
    }
    close_all();
    welcome(&forger.control, 1, GW_STANDING_PULLING, 1);
    welcome(&forger.bulk, 0, GW_STANDING_OPEN, 0);
    send_received();
    read_until(&forger.bulk, 0);
    (void)close(forger.control.fd);
    (void)close(forger.bulk.fd);
    return context;
}

/* ---- The source ---- */

static int setup(void **context)
{
    (void)context;
    pair_open();
    pair.is_postcopy = true;
    pair.recover_ns_max = 60 * GW_NS_PER_S;
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    pair_close();
    return 0;
}

/* Steps until the source's reason has this text. */
static void expect_reason(const char *part)
{
    struct gw_fault fault;
    do {
        pair_step();
        gw_outgoing_get_fault(&pair_outgoing, &fault);
        if (pair.is_over && strstr(fault.text, part) == NULL) {
            fail_msg("it ended with '%s', where '%s' was wanted", fault.text, part);
        }
    } while (strstr(fault.text, part) == NULL);
}

static void lie_to_source(enum lie lie, const char *part, enum gw_source_state wanted)
{
    char uri[GW_URI_TEXT_BYTES];
    struct gw_token token;
    pthread_t thread;
    forger.lie = lie;
    forger.listener = pair_listen(uri, "between");
    assert_int_equal(fcntl(forger.listener, F_SETFL, 0), 0); /* the forger blocks */
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    pair_migrate(uri);
    expect_reason(part);
    if (wanted == GW_SOURCE_LOST) {
        assert_false(pair.runs_on_source); /* it may run over there */
        assert_int_equal(gw_outgoing_runner(&pair_outgoing), GW_RUNNER_TARGET);
        while (gw_outgoing_state(&pair_outgoing) != GW_SOURCE_PUSH_WAITING) {
            pair_step();
        }
        assert_int_equal(gw_outgoing_give_up(&pair_outgoing, &token, NULL), GW_OK);
    }
    assert_int_equal(pair_finish(), wanted);
    assert_int_equal(pair.runs_on_source, wanted == GW_SOURCE_FAILED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(forger.listener);
}

static int fill_prepared(struct pollfd *wait)
{
    wait[0] = (struct pollfd){.fd = forger.prepared[0], .events = POLLIN};
    return forger.is_cut ? 0 : 1;
}

static void cut_and_say_ready(void)
{
    char byte;
    if (read(forger.prepared[0], &byte, 1) == 1) {
        (void)close(forger.bulk.fd);
        forger.is_cut = true;
        say_verdict(GW_FRAME_READY, 1);
    }
}

/* A source that sees the end of a channel and READY at once: it cannot send COMMIT any more. */
static void ready_behind_a_cut_holds_nobody(void **context)
{
    (void)context;
    char uri[GW_URI_TEXT_BYTES];
    pthread_t thread;
    forger.lie = READY_BEHIND_A_CUT;
    forger.listener = pair_listen(uri, "between");
    assert_int_equal(pipe2(forger.prepared, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(fcntl(forger.listener, F_SETFL, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    pair.resume_ns_max = 60 * GW_NS_PER_S;
    pair.fill = fill_prepared;
    pair.serve = cut_and_say_ready;
    pair_migrate(uri);
    while (!forger.is_cut || gw_outgoing_state(&pair_outgoing) == GW_SOURCE_PREPARED) {
        pair_step();
    }
    assert_string_equal(gw_source_state_name(gw_outgoing_state(&pair_outgoing)), "RETRY_WAITING");
    assert_true(pair.runs_on_source);
    pair.fill = NULL;
    pair.serve = NULL;
    assert_int_equal(gw_outgoing_cancel(&pair_outgoing, NULL), GW_OK);
    assert_int_equal(pair_finish(), GW_SOURCE_CANCELLED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(forger.prepared[0]);
    (void)close(forger.prepared[1]);
    (void)close(forger.control.fd);
    (void)close(forger.urgent.fd);
    (void)close(forger.listener);
}

static void ready_of_another_epoch_commits_nothing(void **context)
{
    (void)context;
    lie_to_source(READY_OF_ANOTHER_EPOCH, "said READY", GW_SOURCE_FAILED);
}

static void a_demand_beyond_ram_is_not_answered(void **context)
{
    (void)context;
    lie_to_source(DEMAND_BEYOND_RAM, "demands page 24 of 24", GW_SOURCE_LOST);
}

static void a_map_that_is_too_short_reconciles_nothing(void **context)
{
    (void)context;
    lie_to_source(RECEIVED_TOO_SHORT, "RECEIVED number 0 of 16 bytes is wanted", GW_SOURCE_LOST);
}

static void a_map_of_another_guest_reconciles_nothing(void **context)
{
    (void)context;
    lie_to_source(RECEIVED_OF_MORE_PAGES, "a map of 25 pages", GW_SOURCE_LOST);
}

static void a_map_of_pages_that_are_none_reconciles_nothing(void **context)
{
    (void)context;
    lie_to_source(RECEIVED_ABOVE_THE_LAST, "above the last, 23", GW_SOURCE_LOST);
}

static void a_map_with_a_number_reconciles_nothing(void **context)
{
    (void)context;
    lie_to_source(RECEIVED_WITH_A_NUMBER, "RECEIVED number 1 of 16 bytes", GW_SOURCE_LOST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ready_behind_a_cut_holds_nobody),
        TEST(ready_of_another_epoch_commits_nothing),
        TEST(a_demand_beyond_ram_is_not_answered),
        TEST(a_map_that_is_too_short_reconciles_nothing),
        TEST(a_map_of_another_guest_reconciles_nothing),
        TEST(a_map_with_a_number_reconciles_nothing),
        TEST(a_map_of_pages_that_are_none_reconciles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
