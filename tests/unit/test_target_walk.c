/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks of the target's machine in which sources come, go and say whatever they like, the host
 * fails now and then, and an operator decides. A guest is run only when it is whole, when COMMIT or
 * the operator said so, and when `took` was recorded; at most once a session; and never in an epoch
 * of which ABORTED was said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "target_script.h"

enum { WALKS = 6000, STEPS = 120 };

/* What was asked for and is not answered, and what was said of the session at hand. */
static struct {
    uint32_t records;
    bool is_load_asked, is_run_asked;
    bool is_claimed;        /* COMMIT of this epoch, or the operator's word */
    bool is_took_stored;    /* the last record that was answered holds `took` */
    bool has_run;           /* RUN was asked for in this session */
    uint64_t epoch_aborted; /* the last one ABORTED was said of */
    uint32_t generation;
    char letter;
} walk;

static uint32_t resumed, ran, aborted;

static void forget_session(void)
{
    walk.is_claimed = walk.is_took_stored = walk.has_run = false;
    walk.epoch_aborted = 0;
    walk.generation = 1;
}

static void check_run(void)
{
    assert_true(walk.is_claimed && walk.is_took_stored && !walk.has_run);
    assert_int_equal(target.missing, 0);
    assert_false(target.is_mismatched);
    assert_true(target.epoch != walk.epoch_aborted);
    walk.has_run = true;
    ran++;
}

static void acts(void)
{
    struct gw_target_action action;
    while (gw_target_next(&target, &action) == GW_OK) {
        note(&action);
        if (action.type == GW_TARGET_DO_RECORD) {
            walk.records++;
        } else if (action.type == GW_TARGET_DO_LOAD) {
            walk.is_load_asked = true;
        } else if (action.type == GW_TARGET_DO_RUN) {
            walk.is_run_asked = true;
            check_run();
        } else if (action.type == GW_TARGET_DO_SEND && action.message.type == GW_FRAME_ABORTED) {
            walk.epoch_aborted = action.message.verdict.epoch;
            aborted++;
        }
    }
}

static void tells(struct gw_target_event event)
{
    struct gw_fault fault = {.status = GW_OK};
    enum gw_status status = tell(event, &fault);
    assert_true(status == GW_OK || (status == GW_ARGUMENT && fault.text[0]));
    acts();
}

/* Answers one thing that was asked for; now and then it could not be done. */
static void answers(struct chance *chance)
{
    static const struct gw_fault broke = {.status = GW_HOST, .text = "it broke"};
    struct gw_target_event event = {.type = GW_TARGET_EV_HOST_FAULT, .fault = &broke};
    bool is_good = chance_next(chance, 25) > 0;
    if (walk.records > 0) {
        walk.records--;
        if (is_good && walk.records == 0) {
            walk.is_took_stored = recorded(walk.letter) == GW_RECORD_TOOK;
        }
        event.type = is_good ? GW_TARGET_EV_RECORDED : event.type;
    } else if (walk.is_load_asked) {
        walk.is_load_asked = false;
        event.type = is_good ? GW_TARGET_EV_LOADED : event.type;
    } else if (walk.is_run_asked) {
        walk.is_run_asked = false;
        event.type = is_good ? GW_TARGET_EV_STARTED : event.type;
        walk.has_run = is_good; /* a guest that did not start has not run */
    } else {
        return;
    }
    tells(event);
}

static void introduces(struct chance *chance)
{
    bool is_open = target.state == GW_TARGET_LISTENING || chance_next(chance, 10) == 0;
    enum gw_target_state before = target.state;
    struct gw_message intro;
    if (is_open) {
        char letter = (char)('A' + chance_next(chance, 60));
        intro = intro_of(letter, GW_PURPOSE_OPEN, 1);
        if (chance_next(chance, 3) == 0) {
            intro.intro.withdrawn = target.session;
        }
    } else {
        enum gw_purpose purpose =
            chance_next(chance, 2) && !walk.is_claimed ? GW_PURPOSE_RESUME : GW_PURPOSE_SETTLE;
        intro = intro_of(walk.letter, purpose, ++walk.generation);
    }
    struct gw_session session = target.session;
    tells((struct gw_target_event){.type = GW_TARGET_EV_INTRO, .message = &intro});
    if (memcmp(&session, &target.session, sizeof(session)) != 0) {
        walk.letter = (char)target.session.id[0];
        forget_session();
    }
    resumed += before == GW_TARGET_AWAITING && target.state == GW_TARGET_ACTIVE;
}

static void introduces_bulk(struct chance *chance)
{
    struct gw_message intro = intro_of(walk.letter, GW_PURPOSE_OPEN, target.generation);
    intro.intro.role = GW_ROLE_BULK;
    intro.intro.sequence = chance_next(chance, target.channel[0].sequence + 1);
    tells((struct gw_target_event){.type = GW_TARGET_EV_INTRO, .message = &intro});
}

