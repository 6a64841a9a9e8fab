/* SPDX-License-Identifier: MIT
 * One request being served: its memory, and its answer. */
#include "appserver/core/request.h"

#include "appserver/core/core_priv.h"

enum {
    BULK_MIN = 8 * 1024,  /* from here on a piece travels as a raw second part */
    STALL_WAIT_US = 1000, /* until a full link is tried again */
    REQUEST_BYTES = 2048, /* for the frame of an ordinary request, at least */
};

#define REQUEST_OF(n) NODE_OF(n, struct request, node)

static void rebase(struct slice *s, struct slice from, const char *to);
static enum err still_wanted(const struct request *r);
static enum err write_some(struct request *r, struct slice *data);
static enum err send_piece(struct request *r, struct slice piece);
static enum err wait_for_link(struct request *r);
static void pack_end(struct request *r, struct slice trailers);
static void unclaim_room(struct request *r, size_t bytes);

struct request *request_new(struct core *core)
{
    struct node *n = list_pop_front(&core->fresh);

    if (n == NULL) {
        core_lock(core);
        while ((n = list_pop_front(&core->recycled)) != NULL)
            list_push_back(&core->fresh, n);
        core->recycled_count = 0;
        core_unlock(core);
        n = list_pop_front(&core->fresh);
    }
    if (n != NULL)
        return REQUEST_OF(n);
    struct request *r = mem_zalloc(sizeof(*r));
    r->magic = REQUEST_MAGIC;
    r->core = core;
    list_init(&r->pieces);
    return r;
}

void request_fill(struct request *r, struct slice bytes, const struct frame *f)
{
    size_t least = bytes.len < REQUEST_BYTES ? REQUEST_BYTES : bytes.len;
    /* A WebSocket keeps them for long. */
    bool is_long =
        r->core->options.is_loop && (f->request.flags & REQUEST_WEBSOCKET) != 0;
    if (r->cap < bytes.len || (is_long && r->cap > bytes.len)) {
        mem_free(&r->bytes);
        r->cap = is_long ? bytes.len : least;
        r->bytes = mem_alloc(r->cap);
    }
    memcpy(r->bytes, bytes.ptr, bytes.len);
    r->stream = f->stream;
    r->frame = f->request;
    struct frame_request *q = &r->frame;
    struct slice *slices[] = {&q->method,      &q->target,      &q->scheme,
                              &q->client_addr, &q->server_addr, &q->headers.packed,
                              &q->body,        &q->id};
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++)
        rebase(slices[i], bytes, r->bytes);

    size_t id = q->id.len < REQUEST_ID_MAX ? q->id.len : REQUEST_ID_MAX;
    memcpy(r->id, q->id.ptr, id);
    r->id[id] = '\0';
    r->route = route_number(q->method, q->target);
    atomic_store_explicit(&r->gone, ERR_NONE, memory_order_relaxed);
    r->answer = ANSWER_NONE;
    r->filed = r->file_taken = false;
    r->worker = NULL;
    r->ws = (struct websocket){.accepted = false};
    r->news = r->wants = 0;
    atomic_store_explicit(&r->owner, NULL, memory_order_relaxed);
    body_init(r);
}

void request_forget_head(struct request *r)
{
    struct frame_request *q = &r->frame;

    q->method = q->target = q->scheme = q->client_addr = q->server_addr = SLICE("");
    q->body = q->id = SLICE("");
    q->root = 0;
    q->headers = (struct header_list){.packed = SLICE("")};
    mem_free(&r->bytes);
    r->cap = 0;
}

void request_recycle(struct request *r)
{
    struct core *core = r->core;

    if (r->peer != NULL)
        peer_close_stream(r->peer, r);
    body_drop(r);
    r->peer = NULL;
    r->worker = NULL;
    r->state = REQUEST_FREE;
    if (core->recycled_count >= REQUEST_KEEP_COUNT) {
        request_dispose(r);
        return;
    }
    if (r->cap > REQUEST_KEEP_BYTES) {
        mem_free(&r->bytes);
        r->cap = 0;
    }
    list_push_front(&core->recycled, &r->node);
    core->recycled_count++;
}

