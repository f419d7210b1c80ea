/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer godwit|bare|rates|write [NAME=VALUE]...: see transfer.h. tests/bench/bench_transfer.py
 * makes figures of what it prints. write: the bytes of such a memory to standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "transfer.h"

enum { GIVE_UP_S = 300 };

void must(bool is_right, const char *what)
{
    if (!is_right) {
        (void)fprintf(stderr, "transfer: %s (%s)\n", what, strerror(errno));
        exit(1);
    }
}

void print_figure(const char *name, uint64_t value)
{
    printf("%s %llu\n", name, (unsigned long long)value);
    (void)fflush(stdout);
}

uint64_t cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- Words of the command ---- */

static bool get_memory(struct transfer *wanted, const char *value)
{
    static const char *const names[] = {"random", "text", "zero", "holes"};
    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            wanted->memory = (enum memory_kind)i;
            return true;
        }
    }
    return false;
}

static bool get_cipher(struct transfer *wanted, const char *value)
{
    wanted->cipher = strcmp(value, "aes") == 0      ? GW_TLS_AES_128_GCM
                     : strcmp(value, "chacha") == 0 ? GW_TLS_CHACHA20_POLY1305
                                                    : 0;
    return wanted->cipher != 0;
}

static bool get_compress(struct transfer *wanted, const char *value)
{
    wanted->compress = strcmp(value, "lz4") == 0    ? GW_COMPRESS_LZ4
                       : strcmp(value, "auto") == 0 ? GW_COMPRESS_AUTO
                                                    : GW_COMPRESS_NONE;
    return wanted->compress != GW_COMPRESS_NONE || strcmp(value, "none") == 0;
}

static bool get_word(struct transfer *wanted, const char *name, const char *value)
{
    uint64_t number = strtoull(value, NULL, 10);
    if (strcmp(name, "tls") == 0) {
        return get_cipher(wanted, value);
    }
    if (strcmp(name, "compress") == 0) {
        return get_compress(wanted, value);
    }
    if (strcmp(name, "memory") == 0) {
        return get_memory(wanted, value);
    }
    if (strcmp(name, "target") == 0) {
        wanted->is_touched = strcmp(value, "touched") == 0;
        return wanted->is_touched || strcmp(value, "fresh") == 0;
    }
    if (strcmp(name, "backing") == 0) {
        wanted->is_huge = strcmp(value, "huge") == 0;
        return wanted->is_huge || strcmp(value, "memfd") == 0;
    }
    if (strcmp(name, "summed") == 0) {
        wanted->is_summed = number == 1;
        return number <= 1;
    }
    if (strcmp(name, "mib") == 0) {
        wanted->bytes = number * GW_MIB;
        return number > 0 && wanted->bytes <= GW_RAM_BYTES_MAX &&
               wanted->bytes % GW_STRETCH_BYTES == 0;
    }
    if (strcmp(name, "channels") == 0) {
        wanted->channels = (uint32_t)number;
        return number >= 1 && number <= CHANNELS_MAX;
    }
    if (strcmp(name, "host") == 0) {
        wanted->host = value;
        return true;
    }
    if (strcmp(name, "netns") == 0) {
        wanted->netns = value;
        return true;
    }
    return false;
}

static bool get_words(struct transfer *wanted, int count, char **words)
{
    *wanted = (struct transfer){
        .bytes = 256 * GW_MIB, .channels = 1, .host = "127.0.0.1", .compress = GW_COMPRESS_NONE};
    for (int i = 0; i < count; i++) {
        char *value = strchr(words[i], '=');
        if (value == NULL) {
            return false;
        }
        *value = '\0';
        if (!get_word(wanted, words[i], value + 1)) {
            (void)fprintf(stderr, "transfer: %s cannot be %s\n", words[i], value + 1);
            return false;
        }
    }
    return true;
}

static int usage(void)
{
    (void)fprintf(
        stderr,
        "usage: transfer godwit|bare|rates|write [memory=random|text|zero|holes] "
        "[target=fresh|touched] [backing=memfd|huge] [mib=N] [channels=N] [summed=0|1] [host=A] "
        "[netns=NAME] [tls=aes|chacha] [compress=none|lz4|auto]\n");
    return 2;
}

/* ---- The ways ---- */

static int write_memory(const struct transfer *wanted)
{
    static struct gw_ram ram;
    open_memory(&ram, wanted, true);
    for (uint64_t at = 0; at < wanted->bytes;) {
        ssize_t put = write(STDOUT_FILENO, ram.region[0].base + at, wanted->bytes - at);
        must(put > 0, "writing the memory");
        at += (uint64_t)put;
    }
    return 0;
}

static void enter_netns(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "/run/netns/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0 && setns(fd, CLONE_NEWNET) == 0, path);
    (void)close(fd);
}

static int transfer(const struct transfer *wanted, bool is_bare)
{
    int told[2];
    (void)signal(SIGPIPE, SIG_IGN);
    must(pipe(told) == 0, "pipe");
    if (!is_bare) {
        godwit_open(wanted);
    }
    pid_t target = fork();
    (void)alarm(GIVE_UP_S);
    if (target == 0) {
        (void)close(told[0]);
        if (wanted->netns != NULL) {
            enter_netns(wanted->netns);
        }
        return is_bare ? bare_target(wanted, told[1]) : godwit_target(wanted, told[1]);
    }
    (void)close(told[1]);
    int status = is_bare ? bare_source(wanted, told[0]) : godwit_source(wanted, told[0]);
    int target_status = 1;
    (void)waitpid(target, &target_status, 0);
    return status != 0 || target_status != 0 ? 1 : 0;
}

int main(int count, char **words)
{
    struct transfer wanted;
    if (count < 2 || !get_words(&wanted, count - 2, words + 2)) {
        return usage();
    }
    if (strcmp(words[1], "godwit") == 0 || strcmp(words[1], "bare") == 0) {
        return transfer(&wanted, strcmp(words[1], "bare") == 0);
    }
    if (strcmp(words[1], "rates") == 0) {
        return print_rates(&wanted);
    }
    return strcmp(words[1], "write") == 0 ? write_memory(&wanted) : usage();
}
