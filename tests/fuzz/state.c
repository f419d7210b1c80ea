/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's state, as a target finds it in PREPARE: a byte for how many vCPUs it has, then the
 * sections; or, by two bits of that byte, what is in the section of one device (PL011: by one who
 * knows how long its last field is). What the plan takes lies within the bytes and is all that
 * there is; a device that loads saves the same bytes again and can be used; one that does not is as
 * after power-on. (The sections of vCPUs and of the interrupt controller are KVM's to judge:
 * tests/unit/test_machine.c.)
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz.h"
#include "godwit/pl011.h"
#include "godwit/pl031.h"
#include "vm/plan.h"

enum { SECTION_BYTES_MAX = 4096 };
enum { KIND = 0xc0, IS_PL011 = 0x40, IS_PL011_FITTED = 0x80, IS_PL031 = 0xc0 };
enum { PL011_INPUT_COUNT = 36, PL011_INPUT = 40 }; /* where its section has them */

#define WALL_NS UINT64_C(1700000000123456789)

static struct gw_pl011 pl011;
static struct gw_pl031 pl031;

/* ---- Devices ---- */

static size_t save(const struct gw_device *device, uint8_t *bytes)
{
    struct gw_state_writer writer;
    gw_state_writer_init(&writer, bytes, SECTION_BYTES_MAX);
    device->operations->save(device, &writer);
    GW_ASSERT(!writer.has_failed);
    return writer.used;
}

static void expect_reset(struct gw_device *device)
{
    static uint8_t now[SECTION_BYTES_MAX], fresh[SECTION_BYTES_MAX];
    size_t count = save(device, now);
    GW_ASSERT(!device->is_line_high && device->deadline_ns == GW_DEVICE_NEVER);
    device->operations->reset(device);
    GW_ASSERT(save(device, fresh) == count && memcmp(now, fresh, count) == 0);
}

/* A guest that finds it so. */
static void use(struct gw_device *device)
{
    for (uint64_t offset = 0; offset < device->bytes; offset += offset == 0x50 ? 0xf90 : 4) {
        uint64_t value = device->operations->read(device, offset, 4, WALL_NS);
        device->operations->write(device, offset, 4, value, WALL_NS);
    }
    if (device->operations->expire) {
        device->operations->expire(device, WALL_NS);
    }
}

static void load(struct gw_device *device, struct gw_state_section *section)
{
    static uint8_t again[SECTION_BYTES_MAX];
    struct gw_fault fault = {.status = GW_OK};
    const uint8_t *bytes = section->payload.bytes;
    size_t count = section->payload.left;
    if (device->operations->load(device, section, &fault) != GW_OK) {
        GW_ASSERT(fault.status == GW_CORRUPT && fault.text[0] != '\0');
        expect_reset(device);
        return;
    }
    GW_ASSERT(save(device, again) == count && memcmp(again, bytes, count) == 0);
    use(device);
}

static void load_pl011(struct gw_state_section *section)
{
    uint8_t text[GW_PL011_INPUT_BYTES + 1] = "some more input";
    gw_pl011_init(&pl011, 0x9000000, 1);
    load(&pl011.device, section);
    (void)gw_pl011_put_input(&pl011, text, sizeof(text));
    GW_ASSERT(pl011.input_count <= GW_PL011_INPUT_BYTES);
    (void)gw_pl011_take_output(&pl011, text, sizeof(text));
}

static void load_pl031(struct gw_state_section *section)
{
    gw_pl031_init(&pl031, 0x9010000, 2);
    load(&pl031.device, section);
    GW_ASSERT(pl031.mask <= 1 && pl031.raw <= 1);
}

static void load_one(uint8_t kind, uint8_t *bytes, size_t count)
{
    struct gw_state_section section = {.name = "device", .version = 1};
    if (kind == IS_PL011_FITTED && count >= PL011_INPUT) {
        gw_put_32(bytes + PL011_INPUT_COUNT, (uint32_t)(count - PL011_INPUT));
    }
    gw_state_reader_init(&section.payload, bytes, count);
    (kind == IS_PL031 ? load_pl031 : load_pl011)(&section);
}

/* ---- Sections ---- */

