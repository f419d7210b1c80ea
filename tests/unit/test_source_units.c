/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source whose target places pages by larger units (huge pages), and the source that gives its
 * memory back as the target has it (release-ram). RAM has 100 pages, of which the guest touched the
 * first eight; a unit has four pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"

enum { TOUCHED = 8, UNIT_LOG2 = 2, UNIT = 4, BATCH = 3 };

/* The next batch is these pages, and is sent. */
static void expect_pushed(uint64_t page, uint32_t count)
{
    struct gw_batch batch;
    assert_true(next(&batch));
    assert_int_equal(batch.kind, GW_BATCH_PUSH);
    assert_int_equal(batch.run_count, 1);
    assert_int_equal(batch.run[0].page, page);
    assert_int_equal(batch.run[0].count, count);
    sent(batch.sequence);
}

static void accepts(uint32_t unit_log2)
{
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {GW_CAN_POSTCOPY, unit_log2, 1}});
}

/* HELD; page 21, a hole before, was written last. */
static void reach_held(uint32_t unit_log2, bool is_releasing, uint32_t own_unit)
{
    reach(GW_SOURCE_NEGOTIATING);
    source.config.is_releasing = is_releasing;
    source.config.own_unit_pages = own_unit;
    accepts(unit_log2);
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    happens(GW_SOURCE_EV_POSTCOPY);
    pages_go(true);
    happens(GW_SOURCE_EV_RECORDED);
    happens(GW_SOURCE_EV_STOPPED);
    bitmap[0] = UINT64_C(1) << 21;
    happens(GW_SOURCE_EV_COLLECTED);
    pages_go(true);
    expect_state(GW_SOURCE_PREPARED);
    hears_verdict(GW_FRAME_READY, 1);
    expect_state(GW_SOURCE_HELD);
}

static void reach_pushing(uint32_t unit_log2, bool is_releasing, uint32_t own_unit)
{
    reach_held(unit_log2, is_releasing, own_unit);
    hears_verdict(GW_FRAME_RUNNING, 1);
    expect_state(GW_SOURCE_PUSHING);
    source.pages.batch_pages = BATCH; /* a unit takes two batches */
}

static void recover(uint64_t received, uint64_t received_above)
{
    if (source.state != GW_SOURCE_PUSH_WAITING) {
        happens(GW_SOURCE_EV_LINK_LOST);
    }
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_PULLING, 1);
    bitmap[0] = received;
    bitmap[1] = received_above;
    happens(GW_SOURCE_EV_RECONCILED);
}

/* ---- Units ---- */

static void units_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    /* 8 pages do not divide 100; */
    reach(GW_SOURCE_NEGOTIATING);
    accepts(3);
    expect_state(GW_SOURCE_FAILED);
    assert_non_null(strstr(gw_source_fault(&source)->text, "places pages by 8"));
    /* and 4 of 1 MiB are more than a huge page. */
    reach(GW_SOURCE_NEGOTIATING);
    source.config.page_bytes = 1 << 20;
    accepts(2);
    expect_state(GW_SOURCE_FAILED);
}

static void what_lacks_is_rounded_out_to_units(void **state)
{
    (void)state;
    reach_held(UNIT_LOG2, false, 1);
    assert_int_equal(gw_source_missing(&source)[0], 0xff | UINT64_C(0xf) << 20);
    assert_int_equal(source.pages.dirty_count, TOUCHED + UNIT);
}

static void units_are_pushed_whole_and_in_order(void **state)
{
    (void)state;
    reach_pushing(UNIT_LOG2, false, 1);
    expect_pushed(0, 3);
    expect_pushed(3, 1);
    expect_pushed(4, 3);
    expect_pushed(7, 1);
    expect_pushed(20, 3);
    expect_pushed(23, 1);
}

