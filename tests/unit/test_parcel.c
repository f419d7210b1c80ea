/* SPDX-License-Identifier: Apache-2.0 */
/* Parcels (godwit/parcel.h): bytes and descriptors arrive together, or not at all. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/clock.h"
#include "godwit/parcel.h"

static int pair[2];
static struct gw_fault fault;
static uint8_t sent_bytes[256], got_bytes[64];

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

/* How many calls fail, and with what; how many there were. */
static int failing, failing_with, calls;

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    calls++;
    if (failing > 0) {
        failing--;
        errno = failing_with;
        return -1;
    }
    return __real_sendmsg(fd, message, flags);
}

static int setup(void **state)
{
    (void)state;
    failing = 0;
    calls = 0;
    gw_fault_clear(&fault);
    return gw_parcel_pair(pair, &fault) == GW_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) {
            (void)close(pair[i]);
        }
    }
    return 0;
}

static uint32_t open_count(void)
{
    uint32_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

static struct gw_parcel received(void)
{
    return (struct gw_parcel){.bytes = got_bytes, .capacity = sizeof(got_bytes)};
}

static void send_with_fds(size_t size, uint32_t fd_count)
{
    struct gw_parcel parcel = {.bytes = sent_bytes, .size = size, .fd_count = fd_count};
    for (uint32_t i = 0; i < fd_count; i++) {
        parcel.fd[i] = open("/dev/null", O_RDONLY);
    }
    assert_int_equal(gw_parcel_send(pair[0], &parcel, 0, &fault), GW_OK);
    gw_parcel_close_fds(&parcel);
}

static void bytes_and_descriptors_arrive_together(void **state)
{
    (void)state;
    uint8_t hello[] = "hello", again[] = "again";
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct gw_parcel parcel = {.bytes = hello, .size = 5, .fd_count = 1, .fd = {ends[0]}};
    assert_int_equal(gw_parcel_send(pair[0], &parcel, 0, &fault), GW_OK);
    (void)close(ends[0]);
    parcel = (struct gw_parcel){.bytes = again, .size = 5};
    assert_int_equal(gw_parcel_send(pair[0], &parcel, 0, &fault), GW_OK);

    struct gw_parcel got = received();
    assert_int_equal(gw_parcel_await(pair[1], 0), GW_OK);
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK);
    assert_int_equal(got.size, 5);
    assert_memory_equal(got_bytes, "hello", 5);
    assert_int_equal(got.fd_count, 1);
    assert_int_equal(fcntl(got.fd[0], F_GETFD), FD_CLOEXEC);
    char byte;
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(read(got.fd[0], &byte, 1), 1); /* the very same pipe */
    gw_parcel_close_fds(&got);
    (void)close(ends[1]);
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK);
    assert_memory_equal(got_bytes, "again", 5);
    assert_int_equal(got.fd_count, 0);
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_AGAIN);
    assert_int_equal(gw_parcel_await(pair[1], 0), GW_AGAIN);
}

/* Else to close it would wait for a peer that has not acknowledged all, for as long as was set. */
static void a_socket_that_comes_does_not_linger(void **state)
{
    (void)state;
    struct linger linger = {.l_onoff = 1, .l_linger = 3600};
    socklen_t bytes = sizeof(linger);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, bytes), 0);
    struct gw_parcel parcel = {.bytes = sent_bytes, .size = 1, .fd_count = 1, .fd = {fd}};
    assert_int_equal(gw_parcel_send(pair[0], &parcel, 0, &fault), GW_OK);
    struct gw_parcel got = received();
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK);
    assert_int_equal(getsockopt(got.fd[0], SOL_SOCKET, SO_LINGER, &linger, &bytes), 0);
    assert_int_equal(linger.l_onoff, 0);
    gw_parcel_close_fds(&got);
    (void)close(fd);
}

static void as_many_as_there_is_room_for(void **state)
{
    (void)state;
    send_with_fds(1, GW_PARCEL_FDS_MAX);
    struct gw_parcel got = received();
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK);
    assert_int_equal(got.fd_count, GW_PARCEL_FDS_MAX);
    gw_parcel_close_fds(&got);
}

/* More than there is room for: refused, and not one of them stays open here. */
static void too_many_descriptors_are_all_closed(void **state)
{
    (void)state;
    uint32_t before = open_count();
    enum { MANY = GW_PARCEL_FDS_MAX + 3 };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * MANY)];
    } control;
    memset(&control, 0, sizeof(control));
    struct iovec part = {.iov_base = sent_bytes, .iov_len = 8};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_LEN(sizeof(int) * MANY)};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int) * MANY);
    for (int i = 0; i < MANY; i++) {
        int fd = STDIN_FILENO;
        memcpy(control.bytes + CMSG_LEN(0) + sizeof(int) * (size_t)i, &fd, sizeof(fd));
    }
    assert_int_equal(sendmsg(pair[0], &message, 0), 8);
    struct gw_parcel got = received();
    enum gw_status status = gw_parcel_receive(pair[1], &got, &fault);
#ifdef __aarch64__
    if (status == GW_OK) {
        skip(); /* qemu-user does not tell an emulated process that more came */
    }
#endif
    assert_int_equal(status, GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "descriptors"));
    assert_int_equal(got.fd_count, 0);
    assert_int_equal(open_count(), before);
}

