/* SPDX-License-Identifier: MIT
 * Untrusted bytes to frames. Every length meets the rest of the input and a named limit
 * before it is used (frame_priv.h: errors stick). */
#include "protocol/frame_priv.h"

#include "protocol/header_names.h"

/* Elements of each kind: all that version 1 defines must be there; more are skipped. */
static const unsigned char ELEMENTS[FRAME_KIND_COUNT] = {
    [FRAME_GRANT] = 3,  [FRAME_REQUEST] = 16, [FRAME_RESPONSE] = 6, [FRAME_HEAD] = 6,
    [FRAME_INFORM] = 4, [FRAME_BODY] = 3,     [FRAME_WINDOW] = 3,   [FRAME_END] = 3,
    [FRAME_FILE] = 7,   [FRAME_FILED] = 3,    [FRAME_WS] = 5,       [FRAME_CANCEL] = 3,
    [FRAME_ABORT] = 4,  [FRAME_RETURN] = 3,   [FRAME_DRAIN] = 2,    [FRAME_BYE] = 3,
    [FRAME_PING] = 4,   [FRAME_LOAD] = 8,     [FRAME_LIMIT] = 3,
};

enum { STATUS_LOW = 100, STATUS_HIGH = 999 };

static bool take_frame(struct cursor *c, struct frame *f);
static void take_fields(struct cursor *c, struct frame *f);
static void take_root(struct cursor *c, struct frame_request *r);

enum step frame_unpack(struct slice *rest, struct frame *ret_frame, enum err *ret_err)
{
    const unsigned char *start = (const unsigned char *)rest->ptr;
    struct cursor c = {start, start + rest->len, ERR_NONE};
    bool known = false;

    while (!known && c.err == ERR_NONE) {
        if (c.at == c.end) {
            *rest = slice_of(c.at, 0);
            return STEP_MORE;
        }
        known = take_frame(&c, ret_frame);
    }
    if (c.err != ERR_NONE) {
        *ret_err = c.err;
        return STEP_BAD;
    }
    *rest = slice_of(c.at, cursor_left(&c));
    return STEP_DONE;
}

/* One frame; false: one of a kind that may be passed over, or an error. */
static bool take_frame(struct cursor *c, struct frame *f)
{
    const unsigned char *start = c->at;
    uint32_t elements = take_array(c);
    uint32_t kind = (uint32_t)take_uint(c, UINT32_MAX);

    if (c->err != ERR_NONE)
        return false;
    if (elements == 0) {
        cursor_fail(c, ERR_BAD_FRAME);
        return false;
    }
    if (kind >= FRAME_KIND_COUNT) {
        if (kind % 2 == 0)
            cursor_fail(c, ERR_BAD_FRAME);
        cursor_skip(c, elements - 1);
        return false;
    }
    f->kind = (enum frame_kind)kind;
    if (kind == FRAME_HELLO) {
        hello_unpack(c, start, elements, f);
        return true;
    }
    if (elements < ELEMENTS[kind]) {
        cursor_fail(c, ERR_BAD_FRAME);
        return false;
    }
    take_fields(c, f);
    uint32_t taken = ELEMENTS[kind];
    if (kind == FRAME_REQUEST && elements > taken) {
        take_root(c, &f->request);
        taken++;
    }
    if (elements > taken)
        cursor_skip(c, elements - taken);
    /* The raw second part belongs to the BODY that ends its batch. */
    if (kind == FRAME_BODY && f->body.bulk && c->at < c->end)
        cursor_fail(c, ERR_BAD_FRAME);
    return true;
}

/* ---- fields ---- */

static void take_headers(struct cursor *c, struct header_list *ret_list)
{
    uint32_t elements = take_array(c);
    const unsigned char *start = c->at;

    *ret_list = (struct header_list){slice_of("", 0), 0};
    if (elements % 2 != 0) {
        cursor_fail(c, ERR_BAD_FRAME);
        return;
    }
    if (elements > 2 * FRAME_MAX_HEADERS) {
        cursor_fail(c, ERR_FRAME_TOO_LARGE);
        return;
    }
    /* `at` runs ahead of the cursor over the common forms; the rest goes through it. A
     * failure leaves nothing to take, so the loop then only counts to its end. */
    const unsigned char *at = start, *const end = c->end;
    for (uint32_t i = 0; i < elements; i += 2) {
        size_t left = (size_t)(end - at);
        if (left > 1 && at[0] - 1u < HEADER_COUNT - 1) {
            at++;
            left--;
        } else {
            c->at = at;
            if (take_text(c, FRAME_MAX_STRING).len == 0)
                cursor_fail(c, ERR_BAD_FRAME); /* an unknown number, too */
            at = c->at;
            left = (size_t)(end - at);
        }
        if (left > 0 && (at[0] & 0xe0) == MP_FIXSTR && (at[0] & 0x1fu) < left) {
            at += 1 + (at[0] & 0x1fu);
        } else if (left > 1 && at[0] == MP_STR8 && at[1] < left - 1) {
            at += 2 + at[1];
        } else {
            c->at = at;
            (void)take_text(c, FRAME_MAX_HEAD);
            at = c->at;
        }
    }
    c->at = at;
    if (c->err != ERR_NONE)
        return;
    size_t bytes = (size_t)(c->at - start);
    if (bytes > FRAME_MAX_HEAD) {
        cursor_fail(c, ERR_FRAME_TOO_LARGE);
        return;
    }
    *ret_list = (struct header_list){slice_of(start, bytes), elements / 2};
}

