/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process A: has a guest, and sends it to B. After a try that failed it looks whether the guest
 * is unharmed here, and tries again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "embedder.h"
#include "godwit/clock.h"
#include "godwit/outgoing.h"

enum { LINE_BYTES = 512 };

/* Process B as A sees it. */
struct other {
    pid_t pid; /* 0: none */
    int to, from;
    char line[LINE_BYTES];
    size_t count;
    char uri[GW_URI_TEXT_BYTES];
    bool is_verified, is_damaged, is_ok;
};

static struct gw_outgoing outgoing;
static struct gw_tracker_uffd_wp tracker;
static struct gw_facts facts;
static uint8_t state[GW_STATE_BYTES_MAX];
static struct other other;
static bool has_other_failed;
static char directory[] = "/tmp/godwit-embedder-XXXXXX";
static const char *program;
static char seed_text[24];
static int cuts;

/* ---- Process B ---- */

static bool start_other(const struct scenario *scenario, const char *mode, const char *uri)
{
    int to[2];
    int from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) {
        perror("embedder: pipe");
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(to[0], STDIN_FILENO);
        (void)dup2(from[1], STDOUT_FILENO);
        (void)execl(program, program, mode, scenario->name, seed_text, uri, directory,
                    (char *)NULL);
        perror("embedder: exec");
        _exit(127);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    other = (struct other){.pid = pid, .to = to[1], .from = from[0]};
    return pid > 0;
}

/* Ends it by the end of its input. Its own end must be one of those a case brings about: a
 * sanitizer's report, say, is not. */
static void end_other(void)
{
    int status = 0;
    if (other.pid == 0) {
        return;
    }
    (void)close(other.to);
    (void)close(other.from);
    (void)waitpid(other.pid, &status, 0);
    other.pid = 0;
    bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool is_wanted = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == DIES);
    if (!is_killed && !is_wanted) {
        fprintf(stderr, "embedder: B ended with wait status 0x%x\n", (unsigned)status);
        has_other_failed = true;
    }
}

static void take_line(const char *line)
{
    printf("  B: %s\n", line);
    if (strncmp(line, "listening ", 10) == 0) {
        (void)snprintf(other.uri, sizeof(other.uri), "%.*s", GW_URI_TEXT_BYTES - 1, line + 10);
    }
    other.is_verified = other.is_verified || strcmp(line, "verified") == 0;
    other.is_damaged = other.is_damaged || strcmp(line, "damaged") == 0;
    other.is_ok = other.is_ok || strcmp(line, "result ok") == 0;
}

/* Reads what B says; false at its end. */
static bool hear_other(void)
{
    char bytes[LINE_BYTES];
    ssize_t got = read(other.from, bytes, sizeof(bytes));
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == '\n' || other.count == LINE_BYTES - 1) {
            other.line[other.count] = '\0';
            other.count = 0;
            take_line(other.line);
        } else {
            other.line[other.count++] = bytes[i];
        }
    }
    return got > 0;
}

static bool open_other(const struct scenario *scenario, const char *mode, const char *uri)
{
    if (!start_other(scenario, mode, uri)) {
        return false;
    }
    while (other.uri[0] == '\0') {
        if (!hear_other()) {
            fprintf(stderr, "embedder: B did not start\n");
            return false;
        }
    }
    return true;
}

/* ---- Actions ---- */

static void cancel(void)
{
    struct gw_fault fault = {.status = GW_OK};
    if (gw_outgoing_cancel(&outgoing, &fault) != GW_OK) {
        fprintf(stderr, "embedder: cancel: %s\n", fault.text);
    }
}