static void a_demand_is_answered_with_its_unit_when_the_one_at_hand_is_done(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach_pushing(UNIT_LOG2, false, 1);
    expect_pushed(0, 3);
    assert_int_equal(gw_source_demand(&source, 4, &batch, NULL), GW_OK);
    assert_true(batch.run[0].page == 4 && batch.run[0].count == UNIT);
    assert_false(next(&batch)); /* the bulk channel gives way */
    gw_source_answered(&source, &(struct gw_batch_sent){.raw_pages = UNIT});
    expect_pushed(3, 1);  /* what was begun is ended */
    expect_pushed(20, 3); /* then it goes on behind the demanded one */
    expect_pushed(23, 1);
    assert_false(next(&batch));
}

static void the_unit_at_hand_is_given_up_when_it_is_demanded(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach_pushing(UNIT_LOG2, false, 1);
    expect_pushed(0, 3);
    assert_int_equal(gw_source_demand(&source, 0, &batch, NULL), GW_OK);
    assert_true(batch.run[0].page == 0 && batch.run[0].count == UNIT);
    gw_source_answered(&source, &(struct gw_batch_sent){.raw_pages = UNIT});
    expect_pushed(4, 3);
}

static void a_demand_names_a_units_first_page(void **state)
{
    struct gw_batch batch;
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    reach_pushing(UNIT_LOG2, false, 1);
    assert_int_equal(gw_source_demand(&source, 21, &batch, &fault), GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "demands page 21, wanted the first page of a unit of 4"));
    assert_int_equal(gw_source_demand(&source, 100, &batch, NULL), GW_PROTOCOL);
}

static void half_a_unit_is_not_received(void **state)
{
    (void)state;
    reach_pushing(UNIT_LOG2, false, 1);
    recover(~UINT64_C(0xf) & ~UINT64_C(2) << 20, UINT64_MAX >> 28); /* all but 0..3 and 21 */
    expect_state(GW_SOURCE_PUSH_WAITING);
    assert_non_null(strstr(gw_source_fault(&source)->text, "not all of its unit of 4"));
    recover(~UINT64_C(0xf), UINT64_MAX >> 28); /* and then it says what can be */
    happens(GW_SOURCE_EV_BULK_UP);
    expect_state(GW_SOURCE_PUSHING);
    expect_pushed(0, 3);
    expect_pushed(3, 1);
}

/* ---- release-ram ---- */

static void expect_released(uint64_t page, uint32_t count)
{
    struct gw_run run;
    assert_int_equal(gw_source_next_release(&source, 200, &run), GW_OK);
    assert_int_equal(run.page, page);
    assert_int_equal(run.count, count);
}

static void expect_none_released(void)
{
    struct gw_run run;
    assert_int_equal(gw_source_next_release(&source, 200, &run), GW_AGAIN);
}

/* The pages that came before the switch. */
static void expect_the_others_released(void)
{
    expect_released(8, 13);
    expect_released(22, 78);
    expect_none_released();
}

static void nothing_is_released_unless_it_was_asked_for(void **state)
{
    (void)state;
    reach_pushing(0, false, 1);
    expect_pushed(0, 3);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_none_released();
    hears_verdict(GW_FRAME_COMPLETE, 1);
    expect_none_released();
}

static void what_the_target_has_is_released_when_the_guest_runs_there(void **state)
{
    (void)state;
    reach_held(0, true, 1);
    expect_none_released(); /* it may still come back */
    hears_verdict(GW_FRAME_RUNNING, 1);
    source.pages.batch_pages = BATCH;
    expect_the_others_released();
    expect_pushed(0, 3);
    expect_none_released(); /* never what was not acknowledged */
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_released(0, 3);
    expect_none_released();
    hears_verdict(GW_FRAME_COMPLETE, 1);
    expect_none_released(); /* it may overtake a batch, which goes from where it lies */
    hears_verdict(GW_FRAME_DONE, 1);
    expect_released(3, 5);
    expect_released(21, 1);
    expect_none_released();
    assert_int_equal(source.release.released_count, 100);
}

static void runs_are_no_longer_than_asked_for(void **state)
{
    struct gw_run run;
    (void)state;
    reach_pushing(0, true, 1);
    assert_int_equal(gw_source_next_release(&source, 5, &run), GW_OK);
    assert_true(run.page == 8 && run.count == 5);
    expect_released(13, 8);
}

