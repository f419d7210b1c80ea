/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that scribble. See guest.h. */
#include "guest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../huge.h"
#include "godwit/limits.h"

enum {
    WRITES_AT_A_TIME = 32, /* then a thread idles, as most guests do most of the time */
#ifdef __SANITIZE_THREAD__ /* makes who sends, and who packs even more, slower than who writes */
    IDLE_NS = 2000000,
    IDLE_TEXT_NS = 50000000,
#else
    IDLE_NS = 500000, /* so a thread dirties 256 MB a second at most */
    IDLE_TEXT_NS = IDLE_NS,
#endif
    STAMPS = 8, /* words written in each page */
};

struct scribbler {
    uint64_t random; /* never 0 */
    uint64_t writes;
    uint32_t first, step; /* writes the pages first, first+step, first+2*step... */
};

/* What travels. */
struct state {
    uint64_t pages;
    struct scribbler scribbler[GUEST_THREADS_MAX];
    uint32_t version[GUEST_PAGES_MAX];
};
static_assert(sizeof(struct state) <= GW_STATE_BYTES_MAX, "the state fits into PREPARE");

static struct {
    struct guest_config config;
    struct gw_ram ram;
    struct state state;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_cond_t halting; /* wakes those who idle */
    bool is_halting;
    uint32_t parked;
    uint64_t writes, writes_wanted; /* guest_wait returns when as many were made */
} guest = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .changed = PTHREAD_COND_INITIALIZER,
           .halting = PTHREAD_COND_INITIALIZER};

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

/* ---- Pages ---- */

static uint64_t stamp_of(uint64_t page, uint32_t version, uint32_t i)
{
    bool is_zero = version % 16 == 15;
    uint64_t mixed = (page << 40 | (uint64_t)version << 8 | i) * UINT64_C(0x9e3779b97f4a7c15);
    return version == 0 || is_zero ? 0 : mixed | 1;
}

static size_t words_per_page(void)
{
    return guest.ram.page_bytes / sizeof(uint64_t);
}

/* Eight letters. In a text guest some versions are one value over and over, and some do not tell
 * in which page they are. */
static uint64_t text_of(uint64_t page, uint32_t version, size_t i)
{
    static const char words[] = "of      the     and     guest   memory  gateway moved   another ";
    uint64_t seed = version % 8 == 3 ? version : page << 32 | version;
    seed = version % 8 == 5 ? version / 8 % 4 : seed;
    uint64_t mixed = (version % 8 == 3 ? seed : seed << 10 ^ i) * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t word;
    memcpy(&word, words + (mixed >> 61) * 8, sizeof(word));
    bool is_rare = version % 8 != 3 && (mixed >> 54) % 8 == 0;
    return version == 0 || version % 16 == 15 ? 0 : is_rare ? mixed : word;
}

static void write_text(uint64_t page, uint32_t version)
{
    uint64_t *words = (uint64_t *)(void *)gw_ram_page(&guest.ram, page);
    for (size_t i = 0; i < words_per_page(); i++) {
        words[i] = text_of(page, version, i);
    }
}

static void write_page(uint64_t page, uint32_t version)
{
    if (guest.config.is_text) {
        write_text(page, version);
        return;
    }
    uint64_t *words = (uint64_t *)(void *)gw_ram_page(&guest.ram, page);
    for (uint32_t i = 0; i < STAMPS; i++) {
        words[i * (words_per_page() / STAMPS) + i] = stamp_of(page, version, i);
    }
}

static bool is_page_right(uint64_t page, uint32_t version)
{
    const uint64_t *words = (const uint64_t *)(const void *)gw_ram_page(&guest.ram, page);
    uint32_t stamp = 0;
    for (size_t i = 0; i < words_per_page(); i++) {
        uint64_t wanted = 0;
        if (stamp < STAMPS && i == stamp * (words_per_page() / STAMPS) + stamp) {
            wanted = stamp_of(page, version, stamp);
            stamp++;
        }
        wanted = guest.config.is_text ? text_of(page, version, i) : wanted;
        if (words[i] != wanted) {
            fprintf(stderr,
                    "page %" PRIu64 ", word %zu: 0x%016" PRIx64 ", but version %u has 0x%016" PRIx64
                    "\n",
                    page, i, words[i], version, wanted);
            return false;
        }
    }
    return true;
}

uint64_t guest_count_wrong(void)
{
    uint64_t wrong = 0;
    for (uint64_t page = 0; page < guest.config.pages && wrong < 8; page++) {
        wrong += is_page_right(page, guest.state.version[page]) ? 0 : 1;
    }
    return wrong;
}

/* ---- Threads ---- */

static void scribble(struct scribbler *scribbler)
{
    uint64_t random = next_random(&scribbler->random);
    uint64_t among = random % 16 == 0 ? guest.config.pages : guest.config.hot;
    uint64_t slots = among / scribbler->step;
    uint64_t page = scribbler->first + (random >> 8) % (slots > 0 ? slots : 1) * scribbler->step;
    write_page(page, ++guest.state.version[page]);
    scribbler->writes++;
}

/* With the lock. */
static void park(void)
{
    guest.parked++;
    pthread_cond_broadcast(&guest.changed);
    while (guest.is_halting) {
        pthread_cond_wait(&guest.changed, &guest.lock);
    }
    guest.parked--;
    pthread_cond_broadcast(&guest.changed);
}