void request_dispose(struct request *r)
{
    r->magic = 0;
    mem_free(&r->bytes);
    mem_free(&r);
}

void request_started(struct request *r)
{
    struct core *core = r->core;

    if (core->page != NULL && r->peer->page_slot >= 0)
        page_mark(core->page, r->peer->page_slot, r->stream);
    r->state = REQUEST_RUNNING;
    core->running++;
    core->starts++;
    core->counters.requests++;
    if (core->watch.asleep)
        watch_wake(core);
}

void request_lost(struct request *r, enum err reason)
{
    int none = ERR_NONE;

    if (atomic_compare_exchange_strong(&r->gone, &none, (int)reason))
        request_rouse(r, NEWS_GONE);
}

void request_rouse(struct request *r, unsigned what)
{
    if (r->worker != NULL)
        worker_rouse(r->worker);
    else if (r->core->options.is_loop && r->state == REQUEST_RUNNING)
        loop_tell(r, what);
}

void request_packed(struct request *r, bool is_urgent)
{
    bool is_full = peer_packed(r->core, r->peer);

    if (is_full || (is_urgent && !r->core->options.is_loop))
        worker_flush(r->core);
}

void request_answered(struct request *r)
{
    ASSERT(r->answer != ANSWER_ENDED);
    r->answer = ANSWER_ENDED;
    atomic_fetch_sub_explicit(&r->peer->inside, 1, memory_order_relaxed);
}

void request_conclude(struct request *r)
{
    enum err gone = request_gone_reason(r);

    if (r->answer == ANSWER_ENDED)
        return;
    if (gone != ERR_NONE)
        request_abort(r, gone, SLICE(""));
    else if (r->ws.in_taken || r->ws.out_closed)
        pack_end(r, SLICE(""));
    else if (r->answer == ANSWER_STREAM)
        request_abort(r, ERR_RESPONSE_TRUNCATED, SLICE("the answer was not ended"));
    else
        request_abort(r, ERR_APP_FAILED, SLICE("no answer"));
}

/* ---- the view ---- */

const struct frame_request *request_frame(const struct request *r)
{
    return &r->frame;
}

void request_set_owner(struct request *r, void *owner)
{
    atomic_store_explicit(&r->owner, owner, memory_order_release);
}

void *request_owner(const struct request *r)
{
    return atomic_load_explicit(&r->owner, memory_order_acquire);
}

uint64_t request_deadline_us(const struct request *r)
{
    return r->deadline_us;
}

uint64_t request_queued_us(const struct request *r)
{
    return r->queued_us;
}

const char *request_id(const struct request *r)
{
    return r->id;
}

enum err request_gone(const struct request *r)
{
    enum err gone = request_gone_reason(r);

    if (gone == ERR_NONE && r->deadline_us != 0 && clock_now_us() >= r->deadline_us)
        return ERR_REQUEST_TIMEOUT;
    return gone;
}

/* ---- the answer ---- */

enum err request_respond(struct request *r,
                         uint16_t status,
                         struct slice reason,
                         struct slice headers,
                         struct slice body)
{
    enum err e = request_gone_reason(r);

    ASSERT(r->answer == ANSWER_NONE);
    if (e != ERR_NONE)
        return e;
    if (body.len <= r->peer->inline_bytes) {
        request_answered(r);
        frame_pack_response(peer_pack(r->core, r->peer), r->stream, status, reason,
                            headers, body);
        request_packed(r, false);
        return ERR_NONE;
    }
    ASSERT(!r->core->options.is_loop); /* request_inline_max */
    e = request_head(r, status, reason, headers, true, body.len);
    if (e == ERR_NONE)
        e = request_write(r, body);
    if (e == ERR_NONE)
        e = request_end(r);
    return e;
}

