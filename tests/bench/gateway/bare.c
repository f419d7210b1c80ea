/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare MB [staged]: the least that moving memory with care can be: so much of it, written before,
 * goes through one TCP connection on loopback from one process into fresh memory of another, in
 * pieces, each summed (CRC32C) before it is sent and where it arrived; the sum comes back and is
 * compared. The fresh memory is made in huge pages where the kernel gives them. staged: each piece
 * is summed aside, and placed with UFFDIO_COPY, as memory of a guest that runs already has to be.
 * Neither process takes the CPU from the other when it is woken (SCHED_BATCH): that is quicker.
 * Prints how many microseconds that took, connection included.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "godwit/crc32c.h"
#include "godwit/ioctl.h"
#include "godwit/ram.h"
#include "godwit/thread.h"

enum { GIVE_UP_S = 120, PIECE = 256 * 1024, MB_MAX = 1024 };

static uint8_t aside[PIECE];
static struct gw_ram ram; /* this process's: the target makes its own */

static long long now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint8_t *make_memory(size_t bytes)
{
    struct gw_fault fault = {.status = GW_OK};
    gw_ram_init(&ram);
    if (gw_ram_add_memfd(&ram, 0, bytes, &fault) != GW_OK) {
        (void)fprintf(stderr, "bare: %s\n", fault.text);
        exit(1);
    }
    return gw_ram_page(&ram, 0);
}

/* A userfaultfd that all of the memory is registered with. */
static int open_uffd(uint8_t *memory, size_t bytes)
{
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)memory, .len = bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (fd < 0 || gw_ioctl(fd, UFFDIO_API, &api) != 0 ||
        gw_ioctl(fd, UFFDIO_REGISTER, &request) != 0) {
        fail("bare: userfaultfd");
    }
    return fd;
}

static void place(int uffd, uint8_t *to, size_t bytes)
{
    struct uffdio_copy copy = {
        .dst = (uintptr_t)to, .src = (uintptr_t)aside, .len = bytes, .mode = 0};
    if (gw_ioctl(uffd, UFFDIO_COPY, &copy) != 0) {
        fail("bare: UFFDIO_COPY");
    }
}

static size_t piece_at(size_t at, size_t bytes)
{
    return bytes - at < PIECE ? bytes - at : PIECE;
}

/* A huge page, or pages at one go. */
static void make_pages(size_t at, size_t bytes)
{
    uint64_t page = at / ram.page_bytes;
    if (bytes < GW_HUGE_PAGE_BYTES || gw_ram_make_huge(&ram, page) != GW_RAM_HUGE_MADE) {
        gw_ram_populate(&ram, page, bytes / ram.page_bytes);
    }
}

static bool receive(int listener, size_t bytes, bool is_staged)
{
    uint8_t *memory = make_memory(bytes);
    int fd = accept(listener, NULL, NULL);
    int uffd = is_staged ? open_uffd(memory, bytes) : -1;
    uint32_t sum = 0;
    for (size_t at = 0; at < bytes; at += piece_at(at, bytes)) {
        size_t piece = piece_at(at, bytes);
        uint8_t *to = is_staged ? aside : memory + at;
        if (!is_staged && at % GW_HUGE_PAGE_BYTES == 0) {
            make_pages(at, bytes - at < GW_HUGE_PAGE_BYTES ? bytes - at : GW_HUGE_PAGE_BYTES);
        }
        for (size_t here = 0; here < piece;) {
            ssize_t got = read(fd, to + here, piece - here);
            if (got <= 0) {
                return false;
            }
            here += (size_t)got;
        }
        sum = gw_crc32c(sum, to, piece);
        if (is_staged) {
            place(uffd, memory + at, piece);
        }
    }
    return write(fd, &sum, sizeof(sum)) == sizeof(sum);
}

static bool send_all(const struct sockaddr_in *address, const uint8_t *memory, size_t bytes)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        return false;
    }
    uint32_t sum = 0;
    for (size_t at = 0; at < bytes; at += piece_at(at, bytes)) {
        size_t piece = piece_at(at, bytes);
        sum = gw_crc32c(sum, memory + at, piece);
        for (size_t here = 0; here < piece;) {
            ssize_t put = write(fd, memory + at + here, piece - here);
            if (put <= 0) {
                return false;
            }
            here += (size_t)put;
        }
    }
    uint32_t theirs;
    return read(fd, &theirs, sizeof(theirs)) == sizeof(theirs) && theirs == sum;
}

int main(int count, char **words)
{
    bool is_staged = count == 3 && strcmp(words[2], "staged") == 0;
    long megabytes = count == 2 || is_staged ? strtol(words[1], NULL, 10) : 0;
    if (megabytes < 1 || megabytes > MB_MAX) {
        (void)fprintf(stderr, "usage: bare MB [staged] (1 to %d)\n", MB_MAX);
        return 2;
    }
    (void)alarm(GIVE_UP_S);
    gw_thread_set_part(GW_THREAD_BULK);
    size_t bytes = (size_t)megabytes * 1000 * 1000 / PIECE * PIECE; /* whole pages, at least */
    uint8_t *memory = make_memory(bytes);
    for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t word = at * UINT64_C(0x9e3779b97f4a7c15);
        memcpy(memory + at, &word, sizeof(word));
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        fail("bare: socket");
    }
    pid_t target = fork();
    if (target == 0) {
        _exit(receive(listener, bytes, is_staged) ? 0 : 1);
    }
    long long start_us = now_us();
    bool was_sent = target > 0 && send_all(&address, memory, bytes);
    long long end_us = now_us();
    int status = 1;
    (void)waitpid(target, &status, 0);
    if (!was_sent || status != 0) {
        (void)fprintf(stderr, "bare: the bytes did not arrive\n");
        return 1;
    }
    printf("%lld\n", end_us - start_us);
    return 0;
}
