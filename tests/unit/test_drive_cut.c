/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration through a proxy that cuts a connection, or flips a bit, at one byte of one
 * direction of one connection. Whatever byte it is, the guest must end up running in exactly one
 * place, on the target with the same RAM; and a source that kept it must succeed with the next
 * try, for which nothing is restarted.
 *
 * DRIVE_STRIDE=1 tries every byte (minutes); the default tries some, others on each connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive_pair.h"
#include "godwit/units.h"

enum { LINKS_MAX = 6, TO_TARGET = 0, TO_SOURCE = 1, ANY_BULK = -1 };

enum harm { HARM_NONE, HARM_CUT, HARM_FLIP, HARM_STALL };

enum { INTRO_ROLE = GW_FRAME_HEADER_BYTES + 36 }; /* where the role stands (docs/WIRE.md) */

/* One connection through the proxy: fd[0] to the source, fd[1] to the target; -1: not there. */
struct link {
    int fd[2];
    uint64_t passed[2]; /* bytes, by direction */
};

static struct {
    int listener;
    char uri[GW_URI_TEXT_BYTES];
    struct link link[LINKS_MAX];
    int link_count; /* connections so far; the later ones use the last slot */
    enum harm harm;
    int harm_link, harm_direction; /* ANY_BULK: the first that gets there */
    uint64_t harm_byte;
    bool is_done;
    int urgent;       /* the link of that role; -1: not yet */
    unsigned settled; /* migrations that needed another connection to learn how they had ended */
} proxy;

static int touched[2] = {-1, -1}; /* a pipe: a page was touched, and is there */

static void close_link(struct link *link)
{
    for (int i = 0; i < 2; i++) {
        if (link->fd[i] >= 0) {
            (void)close(link->fd[i]);
        }
        link->fd[i] = -1;
    }
}

static int fill(struct pollfd *wait)
{
    int count = 0;
    wait[count++] = (struct pollfd){.fd = proxy.listener, .events = POLLIN};
    wait[count++] = (struct pollfd){.fd = touched[0], .events = POLLIN};
    for (int i = 0; i < LINKS_MAX; i++) {
        for (int side = 0; side < 2; side++) {
            if (proxy.link[i].fd[side] >= 0) {
                wait[count++] = (struct pollfd){.fd = proxy.link[i].fd[side], .events = POLLIN};
            }
        }
    }
    return count;
}

static void accept_link(void)
{
    int fd = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    int slot = proxy.link_count;
    for (int i = 0; slot >= LINKS_MAX && i < LINKS_MAX; i++) {
        slot = proxy.link[i].fd[0] < 0 ? i : slot;
    }
    assert_true(slot < LINKS_MAX);
    proxy.link_count++;
    proxy.link[slot] = (struct link){.fd = {fd, pair_connect()}};
}

/* The harm is meant for what passes here. */
static bool is_aimed(const struct link *link, int direction)
{
    bool is_it =
        proxy.harm_link == ANY_BULK ? link != &proxy.link[0] : link == &proxy.link[proxy.harm_link];
    return proxy.harm != HARM_NONE && is_it && direction == proxy.harm_direction;
}

/* True when it falls on the bytes that just came. */
static bool is_hit(const struct link *link, int direction, ssize_t count)
{
    return !proxy.is_done && proxy.harm != HARM_STALL && is_aimed(link, direction) &&
           proxy.harm_byte >= link->passed[direction] &&
           proxy.harm_byte < link->passed[direction] + (uint64_t)count;
}

/* Takes what may be passed on. Of a stalling link the rest waits, until the harm is over. */
static ssize_t take(const struct link *link, int direction, uint8_t *bytes, size_t most)
{
    bool is_stalling = proxy.harm == HARM_STALL && is_aimed(link, direction);
    uint64_t left = proxy.harm_byte - link->passed[direction];
    if (is_stalling && left == 0) {
        errno = EAGAIN;
        return -1;
    }
    most = is_stalling && left < most ? left : most;
    ssize_t count = recv(link->fd[direction], bytes, most, MSG_DONTWAIT);
    proxy.is_done = proxy.is_done || (is_stalling && count == (ssize_t)left);
    return count;
}

