/* SPDX-License-Identifier: Apache-2.0 */
/* The source's owner thread at work: events to the engine, actions from it. */
#include <string.h>

#include "godwit/clock.h"
#include "drive/outgoing_internal.h"

enum gw_status gw_outgoing_tell(struct gw_outgoing *outgoing, struct gw_source_event *event,
                                struct gw_fault *fault)
{
    pthread_mutex_lock(&outgoing->lock);
    event->now_ns = gw_clock_now_ns(); /* read within the lock, so that it never goes back */
    enum gw_status status = gw_source_handle(&outgoing->source, event, fault);
    if (gw_source_is_sending(&outgoing->source)) {
        pthread_cond_broadcast(&outgoing->kicked);
    }
    pthread_mutex_unlock(&outgoing->lock);
    return status;
}

/* ---- The tracker ---- */

static void answer_bitmap(struct gw_outgoing *outgoing, enum gw_source_event_type type,
                          enum gw_status status, const struct gw_fault *fault)
{
    struct gw_source_event event = {.type = type, .bitmap = outgoing->bitmap};
    if (status != GW_OK) {
        event = (struct gw_source_event){.type = GW_SOURCE_EV_HOST_FAULT, .fault = fault};
    }
    (void)!gw_outgoing_tell(outgoing, &event, NULL);
}

/* Only as many words as RAM has pages: the bitmap of a small guest stays small in memory. */
static void clear_bitmap(struct gw_outgoing *outgoing)
{
    uint64_t words = (outgoing->ram->page_count + 63) / 64;
    memset(outgoing->bitmap, 0, words * sizeof(outgoing->bitmap[0]));
}

static void track(struct gw_outgoing *outgoing)
{
    struct gw_fault fault = {.status = GW_OK};
    clear_bitmap(outgoing);
    enum gw_status status =
        outgoing->tracker->operations->start(outgoing->tracker, outgoing->bitmap, &fault);
    outgoing->is_tracking = status == GW_OK;
    answer_bitmap(outgoing, GW_SOURCE_EV_TRACKED, status, &fault);
}

static void collect(struct gw_outgoing *outgoing)
{
    struct gw_fault fault = {.status = GW_OK};
    uint64_t added = 0;
    clear_bitmap(outgoing);
    enum gw_status status =
        outgoing->tracker->operations->collect(outgoing->tracker, outgoing->bitmap, &added, &fault);
    answer_bitmap(outgoing, GW_SOURCE_EV_COLLECTED, status, &fault);
}

/* The tracker stops when the senders are back, so that nobody re-arms what is being closed. The
 * engine asks for this only when it is over, and for CLOSE next. */
static void untrack(struct gw_outgoing *outgoing)
{
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        gw_sender_interrupt(&outgoing->sender[i]);
    }
    outgoing->is_untracking = true;
}

static bool step_untrack(struct gw_outgoing *outgoing)
{
    for (uint32_t i = 0; i < GW_BULK_CHANNELS_MAX; i++) {
        if (outgoing->sender[i].thread.is_started) {
            return false;
        }
    }
    if (!outgoing->is_untracking) {
        return false;
    }
    if (outgoing->is_tracking) {
        outgoing->tracker->operations->stop(outgoing->tracker);
    }
    outgoing->is_tracking = false;
    outgoing->is_untracking = false;
    return true;
}

/* ---- Actions ---- */

/* True when it was done here; false when it is the owner's to do. */
static bool do_action(struct gw_outgoing *outgoing)
{
    struct gw_source_action *action = &outgoing->action;
    switch (action->type) {
    case GW_SOURCE_DO_CONNECT:
        gw_outgoing_connect(outgoing, action->generation);
        return true;
    case GW_SOURCE_DO_CONNECT_BULK:
        gw_outgoing_connect_bulk(outgoing, action);
        return true;
    case GW_SOURCE_DO_SEND:
        gw_outgoing_send(outgoing, &action->message);
        return true;
    case GW_SOURCE_DO_CLOSE:
        gw_outgoing_leave(outgoing);
        return true;
    case GW_SOURCE_DO_TRACK:
        track(outgoing);
        return true;
    case GW_SOURCE_DO_COLLECT:
        collect(outgoing);
        return true;
    case GW_SOURCE_DO_UNTRACK:
        untrack(outgoing);
        return true;
    case GW_SOURCE_DO_RECORD:
    case GW_SOURCE_DO_STOP:
    case GW_SOURCE_DO_RESUME:
    case GW_SOURCE_DO_THROTTLE:
    case GW_SOURCE_DO_EXPLAIN:
    case GW_SOURCE_DO_STATUS:
    case GW_SOURCE_DO_ROUND:
    case GW_SOURCE_DO_FINISH:
        break;
    }
    return false;
}

