/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What single steps cost in one process on one CPU, alone: reading the memory once, looking whether
 * its pages are zero, having the kernel protect them from writing, as whoever tracks writes must,
 * summing a batch from the cache and all of it from memory, and making fresh pages by runs. Bytes a
 * second, a line each; and what lz4 leaves of text, in thousandths.
 */
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/mman.h>

#include <mbedtls/chachapoly.h>
#include <mbedtls/gcm.h>

#include "godwit/batch.h"
#include "godwit/clock.h"
#include "godwit/crc32c.h"
#include "godwit/ioctl.h"
#include "godwit/pack.h"
#include "godwit/uffd.h"
#include "transfer.h"

typedef uint64_t wide __attribute__((vector_size(16), may_alias));

static volatile uint64_t seen; /* so that nothing is left out for want of use */

/* The memory's words or-ed together, with nothing decided on the way. */
static void read_once(const uint8_t *bytes, uint64_t count)
{
    const wide *words = (const wide *)(const void *)bytes;
    wide sum[4] = {{0}};
    for (uint64_t at = 0; at < count / sizeof(wide); at += 4) {
        sum[0] |= words[at];
        sum[1] |= words[at + 1];
        sum[2] |= words[at + 2];
        sum[3] |= words[at + 3];
    }
    sum[0] |= sum[1] | sum[2] | sum[3];
    seen = sum[0][0] | sum[0][1];
}

static void sum_pieces(const uint8_t *bytes, uint64_t count)
{
    uint32_t crc = 0;
    for (uint64_t at = 0; at < count; at += PIECE_BYTES) {
        crc = gw_crc32c(crc, bytes + at, PIECE_BYTES);
    }
    seen = crc;
}

static void sum_one_piece(const uint8_t *bytes, uint64_t count)
{
    uint32_t crc = 0;
    for (uint64_t at = 0; at < count; at += PIECE_BYTES) {
        crc = gw_crc32c(crc, bytes, PIECE_BYTES);
    }
    seen = crc;
}

static void find_zeros(const uint8_t *bytes, uint64_t count)
{
    uint64_t zeros = 0;
    for (uint64_t at = 0; at < count; at += GW_PAGE_BYTES_MIN) {
        zeros += gw_page_is_zero(bytes + at, GW_PAGE_BYTES_MIN) ? 1 : 0;
    }
    seen = zeros;
}

enum { PROTECT_BYTES = 4 << 20 }; /* at a time */

static struct gw_uffd uffd;

static void watch(const struct gw_ram *ram)
{
    struct gw_fault fault = {.status = GW_OK};
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)ram->region[0].base, .len = ram->region[0].bytes},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    uint64_t features = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_ASYNC;
    must(gw_uffd_open(&uffd, features, true, &fault) == GW_OK, fault.text);
    must(gw_ioctl(uffd.fd, UFFDIO_REGISTER, &request) == 0, "userfaultfd: registering");
}

static void protect(const uint8_t *bytes, uint64_t count)
{
    for (uint64_t at = 0; at < count; at += PROTECT_BYTES) {
        struct uffdio_writeprotect request = {
            .range = {.start = (uintptr_t)bytes + at,
                      .len = count - at < PROTECT_BYTES ? count - at : PROTECT_BYTES},
            .mode = UFFDIO_WRITEPROTECT_MODE_WP,
        };
        must(gw_ioctl(uffd.fd, UFFDIO_WRITEPROTECT, &request) == 0, "userfaultfd: protecting");
    }
}

static void print_rate(const char *name, void (*job)(const uint8_t *, uint64_t),
                       const struct gw_ram *ram)
{
    uint64_t start_ns = gw_clock_now_ns();
    job(ram->region[0].base, ram->region[0].bytes);
    uint64_t took_ns = gw_clock_now_ns() - start_ns;
    print_figure(name, (uint64_t)((double)ram->region[0].bytes * 1e9 / (double)took_ns));
}

