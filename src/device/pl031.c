/* SPDX-License-Identifier: Apache-2.0 */
/* The PL031 real-time clock. Owner: the machine, under its device lock. Never blocks. */
#include "godwit/pl031.h"

#include <inttypes.h>
#include <string.h>

/* Arm DDI 0224, "Summary of RTC registers". */
enum {
    DR = 0x00,
    MR = 0x04,
    LR = 0x08,
    CR = 0x0c,
    IMSC = 0x10,
    RIS = 0x14,
    MIS = 0x18,
    ICR = 0x1c,
    ID = 0xfe0,
};

static const uint64_t second_ns = UINT64_C(1000000000);

static const uint8_t identification[] = {0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

static struct gw_pl031 *pl031_of(struct gw_device *device)
{
    return (struct gw_pl031 *)device;
}

static uint32_t seconds(const struct gw_pl031 *pl031, uint64_t wall_ns)
{
    return (uint32_t)(wall_ns / second_ns) + pl031->offset_seconds;
}

static void update(struct gw_pl031 *pl031)
{
    pl031->device.is_line_high = (pl031->raw & pl031->mask) != 0;
}

/* The clock compares for equality, so a match in the past is reached after 2^32 seconds. */
static void arm(struct gw_pl031 *pl031, uint64_t wall_ns)
{
    uint32_t ahead = pl031->match - seconds(pl031, wall_ns);
    pl031->device.deadline_ns =
        pl031->is_armed ? (wall_ns / second_ns + ahead) * second_ns : GW_DEVICE_NEVER;
}

static void pl031_expire(struct gw_device *device, uint64_t wall_ns)
{
    struct gw_pl031 *pl031 = pl031_of(device);
    if (wall_ns < device->deadline_ns)
        return;
    pl031->raw = 1;
    pl031->is_armed = false;
    device->deadline_ns = GW_DEVICE_NEVER;
    update(pl031);
}

static uint64_t pl031_read(struct gw_device *device, uint64_t offset, uint32_t bytes,
                           uint64_t wall_ns)
{
    const struct gw_pl031 *pl031 = pl031_of(device);
    (void)bytes;
    if (offset >= ID && offset < 0x1000)
        return (offset & 3) == 0 ? identification[(offset - ID) / 4] : 0;
    switch (offset) {
    case DR:
        return seconds(pl031, wall_ns);
    case MR:
        return pl031->match;
    case LR:
        return pl031->load;
    case CR:
        return 1; /* it always runs */
    case IMSC:
        return pl031->mask;
    case RIS:
        return pl031->raw;
    case MIS:
        return pl031->raw & pl031->mask;
    default:
        return 0;
    }
}

static void pl031_write(struct gw_device *device, uint64_t offset, uint32_t bytes, uint64_t value,
                        uint64_t wall_ns)
{
    struct gw_pl031 *pl031 = pl031_of(device);
    uint32_t word = (uint32_t)value;
    (void)bytes;
    switch (offset) {
    case MR:
        pl031->match = word;
        pl031->is_armed = true;
        arm(pl031, wall_ns);
        break;
    case LR:
        pl031->load = word;
        pl031->offset_seconds += word - seconds(pl031, wall_ns);
        arm(pl031, wall_ns);
        break;
    case IMSC:
        pl031->mask = word & 1;
        break;
    case ICR:
        pl031->raw &= ~word;
        break;
    default:
        return;
    }
    update(pl031);
}

static void pl031_reset(struct gw_device *device)
{
    struct gw_device kept = *device;
    struct gw_pl031 *pl031 = pl031_of(device);
    memset(pl031, 0, sizeof(*pl031));
    pl031->device = kept;
    pl031->device.is_line_high = false;
    pl031->device.deadline_ns = GW_DEVICE_NEVER;
}

static void pl031_save(const struct gw_device *device, struct gw_state_writer *writer)
{
    const struct gw_pl031 *pl031 = (const struct gw_pl031 *)device;
    gw_state_put_u32(writer, pl031->offset_seconds);
    gw_state_put_u32(writer, pl031->match);
    gw_state_put_u32(writer, pl031->load);
    gw_state_put_u32(writer, pl031->mask);
    gw_state_put_u32(writer, pl031->raw);
    gw_state_put_u64(writer, pl031->device.deadline_ns);
}

static uint32_t load_bit(struct gw_state_section *section, const char *name, struct gw_fault *fault)
{
    uint32_t value = gw_state_get_u32(&section->payload);
    if (value > 1)
        (void)gw_fault_set(fault, GW_CORRUPT, "section pl031 has %" PRIu32 " for %s, wanted 0 or 1",
                           value, name);
    return value;
}

static enum gw_status pl031_load(struct gw_device *device, struct gw_state_section *section,
                                 struct gw_fault *fault)
{
    struct gw_pl031 *pl031 = pl031_of(device);
    struct gw_fault first = {.status = GW_OK};
    pl031_reset(device);
    pl031->offset_seconds = gw_state_get_u32(&section->payload);
    pl031->match = gw_state_get_u32(&section->payload);
    pl031->load = gw_state_get_u32(&section->payload);
    pl031->mask = load_bit(section, "RTCIMSC", &first);
    pl031->raw = load_bit(section, "RTCRIS", &first);
    device->deadline_ns = gw_state_get_u64(&section->payload);
    pl031->is_armed = device->deadline_ns != GW_DEVICE_NEVER;
    if (first.status == GW_OK && gw_state_section_check(section, &first) == GW_OK) {
        update(pl031);
        return GW_OK;
    }
    pl031_reset(device);
    return gw_fault_set(fault, first.status, "%s", first.text);
}

static const struct gw_device_operations operations = {
    .name = "pl031",
    .version = 1,
    .read = pl031_read,
    .write = pl031_write,
    .expire = pl031_expire,
    .save = pl031_save,
    .load = pl031_load,
    .reset = pl031_reset,
};

void gw_pl031_init(struct gw_pl031 *pl031, uint64_t base, uint32_t interrupt)
{
    pl031->device = (struct gw_device){
        .operations = &operations, .base = base, .bytes = 0x1000, .interrupt = interrupt};
    pl031_reset(&pl031->device);
}