static void stop_guest(const struct scenario *scenario, enum mishap mishap)
{
    if (mishap == MISHAP_CANCEL_AT_STOP) {
        cancel();
    } else if (mishap == MISHAP_KILL_AT_STOP) {
        (void)kill(other.pid, SIGKILL);
    } else if (mishap == MISHAP_STOP_FAILS) {
        struct gw_fault fault = {.status = GW_OK};
        (void)gw_fault_set(&fault, GW_HOST, "a scribbler does not stop");
        gw_outgoing_host_fault(&outgoing, &fault);
        return;
    }
    guest_halt();
    uint64_t halted_ns = gw_clock_now_ns();
    uint32_t count = guest_save(state);
    gw_outgoing_stopped(&outgoing, halted_ns, state, count, !scenario->is_paused);
}

static void begin_round(const struct scenario *scenario, enum mishap mishap)
{
    struct gw_source_figures figures;
    struct gw_fault fault = {.status = GW_OK};
    gw_outgoing_get_figures(&outgoing, &figures);
    if (scenario->way == HYBRID && figures.rounds == 2 &&
        gw_outgoing_postcopy(&outgoing, &fault) != GW_OK) {
        printf("  A: no postcopy: %s\n", fault.text);
    }
    if (mishap == MISHAP_CANCEL_AT_ROUND) {
        cancel();
    } else if (mishap == MISHAP_KILL_AT_ROUND) {
        (void)kill(other.pid, SIGKILL);
    }
}

static void record(const struct gw_source_action *action, enum mishap mishap)
{
    bool is_leaving = action->departure.state == GW_DEPARTURE_LEAVING;
    struct gw_fault fault = {.status = GW_OK};
    if (is_leaving && mishap == MISHAP_RECORD_FAILS) {
        (void)gw_fault_set(&fault, GW_HOST, "the disk is full");
        gw_outgoing_recorded(&outgoing, &fault);
        return;
    }
    if (is_leaving && mishap == MISHAP_CANCEL_AT_RECORD) {
        cancel();
    }
    gw_outgoing_recorded(&outgoing, NULL);
}

/* The link breaks under the last bulk channel the first time, under the urgent one the second. */
static void cut_link(const struct scenario *scenario)
{
    uint32_t last = scenario->channels > 1 ? scenario->channels - 1 : 0;
    struct gw_connection *victim =
        cuts == 0 ? &outgoing.sender[last].bulk : &outgoing.answerer.connection;
    (void)shutdown(gw_connection_fd(victim), SHUT_RDWR);
    cuts++;
}

static void change_status(const struct scenario *scenario, enum mishap mishap)
{
    struct gw_fault fault = {.status = GW_OK};
    enum gw_source_state now = gw_outgoing_state(&outgoing);
    if (mishap == MISHAP_CUT_AT_PUSH && now == GW_SOURCE_PUSHING && cuts < 2) {
        cut_link(scenario);
    } else if (mishap == MISHAP_PAUSE_AT_PUSH && now == GW_SOURCE_PUSHING && cuts == 0) {
        cuts = 1;
        if (gw_outgoing_pause(&outgoing, &fault) != GW_OK) {
            fprintf(stderr, "embedder: pause: %s\n", fault.text);
        }
    } else if (now == GW_SOURCE_PUSH_PAUSED) {
        if (gw_outgoing_recover(&outgoing, NULL, &fault) != GW_OK) {
            fprintf(stderr, "embedder: recover: %s\n", fault.text);
        }
    }
}

/* True when the migration is over. */
static bool do_action(const struct scenario *scenario, enum mishap mishap,
                      const struct gw_source_action *action)
{
    switch (action->type) {
    case GW_SOURCE_DO_RECORD:
        record(action, mishap);
        return false;
    case GW_SOURCE_DO_STOP:
        stop_guest(scenario, mishap);
        return false;
    case GW_SOURCE_DO_RESUME:
        if (!scenario->is_paused) {
            guest_go();
        }
        return false;
    case GW_SOURCE_DO_ROUND:
        begin_round(scenario, mishap);
        return false;
    case GW_SOURCE_DO_STATUS:
        change_status(scenario, mishap);
        return false;
    case GW_SOURCE_DO_FINISH:
        return true;
    default:
        return false;
    }
}

/* ---- A migration ---- */

