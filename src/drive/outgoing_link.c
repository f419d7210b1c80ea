/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's connections: one generation at a time, a control channel, then bulk channels and
 * (where the target can do postcopy) an urgent one.
 *
 * Two rules keep what was said last from being lost. When something breaks, whatever the peer
 * said before is read before the engine hears of the break (a REFUSE and then an end is a
 * refusal). And when the engine closes, all connections stay open until the peer, having heard
 * the last message and the end of the control channel, closes too, or GW_OUTGOING_LEAVE_NS have
 * passed: a socket closed with bytes unread would take back what the peer has not read yet.
 */
#include <stdio.h>

#include "godwit/clock.h"
#include "drive/exchange.h"
#include "drive/outgoing_internal.h"

enum { MESSAGES_AT_A_TIME = 64 }; /* then the owner has a turn */

static void unwatch(struct gw_outgoing *outgoing)
{
    gw_loop_remove(&outgoing->control_watch);
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        gw_loop_remove(&outgoing->bulk_watch[i]);
    }
}

void gw_outgoing_put_uri(struct gw_outgoing *outgoing, const struct gw_uri *uri)
{
    gw_outgoing_drop_uri(outgoing);
    outgoing->fresh_uri = *uri;
    outgoing->has_fresh_uri = true;
}

void gw_outgoing_drop_uri(struct gw_outgoing *outgoing)
{
    struct gw_sockets unused = {0};
    if (outgoing->has_fresh_uri && outgoing->fresh_uri.scheme == GW_URI_FD) {
        gw_sockets_put(&unused, &outgoing->fresh_uri);
        gw_sockets_close(&unused);
    }
    outgoing->has_fresh_uri = false;
}

/* No thread connects now. */
static void take_uri(struct gw_outgoing *outgoing)
{
    if (!outgoing->has_fresh_uri) {
        return;
    }
    outgoing->uri = outgoing->fresh_uri;
    outgoing->has_fresh_uri = false;
    if (outgoing->uri.scheme == GW_URI_FD) {
        gw_sockets_put(&outgoing->sockets, &outgoing->uri);
    }
}

/* The senders are back. Sockets that were handed in for these connections and not needed go with
 * them: the target does not wait for long for what it accepted. */
static void close_all(struct gw_outgoing *outgoing)
{
    gw_sockets_close(&outgoing->sockets);
    GW_ASSERT(!outgoing->answerer.thread.is_started);
    unwatch(outgoing);
    gw_connection_close(&outgoing->control.connection);
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        GW_ASSERT(outgoing->sender[i].phase == GW_SENDER_IDLE);
        gw_connection_close(&outgoing->sender[i].bulk);
    }
    outgoing->channel_count = 0;
    gw_connection_close(&outgoing->answerer.connection);
    outgoing->link = LINK_NONE;
    outgoing->is_bulk_told = false;
}

