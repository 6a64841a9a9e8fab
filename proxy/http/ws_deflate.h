/* SPDX-License-Identifier: MIT
 * permessage-deflate (RFC 7692), always without context takeover on both sides: each
 * message stands alone, so the contexts belong to the edge thread, and a connection
 * that is silent has none. The only file that knows zlib. */
#ifndef HTTP_WS_DEFLATE_H
#define HTTP_WS_DEFLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"

/* What was agreed on. Zeroed: no compression. */
struct ws_terms {
    bool has_deflate;
    uint8_t server_bits; /* log2 of the window we compress with; 0: 15, nobody asked */
};

/* One Sec-WebSocket-Extensions field of a handshake. True: one of its offers is taken,
 * the first that can be; others, and malformed ones, are passed over. */
MUST_CHECK bool ws_deflate_accept(struct slice field, struct ws_terms *ret_terms);
/* Appends the field's value for the answer; has_deflate is true. */
void ws_deflate_answer(const struct ws_terms *terms, struct buf *out);

/* The contexts of an edge thread. */
struct ws_deflate;
MUST_CHECK struct ws_deflate *ws_deflate_new(void);
void ws_deflate_free(struct ws_deflate **deflate_p); /* all inflaters were given back */

/* Appends the compressed form of a message's next piece. What precedes it is not
 * referred to, so pieces of several messages may be mixed. */
void ws_deflate_piece(struct ws_deflate *d,
                      const struct ws_terms *terms,
                      struct slice piece,
                      bool is_last,
                      struct buf *out);

/* Inflates one message; about 40 KiB once it has output. */
struct ws_inflater;
MUST_CHECK struct ws_inflater *ws_inflater_take(struct ws_deflate *d);
void ws_inflater_give(struct ws_deflate *d, struct ws_inflater **inflater_p);

/* Writes up to `room` bytes (at least 1) of the message and advances *input. DONE: the
 * message's last byte is written; `is_last` says that nothing follows *input. MORE:
 * with *ret_length == room call again with more room, else with more input. BAD: this
 * is no compressed message. */
MUST_CHECK enum step ws_inflate(struct ws_inflater *inflater,
                                struct slice *input,
                                bool is_last,
                                char *output,
                                size_t room,
                                size_t *ret_length);

#endif
