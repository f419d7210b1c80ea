/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test guest's only program: counts on the console, so that a gap, a repetition or a jump of
 * the clock shows, and checks memory while it is being moved. Started by the guest's /init.
 *
 * Ten lines a second, each with the guest's own clocks in microseconds:
 *   count N uptime_us U wall_us W gap_us G [load_passes P] [cpus C0,C1,...]
 * gap_us is the longest time in which this program did not run since the line before (it looks
 * every 5 ms), so a blackout is seen from inside. Words of the kernel's command line:
 *   load=MB@MBPS  dirties MB megabytes at MBPS megabytes a second, over and over, and checks what
 *                 it wrote the time before: "LOAD BAD page I found F wanted W"
 *   smp           a thread pinned on each CPU, counting: cpus shows how far each came
 *   ticks         a line of one point every 10 ms, so that a blackout is seen from outside
 * Typed on the console: "poweroff", "reboot", "crash", "echo TEXT".
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_US = 5000,
    LINE_US = 100000,
    CPUS_MAX = 8,
    LOAD_PAGE_BYTES = 4096,
    LOAD_PAGE_WORDS = LOAD_PAGE_BYTES / 8,
};

static int64_t read_clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_us(int64_t us)
{
    const struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

static void start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0) {
        printf("guest: cannot start a thread\n");
        exit(1);
    }
    pthread_detach(thread);
}

/* ---- load ---- */

struct load {
    uint64_t *memory;
    uint64_t pages;
    uint64_t pages_per_s;
    atomic_ullong passes;
};

/* Every word of a page differs from its neighbours, from other pages and from other passes. */
static uint64_t load_word(uint64_t pass, uint64_t page, uint64_t word)
{
    return (pass << 44 | page << 12 | word) * UINT64_C(0x9e3779b97f4a7c15);
}

/* A handful of words per page: the whole would make the load the processor's and not memory's. */
static void load_page(struct load *load, uint64_t pass, uint64_t page)
{
    uint64_t *words = load->memory + page * LOAD_PAGE_WORDS;
    for (uint64_t word = 0; word < LOAD_PAGE_WORDS; word += 73) {
        uint64_t wanted = pass == 0 ? 0 : load_word(pass, page, word);
        if (words[word] != wanted)
            printf("LOAD BAD page %llu word %llu found %#llx wanted %#llx\n",
                   (unsigned long long)page, (unsigned long long)word,
                   (unsigned long long)words[word], (unsigned long long)wanted);
        words[word] = load_word(pass + 1, page, word);
    }
}

/* Sleeps until the page at this index since the start is due. Far behind, as after a blackout, it
 * forgets the lag instead of making up for it. */
static void pace_load(const struct load *load, uint64_t done, int64_t *start_us)
{
    int64_t due_us = (int64_t)(done * 1000000 / load->pages_per_s);
    int64_t now_us = read_clock_us(CLOCK_MONOTONIC) - *start_us;
    if (now_us < due_us)
        sleep_us(TICK_US);
    else if (now_us > due_us + LINE_US)
        *start_us += now_us - due_us;
}

static void *run_load(void *argument)
{
    struct load *load = argument;
    int64_t start_us = read_clock_us(CLOCK_MONOTONIC);
    uint64_t done = 0;
    for (uint64_t pass = 0;; pass++) {
        for (uint64_t page = 0; page < load->pages; page++) {
            load_page(load, pass, page);
            if (++done % 8 == 0)
                pace_load(load, done, &start_us);
        }
        atomic_store(&load->passes, pass + 1);
    }
    return NULL;
}

static bool start_load(struct load *load, const char *words)
{
    unsigned megabytes;
    unsigned rate;
    const char *word = strstr(words, "load=");
    if (word == NULL || sscanf(word, "load=%u@%u", &megabytes, &rate) != 2 || megabytes == 0 ||
        rate == 0)
        return false;
    uint64_t bytes = (uint64_t)megabytes << 20;
    load->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (load->memory == MAP_FAILED) {
        printf("guest: no %u MB for the load\n", megabytes);
        return false;
    }
    load->pages = bytes / LOAD_PAGE_BYTES;
    load->pages_per_s = ((uint64_t)rate << 20) / LOAD_PAGE_BYTES;
    start_thread(run_load, load);
    return true;
}

/* ---- smp ---- */

static atomic_ullong cpu_counts[CPUS_MAX];

