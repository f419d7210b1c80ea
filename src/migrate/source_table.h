/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's transitions: T(state, event, next state, step). Everything the source may do
 * stands here; the machine (source.c), its tests and the diagram in docs/HANDOVER.md come from
 * this list.
 */
#ifndef GW_MIGRATE_SOURCE_TABLE_H
#define GW_MIGRATE_SOURCE_TABLE_H

/* Not committed: whatever goes wrong, the guest runs on here, or is resumed. */
#define UNCOMMITTED(T, state)         \
    T(state, REFUSE, FAILED, end)     \
    T(state, HOST_FAULT, FAILED, end) \
    T(state, CANCEL, CANCELLED, end)

/* Nothing was sent yet: a lost link ends it. */
#define BEFORE_PAGES(T, state)         \
    T(state, LINK_LOST, FAILED, end)   \
    T(state, DEADLINE, CANCELLED, end) \
    UNCOMMITTED(T, state)

/* The same, and nobody is there yet who could refuse. */
#define BEFORE_LINK(T, state)          \
    T(state, LINK_LOST, FAILED, end)   \
    T(state, DEADLINE, CANCELLED, end) \
    T(state, HOST_FAULT, FAILED, end)  \
    T(state, CANCEL, CANCELLED, end)

/* Pages were sent: what the target has of them is worth a second try. */
#define WITH_PAGES(T, state)                  \
    T(state, LINK_LOST, RETRY_WAITING, pause) \
    T(state, BREACH, FAILED, end)             \
    UNCOMMITTED(T, state)

/* The link is lost, the guest runs here. */
#define WHILE_RETRYING(T, state)       \
    BEFORE_SWITCH(T, state)            \
    T(state, DEADLINE, CANCELLED, end) \
    T(state, COLLECTED, state, merge)  \
    T(state, HOST_FAULT, FAILED, end)  \
    T(state, CANCEL, CANCELLED, end)

/* The target's devices may say so any time after ACCEPT; once is enough. */
#define WHILE_UNACKED(T, state) T(state, SWITCHOVER_ACK, state, acknowledge)

/* Not stopped yet: an operator may switch to postcopy. */
#define BEFORE_SWITCH(T, state) T(state, POSTCOPY, state, want_postcopy)

/* It runs there without all of its RAM, and the link is lost. */
#define WHILE_PARTED(T, state)        \
    T(state, RUN_ANYWAY, FAILED, end) \
    T(state, GIVE_UP, LOST, give_up)

/* The same, and it is being connected again: what goes wrong is tried once more. */
#define WHILE_RECOVERING(T, state)              \
    T(state, LINK_LOST, PUSH_WAITING, back_off) \
    T(state, PAUSE, PUSH_PAUSED, let_go)        \
    WHILE_PARTED(T, state)

/* Committed: only the target's word, or an operator's, ends it. */
#define WHILE_HELD(T, state)          \
    T(state, RUN_ANYWAY, FAILED, end) \
    T(state, GIVE_UP, COMPLETED, give_up)

