/* SPDX-License-Identifier: MIT
 * One request being served: its memory, and its answer. */
#include "appserver/core/request.h"

#include "appserver/core/core_priv.h"

enum {
    BULK_MIN = 8 * 1024,  /* from here on a piece travels as a raw second part */
    STALL_WAIT_US = 1000, /* until a full link is tried again */
};

#define REQUEST_OF(n) NODE_OF(n, struct request, node)

static void rebase(struct slice *s, struct slice from, const char *to);
static enum err still_wanted(const struct request *r);
static enum err write_some(struct request *r, struct slice *data);
static enum err wait_for_link(struct request *r);

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
    if (r->cap < bytes.len) {
        mem_free(&r->bytes);
        r->cap = bytes.len < 2048 ? 2048 : bytes.len;
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
    body_init(r);
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

void request_lost(struct request *r, enum err reason)
{
    int none = ERR_NONE;

    if (!atomic_compare_exchange_strong(&r->gone, &none, (int)reason))
        return;
    if (r->worker != NULL)
        worker_rouse(r->worker);
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
        if (peer_packed(r->core, r->peer))
            worker_flush(r->core);
        return ERR_NONE;
    }
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
    if (peer_packed(r->core, r->peer))
        worker_flush(r->core);
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
    (void)peer_packed(r->core, r->peer);
    worker_flush(r->core);
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
    enum err e = still_wanted(r);

    ASSERT(r->answer == ANSWER_STREAM);
    if (e != ERR_NONE)
        return e;
    request_answered(r);
    frame_pack_end(peer_pack(r->core, r->peer), r->stream, SLICE(""));
    if (peer_packed(r->core, r->peer))
        worker_flush(r->core);
    return ERR_NONE;
}

void request_abort(struct request *r, enum err reason, struct slice text)
{
    if (r->answer == ANSWER_ENDED)
        return;
    request_answered(r);
    if (request_gone_reason(r) == ERR_LINK_DOWN)
        return;
    frame_pack_abort(peer_pack(r->core, r->peer), r->stream, reason, text);
    if (peer_packed(r->core, r->peer))
        worker_flush(r->core);
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
    (void)peer_packed(r->core, r->peer);
    worker_flush(r->core);

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
    if (n < BULK_MIN) {
        frame_pack_body(peer_pack(core, r->peer), r->stream, piece);
        (void)peer_packed(core, r->peer);
        worker_flush(core);
    } else {
        while ((e = worker_send_bulk(core, r->peer, r->stream, piece)) == ERR_LINK_FULL)
            if ((e = wait_for_link(r)) != ERR_NONE)
                break;
    }
    data->ptr += n;
    data->len -= n;
    return e;
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
