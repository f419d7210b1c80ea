/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 both ways. Pure; any thread. */
#include "utf8.h"

struct gw_utf8_lead gw_utf8_lead(uint8_t byte)
{
    if (byte < 0x80)
        return (struct gw_utf8_lead){0, 0, 0};
    if (byte >= 0xc2 && byte <= 0xdf)
        return (struct gw_utf8_lead){1, 0x80, 0xbf};
    if (byte == 0xe0)
        return (struct gw_utf8_lead){2, 0xa0, 0xbf};
    if (byte == 0xed) /* surrogates are no characters */
        return (struct gw_utf8_lead){2, 0x80, 0x9f};
    if (byte >= 0xe1 && byte <= 0xef)
        return (struct gw_utf8_lead){2, 0x80, 0xbf};
    if (byte == 0xf0)
        return (struct gw_utf8_lead){3, 0x90, 0xbf};
    if (byte >= 0xf1 && byte <= 0xf3)
        return (struct gw_utf8_lead){3, 0x80, 0xbf};
    if (byte == 0xf4)
        return (struct gw_utf8_lead){3, 0x80, 0x8f};
    return (struct gw_utf8_lead){0xff, 0, 0};
}

size_t gw_utf8_decode(const char *text, uint32_t *character)
{
    uint8_t first = (uint8_t)text[0];
    struct gw_utf8_lead lead = gw_utf8_lead(first);
    *character = 0xfffd;
    if (lead.count == 0xff)
        return 1;
    if (lead.count == 0) {
        *character = first;
        return 1;
    }
    uint32_t value = first & (0x3fU >> lead.count);
    for (size_t i = 1; i <= lead.count; i++) {
        uint8_t next = (uint8_t)text[i];
        if (next < (i == 1 ? lead.low : 0x80) || next > (i == 1 ? lead.high : 0xbf))
            return 1;
        value = value << 6 | (next & 0x3fU);
    }
    *character = value;
    return (size_t)lead.count + 1;
}

size_t gw_utf8_encode(uint32_t character, char output[4])
{
    if (character < 0x80) {
        output[0] = (char)character;
        return 1;
    }
    size_t count = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const uint8_t marks[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = count - 1; i > 0; i--) {
        output[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    output[0] = (char)(marks[count] | character);
    return count;
}
