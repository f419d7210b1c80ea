/* SPDX-License-Identifier: Apache-2.0 */
/* The userfaultfd tracker (src/dirty): no write is lost. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "../huge.h"
#include "base/bitmap.h"
#include "godwit/marks.h"
#include "godwit/uffd_wp.h"
#include "ioctl_seen.h"
#include "mirror.h"

static struct gw_fault fault;
static struct gw_ram ram;
static struct gw_marks marks;
static struct gw_tracker_uffd_wp wp;
static struct mirror mirror;
static uint8_t *anonymous;

/* ---- RAM for the tracker: a memfd region of odd size, then another region ---- */

enum { PAGES = 301 + 900 };

static void given_ram(bool is_anonymous)
{
    gw_fault_clear(&fault);
    gw_marks_reset(&marks);
    gw_ram_init(&ram);
    uint64_t page = ram.page_bytes;
    assert_int_equal(gw_ram_add_memfd(&ram, 0x40000000, 301 * page, &fault), GW_OK);
    if (!is_anonymous) {
        assert_int_equal(gw_ram_add_memfd(&ram, 0x80000000, 900 * page, &fault), GW_OK);
        return;
    }
    anonymous = mmap(NULL, 900 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(anonymous, MAP_FAILED);
    assert_int_equal(gw_ram_add_anonymous(&ram, 0x80000000, anonymous, 900 * page, &fault), GW_OK);
}

static int teardown(void **state)
{
    (void)state;
    if (wp.tracker.operations != NULL) {
        wp.tracker.operations->stop(&wp.tracker);
        wp.tracker.operations->stop(&wp.tracker);
    }
    if (anonymous != NULL) {
        (void)munmap(anonymous, 900 * (size_t)ram.page_bytes);
        anonymous = NULL;
    }
    gw_ram_close(&ram);
    return 0;
}

static uint64_t *word_of(uint64_t page, uint64_t index)
{
    return (uint64_t *)(void *)gw_ram_page(&ram, page) + index;
}

static void write_page(uint64_t page, uint64_t value)
{
    __atomic_store_n(word_of(page, page % 512), value, __ATOMIC_RELAXED);
}

/* Starts, or skips the test where this host (or qemu-user) has no such thing. */
static void given_tracker(bool is_anonymous, enum gw_uffd_wp_mode mode)
{
    given_ram(is_anonymous);
    gw_tracker_uffd_wp_init(&wp, &ram, &marks, mode);
    write_page(3, 1);
    write_page(301 + 64, 1);
    if (!mirror_start(&mirror, &wp.tracker, &ram, &fault)) {
        print_message("    skipped: %s\n", fault.text);
        assert_int_equal(fault.status, GW_HOST);
        skip();
    }
    assert_int_equal(wp.is_async, mode != GW_UFFD_WP_SYNC);
}

static void exact_pages_are_reported(bool is_anonymous, enum gw_uffd_wp_mode mode)
{
    given_tracker(is_anonymous, mode);
    /* What was touched before, and no hole, unless huge pages made more of it. */
    assert_true(mirror_is_dirty(&mirror, 3));
    assert_true(mirror_is_dirty(&mirror, 301 + 64));
    assert_false(mirror_is_dirty(&mirror, 4));
    assert_int_equal(mirror_send(&mirror, 64, &fault) > 0, 1);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    assert_true(mirror_is_equal(&mirror));

    /* One write to a known page, one to a hole, one mark. */
    write_page(3, 2);
    write_page(200, 7);
    gw_marks_put(&marks, 10, 1);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 3);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    assert_true(mirror_is_equal(&mirror));

    /* Writes by the kernel on this process's behalf. */
    int pipe_fd[2];
    assert_int_equal(pipe(pipe_fd), 0);
    assert_int_equal(write(pipe_fd[1], "x", 1), 1);
    assert_int_equal(read(pipe_fd[0], gw_ram_page(&ram, 3) + 9, 1), 1);
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 1);
    assert_true(mirror_is_equal(&mirror));

    /* Not re-armed: still there, or there already. */
    write_page(3, 9);
    uint64_t added;
    assert_int_equal(wp.tracker.operations->collect(&wp.tracker, mirror.dirty, &added, &fault),
                     GW_OK);
    assert_int_equal(added, 1);
    write_page(3, 10);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 1);
    assert_true(mirror_is_equal(&mirror));

    /* Stopped, and started again: everything touched is dirty, and nothing is protected. */
    wp.tracker.operations->stop(&wp.tracker);
    write_page(5, 1);
    assert_true(mirror_start(&mirror, &wp.tracker, &ram, &fault));
    assert_true(mirror_is_dirty(&mirror, 3) && mirror_is_dirty(&mirror, 200));
    assert_true(mirror_is_dirty(&mirror, 5) && !mirror_is_dirty(&mirror, 6));
}

