/* SPDX-License-Identifier: MIT
 * Frames on their way out, gathered per peer into batches: one batch becomes one
 * message. Any thread packs into it; whoever holds the link takes batches out
 * (reader.c).
 *
 *   outlet.batches   full -> full -> open      packing goes to the last,
 *                    ^ sent first              a full one is never added to
 *
 * An outlet with batches is on `dirty`, or on `stuck` when the link refused its first
 * batch (the peer does not read). The mutex is a leaf: nothing is locked under it. */
#ifndef CORE_OUTBOX_H
#define CORE_OUTBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/queue.h"

enum {
    OUTLET_STALL_BYTES = 1024 * 1024,    /* waiting: streams to this peer wait */
    OUTLET_MAX_BYTES = 64 * 1024 * 1024, /* waiting: the peer is given up */
};

struct batch {
    struct node node;
    struct buf frames;
    uint32_t count;
};

struct outbox {
    pthread_mutex_t lock;
    struct list dirty, stuck;
    struct list spare; /* batches with their memory, for reuse */
    uint32_t spare_count;
    uint64_t rounds;       /* how often `dirty` went from empty to not empty */
    _Atomic bool pending;  /* dirty is not empty */
    _Atomic bool is_stuck; /* stuck is not empty */
};

/* A peer's part; embedded in struct peer. */
struct outlet {
    struct node node; /* on dirty, stuck, or a flush's own list */
    struct list batches;
    bool refused; /* goes to stuck until a flush takes it */
    _Atomic size_t bytes;
};

void outbox_init(struct outbox *o);
void outbox_fini(struct outbox *o); /* every outlet was dropped before */
void outlet_init(struct outlet *p);

/* Between the two exactly one frame is packed into the returned buf. outbox_end returns
 * true when the batch is full and ought to be flushed now. */
MUST_CHECK struct buf *outbox_begin(struct outbox *o, struct outlet *p);
bool outbox_end(struct outbox *o, struct outlet *p);

static inline bool outbox_is_pending(const struct outbox *o)
{
    return atomic_load_explicit(&o->pending, memory_order_relaxed);
}

/* Some peer's queue is full: flush again in a moment. */
static inline bool outbox_is_stuck(const struct outbox *o)
{
    return atomic_load_explicit(&o->is_stuck, memory_order_relaxed);
}

/* Frames pending under the same number were pending then. */
uint64_t outbox_rounds(struct outbox *o);

/* A stream to this peer should wait before it produces more. */
static inline bool outlet_is_stalled(const struct outlet *p)
{
    return atomic_load_explicit(&p->bytes, memory_order_relaxed) > OUTLET_STALL_BYTES;
}

/* The link refused its batches, and they were not tried again yet. */
bool outlet_is_refused(struct outbox *o, const struct outlet *p);

/* It waits too long for a peer that does not read. */
static inline bool outlet_is_overdue(const struct outlet *p)
{
    return atomic_load_explicit(&p->bytes, memory_order_relaxed) > OUTLET_MAX_BYTES;
}

/* For whoever holds the link: all outlets with something to send move to `turn`, then
 * one by one leave it with their batches; NULL: the turn is over. */
void outbox_take(struct outbox *o, struct list *turn);
MUST_CHECK struct outlet *
outbox_next(struct outbox *o, struct list *turn, struct list *ret_batches);
/* One outlet out of turn. */
void outbox_take_one(struct outbox *o, struct outlet *p, struct list *ret_batches);
/* The last of a taken list when there is room in it, else a new one behind it. */
struct batch *outbox_last(struct outbox *o, struct list *batches);
/* The link refused: the batches go back before what was packed since. */
void outbox_refused(struct outbox *o, struct outlet *p, struct list *batches);
/* Sent: its memory is kept for reuse. */
void outbox_recycle(struct outbox *o, struct batch *b);
/* The peer is gone: what waits for it goes. */
void outbox_drop(struct outbox *o, struct outlet *p);

#endif
