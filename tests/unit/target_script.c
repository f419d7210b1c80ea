/* SPDX-License-Identifier: Apache-2.0 */
/* See target_script.h. */
#include "target_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/target_table.h"

const bool is_legal[GW_TARGET_STATE_COUNT][GW_TARGET_EVENT_COUNT] = {
#define LEGAL(from, event, to, step) [GW_TARGET_##from][GW_TARGET_EV_##event] = true,
    GW_TARGET_TRANSITIONS(LEGAL)
#undef LEGAL
};

struct gw_target target;
uint64_t now_ns;
uint32_t done[GW_TARGET_DO_FINISH + 1];
uint32_t said[256];
struct gw_message last_said, last_turned_away;
struct gw_target_action last_run;
struct gw_history last_history;

static struct gw_facts facts; /* none: both sides are equal */

void forget_actions(void)
{
    memset(done, 0, sizeof(done));
    memset(said, 0, sizeof(said));
}

void note(const struct gw_target_action *action)
{
    done[action->type]++;
    if (action->type == GW_TARGET_DO_SEND) {
        said[action->message.type]++;
        last_said = action->message;
    } else if (action->type == GW_TARGET_DO_TURN_AWAY) {
        last_turned_away = action->message;
    } else if (action->type == GW_TARGET_DO_RUN) {
        last_run = *action;
    } else if (action->type == GW_TARGET_DO_RECORD) {
        last_history = action->history;
    }
}

void drain(void)
{
    struct gw_target_action action;
    while (gw_target_next(&target, &action) == GW_OK) {
        note(&action);
    }
}

enum gw_status tell(struct gw_target_event event, struct gw_fault *fault)
{
    event.now_ns = now_ns += MS;
    return gw_target_handle(&target, &event, fault);
}

void happens(enum gw_target_event_type type)
{
    static const struct gw_fault broke = {.status = GW_LINK, .text = "it broke"};
    struct gw_target_event event = {.type = type};
    if (type == GW_TARGET_EV_LINK_LOST || type == GW_TARGET_EV_HOST_FAULT) {
        event.fault = &broke;
    }
    assert_int_equal(tell(event, NULL), GW_OK);
    drain();
}

void hears(const struct gw_message *message)
{
    assert_int_equal(
        tell((struct gw_target_event){.type = GW_TARGET_EV_MESSAGE, .message = message}, NULL),
        GW_OK);
    drain();
}

void hears_verdict(enum gw_frame_type type, uint64_t epoch)
{
    struct gw_message message = {
        .type = type, .verdict = {.epoch = epoch, .elapsed_ns = 5 * MS, .reason = "because"}};
    hears(&message);
}

void hears_hello(uint64_t page_count)
{
    struct gw_message message = {.type = GW_FRAME_HELLO,
                                 .hello = {.guest_name = "guest",
                                           .page_count = page_count,
                                           .page_bytes = PAGE,
                                           .channel_count = 1}};
    hears(&message);
}

void hears_prepare(uint64_t epoch, uint64_t sequence_last)
{
    struct gw_message message = {
        .type = GW_FRAME_PREPARE,
        .prepare = {
            .epoch = epoch, .channel_count = 1, .sequence_last = {sequence_last}, .is_running = 1}};
    hears(&message);
}

struct gw_session session_of(char letter)
{
    return (struct gw_session){.id = {(uint8_t)letter, 1}};
}

struct gw_message intro_of(char letter, enum gw_purpose purpose, uint32_t generation)
{
    return (struct gw_message){.type = GW_FRAME_INTRO,
                               .intro = {.session = session_of(letter),
                                         .version_min = 1,
                                         .version_max = 1,
                                         .purpose = (uint8_t)purpose,
                                         .generation = generation}};
}

void comes_in(const struct gw_message *intro)
{
    assert_int_equal(
        tell((struct gw_target_event){.type = GW_TARGET_EV_INTRO, .message = intro}, NULL), GW_OK);
    drain();
}

void comes(char letter, enum gw_purpose purpose, uint32_t generation)
{
    struct gw_message intro = intro_of(letter, purpose, generation);
    comes_in(&intro);
}

void comes_bulk(uint32_t generation, uint64_t sequence)
{
    struct gw_message intro = intro_of('A', GW_PURPOSE_OPEN, generation);
    intro.intro.role = GW_ROLE_BULK;
    intro.intro.sequence = sequence;
    comes_in(&intro);
}

void comes_urgent(uint32_t generation)
{
    struct gw_message intro = intro_of('A', GW_PURPOSE_OPEN, generation);
    intro.intro.role = GW_ROLE_URGENT;
    comes_in(&intro);
}

void reads_map(uint64_t sequence, uint64_t pages)
{
    uint64_t missing[GW_BITMAP_WORDS] = {pages};
    assert_int_equal(
        tell((struct gw_target_event){.type = GW_TARGET_EV_MAP, .map = {sequence, missing}}, NULL),
        GW_OK);
    drain();
}

void hears_prepare_postcopy(uint64_t epoch, uint64_t sequence_last, uint32_t missing)
{
    struct gw_message message = {.type = GW_FRAME_PREPARE,
                                 .prepare = {.epoch = epoch,
                                             .channel_count = 1,
                                             .sequence_last = {sequence_last},
                                             .is_running = true,
                                             .is_postcopy = true,
                                             .missing_pages = missing}};
    hears(&message);
}

enum gw_status may_place(uint64_t sequence)
{
    enum gw_placing placing;
    return gw_target_may_place(&target, 0, sequence, &placing, NULL);
}

