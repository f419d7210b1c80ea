/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices' machine: which one an access is for, their interrupt lines, their alarm clock, and
 * the two ends of the console.
 *
 * Locks: device_lock around every call of a device. Events are raised after it is released.
 */
#include "internal.h"

#include <linux/kvm.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "layout.h"

/* So long output collects that is no whole line: each event costs the monitor and whoever reads the
 * console a few system calls, a byte costs next to nothing. Nobody who types sees it. */
#define CONSOLE_WAIT_NS (10 * GW_NS_PER_MS)

void gw_vm_devices_init(struct gw_vm *vm)
{
    gw_pl011_init(&vm->pl011, GW_LAYOUT_PL011, GW_LAYOUT_PL011_INTERRUPT);
    gw_pl031_init(&vm->pl031, GW_LAYOUT_PL031, GW_LAYOUT_PL031_INTERRUPT);
    vm->devices[0] = &vm->pl011.device;
    vm->devices[1] = &vm->pl031.device;
    for (uint32_t i = 0; i < GW_VM_DEVICES; i++)
        vm->line_high[i] = false;
    vm->alarm_ns = GW_DEVICE_NEVER;
    vm->console = GW_VM_CONSOLE_NONE;
    vm->is_room_awaited = false;
}

void gw_vm_devices_reset(struct gw_vm *vm)
{
    for (uint32_t i = 0; i < GW_VM_DEVICES; i++)
        vm->devices[i]->operations->reset(vm->devices[i]);
}

static void set_line(const struct gw_vm *vm, const struct gw_device *device)
{
    struct kvm_irq_level line = {.irq = (__u32)KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT |
                                        (32 + device->interrupt),
                                 .level = device->is_line_high};
    (void)gw_kvm_call(vm->fd, KVM_IRQ_LINE, &line);
}

/* Under device_lock. Forced: KVM is told even what it should know. */
static void settle_lines(struct gw_vm *vm, bool is_forced)
{
    for (uint32_t i = 0; i < GW_VM_DEVICES; i++) {
        if (vm->line_high[i] == vm->devices[i]->is_line_high && !is_forced)
            continue;
        vm->line_high[i] = vm->devices[i]->is_line_high;
        set_line(vm, vm->devices[i]);
    }
}

/* When it is so late for the guest, by this host's clock: 1 (0 would turn a timer off) to
 * INT64_MAX. A deadline may come from a peer, and may be any number. */
static uint64_t host_time(const struct gw_vm *vm, uint64_t guest_ns)
{
    uint64_t offset = (uint64_t)vm->wall_offset_ns;
    uint64_t at;
    if (vm->wall_offset_ns > 0)
        at = guest_ns > offset ? guest_ns - offset : 1;
    else
        at = guest_ns < INT64_MAX + offset ? guest_ns - offset : INT64_MAX; /* less a negative */
    at = at < INT64_MAX ? at : INT64_MAX;
    return at > 0 ? at : 1;
}

/* Under device_lock. The earliest deadline, in the time of this host's clock, whose steps it
 * follows. */
static void settle_alarm(struct gw_vm *vm)
{
    uint64_t first = GW_DEVICE_NEVER;
    for (uint32_t i = 0; i < GW_VM_DEVICES; i++) {
        if (vm->devices[i]->deadline_ns < first)
            first = vm->devices[i]->deadline_ns;
    }
    if (first != GW_DEVICE_NEVER)
        first = host_time(vm, first);
    if (first == vm->alarm_ns)
        return;
    vm->alarm_ns = first;
    struct itimerspec alarm = {0};
    if (first != GW_DEVICE_NEVER) {
        alarm.it_value.tv_sec = (time_t)(first / GW_NS_PER_S);
        alarm.it_value.tv_nsec = (long)(first % GW_NS_PER_S);
    }
    (void)timerfd_settime(vm->alarm_fd, TFD_TIMER_ABSTIME, &alarm, NULL);
}

void gw_vm_lines_settle(struct gw_vm *vm, bool is_forced)
{
    (void)pthread_mutex_lock(&vm->device_lock);
    settle_lines(vm, is_forced);
    (void)pthread_mutex_unlock(&vm->device_lock);
}

void gw_vm_alarm_service(struct gw_vm *vm)
{
    uint64_t expirations;
    (void)pthread_mutex_lock(&vm->device_lock);
    if (read(vm->alarm_fd, &expirations, sizeof(expirations)) > 0)
        vm->alarm_ns = GW_DEVICE_NEVER; /* spent: set it again if it was early */
    uint64_t now = gw_vm_wall_ns(vm);
    for (uint32_t i = 0; i < GW_VM_DEVICES; i++) {
        if (vm->devices[i]->deadline_ns <= now)
            vm->devices[i]->operations->expire(vm->devices[i], now);
    }
    settle_lines(vm, false);
    settle_alarm(vm);
    (void)pthread_mutex_unlock(&vm->device_lock);
}

