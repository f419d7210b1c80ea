/* SPDX-License-Identifier: Apache-2.0 */
/* What the source's machine (source.c) and its steps (source_steps.c) share. */
#ifndef GW_MIGRATE_SOURCE_PRIVATE_H
#define GW_MIGRATE_SOURCE_PRIVATE_H

#include "godwit/source.h"

/* How long a state waits for the target's answer: WELCOME or ACCEPT; READY; the word how a held
 * guest stands; the close after DONE. A target that is gone altogether is noticed sooner, by its
 * silence. */
#define GW_GREETING_NS_MAX UINT64_C(30000000000)
#define GW_PREPARED_NS_MAX UINT64_C(30000000000)
#define GW_ASKING_NS_MAX   UINT64_C(10000000000)
#define GW_SETTLING_NS_MAX UINT64_C(10000000000)
#define GW_RETRY_NS_FIRST  UINT64_C(200000000)
#define GW_RETRY_NS_MAX    UINT64_C(2000000000)

/* Appends an action; the returned one may be filled further. */
struct gw_source_action *gw_source_emit(struct gw_source *source, enum gw_source_action_type type);

/* Sends a message with no more content than its type and the epoch. */
struct gw_message *gw_source_send(struct gw_source *source, enum gw_frame_type type);

/* Closes the link because the peer broke the protocol; the source's own event LINK_LOST follows
 * by itself. */
void gw_source_drop_link(struct gw_source *source, const struct gw_fault *fault, uint64_t now);

typedef void gw_source_step(struct gw_source *source, const struct gw_source_event *event);

gw_source_step gw_source_step_connect, gw_source_step_introduce, gw_source_step_hello,
    gw_source_step_open_bulk, gw_source_step_track, gw_source_step_first_round,
    gw_source_step_count_sent, gw_source_step_count_acked, gw_source_step_take_back,
    gw_source_step_collect, gw_source_step_judge, gw_source_step_record_leaving,
    gw_source_step_stop, gw_source_step_collect_last, gw_source_step_last_round,
    gw_source_step_prepare, gw_source_step_commit, gw_source_step_done, gw_source_step_done_again,
    gw_source_step_back_off, gw_source_step_ask, gw_source_step_give_up, gw_source_step_finish,
    gw_source_step_nothing, gw_source_step_end;

/* True when what is left fits into the downtime limit. */
bool gw_source_fits(const struct gw_source *source);

#endif
