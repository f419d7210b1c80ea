/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest goes to another process of the same host (docs/HANDOVER.md, On one host) as a model for
 * spin: the old process, the new one, the link between them, and the pair of sockets beside it, whose
 * end says that the other is dead. Either may die at any moment, and the link may be cut.
 *
 * Both have the same memory. So what is checked is not only that one copy at most runs, but that no
 * copy goes on whose memory the other has changed since its state was saved.
 *
 * And `settles`, without any operator: the guest runs at last, unless the process died that owned it.
 * Each -DBREAK_... removes one rule; check.py lets spin find the harm.
 */
#ifndef CUTS
#define CUTS 2
#endif

mtype = { PREPARE, COMMIT, ABORT, DONE, ASK };       /* old to new */
mtype = { READY, RUNNING, ABORTED, UNKNOWN };        /* new to old */
mtype = { RUNS, PREPARED, HELD, PARTED, ASKING, STAYS, GIVEN, ENDED };
mtype = { WAITING, LOADED, TAKING, STARTING, OURS, SETTLED, LEFT };
mtype = { OPEN_RECORD, TOOK_RECORD, ABORTED_RECORD };

/* What a process said stays readable when it is dead, and when the link is cut it is lost. */
chan to_new = [4] of { mtype };
chan to_old = [4] of { mtype };
bool is_withdrawn;             /* WITHDRAW lies in the new process's queue */

mtype o = RUNS, n = WAITING, record = OPEN_RECORD;
bool o_alive = true, n_alive = true;
bool o_linked = true, n_linked = true;
bool o_runs = true, n_runs;    /* copies that execute the guest */
bool is_old_changed = true;    /* the old copy ran since its state was saved */
bool is_new_changed;           /* the new copy ran: the memory is its own */
bool is_early;                 /* told UNKNOWN: asked again when that is over */
byte cuts = CUTS;

#define LOST ((!n_alive && record == TOOK_RECORD) || \
              (!o_alive && (!n_alive || n == WAITING || n == LEFT)))

inline check()
{
    assert(!(o_runs && n_runs));
    assert(!(o_runs && is_new_changed));
}

/* It goes on in the old process; the new one hears so first. */
inline go_on()
{
#ifndef BREAK_WITHDRAWS_FIRST
    is_withdrawn = true;
#endif
    o = STAYS;
}

inline tell_running()
{
    if
    :: n_linked -> to_old!RUNNING
    :: else -> skip
    fi
}

/* The other end of the link is gone, and what it said before was read. */
#define O_LOST (!n_linked && empty(to_old))
#define N_LOST (!o_linked && empty(to_new))

active proctype old()
{
end:
    do
    :: !o_alive -> break
    :: atomic { o_alive && o == RUNS && o_linked ->
           o_runs = false; is_old_changed = false; to_new!PREPARE; o = PREPARED }
    :: atomic { o_alive && o == RUNS && O_LOST -> go_on() }
    :: atomic { o_alive && o == PREPARED && to_old?[READY] -> to_old?READY; to_new!COMMIT; o = HELD }
    :: atomic { o_alive && o == PREPARED && to_old?[ABORTED] -> to_old?ABORTED; go_on() }
    :: atomic { o_alive && o == PREPARED && O_LOST -> o_linked = false; go_on() }
    :: atomic { o_alive && o == PREPARED -> /* cancelled, or too late */
           if
           :: o_linked -> to_new!ABORT
           :: else -> skip
           fi;
           go_on() }
    :: atomic { o_alive && o == HELD && to_old?[RUNNING] -> to_old?RUNNING; to_new!DONE; o = GIVEN }
    :: atomic { o_alive && o == HELD && to_old?[ABORTED] -> to_old?ABORTED; go_on() }
    :: atomic { o_alive && o == HELD && O_LOST -> o_linked = false; o = PARTED }
    /* The new one lives: asked again. It is dead: its records speak. */
    :: atomic { o_alive && o == PARTED && n_alive && n != LEFT && !n_linked && empty(to_new) &&
           !(is_early && (n == TAKING || n == STARTING)) ->
           o_linked = true; n_linked = true; to_new!ASK; o = ASKING }
    :: atomic { o_alive && o == PARTED && (!n_alive || n == LEFT) ->
           if
#ifndef BREAK_READS_RECORDS
           :: record == TOOK_RECORD -> o = ENDED
           :: else -> record = ABORTED_RECORD; go_on()
#else
           :: go_on()
#endif
           fi }
    :: atomic { o_alive && o == ASKING && to_old?[READY] -> to_old?READY; to_new!COMMIT; o = HELD }
    :: atomic { o_alive && o == ASKING && to_old?[RUNNING] -> to_old?RUNNING; to_new!DONE; o = GIVEN }
    :: atomic { o_alive && o == ASKING && to_old?[UNKNOWN] -> to_old?UNKNOWN; o_linked = false;
           n_linked = false; is_early = true; o = PARTED }
    :: atomic { o_alive && o == ASKING && O_LOST -> o_linked = false; o = PARTED }
    :: atomic { o_alive && o == STAYS && !o_runs -> o_runs = true; is_old_changed = true; check() }
#ifdef BREAK_WITHDRAWS_FIRST
    :: atomic { o_alive && o == STAYS && o_runs && !is_withdrawn -> is_withdrawn = true }
#endif
    od
}

