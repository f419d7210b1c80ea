/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Missing pages, by userfaultfd. The contract: godwit/missing.h.
 *
 * What the kernel answers to UFFDIO_COPY and UFFDIO_ZEROPAGE of a run (Linux mm/userfaultfd.c):
 * all of it; or a count of bytes and EAGAIN, when it met a page that is there, or the address
 * space is being changed; or EEXIST, when the very first page is there. So the rule is: go on
 * behind the count; at EEXIST skip one page, and wake who may wait for it. A run over the end of a
 * mapping is ENOENT as a whole: go on page by page.
 *
 * A huge page (hugetlb) is placed by UFFDIO_COPY of all of it. There is no UFFDIO_ZEROPAGE for one:
 * fallocate puts a zeroed page into the memfd where none is, and whoever waits is woken and finds
 * it there. That writes the page once, where a copy of zeros would read as much besides, from
 * memory that somebody must have. But it puts nothing into the page table, and that is all that one
 * who found the page missing looks at once more before it sleeps (Linux fs/userfaultfd.c,
 * userfaultfd_huge_must_wait): it may fall asleep behind the wake. Its fault can be read from then
 * on. So whoever takes a fault on such a page for one on a page that is there places it again,
 * which wakes; and once faults are taken so, who slept before is woken (gw_missing_wake).
 */
#include "godwit/missing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "godwit/clock.h"
#include "godwit/ioctl.h"
#include "host/ram_private.h"

static uint64_t features(const struct gw_ram *ram)
{
    uint64_t wanted = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_THREAD_ID;
    for (uint32_t i = 0; i < ram->region_count; i++) {
        wanted |= ram->region[i].kind == GW_RAM_HUGETLB ? UFFD_FEATURE_MISSING_HUGETLBFS : 0;
    }
    return wanted;
}

enum gw_status gw_missing_probe(const struct gw_ram *ram, bool is_user_mode_enough,
                                struct gw_fault *fault)
{
    struct gw_uffd uffd;
    enum gw_status status = gw_uffd_open(&uffd, features(ram), is_user_mode_enough, fault);
    if (status == GW_OK) {
        gw_uffd_close(&uffd);
    }
    return status;
}

/* A memfd of ours needs no such word (godwit/ram.h). */
void gw_missing_prepare(const struct gw_ram *ram)
{
    for (uint32_t i = 0; i < ram->region_count; i++) {
        if (ram->region[i].kind == GW_RAM_ANONYMOUS) {
            (void)madvise(ram->region[i].base, ram->region[i].bytes, MADV_NOHUGEPAGE);
        }
    }
}

/* ---- Start and stop ---- */

/* Part of a huge page is given back by taking that apart, which the kernel cannot do while it holds
 * the page for something else: for a moment (Linux mm/truncate.c, truncate_inode_partial_folio). */
enum { DISCARD_TRIES = 20 };
#define DISCARD_PAUSE_NS (1 * (long)GW_NS_PER_MS)

static enum gw_status discard(const struct gw_ram *ram, uint64_t page, uint64_t end,
                              struct gw_fault *fault)
{
    uint64_t count = 0;
    if (gw_ram_is_hole(ram, page, end - page)) { /* and each punch flushes the TLBs of all CPUs */
        return GW_OK;
    }
    for (int i = 0; i < DISCARD_TRIES && page < end; i++) {
        const struct timespec pause = {.tv_nsec = DISCARD_PAUSE_NS};
        if (i > 0) {
            (void)nanosleep(&pause, NULL);
        }
        enum gw_status status = gw_ram_discard(ram, page, end - page, fault);
        if (status != GW_OK) {
            return status;
        }
        page = gw_ram_next_data(ram, page, end, &count);
    }
    return page == end ? GW_OK
                       : gw_fault_set(fault, GW_CORRUPT,
                                      "page %" PRIu64 " of guest memory is there, although it was "
                                      "discarded %d times: somebody writes to it, or holds it",
                                      page, DISCARD_TRIES);
}

/* Behind the registration: a hole that is seen then stays one. */
static enum gw_status discard_missing(const struct gw_ram *ram, const uint64_t *received,
                                      struct gw_fault *fault)
{
    uint64_t page = gw_bits_next(received, 0, ram->page_count, false);
    while (page < ram->page_count) {
        uint64_t end = gw_bits_next(received, page, ram->page_count, true);
        enum gw_status status = discard(ram, page, end, fault);
        if (status != GW_OK) {
            return status;
        }
        page = gw_bits_next(received, end, ram->page_count, false);
    }
    return GW_OK;
}

