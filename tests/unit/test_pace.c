/* SPDX-License-Identifier: Apache-2.0 */
/* Pace: the operator's limit holds over virtual time, and the estimate is what was acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/pace.h"

#define SECOND UINT64_C(1000000000)
#define MS     UINT64_C(1000000)

static struct gw_pace pace;

enum { CHANNELS_MAX = 8, HEADERS = 200, PAGE = 4096, BATCH = 262144, SECONDS = 20, SLOT_MS = 10 };

/* One sender: picks when the limit allows, wakes late, takes a while to write. */
struct channel {
    uint64_t next_ns; /* it does something then */
    uint64_t taken, bytes;
    bool is_writing;
};

static struct channel channel[CHANNELS_MAX];
static uint64_t written[SECONDS * 1000 / SLOT_MS]; /* by time */

/* Of all sizes, up to what the limit allows; some pages are zero, and cost a header. */
static void pick(struct channel *own, uint32_t count, uint64_t now_ns, struct chance *chance)
{
    uint64_t most = gw_pace_batch_bytes(&pace, count) / PAGE;
    most = most > BATCH / PAGE ? BATCH / PAGE : most > 1 ? most : 1;
    uint64_t pages = 1 + chance_next(chance, most);
    uint64_t zeros = chance_next(chance, 4) ? 0 : chance_next(chance, pages + 1);
    own->taken = pages * PAGE;
    own->bytes = (pages - zeros) * PAGE + HEADERS;
    own->is_writing = true;
    /* A link that is faster than the limit, or there is nothing to hold. */
    own->next_ns = now_ns + 1 + chance_next(chance, own->bytes * SECOND / pace.limit / 2);
    gw_pace_take(&pace, own->taken, now_ns);
}

static void step(struct channel *own, uint32_t count, bool is_idle, struct chance *chance)
{
    uint64_t now_ns = own->next_ns;
    if (own->is_writing) {
        own->is_writing = false;
        gw_pace_settle(&pace, own->taken, own->bytes);
        written[(now_ns - SECOND) / (SLOT_MS * MS)] += own->bytes;
    } else if (is_idle) {
        own->next_ns += MS;
    } else if (gw_pace_free_at(&pace) > now_ns) {
        own->next_ns =
            gw_pace_free_at(&pace) + chance_next(chance, 2 * MS); /* late, as hosts are */
    } else {
        pick(own, count, now_ns, chance);
    }
}

static void send_on(uint32_t count, uint64_t idle_from_ns, struct chance *chance)
{
    memset(written, 0, sizeof(written));
    for (uint32_t i = 0; i < count; i++) {
        channel[i] = (struct channel){.next_ns = SECOND};
    }
    for (;;) {
        struct channel *own = &channel[0];
        for (uint32_t i = 1; i < count; i++) {
            own = channel[i].next_ns < own->next_ns ? &channel[i] : own;
        }
        if (own->next_ns >= SECOND + SECONDS * SECOND) {
            return;
        }
        bool is_idle = own->next_ns >= idle_from_ns && own->next_ns < idle_from_ns + 3 * SECOND;
        step(own, count, is_idle, chance);
    }
}

/* Any second, wherever it begins. */
static void check_seconds(uint64_t limit, uint32_t count, bool has_idle)
{
    enum { SLOTS = 1000 / SLOT_MS };
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        sum += written[i] - (i >= SLOTS ? written[i - SLOTS] : 0);
        bool is_short = i + 1 >= SLOTS && !has_idle && sum < limit - limit / 50;
        if (sum > limit + limit / 50 || is_short) {
            fail_msg("limit %llu, %u channels: %llu in the second up to %zu ms",
                     (unsigned long long)limit, count, (unsigned long long)sum, (i + 1) * SLOT_MS);
        }
    }
}

static void the_limit_is_kept_within_two_in_a_hundred_over_any_second(void **state)
{
    (void)state;
    static const uint64_t limits[] = {4000000, 12500000, 100000000, 1000000000};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        for (uint32_t count = 1; count <= CHANNELS_MAX; count++) {
            struct chance chance = chance_of(i * CHANNELS_MAX + count);
            gw_pace_init(&pace, limits[i]);
            send_on(count, UINT64_MAX / 2, &chance);
            check_seconds(limits[i], count, false);
            gw_pace_init(&pace, limits[i]);
            send_on(count, 7 * SECOND, &chance); /* nothing to do for 3 s, then all at once */
            check_seconds(limits[i], count, true);
        }
    }
}