/* With the lock. */
static void idle(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += guest.config.is_text ? IDLE_TEXT_NS : IDLE_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&guest.halting, &guest.lock, &until);
}

static void *run(void *context)
{
    struct scribbler *scribbler = context;
    pthread_mutex_lock(&guest.lock);
    for (;;) {
        if (guest.is_halting) {
            park();
        }
        pthread_mutex_unlock(&guest.lock);
        for (int i = 0; i < WRITES_AT_A_TIME; i++) {
            scribble(scribbler);
        }
        pthread_mutex_lock(&guest.lock);
        guest.writes += WRITES_AT_A_TIME;
        if (guest.writes >= guest.writes_wanted) {
            pthread_cond_broadcast(&guest.changed);
        }
        if (!guest.is_halting) {
            idle();
        }
    }
    return NULL;
}

static void wait_parked(uint32_t count)
{
    while (guest.parked != count) {
        pthread_cond_wait(&guest.changed, &guest.lock);
    }
}

void guest_go(void)
{
    pthread_mutex_lock(&guest.lock);
    guest.is_halting = false;
    pthread_cond_broadcast(&guest.changed);
    wait_parked(0);
    pthread_mutex_unlock(&guest.lock);
}

void guest_halt(void)
{
    pthread_mutex_lock(&guest.lock);
    guest.is_halting = true;
    pthread_cond_broadcast(&guest.halting);
    wait_parked(guest.config.threads);
    pthread_mutex_unlock(&guest.lock);
}

bool guest_is_running(void)
{
    pthread_mutex_lock(&guest.lock);
    bool is_running = !guest.is_halting;
    pthread_mutex_unlock(&guest.lock);
    return is_running;
}

void guest_wait(uint64_t writes)
{
    pthread_mutex_lock(&guest.lock);
    guest.writes_wanted = guest.writes + writes;
    while (guest.writes < guest.writes_wanted) {
        pthread_cond_wait(&guest.changed, &guest.lock);
    }
    pthread_mutex_unlock(&guest.lock);
}

void guest_fill(void)
{
    for (uint64_t page = 0; page < guest.config.pages; page++) {
        write_page(page, ++guest.state.version[page]);
    }
}

/* ---- State ---- */

uint32_t guest_save(uint8_t *bytes)
{
    guest.state.pages = guest.config.pages;
    memcpy(bytes, &guest.state, sizeof(guest.state));
    return sizeof(guest.state);
}

bool guest_load(const uint8_t *bytes, uint32_t count)
{
    if (count != sizeof(guest.state)) {
        return false;
    }
    memcpy(&guest.state, bytes, sizeof(guest.state));
    return guest.state.pages == guest.config.pages;
}

/* ---- Start ---- */

static bool add_region(uint64_t gpa, uint64_t pages)
{
    struct gw_fault fault = {.status = GW_OK};
    uint64_t bytes = pages * guest.ram.page_bytes;
    enum gw_status status = GW_OK;
    if (guest.config.is_anonymous) {
        void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) {
            perror("embedder: mmap");
            return false;
        }
        status = gw_ram_add_anonymous(&guest.ram, gpa, base, bytes, &fault);
    } else if (guest.config.is_huge) {
        huge_pages_allow();
        status = gw_ram_add_hugetlb(&guest.ram, gpa, bytes, &fault);
    } else {
        status = gw_ram_add_memfd(&guest.ram, gpa, bytes, &fault);
    }
    if (status != GW_OK) {
        fprintf(stderr, "embedder: guest RAM: %s\n", fault.text);
    }
    return status == GW_OK;
}

bool guest_probe_huge(uint64_t pages)
{
    struct gw_ram ram;
    struct gw_fault fault = {.status = GW_OK};
    huge_pages_allow();
    gw_ram_init(&ram);
    bool is_there = gw_ram_add_hugetlb(&ram, 0, 2 * pages * ram.page_bytes, &fault) == GW_OK;
    if (!is_there) {
        printf("skipped: %s\n", fault.text);
    }
    gw_ram_close(&ram);
    return is_there;
}

bool guest_open(const struct guest_config *config)
{
    guest.config = *config;
    gw_ram_init(&guest.ram);
    uint64_t first = config->regions == 2 ? config->pages / 3 : config->pages;
    if (!add_region(UINT64_C(1) << 30, first) ||
        (config->regions == 2 && !add_region(UINT64_C(1) << 32, config->pages - first))) {
        return false;
    }
    guest.is_halting = true;
    for (uint32_t i = 0; i < config->threads; i++) {
        struct scribbler *scribbler = &guest.state.scribbler[i];
        *scribbler = (struct scribbler){
            .random = config->seed * 4 + i + 1, .first = i, .step = config->threads};
        for (int warm = 0; warm < 8; warm++) {
            (void)next_random(&scribbler->random); /* small seeds begin alike */
        }
        pthread_t thread;
        if (pthread_create(&thread, NULL, run, scribbler) != 0) {
            perror("embedder: thread");
            return false;
        }
        (void)pthread_detach(thread);
    }
    guest_halt();
    return true;
}

const struct gw_ram *guest_ram(void)
{
    return &guest.ram;
}
