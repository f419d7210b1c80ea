/* SPDX-License-Identifier: Apache-2.0 */
/* The PL011 UART. Owner: the machine, under its device lock. Never blocks. */
#include "godwit/pl011.h"

#include <inttypes.h>
#include <string.h>

/* Arm DDI 0183, "Summary of registers". */
enum {
    DR = 0x000,
    RSR = 0x004,
    FR = 0x018,
    ILPR = 0x020,
    IBRD = 0x024,
    FBRD = 0x028,
    LCR_H = 0x02c,
    CR = 0x030,
    IFLS = 0x034,
    IMSC = 0x038,
    RIS = 0x03c,
    MIS = 0x040,
    ICR = 0x044,
    DMACR = 0x048,
    ID = 0xfe0, /* eight words up to the end of the page */
};

/* "Flag Register, UARTFR". The line is always connected. */
enum {
    FR_CONNECTED = 0x007, /* CTS, DSR, DCD */
    FR_BUSY = 0x008,
    FR_RXFE = 0x010,
    FR_TXFF = 0x020,
    FR_RXFF = 0x040,
    FR_TXFE = 0x080,
};

enum {
    INT_RX = 0x010,
    INT_TX = 0x020,
    INT_RT = 0x040,
    INT_ALL = 0x7ff,
    LCR_FEN = 0x010,
    CR_RESET = 0x300, /* transmit and receive enabled */
    IFLS_RESET = 0x12,
};

