/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker over KVM's dirty log. The contract: godwit/kvm_log.h.
 *
 * KVM keeps one bit per page of a slot. A guest's write goes: (a) KVM gets the page, which
 * allocates it in the memfd, zeroed; (b) under KVM's lock it maps the page writable and sets the
 * bit (from Linux 6.13 on right behind that lock, and before the guest runs: nothing of what
 * follows is different); (c) the guest's store runs. CLEAR, under the same lock, clears bits and
 * takes the writable mappings of those pages away; a store that comes after it starts again at (a).
 * GET reads the bits, and with manual protection does nothing else.
 *
 * Three kinds of kernel, all giving the tracker's promise:
 *
 * 1. Manual protection, initially set. When logging starts all bits are set and nothing is
 *    protected; a page is protected by its first CLEAR. Pages with data start in the caller's
 *    bitmap and are re-armed (CLEAR) just before they are read, so it does no harm that collect
 *    goes on reporting those not re-armed yet. Holes are not going to be read, so no one would
 *    ever CLEAR them and they would be reported for ever: start clears them. A write to a hole
 *    must not fall between the look that found it a hole and its CLEAR; so the order is CLEAR,
 *    then look, and what has data by then goes to the caller's bitmap. A write whose (b) comes
 *    after the CLEAR sets the bit: collect reports it. A write whose (b) comes before the CLEAR
 *    has done (a) even earlier: the look, which comes after, finds data. (Its store, if still to
 *    come, faults and does (b) once more.) To spare the pages with data a CLEAR that only makes
 *    work (write faults in the guest), a first look tells which extents to clear; what it found
 *    with data goes to the caller's bitmap, too.
 * 2. Manual protection, not initially set. Starting protects everything with all bits clear: the
 *    CLEAR of kind 1 is done by then for every page, and the look comes after.
 * 3. No manual protection: as 2, and GET reads, clears and protects at once, before collect
 *    returns and so before anything it reported is read: there re-arm has nothing left to do.
 *
 * Writes by the monitor and by KVM's own devices do not go through (b). The first are marks; the
 * second KVM sets in the log itself.
 */
#include "godwit/kvm_log.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>

#include "base/bitmap.h"
#include "dirty/bitmap.h"
#include "dirty/kvm_slot.h"
#include "godwit/ioctl.h"

/* Of one CLEAR: 512 bytes on the stack of whoever re-arms; and at the start, from `scratch`. KVM's
 * lock is held so long. */
enum { CLEAR_WORDS = 64, START_PAGES = 65536 };

static struct gw_tracker_kvm_log *log_of(struct gw_tracker *tracker)
{
    return (struct gw_tracker_kvm_log *)(void *)tracker;
}

static uint64_t pages_of(const struct gw_tracker_kvm_log *log, uint32_t region)
{
    return gw_kvm_slot_pages(log->ram, region);
}

static int set_logging(const struct gw_tracker_kvm_log *log, uint32_t region, bool is_on)
{
    return gw_kvm_slot_log(log->vm_fd, log->ram, region, &log->slot[region], is_on);
}

/* Of `count` pages from `first` on, a multiple of 64 like it, as far as there are as many. */
static enum gw_status clear_words(const struct gw_tracker_kvm_log *log, uint32_t index,
                                  uint64_t first, uint32_t count, uint64_t *bits,
                                  struct gw_fault *fault)
{
    uint64_t left = pages_of(log, index) - first;
    struct kvm_clear_dirty_log clear = {
        .slot = log->slot[index].slot,
        .num_pages = left < count ? (uint32_t)left : count,
        .first_page = first,
        .dirty_bitmap = bits,
    };
    if (gw_ioctl(log->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) != 0) {
        return gw_fault_set_os(fault, errno,
                               "KVM dirty log: protecting pages again from page %" PRIu64
                               " of region %" PRIu32,
                               first, index);
    }
    return GW_OK;
}

