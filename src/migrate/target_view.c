/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator sees of the target. Pure; under the embedder's lock. */
#include <string.h>

#include "migrate/target_private.h"

void gw_target_figures(const struct gw_target *target, uint64_t now_ns,
                       struct gw_target_figures *figures)
{
    uint64_t end_ns = target->end_ns ? target->end_ns : now_ns;
    *figures = (struct gw_target_figures){
        .state = target->state,
        .status = gw_target_status_name(target->state),
        .total_ns = target->start_ns ? end_ns - target->start_ns : 0,
        .round_trip_ns = target->round_trip_ns,
        .epoch = target->epoch,
        .is_held = target->state == GW_TARGET_READY,
        .can_run_anyway = target->state == GW_TARGET_READY && target->missing == 0,
        .is_unsettled = target->state == GW_TARGET_RUNNING || target->state == GW_TARGET_PULLING ||
                        target->state == GW_TARGET_STRANDED,
        .is_postcopy = target->is_partial,
        .missing_pages = target->is_partial ? target->missing : 0,
        .demands = target->demands,
        .recoveries = target->recoveries,
        .postcopy_ns = target->started_ns
                           ? (target->whole_ns ? target->whole_ns : now_ns) - target->started_ns
                           : 0,
        .blocktime = target->blocktime,
    };
}

void gw_target_token(const struct gw_target *target, struct gw_token *token)
{
    *token = (struct gw_token){.session = target->session, .epoch = target->epoch, .who = 't'};
}

enum gw_status gw_target_check_token(const struct gw_target *target, const struct gw_token *token,
                                     struct gw_fault *fault)
{
    if (memcmp(&token->session, &target->session, sizeof(token->session)) != 0 ||
        token->epoch != target->epoch) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the token is of another migration: it names epoch %llu, wanted "
                            "epoch %llu of this session",
                            (unsigned long long)token->epoch, (unsigned long long)target->epoch);
    }
    if (token->who != 's') {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the token is this side's own: wanted the one that `godwit resolve "
                            "--give-up` printed on the source");
    }
    return GW_OK;
}
