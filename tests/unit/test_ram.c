/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM (godwit/ram.h): page numbers, holes, discard, and what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
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
#include "godwit/kernel.h"
#include "godwit/ram.h"

static struct gw_ram ram;
static struct gw_fault fault;

static int setup(void **state)
{
    (void)state;
    gw_fault_clear(&fault);
    gw_ram_init(&ram);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gw_ram_close(&ram);
    return 0;
}

/* Two regions with a gap between their addresses: 8 and 4 pages. */
static void given_two_regions(void)
{
    uint64_t page = ram.page_bytes;
    assert_int_equal(gw_ram_add_memfd(&ram, 0x40000000, 8 * page, &fault), GW_OK);
    assert_int_equal(gw_ram_add_memfd(&ram, 0x80000000, 4 * page, &fault), GW_OK);
}

static void pages_are_numbered_through_regions(void **state)
{
    (void)state;
    given_two_regions();
    assert_int_equal(ram.page_count, 12);
    assert_ptr_equal(gw_ram_page(&ram, 7), ram.region[0].base + 7 * (uint64_t)ram.page_bytes);
    assert_ptr_equal(gw_ram_page(&ram, 8), ram.region[1].base);
    assert_int_equal(gw_ram_contiguous(&ram, 0), 8);
    assert_int_equal(gw_ram_contiguous(&ram, 7), 1);
    assert_int_equal(gw_ram_contiguous(&ram, 9), 3);
}

static void addresses_are_checked(void **state)
{
    (void)state;
    given_two_regions();
    uint64_t page = ram.page_bytes;
    assert_ptr_equal(gw_ram_at(&ram, 0x40000000, 8 * page), ram.region[0].base);
    assert_ptr_equal(gw_ram_at(&ram, 0x80000001, 1), ram.region[1].base + 1);
    assert_null(gw_ram_at(&ram, 0x40000000, 8 * page + 1));
    assert_null(gw_ram_at(&ram, 0x40000000 + 8 * page, 1));
    assert_null(gw_ram_at(&ram, 0x3fffffff, 2));
    assert_null(gw_ram_at(&ram, UINT64_MAX, 2));
    assert_null(gw_ram_at(&ram, 0x80000000, UINT64_MAX));
}

static void holes_are_skipped(void **state)
{
    (void)state;
    given_two_regions();
    uint64_t count = 99;
    assert_int_equal(gw_ram_next_data(&ram, 0, 12, &count), 12);
    assert_int_equal(count, 0);
    *gw_ram_page(&ram, 3) = 1;
    *gw_ram_page(&ram, 4) = 1;
    *gw_ram_page(&ram, 7) = 1;
    *gw_ram_page(&ram, 8) = 1; /* follows 7, but in the other region */
    assert_int_equal(gw_ram_next_data(&ram, 0, 12, &count), 3);
    assert_int_equal(count, 2);
    assert_int_equal(gw_ram_next_data(&ram, 4, 12, &count), 4);
    assert_int_equal(count, 1);
    assert_int_equal(gw_ram_next_data(&ram, 5, 12, &count), 7);
    assert_int_equal(count, 1);
    assert_int_equal(gw_ram_next_data(&ram, 8, 12, &count), 8);
    assert_int_equal(count, 1);
    assert_int_equal(gw_ram_next_data(&ram, 0, 3, &count), 3);
    assert_int_equal(gw_ram_next_data(&ram, 9, 12, &count), 12);
}

/* What is mapped here and what is only in the file are one run. */
static void data_need_not_be_mapped(void **state)
{
    (void)state;
    given_two_regions();
    off_t page = (off_t)ram.page_bytes;
    uint64_t count = 0;
    assert_int_equal(pwrite(ram.region[0].fd, "x", 1, 2 * page), 1);
    assert_int_equal(pwrite(ram.region[0].fd, "x", 1, 4 * page), 1);
    assert_int_equal(pwrite(ram.region[0].fd, "x", 1, 5 * page), 1);
    *gw_ram_page(&ram, 1) = 1;
    *gw_ram_page(&ram, 3) = 1;
    assert_int_equal(gw_ram_next_data(&ram, 0, 12, &count), 1);
    assert_int_equal(count, 5);
    assert_int_equal(gw_ram_next_data(&ram, 2, 5, &count), 2);
    assert_int_equal(count, 3);
    assert_int_equal(gw_ram_next_data(&ram, 6, 12, &count), 12);
}