/* The holes of a region, in `scratch`, bit 0 for its first page. */
static void find_holes(struct gw_tracker_kvm_log *log, uint32_t index)
{
    uint64_t base = log->ram->region[index].page_first;
    uint64_t end = base + pages_of(log, index);
    uint64_t count = 0;
    memset(log->scratch, 0, (end - base + 63) / 64 * sizeof(log->scratch[0]));
    for (uint64_t page = base; page < end;) {
        uint64_t data = gw_ram_next_data(log->ram, page, end, &count);
        (void)gw_bits_put(log->scratch, page - base, data - page, true);
        page = data + count;
    }
}

/* Sets the bits of all its pages but those which were holes then, and are still. */
static void put_data(const struct gw_tracker_kvm_log *log, uint32_t index, uint64_t *bitmap)
{
    uint64_t base = log->ram->region[index].page_first;
    uint64_t pages = pages_of(log, index);
    for (uint64_t page = 0; page < pages;) {
        uint64_t hole = gw_bits_next(log->scratch, page, pages, true);
        (void)gw_bits_put(bitmap, base + page, hole - page, true);
        page = gw_bits_next(log->scratch, hole, pages, false);
        (void)gw_ram_put_data(log->ram, base + hole, base + page, bitmap);
    }
}

/* Kind 1 of above: clears every hole of a region, and looks. As few CLEARs as may be: each flushes
 * the guest's TLBs. Where holes and data alternate KVM protects what lies between, too; that is
 * done a little early. */
static enum gw_status clear_holes(struct gw_tracker_kvm_log *log, uint32_t index, uint64_t *bitmap,
                                  struct gw_fault *fault)
{
    uint64_t pages = pages_of(log, index);
    enum gw_status status = GW_OK;
    find_holes(log, index);
    for (uint64_t page = 0; status == GW_OK && page < pages; page += START_PAGES) {
        uint64_t end = page + START_PAGES < pages ? page + START_PAGES : pages;
        if (gw_bits_next(log->scratch, page, end, true) < end) {
            status = clear_words(log, index, page, START_PAGES, &log->scratch[page / 64], fault);
        }
    }
    put_data(log, index, bitmap);
    return status;
}

static void kvm_log_stop(struct gw_tracker *tracker)
{
    struct gw_tracker_kvm_log *log = log_of(tracker);
    for (uint32_t i = 0; log->is_on && i < log->ram->region_count; i++) {
        /* A failure leaves logging on, which costs the guest speed and nothing else. */
        (void)set_logging(log, i, false);
    }
    log->is_on = false;
}

static enum gw_status kvm_log_start(struct gw_tracker *tracker, uint64_t *bitmap,
                                    struct gw_fault *fault)
{
    struct gw_tracker_kvm_log *log = log_of(tracker);
    GW_ASSERT(!log->is_on);
    enum gw_status status = GW_OK;
    log->is_on = true;
    for (uint32_t i = 0; i < log->ram->region_count && status == GW_OK; i++) {
        int error = set_logging(log, i, true);
        if (error != 0) {
            status = gw_fault_set_os(fault, error, "KVM dirty log: switching it on for slot %u",
                                     (unsigned)log->slot[i].slot);
        } else if (log->manual_flags & KVM_DIRTY_LOG_INITIALLY_SET) {
            status = clear_holes(log, i, bitmap, fault);
        }
    }
    if (status != GW_OK) {
        kvm_log_stop(tracker);
        return status;
    }
    if (!(log->manual_flags & KVM_DIRTY_LOG_INITIALLY_SET)) {
        (void)gw_ram_put_data(log->ram, 0, log->ram->page_count, bitmap);
    }
    if (log->marks != NULL) { /* what was written before is reported now, and not again */
        (void)gw_marks_get(log->marks, log->ram->page_count, bitmap);
    }
    return GW_OK;
}

