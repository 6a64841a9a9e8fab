/* SPDX-License-Identifier: MIT
 * What waits to be written to one connection: bytes, and after them perhaps a piece of
 * a file. How much may wait is the owner's business (the window an app server was
 * given). */
#ifndef HTTP_OUTBOX_H
#define HTTP_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/slice.h"

struct outbox {
    struct buf bytes;
    int file; /* -1: none */
    uint64_t file_offset, file_left;
};

enum outbox_result {
    OUTBOX_EMPTY,
    OUTBOX_WAITS, /* the socket takes no more now */
    OUTBOX_MORE,  /* it would take more, but others want their turn */
    OUTBOX_FAILED,
};

void outbox_init(struct outbox *o);
void outbox_fini(struct outbox *o);

static inline uint64_t outbox_pending(const struct outbox *o)
{
    return buf_len(&o->bytes) + o->file_left;
}

/* `data` follows what waits. It is written at once, without a copy, as far as the
 * socket takes it; the rest is copied. Not after outbox_put_file. */
MUST_CHECK enum outbox_result outbox_write(struct outbox *o, int fd, struct slice data);

/* Takes the descriptor over. Nothing may be appended before the outbox is empty again.
 */
void outbox_put_file(struct outbox *o, int file, uint64_t offset, uint64_t length);

MUST_CHECK enum outbox_result outbox_flush(struct outbox *o, int fd);

#endif