static void sends_pages(struct chance *chance)
{
    uint64_t sequence = target.channel[0].sequence + 1;
    if (may_place(sequence) != GW_OK) {
        return;
    }
    uint64_t page = chance_next(chance, 2) ? 0 : chance_next(chance, PAGES);
    struct gw_batch_table table = {
        .record_count = 1,
        .record = {{.page = page, .count = (uint32_t)(PAGES - page), .kind = GW_RECORD_RAW}}};
    tells((struct gw_target_event){.type = GW_TARGET_EV_BATCH,
                                   .placed = {.sequence = sequence,
                                              .is_suspect = chance_next(chance, 10) == 0,
                                              .table = &table}});
}

/* Mostly what has a place in the state; now and then anything. */
static void says_something(struct chance *chance)
{
    static const enum gw_frame_type any[] = {GW_FRAME_HELLO,  GW_FRAME_PREPARE, GW_FRAME_COMMIT,
                                             GW_FRAME_ABORT,  GW_FRAME_DONE,    GW_FRAME_READY,
                                             GW_FRAME_ACCEPT, GW_FRAME_ACK,     GW_FRAME_INTRO};
    struct gw_message message = {.type = any[chance_next(chance, 9)]};
    bool is_nonsense = chance_next(chance, 60) == 0;
    if (!is_nonsense) {
        switch (target.state) {
        case GW_TARGET_NEGOTIATING:
            message.type = GW_FRAME_HELLO;
            break;
        case GW_TARGET_ACTIVE:
            message.type = GW_FRAME_PREPARE;
            break;
        case GW_TARGET_READY:
        case GW_TARGET_CLAIMING:
            message.type = chance_next(chance, 8) ? GW_FRAME_COMMIT : GW_FRAME_ABORT;
            break;
        case GW_TARGET_RUNNING:
            message.type = GW_FRAME_DONE;
            break;
        default:
            return;
        }
    }
    if (message.type == GW_FRAME_HELLO) {
        message.hello =
            (struct gw_hello){.page_count = PAGES, .page_bytes = PAGE, .channel_count = 1};
    } else if (message.type == GW_FRAME_PREPARE) {
        message.prepare = (struct gw_prepare){.epoch = target.epoch + 1,
                                              .channel_count = 1,
                                              .sequence_last = {target.channel[0].sequence},
                                              .is_running = 1};
    } else {
        message.verdict.epoch = is_nonsense ? chance_next(chance, 4) : target.epoch;
    }
    bool is_commit = message.type == GW_FRAME_COMMIT && message.verdict.epoch == target.epoch &&
                     target.is_linked;
    walk.is_claimed = walk.is_claimed || (is_commit && is_legal[target.state][GW_TARGET_EV_COMMIT]);
    tells((struct gw_target_event){.type = GW_TARGET_EV_MESSAGE, .message = &message});
}

static void decides(struct chance *chance)
{
    struct gw_target_event event = {
        .type = (enum gw_target_event_type)(GW_TARGET_EV_GIVE_UP + chance_next(chance, 3))};
    walk.is_claimed = walk.is_claimed ||
                      (event.type == GW_TARGET_EV_RUN_ANYWAY && target.state == GW_TARGET_READY);
    tells(event);
}

static void walk_step(struct chance *chance)
{
    static const struct gw_fault lost = {.status = GW_LINK, .text = "cut"};
    now_ns += chance_next(chance, 100) * MS;
    switch (chance_next(chance, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        answers(chance);
        break;
    case 5:
        if (!target.is_linked || chance_next(chance, 20) == 0) {
            introduces(chance);
        }
        break;
    case 6:
    case 7:
        introduces_bulk(chance);
        break;
    case 8:
    case 9:
    case 10:
        sends_pages(chance);
        break;
    case 11:
    case 12:
    case 13:
        says_something(chance);
        break;
    case 14:
        if (target.is_linked && chance_next(chance, 6) == 0) {
            tells((struct gw_target_event){.type = GW_TARGET_EV_LINK_LOST, .fault = &lost});
        }
        break;
    default:
        if (chance_next(chance, 12) == 0) {
            decides(chance);
        }
        break;
    }
}

static void no_source_and_no_order_of_events_runs_half_a_guest(void **state)
{
    (void)state;
    const char *wish = getenv("GW_SEED");
    uint64_t seed = wish ? strtoull(wish, NULL, 0) : 70;
    print_message("seed %llu (GW_SEED changes it)\n", (unsigned long long)seed);
    for (uint64_t n = 0; n < WALKS; n++) {
        struct chance chance = chance_of(seed * 100000 + n);
        fresh();
        memset(&walk, 0, sizeof(walk));
        tells((struct gw_target_event){.type = GW_TARGET_EV_START});
        for (int step = 0; step < STEPS && target.state != GW_TARGET_DONE; step++) {
            walk_step(&chance);
        }
    }
    print_message("%u ran, %u resumed, %u aborted\n", ran, resumed, aborted);
    assert_true(ran > 200 && resumed > 200 && aborted > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_source_and_no_order_of_events_runs_half_a_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
