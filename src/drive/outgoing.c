/* SPDX-License-Identifier: Apache-2.0 */
/* The source side for its owner: start, stop, answers, wishes, figures. The contract:
 * godwit/outgoing.h. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "drive/outgoing_internal.h"

/* ---- Start and stop ---- */

static void open_lock(struct gw_outgoing *outgoing)
{
    pthread_condattr_t attributes;
    (void)pthread_mutex_init(&outgoing->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&outgoing->kicked, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static void ignore(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

static enum gw_status open_descriptors(struct gw_outgoing *outgoing, struct gw_fault *fault)
{
    enum gw_status status = gw_loop_open(&outgoing->loop, fault);
    if (status == GW_OK) {
        status = gw_notify_open(&outgoing->wake, fault);
    }
    if (status == GW_OK) {
        status = gw_deadline_open(&outgoing->timer, fault);
    }
    if (status == GW_OK) {
        status = gw_loop_add(&outgoing->loop, &outgoing->wake_watch, outgoing->wake.fd, EPOLLIN,
                             ignore, outgoing, fault);
    }
    if (status == GW_OK) {
        status = gw_loop_add(&outgoing->loop, &outgoing->timer_watch, outgoing->timer.fd, EPOLLIN,
                             ignore, outgoing, fault);
    }
    return status;
}

static void close_descriptors(struct gw_outgoing *outgoing)
{
    gw_loop_remove(&outgoing->wake_watch);
    gw_loop_remove(&outgoing->timer_watch);
    gw_deadline_close(&outgoing->timer);
    gw_notify_close(&outgoing->wake);
    gw_loop_close(&outgoing->loop);
}

/* All but the large arrays, which are written before they are read: clearing them would touch a
 * memory nobody may ever need. */
static void reset(struct gw_outgoing *outgoing, const struct gw_outgoing_config *config)
{
    outgoing->ram = config->ram;
    outgoing->tracker = config->tracker;
    outgoing->transport = config->transport;
    outgoing->transport.sockets = &outgoing->sockets;
    outgoing->sockets = (struct gw_sockets){.count = 0};
    outgoing->has_fresh_uri = false;
    outgoing->loop = (struct gw_loop){.epoll_fd = -1};
    outgoing->wake.fd = -1;
    outgoing->timer.fd = -1;
    outgoing->wake_watch = (struct gw_watch){.loop = NULL};
    outgoing->timer_watch = outgoing->wake_watch;
    outgoing->control_watch = outgoing->wake_watch;
    outgoing->control.connection.operations = NULL;
    outgoing->control.connection.cancel.fd = -1;
    outgoing->control.in =
        (struct gw_channel_buffer){outgoing->in_bytes, sizeof(outgoing->in_bytes)};
    outgoing->control.state = (struct gw_channel_buffer){NULL, 0};
    outgoing->control.out =
        (struct gw_channel_buffer){outgoing->out_bytes, sizeof(outgoing->out_bytes)};
    outgoing->channel_count = 0;
    outgoing->link = LINK_NONE;
    outgoing->is_closing = false;
    outgoing->is_tracking = false;
    outgoing->is_untracking = false;
    outgoing->is_bulk_told = false;
    outgoing->has_action = false;
    outgoing->state = NULL;
    outgoing->state_bytes = 0;
    gw_fault_clear(&outgoing->lost);
}

static void bind_sender(struct gw_outgoing *outgoing, uint32_t channel)
{
    struct gw_sender *sender = &outgoing->sender[channel];
    outgoing->bulk_watch[channel] = (struct gw_watch){.loop = NULL};
    sender->channel = channel;
    sender->map = channel == 0 ? outgoing->map : NULL;
    sender->lock = &outgoing->lock;
    sender->kicked = &outgoing->kicked;
    sender->source = &outgoing->source;
    sender->wake = &outgoing->wake;
    sender->ram = outgoing->ram;
    sender->tracker = outgoing->tracker;
    sender->uri = &outgoing->uri;
    sender->options = &outgoing->transport;
    sender->phase = GW_SENDER_IDLE;
    sender->thread.is_started = false;
    sender->bulk.operations = NULL;
    sender->bulk.cancel.fd = -1;
}

static void bind_threads(struct gw_outgoing *outgoing)
{
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        bind_sender(outgoing, i);
    }
    struct gw_answerer *answerer = &outgoing->answerer;
    answerer->lock = &outgoing->lock;
    answerer->kicked = &outgoing->kicked;
    answerer->source = &outgoing->source;
    answerer->wake = &outgoing->wake;
    answerer->ram = outgoing->ram;
    answerer->uri = &outgoing->uri;
    answerer->options = &outgoing->transport;
    answerer->thread.is_started = false;
    answerer->connection.operations = NULL;
    answerer->connection.cancel.fd = -1;
}

static_assert(GW_URI_FDS_MAX >= 2 + GW_BULK_CHANNELS_MAX, "a socket for each channel");

/* Each channel needs a socket of its own, and nobody here could make one more. */
static enum gw_status check_uri(const struct gw_uri *uri, uint32_t channel_count,
                                const struct gw_transport_options *options, struct gw_fault *fault)
{
    if (uri->scheme != GW_URI_FD) {
        return GW_OK;
    }
    channel_count += channel_count == 0;
    if (uri->fd_count < 2 + channel_count) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "fd: found %u sockets, wanted %u: one for control, %u for memory (as "
                            "many as there are channels), and an urgent one",
                            uri->fd_count, 2 + channel_count, channel_count);
    }
    return gw_sockets_check(uri, options, fault);
}