static void looking_does_not_touch(void **state)
{
    (void)state;
    given_two_regions();
    uint64_t count;
    (void)gw_ram_next_data(&ram, 0, 12, &count);
    assert_int_equal(gw_ram_next_data(&ram, 0, 12, &count), 12);
}

static void holes_are_told_from_data_behind_them(void **state)
{
    (void)state;
    given_two_regions();
    if (syscall(451 /* cachestat */, ram.region[0].fd, NULL, NULL, 0) != 0 && errno == ENOSYS) {
        assert_false(gw_ram_is_hole(&ram, 0, 8));
        print_message("no cachestat here\n");
        skip();
    }
    assert_true(gw_ram_is_hole(&ram, 0, 8));
    assert_false(gw_ram_is_hole(&ram, 0, 9)); /* across two: not looked up */
    *gw_ram_page(&ram, 5) = 0;
    assert_true(gw_ram_is_hole(&ram, 2, 3));
    assert_false(gw_ram_is_hole(&ram, 2, 4));
    assert_false(gw_ram_is_hole(&ram, 5, 1));
    assert_true(gw_ram_is_hole(&ram, 6, 2));
    assert_true(gw_ram_is_hole(&ram, 8, 4));
    assert_int_equal(gw_ram_discard(&ram, 5, 1, &fault), GW_OK);
    assert_true(gw_ram_is_hole(&ram, 0, 8));
}

/* As one that the kernel is just moving: it is in the file's tree, and SEEK_DATA leaves it out. */
static void what_is_there_without_a_content_is_no_hole(void **state)
{
    (void)state;
    given_two_regions();
    off_t page = (off_t)ram.page_bytes;
    uint64_t count = 0;
    if (syscall(451 /* cachestat */, ram.region[0].fd, NULL, NULL, 0) != 0 && errno == ENOSYS) {
        print_message("no cachestat here\n");
        skip();
    }
    assert_int_equal(fallocate(ram.region[0].fd, FALLOC_FL_KEEP_SIZE, 3 * page, page), 0);
    assert_int_equal(lseek(ram.region[0].fd, 0, SEEK_DATA), -1);
    assert_false(gw_ram_is_hole(&ram, 0, 8));
    assert_false(gw_ram_is_hole(&ram, 3, 1));
    assert_true(gw_ram_is_hole(&ram, 4, 4));
    assert_int_equal(gw_ram_next_data(&ram, 0, 8, &count), 0);
    assert_int_equal(count, 8);
    assert_int_equal(gw_ram_next_data(&ram, 4, 8, &count), 8);
}

static void discard_makes_holes_across_regions(void **state)
{
    (void)state;
    given_two_regions();
    for (uint64_t page = 0; page < 12; page++) {
        memset(gw_ram_page(&ram, page), 0x5a, ram.page_bytes);
    }
    assert_int_equal(gw_ram_discard(&ram, 6, 4, &fault), GW_OK);
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, 12, &count), 0);
    assert_int_equal(count, 6);
    assert_int_equal(gw_ram_next_data(&ram, 6, 12, &count), 10);
    assert_int_equal(*gw_ram_page(&ram, 6), 0);
    assert_int_equal(*gw_ram_page(&ram, 5), 0x5a);
}

