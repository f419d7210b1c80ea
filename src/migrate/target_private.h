/* SPDX-License-Identifier: Apache-2.0 */
/* What the target's machine (target.c) and its steps (target_steps.c) share. */
#ifndef GW_MIGRATE_TARGET_PRIVATE_H
#define GW_MIGRATE_TARGET_PRIVATE_H

#include "godwit/target.h"

struct gw_target_action *gw_target_emit(struct gw_target *target, enum gw_target_action_type type);

/* Sends a message with no more content than its type and the epoch. */
struct gw_message *gw_target_send(struct gw_target *target, enum gw_frame_type type);

/* The connections are gone, or were: no channel of them says anything any more. */
void gw_target_close_channels(struct gw_target *target);

/* A bulk channel is open. */
bool gw_target_has_channel(const struct gw_target *target);

/* How this side stands to a session, by the one at hand and the history; for answers. */
enum gw_standing gw_target_standing(const struct gw_target *target,
                                    const struct gw_session *session, uint64_t *epoch);

/* How long a target keeps what it has of a guest whose source is gone. Whoever comes before that
 * with another guest is let in. */
#define GW_AWAITING_NS_MAX UINT64_C(600000000000)

typedef void gw_target_step(struct gw_target *target, const struct gw_target_event *event);

/* The steps, by name: gw_target_step_NAME() in target_steps.c. */
/* clang-format off */
#define GW_TARGET_STEPS(X) \
    X(recall) X(admit) X(replace) X(readmit) X(admit_bulk) X(open) X(accept) X(place) \
    X(compare) X(gather) X(load) X(ready) X(take) X(take_anyway) X(run) X(tell_running) \
    X(record_aborted) X(tell_aborted) X(refuse) X(drop) X(confirm) X(finish) X(nothing) \
    X(await) X(reopen) X(admit_urgent) X(mark_missing) X(arm) X(pull) X(complete) X(strand) \
    X(recover) X(lose) X(ignore) X(disarm) X(count_ready)
/* clang-format on */

#define GW_TARGET_STEP_DECLARE(name) gw_target_step gw_target_step_##name;
GW_TARGET_STEPS(GW_TARGET_STEP_DECLARE)
#undef GW_TARGET_STEP_DECLARE

#endif
