/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target's URI as a command gave it, made one that holds in this process: of fd:N,N,... the
 * numbers are the client's, and the sockets come with the command (SCM_RIGHTS). Main thread.
 */
#ifndef GW_RUN_HANDED_H
#define GW_RUN_HANDED_H

#include "godwit/info.h"
#include "godwit/transport.h"

struct gw_handed {
    char uri[GW_URI_TEXT_BYTES];
    char peer[GW_INFO_URI_BYTES]; /* for people: where the sockets lead, or the URI as given */
    uint32_t socket_count;        /* 0: no fd:... */
};

/* GW_ARGUMENT: no URI, or not as many sockets came as it names; they are closed then. */
GW_MUST_USE enum gw_status gw_handed_take(struct gw_handed *handed, const char *uri,
                                          struct gw_fault *fault);

/* Nobody wanted them. */
void gw_handed_close(const struct gw_handed *handed);

#endif