/* Linux 5.14 can; QEMU's user emulation says so and does nothing. */
static bool can_populate(void)
{
    unsigned char is_there = 0;
    void *page =
        mmap(NULL, ram.page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    bool can = madvise(page, ram.page_bytes, 23 /* MADV_POPULATE_WRITE */) == 0 &&
               mincore(page, ram.page_bytes, &is_there) == 0 && (is_there & 1) != 0;
    assert_int_equal(munmap(page, ram.page_bytes), 0);
    return can;
}

static void populated_pages_are_there_and_what_was_there_stays(void **state)
{
    (void)state;
    given_two_regions();
    memset(gw_ram_page(&ram, 7), 0x5a, ram.page_bytes);
    gw_ram_populate(&ram, 6, 4); /* in both regions */
    assert_int_equal(*gw_ram_page(&ram, 7), 0x5a);
    if (!can_populate()) {
        print_message("no MADV_POPULATE_WRITE here\n");
        skip();
    }
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, 12, &count), 6);
    assert_int_equal(count, 2);
    assert_int_equal(gw_ram_next_data(&ram, 8, 12, &count), 8);
    assert_int_equal(count, 2);
    assert_int_equal(*gw_ram_page(&ram, 6), 0);
}

/* Linux 6.5 can, of pages of 4 KiB; QEMU's user emulation says so and does nothing. */
static bool can_make_huge(void)
{
    struct gw_ram own;
    uint64_t count = 0;
    gw_ram_init(&own);
    assert_int_equal(gw_ram_add_memfd(&own, 0, GW_HUGE_PAGE_BYTES, &fault), GW_OK);
    own.region[0].base[0] = 1;
    bool can = gw_kernel_is_from(6, 5) && own.page_bytes == 4096 &&
               madvise(own.region[0].base, GW_HUGE_PAGE_BYTES, MADV_HUGEPAGE) == 0 &&
               madvise(own.region[0].base, GW_HUGE_PAGE_BYTES, 25 /* MADV_COLLAPSE */) == 0;
    (void)gw_ram_next_data(&own, 0, own.page_count, &count);
    gw_ram_close(&own);
    return can && count > 1;
}

static void given_huge_holes(uint64_t count)
{
    assert_int_equal(gw_ram_add_memfd(&ram, 0x40000000, count * GW_HUGE_PAGE_BYTES, &fault), GW_OK);
}

static void a_huge_hole_becomes_one_page(void **state)
{
    (void)state;
    uint64_t huge = GW_HUGE_PAGE_BYTES / ram.page_bytes;
    given_huge_holes(3);
    enum gw_ram_huge made = gw_ram_make_huge(&ram, huge);
    if (!can_make_huge()) {
        print_message("no MADV_COLLAPSE here\n");
        skip();
    }
    uint64_t count;
    assert_int_equal(made, GW_RAM_HUGE_MADE);
    assert_int_equal(gw_ram_next_data(&ram, 0, ram.page_count, &count), huge);
    assert_int_equal(count, huge);
    for (uint64_t i = 0; i < GW_HUGE_PAGE_BYTES; i++) {
        assert_int_equal(gw_ram_page(&ram, huge)[i], 0);
    }
    assert_int_equal(gw_ram_discard(&ram, huge + 5, 1, &fault), GW_OK);
    assert_int_equal(gw_ram_next_data(&ram, huge, ram.page_count, &count), huge);
    assert_int_equal(count, 5);
}

static void what_is_there_is_made_no_huge_page(void **state)
{
    (void)state;
    uint64_t huge = GW_HUGE_PAGE_BYTES / ram.page_bytes;
    given_huge_holes(2);
    *gw_ram_page(&ram, huge + 7) = 0x5a;
    assert_int_equal(gw_ram_make_huge(&ram, huge), GW_RAM_HUGE_NOT);
    assert_int_equal(gw_ram_make_huge(&ram, 1), GW_RAM_HUGE_NOT); /* lies across two */
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, ram.page_count, &count), huge + 7);
    assert_int_equal(count, 1);
}

