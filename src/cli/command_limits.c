/* SPDX-License-Identifier: Apache-2.0 */
/* godwit limits: what this binary was built for, and the memory it takes. Main thread. */
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "godwit/limits.h"
#include "godwit/units.h"

static void print_number(const char *name, uint64_t value)
{
    (void)printf("  %-40s %12llu\n", name, (unsigned long long)value);
}

static void print_bytes(const char *name, uint64_t bytes)
{
    char text[GW_UNITS_TEXT_BYTES];
    (void)printf("  %-40s %12llu  %s\n", name, (unsigned long long)bytes,
                 gw_units_encode_size(text, bytes));
}

static void print_limits(void)
{
    (void)printf("board %s (sizes in bytes)\n", GW_BOARD_NAME);
    print_bytes("guest RAM, at most", GW_RAM_BYTES_MAX);
    print_number("guest RAM regions, at most", GW_RAM_REGIONS_MAX);
    print_bytes("host page, at least", GW_PAGE_BYTES_MIN);
    print_number("guest CPUs, at most", GW_VCPUS_MAX);
    print_bytes("migration batch, at most", GW_BATCH_BYTES_MAX);
    print_number("batches sent and not acknowledged", GW_WINDOW_BATCHES);
    print_number("bulk channels, at most", GW_BULK_CHANNELS_MAX);
    print_bytes("device state, at most", GW_STATE_BYTES_MAX);
    print_number("control clients at a time, at most", GW_CLIENTS_MAX);
    print_bytes("control request, at most", GW_CONTROL_LINE_MAX);
    print_number("dirty ring's entries, at most", GW_RING_ENTRIES_MAX);
    print_bytes("dirty ring of a CPU, in the kernel", GW_RING_ENTRIES_MAX * GW_RING_ENTRY_BYTES);
    print_bytes("thread stack", GW_STACK_BYTES);
    print_bytes("arena for libraries", GW_ARENA_BYTES);
}

/* The linker's names for where static memory that begins as zeros lies. */
extern const char __bss_start[], _end[];

static void print_budget(void)
{
    const struct gw_budget_item *items = NULL;
    size_t count = gw_run_budget(&items);
    uint64_t total = 0;
    (void)printf("static budget (bytes each x count = bytes)\n");
    for (size_t i = 0; i < count; i++) {
        char name[96];
        uint64_t bytes = (uint64_t)items[i].bytes_each * items[i].count;
        (void)snprintf(name, sizeof(name), "%s, %llu x %llu", items[i].name,
                       (unsigned long long)items[i].bytes_each, (unsigned long long)items[i].count);
        print_bytes(name, bytes);
        total += bytes;
    }
    print_bytes("command line's client, unused by run", sizeof(gw_cli_shared_client));
    total += sizeof(gw_cli_shared_client);
    uint64_t all = (uintptr_t)_end - (uintptr_t)__bss_start;
    print_bytes("libraries, texts and what lies between", all - total);
    print_bytes("total, besides guest RAM and the program", all);
}

static int run_limits(struct gw_cli_values *values)
{
    (void)values;
    print_limits();
    print_budget();
    return GW_RUN_EXIT_DONE;
}

const struct gw_cli_command gw_cli_command_limits = {
    .name = "limits",
    .summary = "print the board's limits and the static memory budget",
    .about = "All memory but guest RAM is fixed when godwit is built, by the board's header:\n"
             "this is all it will ever take. Pages that are never used cost nothing. Dirty rings\n"
             "are the kernel's memory, and there only with `godwit run --dirty ring`.",
    .examples = "godwit limits",
    .exits = "0 done",
    .function = run_limits,
};
