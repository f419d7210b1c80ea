/* SPDX-License-Identifier: Apache-2.0 */
/* Terminals that others write to as well (godwit/terminal.h). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/terminal.h"

static void a_terminal_that_nobody_reads_keeps_nobody_waiting(void **state)
{
    (void)state;
    char line[512] = {0};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int fd = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    int own = gw_terminal_open_own(fd);
    assert_true(own >= 0 && own != fd);
    ssize_t written;
    do {
        written = write(own, line, sizeof(line));
    } while (written > 0);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0); /* the others' is as it was */
    assert_int_equal(fcntl(own, F_GETFD), FD_CLOEXEC);
    (void)close(own);
    (void)close(fd);
    (void)close(master);
}

static void what_is_none_has_no_other(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(gw_terminal_open_own(fd[1]), -1);
    assert_int_equal(gw_terminal_open_own(-1), -1);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminal_that_nobody_reads_keeps_nobody_waiting),
        cmocka_unit_test(what_is_none_has_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
