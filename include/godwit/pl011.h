/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PL011: the serial console (Arm DDI 0183, PrimeCell UART PL011 Technical Reference Manual).
 *
 * Output collects in a ring that the machine empties. While the ring is full the guest sees a
 * full transmit FIFO, as on a slow line, so nothing is lost while the monitor is merely busy; a
 * guest that writes regardless loses those bytes, and they are counted. Whoever empties the ring
 * must go on doing so even when the console's reader is stuck (and drop what that one does not
 * take): then a slow console never stops the guest.
 *
 * Input goes into the 16-byte receive FIFO. Time on the line is zero: the receive time-out
 * interrupt stands as long as the FIFO holds anything.
 *
 * What is not there: DMA, modem control (CTS, DSR and DCD always say "connected"), loop-back.
 * Baud rate and format are kept and mean nothing. Bytes in the ring are output of this host:
 * they are not part of the saved state. Input not yet read is.
 *
 * Contract of threads, time and errors: godwit/device.h.
 */
#ifndef GODWIT_PL011_H
#define GODWIT_PL011_H

#include <stddef.h>

#include "godwit/device.h"

enum {
    GW_PL011_FIFO_BYTES = 16, /* of revisions below r1p5, as the ID registers say */
    GW_PL011_INPUT_BYTES = GW_PL011_FIFO_BYTES,
    GW_PL011_OUTPUT_BYTES = 4096, /* a screenful; power of two */
};

struct gw_pl011 {
    struct gw_device device;
    uint32_t integer_baud, fraction_baud, line_control, control;
    uint32_t fifo_level, mask, raw, dma_control, low_power;
    uint32_t input_first, input_count;
    uint32_t output_first, output_count;
    bool is_output_awaited; /* the guest met a full FIFO: raise its interrupt when there is room */
    uint64_t dropped;       /* bytes written into a full FIFO since reset */
    uint8_t input[GW_PL011_INPUT_BYTES];
    uint8_t output[GW_PL011_OUTPUT_BYTES];
};

void gw_pl011_init(struct gw_pl011 *pl011, uint64_t base, uint32_t interrupt);

/* Gives the guest input; returns how many of `count` bytes fitted into the FIFO. */
size_t gw_pl011_put_input(struct gw_pl011 *pl011, const uint8_t *bytes, size_t count);

/* How many bytes of input would fit now. */
size_t gw_pl011_input_room(const struct gw_pl011 *pl011);

/* True when output should be taken at once: a line is whole, or the ring is half full. */
bool gw_pl011_is_output_due(const struct gw_pl011 *pl011);

/* Takes up to `capacity` bytes of output, oldest first; returns how many. */
size_t gw_pl011_take_output(struct gw_pl011 *pl011, uint8_t *bytes, size_t capacity);

#endif