static bool take_action(struct gw_outgoing *outgoing)
{
    pthread_mutex_lock(&outgoing->lock);
    enum gw_status status = gw_source_next(&outgoing->source, &outgoing->action);
    pthread_mutex_unlock(&outgoing->lock);
    return status == GW_OK;
}

static void set_timer(struct gw_outgoing *outgoing)
{
    pthread_mutex_lock(&outgoing->lock);
    uint64_t deadline_ns = gw_source_deadline(&outgoing->source);
    pthread_mutex_unlock(&outgoing->lock);
    uint64_t link_ns = gw_outgoing_link_deadline(outgoing);
    gw_deadline_set(&outgoing->timer, deadline_ns < link_ns ? deadline_ns : link_ns);
}

void gw_outgoing_pump(struct gw_outgoing *outgoing)
{
    for (;;) {
        if (gw_outgoing_step_link(outgoing, gw_clock_now_ns()) || step_untrack(outgoing)) {
            continue;
        }
        if (outgoing->has_action || outgoing->is_closing || !take_action(outgoing)) {
            break;
        }
        outgoing->has_action = !do_action(outgoing);
    }
    set_timer(outgoing);
}

/* ---- Giving memory back ---- */

/* At a time: the owner's other work goes on in between. */
#define RELEASE_BYTES (4 * GW_MIB)

/* Away from those who read and send pages, and never under their lock; while they are being ended
 * they still may. True when there may be more. Memory that cannot be given back is kept, and does
 * no harm. */
static bool release(struct gw_outgoing *outgoing)
{
    struct gw_run run;
    if (outgoing->is_closing) {
        return false;
    }
    pthread_mutex_lock(&outgoing->lock);
    enum gw_status status =
        gw_source_next_release(&outgoing->source, RELEASE_BYTES / outgoing->ram->page_bytes, &run);
    pthread_mutex_unlock(&outgoing->lock);
    if (status != GW_OK) {
        return false;
    }
    (void)!gw_ram_release(outgoing->ram, run.page, run.count, NULL);
    gw_notify_signal(&outgoing->wake);
    return true;
}

/* ---- For the owner ---- */

static void tick(struct gw_outgoing *outgoing)
{
    pthread_mutex_lock(&outgoing->lock);
    bool is_due = gw_clock_now_ns() >= gw_source_deadline(&outgoing->source);
    pthread_mutex_unlock(&outgoing->lock);
    if (is_due) {
        struct gw_source_event event = {.type = GW_SOURCE_EV_TICK};
        (void)!gw_outgoing_tell(outgoing, &event, NULL);
    }
}

void gw_outgoing_work(struct gw_outgoing *outgoing)
{
    if (!outgoing->is_started) {
        return;
    }
    (void)gw_notify_drain(&outgoing->wake);
    gw_outgoing_serve_link(outgoing, gw_clock_now_ns());
    tick(outgoing);
    gw_outgoing_pump(outgoing);
    (void)release(outgoing);
}

bool gw_outgoing_has_ended(const struct gw_outgoing *outgoing)
{
    return outgoing->is_started && outgoing->has_action && !outgoing->is_closing &&
           outgoing->action.type == GW_SOURCE_DO_FINISH;
}

enum gw_status gw_outgoing_next(struct gw_outgoing *outgoing, struct gw_source_action *action)
{
    if (!outgoing->is_started) {
        return GW_AGAIN;
    }
    gw_outgoing_pump(outgoing);
    if (!outgoing->has_action) {
        return GW_AGAIN;
    }
    /* FINISH waits until the peer has heard the last message, and all memory is given back. */
    if (outgoing->action.type == GW_SOURCE_DO_FINISH &&
        (outgoing->link == LINK_LEAVING || release(outgoing))) {
        return GW_AGAIN;
    }
    *action = outgoing->action;
    outgoing->has_action = false;
    gw_notify_signal(&outgoing->wake); /* what waited behind it goes on */
    return GW_OK;
}