static enum gw_source_state print_end(const struct scenario *scenario, enum mishap mishap)
{
    struct gw_source_figures figures;
    struct gw_fault fault;
    gw_outgoing_get_figures(&outgoing, &figures);
    gw_outgoing_get_fault(&outgoing, &fault);
    printf("%s: %s\n", gw_source_state_name(figures.state), fault.text);
    printf("  rounds %llu, raw pages %llu, zero pages %llu, bytes %llu, downtime %.2f ms, "
           "verify %.2f ms (%s), total %.1f ms\n",
           (unsigned long long)figures.rounds, (unsigned long long)figures.raw_pages,
           (unsigned long long)figures.zero_pages, (unsigned long long)figures.wire_bytes,
           (double)figures.downtime_ns / 1e6, (double)figures.verify_ns / 1e6,
           figures.is_verified ? "equal" : "not compared", (double)figures.total_ns / 1e6);
    printf("  repeated pages %llu, packed %llu bytes to %llu\n",
           (unsigned long long)figures.repeat_pages, (unsigned long long)figures.packing.raw_bytes,
           (unsigned long long)figures.packing.packed_bytes);
    if (figures.is_postcopy) {
        printf("  postcopy: %llu demanded pages, %llu bytes, %llu recoveries\n",
               (unsigned long long)figures.demands, (unsigned long long)figures.postcopy_bytes,
               (unsigned long long)figures.recoveries);
    }
    uint32_t channels = scenario->channels > 1 ? scenario->channels : 1;
    if (figures.state == GW_SOURCE_COMPLETED && figures.channel_count != channels) {
        fprintf(stderr, "embedder: %u bulk channels, wanted %u\n", figures.channel_count, channels);
        return GW_SOURCE_NONE;
    }
    if (scenario->compress == GW_COMPRESS_LZ4 && figures.state == GW_SOURCE_COMPLETED &&
        figures.packing.packed_bytes * 3 > figures.packing.raw_bytes * 2) {
        fprintf(stderr, "embedder: text was not packed to two thirds\n");
        return GW_SOURCE_NONE;
    }
    if (figures.state == GW_SOURCE_COMPLETED && scenario->way != PRECOPY && !figures.is_postcopy) {
        fprintf(stderr, "embedder: the guest did not go before its memory\n");
        return GW_SOURCE_NONE;
    }
    uint64_t wanted = mishap == MISHAP_CUT_AT_PUSH ? 2 : mishap == MISHAP_PAUSE_AT_PUSH ? 1 : 0;
    if (figures.state == GW_SOURCE_COMPLETED && figures.recoveries != wanted) {
        fprintf(stderr, "embedder: %llu recoveries, wanted %llu (%d cuts)\n",
                (unsigned long long)figures.recoveries, (unsigned long long)wanted, cuts);
        return GW_SOURCE_NONE;
    }
    return figures.state;
}

/* A new B in the place of one that died while A holds the guest, with its records. */
static bool revive_other(const struct scenario *scenario)
{
    char uri[GW_URI_TEXT_BYTES];
    (void)memcpy(uri, other.uri, sizeof(uri));
    end_other();
    return open_other(scenario, "target-again", uri);
}

static bool serve(const struct scenario *scenario, enum mishap mishap)
{
    bool is_other_there = other.pid > 0;
    for (;;) {
        struct pollfd wait[2] = {
            {.fd = gw_outgoing_fd(&outgoing), .events = POLLIN},
            {.fd = is_other_there ? other.from : -1, .events = POLLIN},
        };
        if (poll(wait, 2, -1) < 0 && errno != EINTR) {
            return false;
        }
        if (wait[1].revents != 0 && !hear_other()) {
            is_other_there = mishap == MISHAP_DIE_AT_TOOK || mishap == MISHAP_DIE_AT_RUN;
            if (is_other_there && !revive_other(scenario)) {
                return false;
            }
        }
        gw_outgoing_work(&outgoing);
        struct gw_source_action action;
        while (gw_outgoing_next(&outgoing, &action) == GW_OK) {
            if (do_action(scenario, mishap, &action)) {
                return true;
            }
        }
    }
}

