/* SPDX-License-Identifier: Apache-2.0 */
/* The target side for its owner: start, stop, answers, wishes, figures. The contract:
 * godwit/incoming.h. */
#include <unistd.h>

#include "godwit/clock.h"
#include "drive/incoming_internal.h"

/* ---- Start and stop ---- */

static void ignore(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

static enum gw_status watch(struct gw_incoming *incoming, struct gw_watch *watch, int fd,
                            struct gw_fault *fault)
{
    return gw_loop_add(&incoming->loop, watch, fd, EPOLLIN, ignore, incoming, fault);
}

static enum gw_status open_descriptors(struct gw_incoming *incoming,
                                       const struct gw_incoming_config *config,
                                       struct gw_fault *fault)
{
    struct gw_uri uri;
    enum gw_status status = gw_uri_decode(&uri, config->uri, fault);
    if (status == GW_OK) {
        status = gw_listener_open(&incoming->listener, &uri, &config->transport, fault);
    }
    if (status == GW_OK) {
        status = gw_loop_open(&incoming->loop, fault);
    }
    if (status == GW_OK) {
        status = gw_notify_open(&incoming->wake, fault);
    }
    if (status == GW_OK) {
        status = gw_deadline_open(&incoming->timer, fault);
    }
    if (status == GW_OK) {
        status = watch(incoming, &incoming->wake_watch, incoming->wake.fd, fault);
    }
    if (status == GW_OK) {
        status = watch(incoming, &incoming->timer_watch, incoming->timer.fd, fault);
    }
    if (status == GW_OK) {
        status = watch(incoming, &incoming->listener_watch, incoming->listener.fd, fault);
    }
    return status;
}

static void close_descriptors(struct gw_incoming *incoming)
{
    gw_loop_remove(&incoming->wake_watch);
    gw_loop_remove(&incoming->timer_watch);
    gw_loop_remove(&incoming->listener_watch);
    gw_listener_close(&incoming->listener);
    gw_deadline_close(&incoming->timer);
    gw_notify_close(&incoming->wake);
    gw_loop_close(&incoming->loop);
}

static void bind_threads(struct gw_incoming *incoming)
{
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        struct gw_receiver *receiver = &incoming->receiver[i];
        incoming->channel[i] = NULL;
        incoming->old_channel[i] = NULL;
        receiver->lock = &incoming->lock;
        receiver->target = &incoming->target;
        receiver->woken_ns = &incoming->woken_ns;
        receiver->wake = &incoming->wake;
        receiver->ram = incoming->ram;
        receiver->faults = &incoming->faults;
        receiver->is_urgent = i == URGENT;
        receiver->channel = i == URGENT ? GW_TARGET_URGENT : (uint32_t)i;
        receiver->staging = incoming->staging[i];
        receiver->map = i == 0 ? incoming->map : NULL;
        receiver->thread.is_started = false;
    }
    struct gw_faults *faults = &incoming->faults;
    faults->lock = &incoming->lock;
    faults->target = &incoming->target;
    faults->wake = &incoming->wake;
    faults->ram = incoming->ram;
    faults->missing.is_on = false;
    atomic_store(&faults->channel, NULL);
    faults->is_started = false;
    faults->thread.is_started = false;
}

