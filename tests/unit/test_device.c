/* SPDX-License-Identifier: Apache-2.0 */
/* The PL011 and the PL031 as a driver sees them, and what they carry over a move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "godwit/pl011.h"
#include "godwit/pl031.h"

enum { DR = 0x00, FR = 0x18, LCR_H = 0x2c, IFLS = 0x34, IMSC = 0x38, RIS = 0x3c, ICR = 0x44 };
enum { FR_RXFE = 0x10, FR_TXFF = 0x20, FR_RXFF = 0x40, FR_TXFE = 0x80 };
enum { INT_RX = 0x10, INT_TX = 0x20, INT_RT = 0x40 };
enum {
    RTC_DR = 0x00,
    RTC_MR = 0x04,
    RTC_LR = 0x08,
    RTC_IMSC = 0x10,
    RTC_RIS = 0x14,
    RTC_ICR = 0x1c
};

#define SECOND UINT64_C(1000000000)

static struct gw_pl011 uart;
static struct gw_pl031 rtc;

static int power_on(void **state)
{
    (void)state;
    gw_pl011_init(&uart, 0x9000000, 1);
    gw_pl031_init(&rtc, 0x9010000, 2);
    return 0;
}

static uint32_t uart_read(uint64_t offset)
{
    return (uint32_t)uart.device.operations->read(&uart.device, offset, 4, 0);
}

static void uart_write(uint64_t offset, uint32_t value)
{
    uart.device.operations->write(&uart.device, offset, 4, value, 0);
}

static uint32_t rtc_read(uint64_t offset, uint64_t wall_ns)
{
    return (uint32_t)rtc.device.operations->read(&rtc.device, offset, 4, wall_ns);
}

static void rtc_write(uint64_t offset, uint32_t value, uint64_t wall_ns)
{
    rtc.device.operations->write(&rtc.device, offset, 4, value, wall_ns);
}

/* Saves `from` and loads it into `to`, as a move does. */
static enum gw_status move(const struct gw_device *from, struct gw_device *to)
{
    static uint8_t bytes[512];
    struct gw_state_writer writer;
    struct gw_state_reader reader;
    struct gw_state_section section;
    gw_state_writer_init(&writer, bytes, sizeof(bytes));
    gw_state_section_start(&writer, from->operations->name, from->operations->version);
    from->operations->save(from, &writer);
    gw_state_section_stop(&writer);
    gw_state_reader_init(&reader, bytes, writer.used);
    assert_int_equal(gw_state_next_section(&reader, &section, NULL), GW_OK);
    return to->operations->load(to, &section, NULL);
}

static void driver_finds_both_by_their_identification(void **state)
{
    (void)state;
    uint32_t uart_id = 0, rtc_id = 0, cell_id = 0;
    for (uint32_t i = 0; i < 4; i++) {
        uart_id |= (uart_read(0xfe0 + 4 * i) & 0xff) << (8 * i);
        rtc_id |= (rtc_read(0xfe0 + 4 * i, 0) & 0xff) << (8 * i);
        cell_id |= (uart_read(0xff0 + 4 * i) & 0xff) << (8 * i);
    }
    assert_int_equal(uart_id, 0x00141011); /* Linux drivers/tty/serial/amba-pl011.c */
    assert_int_equal(rtc_id, 0x00141031);  /* Linux drivers/rtc/rtc-pl031.c */
    assert_int_equal(cell_id, 0xb105f00d); /* Linux include/linux/amba/bus.h, AMBA_CID */
}

static void output_comes_out_in_order(void **state)
{
    (void)state;
    uint8_t out[8];
    for (const char *c = "hello"; *c; c++)
        uart_write(DR, (uint32_t)*c);
    assert_int_equal(gw_pl011_take_output(&uart, out, 2), 2);
    assert_int_equal(gw_pl011_take_output(&uart, out + 2, 6), 3);
    assert_memory_equal(out, "hello", 5);
    assert_int_equal(gw_pl011_take_output(&uart, out, 8), 0);
}

static void output_is_due_with_a_line_or_half_a_ring(void **state)
{
    (void)state;
    uint8_t out[GW_PL011_OUTPUT_BYTES];
    assert_false(gw_pl011_is_output_due(&uart));
    uart_write(DR, '>');
    assert_false(gw_pl011_is_output_due(&uart));
    uart_write(DR, '\n');
    assert_true(gw_pl011_is_output_due(&uart));
    assert_int_equal(gw_pl011_take_output(&uart, out, 2), 2);
    assert_false(gw_pl011_is_output_due(&uart)); /* what was taken counts no more */
    for (uint32_t i = 0; i < GW_PL011_OUTPUT_BYTES / 2; i++) {
        assert_false(gw_pl011_is_output_due(&uart));
        uart_write(DR, 'x');
    }
    assert_true(gw_pl011_is_output_due(&uart));
}

