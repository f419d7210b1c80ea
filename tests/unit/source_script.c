/* SPDX-License-Identifier: Apache-2.0 */
/* See source_script.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "source_script.h"
#include "migrate/source_table.h"

enum { PAGE = 4096, PAGES = 100 };

const bool is_legal[GW_SOURCE_STATE_COUNT][GW_SOURCE_EVENT_COUNT] = {
#define LEGAL(from, event, to, step) [GW_SOURCE_##from][GW_SOURCE_EV_##event] = true,
    GW_SOURCE_TRANSITIONS(LEGAL)
#undef LEGAL
};

struct gw_source source;
static struct gw_facts facts;
uint64_t now_ns;
uint64_t bitmap[GW_BITMAP_WORDS];
uint32_t done[GW_SOURCE_DO_FINISH + 1]; /* actions taken, by type */
uint32_t said[256];                     /* messages sent, by type */
struct gw_message last_said;
enum gw_departure_state last_record;
bool is_committed; /* COMMIT was asked for, and nothing took it back */
bool is_slow_to_store;

void forget_actions(void)
{
    memset(done, 0, sizeof(done));
    memset(said, 0, sizeof(said));
}

void note(const struct gw_source_action *action)
{
    done[action->type]++;
    if (action->type == GW_SOURCE_DO_SEND) {
        said[action->message.type]++;
        last_said = action->message;
        is_committed = is_committed || action->message.type == GW_FRAME_COMMIT;
    }
    if (action->type == GW_SOURCE_DO_RECORD) {
        last_record = (enum gw_departure_state)action->departure.state;
    }
}

void drain(void)
{
    struct gw_source_action action;
    while (gw_source_next(&source, &action) == GW_OK) {
        note(&action);
        if (action.type == GW_SOURCE_DO_RECORD && last_record != GW_DEPARTURE_LEAVING &&
            !is_slow_to_store) {
            struct gw_source_event stored = {.type = GW_SOURCE_EV_RECORDED, .now_ns = now_ns};
            assert_int_equal(gw_source_handle(&source, &stored, NULL), GW_OK);
        }
    }
}

void expect_state(enum gw_source_state state)
{
    assert_string_equal(gw_source_state_name(source.state), gw_source_state_name(state));
}

enum gw_status tell(struct gw_source_event event, struct gw_fault *fault)
{
    event.now_ns = now_ns += MS;
    return gw_source_handle(&source, &event, fault);
}

bool next(struct gw_batch *batch)
{
    uint64_t retry_ns = 0;
    return gw_source_next_batch(&source, 0, now_ns, batch, &retry_ns) == GW_OK;
}

void sent(uint64_t sequence)
{
    struct gw_source_event event = {.type = GW_SOURCE_EV_BATCH_SENT,
                                    .sent = {.sequence = sequence, .wire_bytes = 100}};
    assert_int_equal(tell(event, NULL), GW_OK);
    drain();
}

void happens(enum gw_source_event_type type)
{
    static const struct gw_fault fault = {.status = GW_HOST, .text = "it broke"};
    struct gw_source_event event = {.type = type};
    if (type == GW_SOURCE_EV_LINK_LOST || type == GW_SOURCE_EV_HOST_FAULT) {
        event.fault = &fault;
    } else if (type == GW_SOURCE_EV_TRACKED || type == GW_SOURCE_EV_COLLECTED ||
               type == GW_SOURCE_EV_RECONCILED) {
        event.bitmap = bitmap;
    } else if (type == GW_SOURCE_EV_STOPPED) {
        event.halted_ns = now_ns;
    }
    assert_int_equal(tell(event, NULL), GW_OK);
    drain();
}

void hears(const struct gw_message *message)
{
    struct gw_source_event event = {.type = GW_SOURCE_EV_MESSAGE, .message = message};
    assert_int_equal(tell(event, NULL), GW_OK);
    drain();
}

void hears_welcome(enum gw_standing standing, uint64_t epoch)
{
    struct gw_message message = {
        .type = GW_FRAME_WELCOME,
        .welcome = {.version = 1, .standing = (uint8_t)standing, .epoch = epoch}};
    hears(&message);
}

void hears_verdict(enum gw_frame_type type, uint64_t epoch)
{
    struct gw_message message = {.type = type, .verdict = {.epoch = epoch, .reason = "because"}};
    hears(&message);
}

void hears_ack(uint64_t sequence)
{
    struct gw_message message = {.type = GW_FRAME_ACK, .ack = {.sequence = sequence}};
    hears(&message);
}

