/* SPDX-License-Identifier: Apache-2.0 */
/* Timers (src/host/deadline.c). */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "godwit/clock.h"
#include "godwit/deadline.h"

static bool is_due(const struct gw_deadline *timer)
{
    struct pollfd wait = {.fd = timer->fd, .events = POLLIN};
    return poll(&wait, 1, 0) == 1;
}

static void a_deadline_may_come_early_and_never_late(void **state)
{
    (void)state;
    const uint64_t now = gw_clock_now_ns();
    const uint64_t later = now + 1000 * GW_NS_PER_S;
    struct gw_deadline timer;
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(gw_deadline_open(&timer, &fault), GW_OK);
    assert_false(is_due(&timer));
    gw_deadline_set(&timer, later);
    assert_int_equal(timer.set_ns, later);
    gw_deadline_set(&timer, later + 1); /* comes early, and is set then */
    assert_int_equal(timer.set_ns, later);
    gw_deadline_set(&timer, later - 1);
    assert_int_equal(timer.set_ns, later - 1);
    assert_false(is_due(&timer));
    gw_deadline_set(&timer, now);
    assert_true(is_due(&timer));
    gw_deadline_set(&timer, now);
    assert_true(is_due(&timer));
    gw_deadline_set(&timer, UINT64_MAX); /* what has come is not left to come again */
    assert_false(is_due(&timer));
    gw_deadline_close(&timer);
    gw_deadline_close(&timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadline_may_come_early_and_never_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
