/* SPDX-License-Identifier: Apache-2.0 */
/* See drive_pair.h. */
#include "drive_pair.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct pair pair;
struct gw_outgoing pair_outgoing;
struct gw_incoming pair_incoming;

enum { MARK = 2 }; /* a page that only the target's guest writes, when both share */

static uint64_t first_touched;

static char directory[40];
const uint8_t pair_state[PAIR_STATE_BYTES] = "vCPU 0: x0 = 1";

/* ---- A tracker for a guest that does not write ---- */

static enum gw_status start_tracking(struct gw_tracker *tracker, uint64_t *bitmap,
                                     struct gw_fault *fault)
{
    (void)tracker;
    (void)fault;
    (void)gw_ram_put_data(&pair.source_ram, 0, pair.source_ram.page_count, bitmap);
    return GW_OK;
}

static enum gw_status collect(struct gw_tracker *tracker, uint64_t *bitmap, uint64_t *added,
                              struct gw_fault *fault)
{
    (void)tracker;
    (void)bitmap;
    (void)fault;
    *added = 0;
    return GW_OK;
}

static enum gw_status rearm(struct gw_tracker *tracker, uint64_t first, uint64_t count,
                            const uint64_t *bits, struct gw_fault *fault)
{
    (void)tracker;
    (void)first;
    (void)count;
    (void)bits;
    (void)fault;
    return GW_OK;
}

static void stop_tracking(struct gw_tracker *tracker)
{
    (void)tracker;
}

static struct gw_tracker tracker = {.operations = &(const struct gw_tracker_operations){
                                        .name = "none",
                                        .start = start_tracking,
                                        .collect = collect,
                                        .rearm = rearm,
                                        .stop = stop_tracking,
                                    }};

/* ---- Start ---- */

static struct gw_facts facts = {
    .count = 1,
    .fact = {{.name = "machine", .form = GW_FACT_DECIMAL, .value = 7}},
};

static struct gw_transport_options options(const struct gw_tls_identity *tls)
{
    struct gw_transport_options transport = gw_transport_defaults;
    transport.idle_ns_max = pair.idle_ns_max;
    transport.tls = tls;
    return transport;
}