static enum gw_status register_regions(const struct gw_missing *missing, struct gw_fault *fault)
{
    for (uint32_t i = 0; i < missing->ram->region_count; i++) {
        const struct gw_ram_region *region = &missing->ram->region[i];
        const uint64_t wanted =
            UINT64_C(1) << _UFFDIO_COPY | UINT64_C(1) << _UFFDIO_WAKE |
            (region->kind == GW_RAM_HUGETLB ? 0 : UINT64_C(1) << _UFFDIO_ZEROPAGE);
        struct uffdio_register request = {
            .range = {.start = (uintptr_t)region->base, .len = region->bytes},
            .mode = UFFDIO_REGISTER_MODE_MISSING,
        };
        if (gw_ioctl(missing->uffd.fd, UFFDIO_REGISTER, &request) != 0) {
            return gw_fault_set_os(
                fault, errno, "userfaultfd: registering region %" PRIu32 " for missing pages", i);
        }
        if ((request.ioctls & wanted) != wanted) {
            return gw_fault_set(fault, GW_HOST,
                                "userfaultfd: region %" PRIu32 " can do 0x%" PRIx64
                                ", wanted 0x%" PRIx64 " (placing pages, zero pages, waking)",
                                i, (uint64_t)request.ioctls, wanted);
        }
    }
    return GW_OK;
}

enum gw_status gw_missing_start(struct gw_missing *missing, const struct gw_ram *ram,
                                const uint64_t *received, bool is_user_mode_enough,
                                struct gw_fault *fault)
{
    GW_ASSERT(!missing->is_on);
    missing->ram = ram;
    enum gw_status status = gw_uffd_open(&missing->uffd, features(ram), is_user_mode_enough, fault);
    if (status != GW_OK) {
        return status;
    }
    missing->is_on = true;
    status = register_regions(missing, fault);
    if (status == GW_OK) {
        status = discard_missing(ram, received, fault);
    }
    if (status != GW_OK) {
        gw_missing_stop(missing);
    }
    return status;
}

/* Unregistering wakes whoever sleeps: there is nothing to wait for any more. */
void gw_missing_stop(struct gw_missing *missing)
{
    if (!missing->is_on) {
        return;
    }
    missing->is_on = false;
    for (uint32_t i = 0; i < missing->ram->region_count; i++) {
        struct uffdio_range range = {.start = (uintptr_t)missing->ram->region[i].base,
                                     .len = missing->ram->region[i].bytes};
        (void)gw_ioctl(missing->uffd.fd, UFFDIO_UNREGISTER, &range);
    }
    gw_uffd_close(&missing->uffd);
}

/* ---- Faults ---- */

int gw_missing_fd(const struct gw_missing *missing)
{
    return missing->uffd.fd;
}

static bool find_page(const struct gw_ram *ram, uint64_t address, uint64_t *page)
{
    for (uint32_t i = 0; i < ram->region_count; i++) {
        const struct gw_ram_region *region = &ram->region[i];
        uint64_t offset = address - (uintptr_t)region->base;
        if (address >= (uintptr_t)region->base && offset < region->bytes) {
            *page = region->page_first + offset / ram->page_bytes;
            return true;
        }
    }
    return false;
}

enum gw_status gw_missing_next(struct gw_missing *missing, uint64_t *page, uint32_t *who,
                               struct gw_fault *fault)
{
    for (;;) {
        struct uffd_msg message;
        ssize_t got = read(missing->uffd.fd, &message, sizeof(message));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && errno == EAGAIN) {
            return GW_AGAIN;
        }
        if (got != (ssize_t)sizeof(message)) {
            return gw_fault_set_os(fault, got < 0 ? errno : EIO, "reading userfaultfd");
        }
        if (message.event == UFFD_EVENT_PAGEFAULT &&
            find_page(missing->ram, message.arg.pagefault.address, page)) {
            *who = message.arg.pagefault.feat.ptid;
            return GW_OK;
        }
    }
}

/* ---- Placing ---- */

static void wake(const struct gw_missing *missing, uint64_t address, uint64_t bytes)
{
    struct uffdio_range range = {.start = address, .len = bytes};
    (void)gw_ioctl(missing->uffd.fd, UFFDIO_WAKE, &range);
}

