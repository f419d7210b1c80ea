/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare MB: the least that moving memory can be: so much of it, written before, goes through one TCP
 * connection on loopback from one process into fresh memory of another, and a byte comes back.
 * Prints how many microseconds that took, connection included.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GIVE_UP_S = 120, PIECE = 256 * 1024, MB_MAX = 1024 };

static long long now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static uint8_t *make_memory(size_t bytes)
{
    int fd = memfd_create("bare", MFD_CLOEXEC);
    void *memory = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        perror("bare: memory");
        exit(1);
    }
    return memory;
}

static bool receive(int listener, uint8_t *memory, size_t bytes)
{
    int fd = accept(listener, NULL, NULL);
    for (size_t at = 0; at < bytes;) {
        size_t rest = bytes - at < PIECE ? bytes - at : PIECE;
        ssize_t got = read(fd, memory + at, rest);
        if (got <= 0) {
            return false;
        }
        at += (size_t)got;
    }
    return write(fd, "", 1) == 1;
}

static bool send_all(const struct sockaddr_in *address, const uint8_t *memory, size_t bytes)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint8_t answer;
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        return false;
    }
    for (size_t at = 0; at < bytes;) {
        size_t rest = bytes - at < PIECE ? bytes - at : PIECE;
        ssize_t put = write(fd, memory + at, rest);
        if (put <= 0) {
            return false;
        }
        at += (size_t)put;
    }
    return read(fd, &answer, 1) == 1;
}

int main(int count, char **words)
{
    long megabytes = count == 2 ? strtol(words[1], NULL, 10) : 0;
    if (megabytes < 1 || megabytes > MB_MAX) {
        (void)fprintf(stderr, "usage: bare MB (1 to %d)\n", MB_MAX);
        return 2;
    }
    (void)alarm(GIVE_UP_S);
    size_t bytes = (size_t)megabytes * 1000 * 1000;
    uint8_t *memory = make_memory(bytes);
    for (size_t at = 0; at < bytes; at++) {
        memory[at] = (uint8_t)(at ^ at >> 12);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("bare: socket");
        return 1;
    }
    pid_t target = fork();
    if (target == 0) {
        _exit(receive(listener, make_memory(bytes), bytes) ? 0 : 1);
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
