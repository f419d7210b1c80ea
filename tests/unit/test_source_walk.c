/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks of the source's machine in which the target says whatever it likes, the host fails now and
 * then, and links break: no guest that was committed runs here again but by the target's ABORTED or
 * an operator's word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "source_script.h"

struct walk {
    bool is_stopped, is_tracking_asked, is_collect_asked, is_stop_asked, is_record_asked;
    bool is_connect_asked, is_bulk_asked, is_link_up, is_over;
};

static struct walk walk;

/* Carries actions out, minding rule 2: nothing resumes a guest that was committed. */
static void walk_acts(bool may_take_back)
{
    struct gw_source_action action;
    while (!walk.is_record_asked && gw_source_next(&source, &action) == GW_OK) {
        note(&action);
        switch (action.type) {
        case GW_SOURCE_DO_CONNECT:
            walk.is_connect_asked = true;
            break;
        case GW_SOURCE_DO_CONNECT_BULK:
            walk.is_bulk_asked = true;
            break;
        case GW_SOURCE_DO_CLOSE:
            walk.is_link_up = walk.is_connect_asked = walk.is_bulk_asked = false;
            break;
        case GW_SOURCE_DO_TRACK:
            walk.is_tracking_asked = true;
            break;
        case GW_SOURCE_DO_COLLECT:
            walk.is_collect_asked = true;
            break;
        case GW_SOURCE_DO_STOP:
            walk.is_stop_asked = true;
            break;
        case GW_SOURCE_DO_RECORD:
            walk.is_record_asked = true;
            break;
        case GW_SOURCE_DO_RESUME:
            assert_true(!is_committed || may_take_back);
            assert_int_equal(gw_source_runner(&source), GW_RUNNER_SOURCE);
            is_committed = false;
            break;
        case GW_SOURCE_DO_FINISH:
            walk.is_over = true;
            break;
        default:
            break;
        }
    }
}

/* Answers one thing that was asked for; false when nothing was. */
static bool walk_answers(struct chance *chance, struct gw_source_event *event)
{
    static const struct gw_fault fault = {.status = GW_HOST, .text = "it broke"};
    static const struct {
        bool *asked;
        enum gw_source_event_type answer, failure;
    } questions[] = {
        {&walk.is_connect_asked, GW_SOURCE_EV_LINK_UP, GW_SOURCE_EV_LINK_LOST},
        {&walk.is_bulk_asked, GW_SOURCE_EV_BULK_UP, GW_SOURCE_EV_LINK_LOST},
        {&walk.is_tracking_asked, GW_SOURCE_EV_TRACKED, GW_SOURCE_EV_HOST_FAULT},
        {&walk.is_collect_asked, GW_SOURCE_EV_COLLECTED, GW_SOURCE_EV_HOST_FAULT},
        {&walk.is_stop_asked, GW_SOURCE_EV_STOPPED, GW_SOURCE_EV_HOST_FAULT},
        {&walk.is_record_asked, GW_SOURCE_EV_RECORDED, GW_SOURCE_EV_RECORDED},
    };
    enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };
    uint64_t first = chance_next(chance, QUESTIONS), n = first;
    while (!*questions[n].asked) {
        n = (n + 1) % QUESTIONS;
        if (n == first) {
            return false;
        }
    }
    *questions[n].asked = false;
    bool is_good = chance_next(chance, 20) > 0;
    event->type = is_good ? questions[n].answer : questions[n].failure;
    walk.is_link_up = walk.is_link_up || event->type == GW_SOURCE_EV_LINK_UP;
    if (event->type == GW_SOURCE_EV_TRACKED || event->type == GW_SOURCE_EV_COLLECTED) {
        dirty(chance_next(chance, 0));
        event->bitmap = bitmap;
    } else if (event->type == GW_SOURCE_EV_STOPPED) {
        event->halted_ns = now_ns;
    } else {
        event->fault = is_good ? NULL : &fault;
    }
    return true;
}

