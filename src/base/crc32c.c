/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C: by instruction where there is one, else by a table of sixteen. Pure. */
#include "godwit/crc32c.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* The CRC of each four-bit value, reflected polynomial 0x82f63b78. */
static const uint32_t nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t crc_by_table(uint32_t crc, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return crc;
}

#if defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define STEP_8(crc, word) __crc32cd((crc), (word))
#define HARDWARE
static bool has_instruction(void)
{
    return true; /* the cross file says that every CPU of the board has it */
}
#elif defined(__x86_64__)
#define STEP_8(crc, word) (uint32_t)__builtin_ia32_crc32di((crc), (word))
#define HARDWARE          __attribute__((target("sse4.2")))
static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#endif

#ifdef STEP_8
enum { LANE_BYTES = 1360, LANES_BYTES = 3 * LANE_BYTES }; /* with a little more, a page of 4096 */

/* What LANE_BYTES zeros make of a CRC: of each value of each four bits, the lowest first. */
static const uint32_t behind_lane[8][16] = {
    {0x00000000, 0x79113270, 0xf22264e0, 0x8b335690, 0xe1a8bf31, 0x98b98d41, 0x138adbd1, 0x6a9be9a1,
     0xc6bd0893, 0xbfac3ae3, 0x349f6c73, 0x4d8e5e03, 0x2715b7a2, 0x5e0485d2, 0xd537d342,
     0xac26e132},
    {0x00000000, 0x889667d7, 0x14c0b95f, 0x9c56de88, 0x298172be, 0xa1171569, 0x3d41cbe1, 0xb5d7ac36,
     0x5302e57c, 0xdb9482ab, 0x47c25c23, 0xcf543bf4, 0x7a8397c2, 0xf215f015, 0x6e432e9d,
     0xe6d5494a},
    {0x00000000, 0xa605caf8, 0x49e7e301, 0xefe229f9, 0x93cfc602, 0x35ca0cfa, 0xda282503, 0x7c2deffb,
     0x2273faf5, 0x8476300d, 0x6b9419f4, 0xcd91d30c, 0xb1bc3cf7, 0x17b9f60f, 0xf85bdff6,
     0x5e5e150e},
    {0x00000000, 0x44e7f5ea, 0x89cfebd4, 0xcd281e3e, 0x1673a159, 0x529454b3, 0x9fbc4a8d, 0xdb5bbf67,
     0x2ce742b2, 0x6800b758, 0xa528a966, 0xe1cf5c8c, 0x3a94e3eb, 0x7e731601, 0xb35b083f,
     0xf7bcfdd5},
    {0x00000000, 0x59ce8564, 0xb39d0ac8, 0xea538fac, 0x62d66361, 0x3b18e605, 0xd14b69a9, 0x8885eccd,
     0xc5acc6c2, 0x9c6243a6, 0x7631cc0a, 0x2fff496e, 0xa77aa5a3, 0xfeb420c7, 0x14e7af6b,
     0x4d292a0f},
    {0x00000000, 0x8eb5fb75, 0x1887801b, 0x96327b6e, 0x310f0036, 0xbfbafb43, 0x2988802d, 0xa73d7b58,
     0x621e006c, 0xecabfb19, 0x7a998077, 0xf42c7b02, 0x5311005a, 0xdda4fb2f, 0x4b968041,
     0xc5237b34},
    {0x00000000, 0xc43c00d8, 0x8d947741, 0x49a87799, 0x1ec49873, 0xdaf898ab, 0x9350ef32, 0x576cefea,
     0x3d8930e6, 0xf9b5303e, 0xb01d47a7, 0x7421477f, 0x234da895, 0xe771a84d, 0xaed9dfd4,
     0x6ae5df0c},
    {0x00000000, 0x7b1261cc, 0xf624c398, 0x8d36a254, 0xe9a5f1c1, 0x92b7900d, 0x1f813259, 0x64935395,
     0xd6a79573, 0xadb5f4bf, 0x208356eb, 0x5b913727, 0x3f0264b2, 0x4410057e, 0xc926a72a,
     0xb234c6e6},
};

