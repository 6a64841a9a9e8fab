/* SPDX-License-Identifier: MIT
 * The contract between the core (which never holds the GIL) and what runs requests
 * (which holds it only while in Python). A worker thread loops:
 *
 *     while ((r = core_next(worker)) != NULL) {      without the GIL
 *         ... build environ, call, iterate ...       with the GIL, answers go through
 *         request_respond / request_head / ...       these functions, called without it
 *     }
 *
 * All functions here are called WITHOUT the GIL unless their comment says "any". A
 * request belongs to the worker that took it until core_next is called again or it was
 * finished. What an event loop uses instead of the functions that wait: loop.h. */
#ifndef CORE_REQUEST_H
#define CORE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/frame.h"

struct core;
struct worker;
struct request; /* one request being served */

/* ---- read-only view, any thread, valid until the request is finished; of a WebSocket
 * until it is accepted ---- */
const struct frame_request *
request_frame(const struct request *r); /* slices borrowed from the request */
/* The deadline on this host's monotonic clock (clock.h), 0: none; when the edge had it.
 */
uint64_t request_deadline_us(const struct request *r);
uint64_t request_queued_us(const struct request *r);
const char *request_id(const struct request *r); /* NUL-terminated */

/* ---- body ---- */
/* Waits for at least one byte, the end or a failure. DONE: ret_data holds up to `max`
 * bytes in the request's own memory, consumed by this call (valid until the next call);
 * MORE: the end of the body; BAD: the client is gone or its upload failed (ret_err).
 * BODY_INLINE and BODY_NONE never wait. The first call on a REQUEST_EXPECT request asks
 * the edge for the body (100 Continue). */
MUST_CHECK enum step
request_read(struct request *r, size_t max, struct slice *ret_data, enum err *ret_err);
/* any: how many bytes request_read would give now without waiting. */
size_t request_readable(const struct request *r);

/* ---- answer ----
 * `headers` is a complete packed array (header_begin .. header_end), borrowed for the
 * call. Results: ERR_NONE; ERR_CLIENT_GONE / ERR_REQUEST_TIMEOUT / ERR_LINK_DOWN:
 * nobody listens any more, stop producing (still call request_finish). */

/* The whole answer at once. Bodies up to FRAME_MAX_INLINE_BODY travel inside the frame,
 * larger ones as HEAD, BODY, END with flow control (waits). Ends the request's answer.
 */
MUST_CHECK enum err request_respond(struct request *r,
                                    uint16_t status,
                                    struct slice reason,
                                    struct slice headers,
                                    struct slice body);
/* A streamed answer: HEAD, then pieces, then the end. */
MUST_CHECK enum err request_head(struct request *r,
                                 uint16_t status,
                                 struct slice reason,
                                 struct slice headers,
                                 bool has_length,
                                 uint64_t length);
MUST_CHECK enum err
request_inform(struct request *r, uint16_t status, struct slice headers);
/* Sends at once (a yielded chunk is on its way before the next is asked for); waits
 * while the stream's window is closed. `data` is copied. */
MUST_CHECK enum err request_write(struct request *r, struct slice data);
/* The rest of the answer is this file's bytes. DONE: the edge takes it over (the answer
 * is ended); MORE: it cannot, send bytes; BAD: as above (ret_err). Only when the link's
 * peer has FEATURE_FILE, else MORE at once. */
MUST_CHECK enum step
request_file(struct request *r, const struct frame_file *file, enum err *ret_err);
MUST_CHECK enum err request_end(struct request *r);
/* The application failed after the head, or nothing was sent at all: the edge answers
 * by itself (500) or cuts the connection. */
void request_abort(struct request *r, enum err reason, struct slice text);

/* any: the client left or the deadline passed; what the answer functions would say. */
enum err request_gone(const struct request *r);

/* any, the request's worker only, optional: the handler is entered now, and it was
 * left. What lies between them is what the handler took; without them, waiting for the
 * GIL counts as well. */
void request_enter(struct request *r);
void request_leave(struct request *r);

/* ---- workers ---- */
/* Finishes the worker's last request (an answer not ended is aborted as truncated) and
 * waits for the next; NULL: the worker ends. */
MUST_CHECK struct request *core_next(struct worker *w);
/* Optional, before core_next: the answer is complete and `close()` has run; lets the
 * core reuse the slot. core_next does it otherwise. */
void request_finish(struct request **r_p);

#endif