/* An acknowledged batch of a unit was only put aside, until its last one came. */
static void a_unit_is_released_with_its_last_batch(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach_pushing(UNIT_LOG2, true, 1);
    expect_released(8, 12);
    expect_released(24, 76);
    expect_pushed(0, 3);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_none_released();
    expect_pushed(3, 1);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_released(0, UNIT);
    expect_pushed(4, 3); /* given up, since it is demanded: no number will speak of it */
    assert_int_equal(gw_source_demand(&source, 4, &batch, NULL), GW_OK);
    gw_source_answered(&source, &(struct gw_batch_sent){.raw_pages = UNIT});
    expect_pushed(20, 3);
    expect_pushed(23, 1);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_released(20, UNIT);
    expect_none_released();
    hears_verdict(GW_FRAME_COMPLETE, 1);
    hears_verdict(GW_FRAME_DONE, 1);
    expect_released(4, UNIT);
}

/* A huge page is given back when the target has all of it. */
static void own_huge_pages_are_released_whole(void **state)
{
    (void)state;
    reach_pushing(0, true, UNIT);
    expect_released(8, 12);
    expect_released(24, 76);
    expect_none_released(); /* 20, 22 and 23 are due, 21 lacks */
    expect_pushed(0, 3);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_none_released();
    expect_pushed(3, 3);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_released(0, UNIT);
    hears_verdict(GW_FRAME_COMPLETE, 1);
    hears_verdict(GW_FRAME_DONE, 1);
    expect_released(4, UNIT);
    expect_released(20, UNIT);
}

static void demanded_pages_wait_for_the_map_or_the_end(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach_pushing(0, true, 1);
    expect_the_others_released();
    assert_int_equal(gw_source_demand(&source, 5, &batch, NULL), GW_OK);
    gw_source_answered(&source, &(struct gw_batch_sent){.raw_pages = 1});
    assert_true(next(&batch)); /* 6, 7 and 21 */
    sent(batch.sequence);
    hears_ack(batch.sequence);
    expect_released(6, 2);
    expect_released(21, 1);
    expect_none_released();
    recover(~UINT64_C(0x1f), UINT64_MAX >> 28); /* 5 is in it */
    happens(GW_SOURCE_EV_BULK_UP);
    expect_released(5, 1);
    expect_none_released();
    expect_pushed(0, 3);
}

static void a_page_that_is_being_read_is_not_released(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach_pushing(0, true, 1);
    expect_the_others_released();
    expect_pushed(0, 3);
    assert_int_equal(gw_source_demand(&source, 1, &batch, NULL), GW_OK); /* crosses the push */
    assert_int_equal(batch.kind, GW_BATCH_PUSH);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_released(0, 1);
    expect_released(2, 1);
    expect_none_released();
    gw_source_answered(&source, &(struct gw_batch_sent){.raw_pages = 1});
    expect_released(1, 1);
}

static void a_demand_that_crossed_its_acknowledgement_hears_that_it_is_gone(void **state)
{
    struct gw_batch batch;
    (void)state;
    reach_pushing(0, true, 1);
    expect_pushed(0, 3);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_released(0, 3);
    assert_int_equal(gw_source_demand(&source, 1, &batch, NULL), GW_OK);
    assert_int_equal(batch.kind, GW_BATCH_GONE);
    assert_true(batch.run[0].page == 1 && batch.run[0].count == 1);
    gw_source_answered(&source, &(struct gw_batch_sent){.sequence = 0});
}

/* Zeros must not be sent for what was given back. */
static void a_target_that_takes_its_word_back_gets_nothing(void **state)
{
    (void)state;
    reach_pushing(0, true, 1);
    expect_pushed(0, 3);
    hears_ack(source.pages.channel[0].sequence_sent);
    expect_released(0, 3);
    recover(~UINT64_C(0xff), UINT64_MAX >> 28);
    expect_state(GW_SOURCE_PUSH_WAITING);
    assert_non_null(strstr(gw_source_fault(&source)->text, "lacks page 0, which it acknowledged"));
    assert_int_equal(gw_source_runner(&source), GW_RUNNER_TARGET);
}

