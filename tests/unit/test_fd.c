/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that someone else made (fd: of godwit/transport.h): as a listener, and for a migration.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive_pair.h"

static struct gw_fault fault;
static struct gw_listener listener;
static struct gw_connection client, server;
static struct gw_transport_options options;

static int setup(void **context)
{
    (void)context;
    gw_fault_clear(&fault);
    options = gw_transport_defaults;
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    gw_connection_close(&client);
    gw_connection_close(&server);
    gw_listener_close(&listener);
    return 0;
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
}

static int tcp_socket(uint32_t address, bool is_listening)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(address)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(is_listening ? listen(fd, 4) : 0, 0);
    return fd;
}

static struct gw_uri uri_of(const int *fds, int count)
{
    struct gw_uri uri = {.scheme = GW_URI_FD, .fd_count = (uint32_t)count};
    memcpy(uri.fd, fds, (size_t)count * sizeof(fds[0]));
    return uri;
}

/* ---- A listener ---- */

static void an_inherited_listener_goes_by_its_address(void **context)
{
    (void)context;
    int fd = tcp_socket(INADDR_LOOPBACK, true);
    struct linger linger = {.l_onoff = 1, .l_linger = 3600};
    socklen_t bytes = sizeof(linger);
    struct gw_uri uri = uri_of(&fd, 1);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, bytes), 0);
    assert_int_equal(gw_listener_open(&listener, &uri, &options, &fault), GW_OK);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &bytes), 0);
    assert_int_equal(linger.l_onoff, 0); /* no close waits for a peer */
    assert_int_equal(listener.uri.scheme, GW_URI_TCP);
    assert_string_equal(listener.uri.host, "127.0.0.1");
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    assert_int_equal(gw_connection_open(&server, &fault), GW_OK);
    assert_int_equal(gw_listener_accept(&listener, &server, &fault), GW_AGAIN);
    assert_int_equal(gw_connection_connect(&client, &listener.uri, &options, &fault), GW_OK);
    assert_int_equal(gw_listener_accept(&listener, &server, &fault), GW_OK);
    assert_int_equal(strncmp(server.peer, "tcp:127.0.0.1:", 14), 0);
    gw_listener_close(&listener);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* Each a descriptor that is no use as a listener, or as connections, and why. */
static void what_is_no_use_is_refused(void **context)
{
    (void)context;
    int pair_fd[2], pipe_fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair_fd), 0);
    assert_int_equal(pipe(pipe_fd), 0);
    int datagram = socket(AF_INET, SOCK_DGRAM, 0);
    int loopback = tcp_socket(INADDR_LOOPBACK, true);
    int any = tcp_socket(INADDR_ANY, true);
    int idle = tcp_socket(INADDR_LOOPBACK, false);
    const struct {
        int fd;
        const char *listening, *connected; /* NULL: it is of use */
    } cases[] = {
        {1000, "not open, wanted a socket", "not open, wanted a socket"},
        {pipe_fd[0], "no socket, wanted", "no socket, wanted"},
        {datagram, "wanted a stream socket", "wanted a stream socket"},
        {pair_fd[0], "does not listen, wanted one that listens", NULL},
        {loopback, NULL, "listens, wanted one that is connected"},
        {any, "tcp:0.0.0.0:", "listens"},
        {idle, "does not listen", "is not connected"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gw_uri uri = uri_of(&cases[i].fd, 1);
        gw_fault_clear(&fault);
        if (cases[i].listening != NULL) {
            assert_int_equal(gw_listener_open(&listener, &uri, &options, &fault), GW_ARGUMENT);
            assert_non_null(strstr(fault.text, cases[i].listening));
        }
        gw_fault_clear(&fault);
        assert_int_equal(gw_sockets_check(&uri, &options, &fault),
                         cases[i].connected != NULL ? GW_ARGUMENT : GW_OK);
        assert_true(cases[i].connected == NULL || strstr(fault.text, cases[i].connected) != NULL);
    }
    int two[2] = {loopback, any};
    struct gw_uri uri = uri_of(two, 2);
    gw_fault_clear(&fault);
    assert_int_equal(gw_listener_open(&listener, &uri, &options, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "found 2 descriptors, wanted one"));
    options.is_plaintext_allowed = true;
    uri = uri_of(&any, 1);
    assert_int_equal(gw_listener_open(&listener, &uri, &options, &fault), GW_OK);
    int rest[] = {pair_fd[0], pair_fd[1], pipe_fd[0], pipe_fd[1], datagram, loopback, idle};
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
        assert_int_equal(close(rest[i]), 0);
    }
}

/* ---- Connections ---- */

