/* SPDX-License-Identifier: Apache-2.0 */
/* Huge pages: a target in such, in postcopy, skipped where this host has none, or no userfaultfd;
 * and those that a target makes of its own, skipped where the kernel cannot. */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "../huge.h"
#include "base/bitmap.h"
#include "drive_pair.h"
#include "ioctl_seen.h"

enum { UNITS = 3 };

static unsigned woken_before, woken_behind; /* the engine had the unit of zeros as received */

static void note_wake(const struct uffdio_range *range)
{
    const struct gw_ram *ram = &pair.target_ram;
    if (range->start != (uintptr_t)gw_ram_page(ram, ram->unit_pages)) {
        return;
    }
    pthread_mutex_lock(&pair_incoming.lock);
    bool is_received =
        gw_bit_test(gw_target_received(&pair_incoming.target), pair.target_ram.unit_pages);
    woken_before += !is_received;
    woken_behind += is_received;
    pthread_mutex_unlock(&pair_incoming.lock);
}

static int ioctl_seen(int fd, unsigned request, void *argument)
{
    if (request == UFFDIO_WAKE) {
        note_wake(argument);
    }
    return ioctl_do(fd, request, argument);
}

/* Linux 6.1; musl 1.2.3 does not name it. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int collapses_asked, collapses_refused; /* the first ones, as by a host without huge pages */

/* Instead of the C library's. */
int madvise(void *address, size_t bytes, int advice)
{
    if (advice == MADV_COLLAPSE && collapses_asked++ < collapses_refused) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_madvise, address, bytes, advice);
}

/* Bytes in the first unit, zeros in the second, and a third that was never touched. */
static void given_units(void)
{
    struct gw_fault fault = {.status = GW_OK};
    pair_open();
    gw_incoming_stop(&pair_incoming);
    gw_ram_close(&pair.source_ram);
    gw_ram_close(&pair.target_ram);
    huge_pages_allow();
    uint64_t bytes = UNITS * GW_HUGE_PAGE_BYTES;
    assert_int_equal(gw_ram_add_memfd(&pair.source_ram, UINT64_C(1) << 30, bytes, NULL), GW_OK);
    bool is_there =
        gw_ram_add_hugetlb(&pair.target_ram, UINT64_C(1) << 30, bytes, &fault) == GW_OK &&
        gw_missing_probe(&pair.target_ram, true, &fault) == GW_OK;
    if (!is_there) {
        print_message("%s\n", fault.text);
        skip();
    }
    pair.is_postcopy = true;
    pair_restart_target();
    *gw_ram_page(&pair.source_ram, 5) = 5;
    *gw_ram_page(&pair.source_ram, pair.target_ram.unit_pages + 7) = 0;
}

static int close_pair(void **state)
{
    (void)state;
    pair_close();
    return 0;
}

/* src/host/missing.c says why. */
static void who_waits_for_zeros_is_woken_behind_their_receipt_too(void **state)
{
    (void)state;
    given_units();
    pair_migrate(pair.target_uri);
    assert_int_equal(pair_finish(), GW_SOURCE_COMPLETED);
    gw_incoming_stop(&pair_incoming);
    assert_int_equal(woken_before, 1);
    assert_int_equal(woken_behind, 1);
    pair_check(GW_SOURCE_COMPLETED);
}

static void given_memfds(void)
{
    struct gw_ram *rams[] = {&pair.source_ram, &pair.target_ram};
    pair_open();
    gw_incoming_stop(&pair_incoming);
    for (int i = 0; i < 2; i++) {
        gw_ram_close(rams[i]);
        assert_int_equal(
            gw_ram_add_memfd(rams[i], UINT64_C(1) << 30, UNITS * GW_HUGE_PAGE_BYTES, NULL), GW_OK);
    }
    pair_restart_target();
}

/* [first, first + count) pages of the source; a value of 0 touches them, no more. */
static void fill(uint64_t first, uint64_t count, uint8_t value)
{
    uint32_t page_bytes = pair.source_ram.page_bytes;
    for (uint64_t page = first; page < first + count; page++) {
        uint8_t *bytes = gw_ram_page(&pair.source_ram, page);
        for (uint32_t i = 0; i < page_bytes; i++) {
            bytes[i] = value != 0 ? (uint8_t)(value + page + i % 251) : 0;
        }
    }
}

