/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that come in hundreds. Owner: none. Any thread; blocks for the call. */
#include "internal.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a 32-bit register is the low half of "
                                                         "the 64 bits it is read into");

int gw_kvm_get(int fd, uint64_t id, uint64_t *value)
{
    *value = 0;
    struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)value};
    return gw_kvm_call(fd, KVM_GET_ONE_REG, &reg) < 0 ? errno : 0;
}

int gw_kvm_set(int fd, uint64_t id, uint64_t value)
{
    struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)&value};
    return gw_kvm_call(fd, KVM_SET_ONE_REG, &reg) < 0 ? errno : 0;
}

int gw_kvm_get_attribute(int fd, uint32_t group, uint64_t attribute, void *value)
{
    struct kvm_device_attr request = {.group = group, .attr = attribute, .addr = (uintptr_t)value};
    return gw_kvm_call(fd, KVM_GET_DEVICE_ATTR, &request) < 0 ? errno : 0;
}

int gw_kvm_set_attribute(int fd, uint32_t group, uint64_t attribute, const void *value)
{
    struct kvm_device_attr request = {.group = group, .attr = attribute, .addr = (uintptr_t)value};
    return gw_kvm_call(fd, KVM_SET_DEVICE_ATTR, &request) < 0 ? errno : 0;
}

size_t gw_kvm_register_bytes(uint64_t id)
{
    return (size_t)1 << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);
}
