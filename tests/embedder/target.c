/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process B: waits for a guest. It says on standard output, a line each: "listening URI",
 * "waiting WHY" after a session that failed, "verified" when a guest came and every page is what
 * its state says, "result ok" when it went on here and is still right. It ends at the end of its
 * standard input.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "embedder.h"
#include "godwit/clock.h"
#include "godwit/incoming.h"
#include "godwit/record_file.h"

static struct gw_incoming incoming;
static struct gw_facts facts;
static bool is_verified_later;
static const char record_name[] = "embedder.incoming";

static void say(const char *line)
{
    printf("%s\n", line);
    (void)fflush(stdout);
}

/* ---- Records ---- */

static void get_history(const char *directory, struct gw_history *history)
{
    struct gw_fault fault = {.status = GW_OK};
    uint8_t bytes[GW_RECORD_FILE_BYTES];
    size_t size = 0;
    bool is_found = false;
    *history = (struct gw_history){.count = 0};
    enum gw_status status =
        gw_record_file_get(directory, record_name, bytes, sizeof(bytes), &size, &is_found, &fault);
    if (status == GW_OK && is_found) {
        status = gw_history_decode(history, bytes, size, &fault);
    }
    if (status != GW_OK) {
        fprintf(stderr, "target: %s\n", fault.text);
        _exit(1);
    }
}

static void put_history(const char *directory, const struct gw_history *history)
{
    struct gw_fault fault = {.status = GW_OK};
    uint8_t bytes[GW_RECORD_FILE_BYTES];
    gw_history_encode(history, bytes);
    enum gw_status status =
        gw_record_file_put(directory, record_name, bytes, sizeof(bytes), &fault);
    gw_incoming_recorded(&incoming, status == GW_OK ? NULL : &fault);
}

static bool is_taking(const struct gw_history *history)
{
    return history->count > 0 && history->entry[0].state == GW_RECORD_TOOK;
}

/* ---- The guest ---- */

static void load(const struct scenario *scenario)
{
    uint32_t count = 0;
    const uint8_t *bytes = gw_incoming_get_state(&incoming, &count);
    struct gw_fault fault = {.status = GW_OK};
    if (scenario->mishap == MISHAP_DIE_AT_LOAD) {
        _exit(DIES);
    }
    if (scenario->mishap == MISHAP_LOAD_FAILS || !guest_load(bytes, count)) {
        (void)gw_fault_set(&fault, GW_CORRUPT, "section \"scribbler\" is of version 9, wanted 1");
        gw_incoming_host_fault(&incoming, &fault);
        return;
    }
    gw_incoming_loaded(&incoming);
}

static void run(const struct scenario *scenario, const struct gw_target_action *action)
{
    if (scenario->mishap == MISHAP_DIE_AT_RUN) {
        _exit(DIES);
    }
    struct gw_target_figures figures;
    gw_incoming_get_figures(&incoming, &figures);
    is_verified_later = figures.missing_pages > 0; /* to look now would be to wait for each page */
    if (!is_verified_later) {
        say(guest_count_wrong() == 0 ? "verified" : "damaged");
    }
    if (action->is_running) {
        guest_go();
    }
    gw_incoming_running(&incoming);
}

/* Every page is here: the figures, and the first look at all of it. */
static bool look_later(const struct scenario *scenario)
{
    struct gw_target_figures figures;
    const struct gw_blocktime *blocktime = &figures.blocktime;
    gw_incoming_get_figures(&incoming, &figures);
    printf("postcopy: %llu faults of %llu demands, %.1f us to %.1f us, p50 %.1f us, p99 %.1f us, "
           "all blocked %.1f ms of %.1f ms\n",
           (unsigned long long)blocktime->faults, (unsigned long long)figures.demands,
           (double)blocktime->min_ns / 1e3, (double)blocktime->max_ns / 1e3,
           (double)gw_blocktime_percentile(blocktime, 50) / 1e3,
           (double)gw_blocktime_percentile(blocktime, 99) / 1e3,
           (double)blocktime->all_total_ns / 1e6, (double)figures.postcopy_ns / 1e6);
    if (!scenario->is_paused) {
        guest_halt();
    }
    say(guest_count_wrong() == 0 ? "verified" : "damaged");
    if (!scenario->is_paused) {
        guest_go();
    }
    return figures.demands >= scenario->demands_min;
}