/* The channel's thread sends all it is given, and the target takes it. */
void pages_go(bool is_acknowledged)
{
    struct gw_batch batch;
    uint64_t retry_ns = 0;
    uint64_t last = 0;
    while (gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns) == GW_OK) {
        struct gw_source_event sent = {.type = GW_SOURCE_EV_BATCH_SENT,
                                       .sent = {.sequence = batch.sequence, .wire_bytes = 100}};
        last = batch.sequence;
        assert_int_equal(tell(sent, NULL), GW_OK);
        drain();
    }
    if (is_acknowledged && last > 0) {
        hears_ack(last);
    }
}

void dirty(uint64_t pages)
{
    memset(bitmap, 0, sizeof(bitmap));
    bitmap[0] = pages;
}

void fresh(bool is_verifying)
{
    struct gw_source_config config = {.session = {.id = {7}},
                                      .facts = &facts,
                                      .guest_name = "guest",
                                      .page_count = PAGES,
                                      .page_bytes = PAGE,
                                      .downtime_ns_max = 300 * MS,
                                      .resume_ns_max = 60000 * MS,
                                      .recover_ns_max = 3600000 * MS,
                                      .is_verifying = is_verifying};
    gw_source_init(&source, &config);
    now_ns = 1000 * MS;
    is_committed = false;
    is_slow_to_store = false;
    dirty(0xff);
    forget_actions();
}

void reach_held_postcopy(void)
{
    reach(GW_SOURCE_NEGOTIATING);
    hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {GW_CAN_POSTCOPY, 0, 1}});
    happens(GW_SOURCE_EV_BULK_UP);
    happens(GW_SOURCE_EV_TRACKED);
    happens(GW_SOURCE_EV_POSTCOPY);
    pages_go(true); /* its holes */
    happens(GW_SOURCE_EV_RECORDED);
    happens(GW_SOURCE_EV_STOPPED);
    happens(GW_SOURCE_EV_COLLECTED);
    pages_go(true); /* the map */
    hears_verdict(GW_FRAME_READY, 1);
    assert_string_equal(gw_source_state_name(source.state), "HELD");
}

