/* SPDX-License-Identifier: MIT
 * What each byte may be in an HTTP/1 message, and the search for the bytes that end or
 * spoil a value. Pure. */
#ifndef HTTP_CHARS_H
#define HTTP_CHARS_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/slice.h"

enum char_class {
    CHAR_TOKEN = 1,   /* tchar of RFC 9110 section 5.6.2 */
    CHAR_TARGET = 2,  /* 0x21-0x7e but # \ and % */
    CHAR_HEX = 4,     /* HEXDIG, either case */
    CHAR_HOST = 8,    /* what we take in a host name: ALPHA DIGIT - . _ ~ */
    CHAR_ALPHA = 16,  /* ASCII letters */
    CHAR_DIGIT = 32,  /* 0-9 */
    CHAR_SCHEME = 64, /* ALPHA DIGIT + - . */
    CHAR_SPACE = 128, /* OWS: SP HTAB */
};

extern const uint8_t char_classes[256];

static inline bool char_is(char c, unsigned class)
{
    return (char_classes[(unsigned char)c] & class) != 0;
}

/* Lower case of an ASCII letter, anything else unchanged. */
static inline char char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* The first byte that is a control character (0x00-0x1f, HTAB among them, or 0x7f);
 * `end` when there is none. Eight bytes a step: a byte below 0x20 borrows into its top
 * bit, as does 0x7f once it was turned into 0. */
static inline const char *find_control(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);

    for (; end - p >= 8; p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        word = le64toh(word);
        uint64_t low = (word - ones * 0x20) & ~word;
        uint64_t deleted = word ^ (ones * 0x7f);
        deleted = (deleted - ones) & ~deleted;
        uint64_t hit = (low | deleted) & (ones * 0x80);
        if (hit != 0)
            return p + __builtin_ctzll(hit) / 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && *p != 0x7f)
        p++;
    return p;
}

/* A field value nobody can mistake for the end of its line: HTAB, visible, obs-text. */
static inline bool chars_are_value(struct slice s)
{
    if (s.len == 0)
        return true;
    const char *end = s.ptr + s.len;
    const char *p = find_control(s.ptr, end);
    while (p < end && *p == '\t')
        p = find_control(p + 1, end);
    return p == end;
}

/* Non-empty, all of one class. */
bool chars_are(struct slice s, unsigned class);
/* Without surrounding OWS. */
struct slice chars_trim(struct slice s);
/* Takes the next element off a comma-separated list, trimmed and perhaps empty. False:
 * no more. An empty list has one empty element. */
struct list_cursor {
    struct slice rest;
    bool is_over;
};
bool list_next_item(struct list_cursor *list, struct slice *ret_item);
/* 1*DIGIT without leading zeros, at most INT64_MAX. */
bool chars_to_length(struct slice s, uint64_t *ret_value);

#endif
