/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever connects to a target: candidates until they introduced themselves, and those who leave.
 *
 * Nobody is kept out by others' silence: a candidate has a time limit, and a newcomer who finds
 * no room takes the place of the one that has been here the longest.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "godwit/clock.h"
#include "godwit/tls.h"
#include "drive/incoming_internal.h"

static_assert((int)GW_TLS_SESSIONS_MAX >= (int)GW_INCOMING_PEERS_MAX + 2 + GW_BULK_CHANNELS_MAX,
              "TLS for all who are here, and for a source in the same process");

enum {
    ACCEPTS_AT_A_TIME = 16, /* then the others have a turn */
    READS_AT_A_TIME = 16,
};

static void ignore(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

static void forget(struct gw_incoming_peer **pointer, const struct gw_incoming_peer *peer)
{
    if (*pointer == peer) {
        *pointer = NULL;
    }
}

void gw_incoming_free_peer(struct gw_incoming *incoming, struct gw_incoming_peer *peer)
{
    forget(&incoming->candidate, peer);
    forget(&incoming->control, peer);
    forget(&incoming->old_control, peer);
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        forget(&incoming->channel[i], peer);
        forget(&incoming->old_channel[i], peer);
    }
    gw_loop_remove(&peer->watch);
    gw_connection_close(&peer->channel.connection);
    peer->role = GW_INCOMING_FREE;
}

static void watch(struct gw_incoming_peer *peer, bool is_reading, bool is_writing)
{
    if (peer->watch.loop != NULL) {
        gw_loop_change(&peer->watch, (is_reading ? EPOLLIN : 0u) | (is_writing ? EPOLLOUT : 0u));
    }
}

void gw_incoming_watch_peer(struct gw_incoming_peer *peer, bool is_reading)
{
    watch(peer, is_reading, peer->channel.out_end > peer->channel.out_first);
}

/* ---- Coming ---- */

/* A candidate that came in this very look may have introduced itself: it is read first. A session's
 * channels come all at once, and must not displace each other. */
static bool is_displaceable(const struct gw_incoming *incoming, const struct gw_incoming_peer *peer,
                            uint64_t now_ns)
{
    return peer->role == GW_INCOMING_LEAVING ||
           (peer->role == GW_INCOMING_CANDIDATE && peer != incoming->candidate && !peer->is_ready &&
            peer->deadline_ns < now_ns + incoming->intro_ns);
}

/* A free slot; or that of the candidate, then of the leaving one, whose time is up first. The
 * session's own connections take GW_INCOMING_CHANNELS + 1 of the slots at most. */
static struct gw_incoming_peer *find_room(struct gw_incoming *incoming, uint64_t now_ns)
{
    static const enum gw_incoming_role victims[] = {GW_INCOMING_CANDIDATE, GW_INCOMING_LEAVING};
    for (int i = 0; i < GW_INCOMING_PEERS_MAX; i++) {
        if (incoming->peer[i].role == GW_INCOMING_FREE) {
            return &incoming->peer[i];
        }
    }
    for (int v = 0; v < 2; v++) {
        struct gw_incoming_peer *oldest = NULL;
        for (int i = 0; i < GW_INCOMING_PEERS_MAX; i++) {
            struct gw_incoming_peer *peer = &incoming->peer[i];
            if (peer->role == victims[v] && is_displaceable(incoming, peer, now_ns) &&
                (oldest == NULL || peer->deadline_ns < oldest->deadline_ns)) {
                oldest = peer;
            }
        }
        if (oldest != NULL) {
            gw_incoming_free_peer(incoming, oldest);
            return oldest;
        }
    }
    return NULL;
}

static bool is_anyone_waiting(const struct gw_incoming *incoming)
{
    struct pollfd listener = {.fd = incoming->listener.fd, .events = POLLIN};
    return poll(&listener, 1, 0) > 0;
}

static void begin_candidate(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                            uint64_t now_ns)
{
    peer->role = GW_INCOMING_CANDIDATE;
    peer->deadline_ns = now_ns + incoming->intro_ns;
    peer->is_ready = false;
    peer->is_shut = false;
    peer->channel.in = (struct gw_channel_buffer){peer->in_bytes, sizeof(peer->in_bytes)};
    peer->channel.state = (struct gw_channel_buffer){NULL, 0};
    peer->channel.out = (struct gw_channel_buffer){peer->out_bytes, sizeof(peer->out_bytes)};
    gw_channel_start(&peer->channel, 0, now_ns);
    if (gw_loop_add(&incoming->loop, &peer->watch, gw_connection_fd(&peer->channel.connection),
                    EPOLLIN, ignore, incoming, NULL) != GW_OK) {
        gw_incoming_free_peer(incoming, peer);
    }
}

