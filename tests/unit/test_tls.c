/* SPDX-License-Identifier: Apache-2.0 */
/* TLS by a pre-shared key (godwit/tls.h): bytes, ends, refusals, memory. */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/frame.h"
#include "godwit/message.h"
#include "tls_pair.h"
#include "transport/tls_internal.h"

static struct gw_fault fault;

static int setup(void **state)
{
    gw_fault_clear(&fault);
    return tls_setup(state);
}

/* ---- Bytes ---- */

/* Many parts of odd lengths, some empty, some longer than a record. */
enum { PARTS = 40, PART_BYTES = 40000, ROUNDS = 3 };
static uint8_t sent[PARTS][PART_BYTES];
static uint8_t received[PARTS][PART_BYTES];

static size_t length_of(size_t i)
{
    return i % 5 == 0 ? 0 : i % 3 == 0 ? (i * 7919) % PART_BYTES : (i * 31) % 300;
}

static int make_parts(struct iovec *parts, uint8_t bytes[PARTS][PART_BYTES])
{
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = (struct iovec){bytes[i], length_of(i)};
    }
    return PARTS;
}

static void *send_all(void *connection)
{
    struct iovec parts[PARTS];
    struct gw_fault own = {.status = GW_OK};
    for (int round = 0; round < ROUNDS; round++) {
        int count = make_parts(parts, sent);
        if (gw_connection_write_all(connection, parts, count, &own) != GW_OK) {
            print_error("%s\n", own.text);
            return connection;
        }
    }
    return NULL;
}

static void all_bytes_arrive(struct gw_connection *from, struct gw_connection *to)
{
    pthread_t thread;
    struct iovec parts[PARTS];
    for (size_t i = 0; i < sizeof(sent); i++) {
        ((uint8_t *)sent)[i] = (uint8_t)(i * 31 + i / 256);
    }
    assert_int_equal(pthread_create(&thread, NULL, send_all, from), 0);
    for (int round = 0; round < ROUNDS; round++) {
        memset(received, 0, sizeof(received));
        int count = make_parts(parts, received);
        if (gw_connection_read_all(to, parts, count, &fault) != GW_OK) {
            fail_msg("%s", fault.text);
        }
        for (size_t i = 0; i < PARTS; i++) {
            assert_memory_equal(received[i], sent[i], length_of(i));
        }
    }
    void *failed = NULL;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
}

static void all_bytes_arrive_both_ways(void **state)
{
    (void)state;
    tls_given_pair();
    all_bytes_arrive(&tls.client, &tls.server);
    all_bytes_arrive(&tls.server, &tls.client);
}

static void given_unix_pair(void)
{
    char uri[80];
    tls_given_key(&tls.source, "a:" TLS_KEY_A);
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    (void)snprintf(uri, sizeof(uri), "unix:%s/socket", tls_directory);
    tls_given_listener(uri);
    tls_shake();
    assert_int_equal(tls.client_status, GW_OK);
}

static void all_bytes_arrive_over_unix(void **state)
{
    (void)state;
    given_unix_pair();
    all_bytes_arrive(&tls.client, &tls.server);
}

static void each_cipher_works(void **state)
{
    (void)state;
    static const unsigned ciphers[] = {GW_TLS_AES_128_GCM, GW_TLS_CHACHA20_POLY1305};
    for (int i = 0; i < 2; i++) {
        tls_given_key(&tls.source, "a:" TLS_KEY_A);
        tls_given_key(&tls.target, "a:" TLS_KEY_A);
        gw_tls_set_ciphers(&tls.source, ciphers[i]);
        tls_given_listener("tcp:127.0.0.1:0");
        tls_shake();
        assert_int_equal(tls.client_status, GW_OK);
        all_bytes_arrive(&tls.client, &tls.server);
        all_bytes_arrive(&tls.server, &tls.client);
        tls_end();
    }
}

/* A record with another behind it may wait for that; the last one goes at once, also where parts
 * without bytes follow. */
