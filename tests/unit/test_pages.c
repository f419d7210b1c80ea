/* SPDX-License-Identifier: Apache-2.0 */
/* What is left to send: rounds, holes, the window, and a model that counts by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "chance.h"
#include "godwit/pages.h"

enum { PAGE = 4096, BATCH = GW_BATCH_BYTES_MAX / PAGE, MANY = 20000 };

static struct gw_pages pages;
static uint64_t bitmap[GW_BITMAP_WORDS];

static void given(uint64_t page_count)
{
    gw_pages_init(&pages, page_count, PAGE);
    memset(bitmap, 0, sizeof(bitmap));
}

static void touch(uint64_t page, uint64_t count)
{
    (void)gw_bits_put(bitmap, page, count, true);
}

static struct gw_batch picked(bool is_stopped)
{
    struct gw_batch batch;
    assert_int_equal(gw_pages_pick(&pages, 0, is_stopped, &batch), GW_OK);
    return batch;
}

static void expect_run(const struct gw_batch *batch, uint32_t i, uint64_t page, uint64_t count)
{
    assert_true(i < batch->run_count);
    assert_int_equal(batch->run[i].page, page);
    assert_int_equal(batch->run[i].count, count);
}

static void acknowledge(uint64_t sequence, uint64_t pages_wanted)
{
    uint64_t bytes = 0;
    assert_int_equal(gw_pages_acked(&pages, 0, sequence, &bytes, NULL), GW_OK);
    assert_int_equal(bytes, pages_wanted * PAGE);
}

static void expect_none(void)
{
    struct gw_batch batch;
    assert_int_equal(gw_pages_pick(&pages, 0, false, &batch), GW_AGAIN);
}

static void the_first_round_tells_long_holes_and_sends_short_ones(void **state)
{
    (void)state;
    given(5 * BATCH);
    touch(0, 3);
    touch(5, 2);             /* a short hole at 3 */
    touch(7 + 2 * BATCH, 1); /* a long one at 7 */
    gw_pages_begin(&pages, bitmap);
    struct gw_batch batch = picked(false);
    assert_int_equal(batch.kind, GW_BATCH_PAGES);
    assert_int_equal(batch.run_count, 1);
    expect_run(&batch, 0, 0, 7);
    batch = picked(false);
    assert_int_equal(batch.kind, GW_BATCH_HOLES);
    expect_run(&batch, 0, 7, 2 * BATCH);
    batch = picked(false);
    assert_int_equal(batch.kind, GW_BATCH_PAGES);
    expect_run(&batch, 0, 7 + 2 * BATCH, 1);
    batch = picked(false);
    assert_int_equal(batch.kind, GW_BATCH_HOLES);
    expect_run(&batch, 0, 8 + 2 * BATCH, 5 * BATCH - (8 + 2 * BATCH));
    expect_none();
    assert_int_equal(pages.dirty_count, 0);
}

static void a_guest_never_touched_is_one_hole(void **state)
{
    (void)state;
    given(GW_PAGES_MAX);
    gw_pages_begin(&pages, bitmap);
    struct gw_batch batch = picked(false);
    assert_int_equal(batch.kind, GW_BATCH_HOLES);
    expect_run(&batch, 0, 0, GW_PAGES_MAX);
    expect_none();
    assert_int_equal(gw_pages_remaining(&pages), 0);
}

static void a_guest_of_one_page_is_one_batch(void **state)
{
    (void)state;
    given(1);
    touch(0, 1);
    gw_pages_begin(&pages, bitmap);
    struct gw_batch batch = picked(false);
    assert_int_equal(batch.kind, GW_BATCH_PAGES);
    expect_run(&batch, 0, 0, 1);
    expect_none();
}

static void later_rounds_gather_runs_of_dirty_pages(void **state)
{
    (void)state;
    given(MANY);
    touch(3, 2);
    touch(100, 1);
    touch(MANY - 1, 1);
    assert_int_equal(gw_pages_merge(&pages, bitmap), 4);
    assert_int_equal(gw_pages_merge(&pages, bitmap), 0);
    expect_none(); /* no round has begun */
    gw_pages_begin_round(&pages);
    struct gw_batch batch = picked(false);
    assert_int_equal(batch.run_count, 3);
    expect_run(&batch, 0, 3, 2);
    expect_run(&batch, 1, 100, 1);
    expect_run(&batch, 2, MANY - 1, 1);
    expect_none();
}

