/* SPDX-License-Identifier: MIT
 * The response's bytes. What an application sent is checked once more here, because
 * this is the last place before a client reads it. */
#include "proxy/http/respond.h"

#include <stdio.h>

#include "protocol/header_names.h"
#include "proxy/http/chars.h"

enum {
    LONGEST_NAME = 40, /* bytes of a numbered name and its punctuation */
    OWN_FIELDS = 512,  /* bytes: status line, framing, Connection, an error's fields */
};

/* What the application's fields say about the response. */
struct survey {
    bool has_length, has_date, has_server, wants_close, has_hop_by_hop, has_trailer,
        is_private;
    uint64_t length;
};

static bool write_fields(struct buf *out,
                         struct header_list list,
                         struct survey *survey,
                         struct response_failure *ret_failure);
static bool
survey_field(struct survey *s, uint8_t number, struct slice value, bool *ret_pass);
static bool plan_response(const struct frame_response *response,
                          const struct response_to *to,
                          const struct survey *survey,
                          struct response_plan *ret_plan,
                          struct response_failure *ret_failure);
static void write_framing(struct buf *out,
                          const struct response_plan *plan,
                          const struct frame_response *response,
                          const struct survey *survey);

static bool
fail(const char *what, struct slice name, struct response_failure *ret_failure)
{
    *ret_failure = (struct response_failure){ERR_BAD_RESPONSE, what, name};
    return false;
}

/* Room for all that follows, once; the write_* functions then only copy. */
static void make_room(struct buf *out, size_t bytes)
{
    bool has_room = buf_reserve(out, bytes);
    ASSERT(has_room);
}

static inline void write_bytes(struct buf *out, struct slice s)
{
    if (s.len > 0)
        memcpy(buf_tail(out), s.ptr, s.len);
    buf_commit(out, s.len);
}

static void write_number(struct buf *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    write_bytes(out, slice_of(digits + at, sizeof(digits) - at));
}

static inline void write_field(struct buf *out, struct slice name, struct slice value)
{
    char *start = buf_tail(out), *at = mempcpy(start, name.ptr, name.len);

    *at++ = ':';
    *at++ = ' ';
    if (value.len > 0)
        at = mempcpy(at, value.ptr, value.len);
    *at++ = '\r';
    *at++ = '\n';
    buf_commit(out, (size_t)(at - start));
}

static void write_status_line(struct buf *out, int status, struct slice reason)
{
    if (status == 200 && reason.len == 0) {
        write_bytes(out, SLICE("HTTP/1.1 200 OK\r\n"));
        return;
    }
    write_bytes(out, SLICE("HTTP/1.1 "));
    write_number(out, (uint64_t)status);
    write_bytes(out, SLICE(" "));
    write_bytes(out, reason.len > 0 ? reason : status_reason(status));
    write_bytes(out, SLICE("\r\n"));
}

static void write_length(struct buf *out, uint64_t length)
{
    write_bytes(out, SLICE("Content-Length: "));
    write_number(out, length);
    write_bytes(out, SLICE("\r\n"));
}

static void
write_connection(struct buf *out, const struct response_to *to, bool keep_alive)
{
    if (!keep_alive)
        write_bytes(out, SLICE("Connection: close\r\n"));
    else if (to->minor == 0)
        write_bytes(out, SLICE("Connection: keep-alive\r\n"));
}

/* Bytes that the fields of a frame grow to at most. */
static size_t size_of_fields(struct header_list list)
{
    return list.packed.len + (size_t)list.count * LONGEST_NAME;
}

bool respond_head(const struct frame_response *response,
                  const struct response_to *to,
                  struct buf *out,
                  struct response_plan *ret_plan,
                  struct response_failure *ret_failure)
{
    const size_t length_before = buf_len(out);
    struct survey survey = {.length = 0};

    if (response->status < 200 || response->status > 999)
        return fail("status", (struct slice){NULL, 0}, ret_failure);
    if (!chars_are_value(response->reason))
        return fail("reason phrase", (struct slice){NULL, 0}, ret_failure);
    make_room(out, OWN_FIELDS + response->reason.len +
                       size_of_fields(response->headers) + to->date.len +
                       to->server.len + to->cookie.len);
    write_status_line(out, response->status, response->reason);
    if (!write_fields(out, response->headers, &survey, ret_failure) ||
        !plan_response(response, to, &survey, ret_plan, ret_failure)) {
        out->end = out->start + length_before;
        return false;
    }
    if (!survey.has_date && to->date.len > 0)
        write_field(out, SLICE("Date"), to->date);
    if (!survey.has_server && to->server.len > 0)
        write_field(out, SLICE("Server"), to->server);
    if (to->cookie.len > 0) {
        write_field(out, SLICE("Set-Cookie"), to->cookie);
        if (!survey.is_private)
            write_field(out, SLICE("Cache-Control"), SLICE("private"));
    }
    write_framing(out, ret_plan, response, &survey);
    write_connection(out, to, ret_plan->keep_alive);
    write_bytes(out, SLICE("\r\n"));
    return true;
}

