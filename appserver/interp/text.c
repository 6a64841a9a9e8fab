/* SPDX-License-Identifier: MIT */
#include <Python.h>

#include "appserver/interp/text.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

void text_unquote(struct slice s, struct buf *to)
{
    if (!buf_reserve(to, s.len))
        return;
    char *out = buf_tail(to);
    for (size_t i = 0; i < s.len; i++) {
        int high = -1, low = -1;
        if (s.ptr[i] == '%' && s.len - i > 2) {
            high = hex_digit(s.ptr[i + 1]);
            low = hex_digit(s.ptr[i + 2]);
        }
        if (high < 0 || low < 0) {
            *out++ = s.ptr[i];
        } else {
            *out++ = (char)(high << 4 | low);
            i += 2;
        }
    }
    buf_commit(to, (size_t)(out - buf_tail(to)));
}