/* Now and then nonsense; else what a target could say now, and false when it would be silent. */
static bool walk_message(struct chance *chance, struct gw_message *message)
{
    if (chance_next(chance, 60) == 0) {
        *message = peer_message((uint32_t)chance_next(chance, PEER_MESSAGES));
        return true;
    }
    if (source.pages.channel[0].sequence_sent > source.pages.channel[0].sequence_acked) {
        *message = (struct gw_message){.type = GW_FRAME_ACK,
                                       .ack = {.sequence = source.pages.channel[0].sequence_sent}};
        return true;
    }
    uint64_t first = chance_next(chance, PEER_MESSAGES);
    for (uint64_t n = 0; n < PEER_MESSAGES; n++) {
        *message = peer_message((uint32_t)((first + n) % PEER_MESSAGES));
        enum gw_source_event_type event = event_of(message);
        bool is_end = event == GW_SOURCE_EV_REFUSE || event == GW_SOURCE_EV_MISMATCH;
        bool is_count = event == GW_SOURCE_EV_ACK || event == GW_SOURCE_EV_SUSPECT;
        if (is_legal[source.state][event] && !is_count &&
            (!is_end || chance_next(chance, 40) == 0)) {
            return true;
        }
    }
    return false;
}

static void walk_step(struct chance *chance)
{
    struct gw_source_event event = {.type = GW_SOURCE_EV_TICK};
    struct gw_message message;
    struct gw_batch batch;
    uint64_t retry_ns;
    bool may_take_back = false;
    now_ns += chance_next(chance, 100) * MS;
    switch (chance_next(chance, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        if (!walk_answers(chance, &event)) {
            return;
        }
        break;
    case 4:
    case 5:
    case 6:
        if (!walk.is_link_up || walk.is_record_asked || !walk_message(chance, &message)) {
            return;
        }
        event = (struct gw_source_event){.type = GW_SOURCE_EV_MESSAGE, .message = &message};
        enum gw_source_event_type meant = event_of(&message);
        may_take_back = meant == GW_SOURCE_EV_ABORTED || meant == GW_SOURCE_EV_STANDS_ABORTED;
        break;
    case 7:
    case 8:
        if (gw_source_next_batch(&source, 0, now_ns, &batch, &retry_ns) != GW_OK) {
            return;
        }
        event = (struct gw_source_event){.type = GW_SOURCE_EV_BATCH_SENT,
                                         .sent = {.sequence = batch.sequence, .wire_bytes = 9}};
        break;
    case 9:
        if (chance_next(chance, 8) > 0 || !walk.is_link_up) {
            return;
        }
        static const struct gw_fault lost = {.status = GW_LINK, .text = "cut"};
        walk.is_link_up = walk.is_bulk_asked = false;
        event = (struct gw_source_event){.type = GW_SOURCE_EV_LINK_LOST, .fault = &lost};
        break;
    case 10:
        if (chance_next(chance, 20) > 0) {
            return;
        }
        event.type = (enum gw_source_event_type)chance_next(chance, 4);
        may_take_back = event.type == GW_SOURCE_EV_RUN_ANYWAY;
        break;
    default:
        break;
    }
    struct gw_fault fault = {.status = GW_OK};
    enum gw_status status = tell(event, &fault);
    assert_true(status == GW_OK || (status == GW_ARGUMENT && fault.text[0]));
    walk_acts(may_take_back);
    if (is_committed) {
        assert_int_not_equal(gw_source_runner(&source), GW_RUNNER_SOURCE);
    }
}

static void no_target_and_no_order_of_events_runs_a_committed_guest(void **state)
{
    (void)state;
    const char *wish = getenv("GW_SEED");
    uint64_t seed = wish ? strtoull(wish, NULL, 0) : 50;
    uint32_t ends[GW_SOURCE_STATE_COUNT] = {0};
    print_message("seed %llu (GW_SEED changes it)\n", (unsigned long long)seed);
    for (uint64_t run = 0; run < 6000; run++) {
        struct chance chance = chance_of(seed * 100000 + run);
        fresh(run % 2);
        walk = (struct walk){.is_stopped = false};
        assert_int_equal(tell((struct gw_source_event){.type = GW_SOURCE_EV_START}, NULL), GW_OK);
        walk_acts(false);
        for (int step = 0; step < 400 && !walk.is_over; step++) {
            walk_step(&chance);
        }
        ends[source.state]++;
    }
    print_message("%u completed, %u failed, %u cancelled\n", ends[GW_SOURCE_COMPLETED],
                  ends[GW_SOURCE_FAILED], ends[GW_SOURCE_CANCELLED]);
    assert_true(ends[GW_SOURCE_COMPLETED] > 10); /* some get all the way */
    assert_true(ends[GW_SOURCE_FAILED] > 20);
    assert_true(ends[GW_SOURCE_CANCELLED] > 20);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_target_and_no_order_of_events_runs_a_committed_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