static void populate(const struct transfer *wanted)
{
    struct gw_ram ram;
    struct gw_fault fault = {.status = GW_OK};
    gw_ram_init(&ram);
    must(gw_ram_add_memfd(&ram, 0, wanted->bytes, &fault) == GW_OK, fault.text);
    uint64_t step = PIECE_BYTES / ram.page_bytes;
    uint64_t start_ns = gw_clock_now_ns();
    for (uint64_t page = 0; page < ram.page_count; page += step) {
        gw_ram_populate(&ram, page, step);
    }
    uint64_t took_ns = gw_clock_now_ns() - start_ns;
    print_figure("populate_rate", (uint64_t)((double)wanted->bytes * 1e9 / (double)took_ns));
    gw_ram_close(&ram);
}

static void pack_text(void)
{
    enum { PIECES = 64 };
    static struct gw_packer packer;
    static uint8_t text[PIECES * PIECE_BYTES], packed[PIECE_BYTES];
    uint64_t packed_bytes = 0;
    fill_memory(text, sizeof(text), MEMORY_TEXT);
    for (uint64_t at = 0; at < sizeof(text); at += PIECE_BYTES) {
        uint32_t here = gw_pack(&packer, text + at, PIECE_BYTES, packed);
        packed_bytes += here > 0 ? here : PIECE_BYTES;
    }
    print_figure("text_permille", packed_bytes * 1000 / sizeof(text));
}

/* ---- Ciphers, by the library that TLS takes, in records as TLS has them ---- */

enum { RECORD_BYTES = 16384 };

static uint8_t record[RECORD_BYTES];

static void seal_by_aes(const uint8_t *bytes, uint64_t count)
{
    static const uint8_t key[16], iv[12], head[5];
    uint8_t tag[16];
    mbedtls_gcm_context aes;
    mbedtls_gcm_init(&aes);
    must(mbedtls_gcm_setkey(&aes, MBEDTLS_CIPHER_ID_AES, key, 128) == 0, "AES: the key");
    for (uint64_t at = 0; at < count; at += RECORD_BYTES) {
        must(mbedtls_gcm_crypt_and_tag(&aes, MBEDTLS_GCM_ENCRYPT, RECORD_BYTES, iv, sizeof(iv),
                                       head, sizeof(head), bytes + at, record, sizeof(tag),
                                       tag) == 0,
             "AES");
    }
    mbedtls_gcm_free(&aes);
    seen = record[0];
}

static void seal_by_chacha(const uint8_t *bytes, uint64_t count)
{
    static const uint8_t key[32], iv[12], head[5];
    uint8_t tag[16];
    mbedtls_chachapoly_context chacha;
    mbedtls_chachapoly_init(&chacha);
    must(mbedtls_chachapoly_setkey(&chacha, key) == 0, "ChaCha20: the key");
    for (uint64_t at = 0; at < count; at += RECORD_BYTES) {
        must(mbedtls_chachapoly_encrypt_and_tag(&chacha, RECORD_BYTES, iv, head, sizeof(head),
                                                bytes + at, record, tag) == 0,
             "ChaCha20");
    }
    mbedtls_chachapoly_free(&chacha);
    seen = record[0];
}

int print_rates(const struct transfer *wanted)
{
    struct gw_ram ram;
    open_memory(&ram, wanted, true);
    print_rate("read_rate", read_once, &ram);
    print_rate("zero_rate", find_zeros, &ram);
    print_rate("crc_memory_rate", sum_pieces, &ram);
    print_rate("crc_cache_rate", sum_one_piece, &ram);
    print_rate("aes_rate", seal_by_aes, &ram);
    print_rate("chacha_rate", seal_by_chacha, &ram);
    watch(&ram);
    print_rate("protect_rate", protect, &ram);
    gw_uffd_close(&uffd);
    populate(wanted);
    pack_text();
    return 0;
}
