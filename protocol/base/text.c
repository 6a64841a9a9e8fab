/* SPDX-License-Identifier: MIT
 * One notion of what a character is, for logs and JSON alike. */
#include "protocol/base/text.h"

#include <stdbool.h>

size_t text_char(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    if (first < 0x80)
        return 1;

    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool is_bad = (first == 0xe0 && at[1] < 0xa0)      /* overlong */
                  || (first == 0xed && at[1] >= 0xa0)  /* surrogates */
                  || (first == 0xf0 && at[1] < 0x90)   /* overlong */
                  || (first == 0xf4 && at[1] >= 0x90); /* past U+10FFFF */
    return is_bad ? 0 : length;
}

size_t text_printable(const unsigned char *at, size_t left)
{
    size_t length = text_char(at, left);
    bool is_control = length == 1 ? at[0] < 0x20 || at[0] == 0x7f
                                  : length == 2 && at[0] == 0xc2 && at[1] < 0xa0;
    return is_control ? 0 : length;
}

/* What stands at `at` does not show, or is no character: its number. */
static unsigned escape_of(const unsigned char *at, size_t length)
{
    return length == 2 ? at[1] : at[0]; /* C1: U+0080 to U+009F */
}

void text_add_json(struct buf *to, struct slice text)
{
    const unsigned char *at = (const unsigned char *)text.ptr;
    size_t plain = 0, i = 0; /* where the run that needs no escape began */

    buf_add(to, SLICE("\""));
    while (i < text.len) {
        size_t length = text_printable(at + i, text.len - i);
        if (length > 1 || (length == 1 && at[i] != '"' && at[i] != '\\')) {
            i += length;
            continue;
        }
        buf_add(to, slice_of(text.ptr + plain, i - plain));
        if (length == 1) {
            buf_addf(to, "\\%c", at[i]);
        } else if (at[i] == '\n') {
            length = 1;
            buf_add(to, SLICE("\\n"));
        } else {
            length = text_char(at + i, text.len - i);
            buf_addf(to, "\\u%04x", escape_of(at + i, length));
        }
        i += length == 0 ? 1 : length;
        plain = i;
    }
    if (text.len > 0)
        buf_add(to, slice_of(text.ptr + plain, text.len - plain));
    buf_add(to, SLICE("\""));
}
