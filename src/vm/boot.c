/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From files to a machine that can run: program and initrd are read straight into guest RAM, the
 * device tree is written there, and vCPU 0 gets its first registers.
 *
 * RAM from its start: device tree (64 KiB), then at 0x4008_0000 a flat program, or at the next
 * multiple of 2 MiB an arm64 Image (whose text_offset is 0 since Linux 5.8) and behind it the
 * initrd. A compressed kernel is first read to the end of RAM and unpacked from there; what it
 * left is given back to the host.
 *
 * Owner: the machine, once. Blocks for file reads.
 */
#include "internal.h"

#include <asm/kvm.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "godwit/named_file.h"
#include "layout.h"
#include "vm/image.h"
#include "vm/tree.h"

enum { SEED_BYTES = 8 + 32 };

struct file {
    const char *what; /* "kernel", "initrd", "flat program" */
    const char *path;
    int fd;
    uint64_t bytes;
};

static enum gw_status open_file(struct file *file, const char *what, const char *path,
                                struct gw_fault *fault)
{
    struct stat about;
    /* a pipe that nobody writes to is refused, not waited for */
    *file = (struct file){
        .what = what, .path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (file->fd < 0) {
        (void)gw_fault_set_os(fault, errno, "%s %s cannot be opened", what, path);
        return gw_named_file_judge(fault);
    }
    enum gw_status status = GW_OK;
    if (fstat(file->fd, &about) < 0)
        status = gw_fault_set_os(fault, errno, "%s %s cannot be looked at", what, path);
    else if (!S_ISREG(about.st_mode))
        status = gw_fault_set(fault, GW_ARGUMENT, "%s %s is no regular file", what, path);
    else if (about.st_size <= 0)
        status = gw_fault_set(fault, GW_ARGUMENT, "%s %s is empty", what, path);
    if (status != GW_OK) {
        (void)close(file->fd);
        return status;
    }
    file->bytes = (uint64_t)about.st_size;
    return GW_OK;
}

static enum gw_status read_bytes(const struct file *file, uint8_t *to, uint64_t count,
                                 struct gw_fault *fault)
{
    uint64_t done = 0;
    while (done < count) {
        ssize_t got = pread(file->fd, to + done, count - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return gw_fault_set_os(fault, errno, "%s %s cannot be read", file->what, file->path);
        if (got == 0)
            return gw_fault_set(fault, GW_HOST,
                                "%s %s ended at byte %" PRIu64
                                " while it was read, wanted %" PRIu64,
                                file->what, file->path, done, count);
        done += (uint64_t)got;
    }
    return GW_OK;
}

static void mark_written(const struct gw_vm *vm, uint64_t gpa, uint64_t bytes)
{
    const struct gw_ram_region *region = &vm->ram->region[0];
    uint64_t first = (gpa - region->gpa) / vm->ram->page_bytes;
    uint64_t last = (gpa + bytes - 1 - region->gpa) / vm->ram->page_bytes;
    if (vm->config.pages_written && bytes > 0)
        vm->config.pages_written(vm->config.context, region->page_first + first, last - first + 1);
}

static enum gw_status too_large(const struct gw_vm *vm, const struct file *file, uint64_t gpa,
                                uint64_t bytes, struct gw_fault *fault)
{
    const struct gw_ram_region *region = &vm->ram->region[0];
    uint64_t end = region->gpa + region->bytes;
    return gw_fault_set(fault, GW_ARGUMENT,
                        "%s %s does not fit into guest memory: it takes %" PRIu64
                        " bytes from 0x%" PRIx64 ", and %" PRIu64 " are there",
                        file->what, file->path, bytes, gpa, end > gpa ? end - gpa : 0);
}

/* Reads a whole file to `gpa`. */
static enum gw_status load_file(struct gw_vm *vm, const struct file *file, uint64_t gpa,
                                struct gw_fault *fault)
{
    uint8_t *to = gw_ram_at(vm->ram, gpa, file->bytes);
    if (!to)
        return too_large(vm, file, gpa, file->bytes, fault);
    enum gw_status status = read_bytes(file, to, file->bytes, fault);
    mark_written(vm, gpa, file->bytes);
    return status;
}

/* Unpacks a compressed kernel to the base its Image counts from (text_offset is looked at
 * afterwards), through the end of RAM: scratch memory last, the packed file before it. */
static enum gw_status unpack_kernel(struct gw_vm *vm, const struct file *file, uint64_t gpa,
                                    uint64_t *bytes, struct gw_fault *fault)
{
    const struct gw_ram_region *region = &vm->ram->region[0];
    uint64_t page = vm->ram->page_bytes;
    uint64_t borrowed = (file->bytes + GW_IMAGE_SCRATCH_BYTES + page - 1) / page * page;
    uint64_t start = region->gpa + region->bytes - borrowed;
    if (borrowed > region->bytes || start <= gpa)
        return too_large(vm, file, gpa, borrowed, fault);
    uint8_t *scratch = gw_ram_at(vm->ram, start, borrowed);
    uint8_t *packed = scratch + GW_IMAGE_SCRATCH_BYTES;
    enum gw_status status = read_bytes(file, packed, file->bytes, fault);
    size_t unpacked = 0;
    if (status == GW_OK)
        status =
            gw_image_inflate(file->path, packed, file->bytes, gw_ram_at(vm->ram, gpa, start - gpa),
                             start - gpa, scratch, &unpacked, fault);
    uint64_t first = region->page_first + (start - region->gpa) / page;
    if (status == GW_OK)
        status = gw_ram_discard(vm->ram, first, borrowed / page, fault);
    mark_written(vm, gpa, unpacked);
    *bytes = unpacked;
    return status;
}

/* An Image of `bytes` bytes lies at `base`; moves it to its text_offset, if it has one. */
static enum gw_status settle_kernel(struct gw_vm *vm, const struct file *file, uint64_t base,
                                    uint64_t bytes, uint64_t *entry, uint64_t *end,
                                    struct gw_fault *fault)
{
    const uint8_t *header = gw_ram_at(vm->ram, base, bytes);
    enum gw_image_kind kind = GW_IMAGE_GZIP;
    enum gw_status status = gw_image_identify(
        file->path, header, bytes < GW_IMAGE_HEADER_BYTES ? bytes : GW_IMAGE_HEADER_BYTES, &kind,
        fault);
    if (status != GW_OK)
        return status;
    if (kind != GW_IMAGE_ARM64)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "kernel %s is gzip inside gzip, wanted an arm64 Image inside",
                            file->path);
    struct gw_image image;
    status = gw_image_decode(file->path, header, bytes, &image, fault);
    if (status != GW_OK)
        return status;
    if (image.text_offset > GW_RAM_BYTES_MAX || image.memory_bytes > GW_RAM_BYTES_MAX ||
        !gw_ram_at(vm->ram, base + image.text_offset, image.memory_bytes))
        return too_large(vm, file, base + image.text_offset, image.memory_bytes, fault);
    *entry = base + image.text_offset;
    *end = *entry + image.memory_bytes;
    if (image.text_offset > 0) {
        memmove(gw_ram_at(vm->ram, *entry, bytes), header, bytes);
        mark_written(vm, *entry, bytes);
    }
    return GW_OK;
}

static enum gw_status load_kernel(struct gw_vm *vm, const char *path, uint64_t *entry,
                                  uint64_t *end, struct gw_fault *fault)
{
    struct file file;
    uint8_t head[GW_IMAGE_HEADER_BYTES] = {0};
    enum gw_image_kind kind = GW_IMAGE_ARM64;
    uint64_t base = GW_VM_RAM_BASE + GW_IMAGE_ALIGN;
    enum gw_status status = open_file(&file, "kernel", path, fault);
    if (status != GW_OK)
        return status;
    uint64_t bytes = file.bytes;
    uint64_t head_bytes = bytes < sizeof(head) ? bytes : sizeof(head);
    status = read_bytes(&file, head, head_bytes, fault);
    if (status == GW_OK)
        status = gw_image_identify(path, head, head_bytes, &kind, fault);
    if (status == GW_OK)
        status = kind == GW_IMAGE_GZIP ? unpack_kernel(vm, &file, base, &bytes, fault)
                                       : load_file(vm, &file, base, fault);
    if (status == GW_OK)
        status = settle_kernel(vm, &file, base, bytes, entry, end, fault);
    (void)close(file.fd);
    return status;
}

static enum gw_status load_other(struct gw_vm *vm, const char *what, const char *path, uint64_t gpa,
                                 uint64_t *bytes, struct gw_fault *fault)
{
    struct file file;
    enum gw_status status = open_file(&file, what, path, fault);
    if (status != GW_OK)
        return status;
    *bytes = file.bytes;
    status = load_file(vm, &file, gpa, fault);
    (void)close(file.fd);
    return status;
}

static enum gw_status write_tree(struct gw_vm *vm, const struct gw_vm_boot *boot,
                                 uint64_t initrd_gpa, uint64_t initrd_bytes, struct gw_fault *fault)
{
    uint8_t seed[SEED_BYTES];
    enum gw_status status = gw_random_bytes(seed, sizeof(seed), fault);
    if (status != GW_OK)
        return status;
    const struct gw_tree tree = {.ram_gpa = vm->ram->region[0].gpa,
                                 .ram_bytes = vm->ram->region[0].bytes,
                                 .vcpu_count = vm->config.vcpu_count,
                                 .command_line = boot->command_line,
                                 .initrd_gpa = initrd_gpa,
                                 .initrd_bytes = initrd_bytes,
                                 .seed = seed,
                                 .seed_bytes = sizeof(seed)};
    uint8_t *bytes = gw_ram_at(vm->ram, GW_LAYOUT_TREE, GW_LAYOUT_TREE_BYTES);
    if (!bytes)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "guest memory of %" PRIu64
                            " bytes has no room for a device tree, wanted at least 1 MiB",
                            vm->ram->region[0].bytes);
    status = gw_tree_encode(&tree, bytes, GW_LAYOUT_TREE_BYTES, fault);
    mark_written(vm, GW_LAYOUT_TREE, GW_LAYOUT_TREE_BYTES);
    return status;
}

