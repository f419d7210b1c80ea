/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of the target's session: a control channel, served here, and bulk channels and
 * an urgent one, each its receiver's while that runs.
 *
 * When something breaks, whatever the source said before is read before the engine hears of the
 * break (an ABORT and then an end is an ABORT). While the machine loads its state the control
 * channel is not read, so that no other PREPARE overwrites it.
 */
#include <stdio.h>

#include "godwit/clock.h"
#include "drive/incoming_internal.h"

enum { MESSAGES_AT_A_TIME = 64 }; /* then the owner has a turn */

static void break_link(struct gw_incoming *incoming, const struct gw_fault *fault)
{
    if (incoming->lost.status == GW_OK) {
        incoming->lost = *fault;
        gw_notify_signal(&incoming->wake);
    }
}

/* ---- What the engine asks for ---- */

void gw_incoming_admit(struct gw_incoming *incoming, struct gw_incoming_peer *peer)
{
    if (incoming->old_control != NULL) {
        gw_incoming_free_peer(incoming, incoming->old_control); /* it uses the buffers */
    }
    struct gw_channel *channel = &peer->channel;
    channel->in = (struct gw_channel_buffer){incoming->in_bytes, sizeof(incoming->in_bytes)};
    channel->state =
        (struct gw_channel_buffer){incoming->state_bytes, sizeof(incoming->state_bytes)};
    channel->out = (struct gw_channel_buffer){incoming->out_bytes, sizeof(incoming->out_bytes)};
    channel->heard_ns = gw_clock_now_ns();
    (void)snprintf(incoming->source, sizeof(incoming->source), "%s", channel->connection.peer);
    peer->role = GW_INCOMING_CONTROL;
    peer->is_ready = false;
    incoming->candidate = NULL;
    incoming->control = peer;
    incoming->is_broken = false;
    gw_fault_clear(&incoming->lost);
    gw_incoming_watch_peer(peer, true);
    gw_notify_signal(&incoming->wake);
}

void gw_incoming_admit_channel(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                               const struct gw_target_action *action)
{
    struct gw_fault fault = {.status = GW_OK};
    int index = action->type == GW_TARGET_DO_ADMIT_BULK ? action->channel : URGENT;
    struct gw_connection *connection = &peer->channel.connection;
    incoming->candidate = NULL;
    if (incoming->control == NULL || incoming->channel[index] != NULL || incoming->is_broken) {
        gw_incoming_free_peer(incoming, peer); /* the session broke meanwhile */
        return;
    }
    gw_loop_remove(&peer->watch);
    peer->role = GW_INCOMING_CHANNEL;
    peer->is_ready = false;
    incoming->channel[index] = peer;
    if (gw_receiver_start(&incoming->receiver[index], connection, &action->message, action->has_map,
                          peer->channel.generation, &fault) != GW_OK) {
        break_link(incoming, &fault);
    }
}

void gw_incoming_send(struct gw_incoming *incoming, const struct gw_message *message)
{
    struct gw_fault fault = {.status = GW_OK};
    if (incoming->control == NULL || incoming->lost.status != GW_OK) {
        return; /* the engine will hear of it */
    }
    if (gw_channel_send(&incoming->control->channel, message, &fault) != GW_OK) {
        break_link(incoming, &fault);
    }
}

static void interrupt_channels(struct gw_incoming *incoming)
{
    gw_faults_detach(&incoming->faults);
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        gw_receiver_interrupt(&incoming->receiver[i]);
    }
}

void gw_incoming_leave(struct gw_incoming *incoming)
{
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        incoming->is_closing = incoming->is_closing || incoming->channel[i] != NULL;
    }
    if (incoming->is_closing) {
        interrupt_channels(incoming);
    }
    if (incoming->control != NULL) {
        if (incoming->old_control != NULL) {
            gw_incoming_free_peer(incoming, incoming->old_control);
        }
        incoming->old_control = incoming->control;
        incoming->control = NULL;
        gw_incoming_dismiss(incoming, incoming->old_control);
    }
    incoming->is_broken = false;
    gw_fault_clear(&incoming->lost);
    gw_notify_signal(&incoming->wake);
}

/* ---- Service ---- */

static bool is_reading(const struct gw_incoming *incoming)
{
    return !incoming->is_loading && !incoming->has_action;
}

/* PREPARE's state lies where it was read to, until the next one. */
static void keep_state(struct gw_incoming *incoming, const struct gw_message *message)
{
    if (message->type == GW_FRAME_PREPARE) {
        incoming->state = message->prepare.state;
        incoming->state_count = message->prepare.state_bytes;
    }
}

