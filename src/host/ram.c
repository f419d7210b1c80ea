/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM over memfd, of huge pages too, or an embedder's anonymous memory. The contract:
 * godwit/ram.h. */
#include "godwit/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "godwit/huge_pages.h"
#include "godwit/kernel.h"
#include "host/ram_private.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3, include/uapi/linux/memfd.h */
#endif

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14, include/uapi/asm-generic/mman-common.h */
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1, include/uapi/asm-generic/mman-common.h */
#endif

/* A huge page of 2 MiB is one entry of the table above that of such pages. */
enum { HUGE_FROM_PAGE_BYTES = 4096 };

void gw_ram_init(struct gw_ram *ram)
{
    *ram = (struct gw_ram){.page_bytes = (uint32_t)sysconf(_SC_PAGESIZE), .unit_pages = 1};
}

static bool is_overlapping(const struct gw_ram *ram, uint64_t gpa, uint64_t bytes)
{
    for (uint32_t i = 0; i < ram->region_count; i++) {
        const struct gw_ram_region *region = &ram->region[i];
        if (gpa < region->gpa + region->bytes && region->gpa < gpa + bytes) {
            return true;
        }
    }
    return false;
}

/* unit_bytes: what the region's pages come and go in. */
static enum gw_status check_region(const struct gw_ram *ram, uint64_t gpa, uint64_t bytes,
                                   uint64_t unit_bytes, struct gw_fault *fault)
{
    uint64_t ram_unit_bytes = (uint64_t)ram->unit_pages * ram->page_bytes;
    uint64_t mask = (unit_bytes > ram_unit_bytes ? unit_bytes : ram_unit_bytes) - 1;
    if (ram->page_bytes < GW_PAGE_BYTES_MIN) {
        return gw_fault_set(fault, GW_LIMIT,
                            "page size: this host has %" PRIu32
                            " bytes, this board is built for %u and more",
                            ram->page_bytes, (unsigned)GW_PAGE_BYTES_MIN);
    }
    if (ram->region_count == GW_RAM_REGIONS_MAX) {
        return gw_fault_set(fault, GW_LIMIT, "memory regions: this board has room for %u",
                            (unsigned)GW_RAM_REGIONS_MAX);
    }
    if (bytes == 0 || (bytes & mask) || (gpa & mask) || gpa > UINT64_MAX - bytes) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "memory of %" PRIu64 " bytes at 0x%" PRIx64
                            ": must be a multiple of the page size, %" PRIu64 " bytes, and not 0",
                            bytes, gpa, mask + 1);
    }
    uint64_t used = ram->page_count * ram->page_bytes;
    if (bytes > GW_RAM_BYTES_MAX - used) {
        return gw_fault_set(fault, GW_LIMIT,
                            "memory of %" PRIu64 " MiB: this board (%s) is built for %" PRIu64
                            " MiB at most",
                            (used + bytes) / GW_MIB, GW_BOARD_NAME, GW_RAM_BYTES_MAX / GW_MIB);
    }
    if (is_overlapping(ram, gpa, bytes)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "memory of %" PRIu64 " bytes at 0x%" PRIx64 " overlaps another region",
                            bytes, gpa);
    }
    return GW_OK;
}

static void append_region(struct gw_ram *ram, struct gw_ram_region region)
{
    region.page_first = ram->page_count;
    ram->region[ram->region_count++] = region;
    ram->page_count += region.bytes / ram->page_bytes;
}

/* Linux before 6.3 does not know MFD_NOEXEC_SEAL; from then on it warns when it is missing. */
static int make_memfd(unsigned flags)
{
    flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("godwit-ram", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create("godwit-ram", flags);
    }
    return fd;
}

/* So that 2 MiB of the file can be one page of the mapping, it begins at a multiple of that. But
 * none is made unless it is asked for (gw_ram_make_huge): it would fill holes. A kernel without
 * them says EINVAL to that, which is as good. */
static uint8_t *map_shared(uint64_t bytes, int flags, int fd)
{
    uint8_t *room = mmap(NULL, bytes + GW_HUGE_PAGE_BYTES, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) {
        return room;
    }
    uint64_t before = -(uintptr_t)room % GW_HUGE_PAGE_BYTES;
    uint8_t *base =
        mmap(room + before, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | flags, fd, 0);
    if (base == MAP_FAILED) {
        (void)munmap(room, bytes + GW_HUGE_PAGE_BYTES);
        return base;
    }
    if (before > 0) {
        (void)munmap(room, before);
    }
    (void)munmap(base + bytes, GW_HUGE_PAGE_BYTES - before);
    (void)madvise(base, bytes, MADV_NOHUGEPAGE);
    return base;
}