/* False: a name or value that no client may see. */
static bool write_fields(struct buf *out,
                         struct header_list list,
                         struct survey *survey,
                         struct response_failure *ret_failure)
{
    struct header h;

    while (header_next(&list, &h)) {
        bool is_known = h.number != HEADER_NONE, pass = true;
        struct slice name = is_known ? header_canonical(h.number) : h.name;

        if (!is_known && !chars_are(name, CHAR_TOKEN))
            return fail("bad name", name, ret_failure);
        if (!chars_are_value(h.value) ||
            !survey_field(survey, h.number, h.value, &pass))
            return fail("bad value of", name, ret_failure);
        if (pass)
            write_field(out, name, h.value);
    }
    return true;
}

static bool names(struct slice value, struct slice item)
{
    struct list_cursor list = {.rest = value};
    struct slice one;

    while (list_next_item(&list, &one))
        if (slice_eq_nocase(one, item))
            return true;
    return false;
}

/* False: a Content-Length that is none, or is said twice. */
static bool
survey_field(struct survey *s, uint8_t number, struct slice value, bool *ret_pass)
{
    switch (number) {
    case HEADER_CONTENT_LENGTH:
        *ret_pass = false;
        if (s->has_length)
            return false;
        s->has_length = true;
        return chars_to_length(value, &s->length);
    case HEADER_CONNECTION:
        s->wants_close = s->wants_close || names(value, SLICE("close"));
        s->has_hop_by_hop = true;
        *ret_pass = false;
        return true;
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY_CONNECTION:
    case HEADER_TE:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_UPGRADE:
        s->has_hop_by_hop = true;
        *ret_pass = false;
        return true;
    case HEADER_TRAILER: /* for whom, the framing tells */
        s->has_trailer = true;
        *ret_pass = false;
        return true;
    case HEADER_CACHE_CONTROL:
        s->is_private = s->is_private || names(value, SLICE("private")) ||
                        names(value, SLICE("no-store"));
        return true;
    case HEADER_DATE:
        s->has_date = true;
        return true;
    case HEADER_SERVER:
        s->has_server = true;
        return true;
    default:
        return true;
    }
}

static bool plan_response(const struct frame_response *response,
                          const struct response_to *to,
                          const struct survey *survey,
                          struct response_plan *ret_plan,
                          struct response_failure *ret_failure)
{
    struct response_plan plan = {
        .keep_alive = to->keep_alive && !survey->wants_close,
        .has_hop_by_hop = survey->has_hop_by_hop,
    };

    if (to->is_head || response->status == 204 || response->status == 304) {
        plan.framing = RESPONSE_NO_BODY;
    } else if (survey->has_length || response->has_length) {
        plan.framing = RESPONSE_LENGTH;
        plan.length = survey->has_length ? survey->length : response->length;
        if (response->has_length && plan.length > response->length) {
            (void)fail("the body is shorter than", SLICE("Content-Length"),
                       ret_failure);
            ret_failure->err = ERR_RESPONSE_TRUNCATED;
            return false;
        }
    } else if (to->minor > 0) {
        plan.framing = RESPONSE_CHUNKED;
        plan.takes_trailers = to->takes_trailers;
    } else {
        plan.framing = RESPONSE_CLOSE;
        plan.keep_alive = false;
    }
    *ret_plan = plan;
    return true;
}

static void write_announcement(struct buf *out, struct header_list list)
{
    struct header h;

    while (header_next(&list, &h))
        if (h.number == HEADER_TRAILER)
            write_field(out, SLICE("Trailer"), h.value);
}

static void write_framing(struct buf *out,
                          const struct response_plan *plan,
                          const struct frame_response *response,
                          const struct survey *survey)
{
    const int status = response->status;

    switch (plan->framing) {
    case RESPONSE_NO_BODY:
        /* To HEAD: the length that GET would have had, if the application says it; an
         * empty body says nothing about it. 204 has none, 304 must not guess. */
        if (status != 204 && status != 304 && survey->has_length)
            write_length(out, survey->length);
        break;
    case RESPONSE_LENGTH:
        write_length(out, plan->length);
        break;
    case RESPONSE_CHUNKED:
        if (survey->has_trailer && plan->takes_trailers)
            write_announcement(out, response->headers);
        write_bytes(out, SLICE("Transfer-Encoding: chunked\r\n"));
        break;
    case RESPONSE_CLOSE:
        break;
    }
}

bool respond_inform(const struct frame_response *inform,
                    struct buf *out,
                    struct response_failure *ret_failure)
{
    const size_t length_before = buf_len(out);
    struct survey survey = {.length = 0};

    if (inform->status < 100 || inform->status > 199 || inform->status == 101)
        return fail("status", (struct slice){NULL, 0}, ret_failure);
    make_room(out, OWN_FIELDS + size_of_fields(inform->headers));
    write_status_line(out, inform->status, (struct slice){NULL, 0});
    if (!write_fields(out, inform->headers, &survey, ret_failure)) {
        out->end = out->start + length_before;
        return false;
    }
    write_bytes(out, SLICE("\r\n"));
    return true;
}

