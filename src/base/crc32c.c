/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C: by instruction where there is one, else by a table of sixteen. Pure. */
#include "godwit/crc32c.h"

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
enum { LANE_BYTES = 1360 }; /* three of them and a little make a page of 4096 */

/* What LANE_BYTES zeros make of each single bit of a CRC, from bit 0. */
static const uint32_t behind_lane[32] = {
    0x79113270, 0xf22264e0, 0xe1a8bf31, 0xc6bd0893, 0x889667d7, 0x14c0b95f, 0x298172be, 0x5302e57c,
    0xa605caf8, 0x49e7e301, 0x93cfc602, 0x2273faf5, 0x44e7f5ea, 0x89cfebd4, 0x1673a159, 0x2ce742b2,
    0x59ce8564, 0xb39d0ac8, 0x62d66361, 0xc5acc6c2, 0x8eb5fb75, 0x1887801b, 0x310f0036, 0x621e006c,
    0xc43c00d8, 0x8d947741, 0x1ec49873, 0x3d8930e6, 0x7b1261cc, 0xf624c398, 0xe9a5f1c1, 0xd6a79573,
};

static uint32_t pass_lane(uint32_t crc)
{
    uint32_t passed = 0;
    for (int bit = 0; bit < 32; bit++) {
        passed ^= behind_lane[bit] & -(crc >> bit & 1);
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
 * linear: what stands before a stretch counts as if zeros stood in the stretch's place. */
HARDWARE static uint32_t crc_of_lanes(uint32_t crc, const uint8_t *data)
{
    uint32_t second = 0;
    uint32_t third = 0;
    for (size_t at = 0; at < LANE_BYTES; at += 8) {
        crc = STEP_8(crc, word_at(data + at));
        second = STEP_8(second, word_at(data + LANE_BYTES + at));
        third = STEP_8(third, word_at(data + 2 * LANE_BYTES + at));
    }
    return pass_lane(pass_lane(crc) ^ second) ^ third;
}

HARDWARE static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *data, size_t bytes)
{
    for (; bytes >= 3 * LANE_BYTES; data += 3 * LANE_BYTES, bytes -= 3 * LANE_BYTES) {
        crc = crc_of_lanes(crc, data);
    }
    for (; bytes >= 8; data += 8, bytes -= 8) {
        crc = STEP_8(crc, word_at(data));
    }
    return crc_by_table(crc, data, bytes);
}
#endif

uint32_t gw_crc32c(uint32_t crc, const void *data, size_t bytes)
{
#ifdef STEP_8
    if (has_instruction()) {
        return ~crc_by_instruction(~crc, data, bytes);
    }
#endif
    return ~crc_by_table(~crc, data, bytes);
}
