/* SPDX-License-Identifier: Apache-2.0 */
/* Moved by godwit's library, as an embedder uses it. See postcopy.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "godwit/clock.h"
#include "godwit/incoming.h"
#include "godwit/outgoing.h"
#include "godwit/uffd_wp.h"
#include "guest.h"
#include "postcopy.h"
#include "probe.h"

static struct gw_facts facts; /* none: both sides are this program */

static int complain(const struct gw_fault *fault)
{
    fprintf(stderr, "postcopy: %s\n", fault->text);
    return 1;
}

/* ---- The source ---- */

static struct gw_outgoing outgoing;
static struct gw_tracker_uffd_wp tracker;
static uint64_t active_ns;

static void stop_guest(const struct bench_case *wanted)
{
    static uint8_t state[GW_STATE_BYTES_MAX];
    uint64_t now_ns = gw_clock_now_ns();
    if (wanted->is_precopy) {
        print_bulk(guest_ram()->page_count * guest_ram()->page_bytes, now_ns - active_ns);
    }
    gw_outgoing_stopped(&outgoing, now_ns, state, guest_save(state), true);
}

/* True when it is over. */
static bool do_source_action(const struct bench_case *wanted, const struct gw_source_action *action)
{
    switch (action->type) {
    case GW_SOURCE_DO_RECORD:
        gw_outgoing_recorded(&outgoing, NULL);
        break;
    case GW_SOURCE_DO_STATUS:
        if (active_ns == 0 && gw_outgoing_state(&outgoing) == GW_SOURCE_ACTIVE) {
            active_ns = gw_clock_now_ns();
        }
        break;
    case GW_SOURCE_DO_STOP:
        stop_guest(wanted);
        break;
    case GW_SOURCE_DO_FINISH:
        return true;
    default:
        break;
    }
    return false;
}

static void serve_source(const struct bench_case *wanted, int hear)
{
    bool is_over = false;
    while (!is_over) {
        struct pollfd wait[2] = {{.fd = gw_outgoing_fd(&outgoing), .events = POLLIN},
                                 {.fd = hear, .events = POLLIN}};
        char told;
        if (poll(wait, 2, -1) > 0 && wait[1].revents != 0) {
            if (read(hear, &told, 1) == 1 && told == TOLD_PROBED) {
                gw_outgoing_set_limits(&outgoing, GW_NS_PER_S, 0, 0);
            } else {
                hear = -1; /* it ended, or is about to */
            }
        }
        gw_outgoing_work(&outgoing);
        struct gw_source_action action;
        while (!is_over && gw_outgoing_next(&outgoing, &action) == GW_OK) {
            is_over = do_source_action(wanted, &action);
        }
    }
}

int godwit_source(const struct bench_case *wanted, int hear)
{
    struct gw_fault fault = {.status = GW_OK};
    char uri[GW_URI_TEXT_BYTES];
    if (!open_guest(true) || !read_address(hear, uri)) {
        return 1;
    }
    gw_tracker_uffd_wp_init(&tracker, guest_ram(), NULL, GW_UFFD_WP_BEST);
    struct gw_outgoing_config config = {
        .source = {.guest_name = "probed",
                   .facts = &facts,
                   .downtime_ns_max = GW_NS_PER_S,
                   .is_postcopy = !wanted->is_precopy,
                   .channel_count = wanted->channels,
                   /* One batch gets through at once, the next one hours later. */
                   .postcopy_bandwidth_max = wanted->is_bulk_capped ? 1 : 0,
                   .recover_ns_max = GW_NS_PER_S},
        .uri = uri,
        .ram = guest_ram(),
        .tracker = &tracker.tracker,
        .transport = gw_transport_defaults,
    };
    if (gw_random_bytes(config.source.session.id, GW_SESSION_BYTES, &fault) != GW_OK ||
        gw_outgoing_start(&outgoing, &config, &fault) != GW_OK) {
        return complain(&fault);
    }
    serve_source(wanted, hear);
    bool is_done = gw_outgoing_state(&outgoing) == GW_SOURCE_COMPLETED;
    gw_outgoing_get_fault(&outgoing, &fault);
    gw_outgoing_stop(&outgoing);
    (void)fflush(stdout);
    return is_done ? 0 : complain(&fault);
}

