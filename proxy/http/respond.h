/* SPDX-License-Identifier: MIT
 * Response heads, chunk framing and the edge's own error pages -> bytes. Validates what
 * an application sent: framing is the edge's alone. Pure; the date is given. */
#ifndef HTTP_RESPOND_H
#define HTTP_RESPOND_H

#include "protocol/base/buf.h"
#include "protocol/frame.h"

enum response_framing {
    RESPONSE_NO_BODY, /* HEAD, 204, 304: nothing follows whatever the application sends
                       */
    RESPONSE_LENGTH,  /* Content-Length: exactly so many bytes */
    RESPONSE_CHUNKED,
    RESPONSE_CLOSE, /* HTTP/1.0 without a length: until close */
};

struct response_plan {
    enum response_framing framing;
    uint64_t
        length; /* RESPONSE_LENGTH: a longer body is cut, a shorter one truncated */
    bool keep_alive;     /* the connection may serve another request */
    bool has_hop_by_hop; /* the application set fields that are not its own; dropped */
    bool takes_trailers; /* RESPONSE_CHUNKED to a client that asked for them */
};

/* What the response answers. */
struct response_to {
    uint8_t minor; /* of the request */
    bool is_head;
    bool keep_alive;     /* the connection may live on, as far as the request goes */
    bool takes_trailers; /* "TE: trailers" */
    struct slice date;   /* "Sat, 21 Nov 2026 07:32:01 GMT"; empty: none added */
    struct slice server; /* value of Server, empty: none added */
    struct slice cookie; /* value of a Set-Cookie of the edge's; empty: none. No shared
                            cache may keep that answer */
};

/* Why no client may see an answer, for the log. */
struct response_failure {
    enum err err;
    const char *what;  /* "bad value of", "status" */
    struct slice name; /* the field's, as the application sent it; may be empty */
};

/* Appends status line and fields to an own buf. Content-Length, Transfer-Encoding and
 * Connection are ours; other hop-by-hop fields are dropped, but an application's
 * "Connection: close" is honoured; Date and Server are added unless present. The
 * application's Content-Length field, else `response->has_length` (a RESPONSE frame
 * always has one) gives the length. Trailer passes to whom the trailers do. False
 * (nothing appended): BAD_RESPONSE for a name, value, status or Content-Length no
 * client may see; RESPONSE_TRUNCATED when the field promises more than has_length will
 * bring.
 */
MUST_CHECK bool respond_head(const struct frame_response *response,
                             const struct response_to *to,
                             struct buf *out,
                             struct response_plan *ret_plan,
                             struct response_failure *ret_failure);
/* A 1xx with its fields ("103" early hints, "100 Continue"); not 101, and not for
 * HTTP/1.0. */
MUST_CHECK bool respond_inform(const struct frame_response *inform,
                               struct buf *out,
                               struct response_failure *ret_failure);
/* 101 with the application's fields, less those of the handshake, and `own`, complete
 * lines. False: BAD_RESPONSE, nothing was appended. */
MUST_CHECK bool respond_switch(struct header_list fields,
                               struct slice own,
                               const struct response_to *to,
                               struct buf *out,
                               struct response_failure *ret_failure);

void respond_chunk_begin(struct buf *out,
                         size_t bytes);   /* "1f\r\n"; data and "\r\n" follow */
void respond_chunk_end(struct buf *out);  /* "\r\n" */
void respond_last_chunk(struct buf *out); /* "0\r\n\r\n" */

/* A complete short response of the edge itself: status of `err`, a small text/html or
 * text/plain page that names no internals, Retry-After with 503, Allow with 405,
 * Connection: close unless keep_alive, Sec-WebSocket-Version with 426. */
void respond_error(enum err err, const struct response_to *to, struct buf *out);
/* 503 with Retry-After and an operator's own words. */
void respond_stopped(struct slice text, const struct response_to *to, struct buf *out);
/* The same for any status with a one-line text, e.g. 200 for OPTIONS *. */
void respond_plain(int status,
                   struct slice text,
                   const struct response_to *to,
                   struct buf *out);

struct slice
status_reason(int status); /* "Not Found"; "Unknown" for one without a phrase */
/* IMF-fixdate of RFC 9110 section 5.6.7, 29 bytes and NUL. */
void http_date(int64_t unix_seconds, char ret_text[30]);

#endif
