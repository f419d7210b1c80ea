/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners and connections over tcp and unix (godwit/transport.h), against each other. */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
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

#include "godwit/clock.h"
#include "godwit/transport.h"

static struct gw_fault fault;
static struct gw_listener listener;
static struct gw_connection client;
static struct gw_connection server;
static struct gw_transport_options options;

static int setup(void **state)
{
    (void)state;
    gw_fault_clear(&fault);
    memset(&listener, 0, sizeof(listener));
    memset(&client, 0, sizeof(client));
    memset(&server, 0, sizeof(server));
    options = gw_transport_defaults;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gw_connection_close(&client);
    gw_connection_close(&server);
    gw_listener_close(&listener);
    return 0;
}

static void given_listener(const char *text)
{
    struct gw_uri uri;
    assert_int_equal(gw_uri_decode(&uri, text, &fault), GW_OK);
    if (gw_listener_open(&listener, &uri, &options, &fault) != GW_OK) {
        print_error("%s\n", fault.text);
        fail();
    }
}

static void when_accepted(void)
{
    struct pollfd wait = {.fd = listener.fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 5000), 1);
    assert_int_equal(gw_listener_accept(&listener, &server, &fault), GW_OK);
}

static void given_pair(const char *text)
{
    given_listener(text);
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    assert_int_equal(gw_connection_open(&server, &fault), GW_OK);
    assert_int_equal(gw_listener_accept(&listener, &server, &fault), GW_AGAIN);
    if (gw_connection_connect(&client, &listener.uri, &options, &fault) != GW_OK) {
        print_error("%s\n", fault.text);
        fail();
    }
    when_accepted();
}

/* What a thread of its own does: many parts of odd lengths, some empty. */
enum { PARTS = 100 };
static uint8_t sent[PARTS][5000];
static uint8_t received[PARTS][5000];

static int make_parts(struct iovec *parts, uint8_t bytes[PARTS][5000])
{
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = (struct iovec){bytes[i], (i * 7919) % 5000};
    }
    parts[PARTS - 1].iov_len = 0;
    return PARTS;
}

static void *send_all(void *argument)
{
    struct iovec parts[PARTS];
    struct gw_fault own = {.status = GW_OK};
    for (int round = 0; round < 20; round++) {
        int count = make_parts(parts, sent);
        if (gw_connection_write_all(argument, parts, count, &own) != GW_OK) {
            print_error("%s\n", own.text);
            return argument;
        }
    }
    return NULL;
}

static void all_bytes_arrive_over(const char *uri)
{
    struct iovec parts[PARTS];
    given_pair(uri);
    for (size_t i = 0; i < sizeof(sent); i++) {
        ((uint8_t *)sent)[i] = (uint8_t)(i * 31 + i / 256);
    }
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_all, &client), 0);
    for (int round = 0; round < 20; round++) {
        memset(received, 0, sizeof(received));
        int count = make_parts(parts, received);
        assert_int_equal(gw_connection_read_all(&server, parts, count, &fault), GW_OK);
        for (size_t i = 0; i < PARTS - 1; i++) {
            assert_memory_equal(received[i], sent[i], (i * 7919) % 5000);
        }
    }
    void *failed = NULL;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
}

static const char *unix_uri(void)
{
    static char text[64];
    (void)snprintf(text, sizeof(text), "unix:/tmp/godwit-test-%d.sock", (int)getpid());
    return text;
}

static void all_bytes_arrive_over_v4(void **state)
{
    (void)state;
    all_bytes_arrive_over("tcp:127.0.0.1:0");
    assert_int_not_equal(listener.uri.port, 0);
    assert_int_equal(strncmp(server.peer, "tcp:127.0.0.1:", 14), 0);
}

static void all_bytes_arrive_over_v6(void **state)
{
    (void)state;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd < 0) {
        skip(); /* a host without IPv6 */
    }
    (void)close(fd);
    all_bytes_arrive_over("tcp:[::1]:0");
    assert_int_equal(strncmp(server.peer, "tcp:[::1]:", 10), 0);
}

static void all_bytes_arrive_over_unix(void **state)
{
    (void)state;
    all_bytes_arrive_over(unix_uri());
    assert_string_equal(server.peer, unix_uri());
}