/* The set of descriptors is only ever polled as one: nothing is called from it. */
static void ignore(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

static void watch(struct gw_outgoing *outgoing, struct gw_watch *watch, int fd)
{
    struct gw_fault fault = {.status = GW_OK};
    if (gw_loop_add(&outgoing->loop, watch, fd, EPOLLIN, ignore, outgoing, &fault) != GW_OK) {
        gw_outgoing_break(outgoing, &fault);
    }
}

void gw_outgoing_break(struct gw_outgoing *outgoing, const struct gw_fault *fault)
{
    if (outgoing->lost.status == GW_OK) {
        outgoing->lost = *fault;
        gw_notify_signal(&outgoing->wake);
    }
}

/* ---- What the engine asks for ---- */

void gw_outgoing_connect(struct gw_outgoing *outgoing, uint32_t generation)
{
    struct gw_fault fault = {.status = GW_OK};
    if (outgoing->link != LINK_NONE) {
        gw_outgoing_cut_link(outgoing);
    }
    take_uri(outgoing);
    outgoing->uri.address[0] = '\0'; /* a name may mean another place by now */
    outgoing->generation = generation;
    gw_fault_clear(&outgoing->lost);
    outgoing->link = LINK_CONNECTING;
    enum gw_status status = gw_connection_open(&outgoing->control.connection, &fault);
    if (status == GW_OK) {
        status = gw_sender_connect(&outgoing->sender[0], &outgoing->control.connection, &fault);
    }
    if (status != GW_OK) {
        gw_outgoing_break(outgoing, &fault);
    }
}

static enum gw_status start_sender(struct gw_outgoing *outgoing, uint32_t channel,
                                   const struct gw_source_action *action, struct gw_fault *fault)
{
    struct gw_sender *sender = &outgoing->sender[channel];
    struct gw_intro intro = action->intro;
    intro.role = GW_ROLE_BULK;
    intro.channel = (uint8_t)channel;
    intro.sequence = action->acked[channel];
    enum gw_status status = gw_connection_open(&sender->bulk, fault);
    return status == GW_OK ? gw_sender_send(sender, &intro, channel == 0 && action->has_map, fault)
                           : status;
}

/* Once for a set of channels. */
static void start_answerer(struct gw_outgoing *outgoing)
{
    struct gw_answerer *answerer = &outgoing->answerer;
    struct gw_fault fault = {.status = GW_OK};
    struct gw_intro intro = outgoing->sender[0].intro;
    intro.role = GW_ROLE_URGENT;
    if (answerer->thread.is_started) {
        return;
    }
    enum gw_status status = gw_connection_open(&answerer->connection, &fault);
    if (status == GW_OK) {
        status = gw_answerer_start(answerer, &intro, &fault);
    }
    if (status != GW_OK) {
        gw_outgoing_break(outgoing, &fault);
    }
}

void gw_outgoing_connect_bulk(struct gw_outgoing *outgoing, const struct gw_source_action *action)
{
    struct gw_fault fault = {.status = GW_OK};
    if (outgoing->link != LINK_UP) {
        return; /* it broke meanwhile: the engine will hear of it */
    }
    outgoing->has_urgent = action->has_urgent;
    outgoing->channel_count = action->channel_count;
    enum gw_status status = GW_OK;
    for (uint32_t i = 0; i < action->channel_count && status == GW_OK; i++) {
        status = start_sender(outgoing, i, action, &fault);
    }
    if (status != GW_OK) {
        gw_outgoing_break(outgoing, &fault);
    } else if (action->has_urgent && !action->has_map) { /* else the map says what to answer */
        start_answerer(outgoing);
    }
}

/* Wants to hear of room in the socket only while something waits for it. */
static void watch_control(struct gw_outgoing *outgoing)
{
    if (outgoing->control_watch.loop != NULL) {
        bool is_waiting = outgoing->control.out_end > outgoing->control.out_first ||
                          (outgoing->link == LINK_LEAVING && !outgoing->is_shut);
        gw_loop_change(&outgoing->control_watch, EPOLLIN | (is_waiting ? EPOLLOUT : 0u));
    }
}

void gw_outgoing_send(struct gw_outgoing *outgoing, struct gw_message *message)
{
    struct gw_fault fault = {.status = GW_OK};
    if (outgoing->link != LINK_UP || outgoing->lost.status != GW_OK) {
        return;
    }
    if (message->type == GW_FRAME_PREPARE) {
        message->prepare.state = outgoing->state;
        message->prepare.state_bytes = outgoing->state_bytes;
        message->prepare.is_running = outgoing->is_running;
    }
    if (gw_channel_send(&outgoing->control, message, &fault) != GW_OK) {
        gw_outgoing_break(outgoing, &fault);
    }
    watch_control(outgoing);
}

static void interrupt_threads(struct gw_outgoing *outgoing)
{
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        gw_sender_interrupt(&outgoing->sender[i]);
    }
    gw_answerer_interrupt(&outgoing->answerer);
}