/* Each state's scripted way in: from which state, by what. */
void reach(enum gw_source_state state)
{
    switch (state) {
    case GW_SOURCE_NONE:
        fresh(false);
        break;
    case GW_SOURCE_CONNECTING:
        reach(GW_SOURCE_NONE);
        happens(GW_SOURCE_EV_START);
        break;
    case GW_SOURCE_GREETING:
        reach(GW_SOURCE_CONNECTING);
        happens(GW_SOURCE_EV_LINK_UP);
        break;
    case GW_SOURCE_NEGOTIATING:
        reach(GW_SOURCE_GREETING);
        hears_welcome(GW_STANDING_NEW, 0);
        break;
    case GW_SOURCE_OPENING:
        reach(GW_SOURCE_NEGOTIATING);
        hears(&(struct gw_message){.type = GW_FRAME_ACCEPT, .accept = {0, 0, 1}});
        break;
    case GW_SOURCE_TRACKING:
        reach(GW_SOURCE_OPENING);
        happens(GW_SOURCE_EV_BULK_UP);
        break;
    case GW_SOURCE_TRACKED:
        reach(GW_SOURCE_OPENING);
        happens(GW_SOURCE_EV_TRACKED);
        break;
    case GW_SOURCE_ACTIVE:
        reach(GW_SOURCE_TRACKING);
        happens(GW_SOURCE_EV_TRACKED);
        break;
    case GW_SOURCE_PRE_SWITCHOVER:
        reach(GW_SOURCE_ACTIVE);
        source.config.is_pausing = true;
        pages_go(true);
        dirty(0x3);
        happens(GW_SOURCE_EV_COLLECTED);
        break;
    case GW_SOURCE_RETRY_WAITING:
        reach(GW_SOURCE_ACTIVE);
        happens(GW_SOURCE_EV_LINK_LOST);
        break;
    case GW_SOURCE_RETRY_CONNECTING:
        reach(GW_SOURCE_RETRY_WAITING);
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        break;
    case GW_SOURCE_RETRY_ASKING:
        reach(GW_SOURCE_RETRY_CONNECTING);
        happens(GW_SOURCE_EV_LINK_UP);
        break;
    case GW_SOURCE_RETRY_OPENING:
        reach(GW_SOURCE_RETRY_ASKING);
        hears_welcome(GW_STANDING_OPEN, 0);
        break;
    case GW_SOURCE_PAUSING:
        reach(GW_SOURCE_STOPPING);
        happens(GW_SOURCE_EV_LINK_LOST);
        break;
    case GW_SOURCE_LEAVING:
        reach(GW_SOURCE_ACTIVE);
        pages_go(true);
        dirty(0x3);
        happens(GW_SOURCE_EV_COLLECTED);
        break;
    case GW_SOURCE_STOPPING:
        reach(GW_SOURCE_LEAVING);
        happens(GW_SOURCE_EV_RECORDED);
        break;
    case GW_SOURCE_COLLECTING:
        reach(GW_SOURCE_STOPPING);
        happens(GW_SOURCE_EV_STOPPED);
        break;
    case GW_SOURCE_FINISHING:
        reach(GW_SOURCE_COLLECTING);
        happens(GW_SOURCE_EV_COLLECTED);
        break;
    case GW_SOURCE_PREPARED:
        reach(GW_SOURCE_FINISHING);
        pages_go(false);
        break;
    case GW_SOURCE_HELD:
        reach(GW_SOURCE_PREPARED);
        hears_verdict(GW_FRAME_READY, 1);
        break;
    case GW_SOURCE_HELD_WAITING:
        reach(GW_SOURCE_HELD);
        happens(GW_SOURCE_EV_LINK_LOST);
        break;
    case GW_SOURCE_HELD_CONNECTING:
        reach(GW_SOURCE_HELD_WAITING);
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        break;
    case GW_SOURCE_HELD_ASKING:
        reach(GW_SOURCE_HELD_CONNECTING);
        happens(GW_SOURCE_EV_LINK_UP);
        break;
    case GW_SOURCE_PUSHING:
        reach_held_postcopy();
        hears_verdict(GW_FRAME_RUNNING, 1);
        break;
    case GW_SOURCE_PUSH_WAITING:
        reach(GW_SOURCE_PUSHING);
        happens(GW_SOURCE_EV_LINK_LOST);
        break;
    case GW_SOURCE_PUSH_PAUSED:
        reach(GW_SOURCE_PUSHING);
        happens(GW_SOURCE_EV_PAUSE);
        break;
    case GW_SOURCE_PUSH_CONNECTING:
        reach(GW_SOURCE_PUSH_WAITING);
        happens(GW_SOURCE_EV_RECOVER);
        break;
    case GW_SOURCE_PUSH_ASKING:
        reach(GW_SOURCE_PUSH_CONNECTING);
        happens(GW_SOURCE_EV_LINK_UP);
        break;
    case GW_SOURCE_PUSH_OPENING:
        reach(GW_SOURCE_PUSH_ASKING);
        hears_welcome(GW_STANDING_PULLING, 1);
        break;
    case GW_SOURCE_LOST:
        reach(GW_SOURCE_PUSH_WAITING);
        happens(GW_SOURCE_EV_GIVE_UP);
        break;
    case GW_SOURCE_SETTLING:
        reach(GW_SOURCE_HELD);
        hears_verdict(GW_FRAME_RUNNING, 1);
        break;
    case GW_SOURCE_SETTLING_WAITING:
        reach(GW_SOURCE_SETTLING);
        happens(GW_SOURCE_EV_LINK_LOST);
        break;
    case GW_SOURCE_SETTLING_AGAIN:
        reach(GW_SOURCE_SETTLING_WAITING);
        now_ns = gw_source_deadline(&source);
        happens(GW_SOURCE_EV_TICK);
        happens(GW_SOURCE_EV_LINK_UP);
        break;
    case GW_SOURCE_FALLING_BACK:
        reach(GW_SOURCE_STOPPING);
        hears_verdict(GW_FRAME_REFUSE, 0); /* the link is up still */
        break;
    case GW_SOURCE_CANCELLING:
        reach(GW_SOURCE_STOPPING);
        happens(GW_SOURCE_EV_CANCEL);
        break;
    case GW_SOURCE_COMPLETED:
        reach(GW_SOURCE_SETTLING);
        hears_verdict(GW_FRAME_DONE, 1);
        break;
    case GW_SOURCE_FAILED:
        reach(GW_SOURCE_ACTIVE);
        happens(GW_SOURCE_EV_HOST_FAULT);
        break;
    case GW_SOURCE_CANCELLED:
        reach(GW_SOURCE_ACTIVE);
        happens(GW_SOURCE_EV_CANCEL);
        break;
    case GW_SOURCE_STATE_COUNT:
        break;
    }
    assert_string_equal(gw_source_state_name(source.state), gw_source_state_name(state));
}

bool is_held(enum gw_source_state state)
{
    return state >= GW_SOURCE_HELD && state <= GW_SOURCE_HELD_ASKING;
}

/* ---- What a target may say ---- */

