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

/* Sends whenever the limit allows it, for `duration_ns`; returns what went out. */
static uint64_t send_for(uint64_t duration_ns, struct chance *chance)
{
    uint64_t now_ns = SECOND;
    uint64_t end_ns = now_ns + duration_ns;
    uint64_t sent = 0;
    while (now_ns < end_ns) {
        if (gw_pace_free_at(&pace) > now_ns) {
            now_ns = gw_pace_free_at(&pace);
            continue;
        }
        uint64_t bytes = 1 + chance_next(chance, 262144);
        gw_pace_sent(&pace, bytes, now_ns);
        sent += bytes;
        now_ns += 1000;
    }
    return sent;
}

static void the_limit_is_kept_within_two_in_a_hundred(void **state)
{
    (void)state;
    static const uint64_t limits[] = {1000000, 12500000, 100000000, 1000000000};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct chance chance = chance_of(i);
        gw_pace_init(&pace, limits[i]);
        uint64_t wanted = limits[i] * 60;
        uint64_t sent = send_for(60 * SECOND, &chance);
        if (sent > wanted + wanted / 50 || sent < wanted - wanted / 50) {
            fail_msg("limit %llu: sent %llu in 60 s", (unsigned long long)limits[i],
                     (unsigned long long)sent);
        }
    }
}

static void time_unused_is_not_saved_up(void **state)
{
    (void)state;
    gw_pace_init(&pace, 1000000);
    gw_pace_sent(&pace, 1000, SECOND);
    assert_int_equal(gw_pace_free_at(&pace), SECOND + MS);
    gw_pace_sent(&pace, 1000, 100 * SECOND); /* long idle */
    assert_int_equal(gw_pace_free_at(&pace), 100 * SECOND + MS);
}

static void without_a_limit_it_may_always_be_sent(void **state)
{
    (void)state;
    gw_pace_init(&pace, 0);
    gw_pace_sent(&pace, UINT64_MAX, SECOND);
    assert_int_equal(gw_pace_free_at(&pace), 0);
}

static void a_new_limit_holds_from_now_on(void **state)
{
    (void)state;
    gw_pace_init(&pace, 1);
    gw_pace_sent(&pace, 1000000, SECOND); /* eleven days */
    gw_pace_set_limit(&pace, 1000000);
    assert_int_equal(gw_pace_free_at(&pace), 0);
    gw_pace_sent(&pace, 1000000, 2 * SECOND);
    assert_int_equal(gw_pace_free_at(&pace), 3 * SECOND);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outage_says_nothing_of_the_bandwidth),
        cmocka_unit_test(the_limit_is_kept_within_two_in_a_hundred),
        cmocka_unit_test(time_unused_is_not_saved_up),
        cmocka_unit_test(without_a_limit_it_may_always_be_sent),
        cmocka_unit_test(a_new_limit_holds_from_now_on),
        cmocka_unit_test(bandwidth_is_what_was_acknowledged_while_something_was_under_way),
        cmocka_unit_test(the_estimate_follows_a_link_that_slows_down),
        cmocka_unit_test(a_limit_below_the_bandwidth_is_what_counts),
        cmocka_unit_test(huge_values_saturate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
