/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedder CASE [SEED]: runs a case; the same seed does the same. embedder --list names them.
 * embedder target|target-again CASE SEED URI DIRECTORY is what a case starts as its other process.
 * embedder away CASE SEED URI is the first process alone: the other one runs on another machine.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "embedder.h"

static void give_up(int signal_number)
{
    (void)signal_number;
    static const char text[] = "embedder: no end in time\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(1);
}

static int usage(void)
{
    fprintf(stderr, "usage: embedder CASE [SEED] | --list\n");
    return 2;
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "--list") == 0) {
        scenario_list();
        return 0;
    }
    bool is_again = count == 6 && strcmp(words[1], "target-again") == 0;
    bool is_target = is_again || (count == 6 && strcmp(words[1], "target") == 0);
    bool is_away = count == 5 && strcmp(words[1], "away") == 0;
    if (!is_target && !is_away && (count < 2 || count > 3)) {
        return usage();
    }
    bool has_role = is_target || is_away;
    const char *name = words[has_role ? 2 : 1];
    const char *seed_text = has_role ? words[3] : count == 3 ? words[2] : "1";
    uint64_t seed = strtoull(seed_text, NULL, 10);
    struct scenario scenario;
    if (!scenario_get(&scenario, name, seed)) {
        fprintf(stderr, "embedder: no case of the name '%s' (embedder --list)\n", name);
        return usage();
    }
    (void)signal(SIGPIPE, SIG_IGN); /* the other process may die at any moment */
    (void)signal(SIGALRM, give_up);
    (void)alarm(240); /* this machine may be an emulated one, or have much else to do */
    if (is_again) {
        scenario.mishap = MISHAP_NONE; /* it happened already */
    }
    if (is_target) {
        return target_main(&scenario, words[4], words[5]);
    }
    int status = source_main(&scenario, seed, words[0], is_away ? words[4] : NULL);
    if (status == 1 && !is_away) {
        fprintf(stderr, "embedder: to see it again: %s %s %s\n", words[0], name, seed_text);
    }
    return status;
}
