/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of struct gw_incoming share. The owner's thread only. */
#ifndef GODWIT_DRIVE_INCOMING_INTERNAL_H
#define GODWIT_DRIVE_INCOMING_INTERNAL_H

#include "godwit/incoming.h"
#include "godwit/tls.h"

/* Tells the engine. */
enum gw_status gw_incoming_tell(struct gw_incoming *incoming, struct gw_target_event *event,
                                struct gw_fault *fault);

/* Does what the engine asks for, up to something for the owner; sets the timer. */
void gw_incoming_pump(struct gw_incoming *incoming);

/* Its index in incoming->channel and incoming->receiver; a bulk channel's is its number. */
enum { URGENT = GW_BULK_CHANNELS_MAX };

/* ---- Peers: connections, whatever their role (incoming_peers.c) ---- */

/* Takes in whoever waits at the listener. */
void gw_incoming_accept(struct gw_incoming *incoming, uint64_t now_ns);

/* Reads introductions; lets those go who have heard their last. */
void gw_incoming_serve_peers(struct gw_incoming *incoming, uint64_t now_ns);

/* Closes a peer's connection; its slot is free, and no pointer to it is left. */
void gw_incoming_free_peer(struct gw_incoming *incoming, struct gw_incoming_peer *peer);

/* From now on it only hears what was sent. */
void gw_incoming_dismiss(struct gw_incoming *incoming, struct gw_incoming_peer *peer);

/* The candidate that introduced itself and waits the longest, or NULL. */
struct gw_incoming_peer *gw_incoming_find_ready(struct gw_incoming *incoming);

/* Answers the candidate with `message`, and dismisses it. */
void gw_incoming_turn_away(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                           const struct gw_message *message);

/* Wants to hear of bytes to read if `is_reading`, and of room while something waits for it. */
void gw_incoming_watch_peer(struct gw_incoming_peer *peer, bool is_reading);

uint64_t gw_incoming_peers_deadline(const struct gw_incoming *incoming);

/* ---- The session's connections (incoming_link.c) ---- */

void gw_incoming_admit(struct gw_incoming *incoming, struct gw_incoming_peer *peer);
void gw_incoming_admit_channel(struct gw_incoming *incoming, struct gw_incoming_peer *peer,
                               const struct gw_target_action *action);
void gw_incoming_send(struct gw_incoming *incoming, const struct gw_message *message);

/* Begins to close them. is_closing until the receivers are back. */
void gw_incoming_leave(struct gw_incoming *incoming);

/* Reads and writes what it can, and tells the engine what came of it. */
void gw_incoming_serve_link(struct gw_incoming *incoming, uint64_t now_ns);

/* Takes what is being torn down one step on; true when something changed. Never blocks. */
bool gw_incoming_step_link(struct gw_incoming *incoming);

/* Cuts every connection; waits for the receivers. */
void gw_incoming_cut_link(struct gw_incoming *incoming);

uint64_t gw_incoming_link_deadline(const struct gw_incoming *incoming);

#endif
