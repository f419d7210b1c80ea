/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Missing pages (godwit/missing.h) against the kernel: who touches one waits, what is there is
 * never overwritten, and runs go around it. Skipped where this host allows no userfaultfd.
 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../huge.h"
#include "base/bitmap.h"
#include "godwit/missing.h"

enum { PAGES = 24, FIRST_REGION = 16 };

static struct gw_ram ram;
static struct gw_missing missing;
static uint8_t *staging;
static void *anonymous;

static int setup(void **state)
{
    struct gw_fault fault = {.status = GW_OK};
    (void)state;
    gw_ram_init(&ram);
    uint64_t page = ram.page_bytes;
    staging = malloc(PAGES * page);
    anonymous = mmap(NULL, (PAGES - FIRST_REGION) * page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t i = 0; i < PAGES; i++) {
        memset(staging + i * page, (int)i + 1, page);
    }
    /* One region of each kind. */
    return gw_ram_add_memfd(&ram, 0x40000000, FIRST_REGION * page, &fault) == GW_OK &&
                   gw_ram_add_anonymous(&ram, 0x80000000, anonymous, (PAGES - FIRST_REGION) * page,
                                        &fault) == GW_OK
               ? 0
               : 1;
}

static int teardown(void **state)
{
    (void)state;
    gw_missing_stop(&missing);
    (void)munmap(anonymous, (PAGES - FIRST_REGION) * (uint64_t)ram.page_bytes);
    gw_ram_close(&ram);
    free(staging);
    return 0;
}

static void start(uint64_t received)
{
    struct gw_fault fault = {.status = GW_OK};
    uint64_t bitmap[GW_BITMAP_WORDS] = {received};
    if (gw_missing_probe(&ram, true, &fault) != GW_OK) {
        print_message("%s\n", fault.text);
        skip();
    }
    gw_missing_prepare(&ram);
    assert_int_equal(gw_missing_start(&missing, &ram, bitmap, true, &fault), GW_OK);
}

static bool holds(uint64_t page, int value)
{
    const uint8_t *bytes = gw_ram_page(&ram, page);
    return bytes[0] == value && bytes[ram.page_bytes - 1] == value;
}

static void *touch(void *context)
{
    const uint64_t *page = context;
    return *(volatile uint8_t *)gw_ram_page(&ram, *page) != 0 ? context : NULL;
}

static uint64_t next_fault(uint32_t *who)
{
    uint64_t page = 0;
    enum gw_status status;
    while ((status = gw_missing_next(&missing, &page, who, NULL)) == GW_AGAIN) {
        struct pollfd wait = {.fd = gw_missing_fd(&missing), .events = POLLIN};
        (void)poll(&wait, 1, -1);
    }
    assert_int_equal(status, GW_OK);
    return page;
}

static void who_touches_a_page_waits_until_it_is_placed(void **state)
{
    (void)state;
    for (uint64_t page = 3; page < PAGES; page += 17) { /* in each region */
        start(0);
        pthread_t thread;
        void *result = NULL;
        uint32_t who = 0;
        assert_int_equal(pthread_create(&thread, NULL, touch, &page), 0);
        assert_int_equal(next_fault(&who), page);
        assert_true(who != 0 && who != (uint32_t)getpid());
        assert_int_equal(gw_missing_place(&missing, page, 1, staging, NULL), GW_OK);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, &page);
        assert_true(holds(page, 1));
        gw_missing_stop(&missing);
    }
}

static void what_is_there_is_never_overwritten(void **state)
{
    (void)state;
    memset(gw_ram_page(&ram, 5), 99, ram.page_bytes);
    memset(gw_ram_page(&ram, 17), 98, ram.page_bytes);
    start(UINT64_C(1) << 5 | UINT64_C(1) << 17);
    assert_int_equal(gw_missing_place(&missing, 9, 1, staging, NULL), GW_OK);
    /* One run through both regions, around the three that are there. */
    assert_int_equal(gw_missing_place(&missing, 0, PAGES, staging, NULL), GW_OK);
    for (uint64_t page = 0; page < PAGES; page++) {
        int wanted = page == 5 ? 99 : page == 17 ? 98 : page == 9 ? 1 : (int)page + 1;
        assert_true(holds(page, wanted));
    }
    assert_int_equal(gw_missing_place_zero(&missing, 0, PAGES, NULL), GW_OK);
    assert_true(holds(5, 99) && holds(0, 1));
}

