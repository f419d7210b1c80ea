/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripted runs. `ways` lead into each state of both engines; main.c lets every fault happen there,
 * and every event that has no place. `scenarios` take the rows that need more than that.
 */
#include "sim.h"

/* A small guest on hosts and a link without caprice. */
#define LAB                                                                                       \
    "pages=24,page_bytes=4096,vcpus=2,channels=2,paused=0,calm=2,step_us=50,host_us=3000,"        \
    "latency_us=500,rate=0,stall_one_in=0,corrupt_one_in=0,damage_one_in=0,downtime_ms=60,"       \
    "limit=0,push_limit=0,resume_ms=60000,recover_ms=3600000,strand_ms=3600000,"                  \
    "deadline_ms=0,throttle=0,can_postcopy=1,postcopy=0,verify=0,misfit=0,patient=1,linger_ms=0," \
    "unit=1,own_unit=1,release=0,pausing=0,devices=0,stuck_devices=0,no_ack=0,handover_ms=0,"     \
    "is_auto=0,compress=0"
#define PRECOPY  LAB
#define POSTCOPY LAB ",postcopy=1"
#define SLOW     ",host_us=60000" /* hosts that take their time: other events come first */

/* Pushed slowly, so that much lacks still. */
#define PULLING POSTCOPY ",push_limit=200000"

/* The operator is asked before the guest stops, and takes his time. */
#define PAUSING ",pausing=1,hold_ms=3000"

/* Devices of the target that take theirs. */
#define UNREADY ",devices=2,device_ms=3000"

/* What the target has, by units of eight pages, is given back. */
#define RELEASE ",unit=8,own_unit=4,release=1"

/* On one host, as `godwit upgrade` does it: a lost link is not tried again, nobody waits. */
#define SHARED PRECOPY ",patient=0,shared=1"

#define SOURCE_WAY(state, plan) {SOURCE, state, plan}
#define TARGET_WAY(state, plan) {TARGET, state, plan}