static void each_connect_takes_the_next_and_then_there_is_none(void **context)
{
    (void)context;
    int fds[2];
    struct gw_sockets sockets = {.count = 0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct gw_uri uri = uri_of(fds, 2);
    options.sockets = &sockets;
    gw_sockets_put(&sockets, &uri);
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    assert_int_equal(gw_connection_open(&server, &fault), GW_OK);
    assert_int_equal(gw_connection_connect(&client, &uri, &options, &fault), GW_OK);
    assert_int_equal(gw_connection_fd(&client), fds[0]);
    assert_int_equal(gw_connection_connect(&server, &uri, &options, &fault), GW_OK);
    char byte = 'a';
    struct iovec part = {&byte, 1};
    assert_int_equal(gw_connection_write_all(&client, &part, 1, &fault), GW_OK);
    part = (struct iovec){&byte, 1};
    assert_int_equal(gw_connection_read_all(&server, &part, 1, &fault), GW_OK);
    assert_int_equal(gw_connection_shut(&client), GW_OK);
    part = (struct iovec){&byte, 1};
    assert_int_equal(gw_connection_read_all(&server, &part, 1, &fault), GW_LINK);
    gw_connection_close(&client);
    for (int i = 0; i < 3; i++) {
        gw_fault_clear(&fault);
        assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
        assert_int_equal(gw_connection_connect(&client, &uri, &options, &fault), GW_LINK);
        assert_non_null(strstr(fault.text, "used up; wanted 2 new ones"));
        gw_connection_close(&client);
    }
    gw_sockets_close(&sockets);
}

/* ---- A migration ---- */

enum { CONTROL, BULK, URGENT, SOCKETS };

/* What an orchestrator keeps of the sockets that it hands in: a way to cut them. */
static int kept[SOCKETS];

static int open_pair(void **context)
{
    pair_open();
    return setup(context);
}

static int close_pair(void **context)
{
    (void)context;
    pair_close();
    return 0;
}

static void drop_kept(void)
{
    for (int i = 0; i < SOCKETS; i++) {
        assert_int_equal(close(kept[i]), 0);
    }
}

static const char *connect_sockets(void)
{
    static char text[GW_URI_TEXT_BYTES];
    int fds[SOCKETS];
    for (int i = 0; i < SOCKETS; i++) {
        fds[i] = pair_connect();
        kept[i] = dup(fds[i]);
        assert_true(kept[i] >= 0);
    }
    struct gw_uri uri = uri_of(fds, SOCKETS);
    return gw_uri_encode(&uri, text);
}

static void moves_over_handed_in_sockets(void **context)
{
    (void)context;
    int before = count_descriptors();
    pair_migrate(connect_sockets());
    drop_kept();
    assert_int_equal(pair_finish(), GW_SOURCE_COMPLETED);
    pair_check(GW_SOURCE_COMPLETED);
    pair_restart_target();
    assert_int_equal(count_descriptors(), before);
}

static void too_few_are_refused_at_once(void **context)
{
    (void)context;
    int fds[2];
    char text[GW_URI_TEXT_BYTES];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct gw_uri uri = uri_of(fds, 2);
    const struct gw_outgoing_config config = {.uri = gw_uri_encode(&uri, text),
                                              .source = {.channel_count = 2},
                                              .ram = &pair.source_ram,
                                              .transport = gw_transport_defaults};
    assert_int_equal(gw_outgoing_start(&pair_outgoing, &config, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "found 2 sockets, wanted 4: one for control, 2 for memory"));
    assert_int_equal(close(fds[0]) + close(fds[1]), 0); /* they are the caller's still */
}

static bool is_lost(void)
{
    struct gw_source_figures figures;
    gw_outgoing_get_figures(&pair_outgoing, &figures);
    return figures.is_link_lost || figures.is_held;
}

/* Until the link is lost, and the fault says what is wanted. */
static void await_need(void)
{
    struct gw_fault why = {.status = GW_OK};
    while (!pair.is_over && (!is_lost() || strstr(why.text, "hand in new sockets") == NULL)) {
        pair_step();
        gw_outgoing_get_fault(&pair_outgoing, &why);
    }
}

/* Whatever was cut at whatever step: new sockets mend it, and nothing else does. */
static void new_sockets_mend_a_lost_link(void **context)
{
    (void)context;
    int before = count_descriptors();
    unsigned mended = 0;
    for (int n = 0; n < 24; n++) {
        struct gw_source_figures figures;
        pair.resume_ns_max = 20 * GW_NS_PER_S;
        pair_migrate(connect_sockets());
        for (int step = 0; step < 2 * n && !pair.is_over; step++) {
            pair_step();
        }
        assert_int_equal(pair.is_over ? 0 : shutdown(kept[n % 2 ? BULK : CONTROL], SHUT_RDWR), 0);
        drop_kept();
        await_need();
        if (!pair.is_over) {
            assert_int_equal(gw_outgoing_recover(&pair_outgoing, connect_sockets(), &fault), GW_OK);
            drop_kept();
            mended++;
        }
        enum gw_source_state ended = pair_finish();
        pair_check(ended);
        gw_outgoing_get_figures(&pair_outgoing, &figures);
        if (figures.setup_ns > 0) {
            assert_int_equal(ended, GW_SOURCE_COMPLETED);
        }
        pair_restart_target();
        assert_int_equal(count_descriptors(), before);
    }
    print_message("mended %u times\n", mended);
    assert_true(mended > 0);
}

static void new_sockets_are_refused_while_the_link_is_up(void **context)
{
    (void)context;
    pair_migrate(connect_sockets());
    while (gw_outgoing_state(&pair_outgoing) < GW_SOURCE_GREETING) {
        pair_step();
    }
    drop_kept();
    const char *more = connect_sockets();
    struct gw_uri uri;
    struct gw_sockets unused = {.count = 0};
    assert_int_equal(gw_outgoing_recover(&pair_outgoing, more, &fault), GW_ARGUMENT);
    assert_int_equal(gw_uri_decode(&uri, more, NULL), GW_OK);
    gw_sockets_put(&unused, &uri);
    gw_sockets_close(&unused);
    drop_kept();
    assert_int_equal(pair_finish(), GW_SOURCE_COMPLETED);
    pair_check(GW_SOURCE_COMPLETED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_inherited_listener_goes_by_its_address, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_use_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(each_connect_takes_the_next_and_then_there_is_none, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(moves_over_handed_in_sockets, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(too_few_are_refused_at_once, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(new_sockets_mend_a_lost_link, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(new_sockets_are_refused_while_the_link_is_up, open_pair,
                                        close_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
