/* SPDX-License-Identifier: MIT
 * Any decoded frame packed again, and two decoded frames compared. */
#ifndef TESTS_SUPPORT_FRAMES_H
#define TESTS_SUPPORT_FRAMES_H

#include "protocol/frame.h"

static inline void headers_repack(struct buf *to, struct header_list list)
{
    struct header_writer w;
    struct header h;

    if (list.count == 0) {
        buf_add(to, HEADERS_NONE);
        return;
    }
    header_begin(&w, to);
    while (header_next(&list, &h))
        header_put(&w, h.number, h.name, h.value);
    header_end(&w);
}

static inline struct header_list frame_headers(const struct frame *f)
{
    switch (f->kind) {
    case FRAME_REQUEST:
        return f->request.headers;
    case FRAME_RESPONSE:
    case FRAME_HEAD:
    case FRAME_INFORM:
        return f->response.headers;
    case FRAME_END:
        return f->trailers;
    case FRAME_WS:
        if (f->ws.op == WS_ACCEPT)
            return f->ws.headers;
        break;
    default:
        break;
    }
    return (struct header_list){slice_of("", 0), 0};
}

static inline void
frame_repack_stream(struct buf *to, const struct frame *f, struct slice headers)
{
    const struct frame_response *r = &f->response;
    switch (f->kind) {
    case FRAME_REQUEST:
        frame_pack_request(to, f->stream, &f->request, headers);
        break;
    case FRAME_RESPONSE:
        frame_pack_response(to, f->stream, r->status, r->reason, headers, r->body);
        break;
    case FRAME_HEAD:
        frame_pack_head(to, f->stream, r->status, r->reason, headers, r->has_length,
                        r->length);
        break;
    case FRAME_INFORM:
        frame_pack_inform(to, f->stream, r->status, headers);
        break;
    case FRAME_BODY:
        if (f->body.bulk)
            frame_pack_body_bulk(to, f->stream);
        else
            frame_pack_body(to, f->stream, f->body.data);
        break;
    case FRAME_WINDOW:
        frame_pack_window(to, f->stream, f->bytes);
        break;
    case FRAME_END:
        frame_pack_end(to, f->stream,
                       f->trailers.count == 0 ? slice_of("", 0) : headers);
        break;
    case FRAME_FILE:
        frame_pack_file(to, f->stream, &f->file);
        break;
    case FRAME_FILED:
        frame_pack_filed(to, f->stream, f->taken);
        break;
    case FRAME_WS:
        frame_pack_ws(to, f->stream, &f->ws, headers);
        break;
    case FRAME_CANCEL:
        frame_pack_cancel(to, f->stream, f->stop.reason);
        break;
    case FRAME_ABORT:
        frame_pack_abort(to, f->stream, f->stop.reason, f->stop.text);
        break;
    case FRAME_RETURN:
        frame_pack_return(to, f->stream, f->stop.reason);
        break;
    default:
        ASSERT(frame_kind_is_link(f->kind));
    }
}

static inline void frame_repack(struct buf *to, const struct frame *f)
{
    struct buf headers;

    switch (f->kind) {
    case FRAME_HELLO:
        frame_pack_hello(to, f->epoch, &f->hello);
        return;
    case FRAME_GRANT:
        frame_pack_grant(to, f->epoch, f->window);
        return;
    case FRAME_DRAIN:
        frame_pack_drain(to, f->epoch);
        return;
    case FRAME_BYE:
        frame_pack_bye(to, f->epoch, f->stop.text);
        return;
    case FRAME_PING:
        frame_pack_ping(to, f->epoch, f->load.sequence, f->load.clock_us);
        return;
    case FRAME_LOAD:
        frame_pack_load(to, f->epoch, f);
        return;
    case FRAME_LIMIT:
        frame_pack_limit(to, f->epoch, f->running);
        return;
    default:
        buf_init(&headers, 0);
        headers_repack(&headers, frame_headers(f));
        frame_repack_stream(to, f, buf_slice(&headers));
        buf_fini(&headers);
    }
}

static inline bool headers_equal(struct header_list a, struct header_list b)
{
    struct header x, y;

    if (a.count != b.count)
        return false;
    while (header_next(&a, &x) && header_next(&b, &y))
        if (x.number != y.number || !slice_eq(x.name, y.name) ||
            !slice_eq(x.value, y.value))
            return false;
    return a.packed.len == 0 && b.packed.len == 0;
}