/* All but the large arrays, which are written before they are read. */
static void reset(struct gw_incoming *incoming, const struct gw_incoming_config *config)
{
    incoming->ram = config->ram;
    incoming->woken_ns = 0;
    incoming->is_user_mode_enough = config->is_user_mode_enough;
    incoming->intro_ns = config->intro_ns != 0 ? config->intro_ns : GW_INCOMING_INTRO_NS;
    incoming->loop = (struct gw_loop){.epoll_fd = -1};
    incoming->wake.fd = -1;
    incoming->timer.fd = -1;
    incoming->wake_watch = (struct gw_watch){.loop = NULL};
    incoming->timer_watch = incoming->wake_watch;
    incoming->listener_watch = incoming->wake_watch;
    incoming->listener = (struct gw_listener){.operations = NULL, .fd = -1};
    incoming->accept_ns = 0;
    incoming->source[0] = '\0';
    for (int i = 0; i < GW_INCOMING_PEERS_MAX; i++) {
        incoming->peer[i].role = GW_INCOMING_FREE;
    }
    gw_fault_clear(&incoming->stranger);
    incoming->candidate = NULL;
    incoming->control = NULL;
    incoming->old_control = NULL;
    incoming->is_broken = false;
    incoming->is_closing = false;
    incoming->is_loading = false;
    incoming->has_action = false;
    incoming->state = incoming->state_bytes;
    incoming->state_count = 0;
    gw_fault_clear(&incoming->lost);
    bind_threads(incoming);
}

enum gw_status gw_incoming_start(struct gw_incoming *incoming,
                                 const struct gw_incoming_config *config, struct gw_fault *fault)
{
    GW_ASSERT(!incoming->is_started);
    reset(incoming, config);
    enum gw_status status = open_descriptors(incoming, config, fault);
    if (status != GW_OK) {
        close_descriptors(incoming);
        return status;
    }
    (void)gw_uri_encode(&incoming->listener.uri, incoming->address);
    if (!incoming->has_lock) {
        (void)pthread_mutex_init(&incoming->lock, NULL);
        (void)pthread_mutex_init(&incoming->faults.channel_lock, NULL);
        incoming->has_lock = true;
    }
    struct gw_target_config target = config->target;
    target.can_postcopy = target.can_postcopy &&
                          gw_missing_probe(config->ram, config->is_user_mode_enough, NULL) == GW_OK;
    if (target.can_postcopy) {
        gw_missing_prepare(config->ram);
    }
    target.page_count = config->ram->page_count;
    target.page_bytes = config->ram->page_bytes;
    target.unit_pages = config->ram->unit_pages;
    pthread_mutex_lock(&incoming->lock);
    gw_target_init(&incoming->target, &target);
    pthread_mutex_unlock(&incoming->lock);
    incoming->is_started = true;
    struct gw_target_event event = {.type = GW_TARGET_EV_START};
    status = gw_incoming_tell(incoming, &event, fault);
    gw_notify_signal(&incoming->wake);
    return status;
}

void gw_incoming_stop(struct gw_incoming *incoming)
{
    if (!incoming->is_started) {
        return;
    }
    gw_incoming_cut_link(incoming);
    gw_faults_stop(&incoming->faults);
    close_descriptors(incoming);
    incoming->has_action = false;
    incoming->is_started = false;
}

const char *gw_incoming_address(const struct gw_incoming *incoming)
{
    return incoming->address;
}

const char *gw_incoming_source(const struct gw_incoming *incoming)
{
    return incoming->source;
}

int gw_incoming_fd(const struct gw_incoming *incoming)
{
    return incoming->loop.epoll_fd;
}

enum gw_status gw_incoming_next_stranger(struct gw_incoming *incoming, struct gw_fault *fault)
{
    if (incoming->stranger.status == GW_OK) {
        return GW_AGAIN;
    }
    *fault = incoming->stranger;
    gw_fault_clear(&incoming->stranger);
    return GW_OK;
}

/* ---- Answers ---- */

const uint8_t *gw_incoming_get_state(const struct gw_incoming *incoming, uint32_t *bytes)
{
    *bytes = incoming->state_count;
    return incoming->state;
}

/* What follows from it is done in the owner's next work or next. */
static enum gw_status say(struct gw_incoming *incoming, struct gw_target_event event,
                          struct gw_fault *fault)
{
    if (!incoming->is_started) {
        return gw_fault_set(fault, GW_ARGUMENT, "no guest is being waited for");
    }
    enum gw_status status = gw_incoming_tell(incoming, &event, fault);
    gw_notify_signal(&incoming->wake);
    return status;
}

