/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel file is. Pure. Memory: the caller's. Never blocks. */
#include "vm/image.h"

#include <string.h>

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static bool starts(const uint8_t *bytes, size_t count, size_t at, const char *magic, size_t length)
{
    return count >= at + length && memcmp(bytes + at, magic, length) == 0;
}

/* Names what people hand to a boot loader by mistake. */
static const char *guess(const uint8_t *bytes, size_t count)
{
    static const struct {
        const char *magic;
        size_t length;
        const char *name;
    } known[] = {
        {"\x7f"
         "ELF",
         4, "an ELF file (vmlinux?)"},
        {"\xfd"
         "7zXZ",
         5, "an xz file"},
        {"\x28\xb5\x2f\xfd", 4, "a zstd file"},
        {"\x04\x22\x4d\x18", 4, "an lz4 file"},
        {"\x02\x21\x4c\x18", 4, "an lz4 file"},
        {"BZh", 3, "a bzip2 file"},
        {"\x27\x05\x19\x56", 4, "a U-Boot uImage"},
        {"\xd0\x0d\xfe\xed", 4, "a device tree or U-Boot FIT"},
        {"MZ", 2, "a PE or EFI program"},
        {"#!", 2, "a script"},
        {"070701", 6, "a cpio archive (an initrd?)"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (starts(bytes, count, 0, known[i].magic, known[i].length))
            return known[i].name;
    }
    return NULL;
}

static enum gw_status refuse(const char *path, const uint8_t *bytes, size_t count,
                             struct gw_fault *fault)
{
    static const char wanted[] = "wanted the magic \"ARM\\x64\" at offset 56";
    if (count < GW_IMAGE_HEADER_BYTES && !guess(bytes, count))
        return gw_fault_set(fault, GW_ARGUMENT,
                            "kernel %s is no arm64 Image: found a file of %zu bytes, %s", path,
                            count, wanted);
    if (guess(bytes, count))
        return gw_fault_set(fault, GW_ARGUMENT, "kernel %s is no arm64 Image: found %s, %s", path,
                            guess(bytes, count), wanted);
    return gw_fault_set(fault, GW_ARGUMENT,
                        "kernel %s is no arm64 Image: found %02x %02x %02x %02x, %s", path,
                        bytes[56], bytes[57], bytes[58], bytes[59], wanted);
}

enum gw_status gw_image_identify(const char *path, const uint8_t *bytes, size_t count,
                                 enum gw_image_kind *kind, struct gw_fault *fault)
{
    if (starts(bytes, count, 56, "ARM\x64", 4) && count >= GW_IMAGE_HEADER_BYTES) {
        *kind = GW_IMAGE_ARM64;
        return GW_OK;
    }
    if (starts(bytes, count, 0, "\x1f\x8b", 2)) {
        *kind = GW_IMAGE_GZIP;
        return GW_OK;
    }
    /* Linux drivers/firmware/efi/libstub/zboot-header.S: "MZ", then "zimg" at 4. */
    if (starts(bytes, count, 0, "MZ", 2) && starts(bytes, count, 4, "zimg", 4))
        return gw_fault_set(fault, GW_ARGUMENT,
                            "kernel %s is an EFI zboot image (found \"zimg\" at offset 4), which "
                            "unpacks itself only under EFI: wanted the arm64 Image inside it",
                            path);
    return refuse(path, bytes, count, fault);
}

enum gw_status gw_image_decode(const char *path, const uint8_t *header, uint64_t file_bytes,
                               struct gw_image *image, struct gw_fault *fault)
{
    image->text_offset = get_u64(header + 8);
    image->memory_bytes = get_u64(header + 16);
    if (image->memory_bytes == 0)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "kernel %s is older than Linux 3.17 (its header says no size): wanted "
                            "4.2 or newer",
                            path);
    if (image->memory_bytes < file_bytes)
        image->memory_bytes = file_bytes;
    return GW_OK;
}
