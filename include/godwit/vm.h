/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine: a KVM virtual machine that looks like a subset of QEMU's `virt` board, with its
 * vCPU threads, its devices, and its state as bytes.
 *
 * Order of use. Source: open, boot, run; events; halt, HALTED, save; then run again or close.
 * Target: open; facts; load (as often as it takes); set_elapsed; run; then as a source.
 *
 * Owner: all of it is in struct gw_vm, which the caller declares static (it holds the stacks of
 * the vCPU threads) and which must not move between open and close. The RAM is the caller's and
 * outlives it.
 * Threads: one thread, the machine's owner, calls everything; console_put and console_take may
 * come from another. vCPUs run in threads of their own, made by open and ended by close; they wait
 * parked while halted. They hold no lock while in the guest, so a vCPU asleep on a missing page
 * keeps nobody else waiting.
 * Signals: open installs a handler that does nothing for GW_VM_SIGNAL, which only vCPU threads
 * take.
 * Blocks: open, boot and load for the time of their system calls; close until all vCPUs are out;
 * nothing else.
 * Errors: a fault with a sentence. After a failed open the vm is closed. After a failed load it
 * is halted and empty, and load may be called again.
 */
#ifndef GODWIT_VM_H
#define GODWIT_VM_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/fact.h"
#include "godwit/limits.h"
#include "godwit/pl011.h"
#include "godwit/pl031.h"
#include "godwit/ram.h"
#include "godwit/status.h"
#include "godwit/thread.h"

#define GW_VM_SIGNAL SIGUSR1 /* makes a vCPU leave the guest */

/* Where RAM begins, and where a flat program is entered: as on `virt`. */
#define GW_VM_RAM_BASE   UINT64_C(0x40000000)
#define GW_VM_FLAT_ENTRY UINT64_C(0x40080000)

enum {
    GW_VM_DEVICES = 2,         /* PL011, PL031 */
    GW_VM_REGISTERS_MAX = 512, /* 259 on Linux 6.12, 70 more with SVE and pointer authentication;
                                  other monitors live with 500 */
    GW_VM_COMMAND_LINE_BYTES = 2048, /* the kernel's own limit (COMMAND_LINE_SIZE on arm64) */
};

struct gw_vm_config {
    uint32_t vcpu_count; /* 1..GW_VCPUS_MAX */

    /* Entries of each vCPU's dirty ring (godwit/kvm_ring.h); 0: no rings, so that the dirty log can
     * be used. GW_HOST when the host has none. */
    uint32_t dirty_ring_entries;

    /* A vCPU's dirty ring is full: empties the rings, from the vCPU's thread and with no lock held.
     * When it fails the vCPU cannot go on. Not NULL with rings. */
    enum gw_status (*ring_full)(void *context, struct gw_fault *fault);

    /* Called after the monitor itself wrote guest RAM, so that a running migration sends those
     * pages: the tracker sees only what the guest writes. From any thread. May be NULL. */
    void (*pages_written)(void *context, uint64_t page, uint64_t count);
    void *context;
};

struct gw_vm_boot {
    const char *kernel;       /* path of an arm64 Image, perhaps gzip-compressed; or NULL */
    const char *flat;         /* path of a flat program, or NULL; exactly one of the two */
    const char *initrd;       /* path or NULL; only with a kernel */
    const char *command_line; /* NULL: none; at most GW_VM_COMMAND_LINE_BYTES with its NUL */
};

enum gw_vm_event_kind {
    GW_VM_HALTED = 1,   /* asked for by halt: all vCPUs are out and parked */
    GW_VM_POWERED_OFF,  /* the guest switched itself off (PSCI SYSTEM_OFF); all vCPUs are parked */
    GW_VM_RESET_ASKED,  /* the guest asked for a reset (PSCI SYSTEM_RESET); all are parked */
    GW_VM_CRASHED,      /* a vCPU cannot go on: see text; all are parked */
    GW_VM_CONSOLE,      /* output is there: console_take until it gives nothing. A line comes at
                           once, less than a line a few milliseconds later */
    GW_VM_CONSOLE_ROOM, /* the guest read input after console_put had taken less than it was
                           given: give more */
};