static void nothing_that_was_written_is_kept_back(void **state)
{
    (void)state;
    static uint8_t bytes[3 * GW_TLS_RECORD_BYTES + 100];
    tls_given_pair();
    for (size_t length = 100; length < sizeof(bytes); length += GW_TLS_RECORD_BYTES) {
        struct iovec parts[3] = {{bytes, 40}, {bytes + 40, length - 40}, {bytes, 0}};
        int unsent = 0;
        assert_int_equal(gw_connection_write_all(&tls.client, parts, 3, &fault), GW_OK);
        if (ioctl(gw_connection_fd(&tls.client), SIOCOUTQNSD, &unsent) != 0) {
            assert_int_equal(errno, ENOTTY); /* a process emulator that does not know it */
            skip();
        }
        assert_int_equal(unsent, 0);
    }
}

/* A record that the socket did not take whole is not counted until it is, and then once. */
static void a_full_socket_loses_and_repeats_nothing(void **state)
{
    (void)state;
    static uint8_t many[8 << 20], got[sizeof(many)];
    size_t out = 0, in = 0, count, agains = 0;
    for (size_t i = 0; i < sizeof(many); i++) {
        many[i] = (uint8_t)(i * 13 + i / 251);
    }
    given_unix_pair();
    while (in < sizeof(many)) {
        struct iovec rest[2] = {
            {many + out, (sizeof(many) - out) / 3},
            {many + out + (sizeof(many) - out) / 3, sizeof(many) - out - (sizeof(many) - out) / 3}};
        enum gw_status status = GW_AGAIN;
        if (out < sizeof(many)) {
            status = gw_connection_write(&tls.client, rest, 2, &count, &fault);
            out += status == GW_OK ? count : 0;
        }
        if (status == GW_AGAIN) {
            agains++;
            assert_int_equal(tls_read_some(&tls.server, got + in, sizeof(got) - in, &count, &fault),
                             GW_OK);
            in += count;
        }
    }
    assert_true(agains > 2);
    assert_memory_equal(got, many, sizeof(many));
}

/* What was decrypted is not in the socket any more: who waits for the socket must know. */
static void decrypted_bytes_are_told_of(void **state)
{
    (void)state;
    char text[] = "abcdef";
    uint8_t first;
    size_t count;
    struct iovec part = {text, 6};
    tls_given_pair();
    assert_false(gw_connection_has_ahead(&tls.server));
    assert_int_equal(gw_connection_write_all(&tls.client, &part, 1, &fault), GW_OK);
    assert_int_equal(tls_read_some(&tls.server, &first, 1, &count, &fault), GW_OK);
    struct pollfd now = {.fd = gw_connection_fd(&tls.server), .events = POLLIN};
    assert_int_equal(poll(&now, 1, 0), 0);
    assert_true(gw_connection_has_ahead(&tls.server));
    part = (struct iovec){text, 5};
    assert_int_equal(gw_connection_read_all(&tls.server, &part, 1, &fault), GW_OK);
    assert_memory_equal(text, "bcdef", 5);
    assert_false(gw_connection_has_ahead(&tls.server));
}

/* ---- Ends ---- */

static void say(struct gw_connection *connection, const char *text)
{
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    assert_int_equal(gw_connection_write_all(connection, &part, 1, &fault), GW_OK);
}

static void expect(struct gw_connection *connection, const char *text)
{
    char got[16];
    struct iovec part = {got, strlen(text)};
    assert_int_equal(gw_connection_read_all(connection, &part, 1, &fault), GW_OK);
    assert_memory_equal(got, text, strlen(text));
}

static void an_end_in_order_is_told_from_a_cut(void **state)
{
    (void)state;
    uint8_t byte;
    size_t count;
    tls_given_pair();
    say(&tls.client, "last");
    assert_int_equal(gw_connection_shut(&tls.client), GW_OK);
    expect(&tls.server, "last");
    assert_int_equal(tls_read_some(&tls.server, &byte, 1, &count, &fault), GW_LINK);
    assert_int_equal(fault.os_error, 0);
    assert_non_null(strstr(fault.text, "the peer closed the connection"));
    /* The other way is still open. */
    gw_fault_clear(&fault);
    say(&tls.server, "answer");
    expect(&tls.client, "answer");
    gw_connection_close(&tls.server); /* says so, too */
    assert_int_equal(tls_read_some(&tls.client, &byte, 1, &count, &fault), GW_LINK);
    assert_int_equal(fault.os_error, 0);
}