static void one_that_is_too_long_is_lost_with_its_descriptors(void **state)
{
    (void)state;
    uint32_t before = open_count();
    send_with_fds(sizeof(got_bytes) + 1, 2);
    send_with_fds(sizeof(got_bytes), 0);
    struct gw_parcel got = received();
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_PROTOCOL);
    assert_int_equal(open_count(), before);
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK); /* the next is whole */
    assert_int_equal(got.size, sizeof(got_bytes));
}

static void the_end_is_told_after_what_was_sent(void **state)
{
    (void)state;
    send_with_fds(3, 0);
    (void)close(pair[0]);
    pair[0] = -1;
    struct gw_parcel got = received();
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK);
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_LINK);
    const struct gw_parcel parcel = {.bytes = sent_bytes, .size = 1};
    assert_int_equal(gw_parcel_send(pair[1], &parcel, UINT64_MAX, &fault), GW_LINK);
}

/* It had not read what we said: that is told once, but not in place of what it said. */
static void an_end_with_something_unread_is_an_end_all_the_same(void **state)
{
    (void)state;
    send_with_fds(3, 0);
    const struct gw_parcel parcel = {.bytes = sent_bytes, .size = 1};
    assert_int_equal(gw_parcel_send(pair[1], &parcel, 0, &fault), GW_OK);
    (void)close(pair[0]);
    pair[0] = -1;
    struct gw_parcel got = received();
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK);
    assert_int_equal(got.size, 3);
    assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_LINK);
}

static void one_who_does_not_read_is_given_up(void **state)
{
    (void)state;
    const struct gw_parcel parcel = {.bytes = sent_bytes, .size = sizeof(sent_bytes)};
    enum gw_status status = GW_OK;
    for (int i = 0; i < 100000 && status == GW_OK; i++) {
        status = gw_parcel_send(pair[0], &parcel, 0, &fault);
    }
    assert_int_equal(status, GW_HOST); /* it is not gone */
    assert_int_equal(fault.os_error, EAGAIN);
}

static enum gw_status send_failing(int times, int error, uint64_t timeout_ns)
{
    uint8_t byte = 7;
    const struct gw_parcel parcel = {.bytes = &byte, .size = 1};
    failing = times;
    failing_with = error;
    calls = 0;
    gw_fault_clear(&fault);
    return gw_parcel_send(pair[0], &parcel, timeout_ns, &fault);
}

static void one_that_there_was_no_memory_for_is_sent_later(void **state)
{
    (void)state;
    const int errors[] = {ENOBUFS, ENOMEM};
    for (int i = 0; i < 2; i++) {
        uint64_t before_ns = gw_clock_now_ns();
        assert_int_equal(send_failing(5, errors[i], UINT64_MAX), GW_OK);
        assert_int_equal(calls, 6);
        assert_true(gw_clock_now_ns() - before_ns >= 5 * GW_NS_PER_MS); /* not as fast as it can */
        struct gw_parcel got = received();
        assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_OK);
        assert_int_equal(gw_parcel_receive(pair[1], &got, &fault), GW_AGAIN); /* once */
    }
}

static void no_memory_is_no_end_of_the_other_side(void **state)
{
    (void)state;
    assert_int_equal(send_failing(100000, ENOBUFS, 20 * GW_NS_PER_MS), GW_HOST);
    assert_int_equal(fault.os_error, ENOBUFS);
    assert_in_range(calls, 2, 21);
    assert_int_equal(send_failing(100000, ENOBUFS, 0), GW_HOST);
    assert_int_equal(calls, 1);
}

static void what_no_time_mends_is_told_at_once(void **state)
{
    (void)state;
    assert_int_equal(send_failing(100000, EACCES, GW_NS_PER_S), GW_HOST);
    assert_int_equal(calls, 1);
    assert_int_equal(send_failing(3, EACCES, UINT64_MAX),
                     GW_OK); /* who must know does not give up */
    assert_int_equal(calls, 4);
}

static void an_end_is_told_at_once(void **state)
{
    (void)state;
    const int errors[] = {EPIPE, ECONNRESET, ENOTCONN, ECONNREFUSED};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(send_failing(100000, errors[i], UINT64_MAX), GW_LINK);
        assert_int_equal(calls, 1);
    }
}

static void only_an_end_of_a_pair_is_adopted(void **state)
{
    (void)state;
    int stream[2], ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(gw_parcel_adopt(pair[0], &fault), GW_OK);
    assert_int_equal(gw_parcel_adopt(stream[0], &fault), GW_ARGUMENT);
    assert_int_equal(gw_parcel_adopt(ends[0], NULL), GW_ARGUMENT);
    assert_int_equal(gw_parcel_adopt(-1, NULL), GW_ARGUMENT);
    for (int i = 0; i < 2; i++) {
        (void)close(stream[i]);
        (void)close(ends[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_and_descriptors_arrive_together),
        TEST(a_socket_that_comes_does_not_linger),
        TEST(as_many_as_there_is_room_for),
        TEST(too_many_descriptors_are_all_closed),
        TEST(one_that_is_too_long_is_lost_with_its_descriptors),
        TEST(the_end_is_told_after_what_was_sent),
        TEST(an_end_with_something_unread_is_an_end_all_the_same),
        TEST(one_who_does_not_read_is_given_up),
        TEST(one_that_there_was_no_memory_for_is_sent_later),
        TEST(no_memory_is_no_end_of_the_other_side),
        TEST(what_no_time_mends_is_told_at_once),
        TEST(an_end_is_told_at_once),
        TEST(only_an_end_of_a_pair_is_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
