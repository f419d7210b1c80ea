/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker by userfaultfd write-protection. The contract: godwit/uffd_wp.h.
 *
 * The one truth is the protection bit in the page table: protected means not written since it was
 * re-armed. Re-arm sets the bit; a write takes it away (the kernel itself, or the fault thread
 * below); collect only looks. So there is no second bitmap that could disagree with it, and no
 * lock: a fault thread that is late un-protects a page which its writer is about to write, and
 * collect finds it unprotected, as it should.
 *
 * Nothing gets lost: when re-arm returns, no processor can write the page without taking the bit
 * away first (the kernel has flushed the TLBs); a write before that is in the bytes read after.
 *
 * Start. What has data is reported, whatever its bit says, and re-armed before it is read.
 * Anonymous memory: a page never touched is told by its empty entry, and one that is touched from
 * now on has no bit, so nothing need be armed. Memfd: whoever touches a hole makes data of it,
 * which stays. So a long hole is not armed either, but asked for again by each collect
 * (`untouched`; of 4 GiB nobody has touched that takes no page table, and a hundredth of the time).
 * Where the kernel cannot tell for sure, and where it is short, a hole is armed, and then asked for
 * again: a write before the arming made data, which is seen now; a write after it takes the bit
 * away, which collect sees. Of huge pages all are armed, and then asked for.
 *
 * Stop leaves no bit behind, which before Linux 6.0 unregistering does: a page that was written
 * after that would still look protected to the next start.
 *
 * Huge pages (hugetlb) are protected as a whole, and are read in parts. To arm one for its second
 * part would forget what was written to its first since that was read. So one is armed once after
 * collect has reported it (`armed`), for the first of its pages that is read, and not again before
 * collect reports it anew: by then all its pages are to be read again. Those who collect and those
 * who re-arm may meet: `armed` set too late, or cleared too early, costs another report of pages
 * that are dirty anyway.
 */
#include "godwit/uffd_wp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "dirty/uffd_scan.h"
#include "godwit/ioctl.h"

static struct gw_tracker_uffd_wp *wp_of(struct gw_tracker *tracker)
{
    return (struct gw_tracker_uffd_wp *)(void *)tracker;
}