void gw_outgoing_leave(struct gw_outgoing *outgoing)
{
    if (outgoing->link == LINK_NONE) {
        return;
    }
    interrupt_threads(outgoing);
    outgoing->is_closing = true;
    outgoing->is_shut = false;
    outgoing->leave_ns = gw_clock_now_ns();
    if (outgoing->link == LINK_UP && outgoing->lost.status == GW_OK) {
        outgoing->leave_ns += GW_OUTGOING_LEAVE_NS;
    }
    outgoing->link = LINK_LEAVING;
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        gw_loop_remove(&outgoing->bulk_watch[i]); /* its end tells nothing any more */
    }
}

/* ---- Service ---- */

static void come_up(struct gw_outgoing *outgoing, uint64_t now_ns)
{
    gw_sender_join(&outgoing->sender[0]);
    gw_outgoing_drop_uri(outgoing);
    gw_uri_keep_to(&outgoing->uri, gw_connection_fd(&outgoing->control.connection));
    outgoing->link = LINK_UP;
    gw_channel_start(&outgoing->control, outgoing->generation, now_ns);
    watch(outgoing, &outgoing->control_watch, gw_connection_fd(&outgoing->control.connection));
    struct gw_source_event event = {.type = GW_SOURCE_EV_LINK_UP};
    (void)!gw_outgoing_tell(outgoing, &event, NULL);
}

static void serve_connecting(struct gw_outgoing *outgoing, uint64_t now_ns)
{
    struct gw_fault fault;
    if (gw_sender_get_phase(&outgoing->sender[0], &fault) != GW_SENDER_ENDED) {
        return;
    }
    if (fault.status == GW_OK) {
        come_up(outgoing, now_ns);
    } else {
        gw_outgoing_break(outgoing, &fault);
    }
}

/* True when everything that came has been read. */
static bool receive(struct gw_outgoing *outgoing, uint64_t now_ns)
{
    for (int i = 0; i < MESSAGES_AT_A_TIME; i++) {
        if (outgoing->link != LINK_UP || outgoing->has_action) {
            return false;
        }
        struct gw_fault fault = {.status = GW_OK};
        struct gw_message message;
        enum gw_status status = gw_channel_receive(&outgoing->control, now_ns, &message, &fault);
        if (status == GW_AGAIN) {
            return true;
        }
        if (status != GW_OK) {
            gw_outgoing_break(outgoing, &fault);
            return true;
        }
        /* READY asks for COMMIT, which this link brings no more: a guest that was not committed is
         * not held. */
        bool is_vain = message.type == GW_FRAME_READY && outgoing->lost.status != GW_OK;
        if (message.type == GW_FRAME_PONG || is_vain) {
            continue;
        }
        struct gw_source_event event = {.type = GW_SOURCE_EV_MESSAGE, .message = &message};
        (void)!gw_outgoing_tell(outgoing, &event, NULL);
        gw_outgoing_pump(outgoing);
    }
    gw_notify_signal(&outgoing->wake);
    return false;
}

/* After WELCOME the target says nothing on a bulk channel: what can be read there is its end. Asked
 * without the socket's lock, for which its sender would have to wait. */
static void check_bulk(struct gw_outgoing *outgoing, struct gw_connection *bulk)
{
    if (!gw_exchange_is_readable(bulk, 0)) {
        return;
    }
    uint8_t byte;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    size_t count = 0;
    struct gw_fault fault = {.status = GW_OK};
    enum gw_status status = gw_connection_read(bulk, &part, 1, &count, &fault);
    if (status == GW_OK) {
        (void)gw_fault_set(&fault, GW_PROTOCOL, "%.120s: sent bytes on a bulk channel", bulk->peer);
    }
    if (status != GW_AGAIN) {
        gw_outgoing_break(outgoing, &fault);
    }
}

/* Bulk and urgent channels are there: the engine may use them. */
static void come_up_bulk(struct gw_outgoing *outgoing)
{
    outgoing->is_bulk_told = true;
    gw_sockets_close(&outgoing->sockets); /* the target takes fewer channels */
    for (uint32_t i = 0; i < outgoing->channel_count; i++) {
        watch(outgoing, &outgoing->bulk_watch[i], gw_connection_fd(&outgoing->sender[i].bulk));
    }
    struct gw_source_event event = {.type = GW_SOURCE_EV_BULK_UP};
    (void)!gw_outgoing_tell(outgoing, &event, NULL);
}