enum gw_status gw_outgoing_start(struct gw_outgoing *outgoing,
                                 const struct gw_outgoing_config *config, struct gw_fault *fault)
{
    GW_ASSERT(!outgoing->is_started);
    struct gw_uri uri;
    enum gw_status status = gw_uri_decode(&uri, config->uri, fault);
    if (status == GW_OK) {
        status = check_uri(&uri, config->source.channel_count, &config->transport, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    reset(outgoing, config);
    bind_threads(outgoing);
    status = open_descriptors(outgoing, fault);
    if (status != GW_OK) {
        close_descriptors(outgoing);
        return status;
    }
    if (!outgoing->has_lock) {
        open_lock(outgoing);
        outgoing->has_lock = true;
    }
    gw_outgoing_put_uri(outgoing, &uri);
    struct gw_source_config source = config->source;
    source.page_count = config->ram->page_count;
    source.page_bytes = config->ram->page_bytes;
    source.own_unit_pages = config->ram->unit_pages;
    pthread_mutex_lock(&outgoing->lock);
    gw_source_init(&outgoing->source, &source);
    pthread_mutex_unlock(&outgoing->lock);
    outgoing->is_started = true;
    struct gw_source_event event = {.type = GW_SOURCE_EV_START};
    status = gw_outgoing_tell(outgoing, &event, fault);
    gw_notify_signal(&outgoing->wake);
    return status;
}

void gw_outgoing_stop(struct gw_outgoing *outgoing)
{
    if (!outgoing->is_started) {
        return;
    }
    gw_outgoing_cut_link(outgoing);
    gw_outgoing_drop_uri(outgoing);
    if (outgoing->is_tracking) {
        outgoing->tracker->operations->stop(outgoing->tracker);
        outgoing->is_tracking = false;
    }
    close_descriptors(outgoing);
    outgoing->has_action = false;
    outgoing->is_started = false;
}

int gw_outgoing_fd(const struct gw_outgoing *outgoing)
{
    return outgoing->loop.epoll_fd;
}

/* ---- Answers ---- */

/* What follows from it is done in the owner's next work or next. */
static enum gw_status say(struct gw_outgoing *outgoing, struct gw_source_event event,
                          struct gw_fault *fault)
{
    if (!outgoing->is_started) {
        return gw_fault_set(fault, GW_ARGUMENT, "no migration is under way");
    }
    enum gw_status status = gw_outgoing_tell(outgoing, &event, fault);
    gw_notify_signal(&outgoing->wake);
    return status;
}

void gw_outgoing_recorded(struct gw_outgoing *outgoing, const struct gw_fault *fault)
{
    struct gw_source_event event = {.type = GW_SOURCE_EV_RECORDED, .fault = fault};
    (void)!say(outgoing, event, NULL);
}

void gw_outgoing_stopped(struct gw_outgoing *outgoing, uint64_t halted_ns, const uint8_t *state,
                         uint32_t state_bytes, bool is_running)
{
    GW_ASSERT(state_bytes <= GW_STATE_BYTES_MAX);
    outgoing->state = state;
    outgoing->state_bytes = state_bytes;
    outgoing->is_running = is_running;
    (void)!say(outgoing,
               (struct gw_source_event){.type = GW_SOURCE_EV_STOPPED, .halted_ns = halted_ns},
               NULL);
}

void gw_outgoing_host_fault(struct gw_outgoing *outgoing, const struct gw_fault *fault)
{
    (void)!say(outgoing, (struct gw_source_event){.type = GW_SOURCE_EV_HOST_FAULT, .fault = fault},
               NULL);
}

/* ---- Wishes ---- */

enum gw_status gw_outgoing_cancel(struct gw_outgoing *outgoing, struct gw_fault *fault)
{
    return say(outgoing, (struct gw_source_event){.type = GW_SOURCE_EV_CANCEL}, fault);
}

enum gw_status gw_outgoing_postcopy(struct gw_outgoing *outgoing, struct gw_fault *fault)
{
    return say(outgoing, (struct gw_source_event){.type = GW_SOURCE_EV_POSTCOPY}, fault);
}

enum gw_status gw_outgoing_continue(struct gw_outgoing *outgoing, struct gw_fault *fault)
{
    return say(outgoing, (struct gw_source_event){.type = GW_SOURCE_EV_CONTINUE}, fault);
}

enum gw_status gw_outgoing_pause(struct gw_outgoing *outgoing, struct gw_fault *fault)
{
    return say(outgoing, (struct gw_source_event){.type = GW_SOURCE_EV_PAUSE}, fault);
}

/* The engine tries again by itself before long: a new address is all it needs. */
static bool is_trying(struct gw_outgoing *outgoing)
{
    struct gw_source_figures figures;
    if (!outgoing->is_started || outgoing->link == LINK_UP) {
        return false;
    }
    gw_outgoing_get_figures(outgoing, &figures);
    return figures.is_link_lost || figures.is_held;
}

enum gw_status gw_outgoing_recover(struct gw_outgoing *outgoing, const char *uri,
                                   struct gw_fault *fault)
{
    struct gw_uri fresh;
    struct gw_fault refusal = {.status = GW_OK};
    enum gw_status status = uri != NULL ? gw_uri_decode(&fresh, uri, fault) : GW_OK;
    if (status == GW_OK && uri != NULL) {
        status =
            check_uri(&fresh, gw_source_channels(&outgoing->source), &outgoing->transport, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    status = say(outgoing, (struct gw_source_event){.type = GW_SOURCE_EV_RECOVER}, &refusal);
    if (status != GW_OK && !(uri != NULL && is_trying(outgoing))) {
        return gw_fault_set(fault, status, "%s", refusal.text);
    }
    if (uri != NULL) {
        gw_outgoing_put_uri(outgoing, &fresh);
    }
    return GW_OK;
}

enum gw_status gw_outgoing_give_up(struct gw_outgoing *outgoing, struct gw_token *token,
                                   struct gw_fault *fault)
{
    enum gw_status status =
        say(outgoing, (struct gw_source_event){.type = GW_SOURCE_EV_GIVE_UP}, fault);
    if (status == GW_OK) {
        pthread_mutex_lock(&outgoing->lock);
        gw_source_token(&outgoing->source, token);
        pthread_mutex_unlock(&outgoing->lock);
    }
    return status;
}

enum gw_status gw_outgoing_run_anyway(struct gw_outgoing *outgoing, const struct gw_token *token,
                                      struct gw_fault *fault)
{
    enum gw_status status = GW_OK;
    if (outgoing->is_started && token != NULL) {
        pthread_mutex_lock(&outgoing->lock);
        status = gw_source_check_token(&outgoing->source, token, fault);
        pthread_mutex_unlock(&outgoing->lock);
    }
    if (status != GW_OK) {
        return status;
    }
    return say(
        outgoing,
        (struct gw_source_event){.type = GW_SOURCE_EV_RUN_ANYWAY, .has_token = token != NULL},
        fault);
}

void gw_outgoing_set_limits(struct gw_outgoing *outgoing, uint64_t downtime_ns_max,
                            uint64_t bandwidth_max, uint64_t postcopy_bandwidth_max)
{
    if (!outgoing->is_started) {
        return;
    }
    pthread_mutex_lock(&outgoing->lock);
    gw_source_set_limits(&outgoing->source, downtime_ns_max, bandwidth_max, postcopy_bandwidth_max);
    pthread_cond_broadcast(&outgoing->kicked);
    pthread_mutex_unlock(&outgoing->lock);
}

/* ---- Figures ---- */

void gw_outgoing_get_figures(struct gw_outgoing *outgoing, struct gw_source_figures *figures)
{
    if (!outgoing->has_lock) {
        *figures = (struct gw_source_figures){.state = GW_SOURCE_NONE,
                                              .status = gw_source_status_name(GW_SOURCE_NONE)};
        return;
    }
    pthread_mutex_lock(&outgoing->lock);
    gw_source_figures(&outgoing->source, gw_clock_now_ns(), figures);
    pthread_mutex_unlock(&outgoing->lock);
}

enum gw_source_state gw_outgoing_state(struct gw_outgoing *outgoing)
{
    struct gw_source_figures figures;
    gw_outgoing_get_figures(outgoing, &figures);
    return figures.state;
}

enum gw_runner gw_outgoing_runner(struct gw_outgoing *outgoing)
{
    if (!outgoing->has_lock) {
        return GW_RUNNER_SOURCE;
    }
    pthread_mutex_lock(&outgoing->lock);
    enum gw_runner runner = gw_source_runner(&outgoing->source);
    pthread_mutex_unlock(&outgoing->lock);
    return runner;
}

void gw_outgoing_get_fault(struct gw_outgoing *outgoing, struct gw_fault *fault)
{
    gw_fault_clear(fault);
    if (outgoing->has_lock) {
        pthread_mutex_lock(&outgoing->lock);
        *fault = *gw_source_fault(&outgoing->source);
        pthread_mutex_unlock(&outgoing->lock);
    }
}
