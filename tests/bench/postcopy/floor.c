/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: the least that moves a page that somebody waits for from one process to another. One
 * thread reads userfaultfd, sends the page's number, reads the page from the same socket, places
 * it with UFFDIO_COPY; one on the other side answers. Beside it, where the case has a load, bulk
 * sockets carry all of RAM at the same time, each its stretches, in godwit's pieces: read, and
 * placed with UFFDIO_COPY. No headers, sums, acknowledgements or locks; nobody looks what was sent
 * already.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "godwit/ioctl.h"
#include "godwit/thread.h"
#include "godwit/uffd.h"
#include "guest.h"
#include "postcopy.h"
#include "probe.h"

enum { PIECE_BYTES = (int)GW_BATCH_BYTES_MAX, PAGE_BYTES_MAX = 65536 };

static uint8_t *ram;
static uint64_t ram_bytes;
static uint32_t page_bytes;
static int urgent; /* the socket of pages that somebody waits for */

/* Any failure ends the bench: it is no use then. */
static void must(bool is_right, const char *what)
{
    if (!is_right) {
        perror(what);
        exit(1);
    }
}

/* False at the end of the stream. */
static bool read_all(int fd, void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t got = read(fd, (uint8_t *)bytes + done, count - done);
        if (got <= 0) {
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

static void write_all(int fd, const void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t sent = send(fd, (const uint8_t *)bytes + done, count - done, MSG_NOSIGNAL);
        must(sent > 0, "floor: send");
        done += (size_t)sent;
    }
}

static int make_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "floor: socket");
    return fd;
}

static void set_nodelay(int fd)
{
    const int yes = 1;
    must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) == 0, "floor: TCP_NODELAY");
}

static void open_memory(bool is_source)
{
    must(open_guest(is_source), "floor: guest");
    ram = guest_ram()->region[0].base;
    ram_bytes = guest_ram()->region[0].bytes;
    page_bytes = guest_ram()->page_bytes;
}

/* ---- A bulk channel's share ---- */

struct bulk {
    uint32_t index, count; /* of so many channels */
    int fd;
    uint64_t end_ns; /* the target's: its last page was placed */
    pthread_t thread;
    uint8_t piece[PIECE_BYTES];
};

static struct bulk bulk[GW_BULK_CHANNELS_MAX];

/* The first piece of its share at or behind `at`. */
static uint64_t next_own(const struct bulk *own, uint64_t at)
{
    while (at < ram_bytes && at / GW_STRETCH_BYTES % own->count != own->index) {
        at += PIECE_BYTES;
    }
    return at;
}

static void start_bulk(const struct bench_case *wanted, void *(*job)(void *))
{
    for (uint32_t i = 0; i < wanted->channels && !wanted->is_bulk_capped; i++) {
        bulk[i].index = i;
        bulk[i].count = wanted->channels;
        must(pthread_create(&bulk[i].thread, NULL, job, &bulk[i]) == 0, "floor: thread");
    }
}

/* ---- The source ---- */

static void *push(void *context)
{
    const struct bulk *own = context;
    gw_thread_set_part(GW_THREAD_BULK); /* as godwit's channels */
    for (uint64_t at = next_own(own, 0); at < ram_bytes; at = next_own(own, at + PIECE_BYTES)) {
        write_all(own->fd, ram + at, PIECE_BYTES);
    }
    return NULL;
}

static int connect_to(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = make_socket();
    must(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0, "floor: connect");
    set_nodelay(fd);
    return fd;
}

int floor_source(const struct bench_case *wanted, int hear)
{
    uint16_t port = 0;
    open_memory(true);
    must(read(hear, &port, sizeof(port)) == (ssize_t)sizeof(port), "floor: the target's port");
    urgent = connect_to(port);
    for (uint32_t i = 0; i < wanted->channels; i++) {
        bulk[i].fd = connect_to(port);
    }
    start_bulk(wanted, push);
    uint64_t at = 0;
    while (read_all(urgent, &at, sizeof(at))) {
        write_all(urgent, ram + at, page_bytes);
    }
    return 0; /* the target is done */
}

/* ---- The target ---- */

static int uffd;

