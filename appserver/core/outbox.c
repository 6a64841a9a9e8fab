/* SPDX-License-Identifier: MIT
 * Gathering of frames per peer. */
#include "appserver/core/outbox.h"

#include "protocol/base/mem.h"
#include "protocol/frame.h"

enum {
    SPARE_MAX = 64,          /* batches kept for reuse */
    SPARE_BYTES = 64 * 1024, /* a larger buffer is not kept */
};

#define BATCH_OF(n) NODE_OF(n, struct batch, node)
#define OUTLET_OF(n) NODE_OF(n, struct outlet, node)

static struct batch *add_batch(struct outbox *o, struct list *batches);
static void mark_dirty(struct outbox *o, struct outlet *p);
static void update_flags(struct outbox *o);
static void set_refused(struct outlet *p, bool refused);
static bool batch_is_full(const struct batch *b);

void outbox_init(struct outbox *o)
{
    *o = (struct outbox){.rounds = 0};
    ASSERT(pthread_mutex_init(&o->lock, NULL) == 0);
    list_init(&o->dirty);
    list_init(&o->stuck);
    list_init(&o->spare);
}

void outbox_fini(struct outbox *o)
{
    ASSERT(list_is_empty(&o->dirty) && list_is_empty(&o->stuck));
    LIST_FOREACH(&o->spare, n) {
        struct batch *b = BATCH_OF(n);
        node_leave(&b->node);
        buf_fini(&b->frames);
        mem_free(&b);
    }
    (void)pthread_mutex_destroy(&o->lock);
}

void outlet_init(struct outlet *p)
{
    *p = (struct outlet){.refused = false};
    list_init(&p->batches);
}

struct buf *outbox_begin(struct outbox *o, struct outlet *p)
{
    (void)pthread_mutex_lock(&o->lock);
    struct batch *b =
        list_is_empty(&p->batches) ? NULL : BATCH_OF(p->batches.head.prev);
    if (b == NULL || batch_is_full(b))
        b = add_batch(o, &p->batches);
    return &b->frames;
}

bool outbox_end(struct outbox *o, struct outlet *p)
{
    struct batch *b = BATCH_OF(p->batches.head.prev);
    bool full;

    b->count++;
    full = batch_is_full(b);
    mark_dirty(o, p);
    (void)pthread_mutex_unlock(&o->lock);
    return full;
}

uint64_t outbox_rounds(struct outbox *o)
{
    (void)pthread_mutex_lock(&o->lock);
    uint64_t rounds = o->rounds;
    (void)pthread_mutex_unlock(&o->lock);
    return rounds;
}

bool outlet_is_refused(struct outbox *o, const struct outlet *p)
{
    (void)pthread_mutex_lock(&o->lock);
    bool refused = p->refused;
    (void)pthread_mutex_unlock(&o->lock);
    return refused;
}

void outbox_take(struct outbox *o, struct list *turn)
{
    struct node *n;

    (void)pthread_mutex_lock(&o->lock);
    while ((n = list_pop_front(&o->dirty)) != NULL)
        list_push_back(turn, n);
    while ((n = list_pop_front(&o->stuck)) != NULL)
        list_push_back(turn, n);
    update_flags(o);
    (void)pthread_mutex_unlock(&o->lock);
}

struct outlet *
outbox_next(struct outbox *o, struct list *turn, struct list *ret_batches)
{
    struct outlet *p = NULL;

    (void)pthread_mutex_lock(&o->lock);
    struct node *n = list_pop_front(turn);
    if (n != NULL) {
        p = OUTLET_OF(n);
        while ((n = list_pop_front(&p->batches)) != NULL)
            list_push_back(ret_batches, n);
        set_refused(p, false);
    }
    (void)pthread_mutex_unlock(&o->lock);
    return p;
}

void outbox_take_one(struct outbox *o, struct outlet *p, struct list *ret_batches)
{
    struct node *n;

    (void)pthread_mutex_lock(&o->lock);
    node_leave(&p->node);
    while ((n = list_pop_front(&p->batches)) != NULL)
        list_push_back(ret_batches, n);
    set_refused(p, false);
    update_flags(o);
    (void)pthread_mutex_unlock(&o->lock);
}

struct batch *outbox_last(struct outbox *o, struct list *batches)
{
    if (!list_is_empty(batches) && !batch_is_full(BATCH_OF(batches->head.prev)))
        return BATCH_OF(batches->head.prev);
    (void)pthread_mutex_lock(&o->lock);
    struct batch *b = add_batch(o, batches);
    (void)pthread_mutex_unlock(&o->lock);
    return b;
}

void outbox_refused(struct outbox *o, struct outlet *p, struct list *batches)
{
    (void)pthread_mutex_lock(&o->lock);
    while (!list_is_empty(batches)) {
        struct node *last = batches->head.prev;
        node_leave(last);
        list_push_front(&p->batches, last);
    }
    set_refused(p, true);
    node_leave(&p->node);
    list_push_back(&o->stuck, &p->node);
    update_flags(o);
    (void)pthread_mutex_unlock(&o->lock);
}

void outbox_recycle(struct outbox *o, struct batch *b)
{
    (void)pthread_mutex_lock(&o->lock);
    bool keep = o->spare_count < SPARE_MAX && b->frames.cap <= SPARE_BYTES;
    if (keep) {
        buf_clear(&b->frames);
        list_push_front(&o->spare, &b->node);
        o->spare_count++;
    }
    (void)pthread_mutex_unlock(&o->lock);
    if (!keep) {
        buf_fini(&b->frames);
        mem_free(&b);
    }
}

void outbox_drop(struct outbox *o, struct outlet *p)
{
    struct list batches;
    struct node *n;

    list_init(&batches);
    outbox_take_one(o, p, &batches);
    while ((n = list_pop_front(&batches)) != NULL)
        outbox_recycle(o, BATCH_OF(n));
}

static bool batch_is_full(const struct batch *b)
{
    return b->count >= FRAME_MAX_BATCH || buf_len(&b->frames) >= FRAME_BATCH_BYTES;
}

static struct batch *add_batch(struct outbox *o, struct list *batches)
{
    struct node *n = list_pop_front(&o->spare);
    struct batch *b;

    if (n != NULL) {
        b = BATCH_OF(n);
        o->spare_count--;
    } else {
        b = mem_alloc(sizeof(*b));
        *b = (struct batch){.count = 0};
        buf_init(&b->frames, 0);
    }
    b->count = 0;
    list_push_back(batches, &b->node);
    return b;
}

static void mark_dirty(struct outbox *o, struct outlet *p)
{
    if (p->refused)
        set_refused(p, true);
    if (node_is_linked(&p->node))
        return;
    if (list_is_empty(&o->dirty))
        o->rounds++;
    list_push_back(&o->dirty, &p->node);
    update_flags(o);
}

static void update_flags(struct outbox *o)
{
    atomic_store_explicit(&o->pending, !list_is_empty(&o->dirty), memory_order_relaxed);
    atomic_store_explicit(&o->is_stuck, !list_is_empty(&o->stuck),
                          memory_order_relaxed);
}

/* Bytes are summed up only while they may grow into a problem. */
static void set_refused(struct outlet *p, bool refused)
{
    size_t bytes = 0;

    p->refused = refused;
    if (refused)
        LIST_FOREACH(&p->batches, n)
            bytes += buf_len(&BATCH_OF(n)->frames);
    atomic_store_explicit(&p->bytes, bytes, memory_order_relaxed);
}
