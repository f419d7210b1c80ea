/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target that places pages by larger units (huge pages): how one is put together, what counts
 * as received, and what a source must not send. RAM has eight pages, by units of two; the last unit
 * lacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "godwit/assembly.h"
#include "target_script.h"

enum { UNIT = 2, FIRST = 6, THREAD = 77 };

static struct gw_batch_table pages(uint64_t page, uint32_t count, enum gw_record_kind kind)
{
    return (struct gw_batch_table){.record_count = 1,
                                   .raw_pages = kind == GW_RECORD_RAW ? count : 0,
                                   .record = {{.page = page, .count = count, .kind = kind}}};
}

/* ---- Putting a unit together ---- */

static enum gw_status check(const struct gw_assembly *assembly, uint64_t page, uint32_t count,
                            bool is_urgent)
{
    struct gw_batch_table table = pages(page, count, GW_RECORD_RAW);
    return gw_assembly_check(assembly, &table, 8, is_urgent, NULL);
}

static void add(struct gw_assembly *assembly, uint64_t page, uint32_t count, bool is_raw)
{
    struct gw_batch_table table = pages(page, count, GW_RECORD_RAW);
    assert_int_equal(gw_assembly_check(assembly, &table, 8, false, NULL), GW_OK);
    gw_assembly_begin(assembly, &table, 8);
    gw_assembly_add(assembly, count, is_raw);
}

static void a_unit_comes_from_its_first_page_to_its_last(void **state)
{
    struct gw_assembly assembly = {.aside = 0};
    (void)state;
    assert_int_equal(check(&assembly, 3, 2, false), GW_PROTOCOL); /* no unit's first page */
    assert_int_equal(check(&assembly, 8, 9, false), GW_PROTOCOL); /* of two units */
    add(&assembly, 8, 3, false);
    assert_false(gw_assembly_is_whole(&assembly));
    assert_int_equal(assembly.raw_aside, 0);
    assert_int_equal(check(&assembly, 12, 1, false), GW_PROTOCOL); /* a gap */
    assert_int_equal(check(&assembly, 10, 1, false), GW_PROTOCOL); /* twice */
    assert_int_equal(check(&assembly, 11, 6, false), GW_PROTOCOL); /* beyond its end */
    add(&assembly, 11, 5, true);
    assert_true(gw_assembly_is_whole(&assembly));
    assert_int_equal(assembly.raw_aside, 5);
}

static void half_a_unit_is_forgotten_for_another_on_the_bulk_channel_only(void **state)
{
    struct gw_assembly assembly = {.aside = 0};
    (void)state;
    add(&assembly, 8, 3, true);
    assert_int_equal(check(&assembly, 16, 8, true), GW_PROTOCOL);
    assert_int_equal(check(&assembly, 11, 5, true), GW_OK);
    add(&assembly, 16, 8, false);
    assert_true(gw_assembly_is_whole(&assembly));
    assert_int_equal(assembly.unit.page, 16);
    assert_int_equal(assembly.raw_aside, 0);
}

static void records_of_a_batch_follow_each_other(void **state)
{
    struct gw_assembly assembly = {.aside = 0};
    struct gw_fault fault = {.status = GW_OK};
    struct gw_batch_table table = {.record_count = 2,
                                   .record = {{.page = 8, .count = 2, .kind = GW_RECORD_ZERO},
                                              {.page = 11, .count = 1, .kind = GW_RECORD_ZERO}}};
    (void)state;
    assert_int_equal(gw_assembly_check(&assembly, &table, 8, false, &fault), GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "pages of one unit of 8"));
    table.record[1].page = 10;
    assert_int_equal(gw_assembly_check(&assembly, &table, 8, false, NULL), GW_OK);
}

/* ---- The engine ---- */

static void expect_state(enum gw_target_state state)
{
    assert_string_equal(gw_target_state_name(target.state), gw_target_state_name(state));
}

static void reach_pulling(void)
{
    reach(GW_TARGET_PULLING);
    target.config.unit_pages = UNIT;
    gw_target_urgent_ready(&target);
}

/* A batch with one page of the unit came; is_whole: it was the last. */
static void part_comes(bool is_urgent, uint64_t sequence, uint64_t page, bool is_whole)
{
    struct gw_batch_table table = pages(page, 1, GW_RECORD_RAW);
    struct gw_target_event event = {
        .type = GW_TARGET_EV_BATCH,
        .placed = {.is_urgent = is_urgent,
                   .sequence = sequence,
                   .table = &table,
                   .whole = {.page = FIRST, .count = is_whole ? UNIT : 0}}};
    assert_int_equal(tell(event, NULL), GW_OK);
    drain();
}

static void the_source_is_told_the_unit(void **state)
{
    (void)state;
    reach(GW_TARGET_OPENING);
    target.config.unit_pages = UNIT;
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(last_said.type, GW_FRAME_ACCEPT);
    assert_int_equal(last_said.accept.unit_log2, 1);
}

