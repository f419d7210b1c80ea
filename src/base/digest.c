/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of RAM: four lanes of multiply and rotate over 64-bit words. Pure. */
#include "godwit/digest.h"

#include "base/bytes.h"

#define MULTIPLIER UINT64_C(0xff51afd7ed558ccd)

struct lanes {
    uint64_t lane[4];
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static uint64_t mix(uint64_t lane, uint64_t word)
{
    return rotate(lane ^ word, 29) * MULTIPLIER;
}

static struct lanes start(void)
{
    return (struct lanes){{GW_DIGEST_SEED, ~GW_DIGEST_SEED, MULTIPLIER, ~MULTIPLIER}};
}

static uint64_t end(const struct lanes *lanes, size_t bytes)
{
    uint64_t digest = (uint64_t)bytes;
    for (int i = 0; i < 4; i++) {
        digest = mix(digest, lanes->lane[i]);
    }
    return digest ^ (digest >> 32);
}

uint64_t gw_digest_page(const uint8_t *page, size_t bytes)
{
    struct lanes lanes = start();
    for (size_t at = 0; at < bytes; at += 32) {
        for (size_t i = 0; i < 4; i++) {
            lanes.lane[i] = mix(lanes.lane[i], gw_get_64(page + at + 8 * i));
        }
    }
    return end(&lanes, bytes);
}

uint64_t gw_digest_zero_page(size_t bytes)
{
    struct lanes lanes = start();
    for (size_t at = 0; at < bytes; at += 32) {
        for (int i = 0; i < 4; i++) {
            lanes.lane[i] = mix(lanes.lane[i], 0);
        }
    }
    return end(&lanes, bytes);
}

uint64_t gw_digest_fold(uint64_t stretch, uint64_t page)
{
    return mix(stretch, page);
}
