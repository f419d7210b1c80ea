/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handover (docs/HANDOVER.md) as a model for spin: source, target, their connections, an
 * environment that cuts, crashes, restarts and loses records, and an operator.
 *
 * Order is kept within a connection, and nowhere else: a control, a bulk and (in postcopy) an urgent
 * channel are three, and what is under way on an old connection may arrive after what comes on a newer
 * one.
 *
 * What is abstract: pages (one batch stands for all that an epoch's PREPARE needs), facts, refusals by
 * name. What is exact: who may run the guest, epochs, generations, records and when they are written, what is
 * answered to whom after which loss. States are those of src/migrate/{source,target}_table.h, the
 * ones that differ only in pages taken together.
 *
 * Checked: the assertions in every reachable state, and `settles`: when no more harm comes, the guest
 * runs somewhere at last, unless the host that ran it died or its operators gave both copies up.
 *
 * With -DPOSTCOPY every PREPARE is one of postcopy: the guest runs there before its memory is there, the
 * source keeps what lacks until COMPLETE, and a lost link is recovered. All pages that lack are one step.
 *
 * Each -DBREAK_... removes one rule. check.py lets spin find the harm that follows: a model that
 * cannot fail proves nothing.
 */
#ifndef EPOCHS
#define EPOCHS 2 /* PREPAREs a source may send */
#endif
#ifndef CUTS
#define CUTS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define ALL 7 /* every epoch */
#define TRIES 10 /* connections: more than the harm below can cost, so that none is missing at the end */

mtype = { OPEN, SETTLE, RESUME, PREPARE, COMMIT, DONE, ABORT };     /* source to target */
mtype = { NEW, OPENED, READY, RUNNING, ABORTED, UNKNOWN, PULLING, LOST_THERE, COMPLETE }; /* back */
mtype = { ACTIVE, STOPPED, HELD, RETRY, WAITING, ASKING, SETTLING, GONE, STAYS, GIVEN_UP,
          PUSHING, PARTED, PUSH_ASKING };
mtype = { LISTENING, RECEIVING, AWAITING, GATHERING, LOADED, TAKING, TOOK, OURS, SETTLED };
mtype = { NONE, LEFT, OPEN_RECORD, TOOK_RECORD, ABORTED_RECORD, PULL_RECORD };

/* Room for what each of a few connections may leave under way: a full channel would stop the model,
 * not the protocol. */
chan to_target = [5] of { mtype, byte, byte }; /* what, epoch, generation */
chan to_source = [5] of { mtype, byte, byte };
chan bulk = [3] of { byte, byte };        /* the last pages of an epoch, generation */

mtype s = ACTIVE;  /* the source's state */
mtype t = LISTENING;
mtype s_record = NONE, t_record = NONE;
byte t_record_epoch;
byte s_epoch, t_epoch;             /* of the last PREPARE */
byte s_generation = 1, t_generation;
byte t_pages;                      /* the epoch whose last pages are in the target's RAM */
bool s_alive = true, t_alive = true;
bool s_linked, t_linked;
bool is_known;                     /* the target process has the session at hand */

bool s_runs = true, t_runs;        /* copies that execute the guest */
bool has_moved;                    /* the target's copy executed: the source's is old */
bool is_stale;                     /* the source's copy executed since its last PREPARE */
bool t_gave_up, s_gave_up;         /* tokens; each names the epoch of that moment */
byte t_token, s_token;

byte cuts = CUTS, crashes = CRASHES;
bool may_operate = true, may_lose_records = true;
bool has_lost_records;

#ifdef POSTCOPY
#define TAKEN_RECORD PULL_RECORD
bool t_whole;                      /* no page lacks at the target */
byte opened;                       /* the generation of the bulk and urgent channels there are */
byte t_demanded;                   /* on which of them the target asked */
#define OPENS_CHANNELS opened = s_generation
chan demands = [2] of { byte };    /* generation */
chan answers = [2] of { byte };
#else
#define TAKEN_RECORD TOOK_RECORD
bool t_whole = true;
#define OPENS_CHANNELS skip
#endif

#define QUIET (cuts == 0 && crashes == 0 && !may_operate && s_alive && t_alive)
/* The process that owned it died, as any host may: from `took` on, whether it ran or not. */
#define LOST ((t_record == TOOK_RECORD || t_record == PULL_RECORD) && !t_runs && !is_known)
#define RUNS_SOMEWHERE (s_runs || (t_runs && t_whole))

inline check()
{
    assert(!(s_runs && t_runs));
    assert(!(s_runs && has_moved));
}

inline s_goes_on(where) /* the guest runs at the source */
{
    s = where;
    s_runs = true;
    is_stale = true;
    s_record = NONE;
    check();
}

inline t_says(what, e, g) { to_source!what,e,g }

inline t_starts()
{
    /* Its copy is of the moment of PREPARE, RAM included: nobody may have gone on from there. */
    assert(!s_runs && !is_stale && t_epoch == s_epoch && t_pages == t_epoch);
    t_runs = true;
    has_moved = true;
    check();
}

#define FORGET m = 0; e = 0; g = 0 /* a local value is no state of its own */

inline s_connects(purpose, next)
{
    do /* nothing of an older connection is read any more */
    :: nempty(to_source) -> to_source?m,e,g
    :: empty(to_source) -> break
    od;
    FORGET;
    s_generation++;
    s_linked = true;
    s = next;
    to_target!purpose,0,s_generation;
}

/* The link of the source's newest connection is lost for the source. */
inline s_loses()
{
    s_linked = false;
    if
    :: s == STOPPED -> s_goes_on(RETRY)
    :: s == ACTIVE -> s = RETRY
#ifdef BREAK_HELD_RESUMES
    :: s == HELD -> s_goes_on(RETRY)
#else
    :: s == HELD || s == ASKING -> s = WAITING
#endif
    :: s == SETTLING -> s = GONE
    :: s == PUSHING || s == PUSH_ASKING -> s = PARTED
    :: else
    fi
}

/* The next one of any connection: of the oldest, or of the newest. (The source closes an old connection
 * before it opens a newer one, so only the target's side can see both.) */
inline arrives(m, e, g)
{
    if
    :: to_target?m,e,g
    :: to_target??[m,e,eval(s_generation)] ->
       to_target??m,e,eval(s_generation); g = s_generation
    fi
}


active proctype Source()
{
    mtype m;
    byte e, g;
    to_target!OPEN,0,1;
    s_linked = true;
end:
    do
    /* stop, last pages, PREPARE: acknowledged rounds are not modelled */
    :: atomic { s_alive && s == ACTIVE && s_linked && t == RECEIVING && t_generation == s_generation &&
                s_epoch < EPOCHS && nfull(to_target) && nfull(bulk) ->
           s = STOPPED; s_runs = false; s_record = LEFT; s_epoch++; is_stale = false;
           OPENS_CHANNELS; bulk!s_epoch,s_generation; to_target!PREPARE,s_epoch,s_generation }
    :: atomic { nempty(to_source) && nfull(to_target) -> /* on a link that is given up: nothing */
           to_source?m,e,g;
           if
           :: !s_alive || !s_linked || g != s_generation
           :: else ->
              if
              :: m == READY && (s == STOPPED || s == ASKING) && e == s_epoch ->
                 s = HELD; to_target!COMMIT,s_epoch,g
#if defined(POSTCOPY) && !defined(BREAK_LETS_GO)
              :: m == RUNNING && s == HELD && e == s_epoch ->
                 s = PUSHING
#ifndef BREAK_BARE_PUSHES /* COMMIT went over a connection that has no other channels yet */
                 ; OPENS_CHANNELS
#endif
              :: m == RUNNING && (s == ASKING || s == PUSH_ASKING) && e == s_epoch ->
                 s = SETTLING; s_record = LEFT; to_target!DONE,e,g
              :: m == PULLING && (s == ASKING || s == PUSH_ASKING) && e == s_epoch ->
                 s = PUSHING; OPENS_CHANNELS
              :: m == COMPLETE && s == PUSHING && e == s_epoch ->
                 s = SETTLING; s_record = LEFT; to_target!DONE,e,g
              :: m == LOST_THERE && s == ASKING && e == s_epoch -> s = PARTED; s_linked = false
              :: (m == LOST_THERE || m == UNKNOWN || m == ABORTED) && s == PUSH_ASKING ->
                 s = PARTED; s_linked = false
#else
              :: m == RUNNING && (s == HELD || s == ASKING) && e == s_epoch ->
                 s = SETTLING; s_record = LEFT; to_target!DONE,e,g
#endif
              :: m == ABORTED && (s == STOPPED || s == HELD || s == ASKING) &&
                 (e == s_epoch || e == ALL) -> s_linked = false; s_goes_on(STAYS)
              :: m == UNKNOWN && s == ASKING -> s = WAITING; s_linked = false
              :: (m == ABORTED || m == UNKNOWN) && s == RETRY -> s = STAYS; s_linked = false
              :: m == OPENED && s == RETRY -> s = ACTIVE
              :: else
              fi
           fi;
           FORGET }
    /* trying again, when there is somebody */
    :: atomic { s_alive && !s_linked && s == RETRY && t_alive && s_generation < TRIES &&
                nfull(to_target) -> s_connects(RESUME, RETRY) }
    :: atomic { s_alive && !s_linked && s == RETRY && (!t_alive || s_generation >= TRIES) -> s = STAYS }
    /* a target answers UNKNOWN while it records, which is soon over: that uses few tries up */
    :: atomic { s_alive && !s_linked && s == WAITING && t_alive && nfull(to_target) &&
                s_generation < (t == TAKING || t == TOOK -> 5 : TRIES) ->
           s_connects(SETTLE, ASKING) }
    :: atomic { s_alive && s == SETTLING -> s = GONE; s_linked = false }
#ifdef POSTCOPY
    :: atomic { s_alive && !s_linked && s == PARTED && t_alive && nfull(to_target) &&
                s_generation < (t == TAKING || t == TOOK -> 5 : TRIES) ->
           s_connects(SETTLE, PUSH_ASKING) }
#endif
    od
}

#ifdef POSTCOPY
/* Demanded and pushed pages: they come from a copy that stands still, as it was at PREPARE. A DEMAND may
 * come before RUNNING, which is on another channel. */
active proctype Pages()
{
    byte g;
end:
    do
    :: atomic { t_alive && t == OURS && !t_whole && t_linked && opened == t_generation &&
                t_demanded != opened && nfull(demands) ->
           t_demanded = t_generation; demands!t_generation }
    :: atomic { nempty(demands) && nfull(answers) ->
           demands?g;
           if
           :: s_alive && s_linked && g == s_generation && (s == PUSHING || s == HELD) ->
              assert(!s_runs && !is_stale);
              answers!g
           :: s_alive && s_linked && g == s_generation && s != PUSHING && s != HELD ->
              assert(s == SETTLING); /* it was pushed meanwhile, and COMPLETE overtook the DEMAND */
              s_linked = false; s = GONE
           :: else
           fi;
           g = 0 }
    :: atomic { s_alive && t_alive && t == OURS && !t_whole && t_linked && s_linked &&
                t_generation == s_generation && opened == s_generation && s == PUSHING &&
                nfull(to_source) -> /* by itself */
           assert(!s_runs && !is_stale && t_epoch == s_epoch);
           t_whole = true;
           t_record = TOOK_RECORD;
           t_says(COMPLETE, t_epoch, t_generation) }
    :: atomic { nempty(answers) && nfull(to_source) ->
           answers?g;
           if
           :: t_alive && t == OURS && !t_whole && t_linked && g == t_generation ->
              assert(t_epoch == s_epoch);
              t_whole = true;
              t_record = TOOK_RECORD;
              t_says(COMPLETE, t_epoch, t_generation)
           :: else
           fi;
           g = 0 }
    od
}
#endif

/* What the records say of the session, once nothing of it is under way. */
inline t_stands(g)
{
    if
    :: is_known && t != LISTENING && t != SETTLED -> t_says(UNKNOWN, 0, g)
    :: else ->
       if
       :: t_record == TOOK_RECORD -> t_says(RUNNING, t_record_epoch, g)
       :: t_record == PULL_RECORD -> t_says(LOST_THERE, t_record_epoch, g)
       :: t_record == ABORTED_RECORD -> t_says(ABORTED, t_record_epoch, g)
       :: else -> t_says(UNKNOWN, 0, g)
       fi
    fi
}

inline t_aborts(epoch_given_up)
{
    t_record = ABORTED_RECORD; t_record_epoch = epoch_given_up;
    t = LISTENING; is_known = false; t_linked = false;
}

/* All pages up to PREPARE's last are here: does the state load? */
inline t_judges()
{
    if
    :: t = LOADED; t_says(READY, t_epoch, t_generation)
    :: t_aborts(t_epoch); t_says(ABORTED, t_epoch, t_generation)
    fi
}

inline t_loses()
{
    t_linked = false;
    if
    :: t == RECEIVING || t == GATHERING -> t = AWAITING
#ifdef BREAK_READY_RUNS
    :: t == LOADED -> t_record = TOOK_RECORD; t_record_epoch = t_epoch; t = TOOK
#endif
    :: else
    fi
}

active proctype Target()
{
    mtype m;
    byte e, g;
    bool is_ours, is_newer;
end:
    do
    :: atomic { nempty(bulk) && nfull(to_source) ->
           if
           :: bulk?e,g
           :: bulk??[e,eval(s_generation)] -> bulk??e,eval(s_generation); g = s_generation
           fi;
           if
#ifdef BREAK_OLD_BATCH
           :: t_alive && (t == RECEIVING || t == GATHERING) ->
#else
           :: t_alive && t_linked && g == t_generation && (t == RECEIVING || t == GATHERING) ->
#endif
              t_pages = e;
              if
              :: t == GATHERING && t_pages == t_epoch -> t_judges()
              :: else
              fi
           :: else
           fi;
           FORGET }
    :: atomic { nempty(to_target) && nfull(to_source) ->
           arrives(m, e, g);
           is_ours = t_linked && g == t_generation;
           is_newer = is_known && g > t_generation;
           if
           :: !t_alive
           :: t_alive && m == OPEN && t == LISTENING && t_record == NONE ->
              t = RECEIVING; t_record = OPEN_RECORD; t_record_epoch = ALL;
              t_generation = g; t_linked = true; is_known = true; t_says(NEW, 0, g)
           :: t_alive && m == RESUME && is_newer &&
              (t == RECEIVING || t == AWAITING || t == GATHERING || t == LOADED) ->
              t = RECEIVING; t_generation = g; t_linked = true; t_says(OPENED, 0, g)
           :: t_alive && m == SETTLE && is_newer && t == LOADED ->
              t_generation = g; t_linked = true; t_says(READY, t_epoch, g)
           :: t_alive && m == SETTLE && is_newer && t == OURS ->
              t_generation = g; t_linked = true;
              if
              :: t_whole -> t_says(RUNNING, t_epoch, g)
              :: else -> t_says(PULLING, t_epoch, g)
              fi
           :: t_alive && m == PREPARE && is_ours && t == RECEIVING && e > t_epoch ->
              t_epoch = e;
              if
#ifdef BREAK_PREPARE_OVERTAKES
              :: true -> t_judges()
#else
              :: t_pages == e -> t_judges()
              :: else -> t = GATHERING
#endif
              fi
           :: t_alive && m == COMMIT && is_ours && t == LOADED && e == t_epoch -> t = TAKING
           :: t_alive && m == ABORT && is_ours &&
              (t == RECEIVING || t == GATHERING || t == LOADED) -> t_aborts(ALL)
           :: t_alive && m == DONE && is_ours && t == OURS && e == t_epoch -> t = SETTLED
           :: else ->
              if
              :: m == OPEN || m == RESUME || m == SETTLE -> t_stands(g)
              :: else
              fi
           fi;
           is_ours = false; is_newer = false; FORGET }
    /* `took` is on the disk, then the guest runs, then RUNNING is said */
#ifdef BREAK_RUNS_UNRECORDED
    :: atomic { t_alive && t == TAKING -> t = TOOK }
#else
    :: atomic { t_alive && t == TAKING -> t_record = TAKEN_RECORD; t_record_epoch = t_epoch; t = TOOK }
    :: atomic { t_alive && t == TAKING && nfull(to_source) -> /* it cannot be recorded */
           t_aborts(t_epoch); t_says(ABORTED, t_epoch, t_generation) }
#endif
    :: atomic { t_alive && t == TOOK && nfull(to_source) ->
           t_starts();
           t = OURS;
           if
           :: t_linked -> t_says(RUNNING, t_epoch, t_generation)
           :: else
           fi }
    od
}

/* Everything under way may be lost; each side notices when it does, the target perhaps only by the
 * next connection. */
active proctype Link()
{
    mtype m;
    byte e, g;
end:
    do
    :: atomic { cuts > 0 && (s_linked || t_linked) ->
           cuts--;
           do
           :: nempty(to_target) -> to_target?m,e,g
           :: break
           od;
           do
           :: nempty(to_source) -> to_source?m,e,g
           :: break
           od;
           do
           :: nempty(bulk) -> bulk?e,g
           :: break
           od;
           if /* who notices at once; the other does by silence, or by the next connection */
           :: s_linked -> s_loses()
           :: t_linked -> t_loses()
           :: s_linked && t_linked -> s_loses(); t_loses()
           fi;
           FORGET }
    /* what one side lost, the other notices some time: silence */
    :: atomic { s_alive && s_linked && (!t_alive || !t_linked || t_generation != s_generation) &&
                empty(to_target) && empty(to_source) && s != ACTIVE -> s_loses() }
    :: atomic { s_alive && s_linked && s == ACTIVE && is_known && !t_linked && empty(to_target) &&
                empty(to_source) -> s_linked = false; s = RETRY }
    :: atomic { t_alive && t_linked && (!s_alive || !s_linked || t_generation != s_generation) &&
                empty(to_target) -> t_loses() }
    od
}

active proctype Hosts()
{
    mtype m;
    byte e, g;
end:
    do
    :: atomic { crashes > 0 && t_alive -> /* the target's process, or its host with its records */
           crashes--;
           t_alive = false; t_runs = false; t_linked = false; is_known = false;
           t_pages = 0;
           do
           :: nempty(to_target) -> to_target?m,e,g
           :: nempty(bulk) -> bulk?e,g
           :: empty(to_target) && empty(bulk) -> break
           od;
           if
           :: may_lose_records -> t_record = NONE; t_record_epoch = 0; has_lost_records = true
           :: true
           fi;
           FORGET }
    :: atomic { !t_alive -> /* and starts again: sessions it opened and did not take never will */
           t_alive = true; t = LISTENING; t_epoch = 0;
#ifndef BREAK_FORGETS_OPENED
           if
           :: t_record == OPEN_RECORD -> t_record = ABORTED_RECORD; t_record_epoch = ALL
           :: else
           fi
#else
           if
           :: t_record == OPEN_RECORD -> t_record = NONE
           :: else
           fi
#endif
       }
    :: atomic { crashes > 0 && s_alive -> /* the source: its guest dies with it; no boot while LEFT */
           crashes--;
           s_alive = false; s_runs = false; s_linked = false }
    od
}

active proctype Operator()
{
end:
    do
    :: may_operate -> may_operate = false
    :: may_lose_records -> may_lose_records = false
    :: atomic { may_operate && s_alive && (s == ACTIVE || s == RETRY || s == STOPPED) &&
                nfull(to_target) -> /* cancel */
           may_operate = false;
           if
           :: s_linked -> to_target!ABORT,0,s_generation
           :: else
           fi;
           if
           :: s == STOPPED -> s_goes_on(STAYS)
           :: else -> s = STAYS
           fi;
           s_linked = false }
    :: atomic { may_operate && t_alive && t == LOADED && !t_gave_up -> /* resolve --give-up there */
           may_operate = false;
           t_gave_up = true; t_token = t_epoch;
#ifndef BREAK_TOKEN_UNRECORDED
           t_aborts(t_epoch)
#endif
       }
    :: atomic { t_gave_up && s_alive && (s == HELD || s == WAITING || s == ASKING) &&
                t_token >= s_epoch -> s_linked = false; s_goes_on(STAYS) }
#ifndef POSTCOPY /* the target has not all: there is nothing it could run by itself */
    :: atomic { may_operate && s_alive && (s == HELD || s == WAITING || s == ASKING) && !s_gave_up ->
           may_operate = false;
           s_gave_up = true; s_token = s_epoch; s = GIVEN_UP; s_linked = false; s_record = LEFT }
    :: atomic { s_gave_up && t_alive && t == LOADED && s_token == t_epoch -> t = TAKING }
#else
    :: atomic { may_operate && s_alive && s == PUSHING && s_linked -> /* migrate-pause */
           may_operate = false; s_linked = false; s = PARTED }
#ifdef BREAK_TOKEN_OF_WHAT_RAN
    :: atomic { may_operate && t_alive && t == OURS && !t_whole && !t_linked && s_alive &&
                s == PARTED -> may_operate = false; t_runs = false; s_goes_on(STAYS) }
#endif
#endif
    od
}

/* A token that the other side can use is used, and then the guest runs. One that nobody can use (that
 * side died since) leaves --run --other-is-dead, which is not in this model. */
#define T_CAN_USE_IT (t_alive && t == LOADED && s_token == t_epoch)
#define S_CAN_USE_IT (s_alive && (s == HELD || s == WAITING || s == ASKING) && t_token >= s_epoch)
#define WAITS_FOR_AN_OPERATOR \
    ((s_gave_up && !T_CAN_USE_IT) || (t_gave_up && !S_CAN_USE_IT) || has_lost_records)
ltl settles { [] (([] QUIET) -> <> (RUNS_SOMEWHERE || LOST || WAITS_FOR_AN_OPERATOR)) }