static inline bool hellos_equal(const struct frame_hello *a,
                                const struct frame_hello *b)
{
    return a->version == b->version && slice_eq(a->role, b->role) &&
           a->instance == b->instance && a->clock_us == b->clock_us &&
           a->features == b->features && a->window_bytes == b->window_bytes &&
           a->inline_bytes == b->inline_bytes && a->has_app == b->has_app &&
           (!a->has_app ||
            (slice_eq(a->pool, b->pool) && a->slots == b->slots &&
             slice_eq(a->interface, b->interface) && a->pid == b->pid &&
             slice_eq(a->page, b->page) && a->page_slot == b->page_slot));
}

static inline bool requests_equal(const struct frame_request *a,
                                  const struct frame_request *b)
{
    return a->flags == b->flags && slice_eq(a->method, b->method) &&
           slice_eq(a->target, b->target) && a->minor == b->minor &&
           slice_eq(a->scheme, b->scheme) && slice_eq(a->client_addr, b->client_addr) &&
           a->client_port == b->client_port &&
           slice_eq(a->server_addr, b->server_addr) &&
           a->server_port == b->server_port && headers_equal(a->headers, b->headers) &&
           a->body_form == b->body_form && slice_eq(a->body, b->body) &&
           a->body_length == b->body_length && a->deadline_us == b->deadline_us &&
           a->queued_us == b->queued_us && slice_eq(a->id, b->id) && a->root == b->root;
}

static inline bool stream_frames_equal(const struct frame *a, const struct frame *b)
{
    switch (a->kind) {
    case FRAME_REQUEST:
        return requests_equal(&a->request, &b->request);
    case FRAME_RESPONSE:
    case FRAME_HEAD:
    case FRAME_INFORM:
        return a->response.status == b->response.status &&
               slice_eq(a->response.reason, b->response.reason) &&
               headers_equal(a->response.headers, b->response.headers) &&
               a->response.has_length == b->response.has_length &&
               a->response.length == b->response.length &&
               slice_eq(a->response.body, b->response.body);
    case FRAME_BODY:
        return a->body.bulk == b->body.bulk && slice_eq(a->body.data, b->body.data);
    case FRAME_WINDOW:
        return a->bytes == b->bytes;
    case FRAME_END:
        return headers_equal(a->trailers, b->trailers);
    case FRAME_FILE:
        return slice_eq(a->file.path, b->file.path) &&
               a->file.device == b->file.device && a->file.inode == b->file.inode &&
               a->file.offset == b->file.offset && a->file.length == b->file.length;
    case FRAME_FILED:
        return a->taken == b->taken;
    case FRAME_WS:
        return a->ws.op == b->ws.op && slice_eq(a->ws.data, b->ws.data) &&
               a->ws.fin == b->ws.fin && a->ws.code == b->ws.code &&
               headers_equal(frame_headers(a), frame_headers(b));
    case FRAME_CANCEL:
    case FRAME_ABORT:
    case FRAME_RETURN:
        return a->stop.reason == b->stop.reason && slice_eq(a->stop.text, b->stop.text);
    default:
        return false;
    }
}

static inline bool frames_equal(const struct frame *a, const struct frame *b)
{
    if (a->kind != b->kind || a->stream != b->stream || a->epoch != b->epoch)
        return false;
    switch (a->kind) {
    case FRAME_HELLO:
        return hellos_equal(&a->hello, &b->hello);
    case FRAME_GRANT:
        return a->window == b->window;
    case FRAME_LIMIT:
        return a->running == b->running;
    case FRAME_DRAIN:
        return true;
    case FRAME_BYE:
        return slice_eq(a->stop.text, b->stop.text) && a->stop.reason == b->stop.reason;
    case FRAME_PING:
    case FRAME_LOAD:
        return a->load.sequence == b->load.sequence &&
               a->load.clock_us == b->load.clock_us &&
               a->load.running == b->load.running &&
               a->load.waiting == b->load.waiting &&
               a->load.service_us == b->load.service_us &&
               a->load.slots == b->load.slots;
    default:
        return stream_frames_equal(a, b);
    }
}

#endif
