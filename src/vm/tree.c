/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device tree. Bindings: Linux Documentation/devicetree/bindings, files named at each node.
 *
 * libfdt's sequential writer remembers nothing but its first error: each call after one returns
 * it again, so only the last is looked at.
 */
#include "vm/tree.h"

#include <inttypes.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "vm/layout.h"

enum {
    PHANDLE_GIC = 1,
    PHANDLE_CLOCK = 2,
    SPI = 0, /* arm,gic-v3.yaml: kinds of interrupt */
    PPI = 1,
    LEVEL_HIGH = 4,
};

/* A writer whose first error sticks. */
struct writer {
    void *fdt;
    int error;
};

static void keep(struct writer *w, int error)
{
    if (w->error == 0)
        w->error = error;
}

static void begin(struct writer *w, const char *name)
{
    keep(w, fdt_begin_node(w->fdt, name));
}

static void end(struct writer *w)
{
    keep(w, fdt_end_node(w->fdt));
}

static void put_bytes(struct writer *w, const char *name, const void *bytes, size_t count)
{
    keep(w, fdt_property(w->fdt, name, bytes, (int)count));
}

/* `text` may hold several strings, each with its NUL, in `count` bytes. */
#define put_strings(w, name, text) put_bytes(w, name, text, sizeof(text))

static void put_string(struct writer *w, const char *name, const char *text)
{
    put_bytes(w, name, text, strlen(text) + 1);
}

static void put_u32(struct writer *w, const char *name, uint32_t value)
{
    keep(w, fdt_property_u32(w->fdt, name, value));
}

static void put_u64(struct writer *w, const char *name, uint64_t value)
{
    keep(w, fdt_property_u64(w->fdt, name, value));
}

static void put_cells(struct writer *w, const char *name, const uint32_t *cells, size_t count)
{
    fdt32_t big[16];
    GW_ASSERT(count <= sizeof(big) / sizeof(big[0]));
    for (size_t i = 0; i < count; i++)
        big[i] = cpu_to_fdt32(cells[i]);
    put_bytes(w, name, big, count * sizeof(big[0]));
}

/* Address and size in two cells each. */
static void put_reg(struct writer *w, uint64_t address, uint64_t bytes)
{
    const uint32_t cells[] = {(uint32_t)(address >> 32), (uint32_t)address, (uint32_t)(bytes >> 32),
                              (uint32_t)bytes};
    put_cells(w, "reg", cells, 4);
}

static void put_interrupt(struct writer *w, uint32_t interrupt)
{
    const uint32_t cells[] = {SPI, interrupt, LEVEL_HIGH};
    put_cells(w, "interrupts", cells, 3);
}

/* chosen.yaml */
static void put_chosen(struct writer *w, const struct gw_tree *tree)
{
    begin(w, "chosen");
    put_string(w, "stdout-path", "/pl011@9000000");
    if (tree->command_line)
        put_string(w, "bootargs", tree->command_line);
    if (tree->initrd_bytes > 0) {
        put_u64(w, "linux,initrd-start", tree->initrd_gpa);
        put_u64(w, "linux,initrd-end", tree->initrd_gpa + tree->initrd_bytes);
    }
    if (tree->seed_bytes > 8) {
        put_bytes(w, "kaslr-seed", tree->seed, 8);
        put_bytes(w, "rng-seed", tree->seed + 8, tree->seed_bytes - 8);
    }
    end(w);
}

static void put_memory(struct writer *w, const struct gw_tree *tree)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "memory@%" PRIx64, tree->ram_gpa);
    begin(w, name);
    put_string(w, "device_type", "memory");
    put_reg(w, tree->ram_gpa, tree->ram_bytes);
    end(w);
}

/* arm/cpus.yaml, arm/psci.yaml */
static void put_cpus(struct writer *w, const struct gw_tree *tree)
{
    begin(w, "cpus");
    put_u32(w, "#address-cells", 1);
    put_u32(w, "#size-cells", 0);
    for (uint32_t i = 0; i < tree->vcpu_count; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "cpu@%" PRIx32, i);
        begin(w, name);
        put_string(w, "device_type", "cpu");
        put_string(w, "compatible", "arm,armv8");
        put_string(w, "enable-method", "psci");
        put_u32(w, "reg", i);
        end(w);
    }
    end(w);
    begin(w, "psci");
    put_strings(w, "compatible", "arm,psci-1.0\0arm,psci-0.2");
    put_string(w, "method", "hvc");
    end(w);
}

