/* SPDX-License-Identifier: Apache-2.0 */
/* Touching missing pages. See probe.h. */
#include "probe.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "godwit/clock.h"
#include "guest.h"

static uint64_t draw(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static void shuffle(uint32_t *order, uint32_t count, uint64_t *random)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = (uint32_t)(draw(random) % (i + 1));
        order[i] = order[other];
        order[other] = i;
    }
}

/* Of this thread so far. A page that is there, and placed by UFFDIO_COPY, takes none. */
static long count_faults(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

static void pause_us(uint64_t us)
{
    const struct timespec time = {.tv_nsec = (long)us * 1000};
    (void)nanosleep(&time, NULL);
}

void probe_run(struct probe *probe)
{
    static uint32_t order[GUEST_PAGES_MAX];
    uint64_t random = probe->seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    shuffle(order, (uint32_t)probe->ram->page_count, &random);
    probe->count = 0;
    for (uint64_t i = 0; i < probe->ram->page_count && probe->count < probe->wanted; i++) {
        const volatile uint8_t *page = gw_ram_page(probe->ram, order[i]);
        long faults = count_faults();
        uint64_t start_ns = gw_clock_now_ns();
        (void)*page;
        uint64_t end_ns = gw_clock_now_ns();
        if (count_faults() == faults) {
            continue;
        }
        probe->ns[probe->count++] = (uint32_t)(end_ns - start_ns);
        if (probe->pause_us_max > 0) {
            uint64_t half = probe->pause_us_max / 2;
            pause_us(half + draw(&random) % (half + 1));
        }
    }
}

void probe_print(const struct probe *probe)
{
    printf("samples");
    for (uint32_t i = 0; i < probe->count; i++) {
        printf(" %u", probe->ns[i]);
    }
    printf("\n");
}