static void a_batch_has_bounds_in_pages_and_in_runs(void **state)
{
    (void)state;
    given(MANY);
    touch(0, BATCH + 5);
    (void)gw_pages_merge(&pages, bitmap);
    gw_pages_begin_round(&pages);
    struct gw_batch batch = picked(false);
    expect_run(&batch, 0, 0, BATCH);
    batch = picked(false);
    expect_run(&batch, 0, BATCH, 5);
    given(MANY);
    for (uint64_t i = 0; i < GW_BATCH_RUNS_MAX + 1; i++) {
        touch(2 * i, 1);
    }
    pages.batch_pages = 2 * GW_BATCH_RUNS_MAX; /* so that the runs are what ends it */
    (void)gw_pages_merge(&pages, bitmap);
    gw_pages_begin_round(&pages);
    batch = picked(false);
    assert_int_equal(batch.run_count, GW_BATCH_RUNS_MAX);
    batch = picked(false);
    expect_run(&batch, 0, 2 * GW_BATCH_RUNS_MAX, 1);
}

static void a_first_round_begins_a_batch_with_each_stretch(void **state)
{
    (void)state;
    enum { STRETCH = GW_STRETCH_BYTES / PAGE };
    given(MANY);
    touch(STRETCH - 3, BATCH);
    gw_pages_begin(&pages, bitmap);
    struct gw_batch batch = picked(false);
    assert_int_equal(batch.kind, GW_BATCH_HOLES);
    batch = picked(false);
    expect_run(&batch, 0, STRETCH - 3, 3);
    batch = picked(false);
    expect_run(&batch, 0, STRETCH, BATCH - 3);
}

static void the_window_stops_the_round_until_the_target_has_told(void **state)
{
    (void)state;
    given(GW_PAGES_MAX);
    touch(0, (GW_WINDOW_BATCHES + 2) * (uint64_t)BATCH);
    gw_pages_begin(&pages, bitmap);
    for (uint64_t n = 1; n <= GW_WINDOW_BATCHES; n++) {
        assert_int_equal(picked(false).sequence, n);
        gw_pages_sent(&pages, 0, n);
    }
    expect_none();
    assert_false(gw_pages_is_round_over(&pages));
    acknowledge(1, BATCH);
    assert_int_equal(picked(false).sequence, GW_WINDOW_BATCHES + 1);
    expect_none();
    acknowledge(GW_WINDOW_BATCHES, (GW_WINDOW_BATCHES - 1) * (uint64_t)BATCH);
    assert_int_equal(gw_pages_remaining(&pages), 2 * BATCH);
}

static void a_suspect_batch_is_dirty_again(void **state)
{
    (void)state;
    given(MANY);
    touch(40, 8);
    (void)gw_pages_merge(&pages, bitmap);
    gw_pages_begin_round(&pages);
    gw_pages_sent(&pages, 0, picked(false).sequence);
    assert_int_equal(pages.dirty_count, 0);
    assert_int_equal(gw_pages_suspect(&pages, 0, 1, NULL), GW_OK);
    assert_int_equal(gw_pages_suspect(&pages, 0, 1, NULL), GW_OK); /* said twice counts once */
    assert_int_equal(pages.dirty_count, 8);
    acknowledge(1, 8);
    gw_pages_begin_round(&pages);
    struct gw_batch batch = picked(false);
    expect_run(&batch, 0, 40, 8);
}

static void nothing_may_be_damaged_while_the_guest_stands_still(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    given(MANY);
    touch(0, 1);
    (void)gw_pages_merge(&pages, bitmap);
    gw_pages_begin_round(&pages);
    gw_pages_sent(&pages, 0, picked(true).sequence);
    assert_int_equal(gw_pages_suspect(&pages, 0, 1, &fault), GW_CORRUPT);
    assert_string_equal(fault.text, "batch 1 arrived damaged although the guest stood still");
}

