/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep guest's way to the `virt` machine: PL011, GICv3, the virtual timer. */
#include "sweep.h"

#define REGISTER32(address) (*(volatile uint32_t *)(uintptr_t)(address))

enum {
    UART = 0x09000000,
    UART_DR = UART + 0x00,
    UART_FR = UART + 0x18,
    UART_LCR_H = UART + 0x2c,
    FR_RXFE = 0x10,
    FR_TXFF = 0x20,
    DISTRIBUTOR = 0x08000000,
    REDISTRIBUTOR = 0x080a0000,
    REDISTRIBUTOR_BYTES = 0x20000,
    GICR_WAKER = 0x14,
    SGI_FRAME = 0x10000,
    TIMER = 27,
};

static uint32_t lock;

void print_lock(void)
{
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        ;
}

void print_unlock(void)
{
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

static void put(char c)
{
    while (REGISTER32(UART_FR) & FR_TXFF)
        ;
    REGISTER32(UART_DR) = (uint32_t)c;
}

void print(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
}

void print_number(uint64_t number)
{
    char digits[21];
    unsigned at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    print(&digits[at]);
}

int console_get(void)
{
    if (REGISTER32(UART_FR) & FR_RXFE)
        return -1;
    return (int)(REGISTER32(UART_DR) & 0xff);
}

void controller_start(void)
{
    REGISTER32(UART_LCR_H) = 0x70;  /* FIFOs, 8 bits */
    REGISTER32(DISTRIBUTOR) = 0x10; /* affinity routing, then group 1 */
    REGISTER32(DISTRIBUTOR) = 0x12;
}

void controller_start_cpu(uint64_t number)
{
    uintptr_t base = REDISTRIBUTOR + number * REDISTRIBUTOR_BYTES;
    REGISTER32(base + GICR_WAKER) = 0;
    REGISTER32(base + SGI_FRAME + 0x080) = 0xffffffff; /* all in group 1 */
    REGISTER32(base + SGI_FRAME + 0x400 + TIMER / 4 * 4) = 0x80808080;
    REGISTER32(base + SGI_FRAME + 0x100) = 1U << TIMER;
    __asm__ volatile("msr s3_0_c12_c12_5, %0\n" /* ICC_SRE_EL1 */
                     "isb\n"
                     "msr s3_0_c4_c6_0, %1\n"   /* ICC_PMR_EL1 */
                     "msr s3_0_c12_c12_7, %0\n" /* ICC_IGRPEN1_EL1 */
                     "isb\n"
                     :
                     : "r"((uint64_t)1), "r"((uint64_t)0xf0));
}

uint64_t interrupt_take(void)
{
    uint64_t interrupt;
    __asm__ volatile("mrs %0, s3_0_c12_c12_0\n" /* ICC_IAR1_EL1 */
                     "dsb sy"
                     : "=r"(interrupt));
    return interrupt & 0xffffff;
}

void interrupt_end(uint64_t interrupt)
{
    __asm__ volatile("msr s3_0_c12_c12_1, %0\n" /* ICC_EOIR1_EL1 */
                     "isb" ::"r"(interrupt));
}

uint64_t counter(void)
{
    uint64_t value;
    __asm__ volatile("isb\n"
                     "mrs %0, cntvct_el0"
                     : "=r"(value));
    return value;
}

uint64_t counter_hz(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
    return value;
}

void timer_set(uint64_t ticks)
{
    __asm__ volatile("msr cntv_tval_el0, %0\n"
                     "msr cntv_ctl_el0, %1\n"
                     "isb" ::"r"(ticks),
                     "r"((uint64_t)1));
}

uint64_t cpu_number(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, mpidr_el1" : "=r"(value));
    return value & 0xff;
}

bool cpu_has_sve(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, id_aa64pfr0_el1" : "=r"(value));
    return (value >> 32 & 0xf) != 0;
}

uint64_t read_thread_register(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, tpidr_el0" : "=r"(value));
    return value;
}

void write_thread_register(uint64_t value)
{
    __asm__ volatile("msr tpidr_el0, %0" ::"r"(value));
}