static void take_request_body(struct cursor *c, struct frame_request *r)
{
    r->body = slice_of("", 0);
    r->body_length = 0;
    switch (cursor_peek(c)) {
    case MP_NIL:
        c->at++;
        r->body_form = BODY_NONE;
        break;
    case MP_TRUE:
        c->at++;
        r->body_form = BODY_UNKNOWN;
        break;
    case MP_BIN8:
    case MP_BIN16:
    case MP_BIN32:
        r->body_form = BODY_INLINE;
        r->body = take_bytes(c, FRAME_MAX_INLINE_BODY);
        r->body_length = r->body.len;
        break;
    default:
        r->body_form = BODY_LENGTH;
        r->body_length = take_uint(c, UINT64_MAX);
        break;
    }
}

/* Whether one of eight bytes is outside '!' to '~'. Carries between bytes only arise
 * where one is. */
static bool has_invisible(const char *at)
{
    const uint64_t ones = UINT64_MAX / 255, high = ones << 7;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return ((((word - '!' * ones) & ~word) | (word + ones) | word) & high) != 0;
}

static void take_id(struct cursor *c, struct frame_request *r)
{
    r->id = take_text(c, FRAME_MAX_ID);
    size_t at = 0;
    for (; at + 8 <= r->id.len; at += 8)
        if (has_invisible(r->id.ptr + at))
            cursor_fail(c, ERR_BAD_FRAME);
    for (; at < r->id.len; at++)
        if (r->id.ptr[at] < '!' || r->id.ptr[at] > '~')
            cursor_fail(c, ERR_BAD_FRAME);
}

static void take_request(struct cursor *c, struct frame_request *r)
{
    r->flags = (uint32_t)take_uint(c, FRAME_MAX_FLAGS);
    r->method = take_text(c, FRAME_MAX_STRING);
    r->target = take_text(c, FRAME_MAX_STRING);
    r->minor = (uint8_t)take_uint(c, UINT8_MAX);
    r->scheme = take_text(c, FRAME_MAX_STRING);
    r->client_addr = take_text(c, FRAME_MAX_STRING);
    r->client_port = (uint16_t)take_uint(c, UINT16_MAX);
    r->server_addr = take_text(c, FRAME_MAX_STRING);
    r->server_port = (uint16_t)take_uint(c, UINT16_MAX);
    take_headers(c, &r->headers);
    take_request_body(c, r);
    r->deadline_us = take_uint(c, UINT64_MAX);
    r->queued_us = take_uint(c, UINT64_MAX);
    r->root = 0;
    take_id(c, r);
    if (r->method.len == 0 || r->target.len == 0)
        cursor_fail(c, ERR_BAD_FRAME);
}

/* It ends where a segment does, within the path. */
static void take_root(struct cursor *c, struct frame_request *r)
{
    r->root = (uint32_t)take_uint(c, FRAME_MAX_STRING);
    if (c->err != ERR_NONE || r->root == 0)
        return;
    bool is_path = r->root <= r->target.len && r->target.ptr[0] == '/' &&
                   memchr(r->target.ptr, '?', r->root) == NULL;
    if (!is_path || (r->root < r->target.len && r->target.ptr[r->root] != '/' &&
                     r->target.ptr[r->root] != '?'))
        cursor_fail(c, ERR_BAD_FRAME);
}

static uint16_t take_status(struct cursor *c)
{
    uint64_t status = take_uint(c, STATUS_HIGH);
    if (status < STATUS_LOW)
        cursor_fail(c, ERR_BAD_FRAME);
    return (uint16_t)status;
}

