/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM is made ready for a batch: holes for its zeros, pages for its bytes. No guest runs. */
#include <string.h>

#include "drive/receiver_internal.h"
#include "godwit/clock.h"

static uint64_t stretch_of(const struct gw_receiver *receiver, uint64_t page)
{
    return page / (GW_STRETCH_BYTES / receiver->ram->page_bytes);
}

/* All of it lies in a huge page that was made here. */
static bool is_in_huge(const struct gw_receiver *receiver, const struct gw_record *record)
{
    return receiver->is_huge && stretch_of(receiver, record->page) == receiver->stretch_seen &&
           stretch_of(receiver, record->page + record->count - 1) == receiver->stretch_seen;
}

/* A huge page stays one. A hole is left alone: to punch one into it would have the kernel flush the
 * TLBs of all CPUs, since KVM might have mapped something there. */
enum gw_status gw_receiver_place_zeros(struct gw_receiver *receiver, struct gw_fault *fault)
{
    const struct gw_ram *ram = receiver->ram;
    enum gw_status status = GW_OK;
    for (uint32_t i = 0; i < receiver->records.record_count && status == GW_OK; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        if (record->kind != GW_RECORD_ZERO) {
            continue;
        }
        if (is_in_huge(receiver, record)) {
            memset(gw_ram_page(ram, record->page), 0, (size_t)record->count * ram->page_bytes);
        } else if (!gw_ram_is_hole(ram, record->page, record->count)) {
            status = gw_ram_discard(ram, record->page, record->count, fault);
        }
    }
    return status;
}

/* Longer than that: the host has to make room first, and pages one by one are sooner there. */
#define HUGE_PAGE_NS (50 * GW_NS_PER_MS)

/* Once a stretch: several batches bring it. A host that has none to give, or is slow, is not asked
 * for this channel's next stretch, then for the next three, seven and so on, until it gives one
 * soon. */
static void make_huge(struct gw_receiver *receiver)
{
    uint64_t stretch = stretch_of(receiver, receiver->records.record[0].page);
    if (stretch == receiver->stretch_seen) {
        return;
    }
    receiver->stretch_seen = stretch;
    receiver->is_huge = false;
    if (receiver->huge_wait > 0) {
        receiver->huge_wait--;
        return;
    }
    uint64_t start_ns = gw_clock_thread_ns();
    enum gw_ram_huge huge =
        gw_ram_make_huge(receiver->ram, stretch * (GW_STRETCH_BYTES / receiver->ram->page_bytes));
    bool is_dear = huge == GW_RAM_HUGE_NONE || gw_clock_thread_ns() - start_ns > HUGE_PAGE_NS;
    receiver->is_huge = huge == GW_RAM_HUGE_MADE;
    if (is_dear) {
        receiver->huge_pause = 2 * receiver->huge_pause + 1;
        receiver->huge_wait = receiver->huge_pause;
    } else if (receiver->is_huge) {
        receiver->huge_pause = 0;
    }
}

/* A fresh page that is made by a fault of its own costs more than one of a run made at one go. */
static void populate(const struct gw_receiver *receiver)
{
    for (uint32_t i = 0; i < receiver->records.record_count; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        bool is_written = record->kind == GW_RECORD_RAW || record->kind == GW_RECORD_FILL;
        if (is_written && record->count > 1 && !is_in_huge(receiver, record)) {
            gw_ram_populate(receiver->ram, record->page, record->count);
        }
    }
}

void gw_receiver_make_pages(struct gw_receiver *receiver, const struct gw_frame_header *header)
{
    if ((header->flags & GW_FRAME_WHOLE) != 0) {
        make_huge(receiver);
    }
    populate(receiver);
}
