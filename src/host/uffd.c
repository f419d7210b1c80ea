/* SPDX-License-Identifier: Apache-2.0 */
/* Opening userfaultfd. The contract: godwit/uffd.h. */
#include "godwit/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "godwit/ioctl.h"

static int open_by_device(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        return -1;
    }
    int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    int error = errno;
    (void)close(device);
    errno = error;
    return fd;
}

static int open_by_call(int flags)
{
    return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);
}

static enum gw_status open_any(struct gw_uffd *uffd, bool is_user_mode_enough,
                               struct gw_fault *fault)
{
    uffd->fd = open_by_device();
    if (uffd->fd < 0) {
        uffd->fd = open_by_call(0);
    }
    if (uffd->fd < 0 && is_user_mode_enough) {
        uffd->fd = open_by_call(UFFD_USER_MODE_ONLY);
        uffd->is_user_mode_only = uffd->fd >= 0;
    }
    if (uffd->fd < 0) {
        return gw_fault_set_os(fault, errno,
                               "userfaultfd (give this user access to /dev/userfaultfd, or set "
                               "sysctl vm.unprivileged_userfaultfd=1)");
    }
    return GW_OK;
}

/* The handshake can be done only once on an fd, and asking for a feature the kernel lacks fails
 * without saying which: one fd is spent on the question. */
static enum gw_status query_features(struct gw_uffd *uffd, bool is_user_mode_enough,
                                     struct gw_fault *fault)
{
    enum gw_status status = open_any(uffd, is_user_mode_enough, fault);
    if (status != GW_OK) {
        return status;
    }
    struct uffdio_api api = {.api = UFFD_API};
    if (gw_ioctl(uffd->fd, UFFDIO_API, &api) != 0) {
        status = gw_fault_set_os(fault, errno, "userfaultfd handshake");
    }
    uffd->features = api.features;
    gw_uffd_close(uffd);
    return status;
}

enum gw_status gw_uffd_open(struct gw_uffd *uffd, uint64_t features, bool is_user_mode_enough,
                            struct gw_fault *fault)
{
    *uffd = (struct gw_uffd){.fd = -1};
    enum gw_status status = query_features(uffd, is_user_mode_enough, fault);
    if (status != GW_OK) {
        return status;
    }
    if ((features & ~uffd->features) != 0) {
        return gw_fault_set(fault, GW_HOST,
                            "userfaultfd: this kernel lacks features 0x%" PRIx64
                            " (wanted 0x%" PRIx64 ", has 0x%" PRIx64 ")",
                            features & ~uffd->features, features, uffd->features);
    }
    status = open_any(uffd, is_user_mode_enough, fault);
    if (status != GW_OK) {
        return status;
    }
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    if (gw_ioctl(uffd->fd, UFFDIO_API, &api) != 0) {
        status = gw_fault_set_os(fault, errno, "userfaultfd handshake");
        gw_uffd_close(uffd);
    }
    return status;
}

void gw_uffd_close(struct gw_uffd *uffd)
{
    if (uffd->fd >= 0) {
        (void)close(uffd->fd);
    }
    uffd->fd = -1;
}
