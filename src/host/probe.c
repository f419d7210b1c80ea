/* SPDX-License-Identifier: Apache-2.0 */
/* What this host has and lacks, but for KVM (probe_kvm.c). The contract: godwit/probe.h. */
#include "godwit/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/memfd.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "godwit/huge_pages.h"
#include "godwit/kernel.h"
#include "godwit/ioctl.h"
#include "godwit/limits.h"
#include "godwit/record_file.h"
#include "godwit/uffd.h"
#include "host/probe_internal.h"

void gw_probe_put(struct gw_probe *probe, const char *name, enum gw_probe_verdict verdict,
                  const char *remedy, const char *found_format, ...)
{
    GW_ASSERT(probe->count < GW_PROBE_ITEMS_MAX);
    struct gw_probe_item *item = &probe->item[probe->count++];
    *item = (struct gw_probe_item){.name = name, .verdict = verdict};
    va_list arguments;
    va_start(arguments, found_format);
    (void)vsnprintf(item->found, sizeof(item->found), found_format, arguments);
    va_end(arguments);
    (void)snprintf(item->remedy, sizeof(item->remedy), "%s", remedy == NULL ? "" : remedy);
}

/* Reads the start of a small text file without its line end. False: not there. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, size - 1);
    (void)close(fd);
    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return got > 0;
}

static void probe_kernel(struct gw_probe *probe)
{
    struct utsname name;
    if (uname(&name) != 0) {
        (void)snprintf(name.release, sizeof(name.release), "unknown");
        (void)snprintf(name.machine, sizeof(name.machine), "unknown");
    }
#ifdef __aarch64__
    enum gw_probe_verdict verdict = GW_PROBE_OK;
    const char *remedy = NULL;
#else
    enum gw_probe_verdict verdict = GW_PROBE_MISSING;
    const char *remedy = "guests run on aarch64 only; here the engine can be built and tested";
#endif
    gw_probe_put(probe, "kernel", verdict, remedy, "Linux %.40s on %.20s", name.release,
                 name.machine);
}

static void probe_page_size(struct gw_probe *probe)
{
    long bytes = sysconf(_SC_PAGESIZE);
    bool is_enough = bytes >= (long)GW_PAGE_BYTES_MIN;
    gw_probe_put(probe, "page size", is_enough ? GW_PROBE_OK : GW_PROBE_MISSING,
                 is_enough ? NULL
                           : "build godwit for a board whose GW_BOARD_PAGE_BYTES_MIN is "
                             "this size",
                 "%ld bytes", bytes);
}

static void probe_memfd(struct gw_probe *probe)
{
    int fd = memfd_create("godwit-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool is_there = fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0;
    int error = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (is_there) {
        gw_probe_put(probe, "sealed memfd", GW_PROBE_OK, NULL, "yes");
    } else {
        gw_probe_put(probe, "sealed memfd", GW_PROBE_MISSING,
                     "build the kernel with CONFIG_MEMFD_CREATE and CONFIG_TMPFS", "no: %s",
                     strerror(error));
    }
}

static void probe_uffd(struct gw_probe *probe)
{
    struct gw_uffd uffd;
    struct gw_fault fault;
    gw_fault_clear(&fault);
    if (gw_uffd_open(&uffd, 0, true, &fault) != GW_OK) {
        gw_probe_put(probe, "userfaultfd", GW_PROBE_OPTIONAL,
                     "for postcopy: CONFIG_USERFAULTFD=y, and access to /dev/userfaultfd or sysctl "
                     "vm.unprivileged_userfaultfd=1",
                     "no: %s", strerror(fault.os_error));
        return;
    }
    bool is_limited = uffd.is_user_mode_only;
    uint64_t features = uffd.features;
    gw_uffd_close(&uffd);
    gw_probe_put(probe, "userfaultfd", is_limited ? GW_PROBE_OPTIONAL : GW_PROBE_OK,
                 is_limited ? "KVM needs faults of the kernel too: give this user access to "
                              "/dev/userfaultfd, or sysctl vm.unprivileged_userfaultfd=1"
                            : NULL,
                 "%s, features 0x%" PRIx64, is_limited ? "user faults only" : "yes", features);
    const char *mode = (features & UFFD_FEATURE_WP_ASYNC)             ? "asynchronous"
                       : (features & UFFD_FEATURE_WP_HUGETLBFS_SHMEM) ? "synchronous"
                       : (features & UFFD_FEATURE_PAGEFAULT_FLAG_WP)  ? "anonymous memory only"
                                                                      : "no";
    gw_probe_put(probe, "write-protect tracking",
                 (features & UFFD_FEATURE_WP_HUGETLBFS_SHMEM) ? GW_PROBE_OK : GW_PROBE_OPTIONAL,
                 (features & UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
                     ? NULL
                     : "for embedders without KVM: Linux 5.19 or newer",
                 "%s", mode);
}

static void probe_pagemap_scan(struct gw_probe *probe)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    struct pm_scan_arg scan = {.size = sizeof(scan)}; /* an empty range is a valid question */
    bool is_there = fd >= 0 && gw_ioctl(fd, PAGEMAP_SCAN, &scan) >= 0;
    int error = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (is_there) {
        gw_probe_put(probe, "PAGEMAP_SCAN", GW_PROBE_OK, NULL, "yes");
    } else {
        gw_probe_put(probe, "PAGEMAP_SCAN", GW_PROBE_OPTIONAL,
                     "for embedders without KVM, quicker tracking: Linux 6.7 or newer", "no: %s",
                     strerror(error));
    }
}

