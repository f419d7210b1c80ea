/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All memory of a running monitor, in one list: X(type, name, what it is for). The storage
 * struct, `godwit limits` and the check against the board come from this list.
 */
#ifndef GW_RUN_STORAGE_H
#define GW_RUN_STORAGE_H

#include "godwit/incoming.h"
#include "godwit/kvm_log.h"
#include "godwit/kvm_ring.h"
#include "godwit/marks.h"
#include "godwit/outgoing.h"
#include "godwit/ram.h"
#include "godwit/vm.h"
#include "run/clients.h"
#include "run/console.h"
#include "run/dirty_rate.h"
#include "run/identity.h"
#include "run/monitor.h"
#include "run/throttle.h"
#include "run/upgrade.h"

#define GW_RUN_STORAGE(X)                                                       \
    X(struct gw_monitor, monitor, "monitor")                                    \
    X(struct gw_vm, vm, "machine: vCPU threads with their stacks, devices")     \
    X(struct gw_ram, ram, "guest RAM's regions")                                \
    X(struct gw_facts, facts, "facts a peer must share")                        \
    X(union gw_guest_tracker, tracker, "dirty tracker")                         \
    X(struct gw_marks, marks, "pages written by the monitor")                   \
    X(struct gw_outgoing, outgoing, "migration away: engine, channels, thread") \
    X(struct gw_incoming, incoming, "migration here: engine, channels, thread") \
    X(struct gw_saved_state, saved, "machine state while it is handed over")    \
    X(struct gw_throttle_timer, throttle, "timer that slows the guest down")    \
    X(struct gw_dirty_rate, dirty_rate, "measuring the dirty rate")             \
    X(struct gw_identities, identities, "keys that are in use")                 \
    X(struct gw_upgrade, upgrade, "passing the guest to a new godwit")          \
    X(struct gw_console, console, "console")                                    \
    X(struct gw_clients, clients, "control clients")

/* The machine's state, between STOP and the end of a migration. */
struct gw_saved_state {
    uint8_t bytes[GW_STATE_BYTES_MAX];
};

/* Chosen by --dirty before the machine is made. */
union gw_guest_tracker {
    struct gw_tracker tracker; /* either's first member */
    struct gw_tracker_kvm_log log;
    struct gw_tracker_kvm_ring ring;
};

struct gw_run_storage {
#define MEMBER(type, name, purpose) type name;
    GW_RUN_STORAGE(MEMBER)
#undef MEMBER
};

extern struct gw_run_storage gw_run_storage;

#endif
