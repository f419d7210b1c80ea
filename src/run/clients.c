/* SPDX-License-Identifier: Apache-2.0 */
/* Control clients: see clients.h. */
#include "run/clients.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/unix_socket.h"
#include "run/storage.h"

#define CLIENTS (&gw_run_storage.clients)

static void drop(struct gw_client *client)
{
    gw_loop_remove(&client->watch);
    gw_parcel_close_fds(&client->passed);
    (void)close(client->fd);
    client->fd = -1;
}

static void flush(struct gw_client *client)
{
    while (client->out_count > 0) {
        ssize_t done = send(client->fd, client->out + client->out_at, client->out_count,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (done <= 0) {
            client->is_deaf = true;
            client->out_count = 0;
            break;
        }
        client->out_at += (size_t)done;
        client->out_count -= (size_t)done;
    }
    client->out_at = 0;
    if (client->is_ended) {
        drop(client);
    }
}

static bool has_room(const struct gw_client *client)
{
    return sizeof(client->out) - client->out_count >= GW_QMP_MESSAGE_BYTES;
}

static void queue(struct gw_client *client, const struct gw_qmp_message *message)
{
    if (client->is_deaf) {
        return;
    }
    if (sizeof(client->out) - client->out_count < message->bytes) {
        gw_monitor_say("a control client does not read what it is told: dropped");
        drop(client);
        return;
    }
    memmove(client->out, client->out + client->out_at, client->out_count);
    client->out_at = 0;
    memcpy(client->out + client->out_count, message->text, message->bytes);
    client->out_count += message->bytes;
}

/* Looks at what was read: one request at a time, as long as there is room for its reply. */
static void serve(struct gw_client *client)
{
    struct gw_qmp_message *message = &CLIENTS->message;
    struct gw_qmp_request request;
    struct gw_qmp_bad bad;
    while (client->fd >= 0 && client->in_count > 0 && has_room(client)) {
        const uint8_t *data = client->in + client->in_at;
        size_t left = client->in_count;
        enum gw_status status = gw_qmp_next_request(&client->session, &data, &left, &request, &bad);
        client->in_at += client->in_count - left;
        client->in_count = left;
        if (status == GW_AGAIN) {
            break;
        }
        if (status == GW_OK) {
            CLIENTS->asking = client;
            gw_command_execute(&request, message);
            CLIENTS->asking = NULL;
        } else {
            gw_qmp_encode_bad(message, &bad);
        }
        queue(client, message);
    }
}

static void watch(struct gw_client *client)
{
    if (client->fd < 0) {
        return;
    }
    /* What was read and not looked at waits for room, which an event may have made meanwhile. */
    uint32_t in = client->is_ended || client->in_count > 0 ? 0 : EPOLLIN;
    uint32_t out = client->out_count > 0 || client->in_count > 0 ? EPOLLOUT : 0;
    gw_loop_change(&client->watch, in | out);
}

/* Descriptors that come with the bytes are kept: the last that came together. */
static void keep_fds(struct gw_client *client, const struct gw_parcel *parcel)
{
    if (parcel->fd_count > 0) {
        gw_parcel_close_fds(&client->passed);
        client->passed = *parcel;
    }
}

/* False: nothing was there, or it cannot be read any more. */
static bool read_some(struct gw_client *client)
{
    struct gw_parcel parcel = {.bytes = client->in, .capacity = sizeof(client->in)};
    enum gw_status status = gw_parcel_receive(client->fd, &parcel, NULL);
    if (status == GW_AGAIN) {
        return false;
    }
    if (status != GW_OK && status != GW_LINK) {
        drop(client);
        return false;
    }
    keep_fds(client, &parcel);
    client->is_ended = status == GW_LINK;
    client->in_at = 0;
    client->in_count = parcel.size;
    return client->in_count > 0;
}

/* Reads, does and answers what there is. False: there was nothing new. */
static bool step(struct gw_client *client)
{
    bool had_input = client->in_count > 0;
    bool has_read = !had_input && !client->is_ended && read_some(client);
    if (client->fd >= 0) {
        serve(client);
    }
    if (client->fd >= 0) {
        flush(client);
    }
    if (client->fd >= 0 && client->in_count > 0) {
        serve(client); /* the flush made room */
    }
    return client->fd >= 0 && (has_read || (had_input && client->in_count == 0));
}

/* One that has written its commands and gone still means them. */
static void handle(void *context, uint32_t events)
{
    struct gw_client *client = context;
    while (step(client) && (events & EPOLLHUP) != 0) {
    }
    if (client->fd >= 0 && (events & (EPOLLERR | EPOLLHUP))) {
        drop(client);
    }
    watch(client);
}

static void refuse(int fd, const char *why)
{
    struct gw_qmp_message *message = &CLIENTS->message;
    struct gw_qmp_bad bad = {.class = GW_QMP_GENERIC_ERROR};
    (void)gw_fault_set(&bad.fault, GW_LIMIT,
                       "this monitor serves at most %d control connections at a time, and %s",
                       GW_CLIENTS_MAX, why);
    gw_qmp_encode_bad(message, &bad);
    (void)send(fd, message->text, message->bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Who connects and says nothing keeps nobody out: the first of them goes when all places are taken.
 */
static void make_room(void)
{
    struct gw_client *first = NULL;
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        struct gw_client *client = &CLIENTS->client[i];
        if (client->fd < 0) {
            return;
        }
        if (!client->session.is_negotiated && (first == NULL || client->number < first->number)) {
            first = client;
        }
    }
    if (first != NULL) {
        refuse(first->fd, "another one came before this one said anything");
        drop(first);
    }
}

/* A free place, with this connection in it and watched; NULL when there is none, or the host
 * refuses: then the connection is the caller's still. */
static struct gw_client *begin_client(int fd, bool *is_full)
{
    *is_full = true;
    make_room();
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        struct gw_client *client = &CLIENTS->client[i];
        if (client->fd >= 0) {
            continue;
        }
        *is_full = false;
        client->number = ++CLIENTS->count;
        client->in_at = client->in_count = 0;
        client->out_at = client->out_count = 0;
        client->is_ended = false;
        client->is_deaf = false;
        client->is_following = false;
        client->passed.fd_count = 0;
        gw_qmp_session_init(&client->session);
        if (gw_loop_add(&gw_run_storage.monitor.loop, &client->watch, fd, EPOLLIN, handle, client,
                        NULL) != GW_OK) {
            return NULL;
        }
        client->fd = fd;
        return client;
    }
    return NULL;
}

static void accept_client(void *context, uint32_t events)
{
    struct gw_clients *clients = context;
    struct gw_fault fault = {0};
    bool is_full;
    int fd;
    (void)events;
    if (gw_unix_accept(clients->listener_fd, &fd, &fault) != GW_OK) {
        return;
    }
    struct gw_client *client = begin_client(fd, &is_full);
    if (client != NULL) {
        gw_qmp_encode_greeting(&clients->message);
        queue(client, &clients->message);
        flush(client);
        watch(client);
        return;
    }
    if (!is_full) {
        (void)close(fd);
        return;
    }
    refuse(fd, "all are taken: close one");
    (void)close(fd);
}

static void reset(struct gw_clients *clients)
{
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        clients->client[i].fd = -1;
    }
    clients->listener_fd = -1;
    clients->is_ours = false;
}

