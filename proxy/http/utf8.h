/* SPDX-License-Identifier: MIT
 * Is this UTF-8 (RFC 3629)? Piece by piece: a character may be cut by the end of a
 * piece. Pure. */
#ifndef HTTP_UTF8_H
#define HTTP_UTF8_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/slice.h"

/* Between two pieces; zeroed: at a character's first byte. */
struct utf8 {
    uint8_t need;      /* bytes that the character still needs */
    uint8_t low, high; /* what the next of them may be */
};

/* False: whatever follows, it is not UTF-8. */
MUST_CHECK bool utf8_check(struct utf8 *u, struct slice piece);

/* No character is cut off here. */
static inline bool utf8_is_whole(const struct utf8 *u)
{
    return u->need == 0;
}

#endif
