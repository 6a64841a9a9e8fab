/* SPDX-License-Identifier: MIT
 * Is this head acceptable, and what does it mean: framing, Host, Connection, Expect,
 * Upgrade, methods. Pure. */
#ifndef HTTP_RULES_H
#define HTTP_RULES_H

#include "proxy/http/parse.h"

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED };

/* Names with an underscore. KEEP still drops the twins of known names: X_Forwarded_For.
 */
enum underscore { UNDERSCORE_DROP, UNDERSCORE_REJECT, UNDERSCORE_KEEP };

struct rules_options {
    bool is_tls; /* the listener's scheme is https */
    enum underscore underscore;
    uint64_t max_body; /* bytes; a larger Content-Length is 413 */
};

struct request_rules {
    enum framing framing;
    uint64_t content_length;
    bool keep_alive; /* the connection may serve another request */
    bool expect_continue;
    bool takes_trailers; /* "TE: trailers", and HTTP/1.1 to send them in */
    bool websocket;      /* a valid WebSocket handshake */
    bool is_head, is_options_asterisk;
    bool is_idempotent; /* RFC 9110 section 9.2.2: GET HEAD OPTIONS TRACE PUT DELETE */
    struct slice host;  /* what the application sees as Host: the authority of an
                           absolute form, else Host */
    /* Fields not to pass on: bit i is fields[i]. Hop-by-hop and Connection-named
     * fields, underscore names, Proxy, client-sent control names (X-Accel-*,
     * X-Sendfile). */
    uint64_t dropped[HTTP_MAX_FIELDS / 64];
};

static inline bool rules_is_dropped(const struct request_rules *r, uint32_t i)
{
    return (r->dropped[i / 64] >> (i % 64)) & 1;
}

/* False: ret_failure says which rule and where (offset from the head's first byte,
 * `base` being the input parse_head was given). A bad head always closes the
 * connection. */
MUST_CHECK bool rules_check(const struct request_head *head,
                            const char *base,
                            const struct rules_options *options,
                            struct request_rules *ret_rules,
                            struct parse_failure *ret_failure);

#endif
