/* SPDX-License-Identifier: Apache-2.0 */
/* Threads, the event loop, clocks, record files, Unix sockets and the probe (src/host). */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched/types.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "godwit/clock.h"
#include "godwit/kernel.h"
#include "godwit/loop.h"
#include "godwit/probe.h"
#include "godwit/record_file.h"
#include "godwit/thread.h"
#include "godwit/unix_socket.h"

static struct gw_fault fault;
static char directory[64];

static int setup(void **state)
{
    (void)state;
    gw_fault_clear(&fault);
    (void)snprintf(directory, sizeof(directory), "/tmp/godwit-test-XXXXXX");
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[96];
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

/* ---- Threads ---- */

static struct gw_thread thread;
static const void *stack_seen;
static bool is_blocked_seen;

static void look_around(void *context)
{
    int here = 0;
    *(const void **)context = &here;
    sigset_t mask;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
    is_blocked_seen = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
}

static void thread_runs_on_its_own_stack_twice(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        stack_seen = NULL;
        is_blocked_seen = false;
        assert_int_equal(gw_thread_start(&thread, "a name longer than fifteen", look_around,
                                         &stack_seen, &fault),
                         GW_OK);
        gw_thread_join(&thread);
        gw_thread_join(&thread);
#ifndef __SANITIZE_ADDRESS__ /* which keeps locals elsewhere */
        assert_true((const uint8_t *)stack_seen > thread.stack);
        assert_true((const uint8_t *)stack_seen < thread.stack + sizeof(thread.stack));
#else
        assert_non_null(stack_seen);
#endif
        assert_true(is_blocked_seen);
    }
    sigset_t mask;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

struct look {
    enum gw_thread_part part;
    struct sched_attr before, after;
};

static void take_part(void *context)
{
    struct look *look = context;
    const unsigned bytes = sizeof(look->before);
    assert_int_equal(syscall(SYS_sched_getattr, 0, &look->before, bytes, 0), 0);
    gw_thread_set_part(look->part);
    assert_int_equal(syscall(SYS_sched_getattr, 0, &look->after, bytes, 0), 0);
    assert_int_equal(look->after.sched_nice, look->before.sched_nice);
}

static struct look look_at(enum gw_thread_part part)
{
    struct look look = {.part = part};
    if (syscall(SYS_sched_getattr, 0, &look.before, sizeof(look.before), 0) != 0) {
        print_message("sched_getattr: %s\n", strerror(errno)); /* QEMU's user emulation */
        skip();
    }
    assert_int_equal(gw_thread_start(&thread, "part", take_part, &look, &fault), GW_OK);
    gw_thread_join(&thread);
    if (look.before.sched_policy != SCHED_OTHER) {
        print_message("the policy here is %u, not the ordinary one\n", look.before.sched_policy);
        skip();
    }
    return look;
}

struct keeping {
    uint64_t cpus;
    cpu_set_t before, after;
};

static void keep_to(void *context)
{
    struct keeping *keeping = context;
    assert_int_equal(sched_getaffinity(0, sizeof(cpu_set_t), &keeping->before), 0);
    gw_thread_keep_to(keeping->cpus);
    assert_int_equal(sched_getaffinity(0, sizeof(cpu_set_t), &keeping->after), 0);
}

static struct keeping kept_to(uint64_t cpus)
{
    struct keeping keeping = {.cpus = cpus};
    assert_int_equal(gw_thread_start(&thread, "keeper", keep_to, &keeping, &fault), GW_OK);
    gw_thread_join(&thread);
    return keeping;
}

static void a_thread_keeps_to_cpus_where_it_may_run(void **state)
{
    (void)state;
    struct keeping keeping = kept_to(0);
    assert_true(CPU_EQUAL(&keeping.before, &keeping.after));
    size_t last = 63;
    while (last > 0 && !CPU_ISSET(last, &keeping.before)) {
        last--;
    }
    keeping = kept_to(UINT64_C(1) << last);
    assert_int_equal(CPU_COUNT(&keeping.after), 1);
    assert_true(CPU_ISSET(last, &keeping.after));
    keeping = kept_to(~(UINT64_C(2) << last) & ~((UINT64_C(2) << last) - 1)); /* none it has */
    assert_true(CPU_EQUAL(&keeping.before, &keeping.after));
}

static void who_is_waited_for_has_a_short_slice(void **state)
{
    (void)state;
    struct look look = look_at(GW_THREAD_BRIEF);
    assert_int_equal(look.after.sched_policy, SCHED_OTHER);
    if (look.after.sched_runtime == look.before.sched_runtime) {
        print_message("this kernel has no slices: Linux 6.12 has\n");
        skip();
    }
    assert_int_equal(look.after.sched_runtime, GW_THREAD_BRIEF_NS);
}

static void who_carries_much_waits_for_its_turn(void **state)
{
    (void)state;
    assert_int_equal(look_at(GW_THREAD_BULK).after.sched_policy, SCHED_BATCH);
}

static void the_kernel_is_from_its_own_version(void **state)
{
    (void)state;
    assert_true(gw_kernel_is_from(2, 6));
    assert_true(gw_kernel_is_from(3, 99));
    assert_false(gw_kernel_is_from(99, 0));
}

static void touch_guard(void *context)
{
    (void)context;
    *(volatile uint8_t *)(thread.stack - 1) = 1;
}

static void overflow_is_a_fault(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)!freopen("/dev/null", "w", stderr);
        if (gw_thread_start(&thread, "overflow", touch_guard, NULL, &fault) == GW_OK) {
            gw_thread_join(&thread);
        }
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

/* ---- Clocks ---- */

static void clocks_go_on(void **state)
{
    (void)state;
    uint64_t first = gw_clock_now_ns();
    assert_true(gw_clock_now_ns() >= first);
    assert_true(gw_clock_wall_ns() > 1700000000 * GW_NS_PER_S);
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    assert_int_equal(gw_random_bytes(a, sizeof(a), &fault), GW_OK);
    assert_int_equal(gw_random_bytes(b, sizeof(b), &fault), GW_OK);
    assert_memory_not_equal(a, b, sizeof(a));
}

/* ---- The loop ---- */

struct pair {
    struct gw_watch watch[2];
    struct gw_notify notify[2];
    int calls;
};

static struct gw_loop loop;
static struct pair pair;

static void handle_once_and_remove_both(void *context, uint32_t events)
{
    (void)context;
    assert_int_equal(events, EPOLLIN);
    pair.calls++;
    gw_loop_remove(&pair.watch[0]);
    gw_loop_remove(&pair.watch[1]);
}

static void given_two_watches(gw_loop_handler *handler)
{
    memset(&pair, 0, sizeof(pair));
    assert_int_equal(gw_loop_open(&loop, &fault), GW_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gw_notify_open(&pair.notify[i], &fault), GW_OK);
        assert_int_equal(
            gw_loop_add(&loop, &pair.watch[i], pair.notify[i].fd, EPOLLIN, handler, &pair, &fault),
            GW_OK);
    }
}

