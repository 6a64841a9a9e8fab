/* SPDX-License-Identifier: MIT
 * A cursor over untrusted MessagePack bytes, and writers, shared by the codec's files.
 *
 * Errors stick: after the first one nothing is left to take, every further call returns
 * zero or an empty slice, and `err` names what was wrong first. So a frame is read
 * straight down and judged once, at its end. No recursion, no allocation. */
#ifndef PROTOCOL_FRAME_PRIV_H
#define PROTOCOL_FRAME_PRIV_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "protocol/frame.h"

/* First bytes of MessagePack's forms. */
enum {
    MP_FIXMAP = 0x80,
    MP_FIXARRAY = 0x90,
    MP_FIXSTR = 0xa0,
    MP_NIL = 0xc0,
    MP_FALSE = 0xc2,
    MP_TRUE = 0xc3,
    MP_BIN8 = 0xc4,
    MP_BIN16 = 0xc5,
    MP_BIN32 = 0xc6,
    MP_UINT8 = 0xcc,
    MP_UINT16 = 0xcd,
    MP_UINT32 = 0xce,
    MP_UINT64 = 0xcf,
    MP_STR8 = 0xd9,
    MP_STR16 = 0xda,
    MP_STR32 = 0xdb,
    MP_ARRAY16 = 0xdc,
    MP_ARRAY32 = 0xdd,
    MP_MAP16 = 0xde,
    MP_MAP32 = 0xdf,
};

struct cursor {
    const unsigned char *at, *end;
    enum err err;
};

static inline void cursor_fail(struct cursor *c, enum err e)
{
    if (c->err == ERR_NONE)
        c->err = e;
    c->at = c->end;
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* The first byte of what comes next, not taken; a reserved byte at the end. */
static inline unsigned char cursor_peek(const struct cursor *c)
{
    return c->at < c->end ? *c->at : 0xc1;
}

/* The cold forms; `first` has been taken. */
uint64_t cursor_wide_uint(struct cursor *c, unsigned char first);
size_t cursor_wide_length(struct cursor *c, unsigned char first);
uint32_t cursor_wide_count(struct cursor *c, unsigned char first);

/* Passes over `count` values of any type but ext, nested at most FRAME_MAX_DEPTH deep.
 */
void cursor_skip(struct cursor *c, uint32_t count);

/* 2, 4 or 8 bytes, big-endian; the caller has checked that they are there. */
static inline uint64_t load_be(const unsigned char *at, size_t bytes)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    switch (bytes) {
    case 2:
        memcpy(&two, at, 2);
        return be16toh(two);
    case 4:
        memcpy(&four, at, 4);
        return be32toh(four);
    default:
        memcpy(&eight, at, 8);
        return be64toh(eight);
    }
}

