/* SPDX-License-Identifier: MIT
 * The body of a request on its way to the handler: pieces queue up within the window
 * and are lent to the reader one by one. */
#include "appserver/core/core_priv.h"

enum {
    PIECE_BYTES = 8 * 1024,       /* small pieces are gathered in blocks of this */
    PIECE_HOLD_BYTES = 16 * 1024, /* from here on the message itself is kept */
};

#define PIECE_OF(n) NODE_OF(n, struct piece, node)

static bool receive(struct request *r, size_t bytes);
static void add_copy(struct request *r, struct slice data);
static void add_held(struct request *r, struct link_message *message);
static void free_piece(struct piece **p_p);
static enum step read_inline(struct request *r, size_t max, struct slice *ret_data);
static void ask_for_body(struct request *r);
static bool has_body(const struct request *r);

void body_init(struct request *r)
{
    const struct frame_request *f = &r->frame;
    bool streamed = f->body_form == BODY_LENGTH || f->body_form == BODY_UNKNOWN;

    list_init(&r->pieces);
    r->lent = NULL;
    r->readable = f->body_form == BODY_INLINE ? f->body.len : 0;
    r->body_ended = !streamed;
    r->body_left = f->body_form == BODY_LENGTH ? f->body_length : UINT64_MAX;
    r->body_asked = !streamed || (f->flags & REQUEST_EXPECT) == 0;
    window_receiver_init(&r->received, FRAME_DEFAULT_WINDOW);
    if (!r->body_asked)
        r->received.left = 0;
}

bool body_add(struct request *r, struct slice data, struct link_message *message)
{
    if (!receive(r, data.len))
        return false;
    if (r->state == REQUEST_FREE || data.len == 0)
        return true;
    if (message != NULL && data.len >= PIECE_HOLD_BYTES)
        add_held(r, message);
    else
        add_copy(r, data);
    r->readable += data.len;
    return true;
}

bool body_end(struct request *r)
{
    if (r->body_ended)
        return false;
    if (r->frame.body_form == BODY_LENGTH && r->body_left != 0)
        return false;
    r->body_ended = true;
    return true;
}

void body_drop(struct request *r)
{
    struct node *n;

    while ((n = list_pop_front(&r->pieces)) != NULL) {
        struct piece *p = PIECE_OF(n);
        free_piece(&p);
    }
    free_piece(&r->lent);
    r->readable = 0;
}

bool body_is_coming(const struct request *r)
{
    bool streamed =
        r->frame.body_form == BODY_LENGTH || r->frame.body_form == BODY_UNKNOWN;

    return streamed && r->body_asked;
}

size_t request_readable(const struct request *r)
{
    return atomic_load_explicit(&r->readable, memory_order_relaxed);
}

enum step
request_read(struct request *r, size_t max, struct slice *ret_data, enum err *ret_err)
{
    struct core *core = r->core;
    enum step step = STEP_BAD;
    uint64_t due = 0;

    ASSERT(r->state == REQUEST_RUNNING && max > 0);
    if (r->frame.body_form == BODY_NONE || r->frame.body_form == BODY_INLINE)
        return read_inline(r, max, ret_data);
    if (!r->body_asked)
        ask_for_body(r);

    core_lock(core);
    body_unlend(r);
    worker_wait(r, has_body);
    *ret_err = request_gone_reason(r);
    if (*ret_err == ERR_NONE && r->readable > 0) {
        *ret_data = body_lend(r, max);
        step = STEP_DONE;
        if (!r->body_ended)
            due = window_consumed(&r->received, ret_data->len);
    } else if (*ret_err == ERR_NONE) {
        step = STEP_MORE;
    }
    core_unlock(core);
    if (due > 0)
        body_grant(r, due);
    return step;
}