static void five_milliseconds_are_saved_up_and_no_more(void **state)
{
    (void)state;
    gw_pace_init(&pace, 1000000);
    gw_pace_take(&pace, 10000, SECOND);
    assert_int_equal(gw_pace_free_at(&pace), SECOND + 5 * MS);
    gw_pace_take(&pace, 1000, SECOND + 5 * MS); /* in time */
    assert_int_equal(gw_pace_free_at(&pace), SECOND + 6 * MS);
    gw_pace_take(&pace, 1000, SECOND + 8 * MS); /* a little late */
    assert_int_equal(gw_pace_free_at(&pace), SECOND + 7 * MS);
    gw_pace_take(&pace, 10000, 100 * SECOND); /* long idle */
    assert_int_equal(gw_pace_free_at(&pace), 100 * SECOND + 5 * MS);
}

static void what_was_not_needed_is_given_back(void **state)
{
    (void)state;
    gw_pace_init(&pace, 1000000);
    gw_pace_take(&pace, 20000, SECOND);
    gw_pace_settle(&pace, 20000, 21000);
    assert_int_equal(gw_pace_free_at(&pace), SECOND + 16 * MS);
    gw_pace_settle(&pace, 0, 500); /* no pages, and nothing taken */
    assert_int_equal(gw_pace_free_at(&pace), SECOND + 16 * MS + MS / 2);
    gw_pace_settle(&pace, 20000, 0);
    assert_int_equal(gw_pace_free_at(&pace), SECOND - 4 * MS + MS / 2);
    assert_int_equal(gw_pace_batch_bytes(&pace, 1), 10000);
    assert_int_equal(gw_pace_batch_bytes(&pace, 4), 2500);
}

static void without_a_limit_it_may_always_be_sent(void **state)
{
    (void)state;
    gw_pace_init(&pace, 0);
    gw_pace_take(&pace, UINT64_MAX, SECOND);
    gw_pace_settle(&pace, 0, UINT64_MAX);
    assert_true(gw_pace_batch_bytes(&pace, 8) == UINT64_MAX);
    assert_int_equal(gw_pace_free_at(&pace), 0);
}

static void a_new_limit_holds_from_now_on(void **state)
{
    (void)state;
    gw_pace_init(&pace, 1);
    gw_pace_take(&pace, 1000000, SECOND); /* eleven days */
    gw_pace_set_limit(&pace, 1000000);
    assert_int_equal(gw_pace_free_at(&pace), 0);
    gw_pace_take(&pace, 1000000, 2 * SECOND);
    assert_int_equal(gw_pace_free_at(&pace), 3 * SECOND - 5 * MS);
}

static void bandwidth_is_what_was_acknowledged_while_something_was_under_way(void **state)
{
    (void)state;
    gw_pace_init(&pace, 0);
    assert_int_equal(gw_pace_bandwidth(&pace), 0);
    assert_true(gw_pace_time_ns(&pace, 1) == UINT64_MAX);
    assert_int_equal(gw_pace_time_ns(&pace, 0), 0);
    uint64_t now_ns = SECOND;
    for (int i = 0; i < 50; i++) { /* 1 MB in 10 ms, then 90 ms with nothing to do */
        gw_pace_begin(&pace, now_ns);
        gw_pace_acked(&pace, 1000000, true, now_ns + 10 * MS);
        now_ns += 100 * MS;
    }
    assert_in_range(gw_pace_bandwidth(&pace), 99000000, 101000000);
    assert_in_range(gw_pace_time_ns(&pace, 100000000), 990 * MS, 1010 * MS);
}

static void the_estimate_follows_a_link_that_slows_down(void **state)
{
    (void)state;
    gw_pace_init(&pace, 0);
    uint64_t now_ns = SECOND;
    gw_pace_begin(&pace, now_ns);
    for (int i = 0; i < 100; i++, now_ns += 10 * MS) {
        gw_pace_acked(&pace, 1000000, false, now_ns + 10 * MS);
    }
    assert_in_range(gw_pace_bandwidth(&pace), 95000000, 105000000);
    for (int i = 0; i < 200; i++, now_ns += 10 * MS) {
        gw_pace_acked(&pace, 100000, false, now_ns + 10 * MS);
    }
    assert_in_range(gw_pace_bandwidth(&pace), 9500000, 12000000);
}

