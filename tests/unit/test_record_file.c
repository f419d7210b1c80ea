/* SPDX-License-Identifier: Apache-2.0 */
/* What of a state directory is on stable storage, and when. fsync is this file's (--wrap). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/record_file.h"

int __real_fsync(int fd);
int __wrap_fsync(int fd);

enum { SYNCED_MAX = 8 };

static ino_t synced[SYNCED_MAX];
static uint32_t synced_count;
static bool is_failing;

int __wrap_fsync(int fd)
{
    struct stat found;
    assert_int_equal(fstat(fd, &found), 0);
    assert_true(synced_count < SYNCED_MAX);
    synced[synced_count++] = found.st_ino;
    if (is_failing) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

static ino_t inode_of(const char *path)
{
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    return found.st_ino;
}

static void a_new_directory_is_durable_with_its_parents(void **state)
{
    char top[] = "/tmp/godwit-records-XXXXXX", one[64], two[64];
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    assert_non_null(mkdtemp(top));
    (void)snprintf(one, sizeof(one), "%s/one", top);
    (void)snprintf(two, sizeof(two), "%s/one/two", top);
    assert_int_equal(gw_state_directory_open(two, &fault), GW_OK);
    assert_int_equal(synced_count, 2);
    assert_true(synced[0] == inode_of(top) && synced[1] == inode_of(one));

    synced_count = 0;
    assert_int_equal(gw_state_directory_open(two, &fault), GW_OK); /* it is there */
    assert_int_equal(synced_count, 0);

    assert_int_equal(rmdir(two), 0);
    is_failing = true;
    assert_int_equal(gw_state_directory_open(two, &fault), GW_HOST);
    assert_int_equal(fault.os_error, EIO);
    assert_int_equal(rmdir(two), 0);
    assert_int_equal(rmdir(one), 0);
    assert_int_equal(rmdir(top), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_directory_is_durable_with_its_parents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
