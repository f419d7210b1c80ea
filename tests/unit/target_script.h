/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's machine, driven by hand: one of it, its clock, and what it asked for so far. Two
 * sessions are known by letter: 'A', the one at hand, and any other.
 */
#ifndef GW_UNIT_TARGET_SCRIPT_H
#define GW_UNIT_TARGET_SCRIPT_H

#include "godwit/target.h"

#define MS UINT64_C(1000000)

enum { PAGES = 8, PAGE = 4096 };

extern const bool is_legal[GW_TARGET_STATE_COUNT][GW_TARGET_EVENT_COUNT]; /* by the table */

extern struct gw_target target;
extern uint64_t now_ns;
extern uint32_t done[GW_TARGET_DO_FINISH + 1]; /* actions taken, by type */
extern uint32_t said[256];                     /* messages sent, by type */
extern struct gw_message last_said, last_turned_away;
extern struct gw_target_action last_run;
extern struct gw_history last_history; /* what was asked to be stored last */

void forget_actions(void);
void note(const struct gw_target_action *action);
void drain(void); /* takes all actions */

enum gw_status tell(struct gw_target_event event, struct gw_fault *fault); /* a millisecond on */
void happens(enum gw_target_event_type type);                              /* and drains */
void hears(const struct gw_message *message);
void hears_verdict(enum gw_frame_type type, uint64_t epoch);
void hears_hello(uint64_t page_count);
void hears_prepare(uint64_t epoch, uint64_t sequence_last);

struct gw_session session_of(char letter);
struct gw_message intro_of(char letter, enum gw_purpose purpose, uint32_t generation);
void comes_in(const struct gw_message *intro);
void comes(char letter, enum gw_purpose purpose, uint32_t generation); /* a control INTRO */
void comes_bulk(uint32_t generation, uint64_t sequence);

/* The urgent channel comes. */
void comes_urgent(uint32_t generation);

/* MISSING was read: these pages come later. */
void reads_map(uint64_t sequence, uint64_t pages);

/* PREPARE, of a guest some of whose pages come later. */
void hears_prepare_postcopy(uint64_t epoch, uint64_t sequence_last, uint32_t missing);

/* gw_target_may_place on the bulk channel. */
enum gw_status may_place(uint64_t sequence);

/* The receiver placed a batch of these pages. */
void places(uint64_t sequence, uint64_t page, uint32_t count, bool is_suspect);

void fresh(void);                       /* a target that was told nothing yet, with no records */
void reach(enum gw_target_state state); /* by the scripted way to it */

/* How the session stands in the records; -1: not there. */
int recorded(char letter);

#endif