void gw_incoming_recorded(struct gw_incoming *incoming, const struct gw_fault *fault)
{
    struct gw_target_event event = {.type = GW_TARGET_EV_RECORDED};
    if (fault != NULL) {
        event = (struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = fault};
    }
    (void)!say(incoming, event, NULL);
}

void gw_incoming_loaded(struct gw_incoming *incoming)
{
    incoming->is_loading = false;
    (void)!say(incoming, (struct gw_target_event){.type = GW_TARGET_EV_LOADED}, NULL);
}

void gw_incoming_device_ready(struct gw_incoming *incoming)
{
    (void)!say(incoming, (struct gw_target_event){.type = GW_TARGET_EV_DEVICE_READY}, NULL);
}

void gw_incoming_running(struct gw_incoming *incoming)
{
    (void)!say(incoming, (struct gw_target_event){.type = GW_TARGET_EV_STARTED}, NULL);
}

void gw_incoming_host_fault(struct gw_incoming *incoming, const struct gw_fault *fault)
{
    incoming->is_loading = false;
    (void)!say(incoming, (struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = fault},
               NULL);
}

/* ---- Wishes ---- */

enum gw_status gw_incoming_give_up(struct gw_incoming *incoming, struct gw_token *token,
                                   struct gw_fault *fault)
{
    enum gw_status status =
        say(incoming, (struct gw_target_event){.type = GW_TARGET_EV_GIVE_UP}, fault);
    if (status == GW_OK) {
        pthread_mutex_lock(&incoming->lock);
        gw_target_token(&incoming->target, token);
        pthread_mutex_unlock(&incoming->lock);
    }
    return status;
}

enum gw_status gw_incoming_run_anyway(struct gw_incoming *incoming, const struct gw_token *token,
                                      struct gw_fault *fault)
{
    enum gw_status status = GW_OK;
    if (incoming->is_started && token != NULL) {
        pthread_mutex_lock(&incoming->lock);
        status = gw_target_check_token(&incoming->target, token, fault);
        pthread_mutex_unlock(&incoming->lock);
    }
    if (status != GW_OK) {
        return status;
    }
    return say(incoming, (struct gw_target_event){.type = GW_TARGET_EV_RUN_ANYWAY}, fault);
}

enum gw_status gw_incoming_forget(struct gw_incoming *incoming, struct gw_fault *fault)
{
    return say(incoming, (struct gw_target_event){.type = GW_TARGET_EV_FORGET}, fault);
}

/* ---- Figures ---- */

void gw_incoming_get_figures(struct gw_incoming *incoming, struct gw_target_figures *figures)
{
    if (!incoming->has_lock) {
        *figures = (struct gw_target_figures){.state = GW_TARGET_NONE,
                                              .status = gw_target_status_name(GW_TARGET_NONE)};
        return;
    }
    pthread_mutex_lock(&incoming->lock);
    gw_target_figures(&incoming->target, gw_clock_now_ns(), figures);
    pthread_mutex_unlock(&incoming->lock);
}

enum gw_target_state gw_incoming_state(struct gw_incoming *incoming)
{
    struct gw_target_figures figures;
    gw_incoming_get_figures(incoming, &figures);
    return figures.state;
}

enum gw_runner gw_incoming_runner(struct gw_incoming *incoming)
{
    if (!incoming->has_lock) {
        return GW_RUNNER_SOURCE;
    }
    pthread_mutex_lock(&incoming->lock);
    enum gw_runner runner = gw_target_runner(&incoming->target);
    pthread_mutex_unlock(&incoming->lock);
    return runner;
}

void gw_incoming_get_fault(struct gw_incoming *incoming, struct gw_fault *fault)
{
    gw_fault_clear(fault);
    if (incoming->has_lock) {
        pthread_mutex_lock(&incoming->lock);
        *fault = *gw_target_fault(&incoming->target);
        pthread_mutex_unlock(&incoming->lock);
    }
}