/* Is there an AF_VSOCK that reaches this machine itself (module vsock_loopback)? */
static bool is_vsock_known(void)
{
    struct gw_uri uri = {.scheme = GW_URI_VSOCK, .cid = GW_URI_CID_LOCAL};
    struct gw_listener probe;
    bool is_known = gw_listener_open(&probe, &uri, &options, NULL) == GW_OK;
    gw_listener_close(&probe);
    return is_known;
}

static void all_bytes_arrive_over_vsock(void **state)
{
    (void)state;
    if (!is_vsock_known()) {
        skip();
    }
    all_bytes_arrive_over("vsock:local:0");
    assert_int_not_equal(listener.uri.port, 0);
    assert_int_equal(strncmp(server.peer, "vsock:local:", 12), 0);
}

static void vsock_says_what_is_wrong(void **state)
{
    (void)state;
    struct gw_uri uri = {.scheme = GW_URI_VSOCK, .cid = GW_URI_CID_ANY, .port = 9};
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    assert_int_equal(gw_connection_connect(&client, &uri, &options, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "vsock:any:9: context id: found any"));
    uri = (struct gw_uri){.scheme = GW_URI_VSOCK, .cid = GW_URI_CID_LOCAL, .port = 9};
    gw_fault_clear(&fault);
    enum gw_status status = gw_connection_connect(&client, &uri, &options, &fault);
    assert_true(status == GW_LINK || status == GW_HOST); /* nobody listens, or there is no vsock */
    assert_non_null(strstr(fault.text, "vsock:local:9: "));
    gw_connection_close(&client);
}

/* Does this machine have a name for itself? A bare root (mmdebstrap) has no /etc/hosts at all. */
static bool is_localhost_known(void)
{
    char line[256];
    bool is_known = false;
    FILE *hosts = fopen("/etc/hosts", "r");
    while (hosts != NULL && !is_known && fgets(line, sizeof(line), hosts) != NULL) {
        is_known = line[0] != '#' && strstr(line, "localhost") != NULL;
    }
    if (hosts != NULL) {
        (void)fclose(hosts);
    }
    return is_known;
}

static void names_are_resolved(void **state)
{
    (void)state;
    if (!is_localhost_known()) {
        print_message("not here: /etc/hosts does not name localhost\n");
        skip();
    }
    given_pair("tcp:localhost:0");
}

/* Given a connection, when its URI is kept to where it got to, then the name is not asked for
 * again, but it is still the peer's. */
static void a_name_is_looked_up_once(void **state)
{
    (void)state;
    given_pair("tcp:127.0.0.1:0");
    struct gw_connection second;
    struct gw_uri uri = listener.uri;
    (void)snprintf(uri.host, sizeof(uri.host), "no-such-host.invalid");
    gw_uri_keep_to(&uri, gw_connection_fd(&client));
    assert_string_equal(uri.address, "127.0.0.1");
    assert_int_equal(gw_connection_open(&second, &fault), GW_OK);
    assert_int_equal(gw_connection_connect(&second, &uri, &options, &fault), GW_OK);
    assert_int_equal(strncmp(second.peer, "tcp:no-such-host.invalid:", 25), 0);
    gw_connection_close(&second);
}

static void unknown_name_is_a_link_fault(void **state)
{
    (void)state;
    struct gw_uri uri = {.scheme = GW_URI_TCP, .port = 1, .host = "no-such-host.invalid"};
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    assert_int_equal(gw_connection_connect(&client, &uri, &options, &fault), GW_LINK);
    assert_non_null(strstr(fault.text, "tcp:no-such-host.invalid:1: the host name"));
}

static void nothing_there_is_again(void **state)
{
    (void)state;
    given_pair("tcp:127.0.0.1:0");
    uint8_t bytes[16];
    struct iovec part = {bytes, sizeof(bytes)};
    size_t count;
    assert_int_equal(gw_connection_read(&server, &part, 1, &count, &fault), GW_AGAIN);
    assert_int_equal(gw_connection_write(&client, &part, 1, &count, &fault), GW_OK);
    assert_int_equal(count, 16);
    struct pollfd wait = {.fd = gw_connection_fd(&server), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 5000), 1);
    assert_int_equal(gw_connection_read(&server, &part, 1, &count, &fault), GW_OK);
    assert_int_equal(count, 16);
    /* A full socket says "again", too. */
    static uint8_t many[1 << 20];
    struct iovec large = {many, sizeof(many)};
    enum gw_status status;
    do {
        status = gw_connection_write(&client, &large, 1, &count, &fault);
    } while (status == GW_OK);
    assert_int_equal(status, GW_AGAIN);
}