/* Of two huge pages one lacks its middle, the other all but its begin. */
static void what_is_missing_of_a_huge_page_is_a_hole(void **state)
{
    (void)state;
    struct gw_ram own;
    struct gw_fault fault = {.status = GW_OK};
    uint64_t bitmap[GW_BITMAP_WORDS] = {0};
    uint64_t count = 0;
    gw_ram_init(&own);
    uint64_t huge = GW_HUGE_PAGE_BYTES / own.page_bytes;
    assert_int_equal(gw_ram_add_memfd(&own, 0, 2 * GW_HUGE_PAGE_BYTES, &fault), GW_OK);
    (void)gw_ram_make_huge(&own, 0); /* where this kernel does, else page by page below */
    (void)gw_ram_make_huge(&own, huge);
    memset(own.region[0].base, 5, own.region[0].bytes);
    (void)gw_bits_put(bitmap, 0, huge, true);
    gw_bit_clear(bitmap, huge / 2);
    (void)gw_bits_put(bitmap, huge, 3, true);
    if (gw_missing_probe(&own, true, &fault) != GW_OK) {
        print_message("%s\n", fault.text);
        gw_ram_close(&own);
        skip();
    }
    assert_int_equal(gw_missing_start(&missing, &own, bitmap, true, &fault), GW_OK);
    assert_int_equal(gw_ram_next_data(&own, 0, own.page_count, &count), 0);
    assert_int_equal(count, huge / 2);
    assert_int_equal(gw_ram_next_data(&own, huge / 2, own.page_count, &count), huge / 2 + 1);
    assert_int_equal(count, huge / 2 - 1 + 3);
    assert_int_equal(gw_ram_next_data(&own, huge + 3, own.page_count, &count), own.page_count);
    assert_int_equal(gw_missing_place(&missing, huge / 2, 1, staging, NULL), GW_OK);
    assert_int_equal(*gw_ram_page(&own, huge / 2), 1);
    assert_int_equal(*gw_ram_page(&own, huge / 2 - 1), 5);
    assert_int_equal(*gw_ram_page(&own, huge + 2), 5);
    gw_missing_stop(&missing);
    gw_ram_close(&own);
}

static void zeros_fill_runs_too(void **state)
{
    (void)state;
    start(0);
    assert_int_equal(gw_missing_place(&missing, 4, 2, staging, NULL), GW_OK);
    assert_int_equal(gw_missing_place_zero(&missing, 0, PAGES, NULL), GW_OK);
    for (uint64_t page = 0; page < PAGES; page++) {
        assert_true(holds(page, page == 4 ? 1 : page == 5 ? 2 : 0));
    }
}

/* An embedder's memory may be several mappings to the kernel, which fills no run across two. */
static void runs_go_on_in_the_next_mapping(void **state)
{
    (void)state;
    uint64_t half = (PAGES - FIRST_REGION) / 2 * (uint64_t)ram.page_bytes;
    assert_int_equal(madvise(anonymous, half, MADV_DONTFORK), 0);
    start(0);
    assert_int_equal(gw_missing_place(&missing, 0, PAGES - 2, staging, NULL), GW_OK);
    for (uint64_t page = 0; page < PAGES - 2; page++) {
        assert_true(holds(page, (int)page + 1));
    }
    gw_missing_stop(&missing);
    start(0);
    assert_int_equal(gw_missing_place_zero(&missing, 1, PAGES - 1, NULL), GW_OK);
    assert_true(holds(PAGES - 1, 0));
}

static void what_was_not_received_is_a_hole_from_the_start(void **state)
{
    (void)state;
    memset(gw_ram_page(&ram, 0), 77, FIRST_REGION * (uint64_t)ram.page_bytes);
    start(0xff);
    uint64_t count = 0;
    assert_int_equal(gw_ram_next_data(&ram, 0, FIRST_REGION, &count), 0);
    assert_int_equal(count, 8);
    assert_int_equal(gw_ram_next_data(&ram, 8, FIRST_REGION, &count), FIRST_REGION);
    assert_true(holds(7, 77));
}

