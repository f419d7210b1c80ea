/* SPDX-License-Identifier: Apache-2.0 */
/* Moved by godwit's library, as an embedder uses it. See transfer.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "godwit/clock.h"
#include "godwit/incoming.h"
#include "godwit/outgoing.h"
#include "godwit/uffd_wp.h"
#include "transfer.h"

static struct gw_facts facts; /* none: both sides are this program */
static struct gw_ram ram;

static int complain(const struct gw_fault *fault)
{
    (void)fprintf(stderr, "transfer: %s\n", fault->text);
    return 1;
}

/* ---- Both ---- */

static struct gw_tls_identity identity;

void godwit_open(const struct transfer *wanted)
{
    char folder[] = "/tmp/godwit-transfer-XXXXXX";
    char path[64], spec[80], name[GW_TLS_NAME_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    if (wanted->cipher == 0) {
        return;
    }
    must(mkdtemp(folder) != NULL, "a folder for the key");
    (void)snprintf(path, sizeof(path), "%s/key", folder);
    (void)snprintf(spec, sizeof(spec), "psk:%s", path);
    must(gw_tls_make_key(path, name, &fault) == GW_OK &&
             gw_tls_open(&identity, spec, NULL, &fault) == GW_OK,
         fault.text);
    gw_tls_set_ciphers(&identity, wanted->cipher);
    (void)unlink(path);
    (void)rmdir(folder);
}

static struct gw_transport_options transport(void)
{
    struct gw_transport_options options = gw_transport_defaults;
    options.tls = identity.keys != NULL ? &identity : NULL;
    options.is_plaintext_allowed = options.tls == NULL;
    return options;
}

/* ---- The source ---- */

static struct gw_outgoing outgoing;
static struct gw_tracker_uffd_wp tracker;
static uint32_t sum; /* of the memory: what the target must find. It travels as the state */

/* True when it is over. */
static bool do_source_action(const struct gw_source_action *action)
{
    switch (action->type) {
    case GW_SOURCE_DO_RECORD:
        gw_outgoing_recorded(&outgoing, NULL);
        break;
    case GW_SOURCE_DO_STOP:
        gw_outgoing_stopped(&outgoing, gw_clock_now_ns(), (const uint8_t *)&sum, sizeof(sum),
                            false);
        break;
    case GW_SOURCE_DO_FINISH:
        return true;
    default:
        break;
    }
    return false;
}

static void serve_source(void)
{
    bool is_over = false;
    while (!is_over) {
        struct pollfd wait = {.fd = gw_outgoing_fd(&outgoing), .events = POLLIN};
        (void)poll(&wait, 1, -1);
        gw_outgoing_work(&outgoing);
        struct gw_source_action action;
        while (!is_over && gw_outgoing_next(&outgoing, &action) == GW_OK) {
            is_over = do_source_action(&action);
        }
    }
}

static void print_source(uint64_t cpu_start_ns)
{
    struct gw_source_figures figures;
    gw_outgoing_get_figures(&outgoing, &figures);
    print_figure("total_ns", figures.total_ns);
    print_figure("pass_ns", figures.total_ns - figures.setup_ns);
    print_figure("source_cpu_ns", cpu_ns() - cpu_start_ns);
}

int godwit_source(const struct transfer *wanted, int hear)
{
    struct gw_fault fault = {.status = GW_OK};
    char uri[GW_URI_TEXT_BYTES];
    open_memory(&ram, wanted, true);
    sum = sum_memory(&ram);
    if (!read_address(hear, uri)) {
        return 1;
    }
    gw_tracker_uffd_wp_init(&tracker, &ram, NULL, GW_UFFD_WP_BEST);
    struct gw_outgoing_config config = {
        .source = {.guest_name = "stopped",
                   .facts = &facts,
                   .downtime_ns_max = 300 * GW_NS_PER_MS,
                   .channel_count = wanted->channels,
                   .compress = wanted->compress},
        .uri = uri,
        .ram = &ram,
        .tracker = &tracker.tracker,
    };
    config.transport = transport();
    uint64_t cpu_start_ns = cpu_ns();
    if (gw_random_bytes(config.source.session.id, GW_SESSION_BYTES, &fault) != GW_OK ||
        gw_outgoing_start(&outgoing, &config, &fault) != GW_OK) {
        return complain(&fault);
    }
    serve_source();
    bool is_done = gw_outgoing_state(&outgoing) == GW_SOURCE_COMPLETED;
    gw_outgoing_get_fault(&outgoing, &fault);
    gw_outgoing_stop(&outgoing);
    if (!is_done) {
        return complain(&fault);
    }
    print_source(cpu_start_ns);
    return 0;
}

/* ---- The target ---- */

static struct gw_incoming incoming;

static void load(void)
{
    uint32_t count = 0;
    const uint8_t *bytes = gw_incoming_get_state(&incoming, &count);
    must(count == sizeof(sum), "godwit: the state");
    memcpy(&sum, bytes, sizeof(sum));
    gw_incoming_loaded(&incoming);
}

/* True when it is over. */
static bool do_target_action(const struct gw_target_action *action)
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
        break;
    case GW_TARGET_DO_FINISH:
        return true;
    default:
        break;
    }
    return false;
}

static void serve_target(void)
{
    bool is_over = false;
    while (!is_over) {
        struct pollfd wait = {.fd = gw_incoming_fd(&incoming), .events = POLLIN};
        (void)poll(&wait, 1, -1);
        gw_incoming_work(&incoming);
        struct gw_target_action action;
        while (!is_over && gw_incoming_next(&incoming, &action) == GW_OK) {
            is_over = do_target_action(&action);
        }
    }
}

int godwit_target(const struct transfer *wanted, int tell)
{
    struct gw_fault fault = {.status = GW_OK};
    char uri[GW_URI_TEXT_BYTES];
    open_memory(&ram, wanted, false);
    (void)snprintf(uri, sizeof(uri), "tcp:%s:0", wanted->host);
    struct gw_incoming_config config = {
        .target = {.facts = &facts, .vcpu_count = 1, .can_postcopy = !wanted->is_huge},
        .is_user_mode_enough = true,
        .uri = uri,
        .ram = &ram,
    };
    config.transport = transport();
    uint64_t cpu_start_ns = cpu_ns();
    if (gw_incoming_start(&incoming, &config, &fault) != GW_OK) {
        return complain(&fault);
    }
    (void)dprintf(tell, "%s\n", gw_incoming_address(&incoming));
    serve_target();
    bool is_done = gw_incoming_state(&incoming) == GW_TARGET_DONE;
    gw_incoming_get_fault(&incoming, &fault);
    gw_incoming_stop(&incoming);
    if (!is_done) {
        return complain(&fault);
    }
    print_figure("target_cpu_ns", cpu_ns() - cpu_start_ns);
    must(sum_memory(&ram) == sum, "godwit: the memory arrived damaged");
    return 0;
}
