/* SPDX-License-Identifier: MIT
 * What a backend says: messages are read within a budget, each frame goes to its row in
 * one table. A frame that its stream's state does not allow is a breach: the link is
 * closed (backend_lose). A frame for a stream that is not there any more is normal (a
 * cancelled request's answer crossed the CANCEL): dropped and counted. */
#include <stdio.h>

#include "protocol/base/clock.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

static void read_message(struct backend *b, const struct link_message *m);
static void handle_frame(struct backend *b, struct frame *f, struct slice bulk);

static void breach(struct backend *b, enum err err, const char *text)
{
    if (b->fault != ERR_NONE)
        return;
    b->fault = err;
    b->fault_text = text;
}

/* ---- messages and events ---- */

enum waker_result backend_on_input(void *arg)
{
    struct backend *b = CAST_OBJ(arg, struct backend, BACKEND_MAGIC);
    if (!list_is_empty(&b->backlog))
        backend_touch(b);
    enum receive_result received = backend_receive(b, BACKEND_RECEIVE_MESSAGES);
    if (received == RECEIVE_LOST)
        return WAKER_DRAINED;
    if (received == RECEIVE_LEFT)
        return WAKER_INPUT_LEFT;

    bool came_up = false, was_refused = false;
    enum link_refusal refusal = REFUSAL_BROKEN;
    struct link_event e;
    while (link_next_event(b->link, &e)) {
        came_up = e.kind == LINK_UP;
        was_refused = e.kind == LINK_REFUSED;
        if (was_refused)
            refusal = e.refusal;
        if (e.kind != LINK_DOWN)
            continue;
        /* What it sent before it died is still there, and is worth as much as ever. */
        if (backend_receive(b, UINT32_MAX) == RECEIVE_LOST)
            return WAKER_DRAINED;
        backend_on_link_down(b);
    }
    if (came_up && b->state == BACKEND_CONNECTING)
        backend_greet(b);
    if (was_refused)
        backend_on_refused(b, refusal);
    return WAKER_DRAINED;
}

enum receive_result backend_receive(struct backend *b, uint32_t max_messages)
{
    size_t bytes = 0;
    for (uint32_t n = 0; n < max_messages; n++) {
        struct link_message m;
        enum step step = link_recv(b->link, &m);
        if (step == STEP_MORE)
            return RECEIVE_DRAINED;
        if (step == STEP_BAD) {
            backend_lose(b, ERR_FRAME_TOO_LARGE, "no message has this form");
            return RECEIVE_LOST;
        }
        bytes += m.frames.len + m.bulk.len;
        b->pool->stats.messages_in++;
        b->fault = ERR_NONE;
        read_message(b, &m);
        link_message_done(&m);
        if (b->fault != ERR_NONE) {
            backend_lose(b, b->fault, b->fault_text);
            return RECEIVE_LOST;
        }
        if (bytes > BACKEND_RECEIVE_BYTES && max_messages != UINT32_MAX)
            return RECEIVE_LEFT;
    }
    return RECEIVE_LEFT;
}

static void read_message(struct backend *b, const struct link_message *m)
{
    health_hear(b);
    struct slice rest = m->frames;
    bool bulk_used = false;
    while (b->fault == ERR_NONE) {
        struct frame f;
        enum err err;
        enum step step = frame_unpack(&rest, &f, &err);
        if (step == STEP_BAD)
            breach(b, err, "");
        if (step != STEP_DONE)
            break;
        b->pool->stats.frames_in++;
        bulk_used = f.kind == FRAME_BODY && f.body.bulk;
        if (bulk_used && m->bulk.len == 0)
            breach(b, ERR_BAD_FRAME, "BODY without its second part");
        else
            handle_frame(b, &f, m->bulk);
    }
    if (m->bulk.len != 0 && !bulk_used)
        breach(b, ERR_BAD_FRAME, "a second part without its BODY");
}

/* ---- the link's frames ---- */

static bool open_page(struct backend *b, const struct frame_hello *h)
{
    char path[256];
    if (h->page.len == 0 || h->page.len >= sizeof path ||
        !link_endpoint_is_local(b->endpoint))
        return false;
    snprintf(path, sizeof path, "%.*s", SLICE_FMT(h->page));
    b->page_slot = (int)h->page_slot;
    return page_open(path, h->instance, &b->page) == ERR_NONE;
}