static enum gw_status kvm_log_collect(struct gw_tracker *tracker, uint64_t *bitmap, uint64_t *added,
                                      struct gw_fault *fault)
{
    struct gw_tracker_kvm_log *log = log_of(tracker);
    GW_ASSERT(log->is_on);
    *added = 0;
    for (uint32_t i = 0; i < log->ram->region_count; i++) {
        struct kvm_dirty_log get = {.slot = log->slot[i].slot, .dirty_bitmap = log->scratch};
        if (gw_ioctl(log->vm_fd, KVM_GET_DIRTY_LOG, &get) != 0) {
            return gw_fault_set_os(fault, errno, "KVM dirty log: reading slot %u",
                                   (unsigned)log->slot[i].slot);
        }
        *added +=
            gw_bitmap_merge(bitmap, log->ram->region[i].page_first, log->scratch, pages_of(log, i));
    }
    if (log->marks != NULL) {
        *added += gw_marks_get(log->marks, log->ram->page_count, bitmap);
    }
    return GW_OK;
}

/* Those of the pages first + i, for each set bit i, that are of the region: as few CLEARs as their
 * windows are, however scattered they lie. */
static enum gw_status rearm_region(const struct gw_tracker_kvm_log *log, uint32_t index,
                                   uint64_t first, uint64_t count, const uint64_t *bits,
                                   struct gw_fault *fault)
{
    uint64_t base = log->ram->region[index].page_first;
    uint64_t end = base + pages_of(log, index);
    end = end < first + count ? end : first + count;
    uint64_t page = base > first ? base : first;
    enum gw_status status = GW_OK;
    while (status == GW_OK && page < end) {
        uint64_t words[CLEAR_WORDS] = {0};
        uint64_t window = base + ((page - base) & ~UINT64_C(63));
        uint64_t stop = window + CLEAR_WORDS * 64 < end ? window + CLEAR_WORDS * 64 : end;
        uint64_t armed = 0;
        page = first + gw_bits_next(bits, page - first, stop - first, true);
        while (page < stop) {
            uint64_t run_end = first + gw_bits_next(bits, page - first, stop - first, false);
            armed += gw_bits_put(words, page - window, run_end - page, true);
            page = first + gw_bits_next(bits, run_end - first, stop - first, true);
        }
        if (armed > 0) {
            status = clear_words(log, index, window - base, CLEAR_WORDS * 64, words, fault);
        }
    }
    return status;
}

static enum gw_status kvm_log_rearm(struct gw_tracker *tracker, uint64_t first, uint64_t count,
                                    const uint64_t *bits, struct gw_fault *fault)
{
    const struct gw_tracker_kvm_log *log = log_of(tracker);
    enum gw_status status = GW_OK;
    /* Without manual protection: kind 3 of above. */
    for (uint32_t i = 0; i < log->ram->region_count && log->manual_flags != 0; i++) {
        status = status == GW_OK ? rearm_region(log, i, first, count, bits, fault) : status;
    }
    return status;
}

static const struct gw_tracker_operations operations = {
    .name = "KVM dirty log",
    .start = kvm_log_start,
    .collect = kvm_log_collect,
    .rearm = kvm_log_rearm,
    .stop = kvm_log_stop,
};

enum gw_status gw_tracker_kvm_log_init(struct gw_tracker_kvm_log *log, int vm_fd,
                                       const struct gw_ram *ram, const struct gw_kvm_slot *slots,
                                       struct gw_marks *marks, struct gw_fault *fault)
{
    memset(log, 0, sizeof(*log)); /* no compound literal: it is larger than some stacks */
    log->tracker.operations = &operations;
    log->ram = ram;
    log->marks = marks;
    log->vm_fd = vm_fd;
    memcpy(log->slot, slots, ram->region_count * sizeof(slots[0]));
    int has =
        gw_ioctl(vm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    uint64_t wanted = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
    log->manual_flags = has > 0 ? (uint64_t)has & wanted : 0;
    struct kvm_enable_cap enable = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                                    .args = {log->manual_flags}};
    if (log->manual_flags != 0 && gw_ioctl(vm_fd, KVM_ENABLE_CAP, &enable) != 0) {
        return gw_fault_set_os(fault, errno, "KVM dirty log: manual protection");
    }
    return GW_OK;
}