static void a_limit_below_the_bandwidth_is_what_counts(void **state)
{
    (void)state;
    gw_pace_init(&pace, 1000000);
    assert_int_equal(gw_pace_time_ns(&pace, 1000000), SECOND); /* nothing measured yet */
    gw_pace_begin(&pace, SECOND);
    gw_pace_acked(&pace, 100000000, true, 2 * SECOND);
    assert_int_equal(gw_pace_time_ns(&pace, 1000000), SECOND);
    gw_pace_set_limit(&pace, 0);
    assert_int_equal(gw_pace_time_ns(&pace, 1000000), SECOND / 100);
}

static void huge_values_saturate(void **state)
{
    (void)state;
    gw_pace_init(&pace, 0);
    gw_pace_begin(&pace, SECOND);
    gw_pace_acked(&pace, 1, true, 2 * SECOND);
    assert_true(gw_pace_time_ns(&pace, UINT64_MAX) == UINT64_MAX);
}

static void an_outage_says_nothing_of_the_bandwidth(void **state)
{
    (void)state;
    gw_pace_init(&pace, 0);
    gw_pace_begin(&pace, 0);
    gw_pace_acked(&pace, 1000000, true, 1000000000); /* 1 MB/s */
    gw_pace_begin(&pace, 1000000000);
    gw_pace_lost(&pace); /* right behind the batch; for an hour */
    gw_pace_begin(&pace, UINT64_C(3601000000000));
    gw_pace_acked(&pace, 1000000, true, UINT64_C(3602000000000));
    assert_int_equal(gw_pace_bandwidth(&pace), 1000000);
}

/* Given a link that takes a raw batch in 20 ms, and zeros that go between, as fast as they are
 * looked at: what a guest dirties is counted with the link's speed, the rest of memory with its
 * own. */
static void zeros_say_nothing_of_the_link(void **state)
{
    (void)state;
    enum { RAW = 64 * PAGE, ZERO_BATCHES = 100 };
    uint64_t now_ns = SECOND;
    gw_pace_init(&pace, 0);
    for (int n = 0; n < 100; n++) {
        uint64_t picked_ns = now_ns;
        gw_pace_begin(&pace, now_ns);
        for (int i = 0; i < ZERO_BATCHES; i++) {
            now_ns += 20 * MS / ZERO_BATCHES;
            gw_pace_acked(&pace, BATCH, false, now_ns);
        }
        gw_pace_acked(&pace, RAW, true, now_ns);
        gw_pace_raw_acked(&pace, RAW, picked_ns, now_ns);
        now_ns += 5 * MS; /* nothing to send */
    }
    uint64_t link = RAW * 50;
    assert_in_range(gw_pace_expected(&pace), link - link / 100, link + link / 100);
    assert_true(gw_pace_bandwidth(&pace) > 50 * link);
    assert_int_equal(gw_pace_time_ns(&pace, link), SECOND);
}

/* Two channels share the link: the time of both is counted once. */
static void raw_batches_of_two_channels_overlap(void **state)
{
    (void)state;
    uint64_t now_ns = SECOND;
    gw_pace_init(&pace, 0);
    for (int n = 0; n < 200; n++) {
        now_ns += 10 * MS;
        gw_pace_raw_acked(&pace, BATCH, now_ns - 20 * MS, now_ns);
    }
    assert_in_range(gw_pace_expected(&pace), BATCH * 99, BATCH * 101);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outage_says_nothing_of_the_bandwidth),
        cmocka_unit_test(the_limit_is_kept_within_two_in_a_hundred_over_any_second),
        cmocka_unit_test(five_milliseconds_are_saved_up_and_no_more),
        cmocka_unit_test(what_was_not_needed_is_given_back),
        cmocka_unit_test(without_a_limit_it_may_always_be_sent),
        cmocka_unit_test(a_new_limit_holds_from_now_on),
        cmocka_unit_test(bandwidth_is_what_was_acknowledged_while_something_was_under_way),
        cmocka_unit_test(the_estimate_follows_a_link_that_slows_down),
        cmocka_unit_test(a_limit_below_the_bandwidth_is_what_counts),
        cmocka_unit_test(huge_values_saturate),
        cmocka_unit_test(zeros_say_nothing_of_the_link),
        cmocka_unit_test(raw_batches_of_two_channels_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