/* The guest's last state is loaded here, and nobody else has it. */
inline claim()
{
    n = TAKING
}

active proctype new()
{
end:
    do
    :: !n_alive || n == LEFT -> break
    :: atomic { n_alive && n == WAITING && to_new?[PREPARE] -> to_new?PREPARE;
           if
           :: n = LOADED; to_old!READY
           :: record = ABORTED_RECORD; to_old!ABORTED; n_linked = false; n = LEFT /* no such state */
           fi }
    :: atomic { n_alive && n == LOADED && to_new?[COMMIT] -> to_new?COMMIT; n = TAKING }
    :: atomic { n_alive && n == LOADED && to_new?[ABORT] -> to_new?ABORT; record = ABORTED_RECORD;
           n_linked = false; n = LEFT }
    :: atomic { n_alive && n == LOADED && to_new?[ASK] -> to_new?ASK; to_old!READY }
    :: atomic { n_alive && (n == TAKING || n == STARTING) && to_new?[ASK] -> to_new?ASK; to_old!UNKNOWN }
    :: atomic { n_alive && (n == OURS || n == SETTLED) && to_new?[ASK] -> to_new?ASK; to_old!RUNNING }
    :: atomic { n_alive && n != WAITING && to_new?[PREPARE] -> to_new?PREPARE }
    :: atomic { n_alive && n != LOADED && to_new?[ABORT] -> to_new?ABORT }
    :: atomic { n_alive && to_new?[DONE] -> to_new?DONE; n = SETTLED }
    /* WITHDRAW, before the end of the pair; then that end, after what the link still brings. */
    :: atomic { n_alive && is_withdrawn && (n == WAITING || n == LOADED) -> n_linked = false; n = LEFT }
    :: atomic { n_alive && !o_alive && n == WAITING && N_LOST && !is_withdrawn -> n_linked = false; n = LEFT }
#ifndef BREAK_READS_LAST_WORDS
    :: atomic { n_alive && !o_alive && n == LOADED && N_LOST && !is_withdrawn -> n_linked = false; claim() }
#else
    :: atomic { n_alive && !o_alive && n == LOADED -> n_linked = false; claim() }
#endif
    :: atomic { n_alive && n_linked && N_LOST -> n_linked = false }
#ifndef BREAK_RECORDS_FIRST
    :: atomic { n_alive && n == TAKING ->
           if
           :: record = TOOK_RECORD; n = STARTING
           :: o_alive && n_linked -> /* no room on the disk */
              record = ABORTED_RECORD; to_old!ABORTED; n_linked = false; n = LEFT
           fi }
    :: atomic { n_alive && n == STARTING ->
           n_runs = true; is_new_changed = true; check(); assert(!is_old_changed);
           tell_running(); n = OURS }
#else
    :: atomic { n_alive && n == TAKING ->
           n_runs = true; is_new_changed = true; check(); assert(!is_old_changed); n = STARTING }
    :: atomic { n_alive && n == STARTING -> record = TOOK_RECORD; tell_running(); n = OURS }
#endif
    od
}

active proctype harm()
{
    do
    :: atomic { cuts > 0 && o_linked && n_linked -> cuts--;
           o_linked = false; n_linked = false;
           do
           :: nempty(to_new) -> to_new?_
           :: nempty(to_old) -> to_old?_
           :: empty(to_new) && empty(to_old) -> break
           od }
    :: atomic { o_alive && o != GIVEN -> o_alive = false; o_linked = false; o_runs = false }
    :: atomic { o_alive && o == GIVEN -> o_alive = false; o_linked = false } /* its end */
    :: atomic { n_alive && n != LEFT -> n_alive = false; n_linked = false; n_runs = false }
    :: break
    od
}

ltl settles { <>[] (o_runs || n_runs || LOST) }