static void async_memfd_is_exact(void **state)
{
    (void)state;
    exact_pages_are_reported(false, GW_UFFD_WP_ASYNC);
}

static void async_anonymous_is_exact(void **state)
{
    (void)state;
    exact_pages_are_reported(true, GW_UFFD_WP_ASYNC);
}

static void sync_memfd_is_exact(void **state)
{
    (void)state;
    exact_pages_are_reported(false, GW_UFFD_WP_SYNC);
}

static void sync_anonymous_is_exact(void **state)
{
    (void)state;
    exact_pages_are_reported(true, GW_UFFD_WP_SYNC);
}

/* A page that leaves this process's page table (as under memory pressure) is not forgotten. */
static void unmapped_pages_are_kept(void **state)
{
    (void)state;
    given_tracker(false, GW_UFFD_WP_BEST);
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    write_page(3, 5);
    write_page(77, 5);
    assert_int_equal(madvise(gw_ram_page(&ram, 0), 100 * (size_t)ram.page_bytes, MADV_DONTNEED), 0);
    assert_true(mirror_round(&mirror, 64, &fault) >= 2);
    assert_true(mirror_is_equal(&mirror));
}

/* A long hole is not protected: it is asked for whether it still is one. */
static void long_holes_are_asked_for(void **state)
{
    const enum gw_uffd_wp_mode *mode = *state;
    given_tracker(false, *mode);
    uint64_t chunk = GW_HUGE_PAGE_BYTES / ram.page_bytes;
    uint64_t first = gw_bits_next(wp.untouched, 0, ram.page_count / chunk, true) * chunk;
    if (first + chunk > ram.page_count) {
        print_message("    skipped: no cachestat here\n");
        assert_false(gw_ram_is_hole(&ram, (301 / chunk + 1) * chunk, chunk));
        skip();
    }
    assert_true(mirror_send(&mirror, 64, &fault) > 0);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);

    /* Marked, and so armed: a write there is seen none the less. */
    gw_marks_put(&marks, first + 1, 1);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 1);
    write_page(first + 1, 6);
    write_page(first + chunk - 1, 7);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 2);
    assert_true(mirror_is_equal(&mirror));

    /* From now on page by page, as any other. */
    assert_false(gw_bit_test(wp.untouched, first / chunk));
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    write_page(first + chunk - 1, 8);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 1);
    assert_true(mirror_is_equal(&mirror));
}

/* ---- Scribblers ---- */

enum { SCRIBBLERS = 2 };

static atomic_bool is_over;

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

static void *scribble(void *argument)
{
    uint64_t seed = (uintptr_t)argument;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        uint64_t page = next_random(&seed) % ram.page_count;
        uint64_t index = next_random(&seed) % (ram.page_bytes / 8);
        __atomic_store_n(word_of(page, index), seed, __ATOMIC_RELAXED);
        if (next_random(&seed) % 64 == 0) {
            (void)sched_yield();
        }
    }
    return NULL;
}

