/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready SOCKET COMMAND...: starts a monitor and prints how many microseconds pass until it has
 * answered query-status on its control socket (QMP: docs/interop/qmp-spec.rst of QEMU), then ends
 * it.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GIVE_UP_S = 60, TRY_AGAIN_NS = 500000 };

static long long now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* -1: nobody listens yet. */
static int try_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Reads until a line holds the text. */
static bool await(int fd, const char *text)
{
    static char bytes[65536];
    size_t count = 0;
    while (count < sizeof(bytes) - 1) {
        ssize_t got = read(fd, bytes + count, sizeof(bytes) - 1 - count);
        if (got <= 0) {
            return false;
        }
        count += (size_t)got;
        bytes[count] = '\0';
        if (strstr(bytes, text) != NULL && bytes[count - 1] == '\n') {
            return true;
        }
    }
    return false;
}

static bool ask(int fd, const char *command, const char *answer)
{
    return write(fd, command, strlen(command)) == (ssize_t)strlen(command) && await(fd, answer);
}

static bool is_ready(int fd)
{
    return await(fd, "\"QMP\"") && ask(fd, "{\"execute\":\"qmp_capabilities\"}\n", "\"return\"") &&
           ask(fd, "{\"execute\":\"query-status\"}\n", "\"status\"");
}

int main(int count, char **words)
{
    if (count < 3) {
        (void)fprintf(stderr, "usage: ready SOCKET COMMAND...\n");
        return 2;
    }
    (void)alarm(GIVE_UP_S);
    long long start_us = now_us();
    pid_t monitor = fork();
    if (monitor == 0) {
        (void)execvp(words[2], words + 2);
        perror(words[2]);
        _exit(127);
    }
    int fd = -1;
    while ((fd = try_connect(words[1])) < 0 && waitpid(monitor, NULL, WNOHANG) == 0) {
        (void)nanosleep(&(struct timespec){.tv_nsec = TRY_AGAIN_NS}, NULL);
    }
    bool was_ready = fd >= 0 && is_ready(fd);
    long long end_us = now_us();
    (void)kill(monitor, SIGKILL);
    (void)waitpid(monitor, NULL, 0);
    if (!was_ready) {
        (void)fprintf(stderr, "ready: %s did not answer\n", words[2]);
        return 1;
    }
    printf("%lld\n", end_us - start_us);
    return 0;
}
