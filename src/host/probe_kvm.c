/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host's KVM has and lacks. Linux Documentation/virt/kvm/api.rst, each capability under
 * its name. The contract: godwit/probe.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "godwit/ioctl.h"
#include "host/probe_internal.h"

static int has(int vm_fd, int capability)
{
    int value = ioctl(vm_fd, KVM_CHECK_EXTENSION, capability);
    return value > 0 ? value : 0;
}

static void probe_capability(struct gw_probe *probe, int vm_fd, const char *name, int capability,
                             enum gw_probe_verdict if_missing, const char *remedy)
{
    int value = has(vm_fd, capability);
    if (value > 0) {
        gw_probe_put(probe, name, GW_PROBE_OK, NULL, "yes (%d)", value);
    } else {
        gw_probe_put(probe, name, if_missing, remedy, "no");
    }
}

#ifdef __aarch64__
static bool is_creatable(int vm_fd, uint32_t type)
{
    struct kvm_create_device device = {.type = type, .flags = KVM_CREATE_DEVICE_TEST};
    return gw_ioctl(vm_fd, KVM_CREATE_DEVICE, &device) == 0;
}

/* arm64 needs the bitmap beside the rings (godwit/kvm_ring.h). */
static void probe_ring(struct gw_probe *probe, int vm_fd)
{
    int bytes = has(vm_fd, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
    if (bytes > 0 && has(vm_fd, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP) > 0) {
        gw_probe_put(probe, "dirty ring", GW_PROBE_OK, NULL, "up to %d entries a CPU",
                     bytes / (int)sizeof(struct kvm_dirty_gfn));
    } else {
        gw_probe_put(probe, "dirty ring", GW_PROBE_OPTIONAL,
                     "optional, for godwit run --dirty ring: Linux 6.2 or newer", "no");
    }
}

static void probe_machine(struct gw_probe *probe, int vm_fd)
{
    bool is_v3 = is_creatable(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V3);
    bool is_v2 = is_creatable(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V2);
    gw_probe_put(probe, "virtual GIC", is_v3 ? GW_PROBE_OK : GW_PROBE_MISSING,
                 is_v3   ? NULL
                 : is_v2 ? "godwit's guests have a GICv3, which this host's own controller cannot "
                           "give them"
                         : "this kernel offers no virtual interrupt controller: see its log for "
                           "vgic, and the firmware's GIC description",
                 "%s%s%s", is_v3 ? "GICv3" : "", is_v3 && is_v2 ? ", " : "",
                 is_v2   ? "GICv2"
                 : is_v3 ? ""
                         : "none");
    probe_capability(probe, vm_fd, "PSCI 0.2", KVM_CAP_ARM_PSCI_0_2, GW_PROBE_MISSING,
                     "Linux 3.15 or newer");
    probe_capability(probe, vm_fd, "one-register access", KVM_CAP_ONE_REG, GW_PROBE_MISSING,
                     "Linux 3.9 or newer");
    probe_capability(probe, vm_fd, "counter offset", KVM_CAP_COUNTER_OFFSET, GW_PROBE_OPTIONAL,
                     "Linux 6.4 or newer; without it the virtual counter is set by register");
    probe_ring(probe, vm_fd);
}
#else
static void probe_machine(struct gw_probe *probe, int vm_fd)
{
    (void)probe;
    (void)vm_fd;
}
#endif

static void probe_vm(struct gw_probe *probe, int vm_fd)
{
    probe_capability(probe, vm_fd, "immediate exit", KVM_CAP_IMMEDIATE_EXIT, GW_PROBE_MISSING,
                     "Linux 4.13 or newer");
    probe_capability(probe, vm_fd, "manual dirty log", KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                     GW_PROBE_OPTIONAL,
                     "Linux 5.2 or newer; without it each round re-protects all pages at once");
    probe_capability(probe, vm_fd, "irqfd", KVM_CAP_IRQFD, GW_PROBE_OPTIONAL,
                     "optional, for device speed: CONFIG_EVENTFD");
    probe_machine(probe, vm_fd);
}

static const char *open_remedy(int error)
{
    if (error == ENOENT) {
        return "a kernel with CONFIG_KVM, started at EL2: see its log for kvm";
    }
    if (error == EACCES || error == EPERM) {
        return "run as root, or add this user to the group that owns /dev/kvm";
    }
    return "see the kernel's log for kvm";
}

void gw_probe_kvm(struct gw_probe *probe)
{
    int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm_fd < 0) {
        int error = errno;
        gw_probe_put(probe, "KVM", GW_PROBE_MISSING, open_remedy(error), "/dev/kvm: %s",
                     strerror(error));
        return;
    }
    int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
    bool is_right = version == KVM_API_VERSION;
    gw_probe_put(probe, "KVM", is_right ? GW_PROBE_OK : GW_PROBE_MISSING,
                 is_right ? NULL : "wanted API version 12: Linux 2.6.22 or newer", "API version %d",
                 version);
    int vm_fd;
    do {
        vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    } while (vm_fd < 0 && errno == EINTR);
    if (vm_fd >= 0) {
        probe_vm(probe, vm_fd);
        (void)close(vm_fd);
    } else {
        gw_probe_put(probe, "virtual machines", GW_PROBE_MISSING, open_remedy(errno), "no: %s",
                     strerror(errno));
    }
    (void)close(kvm_fd);
}