static void set_console_timer(const struct gw_vm *vm, uint64_t wait_ns)
{
    struct itimerspec timer = {.it_value.tv_nsec = (long)wait_ns}; /* 0: off */
    (void)timerfd_settime(vm->console_fd, 0, &timer, NULL);
}

/* Under device_lock, behind an access. Returns true when CONSOLE is to be raised. Until all is
 * taken what was decided stands, or becomes sooner. */
static bool settle_console(struct gw_vm *vm)
{
    if (vm->pl011.output_count == 0 || vm->console == GW_VM_CONSOLE_NOW)
        return false;
    if (gw_pl011_is_output_due(&vm->pl011)) {
        vm->console = GW_VM_CONSOLE_NOW;
        return true;
    }
    if (vm->console == GW_VM_CONSOLE_NONE) {
        vm->console = GW_VM_CONSOLE_LATER;
        set_console_timer(vm, CONSOLE_WAIT_NS);
    }
    return false;
}

void gw_vm_console_service(struct gw_vm *vm)
{
    uint64_t expirations;
    (void)pthread_mutex_lock(&vm->device_lock);
    bool is_due = read(vm->console_fd, &expirations, sizeof(expirations)) > 0 &&
                  vm->console == GW_VM_CONSOLE_LATER; /* else it is due already */
    if (is_due)
        vm->console = GW_VM_CONSOLE_NOW;
    (void)pthread_mutex_unlock(&vm->device_lock);
    if (is_due)
        gw_vm_raise(vm, GW_VM_CONSOLE);
}

static struct gw_device *device_at(struct gw_vm *vm, uint64_t address, uint32_t bytes)
{
    for (uint32_t i = 0; i < GW_VM_DEVICES; i++) {
        struct gw_device *device = vm->devices[i];
        if (address >= device->base && address - device->base < device->bytes &&
            bytes <= device->bytes - (address - device->base))
            return device;
    }
    return NULL;
}

static void access_device(struct gw_vm *vm, struct gw_device *device, uint64_t address,
                          uint32_t bytes, bool is_write, uint64_t *value)
{
    uint64_t offset = address - device->base;
    uint64_t wall_ns = gw_vm_wall_ns(vm);
    if (is_write)
        device->operations->write(device, offset, bytes, *value, wall_ns);
    else
        *value = device->operations->read(device, offset, bytes, wall_ns);
    settle_lines(vm, false);
    settle_alarm(vm);
}

void gw_vm_bus_access(struct gw_vm *vm, uint64_t address, uint32_t bytes, bool is_write,
                      uint8_t *data)
{
    uint64_t value = 0;
    for (uint32_t i = 0; is_write && i < bytes && i < 8; i++)
        value |= (uint64_t)data[i] << (8 * i);
    (void)pthread_mutex_lock(&vm->device_lock);
    struct gw_device *device = device_at(vm, address, bytes);
    if (device)
        access_device(vm, device, address, bytes, is_write, &value);
    bool is_output_due = settle_console(vm);
    bool has_room = vm->is_room_awaited && gw_pl011_input_room(&vm->pl011) > 0;
    if (has_room)
        vm->is_room_awaited = false;
    (void)pthread_mutex_unlock(&vm->device_lock);

    for (uint32_t i = 0; !is_write && i < bytes && i < 8; i++)
        data[i] = (uint8_t)(value >> (8 * i));
    if (is_output_due)
        gw_vm_raise(vm, GW_VM_CONSOLE);
    if (has_room)
        gw_vm_raise(vm, GW_VM_CONSOLE_ROOM);
}

size_t gw_vm_console_take(struct gw_vm *vm, uint8_t *bytes, size_t capacity)
{
    (void)pthread_mutex_lock(&vm->device_lock);
    size_t taken = gw_pl011_take_output(&vm->pl011, bytes, capacity);
    if (vm->pl011.output_count == 0 && vm->console != GW_VM_CONSOLE_NONE) {
        vm->console = GW_VM_CONSOLE_NONE;
        set_console_timer(vm, 0);
    }
    settle_lines(vm, false);
    (void)pthread_mutex_unlock(&vm->device_lock);
    return taken;
}

void gw_vm_console_again(struct gw_vm *vm)
{
    gw_vm_raise(vm, GW_VM_CONSOLE);
}

size_t gw_vm_console_put(struct gw_vm *vm, const uint8_t *bytes, size_t count)
{
    (void)pthread_mutex_lock(&vm->device_lock);
    /* A guest that is to arrive brings its own receiver: what is given to this one is lost. */
    size_t taken =
        vm->has_guest && vm->is_settled ? gw_pl011_put_input(&vm->pl011, bytes, count) : 0;
    vm->is_room_awaited = taken < count;
    settle_lines(vm, false);
    (void)pthread_mutex_unlock(&vm->device_lock);
    return taken;
}