static bool is_of_handshake(uint8_t number)
{
    return number == HEADER_SEC_WEBSOCKET_ACCEPT ||
           number == HEADER_SEC_WEBSOCKET_EXTENSIONS ||
           number == HEADER_SEC_WEBSOCKET_KEY ||
           number == HEADER_SEC_WEBSOCKET_PROTOCOL ||
           number == HEADER_SEC_WEBSOCKET_VERSION;
}

bool respond_switch(struct header_list fields,
                    struct slice own,
                    const struct response_to *to,
                    struct buf *out,
                    struct response_failure *ret_failure)
{
    const size_t length_before = buf_len(out);
    struct survey survey = {.length = 0};
    struct header h;

    make_room(out, OWN_FIELDS + size_of_fields(fields) + own.len + to->date.len +
                       to->server.len + to->cookie.len);
    write_status_line(out, 101, (struct slice){NULL, 0});
    while (header_next(&fields, &h)) {
        bool pass = true;
        struct slice name =
            h.number == HEADER_NONE ? h.name : header_canonical(h.number);
        if (!chars_are(name, CHAR_TOKEN) || !chars_are_value(h.value) ||
            !survey_field(&survey, h.number, h.value, &pass)) {
            out->end = out->start + length_before;
            return fail("bad field", name, ret_failure);
        }
        if (pass && !is_of_handshake(h.number))
            write_field(out, name, h.value);
    }
    if (!survey.has_date && to->date.len > 0)
        write_field(out, SLICE("Date"), to->date);
    if (!survey.has_server && to->server.len > 0)
        write_field(out, SLICE("Server"), to->server);
    if (to->cookie.len > 0)
        write_field(out, SLICE("Set-Cookie"), to->cookie);
    write_bytes(out, own);
    write_bytes(out, SLICE("\r\n"));
    return true;
}

void respond_chunk_begin(struct buf *out, size_t bytes)
{
    char digits[2 * sizeof(bytes) + 2];
    size_t at = sizeof(digits);

    digits[--at] = '\n';
    digits[--at] = '\r';
    do {
        digits[--at] = "0123456789abcdef"[bytes & 15];
        bytes >>= 4;
    } while (bytes > 0);
    buf_add(out, slice_of(digits + at, sizeof(digits) - at));
}

void respond_chunk_end(struct buf *out)
{
    buf_add(out, SLICE("\r\n"));
}

void respond_last_chunk(struct buf *out)
{
    buf_add(out, SLICE("0\r\n\r\n"));
}

/* One of the edge's own, whole. `fields` are complete lines. */
static void write_page(struct buf *out,
                       int status,
                       struct slice fields,
                       struct slice text,
                       const struct response_to *to)
{
    make_room(out, OWN_FIELDS + fields.len + text.len + to->date.len + to->server.len);
    write_status_line(out, status, (struct slice){NULL, 0});
    if (to->date.len > 0)
        write_field(out, SLICE("Date"), to->date);
    if (to->server.len > 0)
        write_field(out, SLICE("Server"), to->server);
    write_bytes(out, fields);
    write_bytes(out, SLICE("Content-Type: text/plain; charset=utf-8\r\n"));
    write_length(out, text.len);
    write_connection(out, to, to->keep_alive);
    write_bytes(out, SLICE("\r\n"));
    if (!to->is_head)
        write_bytes(out, text);
}

void respond_error(enum err err, const struct response_to *to, struct buf *out)
{
    const int known = err_status(err), status = known == 0 ? 500 : known;
    const struct slice reason = status_reason(status);
    struct slice fields = {NULL, 0};
    char text[160];
    int len;

    /* A client may know what is wrong with its request, not what is wrong with us. */
    if (status < 500)
        len = snprintf(text, sizeof(text), "%d %.*s: %s\n", status, SLICE_FMT(reason),
                       err_text(err));
    else
        len = snprintf(text, sizeof(text), "%d %.*s\n", status, SLICE_FMT(reason));
    ASSERT(len > 0 && (size_t)len < sizeof(text));

    if (status == 503)
        fields = SLICE("Retry-After: 1\r\n");
    else if (status == 405)
        fields = SLICE("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    else if (status == 426)
        fields = SLICE("Upgrade: websocket\r\nConnection: upgrade\r\n"
                       "Sec-WebSocket-Version: 13\r\n");
    write_page(out, status, fields, slice_of(text, (size_t)len), to);
}

void respond_stopped(struct slice text, const struct response_to *to, struct buf *out)
{
    write_page(out, 503, SLICE("Retry-After: 1\r\n"), text, to);
}

void respond_plain(int status,
                   struct slice text,
                   const struct response_to *to,
                   struct buf *out)
{
    write_page(out, status, (struct slice){NULL, 0}, text, to);
}
