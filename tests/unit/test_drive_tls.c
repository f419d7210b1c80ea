/* SPDX-License-Identifier: Apache-2.0 */
/* Who may bring a guest, and who is turned away with a word, while the target waits on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive_pair.h"
#include "godwit/tls.h"

static struct gw_tls_identity right, wrong;
static char directory[] = "/tmp/godwit-drive-tls-XXXXXX";

static void open_key(struct gw_tls_identity *identity, const char *name)
{
    char spec[80], made[GW_TLS_NAME_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    (void)snprintf(spec, sizeof(spec), "psk:%s/%s", directory, name);
    if (gw_tls_make_key(spec + 4, made, &fault) != GW_OK ||
        gw_tls_open(identity, spec, NULL, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
    (void)unlink(spec + 4);
}

static int open_keys(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    open_key(&right, "right");
    open_key(&wrong, "wrong");
    return 0;
}

static int close_keys(void **state)
{
    (void)state;
    gw_tls_close(&right);
    gw_tls_close(&wrong);
    return rmdir(directory);
}

static int setup(void **state)
{
    (void)state;
    pair_open();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pair_close();
    return 0;
}

static void given_target(const struct gw_tls_identity *tls)
{
    pair.target_tls = tls;
    pair_restart_target();
}

static void then_it_moves(const struct gw_tls_identity *tls)
{
    pair.source_tls = tls;
    pair_migrate(pair.target_uri);
    enum gw_source_state ended = pair_finish();
    assert_int_equal(ended, GW_SOURCE_COMPLETED);
    pair_check(ended);
}

/* Both sides say why, and neither harms the guest. */
static void then_it_stays(const struct gw_tls_identity *tls, const char *source_words,
                          const char *target_words)
{
    struct gw_fault fault;
    pair.source_tls = tls;
    pair_migrate(pair.target_uri);
    enum gw_source_state ended = pair_finish();
    assert_int_equal(ended, GW_SOURCE_FAILED);
    pair_check(ended);
    gw_outgoing_get_fault(&pair_outgoing, &fault);
    print_message("source: %s\n", fault.text);
    assert_int_equal(fault.status, GW_REFUSED);
    assert_non_null(strstr(fault.text, source_words));
    while (gw_incoming_next_stranger(&pair_incoming, &fault) != GW_OK) {
        pair_step();
    }
    print_message("target: %s\n", fault.text);
    assert_non_null(strstr(fault.text, target_words));
    assert_int_equal(gw_incoming_state(&pair_incoming), GW_TARGET_LISTENING);
}

static void the_right_key_brings_the_guest(void **state)
{
    (void)state;
    given_target(&right);
    then_it_moves(&right);
}

static void a_wrong_key_is_turned_away(void **state)
{
    (void)state;
    given_target(&right);
    then_it_stays(&wrong, "the peer has no key", "the peer has the key");
    then_it_moves(&right);
}

static void who_has_no_tls_is_turned_away(void **state)
{
    (void)state;
    given_target(&right);
    then_it_stays(NULL, "give --tls on both sides", "a godwit without TLS");
    then_it_moves(&right);
}

static void a_target_without_tls_says_so(void **state)
{
    (void)state;
    given_target(NULL);
    then_it_stays(&right, "does not speak TLS 1.3", "the peer speaks TLS, and this side does not");
    then_it_moves(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_right_key_brings_the_guest),
        TEST(a_wrong_key_is_turned_away),
        TEST(who_has_no_tls_is_turned_away),
        TEST(a_target_without_tls_says_so),
    };
    return cmocka_run_group_tests(tests, open_keys, close_keys);
}
