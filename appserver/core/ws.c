/* SPDX-License-Identifier: MIT
 * A WebSocket's messages. What came and was not taken lies in the request's pieces
 * (body.c) as records, each whole within one piece:
 *
 *   | op, fin, length, code | data ... | op, fin, length, code | data ... |
 */
#include <assert.h>
#include <string.h>

#include "appserver/core/core_priv.h"

struct record {
    uint8_t op;
    bool fin;
    uint16_t length, code;
};

static_assert(FRAME_MAX_INLINE_BODY <= UINT16_MAX, "record.length holds any piece");

static void queue(struct request *r, const struct frame_ws *f);
static void discard(struct request *r, size_t bytes);
static void take_record(struct request *r, struct ws_piece *ret_piece);
static void send_ws(struct request *r, const struct frame_ws *w, struct slice headers);

bool request_is_websocket(const struct request *r)
{
    /* Its pieces are records: there must be no body among them. */
    return r->core->options.is_loop && (r->frame.flags & REQUEST_WEBSOCKET) != 0 &&
           r->frame.body_form == BODY_NONE;
}

enum err
request_ws_accept(struct request *r, struct slice subprotocol, struct slice headers)
{
    struct frame_ws w = {.op = WS_ACCEPT, .data = subprotocol};
    enum err e = request_gone(r);

    ASSERT(request_is_websocket(r) && r->answer == ANSWER_NONE);
    if (e != ERR_NONE)
        return e;
    r->answer = ANSWER_STREAM;
    r->deadline_us = 0;
    core_lock(r->core);
    r->ws.accepted = true;
    r->ws.is_aside = r->core->aside < r->core->options.max_websockets;
    if (r->ws.is_aside)
        peer_set_aside(r->core, r->peer, 1);
    if (worker_may_start(r->core))
        loop_rouse(r->core);
    core_unlock(r->core);
    send_ws(r, &w, headers);
    request_forget_head(r);
    return ERR_NONE;
}

void ws_leave(struct request *r)
{
    if (!r->ws.accepted)
        return;
    core_lock(r->core);
    if (r->ws.is_aside)
        peer_set_aside(r->core, r->peer, -1);
    r->ws.is_aside = false;
    core_unlock(r->core);
}

enum err
request_ws_put(struct request *r, enum ws_op op, struct slice *data, bool *ret_done)
{
    enum err e = request_gone(r);

    ASSERT(r->ws.accepted && r->answer == ANSWER_STREAM);
    ASSERT(op == WS_TEXT || op == WS_BINARY);
    ASSERT(r->ws.out_op == 0 || r->ws.out_op == op);
    *ret_done = false;
    if (e == ERR_NONE && r->ws.out_closed)
        e = ERR_INTERNAL;
    core_lock(r->core);
    if (e == ERR_NONE && r->ws.in_closed)
        e = ERR_CLIENT_GONE; /* nothing makes room any more, and nobody listens */
    core_unlock(r->core);
    while (e == ERR_NONE && !*ret_done) {
        size_t n =
            data->len < FRAME_MAX_INLINE_BODY ? data->len : FRAME_MAX_INLINE_BODY;
        core_lock(r->core);
        size_t claimed = request_claim_room(r, n, WINDOW_WS_PIECE);
        core_unlock(r->core);
        if (claimed == 0)
            break;
        n = claimed - WINDOW_WS_PIECE;
        struct frame_ws w = {.op = op, .data = slice_of(data->ptr, n)};
        w.fin = *ret_done = n == data->len;
        r->ws.out_op = w.fin ? 0 : (uint8_t)op;
        send_ws(r, &w, HEADERS_NONE);
        data->ptr += n;
        data->len -= n;
    }
    return e;
}

enum err request_ws_close(struct request *r, uint16_t code, struct slice reason)
{
    struct frame_ws w = {.op = WS_CLOSE, .data = reason, .code = code};
    enum err e = request_gone(r);

    ASSERT(r->ws.accepted && r->answer == ANSWER_STREAM);
    if (e == ERR_NONE && r->ws.out_closed)
        e = ERR_INTERNAL;
    if (e != ERR_NONE)
        return e;
    core_lock(r->core);
    r->ws.out_closed = true;
    core_unlock(r->core);
    send_ws(r, &w, HEADERS_NONE);
    return ERR_NONE;
}

enum take
request_ws_take(struct request *r, struct ws_piece *ret_piece, enum err *ret_err)
{
    enum take took = TAKE_WAIT;
    uint64_t due = 0;

    ASSERT(r->ws.accepted);
    *ret_err = ERR_NONE;
    core_lock(r->core);
    body_unlend(r);
    enum err gone = request_gone_reason(r);
    if (r->readable > 0) {
        take_record(r, ret_piece);
        took = TAKE_DATA;
        if (ret_piece->op != WS_CLOSE)
            due = window_consumed(&r->received, ret_piece->data.len + WINDOW_WS_PIECE);
        if (r->ws.in_closed || gone != ERR_NONE)
            due = 0; /* it sends no more */
    } else if (r->ws.in_taken) {
        took = TAKE_END;
    } else if (gone != ERR_NONE) {
        *ret_err = gone;
        took = TAKE_GONE;
    } else {
        r->wants |= NEWS_BODY;
    }
    core_unlock(r->core);
    if (due > 0)
        body_grant(r, due);
    return took;
}

bool ws_add(struct request *r, const struct frame_ws *f)
{
    struct websocket *ws = &r->ws;

    if (!ws->accepted || ws->in_closed || f->op == WS_ACCEPT)
        return false;
    if (f->op == WS_CLOSE) {
        ws->in_closed = true;
        queue(r, f);
        return true;
    }
    if (!window_received(&r->received, f->data.len + WINDOW_WS_PIECE))
        return false;
    if (ws->in_op != 0 && ws->in_op != f->op)
        return false;
    ws->in_op = f->fin ? 0 : (uint8_t)f->op;
    if (ws->out_closed)
        discard(r, f->data.len);
    else
        queue(r, f);
    return true;
}

static void queue(struct request *r, const struct frame_ws *f)
{
    struct record head = {(uint8_t)f->op, f->fin, (uint16_t)f->data.len, f->code};
    char *to = body_append(r, sizeof(head) + f->data.len);

    memcpy(to, &head, sizeof(head));
    if (f->data.len > 0)
        memcpy(to + sizeof(head), f->data.ptr, f->data.len);
    r->readable += sizeof(head) + f->data.len;
}

/* It crossed our close. Its room is granted again, or the client's close, which comes
 * behind it, would be held back. */
static void discard(struct request *r, size_t bytes)
{
    r->core->counters.dropped_frames++;
    uint64_t due = window_consumed(&r->received, bytes + WINDOW_WS_PIECE);
    if (due == 0)
        return;
    frame_pack_window(peer_pack(r->core, r->peer), r->stream, due);
    (void)peer_packed(r->core, r->peer);
}

static void take_record(struct request *r, struct ws_piece *ret_piece)
{
    struct record head;

    memcpy(&head, body_lend(r, sizeof(head)).ptr, sizeof(head));
    *ret_piece = (struct ws_piece){
        .op = (enum ws_op)head.op,
        .data = head.length > 0 ? body_lend(r, head.length) : SLICE(""),
        .fin = head.fin,
        .code = head.code,
    };
    r->ws.in_taken = head.op == WS_CLOSE;
}

static void send_ws(struct request *r, const struct frame_ws *w, struct slice headers)
{
    frame_pack_ws(peer_pack(r->core, r->peer), r->stream, w, headers);
    request_packed(r, false);
}
