/* SPDX-License-Identifier: Apache-2.0 */
/* The urgent channel's thread at the source, with a target that goes away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive/framing.h"
#include "godwit/answerer.h"
#include "source_script.h"

enum { PAGES = 100, DEMANDED = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t kicked = PTHREAD_COND_INITIALIZER;
static char directory[40];
static struct gw_uri uri;
static struct gw_notify wake;
static struct gw_ram ram;
static struct gw_answerer answerer;

static int listen_as_target(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[GW_URI_TEXT_BYTES];
    (void)snprintf(directory, sizeof(directory), "/tmp/godwit-answerer-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/target", directory);
    (void)snprintf(text, sizeof(text), "unix:%s", address.sun_path);
    assert_int_equal(gw_uri_decode(&uri, text, NULL), GW_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void start_answerer(void)
{
    static struct gw_transport_options options;
    const struct gw_intro intro = {.version_min = GW_PROTOCOL_VERSION,
                                   .version_max = GW_PROTOCOL_VERSION,
                                   .role = GW_ROLE_URGENT,
                                   .generation = source.generation};
    gw_ram_init(&ram);
    uint64_t bytes = (uint64_t)PAGES * ram.page_bytes;
    assert_int_equal(gw_ram_add_memfd(&ram, UINT64_C(1) << 30, bytes, NULL), GW_OK);
    assert_int_equal(gw_notify_open(&wake, NULL), GW_OK);
    options = gw_transport_defaults;
    answerer.lock = &lock;
    answerer.kicked = &kicked;
    answerer.source = &source;
    answerer.wake = &wake;
    answerer.ram = &ram;
    answerer.uri = &uri;
    answerer.options = &options;
    assert_int_equal(gw_connection_open(&answerer.connection, NULL), GW_OK);
    assert_int_equal(gw_answerer_start(&answerer, &intro, NULL), GW_OK);
}

static void say(int fd, const struct gw_message *message, uint64_t sequence)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    uint32_t count = gw_framing_encode(message, source.generation, sequence, bytes, sizeof(bytes));
    assert_int_equal(send(fd, bytes, count, 0), count);
}

/* It welcomes the channel, demands a page, and is gone before that is read. */
static void demand_and_leave(int listener)
{
    struct gw_message welcome = {
        .type = GW_FRAME_WELCOME,
        .welcome = {.version = GW_PROTOCOL_VERSION, .standing = GW_STANDING_OPEN}};
    struct gw_message demand = {.type = GW_FRAME_DEMAND, .demanded_page = DEMANDED};
    uint8_t intro[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    uint32_t intro_bytes =
        gw_framing_encode(&(struct gw_message){.type = GW_FRAME_INTRO}, 1, 0, intro, sizeof(intro));
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(recv(fd, intro, intro_bytes, MSG_WAITALL), intro_bytes);
    pthread_mutex_lock(&lock); /* without it no demand is taken */
    say(fd, &welcome, 0);
    say(fd, &demand, 1);
    assert_int_equal(close(fd), 0);
    pthread_mutex_unlock(&lock);
}

/* Else a link that breaks under each answer would be tried for ever. */
static void an_answer_that_cannot_be_sent_is_no_progress(void **state)
{
    struct gw_fault fault;
    (void)state;
    reach(GW_SOURCE_PUSHING);
    source.lost_ns = 5 * MS; /* it was lost before, and nothing came of it since */
    int listener = listen_as_target();
    start_answerer();
    demand_and_leave(listener);
    gw_answerer_join(&answerer);
    assert_true(gw_answerer_has_ended(&answerer, &fault));
    assert_int_equal(answerer.sequence, 1); /* it was taken, and an answer begun */
    assert_int_equal(source.lost_ns, 5 * MS);
    assert_int_equal(source.demands, 0);
    assert_int_equal(source.demands_open, 0);
    assert_int_equal(source.answering.count, 0);
    assert_int_equal(source.postcopy_bytes, 0);

    gw_connection_close(&answerer.connection);
    gw_notify_close(&wake);
    gw_ram_close(&ram);
    assert_int_equal(close(listener), 0);
    assert_int_equal(unlink(uri.path), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_cannot_be_sent_is_no_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