/* The guest is ours: it goes on for a while, and must still be right. */
static void settle(const struct scenario *scenario)
{
    if (guest_is_running() == scenario->is_paused) {
        say("result: it runs though it was paused, or the other way round");
        return;
    }
    if (is_verified_later && !look_later(scenario)) {
        say("result: too little was asked for");
        return;
    }
    if (!scenario->is_paused) {
        guest_wait(GUEST_WRITES);
        guest_halt();
    }
    say(guest_count_wrong() == 0 ? "result ok" : "result damaged");
}

/* ---- The loop ---- */

/* True when it is over. */
static bool do_action(const struct scenario *scenario, const char *directory,
                      const struct gw_target_action *action)
{
    struct gw_fault fault;
    switch (action->type) {
    case GW_TARGET_DO_RECORD:
        if (scenario->mishap == MISHAP_DIE_AT_TOOK && is_taking(&action->history)) {
            _exit(DIES);
        }
        put_history(directory, &action->history);
        break;
    case GW_TARGET_DO_LOAD:
        load(scenario);
        break;
    case GW_TARGET_DO_RUN:
        run(scenario, action);
        break;
    case GW_TARGET_DO_FINISH:
        if (gw_incoming_state(&incoming) == GW_TARGET_DONE) {
            return true;
        }
        gw_incoming_get_fault(&incoming, &fault);
        printf("waiting %s\n", fault.text);
        (void)fflush(stdout);
        break;
    default:
        break;
    }
    return false;
}

/* Until the guest is ours, or A is gone. */
static bool serve(const struct scenario *scenario, const char *directory)
{
    for (;;) {
        struct pollfd wait[2] = {{.fd = gw_incoming_fd(&incoming), .events = POLLIN},
                                 {.fd = STDIN_FILENO, .events = POLLIN}};
        if (poll(wait, 2, -1) < 0 && errno != EINTR) {
            return false;
        }
        gw_incoming_work(&incoming);
        struct gw_target_action action;
        while (gw_incoming_next(&incoming, &action) == GW_OK) {
            if (do_action(scenario, directory, &action)) {
                return true;
            }
        }
        if (wait[1].revents != 0) {
            return false;
        }
    }
}

int target_main(const struct scenario *scenario, const char *uri, const char *directory)
{
    struct gw_fault fault = {.status = GW_OK};
    struct guest_config guest = scenario->guest;
    guest.is_huge = scenario->is_huge_there;
    if (!guest_open(&guest)) {
        return 1;
    }
    embedder_facts(&facts, scenario, true);
    struct gw_incoming_config config = {
        .target = {.facts = &facts,
                   .vcpu_count = scenario->guest.threads,
                   .can_postcopy = true,
                   .recover_ns_max = 30 * GW_NS_PER_S},
        .is_user_mode_enough = true,
        .uri = uri,
        .ram = guest_ram(),
    };
    if (!embedder_transport(&config.transport, scenario, directory, true)) {
        return 1;
    }
    get_history(directory, &config.target.history);
    if (gw_incoming_start(&incoming, &config, &fault) != GW_OK) {
        fprintf(stderr, "target: %s\n", fault.text);
        return 1;
    }
    printf("listening %s\n", gw_incoming_address(&incoming));
    (void)fflush(stdout);
    bool is_ours = serve(scenario, directory);
    gw_incoming_stop(&incoming);
    if (is_ours) {
        settle(scenario);
    }
    return 0;
}