/* A region over that memfd, which is closed when it cannot be. */
static enum gw_status add_sealed(struct gw_ram *ram, struct gw_ram_region region, int map_flags,
                                 struct gw_fault *fault)
{
    uint64_t bytes = region.bytes;
    int fd = region.fd;
    enum gw_status status = GW_OK;
    /* Sealed, so that no one who is given the fd can make a mapped page vanish (SIGBUS). */
    if (ftruncate(fd, (off_t)bytes) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        status = gw_fault_set_os(fault, errno, "sealed memfd of %" PRIu64 " bytes", bytes);
        (void)close(fd);
        return status;
    }
    void *base = map_shared(bytes, map_flags, fd);
    if (base == MAP_FAILED) {
        status = gw_fault_set_os(fault, errno, "mapping %" PRIu64 " bytes of guest memory", bytes);
        (void)close(fd);
        return status;
    }
    region.base = base;
    append_region(ram, region);
    return GW_OK;
}

enum gw_status gw_ram_add_memfd(struct gw_ram *ram, uint64_t gpa, uint64_t bytes,
                                struct gw_fault *fault)
{
    enum gw_status status = check_region(ram, gpa, bytes, ram->page_bytes, fault);
    if (status != GW_OK) {
        return status;
    }
    int fd = make_memfd(0);
    if (fd < 0) {
        return gw_fault_set_os(fault, errno, "memfd for guest memory");
    }
    return add_sealed(
        ram, (struct gw_ram_region){.gpa = gpa, .bytes = bytes, .fd = fd, .kind = GW_RAM_MEMFD},
        MAP_NORESERVE, fault);
}

/* ---- Huge pages ---- */

/* Why they were not to be had, and what to do. */
static enum gw_status lack_huge_pages(uint64_t bytes, int error, struct gw_fault *fault)
{
    struct gw_huge_pages pages;
    uint64_t wanted = bytes / GW_HUGE_PAGE_BYTES;
    gw_huge_pages_count(&pages);
    if (!pages.is_known) {
        return gw_fault_set(fault, GW_HOST,
                            "this host has no huge pages of 2 MiB: a kernel with CONFIG_HUGETLBFS "
                            "has; see `godwit doctor`");
    }
    if (error != ENOMEM || pages.available >= wanted) {
        return gw_fault_set_os(fault, error, "%" PRIu64 " huge pages of guest memory", wanted);
    }
    return gw_fault_set(fault, GW_HOST,
                        "guest memory of %" PRIu64 " MiB in huge pages of 2 MiB: wanted %" PRIu64
                        ", %" PRIu64 " of this host's %" PRIu64 " are free; as root: echo %" PRIu64
                        " > " GW_HUGE_PAGES_PATH "/nr_hugepages",
                        bytes / GW_MIB, wanted, pages.available, pages.total,
                        pages.total + wanted - pages.available);
}

static enum gw_status check_huge(const struct gw_ram *ram, uint64_t gpa, uint64_t bytes,
                                 struct gw_fault *fault)
{
    if (GW_UNIT_BYTES_MAX < GW_HUGE_PAGE_BYTES || ram->page_bytes > GW_HUGE_PAGE_BYTES) {
        return gw_fault_set(fault, GW_LIMIT,
                            "huge pages: this board (%s) has no room to put one together",
                            GW_BOARD_NAME);
    }
    for (uint32_t i = 0; i < ram->region_count; i++) {
        if (ram->region[i].bytes % GW_HUGE_PAGE_BYTES != 0) {
            return gw_fault_set(fault, GW_ARGUMENT,
                                "memory of %" PRIu64 " bytes beside huge pages: must be a multiple "
                                "of 2 MiB, too",
                                ram->region[i].bytes);
        }
    }
    return check_region(ram, gpa, bytes, GW_HUGE_PAGE_BYTES, fault);
}