static void race_against_scribblers(enum gw_uffd_wp_mode mode, uint64_t seed)
{
    pthread_t thread[SCRIBBLERS];
    atomic_store(&is_over, false);
    for (uint64_t i = 0; i < SCRIBBLERS; i++) {
        assert_int_equal(
            pthread_create(&thread[i], NULL, scribble, (void *)(uintptr_t)(seed * 2 + i)), 0);
    }
    /* The scribblers are running already: start races with them. */
    gw_tracker_uffd_wp_init(&wp, &ram, &marks, mode);
    bool is_started = mirror_start(&mirror, &wp.tracker, &ram, &fault);
    bool is_good = is_started && mirror_send(&mirror, 64, &fault) >= 0;
    for (int round = 0; is_good && round < 6; round++) {
        is_good = mirror_round(&mirror, 1 + next_random(&seed) % 100, &fault) >= 0;
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < SCRIBBLERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    if (!is_started) {
        print_message("    skipped: %s\n", fault.text);
        assert_int_equal(fault.status, GW_HOST);
        skip();
    }
    assert_true(is_good && mirror_round(&mirror, 64, &fault) >= 0);
    assert_true(mirror_is_equal(&mirror));
}

static void no_write_is_lost(bool is_anonymous, enum gw_uffd_wp_mode mode)
{
    const char *text = getenv("GODWIT_TRIALS");
    uint64_t trials = text == NULL ? 20 : strtoull(text, NULL, 10);
    for (uint64_t seed = 1; seed <= trials; seed++) {
        given_ram(is_anonymous);
        race_against_scribblers(mode, seed);
        (void)teardown(NULL);
    }
}

static void async_memfd_loses_nothing(void **state)
{
    (void)state;
    no_write_is_lost(false, GW_UFFD_WP_ASYNC);
}

static void async_anonymous_loses_nothing(void **state)
{
    (void)state;
    no_write_is_lost(true, GW_UFFD_WP_ASYNC);
}

static void sync_memfd_loses_nothing(void **state)
{
    (void)state;
    no_write_is_lost(false, GW_UFFD_WP_SYNC);
}

static void sync_anonymous_loses_nothing(void **state)
{
    (void)state;
    no_write_is_lost(true, GW_UFFD_WP_SYNC);
}

/* ---- Huge pages: one is written, and armed, as a whole ---- */

static bool given_huge_ram(void)
{
    huge_pages_allow();
    gw_fault_clear(&fault);
    gw_marks_reset(&marks);
    gw_ram_init(&ram);
    return gw_ram_add_hugetlb(&ram, 0x40000000, 4 * GW_HUGE_PAGE_BYTES, &fault) == GW_OK;
}

/* Of one huge page that was written. */
static void given_huge_tracker(enum gw_uffd_wp_mode mode)
{
    if (!given_huge_ram()) {
        skip();
    }
    gw_tracker_uffd_wp_init(&wp, &ram, &marks, mode);
    write_page(5, 1);
    if (!mirror_start(&mirror, &wp.tracker, &ram, &fault)) {
        skip();
    }
}

static void huge_pages_are_reported_whole(enum gw_uffd_wp_mode mode)
{
    given_huge_tracker(mode);
    uint64_t unit = ram.unit_pages;
    assert_int_equal(mirror_send(&mirror, 64, &fault), unit);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    write_page(3, 2);
    write_page(2 * unit + 1, 1); /* a hole */
    assert_int_equal(mirror_round(&mirror, 64, &fault), 2 * unit);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    assert_true(mirror_is_equal(&mirror));

    /* Its first pages are read, one of them is written, and the others are read. */
    write_page(9, 1);
    uint64_t added;
    const struct gw_tracker_operations *operations = wp.tracker.operations;
    assert_int_equal(operations->collect(&wp.tracker, mirror.dirty, &added, &fault), GW_OK);
    assert_int_equal(mirror_rearm(&mirror, 0, 16, &fault), GW_OK);
    write_page(5, 7);
    assert_int_equal(mirror_rearm(&mirror, 16, unit - 16, &fault), GW_OK);
    assert_int_equal(mirror_round(&mirror, 64, &fault), unit);
    assert_true(mirror_is_equal(&mirror));
}

static void async_huge_is_exact(void **state)
{
    (void)state;
    huge_pages_are_reported_whole(GW_UFFD_WP_ASYNC);
}

static void sync_huge_is_exact(void **state)
{
    (void)state;
    huge_pages_are_reported_whole(GW_UFFD_WP_SYNC);
}

/* ---- What the tracker asks the kernel ---- */

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_UFFD_WP (UINT64_C(1) << 57)

static atomic_bool is_written_behind_a_look;
static atomic_bool has_stale_bits; /* all that is there looks protected */

/* In place of libc's, for the tracker too. */
ssize_t pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    ssize_t got = syscall(SYS_pread64, fd, buffer, bytes, offset);
    if (is_written_behind_a_look) {
        write_page(5, 11);
    }
    uint64_t *entry = buffer;
    for (ssize_t i = 0; has_stale_bits && i < got / (ssize_t)sizeof(*entry); i++) {
        entry[i] |= (entry[i] & PAGEMAP_PRESENT) != 0 ? PAGEMAP_UFFD_WP : 0;
    }
    return got;
}