static void close_both(void)
{
    gw_notify_close(&pair.notify[0]);
    gw_notify_close(&pair.notify[1]);
    gw_loop_close(&loop);
}

static void removed_watch_is_not_called(void **state)
{
    (void)state;
    given_two_watches(handle_once_and_remove_both);
    gw_notify_signal(&pair.notify[0]);
    gw_notify_signal(&pair.notify[1]);
    assert_int_equal(gw_loop_run_once(&loop, 0, &fault), GW_OK);
    assert_int_equal(pair.calls, 1);
    assert_int_equal(gw_loop_run_once(&loop, 0, &fault), GW_OK);
    assert_int_equal(pair.calls, 1);
    close_both();
}

static void handle_and_drain(void *context, uint32_t events)
{
    (void)context;
    (void)events;
    pair.calls++;
    (void)gw_notify_drain(&pair.notify[0]);
}

static void signals_add_up_to_one(void **state)
{
    (void)state;
    given_two_watches(handle_and_drain);
    gw_notify_signal(&pair.notify[0]);
    gw_notify_signal(&pair.notify[0]);
    assert_int_equal(gw_loop_run_once(&loop, GW_LOOP_FOREVER, &fault), GW_OK);
    assert_int_equal(pair.calls, 1);
    assert_int_equal(gw_loop_run_once(&loop, 0, &fault), GW_OK);
    assert_int_equal(pair.calls, 1);
    assert_false(gw_notify_drain(&pair.notify[0]));
    close_both();
}