static void
take_response(struct cursor *c, enum frame_kind kind, struct frame_response *r)
{
    r->reason = r->body = slice_of("", 0);
    r->has_length = false;
    r->length = 0;
    r->status = take_status(c);
    if (kind != FRAME_INFORM)
        r->reason = take_text(c, FRAME_MAX_STRING);
    take_headers(c, &r->headers);
    if (kind == FRAME_RESPONSE && !take_nil(c))
        r->body = take_bytes(c, FRAME_MAX_INLINE_BODY);
    if (kind == FRAME_RESPONSE) {
        r->has_length = true;
        r->length = r->body.len;
    }
    if (kind == FRAME_HEAD && !take_nil(c)) {
        r->has_length = true;
        r->length = take_uint(c, UINT64_MAX);
    }
}

static void take_file(struct cursor *c, struct frame_file *f)
{
    f->path = take_text(c, FRAME_MAX_STRING);
    f->device = take_uint(c, UINT64_MAX);
    f->inode = take_uint(c, UINT64_MAX);
    f->offset = take_uint(c, UINT64_MAX);
    f->length = take_uint(c, UINT64_MAX);
    if (f->path.len == 0 || memchr(f->path.ptr, 0, f->path.len) != NULL)
        cursor_fail(c, ERR_BAD_FRAME);
}

static void take_ws(struct cursor *c, struct frame_ws *w)
{
    uint64_t op = take_uint(c, UINT8_MAX);
    *w = (struct frame_ws){.op = (enum ws_op)op, .data = slice_of("", 0)};

    switch (op) {
    case WS_ACCEPT:
        w->data = take_text(c, FRAME_MAX_INLINE_BODY);
        take_headers(c, &w->headers);
        break;
    case WS_TEXT:
    case WS_BINARY:
        w->data = take_bytes(c, FRAME_MAX_INLINE_BODY);
        w->fin = take_bool(c);
        break;
    case WS_CLOSE:
        w->code = (uint16_t)take_uint(c, UINT16_MAX);
        w->data = take_text(c, FRAME_MAX_INLINE_BODY);
        break;
    default:
        cursor_fail(c, ERR_BAD_FRAME);
    }
}

static void take_load(struct cursor *c, struct frame *f)
{
    f->load.sequence = take_uint(c, UINT64_MAX);
    f->load.clock_us = take_uint(c, UINT64_MAX);
    f->load.running = f->load.waiting = f->load.slots = 0;
    f->load.service_us = 0;
    if (f->kind == FRAME_PING)
        return;
    f->load.running = (uint32_t)take_uint(c, UINT32_MAX);
    f->load.waiting = (uint32_t)take_uint(c, UINT32_MAX);
    f->load.service_us = take_uint(c, UINT64_MAX);
    f->load.slots = (uint32_t)take_uint(c, UINT32_MAX);
}

static void take_stop(struct cursor *c, struct frame *f)
{
    struct slice reason = take_text(c, FRAME_MAX_STRING);
    f->stop.reason = reason_parse(reason);
    f->stop.text = slice_of("", 0);
    if (f->kind == FRAME_ABORT)
        f->stop.text = take_text(c, FRAME_MAX_STRING);
    else if (f->kind == FRAME_BYE)
        f->stop.text = reason;
}

static void take_fields(struct cursor *c, struct frame *f)
{
    if (frame_kind_is_link(f->kind)) {
        f->epoch = take_uint(c, UINT64_MAX);
        f->stream = 0;
    } else {
        f->stream = (uint32_t)take_uint(c, UINT32_MAX);
        f->epoch = 0;
    }
    switch (f->kind) {
    case FRAME_REQUEST:
        take_request(c, &f->request);
        break;
    case FRAME_RESPONSE:
    case FRAME_HEAD:
    case FRAME_INFORM:
        take_response(c, f->kind, &f->response);
        break;
    case FRAME_BODY:
        f->body.bulk = take_nil(c);
        f->body.data =
            f->body.bulk ? slice_of("", 0) : take_bytes(c, FRAME_MAX_INLINE_BODY);
        break;
    case FRAME_WINDOW:
        f->bytes = take_uint(c, UINT64_MAX);
        break;
    case FRAME_END:
        f->trailers = (struct header_list){slice_of("", 0), 0};
        if (!take_nil(c))
            take_headers(c, &f->trailers);
        break;
    case FRAME_FILE:
        take_file(c, &f->file);
        break;
    case FRAME_FILED:
        f->taken = take_bool(c);
        break;
    case FRAME_WS:
        take_ws(c, &f->ws);
        break;
    case FRAME_CANCEL:
    case FRAME_ABORT:
    case FRAME_RETURN:
    case FRAME_BYE:
        take_stop(c, f);
        break;
    case FRAME_GRANT:
        f->window = (uint32_t)take_uint(c, UINT32_MAX);
        break;
    case FRAME_PING:
    case FRAME_LOAD:
        take_load(c, f);
        break;
    case FRAME_LIMIT:
        f->running = (uint32_t)take_uint(c, UINT32_MAX);
        break;
    case FRAME_DRAIN:
        break;
    case FRAME_HELLO: /* taken by hello_unpack() */
    case FRAME_KIND_COUNT:
        break;
    }
}

