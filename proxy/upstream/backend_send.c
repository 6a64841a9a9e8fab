/* SPDX-License-Identifier: MIT
 * What a backend is told. Frames gather in one batch per backend and leave as one
 * message at the end of the loop's turn (pool_turn), or earlier when the batch is full:
 *
 *     frames -> batch -> link            nearly always
 *     frames -> batch -> backlog -> link when the link has no room: nothing is lost,
 * and the backend gets no new requests meanwhile
 *
 * A piece of a body that is too long for the batch ends it: batch and piece leave as
 * the two parts of one message, so the order of the stream is kept. */
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

/* ---- batch and link ---- */

void backend_frame_added(struct backend *b)
{
    b->batch_frames++;
    backend_touch(b);
    if (b->batch_frames >= FRAME_MAX_BATCH || buf_len(&b->batch) >= FRAME_BATCH_BYTES)
        backend_flush(b);
}

/* False: the link has no room now. */
static bool give_to_link(struct backend *b,
                         struct slice frames,
                         struct slice bulk,
                         uint32_t last_stream)
{
    b->must_recheck = true;
    if (b->link == NULL || link_send(b->link, 0, frames, bulk) != ERR_NONE)
        return false;
    b->flushed_stream = last_stream;
    b->pool->stats.messages_out++;
    return true;
}

static void free_parcel(struct parcel *p)
{
    node_leave(&p->node);
    buf_fini(&p->frames);
    buf_fini(&p->bulk);
    mem_free(&p);
}

/* Bounded: a stream sends no more than its window, and a blocked backend gets no new
 * streams. */
static void keep_for_later(struct backend *b, struct slice bulk, uint32_t last_stream)
{
    struct parcel *p = mem_zalloc(sizeof *p);
    p->frames = b->batch; /* the batch starts anew with no memory */
    buf_init(&b->batch, 0);
    buf_init(&p->bulk, 0);
    buf_add(&p->bulk, bulk);
    p->last_stream = last_stream;
    list_push_back(&b->backlog, &p->node);
    backend_update_load(b);
}

static void send_backlog(struct backend *b)
{
    for (struct node *n = list_first(&b->backlog); n != NULL;
         n = list_first(&b->backlog)) {
        struct parcel *p = NODE_OF(n, struct parcel, node);
        if (!give_to_link(b, buf_slice(&p->frames), buf_slice(&p->bulk),
                          p->last_stream))
            return;
        free_parcel(p);
    }
    backend_update_load(b);
}

void backend_flush_bulk(struct backend *b, struct slice bulk)
{
    if (!list_is_empty(&b->backlog))
        send_backlog(b);
    if (buf_len(&b->batch) == 0)
        return;
    uint32_t last_stream = b->next_stream - 1;
    if (!list_is_empty(&b->backlog) ||
        !give_to_link(b, buf_slice(&b->batch), bulk, last_stream))
        keep_for_later(b, bulk, last_stream);
    buf_clear(&b->batch);
    b->batch_frames = 0;
}

void backend_flush(struct backend *b)
{
    backend_flush_bulk(b, (struct slice){0});
}

bool backend_recheck(struct backend *b)
{
    if (!b->must_recheck || b->waker == NULL)
        return false;
    b->must_recheck = false;
    return waker_recheck(b->waker);
}

void backend_drop_unsent(struct backend *b)
{
    buf_clear(&b->batch);
    b->batch_frames = 0;
    for (struct node *n = list_first(&b->backlog); n != NULL;
         n = list_first(&b->backlog))
        free_parcel(NODE_OF(n, struct parcel, node));
}

/* ---- requests ---- */

static void set_flag(struct ticket *t, enum request_flag flag, bool is_on)
{
    struct slice rest = buf_slice(&t->frame);
    struct frame f;
    enum err err;
    enum step step = frame_unpack(&rest, &f, &err);
    ASSERT(step == STEP_DONE && f.kind == FRAME_REQUEST);
    uint32_t others = f.request.flags & ~(uint32_t)flag;
    frame_set_flags(t->frame.data + t->frame.start, others | (is_on ? flag : 0u));
}

/* To an app server that does not know WebSocket a handshake is an ordinary request
 * (RFC 9110 section 7.8). */
static void offer_websocket(struct backend *b, struct ticket *t)
{
    bool is_known = (b->features & FEATURE_WEBSOCKET) != 0;
    set_flag(t, REQUEST_WEBSOCKET, is_known);
    t->ws = is_known ? TICKET_WS_OFFERED : TICKET_WS_NONE;
}

