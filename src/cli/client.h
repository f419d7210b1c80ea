/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the control socket: one command at a time, with the reply awaited.
 *
 * Memory: a process needs one client, gw_cli_shared_client. Main thread. Blocks: up to reply_ns_max
 * for each reply, signals or not. After GW_LINK the connection is over: only close it.
 */
#ifndef GW_CLI_CLIENT_H
#define GW_CLI_CLIENT_H

#include "command.h"
#include "godwit/clock.h"
#include "godwit/parcel.h"
#include "godwit/qmp.h"
#include "godwit/transport.h"

/* What a busy monitor may need; `list` has less patience. */
#define GW_CLI_REPLY_NS_MAX (10 * GW_NS_PER_S)

/* A handover is held for a moment in every migration; longer, and someone should know. */
enum { GW_CLI_HELD_MS_MAX = 10000 };

struct gw_cli_client {
    int fd;                           /* -1: not connected */
    uint32_t passed_count;            /* descriptors that go with the next command */
    int passed_fd[GW_PARCEL_FDS_MAX]; /* they stay the caller's */
    uint64_t id;
    uint64_t reply_ns_max;
    struct gw_json json; /* the command being written, after gw_cli_client_begin() */
    struct gw_json_scanner scanner;
    size_t used;        /* bytes of `text` */
    size_t input_begin; /* bytes of `input` not looked at yet */
    size_t input_end;
    int result;     /* after a reply: index of its "return" in `document` */
    bool has_final; /* a MIGRATION event brought `final` */
    struct gw_info_migrate final;
    struct gw_json_document document; /* of the last message */
    char text[GW_QMP_MESSAGE_BYTES];
    char output[GW_CONTROL_LINE_MAX];
    uint8_t input[4096];
};

extern struct gw_cli_client gw_cli_shared_client;

/* Connects and negotiates. GW_LINK: no monitor listens at `path`, or what listens is none. */
GW_MUST_USE enum gw_status gw_cli_client_open(struct gw_cli_client *client, const char *path,
                                              uint64_t reply_ns_max, struct gw_fault *fault);
void gw_cli_client_close(struct gw_cli_client *client);

/* Begins a command; put its arguments into the returned writer, then call end. */
struct gw_json *gw_cli_client_begin(struct gw_cli_client *client, enum gw_qmp_command command);

/* Sends it and waits for its reply. GW_OK: `result` is the "return". GW_REFUSED: the monitor
 * answered with an error, whose sentence is the fault's. */
GW_MUST_USE enum gw_status gw_cli_client_end(struct gw_cli_client *client, struct gw_fault *fault);

/* Reads a target's URI; the sockets of fd:N,N,... must be there. GW_ARGUMENT. */
GW_MUST_USE enum gw_status gw_cli_decode_target(const char *text, struct gw_uri *uri,
                                                struct gw_fault *fault);

/* Puts a target's URI into the command; the sockets of fd:N,N,... go with it. */
void gw_cli_client_put_uri(struct gw_cli_client *client, const struct gw_uri *uri);

/* Begin and end of a command without arguments. */
GW_MUST_USE enum gw_status gw_cli_client_call(struct gw_cli_client *client,
                                              enum gw_qmp_command command, struct gw_fault *fault);

/* query-migrate. */
GW_MUST_USE enum gw_status gw_cli_client_query(struct gw_cli_client *client,
                                               struct gw_info_migrate *info,
                                               struct gw_fault *fault);

/* Waits for `ns`, or until the monitor says anything or a signal comes. GW_OK also then; GW_LINK
 * when the monitor has closed. Takes events. */
GW_MUST_USE enum gw_status gw_cli_client_wait(struct gw_cli_client *client, uint64_t ns,
                                              struct gw_fault *fault);

/* Finds the guest's places and connects; says what is wrong and returns an exit code, or 0. */
int gw_cli_client_find(struct gw_cli_client *client, const struct gw_cli_values *values);

#endif
