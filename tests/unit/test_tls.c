/* SPDX-License-Identifier: Apache-2.0 */
/* TLS by a pre-shared key (godwit/tls.h): bytes, ends, refusals, memory. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls_pair.h"

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, tls_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_bytes_arrive_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
