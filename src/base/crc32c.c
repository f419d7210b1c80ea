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
HARDWARE static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *data, size_t bytes)
{
    for (; bytes >= 8; data += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, data, sizeof(word));
        crc = STEP_8(crc, word);
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