static void memfd_is_sealed(void **state)
{
    (void)state;
    given_two_regions();
    assert_int_equal(ftruncate(ram.region[0].fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(ram.region[0].fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
}

static void wrong_regions_are_refused(void **state)
{
    (void)state;
    uint64_t page = ram.page_bytes;
    given_two_regions();
    assert_int_equal(gw_ram_add_memfd(&ram, 0, 0, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_memfd(&ram, 0, page + 1, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_memfd(&ram, 1, page, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_memfd(&ram, 0x40000000 + 7 * page, page, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_memfd(&ram, 0 - page, 2 * page, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_memfd(&ram, 0, GW_RAM_BYTES_MAX, &fault), GW_LIMIT);
    assert_non_null(strstr(fault.text, GW_BOARD_NAME));
    assert_int_equal(ram.region_count, 2);
    for (uint32_t i = 2; i < GW_RAM_REGIONS_MAX; i++) {
        assert_int_equal(gw_ram_add_memfd(&ram, i * page, page, &fault), GW_OK);
    }
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_memfd(&ram, 0, page, &fault), GW_LIMIT);
}

/* What another process of this host passes: the same pages, seen from both sides, and untouched. */
static void shared_memory_is_the_same(void **state)
{
    (void)state;
    given_two_regions();
    uint64_t page = ram.page_bytes, count;
    *gw_ram_page(&ram, 3) = 7;
    struct gw_ram other;
    gw_ram_init(&other);
    int fd = dup(ram.region[0].fd);
    assert_int_equal(gw_ram_add_shared(&other, 0x40000000, 8 * page, fd, &fault), GW_OK);
    assert_int_equal(gw_ram_next_data(&other, 0, 8, &count), 3);
    assert_int_equal(count, 1);
    assert_int_equal(gw_ram_next_data(&other, 4, 8, &count), 8); /* looking touched nothing */
    assert_int_equal(*gw_ram_page(&other, 3), 7);
    *gw_ram_page(&other, 4) = 9;
    assert_int_equal(*gw_ram_page(&ram, 4), 9);
    gw_ram_close(&other);
    assert_int_equal(*gw_ram_page(&ram, 4), 9);
}

static void expect_not_shared(int fd, uint64_t bytes, const char *why)
{
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_shared(&ram, 0x40000000, bytes, fd, &fault), GW_REFUSED);
    assert_non_null(strstr(fault.text, why));
    assert_int_equal(ram.region_count, 0);
    assert_int_equal(close(fd), 0); /* it stayed the caller's */
}

static void what_is_no_guest_memory_is_not_shared(void **state)
{
    (void)state;
    uint64_t page = ram.page_bytes;
    expect_not_shared(open("/dev/null", O_RDWR), page, "no memfd");
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    (void)close(pipes[1]);
    expect_not_shared(pipes[0], page, "no memfd");
    int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(unsealed, (off_t)page), 0);
    expect_not_shared(dup(unsealed), page, "could be cut short");
    assert_int_equal(fcntl(unsealed, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL), 0);
    expect_not_shared(unsealed, page, "could be cut short"); /* shrinking is what matters most */
    int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_1GB);
    if (huge >= 0 && ftruncate(huge, 1 << 30) == 0) { /* else this kernel has none at all */
        assert_int_equal(fcntl(huge, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
        expect_not_shared(huge, 1 << 30, "wanted 2 MiB");
    }
    int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(sealed, (off_t)(2 * page)), 0);
    assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    expect_not_shared(dup(sealed), page, "bytes, wanted"); /* larger than told */
    expect_not_shared(sealed, 4 * page, "bytes, wanted");
}

static void anonymous_memory_has_holes_too(void **state)
{
    (void)state;
    uint64_t page = ram.page_bytes;
    uint64_t pages = 600; /* more than one look at pagemap */
    uint8_t *base =
        mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(base, MAP_FAILED);
    (void)madvise(base, pages * page, MADV_NOHUGEPAGE);
    assert_int_equal(gw_ram_add_anonymous(&ram, 0, base + 1, page, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_anonymous(&ram, 0, base, pages * page, &fault), GW_OK);
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, pages, &count), pages);
    for (uint64_t i = 250; i < 550; i++) {
        base[i * page] = 1;
    }
    if (gw_ram_next_data(&ram, 0, pages, &count) == 0) {
        skip(); /* an emulated process (qemu-user) sees no page map of its own */
    }
    assert_int_equal(gw_ram_next_data(&ram, 0, pages, &count), 250);
    assert_int_equal(count, 300);
    assert_int_equal(gw_ram_discard(&ram, 250, 10, &fault), GW_OK);
    assert_int_equal(gw_ram_next_data(&ram, 0, pages, &count), 260);
    assert_int_equal(count, 290);
    (void)munmap(base, pages * page);
}

/* ---- Huge pages ---- */

/* Four of them, at page 0 of guest RAM; skips where there are none to be had. */
static uint64_t given_huge_pages(void)
{
    huge_pages_allow();
    if (gw_ram_add_hugetlb(&ram, 0x40000000, 4 * GW_HUGE_PAGE_BYTES, &fault) != GW_OK) {
        print_message("skipped: %s\n", fault.text);
        skip();
    }
    assert_int_equal(ram.unit_pages, GW_HUGE_PAGE_BYTES / ram.page_bytes);
    return ram.unit_pages;
}

static void huge_pages_are_touched_as_a_whole(void **state)
{
    (void)state;
    uint64_t unit = given_huge_pages();
    uint64_t count = 99;
    assert_int_equal(gw_ram_next_data(&ram, 0, ram.page_count, &count), ram.page_count);
    *gw_ram_page(&ram, unit + 5) = 1;
    *gw_ram_page(&ram, 2 * unit) = 1;
    assert_int_equal(gw_ram_next_data(&ram, 0, ram.page_count, &count), unit);
    assert_int_equal(count, 2 * unit);
    assert_int_equal(gw_ram_next_data(&ram, unit + 7, unit + 9, &count), unit + 7);
    assert_int_equal(count, 2);
    assert_int_equal(gw_ram_next_data(&ram, 3 * unit, ram.page_count, &count), ram.page_count);
}

/* Another process cannot tell holes from what is mapped elsewhere: to it all is touched. */
static void shared_huge_pages_are_the_same_and_all_touched(void **state)
{
    (void)state;
    uint64_t unit = given_huge_pages(), count = 0;
    *gw_ram_page(&ram, unit + 5) = 7;
    struct gw_ram other;
    gw_ram_init(&other);
    int fd = dup(ram.region[0].fd);
    assert_int_equal(gw_ram_add_shared(&other, 0x40000000, 4 * GW_HUGE_PAGE_BYTES, fd, &fault),
                     GW_OK);
    assert_int_equal(other.unit_pages, unit);
    assert_int_equal(gw_ram_next_data(&other, 0, other.page_count, &count), 0);
    assert_int_equal(count, 4 * unit);
    assert_int_equal(*gw_ram_page(&other, unit + 5), 7);
    assert_int_equal(*gw_ram_page(&other, 3 * unit), 0);
    *gw_ram_page(&other, 2 * unit) = 9;
    assert_int_equal(gw_ram_next_data(&ram, 0, ram.page_count, &count), unit);
    assert_int_equal(*gw_ram_page(&ram, 2 * unit), 9);
    gw_ram_close(&other);
    assert_int_equal(*gw_ram_page(&ram, 2 * unit), 9);
}

/* Whole ones are given back, the parts of others zeroed, and no hole is filled by that. */
static void discard_is_exact_within_huge_pages(void **state)
{
    (void)state;
    uint64_t unit = given_huge_pages();
    for (uint64_t page = 0; page < 3 * unit; page++) {
        *gw_ram_page(&ram, page) = 0x5a;
    }
    assert_int_equal(gw_ram_discard(&ram, unit - 2, unit + 3, &fault), GW_OK);
    assert_int_equal(gw_ram_discard(&ram, 3 * unit + 1, 4, &fault), GW_OK);
    assert_int_equal(gw_ram_discard(&ram, 3, 2, &fault), GW_OK);
    uint64_t count;
    assert_int_equal(gw_ram_next_data(&ram, 0, ram.page_count, &count), 0);
    assert_int_equal(count, unit);
    assert_int_equal(gw_ram_next_data(&ram, unit, ram.page_count, &count), 2 * unit);
    assert_int_equal(count, unit);
    for (uint64_t page = 0; page < unit; page++) {
        bool is_zero = page == 3 || page == 4 || page >= unit - 2;
        assert_int_equal(*gw_ram_page(&ram, page), is_zero ? 0 : 0x5a);
    }
    assert_int_equal(*gw_ram_page(&ram, 2 * unit), 0);
    assert_int_equal(*gw_ram_page(&ram, 2 * unit + 1), 0x5a);
}

static uint64_t promised(void)
{
    static const char path[] = GW_HUGE_PAGES_PATH "/resv_hugepages";
    char text[24] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    (void)close(fd);
    return strtoull(text, NULL, 10);
}

/* The next touch of it must not fail because somebody else took the last page meanwhile. Others
 * may use huge pages while this runs: what moves without us is tried again. */
static void a_discarded_huge_page_stays_promised(void **state)
{
    (void)state;
    uint64_t unit = given_huge_pages();
    for (int tries = 0;; tries++) {
        uint64_t before = promised();
        *gw_ram_page(&ram, unit) = 1;
        uint64_t touched = promised();
        assert_int_equal(gw_ram_discard(&ram, unit, unit, &fault), GW_OK);
        uint64_t discarded = promised();
        if (touched + 1 == before && discarded == before) {
            break;
        }
        assert_true(tries < 1000);
    }
    for (int tries = 0;; tries++) {
        *gw_ram_page(&ram, unit) = 1;
        uint64_t before = promised();
        assert_int_equal(gw_ram_release(&ram, unit, unit, &fault), GW_OK);
        if (promised() == before) {
            break;
        }
        assert_true(tries < 1000);
    }
}

static void huge_pages_and_others_are_whole_units(void **state)
{
    (void)state;
    uint64_t page = ram.page_bytes;
    assert_int_equal(gw_ram_add_hugetlb(&ram, 0, GW_HUGE_PAGE_BYTES + page, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "2097152"));
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_hugetlb(&ram, page, GW_HUGE_PAGE_BYTES, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    (void)given_huge_pages();
    assert_int_equal(gw_ram_add_memfd(&ram, 0x80000000, page, &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_ram_add_memfd(&ram, 0x80000000, GW_HUGE_PAGE_BYTES, &fault), GW_OK);
    gw_ram_close(&ram);
    assert_int_equal(gw_ram_add_memfd(&ram, 0x80000000, page, &fault), GW_OK);
    assert_int_equal(gw_ram_add_hugetlb(&ram, 0, GW_HUGE_PAGE_BYTES, &fault), GW_ARGUMENT);
}

/* More than any host has: says how many, and what to do. */
static void huge_pages_that_are_not_there_are_named(void **state)
{
    (void)state;
    struct gw_huge_pages pages;
    gw_huge_pages_count(&pages);
    if (!pages.is_known || pages.available >= GW_RAM_BYTES_MAX / GW_HUGE_PAGE_BYTES) {
        skip();
    }
    assert_int_equal(gw_ram_add_hugetlb(&ram, 0, GW_RAM_BYTES_MAX, &fault), GW_HOST);
    assert_non_null(strstr(fault.text, "wanted 2048"));
    assert_non_null(strstr(fault.text, "/nr_hugepages"));
    assert_int_equal(ram.region_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_are_numbered_through_regions),
        TEST(addresses_are_checked),
        TEST(holes_are_skipped),
        TEST(data_need_not_be_mapped),
        TEST(looking_does_not_touch),
        TEST(holes_are_told_from_data_behind_them),
        TEST(what_is_there_without_a_content_is_no_hole),
        TEST(discard_makes_holes_across_regions),
        TEST(populated_pages_are_there_and_what_was_there_stays),
        TEST(a_huge_hole_becomes_one_page),
        TEST(what_is_there_is_made_no_huge_page),
        TEST(memfd_is_sealed),
        TEST(wrong_regions_are_refused),
        TEST(shared_memory_is_the_same),
        TEST(what_is_no_guest_memory_is_not_shared),
        TEST(anonymous_memory_has_holes_too),
        TEST(huge_pages_are_touched_as_a_whole),
        TEST(shared_huge_pages_are_the_same_and_all_touched),
        TEST(discard_is_exact_within_huge_pages),
        TEST(a_discarded_huge_page_stays_promised),
        TEST(huge_pages_and_others_are_whole_units),
        TEST(huge_pages_that_are_not_there_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
