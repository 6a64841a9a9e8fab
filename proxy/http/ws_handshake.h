/* SPDX-License-Identifier: MIT
 * The server's half of the opening handshake (RFC 6455 section 4.2.2). Whether a
 * request is a handshake at all is judged in rules.h. The only file that knows
 * libcrypto. Pure. */
#ifndef HTTP_WS_HANDSHAKE_H
#define HTTP_WS_HANDSHAKE_H

#include "protocol/base/buf.h"
#include "protocol/frame.h"
#include "proxy/http/respond.h"
#include "proxy/http/ws_deflate.h"

enum { WS_ACCEPT_BYTES = 28 };

/* The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key that rules.h has passed;
 * no NUL follows. */
void ws_accept_key(struct slice key, char ret_accept[WS_ACCEPT_BYTES]);

/* Appends the answer 101 to `out`, an own buf. False: the application named a
 * subprotocol or a field that no client may see; nothing was appended. */
MUST_CHECK bool ws_handshake_answer(const struct frame_ws *accept,
                                    struct slice key,
                                    const struct ws_terms *terms,
                                    const struct response_to *to,
                                    struct buf *out,
                                    struct response_failure *ret_failure);

#endif