static uint32_t pass_lane(uint32_t crc)
{
    uint32_t passed = 0;
    for (uint32_t i = 0; i < 8; i++) {
        passed ^= behind_lane[i][crc >> 4 * i & 15];
    }
    return passed;
}

static uint64_t word_at(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

/* The instruction takes three cycles and can begin in each: so three stretches at a time. A CRC is
 * linear: what stands before a stretch counts as if zeros stood in the stretch's place. Meanwhile
 * as many bytes from `next` on come into the cache, which is no access: anything may be there. */
HARDWARE static uint32_t crc_of_lanes(uint32_t crc, const uint8_t *data, uintptr_t next)
{
    enum { STEP = 40, STEP_OF_ALL = 3 * STEP, LINE = 64 };
    static_assert(LANE_BYTES % STEP == 0 && STEP_OF_ALL <= 2 * LINE, "each line of it is fetched");
    uint32_t second = 0;
    uint32_t third = 0;
    for (size_t at = 0; at < LANE_BYTES; next += STEP_OF_ALL) {
        __builtin_prefetch((const void *)next);
        __builtin_prefetch((const void *)(next + LINE));
        for (size_t stop = at + STEP; at < stop; at += 8) {
            crc = STEP_8(crc, word_at(data + at));
            second = STEP_8(second, word_at(data + LANE_BYTES + at));
            third = STEP_8(third, word_at(data + 2 * LANE_BYTES + at));
        }
    }
    return pass_lane(pass_lane(crc) ^ second) ^ third;
}

HARDWARE static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *data, size_t bytes,
                                            uintptr_t next)
{
    for (; bytes >= LANES_BYTES; bytes -= LANES_BYTES) {
        crc = crc_of_lanes(crc, data, next);
        data += LANES_BYTES;
        next += LANES_BYTES;
    }
    for (; bytes >= 8; data += 8, bytes -= 8) {
        crc = STEP_8(crc, word_at(data));
    }
    return crc_by_table(crc, data, bytes);
}
#endif

uint32_t gw_crc32c_fetching(uint32_t crc, const void *data, size_t bytes, const void *next)
{
#ifdef STEP_8
    if (has_instruction()) {
        return ~crc_by_instruction(~crc, data, bytes, (uintptr_t)next);
    }
#endif
    (void)next;
    return ~crc_by_table(~crc, data, bytes);
}

/* Two pages ahead: by then a line that comes from memory is here. */
uint32_t gw_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return gw_crc32c_fetching(crc, data, bytes, (const void *)((uintptr_t)data + 8192));
}

/* ---- Two CRCs as one ---- */

/* x^(8 * 2^i) modulo the polynomial, reflected: x^0 is the highest bit. */
static const uint32_t power[32] = {
    0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
    0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
    0xfe7740e6, 0xf946610b, 0x3c204f8f, 0x538586e3, 0x59726915, 0x734d5309, 0xbc1ac763, 0x7d0722cc,
    0xd289cabe, 0xe94ca9bc, 0x05b74f3f, 0xa51e1f42, 0x40000000, 0x20000000, 0x08000000, 0x00800000,
};

static uint32_t multiply(uint32_t first, uint32_t second)
{
    uint32_t product = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1) {
        product ^= first & bit ? second : 0;
        second = (second >> 1) ^ (second & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return product;
}

/* The CRC is a remainder: what follows shifts it on by so many bytes. */
uint32_t gw_crc32c_join(uint32_t first, uint32_t second, uint32_t second_bytes)
{
    for (uint32_t i = 0; second_bytes >> i != 0 && i < 32; i++) {
        if (second_bytes >> i & 1) {
            first = multiply(first, power[i]);
        }
    }
    return first ^ second;
}
