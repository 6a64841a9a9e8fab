/* SPDX-License-Identifier: MIT
 * Structs to frames, appended to a buf of our own. Each function reserves the most it
 * can need once and then writes without looking back. HELLO is in hello.c. */
#include "protocol/frame_priv.h"

#include "protocol/header_names.h"

enum {
    PREFIX_BYTES = 9, /* array header, kind, stream or epoch in their widest form */
    REQUEST_FIXED_BYTES = 128, /* REQUEST without its strings, headers, body */
    ARRAY16_BYTES = 3,
};

static char *begin(struct buf *to, size_t most_bytes)
{
    ASSERT(to->max == 0);
    bool fits = buf_reserve(to, most_bytes);
    ASSERT(fits);
    return buf_tail(to);
}

static void finish(struct buf *to, const char *out)
{
    buf_commit(to, (size_t)(out - buf_tail(to)));
}

/* The stream id always takes five bytes, so that frame_set_stream() can patch it. */
static char *
put_stream_prefix(char *out, unsigned elements, enum frame_kind kind, uint32_t stream)
{
    *out++ = (char)(MP_FIXARRAY | elements);
    *out++ = (char)kind;
    *out++ = (char)MP_UINT32;
    return put_be(out, stream, 4);
}

static char *
put_link_prefix(char *out, unsigned elements, enum frame_kind kind, uint64_t epoch)
{
    *out++ = (char)(MP_FIXARRAY | elements);
    *out++ = (char)kind;
    return put_uint(out, epoch);
}

static char *put_bool(char *out, bool value)
{
    *out++ = (char)(value ? MP_TRUE : MP_FALSE);
    return out;
}

static char *put_nil(char *out)
{
    *out++ = (char)MP_NIL;
    return out;
}

/* ---- link frames ---- */

enum { LINK_PREFIX_BYTES = 2 + MAX_UINT_BYTES };

void frame_pack_grant(struct buf *to, uint64_t epoch, uint32_t window)
{
    char *out = begin(to, LINK_PREFIX_BYTES + MAX_UINT_BYTES);
    out = put_link_prefix(out, 3, FRAME_GRANT, epoch);
    finish(to, put_uint(out, window));
}

void frame_pack_limit(struct buf *to, uint64_t epoch, uint32_t running)
{
    char *out = begin(to, LINK_PREFIX_BYTES + MAX_UINT_BYTES);
    out = put_link_prefix(out, 3, FRAME_LIMIT, epoch);
    finish(to, put_uint(out, running));
}

void frame_pack_ping(struct buf *to,
                     uint64_t epoch,
                     uint64_t sequence,
                     uint64_t clock_us)
{
    char *out = begin(to, LINK_PREFIX_BYTES + 2 * MAX_UINT_BYTES);
    out = put_link_prefix(out, 4, FRAME_PING, epoch);
    out = put_uint(out, sequence);
    finish(to, put_uint(out, clock_us));
}

void frame_pack_load(struct buf *to, uint64_t epoch, const struct frame *load)
{
    char *out = begin(to, LINK_PREFIX_BYTES + 6 * MAX_UINT_BYTES);
    out = put_link_prefix(out, 8, FRAME_LOAD, epoch);
    out = put_uint(out, load->load.sequence);
    out = put_uint(out, load->load.clock_us);
    out = put_uint(out, load->load.running);
    out = put_uint(out, load->load.waiting);
    out = put_uint(out, load->load.service_us);
    finish(to, put_uint(out, load->load.slots));
}

void frame_pack_drain(struct buf *to, uint64_t epoch)
{
    char *out = begin(to, LINK_PREFIX_BYTES);
    finish(to, put_link_prefix(out, 2, FRAME_DRAIN, epoch));
}

void frame_pack_bye(struct buf *to, uint64_t epoch, struct slice reason)
{
    ASSERT(reason.len <= FRAME_MAX_STRING);
    char *out = begin(to, LINK_PREFIX_BYTES + MAX_LENGTH_BYTES + reason.len);
    out = put_link_prefix(out, 3, FRAME_BYE, epoch);
    finish(to, put_text(out, reason));
}

/* ---- requests ---- */

static char *put_request_body(char *out, const struct frame_request *r)
{
    switch (r->body_form) {
    case BODY_INLINE:
        return put_bytes(out, r->body);
    case BODY_LENGTH:
        return put_uint(out, r->body_length);
    case BODY_UNKNOWN:
        return put_bool(out, true);
    case BODY_NONE:
        break;
    }
    return put_nil(out);
}

