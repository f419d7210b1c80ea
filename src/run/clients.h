/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control clients: the socket, its connections, and what each still has to be told. A client that
 * sends garbage gets errors; one that does not read is dropped once its queue is full; neither
 * touches the guest. Main thread.
 */
#ifndef GW_RUN_CLIENTS_H
#define GW_RUN_CLIENTS_H

#include "godwit/loop.h"
#include "godwit/parcel.h"
#include "godwit/qmp.h"
#include "run/take_over_message.h"

enum { GW_CLIENT_OUT_BYTES = 3 * GW_QMP_MESSAGE_BYTES };

struct gw_client {
    int fd;          /* -1: free */
    uint64_t number; /* later ones have a larger one */
    struct gw_watch watch;
    struct gw_qmp_session session;
    size_t in_at, in_count; /* bytes read and not looked at */
    uint8_t in[1024];
    size_t out_at, out_count;
    char out[GW_CLIENT_OUT_BYTES];
    bool is_ended;           /* it closed its end; what is queued still goes out */
    bool is_following;       /* it began the migration: it hears how that ends */
    bool is_deaf;            /* it cannot be told anything; what it wrote is still done */
    struct gw_parcel passed; /* the last descriptors it sent with its bytes, if any */
};

struct gw_clients {
    int listener_fd; /* -1: none */
    bool is_ours;    /* the listener: its file goes when this process ends */
    struct gw_watch watch;
    uint64_t count;           /* of those that ever came */
    struct gw_client *asking; /* whose command is being executed; NULL: nobody's */
    struct gw_qmp_message message;
    struct gw_client client[GW_CLIENTS_MAX];
};

GW_MUST_USE enum gw_status gw_clients_open(const char *path, struct gw_fault *fault);
void gw_clients_close(const char *path);

/* The descriptors that came with the command being executed, the caller's from then on. Returns how
 * many: 0 to GW_PARCEL_FDS_MAX. */
uint32_t gw_clients_take_fds(int fd[GW_PARCEL_FDS_MAX]);

/* Passing everything to another process: hands out each client (its descriptor stays this
 * process's until `give` returns), then lets go of them and of the listener, whose file stays. */
void gw_clients_give(void (*give)(const struct gw_take_over_client *client, int fd));

/* The other side of it: a listener that already exists, and who is connected. Nobody is accepted
 * before serve. */
void gw_clients_adopt(int listener_fd);
void gw_clients_adopt_client(const struct gw_take_over_client *client, int fd);
GW_MUST_USE enum gw_status gw_clients_serve(struct gw_fault *fault);

/* Queues a message for every client that negotiated. */
void gw_clients_tell(const struct gw_qmp_message *message);

/* Whose command is being executed follows the migration that it began. */
void gw_clients_follow(void);

/* Queues how it ended for those who follow, who do no longer. */
void gw_clients_tell_followers(const struct gw_qmp_message *message);

bool gw_clients_is_any(void);

#endif