static uint64_t count_protected(uint64_t start, uint64_t bytes)
{
    uint64_t count = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (uint64_t at = start; at < start + bytes; at += ram.page_bytes) {
        uint64_t entry = 0;
        off_t offset = (off_t)(at / ram.page_bytes * sizeof(entry));
        assert_int_equal(pread(fd, &entry, sizeof(entry), offset), sizeof(entry));
        count += (entry & PAGEMAP_UFFD_WP) != 0;
    }
    (void)close(fd);
    return count;
}

static uint64_t unregistered; /* regions */
static uint64_t left_protected;
static atomic_bool is_answer_late; /* the fault thread's, until a region is unregistered */
static sem_t writer_sleeps, may_answer;
static atomic_bool is_protecting_refused;
static atomic_bool is_registering_unmapping;

/* True: it is left out. */
static bool delay(const struct uffdio_writeprotect *request)
{
    if (request->range.len == ram.page_bytes) {
        (void)sem_post(&writer_sleeps);
        (void)sem_wait(&may_answer);
        return false;
    }
    return true;
}

static int ioctl_seen(int fd, unsigned request, void *argument)
{
    if (request == UFFDIO_UNREGISTER) {
        const struct uffdio_range *range = argument;
        unregistered++;
        left_protected += count_protected(range->start, range->len);
    }
    if (request == UFFDIO_WRITEPROTECT && atomic_load(&is_answer_late) && delay(argument)) {
        return 0;
    }
    if (request == UFFDIO_WRITEPROTECT && is_protecting_refused) {
        errno = ENOMEM;
        return -1;
    }
    int result = ioctl_do(fd, request, argument);
    if (request == UFFDIO_UNREGISTER && atomic_exchange(&is_answer_late, false)) {
        (void)sem_post(&may_answer);
    }
    if (request == UFFDIO_REGISTER && is_registering_unmapping) {
        assert_int_equal(madvise(ram.region[0].base, ram.region[0].bytes, MADV_DONTNEED), 0);
    }
    return result;
}

/* Linux before 6.0 unregisters and keeps the bits. */
static void stop_leaves_nothing_protected(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        given_tracker(i % 2 != 0, i < 2 ? GW_UFFD_WP_SYNC : GW_UFFD_WP_ASYNC);
        assert_true(mirror_send(&mirror, 64, &fault) >= 2);
        for (uint32_t j = 0; j < ram.region_count; j++) {
            assert_true(count_protected((uintptr_t)ram.region[j].base, ram.region[j].bytes) > 0);
        }
        unregistered = 0;
        left_protected = 0;
        wp.tracker.operations->stop(&wp.tracker);
        assert_int_equal(unregistered, ram.region_count);
        assert_int_equal(left_protected, 0);
        (void)teardown(NULL);
    }
}

static void start_reports_what_looks_protected(void **state)
{
    (void)state;
    given_tracker(true, GW_UFFD_WP_SYNC);
    wp.tracker.operations->stop(&wp.tracker);
    has_stale_bits = true;
    bool is_started = mirror_start(&mirror, &wp.tracker, &ram, &fault);
    has_stale_bits = false;
    assert_true(is_started && mirror_is_dirty(&mirror, 301 + 64));
}

static void *write_protected_page(void *unused)
{
    write_page(3, 2);
    return unused;
}

/* One that stop did not wake by un-protecting its page, since it was not asleep yet. The descriptor
 * is open elsewhere too (fork), so that closing it wakes nobody. */
static void stop_wakes_writers(void **state)
{
    (void)state;
    pthread_t thread;
    given_tracker(false, GW_UFFD_WP_SYNC);
    assert_true(mirror_send(&mirror, 64, &fault) >= 2);
    int held = dup(wp.uffd.fd);
    assert_int_equal(sem_init(&writer_sleeps, 0, 0) | sem_init(&may_answer, 0, 0), 0);
    atomic_store(&is_answer_late, true);
    assert_int_equal(pthread_create(&thread, NULL, write_protected_page, NULL), 0);
    assert_int_equal(sem_wait(&writer_sleeps), 0);
    wp.tracker.operations->stop(&wp.tracker);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(*word_of(3, 3), 2);
    (void)close(held);
}