static bool can_make_huge(void)
{
    struct gw_ram own;
    gw_ram_init(&own);
    assert_int_equal(gw_ram_add_memfd(&own, 0, GW_HUGE_PAGE_BYTES, NULL), GW_OK);
    bool can = gw_ram_make_huge(&own, 0) == GW_RAM_HUGE_MADE;
    gw_ram_close(&own);
    return can;
}

/* All of the first stretch was touched at the source, zeros among it; of the second a part. */
static void what_was_made_huge_stays_one_and_other_zeros_are_holes(void **state)
{
    (void)state;
    given_memfds();
    const struct gw_ram *ram = &pair.target_ram;
    uint64_t huge = GW_HUGE_PAGE_BYTES / ram->page_bytes;
    fill(0, huge, 7);
    fill(3, 2, 0);
    fill(huge - 70, 3, 0);
    fill(huge + 8, 5, 9);
    fill(huge + 10, 1, 0);
    pair_migrate(pair.target_uri);
    assert_int_equal(pair_finish(), GW_SOURCE_COMPLETED);
    gw_incoming_stop(&pair_incoming);
    uint64_t count;
    assert_int_equal(gw_ram_next_data(ram, huge, ram->page_count, &count), huge + 8);
    assert_int_equal(count, 2);
    assert_int_equal(gw_ram_next_data(ram, huge + 10, ram->page_count, &count), huge + 11);
    assert_int_equal(count, 2);
    assert_int_equal(gw_ram_next_data(ram, 0, ram->page_count, &count), 0);
    assert_int_equal(count, can_make_huge() ? huge : 3);
    pair_check(GW_SOURCE_COMPLETED); /* last: who looks into a hole fills it */
}

static void a_stretch_that_repeats_one_value_is_made_huge_too(void **state)
{
    (void)state;
    given_memfds();
    const struct gw_ram *ram = &pair.target_ram;
    uint64_t huge = GW_HUGE_PAGE_BYTES / ram->page_bytes;
    memset(gw_ram_page(&pair.source_ram, huge), 8, GW_HUGE_PAGE_BYTES);
    fill(huge + 3, 2, 0);
    pair_migrate(pair.target_uri);
    assert_int_equal(pair_finish(), GW_SOURCE_COMPLETED);
    gw_incoming_stop(&pair_incoming);
    uint64_t count;
    assert_int_equal(gw_ram_next_data(ram, 0, ram->page_count, &count), huge);
    assert_int_equal(count, can_make_huge() ? huge : 3);
    pair_check(GW_SOURCE_COMPLETED);
}

/* The first of three stretches cannot be huge: the second is not tried, the third is. */
static void a_host_that_had_no_huge_page_is_asked_again_later(void **state)
{
    (void)state;
    given_memfds();
    if (!can_make_huge()) {
        print_message("this kernel makes no huge pages of a memfd\n");
        skip();
    }
    const struct gw_ram *ram = &pair.target_ram;
    uint64_t huge = GW_HUGE_PAGE_BYTES / ram->page_bytes;
    fill(0, UNITS * huge, 7);
    for (uint64_t unit = 0; unit < UNITS; unit++) {
        fill(unit * huge + 3, 2, 0);
    }
    collapses_asked = 0;
    collapses_refused = 1;
    pair_migrate(pair.target_uri);
    assert_int_equal(pair_finish(), GW_SOURCE_COMPLETED);
    gw_incoming_stop(&pair_incoming);
    assert_int_equal(collapses_asked, 2);
    for (uint64_t unit = 0; unit < UNITS; unit++) {
        uint64_t count;
        assert_int_equal(gw_ram_next_data(ram, unit * huge, ram->page_count, &count), unit * huge);
        assert_int_equal(count, unit < UNITS - 1 ? 3 : huge);
    }
    pair_check(GW_SOURCE_COMPLETED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_was_made_huge_stays_one_and_other_zeros_are_holes,
                                  close_pair),
        cmocka_unit_test_teardown(a_stretch_that_repeats_one_value_is_made_huge_too, close_pair),
        cmocka_unit_test_teardown(a_host_that_had_no_huge_page_is_asked_again_later, close_pair),
        cmocka_unit_test_teardown(who_waits_for_zeros_is_woken_behind_their_receipt_too,
                                  close_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
