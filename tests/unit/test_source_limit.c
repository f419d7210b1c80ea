/* SPDX-License-Identifier: Apache-2.0 */
/* The source under a bandwidth limit, in virtual time: its channels share it, and it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "source_script.h"

enum { CHANNELS = 4, PAGE = 4096, MANY = 16384, HEADERS = 300, SLOT_MS = 10, SECONDS = 8 };
#define SECOND (1000 * MS)
#define LIMIT  UINT64_C(4000000)

static struct {
    struct gw_batch batch;
    uint64_t next_ns;
    bool is_writing;
} sender[CHANNELS];

static uint64_t written[SECONDS * 1000 / SLOT_MS], start_ns;

/* Given a guest that dirties its first `busy` pages again in every round. */
static void given_a_guest(uint64_t busy, uint64_t deadline_ns, enum gw_on_deadline on_deadline)
{
    static struct gw_facts facts;
    struct gw_source_config config = {.deadline_ns = deadline_ns,
                                      .on_deadline = on_deadline,
                                      .session = {.id = {7}},
                                      .facts = &facts,
                                      .page_count = MANY,
                                      .page_bytes = PAGE,
                                      .channel_count = CHANNELS,
                                      .bandwidth_max = LIMIT};
    gw_source_init(&source, &config);
    memset(sender, 0, sizeof(sender));
    memset(bitmap, 0xff, MANY / 8);
    start_ns = now_ns;
    happens(GW_SOURCE_EV_START);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_NEW, 0);
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {GW_CAN_POSTCOPY, 0, CHANNELS}});
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    expect_state(GW_SOURCE_ACTIVE);
    memset(bitmap, 0, MANY / 8);
    memset(bitmap, 0xff, busy / 8);
}

static void given_a_busy_guest(void)
{
    given_a_guest(MANY, 0, GW_ON_DEADLINE_CANCEL);
}

static void tell_now(struct gw_source_event event)
{
    event.now_ns = now_ns;
    assert_int_equal(gw_source_handle(&source, &event, NULL), GW_OK);
}

static void hears_now(enum gw_frame_type type)
{
    struct gw_message message = {.type = type, .verdict = {.epoch = 1}};
    tell_now((struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &message});
}

/* Host and target do at once what they are asked for. */
static void answer(const struct gw_source_action *action)
{
    if (action->type == GW_SOURCE_DO_COLLECT) {
        tell_now((struct gw_source_event){.type = GW_SOURCE_EV_COLLECTED, .bitmap = bitmap});
    } else if (action->type == GW_SOURCE_DO_RECORD) {
        tell_now((struct gw_source_event){.type = GW_SOURCE_EV_RECORDED});
    } else if (action->type == GW_SOURCE_DO_STOP) {
        tell_now((struct gw_source_event){.type = GW_SOURCE_EV_STOPPED, .halted_ns = now_ns});
    } else if (action->type == GW_SOURCE_DO_SEND && action->message.type == GW_FRAME_PREPARE) {
        hears_now(GW_FRAME_READY);
    } else if (action->type == GW_SOURCE_DO_SEND && action->message.type == GW_FRAME_COMMIT) {
        hears_now(GW_FRAME_RUNNING);
    }
}

static void take_actions(void)
{
    struct gw_source_action action;
    while (gw_source_next(&source, &action) == GW_OK) {
        answer(&action);
    }
}

static uint64_t bytes_of(const struct gw_batch *batch)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < batch->run_count; i++) {
        pages += batch->run[i].count;
    }
    return pages * PAGE + HEADERS;
}

/* It is on the wire, and acknowledged. */
static void finish_batch(uint32_t channel)
{
    const struct gw_batch *batch = &sender[channel].batch;
    uint64_t bytes = bytes_of(batch);
    struct gw_source_event event = {.type = GW_SOURCE_EV_BATCH_SENT,
                                    .now_ns = now_ns,
                                    .sent = {.channel = channel,
                                             .sequence = batch->sequence,
                                             .raw_pages = (uint32_t)((bytes - HEADERS) / PAGE),
                                             .wire_bytes = bytes}};
    struct gw_message ack = {.type = GW_FRAME_ACK,
                             .ack = {.channel = (uint8_t)channel, .sequence = batch->sequence}};
    uint64_t slot = (now_ns - start_ns) / (SLOT_MS * MS);
    if (slot < sizeof(written) / sizeof(written[0])) {
        written[slot] += bytes;
    }
    sender[channel].is_writing = false;
    assert_int_equal(gw_source_handle(&source, &event, NULL), GW_OK);
    event =
        (struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .now_ns = now_ns, .message = &ack};
    assert_int_equal(gw_source_handle(&source, &event, NULL), GW_OK);
}

