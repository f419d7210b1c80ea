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
            drop(client);
            return;
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
            gw_command_execute(&request, message);
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
    uint32_t in = client->is_ended || client->in_count > 0 ? 0 : EPOLLIN;
    gw_loop_change(&client->watch, in | (client->out_count > 0 ? (uint32_t)EPOLLOUT : 0));
}

static void read_some(struct gw_client *client)
{
    ssize_t got = recv(client->fd, client->in, sizeof(client->in), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got < 0) {
        drop(client);
        return;
    }
    client->is_ended = got == 0;
    client->in_at = 0;
    client->in_count = (size_t)got;
}

static void handle(void *context, uint32_t events)
{
    struct gw_client *client = context;
    if (events & (EPOLLERR | EPOLLHUP)) {
        client->is_ended = true;
    }
    if (client->in_count == 0 && !client->is_ended) {
        read_some(client);
    }
    if (client->fd >= 0) {
        serve(client);
    }
    if (client->fd >= 0) {
        flush(client);
    }
    if (client->fd >= 0 && client->in_count > 0) {
        serve(client); /* the flush made room */
    }
    if (client->fd >= 0 && (events & (EPOLLERR | EPOLLHUP))) {
        drop(client);
    }
    watch(client);
}

static void accept_client(void *context, uint32_t events)
{
    struct gw_clients *clients = context;
    struct gw_fault fault = {0};
    int fd;
    (void)events;
    if (gw_unix_accept(clients->listener_fd, &fd, &fault) != GW_OK) {
        return;
    }
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        struct gw_client *client = &clients->client[i];
        if (client->fd >= 0) {
            continue;
        }
        client->fd = fd;
        client->in_at = client->in_count = 0;
        client->out_at = client->out_count = 0;
        client->is_ended = false;
        gw_qmp_session_init(&client->session);
        if (gw_loop_add(&gw_run_storage.monitor.loop, &client->watch, fd, EPOLLIN, handle, client,
                        &fault) != GW_OK) {
            (void)close(fd);
            client->fd = -1;
            return;
        }
        gw_qmp_encode_greeting(&clients->message);
        queue(client, &clients->message);
        flush(client);
        watch(client);
        return;
    }
    struct gw_qmp_bad bad = {.class = GW_QMP_GENERIC_ERROR};
    (void)gw_fault_set(&bad.fault, GW_LIMIT,
                       "this monitor serves at most %d control connections at a time, and all "
                       "are taken: close one",
                       GW_CLIENTS_MAX);
    gw_qmp_encode_bad(&clients->message, &bad);
    (void)send(fd, clients->message.text, clients->message.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
}

enum gw_status gw_clients_open(const char *path, struct gw_fault *fault)
{
    struct gw_clients *clients = CLIENTS;
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        clients->client[i].fd = -1;
    }
    clients->listener_fd = -1;
    enum gw_status status = gw_unix_listen(path, &clients->listener_fd, fault);
    if (status) {
        return status;
    }
    return gw_loop_add(&gw_run_storage.monitor.loop, &clients->watch, clients->listener_fd, EPOLLIN,
                       accept_client, clients, fault);
}

void gw_clients_close(const char *path)
{
    struct gw_clients *clients = CLIENTS;
    if (clients->listener_fd >= 0) {
        gw_unix_close(clients->listener_fd, path);
        clients->listener_fd = -1;
    }
}

void gw_clients_tell(const struct gw_qmp_message *message)
{
    for (int i = 0; i < GW_CLIENTS_MAX; i++) {
        struct gw_client *client = &CLIENTS->client[i];
        if (client->fd >= 0 && client->session.is_negotiated) {
            queue(client, message);
        }
        if (client->fd >= 0) {
            flush(client);
        }
        watch(client);
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
