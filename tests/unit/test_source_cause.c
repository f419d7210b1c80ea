/* SPDX-License-Identifier: Apache-2.0 */
/* Why a migration ended: what ended it, and not a link that was lost before, nor a slow one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"

static void expect_fault(enum gw_status status, const char *words)
{
    assert_string_equal(gw_status_name(gw_source_fault(&source)->status), gw_status_name(status));
    assert_non_null(strstr(gw_source_fault(&source)->text, words));
}

static void breaks(enum gw_status status, const char *how)
{
    struct gw_fault fault = {.status = status};
    strcpy(fault.text, how);
    assert_int_equal(
        tell((struct gw_source_event){.type = GW_SOURCE_EV_LINK_LOST, .fault = &fault}, NULL),
        GW_OK);
    drain();
}

static void reach_asking(void)
{
    reach(GW_SOURCE_ACTIVE);
    breaks(GW_LINK, "a cable was pulled");
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    expect_state(GW_SOURCE_RETRY_ASKING);
    expect_fault(GW_LINK, "a cable was pulled");
}

static void a_refusal_ends_it_and_is_the_reason(void **state)
{
    (void)state;
    reach_asking();
    hears_verdict(GW_FRAME_REFUSE, 0);
    expect_state(GW_SOURCE_FAILED);
    expect_fault(GW_REFUSED, "because");
    assert_string_equal(last_said.verdict.reason, "because"); /* ABORT's */
}

static void a_target_that_knows_nothing_is_the_reason(void **state)
{
    (void)state;
    reach_asking();
    hears_welcome(GW_STANDING_UNKNOWN, 0);
    expect_state(GW_SOURCE_FAILED);
    expect_fault(GW_REFUSED, "cannot say how this migration stands");
}

static void a_held_guest_whose_target_knows_nothing_says_so(void **state)
{
    (void)state;
    reach(GW_SOURCE_HELD_ASKING);
    hears_welcome(GW_STANDING_UNKNOWN, 0);
    expect_state(GW_SOURCE_HELD_WAITING);
    expect_fault(GW_REFUSED, "cannot say how this migration stands");
}

static void a_held_guest_whose_target_is_back_has_no_fault(void **state)
{
    (void)state;
    reach(GW_SOURCE_HELD_ASKING);
    assert_int_equal(gw_source_fault(&source)->status, GW_HOST);
    hears_welcome(GW_STANDING_READY, 1);
    expect_state(GW_SOURCE_HELD);
    assert_int_equal(gw_source_fault(&source)->status, GW_OK);
}

static void a_breach_ends_it_and_is_the_reason(void **state)
{
    (void)state;
    reach_asking();
    breaks(GW_PROTOCOL, "it speaks another tongue");
    expect_state(GW_SOURCE_FAILED);
    expect_fault(GW_PROTOCOL, "another tongue");
}

static void a_host_that_fails_is_the_reason(void **state)
{
    (void)state;
    reach_asking();
    happens(GW_SOURCE_EV_HOST_FAULT);
    expect_state(GW_SOURCE_FAILED);
    expect_fault(GW_HOST, "it broke");
}

static void an_operator_is_the_reason(void **state)
{
    (void)state;
    reach_asking();
    happens(GW_SOURCE_EV_CANCEL);
    expect_state(GW_SOURCE_CANCELLED);
    expect_fault(GW_CANCELLED, "cancelled by the operator");
}

static void what_comes_while_the_guest_still_stops_is_not(void **state)
{
    (void)state;
    reach(GW_SOURCE_PAUSING);
    happens(GW_SOURCE_EV_CANCEL);
    expect_state(GW_SOURCE_CANCELLING);
    happens(GW_SOURCE_EV_HOST_FAULT);
    expect_state(GW_SOURCE_CANCELLED);
    expect_fault(GW_CANCELLED, "cancelled by the operator");

    reach(GW_SOURCE_CANCELLING);
    hears_verdict(GW_FRAME_REFUSE, 0);
    happens(GW_SOURCE_EV_STOPPED);
    expect_state(GW_SOURCE_CANCELLED);
    expect_fault(GW_CANCELLED, "cancelled by the operator");

    reach(GW_SOURCE_FALLING_BACK);
    happens(GW_SOURCE_EV_HOST_FAULT);
    expect_state(GW_SOURCE_FAILED);
    expect_fault(GW_REFUSED, "because");
}

static void that_the_guest_is_lost_there_stays_the_reason(void **state)
{
    struct gw_source_figures figures;
    (void)state;
    reach(GW_SOURCE_PUSH_ASKING);
    gw_source_figures(&source, now_ns, &figures);
    assert_false(figures.is_lost_there);
    hears_welcome(GW_STANDING_LOST, 1);
    gw_source_figures(&source, now_ns, &figures);
    assert_true(figures.is_lost_there);
    for (int i = 0; i < 2; i++) {
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        happens(GW_SOURCE_EV_LINK_UP);
        expect_state(GW_SOURCE_PUSH_ASKING);
        if (i == 0) {
            hears_verdict(GW_FRAME_REFUSE, 0);
        } else {
            hears_welcome(GW_STANDING_UNKNOWN, 0);
        }
        expect_state(GW_SOURCE_PUSH_WAITING);
        expect_fault(GW_LINK, "is lost there");
    }
}

/* Pages that are in sockets when PREPARE is sent take their time on a slow link. */
static void what_is_still_acknowledged_gives_ready_time(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach(GW_SOURCE_FINISHING);
    source.pages.batch_pages = 1; /* of two pages */
    uint64_t first = source.pages.channel[0].sequence_sent + 1;
    while (next(&batch)) {
        sent(batch.sequence);
    }
    expect_state(GW_SOURCE_PREPARED);
    assert_int_equal(source.pages.channel[0].sequence_sent, first + 1);
    for (uint64_t sequence = first; sequence <= first + 1; sequence++) {
        now_ns += 29000 * MS;
        hears_ack(sequence);
        happens(GW_SOURCE_EV_TICK);
        expect_state(GW_SOURCE_PREPARED);
    }
    now_ns += 30000 * MS;
    happens(GW_SOURCE_EV_TICK);
    expect_state(GW_SOURCE_FAILED);
    expect_fault(GW_LINK, "was not ready within 30 s of PREPARE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_ends_it_and_is_the_reason),
        cmocka_unit_test(a_target_that_knows_nothing_is_the_reason),
        cmocka_unit_test(a_held_guest_whose_target_knows_nothing_says_so),
        cmocka_unit_test(a_held_guest_whose_target_is_back_has_no_fault),
        cmocka_unit_test(a_breach_ends_it_and_is_the_reason),
        cmocka_unit_test(a_host_that_fails_is_the_reason),
        cmocka_unit_test(an_operator_is_the_reason),
        cmocka_unit_test(what_comes_while_the_guest_still_stops_is_not),
        cmocka_unit_test(that_the_guest_is_lost_there_stays_the_reason),
        cmocka_unit_test(what_is_still_acknowledged_gives_ready_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
