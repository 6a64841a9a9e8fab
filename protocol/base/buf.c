/* SPDX-License-Identifier: MIT
 * Growth of a buf: first the consumed room in front is taken back, then the capacity
 * doubles, never past max. */
#include "protocol/base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/mem.h"

enum { LEAST_CAP = 256 };

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max = max_bytes};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

bool buf_reserve(struct buf *b, size_t bytes)
{
    if (bytes <= buf_room(b) && b->data != NULL)
        return true;

    size_t used = buf_len(b);
    size_t limit = b->max == 0 ? SIZE_MAX / 2 : b->max;
    if (used > limit || bytes > limit - used)
        return false;
    size_t wanted = used + bytes;

    /* Moving pays only when it makes room for at least as much as it moves. */
    if (b->start > 0 && wanted <= b->cap && (b->start >= used || b->cap == limit)) {
        memmove(b->data, b->data + b->start, used);
        b->start = 0;
        b->end = used;
        return true;
    }

    size_t cap = b->cap < LEAST_CAP ? LEAST_CAP : b->cap;
    while (cap < wanted)
        cap = cap > limit / 2 ? limit : cap * 2;
    if (wanted <= b->cap)
        cap = b->cap > limit / 2 ? limit : b->cap * 2;
    if (cap > limit)
        cap = limit;

    if (b->start == 0) {
        b->data = mem_realloc(b->data, cap);
    } else {
        char *data = mem_alloc(cap);
        memcpy(data, b->data + b->start, used);
        free(b->data);
        b->data = data;
        b->start = 0;
        b->end = used;
    }
    b->cap = cap;
    return true;
}

void buf_consume(struct buf *b, size_t bytes)
{
    ASSERT(bytes <= buf_len(b));
    b->start += bytes;
    if (b->start == b->end)
        b->start = b->end = 0;
}

bool buf_append(struct buf *b, struct slice s)
{
    if (s.len == 0)
        return true;
    if (!buf_reserve(b, s.len))
        return false;
    memcpy(b->data + b->end, s.ptr, s.len);
    b->end += s.len;
    return true;
}

void buf_add(struct buf *b, struct slice s)
{
    ASSERT(b->max == 0);
    bool fits = buf_append(b, s);
    ASSERT(fits);
}

void buf_addf(struct buf *b, const char *format, ...)
{
    va_list args, again;

    ASSERT(b->max == 0);
    va_start(args, format);
    va_copy(again, args);
    int length =
        vsnprintf(b->data == NULL ? NULL : buf_tail(b), buf_room(b), format, args);
    va_end(args);
    ASSERT(length >= 0);
    if ((size_t)length >= buf_room(b)) {
        bool fits = buf_reserve(b, (size_t)length + 1); /* vsnprintf writes a NUL */
        ASSERT(fits);
        length = vsnprintf(buf_tail(b), buf_room(b), format, again);
        ASSERT(length >= 0 && (size_t)length < buf_room(b));
    }
    va_end(again);
    b->end += (size_t)length;
}