void gw_missing_wake(const struct gw_missing *missing, uint64_t page, uint64_t count)
{
    wake(missing, (uintptr_t)gw_ram_page(missing->ram, page), count * missing->ram->page_bytes);
}

/* One request; *done: bytes of it. 0 or errno. */
static int copy(int uffd, uint64_t address, uint64_t bytes, const uint8_t *from, uint64_t *done)
{
    struct uffdio_copy request = {
        .dst = address, .src = (uintptr_t)from, .len = bytes, .mode = 0, .copy = 0};
    int result = gw_ioctl(uffd, UFFDIO_COPY, &request);
    int error = result == 0 ? 0 : errno;
    *done = request.copy > 0 ? (uint64_t)request.copy : 0;
    return error;
}

static int zero(int uffd, uint64_t address, uint64_t bytes, uint64_t *done)
{
    struct uffdio_zeropage request = {.range = {.start = address, .len = bytes}};
    int result = gw_ioctl(uffd, UFFDIO_ZEROPAGE, &request);
    int error = result == 0 ? 0 : errno;
    *done = request.zeropage > 0 ? (uint64_t)request.zeropage : 0;
    return error;
}

/* The same of huge pages; those that are there stay as they are. */
static int zero_huge(const struct gw_missing *missing, const struct gw_ram_region *region,
                     uint64_t address, uint64_t bytes, uint64_t *done)
{
    off_t offset = (off_t)(address - (uintptr_t)region->base);
    if (fallocate(region->fd, 0, offset, (off_t)bytes) != 0) {
        return errno;
    }
    wake(missing, address, bytes);
    *done = bytes;
    return 0;
}

/* `from` NULL: zeros. The pages lie in one region, and there are whole huge ones of them. */
static enum gw_status place(const struct gw_missing *missing, uint64_t page, uint64_t count,
                            const uint8_t *from, struct gw_fault *fault)
{
    const struct gw_ram_region *region = gw_ram_region_of(missing->ram, page);
    bool is_huge = region->kind == GW_RAM_HUGETLB;
    uint64_t page_bytes = is_huge ? GW_HUGE_PAGE_BYTES : missing->ram->page_bytes;
    uint64_t address = (uintptr_t)gw_ram_page(missing->ram, page);
    uint64_t bytes = count * missing->ram->page_bytes;
    GW_ASSERT((address | bytes) % page_bytes == 0);
    uint64_t most = bytes;
    for (uint64_t at = 0; at < bytes;) {
        uint64_t here = bytes - at < most ? bytes - at : most;
        uint64_t done = 0;
        int error = from != NULL ? copy(missing->uffd.fd, address + at, here, from + at, &done)
                    : is_huge    ? zero_huge(missing, region, address + at, here, &done)
                                 : zero(missing->uffd.fd, address + at, here, &done);
        at += done;
        if (error == EEXIST && done == 0) {
            wake(missing, address + at, page_bytes);
            at += page_bytes;
        } else if (error == ENOENT && here > page_bytes) {
            most = page_bytes;
        } else if (error != 0 && error != EEXIST && error != EAGAIN && error != EINTR) {
            return gw_fault_set_os(fault, error,
                                   "userfaultfd: placing %" PRIu64 " pages at page %" PRIu64, count,
                                   page);
        }
    }
    return GW_OK;
}

static enum gw_status place_all(const struct gw_missing *missing, uint64_t page, uint64_t count,
                                const uint8_t *from, struct gw_fault *fault)
{
    while (count > 0) {
        uint64_t here = gw_ram_contiguous(missing->ram, page);
        here = here < count ? here : count;
        enum gw_status status = place(missing, page, here, from, fault);
        if (status != GW_OK) {
            return status;
        }
        page += here;
        count -= here;
        from = from != NULL ? from + here * missing->ram->page_bytes : NULL;
    }
    return GW_OK;
}

enum gw_status gw_missing_place(const struct gw_missing *missing, uint64_t page, uint64_t count,
                                const uint8_t *bytes, struct gw_fault *fault)
{
    return place_all(missing, page, count, bytes, fault);
}

enum gw_status gw_missing_place_zero(const struct gw_missing *missing, uint64_t page,
                                     uint64_t count, struct gw_fault *fault)
{
    return place_all(missing, page, count, NULL, fault);
}
