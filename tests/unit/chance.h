/* SPDX-License-Identifier: Apache-2.0 */
/* Chance for tests: a seeded xorshift generator, the same on every machine. */
#ifndef GW_UNIT_CHANCE_H
#define GW_UNIT_CHANCE_H

#include <stdint.h>

struct chance {
    uint64_t state;
};

static inline struct chance chance_of(uint64_t seed)
{
    return (struct chance){(seed + 1) * UINT64_C(0x9e3779b97f4a7c15)};
}

/* 0..below-1; any 64 bits when `below` is 0. */
static inline uint64_t chance_next(struct chance *chance, uint64_t below)
{
    chance->state ^= chance->state << 13;
    chance->state ^= chance->state >> 7;
    chance->state ^= chance->state << 17;
    uint64_t value = chance->state * UINT64_C(0x2545f4914f6cdd1d) >> 7;
    return below ? value % below : value;
}

#endif
