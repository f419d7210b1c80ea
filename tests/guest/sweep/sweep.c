/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bare-metal guest that notices when a move loses anything.
 *
 * Each CPU owns a share of RAM. In every pass it checks each page of its share, word by word,
 * against the version the page must have by now, then rewrites the pages whose turn it is with
 * their next version. What a page must be follows from its number and the pass alone, so the
 * expectation lives in registers and cannot be stale together with the page. It also checks, each
 * pass, the vector registers (whole, with SVE), a system register, that its counter went on, and
 * that its timer interrupts kept coming.
 *
 * Words in the command line (device tree, /chosen/bootargs): sweep=MB how much RAM (all), turns=N
 * each page is rewritten every Nth pass (4), pace=MS least time of a pass (0).
 * Typed: q powers off, r resets, x makes the CPU do what no hypervisor can emulate.
 *
 * Prints, per CPU and pass: "sweep: pass P ok cpu C cntvct V ticks T gap_us G", where G is the
 * longest time between two timer interrupts; "sweep: LOST page N found V wanted W word I"; at the
 * start "sweep: ready", and on anything else odd "sweep: BAD ...".
 */
#include "sweep.h"

enum { PAGE = 4096, WORDS = PAGE / 8, TICK_HZ = 100, REPORTS_MAX = 8 };

struct cpu {
    uint64_t first, count; /* its pages, by number (address / 4096) */
    volatile uint64_t ticks, last_tick, gap_max;
    uint64_t reports;
    uint8_t vectors[32 * 256] __attribute__((aligned(16)));
};

static struct cpu cpus[SWEEP_CPUS_MAX];
static struct machine machine;
static uint64_t frequency;

/* Word i of a page: different for each page, version and place. */
static inline uint64_t seed_of(uint64_t page, uint64_t version)
{
    uint64_t x = (page + 1) * 0x9e3779b97f4a7c15 ^ (version + 1) * 0xc2b2ae3d27d4eb4f;
    return x ^ x >> 29;
}

static void write_page(uint64_t page, uint64_t version)
{
    uint64_t *word = (uint64_t *)(page * PAGE);
    uint64_t x = seed_of(page, version);
    word[0] = page;
    word[1] = version;
    for (unsigned i = 2; i < WORDS; i++)
        word[i] = x += 0xd6e8feb86659fd93;
}

/* The first wrong word, or WORDS. */
static unsigned check_page(uint64_t page, uint64_t version)
{
    const volatile uint64_t *word = (const volatile uint64_t *)(page * PAGE);
    uint64_t x = seed_of(page, version);
    if (word[0] != page)
        return 0;
    if (word[1] != version)
        return 1;
    for (unsigned i = 2; i < WORDS; i++) {
        if (word[i] != (x += 0xd6e8feb86659fd93))
            return i;
    }
    return WORDS;
}

/* How often a page was rewritten before `pass`: in each pass p with p % turns == page % turns. */
static uint64_t version_at(uint64_t page, uint64_t pass)
{
    uint64_t turn = page % machine.turns;
    return pass > turn ? (pass - turn - 1) / machine.turns + 1 : 0;
}

static void report_lost(struct cpu *cpu, uint64_t page, uint64_t version, unsigned word)
{
    if (cpu->reports++ >= REPORTS_MAX)
        return;
    print_lock();
    print("sweep: LOST page ");
    print_number(page);
    print(" found ");
    print_number(((const volatile uint64_t *)(page * PAGE))[1]);
    print(" wanted ");
    print_number(version);
    print(" word ");
    print_number(word);
    print("\n");
    print_unlock();
}

static void report_bad(const char *what, uint64_t cpu, uint64_t value)
{
    print_lock();
    print("sweep: BAD ");
    print(what);
    print(" cpu ");
    print_number(cpu);
    print(" value ");
    print_number(value);
    print("\n");
    print_unlock();
}

/* True when all pages were as they must be. */
static bool sweep_share(struct cpu *cpu, uint64_t pass)
{
    bool is_good = true;
    for (uint64_t i = 0; i < cpu->count; i++) {
        uint64_t page = cpu->first + i;
        uint64_t version = version_at(page, pass);
        unsigned wrong = check_page(page, version);
        if (wrong != WORDS) {
            report_lost(cpu, page, version, wrong);
            is_good = false;
        }
        if (wrong != WORDS || pass % machine.turns == page % machine.turns)
            write_page(page, version_at(page, pass + 1));
    }
    return is_good;
}

static uint64_t vector_seed(uint64_t number)
{
    return 0x5a5a000000000000 + number * 0x100;
}

/* Reads the vector registers back; each is one value over and over. */
static bool check_vectors(struct cpu *cpu, uint64_t number)
{
    uint64_t bytes = machine.has_sve ? sve_bytes() : 16;
    if (machine.has_sve)
        sve_get(cpu->vectors);
    else
        simd_get(cpu->vectors);
    for (uint64_t i = 0; i < 32 * bytes / 8; i++) {
        uint64_t found = ((const volatile uint64_t *)cpu->vectors)[i];
        if (found != vector_seed(number) + i / (bytes / 8)) {
            report_bad("vector register", number, i / (bytes / 8));
            return false;
        }
    }
    return true;
}