/* Returns how it ended. */
static enum gw_source_state migrate(const struct scenario *scenario, const char *uri,
                                    enum mishap mishap)
{
    struct gw_fault fault = {.status = GW_OK};
    static struct gw_session last; /* withdrawn: B may drop it */
    struct gw_outgoing_config config = {
        .source = {.withdrawn = last,
                   .guest_name = "scribbler",
                   .facts = &facts,
                   .downtime_ns_max = scenario->way == HYBRID /* not before it is switched */
                                          ? 1
                                          : scenario->downtime_ms * GW_NS_PER_MS,
                   .bandwidth_max = scenario->bandwidth,
                   .is_postcopy = scenario->way == POSTCOPY,
                   .postcopy_bandwidth_max = scenario->postcopy_bandwidth,
                   .recover_ns_max = 30 * GW_NS_PER_S,
                   .channel_count = scenario->channels,
                   .compress = scenario->compress,
                   .is_releasing = scenario->is_releasing,
                   .is_verifying = scenario->is_verifying},
        .uri = uri,
        .ram = guest_ram(),
        .tracker = &tracker.tracker,
    };
    if (!embedder_transport(&config.transport, scenario, directory, false)) {
        return GW_SOURCE_NONE;
    }
    if (gw_random_bytes(config.source.session.id, GW_SESSION_BYTES, &fault) != GW_OK ||
        gw_outgoing_start(&outgoing, &config, &fault) != GW_OK) {
        fprintf(stderr, "embedder: %s\n", fault.text);
        return GW_SOURCE_NONE;
    }
    last = config.source.session;
    bool is_over = serve(scenario, mishap);
    gw_outgoing_stop(&outgoing);
    enum gw_source_state ended = print_end(scenario, mishap);
    return is_over ? ended : GW_SOURCE_NONE;
}

/* ---- Checks ---- */

static bool is_guest_unharmed(const struct scenario *scenario)
{
    if (guest_is_running() == scenario->is_paused) {
        fprintf(stderr, "embedder: the guest was not resumed in A as it was before\n");
        return false;
    }
    if (!scenario->is_paused) {
        guest_wait(GUEST_WRITES / 4);
        guest_halt();
    }
    bool is_right = guest_count_wrong() == 0;
    if (!scenario->is_paused) {
        guest_go();
    }
    printf("  A: the guest is %s\n", is_right ? "unharmed" : "DAMAGED");
    return is_right;
}

/* With release-ram nothing of RAM is left in A. */
static bool is_all_given_back(void)
{
    struct gw_source_figures figures;
    uint64_t count = 0;
    const struct gw_ram *ram = guest_ram();
    gw_outgoing_get_figures(&outgoing, &figures);
    uint64_t page = gw_ram_next_data(ram, 0, ram->page_count, &count);
    printf("  A: %llu pages given back\n", (unsigned long long)figures.released_pages);
    if (page != ram->page_count || figures.released_pages != ram->page_count) {
        fprintf(stderr, "embedder: page %llu is still in A\n", (unsigned long long)page);
        return false;
    }
    return true;
}

/* B has the guest, verified it, ran it, verified it again. */
static bool is_guest_over_there(bool is_releasing)
{
    if (guest_is_running()) {
        fprintf(stderr, "embedder: the guest runs in A, too\n");
        return false;
    }
    if (is_releasing && !is_all_given_back()) {
        return false;
    }
    while (hear_other()) {
    }
    if (!other.is_verified || other.is_damaged || !other.is_ok) {
        fprintf(stderr, "embedder: the guest in B is not right\n");
        return false;
    }
    return true;
}

static int try_again(const struct scenario *scenario)
{
    char uri[GW_URI_TEXT_BYTES];
    (void)snprintf(uri, sizeof(uri), "unix:%s/again", directory);
    end_other();
    if (!open_other(scenario, "target-again", uri) ||
        migrate(scenario, other.uri, MISHAP_NONE) != GW_SOURCE_COMPLETED) {
        return 1;
    }
    return is_guest_over_there(scenario->is_releasing) ? 0 : 1;
}