static void full_output_holds_the_guest_back_and_loses_only_what_ignores_it(void **state)
{
    (void)state;
    uint8_t out[GW_PL011_OUTPUT_BYTES];
    uart_write(IMSC, INT_TX);
    for (uint32_t i = 0; i < GW_PL011_OUTPUT_BYTES; i++) {
        assert_false(uart_read(FR) & FR_TXFF);
        uart_write(DR, i & 0xff);
    }
    assert_true(uart_read(FR) & FR_TXFF);
    assert_false(uart.device.is_line_high);
    uart_write(DR, 'x');
    assert_int_equal(uart.dropped, 1);
    assert_int_equal(gw_pl011_take_output(&uart, out, sizeof(out)), sizeof(out));
    for (uint32_t i = 0; i < GW_PL011_OUTPUT_BYTES; i++)
        assert_int_equal(out[i], i & 0xff);
    assert_true(uart_read(FR) & FR_TXFE);
    assert_true(uart.device.is_line_high); /* the interrupt that says there is room */
}

static void transmit_interrupt_follows_mask_and_clear(void **state)
{
    (void)state;
    uart_write(DR, 'a');
    assert_false(uart.device.is_line_high);
    uart_write(IMSC, INT_TX);
    assert_true(uart.device.is_line_high);
    uart_write(ICR, INT_TX);
    assert_false(uart.device.is_line_high);
    assert_int_equal(uart_read(RIS), 0);
}

static void input_raises_the_interrupt_until_it_is_read(void **state)
{
    (void)state;
    uart_write(LCR_H, 0x70);
    uart_write(IMSC, INT_RX | INT_RT);
    assert_int_equal(gw_pl011_put_input(&uart, (const uint8_t *)"ab", 2), 2);
    assert_true(uart.device.is_line_high);
    assert_int_equal(uart_read(DR), 'a');
    assert_true(uart.device.is_line_high);
    assert_int_equal(uart_read(DR), 'b');
    assert_false(uart.device.is_line_high);
    assert_true(uart_read(FR) & FR_RXFE);
    assert_int_equal(uart_read(DR), 0);
}

/* A byte may come between the last that was read and the clear. */
static void the_time_out_stands_while_input_is_there(void **state)
{
    (void)state;
    uart_write(LCR_H, 0x70);
    uart_write(IMSC, INT_RX | INT_RT);
    assert_int_equal(gw_pl011_put_input(&uart, (const uint8_t *)"a", 1), 1);
    uart_write(ICR, INT_RX | INT_RT);
    assert_true(uart.device.is_line_high);
    assert_int_equal(uart_read(DR), 'a');
    assert_false(uart.device.is_line_high);
}

/* A driver that is told of room writes half a FIFO without another look. */
static void room_is_told_of_when_half_a_fifo_fits(void **state)
{
    (void)state;
    uint8_t out[16];
    uart_write(IMSC, INT_TX);
    for (uint32_t i = 0; i < GW_PL011_OUTPUT_BYTES; i++) {
        uint32_t left = GW_PL011_OUTPUT_BYTES - i;
        if (left < 8) {
            assert_false(uart.device.is_line_high);
        }
        uart_write(DR, '.');
    }
    assert_int_equal(gw_pl011_take_output(&uart, out, 4), 4);
    assert_false(uart.device.is_line_high);
    assert_int_equal(uart.dropped, 0);
}

static void input_is_bounded_by_the_fifo(void **state)
{
    (void)state;
    static const uint8_t text[40] = "0123456789abcdefghijklmnopqrstuvwxyz";
    assert_int_equal(gw_pl011_put_input(&uart, text, 40), 1); /* FIFOs off: one character */
    assert_int_equal(uart_read(DR), '0');
    uart_write(LCR_H, 0x10);
    assert_int_equal(gw_pl011_put_input(&uart, text, 40), GW_PL011_INPUT_BYTES);
    assert_true(uart_read(FR) & FR_RXFF);
    assert_int_equal(gw_pl011_input_room(&uart), 0);
    assert_int_equal(gw_pl011_put_input(&uart, text, 40), 0);
    for (int i = 0; i < 5; i++)
        (void)uart_read(DR);
    assert_int_equal(gw_pl011_put_input(&uart, text + 16, 24), 5);
    for (int i = 5; i < 21; i++)
        assert_int_equal(uart_read(DR), text[i]);
}

static void unknown_registers_read_zero_and_ignore_writes(void **state)
{
    (void)state;
    for (uint64_t offset = 0; offset < 0x1000; offset++) {
        uart.device.operations->write(&uart.device, offset, 1, UINT64_MAX, 0);
        (void)uart.device.operations->read(&uart.device, offset, 8, 0);
        rtc.device.operations->write(&rtc.device, offset, 1, UINT64_MAX, SECOND);
        (void)rtc.device.operations->read(&rtc.device, offset, 8, SECOND);
    }
    assert_int_equal(uart_read(0x800), 0);
    assert_int_equal(rtc_read(0x800, 0), 0);
}