static void acknowledgements_of_nothing_are_refused(void **state)
{
    (void)state;
    static const uint64_t bad[] = {0, 1, 3, UINT64_MAX};
    uint64_t bytes = 7;
    given(MANY);
    touch(0, 2 * BATCH);
    (void)gw_pages_merge(&pages, bitmap);
    gw_pages_begin_round(&pages);
    gw_pages_sent(&pages, 0, picked(false).sequence);
    gw_pages_sent(&pages, 0, picked(false).sequence);
    acknowledge(1, BATCH);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gw_fault fault = {.status = GW_OK};
        assert_int_equal(gw_pages_acked(&pages, 0, bad[i], &bytes, &fault), GW_PROTOCOL);
        assert_non_null(strstr(fault.text, "wanted 2 to 2"));
        assert_int_equal(gw_pages_suspect(&pages, 0, bad[i], NULL), GW_PROTOCOL);
    }
    assert_int_equal(bytes, 7);
    acknowledge(2, BATCH);
    assert_true(gw_pages_is_round_over(&pages));
}

static void verification_gives_out_every_stretch_once(void **state)
{
    (void)state;
    enum { STRETCH = GW_STRETCH_BYTES / PAGE };
    struct gw_batch batch;
    given(2 * STRETCH + 3);
    for (uint64_t at = 0; at < pages.page_count; at += STRETCH) {
        assert_int_equal(gw_pages_pick_verify(&pages, 0, &batch), GW_OK);
        assert_int_equal(batch.kind, GW_BATCH_VERIFY);
        assert_true(batch.is_stopped);
        expect_run(&batch, 0, at, at == 2 * STRETCH ? 3 : STRETCH);
    }
    assert_int_equal(gw_pages_pick_verify(&pages, 0, &batch), GW_AGAIN);
    gw_pages_sent(&pages, 0, 1);
    gw_pages_sent(&pages, 0, 2);
    gw_pages_sent(&pages, 0, 3);
    acknowledge(3, 0); /* digests are no pages */
    assert_int_equal(gw_pages_suspect(&pages, 0, 3, NULL), GW_PROTOCOL);
}

/* ---- Against a model of one byte a page ---- */

enum { MODEL_PAGES = 700 };

struct model {
    bool dirty[MODEL_PAGES];
    struct gw_batch window[GW_WINDOW_BATCHES];
    uint64_t first, count; /* first: sequence of the oldest in the window */
};

static struct model model;

static uint64_t model_remaining(void)
{
    uint64_t count = 0;
    for (int i = 0; i < MODEL_PAGES; i++) {
        count += model.dirty[i];
    }
    for (uint64_t n = 0; n < model.count; n++) {
        const struct gw_batch *batch = &model.window[(model.first + n) % GW_WINDOW_BATCHES];
        for (uint32_t i = 0; i < batch->run_count && batch->kind == GW_BATCH_PAGES; i++) {
            count += batch->run[i].count;
        }
    }
    return count;
}

static void model_mark(const struct gw_batch *batch, bool is_dirty)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < batch->run_count; i++) {
        assert_true(batch->run[i].page >= end && batch->run[i].count > 0);
        end = batch->run[i].page + batch->run[i].count;
        assert_true(end <= MODEL_PAGES);
        for (uint64_t page = batch->run[i].page; page < end; page++) {
            assert_false(batch->kind == GW_BATCH_HOLES && !is_dirty && model.dirty[page]);
            model.dirty[page] = is_dirty;
        }
    }
}