/* clang-format off */
#define GW_SOURCE_TRANSITIONS(T)                                                                   \
    T(NONE, START, CONNECTING, connect)                                                            \
                                                                                                   \
    T(CONNECTING, LINK_UP, GREETING, introduce)                                                    \
    BEFORE_SWITCH(T, CONNECTING)                                                                   \
    BEFORE_LINK(T, CONNECTING)                                                                     \
                                                                                                   \
    T(GREETING, WELCOMED, NEGOTIATING, hello)                                                      \
    T(GREETING, TIME_OUT, FAILED, end)                                                             \
    BEFORE_SWITCH(T, GREETING)                                                                     \
    BEFORE_PAGES(T, GREETING)                                                                      \
                                                                                                   \
    T(NEGOTIATING, ACCEPT, OPENING, open_bulk)                                                     \
    T(NEGOTIATING, ACCEPT_SHARED, LEAVING, leave_shared)                                           \
    T(NEGOTIATING, TIME_OUT, FAILED, end)                                                          \
    BEFORE_SWITCH(T, NEGOTIATING)                                                                  \
    BEFORE_PAGES(T, NEGOTIATING)                                                                   \
                                                                                                   \
    T(OPENING, BULK_UP, TRACKING, nothing)                                                         \
    T(OPENING, TRACKED, TRACKED, begin)                                                            \
    WHILE_UNACKED(T, OPENING)                                                                      \
    BEFORE_SWITCH(T, OPENING)                                                                      \
    BEFORE_PAGES(T, OPENING)                                                                       \
                                                                                                   \
    T(TRACKING, TRACKED, ACTIVE, first_round)                                                      \
    WHILE_UNACKED(T, TRACKING)                                                                     \
    BEFORE_SWITCH(T, TRACKING)                                                                     \
    BEFORE_PAGES(T, TRACKING)                                                                      \
                                                                                                   \
    T(TRACKED, BULK_UP, ACTIVE, first_round)                                                       \
    WHILE_UNACKED(T, TRACKED)                                                                      \
    BEFORE_SWITCH(T, TRACKED)                                                                      \
    BEFORE_PAGES(T, TRACKED)                                                                       \
                                                                                                   \
    T(ACTIVE, BATCH_SENT, ACTIVE, count_sent)                                                      \
    T(ACTIVE, ACK, ACTIVE, count_acked)                                                            \
    T(ACTIVE, SUSPECT, ACTIVE, take_back)                                                          \
    T(ACTIVE, ROUND_END, ACTIVE, collect)                                                          \
    T(ACTIVE, COLLECTED, ACTIVE, judge)                                                            \
    T(ACTIVE, SWITCH, LEAVING, record_leaving)                                                     \
    T(ACTIVE, TIME_OUT, FAILED, end)                                                               \
    T(ACTIVE, HOLD, PRE_SWITCHOVER, hold)                                                          \
    T(ACTIVE, DEADLINE, CANCELLED, end)                                                            \
    WHILE_UNACKED(T, ACTIVE)                                                                       \
    BEFORE_SWITCH(T, ACTIVE)                                                                       \
    WITH_PAGES(T, ACTIVE)                                                                          \
                                                                                                   \
    T(PRE_SWITCHOVER, CONTINUE, ACTIVE, go_on)                                                     \
    T(PRE_SWITCHOVER, BATCH_SENT, PRE_SWITCHOVER, count_sent)                                      \
    T(PRE_SWITCHOVER, ACK, PRE_SWITCHOVER, count_acked)                                            \
    T(PRE_SWITCHOVER, SUSPECT, PRE_SWITCHOVER, take_back)                                          \
    T(PRE_SWITCHOVER, DEADLINE, CANCELLED, end)                                                    \
    BEFORE_SWITCH(T, PRE_SWITCHOVER)                                                               \
    WITH_PAGES(T, PRE_SWITCHOVER)                                                                  \
                                                                                                   \
    T(RETRY_WAITING, TIME_OUT, RETRY_CONNECTING, connect)                                          \
    T(RETRY_WAITING, EXHAUSTED, FAILED, end)                                                       \
    WHILE_RETRYING(T, RETRY_WAITING)                                                               \
                                                                                                   \
    T(RETRY_CONNECTING, LINK_UP, RETRY_ASKING, ask_again)                                          \
    T(RETRY_CONNECTING, LINK_LOST, RETRY_WAITING, back_off)                                        \
    WHILE_RETRYING(T, RETRY_CONNECTING)                                                            \
                                                                                                   \
    T(RETRY_ASKING, STANDS_OPEN, RETRY_OPENING, reopen)                                            \
    T(RETRY_ASKING, STANDS_UNKNOWN, FAILED, end)                                                   \
    T(RETRY_ASKING, STANDS_ABORTED, FAILED, end)                                                   \
    T(RETRY_ASKING, REFUSE, FAILED, end)                                                           \
    T(RETRY_ASKING, BREACH, FAILED, end)                                                           \
    T(RETRY_ASKING, TIME_OUT, RETRY_WAITING, back_off)                                             \
    T(RETRY_ASKING, LINK_LOST, RETRY_WAITING, back_off)                                            \
    WHILE_RETRYING(T, RETRY_ASKING)                                                                \
                                                                                                   \
    T(RETRY_OPENING, BULK_UP, ACTIVE, resume)                                                      \
    WHILE_UNACKED(T, RETRY_OPENING)                                                                \
    T(RETRY_OPENING, REFUSE, FAILED, end)                                                          \
    T(RETRY_OPENING, BREACH, FAILED, end)                                                          \
    T(RETRY_OPENING, LINK_LOST, RETRY_WAITING, back_off)                                           \
    WHILE_RETRYING(T, RETRY_OPENING)                                                               \
                                                                                                   \
    T(LEAVING, BATCH_SENT, LEAVING, count_sent)                                                    \
    T(LEAVING, ACK, LEAVING, count_acked)                                                          \
    T(LEAVING, SUSPECT, LEAVING, take_back)                                                        \
    T(LEAVING, RECORDED, STOPPING, stop)                                                           \
    WITH_PAGES(T, LEAVING)                                                                       \
                                                                                                   \
    T(STOPPING, BATCH_SENT, STOPPING, count_sent)                                                  \
    T(STOPPING, ACK, STOPPING, count_acked)                                                        \
    T(STOPPING, SUSPECT, STOPPING, take_back)                                                      \
    T(STOPPING, STOPPED, COLLECTING, collect_last)                                                 \
    T(STOPPING, STOPPED_SHARED, PREPARED, prepare_shared)                                          \
    T(STOPPING, LINK_LOST, PAUSING, nothing)                                                       \
    T(STOPPING, BREACH, FALLING_BACK, nothing)                                                     \
    T(STOPPING, REFUSE, FALLING_BACK, nothing)                                                     \
    T(STOPPING, HOST_FAULT, FAILED, end)                                                           \
    T(STOPPING, CANCEL, CANCELLING, nothing)                                                       \
                                                                                                   \
    T(PAUSING, STOPPED, RETRY_WAITING, pause)                                                      \
    T(PAUSING, HOST_FAULT, FAILED, end)                                                            \
    T(PAUSING, CANCEL, CANCELLING, nothing)                                                        \
                                                                                                   \
    T(FALLING_BACK, STOPPED, FAILED, end)                                                          \
    T(FALLING_BACK, HOST_FAULT, FAILED, end)                                                       \
                                                                                                   \
    T(CANCELLING, STOPPED, CANCELLED, end)                                                         \
    T(CANCELLING, HOST_FAULT, CANCELLED, end)                                                      \
    T(CANCELLING, BATCH_SENT, CANCELLING, count_sent)                                              \
    T(CANCELLING, ACK, CANCELLING, count_acked)                                                    \
    T(CANCELLING, SUSPECT, CANCELLING, take_back)                                                  \
    T(CANCELLING, LINK_LOST, CANCELLING, nothing)                                                  \
    T(CANCELLING, REFUSE, CANCELLING, nothing)                                                     \
                                                                                                   \
    T(COLLECTING, BATCH_SENT, COLLECTING, count_sent)                                              \
    T(COLLECTING, ACK, COLLECTING, count_acked)                                                    \
    T(COLLECTING, SUSPECT, COLLECTING, take_back)                                                  \
    T(COLLECTING, COLLECTED, FINISHING, last_round)                                                \
    WITH_PAGES(T, COLLECTING)                                                                      \
                                                                                                   \
    T(FINISHING, BATCH_SENT, FINISHING, count_sent)                                                \
    T(FINISHING, ACK, FINISHING, count_acked)                                                      \
    T(FINISHING, SUSPECT, FINISHING, take_back)                                                    \
    T(FINISHING, DRAINED, PREPARED, prepare)                                                       \
    T(FINISHING, TIME_OUT, FAILED, end)                                                            \
    T(FINISHING, MISMATCH, FAILED, end)                                                            \
    WITH_PAGES(T, FINISHING)                                                                       \
                                                                                                   \
    T(PREPARED, ACK, PREPARED, count_acked)                                                        \
    T(PREPARED, READY, HELD, commit)                                                               \
    T(PREPARED, TIME_OUT, FAILED, end)                                                             \
    T(PREPARED, MISMATCH, FAILED, end)                                                             \
    T(PREPARED, ABORTED, FAILED, end)                                                              \
    WITH_PAGES(T, PREPARED)                                                                        \
                                                                                                   \
    T(HELD, RUNNING, SETTLING, done)                                                               \
    T(HELD, PULLS, PUSHING, push)                                                                  \
    T(HELD, PULLS_BARE, PUSH_OPENING, reopen_push)                                                 \
    T(HELD, ABORTED, FAILED, end)                                                                  \
    T(HELD, LINK_LOST, HELD_WAITING, back_off)                                                     \
    T(HELD, REFUSE, HELD_WAITING, back_off)                                                        \
    WHILE_HELD(T, HELD)                                                                            \
                                                                                                   \
    T(HELD_WAITING, TIME_OUT, HELD_CONNECTING, connect)                                            \
    WHILE_HELD(T, HELD_WAITING)                                                                    \
                                                                                                   \
    T(HELD_CONNECTING, LINK_UP, HELD_ASKING, ask)                                                  \
    T(HELD_CONNECTING, LINK_LOST, HELD_WAITING, back_off)                                          \
    WHILE_HELD(T, HELD_CONNECTING)                                                                 \
                                                                                                   \
    T(HELD_ASKING, STANDS_READY, HELD, commit)                                                     \
    T(HELD_ASKING, STANDS_RUNNING, SETTLING, done)                                                 \
    T(HELD_ASKING, STANDS_SETTLED, COMPLETED, settle)                                              \
    T(HELD_ASKING, STANDS_ABORTED, FAILED, end)                                                    \
    T(HELD_ASKING, STANDS_PULLING, PUSH_OPENING, reopen_push)                                      \
    T(HELD_ASKING, STANDS_LOST, PUSH_WAITING, part)                                                \
    T(HELD_ASKING, STANDS_UNKNOWN, HELD_WAITING, back_off)                                         \
    T(HELD_ASKING, REFUSE, HELD_WAITING, back_off)                                                 \
    T(HELD_ASKING, TIME_OUT, HELD_WAITING, back_off)                                               \
    T(HELD_ASKING, LINK_LOST, HELD_WAITING, back_off)                                              \
    WHILE_HELD(T, HELD_ASKING)                                                                     \
                                                                                                   \
    T(PUSHING, BATCH_SENT, PUSHING, count_sent)                                                    \
    T(PUSHING, ACK, PUSHING, count_acked)                                                          \
    T(PUSHING, COMPLETE, SETTLING, complete)                                                       \
    T(PUSHING, REFUSE, PUSH_WAITING, part)                                                         \
    T(PUSHING, LINK_LOST, PUSH_WAITING, part)                                                      \
    T(PUSHING, PAUSE, PUSH_PAUSED, part)                                                           \
                                                                                                   \
    T(PUSH_WAITING, TIME_OUT, PUSH_CONNECTING, connect)                                            \
    T(PUSH_WAITING, RECOVER, PUSH_CONNECTING, connect)                                             \
    T(PUSH_WAITING, PAUSE, PUSH_PAUSED, nothing)                                                   \
    T(PUSH_WAITING, EXHAUSTED, LOST, give_up)                                                      \
    WHILE_PARTED(T, PUSH_WAITING)                                                                  \
                                                                                                   \
    T(PUSH_PAUSED, RECOVER, PUSH_CONNECTING, connect)                                              \
    WHILE_PARTED(T, PUSH_PAUSED)                                                                   \
                                                                                                   \
    T(PUSH_CONNECTING, LINK_UP, PUSH_ASKING, ask)                                                  \
    WHILE_RECOVERING(T, PUSH_CONNECTING)                                                           \
                                                                                                   \
    T(PUSH_ASKING, STANDS_PULLING, PUSH_OPENING, reopen_push)                                      \
    T(PUSH_ASKING, STANDS_RUNNING, SETTLING, done)                                                 \
    T(PUSH_ASKING, STANDS_SETTLED, COMPLETED, settle)                                              \
    T(PUSH_ASKING, STANDS_LOST, PUSH_WAITING, back_off)                                            \
    T(PUSH_ASKING, STANDS_UNKNOWN, PUSH_WAITING, back_off)                                         \
    T(PUSH_ASKING, REFUSE, PUSH_WAITING, back_off)                                                 \
    T(PUSH_ASKING, TIME_OUT, PUSH_WAITING, back_off)                                               \
    WHILE_RECOVERING(T, PUSH_ASKING)                                                               \
                                                                                                   \
    T(PUSH_OPENING, RECONCILED, PUSH_OPENING, reconcile)                                           \
    T(PUSH_OPENING, BULK_UP, PUSHING, push_again)                                                  \
    T(PUSH_OPENING, REFUSE, PUSH_WAITING, back_off)                                                \
    T(PUSH_OPENING, TIME_OUT, PUSH_WAITING, back_off)                                              \
    WHILE_RECOVERING(T, PUSH_OPENING)                                                              \
                                                                                                   \
    T(SETTLING, DONE, COMPLETED, finish)                                                           \
    T(SETTLING, LINK_LOST, SETTLING_WAITING, back_off)                                             \
    T(SETTLING, REFUSE, COMPLETED, finish)                                                         \
    T(SETTLING, TIME_OUT, SETTLING_WAITING, back_off)                                              \
                                                                                                   \
    T(SETTLING_WAITING, TIME_OUT, SETTLING_AGAIN, connect)                                         \
    T(SETTLING_WAITING, EXHAUSTED, COMPLETED, finish)                                              \
                                                                                                   \
    T(SETTLING_AGAIN, LINK_UP, SETTLING_AGAIN, ask)                                                \
    T(SETTLING_AGAIN, STANDS_RUNNING, SETTLING, done_again)                                        \
    T(SETTLING_AGAIN, STANDS_SETTLED, COMPLETED, finish)                                           \
    T(SETTLING_AGAIN, STANDS_UNKNOWN, COMPLETED, finish)                                           \
    T(SETTLING_AGAIN, REFUSE, COMPLETED, finish)                                                   \
    T(SETTLING_AGAIN, LINK_LOST, SETTLING_WAITING, back_off)                                       \
    T(SETTLING_AGAIN, TIME_OUT, SETTLING_WAITING, back_off)

#endif