/* Without MAP_NORESERVE: a page that cannot be had would else be a SIGBUS some day. */
enum gw_status gw_ram_add_hugetlb(struct gw_ram *ram, uint64_t gpa, uint64_t bytes,
                                  struct gw_fault *fault)
{
    struct gw_fault cause = {.status = GW_OK};
    enum gw_status status = check_huge(ram, gpa, bytes, fault);
    if (status != GW_OK) {
        return status;
    }
    int fd = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB);
    if (fd < 0) {
        return lack_huge_pages(bytes, errno, fault);
    }
    status = add_sealed(
        ram, (struct gw_ram_region){.gpa = gpa, .bytes = bytes, .fd = fd, .kind = GW_RAM_HUGETLB},
        0, &cause);
    if (status != GW_OK) {
        return lack_huge_pages(bytes, cause.os_error, fault);
    }
    ram->unit_pages = (uint32_t)(GW_HUGE_PAGE_BYTES / ram->page_bytes);
    return GW_OK;
}

/* A descriptor from elsewhere: is it what gw_ram_add_memfd or gw_ram_add_hugetlb makes? The seals
 * tell a memfd from a file, and promise that no mapped page can vanish. */
static enum gw_status check_shared(uint64_t bytes, int fd, enum gw_ram_kind *kind,
                                   struct gw_fault *fault)
{
    struct stat found;
    struct statfs system;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0) {
        return gw_fault_set(fault, GW_REFUSED, "shared guest memory is no memfd");
    }
    if (fstatfs(fd, &system) != 0) {
        return gw_fault_set_os(fault, errno, "shared guest memory");
    }
    bool is_huge = (uint32_t)system.f_type == HUGETLBFS_MAGIC;
    *kind = is_huge ? GW_RAM_HUGETLB : GW_RAM_MEMFD;
    if (is_huge && (uint64_t)system.f_bsize != GW_HUGE_PAGE_BYTES) {
        return gw_fault_set(fault, GW_REFUSED,
                            "shared guest memory is of huge pages of %" PRIu64
                            " bytes, wanted 2 MiB",
                            (uint64_t)system.f_bsize);
    }
    if ((seals & SEALS) != SEALS) {
        return gw_fault_set(
            fault, GW_REFUSED,
            "shared guest memory has seals 0x%x, wanted 0x%x: it could be cut short",
            (unsigned)seals, (unsigned)SEALS);
    }
    if (fstat(fd, &found) != 0) {
        return gw_fault_set_os(fault, errno, "shared guest memory");
    }
    if ((uint64_t)found.st_size != bytes) {
        return gw_fault_set(fault, GW_REFUSED,
                            "shared guest memory has %" PRIu64 " bytes, wanted %" PRIu64,
                            (uint64_t)found.st_size, bytes);
    }
    return GW_OK;
}

/* What is mapped elsewhere cannot be told from a hole here, so all of it is mapped: a hole becomes
 * a page of zeros, which was reserved for it. */
static enum gw_status touch_all(const uint8_t *base, uint64_t bytes, struct gw_fault *fault)
{
    if (madvise((void *)(uintptr_t)base, bytes, MADV_POPULATE_WRITE) != 0) {
        return gw_fault_set_os(fault, errno,
                               "touching %" PRIu64 " bytes of shared huge pages (wants Linux 5.14)",
                               bytes);
    }
    for (uint64_t at = 0; at < bytes; at += GW_HUGE_PAGE_BYTES) {
        (void)*(const volatile uint8_t *)(base + at); /* qemu-user takes the advice for a hint */
    }
    return GW_OK;
}

enum gw_status gw_ram_add_shared(struct gw_ram *ram, uint64_t gpa, uint64_t bytes, int fd,
                                 struct gw_fault *fault)
{
    enum gw_ram_kind kind = GW_RAM_MEMFD;
    enum gw_status status = check_shared(bytes, fd, &kind, fault);
    bool is_huge = kind == GW_RAM_HUGETLB;
    if (status == GW_OK) {
        status = is_huge ? check_huge(ram, gpa, bytes, fault)
                         : check_region(ram, gpa, bytes, ram->page_bytes, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    void *base = map_shared(bytes, is_huge ? 0 : MAP_NORESERVE, fd);
    if (base == MAP_FAILED) {
        return gw_fault_set_os(fault, errno, "mapping %" PRIu64 " bytes of shared guest memory",
                               bytes);
    }
    status = is_huge ? touch_all(base, bytes, fault) : GW_OK;
    if (status != GW_OK) {
        (void)munmap(base, bytes);
        return status;
    }
    append_region(ram, (struct gw_ram_region){
                           .gpa = gpa, .bytes = bytes, .base = base, .fd = fd, .kind = kind});
    if (is_huge) {
        ram->unit_pages = (uint32_t)(GW_HUGE_PAGE_BYTES / ram->page_bytes);
    }
    return GW_OK;
}

enum gw_status gw_ram_add_anonymous(struct gw_ram *ram, uint64_t gpa, void *base, uint64_t bytes,
                                    struct gw_fault *fault)
{
    enum gw_status status = check_region(ram, gpa, bytes, ram->page_bytes, fault);
    if (status != GW_OK) {
        return status;
    }
    if (((uintptr_t)base & (ram->page_bytes - 1)) != 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "guest memory mapped at %p: must start at a multiple of the page "
                            "size, %" PRIu32 " bytes",
                            base, ram->page_bytes);
    }
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return gw_fault_set_os(fault, errno, "/proc/self/pagemap");
    }
    append_region(
        ram, (struct gw_ram_region){
                 .gpa = gpa, .bytes = bytes, .base = base, .fd = fd, .kind = GW_RAM_ANONYMOUS});
    return GW_OK;
}

