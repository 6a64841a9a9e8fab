/* SPDX-License-Identifier: MIT
 * Bytes from the wire -> str: one byte is one character (latin-1), as PEP 3333 has it.
 */
#ifndef INTERP_TEXT_H
#define INTERP_TEXT_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "protocol/base/buf.h"
#include "protocol/base/slice.h"

static inline bool text_is_ascii(struct slice s)
{
    uint64_t high = 0, word;
    size_t i = 0;

    for (; i + sizeof word <= s.len; i += sizeof word) {
        memcpy(&word, s.ptr + i, sizeof word);
        high |= word;
    }
    for (; i < s.len; i++)
        high |= (uint64_t)(unsigned char)s.ptr[i];
    return (high & 0x8080808080808080u) == 0;
}

/* A byte below 0x20 other than HTAB, or DEL: what no field value may hold. */
static inline bool text_has_control(struct slice s)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t word, found = 0;
    size_t i = 0;

    for (; i + sizeof word <= s.len; i += sizeof word) {
        memcpy(&word, s.ptr + i, sizeof word);
        uint64_t del = word ^ (ones * 0x7f);
        found |= ((word - ones * 0x20) & ~word & highs) | ((del - ones) & ~del & highs);
    }
    if (found == 0 && i == s.len)
        return false;
    for (i = found == 0 ? i : 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

/* New reference. */
static inline PyObject *text_new(struct slice s)
{
    if (s.len == 0 || !text_is_ascii(s))
        return PyUnicode_DecodeLatin1(s.ptr, (Py_ssize_t)s.len, NULL);
    PyObject *text = PyUnicode_New((Py_ssize_t)s.len, 127);
    if (text != NULL)
        memcpy(PyUnicode_1BYTE_DATA(text), s.ptr, s.len);
    return text;
}

/* The bytes of a str whose characters all are below 256, borrowed from it; false: it
 * has others. */
static inline bool text_latin1(PyObject *text, struct slice *ret_bytes)
{
    if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND)
        return false;
    *ret_bytes =
        slice_of(PyUnicode_1BYTE_DATA(text), (size_t)PyUnicode_GET_LENGTH(text));
    return true;
}

/* Appends `s` with its %XX decoded (RFC 3986 section 2.1). A percent sign without two
 * digits stays as it is. */
void text_unquote(struct slice s, struct buf *to);

#endif