const struct way ways[] = {
    SOURCE_WAY("NONE", PRECOPY),
    SOURCE_WAY("CONNECTING", PRECOPY),
    SOURCE_WAY("NEGOTIATING", SHARED),
    SOURCE_WAY("LEAVING", SHARED SLOW),
    SOURCE_WAY("STOPPING", SHARED SLOW),
    SOURCE_WAY("PREPARED", SHARED SLOW),
    SOURCE_WAY("HELD", SHARED SLOW),
    SOURCE_WAY("HELD_ASKING", SHARED "/cut@s:HELD"),
    SOURCE_WAY("SETTLING", SHARED),
    SOURCE_WAY("GREETING", PRECOPY),
    SOURCE_WAY("NEGOTIATING", PRECOPY),
    SOURCE_WAY("OPENING", PRECOPY),
    SOURCE_WAY("TRACKING", PRECOPY SLOW),
    SOURCE_WAY("TRACKED", PRECOPY ",latency_us=20000"),
    SOURCE_WAY("ACTIVE", PRECOPY),
    SOURCE_WAY("ACTIVE", POSTCOPY),
    SOURCE_WAY("ACTIVE", PRECOPY UNREADY),
    SOURCE_WAY("PRE_SWITCHOVER", PRECOPY PAUSING),
    SOURCE_WAY("PRE_SWITCHOVER", POSTCOPY PAUSING),
    SOURCE_WAY("RETRY_WAITING", PRECOPY "/cut@s:ACTIVE+3"),
    SOURCE_WAY("RETRY_CONNECTING", PRECOPY "/cut@s:ACTIVE+3"),
    SOURCE_WAY("RETRY_ASKING", PRECOPY "/cut@s:ACTIVE+3"),
    SOURCE_WAY("RETRY_OPENING", PRECOPY "/cut@s:ACTIVE+3"),
    SOURCE_WAY("RETRY_OPENING", PRECOPY UNREADY "/cut@s:ACTIVE+3"),
    SOURCE_WAY("RETRY_WAITING", PRECOPY "/cut@s:PREPARED"),
    SOURCE_WAY("RETRY_ASKING", PRECOPY "/cut@s:PREPARED"),
    SOURCE_WAY("LEAVING", PRECOPY SLOW),
    SOURCE_WAY("LEAVING", POSTCOPY SLOW),
    SOURCE_WAY("STOPPING", PRECOPY SLOW),
    SOURCE_WAY("PAUSING", PRECOPY SLOW "/cut@s:STOPPING"),
    SOURCE_WAY("FALLING_BACK", PRECOPY ",host_us=300000/fail-receiving@s:STOPPING"),
    SOURCE_WAY("CANCELLING", PRECOPY SLOW "/source.CANCEL@s:STOPPING"),
    SOURCE_WAY("COLLECTING", PRECOPY SLOW),
    SOURCE_WAY("COLLECTING", POSTCOPY SLOW),
    SOURCE_WAY("FINISHING", PRECOPY),
    SOURCE_WAY("FINISHING", POSTCOPY),
    SOURCE_WAY("PREPARED", PRECOPY SLOW),
    SOURCE_WAY("PREPARED", POSTCOPY SLOW),
    SOURCE_WAY("HELD", PRECOPY SLOW),
    SOURCE_WAY("HELD", POSTCOPY SLOW),
    SOURCE_WAY("HELD_WAITING", PRECOPY "/cut@s:HELD"),
    SOURCE_WAY("HELD_WAITING", POSTCOPY "/cut@s:HELD"),
    SOURCE_WAY("HELD_CONNECTING", PRECOPY "/cut@s:HELD"),
    SOURCE_WAY("HELD_CONNECTING", POSTCOPY "/cut@s:HELD"),
    SOURCE_WAY("HELD_ASKING", PRECOPY "/cut@s:HELD"),
    SOURCE_WAY("HELD_ASKING", POSTCOPY "/cut@s:HELD"),
    SOURCE_WAY("PUSHING", PULLING),
    SOURCE_WAY("PUSHING", PULLING RELEASE),
    SOURCE_WAY("PUSH_WAITING", PULLING "/cut@s:PUSHING+4"),
    SOURCE_WAY("PUSH_WAITING", PULLING RELEASE "/cut@s:PUSHING+20"),
    SOURCE_WAY("PUSH_PAUSED", PULLING "/source.PAUSE@s:PUSHING+4"),
    SOURCE_WAY("PUSH_CONNECTING", PULLING "/cut@s:PUSHING+4"),
    SOURCE_WAY("PUSH_ASKING", PULLING "/cut@s:PUSHING+4"),
    SOURCE_WAY("PUSH_OPENING", PULLING "/cut@s:PUSHING+4"),
    SOURCE_WAY("SETTLING", PRECOPY),
    SOURCE_WAY("SETTLING", POSTCOPY),
    SOURCE_WAY("SETTLING_WAITING", PRECOPY "/cut@s:SETTLING"),
    SOURCE_WAY("SETTLING_WAITING", POSTCOPY "/cut@s:SETTLING"),
    SOURCE_WAY("SETTLING_AGAIN", PRECOPY "/cut@s:SETTLING"),
    SOURCE_WAY("SETTLING_AGAIN", POSTCOPY "/cut@s:SETTLING"),
    SOURCE_WAY("COMPLETED", PRECOPY),
    SOURCE_WAY("COMPLETED", POSTCOPY),
    SOURCE_WAY("LOST", PULLING "/outage@s:PUSHING+4,abandon-source@s:PUSH_WAITING+1"),
    SOURCE_WAY("FAILED", PRECOPY "/fail-source@s:ACTIVE"),
    SOURCE_WAY("FAILED", PRECOPY "/load-fails@s:ACTIVE"),
    SOURCE_WAY("CANCELLED", PRECOPY "/source.CANCEL@s:ACTIVE+5"),
    SOURCE_WAY("CANCELLED", PRECOPY "/source.CANCEL@s:PREPARED"),
    TARGET_WAY("NONE", PRECOPY "/fail-target@s:NONE"),
    TARGET_WAY("RECALLING", PRECOPY SLOW),
    TARGET_WAY("LISTENING", PRECOPY),
    TARGET_WAY("ACTIVE", SHARED SLOW),
    TARGET_WAY("LOADING", SHARED SLOW),
    TARGET_WAY("READY", SHARED SLOW),
    TARGET_WAY("TAKING", SHARED SLOW),
    TARGET_WAY("STARTING", SHARED SLOW),
    TARGET_WAY("RUNNING", SHARED),
    TARGET_WAY("NEGOTIATING", PRECOPY),
    TARGET_WAY("OPENING", PRECOPY SLOW),
    TARGET_WAY("ACTIVE", PRECOPY),
    TARGET_WAY("ACTIVE", POSTCOPY),
    TARGET_WAY("AWAITING", PRECOPY "/cut@s:ACTIVE+3"),
    TARGET_WAY("AWAITING", PRECOPY UNREADY "/cut@s:ACTIVE+3"),
    TARGET_WAY("AWAITING", POSTCOPY "/cut@s:PREPARED"),
    TARGET_WAY("GATHERING", PRECOPY "/hold-bulk@s:FINISHING"),
    TARGET_WAY("GATHERING", POSTCOPY "/hold-bulk@s:FINISHING"),
    TARGET_WAY("ARMING", POSTCOPY SLOW),
    TARGET_WAY("LOADING", PRECOPY SLOW),
    TARGET_WAY("LOADING", POSTCOPY SLOW),
    TARGET_WAY("READY", PRECOPY),
    TARGET_WAY("READY", POSTCOPY),
    TARGET_WAY("READY", PRECOPY "/cut@t:READY"),
    TARGET_WAY("READY", PRECOPY "/cut@t:READY,crash-source@t:READY+2"),
    TARGET_WAY("TAKING", PRECOPY SLOW),
    TARGET_WAY("TAKING", POSTCOPY SLOW),
    TARGET_WAY("CLAIMING",
               PRECOPY SLOW "/cut@t:READY,crash-source@t:READY+1,claim-target@t:READY+2"),
    TARGET_WAY("STARTING", PRECOPY SLOW),
    TARGET_WAY("STARTING", POSTCOPY SLOW),
    TARGET_WAY("PULLING", PULLING),
    TARGET_WAY("STRANDED", PULLING "/cut@t:PULLING+6"),
    TARGET_WAY("RUNNING", PRECOPY),
    TARGET_WAY("RUNNING", POSTCOPY),
    TARGET_WAY("RUNNING", PRECOPY "/cut@t:RUNNING"),
    TARGET_WAY("DONE", PRECOPY),
    TARGET_WAY("DONE", POSTCOPY),
    TARGET_WAY("LOST", PULLING "/outage@t:PULLING+6,abandon-target@t:STRANDED"),
    TARGET_WAY("ABORTING", PRECOPY SLOW "/load-fails@s:ACTIVE"),
    TARGET_WAY("ABORTING", POSTCOPY SLOW "/load-fails@s:ACTIVE"),
};
const uint32_t way_count = sizeof(ways) / sizeof(ways[0]);

