/* SPDX-License-Identifier: MIT
 * Order and length of an answer. What the edge would have to repair is not sent: excess
 * over Content-Length is cut here, a body where none may be is dropped here. */
#include "appserver/interp/answer.h"

#include <inttypes.h>
#include <stdio.h>

#include "protocol/header_names.h"

enum { ANSWER_KEEP_BYTES = 256 * 1024 }; /* a larger body buffer is not kept */

static void finish_fields(struct answer *a, bool is_known, uint64_t length);

void answer_init(struct answer *a)
{
    *a = (struct answer){.state = ANSWER_DONE};
    buf_init(&a->reason, 0);
    buf_init(&a->headers, 0);
    buf_init(&a->body, 0);
}

void answer_fini(struct answer *a)
{
    buf_fini(&a->reason);
    buf_fini(&a->headers);
    buf_fini(&a->body);
}

void answer_begin(struct answer *a, struct request *request)
{
    a->request = request;
    a->state = ANSWER_NONE;
    a->is_head = slice_eq(request_frame(request)->method, SLICE("HEAD"));
    a->is_excess = false;
    a->sent = 0;
    if (a->body.cap > ANSWER_KEEP_BYTES)
        buf_fini(&a->body);
    buf_clear(&a->body);
}

void answer_start(struct answer *a, uint16_t status, struct slice reason)
{
    ASSERT(a->state == ANSWER_NONE || a->state == ANSWER_STARTED);
    a->state = ANSWER_NONE;
    a->status = status;
    a->has_length = false;
    a->has_trailers = false;
    a->length = 0;
    a->dropped = HEADER_NONE;
    buf_clear(&a->reason);
    buf_add(&a->reason, reason);
    buf_clear(&a->headers);
    header_begin(&a->writer, &a->headers);
}

void answer_field(struct answer *a,
                  uint8_t number,
                  struct slice name,
                  struct slice value)
{
    header_put(&a->writer, number, name, value);
}

void answer_set_length(struct answer *a, uint64_t length)
{
    a->has_length = true;
    a->length = length;
}

void answer_started(struct answer *a)
{
    a->state = ANSWER_STARTED;
}

void answer_begin_fields(struct answer *a)
{
    ASSERT(a->state == ANSWER_HEAD);
    buf_clear(&a->headers);
    header_begin(&a->writer, &a->headers);
}

bool answer_is_bodyless(const struct answer *a)
{
    return a->is_head || a->status == 204 || a->status == 304;
}

bool answer_make_whole(struct answer *a)
{
    ASSERT(a->state == ANSWER_STARTED);
    size_t bytes = buf_len(&a->body);

    if (answer_is_bodyless(a)) {
        finish_fields(a, a->has_length || a->is_head,
                      a->has_length ? a->length : bytes);
        buf_clear(&a->body);
    } else {
        if (a->has_length && a->length > bytes)
            return false;
        if (a->has_length && a->length < bytes) {
            a->is_excess = true;
            a->body.end = a->body.start + (size_t)a->length;
        }
        finish_fields(a, false, 0);
    }
    a->state = ANSWER_WHOLE;
    return true;
}

enum err answer_write(struct answer *a, struct slice chunk)
{
    ASSERT(a->state == ANSWER_STARTED || a->state == ANSWER_HEAD);
    if (answer_is_bodyless(a))
        return answer_send_whole(a, slice_of("", 0));
    if (a->has_length && chunk.len > a->length - a->sent) {
        a->is_excess = true;
        chunk.len = (size_t)(a->length - a->sent);
    }
    if (a->state == ANSWER_STARTED && a->has_length && chunk.len == a->length)
        return answer_send_whole(a, chunk);
    if (a->state == ANSWER_STARTED) {
        enum err e = answer_send_head(a);
        if (e != ERR_NONE)
            return e;
    }
    if (chunk.len > 0) {
        enum err e = request_write(a->request, chunk);
        if (e != ERR_NONE)
            return e;
        a->sent += chunk.len;
    }
    if (a->has_length && a->sent == a->length) {
        a->state = ANSWER_DONE;
        return request_end(a->request);
    }
    return ERR_NONE;
}

enum err answer_send_head(struct answer *a)
{
    ASSERT(a->state == ANSWER_STARTED);
    bool is_bodyless = answer_is_bodyless(a);
    finish_fields(a, a->has_length && is_bodyless, a->length);
    a->state = ANSWER_HEAD;
    return request_head(a->request, a->status, buf_slice(&a->reason),
                        buf_slice(&a->headers), a->has_length && !is_bodyless,
                        a->length);
}

enum err answer_end(struct answer *a)
{
    if (a->state == ANSWER_STARTED) {
        if (answer_is_bodyless(a) || !a->has_length || a->length == 0)
            return answer_send_whole(a, slice_of("", 0));
        enum err e = answer_send_head(a);
        if (e != ERR_NONE)
            return e;
    }
    ASSERT(a->state == ANSWER_HEAD);
    bool is_short = a->has_length && a->sent < a->length;
    a->state = ANSWER_DONE;
    enum err e = request_end(a->request);
    return e == ERR_NONE && is_short ? ERR_RESPONSE_TRUNCATED : e;
}

enum err answer_send_whole(struct answer *a, struct slice body)
{
    ASSERT(a->state == ANSWER_STARTED);
    /* A body left out has the length that GET would give, where the application told
     * us. */
    finish_fields(a, a->has_length && answer_is_bodyless(a), a->length);
    a->state = ANSWER_DONE;
    return request_respond(a->request, a->status, buf_slice(&a->reason),
                           buf_slice(&a->headers), body);
}

enum err answer_flush(struct answer *a)
{
    if (a->state != ANSWER_WHOLE)
        return ERR_NONE;
    a->state = ANSWER_DONE;
    return request_respond(a->request, a->status, buf_slice(&a->reason),
                           buf_slice(&a->headers), buf_slice(&a->body));
}

void answer_abort(struct answer *a, enum err reason, struct slice text)
{
    if (a->state == ANSWER_DONE)
        return;
    a->state = ANSWER_DONE;
    request_abort(a->request, reason, text);
}

/* Ends the header array. Content-Length stands in it only where no body says it: in an
 * answer to HEAD and in 304. */
static void finish_fields(struct answer *a, bool is_known, uint64_t length)
{
    char digits[24];

    if (is_known && a->status != 204) {
        int n = snprintf(digits, sizeof digits, "%" PRIu64, length);
        header_put(&a->writer, HEADER_CONTENT_LENGTH, slice_of("", 0),
                   slice_of(digits, (size_t)n));
    }
    header_end(&a->writer);
}