static void place(uint64_t at, const uint8_t *bytes, uint64_t count)
{
    for (uint64_t done = 0; done < count;) {
        struct uffdio_copy copy = {
            .dst = (uintptr_t)ram + at + done, .src = (uintptr_t)bytes + done, .len = count - done};
        int result = gw_ioctl(uffd, UFFDIO_COPY, &copy);
        done += copy.copy > 0 ? (uint64_t)copy.copy : 0;
        if (result != 0 && copy.copy <= 0) {
            must(errno == EEXIST || errno == EAGAIN, "floor: UFFDIO_COPY");
            struct uffdio_range there = {.start = copy.dst, .len = page_bytes};
            (void)gw_ioctl(uffd, UFFDIO_WAKE, &there);
            done += errno == EEXIST ? page_bytes : 0;
        }
    }
}

static void *serve_faults(void *context)
{
    static uint8_t page[PAGE_BYTES_MAX];
    struct uffd_msg message;
    (void)context;
    while (read(uffd, &message, sizeof(message)) == (ssize_t)sizeof(message)) {
        uint64_t at = (message.arg.pagefault.address - (uintptr_t)ram) / page_bytes * page_bytes;
        write_all(urgent, &at, sizeof(at));
        must(read_all(urgent, page, page_bytes), "floor: urgent");
        place(at, page, page_bytes);
    }
    return NULL;
}

static void *pull(void *context)
{
    struct bulk *own = context;
    gw_thread_set_part(GW_THREAD_BULK); /* as godwit's channels */
    for (uint64_t at = next_own(own, 0); at < ram_bytes; at = next_own(own, at + PIECE_BYTES)) {
        must(read_all(own->fd, own->piece, PIECE_BYTES), "floor: bulk");
        place(at, own->piece, PIECE_BYTES);
    }
    own->end_ns = gw_clock_now_ns();
    return NULL;
}

static int accept_from(int listener)
{
    int fd = accept(listener, NULL, NULL);
    must(fd >= 0, "floor: accept");
    set_nodelay(fd);
    return fd;
}

static void accept_channels(const struct bench_case *wanted, int tell)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = make_socket();
    must(bind(listener, (struct sockaddr *)&address, size) == 0 &&
             listen(listener, 1 + GW_BULK_CHANNELS_MAX) == 0 &&
             getsockname(listener, (struct sockaddr *)&address, &size) == 0,
         "floor: listen");
    uint16_t port = ntohs(address.sin_port);
    must(write(tell, &port, sizeof(port)) == (ssize_t)sizeof(port), "floor: telling the port");
    urgent = accept_from(listener);
    for (uint32_t i = 0; i < wanted->channels; i++) {
        bulk[i].fd = accept_from(listener);
    }
}

static void watch_memory(void)
{
    struct gw_uffd opened;
    struct gw_fault fault = {.status = GW_OK};
    must(gw_uffd_open(&opened, UFFD_FEATURE_MISSING_SHMEM, true, &fault) == GW_OK, fault.text);
    uffd = opened.fd;
    must(fcntl(uffd, F_SETFL, 0) == 0, "floor: a blocking userfaultfd");
    struct uffdio_register request = {.range = {.start = (uintptr_t)ram, .len = ram_bytes},
                                      .mode = UFFDIO_REGISTER_MODE_MISSING};
    must(madvise(ram, ram_bytes, MADV_NOHUGEPAGE) == 0, "floor: no huge pages");
    must(gw_ioctl(uffd, UFFDIO_REGISTER, &request) == 0, "floor: UFFDIO_REGISTER");
}

int floor_target(const struct bench_case *wanted, int tell)
{
    static struct probe probe;
    pthread_t server;
    open_memory(false);
    watch_memory();
    accept_channels(wanted, tell);
    uint64_t start_ns = gw_clock_now_ns();
    must(pthread_create(&server, NULL, serve_faults, NULL) == 0, "floor: thread");
    start_bulk(wanted, pull);
    probe = (struct probe){.ram = guest_ram(),
                           .wanted = wanted->probes,
                           .pause_us_max = wanted->probe_pause_us_max,
                           .seed = wanted->seed};
    if (wanted->probes > 0) {
        probe_run(&probe);
    }
    if (!wanted->is_bulk_capped) {
        uint64_t end_ns = 0;
        for (uint32_t i = 0; i < wanted->channels; i++) {
            (void)pthread_join(bulk[i].thread, NULL);
            end_ns = bulk[i].end_ns > end_ns ? bulk[i].end_ns : end_ns;
        }
        print_bulk(ram_bytes, end_ns - start_ns);
    }
    if (wanted->probes > 0) {
        probe_print(&probe);
    }
    return 0;
}