/* ---- the cursor's cold forms ---- */

uint64_t cursor_wide_uint(struct cursor *c, unsigned char first)
{
    if (first < MP_UINT8 || first > MP_UINT64) {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    size_t bytes = (size_t)1 << (first - MP_UINT8);
    if (bytes > cursor_left(c)) {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    uint64_t value = bytes == 1 ? c->at[0] : load_be(c->at, bytes);
    c->at += bytes;
    return value;
}

size_t cursor_wide_length(struct cursor *c, unsigned char first)
{
    size_t bytes;

    if (first >= MP_STR8 && first <= MP_STR32) {
        bytes = (size_t)1 << (first - MP_STR8);
    } else if (first >= MP_BIN8 && first <= MP_BIN32) {
        bytes = (size_t)1 << (first - MP_BIN8);
    } else {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    if (bytes > cursor_left(c)) {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    size_t length = bytes == 1 ? c->at[0] : (size_t)load_be(c->at, bytes);
    c->at += bytes;
    return length;
}

uint32_t cursor_wide_count(struct cursor *c, unsigned char first)
{
    size_t bytes = first == MP_ARRAY16 || first == MP_MAP16 ? 2 : 4;

    if (bytes > cursor_left(c)) {
        cursor_fail(c, ERR_BAD_FRAME);
        return 0;
    }
    uint32_t count = (uint32_t)load_be(c->at, bytes);
    c->at += bytes;
    return count;
}

static void skip_bytes(struct cursor *c, size_t bytes)
{
    if (bytes > cursor_left(c))
        cursor_fail(c, ERR_BAD_FRAME);
    else
        c->at += bytes;
}

/* Passes over one value; returns how many values its elements are. */
static uint64_t skip_one(struct cursor *c)
{
    unsigned char first = cursor_peek(c);
    skip_bytes(c, 1);

    if (first < MP_FIXMAP || first >= 0xe0 || first == MP_NIL || first == MP_FALSE ||
        first == MP_TRUE)
        return 0;
    if (first < MP_FIXARRAY)
        return 2 * (first & 0x0fu);
    if (first < MP_FIXSTR)
        return first & 0x0fu;
    if (first < MP_NIL)
        skip_bytes(c, first & 0x1fu);
    else if (first >= MP_BIN8 && first <= MP_BIN32)
        skip_bytes(c, cursor_wide_length(c, first));
    else if (first == 0xca || first == 0xcb) /* float */
        skip_bytes(c, first == 0xca ? 4 : 8);
    else if (first >= MP_UINT8 && first <= MP_UINT64)
        skip_bytes(c, (size_t)1 << (first - MP_UINT8));
    else if (first >= 0xd0 && first <= 0xd3) /* int */
        skip_bytes(c, (size_t)1 << (first - 0xd0));
    else if (first >= MP_STR8 && first <= MP_STR32)
        skip_bytes(c, cursor_wide_length(c, first));
    else if (first == MP_ARRAY16 || first == MP_ARRAY32)
        return cursor_wide_count(c, first);
    else if (first == MP_MAP16 || first == MP_MAP32)
        return 2 * (uint64_t)cursor_wide_count(c, first);
    else
        cursor_fail(c, ERR_BAD_FRAME); /* ext, or reserved */
    return 0;
}

void cursor_skip(struct cursor *c, uint32_t count)
{
    uint64_t left[FRAME_MAX_DEPTH] = {count}; /* values still to pass, per open level */
    unsigned depth = 1;

    while (depth > 0 && c->err == ERR_NONE) {
        if (left[depth - 1] == 0) {
            depth--;
            continue;
        }
        left[depth - 1]--;
        uint64_t inner = skip_one(c);
        if (inner == 0)
            continue;
        if (inner > cursor_left(c))
            cursor_fail(c, ERR_BAD_FRAME);
        else if (depth == FRAME_MAX_DEPTH)
            cursor_fail(c, ERR_FRAME_TOO_LARGE);
        else
            left[depth++] = inner;
    }
}