static void begin_batch(uint32_t channel, struct chance *chance)
{
    uint64_t retry_ns = 0;
    if (gw_source_next_batch(&source, channel, now_ns, &sender[channel].batch, &retry_ns) ==
        GW_OK) {
        sender[channel].is_writing = true;
        sender[channel].next_ns = now_ns + 1 + chance_next(chance, 2 * MS);
    } else { /* wakes late, or when the round has ended */
        uint64_t until_ns = retry_ns < now_ns + 5 * MS ? retry_ns : now_ns + MS;
        sender[channel].next_ns = until_ns + 1 + chance_next(chance, MS);
    }
}

static void run_for(uint64_t ns, struct chance *chance)
{
    start_ns = now_ns;
    for (uint32_t i = 0; i < CHANNELS; i++) {
        sender[i].next_ns = now_ns;
    }
    for (;;) {
        uint32_t first = 0;
        for (uint32_t i = 1; i < CHANNELS; i++) {
            first = sender[i].next_ns < sender[first].next_ns ? i : first;
        }
        if (sender[first].next_ns >= start_ns + ns) {
            return;
        }
        now_ns = sender[first].next_ns;
        sender[first].is_writing ? finish_batch(first) : begin_batch(first, chance);
        take_actions();
    }
}

static void four_channels_keep_one_limit_over_any_second(void **state)
{
    (void)state;
    enum { SLOTS = 1000 / SLOT_MS };
    struct chance chance = chance_of(4);
    uint64_t sum = 0;
    given_a_busy_guest();
    run_for(SECONDS * SECOND, &chance);
    expect_state(GW_SOURCE_ACTIVE);
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        sum += written[i] - (i >= SLOTS ? written[i - SLOTS] : 0);
        if (sum > LIMIT + LIMIT / 50 || (i + 1 >= SLOTS && sum < LIMIT - LIMIT / 50)) {
            fail_msg("%llu bytes in the second up to %zu ms", (unsigned long long)sum,
                     (i + 1) * SLOT_MS);
        }
    }
}

static void nobody_picks_while_another_has_taken_what_there_was(void **state)
{
    (void)state;
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    given_a_busy_guest();
    now_ns += SECOND;
    for (uint32_t i = 0; i < 3; i++) { /* 5 ms were saved up, a batch is 2.5 ms at most */
        assert_int_equal(gw_source_next_batch(&source, i, now_ns, &batch, &retry_ns), GW_OK);
        assert_true(bytes_of(&batch) - HEADERS <= LIMIT / 400);
    }
    assert_int_equal(gw_source_next_batch(&source, 3, now_ns, &batch, &retry_ns), GW_AGAIN);
    assert_in_range(retry_ns, now_ns + 1, now_ns + 5 * MS);
}

/* All that it comes to, up to the target's word that no page lacks. */
static uint64_t time_of_all(struct chance *chance)
{
    uint64_t begin_ns = source.start_ns;
    while (source.state != GW_SOURCE_SETTLING && now_ns < begin_ns + 100 * SECOND) {
        run_for(100 * MS, chance);
        if (now_ns >= gw_source_deadline(&source)) {
            tell_now((struct gw_source_event){.type = GW_SOURCE_EV_TICK});
        }
        if (source.state == GW_SOURCE_PUSHING && gw_pages_remaining(&source.pages) == 0) {
            hears_now(GW_FRAME_COMPLETE);
        }
    }
    expect_state(GW_SOURCE_SETTLING);
    return source.end_ns - begin_ns;
}

/* Given a link that takes 16.8 s for all of memory, and 4.2 s for what a guest dirties in any time,
 * when all must be over by a deadline, then it is. */
static void a_deadline_is_met_whenever_it_comes(void **state)
{
    (void)state;
    static const enum gw_on_deadline actions[] = {GW_ON_DEADLINE_STOP, GW_ON_DEADLINE_POSTCOPY};
    struct chance chance = chance_of(5);
    for (int i = 0; i < 2; i++) {
        for (uint64_t deadline_ns = 22 * SECOND; deadline_ns < 34 * SECOND;
             deadline_ns += 300 * MS) {
            given_a_guest(MANY / 4, deadline_ns, actions[i]);
            uint64_t took_ns = time_of_all(&chance);
            if (took_ns > deadline_ns) {
                fail_msg("%s: %llu ms, wanted %llu", i ? "postcopy" : "stop",
                         (unsigned long long)(took_ns / MS),
                         (unsigned long long)(deadline_ns / MS));
            }
            uint64_t stood_ns = source.end_ns - source.halted_ns; /* no longer than need be */
            if (i == 0 && (stood_ns > 5 * SECOND || took_ns < deadline_ns - 2 * SECOND)) {
                fail_msg("stood still for %llu ms, %llu ms before %llu",
                         (unsigned long long)(stood_ns / MS),
                         (unsigned long long)((deadline_ns - took_ns) / MS),
                         (unsigned long long)(deadline_ns / MS));
            }
            assert_int_equal(source.is_postcopy, actions[i] == GW_ON_DEADLINE_POSTCOPY);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_channels_keep_one_limit_over_any_second),
        cmocka_unit_test(nobody_picks_while_another_has_taken_what_there_was),
        cmocka_unit_test(a_deadline_is_met_whenever_it_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