static void stopping_lets_sleepers_go(void **state)
{
    (void)state;
    start(0);
    uint64_t page = 2;
    pthread_t thread;
    void *result = &page;
    uint32_t who;
    assert_int_equal(pthread_create(&thread, NULL, touch, &page), 0);
    (void)next_fault(&who);
    gw_missing_stop(&missing);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result); /* it read zero */
    gw_missing_stop(&missing);
}

/* ---- Huge pages: each is there or missing as a whole ---- */

enum { HUGE_PAGES = 4 };

static uint64_t given_huge_pages(void)
{
    struct gw_fault fault = {.status = GW_OK};
    huge_pages_allow();
    gw_ram_close(&ram);
    if (gw_ram_add_hugetlb(&ram, 0, HUGE_PAGES * GW_HUGE_PAGE_BYTES, &fault) != GW_OK) {
        print_message("%s\n", fault.text);
        skip();
    }
    free(staging);
    staging = malloc(HUGE_PAGES * GW_HUGE_PAGE_BYTES);
    for (uint64_t page = 0; page < ram.page_count; page++) {
        memset(staging + page * ram.page_bytes, (int)(page % 250) + 1, ram.page_bytes);
    }
    return ram.unit_pages;
}

static void start_with_huge_pages(const uint64_t *received)
{
    struct gw_fault fault = {.status = GW_OK};
    if (gw_missing_probe(&ram, true, &fault) != GW_OK) {
        print_message("%s\n", fault.text);
        skip();
    }
    gw_missing_prepare(&ram);
    assert_int_equal(gw_missing_start(&missing, &ram, received, true, &fault), GW_OK);
}

static void touchers_of_a_huge_page_are_woken(void **state)
{
    (void)state;
    uint64_t unit = given_huge_pages();
    static uint64_t none[GW_BITMAP_WORDS];
    start_with_huge_pages(none);
    for (int is_zero = 0; is_zero < 2; is_zero++) {
        uint64_t page = (uint64_t)(is_zero + 1) * unit + 77;
        pthread_t thread;
        void *result = NULL;
        uint32_t who = 0;
        assert_int_equal(pthread_create(&thread, NULL, touch, &page), 0);
        uint64_t told = next_fault(&who);
        assert_int_equal(told / unit, page / unit);
        uint64_t first = page - page % unit;
        assert_int_equal(is_zero ? gw_missing_place_zero(&missing, first, unit, NULL)
                                 : gw_missing_place(&missing, first, unit, staging, NULL),
                         GW_OK);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, is_zero ? NULL : &page);
        assert_true(holds(page, is_zero ? 0 : 78));
    }
}

static void a_huge_page_that_is_there_is_kept(void **state)
{
    (void)state;
    uint64_t unit = given_huge_pages();
    static uint64_t received[GW_BITMAP_WORDS];
    memset(gw_ram_page(&ram, 3 * unit), 99, GW_HUGE_PAGE_BYTES);
    memset(gw_ram_page(&ram, unit), 98, GW_HUGE_PAGE_BYTES);
    memset(received, 0, sizeof(received));
    for (uint64_t page = 3 * unit; page < 4 * unit; page++) {
        received[page / 64] |= UINT64_C(1) << page % 64;
    }
    start_with_huge_pages(received);
    assert_int_equal(gw_missing_place_zero(&missing, 2 * unit, unit, NULL), GW_OK);
    assert_int_equal(gw_missing_place(&missing, 0, 4 * unit, staging, NULL), GW_OK);
    assert_int_equal(gw_missing_place_zero(&missing, 0, 4 * unit, NULL), GW_OK);
    assert_true(holds(0, 1) && holds(unit + 1, (int)((unit + 1) % 250) + 1));
    assert_true(holds(2 * unit, 0) && holds(4 * unit - 1, 99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_touches_a_page_waits_until_it_is_placed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_there_is_never_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_of_a_huge_page_is_a_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(zeros_fill_runs_too, setup, teardown),
        cmocka_unit_test_setup_teardown(runs_go_on_in_the_next_mapping, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_received_is_a_hole_from_the_start, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(stopping_lets_sleepers_go, setup, teardown),
        cmocka_unit_test_setup_teardown(touchers_of_a_huge_page_are_woken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_huge_page_that_is_there_is_kept, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