/* Peripheral and PrimeCell identification, of revision r1p1-r1p3 as on `virt`. */
static const uint8_t identification[] = {0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

static struct gw_pl011 *pl011_of(struct gw_device *device)
{
    return (struct gw_pl011 *)device;
}

static bool is_output_full(const struct gw_pl011 *pl011)
{
    return pl011->output_count == GW_PL011_OUTPUT_BYTES;
}

static uint32_t input_depth(const struct gw_pl011 *pl011)
{
    return (pl011->line_control & LCR_FEN) ? GW_PL011_INPUT_BYTES : 1;
}

/* The level at which the receive interrupt rises: UARTIFLS, RXIFLSEL, in eighths of the FIFO. */
static uint32_t input_trigger(const struct gw_pl011 *pl011)
{
    static const uint8_t trigger[8] = {2, 4, 8, 12, 14, 14, 14, 14};
    return (pl011->line_control & LCR_FEN) ? trigger[(pl011->fifo_level >> 3) & 7] : 1;
}

static void update(struct gw_pl011 *pl011)
{
    pl011->device.is_line_high = (pl011->raw & pl011->mask) != 0;
}

static uint32_t flags(const struct gw_pl011 *pl011)
{
    uint32_t value = FR_CONNECTED;
    value |= is_output_full(pl011) ? FR_TXFF | FR_BUSY : FR_TXFE;
    if (pl011->input_count == 0)
        value |= FR_RXFE;
    if (pl011->input_count >= input_depth(pl011))
        value |= FR_RXFF;
    return value;
}

static uint32_t read_data(struct gw_pl011 *pl011)
{
    if (pl011->input_count == 0)
        return 0;
    uint32_t value = pl011->input[pl011->input_first];
    pl011->input_first = (pl011->input_first + 1) % GW_PL011_INPUT_BYTES;
    pl011->input_count--;
    if (pl011->input_count < input_trigger(pl011))
        pl011->raw &= ~(uint32_t)INT_RX;
    if (pl011->input_count == 0)
        pl011->raw &= ~(uint32_t)INT_RT;
    update(pl011);
    return value;
}

static void write_data(struct gw_pl011 *pl011, uint8_t byte)
{
    if (is_output_full(pl011)) {
        pl011->dropped++;
        pl011->is_output_awaited = true;
        return;
    }
    uint32_t last = (pl011->output_first + pl011->output_count) % GW_PL011_OUTPUT_BYTES;
    pl011->output[last] = byte;
    pl011->output_count++;
    /* The byte left at once: the FIFO fell below its level again, unless the ring is nearly full. A
     * driver that is told so writes half a FIFO without looking. */
    if (GW_PL011_OUTPUT_BYTES - pl011->output_count < GW_PL011_FIFO_BYTES) {
        pl011->raw &= ~(uint32_t)INT_TX;
        pl011->is_output_awaited = true;
    } else {
        pl011->raw |= INT_TX;
    }
    update(pl011);
}

static uint64_t pl011_read(struct gw_device *device, uint64_t offset, uint32_t bytes,
                           uint64_t wall_ns)
{
    struct gw_pl011 *pl011 = pl011_of(device);
    (void)bytes;
    (void)wall_ns;
    if (offset >= ID && offset < 0x1000)
        return (offset & 3) == 0 ? identification[(offset - ID) / 4] : 0;
    switch (offset) {
    case DR:
        return read_data(pl011);
    case FR:
        return flags(pl011);
    case ILPR:
        return pl011->low_power;
    case IBRD:
        return pl011->integer_baud;
    case FBRD:
        return pl011->fraction_baud;
    case LCR_H:
        return pl011->line_control;
    case CR:
        return pl011->control;
    case IFLS:
        return pl011->fifo_level;
    case IMSC:
        return pl011->mask;
    case RIS:
        return pl011->raw;
    case MIS:
        return pl011->raw & pl011->mask;
    case DMACR:
        return pl011->dma_control;
    default: /* RSR: no receive error ever happens here */
        return 0;
    }
}

/* Turning the FIFOs off or on empties them (DDI 0183, UARTLCR_H, FEN). */
static void write_line_control(struct gw_pl011 *pl011, uint32_t value)
{
    if ((pl011->line_control ^ value) & LCR_FEN) {
        pl011->input_first = 0;
        pl011->input_count = 0;
        pl011->raw &= ~(uint32_t)(INT_RX | INT_RT);
    }
    pl011->line_control = value & 0xff;
}

static void pl011_write(struct gw_device *device, uint64_t offset, uint32_t bytes, uint64_t value,
                        uint64_t wall_ns)
{
    struct gw_pl011 *pl011 = pl011_of(device);
    uint32_t word = (uint32_t)value;
    (void)bytes;
    (void)wall_ns;
    switch (offset) {
    case DR:
        write_data(pl011, (uint8_t)word);
        return;
    case ILPR:
        pl011->low_power = word & 0xff;
        break;
    case IBRD:
        pl011->integer_baud = word & 0xffff;
        break;
    case FBRD:
        pl011->fraction_baud = word & 0x3f;
        break;
    case LCR_H:
        write_line_control(pl011, word);
        break;
    case CR:
        pl011->control = word & 0xffff;
        break;
    case IFLS:
        pl011->fifo_level = word & 0x3f;
        break;
    case IMSC:
        pl011->mask = word & INT_ALL;
        break;
    case ICR:
        pl011->raw &= ~word;
        if (pl011->input_count > 0)
            pl011->raw |= INT_RT; /* its time is over again at once */
        break;
    case DMACR:
        pl011->dma_control = word & 7;
        break;
    default:
        return;
    }
    update(pl011);
}

static void pl011_reset(struct gw_device *device)
{
    struct gw_device kept = *device;
    struct gw_pl011 *pl011 = pl011_of(device);
    memset(pl011, 0, sizeof(*pl011));
    pl011->device = kept;
    pl011->device.is_line_high = false;
    pl011->device.deadline_ns = GW_DEVICE_NEVER;
    pl011->control = CR_RESET;
    pl011->fifo_level = IFLS_RESET;
}

size_t gw_pl011_input_room(const struct gw_pl011 *pl011)
{
    uint32_t depth = input_depth(pl011);
    return pl011->input_count < depth ? depth - pl011->input_count : 0;
}

size_t gw_pl011_put_input(struct gw_pl011 *pl011, const uint8_t *bytes, size_t count)
{
    size_t room = gw_pl011_input_room(pl011);
    size_t taken = count < room ? count : room;
    for (size_t i = 0; i < taken; i++) {
        uint32_t last = (pl011->input_first + pl011->input_count) % GW_PL011_INPUT_BYTES;
        pl011->input[last] = bytes[i];
        pl011->input_count++;
    }
    if (taken > 0)
        pl011->raw |= INT_RT;
    if (pl011->input_count >= input_trigger(pl011))
        pl011->raw |= INT_RX;
    update(pl011);
    return taken;
}

bool gw_pl011_is_output_due(const struct gw_pl011 *pl011)
{
    uint32_t last = (pl011->output_first + pl011->output_count - 1) % GW_PL011_OUTPUT_BYTES;
    return pl011->output_count >= GW_PL011_OUTPUT_BYTES / 2 ||
           (pl011->output_count > 0 && pl011->output[last] == '\n');
}

size_t gw_pl011_take_output(struct gw_pl011 *pl011, uint8_t *bytes, size_t capacity)
{
    size_t taken = pl011->output_count < capacity ? pl011->output_count : capacity;
    for (size_t i = 0; i < taken; i++) {
        bytes[i] = pl011->output[pl011->output_first];
        pl011->output_first = (pl011->output_first + 1) % GW_PL011_OUTPUT_BYTES;
    }
    pl011->output_count -= (uint32_t)taken;
    if (pl011->is_output_awaited && pl011->output_count <= GW_PL011_OUTPUT_BYTES / 2) {
        pl011->is_output_awaited = false;
        pl011->raw |= INT_TX;
        update(pl011);
    }
    return taken;
}

static void pl011_save(const struct gw_device *device, struct gw_state_writer *writer)
{
    const struct gw_pl011 *pl011 = (const struct gw_pl011 *)device;
    gw_state_put_u32(writer, pl011->integer_baud);
    gw_state_put_u32(writer, pl011->fraction_baud);
    gw_state_put_u32(writer, pl011->line_control);
    gw_state_put_u32(writer, pl011->control);
    gw_state_put_u32(writer, pl011->fifo_level);
    gw_state_put_u32(writer, pl011->mask);
    /* Output stays behind, so the other side's ring has room: a wait for it ends there. */
    gw_state_put_u32(writer, pl011->raw | (pl011->is_output_awaited ? (uint32_t)INT_TX : 0));
    gw_state_put_u32(writer, pl011->dma_control);
    gw_state_put_u32(writer, pl011->low_power);
    gw_state_put_u32(writer, pl011->input_count);
    for (uint32_t i = 0; i < pl011->input_count; i++)
        gw_state_put_u8(writer, pl011->input[(pl011->input_first + i) % GW_PL011_INPUT_BYTES]);
}

static void load_field(struct gw_state_section *section, uint32_t *field, uint32_t mask,
                       const char *name, struct gw_fault *fault)
{
    *field = gw_state_get_u32(&section->payload);
    if (*field & ~mask)
        (void)gw_fault_set(fault, GW_CORRUPT,
                           "section pl011 has 0x%" PRIx32
                           " for %s, wanted no bit outside 0x%" PRIx32,
                           *field, name, mask);
}

static void load_input(struct gw_pl011 *pl011, struct gw_state_section *section,
                       struct gw_fault *fault)
{
    uint32_t count = gw_state_get_u32(&section->payload);
    if (count > GW_PL011_INPUT_BYTES) {
        (void)gw_fault_set(fault, GW_CORRUPT,
                           "section pl011 has %" PRIu32 " bytes of input, wanted at most %d", count,
                           GW_PL011_INPUT_BYTES);
        return;
    }
    const uint8_t *bytes = gw_state_get_bytes(&section->payload, count);
    if (bytes) {
        memcpy(pl011->input, bytes, count);
        pl011->input_count = count;
    }
}

static enum gw_status pl011_load(struct gw_device *device, struct gw_state_section *section,
                                 struct gw_fault *fault)
{
    struct gw_pl011 *pl011 = pl011_of(device);
    struct gw_fault first = {.status = GW_OK};
    pl011_reset(device);
    load_field(section, &pl011->integer_baud, 0xffff, "UARTIBRD", &first);
    load_field(section, &pl011->fraction_baud, 0x3f, "UARTFBRD", &first);
    load_field(section, &pl011->line_control, 0xff, "UARTLCR_H", &first);
    load_field(section, &pl011->control, 0xffff, "UARTCR", &first);
    load_field(section, &pl011->fifo_level, 0x3f, "UARTIFLS", &first);
    load_field(section, &pl011->mask, INT_ALL, "UARTIMSC", &first);
    load_field(section, &pl011->raw, INT_ALL, "UARTRIS", &first);
    load_field(section, &pl011->dma_control, 7, "UARTDMACR", &first);
    load_field(section, &pl011->low_power, 0xff, "UARTILPR", &first);
    load_input(pl011, section, &first);
    if (first.status == GW_OK && gw_state_section_check(section, &first) == GW_OK) {
        update(pl011);
        return GW_OK;
    }
    pl011_reset(device);
    return gw_fault_set(fault, first.status, "%s", first.text);
}

static const struct gw_device_operations operations = {
    .name = "pl011",
    .version = 1,
    .read = pl011_read,
    .write = pl011_write,
    .save = pl011_save,
    .load = pl011_load,
    .reset = pl011_reset,
};

void gw_pl011_init(struct gw_pl011 *pl011, uint64_t base, uint32_t interrupt)
{
    pl011->device = (struct gw_device){
        .operations = &operations, .base = base, .bytes = 0x1000, .interrupt = interrupt};
    pl011_reset(&pl011->device);
}