static void listen_as_target(void)
{
    struct gw_fault fault = {.status = GW_OK};
    char uri[GW_URI_TEXT_BYTES];
    if (pair.is_tcp) {
        (void)snprintf(uri, sizeof(uri), "tcp:127.0.0.1:0");
    } else {
        (void)snprintf(uri, sizeof(uri), "unix:%s/target", directory);
    }
    struct gw_incoming_config config = {
        .target = {.facts = &facts,
                   .is_ram_shared = pair.is_shared,
                   .can_postcopy = pair.is_postcopy},
        .uri = uri,
        .ram = &pair.target_ram,
        .intro_ns = PAIR_INTRO_NS,
        .is_user_mode_enough = true,
        .transport = options(pair.target_tls),
    };
    if (gw_incoming_start(&pair_incoming, &config, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
    (void)snprintf(pair.target_uri, sizeof(pair.target_uri), "%s",
                   gw_incoming_address(&pair_incoming));
}

void pair_open(void)
{
    pair = (struct pair){.runs_on_source = true, .idle_ns_max = 5 * GW_NS_PER_S};
    (void)snprintf(directory, sizeof(directory), "/tmp/godwit-drive-XXXXXX");
    assert_non_null(mkdtemp(directory));
    struct gw_ram *rams[] = {&pair.source_ram, &pair.target_ram};
    for (int i = 0; i < 2; i++) {
        gw_ram_init(rams[i]);
        uint64_t bytes = (uint64_t)PAIR_PAGES * rams[i]->page_bytes;
        assert_int_equal(gw_ram_add_memfd(rams[i], UINT64_C(1) << 30, bytes, NULL), GW_OK);
    }
    for (uint64_t page = 1; page < PAIR_PAGES; page += 5) {
        uint8_t *bytes = gw_ram_page(&pair.source_ram, page);
        for (uint32_t i = 0; i < pair.source_ram.page_bytes; i++) { /* no value over and over */
            bytes[i] = (uint8_t)(page + 64 + i % 251);
        }
    }
    listen_as_target();
}

void pair_close(void)
{
    gw_outgoing_stop(&pair_outgoing);
    gw_incoming_stop(&pair_incoming);
    gw_ram_close(&pair.source_ram);
    gw_ram_close(&pair.target_ram);
    char path[80];
    static const char *const names[] = {"target", "between"};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(directory), 0);
}

static uint64_t touched_pages(void)
{
    uint64_t pages = 0, count = 0;
    for (uint64_t page = 0; page < PAIR_PAGES; page += count) {
        page = gw_ram_next_data(&pair.source_ram, page, PAIR_PAGES, &count);
        pages += count;
        count += count == 0;
    }
    return pages;
}

void pair_share(void)
{
    uint64_t bytes = (uint64_t)PAIR_PAGES * pair.source_ram.page_bytes;
    gw_incoming_stop(&pair_incoming);
    gw_ram_close(&pair.target_ram);
    assert_int_equal(gw_ram_add_shared(&pair.target_ram, UINT64_C(1) << 30, bytes,
                                       dup(pair.source_ram.region[0].fd), NULL),
                     GW_OK);
    pair.is_shared = true;
    first_touched = touched_pages();
    listen_as_target();
}

void pair_restart_target(void)
{
    gw_incoming_stop(&pair_incoming);
    if (pair.is_shared) {
        assert_int_equal(gw_ram_discard(&pair.source_ram, MARK, 1, NULL), GW_OK);
    }
    pair.runs_on_source = true;
    pair.runs_on_target = false;
    pair.taken = 0;
    listen_as_target();
}

void pair_migrate(const char *uri)
{
    struct gw_fault fault = {.status = GW_OK};
    static uint8_t number;
    static struct gw_session last;
    struct gw_outgoing_config config = {
        .source = {.session = {.id = {1, ++number, (uint8_t)getpid()}},
                   .withdrawn = last,
                   .guest_name = "pair",
                   .facts = &facts,
                   .downtime_ns_max = 300 * GW_NS_PER_MS,
                   .resume_ns_max = pair.resume_ns_max,
                   .channel_count = pair.channel_count,
                   .is_postcopy = pair.is_postcopy,
                   .recover_ns_max = pair.recover_ns_max,
                   .postcopy_bandwidth_max = pair.postcopy_bandwidth_max,
                   .is_verifying = !pair.is_postcopy && !pair.is_shared,
                   .is_ram_shared = pair.is_shared},
        .uri = uri,
        .ram = &pair.source_ram,
        .tracker = pair.is_shared ? NULL : &tracker,
        .transport = options(pair.source_tls),
    };
    last = config.source.session;
    pair.is_over = false;
    if (gw_outgoing_start(&pair_outgoing, &config, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
}

/* ---- The loop ---- */

static void do_source_action(const struct gw_source_action *action)
{
    switch (action->type) {
    case GW_SOURCE_DO_RECORD:
        gw_outgoing_recorded(&pair_outgoing, NULL);
        break;
    case GW_SOURCE_DO_STOP:
        pair.runs_on_source = false;
        gw_outgoing_stopped(&pair_outgoing, gw_clock_now_ns(), pair_state, PAIR_STATE_BYTES, true);
        break;
    case GW_SOURCE_DO_RESUME:
        assert_true(!pair.is_shared || touched_pages() == first_touched);
        pair.runs_on_source = true;
        break;
    case GW_SOURCE_DO_FINISH:
        pair.is_over = true;
        break;
    default:
        break;
    }
}

static void do_target_action(const struct gw_target_action *action)
{
    uint32_t count = 0;
    switch (action->type) {
    case GW_TARGET_DO_RECORD:
        gw_incoming_recorded(&pair_incoming, NULL);
        break;
    case GW_TARGET_DO_LOAD:
        assert_memory_equal(gw_incoming_get_state(&pair_incoming, &count), pair_state,
                            PAIR_STATE_BYTES);
        assert_int_equal(count, PAIR_STATE_BYTES);
        gw_incoming_loaded(&pair_incoming);
        break;
    case GW_TARGET_DO_RUN:
        assert_false(pair.runs_on_source); /* one history */
        if (pair.is_shared) {
            assert_int_equal(touched_pages(), first_touched); /* nobody was here before it */
            *gw_ram_page(&pair.target_ram, MARK) = 1;
        }
        pair.runs_on_target = true;
        pair.taken++;
        gw_incoming_running(&pair_incoming);
        break;
    default:
        break;
    }
}

void pair_step(void)
{
    struct pollfd wait[18] = {{.fd = gw_incoming_fd(&pair_incoming), .events = POLLIN}};
    nfds_t count = 1;
    if (pair_outgoing.is_started) {
        wait[count++] = (struct pollfd){.fd = gw_outgoing_fd(&pair_outgoing), .events = POLLIN};
    }
    if (pair.fill != NULL) {
        count += (nfds_t)pair.fill(&wait[count]);
    }
    if (poll(wait, count, 20000) <= 0) {
        fail_msg("nothing happened for 20 s: source %s, target %s",
                 gw_source_state_name(gw_outgoing_state(&pair_outgoing)),
                 gw_target_state_name(gw_incoming_state(&pair_incoming)));
    }
    struct gw_source_action source;
    struct gw_target_action target;
    gw_outgoing_work(&pair_outgoing);
    while (gw_outgoing_next(&pair_outgoing, &source) == GW_OK) {
        do_source_action(&source);
    }
    gw_incoming_work(&pair_incoming);
    while (gw_incoming_next(&pair_incoming, &target) == GW_OK) {
        do_target_action(&target);
    }
    if (pair.serve != NULL) {
        pair.serve();
    }
}

enum gw_source_state pair_finish(void)
{
    while (!pair.is_over) {
        pair_step();
    }
    gw_outgoing_stop(&pair_outgoing);
    return gw_outgoing_state(&pair_outgoing);
}

void pair_check(enum gw_source_state ended)
{
    bool is_there = ended == GW_SOURCE_COMPLETED;
    assert_int_equal(pair.runs_on_source, !is_there);
    assert_int_equal(pair.runs_on_target, is_there);
    assert_int_equal(pair.taken, is_there ? 1 : 0);
    if (is_there && !pair.is_shared) { /* to look at a hole would fill it */
        assert_memory_equal(gw_ram_page(&pair.source_ram, 0), gw_ram_page(&pair.target_ram, 0),
                            (size_t)PAIR_PAGES * pair.source_ram.page_bytes);
    }
}

/* ---- Plain sockets ---- */

static struct sockaddr_un address_of(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", directory, name);
    return address;
}

int pair_connect(void)
{
    struct sockaddr_un address = address_of("target");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

int pair_listen(char uri[GW_URI_TEXT_BYTES], const char *name)
{
    struct sockaddr_un address = address_of(name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    (void)snprintf(uri, GW_URI_TEXT_BYTES, "unix:%s", address.sun_path);
    return fd;
}