static void on_hello(struct backend *b, const struct frame *f)
{
    const struct frame_hello *h = &f->hello;
    if (b->state != BACKEND_GREETING) {
        breach(b, ERR_BAD_FRAME, "a second HELLO");
        return;
    }
    if (h->version != PROTOCOL_VERSION) {
        breach(b, ERR_PROTOCOL_VERSION, "");
        return;
    }
    if (!h->has_app || h->inline_bytes < FRAME_MAX_INLINE_BODY) {
        breach(b, ERR_BAD_FRAME, "HELLO is not an app server's of version 1");
        return;
    }
    if (b->pool->options.name[0] != '\0' &&
        !slice_eq(h->pool, slice_from(b->pool->options.name))) {
        snprintf(b->fault_words, sizeof b->fault_words,
                 "it says \"%.*s\" (--pool), here it is one of \"%s\"",
                 (int)(h->pool.len < 63 ? h->pool.len : 63), h->pool.ptr,
                 b->pool->options.name);
        breach(b, ERR_WRONG_POOL, b->fault_words);
        return;
    }
    b->window_bytes = h->window_bytes;
    b->pool->is_asgi = slice_eq(h->interface, SLICE("asgi"));
    b->inline_bytes = FRAME_MAX_INLINE_BODY;
    b->features = h->features;
    b->load.slots = h->slots;
    b->running = 0;
    b->load.service_us = 0;
    b->window = 0;
    page_free(&b->page);
    bool has_page = open_page(b, h);
    b->up_since_us = b->heard_us;
    b->pid = h->pid;
    if (b->instance != h->instance)
        health_renew(b);
    b->instance = h->instance;
    health_begin(b, b->heard_us);
    backend_set_state(b, BACKEND_UP);
    if (h->page.len != 0 && !has_page)
        log_debug(&b->log, "cannot read its page %.*s", SLICE_FMT(h->page));
    log_write(b->pool->options.is_quiet ? LOG_DEBUG : LOG_INFO, &b->log,
              "app server %s is up (pid %u, %.*s, %u slots)", b->endpoint, h->pid,
              SLICE_FMT(h->interface), h->slots);
    backend_notice(b, "up, pid %u, %.*s, %u slots", h->pid, SLICE_FMT(h->interface),
                   h->slots);
}

static void on_grant(struct backend *b, const struct frame *f)
{
    b->window = f->window < BACKEND_MAX_WINDOW ? f->window : BACKEND_MAX_WINDOW;
    backend_update_load(b);
}

static void on_drain(struct backend *b, const struct frame *f)
{
    (void)f;
    if (b->state == BACKEND_UP)
        backend_set_state(b, BACKEND_DRAINING);
}

static void on_bye(struct backend *b, const struct frame *f)
{
    bool is_complaint = f->stop.reason == ERR_BAD_FRAME ||
                        f->stop.reason == ERR_FRAME_TOO_LARGE ||
                        f->stop.reason == ERR_PROTOCOL_VERSION;
    log_write(is_complaint ? LOG_WARN : LOG_DEBUG, &b->log,
              "app server %s says BYE: %.*s", b->endpoint, SLICE_FMT(f->stop.text));
    breach(b, is_complaint ? ERR_BACKEND_LOST : ERR_SHUTTING_DOWN, "it said BYE");
}

static void on_load(struct backend *b, const struct frame *f)
{
    b->load.slots = f->load.slots;
    b->running = f->load.running;
    b->load.service_us = f->load.service_us;
}

/* ---- the streams' frames ---- */

/* The backend owes nothing more for this stream. */
static void end_stream(struct backend *b, uint32_t stream)
{
    (void)table_take(&b->streams, stream);
    b->load.in_flight--;
    backend_update_load(b);
}

/* The same for a ticket, which hears its last event next. */
static void part_with(struct backend *b, struct ticket *t)
{
    histogram_add(&b->app_time,
                  b->heard_us > t->sent_us ? b->heard_us - t->sent_us : 0);
    end_stream(b, t->stream);
    node_leave(&t->node);
    t->backend = NULL;
    b->returns = 0;
}