void frame_pack_request(struct buf *to,
                        uint32_t stream,
                        const struct frame_request *r,
                        struct slice headers)
{
    size_t strings = r->method.len + r->target.len + r->scheme.len +
                     r->client_addr.len + r->server_addr.len + r->id.len;
    size_t body = r->body_form == BODY_INLINE ? r->body.len : 0;
    ASSERT(r->flags <= FRAME_MAX_FLAGS && r->id.len <= FRAME_MAX_ID);
    ASSERT(r->method.len > 0 && r->method.len <= FRAME_MAX_STRING);
    ASSERT(r->target.len > 0 && r->target.len <= FRAME_MAX_STRING);
    ASSERT(body <= FRAME_MAX_INLINE_BODY && headers.len > 0);
    ASSERT(r->root <= r->target.len);

    char *out = begin(to, REQUEST_FIXED_BYTES + strings + headers.len + body);
    *out++ = (char)MP_ARRAY16;
    out = put_be(out, r->root == 0 ? 16 : 17, 2);
    *out++ = FRAME_REQUEST;
    *out++ = (char)MP_UINT32;
    out = put_be(out, stream, 4);
    *out++ = (char)r->flags;
    out = put_text(out, r->method);
    out = put_text(out, r->target);
    out = put_uint(out, r->minor);
    out = put_text(out, r->scheme);
    out = put_text(out, r->client_addr);
    out = put_uint(out, r->client_port);
    out = put_text(out, r->server_addr);
    out = put_uint(out, r->server_port);
    out = put_raw(out, headers);
    out = put_request_body(out, r);
    out = put_uint(out, r->deadline_us);
    out = put_uint(out, r->queued_us);
    out = put_text(out, r->id);
    finish(to, r->root == 0 ? out : put_uint(out, r->root));
}

/* Where the kind stands: behind an array header of one or of three bytes. */
static char *kind_of(char *frame)
{
    return frame + ((unsigned char)frame[0] == MP_ARRAY16 ? ARRAY16_BYTES : 1);
}

void frame_set_stream(char *frame, uint32_t stream)
{
    char *kind = kind_of(frame);
    ASSERT((unsigned char)kind[1] == MP_UINT32);
    (void)put_be(kind + 2, stream, 4);
}

void frame_set_flags(char *request_frame, uint32_t flags)
{
    char *kind = kind_of(request_frame);
    ASSERT(kind[0] == FRAME_REQUEST && flags <= FRAME_MAX_FLAGS);
    kind[6] = (char)flags;
}

void frame_pack_cancel(struct buf *to, uint32_t stream, enum err reason)
{
    struct slice name = slice_from(err_name(reason));
    char *out = begin(to, PREFIX_BYTES + MAX_LENGTH_BYTES + name.len);
    out = put_stream_prefix(out, 3, FRAME_CANCEL, stream);
    finish(to, put_text(out, name));
}

/* ---- answers ---- */

void frame_pack_response(struct buf *to,
                         uint32_t stream,
                         uint16_t status,
                         struct slice reason,
                         struct slice headers,
                         struct slice body)
{
    ASSERT(reason.len <= FRAME_MAX_STRING && body.len <= FRAME_MAX_INLINE_BODY);
    ASSERT(status >= 100 && status <= 999 && headers.len > 0);
    char *out = begin(to, PREFIX_BYTES + MAX_UINT_BYTES + 2 * MAX_LENGTH_BYTES +
                              reason.len + headers.len + body.len);
    out = put_stream_prefix(out, 6, FRAME_RESPONSE, stream);
    out = put_uint(out, status);
    out = put_text(out, reason);
    out = put_raw(out, headers);
    finish(to, body.len == 0 ? put_nil(out) : put_bytes(out, body));
}

void frame_pack_head(struct buf *to,
                     uint32_t stream,
                     uint16_t status,
                     struct slice reason,
                     struct slice headers,
                     bool has_length,
                     uint64_t length)
{
    ASSERT(reason.len <= FRAME_MAX_STRING);
    ASSERT(status >= 100 && status <= 999 && headers.len > 0);
    char *out = begin(to, PREFIX_BYTES + 2 * MAX_UINT_BYTES + MAX_LENGTH_BYTES +
                              reason.len + headers.len);
    out = put_stream_prefix(out, 6, FRAME_HEAD, stream);
    out = put_uint(out, status);
    out = put_text(out, reason);
    out = put_raw(out, headers);
    finish(to, has_length ? put_uint(out, length) : put_nil(out));
}

