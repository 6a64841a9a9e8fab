/* SPDX-License-Identifier: MIT
 * Frames become requests and what happens to them. Refuses what the state of a peer or
 * a stream does not allow: the peer is told BYE and no longer heard. */
#include "appserver/core/core_priv.h"

/* One message being taken in. REQUESTs are copied without the core lock and admitted
 * together, before the first frame of another kind and at the end. */
struct intake {
    struct core *core;
    struct peer *peer;
    struct link_message *message;
    struct list fresh; /* request.node */
    uint64_t now_us;
    bool bulk_used;
};

#define REQUEST_OF(n) NODE_OF(n, struct request, node)

static struct peer *find_sender(struct core *core, const struct link_message *message);
static void take_request(struct intake *in, struct slice bytes, const struct frame *f);
static void admit_fresh(struct intake *in);
static void admit(struct intake *in, struct request *r);
static void push(struct core *core, struct request *r);
static enum err take_frame(struct intake *in, const struct frame *f, bool is_last);
static enum err take_link_frame(struct intake *in, const struct frame *f);
static enum err
take_stream_frame(struct intake *in, const struct frame *f, bool is_last);
static void cancel(struct request *r, enum err reason);

void inbox_message(struct core *core, struct link_message *message, uint64_t now_us)
{
    struct intake in = {.core = core, .message = message, .now_us = now_us};
    struct slice rest = message->frames;
    enum err e = ERR_NONE;
    struct frame f;

    list_init(&in.fresh);
    in.peer = find_sender(core, message);
    while (e == ERR_NONE) {
        struct slice before = rest;
        enum step step = frame_unpack(&rest, &f, &e);
        if (step == STEP_MORE)
            break;
        if (step == STEP_DONE && (frame_kind_sender(f.kind) & FRAME_FROM_PROXY) == 0)
            e = ERR_BAD_FRAME;
        if (step != STEP_DONE || e != ERR_NONE)
            break;
        if (f.kind == FRAME_REQUEST && in.peer->state == PEER_READY) {
            take_request(&in, slice_of(before.ptr, before.len - rest.len), &f);
        } else {
            admit_fresh(&in);
            core_lock(core);
            e = take_frame(&in, &f, rest.len == 0);
            core_unlock(core);
        }
    }
    admit_fresh(&in);
    if (e == ERR_NONE && message->bulk.len > 0 && !in.bulk_used)
        e = ERR_BAD_FRAME;
    if (e != ERR_NONE) {
        core_lock(core);
        peer_fail(core, in.peer, e);
        core_unlock(core);
    }
}

void inbox_bad_message(struct core *core, const struct link_message *message)
{
    struct peer *p = find_sender(core, message);

    core_lock(core);
    peer_fail(core, p, ERR_BAD_FRAME);
    core_unlock(core);
}

struct request *inbox_pop(struct core *core, uint64_t now_us)
{
    struct node *n;

    while ((n = list_first(&core->inbox)) != NULL) {
        struct request *r = REQUEST_OF(n);
        bool late = r->deadline_us != 0 && now_us >= r->deadline_us;
        if (!late && !worker_may_start(core))
            return NULL;
        node_leave(n);
        core->waiting--;
        if (!late)
            return r;
        inbox_return(r, ERR_REQUEST_TIMEOUT);
    }
    return NULL;
}

void inbox_return(struct request *r, enum err reason)
{
    struct core *core = r->core;

    core->counters.returned++;
    request_answered(r);
    frame_pack_return(peer_pack(core, r->peer), r->stream, reason);
    (void)peer_packed(core, r->peer);
    request_recycle(r);
}

void inbox_give_back(struct core *core, enum give_back which, enum err reason)
{
    LIST_FOREACH(&core->inbox, n) {
        struct request *r = REQUEST_OF(n);
        bool was_elsewhere = (r->frame.flags & REQUEST_RETRY) != 0;
        if (body_is_coming(r) || (was_elsewhere && which == GIVE_BACK_FIRST))
            continue;
        node_leave(n);
        core->waiting--;
        inbox_return(r, reason);
    }
}

static struct peer *find_sender(struct core *core, const struct link_message *message)
{
    core_lock(core);
    struct peer *p = peer_find(core, message->peer);
    if (p == NULL) {
        p = peer_add(core, message->peer);
        /* inproc:// has no events: as soon as it is gone it is forgotten. */
        p->silent = message->source_fd < 0;
    }
    core_unlock(core);
    return p;
}

static void take_request(struct intake *in, struct slice bytes, const struct frame *f)
{
    struct request *r = request_new(in->core);

    request_fill(r, bytes, f);
    list_push_back(&in->fresh, &r->node);
}

static void admit_fresh(struct intake *in)
{
    struct node *n;

    if (list_is_empty(&in->fresh))
        return;
    core_lock(in->core);
    while ((n = list_pop_front(&in->fresh)) != NULL)
        admit(in, REQUEST_OF(n));
    core_unlock(in->core);
}