static void note_status(struct backend *b, int status)
{
    b->stats.errors += status >= 500;
    health_note(b, status < 500, b->heard_us);
}

static void on_response(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (t->head_seen) {
        breach(b, ERR_BAD_FRAME, "RESPONSE after HEAD");
        return;
    }
    struct pool *pool = b->pool;
    t->head_seen = true;
    note_status(b, f->response.status);
    part_with(b, t);
    /* The exchange may refuse what it sees, which ends the ticket. */
    bool gone = false;
    t->gone = &gone;
    t->events->head(t, &f->response, true);
    if (gone)
        return;
    t->gone = NULL;
    pool_idle(pool, t);
    t->events->done(t, NULL);
}

static void on_head(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (t->head_seen) {
        breach(b, ERR_BAD_FRAME, "a second HEAD");
        return;
    }
    t->head_seen = true;
    note_status(b, f->response.status);
    t->events->head(t, &f->response, false);
}

static void on_inform(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (t->head_seen)
        breach(b, ERR_BAD_FRAME, "INFORM after HEAD");
    else
        t->events->inform(t, &f->response);
}

static void on_body(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (!t->head_seen || t->ws >= TICKET_WS_OPEN)
        breach(b, ERR_BAD_FRAME, "BODY without HEAD");
    else if (!window_received(&t->from_app, f->body.data.len))
        breach(b, ERR_BAD_FRAME, "BODY beyond its window");
    else
        t->events->body(t, f->body.data);
}

static void on_window(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (!window_granted(&t->to_app, f->bytes))
        breach(b, ERR_BAD_FRAME, "WINDOW overflows");
    else if (t->has_body_to_follow || t->ws >= TICKET_WS_OPEN)
        t->events->room(t);
}

static void on_end(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (!t->head_seen) {
        breach(b, ERR_BAD_FRAME, "END before HEAD");
        return;
    }
    part_with(b, t);
    pool_idle(b->pool, t);
    t->events->done(t, &f->trailers);
}

static void on_file(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (!t->head_seen || t->ws >= TICKET_WS_OPEN || !b->pool->options.has_files) {
        breach(b, ERR_BAD_FRAME, "FILE that nobody can take");
        return;
    }
    bool gone = false;
    t->gone = &gone;
    bool taken = t->events->file(t, &f->file);
    if (gone)
        return;
    t->gone = NULL;
    frame_pack_filed(&b->batch, t->stream, taken);
    backend_frame_added(b);
    if (!taken)
        return;
    part_with(b, t);
    pool_idle(b->pool, t);
    t->events->done(t, NULL);
}

/* A piece of a message in its turn, within the window. */
static bool may_say(struct backend *b, struct ticket *t, const struct frame_ws *ws)
{
    if (t->ws != TICKET_WS_OPEN)
        breach(b, ERR_BAD_FRAME, "a message outside of an open WebSocket");
    else if (t->ws_message != 0 && t->ws_message != (uint8_t)ws->op)
        breach(b, ERR_BAD_FRAME, "pieces of two messages are mixed");
    else if (!window_received(&t->from_app, ws->data.len + WINDOW_WS_PIECE))
        breach(b, ERR_BAD_FRAME, "WS beyond its window");
    else
        return true;
    return false;
}

static void on_ws(struct backend *b, struct ticket *t, const struct frame *f)
{
    const struct frame_ws *ws = &f->ws;
    switch (ws->op) {
    case WS_ACCEPT:
        if (t->ws != TICKET_WS_OFFERED || t->head_seen) {
            breach(b, ERR_BAD_FRAME, "WS accept of what is no handshake");
            return;
        }
        t->ws = TICKET_WS_OPEN;
        t->head_seen = true;
        break;
    case WS_TEXT:
    case WS_BINARY:
        if (!may_say(b, t, ws))
            return;
        t->ws_message = ws->fin ? 0 : (uint8_t)ws->op;
        break;
    case WS_CLOSE:
        if (t->ws != TICKET_WS_OPEN) {
            breach(b, ERR_BAD_FRAME, "WS close outside of an open WebSocket");
            return;
        }
        t->ws = TICKET_WS_CLOSED;
        break;
    }
    t->events->ws(t, ws);
}