static void changed_watch_is_silent(void **state)
{
    (void)state;
    given_two_watches(handle_and_drain);
    gw_loop_change(&pair.watch[0], 0);
    gw_notify_signal(&pair.notify[0]);
    uint64_t start = gw_clock_now_ns();
    assert_int_equal(gw_loop_run_once(&loop, 2 * GW_NS_PER_MS, &fault), GW_OK);
    assert_true(gw_clock_now_ns() - start >= 2 * GW_NS_PER_MS);
    assert_int_equal(pair.calls, 0);
    gw_loop_change(&pair.watch[0], EPOLLIN);
    assert_int_equal(gw_loop_run_once(&loop, 0, &fault), GW_OK);
    assert_int_equal(pair.calls, 1);
    close_both();
}

static void count_call(void *context, uint32_t events)
{
    int *calls = context;
    (void)events;
    ++*calls;
}

/* Whoever wants nothing hears once that the other end is closed, and is not woken for ever. */
static void unwanted_hang_up_is_told_once(void **state)
{
    (void)state;
    given_two_watches(handle_and_drain);
    struct gw_watch watch = {.loop = NULL};
    int ends[2], calls = 0;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(gw_loop_add(&loop, &watch, ends[1], 0, count_call, &calls, &fault), GW_OK);
    (void)close(ends[0]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gw_loop_run_once(&loop, 0, &fault), GW_OK);
    }
    assert_int_equal(calls, 1);
    gw_loop_change(&watch, EPOLLOUT);
    assert_int_equal(gw_loop_run_once(&loop, 0, &fault), GW_OK);
    assert_int_equal(calls, 2);
    gw_loop_remove(&watch);
    (void)close(ends[1]);
    close_both();
}

static void regular_file_cannot_be_watched(void **state)
{
    (void)state;
    struct gw_watch watch = {.loop = NULL};
    assert_int_equal(gw_loop_open(&loop, &fault), GW_OK);
    int fd = open("/proc/self/exe", O_RDONLY);
    assert_int_equal(gw_loop_add(&loop, &watch, fd, EPOLLIN, handle_and_drain, NULL, &fault),
                     GW_HOST);
    assert_int_equal(fault.os_error, EPERM);
    assert_null(watch.loop);
    (void)close(fd);
    gw_loop_close(&loop);
}

/* ---- Record files ---- */

/* Who has a duplicate of the descriptor holds it too: another process, in an upgrade. */
static void a_held_file_is_refused_to_others(void **state)
{
    (void)state;
    int first, second;
    assert_int_equal(gw_record_file_lock(directory, "guest.lock", &first, &fault), GW_OK);
    assert_int_equal(gw_record_file_lock(directory, "guest.lock", &second, &fault), GW_REFUSED);
    assert_non_null(strstr(fault.text, "another process holds it"));
    int passed = dup(first);
    (void)close(first);
    gw_fault_clear(&fault);
    assert_int_equal(gw_record_file_lock(directory, "guest.lock", &second, &fault), GW_REFUSED);
    (void)close(passed);
    assert_int_equal(gw_record_file_lock(directory, "guest.lock", &second, &fault), GW_OK);
    (void)close(second);
}

