/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Board qemu-virt: an emulated gateway (QEMU's virt with EL2) and, as a start, any gateway with
 * 1 to 8 cores and up to 8 GiB of memory. Sizes are bytes unless a name says otherwise; each has
 * its reason.
 */
#ifndef GW_BOARD_H
#define GW_BOARD_H

#define GW_BOARD_NAME "qemu-virt"

/* The largest guest. Bitmaps cost 1/32768 of it each: 128 KiB at 4 GiB. */
#define GW_BOARD_RAM_BYTES_MAX (UINT64_C(4) << 30)

/* virt has one region; an embedder may have a few (flash shadow, carve-outs). */
#define GW_BOARD_RAM_REGIONS_MAX 4

/* The smallest page any kernel for this board uses. */
#define GW_BOARD_PAGE_BYTES_MIN 4096

#define GW_BOARD_VCPUS_MAX 8

/* Pages in one batch: large enough that a system call and an acknowledgement per batch vanish,
 * small enough to stay in a second-level cache. */
#define GW_BOARD_BATCH_BYTES_MAX (UINT64_C(256) << 10)

/* The largest unit in which guest RAM is placed in postcopy: a huge page, put together in static
 * memory, one for each channel. 2 MiB, or no more than a batch: then RAM is never in huge pages. */
#define GW_BOARD_UNIT_BYTES_MAX (UINT64_C(2) << 20)

/* Bulk channels of one migration: a thread on each side and about 3.3 MiB, most of it untouched. */
#define GW_BOARD_BULK_CHANNELS_MAX 8

/* CPUs, a bit each from CPU 0 on, that the bulk channels' threads keep to: the small ones, where
 * some are, so that guests have the others. 0: any; the kernel spreads them. */
#define GW_BOARD_CHANNEL_CPUS 0

/* Batches sent and not yet acknowledged: 64 x 256 KiB cover 100 ms of round trip at 1 Gb/s. */
#define GW_BOARD_WINDOW_BATCHES 64

/* All vCPUs, GIC and devices: 8 vCPUs with SVE of 2048 bits take about 170 KiB. */
#define GW_BOARD_STATE_BYTES_MAX (UINT64_C(256) << 10)

/* Control connections at the same time: an orchestrator, a watcher, a person, and one spare. */
#define GW_BOARD_CONTROL_CLIENTS_MAX 4

/* The longest line a control client may send. */
#define GW_BOARD_CONTROL_LINE_BYTES 8192

/* Entries of a vCPU's dirty ring (`--dirty ring`), 16 bytes each, in the kernel: a power of two. 64
 * KiB are the least on a host of 64-KiB pages, and hold what 60 MB/s dirty in a quarter of a
 * second; a ring that fills up costs one exit in so many pages. */
#define GW_BOARD_DIRTY_RING_ENTRIES_MAX 4096

/* A thread's stack; the deepest measured use is about a quarter of it. */
#define GW_BOARD_STACK_BYTES 65536

/* What libraries allocate (name resolution in libc). */
#define GW_BOARD_ARENA_BYTES (UINT64_C(16) << 10)

/* TLS: what one connection takes (two buffers of a record each, the handshake's numbers), and what
 * keys and certificates take: two identities with RSA keys of 4096 bits, 75 KiB, and with chains of
 * certificates 110. Untouched without --tls. */
#define GW_BOARD_TLS_SESSION_BYTES (UINT64_C(72) << 10)
#define GW_BOARD_TLS_COMMON_BYTES  (UINT64_C(128) << 10)

/* All static storage of the monitor: most of it stays untouched, and so takes no memory, until a
 * guest as large as GW_BOARD_RAM_BYTES_MAX moves, by all channels, in huge pages and by postcopy.
 */
#define GW_BOARD_STATIC_BYTES_MAX (UINT32_C(64) << 20)

#endif
