/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every limit of godwit, taken from the board (board/<name>/board.h, chosen when it is built),
 * with the relations between them checked here at compile time. Static storage is sized by these
 * and by nothing else; `godwit limits` prints them.
 */
#ifndef GODWIT_LIMITS_H
#define GODWIT_LIMITS_H

#include <assert.h>
#include <stdint.h>

#include "board.h"

#define GW_KIB (UINT64_C(1) << 10)
#define GW_MIB (UINT64_C(1) << 20)

#define GW_RAM_BYTES_MAX     GW_BOARD_RAM_BYTES_MAX
#define GW_RAM_REGIONS_MAX   GW_BOARD_RAM_REGIONS_MAX
#define GW_PAGE_BYTES_MIN    GW_BOARD_PAGE_BYTES_MIN
#define GW_PAGES_MAX         (GW_RAM_BYTES_MAX / GW_PAGE_BYTES_MIN)
#define GW_BITMAP_WORDS      ((GW_PAGES_MAX + 63) / 64)
#define GW_VCPUS_MAX         GW_BOARD_VCPUS_MAX
#define GW_BATCH_BYTES_MAX   GW_BOARD_BATCH_BYTES_MAX
#define GW_UNIT_BYTES_MAX    GW_BOARD_UNIT_BYTES_MAX
#define GW_HUGE_PAGE_BYTES   (UINT64_C(2) << 20)
#define GW_BATCH_RUNS_MAX    64
#define GW_WINDOW_BATCHES    GW_BOARD_WINDOW_BATCHES
#define GW_STATE_BYTES_MAX   GW_BOARD_STATE_BYTES_MAX
#define GW_CLIENTS_MAX       GW_BOARD_CONTROL_CLIENTS_MAX
#define GW_CONTROL_LINE_MAX  GW_BOARD_CONTROL_LINE_BYTES
#define GW_STACK_BYTES       GW_BOARD_STACK_BYTES
#define GW_ARENA_BYTES       GW_BOARD_ARENA_BYTES
#define GW_BULK_CHANNELS_MAX GW_BOARD_BULK_CHANNELS_MAX
#define GW_CHANNEL_CPUS      GW_BOARD_CHANNEL_CPUS
#define GW_TLS_SESSION_BYTES GW_BOARD_TLS_SESSION_BYTES
#define GW_TLS_COMMON_BYTES  GW_BOARD_TLS_COMMON_BYTES
#define GW_RING_ENTRIES_MAX  GW_BOARD_DIRTY_RING_ENTRIES_MAX
#define GW_RING_ENTRY_BYTES  16 /* struct kvm_dirty_gfn */

/* What belongs to one bulk channel, and is digested at a time. The protocol's (docs/WIRE.md), so no
 * board's to choose; only the simulator has less, since all of its RAM is less. */
#ifndef GW_STRETCH_BYTES
#define GW_STRETCH_BYTES (UINT64_C(2) << 20)
#endif

static_assert(GW_PAGE_BYTES_MIN >= 4096 && (GW_PAGE_BYTES_MIN & (GW_PAGE_BYTES_MIN - 1)) == 0,
              "arm64 and x86-64 kernels have pages of 4096 bytes or a power of two above");
static_assert(GW_PAGES_MAX <= UINT32_MAX, "a run counts pages in 32 bits on the wire");
static_assert(GW_BATCH_BYTES_MAX >= 65536, "a batch holds at least one page of 64 KiB");
static_assert(GW_BATCH_BYTES_MAX <= 2 * GW_MIB, "a batch is read whole into static memory");
static_assert(GW_UNIT_BYTES_MAX >= GW_BATCH_BYTES_MAX,
              "a unit's memory takes a batch of pages, too");
static_assert(GW_UNIT_BYTES_MAX <= GW_HUGE_PAGE_BYTES, "a unit is a huge page of 2 MiB at most");
static_assert(GW_WINDOW_BATCHES >= 2, "one batch in flight and one being filled");
static_assert(GW_STRETCH_BYTES % 65536 == 0, "a stretch is whole pages of every page size");
static_assert(GW_STRETCH_BYTES % GW_UNIT_BYTES_MAX == 0, "a unit travels by one channel");
static_assert(GW_BULK_CHANNELS_MAX >= 1 && GW_BULK_CHANNELS_MAX <= 8,
              "more connections than CPUs of a gateway gain nothing");
static_assert(GW_VCPUS_MAX >= 1 && GW_VCPUS_MAX <= 8, "GICv3 affinity uses Aff0 alone, and the "
                                                      "device tree's interrupt cells name 8 CPUs");
static_assert(GW_RING_ENTRIES_MAX <= 65536 &&
                  (GW_RING_ENTRIES_MAX & (GW_RING_ENTRIES_MAX - 1)) == 0,
              "KVM takes dirty rings of a power of two, 65536 entries at most");
static_assert(GW_RING_ENTRIES_MAX * GW_RING_ENTRY_BYTES % 65536 == 0,
              "a dirty ring is whole pages of every page size");
static_assert(GW_STACK_BYTES % 65536 == 0, "a stack is whole pages of every page size");

#endif
