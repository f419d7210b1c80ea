/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare limit: as many TCP connections on loopback, each with a thread on either side that
 * writes, and reads, its stretches of the memory in pieces of 256 KiB, in blocking calls. No
 * headers, acknowledgements or scan for zeros, and unless asked for no sums: what comes back when
 * the last byte is there is then 0.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "godwit/crc32c.h"
#include "godwit/thread.h"
#include "transfer.h"

static struct gw_ram ram;
static const struct transfer *transfer;

struct lane {
    pthread_t thread;
    int fd;
    uint32_t number;
};

static struct lane lanes[CHANNELS_MAX];

static int make_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "bare: socket");
    return fd;
}

static void set_nodelay(int fd)
{
    const int yes = 1;
    must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) == 0, "bare: TCP_NODELAY");
}

/* One piece, all of it. */
static void carry_piece(const struct lane *lane, uint8_t *piece, bool is_sending)
{
    for (size_t done = 0; done < PIECE_BYTES;) {
        size_t left = PIECE_BYTES - done;
        ssize_t count = is_sending ? send(lane->fd, piece + done, left, MSG_NOSIGNAL)
                                   : recv(lane->fd, piece + done, left, 0);
        must(count > 0, is_sending ? "bare: send" : "bare: recv");
        done += (size_t)count;
    }
}

/* A connection's stretches, one after the other, in pieces. */
static void *carry(struct lane *lane, bool is_sending)
{
    gw_thread_set_part(GW_THREAD_BULK); /* as godwit's channels */
    uint32_t sum = 0;
    uint32_t theirs = 0;
    uint64_t step = GW_STRETCH_BYTES * transfer->channels;
    for (uint64_t at = lane->number * GW_STRETCH_BYTES; at < transfer->bytes; at += step) {
        for (uint64_t here = at; here < at + GW_STRETCH_BYTES; here += PIECE_BYTES) {
            uint8_t *piece = ram.region[0].base + here;
            if (transfer->is_summed && is_sending) {
                sum = gw_crc32c(sum, piece, PIECE_BYTES);
            }
            carry_piece(lane, piece, is_sending);
            if (transfer->is_summed && !is_sending) {
                sum = gw_crc32c(sum, piece, PIECE_BYTES);
            }
        }
    }
    if (is_sending) {
        must(recv(lane->fd, &theirs, sizeof(theirs), MSG_WAITALL) == (ssize_t)sizeof(theirs) &&
                 theirs == sum,
             "bare: the sum that came back");
    } else {
        must(send(lane->fd, &sum, sizeof(sum), MSG_NOSIGNAL) == (ssize_t)sizeof(sum),
             "bare: sending the sum back");
    }
    return NULL;
}

static void *send_lane(void *lane)
{
    return carry(lane, true);
}

static void *receive_lane(void *lane)
{
    return carry(lane, false);
}

static void run_lanes(void *(*job)(void *))
{
    for (uint32_t i = 0; i < transfer->channels; i++) {
        lanes[i].number = i;
        must(pthread_create(&lanes[i].thread, NULL, job, &lanes[i]) == 0, "bare: thread");
    }
    for (uint32_t i = 0; i < transfer->channels; i++) {
        (void)pthread_join(lanes[i].thread, NULL);
    }
}

int bare_source(const struct transfer *wanted, int hear)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    transfer = wanted;
    open_memory(&ram, wanted, true);
    must(inet_pton(AF_INET, wanted->host, &address.sin_addr) == 1, "bare: host");
    must(read(hear, &address.sin_port, sizeof(address.sin_port)) ==
             (ssize_t)sizeof(address.sin_port),
         "bare: the target's port");
    uint64_t cpu_start_ns = cpu_ns();
    uint64_t start_ns = gw_clock_now_ns();
    for (uint32_t i = 0; i < wanted->channels; i++) {
        lanes[i].fd = make_socket();
        must(connect(lanes[i].fd, (const struct sockaddr *)&address, sizeof(address)) == 0,
             "bare: connect");
        set_nodelay(lanes[i].fd);
    }
    run_lanes(send_lane);
    print_figure("total_ns", gw_clock_now_ns() - start_ns);
    print_figure("source_cpu_ns", cpu_ns() - cpu_start_ns);
    return 0;
}

int bare_target(const struct transfer *wanted, int tell)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    transfer = wanted;
    open_memory(&ram, wanted, false);
    int listener = make_socket();
    must(bind(listener, (struct sockaddr *)&address, size) == 0 &&
             listen(listener, CHANNELS_MAX) == 0 &&
             getsockname(listener, (struct sockaddr *)&address, &size) == 0,
         "bare: listen");
    must(write(tell, &address.sin_port, sizeof(address.sin_port)) ==
             (ssize_t)sizeof(address.sin_port),
         "bare: telling the port");
    uint64_t cpu_start_ns = cpu_ns();
    for (uint32_t i = 0; i < wanted->channels; i++) {
        lanes[i].fd = accept(listener, NULL, NULL);
        must(lanes[i].fd >= 0, "bare: accept");
        set_nodelay(lanes[i].fd);
    }
    run_lanes(receive_lane);
    print_figure("target_cpu_ns", cpu_ns() - cpu_start_ns);
    return 0;
}