/* The host has no descriptor left, say: the one who waits is let wait, and nothing spins. */
static void pause_accepting(struct gw_incoming *incoming, uint64_t now_ns)
{
    incoming->accept_ns = now_ns + GW_NS_PER_S;
    gw_loop_change(&incoming->listener_watch, 0);
}

static bool accept_one(struct gw_incoming *incoming, uint64_t now_ns)
{
    struct gw_incoming_peer *peer = find_room(incoming, now_ns);
    if (peer == NULL) {
        pause_accepting(incoming, now_ns);
        return false;
    }
    peer->watch = (struct gw_watch){.loop = NULL};
    enum gw_status status = gw_connection_open(&peer->channel.connection, NULL);
    if (status == GW_OK) {
        status = gw_listener_accept(&incoming->listener, &peer->channel.connection, NULL);
    }
    if (status == GW_OK) {
        begin_candidate(incoming, peer, now_ns);
        return true;
    }
    gw_connection_close(&peer->channel.connection);
    if (status == GW_HOST) {
        pause_accepting(incoming, now_ns);
    }
    return status != GW_AGAIN && status != GW_HOST; /* one who is gone already: the next */
}

void gw_incoming_accept(struct gw_incoming *incoming, uint64_t now_ns)
{
    if (incoming->accept_ns != 0) {
        if (now_ns < incoming->accept_ns) {
            return;
        }
        incoming->accept_ns = 0;
        gw_loop_change(&incoming->listener_watch, EPOLLIN);
    }
    for (int i = 0; i < ACCEPTS_AT_A_TIME && is_anyone_waiting(incoming); i++) {
        if (!accept_one(incoming, now_ns)) {
            break;
        }
    }
}

/* ---- Introducing ---- */

static enum gw_status check_intro(const struct gw_channel *channel, const struct gw_intro *intro,
                                  struct gw_fault *fault)
{
    uint64_t wanted = intro->role == GW_ROLE_CONTROL ? 1 : 0;
    if (channel->received != wanted || channel->generation != intro->generation ||
        intro->generation == 0) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "INTRO number %" PRIu64 " of generation %u says generation %u; the "
                            "number of this role's INTRO is %" PRIu64
                            ", and generations count from 1",
                            channel->received, channel->generation, intro->generation, wanted);
    }
    return GW_OK;
}

static void refuse_tls(struct gw_incoming *incoming, struct gw_incoming_peer *peer)
{
    gw_fault_clear(&incoming->stranger);
    (void)gw_fault_set(&incoming->stranger, GW_REFUSED,
                       "%.120s: the peer speaks TLS, and this side does not (give --tls on both "
                       "sides)",
                       peer->channel.connection.peer);
    memcpy(peer->channel.out.bytes, gw_tls_refusal, sizeof(gw_tls_refusal));
    peer->channel.out_end = sizeof(gw_tls_refusal);
    gw_incoming_dismiss(incoming, peer);
}

/* One that speaks godwit's protocol, if another version of it, is told what is wrong; another
 * program would not understand it. */
static void reject(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                   const struct gw_fault *fault)
{
    static const uint8_t magic[] = {'G', 'D', 'W', 'T'};
    bool is_godwit = memcmp(peer->channel.header_bytes, magic, sizeof(magic)) == 0 &&
                     (peer->channel.has_header || peer->channel.received > 0 ||
                      peer->channel.got == GW_FRAME_HEADER_BYTES);
    if (fault->status != GW_LINK && incoming->stranger.status == GW_OK) {
        incoming->stranger = *fault;
    }
    if (fault->status == GW_REFUSED) { /* TLS has told it, if it listens */
        gw_incoming_dismiss(incoming, peer);
        return;
    }
    if (!is_godwit && gw_tls_is_hello(peer->channel.header_bytes, peer->channel.got)) {
        refuse_tls(incoming, peer);
        return;
    }
    if (!is_godwit || fault->status == GW_LINK) {
        gw_incoming_free_peer(incoming, peer);
        return;
    }
    struct gw_message refuse = {.type = GW_FRAME_REFUSE};
    (void)snprintf(refuse.verdict.reason, sizeof(refuse.verdict.reason), "%.*s",
                   (int)sizeof(refuse.verdict.reason) - 1, fault->text);
    gw_incoming_turn_away(incoming, peer, &refuse);
}