/* booting.rst: x0 holds the device tree's address; the rest of the reset state is KVM's. */
static enum gw_status point_vcpu(struct gw_vm *vm, uint64_t entry, struct gw_fault *fault)
{
    const uint64_t core = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE;
    int error = gw_kvm_set(vm->vcpu[0].fd, core | KVM_REG_ARM_CORE_REG(regs.pc), entry);
    if (!error)
        error =
            gw_kvm_set(vm->vcpu[0].fd, core | KVM_REG_ARM_CORE_REG(regs.regs[0]), GW_LAYOUT_TREE);
    if (error)
        return gw_fault_set_os(fault, error, "KVM refused the first registers of vCPU 0");
    return GW_OK;
}

static enum gw_status check(const struct gw_vm *vm, const struct gw_vm_boot *boot,
                            struct gw_fault *fault)
{
    if (!vm->is_fresh)
        return gw_fault_set(fault, GW_ARGUMENT, "this machine has a guest already");
    if (!boot->kernel == !boot->flat)
        return gw_fault_set(fault, GW_ARGUMENT, "%s given, wanted exactly one of the two",
                            boot->kernel ? "both a kernel and a flat program are"
                                         : "neither a kernel nor a flat program is");
    if (boot->flat && boot->initrd)
        return gw_fault_set(
            fault, GW_ARGUMENT,
            "an initrd is given with a flat program, wanted one only with a kernel");
    if (boot->command_line && strlen(boot->command_line) >= GW_VM_COMMAND_LINE_BYTES)
        return gw_fault_set(fault, GW_LIMIT,
                            "the kernel's command line has %zu characters, wanted at most %d",
                            strlen(boot->command_line), GW_VM_COMMAND_LINE_BYTES - 1);
    if (vm->ram->region_count < 1 || vm->ram->region[0].gpa != GW_VM_RAM_BASE)
        return gw_fault_set(fault, GW_ARGUMENT, "guest RAM does not begin at 0x%" PRIx64,
                            GW_VM_RAM_BASE);
    return GW_OK;
}

enum gw_status gw_vm_boot(struct gw_vm *vm, const struct gw_vm_boot *boot, struct gw_fault *fault)
{
    uint64_t entry = GW_VM_FLAT_ENTRY, end = 0, bytes = 0, initrd_gpa = 0, initrd_bytes = 0;
    enum gw_status status = check(vm, boot, fault);
    if (status != GW_OK)
        return status;
    vm->is_fresh = false;
    if (boot->flat)
        status = load_other(vm, "flat program", boot->flat, entry, &bytes, fault);
    else
        status = load_kernel(vm, boot->kernel, &entry, &end, fault);
    if (status == GW_OK && boot->initrd) {
        initrd_gpa = (end + 0xffff) & ~UINT64_C(0xffff); /* whole pages of every size */
        status = load_other(vm, "initrd", boot->initrd, initrd_gpa, &initrd_bytes, fault);
    }
    if (status == GW_OK)
        status = write_tree(vm, boot, initrd_gpa, initrd_bytes, fault);
    if (status == GW_OK)
        status = point_vcpu(vm, entry, fault);
    vm->has_guest = vm->is_settled = status == GW_OK;
    return status;
}
