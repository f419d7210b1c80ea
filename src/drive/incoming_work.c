/* SPDX-License-Identifier: Apache-2.0 */
/* The target's owner thread at work: events to the engine, actions from it. */
#include "godwit/clock.h"
#include "drive/incoming_internal.h"

enum gw_status gw_incoming_tell(struct gw_incoming *incoming, struct gw_target_event *event,
                                struct gw_fault *fault)
{
    pthread_mutex_lock(&incoming->lock);
    event->now_ns = gw_clock_now_ns(); /* read within the lock, so that it never goes back */
    enum gw_status status = gw_target_handle(&incoming->target, event, fault);
    pthread_mutex_unlock(&incoming->lock);
    return status;
}

/* ---- Actions ---- */

/* Nobody places a page meanwhile: all that the source sent before PREPARE is here, and it sends
 * nothing more before COMMIT. */
static void arm(struct gw_incoming *incoming)
{
    struct gw_fault fault = {.status = GW_OK};
    struct gw_target_event event = {.type = GW_TARGET_EV_ARMED};
    if (gw_faults_start(&incoming->faults, incoming->is_user_mode_enough, &fault) != GW_OK) {
        event = (struct gw_target_event){.type = GW_TARGET_EV_HOST_FAULT, .fault = &fault};
    }
    (void)!gw_incoming_tell(incoming, &event, NULL);
}

/* The engine's word about the candidate; one who is gone meanwhile does not hear it. */
static void answer_candidate(struct gw_incoming *incoming, const struct gw_target_action *action)
{
    struct gw_incoming_peer *candidate = incoming->candidate;
    if (candidate == NULL) {
        return;
    }
    if (action->type == GW_TARGET_DO_ADMIT) {
        gw_incoming_admit(incoming, candidate);
    } else if (action->type != GW_TARGET_DO_TURN_AWAY) {
        gw_incoming_admit_channel(incoming, candidate, action);
    } else {
        gw_incoming_turn_away(incoming, candidate, &action->message);
    }
}

/* True when it was done here; false when it is the owner's to do. */
static bool do_action(struct gw_incoming *incoming)
{
    const struct gw_target_action *action = &incoming->action;
    switch (action->type) {
    case GW_TARGET_DO_ADMIT:
    case GW_TARGET_DO_ADMIT_BULK:
    case GW_TARGET_DO_ADMIT_URGENT:
    case GW_TARGET_DO_TURN_AWAY:
        answer_candidate(incoming, action);
        return true;
    case GW_TARGET_DO_SEND:
        gw_incoming_send(incoming, &action->message);
        return true;
    case GW_TARGET_DO_CLOSE:
        gw_incoming_leave(incoming);
        return true;
    case GW_TARGET_DO_ARM:
        arm(incoming);
        return true;
    case GW_TARGET_DO_DISARM:
        gw_faults_stop(&incoming->faults);
        return true;
    case GW_TARGET_DO_LOAD:
        incoming->is_loading = true;
        return false;
    case GW_TARGET_DO_PREPARE_DEVICES:
    case GW_TARGET_DO_RECORD:
    case GW_TARGET_DO_RUN:
    case GW_TARGET_DO_STATUS:
    case GW_TARGET_DO_FINISH:
        break;
    }
    return false;
}

static bool take_action(struct gw_incoming *incoming)
{
    pthread_mutex_lock(&incoming->lock);
    enum gw_status status = gw_target_next(&incoming->target, &incoming->action);
    pthread_mutex_unlock(&incoming->lock);
    return status == GW_OK;
}

/* One candidate at a time, when nothing else is to be done, so that the engine's next word about
 * a candidate is about this one. False when there is none. */
static bool offer_candidate(struct gw_incoming *incoming)
{
    if (incoming->candidate != NULL) {
        gw_incoming_free_peer(incoming, incoming->candidate); /* the engine had nothing to say */
    }
    struct gw_incoming_peer *peer = gw_incoming_find_ready(incoming);
    if (peer == NULL) {
        return false;
    }
    incoming->candidate = peer;
    struct gw_target_event event = {.type = GW_TARGET_EV_INTRO, .message = &peer->intro};
    (void)!gw_incoming_tell(incoming, &event, NULL);
    return true;
}

static void set_timer(struct gw_incoming *incoming)
{
    pthread_mutex_lock(&incoming->lock);
    uint64_t deadline_ns = gw_target_deadline(&incoming->target);
    pthread_mutex_unlock(&incoming->lock);
    uint64_t link_ns = gw_incoming_link_deadline(incoming);
    uint64_t peers_ns = gw_incoming_peers_deadline(incoming);
    deadline_ns = deadline_ns < link_ns ? deadline_ns : link_ns;
    gw_deadline_set(&incoming->timer, deadline_ns < peers_ns ? deadline_ns : peers_ns);
}

void gw_incoming_pump(struct gw_incoming *incoming)
{
    for (;;) {
        if (gw_incoming_step_link(incoming)) {
            continue;
        }
        if (incoming->has_action || incoming->is_closing) {
            break;
        }
        if (take_action(incoming)) {
            incoming->has_action = !do_action(incoming);
        } else if (incoming->is_broken || !offer_candidate(incoming)) {
            break;
        }
    }
    set_timer(incoming);
}

/* ---- For the owner ---- */

static void tick(struct gw_incoming *incoming)
{
    pthread_mutex_lock(&incoming->lock);
    bool is_due = gw_clock_now_ns() >= gw_target_deadline(&incoming->target);
    pthread_mutex_unlock(&incoming->lock);
    if (is_due) {
        struct gw_target_event event = {.type = GW_TARGET_EV_TICK};
        (void)!gw_incoming_tell(incoming, &event, NULL);
    }
}

void gw_incoming_work(struct gw_incoming *incoming)
{
    if (!incoming->is_started) {
        return;
    }
    uint64_t now_ns = gw_clock_now_ns();
    (void)gw_notify_drain(&incoming->wake);
    gw_incoming_serve_link(incoming, now_ns);
    gw_incoming_accept(incoming, now_ns);
    gw_incoming_serve_peers(incoming, now_ns);
    tick(incoming);
    gw_incoming_pump(incoming);
}

enum gw_status gw_incoming_next(struct gw_incoming *incoming, struct gw_target_action *action)
{
    if (!incoming->is_started) {
        return GW_AGAIN;
    }
    gw_incoming_pump(incoming);
    if (!incoming->has_action) {
        return GW_AGAIN;
    }
    /* FINISH waits until the peer has heard the last message: the owner may end the process. */
    if (incoming->action.type == GW_TARGET_DO_FINISH && incoming->old_control != NULL) {
        return GW_AGAIN;
    }
    *action = incoming->action;
    incoming->has_action = false;
    gw_notify_signal(&incoming->wake); /* what waited behind it goes on */
    return GW_OK;
}