enum take
request_take(struct request *r, size_t max, struct slice *ret_data, enum err *ret_err)
{
    enum take took = TAKE_WAIT;
    uint64_t due = 0;

    ASSERT(r->state == REQUEST_RUNNING && max > 0);
    *ret_err = ERR_NONE;
    if (r->frame.body_form == BODY_NONE || r->frame.body_form == BODY_INLINE)
        return read_inline(r, max, ret_data) == STEP_DONE ? TAKE_DATA : TAKE_END;
    if (!r->body_asked)
        ask_for_body(r);

    core_lock(r->core);
    body_unlend(r);
    *ret_err = request_gone_reason(r);
    if (*ret_err != ERR_NONE) {
        took = TAKE_GONE;
    } else if (r->readable > 0) {
        *ret_data = body_lend(r, max);
        took = TAKE_DATA;
        if (!r->body_ended)
            due = window_consumed(&r->received, ret_data->len);
    } else if (r->body_ended) {
        took = TAKE_END;
    } else {
        r->wants |= NEWS_BODY;
    }
    core_unlock(r->core);
    if (due > 0)
        body_grant(r, due);
    return took;
}

static bool has_body(const struct request *r)
{
    return r->readable > 0 || r->body_ended;
}

static bool receive(struct request *r, size_t bytes)
{
    if (r->body_ended || !window_received(&r->received, bytes))
        return false;
    if (r->frame.body_form == BODY_LENGTH) {
        if (bytes > r->body_left)
            return false;
        r->body_left -= bytes;
    }
    return true;
}

static void add_copy(struct request *r, struct slice data)
{
    memcpy(body_append(r, data.len), data.ptr, data.len);
}

char *body_append(struct request *r, size_t bytes)
{
    struct piece *last =
        list_is_empty(&r->pieces) ? NULL : PIECE_OF(r->pieces.head.prev);

    if (last == NULL || last->room < bytes) {
        size_t size = bytes > PIECE_BYTES ? bytes : PIECE_BYTES;
        last = mem_alloc(sizeof(*last) + size);
        *last = (struct piece){.data = {last->bytes, 0}, .room = size};
        list_push_back(&r->pieces, &last->node);
    }
    char *at = last->bytes + (last->data.ptr - last->bytes) + last->data.len;
    last->data.len += bytes;
    last->room -= bytes;
    return at;
}

static void add_held(struct request *r, struct link_message *message)
{
    struct piece *p = mem_alloc(sizeof(*p));

    *p = (struct piece){.held = true};
    link_message_move(&p->message, message);
    p->data = p->message.bulk;
    list_push_back(&r->pieces, &p->node);
}

static void free_piece(struct piece **p_p)
{
    struct piece *p = *p_p;

    if (p == NULL)
        return;
    if (p->held)
        link_message_done(&p->message);
    mem_free(p_p);
}

/* The whole body lies in the request's frame; `readable` counts down. */
static enum step read_inline(struct request *r, size_t max, struct slice *ret_data)
{
    size_t left = r->readable, n = left < max ? left : max;

    if (n == 0)
        return STEP_MORE;
    *ret_data = slice_of(r->frame.body.ptr + (r->frame.body.len - left), n);
    r->readable = left - n;
    return STEP_DONE;
}

/* A piece read to its end stays alive as `lent`. */
struct slice body_lend(struct request *r, size_t max)
{
    struct piece *p = PIECE_OF(list_first(&r->pieces));
    struct slice s = slice_of(p->data.ptr, p->data.len < max ? p->data.len : max);

    p->data.ptr += s.len;
    p->data.len -= s.len;
    r->readable -= s.len;
    if (p->data.len == 0) {
        node_leave(&p->node);
        r->lent = p;
    }
    return s;
}

void body_unlend(struct request *r)
{
    free_piece(&r->lent);
}

/* REQUEST_EXPECT: the first WINDOW is the edge's word to say 100 Continue. */
static void ask_for_body(struct request *r)
{
    core_lock(r->core);
    r->body_asked = true;
    r->received.left = r->received.size;
    core_unlock(r->core);
    body_grant(r, FRAME_DEFAULT_WINDOW);
}

void body_grant(struct request *r, uint64_t bytes)
{
    frame_pack_window(peer_pack(r->core, r->peer), r->stream, bytes);
    request_packed(r, true);
}
