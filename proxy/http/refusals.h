/* SPDX-License-Identifier: MIT
 * The last requests of an edge thread that were refused, and the last answers that no
 * client may see: for `show errors`. Nothing is done for good ones, and no memory is
 * taken before the first bad one. */
#ifndef HTTP_REFUSALS_H
#define HTTP_REFUSALS_H

#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"

enum {
    REFUSALS_KEPT = 64,   /* of an edge thread; the oldest goes */
    REFUSAL_BYTES = 96,   /* kept of what was sent, around the place */
    REFUSAL_BEFORE = 48,  /* of them in front of it */
    REFUSAL_ADDRESS = 48, /* a longer path of a Unix socket is clipped */
    REFUSAL_DETAIL = 128,
};

enum refusal_part { REFUSED_HEAD, REFUSED_BODY, REFUSED_ANSWER };

struct refusal {
    int64_t at_ms; /* Unix time */
    enum refusal_part part;
    enum err err;                  /* the rule that it broke */
    uint64_t client;               /* its number, as in the log */
    char address[REFUSAL_ADDRESS]; /* empty: by a Unix socket */
    char server[REFUSAL_ADDRESS];  /* where it came in */
    uint16_t port, server_port;
    /* The byte that was refused: of the head from its first one on, of the body with
     * its framing. An answer has none. */
    uint64_t offset;
    uint64_t bytes_at; /* offset of the first one that is kept */
    uint32_t length;
    char bytes[REFUSAL_BYTES];
    char backend[128];           /* of an answer */
    char detail[REFUSAL_DETAIL]; /* likewise: what is wrong; else empty */
};

struct refusals {         /* all zero: none yet */
    struct refusal *rows; /* a ring; NULL: none yet */
    uint64_t total;       /* since the start */
};

/* A row for one more, with its time; the oldest makes room. Valid until the next. */
struct refusal *refusals_add(struct refusals *r);
/* What stands around input.ptr[at], which is the row's byte `offset`; `at` may be
 * behind the last one. */
void refusal_keep(struct refusal *row, struct slice input, size_t at, uint64_t offset);
/* Appends the bytes that are kept, as C would write them: \r \n \t \\ \x00. */
void refusal_print(const struct refusal *row, struct buf *to);
const char *refusal_part_name(enum refusal_part part); /* head, body, answer */

/* A copy, the oldest first. refusals_fini. */
void refusals_copy(const struct refusals *r, struct refusals *ret_copy);
uint32_t refusals_count(const struct refusals *r);
const struct refusal *refusals_get(const struct refusals *r,
                                   uint32_t i); /* oldest: 0 */
void refusals_fini(struct refusals *r);

#endif