enum gw_status gw_clients_open(const char *path, struct gw_fault *fault)
{
    struct gw_clients *clients = CLIENTS;
    reset(clients);
    enum gw_status status = gw_unix_listen(path, &clients->listener_fd, fault);
    return status ? status : gw_clients_serve(fault);
}

enum gw_status gw_clients_serve(struct gw_fault *fault)
{
    struct gw_clients *clients = CLIENTS;
    clients->is_ours = true;
    return gw_loop_add(&gw_run_storage.monitor.loop, &clients->watch, clients->listener_fd, EPOLLIN,
                       accept_client, clients, fault);
}

void gw_clients_close(const char *path)
{
    struct gw_clients *clients = CLIENTS;
    if (clients->listener_fd >= 0 && clients->is_ours) {
        gw_unix_close(clients->listener_fd, path);
    } else if (clients->listener_fd >= 0) {
        (void)close(clients->listener_fd);
    }
    clients->listener_fd = -1;
}

uint32_t gw_clients_take_fds(int fd[GW_PARCEL_FDS_MAX])
{
    struct gw_client *client = CLIENTS->asking;
    uint32_t count = client != NULL ? client->passed.fd_count : 0;
    for (uint32_t i = 0; i < count; i++) {
        fd[i] = client->passed.fd[i];
    }
    if (client != NULL) {
        client->passed.fd_count = 0;
    }
    return count;
}

