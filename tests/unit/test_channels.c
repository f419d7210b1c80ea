/* SPDX-License-Identifier: Apache-2.0 */
/* Several bulk channels: who sends which page, against a model of one byte a page; and what a
 * target refuses of a channel. */
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
#include "target_script.h"

enum { STRETCH = GW_STRETCH_BYTES / PAGE, MANY = 11 * STRETCH + 77 };

/* ---- The source's pages ---- */

enum place { PLACED, DIRTY, IN_WINDOW };

static struct gw_pages pages;
static uint64_t bitmap[GW_BITMAP_WORDS];
static struct {
    uint8_t place[MANY]; /* enum place, of its latest version */
    struct gw_batch window[GW_BULK_CHANNELS_MAX][GW_WINDOW_BATCHES];
    uint64_t acked[GW_BULK_CHANNELS_MAX], picked[GW_BULK_CHANNELS_MAX];
} model;

static void put(const struct gw_batch *batch, enum place place)
{
    for (uint32_t i = 0; i < batch->run_count; i++) {
        memset(&model.place[batch->run[i].page], (int)place, batch->run[i].count);
    }
}

static void expect_own_share(const struct gw_batch *batch, uint32_t channel)
{
    assert_int_equal(batch->channel, channel);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        const struct gw_run *run = &batch->run[i];
        uint64_t last = run->page + run->count - 1;
        assert_true(last < pages.page_count);
        assert_int_equal(run->page / STRETCH % pages.channel_count, channel);
        assert_int_equal(last / STRETCH, run->page / STRETCH);
    }
}

static bool pick(uint32_t channel, bool is_stopped)
{
    struct gw_batch batch;
    if (gw_pages_pick(&pages, channel, is_stopped, &batch) != GW_OK) {
        return false;
    }
    expect_own_share(&batch, channel);
    assert_int_equal(batch.sequence, ++model.picked[channel]);
    for (uint32_t i = 0; i < batch.run_count && batch.kind == GW_BATCH_HOLES; i++) {
        for (uint64_t page = 0; page < batch.run[i].count; page++) {
            assert_int_equal(model.place[batch.run[i].page + page], PLACED); /* never written */
        }
    }
    put(&batch, IN_WINDOW);
    model.window[channel][batch.sequence % GW_WINDOW_BATCHES] = batch;
    gw_pages_sent(&pages, channel, batch.sequence);
    return true;
}

static void acknowledge(uint32_t channel, uint64_t count)
{
    uint64_t bytes = 0;
    assert_int_equal(gw_pages_acked(&pages, channel, model.acked[channel] + count, &bytes, NULL),
                     GW_OK);
    while (count-- > 0) {
        const struct gw_batch *batch =
            &model.window[channel][++model.acked[channel] % GW_WINDOW_BATCHES];
        for (uint32_t i = 0; i < batch->run_count; i++) {
            for (uint64_t page = 0; page < batch->run[i].count; page++) {
                uint8_t *place = &model.place[batch->run[i].page + page];
                *place = *place == IN_WINDOW ? PLACED : *place;
            }
        }
    }
}

static void dirty_some(struct chance *chance)
{
    uint64_t page = chance_next(chance, MANY);
    uint64_t count = 1 + chance_next(chance, chance_next(chance, 4) == 0 ? 2 * STRETCH : 8);
    count = count < MANY - page ? count : MANY - page;
    memset(bitmap, 0, sizeof(bitmap));
    (void)gw_bits_put(bitmap, page, count, true);
    (void)gw_pages_merge(&pages, bitmap);
    memset(&model.place[page], DIRTY, count);
}

static void step(struct chance *chance)
{
    uint32_t channel = (uint32_t)chance_next(chance, pages.channel_count);
    uint64_t under_way = model.picked[channel] - model.acked[channel];
    switch (chance_next(chance, 8)) {
    case 0:
        dirty_some(chance);
        break;
    case 1:
        if (under_way > 0) { /* one comes back */
            uint64_t which = model.acked[channel] + 1 + chance_next(chance, under_way);
            struct gw_batch *batch = &model.window[channel][which % GW_WINDOW_BATCHES];
            if (batch->kind == GW_BATCH_PAGES) {
                assert_int_equal(gw_pages_suspect(&pages, channel, which, NULL), GW_OK);
                put(batch, DIRTY);
            }
        }
        break;
    case 2:
    case 3:
        if (under_way > 0) {
            acknowledge(channel, 1 + chance_next(chance, under_way));
        }
        break;
    default:
        (void)pick(channel, false);
        break;
    }
    if (gw_pages_is_round_over(&pages)) {
        gw_pages_begin_round(&pages);
    }
}