static void a_copy_with_pages_gone_never_runs_again(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_source_event run_anyway = {.type = GW_SOURCE_EV_RUN_ANYWAY};
    (void)state;
    reach_pushing(0, true, 1);
    expect_released(8, 13);
    happens(GW_SOURCE_EV_LINK_LOST);
    assert_int_equal(tell(run_anyway, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "13 pages of it were given back here"));
    assert_non_null(strstr(fault.text, "release-ram"));
    expect_state(GW_SOURCE_PUSH_WAITING);
    happens(GW_SOURCE_EV_GIVE_UP);
    expect_state(GW_SOURCE_LOST);

    reach_pushing(0, true, 1);
    happens(GW_SOURCE_EV_LINK_LOST); /* before anything was given back */
    expect_none_released();
    assert_int_equal(tell(run_anyway, NULL), GW_OK);
    expect_state(GW_SOURCE_FAILED);
    expect_none_released();
}

/* It died there before RUNNING was heard: what is here is all that is left of it. */
static void the_last_copy_of_a_guest_that_is_lost_there_is_kept(void **state)
{
    struct gw_source_event run_anyway = {.type = GW_SOURCE_EV_RUN_ANYWAY};
    (void)state;
    reach_held(0, true, 1);
    happens(GW_SOURCE_EV_LINK_LOST);
    now_ns = gw_source_deadline(&source);
    happens(GW_SOURCE_EV_TICK);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_LOST, 1);
    expect_state(GW_SOURCE_PUSH_WAITING);
    expect_none_released();
    assert_int_equal(tell(run_anyway, NULL), GW_OK);
    expect_state(GW_SOURCE_FAILED);
    assert_int_equal(source.release.released_count, 0);
}

static void nothing_is_released_until_the_link_is_back(void **state)
{
    (void)state;
    reach_pushing(0, true, 1);
    happens(GW_SOURCE_EV_LINK_LOST);
    expect_none_released();
    recover(~UINT64_C(0xff), UINT64_MAX >> 28);
    expect_none_released();
    happens(GW_SOURCE_EV_BULK_UP);
    expect_state(GW_SOURCE_PUSHING);
    expect_released(8, 92);
}

/* A handover that did not come about leaves everything here. */
static void a_link_lost_before_commit_keeps_all(void **state)
{
    (void)state;
    reach_held(0, true, 1);
    hears(&(struct gw_message){.type = GW_FRAME_ABORTED,
                               .verdict = {.epoch = 1, .reason = "no room"}});
    expect_state(GW_SOURCE_FAILED);
    expect_none_released();
    assert_int_equal(source.release.released_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_that_do_not_fit_are_refused),
        cmocka_unit_test(what_lacks_is_rounded_out_to_units),
        cmocka_unit_test(units_are_pushed_whole_and_in_order),
        cmocka_unit_test(a_demand_is_answered_with_its_unit_when_the_one_at_hand_is_done),
        cmocka_unit_test(the_unit_at_hand_is_given_up_when_it_is_demanded),
        cmocka_unit_test(a_demand_names_a_units_first_page),
        cmocka_unit_test(half_a_unit_is_not_received),
        cmocka_unit_test(nothing_is_released_unless_it_was_asked_for),
        cmocka_unit_test(what_the_target_has_is_released_when_the_guest_runs_there),
        cmocka_unit_test(runs_are_no_longer_than_asked_for),
        cmocka_unit_test(a_unit_is_released_with_its_last_batch),
        cmocka_unit_test(own_huge_pages_are_released_whole),
        cmocka_unit_test(demanded_pages_wait_for_the_map_or_the_end),
        cmocka_unit_test(a_page_that_is_being_read_is_not_released),
        cmocka_unit_test(a_demand_that_crossed_its_acknowledgement_hears_that_it_is_gone),
        cmocka_unit_test(a_target_that_takes_its_word_back_gets_nothing),
        cmocka_unit_test(a_copy_with_pages_gone_never_runs_again),
        cmocka_unit_test(the_last_copy_of_a_guest_that_is_lost_there_is_kept),
        cmocka_unit_test(nothing_is_released_until_the_link_is_back),
        cmocka_unit_test(a_link_lost_before_commit_keeps_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
