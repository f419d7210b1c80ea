/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's transitions: T(state, event, next state, step). Everything the target may do
 * stands here; the machine (target.c), its tests and the diagram in docs/HANDOVER.md come from
 * this list.
 */
#ifndef GW_MIGRATE_TARGET_TABLE_H
#define GW_MIGRATE_TARGET_TABLE_H

/* Before READY: whatever goes wrong, the session is dropped and the target waits for another. */
#define BEFORE_READY(T, state)       \
    T(state, ABORT, LISTENING, drop) \
    T(state, INTRO_REPLACE, NEGOTIATING, replace)

/* Nothing came yet that would be worth keeping. */
#define WHILE_OPENING(T, state)          \
    T(state, LINK_LOST, LISTENING, drop) \
    BEFORE_READY(T, state)

/* A lost link costs a pause. */
#define WHILE_RECEIVING(T, state)          \
    T(state, LINK_LOST, AWAITING, await)   \
    T(state, BREACH, LISTENING, drop)      \
    T(state, INTRO_RESUME, ACTIVE, reopen) \
    BEFORE_READY(T, state)

/* clang-format off */
#define GW_TARGET_TRANSITIONS(T)                                                                   \
    T(NONE, START, RECALLING, recall)                                                              \
                                                                                                   \
    T(RECALLING, RECORDED, LISTENING, nothing)                                                     \
    T(RECALLING, HOST_FAULT, NONE, finish)                                                         \
                                                                                                   \
    T(LISTENING, INTRO_NEW, NEGOTIATING, admit)                                                    \
                                                                                                   \
    T(NEGOTIATING, HELLO, OPENING, open)                                                           \
    T(NEGOTIATING, MISFIT, LISTENING, refuse)                                                      \
    WHILE_OPENING(T, NEGOTIATING)                                                                   \
                                                                                                   \
    T(OPENING, RECORDED, ACTIVE, accept)                                                           \
    T(OPENING, HOST_FAULT, LISTENING, refuse)                                                      \
    WHILE_OPENING(T, OPENING)                                                                       \
                                                                                                   \
    T(ACTIVE, INTRO_BULK, ACTIVE, admit_bulk)                                                      \
    T(ACTIVE, INTRO_URGENT, ACTIVE, admit_urgent)                                                  \
    T(ACTIVE, MAP, ACTIVE, mark_missing)                                                           \
    T(ACTIVE, BATCH, ACTIVE, place)                                                                \
    T(ACTIVE, VERIFIED, ACTIVE, compare)                                                           \
    T(ACTIVE, DEVICE_READY, ACTIVE, count_ready)                                                   \
    T(ACTIVE, PREPARE, GATHERING, gather)                                                          \
    T(ACTIVE, HOST_FAULT, LISTENING, refuse)                                                       \
    WHILE_RECEIVING(T, ACTIVE)                                                                          \
                                                                                                   \
    T(AWAITING, DEVICE_READY, AWAITING, count_ready)                                               \
    T(AWAITING, INTRO_RESUME, ACTIVE, reopen)                                                      \
    T(AWAITING, INTRO_NEW, NEGOTIATING, replace)                                                   \
    T(AWAITING, INTRO_REPLACE, NEGOTIATING, replace)                                               \
    T(AWAITING, HOST_FAULT, LISTENING, drop)                                                       \
    T(AWAITING, TIME_OUT, LISTENING, drop)                                                         \
                                                                                                   \
    T(GATHERING, BATCH, GATHERING, place)                                                          \
    T(GATHERING, VERIFIED, GATHERING, compare)                                                     \
    T(GATHERING, MAP, GATHERING, mark_missing)                                                     \
    T(GATHERING, GATHERED, LOADING, load)                                                          \
    T(GATHERING, PARTIAL, ARMING, arm)                                                             \
    T(GATHERING, INCOMPLETE, ABORTING, record_aborted)                                             \
    T(GATHERING, HOST_FAULT, ABORTING, record_aborted)                                             \
    WHILE_RECEIVING(T, GATHERING)                                                                       \
                                                                                                   \
    T(ARMING, ARMED, LOADING, load)                                                                \
    T(ARMING, HOST_FAULT, ABORTING, record_aborted)                                                \
    WHILE_RECEIVING(T, ARMING)                                                                         \
                                                                                                   \
    T(LOADING, LOADED, READY, ready)                                                               \
    T(LOADING, HOST_FAULT, ABORTING, record_aborted)                                               \
    WHILE_RECEIVING(T, LOADING)                                                                         \
                                                                                                   \
    T(READY, COMMIT, TAKING, take)                                                                 \
    T(READY, RUN_ANYWAY, CLAIMING, take_anyway)                                                    \
    T(READY, ABORT, ABORTING, record_aborted)                                                      \
    T(READY, GIVE_UP, ABORTING, record_aborted)                                                    \
    T(READY, INTRO_SAME, READY, readmit)                                                           \
    T(READY, INTRO_RESUME, ACTIVE, reopen)                                                         \
    T(READY, INTRO_REPLACE, NEGOTIATING, replace)                                                  \
    T(READY, LINK_LOST, READY, nothing)                                                            \
                                                                                                   \
    T(TAKING, RECORDED, STARTING, run)                                                             \
    T(TAKING, HOST_FAULT, ABORTING, record_aborted)                                                \
    T(TAKING, LINK_LOST, TAKING, nothing)                                                          \
                                                                                                   \
    T(CLAIMING, RECORDED, STARTING, run)                                                           \
    T(CLAIMING, HOST_FAULT, READY, nothing)                                                        \
    T(CLAIMING, COMMIT, TAKING, take)                                                              \
    T(CLAIMING, ABORT, ABORTING, record_aborted)                                                   \
    T(CLAIMING, LINK_LOST, CLAIMING, nothing)                                                      \
                                                                                                   \
    T(STARTING, STARTED, RUNNING, tell_running)                                                    \
    T(STARTING, PULLS, PULLING, pull)                                                              \
    T(STARTING, BATCH, STARTING, place)                                                            \
    T(STARTING, HOST_FAULT, ABORTING, record_aborted)                                              \
    T(STARTING, LINK_LOST, STARTING, nothing)                                                      \
                                                                                                   \
    T(PULLING, INTRO_SAME, PULLING, readmit)                                                       \
    T(PULLING, INTRO_BULK, PULLING, admit_bulk)                                                    \
    T(PULLING, INTRO_URGENT, PULLING, admit_urgent)                                                \
    T(PULLING, BATCH, PULLING, place)                                                              \
    T(PULLING, WHOLE, RUNNING, complete)                                                           \
    T(PULLING, LINK_LOST, STRANDED, strand)                                                        \
                                                                                                   \
    T(STRANDED, INTRO_SAME, PULLING, recover)                                                      \
    T(STRANDED, TIME_OUT, LOST, lose)                                                              \
    T(STRANDED, GIVE_UP, LOST, lose)                                                               \
                                                                                                   \
    T(RUNNING, BATCH, RUNNING, ignore)                                                             \
    T(RUNNING, DONE, DONE, confirm)                                                                \
    T(RUNNING, FORGET, DONE, finish)                                                               \
    T(RUNNING, INTRO_SAME, RUNNING, readmit)                                                       \
    T(RUNNING, LINK_LOST, RUNNING, disarm)                                                         \
                                                                                                   \
    T(ABORTING, RECORDED, LISTENING, tell_aborted)                                                 \
    T(ABORTING, HOST_FAULT, LISTENING, tell_aborted)                                               \
    T(ABORTING, COMMIT, ABORTING, nothing)                                                         \
    T(ABORTING, ABORT, ABORTING, nothing)                                                          \
    T(ABORTING, LINK_LOST, ABORTING, nothing)

#endif