static void expect_all_gets_there(uint32_t channel_count, uint64_t seed)
{
    struct chance chance = chance_of(seed);
    memset(&model, 0, sizeof(model));
    memset(bitmap, 0, sizeof(bitmap));
    gw_pages_init(&pages, MANY, PAGE);
    gw_pages_set_channels(&pages, channel_count);
    for (int i = 0; i < 40; i++) {
        uint64_t page = chance_next(&chance, MANY - 64);
        uint64_t count = 1 + chance_next(&chance, 64);
        (void)gw_bits_put(bitmap, page, count, true);
        memset(&model.place[page], DIRTY, count);
    }
    gw_pages_begin(&pages, bitmap);
    for (int i = 0; i < 600; i++) {
        step(&chance);
    }
    /* It stands still: two rounds take all that is left, by every channel its own. */
    for (int round = 0; round < 3; round++) {
        for (bool any = true; any;) {
            any = false;
            for (uint32_t channel = 0; channel < channel_count; channel++) {
                any = pick(channel, true) || any;
                if (model.picked[channel] > model.acked[channel]) {
                    acknowledge(channel, model.picked[channel] - model.acked[channel]);
                }
            }
        }
        assert_true(gw_pages_is_round_over(&pages));
        gw_pages_begin_round(&pages);
    }
    assert_int_equal(pages.dirty_count, 0);
    for (uint64_t page = 0; page < MANY; page++) {
        assert_int_equal(model.place[page], PLACED);
    }
}

static void each_page_travels_by_its_own_channel_and_all_get_there(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        expect_all_gets_there(2 + (uint32_t)seed % (GW_BULK_CHANNELS_MAX - 1), seed);
    }
}

static void a_full_window_stops_its_own_channel_only(void **state)
{
    (void)state;
    memset(&model, 0, sizeof(model));
    memset(bitmap, 0xff, sizeof(bitmap));
    gw_pages_init(&pages, 64 * 64 * 4, PAGE);
    gw_pages_set_channels(&pages, 2);
    memset(bitmap, 0, sizeof(bitmap));
    (void)gw_bits_put(bitmap, 0, pages.page_count, true);
    gw_pages_begin(&pages, bitmap);
    struct gw_batch batch;
    for (int i = 0; i < GW_WINDOW_BATCHES; i++) {
        assert_int_equal(gw_pages_pick(&pages, 1, false, &batch), GW_OK);
    }
    assert_int_equal(gw_pages_pick(&pages, 1, false, &batch), GW_AGAIN);
    assert_int_equal(gw_pages_pick(&pages, 0, false, &batch), GW_OK);
}

static void every_stretch_is_verified_by_its_channel_once(void **state)
{
    (void)state;
    static uint8_t seen[MANY / STRETCH + 1];
    struct gw_batch batch;
    gw_pages_init(&pages, MANY, PAGE);
    gw_pages_set_channels(&pages, 3);
    for (uint32_t channel = 0; channel < 3; channel++) {
        uint64_t count = 0;
        while (gw_pages_pick_verify(&pages, channel, &batch) == GW_OK) {
            expect_own_share(&batch, channel);
            seen[batch.run[0].page / STRETCH]++;
            gw_pages_sent(&pages, channel, ++count);
        }
        assert_false(gw_pages_is_verified(&pages));
        uint64_t bytes;
        assert_int_equal(gw_pages_acked(&pages, channel, count, &bytes, NULL), GW_OK);
    }
    assert_true(gw_pages_is_verified(&pages));
    for (size_t i = 0; i < sizeof(seen); i++) {
        assert_int_equal(seen[i], 1);
    }
}

static void an_acknowledgement_of_a_channel_that_is_not_there_is_refused(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    uint64_t bytes;
    gw_pages_init(&pages, MANY, PAGE);
    gw_pages_set_channels(&pages, 2);
    assert_int_equal(gw_pages_acked(&pages, 2, 1, &bytes, &fault), GW_PROTOCOL);
    assert_string_equal(fault.text, "ACK for channel 2, wanted one below 2");
}

/* ---- The target ---- */

enum { RAM_PAGES = 4 * STRETCH };

static void given_an_open_session(uint32_t asked)
{
    struct gw_message hello = {.type = GW_FRAME_HELLO,
                               .hello = {.guest_name = "guest",
                                         .page_count = RAM_PAGES,
                                         .page_bytes = PAGE,
                                         .channel_count = asked}};
    fresh();
    target.config.page_count = RAM_PAGES;
    happens(GW_TARGET_EV_START);
    happens(GW_TARGET_EV_RECORDED);
    comes('A', GW_PURPOSE_OPEN, 1);
    hears(&hello);
    happens(GW_TARGET_EV_RECORDED);
    assert_int_equal(target.state, GW_TARGET_ACTIVE);
}