static void print_pass(struct cpu *cpu, uint64_t number, uint64_t pass, bool is_good)
{
    print_lock();
    print("sweep: pass ");
    print_number(pass);
    print(is_good ? " ok cpu " : " NOT OK cpu ");
    print_number(number);
    print(" cntvct ");
    print_number(counter());
    print(" ticks ");
    print_number(cpu->ticks);
    print(" gap_us ");
    print_number(cpu->gap_max * 1000000 / frequency);
    print("\n");
    print_unlock();
    cpu->gap_max = 0;
}

static void obey_console(void)
{
    switch (console_get()) {
    case 'q':
        (void)hypercall(0x84000008, 0, 0, 0); /* PSCI SYSTEM_OFF */
        break;
    case 'r':
        (void)hypercall(0x84000009, 0, 0, 0); /* PSCI SYSTEM_RESET */
        break;
    case 'x':
        crash();
        break;
    default:
        break;
    }
}

/* With timers stopped for a second, something lost an interrupt. */
static bool check_time(struct cpu *cpu, uint64_t number, uint64_t *last_counter,
                       uint64_t *last_ticks)
{
    uint64_t now = counter();
    bool is_good = now >= *last_counter && read_thread_register() == vector_seed(number);
    if (now - *last_counter > frequency && cpu->ticks == *last_ticks)
        is_good = false;
    if (!is_good)
        report_bad("time", number, now);
    *last_counter = now;
    *last_ticks = cpu->ticks;
    return is_good;
}

static void wait_until(uint64_t then)
{
    while (counter() < then)
        __asm__ volatile("wfi");
}

void sweep_cpu(uint64_t number)
{
    struct cpu *cpu = &cpus[number];
    controller_start_cpu(number);
    if (machine.has_sve) {
        sve_enable();
        sve_set(vector_seed(number));
    } else {
        simd_set(vector_seed(number));
    }
    write_thread_register(vector_seed(number));
    for (uint64_t i = 0; i < cpu->count; i++)
        write_page(cpu->first + i, 0);
    cpu->last_tick = counter();
    timer_set(frequency / TICK_HZ);
    __asm__ volatile("msr daifclr, #2" ::: "memory");
    uint64_t last_counter = counter(), last_ticks = 0;
    for (uint64_t pass = 0;; pass++) {
        uint64_t start = counter();
        bool is_good = sweep_share(cpu, pass);
        is_good = check_vectors(cpu, number) && is_good;
        is_good = check_time(cpu, number, &last_counter, &last_ticks) && is_good;
        print_pass(cpu, number, pass, is_good);
        if (number == 0)
            obey_console();
        wait_until(start + machine.pace_ms * frequency / 1000);
    }
}

void sweep_interrupt(void)
{
    uint64_t interrupt = interrupt_take();
    uint64_t number = cpu_number();
    if (interrupt == 27) {
        struct cpu *cpu = &cpus[number];
        uint64_t now = counter();
        if (now - cpu->last_tick > cpu->gap_max)
            cpu->gap_max = now - cpu->last_tick;
        cpu->last_tick = now;
        cpu->ticks++;
        timer_set(frequency / TICK_HZ);
    }
    if (interrupt < 1020)
        interrupt_end(interrupt);
}

void sweep_trap(uint64_t syndrome, uint64_t address, uint64_t fault_address)
{
    report_bad("exception at", cpu_number(), address);
    report_bad("exception syndrome", cpu_number(), syndrome);
    report_bad("exception address", cpu_number(), fault_address);
}

/* Gives each CPU an equal row of the pages behind the program. */
static void share_out(void)
{
    uint64_t first = ((uint64_t)program_end + PAGE - 1) / PAGE;
    uint64_t count = (machine.ram_base + machine.ram_bytes) / PAGE - first;
    if (machine.sweep_bytes && machine.sweep_bytes / PAGE < count)
        count = machine.sweep_bytes / PAGE;
    for (uint64_t i = 0; i < machine.cpu_count; i++) {
        cpus[i].first = first + count * i / machine.cpu_count;
        cpus[i].count = first + count * (i + 1) / machine.cpu_count - cpus[i].first;
    }
}

void sweep_first(const uint8_t *tree)
{
    frequency = counter_hz();
    machine_read(tree, &machine);
    machine.has_sve = cpu_has_sve();
    controller_start();
    share_out();
    print("sweep: ready cpus ");
    print_number(machine.cpu_count);
    print(" ram ");
    print_number(machine.ram_bytes);
    print(" swept ");
    print_number(
        (cpus[machine.cpu_count - 1].first + cpus[machine.cpu_count - 1].count - cpus[0].first) *
        PAGE);
    print(" vectors ");
    print_number(machine.has_sve ? (sve_enable(), sve_bytes()) : 16);
    print("\n");
    for (uint64_t i = 1; i < machine.cpu_count; i++) {
        if (hypercall(0xc4000003, i, (uint64_t)secondary, i) != 0) /* PSCI CPU_ON */
            report_bad("cpu does not start", i, 0);
    }
    sweep_cpu(0);
}