/* What B has of it is B's to say. The guest writes without a pause, and the machines may be
 * emulated: a downtime that a PC keeps would never be met. */
static int run_away(const struct scenario *scenario, const char *uri)
{
    struct scenario patient = *scenario;
    patient.downtime_ms = 60000;
    enum gw_source_state ended = migrate(&patient, uri, scenario->mishap);
    printf("away: %s, and %s here\n", gw_source_state_name(ended),
           guest_is_running() ? "still runs" : "stands still");
    return ended == GW_SOURCE_COMPLETED && !guest_is_running() ? 0 : 1;
}

static int run(const struct scenario *scenario)
{
    char uri[GW_URI_TEXT_BYTES] = "tcp:127.0.0.1:0";
    if (scenario->is_unix) {
        (void)snprintf(uri, sizeof(uri), "unix:%s/socket", directory);
    }
    if (scenario->mishap != MISHAP_NOBODY && !open_other(scenario, "target", uri)) {
        return 1;
    }
    const char *where = scenario->mishap == MISHAP_NOBODY ? uri : other.uri;
    enum gw_source_state ended = migrate(scenario, where, scenario->mishap);
    if (ended != scenario->wanted) {
        fprintf(stderr, "embedder: it ended %s, wanted %s\n", gw_source_state_name(ended),
                gw_source_state_name(scenario->wanted));
        return 1;
    }
    if (ended == GW_SOURCE_COMPLETED) {
        /* After DIE_AT_RUN the guest ended with B's first life. */
        return scenario->mishap == MISHAP_DIE_AT_RUN || is_guest_over_there(scenario->is_releasing)
                   ? 0
                   : 1;
    }
    return is_guest_unharmed(scenario) ? try_again(scenario) : 1;
}

/* ---- Start ---- */

/* Is userfaultfd write-protection to be had here? Says why not. */
static bool has_tracker(void)
{
    static uint64_t bitmap[GW_BITMAP_WORDS];
    struct gw_fault fault = {.status = GW_OK};
    if (tracker.tracker.operations->start(&tracker.tracker, bitmap, &fault) != GW_OK) {
        printf("skipped: %s\n", fault.text);
        return false;
    }
    tracker.tracker.operations->stop(&tracker.tracker);
    return true;
}

static void clean_up(void)
{
    char path[sizeof(directory) + 32];
    static const char *const names[] = {"socket", "again", "key", "embedder.incoming"};
    end_other();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

int source_main(const struct scenario *scenario, uint64_t seed, const char *own_program,
                const char *away)
{
    program = own_program;
    (void)snprintf(seed_text, sizeof(seed_text), "%llu", (unsigned long long)seed);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    struct guest_config guest = scenario->guest;
    guest.is_huge = scenario->is_huge_here;
    bool has_huge = scenario->is_huge_here || scenario->is_huge_there;
    if (has_huge && !guest_probe_huge(guest.pages)) {
        return 77;
    }
    if (mkdtemp(directory) == NULL || !guest_open(&guest)) {
        perror("embedder");
        return 1;
    }
    struct gw_transport_options options; /* B reads the key that this makes */
    if (!embedder_transport(&options, scenario, directory, false)) {
        return 1;
    }
    embedder_facts(&facts, scenario, false);
    gw_tracker_uffd_wp_init(&tracker, guest_ram(), NULL, scenario->tracker);
    int status = 77;
    if (has_tracker()) {
        if (guest.is_text) {
            guest_fill();
        }
        guest_go();
        guest_wait(GUEST_WRITES);
        if (scenario->is_paused) {
            guest_halt();
        }
        status = away != NULL ? run_away(scenario, away) : run(scenario);
    }
    clean_up();
    return has_other_failed ? 1 : status;
}