static void comes_channel(uint32_t channel)
{
    struct gw_message intro = intro_of('A', GW_PURPOSE_OPEN, 1);
    intro.intro.role = GW_ROLE_BULK;
    intro.intro.channel = (uint8_t)channel;
    comes_in(&intro);
}

static enum gw_status check(uint32_t channel, uint64_t page, uint32_t count, struct gw_fault *fault)
{
    struct gw_batch_table table = {
        .record_count = 1,
        .raw_pages = count,
        .record = {{.page = page, .count = count, .kind = GW_RECORD_RAW}}};
    return gw_target_check_pages(&target, channel, &table, fault);
}

static void a_target_takes_no_more_channels_than_it_has_room_for(void **state)
{
    (void)state;
    given_an_open_session(GW_BULK_CHANNELS_MAX + 90);
    assert_int_equal(last_said.type, GW_FRAME_ACCEPT);
    assert_int_equal(last_said.accept.channel_count, GW_BULK_CHANNELS_MAX);
    given_an_open_session(3);
    assert_int_equal(last_said.accept.channel_count, 3);
}

static void a_channel_comes_in_once_and_only_if_it_was_agreed(void **state)
{
    (void)state;
    given_an_open_session(2);
    comes_channel(1);
    comes_channel(0);
    assert_int_not_equal(last_turned_away.type, GW_FRAME_REFUSE);
    comes_channel(1);
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    forget_actions();
    last_turned_away.type = GW_FRAME_WELCOME;
    comes_channel(2);
    assert_int_equal(last_turned_away.type, GW_FRAME_REFUSE);
    assert_int_equal(target.state, GW_TARGET_ACTIVE);
}

static void pages_of_another_channel_are_refused(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    given_an_open_session(2);
    assert_int_equal(check(0, 0, STRETCH, NULL), GW_OK);
    assert_int_equal(check(1, STRETCH, STRETCH, NULL), GW_OK);
    assert_int_equal(check(0, STRETCH - 1, 2, NULL), GW_PROTOCOL); /* over the border */
    assert_int_equal(check(1, 2 * STRETCH, 1, &fault), GW_PROTOCOL);
    assert_string_equal(fault.text,
                        "the source sent 1 pages from page 1024 on bulk channel 1 of 2, "
                        "wanted no more than a stretch, on channel 0");
}

static void prepare_waits_for_each_channels_last(void **state)
{
    (void)state;
    given_an_open_session(2);
    comes_channel(0);
    comes_channel(1);
    for (uint32_t channel = 0; channel < 2; channel++) {
        for (uint64_t n = 0; n < 2; n++) {
            uint64_t page = (2 * n + channel) * STRETCH;
            struct gw_batch_table table = {
                .record_count = 1,
                .record = {{.page = page, .count = STRETCH, .kind = GW_RECORD_ZERO}}};
            struct gw_target_event event = {
                .type = GW_TARGET_EV_BATCH,
                .placed = {.channel = channel, .sequence = n + 1, .table = &table}};
            if (channel == 1 && n == 1) {
                struct gw_message message = {.type = GW_FRAME_PREPARE,
                                             .prepare = {.epoch = 1,
                                                         .channel_count = 2,
                                                         .sequence_last = {2, 2},
                                                         .is_running = true}};
                hears(&message);
                assert_int_equal(target.state, GW_TARGET_GATHERING);
            }
            assert_int_equal(tell(event, NULL), GW_OK);
            drain();
        }
    }
    assert_int_equal(target.state, GW_TARGET_LOADING);
}

static void prepare_of_other_channels_than_agreed_is_refused(void **state)
{
    (void)state;
    struct gw_message message = {
        .type = GW_FRAME_PREPARE,
        .prepare = {.epoch = 1, .channel_count = 1, .sequence_last = {0}, .is_running = true}};
    given_an_open_session(2);
    comes_channel(0);
    comes_channel(1);
    hears(&message);
    assert_int_not_equal(target.state, GW_TARGET_GATHERING);
    assert_int_not_equal(target.state, GW_TARGET_LOADING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_page_travels_by_its_own_channel_and_all_get_there),
        cmocka_unit_test(a_full_window_stops_its_own_channel_only),
        cmocka_unit_test(every_stretch_is_verified_by_its_channel_once),
        cmocka_unit_test(an_acknowledgement_of_a_channel_that_is_not_there_is_refused),
        cmocka_unit_test(a_target_takes_no_more_channels_than_it_has_room_for),
        cmocka_unit_test(a_channel_comes_in_once_and_only_if_it_was_agreed),
        cmocka_unit_test(pages_of_another_channel_are_refused),
        cmocka_unit_test(prepare_waits_for_each_channels_last),
        cmocka_unit_test(prepare_of_other_channels_than_agreed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