struct gw_vm_event {
    enum gw_vm_event_kind kind;
    char text[GW_FAULT_TEXT_BYTES]; /* CRASHED: which vCPU, why and where; else empty */
};

/* What a vCPU is: private to src/vm. */
struct gw_vm_vcpu {
    struct gw_vm *vm;
    struct kvm_run *run;
    struct kvm_dirty_gfn *ring; /* NULL: none */
    int fd;
    uint32_t index;
    bool is_parked;
    uint32_t thread_id; /* the kernel's; 0: not started yet */
    struct gw_thread thread;
};

/* When CONSOLE is raised for the output that is there. */
enum gw_vm_console {
    GW_VM_CONSOLE_NONE, /* there is none */
    GW_VM_CONSOLE_LATER,
    GW_VM_CONSOLE_NOW,
};

/* Private to src/vm, all of it. */
struct gw_vm {
    struct gw_vm_config config;
    const struct gw_ram *ram;
    int kvm_fd, fd, gic_fd, event_fd, alarm_fd, console_fd, poll_fd;
    size_t run_bytes;
    bool is_open;
    bool is_fresh;   /* nothing was booted, run or loaded since the KVM VM was made */
    bool has_guest;  /* booted or loaded, and not ended */
    bool is_settled; /* guest time was set since load */

    /* What this host gives a vCPU. */
    uint32_t features;
    bool has_counter_offset;
    uint32_t register_count;
    uint32_t constant_count;                 /* how many of them, from the first, never change */
    uint64_t registers[GW_VM_REGISTERS_MAX]; /* in the order in which they are loaded */
    uint64_t fresh[GW_VCPUS_MAX][GW_VM_REGISTERS_MAX]; /* what a new vCPU has in them */

    /* Guarded by `lock`, with is_parked of each vCPU. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint32_t goal;
    uint32_t parked_count;
    uint32_t pending;             /* bit per event kind */
    enum gw_vm_event_kind ending; /* what ended the guest, or 0 */
    char ending_text[GW_FAULT_TEXT_BYTES];
    bool is_halt_asked;
    bool is_held_back;

    /* Guest time at the moment the last vCPU left the guest; see src/vm/time.c. */
    uint64_t counter_offset;
    uint64_t halted_counter, halted_now_ns, halted_wall_ns;
    int64_t wall_offset_ns; /* guest wall time less this host's */

    /* Devices, guarded by device_lock. */
    pthread_mutex_t device_lock;
    struct gw_pl011 pl011;
    struct gw_pl031 pl031;
    struct gw_device *devices[GW_VM_DEVICES];
    bool line_high[GW_VM_DEVICES]; /* what KVM was told last */
    uint64_t alarm_ns;
    enum gw_vm_console console;
    bool is_room_awaited;

    struct gw_vm_vcpu vcpu[GW_VCPUS_MAX];
};

/* Opens /dev/kvm, makes the VM over `ram` (region i is memory slot i), its vCPUs, interrupt
 * controller, devices and threads. GW_HOST when the host lacks something, naming it. */
GW_MUST_USE enum gw_status gw_vm_open(struct gw_vm *vm, const struct gw_vm_config *config,
                                      const struct gw_ram *ram, struct gw_fault *fault);

/* Ends the threads and gives everything back. Does nothing when not open. */
void gw_vm_close(struct gw_vm *vm);

/* Reads the program straight into guest RAM, writes the device tree, and points vCPU 0 at its
 * first instruction. Once, after open. */
GW_MUST_USE enum gw_status gw_vm_boot(struct gw_vm *vm, const struct gw_vm_boot *boot,
                                      struct gw_fault *fault);

/* Starts or resumes all vCPUs. GW_ARGUMENT when there is no guest, when it has ended, or when it
 * was loaded and its time is not set yet. */
GW_MUST_USE enum gw_status gw_vm_run(struct gw_vm *vm, struct gw_fault *fault);

