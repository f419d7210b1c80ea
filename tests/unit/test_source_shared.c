/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source whose target has the very same memory: no page travels, nothing is tracked, and once
 * COMMIT is said only the target's own word makes this copy run again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"

static void negotiates(void)
{
    fresh(false);
    source.config.is_ram_shared = true;
    happens(GW_SOURCE_EV_START);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_NEW, 0);
    expect_state(GW_SOURCE_NEGOTIATING);
}

static void accept(void)
{
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {GW_CAN_POSTCOPY, 0, 1}});
}

static void reach_stopping(void)
{
    negotiates();
    accept();
    happens(GW_SOURCE_EV_RECORDED);
    expect_state(GW_SOURCE_STOPPING);
}

static void reach_shared_held(void)
{
    reach_stopping();
    happens(GW_SOURCE_EV_STOPPED);
    hears_verdict(GW_FRAME_READY, 1);
    expect_state(GW_SOURCE_HELD);
}

static void it_moves_without_a_page(void **state)
{
    struct gw_source_figures figures;
    struct gw_batch batch;
    uint64_t retry_ns;
    (void)state;
    negotiates();
    accept();
    expect_state(GW_SOURCE_LEAVING);
    assert_int_equal(last_record, GW_DEPARTURE_LEAVING);
    assert_int_equal(done[GW_SOURCE_DO_STOP], 0); /* not before the departure is recorded */
    assert_int_equal(gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns), GW_AGAIN);
    happens(GW_SOURCE_EV_RECORDED);
    assert_int_equal(done[GW_SOURCE_DO_STOP], 1);
    happens(GW_SOURCE_EV_STOPPED);
    expect_state(GW_SOURCE_PREPARED);
    assert_int_equal(last_said.type, GW_FRAME_PREPARE);
    assert_int_equal(last_said.prepare.sequence_last[0], 0);
    assert_false(last_said.prepare.is_postcopy);
    assert_int_equal(gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns), GW_AGAIN);
    hears_verdict(GW_FRAME_READY, 1);
    assert_int_equal(last_said.type, GW_FRAME_COMMIT);
    assert_true(last_said.verdict.elapsed_ns >= MS);
    hears_verdict(GW_FRAME_RUNNING, 1);
    assert_int_equal(last_said.type, GW_FRAME_DONE);
    hears_verdict(GW_FRAME_DONE, 1);
    expect_state(GW_SOURCE_COMPLETED);
    assert_int_equal(done[GW_SOURCE_DO_TRACK] + done[GW_SOURCE_DO_COLLECT] +
                         done[GW_SOURCE_DO_UNTRACK] + done[GW_SOURCE_DO_CONNECT_BULK] +
                         done[GW_SOURCE_DO_ROUND],
                     0);
    gw_source_figures(&source, now_ns, &figures);
    assert_true(figures.downtime_ns > 0 && figures.setup_ns > 0);
    assert_int_equal(figures.wire_bytes + figures.remaining_pages, 0);
}

/* The target is a process of this host: a lost link is not tried again, and the guest goes on. */
static void a_link_lost_before_commit_ends_it_at_once(void **state)
{
    (void)state;
    for (int at = 0; at < 4; at++) {
        negotiates();
        if (at >= 1) {
            accept();
        }
        if (at >= 2) {
            happens(GW_SOURCE_EV_RECORDED);
        }
        if (at >= 3) {
            happens(GW_SOURCE_EV_STOPPED);
        }
        forget_actions();
        happens(GW_SOURCE_EV_LINK_LOST);
        if (at == 2) {
            expect_state(GW_SOURCE_PAUSING); /* the guest must have stopped first */
            happens(GW_SOURCE_EV_STOPPED);
        }
        expect_state(GW_SOURCE_FAILED);
        assert_int_equal(done[GW_SOURCE_DO_RESUME], at >= 2);
        assert_int_equal(done[GW_SOURCE_DO_CONNECT], 0);
        assert_int_equal(done[GW_SOURCE_DO_FINISH], 1);
        assert_false(is_committed);
    }
}

static void it_can_be_cancelled_until_commit(void **state)
{
    (void)state;
    reach_stopping();
    happens(GW_SOURCE_EV_CANCEL);
    expect_state(GW_SOURCE_CANCELLING);
    happens(GW_SOURCE_EV_STOPPED);
    expect_state(GW_SOURCE_CANCELLED);
    assert_int_equal(done[GW_SOURCE_DO_RESUME], 1);

    reach_stopping();
    happens(GW_SOURCE_EV_STOPPED);
    happens(GW_SOURCE_EV_CANCEL);
    expect_state(GW_SOURCE_CANCELLED);
    assert_int_equal(last_said.type, GW_FRAME_ABORT);
}

static void an_operators_word_does_not_run_it_again(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    reach_shared_held();
    assert_int_equal(tell((struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY}, &fault),
                     GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "no whole guest"));
    happens(GW_SOURCE_EV_LINK_LOST);
    gw_fault_clear(&fault);
    assert_int_equal(tell((struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY}, &fault),
                     GW_ARGUMENT);
    expect_state(GW_SOURCE_HELD_WAITING);
}

static void the_targets_word_runs_it_again(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    reach_shared_held();
    hears_verdict(GW_FRAME_ABORTED, 1);
    expect_state(GW_SOURCE_FAILED);

    reach_shared_held();
    happens(GW_SOURCE_EV_LINK_LOST);
    const struct gw_source_event by_token = {.type = GW_SOURCE_EV_RUN_ANYWAY, .has_token = true};
    assert_int_equal(tell(by_token, &fault), GW_OK);
    drain();
    expect_state(GW_SOURCE_FAILED);
    assert_true(done[GW_SOURCE_DO_RESUME] > 0);
}

static void a_held_one_asks_again(void **state)
{
    (void)state;
    reach_shared_held();
    happens(GW_SOURCE_EV_LINK_LOST);
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_RUNNING, 1);
    expect_state(GW_SOURCE_SETTLING);
}

static void postcopy_means_nothing(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    negotiates();
    assert_int_equal(tell((struct gw_source_event){.type = GW_SOURCE_EV_POSTCOPY}, &fault),
                     GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "shares"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_moves_without_a_page),
        cmocka_unit_test(a_link_lost_before_commit_ends_it_at_once),
        cmocka_unit_test(it_can_be_cancelled_until_commit),
        cmocka_unit_test(an_operators_word_does_not_run_it_again),
        cmocka_unit_test(the_targets_word_runs_it_again),
        cmocka_unit_test(a_held_one_asks_again),
        cmocka_unit_test(postcopy_means_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
