/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's memory may hold. See transfer.h. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "godwit/crc32c.h"
#include "transfer.h"

enum { WORDS = 4096, WORD_BYTES_MAX = 16 };

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

/* ---- Text ---- */

static struct {
    char text[WORD_BYTES_MAX]; /* with a NUL */
} dictionary[WORDS];

/* Syllables, and a space or what else stands between words. */
static void make_dictionary(uint64_t *random)
{
    static const char *const consonants = "tnshrdlcmwfgypbvk";
    static const char *const vowels = "eaoiu";
    static const char *const ends = "      ,.\n";
    for (uint32_t i = 0; i < WORDS; i++) {
        uint32_t syllables = 1 + (uint32_t)(next_random(random) % 4);
        uint32_t at = 0;
        for (uint32_t k = 0; k < syllables; k++) {
            dictionary[i].text[at++] = consonants[next_random(random) % 17];
            dictionary[i].text[at++] = vowels[next_random(random) % 5];
            if (next_random(random) % 2 == 0) {
                dictionary[i].text[at++] = consonants[next_random(random) % 17];
            }
        }
        dictionary[i].text[at++] = ends[next_random(random) % 9];
        dictionary[i].text[at] = '\0';
    }
}

/* As in any language a few words are most of a text: the product of numbers is often small. */
static uint64_t draw(uint64_t *random, uint64_t below)
{
    uint64_t drawn = next_random(random);
    uint64_t often = (drawn & 0xffff) * (drawn >> 16 & 0xffff) * (drawn >> 32 & 0xffff);
    return often / 65536 * below >> 32;
}

/* Half of it is what was said before, as in documents, logs and sources: lz4 makes
 * about as much of 64 KiB of it as of such, 38 %. */
static void fill_text(uint8_t *bytes, uint64_t count)
{
    uint64_t random = 88172645463325252;
    make_dictionary(&random);
    for (uint64_t at = 0; at < count;) {
        uint64_t ago = 1 + draw(&random, 60000);
        const void *from = dictionary[draw(&random, WORDS)].text;
        uint64_t here = strlen(from);
        if (next_random(&random) % 4 == 0 && ago <= at) {
            from = bytes + at - ago;
            here = 8 + next_random(&random) % 60;
            here = here < ago ? here : ago;
        }
        here = here < count - at ? here : count - at;
        memcpy(bytes + at, from, here);
        at += here;
    }
}

/* ---- The others ---- */

static void fill_random(uint8_t *bytes, uint64_t count)
{
    uint64_t random = 88172645463325252;
    for (uint64_t at = 0; at < count; at += sizeof(random)) {
        (void)next_random(&random);
        memcpy(bytes + at, &random, sizeof(random));
    }
}

void fill_memory(uint8_t *bytes, uint64_t count, enum memory_kind kind)
{
    switch (kind) {
    case MEMORY_RANDOM:
        fill_random(bytes, count);
        break;
    case MEMORY_TEXT:
        fill_text(bytes, count);
        break;
    case MEMORY_ZERO:
        memset(bytes, 0, count);
        break;
    case MEMORY_HOLES:
        break;
    }
}

static enum gw_status add_huge(struct gw_ram *ram, uint64_t bytes, struct gw_fault *fault)
{
    uint64_t room = bytes + GW_HUGE_PAGE_BYTES;
    uint8_t *base = mmap(NULL, room, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must(base != MAP_FAILED, "mapping memory");
    base += -(uintptr_t)base % GW_HUGE_PAGE_BYTES;
    must(madvise(base, bytes, MADV_HUGEPAGE) == 0, "transparent huge pages");
    return gw_ram_add_anonymous(ram, UINT64_C(1) << 30, base, bytes, fault);
}

void open_memory(struct gw_ram *ram, const struct transfer *wanted, bool is_source)
{
    struct gw_fault fault = {.status = GW_OK};
    gw_ram_init(ram);
    must((wanted->is_huge
              ? add_huge(ram, wanted->bytes, &fault)
              : gw_ram_add_memfd(ram, UINT64_C(1) << 30, wanted->bytes, &fault)) == GW_OK,
         fault.text);
    if (is_source) {
        fill_memory(ram->region[0].base, wanted->bytes, wanted->memory);
    } else if (wanted->is_touched) {
        memset(ram->region[0].base, 1, wanted->bytes);
    }
}

/* Holes are zeros, and stay holes. */
uint32_t sum_memory(const struct gw_ram *ram)
{
    static const uint8_t zeros[65536];
    uint32_t crc = 0;
    uint64_t next = 0;
    uint64_t count = 0;
    for (uint64_t page = 0; page < ram->page_count; page = next + count) {
        next = gw_ram_next_data(ram, page, ram->page_count, &count);
        for (; page < next; page++) {
            crc = gw_crc32c(crc, zeros, ram->page_bytes);
        }
        crc = count > 0 ? gw_crc32c(crc, gw_ram_page(ram, next), count * ram->page_bytes) : crc;
    }
    return crc;
}
