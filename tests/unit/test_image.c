/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel files told apart, gzip taken apart, and the device tree put together. */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libfdt.h>

#include "vm/image.h"
#include "vm/tree.h"

static uint8_t header[GW_IMAGE_HEADER_BYTES];

static void assert_says(const struct gw_fault *fault, const char *words)
{
    if (!strstr(fault->text, words))
        fail_msg("\"%s\" does not say \"%s\"", fault->text, words);
}

static void image_is_known_and_measured(void **state)
{
    (void)state;
    enum gw_image_kind kind = GW_IMAGE_GZIP;
    struct gw_image image;
    memset(header, 0, sizeof(header));
    memcpy(header, "MZ", 2); /* with an EFI stub, as distributions build it */
    memcpy(header + 56, "ARM\x64", 4);
    header[8 + 2] = 0x08;  /* text_offset 0x80000 */
    header[16 + 2] = 0x40; /* image_size 0x400000 */
    assert_int_equal(gw_image_identify("k", header, 64, &kind, NULL), GW_OK);
    assert_int_equal(kind, GW_IMAGE_ARM64);
    assert_int_equal(gw_image_decode("k", header, 0x300000, &image, NULL), GW_OK);
    assert_int_equal(image.text_offset, 0x80000);
    assert_int_equal(image.memory_bytes, 0x400000);
    assert_int_equal(gw_image_decode("k", header, 0x500000, &image, NULL), GW_OK);
    assert_int_equal(image.memory_bytes, 0x500000);
    struct gw_fault fault = {.status = GW_OK};
    header[16 + 2] = 0;
    assert_int_equal(gw_image_decode("k", header, 0x500000, &image, &fault), GW_ARGUMENT);
    assert_says(&fault, "older than Linux 3.17");
}

static void others_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        char bytes[9];
        size_t count;
        const char *says;
    } cases[] = {
        {"\x7f"
         "ELF\x02\x01\x01",
         64, "found an ELF file"},
        {"MZ\0\0zimg", 64, "EFI zboot image (found \"zimg\" at offset 4)"},
        {"MZ\x90", 64, "found a PE or EFI program"},
        {"\xfd"
         "7zXZ",
         64, "found an xz file"},
        {"070701", 64, "found a cpio archive"},
        {"hello", 5, "found a file of 5 bytes"},
        {"", 0, "found a file of 0 bytes"},
        {"", 64, "found 00 00 00 00, wanted the magic \"ARM\\x64\" at offset 56"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gw_fault fault = {.status = GW_OK};
        enum gw_image_kind kind;
        memset(header, 0, sizeof(header));
        memcpy(header, cases[i].bytes, cases[i].count < 8 ? cases[i].count : 8);
        assert_int_equal(gw_image_identify("vmlinuz", header, cases[i].count, &kind, &fault),
                         GW_ARGUMENT);
        assert_says(&fault, "kernel vmlinuz is");
        assert_says(&fault, cases[i].says);
    }
}

/* printf 'godwit godwit godwit godwit\n' | gzip -9, with a name in the header. */
static const uint8_t packed[] = {0x1f, 0x8b, 0x08, 0x08, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x6b,
                                 0x00, 0x4b, 0xcf, 0x4f, 0x29, 0xcf, 0x2c, 0x51, 0x48, 0xc7, 0x42,
                                 0x71, 0x01, 0x00, 0x77, 0x0c, 0x8d, 0xce, 0x1c, 0x00, 0x00, 0x00};
static const char unpacked[] = "godwit godwit godwit godwit\n";
static uint8_t scratch[GW_IMAGE_SCRATCH_BYTES];

static enum gw_status inflate_copy(const uint8_t *bytes, size_t count, size_t capacity,
                                   struct gw_fault *fault)
{
    size_t used = 0;
    uint8_t *from = malloc(count + 1), *to = malloc(capacity + 1);
    memcpy(from, bytes, count);
    enum gw_status status =
        gw_image_inflate("k.gz", from, count, to, capacity, scratch, &used, fault);
    if (status == GW_OK) {
        assert_int_equal(used, sizeof(unpacked) - 1);
        assert_memory_equal(to, unpacked, used);
    }
    free(from);
    free(to);
    return status;
}