static void admit(struct intake *in, struct request *r)
{
    struct core *core = in->core;
    struct peer *p = in->peer;

    if (p->state != PEER_READY) {
        core->counters.dropped_frames++;
        request_recycle(r);
        return;
    }
    if (p->last_stream != 0 && !stream_after(r->stream, p->last_stream)) {
        request_recycle(r);
        peer_fail(core, p, ERR_BAD_FRAME);
        return;
    }
    p->last_stream = r->stream;
    peer_open_stream(p, r);
    r->deadline_us = peer_to_local_us(p, r->frame.deadline_us);
    r->queued_us = peer_to_local_us(p, r->frame.queued_us);
    window_sender_init(&r->window, p->window_bytes);
    uint32_t inside =
        atomic_fetch_add_explicit(&p->inside, 1, memory_order_relaxed) + 1;
    bool was_hit = p->credit.hit;
    bool admitted = credit_admits(&p->credit, inside);
    /* It crossed the DRAIN. Workers may be gone; a loop is not before it is drained. */
    bool may_run = core->options.is_loop && !core->said_bye;
    if (core->state != CORE_SERVING && !(may_run && body_is_coming(r))) {
        inbox_return(r, ERR_SHUTTING_DOWN);
        return;
    }
    if (!admitted) {
        inbox_return(r, ERR_QUEUE_FULL);
        return;
    }
    r->state = REQUEST_WAITING;
    push(core, r);
    core->waiting++;
    if (p->credit.hit && !was_hit && core->peers.ready > 1)
        peers_grant(core, in->now_us);
}

/* First in, first out; but what comes back takes its place by its age, lest the link
 * that is slowest to send again be overtaken for ever. A link's own order is kept. */
static void push(struct core *core, struct request *r)
{
    struct node *after = core->inbox.head.prev;

    if ((r->frame.flags & REQUEST_RETRY) != 0)
        while (after != &core->inbox.head) {
            const struct request *before = REQUEST_OF(after);
            if (before->peer == r->peer || before->queued_us <= r->queued_us)
                break;
            after = after->prev;
        }
    list_insert_after(after, &r->node);
}

static enum err take_frame(struct intake *in, const struct frame *f, bool is_last)
{
    struct peer *p = in->peer;

    bool is_new = p->state == PEER_NEW || f->epoch != p->epoch;
    if (f->kind == FRAME_HELLO && is_new && p->state <= PEER_READY) {
        peer_hello(in->core, p, f->epoch, &f->hello, in->now_us);
        return ERR_NONE;
    }
    /* Before HELLO: left over from a connection that is gone. */
    if (p->state != PEER_READY) {
        in->bulk_used = true;
        in->core->counters.dropped_frames++;
        return ERR_NONE;
    }
    if (!frame_kind_is_link(f->kind))
        return take_stream_frame(in, f, is_last);
    if (f->epoch != p->epoch) {
        in->core->counters.dropped_frames++;
        return ERR_NONE;
    }
    return take_link_frame(in, f);
}

static enum err take_link_frame(struct intake *in, const struct frame *f)
{
    struct core *core = in->core;

    switch (f->kind) {
    case FRAME_PING:
        peer_heard_clock(in->peer, f->load.clock_us, in->now_us);
        peer_load(core, in->peer, f->load.sequence, in->now_us);
        return ERR_NONE;
    case FRAME_LIMIT:
        limit_set(core, in->peer, f->running, in->now_us);
        return ERR_NONE;
    case FRAME_DRAIN:
        return ERR_NONE; /* what it has here is finished as ever */
    case FRAME_BYE:
        peer_left(core, in->peer);
        return ERR_NONE;
    default:
        return ERR_BAD_FRAME;
    }
}

/* A frame for a stream that is not open any more crossed its end: dropped, counted. */
static enum err
take_stream_frame(struct intake *in, const struct frame *f, bool is_last)
{
    struct request *r = peer_stream(in->peer, f->stream);
    unsigned what = NEWS_BODY;
    bool ok = true;

    if (f->kind == FRAME_BODY && f->body.bulk) {
        if (!is_last || in->message->bulk.len == 0)
            return ERR_BAD_FRAME;
        in->bulk_used = true;
    }
    if (r == NULL) {
        in->core->counters.dropped_frames++;
        return ERR_NONE;
    }
    switch (f->kind) {
    case FRAME_BODY:
        ok = f->body.bulk ? body_add(r, in->message->bulk, in->message)
                          : body_add(r, f->body.data, NULL);
        break;
    case FRAME_END:
        ok = body_end(r);
        break;
    case FRAME_WINDOW:
        ok = window_granted(&r->window, f->bytes);
        what = NEWS_ROOM;
        break;
    case FRAME_FILED:
        r->filed = true;
        r->file_taken = f->taken;
        what = NEWS_FILED;
        break;
    case FRAME_WS:
        ok = ws_add(r, &f->ws);
        if (f->ws.op == WS_CLOSE)
            what = NEWS_BODY | NEWS_ROOM; /* who waits to send waits in vain */
        break;
    case FRAME_CANCEL:
        in->core->counters.cancelled++;
        cancel(r, f->stop.reason);
        return ERR_NONE;
    default:
        ok = false;
    }
    if (ok)
        request_rouse(r, what);
    return ok ? ERR_NONE : ERR_BAD_FRAME;
}

static void cancel(struct request *r, enum err reason)
{
    if (reason == ERR_NONE)
        reason = ERR_CLIENT_GONE;
    if (r->state == REQUEST_WAITING) {
        node_leave(&r->node);
        r->core->waiting--;
        inbox_return(r, reason);
    } else {
        request_lost(r, reason);
    }
}
