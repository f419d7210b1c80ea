/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS records, by what a stranger sends to a target, by what one answers to a source, and by what
 * happens between a source and a target that have the same key: the way delivers in pieces of any
 * size, flips bits, and breaks. Whatever it does, a stranger's bytes never arrive as data, a source
 * never believes one, and its own bytes arrive as they are or not at all; when nothing is done to
 * them, all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "godwit/tls.h"
#include "godwit/transport.h"

enum { DATA_BYTES = 40000 }; /* two records and a part */
#define LIMIT_NS UINT64_C(5000000000)

static struct gw_tls_identity source_key, target_key;
static struct gw_listener target_listener, way_listener; /* the way stands between them */
static uint8_t data[DATA_BYTES];

static void require(enum gw_status status, const struct gw_fault *fault)
{
    if (status != GW_OK) {
        (void)fprintf(stderr, "fuzz: %s\n", fault->text);
        abort();
    }
}

static struct gw_transport_options options_of(const struct gw_tls_identity *identity)
{
    struct gw_transport_options options = gw_transport_defaults;
    options.tls = identity;
    options.connect_ns_max = options.idle_ns_max = LIMIT_NS;
    return options;
}

static void open_key(struct gw_tls_identity *identity, const char *folder)
{
    char spec[GW_TLS_SPEC_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    (void)snprintf(spec, sizeof(spec), "psk:%s/key", folder);
    require(gw_tls_open(identity, spec, NULL, &fault), &fault);
}

static void listen_at(struct gw_listener *listener, const char *folder, const char *name,
                      const struct gw_tls_identity *identity)
{
    struct gw_uri uri = {.scheme = GW_URI_UNIX};
    struct gw_fault fault = {.status = GW_OK};
    struct gw_transport_options options = options_of(identity);
    (void)snprintf(uri.path, sizeof(uri.path), "%s/%s", folder, name);
    require(gw_listener_open(listener, &uri, &options, &fault), &fault);
}

static void prepare(void)
{
    static char folder[] = "/tmp/godwit-fuzz-XXXXXX";
    char path[64], name[GW_TLS_NAME_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    if (target_listener.operations != NULL) {
        return;
    }
    if (mkdtemp(folder) == NULL) {
        abort();
    }
    (void)snprintf(path, sizeof(path), "%s/key", folder);
    require(gw_tls_make_key(path, name, &fault), &fault);
    open_key(&source_key, folder);
    open_key(&target_key, folder);
    (void)unlink(path);
    listen_at(&target_listener, folder, "target", &target_key);
    listen_at(&way_listener, folder, "way", NULL);
    for (uint32_t i = 0; i < DATA_BYTES; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
}

/* ---- The three ---- */

struct run {
    const uint8_t *op, *end; /* what the way does, from the input */
    bool is_harmed, is_broken;
    bool is_believed; /* the source's hands were shaken */
    struct gw_connection server;
    bool is_over; /* the server's end */
    size_t received;
};

static void *be_source(void *argument)
{
    struct run *run = argument;
    struct gw_connection client;
    struct gw_fault fault = {.status = GW_OK};
    struct gw_uri uri = way_listener.uri;
    struct gw_transport_options options = options_of(&source_key);
    memset(&client, 0, sizeof(client));
    require(gw_connection_open(&client, &fault), &fault);
    enum gw_status status = gw_connection_connect(&client, &uri, &options, &fault);
    run->is_believed = status == GW_OK;
    GW_ASSERT(status == GW_OK || fault.text[0] != '\0');
    if (status == GW_OK) {
        struct iovec part = {data, DATA_BYTES};
        status = gw_connection_write_all(&client, &part, 1, &fault);
    }
    if (status == GW_OK) {
        (void)!gw_connection_shut(&client);
    }
    gw_connection_close(&client);
    return NULL;
}

/* Nobody waits for ever. (libFuzzer has a clock of its own, which interrupts.) */
static void wait_for(struct pollfd *wait, nfds_t count)
{
    int ready = poll(wait, count, 20000);
    while (ready < 0 && errno == EINTR) {
        ready = poll(wait, count, 20000);
    }
    GW_ASSERT(ready > 0);
}

static int accept_one(const struct gw_listener *listener)
{
    struct pollfd wait = {.fd = listener->fd, .events = POLLIN};
    wait_for(&wait, 1);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    GW_ASSERT(fd >= 0);
    return fd;
}

/* Connects to the target as anybody could; its side is run->server. */
static int reach_target(struct run *run)
{
    static struct gw_connection plain;
    struct gw_fault fault = {.status = GW_OK};
    struct gw_uri uri = target_listener.uri;
    struct gw_transport_options options = options_of(NULL);
    require(gw_connection_open(&plain, &fault), &fault);
    require(gw_connection_connect(&plain, &uri, &options, &fault), &fault);
    int fd = fcntl(gw_connection_fd(&plain), F_DUPFD_CLOEXEC, 0);
    gw_connection_close(&plain);
    require(gw_connection_open(&run->server, &fault), &fault);
    require(gw_listener_accept(&target_listener, &run->server, &fault), &fault);
    return fd;
}

/* The target takes what is there. */
static void serve(struct run *run)
{
    static uint8_t bytes[DATA_BYTES];
    while (!run->is_over) {
        struct iovec part = {bytes, sizeof(bytes)};
        struct gw_fault fault = {.status = GW_OK};
        size_t count = 0;
        enum gw_status status = gw_connection_read(&run->server, &part, 1, &count, &fault);
        if (status == GW_AGAIN) {
            return;
        }
        if (status == GW_OK) {
            GW_ASSERT(count > 0 && run->received + count <= DATA_BYTES);
            GW_ASSERT(memcmp(bytes, data + run->received, count) == 0);
            run->received += count;
            continue;
        }
        GW_ASSERT(fault.status == status && fault.text[0] != '\0');
        (void)!gw_connection_shut(&run->server);
        gw_connection_close(&run->server);
        run->is_over = true;
    }
}

/* ---- The way ---- */

static uint8_t next(struct run *run)
{
    return run->op < run->end ? *run->op++ : 0;
}

/* Passes some bytes on; false when that way is at its end. */
static bool pass(struct run *run, int from, int to)
{
    static const uint16_t sizes[] = {1, 2, 4, 5, 6, 37, 300, 16401};
    uint8_t bytes[16401];
    uint8_t op = run->op < run->end ? next(run) : 7;
    ssize_t count = recv(from, bytes, sizes[op & 7], MSG_DONTWAIT);
    if (count <= 0) {
        (void)shutdown(to, SHUT_WR);
        return false;
    }
    if (op >> 3 == 30) {
        bytes[next(run) % count] ^= (uint8_t)(1 << (next(run) & 7));
        run->is_harmed = true;
    } else if (op >> 3 == 31) {
        run->is_harmed = run->is_broken = true;
        return false;
    }
    (void)!send(to, bytes, (size_t)count, MSG_NOSIGNAL);
    return true;
}

static void carry(struct run *run, int near, int far)
{
    bool is_near_open = true, is_far_open = true;
    while (!run->is_over || is_near_open) {
        struct pollfd wait[] = {
            {.fd = is_near_open ? near : -1, .events = POLLIN},
            {.fd = is_far_open ? far : -1, .events = POLLIN},
            {.fd = run->is_over ? -1 : gw_connection_fd(&run->server), .events = POLLIN},
        };
        wait_for(wait, 3);
        if (wait[1].revents != 0) {
            is_far_open = pass(run, far, near);
        }
        if (wait[0].revents != 0) {
            is_near_open = pass(run, near, far);
        }
        if (run->is_broken) {
            (void)shutdown(near, SHUT_RDWR);
            (void)shutdown(far, SHUT_RDWR);
            is_near_open = is_far_open = false;
        }
        serve(run);
    }
}

static void run_way(struct run *run)
{
    pthread_t source;
    GW_ASSERT(pthread_create(&source, NULL, be_source, run) == 0);
    int near = accept_one(&way_listener);
    int far = reach_target(run);
    carry(run, near, far);
    (void)close(near);
    (void)close(far);
    GW_ASSERT(pthread_join(source, NULL) == 0);
    GW_ASSERT(run->is_harmed || run->received == DATA_BYTES);
}

static void run_stranger(struct run *run)
{
    int fd = reach_target(run);
    while (run->op < run->end && !run->is_over) {
        size_t count = 1 + (size_t)next(run);
        size_t left = (size_t)(run->end - run->op);
        count = count < left ? count : left;
        (void)!send(fd, run->op, count, MSG_NOSIGNAL);
        run->op += count;
        serve(run);
    }
    (void)shutdown(fd, SHUT_WR);
    serve(run);
    GW_ASSERT(run->is_over && run->received == 0);
    (void)close(fd);
}

enum { HELLO_SESSION = 43 }; /* RFC 8446, 4.1.2 and 4.1.3: its length, in either one's record */

/* What is sent is said to be of the session that the source began, as it must be. */
static void echo_session(int fd, uint8_t *bytes, size_t count)
{
    uint8_t hello[HELLO_SESSION + 33] = {0};
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    wait_for(&wait, 1);
    (void)!recv(fd, hello, sizeof(hello), MSG_WAITALL);
    if (count >= sizeof(hello) && bytes[HELLO_SESSION] == 32 && hello[HELLO_SESSION] == 32) {
        memcpy(bytes + HELLO_SESSION, hello + HELLO_SESSION, 33);
    }
}

/* A target that is none: it says what the input says, in pieces of one size, and the end. */
static void run_false_target(struct run *run)
{
    pthread_t source;
    static uint8_t said[4096];
    size_t piece = 1 + (size_t)next(run);
    size_t count = (size_t)(run->end - run->op);
    count = count < sizeof(said) ? count : sizeof(said);
    memcpy(said, run->op, count);
    GW_ASSERT(pthread_create(&source, NULL, be_source, run) == 0);
    int fd = accept_one(&way_listener);
    echo_session(fd, said, count);
    for (size_t at = 0; at < count; at += piece) {
        (void)!send(fd, said + at, count - at < piece ? count - at : piece, MSG_NOSIGNAL);
    }
    (void)shutdown(fd, SHUT_WR);
    GW_ASSERT(pthread_join(source, NULL) == 0);
    GW_ASSERT(!run->is_believed);
    (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static struct run run;
    prepare();
    if (count == 0) {
        return 0;
    }
    memset(&run, 0, sizeof(run));
    run.op = bytes + 1;
    run.end = bytes + count;
    static void (*const ways[])(struct run *) = {run_way, run_stranger, run_way, run_false_target};
    ways[bytes[0] % 4](&run);
    struct gw_tls_use use;
    gw_tls_get_use(&use);
    GW_ASSERT(use.sessions == 0 && use.session_used == 0 && use.failed == 0);
    return 0;
}

void fuzz_make_seeds(void)
{
    /* Whole; byte by byte; a bit flipped in the first, and in a later record; a break. */
    static const uint8_t seeds[][8] = {
        {0, 7, 7, 7, 7},
        {0, 0, 0, 0, 0, 0, 0, 0},
        {0, 30 << 3 | 7, 9, 1},
        {0, 7, 7, 7, 30 << 3 | 7, 200, 3},
        {0, 7, 7, 31 << 3},
        {
            1,
            6,
            22,
            3,
            1,
            0,
            2,
            1,
        },
    };
    /* How a ClientHello begins: for strangers. */
    static const uint8_t hello[] = {1, 255, 0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3,    1, 2, 3, 4, 5,
                                    6, 7,   8,    9, 1, 2, 3,  4, 5, 6, 7,  8, 9,    1, 2, 3, 4, 5,
                                    6, 7,   8,    9, 1, 2, 3,  4, 5, 0, 0,  2, 0x13, 1, 1, 0, 0, 0};
    /* And a ServerHello: up to its session; from the cipher on, with the first key, and P-256's
     * base point for a share. A record of what should be sealed follows. */
    static const uint8_t answer[] = {3,  255, 22, 3,  3,  0,  161, 2,  0,  0,  157, 3,
                                     3,  1,   2,  3,  4,  5,  6,   7,  8,  9,  10,  11,
                                     12, 13,  14, 15, 16, 17, 18,  19, 20, 21, 22,  23,
                                     24, 25,  26, 27, 28, 29, 30,  31, 32, 32};
    static const uint8_t choice[] = {
        19,  1,   0,   0,   85, 0,   43,  0,   2,   3,   4,   0,   41,  0,   2,   0,   0,   0,
        51,  0,   69,  0,   23, 0,   65,  4,   107, 23,  209, 242, 225, 44,  66,  71,  248, 188,
        230, 229, 99,  164, 64, 242, 119, 3,   125, 129, 45,  235, 51,  160, 244, 161, 57,  69,
        216, 152, 194, 150, 79, 227, 66,  226, 254, 26,  127, 155, 142, 231, 235, 74,  124, 15,
        158, 22,  43,  206, 51, 87,  107, 49,  94,  206, 203, 182, 64,  104, 55,  191, 81,  245};
    static const uint8_t sealed[] = {0x17, 3, 3, 0, 20};
    static uint8_t whole[sizeof(answer) + 32 + sizeof(choice) + sizeof(sealed) + 20];
    memcpy(whole, answer, sizeof(answer));
    memcpy(whole + sizeof(answer) + 32, choice, sizeof(choice));
    memcpy(whole + sizeof(answer) + 32 + sizeof(choice), sealed, sizeof(sealed));
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        fuzz_seed(seeds[i], sizeof(seeds[i]));
    }
    fuzz_seed(hello, sizeof(hello));
    fuzz_seed(whole, sizeof(whole));
}
