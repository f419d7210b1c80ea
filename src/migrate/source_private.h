/* SPDX-License-Identifier: Apache-2.0 */
/* What the source's machine (source.c) and its steps (source_steps.c) share. */
#ifndef GW_MIGRATE_SOURCE_PRIVATE_H
#define GW_MIGRATE_SOURCE_PRIVATE_H

#include "godwit/source.h"

/* How long a state waits for the target's answer: WELCOME or ACCEPT; the next acknowledgement of
 * the last pages (or room to send them); READY; the word how a held guest stands; SWITCHOVER_ACK,
 * when all else is ready; the answer to DONE. A target that is gone altogether is noticed sooner,
 * by its silence. GW_SETTLING_NS_MIN: how long DONE is said again at least, its link lost. */
#define GW_GREETING_NS_MAX  UINT64_C(30000000000)
#define GW_FINISHING_NS_MAX UINT64_C(30000000000)
#define GW_PREPARED_NS_MAX  UINT64_C(30000000000)
#define GW_ASKING_NS_MAX    UINT64_C(10000000000)
#define GW_DEVICES_NS_MAX   UINT64_C(60000000000)
#define GW_SETTLING_NS_MAX  UINT64_C(10000000000)
#define GW_SETTLING_NS_MIN  UINT64_C(2000000000)
#define GW_RETRY_NS_FIRST   UINT64_C(200000000)
#define GW_RECOVER_NS_FIRST UINT64_C(20000000)
#define GW_RETRY_NS_MAX     UINT64_C(2000000000)

/* Appends an action; the returned one may be filled further. */
struct gw_source_action *gw_source_emit(struct gw_source *source, enum gw_source_action_type type);

/* Sends a message with no more content than its type and the epoch. */
struct gw_message *gw_source_send(struct gw_source *source, enum gw_frame_type type);

/* Would an operator's wish be granted now? */
bool gw_source_may(const struct gw_source *source, enum gw_source_event_type wish);

/* Closes the link because the peer broke the protocol; the source's own event LINK_LOST follows
 * by itself. */
void gw_source_drop_link(struct gw_source *source, const struct gw_fault *fault, uint64_t now);

typedef void gw_source_step(struct gw_source *source, const struct gw_source_event *event);

/* The steps, by name: gw_source_step_NAME() in source_steps.c and source_converge.c. */
/* clang-format off */
#define GW_SOURCE_STEPS(X) \
    X(connect) X(introduce) X(hello) X(open_bulk) X(begin) X(first_round) X(count_sent) \
    X(count_acked) X(take_back) X(collect) X(judge) X(record_leaving) X(stop) X(collect_last) \
    X(last_round) X(prepare) X(commit) X(done) X(done_again) X(settle) X(back_off) X(ask) X(give_up) \
    X(finish) X(nothing) X(end) X(pause) X(ask_again) X(reopen) X(resume) X(merge) \
    X(want_postcopy) X(push) X(reopen_push) X(reconcile) X(push_again) X(part) X(let_go) \
    X(acknowledge) X(hold) X(go_on) X(complete) \
    X(leave_shared) X(prepare_shared)
/* clang-format on */

#define GW_SOURCE_STEP_DECLARE(name) gw_source_step gw_source_step_##name;
GW_SOURCE_STEPS(GW_SOURCE_STEP_DECLARE)
#undef GW_SOURCE_STEP_DECLARE

/* source_send.c */

struct gw_flight *gw_source_flight(struct gw_source *source, uint32_t channel, uint64_t sequence);

/* Batches behind `before` are acknowledged now: what travelled whole of them is measured. */
void gw_source_note_raw(struct gw_source *source, uint32_t channel, uint64_t before,
                        uint64_t now_ns);

/* source_cause.c */

/* How long a lost link is tried again. */
uint64_t gw_source_patience_ns(const struct gw_source *source);

/* Remembers why it ended, from the event that ends it, and the message it came by (or NULL). */
void gw_source_note_cause(struct gw_source *source, const struct gw_source_event *event,
                          const struct gw_message *message);

/* source_converge.c */

/* Pages follow the guest, from now on: no page is sent any more before it stops. */
void gw_source_begin_postcopy(struct gw_source *source);

/* The target can, and nothing that was asked for rules it out. */
bool gw_source_can_postcopy(const struct gw_source *source);

/* When the deadline takes effect next; UINT64_MAX: there is none, or it has. */
uint64_t gw_source_late_at(const struct gw_source *source);

/* It takes effect now. True: by a DEADLINE event that ends the migration. */
bool gw_source_be_late(struct gw_source *source);

/* False while the target's devices are not ready. */
bool gw_source_may_switch(struct gw_source *source, uint64_t now_ns);

/* Why the guest is handed over now, for the log. */
void gw_source_explain_switch(struct gw_source *source);

/* Slows the guest's CPUs down by so much. */
void gw_source_set_throttle(struct gw_source *source, uint32_t percent);

/* While the link is lost the guest has its own speed; what was found of it before holds again
 * behind that, else a link that breaks now and then would have it judged for ever. */
void gw_source_spare(struct gw_source *source);
void gw_source_slow_again(struct gw_source *source);

/* The round trip: one batch at a time, from when it was sent to its acknowledgement. */
void gw_source_begin_probe(struct gw_source *source, const struct gw_batch_sent *sent,
                           uint64_t now_ns);
void gw_source_end_probe(struct gw_source *source, uint64_t now_ns);

/* Counts the round that begins now, and puts the one that ends into the history. */
void gw_source_begin_round(struct gw_source *source, uint64_t now_ns);
void gw_source_end_round(struct gw_source *source, uint64_t dirty_pages, uint64_t now_ns);

/* Of the downtime, all but pages: nanoseconds. And bytes of pages that fit into the rest. */
uint64_t gw_source_handover_ns(const struct gw_source *source);
uint64_t gw_source_threshold(const struct gw_source *source);

#endif