/* What the link does not take yet is not taken here either: it would go out before a page that
 * somebody waits for. */
static void little_waits_unsent_in_a_full_socket(void **state)
{
    (void)state;
    static uint8_t many[65536];
    struct iovec part = {many, sizeof(many)};
    size_t count;
    int unsent = 0;
    given_pair("tcp:127.0.0.1:0");
    while (gw_connection_write(&client, &part, 1, &count, &fault) == GW_OK) {
    }
    if (ioctl(gw_connection_fd(&client), SIOCOUTQNSD, &unsent) != 0) {
        assert_int_equal(errno, ENOTTY); /* a process emulator that does not know it */
        skip();
    }
    assert_in_range(unsent, 1, 2 * 131072); /* the kernel ends a segment that it began */
}

/* What write_all asked of the transport: a call that wrote all it was given. */
static size_t largest, together;

static enum gw_status note_write(struct gw_connection *connection, const struct iovec *parts,
                                 int count, size_t *bytes, struct gw_fault *own)
{
    (void)connection;
    (void)own;
    *bytes = 0;
    for (int i = 0; i < count; i++) {
        assert_ptr_equal((uint8_t *)parts[i].iov_base, (uint8_t *)sent + together + *bytes);
        *bytes += parts[i].iov_len;
    }
    largest = *bytes > largest ? *bytes : largest;
    together += *bytes;
    return GW_OK;
}

static void when_written_in_three_parts(void)
{
    enum { HEAD = 64, MIDDLE = 100001, TAIL = 99999 };
    uint8_t *bytes = (uint8_t *)sent;
    struct iovec parts[] = {{bytes, HEAD}, {bytes + HEAD, MIDDLE}, {bytes + HEAD + MIDDLE, TAIL}};
    struct gw_transport_operations noting = *client.operations;
    const struct gw_transport_operations *own = client.operations;
    noting.write = note_write;
    largest = 0;
    together = 0;
    client.operations = &noting;
    assert_int_equal(gw_connection_write_all(&client, parts, 3, &fault), GW_OK);
    client.operations = own;
    assert_int_equal(together, HEAD + MIDDLE + TAIL);
}

static void over_loopback_a_call_writes_one_packet(void **state)
{
    (void)state;
    given_pair("tcp:127.0.0.1:0");
    when_written_in_three_parts();
    assert_in_range(largest, 32768, 65464); /* IPv6's; IPv4's is 19 bytes more */
    assert_int_equal(largest % 16, 0);
}

static void elsewhere_a_call_writes_all_there_is(void **state)
{
    (void)state;
    given_pair(unix_uri());
    when_written_in_three_parts();
    assert_int_equal(largest, together);
}

/* What one call brought is handed out in pieces; what is larger than the room goes its own way. */
static void reading_ahead_changes_no_byte(void **state)
{
    (void)state;
    enum { ROOM = 64, ALL = 1000 };
    static uint8_t whole[ALL], got[ALL], ahead[ROOM];
    static const size_t pieces[] = {1, 40, 20, 3, 64, 63, 200, 10, 0};
    for (size_t i = 0; i < ALL; i++) {
        whole[i] = (uint8_t)(i * 7 + i / 256);
    }
    given_pair("tcp:127.0.0.1:0");
    gw_connection_read_ahead(&server, ahead, sizeof(ahead));
    struct iovec all = {whole, sizeof(whole)};
    assert_int_equal(gw_connection_write_all(&client, &all, 1, &fault), GW_OK);
    size_t at = 0;
    for (int i = 0; at < ALL; i = pieces[i + 1] == 0 ? 0 : i + 1) {
        size_t count = pieces[i] < ALL - at ? pieces[i] : ALL - at;
        struct iovec parts[2] = {{got + at, count / 2}, {got + at + count / 2, count - count / 2}};
        assert_int_equal(gw_connection_read_all(&server, parts, 2, &fault), GW_OK);
        at += count;
    }
    assert_memory_equal(got, whole, ALL);
    assert_false(gw_connection_has_ahead(&server));
}

