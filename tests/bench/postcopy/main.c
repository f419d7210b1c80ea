/* SPDX-License-Identifier: Apache-2.0 */
/*
 * postcopy godwit|floor CASE [SEED [CHANNELS]]: moves a guest's memory once, and prints "bulk BYTES
 * SECONDS" and, where there is a probe, "samples NS NS ...". tests/bench/bench_postcopy.py makes
 * figures of it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "postcopy.h"
#include "probe.h"

enum { GIVE_UP_S = 60 };

static const struct bench_case cases[] = {
    {.name = "idle", .is_bulk_capped = true, .probes = 4000},
    {.name = "busy", .probes = PROBES_MAX, .probe_pause_us_max = 500},
    {.name = "bulk"},
    {.name = "precopy", .is_precopy = true},
};

bool open_guest(bool is_source)
{
    const struct guest_config config = {
        .pages = GUEST_PAGES_MAX, .regions = 1, .threads = 1, .hot = GUEST_PAGES_MAX};
    if (!guest_open(&config)) {
        return false;
    }
    if (is_source) {
        guest_fill();
    }
    return true;
}

void print_bulk(uint64_t bytes, uint64_t ns)
{
    printf("bulk %llu %.9f\n", (unsigned long long)bytes, (double)ns / 1e9);
}

static bool get_case(struct bench_case *wanted, const char *name, const char *seed,
                     const char *channels)
{
    unsigned long count = strtoul(channels, NULL, 10);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(cases[i].name, name) == 0) {
            *wanted = cases[i];
            wanted->seed = strtoull(seed, NULL, 10);
            wanted->channels = (uint32_t)count;
            return count >= 1 && count <= GW_BULK_CHANNELS_MAX;
        }
    }
    return false;
}

static int usage(void)
{
    fprintf(stderr, "usage: postcopy godwit|floor idle|busy|bulk|precopy [SEED [CHANNELS]]\n");
    return 2;
}

int main(int count, char **words)
{
    struct bench_case wanted;
    bool is_floor = count >= 3 && strcmp(words[1], "floor") == 0;
    if (count < 3 || count > 5 || (!is_floor && strcmp(words[1], "godwit") != 0) ||
        !get_case(&wanted, words[2], count >= 4 ? words[3] : "1", count == 5 ? words[4] : "1") ||
        (is_floor && wanted.is_precopy)) {
        return usage();
    }
    (void)signal(SIGPIPE, SIG_IGN);
    int told[2];
    if (pipe(told) != 0) {
        perror("postcopy: pipe");
        return 1;
    }
    pid_t target = fork();
    (void)alarm(GIVE_UP_S);
    if (target == 0) {
        (void)close(told[0]);
        return is_floor ? floor_target(&wanted, told[1]) : godwit_target(&wanted, told[1]);
    }
    (void)close(told[1]);
    int status = is_floor ? floor_source(&wanted, told[0]) : godwit_source(&wanted, told[0]);
    int target_status = 1;
    (void)waitpid(target, &target_status, 0);
    return status != 0 || target_status != 0 ? 1 : 0;
}