static void a_unit_is_demanded_once_and_here_when_it_is_whole(void **state)
{
    (void)state;
    reach_pulling();
    assert_int_equal(gw_target_page_fault(&target, FIRST + 1, THREAD, now_ns), GW_FAULT_DEMAND);
    assert_int_equal(gw_target_unit_of(&target, FIRST + 1), FIRST);
    assert_int_equal(gw_target_page_fault(&target, FIRST, THREAD + 1, now_ns), GW_FAULT_WAIT);
    part_comes(true, 1, FIRST, false);
    assert_int_equal(target.missing, UNIT);
    assert_int_equal(target.blocktime.faults, 0);
    struct gw_batch_table rest = pages(FIRST + 1, 1, GW_RECORD_RAW);
    assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &rest, NULL), GW_OK);
    part_comes(true, 2, FIRST + 1, true);
    assert_int_equal(target.blocktime.faults, 2);
    expect_state(GW_TARGET_RUNNING);
    assert_int_equal(said[GW_FRAME_COMPLETE], 1);
    assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &rest, NULL),
                     GW_PROTOCOL); /* twice */
}

/* It is acknowledged, as it was read; and it is not received, as it is nowhere. */
static void half_a_unit_is_not_received_when_the_link_breaks(void **state)
{
    uint64_t page = 0;
    (void)state;
    reach_pulling();
    (void)gw_target_page_fault(&target, FIRST + 1, THREAD, now_ns);
    part_comes(false, 3, FIRST, false);
    assert_int_equal(said[GW_FRAME_ACK] > 0, 1);
    happens(GW_TARGET_EV_LINK_LOST);
    expect_state(GW_TARGET_STRANDED);
    assert_int_equal(gw_target_received(&target)[0], 0x3f);
    comes('A', GW_PURPOSE_SETTLE, 2);
    comes_bulk(2, 3);
    comes_urgent(2);
    gw_target_urgent_ready(&target);
    assert_int_equal(gw_target_next_demand(&target, &page), GW_OK);
    assert_int_equal(page, FIRST);
}

static void missing_is_of_whole_units(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    uint64_t missing[GW_BITMAP_WORDS] = {0xc0};
    (void)state;
    reach(GW_TARGET_ACTIVE);
    target.config.unit_pages = UNIT;
    assert_int_equal(gw_target_check_missing(&target, missing, NULL), GW_OK);
    missing[0] = 0x86;
    assert_int_equal(gw_target_check_missing(&target, missing, &fault), GW_PROTOCOL);
    assert_non_null(strstr(fault.text, "MISSING has page 1 and not all of its unit of 2"));
    target.config.unit_pages = 1;
    assert_int_equal(gw_target_check_missing(&target, missing, NULL), GW_OK);
}

/* ---- Pages that the source has no more ---- */

static void gone_is_believed_of_what_is_here_only(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    for (uint32_t unit = 1; unit <= UNIT; unit++) {
        struct gw_batch_table gone = pages(FIRST, unit, GW_RECORD_GONE);
        reach_pulling();
        target.config.unit_pages = unit;
        assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &gone, NULL),
                         GW_PROTOCOL);
        (void)gw_target_page_fault(&target, FIRST, THREAD, now_ns);
        gw_fault_clear(&fault);
        assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &gone, &fault),
                         GW_PROTOCOL);
        assert_non_null(strstr(fault.text, "as gone, and they are not all here"));
        /* It is placed by the bulk channel meanwhile: then it may be. */
        struct gw_batch_table table = pages(FIRST, unit, GW_RECORD_RAW);
        struct gw_target_event event = {
            .type = GW_TARGET_EV_BATCH,
            .placed = {.sequence = 3, .table = &table, .whole = {FIRST, unit}}};
        assert_int_equal(tell(event, NULL), GW_OK);
        drain();
        assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &gone, NULL), GW_OK);
        assert_int_equal(gw_target_check_pages(&target, 0, &gone, NULL), GW_PROTOCOL);
        event.placed = (struct gw_batch_placed){.is_urgent = true, .sequence = 1, .table = &gone};
        assert_int_equal(tell(event, NULL), GW_OK);
        drain();
        assert_int_equal(target.missing, UNIT - unit);
        if (unit == 1) { /* else all is here, and whatever still comes is dropped */
            assert_int_equal(gw_target_check_pages(&target, GW_TARGET_URGENT, &gone, NULL),
                             GW_PROTOCOL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_comes_from_its_first_page_to_its_last),
        cmocka_unit_test(half_a_unit_is_forgotten_for_another_on_the_bulk_channel_only),
        cmocka_unit_test(records_of_a_batch_follow_each_other),
        cmocka_unit_test(the_source_is_told_the_unit),
        cmocka_unit_test(a_unit_is_demanded_once_and_here_when_it_is_whole),
        cmocka_unit_test(half_a_unit_is_not_received_when_the_link_breaks),
        cmocka_unit_test(missing_is_of_whole_units),
        cmocka_unit_test(gone_is_believed_of_what_is_here_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