static void a_cut_is_no_end_in_order(void **state)
{
    (void)state;
    uint8_t byte;
    size_t count;
    tls_given_pair();
    say(&tls.client, "last");
    assert_int_equal(shutdown(gw_connection_fd(&tls.client), SHUT_WR), 0);
    expect(&tls.server, "last");
    for (int i = 0; i < 2; i++) { /* and stays one */
        gw_fault_clear(&fault);
        assert_int_equal(tls_read_some(&tls.server, &byte, 1, &count, &fault), GW_LINK);
        assert_int_equal(fault.os_error, ECONNRESET);
        assert_non_null(strstr(fault.text, "close_notify"));
    }
}

/* Closed with bytes unread, the server's socket cuts the connection; what it said is still there.
 */
static void what_was_said_last_is_heard_behind_a_failed_write(void **state)
{
    (void)state;
    enum gw_status status = GW_OK;
    tls_given_pair();
    say(&tls.client, "unread");
    say(&tls.server, "last");
    struct pollfd wait = {.fd = gw_connection_fd(&tls.server), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    gw_connection_close(&tls.server);
    while (status == GW_OK) {
        uint8_t byte = 1;
        struct iovec part = {&byte, 1};
        size_t count;
        status = gw_connection_write(&tls.client, &part, 1, &count, &fault);
    }
    assert_int_equal(status, GW_LINK);
    expect(&tls.client, "last");
}

static void an_interrupted_connection_ends_without_a_word(void **state)
{
    (void)state;
    uint8_t byte;
    size_t count;
    tls_given_pair();
    gw_connection_interrupt(&tls.client);
    gw_connection_close(&tls.client);
    assert_int_equal(tls_read_some(&tls.server, &byte, 1, &count, &fault), GW_LINK);
    assert_int_not_equal(fault.os_error, 0);
}

static void forged_bytes_are_no_record(void **state)
{
    (void)state;
    uint8_t byte;
    size_t count;
    uint8_t record[5 + 40] = {23, 3, 3, 0, 40, 1, 2, 3};
    tls_given_pair();
    assert_int_equal(send(gw_connection_fd(&tls.client), record, sizeof(record), 0),
                     sizeof(record));
    assert_int_equal(tls_read_some(&tls.server, &byte, 1, &count, &fault), GW_LINK);
    assert_int_equal(fault.os_error, EBADMSG);
}

/* Another connection has other keys. */
static void a_key_is_used_for_so_many_records(void **state)
{
    (void)state;
    char text[] = "abcd";
    struct iovec part = {text, 4};
    tls_given_pair();
    tls.client.tls->sealed = GW_TLS_RECORDS_MAX - 1;
    say(&tls.client, "last");
    assert_int_equal(gw_connection_write_all(&tls.client, &part, 1, &fault), GW_LINK);
    assert_non_null(strstr(fault.text, "16777216 records were sealed by one key"));
    expect(&tls.server, "last");
}

/* ---- Refusals ---- */

static void both_say(enum gw_status status, const char *client, const char *server)
{
    print_message("client: %s\nserver: %s\n", tls.client_fault.text, tls.server_fault.text);
    assert_int_equal(tls.client_status, status);
    assert_int_equal(tls.server_status, status);
    assert_non_null(strstr(tls.client_fault.text, client));
    assert_non_null(strstr(tls.server_fault.text, server));
    assert_null(strstr(tls.client_fault.text, "0102030405"));
    assert_null(strstr(tls.server_fault.text, "0102030405"));
}

static void another_key_of_the_same_name_is_refused(void **state)
{
    (void)state;
    tls_given_key(&tls.source, "a:" TLS_KEY_B);
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0");
    tls_shake();
    both_say(GW_REFUSED, "key \"a\" is another", "key \"a\" is another");
}

static void an_unknown_key_is_refused(void **state)
{
    (void)state;
    tls_given_key(&tls.source, "stranger:" TLS_KEY_A);
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0");
    tls_shake();
    both_say(GW_REFUSED, "no key \"stranger\"", "has the key \"stranger\", this side has \"a\"");
}

static void no_cipher_in_common_is_refused(void **state)
{
    (void)state;
    tls_given_key(&tls.source, "a:" TLS_KEY_A);
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    gw_tls_set_ciphers(&tls.source, GW_TLS_AES_128_GCM);
    gw_tls_set_ciphers(&tls.target, GW_TLS_CHACHA20_POLY1305);
    tls_given_listener("tcp:127.0.0.1:0");
    tls_shake();
    both_say(GW_REFUSED, "no cipher in common", "no key and cipher");
}

/* After each of these the listener takes the right one. */
static void who_was_refused_keeps_nobody_out(void **state)
{
    (void)state;
    another_key_of_the_same_name_is_refused(state);
    gw_connection_close(&tls.client);
    gw_connection_close(&tls.server);
    gw_tls_close(&tls.source);
    tls_given_key(&tls.source, "a:" TLS_KEY_A);
    tls.client_fault.status = GW_OK;
    tls_shake();
    assert_int_equal(tls.client_status, GW_OK);
    all_bytes_arrive(&tls.client, &tls.server);
}

static void a_target_that_says_nothing_is_given_up(void **state)
{
    (void)state;
    tls_given_key(&tls.source, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0");
    tls.source_options.connect_ns_max = 1000000;
    struct gw_uri uri = tls.listener.uri;
    assert_int_equal(gw_connection_open(&tls.client, &fault), GW_OK);
    assert_int_equal(gw_connection_connect(&tls.client, &uri, &tls.source_options, &fault),
                     GW_LINK);
    assert_non_null(strstr(fault.text, "--tls"));
    /* One that is interrupted does not wait so long. */
    tls.source_options.connect_ns_max = UINT64_MAX;
    gw_fault_clear(&fault);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, tls_connect_thread, NULL), 0);
    struct pollfd wait = {.fd = tls.listener.fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    gw_connection_interrupt(&tls.client);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(tls.client_status, GW_CANCELLED);
}

/* Warnings, of which any number may come (RFC 8446, 6: a level and user_canceled), until the socket
 * is full or closed. Returns how many bytes were sent in all, with those before. */
static size_t flood(int fd, size_t sum)
{
    enum { RECORD = 7, RECORDS = 1024 };
    static const uint8_t warning[RECORD] = {21, 3, 3, 0, 2, 1, 90};
    uint8_t bytes[RECORD * (RECORDS + 1)];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = warning[i % RECORD];
    }
    for (;;) {
        ssize_t taken =
            send(fd, bytes + sum % RECORD, RECORD * RECORDS, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (taken <= 0) {
            return sum;
        }
        sum += (size_t)taken;
    }
}

static void a_stranger_that_never_pauses_leaves_others_their_turn(void **state)
{
    (void)state;
    uint8_t byte;
    struct iovec part = {&byte, 1};
    size_t count;
    int waiting;
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0");
    tls_connect_raw();
    assert_true(flood(gw_connection_fd(&tls.client), 0) > 100000);
    struct pollfd wait = {.fd = gw_connection_fd(&tls.server), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    assert_int_equal(gw_connection_read(&tls.server, &part, 1, &count, &fault), GW_AGAIN);
    assert_int_equal(ioctl(wait.fd, FIONREAD, &waiting), 0);
    assert_true(waiting > 0);
}

static void a_target_that_never_pauses_is_given_up(void **state)
{
    (void)state;
    tls_given_key(&tls.source, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0"); /* without a key: its connections are as they come */
    tls.source_options.connect_ns_max = 100000000;
    pthread_t thread;
    assert_int_equal(gw_connection_open(&tls.client, &fault), GW_OK);
    assert_int_equal(gw_connection_open(&tls.server, &fault), GW_OK);
    assert_int_equal(pthread_create(&thread, NULL, tls_connect_thread, NULL), 0);
    struct pollfd wait = {.fd = tls.listener.fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    assert_int_equal(gw_listener_accept(&tls.listener, &tls.server, &fault), GW_OK);
    size_t sum = 0;
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        sum = flood(gw_connection_fd(&tls.server), sum);
    }
    assert_int_equal(tls.client_status, GW_LINK);
    assert_non_null(strstr(tls.client_fault.text, "did not end in time"));
}

static void a_peer_without_tls_hears_why(void **state)
{
    (void)state;
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0");
    tls_connect_raw();
    assert_int_equal(send(gw_connection_fd(&tls.client), "GDWT and more", 13, 0), 13);
    uint8_t bytes[512];
    size_t count;
    assert_int_equal(tls_read_some(&tls.server, bytes, 1, &count, &fault), GW_REFUSED);
    assert_non_null(strstr(fault.text, "a godwit without TLS"));
    assert_int_equal(tls_read_some(&tls.client, bytes, sizeof(bytes), &count, &fault), GW_OK);
    struct gw_frame_header header;
    assert_int_equal(gw_frame_decode_header(&header, bytes, NULL), GW_OK);
    assert_int_equal(header.type, GW_FRAME_REFUSE);
    assert_int_equal(count, GW_FRAME_HEADER_BYTES + header.payload_bytes);
    struct gw_message message;
    assert_int_equal(gw_message_decode(&message, header.type, bytes + GW_FRAME_HEADER_BYTES,
                                       header.payload_bytes, NULL),
                     GW_OK);
    assert_non_null(strstr(message.verdict.reason, "--tls"));
}

static void who_speaks_something_else_is_refused(void **state)
{
    (void)state;
    uint8_t byte;
    size_t count;
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0");
    tls_connect_raw();
    assert_int_equal(send(gw_connection_fd(&tls.client), "GET / HTTP/1.1\r\n", 16, 0), 16);
    assert_int_equal(tls_read_some(&tls.server, &byte, 1, &count, &fault), GW_REFUSED);
    assert_non_null(strstr(fault.text, "does not speak TLS (its first bytes are 47 45)"));
}

/* ---- Memory ---- */

static size_t high_water(void)
{
    struct gw_tls_use use;
    gw_tls_get_use(&use);
    assert_int_equal(use.failed, 0);
    return use.session_high_water;
}

/* All that TLS allocates, it allocates in the handshake; and each handshake like the last. */
static void memory_is_flat_after_the_handshake(void **state)
{
    (void)state;
    struct gw_tls_use before, after;
    tls_given_pair();
    gw_tls_get_use(&before);
    assert_int_equal(before.sessions, 2);
    for (int i = 0; i < 3; i++) {
        all_bytes_arrive(&tls.client, &tls.server);
        all_bytes_arrive(&tls.server, &tls.client);
    }
    gw_tls_get_use(&after);
    assert_memory_equal(&before, &after, sizeof(before));
    size_t most = high_water();
    assert_true(most <= GW_TLS_SESSION_BYTES);
    for (int i = 0; i < 3; i++) {
        tls_end();
        tls_given_pair();
        all_bytes_arrive(&tls.client, &tls.server);
    }
    assert_int_equal(high_water(), most);
    print_message("one connection: %zu bytes, at most %zu; keys: %zu\n", after.session_used / 2,
                  most, after.common_high_water);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, tls_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_bytes_arrive_both_ways),
        TEST(all_bytes_arrive_over_unix),
        TEST(each_cipher_works),
        TEST(nothing_that_was_written_is_kept_back),
        TEST(a_full_socket_loses_and_repeats_nothing),
        TEST(decrypted_bytes_are_told_of),
        TEST(an_end_in_order_is_told_from_a_cut),
        TEST(a_cut_is_no_end_in_order),
        TEST(what_was_said_last_is_heard_behind_a_failed_write),
        TEST(an_interrupted_connection_ends_without_a_word),
        TEST(forged_bytes_are_no_record),
        TEST(a_key_is_used_for_so_many_records),
        TEST(another_key_of_the_same_name_is_refused),
        TEST(an_unknown_key_is_refused),
        TEST(no_cipher_in_common_is_refused),
        TEST(who_was_refused_keeps_nobody_out),
        TEST(a_target_that_says_nothing_is_given_up),
        TEST(a_stranger_that_never_pauses_leaves_others_their_turn),
        TEST(a_target_that_never_pauses_is_given_up),
        TEST(a_peer_without_tls_hears_why),
        TEST(who_speaks_something_else_is_refused),
        TEST(memory_is_flat_after_the_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