static void gzip_is_unpacked_and_checked(void **state)
{
    (void)state;
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(inflate_copy(packed, sizeof(packed), 100, &fault), GW_OK);
    assert_int_equal(inflate_copy(packed, sizeof(packed), 28, &fault), GW_OK);
    assert_int_equal(inflate_copy(packed, sizeof(packed), 27, &fault), GW_LIMIT);
    assert_says(&fault, "does not fit into guest memory");
    uint8_t more[2 * sizeof(packed)];
    memcpy(more, packed, sizeof(packed));
    memset(more + sizeof(packed), 0, sizeof(packed)); /* as some fill up a last block */
    assert_int_equal(inflate_copy(more, sizeof(more), 100, NULL), GW_OK);
    memcpy(more + sizeof(packed), packed, sizeof(packed));
    gw_fault_clear(&fault);
    assert_int_equal(inflate_copy(more, sizeof(more), 100, &fault), GW_CORRUPT);
    assert_says(&fault, "more than one member");
}

static void damaged_gzip_is_refused_at_every_byte(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < sizeof(packed); cut++)
        assert_int_equal(inflate_copy(packed, cut, 100, NULL), GW_CORRUPT);
    uint8_t copy[sizeof(packed)];
    for (size_t bit = 0; bit < 8 * sizeof(packed); bit++) {
        memcpy(copy, packed, sizeof(packed));
        copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
        (void)inflate_copy(copy, sizeof(copy), 100, NULL); /* some bits mean nothing */
    }
}

static const void *property(const void *fdt, const char *path, const char *name, int *count)
{
    int node = fdt_path_offset(fdt, path);
    if (node < 0)
        fail_msg("no node %s", path);
    const void *value = fdt_getprop(fdt, node, name, count);
    if (!value)
        fail_msg("no property %s of %s", name, path);
    return value;
}

static uint64_t get_cells(const void *value, int index)
{
    const fdt32_t *cells = value;
    return (uint64_t)fdt32_to_cpu(cells[index]) << 32 | fdt32_to_cpu(cells[index + 1]);
}

static void tree_says_what_the_machine_has(void **state)
{
    (void)state;
    static alignas(8) uint8_t bytes[65536];
    static const uint8_t seed[40] = {1};
    const struct gw_tree tree = {.ram_gpa = 0x40000000,
                                 .ram_bytes = UINT64_C(0x180000000),
                                 .vcpu_count = 8,
                                 .command_line = "console=ttyAMA0",
                                 .initrd_gpa = 0x44000000,
                                 .initrd_bytes = 1234,
                                 .seed = seed,
                                 .seed_bytes = sizeof(seed)};
    int count;
    assert_int_equal(gw_tree_encode(&tree, bytes, sizeof(bytes), NULL), GW_OK);
    assert_int_equal(fdt_check_header(bytes), 0);
    assert_true(fdt_totalsize(bytes) < 4096);
    const void *reg = property(bytes, "/memory@40000000", "reg", &count);
    assert_int_equal(count, 16);
    assert_true(get_cells(reg, 0) == 0x40000000 && get_cells(reg, 2) == UINT64_C(0x180000000));
    assert_true(get_cells(property(bytes, "/chosen", "linux,initrd-end", &count), 0) ==
                0x44000000 + 1234);
    assert_string_equal(property(bytes, "/chosen", "bootargs", &count), "console=ttyAMA0");
    const char *stdout_path = property(bytes, "/chosen", "stdout-path", &count);
    assert_string_equal(property(bytes, stdout_path, "compatible", &count), "arm,pl011");
    assert_string_equal(property(bytes, "/cpus/cpu@7", "enable-method", &count), "psci");
    assert_true(fdt_path_offset(bytes, "/cpus/cpu@8") < 0);
    reg = property(bytes, "/intc@8000000", "reg", &count);
    assert_true(get_cells(reg, 6) == 8 * 0x20000);
}

static void tree_too_small_is_a_limit(void **state)
{
    (void)state;
    static alignas(8) uint8_t bytes[65536];
    const struct gw_tree tree = {.ram_gpa = 0x40000000, .ram_bytes = 0x10000000, .vcpu_count = 1};
    for (size_t capacity = 0; capacity < 1024; capacity += 8)
        assert_int_equal(gw_tree_encode(&tree, bytes, capacity, NULL), GW_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_is_known_and_measured),
        cmocka_unit_test(others_are_refused_by_name),
        cmocka_unit_test(gzip_is_unpacked_and_checked),
        cmocka_unit_test(damaged_gzip_is_refused_at_every_byte),
        cmocka_unit_test(tree_says_what_the_machine_has),
        cmocka_unit_test(tree_too_small_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