/* The source goes by a cut that the target does not hear of, and comes again with a new session. */
#define WITHDRAW(state)          \
    "/half-open-target@t:" state \
    ",replace@s:FAILED+2,replace@1,replace@2,replace@2,replace@2,replace@3"

#define COLLECTING_SLOWLY \
    PRECOPY ",linger_ms=3000,host_us=700000,latency_us=150000/half-open-target@s:ACTIVE"

/* Much is under way when the guest is stopped: beside so long a handover no round is worth while.
 */
#define MANY_BATCHES                                                             \
    PRECOPY ",pages=64,page_bytes=16384,calm=0,host_us=100000,latency_us=60000," \
            "downtime_ms=60000,handover_ms=50000,corrupt_one_in=2"

/* A guest that never fits, and is stopped in time all the same. */
#define HURRIED                                                                        \
    PRECOPY PAUSING ",pages=64,unit=8,calm=0,downtime_ms=1,step_us=1000,latency_us=0," \
                    "on_deadline=1"

#define ASKED_LATE(plan)                                                                        \
    PRECOPY ",pages=64,channels=3,calm=0,step_us=300,latency_us=20000,downtime_ms=20,"          \
            "on_deadline=1,release=1,pausing=1,hold_ms=5,handover_ms=2000,linger_ms=3000," plan \
            "/source.POSTCOPY@s:PRE_SWITCHOVER,limits@0"