void backend_send_request(struct backend *b, struct ticket *t, uint64_t now_us)
{
    ASSERT(b->state == BACKEND_UP && b->load.in_flight < b->window);
    ASSERT(t->state == TICKET_IDLE);
    bool is_repeated = t->stream != 0;
    if (is_repeated)
        set_flag(t, REQUEST_RETRY, true); /* it was not the first */
    t->ws = TICKET_WS_NONE;
    t->ws_message = 0;
    if (t->is_websocket)
        offer_websocket(b, t);
    if (b->load.in_flight == 0)
        health_expect(b, now_us);

    uint32_t stream = b->next_stream;
    b->next_stream = stream == UINT32_MAX ? 1 : stream + 1;
    t->state = TICKET_SENT;
    t->backend = b;
    t->stream = stream;
    t->went_to = b->load.key;
    if (t->sticks_to != 0 && t->sticks_to != t->went_to)
        b->pool->stats.sticky_moved++;
    t->sent_us = now_us;
    t->body_sent = 0;
    t->was_heard_of = false;
    window_sender_init(&t->to_app, t->expects ? 0 : b->window_bytes);
    window_receiver_init(&t->from_app, b->pool->options.window_bytes);
    table_put(&b->streams, stream, t);
    list_push_back(&b->sent, &t->node);
    b->load.in_flight++;
    b->pool->sent++;
    b->pool->stats.sent++;
    b->stats.requests++;
    histogram_add(&b->queue_time,
                  now_us > t->submitted_us ? now_us - t->submitted_us : 0);
    backend_update_load(b);

    frame_set_stream(t->frame.data + t->frame.start, stream);
    buf_add(&b->batch, buf_slice(&t->frame));
    backend_frame_added(b);
    t->events->sent(t);
}

/* ---- what the exchange asks for ---- */

void ticket_init(struct ticket *t, const struct ticket_events *events)
{
    *t = (struct ticket){.events = events, .state = TICKET_IDLE};
    buf_init(&t->frame, 0);
}

/* Of a stream that the app server has not ended only its slot is left. */
static struct backend *orphan_stream(struct ticket *t)
{
    struct backend *b = t->backend;
    if (t->gone != NULL)
        *t->gone = true;
    t->gone = NULL;
    if (b != NULL)
        table_put(&b->streams, t->stream, BACKEND_ORPHAN);
    return b;
}

void ticket_leave(struct ticket *t)
{
    if (t->state == TICKET_IDLE)
        return;
    (void)orphan_stream(t);
    pool_idle(t->pool, t);
}

void ticket_cancel(struct ticket *t, enum err reason)
{
    if (t->state == TICKET_IDLE)
        return;
    struct backend *b = orphan_stream(t);
    if (b != NULL) {
        if (reason == ERR_REQUEST_TIMEOUT)
            health_note(b, false, clock_now_us());
        frame_pack_cancel(&b->batch, t->stream, reason);
        backend_frame_added(b);
    }
    pool_idle(t->pool, t);
}

bool ticket_is_started(const struct ticket *t)
{
    const struct backend *b = t->backend;
    return t->was_heard_of || (b != NULL && b->page != NULL &&
                               !page_never_started(b->page, b->page_slot, t->stream));
}

size_t ticket_room(const struct ticket *t)
{
    if (t->backend == NULL || !t->has_body_to_follow)
        return 0;
    return t->to_app.left < FRAME_MAX_BULK ? (size_t)t->to_app.left : FRAME_MAX_BULK;
}

void ticket_send_body(struct ticket *t, struct slice data)
{
    struct backend *b = t->backend;
    ASSERT(b != NULL && data.len <= FRAME_MAX_BULK);
    if (data.len == 0)
        return;
    window_sent(&t->to_app, data.len);
    t->body_sent += data.len;
    if (data.len <= b->inline_bytes) {
        frame_pack_body(&b->batch, t->stream, data);
        backend_frame_added(b);
        return;
    }
    frame_pack_body_bulk(&b->batch, t->stream);
    backend_touch(b);
    backend_flush_bulk(b, data);
}

void ticket_send_end(struct ticket *t)
{
    struct backend *b = t->backend;
    ASSERT(b != NULL);
    frame_pack_end(&b->batch, t->stream, (struct slice){0});
    backend_frame_added(b);
}

size_t ticket_ws_room(const struct ticket *t)
{
    if (t->backend == NULL || t->to_app.left <= WINDOW_WS_PIECE)
        return 0;
    uint64_t room = t->to_app.left - WINDOW_WS_PIECE;
    return room < FRAME_MAX_INLINE_BODY ? (size_t)room : FRAME_MAX_INLINE_BODY;
}

void ticket_send_ws(struct ticket *t, const struct frame_ws *ws)
{
    struct backend *b = t->backend;
    ASSERT(b != NULL && t->ws >= TICKET_WS_OPEN && ws->op != WS_ACCEPT);
    if (ws->op != WS_CLOSE)
        window_sent(&t->to_app, ws->data.len + WINDOW_WS_PIECE);
    frame_pack_ws(&b->batch, t->stream, ws, (struct slice){0});
    backend_frame_added(b);
}

void ticket_passed_on(struct ticket *t, size_t bytes)
{
    struct backend *b = t->backend;
    if (b == NULL)
        return;
    uint64_t grant = window_consumed(&t->from_app, bytes);
    if (grant == 0)
        return;
    frame_pack_window(&b->batch, t->stream, grant);
    backend_frame_added(b);
}