static void serve_candidate(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                            uint64_t now_ns)
{
    if (peer->is_ready) {
        return;
    }
    struct gw_fault fault = {.status = GW_OK};
    enum gw_status status = gw_channel_receive(&peer->channel, now_ns, &peer->intro, &fault);
    if (status == GW_AGAIN) {
        if (now_ns >= peer->deadline_ns) {
            gw_incoming_free_peer(incoming, peer);
        }
        return;
    }
    if (status == GW_OK) {
        status = check_intro(&peer->channel, &peer->intro.intro, &fault);
    }
    if (status != GW_OK) {
        reject(incoming, peer, &fault);
        return;
    }
    peer->is_ready = true;
    gw_incoming_watch_peer(peer, false);
}

struct gw_incoming_peer *gw_incoming_find_ready(struct gw_incoming *incoming)
{
    struct gw_incoming_peer *first = NULL;
    for (int i = 0; i < GW_INCOMING_PEERS_MAX; i++) {
        struct gw_incoming_peer *peer = &incoming->peer[i];
        if (peer->role == GW_INCOMING_CANDIDATE && peer->is_ready &&
            (first == NULL || peer->deadline_ns < first->deadline_ns)) {
            first = peer;
        }
    }
    return first;
}

/* ---- Leaving ---- */

void gw_incoming_dismiss(struct gw_incoming *incoming, struct gw_incoming_peer *peer)
{
    if (incoming->candidate == peer) {
        incoming->candidate = NULL;
    }
    peer->role = GW_INCOMING_LEAVING;
    peer->is_ready = false;
    peer->is_shut = false;
    peer->deadline_ns = gw_clock_now_ns() + GW_INCOMING_LEAVE_NS;
    gw_incoming_watch_peer(peer, true);
}

void gw_incoming_turn_away(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                           const struct gw_message *message)
{
    if (peer->is_ready && peer->intro.intro.role != GW_ROLE_CONTROL) {
        peer->channel.sent = UINT64_MAX; /* the next number is 0, as on every bulk channel */
    }
    if (gw_channel_send(&peer->channel, message, NULL) == GW_OK) {
        gw_incoming_dismiss(incoming, peer);
    } else {
        gw_incoming_free_peer(incoming, peer);
    }
}

/* Sends what is left, then the end, and reads until the peer's: closed before that, with bytes
 * unread, a socket would take back what the peer has not read yet. */
static void serve_leaving(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                          uint64_t now_ns)
{
    uint8_t bytes[512];
    enum gw_status status = gw_channel_flush(&peer->channel, NULL);
    if (status == GW_OK && !peer->is_shut) {
        peer->is_shut = gw_connection_shut(&peer->channel.connection) == GW_OK;
    }
    for (int i = 0; i < READS_AT_A_TIME && status == GW_OK; i++) {
        struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
        size_t count = 0;
        status = gw_connection_read(&peer->channel.connection, &part, 1, &count, NULL);
    }
    if (status > GW_AGAIN || now_ns >= peer->deadline_ns) {
        gw_incoming_free_peer(incoming, peer);
        return;
    }
    watch(peer, true, !peer->is_shut);
}

static bool is_old_channel(const struct gw_incoming *incoming, const struct gw_incoming_peer *peer)
{
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        if (incoming->old_channel[i] == peer) {
            return true;
        }
    }
    return false;
}

void gw_incoming_serve_peers(struct gw_incoming *incoming, uint64_t now_ns)
{
    for (int i = 0; i < GW_INCOMING_PEERS_MAX; i++) {
        struct gw_incoming_peer *peer = &incoming->peer[i];
        if (peer->role == GW_INCOMING_CANDIDATE) {
            serve_candidate(incoming, peer, now_ns);
        } else if (peer->role == GW_INCOMING_LEAVING && !is_old_channel(incoming, peer)) {
            serve_leaving(incoming, peer, now_ns);
        }
    }
    /* A channel stays open until its control channel has said all: the source must not see its end
     * first. */
    for (int i = 0; i < GW_INCOMING_CHANNELS; i++) {
        struct gw_incoming_peer *channel = incoming->old_channel[i];
        if (channel != NULL && (incoming->old_control == NULL || now_ns >= channel->deadline_ns)) {
            gw_incoming_free_peer(incoming, channel);
        }
    }
}

uint64_t gw_incoming_peers_deadline(const struct gw_incoming *incoming)
{
    uint64_t deadline_ns = incoming->accept_ns != 0 ? incoming->accept_ns : UINT64_MAX;
    for (int i = 0; i < GW_INCOMING_PEERS_MAX; i++) {
        const struct gw_incoming_peer *peer = &incoming->peer[i];
        bool is_timed = peer->role == GW_INCOMING_LEAVING ||
                        (peer->role == GW_INCOMING_CANDIDATE && !peer->is_ready);
        if (is_timed && peer->deadline_ns < deadline_ns) {
            deadline_ns = peer->deadline_ns;
        }
    }
    return deadline_ns;
}
