/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker over KVM's dirty rings. The contract: godwit/kvm_ring.h.
 *
 * A guest's write to a protected page goes: (a) KVM gets the page, which allocates it in the memfd,
 * zeroed; (b) under KVM's lock it maps the page writable; (c) it puts an entry into the ring of the
 * vCPU that faulted; (d) the store runs. Another vCPU's store may use the mapping between (b) and
 * (c). Harvesting takes entries and flags them; RESET, under KVM's lock, takes the writable mapping
 * of all flagged entries away, and has done so, caches and all, when it returns. A store that comes
 * after it starts again at (a).
 *
 * Nothing is lost:
 *
 * - Rings are only ever harvested *with* the RESET, both under this tracker's lock, and a page gets
 *   into the caller's bitmap only afterwards. So whatever collect reports was protected before it
 *   is read: re-arm has nothing left to do. A write before the RESET is in the bytes that will be
 *   read, one after it makes a new entry. (A store between (b) and (c) of another vCPU: either the
 *   entry came before the harvest, then as said; or after it, then a later one finds it.) A page
 *   that is harvested while an older report of it is being sent is reported once more: no harm.
 * - Whoever finds a ring full harvests: the vCPU's own thread, which is out of the guest then and
 *   waits for nobody. It leaves the pages in `harvested`, which collect takes along. So a vCPU
 *   never waits for the owner, and the owner for no vCPU longer than it takes to empty the rings.
 *   The lock is held by threads that run, never by one in the guest, and RESET touches no guest
 *   RAM: a vCPU that sleeps on a missing page keeps nobody from it.
 * - When the guest stands still, all its vCPUs are back from KVM_RUN, and their entries lie in the
 *   rings: they are put there in KVM_RUN itself. The last collect sees all.
 * - What is written outside a vCPU (by the interrupt controller that saves its tables) KVM notes in
 *   a bitmap; without manual protection GET reads, clears and protects at once (kind 3 of
 *   src/dirty/kvm_log.c). Collect looks at it last. Manual protection would only let "initially
 * set" keep pages writable that the rings then never hear of; nobody switches it on here.
 * - Start: switching logging on protects everything, after the last fault that was served without
 *   it; then comes the look at what has data (kind 2 of src/dirty/kvm_log.c). Entries left over
 *   from the last time are dropped before: they were written before this look.
 *
 * A signal may end RESET early (Linux 6.16 on), which tells only by a smaller count; what is worse,
 * virt/kvm/dirty_ring.c then drops up to 64 pages it has taken and not protected yet. So all
 * signals are blocked meanwhile. What cannot be blocked (a debugger, a freezer) shows in the count:
 * then some pages may be writable that no ring will tell of, and collect begins anew, with
 * everything that has data. (One that comes just when the last entry was counted does not show.)
 */
#include "godwit/kvm_ring.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "dirty/bitmap.h"
#include "dirty/kvm_slot.h"
#include "godwit/ioctl.h"

static_assert(sizeof(struct kvm_dirty_gfn) == GW_RING_ENTRY_BYTES, "limits.h says what it takes");

/* A RESET that is ended early is taken up again; so often, and it is not a signal's doing. */
enum { RESET_TRIES_MAX = 1000 };

static bool has(int fd, int capability)
{
    return gw_ioctl(fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)capability) > 0;
}