/* True when all of them are there. */
static bool are_senders_up(struct gw_outgoing *outgoing)
{
    bool are_up = outgoing->channel_count > 0;
    for (uint32_t i = 0; i < outgoing->channel_count; i++) {
        struct gw_fault fault;
        enum gw_sender_phase phase = gw_sender_get_phase(&outgoing->sender[i], &fault);
        if (phase == GW_SENDER_ENDED) {
            gw_outgoing_break(outgoing, &fault);
        }
        are_up = are_up && phase == GW_SENDER_UP;
    }
    return are_up;
}

/* True when the urgent one is there, or none belongs to them. */
static bool is_answerer_up(struct gw_outgoing *outgoing)
{
    struct gw_answerer *answerer = &outgoing->answerer;
    struct gw_fault fault;
    if (!answerer->thread.is_started) {
        return !outgoing->has_urgent;
    }
    if (gw_answerer_has_ended(answerer, &fault)) {
        gw_outgoing_break(outgoing, &fault);
    }
    return gw_answerer_is_up(answerer);
}

static void check_threads(struct gw_outgoing *outgoing)
{
    bool are_bulk_up = are_senders_up(outgoing);
    bool is_urgent_up = is_answerer_up(outgoing);
    if (!are_bulk_up || outgoing->lost.status != GW_OK) {
        return;
    }
    if (!is_urgent_up) {
        start_answerer(outgoing);
        return;
    }
    if (!outgoing->is_bulk_told) {
        come_up_bulk(outgoing);
    }
    for (uint32_t i = 0; i < outgoing->channel_count; i++) {
        check_bulk(outgoing, &outgoing->sender[i].bulk);
    }
}

static void serve_up(struct gw_outgoing *outgoing, uint64_t now_ns)
{
    struct gw_fault fault = {.status = GW_OK};
    check_threads(outgoing);
    if (gw_channel_flush(&outgoing->control, &fault) > GW_AGAIN) {
        gw_outgoing_break(outgoing, &fault);
    }
    bool is_all = receive(outgoing, now_ns);
    if (outgoing->link != LINK_UP) {
        return;
    }
    if (is_all && outgoing->lost.status == GW_OK &&
        gw_channel_check_idle(&outgoing->control, now_ns, &fault) != GW_OK) {
        gw_outgoing_break(outgoing, &fault);
    }
    watch_control(outgoing);
    if (outgoing->lost.status != GW_OK && is_all) {
        outgoing->link = LINK_BROKEN;
    } else if (outgoing->lost.status != GW_OK) {
        gw_notify_signal(&outgoing->wake);
    }
}

void gw_outgoing_serve_link(struct gw_outgoing *outgoing, uint64_t now_ns)
{
    if (outgoing->link == LINK_CONNECTING) {
        serve_connecting(outgoing, now_ns);
    }
    if (outgoing->link == LINK_UP) {
        serve_up(outgoing, now_ns);
    } else if (outgoing->link == LINK_CONNECTING && outgoing->lost.status != GW_OK) {
        outgoing->link = LINK_BROKEN;
    }
}

/* ---- Tearing down ---- */

/* True when no thread has anything to do any more. */
static bool are_threads_back(struct gw_outgoing *outgoing)
{
    struct gw_fault fault;
    bool are_back = true;
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        struct gw_sender *sender = &outgoing->sender[i];
        enum gw_sender_phase phase = gw_sender_get_phase(sender, &fault);
        if (phase == GW_SENDER_ENDED) {
            gw_sender_join(sender);
        }
        are_back = are_back && (phase == GW_SENDER_ENDED || phase == GW_SENDER_IDLE);
    }
    struct gw_answerer *answerer = &outgoing->answerer;
    if (answerer->thread.is_started && gw_answerer_has_ended(answerer, &fault)) {
        gw_answerer_join(answerer);
    }
    return are_back && !answerer->thread.is_started;
}