void frame_pack_inform(struct buf *to,
                       uint32_t stream,
                       uint16_t status,
                       struct slice headers)
{
    ASSERT(status >= 100 && status <= 999 && headers.len > 0);
    char *out = begin(to, PREFIX_BYTES + MAX_UINT_BYTES + headers.len);
    out = put_stream_prefix(out, 4, FRAME_INFORM, stream);
    out = put_uint(out, status);
    finish(to, put_raw(out, headers));
}

void frame_pack_file(struct buf *to, uint32_t stream, const struct frame_file *f)
{
    ASSERT(f->path.len > 0 && f->path.len <= FRAME_MAX_STRING);
    char *out =
        begin(to, PREFIX_BYTES + MAX_LENGTH_BYTES + f->path.len + 4 * MAX_UINT_BYTES);
    out = put_stream_prefix(out, 7, FRAME_FILE, stream);
    out = put_text(out, f->path);
    out = put_uint(out, f->device);
    out = put_uint(out, f->inode);
    out = put_uint(out, f->offset);
    finish(to, put_uint(out, f->length));
}

void frame_pack_filed(struct buf *to, uint32_t stream, bool taken)
{
    char *out = begin(to, PREFIX_BYTES + 1);
    out = put_stream_prefix(out, 3, FRAME_FILED, stream);
    finish(to, put_bool(out, taken));
}

void frame_pack_abort(struct buf *to,
                      uint32_t stream,
                      enum err reason,
                      struct slice text)
{
    struct slice name = slice_from(err_name(reason));
    ASSERT(text.len <= FRAME_MAX_STRING);
    char *out = begin(to, PREFIX_BYTES + 2 * MAX_LENGTH_BYTES + name.len + text.len);
    out = put_stream_prefix(out, 4, FRAME_ABORT, stream);
    out = put_text(out, name);
    finish(to, put_text(out, text));
}

void frame_pack_return(struct buf *to, uint32_t stream, enum err reason)
{
    struct slice name = slice_from(err_name(reason));
    char *out = begin(to, PREFIX_BYTES + MAX_LENGTH_BYTES + name.len);
    out = put_stream_prefix(out, 3, FRAME_RETURN, stream);
    finish(to, put_text(out, name));
}

/* ---- both ways ---- */

void frame_pack_body(struct buf *to, uint32_t stream, struct slice data)
{
    ASSERT(data.len <= FRAME_MAX_INLINE_BODY);
    char *out = begin(to, PREFIX_BYTES + MAX_LENGTH_BYTES + data.len);
    out = put_stream_prefix(out, 3, FRAME_BODY, stream);
    finish(to, put_bytes(out, data));
}

void frame_pack_body_bulk(struct buf *to, uint32_t stream)
{
    char *out = begin(to, PREFIX_BYTES + 1);
    out = put_stream_prefix(out, 3, FRAME_BODY, stream);
    finish(to, put_nil(out));
}

void frame_pack_window(struct buf *to, uint32_t stream, uint64_t bytes)
{
    char *out = begin(to, PREFIX_BYTES + MAX_UINT_BYTES);
    out = put_stream_prefix(out, 3, FRAME_WINDOW, stream);
    finish(to, put_uint(out, bytes));
}

void frame_pack_end(struct buf *to, uint32_t stream, struct slice trailers)
{
    char *out = begin(to, PREFIX_BYTES + 1 + trailers.len);
    out = put_stream_prefix(out, 3, FRAME_END, stream);
    finish(to, trailers.len == 0 ? put_nil(out) : put_raw(out, trailers));
}

void frame_pack_ws(struct buf *to,
                   uint32_t stream,
                   const struct frame_ws *w,
                   struct slice headers)
{
    ASSERT(w->data.len <= FRAME_MAX_INLINE_BODY);
    char *out = begin(to, PREFIX_BYTES + 2 * MAX_UINT_BYTES + MAX_LENGTH_BYTES +
                              w->data.len + headers.len);
    out = put_stream_prefix(out, 5, FRAME_WS, stream);
    out = put_uint(out, (uint64_t)w->op);
    switch (w->op) {
    case WS_ACCEPT:
        out = put_text(out, w->data);
        ASSERT(headers.len > 0);
        out = put_raw(out, headers);
        break;
    case WS_TEXT:
    case WS_BINARY:
        out = put_bytes(out, w->data);
        out = put_bool(out, w->fin);
        break;
    case WS_CLOSE:
        out = put_uint(out, w->code);
        out = put_text(out, w->data);
        break;
    }
    finish(to, out);
}