uint32_t gw_kvm_ring_entries_max(int kvm_fd)
{
    int bytes =
        gw_ioctl(kvm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
#ifdef __aarch64__
    /* arm64 KVM tracks no slot without a bitmap (arch/arm64/kvm/mmu.c, memslot_is_logging). */
    if (!has(kvm_fd, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP)) {
        return 0;
    }
#endif
    return bytes > 0 ? (uint32_t)bytes / GW_RING_ENTRY_BYTES : 0;
}

static size_t ring_bytes(uint32_t entries)
{
    return (size_t)entries * GW_RING_ENTRY_BYTES;
}

enum gw_status gw_kvm_ring_enable(int vm_fd, uint32_t entries, struct gw_fault *fault)
{
    uint32_t least = (uint32_t)sysconf(_SC_PAGESIZE) / GW_RING_ENTRY_BYTES;
    if (entries < least || entries > GW_RING_ENTRIES_MAX || (entries & (entries - 1)) != 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "a dirty ring of %" PRIu32 " entries: wanted a power of two from "
                            "%" PRIu32 " (a page of this host) to %d (this board's most)",
                            entries, least, GW_RING_ENTRIES_MAX);
    }
    if (gw_kvm_ring_entries_max(vm_fd) < entries) {
        return gw_fault_set(fault, GW_HOST,
                            "KVM on this host has no dirty ring of %" PRIu32 " entries: wanted "
                            "Linux 6.2 or newer, or the dirty log instead",
                            entries);
    }
    struct kvm_enable_cap ring = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
                                  .args = {ring_bytes(entries)}};
    if (gw_ioctl(vm_fd, KVM_ENABLE_CAP, &ring) != 0) {
        return gw_fault_set_os(fault, errno, "KVM dirty ring: %" PRIu32 " entries", entries);
    }
    struct kvm_enable_cap bitmap = {.cap = KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP};
    if (has(vm_fd, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP) &&
        gw_ioctl(vm_fd, KVM_ENABLE_CAP, &bitmap) != 0) {
        return gw_fault_set_os(fault, errno, "KVM dirty ring: its backup bitmap");
    }
    return GW_OK;
}

struct kvm_dirty_gfn *gw_kvm_ring_map(int vcpu_fd, uint32_t entries)
{
    void *ring = mmap(NULL, ring_bytes(entries), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd,
                      (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
    return ring == MAP_FAILED ? NULL : ring;
}

void gw_kvm_ring_unmap(struct kvm_dirty_gfn *ring, uint32_t entries)
{
    (void)munmap(ring, ring_bytes(entries));
}

static struct gw_tracker_kvm_ring *ring_of(struct gw_tracker *tracker)
{
    return (struct gw_tracker_kvm_ring *)(void *)tracker;
}

static int set_logging(const struct gw_tracker_kvm_ring *ring, uint32_t region, bool is_on)
{
    return gw_kvm_slot_log(ring->vm_fd, ring->ram, region, &ring->slot[region], is_on);
}

/* An entry that makes no sense must not keep the others back: it is dropped, and the next collect
 * fails by it. */
static void take(struct gw_tracker_kvm_ring *ring, const struct kvm_dirty_gfn *entry)
{
    uint32_t slot = entry->slot;
    uint64_t offset = entry->offset;
    for (uint32_t i = 0; i < ring->ram->region_count; i++) {
        if (ring->slot[i].slot == slot && offset < gw_kvm_slot_pages(ring->ram, i)) {
            (void)gw_bits_put(ring->harvested, ring->ram->region[i].page_first + offset, 1, true);
            return;
        }
    }
    (void)gw_fault_set(&ring->fault, GW_HOST,
                       "KVM dirty ring: an entry names page %" PRIu64 " of slot %" PRIu32
                       ", which is no guest RAM",
                       offset, slot);
}

/* Entries are taken in order: flags DIRTY by the kernel, then RESET by us, then 0 by its RESET. KVM
 * calls a ring full while there are 64 entries left; one without any may have lost some (seen on an
 * x86-64 KVM outside the mainline). */
static uint32_t harvest(struct gw_tracker_kvm_ring *ring, struct gw_kvm_ring_vcpu *vcpu)
{
    uint32_t count = 0;
    while (count < ring->entry_count) {
        struct kvm_dirty_gfn *entry = &vcpu->entry[vcpu->next & (ring->entry_count - 1)];
        uint32_t flags = __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE);
        if ((flags & KVM_DIRTY_GFN_F_MASK) != KVM_DIRTY_GFN_F_DIRTY) {
            break;
        }
        take(ring, entry);
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        vcpu->next++;
        count++;
    }
    if (count == ring->entry_count) {
        (void)gw_fault_set(&ring->fault, GW_HOST,
                           "KVM dirty ring: KVM overran a ring of %" PRIu32
                           " entries, in which it is to keep some free",
                           ring->entry_count);
    }
    return count;
}

/* Protects the pages of `count` harvested entries. 0 or errno. */
static int protect(struct gw_tracker_kvm_ring *ring, uint32_t count)
{
    uint32_t tries = 0;
    int error = 0;
    while (count > 0 && error == 0) {
        int done = gw_ioctl(ring->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
        if (done < 0) {
            error = errno;
        } else if ((uint32_t)done < count) {
            ring->is_interrupted = true;
            count -= (uint32_t)done;
            error = ++tries == RESET_TRIES_MAX ? EINTR : 0;
        } else {
            count = 0;
        }
    }
    return error;
}

/* Under the lock: all that is in the rings goes to `harvested`, protected. */
static enum gw_status drain(struct gw_tracker_kvm_ring *ring)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ring->vcpu_count; i++) {
        count += harvest(ring, &ring->vcpu[i]);
    }
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = protect(ring, count);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return gw_fault_set_os(&ring->fault, error, "KVM dirty ring: protecting pages again");
    }
    return GW_OK;
}