void places(uint64_t sequence, uint64_t page, uint32_t count, bool is_suspect)
{
    struct gw_batch_table table = {
        .record_count = 1,
        .raw_pages = count,
        .record = {{.page = page, .count = count, .kind = GW_RECORD_RAW}}};
    struct gw_target_event event = {
        .type = GW_TARGET_EV_BATCH,
        .placed = {.sequence = sequence, .is_suspect = is_suspect, .table = &table}};
    assert_int_equal(tell(event, NULL), GW_OK);
    drain();
}

void fresh(void)
{
    const struct gw_target_config config = {.facts = &facts,
                                            .page_count = PAGES,
                                            .page_bytes = PAGE,
                                            .vcpu_count = 1,
                                            .can_postcopy = true,
                                            .recover_ns_max = 3600000 * MS};
    gw_target_init(&target, &config);
    now_ns = 1000 * MS;
    memset(&last_history, 0, sizeof(last_history));
    forget_actions();
}

void reach(enum gw_target_state state)
{
    static const struct {
        enum gw_target_state from;
        enum gw_target_event_type event; /* GW_TARGET_EVENT_COUNT: see below */
    } ways[GW_TARGET_STATE_COUNT] = {
        [GW_TARGET_RECALLING] = {GW_TARGET_NONE, GW_TARGET_EV_START},
        [GW_TARGET_LISTENING] = {GW_TARGET_RECALLING, GW_TARGET_EV_RECORDED},
        [GW_TARGET_NEGOTIATING] = {GW_TARGET_LISTENING, GW_TARGET_EVENT_COUNT},
        [GW_TARGET_OPENING] = {GW_TARGET_NEGOTIATING, GW_TARGET_EVENT_COUNT},
        [GW_TARGET_ACTIVE] = {GW_TARGET_OPENING, GW_TARGET_EV_RECORDED},
        [GW_TARGET_AWAITING] = {GW_TARGET_ACTIVE, GW_TARGET_EV_LINK_LOST},
        [GW_TARGET_GATHERING] = {GW_TARGET_ACTIVE, GW_TARGET_EVENT_COUNT},
        [GW_TARGET_LOADING] = {GW_TARGET_GATHERING, GW_TARGET_EVENT_COUNT},
        [GW_TARGET_READY] = {GW_TARGET_LOADING, GW_TARGET_EV_LOADED},
        [GW_TARGET_TAKING] = {GW_TARGET_READY, GW_TARGET_EVENT_COUNT},
        [GW_TARGET_CLAIMING] = {GW_TARGET_READY, GW_TARGET_EV_RUN_ANYWAY},
        [GW_TARGET_STARTING] = {GW_TARGET_TAKING, GW_TARGET_EV_RECORDED},
        [GW_TARGET_RUNNING] = {GW_TARGET_STARTING, GW_TARGET_EV_STARTED},
        [GW_TARGET_DONE] = {GW_TARGET_RUNNING, GW_TARGET_EVENT_COUNT},
        [GW_TARGET_ARMING] = {GW_TARGET_GATHERING, GW_TARGET_EVENT_COUNT},
        [GW_TARGET_PULLING] = {GW_TARGET_STARTING, GW_TARGET_EV_STARTED},
        [GW_TARGET_STRANDED] = {GW_TARGET_PULLING, GW_TARGET_EV_LINK_LOST},
        [GW_TARGET_LOST] = {GW_TARGET_STRANDED, GW_TARGET_EV_GIVE_UP},
        [GW_TARGET_ABORTING] = {GW_TARGET_READY, GW_TARGET_EV_GIVE_UP},
    };
    enum gw_target_state chain[GW_TARGET_STATE_COUNT];
    int length = 0;
    bool is_partial = state == GW_TARGET_ARMING || state == GW_TARGET_PULLING ||
                      state == GW_TARGET_STRANDED || state == GW_TARGET_LOST;
    for (enum gw_target_state at = state; at != GW_TARGET_NONE;) {
        chain[length++] = at;
        at = at == GW_TARGET_LOADING && is_partial ? GW_TARGET_ARMING : ways[at].from;
    }
    fresh();
    while (length-- > 0) {
        enum gw_target_state next = chain[length];
        if (ways[next].event != GW_TARGET_EVENT_COUNT) {
            happens(ways[next].event);
        }
        if (next == GW_TARGET_NEGOTIATING) {
            comes('A', GW_PURPOSE_OPEN, 1);
        } else if (next == GW_TARGET_OPENING) {
            hears_hello(PAGES);
        } else if (next == GW_TARGET_ACTIVE) {
            comes_bulk(1, 0);
        } else if (next == GW_TARGET_GATHERING && is_partial) {
            comes_urgent(1);
            hears_prepare_postcopy(1, 2, 2);
        } else if (next == GW_TARGET_GATHERING) {
            hears_prepare(1, 1);
        } else if (next == GW_TARGET_ARMING) {
            places(1, 0, PAGES - 1, false);
            reads_map(2,
                      UINT64_C(0xc0)); /* page 6 was sent, and is dirty again; page 7 never was */
        } else if (next == GW_TARGET_LOADING && is_partial) {
            happens(GW_TARGET_EV_ARMED);
        } else if (next == GW_TARGET_LOADING) {
            places(1, 0, PAGES, false);
        } else if (next == GW_TARGET_TAKING) {
            hears_verdict(GW_FRAME_COMMIT, 1);
        } else if (next == GW_TARGET_DONE) {
            hears_verdict(GW_FRAME_DONE, 1);
        }
        assert_string_equal(gw_target_state_name(target.state), gw_target_state_name(next));
    }
}

int recorded(char letter)
{
    const struct gw_session session = session_of(letter);
    const struct gw_record_entry *entry = gw_history_get(&last_history, &session);
    return entry ? (int)entry->state : -1;
}