/* Nobody here can connect again what someone else connected: whoever reads this must. */
static void ask_for_sockets(const struct gw_outgoing *outgoing, struct gw_fault *fault)
{
    char why[GW_FAULT_TEXT_BYTES];
    if (outgoing->uri.scheme != GW_URI_FD || outgoing->has_fresh_uri) {
        return;
    }
    (void)snprintf(why, sizeof(why), "%s", fault->text);
    (void)snprintf(fault->text, sizeof(fault->text),
                   "%.150s; hand in new sockets: godwit migrate-recover NAME fd:N,N,...", why);
}

static bool step_broken(struct gw_outgoing *outgoing)
{
    interrupt_threads(outgoing);
    if (!are_threads_back(outgoing)) {
        return false;
    }
    close_all(outgoing);
    struct gw_fault fault = outgoing->lost;
    ask_for_sockets(outgoing, &fault);
    struct gw_source_event event = {.type = GW_SOURCE_EV_LINK_LOST, .fault = &fault};
    (void)!gw_outgoing_tell(outgoing, &event, NULL);
    return true;
}

/* Sends what is left and the end; reads until the peer's. True when there is no more to wait for.
 */
static bool say_goodbye(struct gw_outgoing *outgoing)
{
    struct gw_connection *connection = &outgoing->control.connection;
    if (gw_connection_fd(connection) < 0) {
        return true;
    }
    enum gw_status status = gw_channel_flush(&outgoing->control, NULL);
    if (status == GW_OK && !outgoing->is_shut) {
        outgoing->is_shut = gw_connection_shut(connection) == GW_OK;
    }
    watch_control(outgoing);
    for (int i = 0; i < MESSAGES_AT_A_TIME && status <= GW_AGAIN; i++) {
        struct iovec part = {.iov_base = outgoing->in_bytes, .iov_len = sizeof(outgoing->in_bytes)};
        size_t count = 0;
        status = gw_connection_read(connection, &part, 1, &count, NULL);
        if (status == GW_AGAIN) {
            return false;
        }
    }
    return status > GW_AGAIN;
}

static bool step_leaving(struct gw_outgoing *outgoing, uint64_t now_ns)
{
    bool is_over = now_ns >= outgoing->leave_ns || say_goodbye(outgoing);
    if (is_over) { /* threads may take their time: a name is looked up, which nobody can interrupt
                    */
        outgoing->leave_ns = 0;
        gw_loop_remove(&outgoing->control_watch);
    }
    if (!are_threads_back(outgoing)) {
        return false;
    }
    bool was_closing = outgoing->is_closing;
    outgoing->is_closing = false;
    if (is_over) {
        close_all(outgoing);
    }
    return is_over || was_closing;
}

bool gw_outgoing_step_link(struct gw_outgoing *outgoing, uint64_t now_ns)
{
    switch ((enum gw_outgoing_link)outgoing->link) {
    case LINK_BROKEN:
        return step_broken(outgoing);
    case LINK_LEAVING:
        return step_leaving(outgoing, now_ns);
    case LINK_NONE:
    case LINK_CONNECTING:
    case LINK_UP:
        break;
    }
    return false;
}

void gw_outgoing_cut_link(struct gw_outgoing *outgoing)
{
    interrupt_threads(outgoing);
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        gw_sender_join(&outgoing->sender[i]);
    }
    gw_answerer_join(&outgoing->answerer);
    close_all(outgoing);
    outgoing->is_closing = false;
}

uint64_t gw_outgoing_link_deadline(const struct gw_outgoing *outgoing)
{
    if (outgoing->link == LINK_UP) {
        return gw_channel_deadline(&outgoing->control);
    }
    bool is_saying = outgoing->link == LINK_LEAVING && outgoing->leave_ns > 0;
    return is_saying ? outgoing->leave_ns : UINT64_MAX;
}