static void *run_cpu(void *argument)
{
    unsigned cpu = (unsigned)(uintptr_t)argument;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        printf("guest: cannot pin to cpu %u\n", cpu);
    for (;;) {
        atomic_fetch_add(&cpu_counts[cpu], 1);
        sleep_us(2 * TICK_US);
    }
    return NULL;
}

static int start_cpus(const char *words)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    if (strstr(words, "smp") == NULL)
        return 0;
    if (count > CPUS_MAX)
        count = CPUS_MAX;
    for (uintptr_t cpu = 0; cpu < (uintptr_t)count; cpu++)
        start_thread(run_cpu, (void *)cpu);
    return (int)count;
}

/* ---- console ---- */

static void obey(const char *line)
{
    if (strcmp(line, "poweroff") == 0) {
        printf("guest: powering off\n");
        reboot(RB_POWER_OFF);
    } else if (strcmp(line, "reboot") == 0) {
        printf("guest: resetting\n");
        reboot(RB_AUTOBOOT);
    } else if (strcmp(line, "crash") == 0) {
        int fd = open("/proc/sysrq-trigger", O_WRONLY);
        (void)!write(fd, "c", 1);
    } else if (strncmp(line, "echo ", 5) == 0) {
        printf("echo: %s\n", line + 5);
    } else {
        printf("guest: unknown command '%s'\n", line);
    }
}

static void *run_console(void *argument)
{
    char line[256];
    (void)argument;
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0')
            obey(line);
    }
    return NULL;
}

static void quiet_terminal(void)
{
    struct termios terminal;
    if (tcgetattr(0, &terminal) != 0)
        return;
    terminal.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    tcsetattr(0, TCSANOW, &terminal);
}

static void print_line(uint64_t number, int64_t gap_us, bool loaded, struct load *load, int cpus)
{
    char text[256];
    int n = snprintf(text, sizeof text, "count %llu uptime_us %lld wall_us %lld gap_us %lld",
                     (unsigned long long)number, (long long)read_clock_us(CLOCK_MONOTONIC),
                     (long long)read_clock_us(CLOCK_REALTIME), (long long)gap_us);
    if (loaded)
        n += snprintf(text + n, sizeof text - (size_t)n, " load_passes %llu",
                      (unsigned long long)atomic_load(&load->passes));
    for (int cpu = 0; cpu < cpus; cpu++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%llu", cpu == 0 ? " cpus " : ",",
                      (unsigned long long)atomic_load(&cpu_counts[cpu]));
    printf("%s\n", text);
}

static void read_words(char *words, size_t size)
{
    int fd = open("/proc/cmdline", O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, words, size - 1);
    words[n < 0 ? 0 : n] = '\0';
    if (fd >= 0)
        close(fd);
}

/* The longest gap since it was last asked for. */
static atomic_llong longest_gap_us;

/* Looks at the clock and does nothing else: printing waits for the console. */
static void *run_gaps(void *argument)
{
    int64_t last_us = read_clock_us(CLOCK_MONOTONIC);
    (void)argument;
    for (;;) {
        sleep_us(TICK_US);
        int64_t now_us = read_clock_us(CLOCK_MONOTONIC);
        if (now_us - last_us > atomic_load(&longest_gap_us))
            atomic_store(&longest_gap_us, now_us - last_us);
        last_us = now_us;
    }
    return NULL;
}

/* Counts for ever. */
static void count(bool ticks, bool loaded, struct load *load, int cpus)
{
    int64_t line_us = read_clock_us(CLOCK_MONOTONIC);
    for (uint64_t number = 1;; number++) {
        while (read_clock_us(CLOCK_MONOTONIC) < line_us + LINE_US) {
            sleep_us(2 * TICK_US);
            if (ticks)
                printf(".\n");
        }
        line_us = read_clock_us(CLOCK_MONOTONIC);
        print_line(number, atomic_exchange(&longest_gap_us, 0), loaded, load, cpus);
    }
}

int main(void)
{
    static struct load load;
    char words[2048];
    setvbuf(stdout, NULL, _IOLBF, 0);
    quiet_terminal();
    read_words(words, sizeof words);
    printf("guest: ready\n");
    bool loaded = start_load(&load, words);
    int cpus = start_cpus(words);
    start_thread(run_console, NULL);
    start_thread(run_gaps, NULL);
    count(strstr(words, "ticks") != NULL, loaded, &load, cpus);
}
