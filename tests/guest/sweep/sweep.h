/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the sweep guest share. Freestanding: no library, no floating point in C. */
#ifndef SWEEP_H
#define SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SWEEP_CPUS_MAX = 8 };

struct machine {
    uint64_t ram_base, ram_bytes, cpu_count;
    uint64_t sweep_bytes, turns, pace_ms; /* from the command line */
    bool has_sve;
};

/* tree.c */
void machine_read(const uint8_t *tree, struct machine *machine);

/* board.c: console (PL011), interrupt controller (GICv3), counter and timer. */
void print_lock(void);
void print_unlock(void);
void print(const char *text);
void print_number(uint64_t number);
int console_get(void); /* -1: nothing typed */
void controller_start(void);
void controller_start_cpu(uint64_t number);
uint64_t interrupt_take(void);
void interrupt_end(uint64_t interrupt);
uint64_t counter(void);
uint64_t counter_hz(void);
void timer_set(uint64_t ticks);
uint64_t cpu_number(void);
bool cpu_has_sve(void);
uint64_t read_thread_register(void);
void write_thread_register(uint64_t value);

/* start.S */
extern char program_end[];
extern char secondary[];
uint64_t hypercall(uint64_t function, uint64_t a, uint64_t b, uint64_t c);
void crash(void);
void simd_set(uint64_t seed);
void simd_get(uint8_t *bytes);
void sve_enable(void);
uint64_t sve_bytes(void);
void sve_set(uint64_t seed);
void sve_get(uint8_t *bytes);

/* sweep.c, called by start.S */
void sweep_first(const uint8_t *tree);
void sweep_cpu(uint64_t number);
void sweep_interrupt(void);
void sweep_trap(uint64_t syndrome, uint64_t address, uint64_t fault_address);

#endif