/* Keeps the vCPUs out of the guest for a while without halting it (throttling): it runs as far as
 * anybody else can tell, its clock too, and a halt takes effect at once. */
void gw_vm_hold_back(struct gw_vm *vm, bool is_held_back);

/* Asks all vCPUs to leave the guest. HALTED follows, at once when they are out already. No
 * access to a device is left half done. */
void gw_vm_halt(struct gw_vm *vm);

/* The kernel's id of a vCPU's thread, as userfaultfd names who waits for a page; 0 before it runs.
 * Any thread. */
uint32_t gw_vm_thread_id(struct gw_vm *vm, uint32_t vcpu);

bool gw_vm_is_halted(struct gw_vm *vm);

/* Readable (EPOLLIN) while gw_vm_event_next has something to say. */
int gw_vm_event_fd(const struct gw_vm *vm);

/* Takes the next event. GW_AGAIN when there is none. */
GW_MUST_USE enum gw_status gw_vm_event_next(struct gw_vm *vm, struct gw_vm_event *event);

/* Console. take gives up to `capacity` bytes of output and returns how many; call it until it
 * returns 0, also after HALTED, so that the last words are not lost. put returns how many of
 * `count` bytes the guest's UART took (16 at most at a time); CONSOLE_ROOM follows when fewer. */
size_t gw_vm_console_take(struct gw_vm *vm, uint8_t *bytes, size_t capacity);
/* For an owner that leaves output there: CONSOLE is raised once more. */
void gw_vm_console_again(struct gw_vm *vm);
size_t gw_vm_console_put(struct gw_vm *vm, const uint8_t *bytes, size_t count);

/* Puts what the other side must equal: machine, page size, RAM, vCPUs, interrupt controller,
 * counter, ID registers, firmware interface. While halted. */
GW_MUST_USE enum gw_status gw_vm_facts(struct gw_vm *vm, struct gw_facts *facts,
                                       struct gw_fault *fault);

/* The state of everything but RAM, at most GW_STATE_BYTES_MAX. While halted. The guest may run on
 * afterwards: saving changes nothing. */
GW_MUST_USE enum gw_status gw_vm_save(struct gw_vm *vm, uint8_t *bytes, size_t capacity,
                                      size_t *bytes_used, struct gw_fault *fault);

/* Makes the machine fresh, if it is not, by building the KVM VM anew (gw_vm_fd changes): ahead of
 * load, so that load need not, while the guest stands still. While halted. */
GW_MUST_USE enum gw_status gw_vm_renew(struct gw_vm *vm, struct gw_fault *fault);

/* Gives a fresh machine that state; while halted. The bytes come from a peer and are checked in
 * full. When the machine is not fresh (booted, run, or loaded before, even in vain) the KVM VM is
 * built anew first, and gw_vm_fd changes. */
GW_MUST_USE enum gw_status gw_vm_load(struct gw_vm *vm, const uint8_t *bytes, size_t count,
                                      struct gw_fault *fault);

/* Once after each load, as the last act before run: the guest's counter and wall clock go on from
 * their values at the stop plus `elapsed_ns` (0: as if no time had passed). Both go on from here
 * whether or not the guest runs. */
GW_MUST_USE enum gw_status gw_vm_set_elapsed(struct gw_vm *vm, uint64_t elapsed_ns,
                                             struct gw_fault *fault);

/* Nanoseconds since the last vCPU left the guest: what COMMIT carries. While halted. */
uint64_t gw_vm_elapsed(const struct gw_vm *vm);

/* For the dirty tracker: the VM's file descriptor; memory slot i is region i of the RAM, with no
 * flags set. Changes when load builds the VM anew. */
int gw_vm_fd(const struct gw_vm *vm);

/* For the dirty tracker: each vCPU's dirty ring, as mapped; NULL without rings. Changes as gw_vm_fd
 * does. */
struct kvm_dirty_gfn *gw_vm_dirty_ring(const struct gw_vm *vm, uint32_t vcpu);

#endif
