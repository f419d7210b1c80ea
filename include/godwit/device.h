/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices: what the guest sees at an address.
 *
 * A device is pure: it calls no system, reads no clock, starts no thread and has no heap. The
 * machine (src/vm) calls it under one lock, from the vCPU that exited or from the thread that
 * brings input, and hands in guest wall time as an argument. What a device wants to happen it
 * leaves in its fields, and the machine looks after each call: the level of its interrupt line,
 * and the moment at which it wants to be looked at again.
 *
 * A device is one of godwit's three tables of functions (transport, tracker, device). Its state
 * follows the table as the first member of a larger struct (struct gw_pl011, struct gw_pl031).
 *
 * Guest wall time is nanoseconds since 1970-01-01 UTC as the guest's clocks should show it. It
 * goes on over a migration even where the two hosts' clocks disagree.
 *
 * Memory: the caller's. Blocks: never. Errors: no access of the guest is one; a register that
 * does not exist reads as zero and ignores writes.
 */
#ifndef GODWIT_DEVICE_H
#define GODWIT_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "godwit/state.h"
#include "godwit/status.h"

#define GW_DEVICE_NEVER UINT64_MAX

struct gw_device;

struct gw_device_operations {
    const char *name; /* of the section its state is saved in: "pl011" */
    uint32_t version; /* of that section */

    /* The guest reads or writes `bytes` (1, 2, 4 or 8) at `offset` < device->bytes. */
    uint64_t (*read)(struct gw_device *device, uint64_t offset, uint32_t bytes, uint64_t wall_ns);
    void (*write)(struct gw_device *device, uint64_t offset, uint32_t bytes, uint64_t value,
                  uint64_t wall_ns);

    /* Guest wall time reached deadline_ns. NULL when the device never sets one. */
    void (*expire)(struct gw_device *device, uint64_t wall_ns);

    /* Puts the payload of the device's section. */
    void (*save)(const struct gw_device *device, struct gw_state_writer *writer);

    /* Takes it back. Each field is checked: GW_CORRUPT names the field, what was found and what
     * was wanted, and leaves the device reset. */
    enum gw_status (*load)(struct gw_device *device, struct gw_state_section *section,
                           struct gw_fault *fault);

    /* As after power-on; base, bytes and interrupt stay. */
    void (*reset)(struct gw_device *device);
};

struct gw_device {
    const struct gw_device_operations *operations;
    uint64_t base;        /* guest physical address of its registers */
    uint64_t bytes;       /* size of that window */
    uint32_t interrupt;   /* its shared peripheral interrupt, counted from 0 (INTID less 32) */
    bool is_line_high;    /* the device's to set; the machine passes it on */
    uint64_t deadline_ns; /* guest wall time of the next expire, or GW_DEVICE_NEVER */
};

#endif
