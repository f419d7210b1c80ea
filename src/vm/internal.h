/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of src/vm share. Contract of owner, threads and errors: godwit/vm.h. "While
 * halted" means that all vCPU threads are parked, so that KVM answers instead of saying EBUSY.
 */
#ifndef GODWIT_VM_INTERNAL_H
#define GODWIT_VM_INTERNAL_H

#include "godwit/ioctl.h"
#include "godwit/vm.h"

/* KVM's requests take a pointer, a number, or nothing. */
#define gw_kvm_call(fd, request, argument) gw_ioctl(fd, request, (void *)(uintptr_t)(argument))

enum { GW_VM_GOAL_HALT = 0, GW_VM_GOAL_RUN, GW_VM_GOAL_END };

/* kvm.c: the few system calls all others are made of. Values are at most 64 bits wide. */
int gw_kvm_get(int fd, uint64_t id, uint64_t *value);
int gw_kvm_set(int fd, uint64_t id, uint64_t value);
int gw_kvm_get_attribute(int fd, uint32_t group, uint64_t attribute, void *value);
int gw_kvm_set_attribute(int fd, uint32_t group, uint64_t attribute, const void *value);
/* How many bytes a register has, from its ID. */
size_t gw_kvm_register_bytes(uint64_t id);

/* build.c: the KVM VM itself, which load may have to make a second time. */
enum gw_status gw_vm_build(struct gw_vm *vm, struct gw_fault *fault);
void gw_vm_demolish(struct gw_vm *vm);

/* gic.c. All while halted. */
enum gw_status gw_vm_gic_open(struct gw_vm *vm, struct gw_fault *fault);
enum gw_status gw_vm_gic_save(struct gw_vm *vm, struct gw_state_writer *writer,
                              struct gw_fault *fault);
enum gw_status gw_vm_gic_load(struct gw_vm *vm, struct gw_state_section *section,
                              struct gw_fault *fault);

/* registers.c: one vCPU. All while halted. */
enum gw_status gw_vm_registers_list(struct gw_vm *vm, struct gw_fault *fault);
enum gw_status gw_vm_vcpu_save(struct gw_vm *vm, uint32_t index, struct gw_state_writer *writer,
                               struct gw_fault *fault);
enum gw_status gw_vm_vcpu_load(struct gw_vm *vm, uint32_t index, struct gw_state_section *section,
                               struct gw_fault *fault);

/* time.c. start: gives a new VM its counter. note: takes the moment at which the guest stopped;
 * from the vCPU thread that came out last, or while halted. */
enum gw_status gw_vm_time_start(struct gw_vm *vm, struct gw_fault *fault);
void gw_vm_time_note(struct gw_vm *vm);
uint64_t gw_vm_wall_ns(const struct gw_vm *vm);

/* vcpu.c: the threads, and the events they raise. */
enum gw_status gw_vm_threads_start(struct gw_vm *vm, struct gw_fault *fault);
void gw_vm_threads_stop(struct gw_vm *vm);
void gw_vm_raise(struct gw_vm *vm, enum gw_vm_event_kind kind);
void gw_vm_forget_ending(struct gw_vm *vm);

/* bus.c: the devices. access is called by vCPU threads; the value is little-endian. */
void gw_vm_devices_init(struct gw_vm *vm);
void gw_vm_devices_reset(struct gw_vm *vm);
void gw_vm_bus_access(struct gw_vm *vm, uint64_t address, uint32_t bytes, bool is_write,
                      uint8_t *value);
void gw_vm_lines_settle(struct gw_vm *vm, bool is_forced);
void gw_vm_alarm_service(struct gw_vm *vm);
void gw_vm_console_service(struct gw_vm *vm);

#endif
