/* SPDX-License-Identifier: Apache-2.0 */
/* Targets that are none: a source fails with a sentence, and its guest goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive_frames.h"

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
