/* SPDX-License-Identifier: MIT
 * The character table and the small readers made of it. */
#include "proxy/http/chars.h"

#define IS_DIGIT(c) ((c) >= '0' && (c) <= '9')
#define IS_ALPHA(c) (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define IS_HEX(c)                                                                      \
    (IS_DIGIT(c) || ((c) >= 'a' && (c) <= 'f') || ((c) >= 'A' && (c) <= 'F'))
#define IS_TOKEN(c)                                                                    \
    (IS_DIGIT(c) || IS_ALPHA(c) || (c) == '!' || (c) == '#' || (c) == '$' ||           \
     (c) == '%' || (c) == '&' || (c) == '\'' || (c) == '*' || (c) == '+' ||            \
     (c) == '-' || (c) == '.' || (c) == '^' || (c) == '_' || (c) == '`' ||             \
     (c) == '|' || (c) == '~')
#define IS_TARGET(c)                                                                   \
    ((c) > 0x20 && (c) < 0x7f && (c) != '#' && (c) != '\\' && (c) != '%')
#define IS_HOST(c)                                                                     \
    (IS_DIGIT(c) || IS_ALPHA(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define IS_SCHEME(c)                                                                   \
    (IS_DIGIT(c) || IS_ALPHA(c) || (c) == '+' || (c) == '-' || (c) == '.')

#define CLASS(c)                                                                       \
    ((IS_TOKEN(c) ? CHAR_TOKEN : 0) | (IS_TARGET(c) ? CHAR_TARGET : 0) |               \
     (IS_HEX(c) ? CHAR_HEX : 0) | (IS_HOST(c) ? CHAR_HOST : 0) |                       \
     (IS_ALPHA(c) ? CHAR_ALPHA : 0) | (IS_DIGIT(c) ? CHAR_DIGIT : 0) |                 \
     (IS_SCHEME(c) ? CHAR_SCHEME : 0) | ((c) == ' ' || (c) == '\t' ? CHAR_SPACE : 0))
#define CLASS4(c) CLASS(c), CLASS(c + 1), CLASS(c + 2), CLASS(c + 3)
#define CLASS16(c) CLASS4(c), CLASS4(c + 4), CLASS4(c + 8), CLASS4(c + 12)
#define CLASS64(c) CLASS16(c), CLASS16(c + 16), CLASS16(c + 32), CLASS16(c + 48)

const uint8_t char_classes[256] = {CLASS64(0), CLASS64(64), CLASS64(128), CLASS64(192)};

bool chars_are(struct slice s, unsigned class)
{
    for (size_t i = 0; i < s.len; i++)
        if (!char_is(s.ptr[i], class))
            return false;
    return s.len > 0;
}

struct slice chars_trim(struct slice s)
{
    while (s.len > 0 && char_is(s.ptr[0], CHAR_SPACE)) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && char_is(s.ptr[s.len - 1], CHAR_SPACE))
        s.len--;
    return s;
}

bool list_next_item(struct list_cursor *list, struct slice *ret_item)
{
    if (list->is_over)
        return false;
    struct slice item = list->rest;
    const char *comma = item.len == 0 ? NULL : memchr(item.ptr, ',', item.len);
    if (comma == NULL) {
        list->is_over = true;
    } else {
        item.len = (size_t)(comma - item.ptr);
        list->rest.ptr += item.len + 1;
        list->rest.len -= item.len + 1;
    }
    *ret_item = chars_trim(item);
    return true;
}

bool chars_to_length(struct slice s, uint64_t *ret_value)
{
    uint64_t value = 0;

    /* 19 digits cannot overflow 64 bits. */
    if (!chars_are(s, CHAR_DIGIT) || s.len > 19 || (s.len > 1 && s.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++)
        value = value * 10 + (uint64_t)(s.ptr[i] - '0');
    if (value > INT64_MAX)
        return false;
    *ret_value = value;
    return true;
}
