/* SPDX-License-Identifier: MIT
 * The answer to one request in the making: what start_response said, and the rules by
 * which chunks become HEAD, BODY and END (Content-Length, HEAD, 204, 304). Knows no
 * Python; the functions that send are called without the GIL. */
#ifndef INTERP_ANSWER_H
#define INTERP_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "appserver/core/request.h"
#include "protocol/base/buf.h"

enum answer_state {
    ANSWER_NONE,    /* start_response was not called */
    ANSWER_STARTED, /* status and headers are known, nothing is sent */
    ANSWER_WHOLE,   /* complete in `body`; answer_flush() sends it */
    ANSWER_HEAD,    /* the head is sent, the body follows */
    ANSWER_DONE,    /* ended or aborted */
};

struct answer {
    struct request *request; /* borrowed until answer_begin is called again */
    enum answer_state state;
    uint16_t status;
    bool is_head;      /* the request's method is HEAD */
    uint8_t dropped;   /* number of a hop-by-hop field that was left out */
    bool has_length;   /* the application gave a Content-Length */
    bool has_trailers; /* fields follow the body, so Trailer may name them */
    bool is_excess;    /* it produced more than that; the rest was cut */
    uint64_t length, sent;
    struct header_writer writer;
    struct buf reason, headers, body; /* own memory, kept from request to request */
};

void answer_init(struct answer *a);
void answer_fini(struct answer *a);
void answer_begin(struct answer *a, struct request *request);

/* Status and fields, before anything is sent; a second answer_start forgets the first.
 * The state is NONE until answer_started. Content-Length goes to answer_set_length, not
 * to answer_field. */
void answer_start(struct answer *a, uint16_t status, struct slice reason);
void answer_field(struct answer *a,
                  uint8_t number,
                  struct slice name,
                  struct slice value);
void answer_set_length(struct answer *a, uint64_t length);
void answer_started(struct answer *a);
/* A new list of fields, for trailers; the head is sent. */
void answer_begin_fields(struct answer *a);

/* No byte of a body may go out: HEAD, 204, 304. */
bool answer_is_bodyless(const struct answer *a);

/* STARTED -> WHOLE: the body is what stands in a->body, all of it. The application's
 * Content-Length cuts it; when it is longer than the body the answer stays STARTED and
 * the result is false: send it by answer_write and answer_end. */
MUST_CHECK bool answer_make_whole(struct answer *a);

/* ---- without the GIL ---- */

/* The next chunk, not empty. Sends the head first when needed. When the answer is
 * complete by that (its length is reached, or it has no body) the state is DONE. */
MUST_CHECK enum err answer_write(struct answer *a, struct slice chunk);
/* Only the head, for a body that follows by other means. */
MUST_CHECK enum err answer_send_head(struct answer *a);
/* There is no further chunk. ERR_RESPONSE_TRUNCATED: it was shorter than its
 * Content-Length; the client's connection will be cut. */
MUST_CHECK enum err answer_end(struct answer *a);
/* The head and the whole body, which may be borrowed from elsewhere. */
MUST_CHECK enum err answer_send_whole(struct answer *a, struct slice body);
/* WHOLE: sends; else does nothing. The result need not be looked at: a client that has
 * gone by now is the edge's to know. */
enum err answer_flush(struct answer *a);
/* Not DONE yet: nothing or no more will come. The edge answers 500 or cuts the
 * connection. */
void answer_abort(struct answer *a, enum err reason, struct slice text);

#endif