static void kept_bytes_can_be_had_where_they_lie(void **state)
{
    (void)state;
    uint8_t ahead[64];
    uint8_t first;
    struct iovec part = {&first, 1};
    char letters[] = "abcdef";
    struct iovec text = {letters, 6};
    given_pair("tcp:127.0.0.1:0");
    gw_connection_read_ahead(&server, ahead, sizeof(ahead));
    assert_int_equal(gw_connection_write_all(&client, &text, 1, &fault), GW_OK);
    assert_int_equal(gw_connection_read_all(&server, &part, 1, &fault), GW_OK);
    assert_int_equal(first, 'a');
    assert_true(gw_connection_has_ahead(&server));
    assert_null(gw_connection_take_ahead(&server, 6));
    const uint8_t *bytes = gw_connection_take_ahead(&server, 5);
    assert_true(bytes > ahead && bytes < ahead + sizeof(ahead));
    assert_memory_equal(bytes, "bcdef", 5);
    assert_false(gw_connection_has_ahead(&server));
}

static void closed_peer_is_a_link_fault_without_a_signal(void **state)
{
    (void)state;
    given_pair("tcp:127.0.0.1:0");
    gw_connection_close(&server);
    uint8_t bytes[16] = {0};
    struct iovec part = {bytes, sizeof(bytes)};
    assert_int_equal(gw_connection_read_all(&client, &part, 1, &fault), GW_LINK);
    assert_non_null(strstr(fault.text, "the peer closed the connection"));
    enum gw_status status = GW_OK;
    gw_fault_clear(&fault);
    while (status == GW_OK) { /* the first may still be taken; SIGPIPE would end the test */
        part = (struct iovec){bytes, sizeof(bytes)};
        status = gw_connection_write_all(&client, &part, 1, &fault);
    }
    assert_int_equal(status, GW_LINK);
    assert_true(fault.os_error == EPIPE || fault.os_error == ECONNRESET);
}

static void refused_connect_names_the_peer(void **state)
{
    (void)state;
    given_listener("tcp:127.0.0.1:0");
    struct gw_uri uri = listener.uri;
    gw_listener_close(&listener);
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    assert_int_equal(gw_connection_connect(&client, &uri, &options, &fault), GW_LINK);
    assert_int_equal(fault.os_error, ECONNREFUSED);
    assert_non_null(strstr(fault.text, "Connection refused (is the target listening?)"));
    assert_int_equal(gw_connection_fd(&client), -1);
    uri.port = 0;
    gw_fault_clear(&fault);
    assert_int_equal(gw_connection_connect(&client, &uri, &options, &fault), GW_ARGUMENT);
}

static void silent_peer_is_given_up(void **state)
{
    (void)state;
    options.idle_ns_max = 20 * GW_NS_PER_MS;
    given_pair("tcp:127.0.0.1:0");
    uint8_t byte;
    struct iovec part = {&byte, 1};
    uint64_t start = gw_clock_now_ns();
    assert_int_equal(gw_connection_read_all(&client, &part, 1, &fault), GW_LINK);
    assert_true(gw_clock_now_ns() - start >= 20 * GW_NS_PER_MS);
    assert_non_null(strstr(fault.text, "the peer sent nothing for 20ms"));
    static uint8_t many[64 << 20];
    struct iovec large = {many, sizeof(many)};
    gw_fault_clear(&fault);
    assert_int_equal(gw_connection_write_all(&client, &large, 1, &fault), GW_LINK);
    assert_non_null(strstr(fault.text, "the peer read nothing for 20ms"));
}

static void plaintext_beyond_this_host_is_refused(void **state)
{
    (void)state;
    struct gw_uri uri = {.scheme = GW_URI_TCP, .port = 0, .host = "0.0.0.0"};
    assert_int_equal(gw_listener_open(&listener, &uri, &options, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "--plaintext"));
    gw_fault_clear(&fault);
    uri = (struct gw_uri){.scheme = GW_URI_TCP, .port = 9, .host = "192.0.2.1"};
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    assert_int_equal(gw_connection_connect(&client, &uri, &options, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "192.0.2.1"));
    gw_fault_clear(&fault);
    options.is_plaintext_allowed = true;
    uri = (struct gw_uri){.scheme = GW_URI_TCP, .port = 0, .host = "0.0.0.0"};
    assert_int_equal(gw_listener_open(&listener, &uri, &options, &fault), GW_OK);
    assert_int_not_equal(listener.uri.port, 0);
}

