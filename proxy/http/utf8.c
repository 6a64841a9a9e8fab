/* SPDX-License-Identifier: MIT
 * ASCII passes eight bytes at a time; the rest follows table 3-7 of the Unicode
 * standard, whose second bytes exclude overlong forms, surrogates and what lies beyond
 * U+10FFFF. */
#include "proxy/http/utf8.h"

#include <string.h>

static bool begin(struct utf8 *u, unsigned char first)
{
    *u = (struct utf8){.low = 0x80, .high = 0xbf};
    if (first < 0x80)
        return true;
    if (first < 0xc2 || first > 0xf4)
        return false;
    u->need = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    switch (first) {
    case 0xe0:
        u->low = 0xa0;
        break;
    case 0xed:
        u->high = 0x9f;
        break;
    case 0xf0:
        u->low = 0x90;
        break;
    case 0xf4:
        u->high = 0x8f;
        break;
    default:
        break;
    }
    return true;
}

static const unsigned char *skip_ascii(const unsigned char *at,
                                       const unsigned char *end)
{
    const uint64_t high_bits = 0x8080808080808080;
    while (end - at >= 8) {
        uint64_t eight;
        memcpy(&eight, at, 8);
        if (eight & high_bits)
            break;
        at += 8;
    }
    while (at < end && *at < 0x80)
        at++;
    return at;
}

bool utf8_check(struct utf8 *u, struct slice piece)
{
    if (piece.len == 0)
        return true;
    const unsigned char *at = (const unsigned char *)piece.ptr, *end = at + piece.len;
    while (at < end) {
        if (u->need == 0) {
            at = skip_ascii(at, end);
            if (at < end && !begin(u, *at++))
                return false;
            continue;
        }
        if (*at < u->low || *at > u->high)
            return false;
        u->need--;
        u->low = 0x80;
        u->high = 0xbf;
        at++;
    }
    return true;
}