/* 0 or errno. EAGAIN: the address space is just being changed (fork, remap); it ends by itself. */
static int protect(int uffd, uint64_t start, uint64_t bytes, bool is_on)
{
    struct uffdio_writeprotect request = {
        .range = {.start = start, .len = bytes},
        .mode = is_on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    int result;
    do {
        result = gw_ioctl(uffd, UFFDIO_WRITEPROTECT, &request);
    } while (result != 0 && (errno == EAGAIN || errno == EINTR));
    return result == 0 ? 0 : errno;
}

/* ---- The fault thread of the synchronous way ---- */

/* In what the kernel protects the memory at this address. */
static uint64_t grain_bytes(const struct gw_ram *ram, uint64_t address)
{
    for (uint32_t i = 0; i < ram->region_count; i++) {
        uint64_t base = (uintptr_t)ram->region[i].base;
        if (ram->region[i].kind == GW_RAM_HUGETLB && address >= base &&
            address - base < ram->region[i].bytes) {
            return GW_HUGE_PAGE_BYTES;
        }
    }
    return ram->page_bytes;
}

static void resolve(const struct gw_tracker_uffd_wp *wp, const struct uffd_msg *message)
{
    if (message->event != UFFD_EVENT_PAGEFAULT) {
        return;
    }
    uint64_t page_bytes = grain_bytes(wp->ram, message->arg.pagefault.address);
    uint64_t start = message->arg.pagefault.address & ~(page_bytes - 1);
    /* An error means that the range is no longer registered, and nothing protected there. */
    if (protect(wp->uffd.fd, start, page_bytes, false) != 0) {
        struct uffdio_range range = {.start = start, .len = page_bytes};
        (void)gw_ioctl(wp->uffd.fd, UFFDIO_WAKE, &range);
    }
}

static void run_fault_thread(void *context)
{
    const struct gw_tracker_uffd_wp *wp = context;
    for (;;) {
        struct pollfd wait[2] = {{.fd = wp->uffd.fd, .events = POLLIN},
                                 {.fd = wp->quit.fd, .events = POLLIN}};
        (void)poll(wait, 2, -1);
        struct uffd_msg message[16];
        ssize_t got = read(wp->uffd.fd, message, sizeof(message));
        for (ssize_t i = 0; i < got / (ssize_t)sizeof(message[0]); i++) {
            resolve(wp, &message[i]);
        }
        if (got <= 0 && wait[1].revents != 0) {
            return;
        }
    }
}

static enum gw_status start_fault_thread(struct gw_tracker_uffd_wp *wp, struct gw_fault *fault)
{
    enum gw_status status = gw_notify_open(&wp->quit, fault);
    if (status == GW_OK) {
        status = gw_thread_start(&wp->thread, "uffd-wp", run_fault_thread, wp, fault);
    }
    return status;
}

/* ---- Start and stop ---- */

static bool has_memfd(const struct gw_ram *ram)
{
    for (uint32_t i = 0; i < ram->region_count; i++) {
        if (ram->region[i].kind != GW_RAM_ANONYMOUS) {
            return true;
        }
    }
    return false;
}

static enum gw_status open_uffd(struct gw_tracker_uffd_wp *wp, struct gw_fault *fault)
{
    uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    if (has_memfd(wp->ram)) {
        features |= UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
    }
    struct gw_fault ignored;
    gw_fault_clear(&ignored);
    enum gw_status status = GW_HOST;
    if (wp->mode != GW_UFFD_WP_SYNC) {
        /* The kernel resolves these faults by itself: those of the kernel's own writes too. */
        status = gw_uffd_open(&wp->uffd, features | UFFD_FEATURE_WP_ASYNC, true,
                              wp->mode == GW_UFFD_WP_ASYNC ? fault : &ignored);
    }
    wp->is_async = status == GW_OK;
    if (status != GW_OK && wp->mode != GW_UFFD_WP_ASYNC) {
        /* Not for user faults only: a read(2) into protected memory would fail with EFAULT. */
        status = gw_uffd_open(&wp->uffd, features, false, fault);
    }
    return status;
}

/* Registering takes huge pages out of the page table here where that is shared with another mapping
 * (Linux mm/hugetlb.c, hugetlb_unshare_all_pmds), and nothing else tells them from holes. So what
 * was there is noted before, and touched behind it. (Where it is so shared, what is touched for the
 * first time just in between is not seen.) */
__attribute__((no_sanitize("thread"))) static void put_back(const struct gw_ram *ram,
                                                            const struct gw_ram_region *region,
                                                            const uint64_t *bitmap)
{
    uint64_t end = region->page_first + region->bytes / ram->page_bytes;
    for (uint64_t page = region->page_first; page < end; page += ram->unit_pages) {
        if (gw_bit_test(bitmap, page)) {
            (void)*(const volatile uint8_t *)gw_ram_page(ram, page);
        }
    }
}

static enum gw_status register_regions(const struct gw_tracker_uffd_wp *wp, uint64_t *bitmap,
                                       struct gw_fault *fault)
{
    const struct gw_ram *ram = wp->ram;
    for (uint32_t i = 0; i < ram->region_count; i++) {
        const struct gw_ram_region *region = &ram->region[i];
        struct uffdio_register request = {
            .range = {.start = (uintptr_t)region->base, .len = region->bytes},
            .mode = UFFDIO_REGISTER_MODE_WP,
        };
        bool is_huge = region->kind == GW_RAM_HUGETLB;
        if (is_huge) {
            uint64_t end = region->page_first + region->bytes / ram->page_bytes;
            (void)gw_ram_put_data(ram, region->page_first, end, bitmap);
        }
        if (gw_ioctl(wp->uffd.fd, UFFDIO_REGISTER, &request) != 0) {
            return gw_fault_set_os(
                fault, errno, "userfaultfd: registering region %" PRIu32 " for write-protection",
                i);
        }
        if (is_huge) {
            put_back(ram, region, bitmap);
        }
    }
    return GW_OK;
}

/* ---- Which huge pages are armed ---- */

static bool is_armed(struct gw_tracker_uffd_wp *wp, uint64_t unit)
{
    return (atomic_load(&wp->armed[unit / 64]) >> unit % 64 & 1) != 0;
}

static void set_armed(struct gw_tracker_uffd_wp *wp, uint64_t unit)
{
    (void)atomic_fetch_or(&wp->armed[unit / 64], UINT64_C(1) << unit % 64);
}

/* [page, page+count) was reported: the next to read of it arms it. */
static void clear_armed(struct gw_tracker_uffd_wp *wp, uint64_t page, uint64_t count)
{
    uint64_t unit_pages = wp->ram->unit_pages;
    for (uint64_t unit = page / unit_pages; unit * unit_pages < page + count; unit++) {
        (void)atomic_fetch_and(&wp->armed[unit / 64], ~(UINT64_C(1) << unit % 64));
    }
}

/* A hole is armed, since nobody is going to read it; what was reported, by its first reader. */
static void begin_armed(struct gw_tracker_uffd_wp *wp, const struct gw_ram_region *region,
                        const uint64_t *bitmap)
{
    uint64_t unit_pages = wp->ram->unit_pages;
    uint64_t end = region->page_first + region->bytes / wp->ram->page_bytes;
    for (uint64_t page = region->page_first; page < end; page += unit_pages) {
        if (gw_bit_test(bitmap, page)) {
            clear_armed(wp, page, unit_pages);
        } else {
            set_armed(wp, page / unit_pages);
        }
    }
}

static enum gw_status arm(const struct gw_tracker_uffd_wp *wp, uint64_t page, uint64_t count,
                          struct gw_fault *fault)
{
    int error = protect(wp->uffd.fd, (uintptr_t)gw_ram_page(wp->ram, page),
                        count * wp->ram->page_bytes, true);
    return error == 0
               ? GW_OK
               : gw_fault_set_os(fault, error,
                                 "userfaultfd: write-protecting %" PRIu64 " pages at page %" PRIu64,
                                 count, page);
}

/* A write before the arming made data, which is seen now. *added: how many bits are new. */
static enum gw_status arm_and_ask(const struct gw_tracker_uffd_wp *wp, uint64_t page, uint64_t end,
                                  uint64_t *bitmap, uint64_t *added, struct gw_fault *fault)
{
    enum gw_status status = arm(wp, page, end - page, fault);
    *added += gw_ram_put_data(wp->ram, page, end, bitmap);
    return status;
}

/* ---- Long holes of a memfd ---- */

static uint64_t chunk_pages(const struct gw_tracker_uffd_wp *wp)
{
    return GW_HUGE_PAGE_BYTES / wp->ram->page_bytes;
}

static uint64_t chunks_end(const struct gw_tracker_uffd_wp *wp, uint64_t end)
{
    return (end + chunk_pages(wp) - 1) / chunk_pages(wp);
}

/* [page, end) was a hole just now. What is no chunk of it, or not for sure, is armed. */
static enum gw_status begin_hole(struct gw_tracker_uffd_wp *wp, uint64_t page, uint64_t end,
                                 uint64_t *bitmap, struct gw_fault *fault)
{
    uint64_t chunk = chunk_pages(wp);
    uint64_t first = (page + chunk - 1) / chunk * chunk;
    uint64_t added = 0;
    enum gw_status status = GW_OK;
    first = first < end ? first : end;
    if (page < first) {
        status = arm_and_ask(wp, page, first, bitmap, &added, fault);
    }
    while (first + chunk <= end && gw_ram_is_hole(wp->ram, first, chunk)) {
        (void)gw_bits_put(wp->untouched, first / chunk, 1, true);
        first += chunk;
    }
    return status == GW_OK && first < end ? arm_and_ask(wp, first, end, bitmap, &added, fault)
                                          : status;
}

/* Of [page, end), pages of one region. */
static enum gw_status begin_memfd(struct gw_tracker_uffd_wp *wp, uint64_t page, uint64_t end,
                                  uint64_t *bitmap, struct gw_fault *fault)
{
    enum gw_status status = GW_OK;
    while (page < end && status == GW_OK) {
        uint64_t count;
        uint64_t data = gw_ram_next_data(wp->ram, page, end, &count);
        status = begin_hole(wp, page, data, bitmap, fault);
        (void)gw_bits_put(bitmap, data, count, true);
        page = data + count;
    }
    return status;
}

/* Of the chunks [i, last), which were untouched: those that are not any more. */
static enum gw_status begin_touched(struct gw_tracker_uffd_wp *wp, uint64_t i, uint64_t last,
                                    uint64_t *bitmap, uint64_t *added, struct gw_fault *fault)
{
    uint64_t chunk = chunk_pages(wp);
    if (gw_ram_is_hole(wp->ram, i * chunk, (last - i) * chunk)) {
        return GW_OK;
    }
    for (; i < last; i++) {
        if (gw_ram_is_hole(wp->ram, i * chunk, chunk)) {
            continue;
        }
        enum gw_status status = arm_and_ask(wp, i * chunk, (i + 1) * chunk, bitmap, added, fault);
        if (status != GW_OK) {
            return status;
        }
        (void)gw_bits_put(wp->untouched, i, 1, false);
    }
    return GW_OK;
}

/* What was touched of [page, end) is tracked page by page from here on. */
static enum gw_status ask_for_holes(struct gw_tracker_uffd_wp *wp, uint64_t page, uint64_t end,
                                    uint64_t *bitmap, uint64_t *added, struct gw_fault *fault)
{
    uint64_t last = chunks_end(wp, end);
    uint64_t i = gw_bits_next(wp->untouched, page / chunk_pages(wp), last, true);
    enum gw_status status = GW_OK;
    while (i < last && status == GW_OK) {
        uint64_t stop = gw_bits_next(wp->untouched, i, last, false);
        status = begin_touched(wp, i, stop, bitmap, added, fault);
        i = gw_bits_next(wp->untouched, stop, last, true);
    }
    return status;
}

/* The first pages at or behind *page that may have been written: up to what is returned. */
static uint64_t next_touched(const struct gw_tracker_uffd_wp *wp, uint64_t *page, uint64_t end)
{
    uint64_t chunk = chunk_pages(wp);
    uint64_t last = chunks_end(wp, end);
    uint64_t i = *page / chunk;
    uint64_t first = gw_bits_next(wp->untouched, i, last, false);
    *page = first > i ? first * chunk : *page;
    uint64_t stop = gw_bits_next(wp->untouched, first, last, true) * chunk;
    return stop < end ? stop : end;
}

static enum gw_status arm_region(struct gw_tracker_uffd_wp *wp, const struct gw_ram_region *region,
                                 uint64_t *bitmap, struct gw_fault *fault)
{
    uint64_t first = region->page_first;
    uint64_t count = region->bytes / wp->ram->page_bytes;
    bool is_huge = region->kind == GW_RAM_HUGETLB;
    if (region->kind == GW_RAM_MEMFD) {
        return begin_memfd(wp, first, first + count, bitmap, fault);
    }
    enum gw_status status = is_huge ? arm(wp, first, count, fault) : GW_OK;
    (void)gw_ram_put_data(wp->ram, first, first + count, bitmap);
    if (is_huge) {
        begin_armed(wp, region, bitmap);
    }
    return status;
}

static enum gw_status arm_and_look(struct gw_tracker_uffd_wp *wp, uint64_t *bitmap,
                                   struct gw_fault *fault)
{
    enum gw_status status = GW_OK;
    for (uint32_t i = 0; i < wp->ram->region_count && status == GW_OK; i++) {
        status = arm_region(wp, &wp->ram->region[i], bitmap, fault);
    }
    return status;
}

static void note_reported(void *context, uint64_t page, uint64_t count)
{
    clear_armed(context, page, count);
}

static enum gw_status scan(struct gw_tracker_uffd_wp *wp, const struct gw_ram_region *region,
                           uint64_t *bitmap, uint64_t *added, struct gw_fault *fault)
{
    uint64_t page = region->page_first;
    uint64_t end = page + region->bytes / wp->ram->page_bytes;
    enum gw_status status;
    struct gw_uffd_scan scan = {
        .pagemap_fd = wp->pagemap_fd,
        .ram = wp->ram,
        .region = region,
        .bitmap = bitmap,
        .added = added,
        .reported = region->kind == GW_RAM_HUGETLB ? note_reported : NULL,
        .context = wp,
    };
    status = ask_for_holes(wp, page, end, bitmap, added, fault);
    while (page < end && status == GW_OK) {
        scan.end = next_touched(wp, &page, end);
        scan.first = page;
        if (page < end) {
            status =
                wp->is_async ? gw_uffd_scan_fast(&scan, fault) : gw_uffd_scan_slow(&scan, fault);
        }
        page = scan.end;
    }
    return status;
}

static void uffd_wp_stop(struct gw_tracker *tracker)
{
    struct gw_tracker_uffd_wp *wp = wp_of(tracker);
    if (!wp->is_on) {
        return;
    }
    wp->is_on = false;
    /* Unregistering wakes those who wait for missing pages, and no others; but a writer that found
     * its page protected has its message queued when it returns, and the fault thread goes only
     * when it has answered all of them. */
    for (uint32_t i = 0; wp->uffd.fd >= 0 && i < wp->ram->region_count; i++) {
        struct uffdio_range range = {.start = (uintptr_t)wp->ram->region[i].base,
                                     .len = wp->ram->region[i].bytes};
        (void)protect(wp->uffd.fd, range.start, range.len, false);
        (void)gw_ioctl(wp->uffd.fd, UFFDIO_UNREGISTER, &range);
    }
    if (wp->quit.fd >= 0) {
        gw_notify_signal(&wp->quit);
    }
    gw_thread_join(&wp->thread);
    gw_notify_close(&wp->quit);
    gw_uffd_close(&wp->uffd);
    if (wp->pagemap_fd >= 0) {
        (void)close(wp->pagemap_fd);
    }
    wp->pagemap_fd = -1;
}

static enum gw_status open_all(struct gw_tracker_uffd_wp *wp, struct gw_fault *fault)
{
    wp->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (wp->pagemap_fd < 0) {
        return gw_fault_set_os(fault, errno, "/proc/self/pagemap");
    }
    enum gw_status status = open_uffd(wp, fault);
    if (status == GW_OK && !wp->is_async) {
        status = start_fault_thread(wp, fault);
    }
    return status;
}

static enum gw_status uffd_wp_start(struct gw_tracker *tracker, uint64_t *bitmap,
                                    struct gw_fault *fault)
{
    struct gw_tracker_uffd_wp *wp = wp_of(tracker);
    GW_ASSERT(!wp->is_on);
    wp->is_on = true;
    memset(wp->untouched, 0, sizeof(wp->untouched));
    enum gw_status status = open_all(wp, fault);
    if (status == GW_OK) {
        status = register_regions(wp, bitmap, fault);
    }
    if (status == GW_OK) {
        status = arm_and_look(wp, bitmap, fault);
    }
    if (status == GW_OK && wp->marks != NULL) { /* reported now, and not again */
        (void)gw_marks_get(wp->marks, wp->ram->page_count, bitmap);
    }
    if (status != GW_OK) {
        uffd_wp_stop(tracker);
    }
    return status;
}

static enum gw_status uffd_wp_collect(struct gw_tracker *tracker, uint64_t *bitmap, uint64_t *added,
                                      struct gw_fault *fault)
{
    struct gw_tracker_uffd_wp *wp = wp_of(tracker);
    GW_ASSERT(wp->is_on);
    *added = 0;
    for (uint32_t i = 0; i < wp->ram->region_count; i++) {
        enum gw_status status = scan(wp, &wp->ram->region[i], bitmap, added, fault);
        if (status != GW_OK) {
            return status;
        }
    }
    if (wp->marks != NULL) {
        *added += gw_marks_get(wp->marks, wp->ram->page_count, bitmap);
    }
    return GW_OK;
}

/* The huge pages of [page, page+count) that are not armed yet. */
static enum gw_status arm_huge(struct gw_tracker_uffd_wp *wp, uint64_t page, uint64_t count,
                               struct gw_fault *fault)
{
    uint64_t unit_pages = wp->ram->unit_pages;
    for (uint64_t unit = page / unit_pages; unit * unit_pages < page + count; unit++) {
        if (is_armed(wp, unit)) {
            continue;
        }
        enum gw_status status = arm(wp, unit * unit_pages, unit_pages, fault);
        if (status != GW_OK) {
            return status;
        }
        set_armed(wp, unit);
    }
    return GW_OK;
}

static bool is_huge(const struct gw_ram *ram, uint64_t page)
{
    return ram->unit_pages > 1 &&
           grain_bytes(ram, (uintptr_t)gw_ram_page(ram, page)) > (uint64_t)ram->page_bytes;
}

static enum gw_status uffd_wp_rearm(struct gw_tracker *tracker, uint64_t first, uint64_t count,
                                    const uint64_t *bits, struct gw_fault *fault)
{
    struct gw_tracker_uffd_wp *wp = wp_of(tracker);
    enum gw_status status = GW_OK;
    uint64_t bit = gw_bits_next(bits, 0, count, true);
    while (status == GW_OK && bit < count) {
        uint64_t here = gw_ram_contiguous(wp->ram, first + bit);
        uint64_t most = here < count - bit ? bit + here : count;
        uint64_t end = gw_bits_next(bits, bit, most, false);
        status = is_huge(wp->ram, first + bit) ? arm_huge(wp, first + bit, end - bit, fault)
                                               : arm(wp, first + bit, end - bit, fault);
        bit = gw_bits_next(bits, end, count, true);
    }
    return status;
}

static const struct gw_tracker_operations operations = {
    .name = "userfaultfd write-protect",
    .start = uffd_wp_start,
    .collect = uffd_wp_collect,
    .rearm = uffd_wp_rearm,
    .stop = uffd_wp_stop,
};

void gw_tracker_uffd_wp_init(struct gw_tracker_uffd_wp *wp, const struct gw_ram *ram,
                             struct gw_marks *marks, enum gw_uffd_wp_mode mode)
{
    wp->tracker.operations = &operations;
    wp->ram = ram;
    wp->marks = marks;
    wp->mode = mode;
    wp->uffd.fd = -1;
    wp->pagemap_fd = -1;
    wp->quit.fd = -1;
    wp->is_async = false;
    wp->is_on = false;
    wp->thread.is_started = false;
}
