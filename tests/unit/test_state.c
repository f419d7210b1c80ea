/* SPDX-License-Identifier: Apache-2.0 */
/* The section codec, and what a machine's state must have: every cut and flip of it is survived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "godwit/pl011.h"
#include "godwit/pl031.h"
#include "godwit/state.h"
#include "vm/plan.h"

enum { VCPUS = 2, BYTES_MAX = 4096 };

static uint8_t bytes[BYTES_MAX];

static void put_section(struct gw_state_writer *writer, const char *name, size_t payload)
{
    gw_state_section_start(writer, name, 1);
    for (size_t i = 0; i < payload; i++)
        gw_state_put_u8(writer, (uint8_t)i);
    gw_state_section_stop(writer);
}

static void put_device(struct gw_state_writer *writer, struct gw_device *device)
{
    gw_state_section_start(writer, device->operations->name, device->operations->version);
    device->operations->save(device, writer);
    gw_state_section_stop(writer);
}

/* A state as a machine of two vCPUs writes it, with the true sections of its devices. */
static size_t write_state(void)
{
    static struct gw_pl011 pl011;
    static struct gw_pl031 pl031;
    struct gw_state_writer writer;
    gw_pl011_init(&pl011, 0x9000000, 1);
    gw_pl031_init(&pl031, 0x9010000, 2);
    assert_int_equal(gw_pl011_put_input(&pl011, (const uint8_t *)"x", 1), 1);
    gw_state_writer_init(&writer, bytes, sizeof(bytes));
    put_section(&writer, "time", 16);
    put_section(&writer, "vcpu0", 40);
    put_section(&writer, "vcpu1", 40);
    put_section(&writer, "gicv3", 8);
    put_device(&writer, &pl011.device);
    put_device(&writer, &pl031.device);
    assert_int_equal(gw_state_writer_check(&writer, NULL), GW_OK);
    return writer.used;
}

static void assert_says(const struct gw_fault *fault, const char *words)
{
    if (!strstr(fault->text, words))
        fail_msg("\"%s\" does not say \"%s\"", fault->text, words);
}

static void what_is_put_can_be_got(void **state)
{
    (void)state;
    struct gw_state_writer writer;
    struct gw_state_reader reader;
    struct gw_state_section section;
    gw_state_writer_init(&writer, bytes, sizeof(bytes));
    gw_state_section_start(&writer, "pl011", 7);
    gw_state_put_u8(&writer, 0x12);
    gw_state_put_u32(&writer, 0x3456789a);
    gw_state_put_u64(&writer, UINT64_C(0x0123456789abcdef));
    gw_state_put_bytes(&writer, "abc", 3);
    gw_state_section_stop(&writer);
    assert_int_equal(gw_state_writer_check(&writer, NULL), GW_OK);
    assert_int_equal(writer.used, GW_STATE_SECTION_BYTES + 16);

    gw_state_reader_init(&reader, bytes, writer.used);
    assert_int_equal(gw_state_next_section(&reader, &section, NULL), GW_OK);
    assert_string_equal(section.name, "pl011");
    assert_int_equal(section.version, 7);
    assert_int_equal(gw_state_get_u8(&section.payload), 0x12);
    assert_int_equal(gw_state_get_u32(&section.payload), 0x3456789a);
    assert_true(gw_state_get_u64(&section.payload) == UINT64_C(0x0123456789abcdef));
    assert_memory_equal(gw_state_get_bytes(&section.payload, 3), "abc", 3);
    assert_int_equal(gw_state_section_check(&section, NULL), GW_OK);
    assert_int_equal(gw_state_next_section(&reader, &section, NULL), GW_AGAIN);
}

static void layout_is_little_endian_and_fixed(void **state)
{
    (void)state;
    static const uint8_t wanted[] = {'t', 'i', 'm', 'e', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                     0,   0,   1,   0,   0, 0, 4, 0, 0, 0, 4, 3, 2, 1};
    struct gw_state_writer writer;
    gw_state_writer_init(&writer, bytes, sizeof(bytes));
    gw_state_section_start(&writer, "time", 1);
    gw_state_put_u32(&writer, 0x01020304);
    gw_state_section_stop(&writer);
    assert_int_equal(writer.used, sizeof(wanted));
    assert_memory_equal(bytes, wanted, sizeof(wanted));
}

static void small_buffer_is_a_limit_not_an_overflow(void **state)
{
    (void)state;
    size_t full = write_state();
    for (size_t capacity = 0; capacity < full; capacity++) {
        struct gw_state_writer writer;
        struct gw_fault fault = {.status = GW_OK};
        uint8_t *small = malloc(capacity + 1); /* a sanitizer watches its end */
        gw_state_writer_init(&writer, small, capacity);
        put_section(&writer, "time", full);
        assert_int_equal(gw_state_writer_check(&writer, &fault), GW_LIMIT);
        assert_says(&fault, "state is larger than");
        free(small);
    }
}