static void model_step(struct chance *chance)
{
    uint64_t n = chance_next(chance, 12);
    struct gw_batch batch;
    if (n < 5) {
        if (gw_pages_pick(&pages, 0, false, &batch) == GW_OK) {
            assert_true(model.count < GW_WINDOW_BATCHES);
            assert_true(batch.sequence == model.first + model.count);
            model_mark(&batch, false);
            model.window[batch.sequence % GW_WINDOW_BATCHES] = batch;
            model.count++;
            gw_pages_sent(&pages, 0, batch.sequence);
        }
    } else if (n < 8 && model.count > 0) {
        uint64_t bytes = 0;
        uint64_t more = chance_next(chance, model.count);
        assert_int_equal(gw_pages_acked(&pages, 0, model.first + more, &bytes, NULL), GW_OK);
        model.first += more + 1;
        model.count -= more + 1;
    } else if (n == 8 && model.count > 0) {
        uint64_t sequence = model.first + chance_next(chance, model.count);
        assert_int_equal(gw_pages_suspect(&pages, 0, sequence, NULL), GW_OK);
        model_mark(&model.window[sequence % GW_WINDOW_BATCHES], true);
    } else if (n == 9) {
        memset(bitmap, 0, sizeof(bitmap));
        uint64_t added = 0;
        for (uint64_t i = chance_next(chance, 60); i > 0; i--) {
            uint64_t page = chance_next(chance, MODEL_PAGES);
            touch(page, 1);
            added += !model.dirty[page];
            model.dirty[page] = true;
        }
        assert_int_equal(gw_pages_merge(&pages, bitmap), added);
    } else if (n == 10 && pages.channel[0].cursor == pages.page_count) {
        gw_pages_begin_round(&pages);
    }
}

/* Holes that are too short for a batch go as pages. */
static void model_fill_short_holes(void)
{
    for (int from = 0; from < MODEL_PAGES;) {
        int end = from;
        while (end < MODEL_PAGES && model.dirty[end] == model.dirty[from]) {
            end++;
        }
        if (!model.dirty[from] && end - from < BATCH) {
            memset(&model.dirty[from], true, (size_t)(end - from));
        }
        from = end;
    }
}

static void random_operations_agree_with_the_model(void **state)
{
    (void)state;
    const char *wish = getenv("GW_SEED");
    uint64_t seed = wish ? strtoull(wish, NULL, 0) : 30;
    print_message("seed %llu (GW_SEED changes it)\n", (unsigned long long)seed);
    for (uint64_t run = 0; run < 60; run++) {
        struct chance chance = chance_of(seed + run);
        given(MODEL_PAGES);
        memset(&model, 0, sizeof(model));
        model.first = 1;
        for (uint64_t page = 0; page < MODEL_PAGES;) {
            uint64_t count = 1 + chance_next(&chance, run % 2 ? 200 : 20);
            count = count < MODEL_PAGES - page ? count : MODEL_PAGES - page;
            if (chance_next(&chance, 2)) {
                touch(page, count);
                memset(&model.dirty[page], true, count);
            }
            page += count;
        }
        model_fill_short_holes();
        gw_pages_begin(&pages, bitmap);
        for (int step = 0; step < 600; step++) {
            model_step(&chance);
            if (gw_pages_remaining(&pages) != model_remaining()) {
                fail_msg("seed %llu, step %d: remaining %llu, the model says %llu",
                         (unsigned long long)(seed + run), step,
                         (unsigned long long)gw_pages_remaining(&pages),
                         (unsigned long long)model_remaining());
            }
        }
        for (int i = 0; i < MODEL_PAGES; i++) {
            assert_int_equal(gw_bit_test(pages.dirty, (uint64_t)i), model.dirty[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_round_tells_long_holes_and_sends_short_ones),
        cmocka_unit_test(a_guest_never_touched_is_one_hole),
        cmocka_unit_test(a_guest_of_one_page_is_one_batch),
        cmocka_unit_test(later_rounds_gather_runs_of_dirty_pages),
        cmocka_unit_test(a_batch_has_bounds_in_pages_and_in_runs),
        cmocka_unit_test(a_first_round_begins_a_batch_with_each_stretch),
        cmocka_unit_test(the_window_stops_the_round_until_the_target_has_told),
        cmocka_unit_test(a_suspect_batch_is_dirty_again),
        cmocka_unit_test(nothing_may_be_damaged_while_the_guest_stands_still),
        cmocka_unit_test(acknowledgements_of_nothing_are_refused),
        cmocka_unit_test(verification_gives_out_every_stretch_once),
        cmocka_unit_test(random_operations_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