const char *const scenarios[] = {
    PRECOPY,
    SHARED,
    SHARED SLOW,
    SHARED ",paused=1",
    POSTCOPY,
    PRECOPY ",paused=1",
    POSTCOPY ",paused=1",
    PRECOPY ",verify=1",
    POSTCOPY RELEASE,
    PRECOPY PAUSING UNREADY,
    POSTCOPY PAUSING UNREADY RELEASE,
    /* devices that are never ready, one that fails, and a source that does not care */
    PRECOPY UNREADY ",stuck_devices=1",
    POSTCOPY UNREADY ",stuck_devices=2",
    PRECOPY UNREADY ",stuck_devices=1/source.CANCEL@s:ACTIVE+12",
    PRECOPY UNREADY ",stuck_devices=1,deadline_ms=20000,on_deadline=3,can_postcopy=0",
    PRECOPY UNREADY ",stuck_devices=1,no_ack=1",
    PRECOPY UNREADY "/fail-target@t:OPENING+6",
    /* a deadline that comes before the channels or the tracker do */
    PRECOPY ",host_us=4000000,deadline_ms=4000",
    PRECOPY ",host_us=4000000,deadline_ms=7000",
    /* one that comes in the middle of a batch, and an operator who is to be asked */
    HURRIED ",deadline_ms=700",
    HURRIED ",deadline_ms=900",
    HURRIED ",deadline_ms=1100",
    HURRIED ",deadline_ms=700,latency_us=20000,corrupt_one_in=1",
    HURRIED ",deadline_ms=900,latency_us=20000,corrupt_one_in=1",
    HURRIED ",deadline_ms=1100,latency_us=20000,corrupt_one_in=1",
    /* he says postcopy, with batches under way: they are waited for */
    ASKED_LATE("deadline_ms=244"),
    ASKED_LATE("deadline_ms=370,latency_us=60000"),
    ASKED_LATE("deadline_ms=392,latency_us=60000,corrupt_one_in=2"),
    PRECOPY ",pages=40,verify=1/flip-bit@s:ACTIVE+6",
    PRECOPY ",pages=40,verify=1,latency_us=20000/flip-bit@s:ACTIVE+12",
    /* an answer of the tracker that comes while the link is lost */
    PRECOPY ",linger_ms=3000,host_us=900000/cut@s:ACTIVE+19",
    PRECOPY ",linger_ms=3000,host_us=900000/half-open-target@s:ACTIVE+19",
    COLLECTING_SLOWLY "+12",
    COLLECTING_SLOWLY "+15",
    COLLECTING_SLOWLY "+18",
    COLLECTING_SLOWLY "+21",
    COLLECTING_SLOWLY "+24",
    COLLECTING_SLOWLY "+27",
    /* acknowledgements while a cancelled guest stops */
    MANY_BATCHES "/source.CANCEL@s:STOPPING",
    MANY_BATCHES "/source.CANCEL@s:STOPPING+1",
    MANY_BATCHES "/source.CANCEL@s:STOPPING+2",
    MANY_BATCHES "/source.CANCEL@s:STOPPING+3",
    MANY_BATCHES "/source.CANCEL@s:STOPPING+4",
    MANY_BATCHES "/source.CANCEL@s:STOPPING+5",
    POSTCOPY ",host_us=300000,latency_us=30000,pages=64/source.CANCEL@s:STOPPING",
    PRECOPY ",host_us=300000/source.CANCEL@s:STOPPING,fail-source@1",
    PRECOPY ",host_us=300000/fail-receiving@s:STOPPING,fail-source@s:FALLING_BACK",
    /* a session is withdrawn, and the target has not noticed that its source is gone */
    PRECOPY ",resume_ms=0" WITHDRAW("NEGOTIATING"),
    PRECOPY ",linger_ms=3000,resume_ms=0" SLOW WITHDRAW("OPENING"),
    PRECOPY ",resume_ms=0" WITHDRAW("ACTIVE"),
    PRECOPY
    ",channels=1,resume_ms=0/hold-bulk@s:FINISHING,half-open-target@t:GATHERING,replace@s:FAILED+9,"
    "replace@4,replace@4",
    PRECOPY
    ",channels=1,resume_ms=0/hold-bulk@s:FINISHING,half-open-target@t:GATHERING,replace@s:FAILED+4,"
    "replace@1,replace@2,replace@2",
    POSTCOPY ",linger_ms=3000,resume_ms=0,host_us=300000" WITHDRAW("ARMING"),
    PRECOPY ",linger_ms=3000,resume_ms=0,host_us=300000" WITHDRAW("LOADING"),
    PRECOPY ",resume_ms=0" WITHDRAW("READY"),
    /* the source resumes, and the target is still at what came before */
    POSTCOPY ",linger_ms=3000,host_us=900000/half-open-target@t:ARMING",
    PRECOPY ",linger_ms=3000,host_us=900000/half-open-target@t:LOADING",
    /* the source asks how a guest stands whose `took` is being recorded, and will not be */
    PRECOPY ",linger_ms=3000,host_us=900000/fail-target@t:READY,half-open-target@t:TAKING",
    POSTCOPY ",linger_ms=3000,host_us=900000/fail-target@t:READY,half-open-target@t:TAKING",
    PRECOPY ",linger_ms=3000,host_us=900000/half-open-target@t:TAKING",
    /* operators who speak while the other side's word is under way */
    PRECOPY ",host_us=100000,latency_us=50000/rash-claim-target@t:READY+1",
    PRECOPY ",host_us=100000,latency_us=50000/rash-claim-target@t:READY+1,source.CANCEL@1",
    PRECOPY ",host_us=100000,latency_us=50000/source.CANCEL@t:READY,rash-claim-target@0",
    PRECOPY ",host_us=100000,latency_us=50000/rash-give-up-target@t:READY+1",
    PRECOPY ",host_us=100000/cut@t:READY,crash-source@0,claim-target@0,disk-full@0",
    /* a target that dies while it lacks pages, and a person who runs the old copy */
    PULLING "/source.PAUSE@s:PUSHING+4,crash-target@s:PUSH_PAUSED,claim-source@1",
    PULLING "/crash-target@s:PUSHING+4,claim-source@s:PUSH_CONNECTING",
    PULLING "/cut@s:PUSHING+4,lose-target@s:PUSH_ASKING,claim-source@0",
    PULLING "/cut@s:PUSHING+4,lose-target@s:PUSH_OPENING,claim-source@0",
    PULLING ",latency_us=20000/cut@s:PUSHING+4,lose-target@s:PUSH_OPENING,claim-source@0",
    /* one that dies before RUNNING is heard: what would be given back here is all that is left */
    PULLING RELEASE SLOW "/restart-target@t:STARTING",
    PULLING RELEASE SLOW "/crash-target@t:STARTING",
    PULLING RELEASE "/restart-target@t:PULLING",
    /* refusals where none is due */
    PRECOPY SLOW "/say-refuse@s:HELD",
    PRECOPY ",latency_us=20000/cut@s:HELD,say-refuse@s:HELD_ASKING",
    PRECOPY ",latency_us=20000/cut@s:ACTIVE+9,say-refuse@s:RETRY_ASKING",
    PULLING "/say-refuse@s:PUSHING+2",
    PULLING ",latency_us=20000/cut@s:PUSHING+2,say-refuse@s:PUSH_ASKING",
    PULLING ",latency_us=20000/cut@s:PUSHING+2,say-refuse@s:PUSH_OPENING",
    PRECOPY ",latency_us=20000/say-refuse@t:RUNNING+1",
    PRECOPY ",latency_us=20000/say-refuse@s:SETTLING",
    PRECOPY ",latency_us=20000/cut@s:SETTLING,say-refuse@s:SETTLING_AGAIN+1,say-refuse@2",
    /* a source that does not wait for its digests */
    PRECOPY ",verify=1/hasty-source@s:ACTIVE+9",
    PRECOPY "/hasty-source@s:ACTIVE+14",
};
const uint32_t scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);