/* ---- Interrupts ---- */

static void *interrupt_when_blocked(void *argument)
{
    /* Whether it comes before, in, or after the wait must make no difference. */
    struct timespec moment = {.tv_nsec = 1000 * 1000};
    (void)nanosleep(&moment, NULL);
    gw_connection_interrupt(argument);
    return NULL;
}

static void interrupt_ends_a_read_and_sticks(void **state)
{
    (void)state;
    options.idle_ns_max = GW_LOOP_FOREVER;
    given_pair(unix_uri());
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_when_blocked, &client), 0);
    uint8_t byte;
    struct iovec part = {&byte, 1};
    assert_int_equal(gw_connection_read_all(&client, &part, 1, &fault), GW_CANCELLED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    size_t count;
    gw_fault_clear(&fault);
    assert_int_equal(gw_connection_read(&client, &part, 1, &count, &fault), GW_CANCELLED);
    assert_int_equal(gw_connection_write(&client, &part, 1, &count, &fault), GW_CANCELLED);
}

/* A listener whose queue is full never answers: connect waits. */
static void given_full_listener(void)
{
    given_listener(unix_uri());
    static struct gw_connection waiting[64];
    options.connect_ns_max = 1;
    int count = 0;
    enum gw_status status = GW_OK;
    while (status == GW_OK && count < 64) {
        assert_int_equal(gw_connection_open(&waiting[count], &fault), GW_OK);
        status = gw_connection_connect(&waiting[count], &listener.uri, &options, &fault);
        count++;
    }
    assert_int_equal(status, GW_LINK);
    gw_fault_clear(&fault);
    gw_connection_close(&waiting[count - 1]);
    options.connect_ns_max = GW_LOOP_FOREVER;
    /* The others stay open until the process ends: closing them would not empty the queue. */
}

static void interrupt_ends_a_connect(void **state)
{
    (void)state;
    given_full_listener();
    assert_int_equal(gw_connection_open(&client, &fault), GW_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_when_blocked, &client), 0);
    assert_int_equal(gw_connection_connect(&client, &listener.uri, &options, &fault), GW_CANCELLED);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void connect_gives_up_in_time(void **state)
{
    (void)state;
    /* A TCP listener with a full queue drops the SYN: no answer at all. */
    given_listener("tcp:127.0.0.1:0");
    assert_int_equal(listen(listener.fd, 0), 0);
    static struct gw_connection waiting[8];
    options.connect_ns_max = 30 * GW_NS_PER_MS;
    enum gw_status status = GW_OK;
    for (int i = 0; i < 8 && status == GW_OK; i++) {
        assert_int_equal(gw_connection_open(&waiting[i], &fault), GW_OK);
        status = gw_connection_connect(&waiting[i], &listener.uri, &options, &fault);
    }
    for (int i = 0; i < 8; i++) {
        gw_connection_close(&waiting[i]);
    }
    assert_int_equal(status, GW_LINK);
    assert_int_equal(fault.os_error, ETIMEDOUT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_bytes_arrive_over_v4),
        TEST(all_bytes_arrive_over_v6),
        TEST(all_bytes_arrive_over_unix),
        TEST(all_bytes_arrive_over_vsock),
        TEST(vsock_says_what_is_wrong),
        TEST(names_are_resolved),
        TEST(a_name_is_looked_up_once),
        TEST(unknown_name_is_a_link_fault),
        TEST(nothing_there_is_again),
        TEST(little_waits_unsent_in_a_full_socket),
        TEST(over_loopback_a_call_writes_one_packet),
        TEST(elsewhere_a_call_writes_all_there_is),
        TEST(reading_ahead_changes_no_byte),
        TEST(kept_bytes_can_be_had_where_they_lie),
        TEST(closed_peer_is_a_link_fault_without_a_signal),
        TEST(refused_connect_names_the_peer),
        TEST(silent_peer_is_given_up),
        TEST(plaintext_beyond_this_host_is_refused),
        TEST(interrupt_ends_a_read_and_sticks),
        TEST(interrupt_ends_a_connect),
        TEST(connect_gives_up_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