void gw_ram_close(struct gw_ram *ram)
{
    for (uint32_t i = 0; i < ram->region_count; i++) {
        struct gw_ram_region *region = &ram->region[i];
        if (region->kind != GW_RAM_ANONYMOUS) {
            (void)munmap(region->base, region->bytes);
        }
        (void)close(region->fd);
    }
    gw_ram_init(ram);
}

const struct gw_ram_region *gw_ram_region_of(const struct gw_ram *ram, uint64_t page)
{
    GW_ASSERT(page < ram->page_count);
    uint32_t i = ram->region_count - 1;
    while (ram->region[i].page_first > page) {
        i--;
    }
    return &ram->region[i];
}

uint8_t *gw_ram_page(const struct gw_ram *ram, uint64_t page)
{
    const struct gw_ram_region *region = gw_ram_region_of(ram, page);
    return region->base + (page - region->page_first) * ram->page_bytes;
}

uint64_t gw_ram_contiguous(const struct gw_ram *ram, uint64_t page)
{
    const struct gw_ram_region *region = gw_ram_region_of(ram, page);
    return region->page_first + region->bytes / ram->page_bytes - page;
}

uint8_t *gw_ram_at(const struct gw_ram *ram, uint64_t gpa, uint64_t bytes)
{
    for (uint32_t i = 0; i < ram->region_count; i++) {
        const struct gw_ram_region *region = &ram->region[i];
        if (gpa >= region->gpa && bytes <= region->bytes &&
            gpa - region->gpa <= region->bytes - bytes) {
            return region->base + (gpa - region->gpa);
        }
    }
    return NULL;
}

void gw_ram_populate(const struct gw_ram *ram, uint64_t page, uint64_t count)
{
    GW_ASSERT(page <= ram->page_count && count <= ram->page_count - page);
    while (count > 0) {
        const struct gw_ram_region *region = gw_ram_region_of(ram, page);
        uint64_t here = gw_ram_contiguous(ram, page);
        here = here < count ? here : count;
        uint64_t first = page - region->page_first;
        if (gw_ram_resident_end(ram, region, first, first + here) < first + here) {
            (void)madvise(gw_ram_page(ram, page), here * ram->page_bytes, MADV_POPULATE_WRITE);
        }
        page += here;
        count -= here;
    }
}

/* What is there becomes part of it: so there has to be something, and best what nobody has mapped,
 * which the kernel would have to undo first. */
static enum gw_ram_huge collapse(int fd, uint64_t offset, uint8_t *base)
{
    if (pwrite(fd, "", 1, (off_t)offset) != 1 ||
        madvise(base, GW_HUGE_PAGE_BYTES, MADV_HUGEPAGE) != 0) {
        return GW_RAM_HUGE_NONE;
    }
    enum gw_ram_huge huge = madvise(base, GW_HUGE_PAGE_BYTES, MADV_COLLAPSE) == 0
                                ? GW_RAM_HUGE_MADE
                                : (errno == EAGAIN ? GW_RAM_HUGE_NOT : GW_RAM_HUGE_NONE);
    (void)madvise(base, GW_HUGE_PAGE_BYTES, MADV_NOHUGEPAGE);
    return huge;
}

/* From Linux 6.5 on, which can say that nothing is there, and not from 6.1: before 6.4, the
 * kernel's own search for huge pages filled holes that userfaultfd watches (ac492b9c70ca,
 * "mm/khugepaged: skip shmem with userfaultfd"), and memory that it was at looked like a hole
 * (a2e17cc2efc7). It is to have no reason to look here. */