/* timer/arm,arch_timer.yaml */
static void put_timer(struct writer *w)
{
    static const uint32_t cells[] = {
        PPI, GW_LAYOUT_TIMER_SECURE,  LEVEL_HIGH, PPI, GW_LAYOUT_TIMER_PHYSICAL,   LEVEL_HIGH,
        PPI, GW_LAYOUT_TIMER_VIRTUAL, LEVEL_HIGH, PPI, GW_LAYOUT_TIMER_HYPERVISOR, LEVEL_HIGH};
    begin(w, "timer");
    put_strings(w, "compatible", "arm,armv8-timer\0arm,armv7-timer");
    put_cells(w, "interrupts", cells, 12);
    put_bytes(w, "always-on", "", 0);
    end(w);
}

/* interrupt-controller/arm,gic-v3.yaml */
static void put_gic(struct writer *w, const struct gw_tree *tree)
{
    const uint64_t redistributors = GW_LAYOUT_GIC_REDISTRIBUTOR_BYTES * tree->vcpu_count;
    const uint32_t reg[] = {
        0, (uint32_t)GW_LAYOUT_GIC_DISTRIBUTOR,   0, (uint32_t)GW_LAYOUT_GIC_DISTRIBUTOR_BYTES,
        0, (uint32_t)GW_LAYOUT_GIC_REDISTRIBUTOR, 0, (uint32_t)redistributors};
    begin(w, "intc@8000000");
    put_string(w, "compatible", "arm,gic-v3");
    put_u32(w, "#interrupt-cells", 3);
    put_bytes(w, "interrupt-controller", "", 0);
    put_cells(w, "reg", reg, 8);
    put_u32(w, "phandle", PHANDLE_GIC);
    end(w);
}

/* clock/fixed-clock.yaml: both PrimeCells want a clock; this one has no other meaning. */
static void put_clock(struct writer *w)
{
    begin(w, "apb-pclk");
    put_string(w, "compatible", "fixed-clock");
    put_u32(w, "#clock-cells", 0);
    put_u32(w, "clock-frequency", 24000000);
    put_string(w, "clock-output-names", "clk24mhz");
    put_u32(w, "phandle", PHANDLE_CLOCK);
    end(w);
}

/* serial/pl011.yaml, rtc/arm,pl031.yaml */
static void put_devices(struct writer *w)
{
    static const uint32_t two_clocks[] = {PHANDLE_CLOCK, PHANDLE_CLOCK};
    begin(w, "pl011@9000000");
    put_strings(w, "compatible", "arm,pl011\0arm,primecell");
    put_reg(w, GW_LAYOUT_PL011, GW_LAYOUT_DEVICE_BYTES);
    put_interrupt(w, GW_LAYOUT_PL011_INTERRUPT);
    put_cells(w, "clocks", two_clocks, 2);
    put_strings(w, "clock-names", "uartclk\0apb_pclk");
    end(w);
    begin(w, "pl031@9010000");
    put_strings(w, "compatible", "arm,pl031\0arm,primecell");
    put_reg(w, GW_LAYOUT_PL031, GW_LAYOUT_DEVICE_BYTES);
    put_interrupt(w, GW_LAYOUT_PL031_INTERRUPT);
    put_u32(w, "clocks", PHANDLE_CLOCK);
    put_string(w, "clock-names", "apb_pclk");
    end(w);
}

enum gw_status gw_tree_encode(const struct gw_tree *tree, uint8_t *bytes, size_t capacity,
                              struct gw_fault *fault)
{
    struct writer w = {.fdt = bytes, .error = fdt_create(bytes, (int)capacity)};
    keep(&w, fdt_finish_reservemap(bytes));
    begin(&w, "");
    put_string(&w, "compatible", "linux,dummy-virt");
    put_string(&w, "model", "linux,dummy-virt");
    put_u32(&w, "#address-cells", 2);
    put_u32(&w, "#size-cells", 2);
    put_u32(&w, "interrupt-parent", PHANDLE_GIC);
    put_chosen(&w, tree);
    put_memory(&w, tree);
    put_cpus(&w, tree);
    put_timer(&w);
    put_gic(&w, tree);
    put_clock(&w);
    put_devices(&w);
    end(&w);
    keep(&w, fdt_finish(bytes));
    if (w.error)
        return gw_fault_set(fault, GW_LIMIT,
                            "the device tree does not fit into its %zu bytes (libfdt error %d); "
                            "is the command line too long?",
                            capacity, w.error);
    return GW_OK;
}
