/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Board sim: limits so small that tests hit every one of them. No hardware has this board.
 */
#ifndef GW_BOARD_H
#define GW_BOARD_H

#define GW_BOARD_NAME "sim"

/* 256 pages: a guest whose every message can be cut in a second. */
#define GW_BOARD_RAM_BYTES_MAX (UINT64_C(1) << 20)

#define GW_BOARD_RAM_REGIONS_MAX 2

#define GW_BOARD_PAGE_BYTES_MIN 4096

#define GW_BOARD_VCPUS_MAX 2

/* The least that holds a page of 64 KiB. */
#define GW_BOARD_BATCH_BYTES_MAX (UINT64_C(64) << 10)

/* No huge pages. */
#define GW_BOARD_UNIT_BYTES_MAX (UINT64_C(64) << 10)

/* Of the protocol itself, elsewhere: RAM has a few. */
#define GW_STRETCH_BYTES (UINT64_C(64) << 10)

/* Three, so that RAM's stretches and the channels do not fall into step. */
#define GW_BOARD_BULK_CHANNELS_MAX 3

#define GW_BOARD_CHANNEL_CPUS 0

/* The window closes after two batches, so waiting for acknowledgements is the usual case. */
#define GW_BOARD_WINDOW_BATCHES 2

#define GW_BOARD_STATE_BYTES_MAX 4096

#define GW_BOARD_CONTROL_CLIENTS_MAX 1

#define GW_BOARD_CONTROL_LINE_BYTES 256

/* As qemu-virt. */
#define GW_BOARD_DIRTY_RING_ENTRIES_MAX 4096

#define GW_BOARD_STACK_BYTES 65536

#define GW_BOARD_ARENA_BYTES (UINT64_C(16) << 10)

/* As qemu-virt: a record's buffers are the protocol's. */
#define GW_BOARD_TLS_SESSION_BYTES (UINT64_C(72) << 10)
#define GW_BOARD_TLS_COMMON_BYTES  (UINT64_C(128) << 10)

#define GW_BOARD_STATIC_BYTES_MAX (UINT64_C(7) << 20)

#endif