static void expect_all(const struct gw_vm_plan *plan, uint32_t wanted, const uint8_t *bytes,
                       size_t count)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < GW_PLAN_MAX; i++) {
        const struct gw_state_section *section = &plan->sections[i];
        GW_ASSERT(plan->is_there[i] == (i < wanted));
        if (plan->is_there[i]) {
            GW_ASSERT(section->payload.bytes >= bytes + GW_STATE_SECTION_BYTES);
            GW_ASSERT(section->payload.bytes + section->payload.left <= bytes + count);
            GW_ASSERT(section->name[GW_STATE_NAME_BYTES - 1] == '\0');
            sum += GW_STATE_SECTION_BYTES + section->payload.left;
        }
    }
    GW_ASSERT(sum == count);
}

static void look_at_state(const uint8_t *bytes, size_t count, uint32_t vcpu_count)
{
    static struct gw_vm_plan plan;
    struct gw_fault fault = {.status = GW_OK};
    if (gw_vm_plan_read(&plan, bytes, count, vcpu_count, &fault) == GW_OK) {
        expect_all(&plan, GW_PLAN_VCPU + vcpu_count, bytes, count);
        load_pl011(&plan.sections[GW_PLAN_PL011]);
        load_pl031(&plan.sections[GW_PLAN_PL031]);
    } else {
        GW_ASSERT(fault.status == GW_CORRUPT || fault.status == GW_REFUSED);
        GW_ASSERT(fault.text[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count == 0) {
        return 0;
    }
    uint8_t *state = malloc(count); /* ends where it ends: the sanitizer looks */
    memcpy(state, bytes, count);
    if ((bytes[0] & KIND) == 0) {
        look_at_state(state + 1, count - 1, 1 + bytes[0] % GW_VCPUS_MAX);
    } else {
        load_one(bytes[0] & KIND, state + 1, count - 1);
    }
    free(state);
    return 0;
}

/* ---- Seeds ---- */

static void put_device(struct gw_state_writer *writer, const struct gw_device *device)
{
    gw_state_section_start(writer, device->operations->name, device->operations->version);
    device->operations->save(device, writer);
    gw_state_section_stop(writer);
}

static void put_section(struct gw_state_writer *writer, const char *name, size_t count)
{
    gw_state_section_start(writer, name, 1);
    memset(gw_state_put_room(writer, count), 1, count);
    gw_state_section_stop(writer);
}

static void seed(uint32_t vcpu_count)
{
    static uint8_t bytes[1 + SECTION_BYTES_MAX];
    struct gw_state_writer writer;
    bytes[0] = (uint8_t)(vcpu_count - 1);
    gw_state_writer_init(&writer, bytes + 1, SECTION_BYTES_MAX);
    put_section(&writer, "time", 16);
    for (uint32_t i = 0; i < vcpu_count; i++) {
        const char name[] = {'v', 'c', 'p', 'u', (char)('0' + i), '\0'};
        put_section(&writer, name, 8);
    }
    put_section(&writer, "gicv3", 8);
    put_device(&writer, &pl011.device);
    put_device(&writer, &pl031.device);
    fuzz_seed(bytes, 1 + writer.used);
}

static void seed_device(uint8_t kind, const struct gw_device *device)
{
    static uint8_t bytes[1 + SECTION_BYTES_MAX];
    bytes[0] = kind;
    fuzz_seed(bytes, 1 + save(device, bytes + 1));
}

/* Fresh ones; and ones that a guest has used: input in the FIFO, an alarm to come. */
void fuzz_make_seeds(void)
{
    gw_pl011_init(&pl011, 0x9000000, 1);
    gw_pl031_init(&pl031, 0x9010000, 2);
    seed(1);
    pl011.device.operations->write(&pl011.device, 0x2c, 4, 0x70, WALL_NS); /* UARTLCR_H: FIFOs */
    pl011.device.operations->write(&pl011.device, 0x38, 4, 0x50, WALL_NS); /* UARTIMSC */
    pl011.device.operations->write(&pl011.device, 0, 4, 'x', WALL_NS);
    (void)gw_pl011_put_input(&pl011, (const uint8_t *)"reboot\n", 7);
    pl031.device.operations->write(&pl031.device, 0x08, 4, 5, WALL_NS);  /* RTCLR */
    pl031.device.operations->write(&pl031.device, 0x04, 4, 10, WALL_NS); /* RTCMR */
    pl031.device.operations->write(&pl031.device, 0x10, 4, 1, WALL_NS);  /* RTCIMSC */
    for (uint32_t count = 1; count <= GW_VCPUS_MAX; count *= 2) {
        seed(count);
    }
    seed_device(IS_PL011, &pl011.device);
    seed_device(IS_PL011_FITTED, &pl011.device);
    seed_device(IS_PL031, &pl031.device);
}
