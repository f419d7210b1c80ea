/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of struct gw_outgoing share. The owner's thread only. */
#ifndef GODWIT_DRIVE_OUTGOING_INTERNAL_H
#define GODWIT_DRIVE_OUTGOING_INTERNAL_H

#include "godwit/outgoing.h"

/* How far the connections are. */
enum gw_outgoing_link {
    LINK_NONE = 0,   /* none is open */
    LINK_CONNECTING, /* the sender connects the control channel */
    LINK_UP,         /* it is there; a bulk channel, too, while the sender has a job */
    LINK_BROKEN,     /* `lost` says why; all is being closed, then the engine is told */
    LINK_LEAVING,    /* the engine closed it; the peer hears what was said last */
};

/* Tells the engine, and wakes the senders if there may be something to send. */
enum gw_status gw_outgoing_tell(struct gw_outgoing *outgoing, struct gw_source_event *event,
                                struct gw_fault *fault);

/* Does what the engine asks for, up to something for the owner; sets the timer. */
void gw_outgoing_pump(struct gw_outgoing *outgoing);

/* ---- The connections ---- */

/* Where the next connection goes; checked. Its sockets, if it has any, are the struct's now. */
void gw_outgoing_put_uri(struct gw_outgoing *outgoing, const struct gw_uri *uri);

/* Forgets it, as the link is up again without it. */
void gw_outgoing_drop_uri(struct gw_outgoing *outgoing);

/* Begin what the engine asked for; a failure breaks the link, of which the engine hears later. */
void gw_outgoing_connect(struct gw_outgoing *outgoing, uint32_t generation);
void gw_outgoing_connect_bulk(struct gw_outgoing *outgoing, const struct gw_source_action *action);
void gw_outgoing_send(struct gw_outgoing *outgoing, struct gw_message *message);

/* Begins to close. is_closing until the threads are back. */
void gw_outgoing_leave(struct gw_outgoing *outgoing);

/* Notes why the link is broken, once; it is torn down after what came before is read. */
void gw_outgoing_break(struct gw_outgoing *outgoing, const struct gw_fault *fault);

/* Reads and writes what it can, and tells the engine what came of it. */
void gw_outgoing_serve_link(struct gw_outgoing *outgoing, uint64_t now_ns);

/* Takes what is being torn down one step on; true when something changed. Never blocks. */
bool gw_outgoing_step_link(struct gw_outgoing *outgoing, uint64_t now_ns);

/* Cuts everything; waits for the threads. */
void gw_outgoing_cut_link(struct gw_outgoing *outgoing);

/* When serve or step has something to do without any descriptor saying so. */
uint64_t gw_outgoing_link_deadline(const struct gw_outgoing *outgoing);

#endif