enum gw_ram_huge gw_ram_make_huge(const struct gw_ram *ram, uint64_t page)
{
    const struct gw_ram_region *region = gw_ram_region_of(ram, page);
    uint64_t offset = (page - region->page_first) * ram->page_bytes;
    uint8_t *base = region->base + offset;
    if (ram->page_bytes != HUGE_FROM_PAGE_BYTES ||
        ((uintptr_t)base | offset) % GW_HUGE_PAGE_BYTES != 0 ||
        !gw_ram_is_hole(ram, page, GW_HUGE_PAGE_BYTES / ram->page_bytes)) {
        return GW_RAM_HUGE_NOT;
    }
    return collapse(region->fd, offset, base);
}

static int punch(const struct gw_ram_region *region, uint64_t offset, uint64_t bytes)
{
    return fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)bytes);
}

/* Part of one huge page. The kernel would not free it, and before 6.0 would not zero it either; a
 * hole is zero already, and touching it would make it a page. */
static void zero_part(const struct gw_ram *ram, const struct gw_ram_region *region, uint64_t offset,
                      uint64_t bytes)
{
    if (gw_ram_is_huge_touched(ram, region, offset / ram->page_bytes)) {
        memset(region->base + offset, 0, bytes);
    }
}

/* A hole that was punched has no page promised to it any more, unlike one that was never filled
 * (Linux mm/hugetlb.c, hugetlb_unreserve_pages). A mapping, however short, makes the promise. */
static int promise_again(const struct gw_ram_region *region, uint64_t offset, uint64_t bytes)
{
    void *again = mmap(NULL, bytes, PROT_NONE, MAP_SHARED, region->fd, (off_t)offset);
    return again == MAP_FAILED ? -1 : munmap(again, bytes);
}

static int discard_hugetlb(const struct gw_ram *ram, const struct gw_ram_region *region,
                           uint64_t offset, uint64_t bytes)
{
    uint64_t end = offset + bytes;
    uint64_t first = (offset + GW_HUGE_PAGE_BYTES - 1) / GW_HUGE_PAGE_BYTES * GW_HUGE_PAGE_BYTES;
    uint64_t last = end / GW_HUGE_PAGE_BYTES * GW_HUGE_PAGE_BYTES;
    if (first > last) {
        zero_part(ram, region, offset, bytes);
        return 0;
    }
    if (offset < first) {
        zero_part(ram, region, offset, first - offset);
    }
    if (last < end) {
        zero_part(ram, region, last, end - last);
    }
    if (first < last && punch(region, first, last - first) != 0) {
        return -1;
    }
    return first < last ? promise_again(region, first, last - first) : 0;
}

static int discard(const struct gw_ram *ram, const struct gw_ram_region *region, uint64_t offset,
                   uint64_t bytes)
{
    switch (region->kind) {
    case GW_RAM_HUGETLB:
        return discard_hugetlb(ram, region, offset, bytes);
    case GW_RAM_ANONYMOUS:
        return madvise(region->base + offset, bytes, MADV_DONTNEED);
    case GW_RAM_MEMFD:
        break;
    }
    return punch(region, offset, bytes);
}

/* One of the above over a run that may cross regions. */
static enum gw_status for_run(const struct gw_ram *ram, uint64_t page, uint64_t count,
                              bool is_for_good, struct gw_fault *fault)
{
    GW_ASSERT(page <= ram->page_count && count <= ram->page_count - page);
    while (count > 0) {
        const struct gw_ram_region *region = gw_ram_region_of(ram, page);
        uint64_t here = gw_ram_contiguous(ram, page);
        here = here < count ? here : count;
        uint64_t offset = (page - region->page_first) * ram->page_bytes;
        uint64_t bytes = here * ram->page_bytes;
        int result = is_for_good && region->kind == GW_RAM_HUGETLB
                         ? punch(region, offset, bytes)
                         : discard(ram, region, offset, bytes);
        if (result != 0) {
            return gw_fault_set_os(fault, errno, "discarding %" PRIu64 " pages at page %" PRIu64,
                                   here, page);
        }
        page += here;
        count -= here;
    }
    return GW_OK;
}

enum gw_status gw_ram_discard(const struct gw_ram *ram, uint64_t page, uint64_t count,
                              struct gw_fault *fault)
{
    return for_run(ram, page, count, false, fault);
}

enum gw_status gw_ram_release(const struct gw_ram *ram, uint64_t page, uint64_t count,
                              struct gw_fault *fault)
{
    GW_ASSERT(page % ram->unit_pages == 0 && count % ram->unit_pages == 0);
    return for_run(ram, page, count, true, fault);
}
