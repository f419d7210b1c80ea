/* SPDX-License-Identifier: Apache-2.0 */
/* Faults: the first one sticks, as a whole sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "godwit/status.h"

static void the_first_fault_sticks(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(gw_fault_set(&fault, GW_LINK, "cable %d is out", 3), GW_LINK);
    assert_int_equal(gw_fault_set(&fault, GW_HOST, "an echo"), GW_LINK);
    assert_int_equal(gw_fault_set_os(&fault, ENOENT, "another echo"), GW_LINK);
    assert_string_equal(fault.text, "cable 3 is out");
    assert_int_equal(fault.os_error, 0);
}

static void a_cleared_fault_takes_the_next(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    (void)gw_fault_set_os(&fault, ENOSPC, "cannot write %s", "x");
    assert_int_equal(fault.os_error, ENOSPC);
    gw_fault_clear(&fault);
    assert_int_equal(fault.status, GW_OK);
    assert_int_equal(fault.os_error, 0);
    assert_int_equal(fault.text[0], 0);
    assert_int_equal(gw_fault_set(&fault, GW_LIMIT, "too large"), GW_LIMIT);
    assert_string_equal(fault.text, "too large");
}

static void a_refusal_of_the_kernel_says_which(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(gw_fault_set_os(&fault, ENOSPC, "cannot write %s", "a record"), GW_HOST);
    assert_string_equal(fault.text, "cannot write a record: No space left on device");
}

static void nobody_to_tell_still_gets_the_status(void **state)
{
    (void)state;
    assert_int_equal(gw_fault_set(NULL, GW_CORRUPT, "x"), GW_CORRUPT);
    assert_int_equal(gw_fault_set_os(NULL, EIO, "x"), GW_HOST);
}

static void a_long_sentence_is_cut_within_its_storage(void **state)
{
    (void)state;
    char longer[2 * GW_FAULT_TEXT_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    (void)gw_fault_set(&fault, GW_HOST, "%s", longer);
    assert_int_equal(strlen(fault.text), GW_FAULT_TEXT_BYTES - 1);
    gw_fault_clear(&fault);
    (void)gw_fault_set_os(&fault, EIO, "%s", longer);
    assert_int_equal(strlen(fault.text), GW_FAULT_TEXT_BYTES - 1);
}

static void every_status_has_a_word_of_its_own(void **state)
{
    (void)state;
    for (int a = GW_OK; a <= GW_CANCELLED; a++) {
        for (int b = GW_OK; b < a; b++) {
            assert_string_not_equal(gw_status_name((enum gw_status)a),
                                    gw_status_name((enum gw_status)b));
        }
        assert_string_not_equal(gw_status_name((enum gw_status)a), "unknown");
    }
    assert_string_equal(gw_status_name((enum gw_status)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_fault_sticks),
        cmocka_unit_test(a_cleared_fault_takes_the_next),
        cmocka_unit_test(a_refusal_of_the_kernel_says_which),
        cmocka_unit_test(nobody_to_tell_still_gets_the_status),
        cmocka_unit_test(a_long_sentence_is_cut_within_its_storage),
        cmocka_unit_test(every_status_has_a_word_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