/* True when everything that came has been read. */
static bool receive(struct gw_incoming *incoming, uint64_t now_ns)
{
    for (int i = 0; i < MESSAGES_AT_A_TIME; i++) {
        if (incoming->control == NULL || !is_reading(incoming)) {
            return false;
        }
        struct gw_fault fault = {.status = GW_OK};
        struct gw_message message;
        enum gw_status status =
            gw_channel_receive(&incoming->control->channel, now_ns, &message, &fault);
        if (status == GW_AGAIN) {
            return true;
        }
        if (status != GW_OK) {
            break_link(incoming, &fault);
            return true;
        }
        if (message.type == GW_FRAME_PONG) {
            continue;
        }
        keep_state(incoming, &message);
        struct gw_target_event event = {.type = GW_TARGET_EV_MESSAGE, .message = &message};
        (void)!gw_incoming_tell(incoming, &event, NULL);
        gw_incoming_pump(incoming);
    }
    gw_notify_signal(&incoming->wake);
    return false;
}

static void check_threads(struct gw_incoming *incoming)
{
    struct gw_fault fault;
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        if (incoming->channel[i] != NULL && incoming->receiver[i].thread.is_started &&
            gw_receiver_has_ended(&incoming->receiver[i], &fault)) {
            break_link(incoming, &fault);
        }
    }
    if (incoming->channel[URGENT] != NULL && gw_faults_has_failed(&incoming->faults, &fault)) {
        break_link(incoming, &fault);
    }
}

/* A peer is not silent while nobody listens. */
static void check_idle(struct gw_incoming *incoming, bool is_all, uint64_t now_ns)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_channel *channel = &incoming->control->channel;
    if (!is_reading(incoming)) {
        channel->heard_ns = now_ns;
    } else if (is_all && gw_channel_check_idle(channel, now_ns, &fault) != GW_OK) {
        break_link(incoming, &fault);
    }
}

void gw_incoming_serve_link(struct gw_incoming *incoming, uint64_t now_ns)
{
    struct gw_fault fault = {.status = GW_OK};
    check_threads(incoming);
    if (incoming->control == NULL) {
        return;
    }
    if (gw_channel_flush(&incoming->control->channel, &fault) > GW_AGAIN) {
        break_link(incoming, &fault);
    }
    bool is_all = receive(incoming, now_ns);
    if (incoming->control == NULL) {
        return;
    }
    if (incoming->lost.status == GW_OK) {
        check_idle(incoming, is_all, now_ns);
    }
    if (incoming->lost.status != GW_OK && is_all) {
        incoming->is_broken = true;
    }
    gw_incoming_watch_peer(incoming->control, is_reading(incoming));
}

/* ---- Tearing down ---- */

/* True when no thread reads into guest RAM any more. */
static bool are_receivers_back(struct gw_incoming *incoming)
{
    struct gw_fault fault;
    bool are_back = true;
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        struct gw_receiver *receiver = &incoming->receiver[i];
        if (receiver->thread.is_started && gw_receiver_has_ended(receiver, &fault)) {
            gw_receiver_join(receiver);
        }
        are_back = are_back && !receiver->thread.is_started;
    }
    if (are_back) {
        gw_faults_detach(&incoming->faults);
    }
    return are_back;
}

static bool step_closing(struct gw_incoming *incoming)
{
    if (!are_receivers_back(incoming)) {
        return false;
    }
    incoming->is_closing = false;
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        struct gw_incoming_peer *channel = incoming->channel[i];
        if (channel != NULL) {
            if (incoming->old_channel[i] != NULL) {
                gw_incoming_free_peer(incoming, incoming->old_channel[i]);
            }
            incoming->channel[i] = NULL;
            incoming->old_channel[i] = channel;
            gw_incoming_dismiss(incoming, channel);
        }
    }
    return true;
}

static bool step_broken(struct gw_incoming *incoming)
{
    interrupt_channels(incoming);
    if (!are_receivers_back(incoming)) {
        return false;
    }
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        if (incoming->channel[i] != NULL) {
            gw_incoming_free_peer(incoming, incoming->channel[i]);
        }
    }
    if (incoming->control != NULL) {
        gw_incoming_free_peer(incoming, incoming->control);
    }
    struct gw_fault fault = incoming->lost;
    incoming->is_broken = false;
    gw_fault_clear(&incoming->lost);
    struct gw_target_event event = {.type = GW_TARGET_EV_LINK_LOST, .fault = &fault};
    (void)!gw_incoming_tell(incoming, &event, NULL);
    return true;
}

bool gw_incoming_step_link(struct gw_incoming *incoming)
{
    if (incoming->is_closing) {
        return step_closing(incoming);
    }
    return incoming->is_broken && step_broken(incoming);
}

void gw_incoming_cut_link(struct gw_incoming *incoming)
{
    interrupt_channels(incoming);
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        gw_receiver_join(&incoming->receiver[i]);
    }
    gw_faults_detach(&incoming->faults);
    for (int i = 0; i < GW_INCOMING_PEERS_MAX; i++) {
        if (incoming->peer[i].role != GW_INCOMING_FREE) {
            gw_incoming_free_peer(incoming, &incoming->peer[i]);
        }
    }
    incoming->is_closing = false;
    incoming->is_broken = false;
    gw_fault_clear(&incoming->lost);
}

uint64_t gw_incoming_link_deadline(const struct gw_incoming *incoming)
{
    if (incoming->control == NULL || !is_reading(incoming)) {
        return UINT64_MAX;
    }
    return gw_channel_deadline(&incoming->control->channel);
}