static void reading_past_the_end_gives_zero_and_is_told(void **state)
{
    (void)state;
    struct gw_state_section section = {.name = "time"};
    struct gw_fault fault = {.status = GW_OK};
    gw_state_reader_init(&section.payload, (const uint8_t *)"\x01\x02\x03", 3);
    assert_int_equal(gw_state_get_u32(&section.payload), 0);
    assert_int_equal(gw_state_get_u8(&section.payload), 0);
    assert_int_equal(gw_state_section_check(&section, &fault), GW_CORRUPT);
    assert_says(&fault, "section time");
}

static void whole_state_is_read(void **state)
{
    (void)state;
    struct gw_vm_plan plan;
    size_t count = write_state();
    assert_int_equal(gw_vm_plan_read(&plan, bytes, count, VCPUS, NULL), GW_OK);
    assert_int_equal(plan.sections[GW_PLAN_VCPU + 1].payload.left, 40);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    size_t count = write_state();
    for (size_t cut = 0; cut < count; cut++) {
        struct gw_vm_plan plan;
        struct gw_fault fault = {.status = GW_OK};
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, bytes, cut);
        enum gw_status status = gw_vm_plan_read(&plan, copy, cut, VCPUS, &fault);
        if (status != GW_CORRUPT || fault.text[0] == '\0')
            fail_msg("cut at %zu of %zu: status %d, \"%s\"", cut, count, (int)status, fault.text);
        free(copy);
    }
}

/* Loads what a plan says the devices have; any answer will do, as long as it is one. */
static void load_devices(struct gw_vm_plan *plan)
{
    struct gw_pl011 pl011;
    struct gw_pl031 pl031;
    gw_pl011_init(&pl011, 0x9000000, 1);
    gw_pl031_init(&pl031, 0x9010000, 2);
    struct gw_fault fault = {.status = GW_OK};
    (void)pl011.device.operations->load(&pl011.device, &plan->sections[GW_PLAN_PL011], &fault);
    (void)pl031.device.operations->load(&pl031.device, &plan->sections[GW_PLAN_PL031], &fault);
    assert_true(pl011.input_count <= GW_PL011_INPUT_BYTES);
    assert_true(pl011.output_count == 0);
}

static void every_flipped_bit_is_survived(void **state)
{
    (void)state;
    size_t count = write_state();
    for (size_t bit = 0; bit < 8 * count; bit++) {
        struct gw_vm_plan plan;
        struct gw_fault fault = {.status = GW_OK};
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        enum gw_status status = gw_vm_plan_read(&plan, bytes, count, VCPUS, &fault);
        if (status == GW_OK)
            load_devices(&plan);
        else
            assert_true(fault.text[0] != '\0');
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void noise_is_survived(void **state)
{
    (void)state;
    uint32_t seed = 1;
    size_t count = write_state();
    uint8_t whole[BYTES_MAX];
    memcpy(whole, bytes, count);
    for (int round = 0; round < 20000; round++) {
        struct gw_vm_plan plan;
        memcpy(bytes, whole, count);
        for (int i = 0; i < 4; i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[(seed >> 8) % count] = (uint8_t)(seed >> 24);
        }
        if (gw_vm_plan_read(&plan, bytes, count, VCPUS, NULL) == GW_OK)
            load_devices(&plan);
    }
}

static void refusals_name_the_section(void **state)
{
    (void)state;
    struct gw_vm_plan plan;
    struct gw_fault fault = {.status = GW_OK};
    size_t count = write_state();
    assert_int_equal(gw_vm_plan_read(&plan, bytes, count, VCPUS + 1, &fault), GW_CORRUPT);
    assert_says(&fault, "lacks section vcpu2");

    gw_fault_clear(&fault);
    assert_int_equal(gw_vm_plan_read(&plan, bytes, count, VCPUS - 1, &fault), GW_REFUSED);
    assert_says(&fault, "section vcpu1, which this machine does not have");

    gw_fault_clear(&fault);
    bytes[GW_STATE_NAME_BYTES] = 2; /* version of the first section */
    assert_int_equal(gw_vm_plan_read(&plan, bytes, count, VCPUS, &fault), GW_REFUSED);
    assert_says(&fault, "section time of the machine's state has version 2, this godwit knows "
                        "version 1");

    struct gw_state_writer writer;
    gw_fault_clear(&fault);
    gw_state_writer_init(&writer, bytes, sizeof(bytes));
    put_section(&writer, "time", 16);
    put_section(&writer, "time", 16);
    assert_int_equal(gw_vm_plan_read(&plan, bytes, writer.used, VCPUS, &fault), GW_CORRUPT);
    assert_says(&fault, "section time twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_can_be_got),
        cmocka_unit_test(layout_is_little_endian_and_fixed),
        cmocka_unit_test(small_buffer_is_a_limit_not_an_overflow),
        cmocka_unit_test(reading_past_the_end_gives_zero_and_is_told),
        cmocka_unit_test(whole_state_is_read),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_flipped_bit_is_survived),
        cmocka_unit_test(noise_is_survived),
        cmocka_unit_test(refusals_name_the_section),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