struct gw_message peer_message(uint32_t n)
{
    static const enum gw_frame_type plain[] = {
        GW_FRAME_ACCEPT, GW_FRAME_REFUSE,   GW_FRAME_INTRO, GW_FRAME_HELLO, GW_FRAME_PREPARE,
        GW_FRAME_COMMIT, GW_FRAME_MISMATCH, GW_FRAME_ABORT, GW_FRAME_PING,  GW_FRAME_PONG};
    static const enum gw_frame_type verdicts[] = {
        GW_FRAME_READY, GW_FRAME_ABORTED, GW_FRAME_RUNNING, GW_FRAME_COMPLETE, GW_FRAME_DONE};
    struct gw_message message = {.type = GW_FRAME_REFUSE};
    if (n < 10) {
        message.type = plain[n];
        if (message.type == GW_FRAME_ACCEPT) {
            message.accept.channel_count = 1; /* as the decoder makes sure */
        } else if (message.type == GW_FRAME_REFUSE) {
            strcpy(message.verdict.reason, "no");
        }
    } else if ((n -= 10) < 15) { /* epochs 0, 1 (ours from LEAVING on) and 2 */
        message.type = verdicts[n / 3];
        message.verdict = (struct gw_verdict){.epoch = n % 3, .reason = "no"};
    } else if ((n -= 15) < 27) {
        message.type = GW_FRAME_WELCOME;
        message.welcome = (struct gw_welcome){1, (uint8_t)(n / 3), n % 3};
    } else {
        n -= 27;
        message.type = n % 2 ? GW_FRAME_ACK : GW_FRAME_SUSPECT;
        message.ack.sequence = n / 2 < 3 ? n / 2 : UINT64_MAX;
    }
    return message;
}

/* Which event the message is, by docs and header, not by the engine's own code. */
enum gw_source_event_type event_of(const struct gw_message *message)
{
    bool is_ours = message->verdict.epoch == source.epoch;
    uint64_t epoch = message->welcome.epoch;
    switch (message->type) {
    case GW_FRAME_ACCEPT:
        return GW_SOURCE_EV_ACCEPT;
    case GW_FRAME_REFUSE:
        return GW_SOURCE_EV_REFUSE;
    case GW_FRAME_ACK:
        return GW_SOURCE_EV_ACK;
    case GW_FRAME_SUSPECT:
        return GW_SOURCE_EV_SUSPECT;
    case GW_FRAME_MISMATCH:
        return GW_SOURCE_EV_MISMATCH;
    case GW_FRAME_READY:
        return is_ours ? GW_SOURCE_EV_READY : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_ABORTED:
        return is_ours ? GW_SOURCE_EV_ABORTED : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_RUNNING:
        return !is_ours             ? GW_SOURCE_EV_MESSAGE
               : !source.is_partial ? GW_SOURCE_EV_RUNNING
               : source.is_bulk_up  ? GW_SOURCE_EV_PULLS
                                    : GW_SOURCE_EV_PULLS_BARE;
    case GW_FRAME_COMPLETE:
        return is_ours ? GW_SOURCE_EV_COMPLETE : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_DONE:
        return is_ours ? GW_SOURCE_EV_DONE : GW_SOURCE_EV_MESSAGE;
    case GW_FRAME_WELCOME:
        switch ((enum gw_standing)message->welcome.standing) {
        case GW_STANDING_NEW:
            return GW_SOURCE_EV_WELCOMED;
        case GW_STANDING_OPEN:
            return GW_SOURCE_EV_STANDS_OPEN;
        case GW_STANDING_READY:
            return epoch && epoch == source.epoch ? GW_SOURCE_EV_STANDS_READY
                                                  : GW_SOURCE_EV_STANDS_UNKNOWN;
        case GW_STANDING_RUNNING:
            return epoch && epoch == source.epoch ? GW_SOURCE_EV_STANDS_RUNNING
                                                  : GW_SOURCE_EV_STANDS_UNKNOWN;
        case GW_STANDING_SETTLED:
            return epoch && epoch == source.epoch ? GW_SOURCE_EV_STANDS_SETTLED
                                                  : GW_SOURCE_EV_STANDS_UNKNOWN;
        case GW_STANDING_PULLING:
            return epoch == source.epoch && source.is_partial ? GW_SOURCE_EV_STANDS_PULLING
                                                              : GW_SOURCE_EV_STANDS_UNKNOWN;
        case GW_STANDING_LOST:
            return epoch == source.epoch && source.is_partial ? GW_SOURCE_EV_STANDS_LOST
                                                              : GW_SOURCE_EV_STANDS_UNKNOWN;
        case GW_STANDING_ABORTED:
            return source.epoch && epoch >= source.epoch ? GW_SOURCE_EV_STANDS_ABORTED
                                                         : GW_SOURCE_EV_STANDS_UNKNOWN;
        default:
            return GW_SOURCE_EV_STANDS_UNKNOWN;
        }
    default:
        return GW_SOURCE_EV_MESSAGE;
    }
}
