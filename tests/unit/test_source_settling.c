/* SPDX-License-Identifier: Apache-2.0 */
/* The last word, DONE: said until it is heard, or for long enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"

/* The link breaks under DONE; it is tried again in vain at first. */
static void say_done_in_vain(void)
{
    reach(GW_SOURCE_SETTLING);
    happens(GW_SOURCE_EV_LINK_LOST);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(source.state, GW_SOURCE_SETTLING_WAITING);
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        assert_int_equal(source.state, GW_SOURCE_SETTLING_AGAIN);
        if (i == 2) {
            happens(GW_SOURCE_EV_LINK_UP); /* but no answer comes */
            now_ns = gw_source_deadline(&source);
            happens(GW_SOURCE_EV_TICK);
        } else {
            happens(GW_SOURCE_EV_LINK_LOST);
        }
    }
    assert_int_equal(source.state, GW_SOURCE_SETTLING_WAITING);
}

static void done_is_said_until_it_is_heard(void **state)
{
    (void)state;
    say_done_in_vain();
    assert_int_equal(said[GW_FRAME_DONE], 1);
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_RUNNING, 1);
    assert_int_equal(source.state, GW_SOURCE_SETTLING);
    assert_int_equal(said[GW_FRAME_DONE], 2);
    hears_verdict(GW_FRAME_DONE, 1);
    assert_int_equal(source.state, GW_SOURCE_COMPLETED);
    assert_int_equal(gw_source_fault(&source)->status, GW_OK);
}

static void done_that_nobody_hears_is_given_up(void **state)
{
    (void)state;
    say_done_in_vain();
    uint64_t lost_ns = source.lost_ns;
    for (int tries = 0; source.state != GW_SOURCE_COMPLETED && tries < 100; tries++) {
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        if (source.state == GW_SOURCE_SETTLING_AGAIN) {
            happens(GW_SOURCE_EV_LINK_LOST);
        }
    }
    assert_int_equal(source.state, GW_SOURCE_COMPLETED);
    assert_true(now_ns - lost_ns >= 60000 * MS && now_ns - lost_ns < 63000 * MS);
    assert_non_null(strstr(gw_source_fault(&source)->text, "(tried again for 60 s)"));
    assert_int_equal(done[GW_SOURCE_DO_FINISH], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(done_is_said_until_it_is_heard),
        cmocka_unit_test(done_that_nobody_hears_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