static void record_is_replaced_as_a_whole(void **state)
{
    (void)state;
    char bytes[64];
    size_t size = 1;
    bool is_found = true;
    assert_int_equal(
        gw_record_file_get(directory, "leaving", bytes, sizeof(bytes), &size, &is_found, &fault),
        GW_OK);
    assert_false(is_found);
    assert_int_equal(gw_record_file_put(directory, "leaving", "a longer text", 13, &fault), GW_OK);
    assert_int_equal(gw_record_file_put(directory, "leaving", "short", 5, &fault), GW_OK);
    assert_int_equal(
        gw_record_file_get(directory, "leaving", bytes, sizeof(bytes), &size, &is_found, &fault),
        GW_OK);
    assert_true(is_found);
    assert_int_equal(size, 5);
    assert_memory_equal(bytes, "short", 5);
    assert_int_equal(gw_record_file_clear(directory, "leaving", &fault), GW_OK);
    assert_int_equal(gw_record_file_clear(directory, "leaving", &fault), GW_OK);
    assert_int_equal(
        gw_record_file_get(directory, "leaving", bytes, sizeof(bytes), &size, &is_found, &fault),
        GW_OK);
    assert_false(is_found);
}

static void record_too_large_is_refused(void **state)
{
    (void)state;
    char bytes[8];
    size_t size;
    bool is_found;
    assert_int_equal(gw_record_file_put(directory, "took", "12345678", 8, &fault), GW_OK);
    assert_int_equal(gw_record_file_get(directory, "took", bytes, 8, &size, &is_found, &fault),
                     GW_OK);
    assert_int_equal(size, 8);
    assert_int_equal(gw_record_file_get(directory, "took", bytes, 7, &size, &is_found, &fault),
                     GW_LIMIT);
    assert_false(is_found);
}

static void record_names_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "..", ".x", "a/b",
        "1234567890123456789012345678901234567890"
        "12345678901234567890123456789012345678901"}; /* one more than the 80 there is room for */
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gw_fault_clear(&fault);
        assert_int_equal(gw_record_file_put(directory, bad[i], "x", 1, &fault), GW_ARGUMENT);
    }
}

static void full_disk_keeps_the_old_record(void **state)
{
    (void)state;
    assert_int_equal(gw_record_file_put(directory, "took", "old", 3, &fault), GW_OK);
    /* A directory in the temporary file's place: the write cannot even begin. */
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/.took.new", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(gw_record_file_put(directory, "took", "new", 3, &fault), GW_HOST);
    char bytes[8];
    size_t size;
    bool is_found;
    gw_fault_clear(&fault);
    assert_int_equal(gw_record_file_get(directory, "took", bytes, 8, &size, &is_found, &fault),
                     GW_OK);
    assert_memory_equal(bytes, "old", 3);
}

static void state_directory_is_private(void **state)
{
    (void)state;
    char path[128];
    struct stat found;
    (void)snprintf(path, sizeof(path), "%s/a/b", directory);
    assert_int_equal(gw_state_directory_open(path, &fault), GW_OK);
    assert_int_equal(gw_state_directory_open(path, &fault), GW_OK);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0700);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(gw_state_directory_open(path, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "mode 0777"));
    gw_fault_clear(&fault);
    assert_int_equal(gw_state_directory_open("/proc/self/exe", &fault), GW_ARGUMENT);
    gw_fault_clear(&fault);
    assert_int_equal(gw_state_directory_open("", &fault), GW_ARGUMENT);
}

/* ---- Unix sockets ---- */

static void live_socket_is_not_replaced_and_stale_is(void **state)
{
    (void)state;
    char path[96];
    int listener = -1;
    int other = -1;
    (void)snprintf(path, sizeof(path), "%s/x.sock", directory);
    assert_int_equal(gw_unix_listen(path, &listener, &fault), GW_OK);
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    assert_int_equal(gw_unix_listen(path, &other, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "another process listens there"));
    assert_int_equal(gw_unix_accept(listener, &other, NULL), GW_AGAIN); /* it heard of nobody */

    (void)close(listener); /* its process died: the file stays */
    gw_fault_clear(&fault);
    assert_int_equal(gw_unix_connect(path, 0, -1, &other, &fault), GW_LINK);
    assert_non_null(strstr(fault.text, "no one listens"));
    gw_fault_clear(&fault);
    assert_int_equal(gw_unix_listen(path, &listener, &fault), GW_OK);
    gw_unix_close(listener, path);
    assert_int_equal(stat(path, &found), -1);
    assert_int_equal(gw_unix_connect(path, 0, -1, &other, &fault), GW_LINK);
    assert_non_null(strstr(fault.text, "no such socket"));
}