static void on_abort(struct backend *b, struct ticket *t, const struct frame *f)
{
    enum err reason = f->stop.reason;
    /* Whatever the app server takes for its client: ours is here. */
    if (reason == ERR_NONE || reason == ERR_CLIENT_GONE || reason == ERR_WRITE_STALLED)
        reason = ERR_APP_FAILED;
    note_status(b, err_status(reason));
    part_with(b, t);
    pool_fail(b->pool, t, reason, f->stop.text);
}

static void rest_if_useless(struct backend *b)
{
    if (++b->returns <= b->window + BACKEND_MAX_RETURNS || b->rests_until_us != 0)
        return;
    log_debug(&b->log, "it hands back everything");
    b->rests_until_us = b->heard_us + BACKEND_REST_US;
    backend_update_load(b);
}

static void on_return(struct backend *b, struct ticket *t, const struct frame *f)
{
    if (t->head_seen) {
        breach(b, ERR_BAD_FRAME, "RETURN after HEAD");
        return;
    }
    struct pool *pool = b->pool;
    uint32_t returns = b->returns;
    part_with(b, t);
    b->returns = returns;
    rest_if_useless(b);
    pool->stats.returned++;
    b->stats.returned++;
    if (f->stop.reason == ERR_REQUEST_TIMEOUT) {
        pool_fail(pool, t, ERR_REQUEST_TIMEOUT, SLICE(""));
    } else if (t->is_replayable || t->body_sent == 0) {
        t->avoid = b;
        pool_requeue(pool, t, b->heard_us);
    } else {
        pool_fail(pool, t, ERR_BACKEND_LOST, SLICE("handed back after its body began"));
    }
}

/* ---- the table ---- */

static const struct {
    void (*on_link)(struct backend *b, const struct frame *f);
    void (*on_stream)(struct backend *b, struct ticket *t, const struct frame *f);
    bool ends_stream;
} rows[FRAME_KIND_COUNT] = {
    [FRAME_HELLO] = {.on_link = on_hello},
    [FRAME_GRANT] = {.on_link = on_grant},
    [FRAME_DRAIN] = {.on_link = on_drain},
    [FRAME_BYE] = {.on_link = on_bye},
    [FRAME_LOAD] = {.on_link = on_load},
    [FRAME_RESPONSE] = {.on_stream = on_response, .ends_stream = true},
    [FRAME_HEAD] = {.on_stream = on_head},
    [FRAME_INFORM] = {.on_stream = on_inform},
    [FRAME_BODY] = {.on_stream = on_body},
    [FRAME_WINDOW] = {.on_stream = on_window},
    [FRAME_END] = {.on_stream = on_end, .ends_stream = true},
    [FRAME_FILE] = {.on_stream = on_file},
    [FRAME_WS] = {.on_stream = on_ws},
    [FRAME_ABORT] = {.on_stream = on_abort, .ends_stream = true},
    [FRAME_RETURN] = {.on_stream = on_return, .ends_stream = true},
};

static void handle_link_frame(struct backend *b, const struct frame *f)
{
    if (f->epoch != b->epoch)
        b->pool->stats.stale_epoch++;
    else if (b->state < BACKEND_UP && f->kind != FRAME_HELLO && f->kind != FRAME_BYE)
        breach(b, ERR_BAD_FRAME, "nothing comes before HELLO");
    else
        rows[f->kind].on_link(b, f);
}

static void handle_frame(struct backend *b, struct frame *f, struct slice bulk)
{
    if (rows[f->kind].on_link != NULL) {
        handle_link_frame(b, f);
        return;
    }
    if (rows[f->kind].on_stream == NULL) {
        breach(b, ERR_BAD_FRAME, frame_kind_name(f->kind));
        return;
    }
    void *entry = table_get(&b->streams, f->stream);
    if (entry == NULL) {
        b->pool->stats.unknown_stream++;
    } else if (entry == BACKEND_ORPHAN) {
        if (rows[f->kind].ends_stream) {
            b->returns = 0;
            end_stream(b, f->stream);
        }
    } else {
        struct ticket *t = entry;
        if (f->kind == FRAME_BODY && f->body.bulk)
            f->body.data = bulk;
        t->was_heard_of = true;
        rows[f->kind].on_stream(b, t, f);
    }
}