enum err request_head(struct request *r,
                      uint16_t status,
                      struct slice reason,
                      struct slice headers,
                      bool has_length,
                      uint64_t length)
{
    enum err e = still_wanted(r);

    ASSERT(r->answer == ANSWER_NONE);
    if (e != ERR_NONE)
        return e;
    r->answer = ANSWER_STREAM;
    r->deadline_us = 0; /* it was for the beginning of the answer */
    frame_pack_head(peer_pack(r->core, r->peer), r->stream, status, reason, headers,
                    has_length, length);
    request_packed(r, false);
    return ERR_NONE;
}

enum err request_inform(struct request *r, uint16_t status, struct slice headers)
{
    enum err e = still_wanted(r);

    ASSERT(r->answer == ANSWER_NONE);
    if (e != ERR_NONE)
        return e;
    if ((r->peer->features & FEATURE_INFORM) == 0)
        return ERR_NONE;
    frame_pack_inform(peer_pack(r->core, r->peer), r->stream, status, headers);
    request_packed(r, true);
    return ERR_NONE;
}

enum err request_write(struct request *r, struct slice data)
{
    ASSERT(r->answer == ANSWER_STREAM);
    enum err e = still_wanted(r);
    while (e == ERR_NONE && data.len > 0)
        e = write_some(r, &data);
    return e;
}

enum err request_end(struct request *r)
{
    return request_end_with(r, SLICE(""));
}

enum err request_end_with(struct request *r, struct slice trailers)
{
    enum err e = still_wanted(r);

    ASSERT(r->answer == ANSWER_STREAM);
    if (e != ERR_NONE)
        return e;
    pack_end(r, request_takes_trailers(r) ? trailers : SLICE(""));
    return ERR_NONE;
}

static void pack_end(struct request *r, struct slice trailers)
{
    ws_leave(r);
    request_answered(r);
    frame_pack_end(peer_pack(r->core, r->peer), r->stream, trailers);
    request_packed(r, false);
}

void request_abort(struct request *r, enum err reason, struct slice text)
{
    enum err gone = request_gone(r);

    if (r->answer == ANSWER_ENDED)
        return;
    ws_leave(r);
    request_answered(r);
    if (gone == ERR_LINK_DOWN)
        return;
    /* Whatever became of the application when it was told. */
    if (gone != ERR_NONE)
        reason = gone;
    frame_pack_abort(peer_pack(r->core, r->peer), r->stream, reason, text);
    request_packed(r, false);
}

uint32_t request_inline_max(const struct request *r)
{
    return (uint32_t)r->peer->inline_bytes;
}

bool request_takes_trailers(const struct request *r)
{
    return (r->peer->features & FEATURE_TRAILERS) != 0 &&
           (r->frame.flags & REQUEST_TRAILERS) != 0;
}

bool request_takes_inform(const struct request *r)
{
    return (r->peer->features & FEATURE_INFORM) != 0;
}

static bool is_filed(const struct request *r)
{
    return r->filed;
}

enum step
request_file(struct request *r, const struct frame_file *file, enum err *ret_err)
{
    ASSERT(r->answer == ANSWER_STREAM);
    *ret_err = still_wanted(r);
    if (*ret_err != ERR_NONE)
        return STEP_BAD;
    if ((r->peer->features & FEATURE_FILE) == 0)
        return STEP_MORE;
    core_lock(r->core);
    r->filed = r->file_taken = false;
    core_unlock(r->core);
    frame_pack_file(peer_pack(r->core, r->peer), r->stream, file);
    request_packed(r, true);

    core_lock(r->core);
    worker_wait(r, is_filed);
    bool filed = r->filed, taken = r->file_taken;
    core_unlock(r->core);
    if (!filed) {
        *ret_err = request_gone_reason(r);
        return STEP_BAD;
    }
    if (!taken)
        return STEP_MORE;
    request_answered(r);
    return STEP_DONE;
}

enum err
request_put_file(struct request *r, const struct frame_file *file, bool *ret_asked)
{
    enum err e = still_wanted(r);

    ASSERT(r->answer == ANSWER_STREAM);
    *ret_asked = e == ERR_NONE && (r->peer->features & FEATURE_FILE) != 0;
    if (!*ret_asked)
        return e;
    core_lock(r->core);
    r->filed = r->file_taken = false;
    r->wants |= NEWS_FILED;
    core_unlock(r->core);
    frame_pack_file(peer_pack(r->core, r->peer), r->stream, file);
    request_packed(r, false);
    return ERR_NONE;
}