static void uart_moves_with_its_unread_input(void **state)
{
    (void)state;
    struct gw_pl011 other;
    gw_pl011_init(&other, 0x9000000, 1);
    uart_write(LCR_H, 0x70);
    uart_write(IFLS, 0x09);
    uart_write(IMSC, INT_RT);
    assert_int_equal(gw_pl011_put_input(&uart, (const uint8_t *)"xyz", 3), 3);
    (void)uart_read(DR);
    uart_write(DR, 'o'); /* output stays with the source */

    assert_int_equal(move(&uart.device, &other.device), GW_OK);
    uart = other;
    assert_true(uart.device.is_line_high);
    assert_int_equal(uart_read(LCR_H), 0x70);
    assert_int_equal(uart_read(IFLS), 0x09);
    assert_int_equal(uart_read(DR), 'y');
    assert_int_equal(uart_read(DR), 'z');
    assert_int_equal(uart.output_count, 0);
}

static void guest_that_waits_for_room_finds_it_on_the_other_side(void **state)
{
    (void)state;
    struct gw_pl011 other;
    gw_pl011_init(&other, 0x9000000, 1);
    uart_write(IMSC, INT_TX);
    for (uint32_t i = 0; i < GW_PL011_OUTPUT_BYTES; i++)
        uart_write(DR, 'a');
    assert_false(uart.device.is_line_high);
    assert_int_equal(move(&uart.device, &other.device), GW_OK);
    assert_true(other.device.is_line_high);
}

static void clock_shows_seconds_and_can_be_set(void **state)
{
    (void)state;
    assert_int_equal(rtc_read(RTC_DR, 1000 * SECOND + 999), 1000);
    rtc_write(RTC_LR, 5000, 1000 * SECOND);
    assert_int_equal(rtc_read(RTC_DR, 1000 * SECOND), 5000);
    assert_int_equal(rtc_read(RTC_DR, 1010 * SECOND), 5010);
}

static void alarm_rings_when_the_clock_matches(void **state)
{
    (void)state;
    rtc_write(RTC_IMSC, 1, 100 * SECOND);
    rtc_write(RTC_MR, 110, 100 * SECOND + 5);
    assert_true(rtc.device.deadline_ns == 110 * SECOND);
    rtc.device.operations->expire(&rtc.device, 109 * SECOND);
    assert_false(rtc.device.is_line_high);
    rtc.device.operations->expire(&rtc.device, 110 * SECOND);
    assert_true(rtc.device.is_line_high);
    assert_int_equal(rtc_read(RTC_RIS, 110 * SECOND), 1);
    assert_true(rtc.device.deadline_ns == GW_DEVICE_NEVER);
    rtc_write(RTC_ICR, 1, 111 * SECOND);
    assert_false(rtc.device.is_line_high);
}

static void alarm_follows_a_clock_that_is_set(void **state)
{
    (void)state;
    rtc_write(RTC_MR, 110, 100 * SECOND);
    rtc_write(RTC_LR, 105, 100 * SECOND);
    assert_true(rtc.device.deadline_ns == 105 * SECOND);
}

static void clock_and_alarm_move(void **state)
{
    (void)state;
    struct gw_pl031 other;
    gw_pl031_init(&other, 0x9010000, 2);
    rtc_write(RTC_IMSC, 1, 100 * SECOND);
    rtc_write(RTC_LR, 7000, 100 * SECOND);
    rtc_write(RTC_MR, 7010, 100 * SECOND);
    assert_int_equal(move(&rtc.device, &other.device), GW_OK);
    rtc = other;
    assert_int_equal(rtc_read(RTC_DR, 103 * SECOND), 7003);
    assert_true(rtc.device.deadline_ns == 110 * SECOND);
    rtc.device.operations->expire(&rtc.device, 110 * SECOND);
    assert_true(rtc.device.is_line_high);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup(test, power_on)
    const struct CMUnitTest tests[] = {
        ON(driver_finds_both_by_their_identification),
        ON(output_comes_out_in_order),
        ON(output_is_due_with_a_line_or_half_a_ring),
        ON(full_output_holds_the_guest_back_and_loses_only_what_ignores_it),
        ON(transmit_interrupt_follows_mask_and_clear),
        ON(input_raises_the_interrupt_until_it_is_read),
        ON(the_time_out_stands_while_input_is_there),
        ON(room_is_told_of_when_half_a_fifo_fits),
        ON(input_is_bounded_by_the_fifo),
        ON(unknown_registers_read_zero_and_ignore_writes),
        ON(uart_moves_with_its_unread_input),
        ON(guest_that_waits_for_room_finds_it_on_the_other_side),
        ON(clock_shows_seconds_and_can_be_set),
        ON(alarm_rings_when_the_clock_matches),
        ON(alarm_follows_a_clock_that_is_set),
        ON(clock_and_alarm_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
