/* SPDX-License-Identifier: Apache-2.0 */
/* What the target's machine (target.c) and its steps (target_steps.c) share. */
#ifndef GW_MIGRATE_TARGET_PRIVATE_H
#define GW_MIGRATE_TARGET_PRIVATE_H

#include "godwit/target.h"

struct gw_target_action *gw_target_emit(struct gw_target *target, enum gw_target_action_type type);

/* Sends a message with no more content than its type and the epoch. */
struct gw_message *gw_target_send(struct gw_target *target, enum gw_frame_type type);

/* How this side stands to a session, by the one at hand and the history; for answers. */
enum gw_standing gw_target_standing(const struct gw_target *target,
                                    const struct gw_session *session, uint64_t *epoch);

typedef void gw_target_step(struct gw_target *target, const struct gw_target_event *event);

gw_target_step gw_target_step_recall, gw_target_step_admit, gw_target_step_replace,
    gw_target_step_readmit, gw_target_step_admit_bulk, gw_target_step_open, gw_target_step_accept,
    gw_target_step_place, gw_target_step_compare, gw_target_step_gather, gw_target_step_load,
    gw_target_step_ready, gw_target_step_take, gw_target_step_take_anyway, gw_target_step_run,
    gw_target_step_tell_running, gw_target_step_record_aborted, gw_target_step_tell_aborted,
    gw_target_step_refuse, gw_target_step_drop, gw_target_step_finish, gw_target_step_nothing;

#endif