bool request_file_taken(const struct request *r)
{
    return r->answer == ANSWER_ENDED;
}

enum err request_put(struct request *r, struct slice *data)
{
    enum err e = still_wanted(r);

    ASSERT(r->answer == ANSWER_STREAM && !r->ws.accepted);
    while (e == ERR_NONE && data->len > 0) {
        core_lock(r->core);
        size_t n = data->len < FRAME_MAX_BULK ? data->len : FRAME_MAX_BULK;
        n = request_claim_room(r, n, 0);
        core_unlock(r->core);
        if (n == 0)
            break;
        e = send_piece(r, slice_of(data->ptr, n));
        if (e == ERR_LINK_FULL) {
            unclaim_room(r, n);
            return ERR_NONE;
        }
        data->ptr += n;
        data->len -= n;
    }
    return e;
}

size_t request_claim_room(struct request *r, size_t length, size_t extra)
{
    bool is_stalled = outlet_is_stalled(&r->peer->outlet);
    uint64_t least = length > 0 ? extra + 1 : extra;

    if (is_stalled)
        r->core->loop.some_stalled = true;
    if (is_stalled || r->window.left < least) {
        r->wants |= NEWS_ROOM;
        return 0;
    }
    if (length > r->window.left - extra)
        length = (size_t)(r->window.left - extra);
    window_sent(&r->window, length + extra);
    return length + extra;
}

/* The link did not take it after all. */
static void unclaim_room(struct request *r, size_t bytes)
{
    core_lock(r->core);
    r->window.left += bytes;
    r->wants |= NEWS_ROOM;
    r->core->loop.some_stalled = true;
    core_unlock(r->core);
}

static void rebase(struct slice *s, struct slice from, const char *to)
{
    if (s->ptr >= from.ptr && s->ptr <= from.ptr + from.len)
        s->ptr = to + (s->ptr - from.ptr);
}

static enum err still_wanted(const struct request *r)
{
    return request_gone(r);
}

static bool has_window(const struct request *r)
{
    return r->window.left > 0;
}

/* As much of `data` as the window and one frame take; waits for the window. */
static enum err write_some(struct request *r, struct slice *data)
{
    struct core *core = r->core;

    core_lock(core);
    worker_wait(r, has_window);
    enum err e = request_gone_reason(r);
    size_t n = data->len < FRAME_MAX_BULK ? data->len : FRAME_MAX_BULK;
    if (n > r->window.left)
        n = (size_t)r->window.left;
    if (e == ERR_NONE)
        window_sent(&r->window, n);
    core_unlock(core);
    if (e == ERR_NONE && outlet_is_stalled(&r->peer->outlet))
        e = wait_for_link(r);
    if (e != ERR_NONE)
        return e;

    struct slice piece = slice_of(data->ptr, n);
    while ((e = send_piece(r, piece)) == ERR_LINK_FULL)
        if ((e = wait_for_link(r)) != ERR_NONE)
            break;
    data->ptr += n;
    data->len -= n;
    return e;
}

/* ERR_LINK_FULL: it was not sent. */
static enum err send_piece(struct request *r, struct slice piece)
{
    if (piece.len >= BULK_MIN)
        return worker_send_bulk(r->core, r->peer, r->stream, piece);
    frame_pack_body(peer_pack(r->core, r->peer), r->stream, piece);
    request_packed(r, true);
    return ERR_NONE;
}

/* The peer's queue is full, which only a peer that stopped reading brings about. */
static enum err wait_for_link(struct request *r)
{
    do {
        enum err e = still_wanted(r);
        if (e != ERR_NONE)
            return e;
        struct timespec moment = {.tv_nsec = STALL_WAIT_US * 1000};
        (void)nanosleep(&moment, NULL);
        worker_flush(r->core);
    } while (outlet_is_stalled(&r->peer->outlet));
    return ERR_NONE;
}
