/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's machine, driven by hand: one of it, its clock, and what it asked for so far.
 */
#ifndef GW_UNIT_SOURCE_SCRIPT_H
#define GW_UNIT_SOURCE_SCRIPT_H

#include "godwit/source.h"

#define MS UINT64_C(1000000)

extern const bool is_legal[GW_SOURCE_STATE_COUNT][GW_SOURCE_EVENT_COUNT]; /* by the table */

extern struct gw_source source;
extern uint64_t now_ns;
extern uint64_t bitmap[GW_BITMAP_WORDS];       /* what a tracker will say next */
extern uint32_t done[GW_SOURCE_DO_FINISH + 1]; /* actions taken, by type */
extern uint32_t said[256];                     /* messages sent, by type */
extern struct gw_message last_said;
extern enum gw_departure_state last_record;
extern bool is_committed; /* COMMIT was asked for, and nothing took it back */

void forget_actions(void);
void note(const struct gw_source_action *action);
extern bool
    is_slow_to_store; /* `left` and `kept`, too, are answered by the test; reset() ends it */
void drain(void);     /* takes all actions */
void expect_state(enum gw_source_state state);

bool next(struct gw_batch *batch); /* as the channel's thread asks for it; false: none now */
void sent(uint64_t sequence);      /* and says so */

enum gw_status tell(struct gw_source_event event, struct gw_fault *fault); /* a millisecond on */
void happens(enum gw_source_event_type type);                              /* and drains */
void hears(const struct gw_message *message);
void hears_welcome(enum gw_standing standing, uint64_t epoch);
void hears_verdict(enum gw_frame_type type, uint64_t epoch);
void hears_ack(uint64_t sequence);

void pages_go(bool is_acknowledged); /* the channel's thread sends all it is given */
void dirty(uint64_t pages);          /* sets `bitmap` */

void fresh(bool is_verifying);          /* a source that was told nothing yet */
void reach(enum gw_source_state state); /* by the scripted way to it */
void reach_held_postcopy(void);         /* HELD, with pages that come after the switch */
bool is_held(enum gw_source_state state);

enum { PEER_MESSAGES = 10 + 15 + 27 + 8 };
struct gw_message peer_message(uint32_t n); /* one of all that a target could say */

/* Which event it is, by docs and header, not by the engine's own code. */
enum gw_source_event_type event_of(const struct gw_message *message);

#endif
