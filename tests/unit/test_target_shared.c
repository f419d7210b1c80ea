/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target that has the very same memory as its source, whose guest runs in it: no page is
 * let in, and a source that is gone is not waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "target_script.h"

static void expect_state(enum gw_target_state state)
{
    assert_string_equal(gw_target_state_name(target.state), gw_target_state_name(state));
}

/* Negotiated and recorded: it waits for PREPARE. */
static void reach_active(void)
{
    fresh();
    target.config.is_ram_shared = true;
    happens(GW_TARGET_EV_START);
    happens(GW_TARGET_EV_RECORDED);
    comes('A', GW_PURPOSE_OPEN, 1);
    hears_hello(PAGES);
    happens(GW_TARGET_EV_RECORDED);
    expect_state(GW_TARGET_ACTIVE);
}

static void it_takes_the_guest_without_a_page(void **state)
{
    (void)state;
    reach_active();
    assert_int_equal(last_said.type, GW_FRAME_ACCEPT);
    assert_int_equal(last_said.accept.capabilities, 0); /* no postcopy */
    assert_int_equal(recorded('A'), GW_RECORD_OPENED);
    hears_prepare(1, 0);
    expect_state(GW_TARGET_LOADING);
    happens(GW_TARGET_EV_LOADED);
    assert_int_equal(last_said.type, GW_FRAME_READY);
    hears_verdict(GW_FRAME_COMMIT, 1);
    assert_int_equal(recorded('A'), GW_RECORD_TOOK);
    assert_int_equal(done[GW_TARGET_DO_RUN], 0); /* not before that is durable */
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(done[GW_TARGET_DO_RUN], 1);
    happens(GW_TARGET_EV_STARTED);
    hears_verdict(GW_FRAME_DONE, 1);
    expect_state(GW_TARGET_DONE);
    assert_int_equal(done[GW_TARGET_DO_ARM], 0);
}

static void no_channel_for_pages_comes_in(void **state)
{
    (void)state;
    reach_active();
    comes_bulk(1, 0);
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    comes_urgent(1);
    assert_int_equal(done[GW_TARGET_DO_ADMIT_BULK] + done[GW_TARGET_DO_ADMIT_URGENT], 0);
    assert_int_equal(may_place(1), GW_PROTOCOL);
    expect_state(GW_TARGET_ACTIVE);
}

static void a_prepare_that_speaks_of_pages_is_a_breach(void **state)
{
    (void)state;
    reach_active();
    hears_prepare(1, 1);
    expect_state(GW_TARGET_LISTENING);
    assert_int_equal(recorded('A'), GW_RECORD_ABORTED);
    reach_active();
    hears_prepare_postcopy(1, 0, 2);
    expect_state(GW_TARGET_LISTENING);
    assert_int_equal(done[GW_TARGET_DO_LOAD], 0);
}

static void a_source_that_is_gone_is_not_waited_for(void **state)
{
    (void)state;
    reach_active();
    happens(GW_TARGET_EV_LINK_LOST);
    expect_state(GW_TARGET_AWAITING);
    assert_true(gw_target_deadline(&target) <= now_ns);
    happens(GW_TARGET_EV_TICK);
    expect_state(GW_TARGET_LISTENING);
    assert_int_equal(recorded('A'), GW_RECORD_ABORTED);
}

/* Its owner knows that the source is dead: the guest is whole here. */
static void a_ready_one_can_be_claimed(void **state)
{
    (void)state;
    reach_active();
    hears_prepare(1, 0);
    happens(GW_TARGET_EV_LOADED);
    happens(GW_TARGET_EV_LINK_LOST);
    expect_state(GW_TARGET_READY);
    happens(GW_TARGET_EV_RUN_ANYWAY);
    happens(GW_TARGET_EV_RECORDED);
    happens(GW_TARGET_EV_STARTED);
    expect_state(GW_TARGET_RUNNING);
    assert_int_equal(recorded('A'), GW_RECORD_TOOK);
    happens(GW_TARGET_EV_FORGET);
    expect_state(GW_TARGET_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_takes_the_guest_without_a_page),
        cmocka_unit_test(no_channel_for_pages_comes_in),
        cmocka_unit_test(a_prepare_that_speaks_of_pages_is_a_breach),
        cmocka_unit_test(a_source_that_is_gone_is_not_waited_for),
        cmocka_unit_test(a_ready_one_can_be_claimed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