static void foreign_file_is_left_alone(void **state)
{
    (void)state;
    char path[96];
    int fd = -1;
    assert_int_equal(gw_record_file_put(directory, "file", "x", 1, &fault), GW_OK);
    (void)snprintf(path, sizeof(path), "%s/file", directory);
    assert_int_equal(gw_unix_listen(path, &fd, &fault), GW_ARGUMENT);
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    char longer[200];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    gw_fault_clear(&fault);
    assert_int_equal(gw_unix_listen(longer, &fd, &fault), GW_ARGUMENT);
}

static void clients_are_accepted_until_none_waits(void **state)
{
    (void)state;
    char path[96];
    int listener = -1;
    int client = -1;
    int server = -1;
    (void)snprintf(path, sizeof(path), "%s/x.sock", directory);
    assert_int_equal(gw_unix_listen(path, &listener, &fault), GW_OK);
    assert_int_equal(gw_unix_accept(listener, &server, &fault), GW_AGAIN);
    assert_int_equal(gw_unix_connect(path, 0, -1, &client, &fault), GW_OK);
    assert_int_equal(gw_unix_accept(listener, &server, &fault), GW_OK);
    assert_int_equal(write(client, "hi", 2), 2);
    char bytes[2];
    assert_int_equal(read(server, bytes, 2), 2);
    (void)close(client);
    (void)close(server);

    int many[64];
    int count = 0;
    while (count < 64 && gw_unix_connect(path, 0, -1, &many[count], &fault) == GW_OK) {
        count++;
    }
    assert_in_range(count, 1, 63); /* the queue is bounded, and says so */
    assert_int_equal(fault.status, GW_LINK);
    assert_non_null(strstr(fault.text, "does not answer"));
    for (int i = 0; i < count; i++) {
        (void)close(many[i]);
    }
    gw_unix_close(listener, path);
}

/* ---- The probe ---- */

static void probe_names_what_it_finds(void **state)
{
    (void)state;
    static struct gw_probe probe;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/not/yet/there", directory);
    gw_probe_host(&probe, path);
    assert_in_range(probe.count, 8, GW_PROBE_ITEMS_MAX);
    bool is_directory_ok = false;
    for (uint32_t i = 0; i < probe.count; i++) {
        const struct gw_probe_item *item = &probe.item[i];
        assert_true(item->found[0] != '\0');
        assert_true((item->verdict == GW_PROBE_OK) == (item->remedy[0] == '\0'));
        print_message("    %-32s %-8s %s%s%s\n", item->name, gw_probe_verdict_name(item->verdict),
                      item->found, item->remedy[0] ? ": " : "", item->remedy);
        is_directory_ok |=
            strcmp(item->name, "state directory") == 0 && item->verdict == GW_PROBE_OK;
    }
    assert_true(is_directory_ok);
#ifndef __aarch64__
    assert_int_equal(gw_probe_worst(&probe), GW_PROBE_MISSING);
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_kernel_is_from_its_own_version),
        TEST(thread_runs_on_its_own_stack_twice),
        TEST(who_is_waited_for_has_a_short_slice),
        TEST(who_carries_much_waits_for_its_turn),
        TEST(a_thread_keeps_to_cpus_where_it_may_run),
        TEST(overflow_is_a_fault),
        TEST(clocks_go_on),
        TEST(removed_watch_is_not_called),
        TEST(signals_add_up_to_one),
        TEST(changed_watch_is_silent),
        TEST(unwanted_hang_up_is_told_once),
        TEST(regular_file_cannot_be_watched),
        TEST(record_is_replaced_as_a_whole),
        TEST(a_held_file_is_refused_to_others),
        TEST(record_too_large_is_refused),
        TEST(record_names_are_checked),
        TEST(full_disk_keeps_the_old_record),
        TEST(state_directory_is_private),
        TEST(live_socket_is_not_replaced_and_stale_is),
        TEST(foreign_file_is_left_alone),
        TEST(clients_are_accepted_until_none_waits),
        TEST(probe_names_what_it_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