static void sync_huge_is_looked_at_once(void **state)
{
    (void)state;
    given_huge_tracker(GW_UFFD_WP_SYNC);
    assert_int_equal(mirror_send(&mirror, 64, &fault), ram.unit_pages);
    is_written_behind_a_look = true;
    int64_t sent = mirror_round(&mirror, 64, &fault);
    is_written_behind_a_look = false;
    assert_int_equal(sent, 0);
    assert_int_equal(mirror_round(&mirror, 64, &fault), ram.unit_pages);
    assert_true(mirror_is_equal(&mirror));
}

/* As the kernel may do where the page table is shared. */
static void huge_pages_unmapped_by_registering_are_kept(void **state)
{
    (void)state;
    uint64_t count;
    if (!given_huge_ram()) {
        skip();
    }
    gw_tracker_uffd_wp_init(&wp, &ram, &marks, GW_UFFD_WP_BEST);
    write_page(5, 1);
    is_registering_unmapping = true;
    bool is_started = mirror_start(&mirror, &wp.tracker, &ram, &fault);
    is_registering_unmapping = false;
    if (!is_started) {
        skip();
    }
    assert_true(mirror_is_dirty(&mirror, 5) && !mirror_is_dirty(&mirror, ram.unit_pages));
    assert_int_equal(gw_ram_next_data(&ram, 0, ram.page_count, &count), 0);
    assert_int_equal(count, ram.unit_pages);
    assert_int_equal(mirror_send(&mirror, 64, &fault), ram.unit_pages);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
    write_page(5, 2);
    assert_int_equal(mirror_round(&mirror, 64, &fault), ram.unit_pages);
    assert_true(mirror_is_equal(&mirror));
}

static void a_huge_page_that_could_not_be_armed_is_not(void **state)
{
    (void)state;
    given_huge_tracker(GW_UFFD_WP_SYNC);
    write_page(5, 2);
    is_protecting_refused = true;
    enum gw_status status = mirror_rearm(&mirror, 0, 64, &fault);
    is_protecting_refused = false;
    assert_int_equal(status, GW_HOST);
    assert_int_equal(mirror_send(&mirror, 64, &fault), ram.unit_pages);
    assert_int_equal(mirror_round(&mirror, 64, &fault), 0);
}

static void huge_trials(enum gw_uffd_wp_mode mode)
{
    const char *text = getenv("GODWIT_TRIALS");
    uint64_t trials = text == NULL ? 5 : strtoull(text, NULL, 10);
    for (uint64_t seed = 1; seed <= trials; seed++) {
        if (!given_huge_ram()) {
            skip();
        }
        race_against_scribblers(mode, seed);
        (void)teardown(NULL);
    }
}

static void async_huge_loses_nothing(void **state)
{
    (void)state;
    huge_trials(GW_UFFD_WP_ASYNC);
}

static void sync_huge_loses_nothing(void **state)
{
    (void)state;
    huge_trials(GW_UFFD_WP_SYNC);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    static enum gw_uffd_wp_mode async = GW_UFFD_WP_ASYNC, sync = GW_UFFD_WP_SYNC;
    const struct CMUnitTest tests[] = {
        TEST(async_memfd_is_exact),
        TEST(async_anonymous_is_exact),
        TEST(sync_memfd_is_exact),
        TEST(sync_anonymous_is_exact),
        TEST(unmapped_pages_are_kept),
        cmocka_unit_test_prestate_setup_teardown(long_holes_are_asked_for, NULL, teardown, &async),
        cmocka_unit_test_prestate_setup_teardown(long_holes_are_asked_for, NULL, teardown, &sync),
        TEST(stop_leaves_nothing_protected),
        TEST(start_reports_what_looks_protected),
        TEST(stop_wakes_writers),
        TEST(async_memfd_loses_nothing),
        TEST(async_anonymous_loses_nothing),
        TEST(sync_memfd_loses_nothing),
        TEST(sync_anonymous_loses_nothing),
        TEST(async_huge_is_exact),
        TEST(sync_huge_is_exact),
        TEST(sync_huge_is_looked_at_once),
        TEST(huge_pages_unmapped_by_registering_are_kept),
        TEST(a_huge_page_that_could_not_be_armed_is_not),
        TEST(async_huge_loses_nothing),
        TEST(sync_huge_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