/* ---- The target ---- */

static struct gw_incoming incoming;
static struct probe probe;
static int tell_fd;

static void *run_probe(void *context)
{
    probe_run(context);
    const char told = TOLD_PROBED;
    (void)!write(tell_fd, &told, 1);
    return NULL;
}

static void load(void)
{
    uint32_t count = 0;
    const uint8_t *bytes = gw_incoming_get_state(&incoming, &count);
    struct gw_fault fault = {.status = GW_OK};
    if (!guest_load(bytes, count)) {
        (void)gw_fault_set(&fault, GW_CORRUPT, "the state is not the guest's");
        gw_incoming_host_fault(&incoming, &fault);
        return;
    }
    gw_incoming_loaded(&incoming);
}

/* True when it is over. */
static bool do_target_action(const struct gw_target_action *action, pthread_t *prober)
{
    switch (action->type) {
    case GW_TARGET_DO_RECORD:
        gw_incoming_recorded(&incoming, NULL);
        break;
    case GW_TARGET_DO_LOAD:
        load();
        break;
    case GW_TARGET_DO_RUN:
        gw_incoming_running(&incoming);
        if (probe.wanted > 0 && pthread_create(prober, NULL, run_probe, &probe) != 0) {
            probe.wanted = 0;
        }
        break;
    case GW_TARGET_DO_FINISH:
        return true;
    default:
        break;
    }
    return false;
}

static void serve_target(pthread_t *prober)
{
    bool is_over = false;
    while (!is_over) {
        struct pollfd wait = {.fd = gw_incoming_fd(&incoming), .events = POLLIN};
        (void)poll(&wait, 1, -1);
        gw_incoming_work(&incoming);
        struct gw_target_action action;
        while (!is_over && gw_incoming_next(&incoming, &action) == GW_OK) {
            is_over = do_target_action(&action, prober);
        }
    }
}

static void print_results(const struct bench_case *wanted)
{
    struct gw_target_figures figures;
    gw_incoming_get_figures(&incoming, &figures);
    if (!wanted->is_precopy) {
        print_bulk(guest_ram()->page_count * guest_ram()->page_bytes, figures.postcopy_ns);
    }
    if (wanted->probes > 0) {
        probe_print(&probe);
    }
}

int godwit_target(const struct bench_case *wanted, int tell)
{
    struct gw_fault fault = {.status = GW_OK};
    pthread_t prober;
    tell_fd = tell;
    if (!open_guest(false)) {
        return 1;
    }
    const struct gw_incoming_config config = {
        .target = {.facts = &facts,
                   .vcpu_count = 1,
                   .can_postcopy = true,
                   .recover_ns_max = GW_NS_PER_S},
        .is_user_mode_enough = true,
        .uri = "tcp:127.0.0.1:0",
        .ram = guest_ram(),
        .transport = gw_transport_defaults,
    };
    if (gw_incoming_start(&incoming, &config, &fault) != GW_OK) {
        return complain(&fault);
    }
    probe = (struct probe){.ram = guest_ram(),
                           .wanted = wanted->probes,
                           .pause_us_max = wanted->probe_pause_us_max,
                           .seed = wanted->seed};
    (void)dprintf(tell, "%s\n", gw_incoming_address(&incoming));
    serve_target(&prober);
    bool is_done = gw_incoming_state(&incoming) == GW_TARGET_DONE;
    if (is_done && probe.wanted > 0) {
        (void)pthread_join(prober, NULL);
    }
    gw_incoming_get_fault(&incoming, &fault);
    gw_incoming_stop(&incoming);
    if (!is_done) {
        return complain(&fault);
    }
    print_results(wanted);
    return guest_count_wrong() == 0 ? 0 : 1;
}