static void probe_vsock(struct gw_probe *probe)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = errno;
    if (fd >= 0) {
        (void)close(fd);
        gw_probe_put(probe, "AF_VSOCK", GW_PROBE_OK, NULL, "yes");
    } else {
        gw_probe_put(probe, "AF_VSOCK", GW_PROBE_OPTIONAL,
                     "for migration over vsock: load the module vsock (CONFIG_VSOCKETS)", "no: %s",
                     strerror(error));
    }
}

/* A socket that is not connected is asked for: the answer to that comes behind the module. */
static void probe_kernel_tls(struct gw_probe *probe)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_there = fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) != 0 &&
                    errno == ENOTCONN;
    if (fd >= 0) {
        (void)close(fd);
    }
    gw_probe_put(probe, "TLS in the kernel", is_there ? GW_PROBE_OK : GW_PROBE_OPTIONAL,
                 is_there ? NULL
                          : "optional, for speed with --tls: load the module tls (CONFIG_TLS)",
                 "%s", is_there ? "yes" : "no");
}

static void probe_huge_pages(struct gw_probe *probe)
{
    char text[64] = "";
    struct gw_huge_pages pages;
    gw_huge_pages_count(&pages);
    bool is_some = pages.available > 0;
    gw_probe_put(probe, "huge pages", is_some ? GW_PROBE_OK : GW_PROBE_OPTIONAL,
                 is_some           ? NULL
                 : !pages.is_known ? "for run --hugepages: a kernel with CONFIG_HUGETLBFS"
                                   : "for run --hugepages, as root: echo N > " GW_HUGE_PAGES_PATH
                                     "/nr_hugepages, one for each 2 MiB of guest memory",
                 pages.is_known ? "%" PRIu64 " of %" PRIu64 " of 2 MiB free" : "none of 2 MiB",
                 pages.available, pages.total);
    bool is_known =
        read_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled", text, sizeof(text));
    bool is_denied = strstr(text, "[deny]") != NULL;
    bool is_well = is_known && !is_denied && gw_kernel_is_from(6, 5);
    gw_probe_put(probe, "transparent huge pages for shmem",
                 is_well ? GW_PROBE_OK : GW_PROBE_OPTIONAL,
                 is_well     ? NULL
                 : is_denied ? "optional, for speed: echo never > "
                               "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
                             : "optional, for speed: Linux 6.5 or newer with "
                               "CONFIG_TRANSPARENT_HUGEPAGE",
                 "%s", is_known ? text : "not in this kernel");
}

/* The directory may not exist yet: then its nearest parent must let us make it. */
static void probe_state_directory(struct gw_probe *probe, const char *directory)
{
    char path[PATH_MAX];
    struct gw_fault fault = {.status = GW_OK};
    (void)snprintf(path, sizeof(path), "%s", directory);
    bool is_there = access(path, F_OK) == 0;
    if (is_there && gw_state_directory_check(path, &fault) != GW_OK) {
        gw_probe_put(probe, "state directory", GW_PROBE_MISSING,
                     "give --state-dir DIR, of mode 0700", "%s", fault.text);
        return;
    }
    while (access(path, F_OK) != 0 && errno == ENOENT) {
        char *slash = strrchr(path, '/');
        if (slash == NULL) {
            (void)snprintf(path, sizeof(path), ".");
        } else {
            slash[slash == path] = '\0'; /* the root keeps its slash */
        }
    }
    if (access(path, W_OK | X_OK) == 0) {
        gw_probe_put(probe, "state directory", GW_PROBE_OK, NULL, "%.60s%s", directory,
                     is_there ? "" : " (will be made)");
    } else {
        gw_probe_put(probe, "state directory", GW_PROBE_MISSING,
                     "run as root, set XDG_RUNTIME_DIR, or give --state-dir DIR", "%.40s: %s", path,
                     strerror(errno));
    }
}

void gw_probe_host(struct gw_probe *probe, const char *state_directory)
{
    probe->count = 0;
    probe_kernel(probe);
    probe_page_size(probe);
    gw_probe_kvm(probe);
    probe_memfd(probe);
    probe_uffd(probe);
    probe_pagemap_scan(probe);
    probe_vsock(probe);
    probe_kernel_tls(probe);
    probe_huge_pages(probe);
    probe_state_directory(probe, state_directory);
}

enum gw_probe_verdict gw_probe_worst(const struct gw_probe *probe)
{
    enum gw_probe_verdict worst = GW_PROBE_OK;
    for (uint32_t i = 0; i < probe->count; i++) {
        if (probe->item[i].verdict > worst) {
            worst = probe->item[i].verdict;
        }
    }
    return worst;
}

const char *gw_probe_verdict_name(enum gw_probe_verdict verdict)
{
    switch (verdict) {
    case GW_PROBE_OK:
        return "ok";
    case GW_PROBE_OPTIONAL:
        return "optional";
    case GW_PROBE_MISSING:
        return "missing";
    }
    return "unknown";
}
