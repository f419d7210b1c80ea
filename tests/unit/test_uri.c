/* SPDX-License-Identifier: Apache-2.0 */
/* URIs (godwit/transport.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "godwit/transport.h"

static void good_uris_read_and_write_back(void **state)
{
    (void)state;
    static const char *const good[] = {
        "tcp:10.0.0.2:4444",
        "tcp:gateway-2.local:1",
        "tcp:[::1]:65535",
        "tcp:[fe80::1%eth0]:4444",
        "tcp:h:0",
        "unix:/run/godwit/a.sock",
        "vsock:host:4444",
        "vsock:local:0",
        "vsock:any:4294967294",
        "vsock:3:1",
        "unix:/with space, and: colons",
        "fd:3",
        "fd:0,2147483647",
        "fd:1,2,3,4,5,6,7,8,9,10",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct gw_uri uri;
        struct gw_fault fault = {.status = GW_OK};
        char text[GW_URI_TEXT_BYTES];
        if (gw_uri_decode(&uri, good[i], &fault) != GW_OK) {
            print_error("%s\n", fault.text);
            fail();
        }
        assert_string_equal(gw_uri_encode(&uri, text), good[i]);
    }
}

static void bad_uris_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *named;
    } bad[] = {
        {"", "wanted tcp:"},
        {"10.0.0.2:4444", "wanted tcp:"},
        {"TCP:a:1", "wanted tcp:"},
        {"VSOCK:2:1", "wanted tcp:"},
        {"vsock:", "no port found"},
        {"vsock:2", "no port found"},
        {"vsock::1", "context id: found \"\""},
        {"vsock:4294967295:1", "context id: found \"4294967295\""},
        {"vsock:99999999999999999999:1", "context id: found"},
        {"vsock:anyone:1", "context id: found \"anyone\""},
        {"vsock:hos:1", "context id: found \"hos\""},
        {"vsock:2:", "port: found \"\""},
        {"vsock:2:4294967295", "port: found \"4294967295\", wanted a number from 0 to 4294967294"},
        {"vsock:2:1x", "port: found \"1x\""},
        {"fd:", "descriptor 1: found \"\", wanted 1 to 10 numbers"},
        {"fd:3,", "descriptor 2: found \"\""},
        {"fd:3,,4", "descriptor 2: found \"\""},
        {"fd:-1", "descriptor 1: found \"-1\""},
        {"fd:2147483648", "descriptor 1: found \"2147483648\""},
        {"fd:3 ,4", "descriptor 1: found \"3 \""},
        {"fd:5,6,5", "descriptor 3: found \"5\", wanted 1 to 10 numbers with commas between, none"},
        {"fd:1,2,3,4,5,6,7,8,9,10,11", "descriptor 11: found \"11\""},
        {"tcp:", "no port found"},
        {"tcp:host", "no port found"},
        {"tcp::1", "host: found 0 characters"},
        {"tcp:host:", "port: found \"\""},
        {"tcp:host:65536", "port: found \"65536\""},
        {"tcp:host:00000000000000000000001", "port: found"},
        {"tcp:host:-1", "port: found \"-1\""},
        {"tcp:host:1 ", "port: found"},
        {"tcp:::1:4444", "brackets"},
        {"tcp:ho st:1", "character 0x20"},
        {"tcp:[::1]", "no port found"},
        {"tcp:[::1:4444", "no port found"},
        {"tcp:[]:1", "host: found 0 characters"},
        {"tcp:[a/b]:1", "character 0x2f"},
        {"unix:", "absolute"},
        {"unix:relative", "absolute"},
        {"unix:/a\nb", "control character 0x0a"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gw_uri uri;
        struct gw_fault fault = {.status = GW_OK};
        if (gw_uri_decode(&uri, bad[i].text, &fault) != GW_ARGUMENT ||
            strstr(fault.text, bad[i].named) == NULL) {
            print_error("%s: %s; wanted: %s\n", bad[i].text, fault.text, bad[i].named);
            fail();
        }
    }
}

static void context_ids_have_names(void **state)
{
    (void)state;
    struct gw_uri uri;
    char text[GW_URI_TEXT_BYTES];
    assert_int_equal(gw_uri_decode(&uri, "vsock:host:7", NULL), GW_OK);
    assert_int_equal(uri.cid, 2);
    assert_int_equal(gw_uri_decode(&uri, "vsock:local:7", NULL), GW_OK);
    assert_int_equal(uri.cid, 1);
    assert_int_equal(gw_uri_decode(&uri, "vsock:any:7", NULL), GW_OK);
    assert_int_equal(uri.cid, UINT32_MAX);
    assert_int_equal(gw_uri_decode(&uri, "vsock:2:7", NULL), GW_OK);
    assert_string_equal(gw_uri_encode(&uri, text), "vsock:host:7");
}

static void lengths_are_bounded(void **state)
{
    (void)state;
    struct gw_uri uri;
    char text[400];
    char back[GW_URI_TEXT_BYTES];
    /* 253 characters of host are the most, 254 too many; likewise 107 of path. */
    (void)snprintf(text, sizeof(text), "tcp:%0253d:65535", 0);
    assert_int_equal(gw_uri_decode(&uri, text, NULL), GW_OK);
    assert_string_equal(gw_uri_encode(&uri, back), text);
    (void)snprintf(text, sizeof(text), "tcp:%0254d:65535", 0);
    assert_int_equal(gw_uri_decode(&uri, text, NULL), GW_ARGUMENT);
    (void)snprintf(text, sizeof(text), "unix:/%0106d", 0);
    assert_int_equal(gw_uri_decode(&uri, text, NULL), GW_OK);
    assert_string_equal(gw_uri_encode(&uri, back), text);
    (void)snprintf(text, sizeof(text), "unix:/%0107d", 0);
    assert_int_equal(gw_uri_decode(&uri, text, NULL), GW_ARGUMENT);
    memset(text, ':', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(gw_uri_decode(&uri, text, NULL), GW_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_uris_read_and_write_back),
        cmocka_unit_test(bad_uris_say_what_is_wrong),
        cmocka_unit_test(context_ids_have_names),
        cmocka_unit_test(lengths_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
