/* SPDX-License-Identifier: MIT
 * Growable bytes with a hard cap; owns its memory.
 *
 *   data           start            end              cap        max
 *    |.. consumed ..|... readable ...|... writable ...|
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/base/check.h"
#include "protocol/base/slice.h"

struct buf {
    char *data;
    size_t start, end, cap;
    size_t
        max; /* cap never passes it; 0 means no limit (own data only, never a peer's) */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b); /* frees the memory; the buf may be used again */

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

static inline struct slice buf_slice(const struct buf *b)
{
    const char *start = b->data == NULL ? NULL : b->data + b->start;
    return (struct slice){start, b->end - b->start};
}

/* Room for `bytes` more at buf_tail(); false when that would pass max. Moves data. */
MUST_CHECK bool buf_reserve(struct buf *b, size_t bytes);

static inline char *buf_tail(struct buf *b)
{
    return b->data + b->end;
}

static inline size_t buf_room(const struct buf *b)
{
    return b->cap - b->end;
}

/* `bytes` were written at buf_tail(). */
static inline void buf_commit(struct buf *b, size_t bytes)
{
    ASSERT(bytes <= b->cap - b->end);
    b->end += bytes;
}

/* The first `bytes` readable ones are done with; an empty buf rewinds. */
void buf_consume(struct buf *b, size_t bytes);

MUST_CHECK bool buf_append(struct buf *b, struct slice s);
/* For buffers of our own with max 0: cannot fail. */
void buf_add(struct buf *b, struct slice s);
void buf_addf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);

static inline void buf_clear(struct buf *b)
{
    b->start = b->end = 0;
}

#endif
