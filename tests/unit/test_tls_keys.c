/* SPDX-License-Identifier: Apache-2.0 */
/* Key files of --tls psk:FILE: what they must be, and how they are made. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tls_pair.h"

static struct gw_fault fault;

static int setup(void **state)
{
    gw_fault_clear(&fault);
    return tls_setup(state);
}

static void open_file(const char *text, unsigned mode, const char *words)
{
    char path[128], spec[160];
    tls_write(path, "key", text, mode);
    (void)snprintf(spec, sizeof(spec), "psk:%s", path);
    gw_fault_clear(&fault);
    enum gw_status status = gw_tls_open(&tls.source, spec, NULL, &fault);
    if (words == NULL) {
        assert_int_equal(status, GW_OK);
        gw_tls_close(&tls.source);
        return;
    }
    assert_int_equal(status, GW_ARGUMENT);
    assert_non_null(strstr(fault.text, words));
    assert_null(strstr(fault.text, "0102030405"));
}

static void key_files_are_checked(void **state)
{
    (void)state;
    open_file("a:" TLS_KEY_A "\n", 0600, NULL);
    open_file("a:" TLS_KEY_A "\n", 0400, NULL);
    open_file("a:" TLS_KEY_A "\r\n", 0600, NULL);
    open_file("a:" TLS_KEY_A TLS_KEY_B, 0600, NULL);
    open_file("a:" TLS_KEY_A "\n", 0640, "chmod 600");
    open_file("a:" TLS_KEY_A "\n", 0604, "has mode 0604");
    open_file("a:" TLS_KEY_A "\n", 0620, "chmod 600");
    open_file("", 0600, "NAME:HEX");
    open_file(TLS_KEY_A, 0600, "NAME:HEX");
    open_file(":" TLS_KEY_A, 0600, "NAME:HEX");
    open_file("a b:" TLS_KEY_A, 0600, "NAME:HEX");
    open_file("a:00010203040506", 0600, "the key is 14 characters");
    open_file("a:" TLS_KEY_A "0", 0600, "the key is 65 characters");
    open_file("a:z0" TLS_KEY_A, 0600, "that are not all pairs of digits");
    open_file("a:" TLS_KEY_A TLS_KEY_B "00", 0600, "the key is 130 characters");
    open_file("a:" TLS_KEY_A TLS_KEY_B TLS_KEY_A TLS_KEY_B, 0600, "longer than");
    gw_fault_clear(&fault);
    assert_int_equal(gw_tls_open(&tls.source, "psk:/nowhere/key", NULL, &fault), GW_ARGUMENT);
    assert_int_equal(fault.os_error, ENOENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_tls_open(&tls.source, "key:/nowhere", NULL, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "wanted psk:FILE or x509:DIR"));
}

static void a_made_key_is_good_and_never_overwrites_one(void **state)
{
    (void)state;
    char path[128], spec[160], name[GW_TLS_NAME_BYTES], other[GW_TLS_NAME_BYTES];
    struct stat facts;
    (void)snprintf(path, sizeof(path), "%s/key", tls_directory);
    (void)snprintf(spec, sizeof(spec), "psk:%s", path);
    assert_int_equal(gw_tls_make_key(path, name, &fault), GW_OK);
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 0600);
    assert_int_equal(gw_tls_open(&tls.source, spec, NULL, &fault), GW_OK);
    assert_int_equal(gw_tls_make_key(path, other, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "never overwritten"));
    assert_string_not_equal(name, other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, tls_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(key_files_are_checked),
        TEST(a_made_key_is_good_and_never_overwrites_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