static inline uint64_t take_uint(struct cursor *c, uint64_t max)
{
    if (c->at == c->end) {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    unsigned char first = *c->at++;
    uint64_t value = first < 0x80 ? first : cursor_wide_uint(c, first);
    if (value > max) {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    return value;
}

/* str, or bin: some libraries cannot write a str that is not UTF-8. */
static inline struct slice take_text(struct cursor *c, size_t max_bytes)
{
    if (c->at == c->end) {
        cursor_fail(c, ERR_BAD_FRAME);
        return slice_of("", 0);
    }
    unsigned char first = *c->at++;
    size_t length;
    if ((first & 0xe0) == MP_FIXSTR)
        length = first & 0x1fu;
    else if (first == MP_STR8 && c->at < c->end)
        length = *c->at++;
    else
        length = cursor_wide_length(c, first);
    if (length > cursor_left(c)) {
        cursor_fail(c, ERR_BAD_FRAME);
        return slice_of("", 0);
    }
    if (length > max_bytes) {
        cursor_fail(c, ERR_FRAME_TOO_LARGE);
        return slice_of("", 0);
    }
    const unsigned char *start = c->at;
    c->at += length;
    return slice_of(start, length);
}

/* bin only. */
static inline struct slice take_bytes(struct cursor *c, size_t max_bytes)
{
    unsigned char first = cursor_peek(c);
    if (first < MP_BIN8 || first > MP_BIN32) {
        cursor_fail(c, ERR_BAD_FRAME);
        return slice_of("", 0);
    }
    return take_text(c, max_bytes);
}

static inline bool take_bool(struct cursor *c)
{
    unsigned char first = cursor_peek(c);
    if (first != MP_TRUE && first != MP_FALSE) {
        cursor_fail(c, ERR_BAD_FRAME);
        return false;
    }
    c->at++;
    return first == MP_TRUE;
}

/* True, and taken, when nil comes next. */
static inline bool take_nil(struct cursor *c)
{
    if (cursor_peek(c) != MP_NIL)
        return false;
    c->at++;
    return true;
}

/* The element count of an array, not more than there are bytes left. */
static inline uint32_t take_array(struct cursor *c)
{
    unsigned char first = cursor_peek(c);
    uint32_t count = 0;

    if ((first & 0xf0) == MP_FIXARRAY) {
        c->at++;
        count = first & 0x0fu;
    } else if (first == MP_ARRAY16 || first == MP_ARRAY32) {
        c->at++;
        count = cursor_wide_count(c, first);
    } else {
        cursor_fail(c, ERR_BAD_FRAME);
    }
    if (count > cursor_left(c)) {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    return count;
}

/* ---- writing: `out` has room, the shortest form is written, the new end is returned
 * ---- */

static inline char *put_be(char *out, uint64_t value, size_t bytes)
{
    uint64_t big = htobe64(value);
    memcpy(out, (const char *)&big + 8 - bytes, bytes);
    return out + bytes;
}

enum { MAX_UINT_BYTES = 9, MAX_LENGTH_BYTES = 5 };

static inline char *put_uint(char *out, uint64_t value)
{
    if (value < 0x80) {
        *out++ = (char)value;
        return out;
    }
    if (value <= UINT8_MAX) {
        *out++ = (char)MP_UINT8;
        return put_be(out, value, 1);
    }
    if (value <= UINT16_MAX) {
        *out++ = (char)MP_UINT16;
        return put_be(out, value, 2);
    }
    if (value <= UINT32_MAX) {
        *out++ = (char)MP_UINT32;
        return put_be(out, value, 4);
    }
    *out++ = (char)MP_UINT64;
    return put_be(out, value, 8);
}

static inline char *put_raw(char *out, struct slice s)
{
    if (s.len > 0)
        memcpy(out, s.ptr, s.len);
    return out + s.len;
}

static inline char *put_text(char *out, struct slice s)
{
    if (s.len < 32) {
        *out++ = (char)(MP_FIXSTR | s.len);
    } else if (s.len <= UINT8_MAX) {
        *out++ = (char)MP_STR8;
        out = put_be(out, s.len, 1);
    } else if (s.len <= UINT16_MAX) {
        *out++ = (char)MP_STR16;
        out = put_be(out, s.len, 2);
    } else {
        *out++ = (char)MP_STR32;
        out = put_be(out, s.len, 4);
    }
    return put_raw(out, s);
}

static inline char *put_bytes(char *out, struct slice s)
{
    if (s.len <= UINT8_MAX) {
        *out++ = (char)MP_BIN8;
        out = put_be(out, s.len, 1);
    } else if (s.len <= UINT16_MAX) {
        *out++ = (char)MP_BIN16;
        out = put_be(out, s.len, 2);
    } else {
        *out++ = (char)MP_BIN32;
        out = put_be(out, s.len, 4);
    }
    return put_raw(out, s);
}

/* hello.c: the fields of a HELLO whose array of `elements` starts at `start`; `c`
 * stands behind the kind. */
void hello_unpack(struct cursor *c,
                  const unsigned char *start,
                  uint32_t elements,
                  struct frame *ret_frame);

/* frame.c: the failure of that name, or ERR_NONE. */
enum err reason_parse(struct slice name);

#endif