/* Passing on */

void gw_clients_give(void (*give)(const struct gw_take_over_client *client, int fd))
{
    struct gw_clients *clients = CLIENTS;
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        struct gw_client *client = &clients->client[i];
        if (client->fd < 0) {
            continue;
        }
        const struct gw_take_over_client passed = {
            .is_negotiated = client->session.is_negotiated,
            .is_skipping = client->session.is_skipping,
            .line = {(const uint8_t *)client->session.line, (uint32_t)client->session.used},
            .in = {client->in + client->in_at, (uint32_t)client->in_count},
            .out = {(const uint8_t *)client->out + client->out_at, (uint32_t)client->out_count}};
        give(&passed, client->fd);
        drop(client);
    }
    gw_loop_remove(&clients->watch);
    (void)close(clients->listener_fd);
    clients->listener_fd = -1;
}

void gw_clients_adopt(int listener_fd)
{
    reset(CLIENTS);
    CLIENTS->listener_fd = listener_fd;
}

/* What was half read is read once more; should it be a whole request to this version, or none any
 * more, the client hears so. */
static void replay(struct gw_client *client, const struct gw_take_over_client *passed)
{
    struct gw_qmp_message *message = &CLIENTS->message;
    struct gw_qmp_request request;
    struct gw_qmp_bad bad;
    const uint8_t *data = passed->line.at;
    size_t left = passed->line.count;
    client->session.is_negotiated = passed->is_negotiated;
    if (gw_qmp_next_request(&client->session, &data, &left, &request, &bad) != GW_AGAIN) {
        gw_qmp_encode_bad(message, &bad);
        queue(client, message);
    }
    client->session.is_skipping = passed->is_skipping;
}

void gw_clients_adopt_client(const struct gw_take_over_client *passed, int fd)
{
    bool is_full;
    struct gw_client *client = begin_client(fd, &is_full);
    if (client == NULL || passed->in.count > sizeof(client->in) ||
        passed->out.count > sizeof(client->out)) {
        gw_monitor_say("there is no room for a control connection of the old godwit: closed");
        if (client != NULL) {
            drop(client);
        } else {
            (void)close(fd);
        }
        return;
    }
    if (passed->out.count > 0) {
        memcpy(client->out, passed->out.at, passed->out.count);
        client->out_count = passed->out.count;
    }
    replay(client, passed);
    if (client->fd >= 0 && passed->in.count > 0) {
        memcpy(client->in, passed->in.at, passed->in.count);
        client->in_count = passed->in.count;
        serve(client);
    }
    if (client->fd >= 0) {
        flush(client);
    }
    watch(client);
}

void gw_clients_follow(void)
{
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        CLIENTS->client[i].is_following = &CLIENTS->client[i] == CLIENTS->asking;
    }
}

static void tell(const struct gw_qmp_message *message, bool is_for_followers)
{
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        struct gw_client *client = &CLIENTS->client[i];
        if (client->fd >= 0 && client->session.is_negotiated &&
            (client->is_following || !is_for_followers)) {
            queue(client, message);
        }
        if (client->fd >= 0) {
            flush(client);
        }
        watch(client);
    }
}

void gw_clients_tell(const struct gw_qmp_message *message)
{
    tell(message, false);
}

void gw_clients_tell_followers(const struct gw_qmp_message *message)
{
    tell(message, true);
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        CLIENTS->client[i].is_following = false;
    }
}

bool gw_clients_is_any(void)
{
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        if (CLIENTS->client[i].fd >= 0) {
            return true;
        }
    }
    return false;
}