enum gw_status gw_tracker_kvm_ring_relieve(struct gw_tracker_kvm_ring *ring, struct gw_fault *fault)
{
    (void)pthread_mutex_lock(&ring->lock);
    ring->full_count++;
    enum gw_status status = drain(ring);
    if (status != GW_OK) {
        (void)gw_fault_set(fault, status, "%s", ring->fault.text);
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return status;
}

uint64_t gw_tracker_kvm_ring_full_count(struct gw_tracker_kvm_ring *ring)
{
    (void)pthread_mutex_lock(&ring->lock);
    uint64_t count = ring->full_count;
    (void)pthread_mutex_unlock(&ring->lock);
    return count;
}

static size_t harvested_bytes(const struct gw_tracker_kvm_ring *ring)
{
    return (ring->ram->page_count + 63) / 64 * sizeof(ring->harvested[0]);
}

static void kvm_ring_stop(struct gw_tracker *tracker)
{
    struct gw_tracker_kvm_ring *ring = ring_of(tracker);
    for (uint32_t i = 0; ring->is_on && i < ring->ram->region_count; i++) {
        /* A failure leaves logging on, which costs the guest speed and nothing else: its vCPUs go
         * on emptying their rings, and start drops what they held. */
        (void)set_logging(ring, i, false);
    }
    ring->is_on = false;
}

/* Switches logging on everywhere, which protects every page. */
static enum gw_status log_all(struct gw_tracker_kvm_ring *ring, struct gw_fault *fault)
{
    for (uint32_t i = 0; i < ring->ram->region_count; i++) {
        int error = set_logging(ring, i, true);
        if (error != 0) {
            return gw_fault_set_os(fault, error, "KVM dirty ring: switching it on for slot %u",
                                   (unsigned)ring->slot[i].slot);
        }
    }
    return GW_OK;
}

static enum gw_status kvm_ring_start(struct gw_tracker *tracker, uint64_t *bitmap,
                                     struct gw_fault *fault)
{
    struct gw_tracker_kvm_ring *ring = ring_of(tracker);
    GW_ASSERT(!ring->is_on);
    (void)pthread_mutex_lock(&ring->lock);
    gw_fault_clear(&ring->fault);
    enum gw_status status = drain(ring);
    if (status != GW_OK) {
        (void)gw_fault_set(fault, status, "%s", ring->fault.text);
    }
    gw_fault_clear(&ring->fault); /* an entry from before is nobody's concern */
    memset(ring->harvested, 0, harvested_bytes(ring));
    (void)pthread_mutex_unlock(&ring->lock);
    if (status != GW_OK) {
        return status;
    }
    ring->is_on = true;
    status = log_all(ring, fault);
    if (status != GW_OK) {
        kvm_ring_stop(tracker);
        return status;
    }
    (void)gw_ram_put_data(ring->ram, 0, ring->ram->page_count, bitmap);
    if (ring->marks != NULL) { /* what was written before is reported now, and not again */
        (void)gw_marks_get(ring->marks, ring->ram->page_count, bitmap);
    }
    return GW_OK;
}

/* As start does it, in the midst of tracking: what the rings may have missed has data. */
static enum gw_status begin_anew(struct gw_tracker_kvm_ring *ring, uint64_t *bitmap,
                                 uint64_t *added, struct gw_fault *fault)
{
    for (uint32_t i = 0; i < ring->ram->region_count; i++) {
        int error = set_logging(ring, i, false);
        if (error != 0) {
            return gw_fault_set_os(fault, error, "KVM dirty ring: switching it off for slot %u",
                                   (unsigned)ring->slot[i].slot);
        }
    }
    enum gw_status status = log_all(ring, fault);
    *added += gw_ram_put_data(ring->ram, 0, ring->ram->page_count, bitmap);
    return status;
}

static enum gw_status collect_rings(struct gw_tracker_kvm_ring *ring, uint64_t *bitmap,
                                    uint64_t *added, struct gw_fault *fault)
{
    (void)pthread_mutex_lock(&ring->lock);
    (void)drain(ring);
    bool is_interrupted = ring->is_interrupted;
    enum gw_status status = ring->fault.status;
    if (status != GW_OK) {
        (void)gw_fault_set(fault, status, "%s", ring->fault.text);
    } else {
        ring->is_interrupted = false;
        *added += gw_bitmap_merge(bitmap, 0, ring->harvested, ring->ram->page_count);
        memset(ring->harvested, 0, harvested_bytes(ring));
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return status == GW_OK && is_interrupted ? begin_anew(ring, bitmap, added, fault) : status;
}

static enum gw_status collect_backup(struct gw_tracker_kvm_ring *ring, uint64_t *bitmap,
                                     uint64_t *added, struct gw_fault *fault)
{
    for (uint32_t i = 0; ring->has_bitmap && i < ring->ram->region_count; i++) {
        struct kvm_dirty_log get = {.slot = ring->slot[i].slot, .dirty_bitmap = ring->scratch};
        if (gw_ioctl(ring->vm_fd, KVM_GET_DIRTY_LOG, &get) != 0) {
            return gw_fault_set_os(fault, errno, "KVM dirty ring: the backup bitmap of slot %u",
                                   (unsigned)ring->slot[i].slot);
        }
        *added += gw_bitmap_merge(bitmap, ring->ram->region[i].page_first, ring->scratch,
                                  gw_kvm_slot_pages(ring->ram, i));
    }
    return GW_OK;
}

static enum gw_status kvm_ring_collect(struct gw_tracker *tracker, uint64_t *bitmap,
                                       uint64_t *added, struct gw_fault *fault)
{
    struct gw_tracker_kvm_ring *ring = ring_of(tracker);
    GW_ASSERT(ring->is_on);
    *added = 0;
    enum gw_status status = collect_rings(ring, bitmap, added, fault);
    if (status == GW_OK) {
        status = collect_backup(ring, bitmap, added, fault);
    }
    if (status == GW_OK && ring->marks != NULL) {
        *added += gw_marks_get(ring->marks, ring->ram->page_count, bitmap);
    }
    return status;
}

/* Whatever was reported is protected already. */
static enum gw_status kvm_ring_rearm(struct gw_tracker *tracker, uint64_t first, uint64_t count,
                                     const uint64_t *bits, struct gw_fault *fault)
{
    (void)tracker;
    (void)first;
    (void)count;
    (void)bits;
    (void)fault;
    return GW_OK;
}

static const struct gw_tracker_operations operations = {
    .name = "KVM dirty ring",
    .start = kvm_ring_start,
    .collect = kvm_ring_collect,
    .rearm = kvm_ring_rearm,
    .stop = kvm_ring_stop,
};

void gw_tracker_kvm_ring_init(struct gw_tracker_kvm_ring *ring, int vm_fd, const struct gw_ram *ram,
                              const struct gw_kvm_slot *slots, struct gw_marks *marks,
                              struct kvm_dirty_gfn *const *rings, uint32_t vcpu_count,
                              uint32_t entries)
{
    GW_ASSERT(vcpu_count <= GW_VCPUS_MAX);
    /* Not the bitmaps: touching them would take memory before they are used. */
    memset(ring, 0, offsetof(struct gw_tracker_kvm_ring, harvested));
    ring->tracker.operations = &operations;
    ring->ram = ram;
    ring->marks = marks;
    ring->vm_fd = vm_fd;
    ring->has_bitmap = has(vm_fd, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP);
    memcpy(ring->slot, slots, ram->region_count * sizeof(slots[0]));
    ring->entry_count = entries;
    ring->vcpu_count = vcpu_count;
    for (uint32_t i = 0; i < vcpu_count; i++) {
        ring->vcpu[i].entry = rings[i];
    }
    (void)pthread_mutex_init(&ring->lock, NULL);
}
