/* SPDX-License-Identifier: Apache-2.0 */
/* What the sweep guest wants to know of its device tree (Devicetree Specification 0.4, chapter 5:
 * the flattened format). The tree is the monitor's and trusted. */
#include "sweep.h"

enum { BEGIN_NODE = 1, END_NODE = 2, PROPERTY = 3, NOP = 4 };

static uint32_t get_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint64_t get_u64(const uint8_t *bytes)
{
    return (uint64_t)get_u32(bytes) << 32 | get_u32(bytes + 4);
}

static size_t length(const char *text)
{
    size_t count = 0;
    while (text[count])
        count++;
    return count;
}

static bool starts(const char *text, const char *prefix)
{
    while (*prefix && *text == *prefix) {
        text++;
        prefix++;
    }
    return *prefix == '\0';
}

/* The number behind `word` in the command line, or `otherwise`. */
static uint64_t find_number(const char *line, const char *word, uint64_t otherwise)
{
    for (; *line; line++) {
        if (!starts(line, word))
            continue;
        uint64_t value = 0;
        for (line += length(word); *line >= '0' && *line <= '9'; line++)
            value = value * 10 + (uint64_t)(*line - '0');
        return value;
    }
    return otherwise;
}

static void read_command_line(const char *line, struct machine *machine)
{
    machine->sweep_bytes = find_number(line, "sweep=", 0) << 20;
    machine->turns = find_number(line, "turns=", 4);
    machine->pace_ms = find_number(line, "pace=", 0);
    if (machine->turns == 0)
        machine->turns = 1;
}

void machine_read(const uint8_t *tree, struct machine *machine)
{
    const uint8_t *at = tree + get_u32(tree + 8);
    const char *strings = (const char *)tree + get_u32(tree + 12);
    bool is_memory = false;
    read_command_line("", machine);
    for (;;) {
        uint32_t token = get_u32(at);
        at += 4;
        if (token == BEGIN_NODE) {
            const char *name = (const char *)at;
            is_memory = starts(name, "memory@");
            if (starts(name, "cpu@"))
                machine->cpu_count++;
            at += (length(name) + 4) & ~(size_t)3;
        } else if (token == PROPERTY) {
            uint32_t bytes = get_u32(at);
            const char *name = strings + get_u32(at + 4);
            at += 8;
            if (is_memory && starts(name, "reg")) {
                machine->ram_base = get_u64(at);
                machine->ram_bytes = get_u64(at + 8);
            }
            if (starts(name, "bootargs"))
                read_command_line((const char *)at, machine);
            at += (bytes + 3) & ~3U;
        } else if (token != NOP && token != END_NODE) {
            return;
        }
    }
}
