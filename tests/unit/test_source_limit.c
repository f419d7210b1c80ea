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

/* Given a guest whose every page is dirty again as soon as a round ends. */
static void given_a_busy_guest(void)
{
    static struct gw_facts facts;
    struct gw_source_config config = {.session = {.id = {7}},
                                      .facts = &facts,
                                      .page_count = MANY,
                                      .page_bytes = PAGE,
                                      .channel_count = CHANNELS,
                                      .bandwidth_max = LIMIT};
    gw_source_init(&source, &config);
    memset(bitmap, 0xff, MANY / 8);
    happens(GW_SOURCE_EV_START);
    happens(GW_SOURCE_EV_LINK_UP);
    hears_welcome(GW_STANDING_NEW, 0);
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {0, 0, CHANNELS}});
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    expect_state(GW_SOURCE_ACTIVE);
}

static void take_actions(void)
{
    struct gw_source_action action;
    while (gw_source_next(&source, &action) == GW_OK) {
        if (action.type == GW_SOURCE_DO_COLLECT) {
            struct gw_source_event event = {
                .type = GW_SOURCE_EV_COLLECTED, .now_ns = now_ns, .bitmap = bitmap};
            assert_int_equal(gw_source_handle(&source, &event, NULL), GW_OK);
        }
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
    struct gw_source_event event = {
        .type = GW_SOURCE_EV_BATCH_SENT,
        .now_ns = now_ns,
        .sent = {.channel = channel, .sequence = batch->sequence, .wire_bytes = bytes}};
    struct gw_message ack = {.type = GW_FRAME_ACK,
                             .ack = {.channel = (uint8_t)channel, .sequence = batch->sequence}};
    written[(now_ns - start_ns) / (SLOT_MS * MS)] += bytes;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_channels_keep_one_limit_over_any_second),
        cmocka_unit_test(nobody_picks_while_another_has_taken_what_there_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
