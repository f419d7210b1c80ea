/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are: a subset of QEMU's `virt` board (hw/arm/virt.c, base_memmap and a15irqmap).
 */
#ifndef GODWIT_VM_LAYOUT_H
#define GODWIT_VM_LAYOUT_H

#include <stdint.h>

#define GW_LAYOUT_GIC_DISTRIBUTOR         UINT64_C(0x08000000)
#define GW_LAYOUT_GIC_DISTRIBUTOR_BYTES   UINT64_C(0x00010000)
#define GW_LAYOUT_GIC_REDISTRIBUTOR       UINT64_C(0x080a0000)
#define GW_LAYOUT_GIC_REDISTRIBUTOR_BYTES UINT64_C(0x00020000) /* of each vCPU */
#define GW_LAYOUT_PL011                   UINT64_C(0x09000000)
#define GW_LAYOUT_PL031                   UINT64_C(0x09010000)
#define GW_LAYOUT_DEVICE_BYTES            UINT64_C(0x00001000)

/* The device tree lies at the start of RAM, below everything that is loaded. */
#define GW_LAYOUT_TREE       UINT64_C(0x40000000)
#define GW_LAYOUT_TREE_BYTES UINT64_C(0x00010000)

enum {
    /* Shared peripheral interrupts, counted from 0 (INTID less 32). */
    GW_LAYOUT_PL011_INTERRUPT = 1,
    GW_LAYOUT_PL031_INTERRUPT = 2,

    /* Interrupt IDs of the controller: 32 private, 16 fixed, and 16 for virtio-mmio from SPI 16
     * on. The least KVM makes; each costs time when the machine moves. */
    GW_LAYOUT_INTERRUPTS = 64,

    /* Private peripheral interrupts of the timers, counted from 0 (INTID less 16). */
    GW_LAYOUT_TIMER_SECURE = 13,
    GW_LAYOUT_TIMER_PHYSICAL = 14,
    GW_LAYOUT_TIMER_VIRTUAL = 11,
    GW_LAYOUT_TIMER_HYPERVISOR = 10,
};

#endif