/* Passes some bytes on. An end is passed on, too; when both have ended it closes. */
static void pass(struct link *link, int direction)
{
    uint8_t bytes[4096];
    int from = link->fd[direction];
    int to = link->fd[1 - direction];
    ssize_t count = from < 0 ? -1 : take(link, direction, bytes, sizeof(bytes));
    if (count < 0 && (errno == EAGAIN || from < 0)) {
        return;
    }
    if (count <= 0) {
        if (shutdown(to, SHUT_WR) != 0 || count < 0) {
            close_link(link);
            return;
        }
        uint8_t byte;
        ssize_t back = recv(to, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
        if (back == 0 || (back < 0 && errno != EAGAIN)) {
            close_link(link);
        }
        return;
    }
    if (direction == TO_TARGET && link->passed[TO_TARGET] == 0 && count > INTRO_ROLE &&
        bytes[INTRO_ROLE] == GW_ROLE_URGENT) {
        proxy.urgent = (int)(link - proxy.link);
    }
    bool is_cut = false;
    if (is_hit(link, direction, count)) {
        proxy.is_done = true;
        uint64_t at = proxy.harm_byte - link->passed[direction];
        is_cut = proxy.harm == HARM_CUT;
        count = is_cut ? (ssize_t)at : count;
        bytes[at] ^= 0x40;
    }
    link->passed[direction] += (uint64_t)count;
    (void)!send(to, bytes, (size_t)count, MSG_NOSIGNAL);
    if (is_cut) {
        close_link(link);
    }
}

static void serve(void)
{
    accept_link();
    for (int i = 0; i < LINKS_MAX; i++) {
        for (int direction = 0; direction < 2; direction++) {
            if (proxy.link[i].fd[direction] >= 0) {
                pass(&proxy.link[i], direction);
            }
        }
    }
}

/* Also of what still waits to be accepted: a channel that connected, and was ended before its turn
 * came, is no connection of the next migration. */
static void reset_proxy(enum harm harm, int link, int direction, uint64_t byte)
{
    for (int fd; (fd = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        (void)close(fd);
    }
    for (int i = 0; i < LINKS_MAX; i++) {
        close_link(&proxy.link[i]);
        proxy.link[i] = (struct link){.fd = {-1, -1}};
    }
    proxy.link_count = 0;
    proxy.urgent = -1;
    proxy.harm = harm;
    proxy.harm_link = link;
    proxy.harm_direction = direction;
    proxy.harm_byte = byte;
    proxy.is_done = false;
}

static int open_all(void **context)
{
    (void)context;
    pair_open();
    for (int i = 0; i < LINKS_MAX; i++) {
        proxy.link[i] = (struct link){.fd = {-1, -1}};
    }
    proxy.listener = pair_listen(proxy.uri, "between");
    pair.fill = fill;
    pair.serve = serve;
    return 0;
}

static int close_all(void **context)
{
    (void)context;
    reset_proxy(HARM_NONE, 0, 0, 0);
    (void)close(proxy.listener);
    pair_close();
    return 0;
}

/* Given a harm, when the guest moves, then it is in one place; and a try after a failure
 * succeeds. */
static void try_harm(enum harm harm, int link, int direction, uint64_t byte)
{
    reset_proxy(harm, link, direction, byte);
    pair_migrate(proxy.uri);
    enum gw_source_state ended = pair_finish();
    pair_check(ended);
    proxy.settled += proxy.link_count > 2 ? 1 : 0;
    if (ended != GW_SOURCE_COMPLETED) {
        reset_proxy(HARM_NONE, 0, 0, 0);
        pair_migrate(proxy.uri);
        ended = pair_finish();
        assert_int_equal(ended, GW_SOURCE_COMPLETED);
        pair_check(ended);
    }
    pair_restart_target();
}

static void moves_through_the_proxy(void **context)
{
    (void)context;
    try_harm(HARM_NONE, 0, 0, 0);
    assert_int_equal(proxy.link_count, 2);
}

/* The bytes of an unharmed migration, by connection and direction. Acknowledgements join or do
 * not, so the control channel's way back varies a little. */
static void measure(uint64_t bytes[2][2])
{
    try_harm(HARM_NONE, 0, 0, 0);
    for (int link = 0; link < 2; link++) {
        for (int direction = 0; direction < 2; direction++) {
            bytes[link][direction] = proxy.link[link].passed[direction];
        }
    }
}

static void try_all(enum harm harm, const char *name, uint64_t stride)
{
    uint64_t bytes[2][2];
    measure(bytes);
    const char *wanted = getenv("DRIVE_STRIDE");
    for (int link = 0; link < 2; link++) {
        for (int direction = 0; direction < 2; direction++) {
            uint64_t total = bytes[link][direction];
            assert_true(total > 0);
            uint64_t step = wanted != NULL ? strtoull(wanted, NULL, 10) : stride;
            if (link == 1 && direction == TO_TARGET) {
                step *= 64; /* mostly pages */
            }
            for (uint64_t byte = (uint64_t)link % step; byte < total; byte += step) {
                print_message("%s: connection %d, direction %d, byte %llu of %llu\n", name, link,
                              direction, (unsigned long long)byte, (unsigned long long)total);
                try_harm(harm, link, direction, byte);
            }
        }
    }
}

static void survives_a_cut_at_any_byte(void **context)
{
    (void)context;
    proxy.settled = 0;
    try_all(HARM_CUT, "cut", 11);
    assert_true(proxy.settled > 0); /* some fell between COMMIT and DONE */
}

/* Given a source that tries again, when a connection is cut after the first page could go, then the
 * migration goes on and ends as if it had not been. */
static void a_cut_costs_a_pause(void **context)
{
    (void)context;
    uint64_t bytes[2][2];
    uint64_t resumes = 0;
    measure(bytes);
    for (int n = 0; n < 40; n++) {
        int link = n % 2;
        int direction = link == 1 || n % 4 == 0 ? TO_TARGET : TO_SOURCE;
        struct gw_source_figures figures;
        reset_proxy(HARM_CUT, link, direction, bytes[link][direction] * (uint64_t)(n + 1) / 41);
        pair.resume_ns_max = 10 * GW_NS_PER_S;
        pair_migrate(proxy.uri);
        enum gw_source_state ended = pair_finish();
        gw_outgoing_get_figures(&pair_outgoing, &figures);
        pair_check(ended);
        resumes += figures.resumes;
        if (figures.setup_ns > 0) {
            assert_int_equal(ended, GW_SOURCE_COMPLETED);
        }
        pair_restart_target();
    }
    pair.resume_ns_max = 0;
    print_message("resumed %llu times\n", (unsigned long long)resumes);
    assert_true(resumes > 10);
}

static void survives_a_flipped_bit_in_any_byte(void **context)
{
    (void)context;
    try_all(HARM_FLIP, "flip", 13);
}

/* ---- With several bulk channels ---- */

enum { CHANNELS = 3, INTRO_BYTES = 88, WELCOME_BYTES = 48 };

/* Which channel a connection is, the threads that connect it decide: all begin alike. */
static void several_channels_survive_harm_to_each(void **context)
{
    (void)context;
    pair.channel_count = CHANNELS;
    try_harm(HARM_NONE, 0, 0, 0);
    assert_int_equal(proxy.link_count, 1 + CHANNELS);
    for (int link = 1; link <= CHANNELS; link++) {
        for (uint64_t byte = (uint64_t)link; byte < INTRO_BYTES + 3; byte += 19) {
            try_harm(HARM_CUT, link, TO_TARGET, byte);
            try_harm(HARM_FLIP, link, TO_TARGET, byte + 7);
        }
        for (uint64_t byte = (uint64_t)link; byte < WELCOME_BYTES; byte += 11) {
            try_harm(HARM_CUT, link, TO_SOURCE, byte);
            try_harm(HARM_FLIP, link, TO_SOURCE, byte + 5);
        }
    }
}

/* All come again when one of them is lost: here channel 0, since it has all pages. */
static void a_cut_of_one_channel_costs_a_pause(void **context)
{
    (void)context;
    pair.channel_count = CHANNELS;
    pair.resume_ns_max = 10 * GW_NS_PER_S;
    for (uint64_t n = 0; n < 12; n++) {
        struct gw_source_figures figures;
        reset_proxy(HARM_CUT, ANY_BULK, TO_TARGET, INTRO_BYTES + 500 * n);
        pair_migrate(proxy.uri);
        enum gw_source_state ended = pair_finish();
        gw_outgoing_get_figures(&pair_outgoing, &figures);
        pair_check(ended);
        assert_int_equal(ended, GW_SOURCE_COMPLETED);
        assert_int_equal(figures.channel_count, CHANNELS);
        assert_int_equal(figures.resumes, 1);
        pair_restart_target();
    }
    pair.resume_ns_max = 0;
}

/* ---- With the same RAM ---- */

static int open_shared(void **context)
{
    (void)open_all(context);
    pair_share();
    return 0;
}

static void try_all_shared(enum harm harm, uint64_t stride)
{
    const char *wanted = getenv("DRIVE_STRIDE");
    uint64_t step = wanted != NULL ? strtoull(wanted, NULL, 10) : stride;
    uint64_t bytes[2];
    try_harm(HARM_NONE, 0, 0, 0);
    assert_int_equal(proxy.link_count, 1); /* no channel for pages */
    memcpy(bytes, proxy.link[0].passed, sizeof(bytes));
    for (int direction = 0; direction < 2; direction++) {
        for (uint64_t byte = 0; byte < bytes[direction]; byte += step) {
            try_harm(harm, 0, direction, byte);
        }
    }
}

static void sharing_survives_a_cut_at_any_byte(void **context)
{
    (void)context;
    try_all_shared(HARM_CUT, 7);
}

static void sharing_survives_a_flipped_bit_in_any_byte(void **context)
{
    (void)context;
    try_all_shared(HARM_FLIP, 9);
}

/* One side thinks of copies: no page is sent into RAM that a guest runs in, nor is any discarded.
 */
static void one_that_does_not_share_gets_nowhere(void **context)
{
    (void)context;
    reset_proxy(HARM_NONE, 0, 0, 0);
    pair.is_shared = false; /* the source; the target listens already */
    pair_migrate(proxy.uri);
    pair.is_shared = true;
    assert_int_equal(pair_finish(), GW_SOURCE_FAILED);
    assert_true(pair.runs_on_source && !pair.runs_on_target);
}

/* ---- A link that stalls ---- */

static void *touch(void *context)
{
    const volatile uint8_t *byte = gw_ram_page(&pair.target_ram, *(const uint64_t *)context);
    (void)*byte;
    (void)!write(touched[1], "", 1);
    return context;
}

static void start_touching(pthread_t *thread, uint64_t *page)
{
    assert_int_equal(pthread_create(thread, NULL, touch, page), 0);
}

static void finish_touching(pthread_t thread)
{
    char byte;
    while (read(touched[0], &byte, 1) != 1) {
        pair_step();
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* Longer than what is told by pages. */
static void given_a_long_hole(void)
{
    struct gw_ram *rams[] = {&pair.source_ram, &pair.target_ram};
    gw_incoming_stop(&pair_incoming);
    for (int i = 0; i < 2; i++) {
        gw_ram_close(rams[i]);
        assert_int_equal(gw_ram_add_memfd(rams[i], UINT64_C(1) << 30, 4 * GW_MIB, NULL), GW_OK);
    }
    for (uint64_t page = 1; page < PAIR_PAGES; page += 5) {
        *gw_ram_page(&pair.source_ram, page) = (uint8_t)page;
    }
}

static void given_postcopy_by_demand_alone(void)
{
    struct gw_fault fault = {.status = GW_OK};
    given_a_long_hole();
    if (gw_missing_probe(&pair.target_ram, true, &fault) != GW_OK) {
        print_message("%s\n", fault.text);
        skip();
    }
    reset_proxy(HARM_NONE, 0, 0, 0);
    pair.is_postcopy = true;
    pair.postcopy_bandwidth_max = 1; /* the first page at once, the second hours later */
    pair.idle_ns_max = 3600 * GW_NS_PER_S;
    pair_restart_target();
    pair_migrate(proxy.uri);
    while (!pair.runs_on_target || proxy.urgent < 0) {
        pair_step();
    }
}

/* Given an answer of which a part is here and the rest does not come, when somebody touches a page
 * that is known to be zero, then it is there. */
static void zeros_wait_for_no_answer_that_is_half_here(void **context)
{
    (void)context;
    static uint64_t first = 6, demanded = 11, zero;
    pthread_t waits, needs_nothing;
    char byte;
    given_postcopy_by_demand_alone();
    zero = pair.target_ram.page_count - 1;
    assert_int_equal(pipe2(touched, O_NONBLOCK | O_CLOEXEC), 0);
    start_touching(&waits, &first); /* from its answer on, the channel's receiver serves faults */
    finish_touching(waits);
    proxy.harm = HARM_STALL;
    proxy.harm_link = proxy.urgent;
    proxy.harm_direction = TO_TARGET;
    proxy.harm_byte = proxy.link[proxy.urgent].passed[TO_TARGET] + 300;
    start_touching(&waits, &demanded);
    while (!proxy.is_done) {
        pair_step();
    }
    start_touching(&needs_nothing, &zero);
    assert_int_equal(pthread_join(needs_nothing, NULL), 0); /* without a step of the pair */
    assert_int_equal(read(touched[0], &byte, 1), 1);
    proxy.harm = HARM_NONE;
    finish_touching(waits);
    gw_outgoing_set_limits(&pair_outgoing, GW_NS_PER_S, 0, 0);
    assert_int_equal(pair_finish(), GW_SOURCE_COMPLETED);
    pair_check(GW_SOURCE_COMPLETED);
    (void)close(touched[0]);
    (void)close(touched[1]);
    touched[0] = touched[1] = -1;
}

/* ---- Stopped by its owner ---- */

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
}

static bool is_receiving(void)
{
    enum gw_target_state state = gw_incoming_state(&pair_incoming);
    return state >= GW_TARGET_NEGOTIATING && state <= GW_TARGET_LOADING &&
           state != GW_TARGET_AWAITING;
}

/* Given a migration at any moment of its life, when an owner ends its side at once, then that is
 * done, and nothing is left open. */
static void stops_at_any_moment(void **context)
{
    (void)context;
    int before = count_descriptors();
    for (int steps = 0; steps < 60; steps++) {
        reset_proxy(HARM_NONE, 0, 0, 0);
        pair_migrate(proxy.uri);
        for (int i = 0; i < steps && !pair.is_over; i++) {
            pair_step();
        }
        gw_outgoing_stop(&pair_outgoing);
        reset_proxy(HARM_NONE, 0, 0, 0);
        while (steps % 2 == 0 && is_receiving()) {
            pair_step(); /* the target hears of it; else it is ended before it does */
        }
        pair_restart_target();
        assert_int_equal(count_descriptors(), before);
    }
}

/* Nothing is discarded before: what lies there is written over, or punched out where the source has
 * a hole. */
static void what_the_target_had_before_is_gone(void **state)
{
    (void)state;
    memset(gw_ram_page(&pair.target_ram, 0), 0xa5, (size_t)PAIR_PAGES * pair.target_ram.page_bytes);
    pair_migrate(pair.target_uri);
    enum gw_source_state ended = pair_finish();
    assert_int_equal(ended, GW_SOURCE_COMPLETED);
    pair_check(ended);
    for (uint64_t page = 0; page < PAIR_PAGES; page++) {
        uint64_t count = 0;
        bool is_data = gw_ram_next_data(&pair.source_ram, page, page + 1, &count) == page;
        assert_true((gw_ram_next_data(&pair.target_ram, page, page + 1, &count) == page) ==
                    is_data);
    }
}

/* Else a name of several hosts could bring a channel to another one than the control channel. */
static void all_channels_go_to_the_same_place(void **state)
{
    (void)state;
    pair.is_tcp = true;
    pair_restart_target();
    pair_migrate(pair.target_uri);
    enum gw_source_state ended = pair_finish();
    assert_int_equal(ended, GW_SOURCE_COMPLETED);
    pair_check(ended);
    assert_string_equal(pair_outgoing.uri.address, "127.0.0.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(moves_through_the_proxy, open_all, close_all),
        cmocka_unit_test_setup_teardown(what_the_target_had_before_is_gone, open_all, close_all),
        cmocka_unit_test_setup_teardown(all_channels_go_to_the_same_place, open_all, close_all),
        cmocka_unit_test_setup_teardown(stops_at_any_moment, open_all, close_all),
        cmocka_unit_test_setup_teardown(survives_a_cut_at_any_byte, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_cut_costs_a_pause, open_all, close_all),
        cmocka_unit_test_setup_teardown(survives_a_flipped_bit_in_any_byte, open_all, close_all),
        cmocka_unit_test_setup_teardown(several_channels_survive_harm_to_each, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_cut_of_one_channel_costs_a_pause, open_all, close_all),
        cmocka_unit_test_setup_teardown(sharing_survives_a_cut_at_any_byte, open_shared, close_all),
        cmocka_unit_test_setup_teardown(sharing_survives_a_flipped_bit_in_any_byte, open_shared,
                                        close_all),
        cmocka_unit_test_setup_teardown(one_that_does_not_share_gets_nowhere, open_shared,
                                        close_all),
        cmocka_unit_test_setup_teardown(zeros_wait_for_no_answer_that_is_half_here, open_all,
                                        close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
