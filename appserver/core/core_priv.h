/* SPDX-License-Identifier: MIT
 * What the files of this folder share: struct core, its locks, and the request.
 *
 * Locks, in the order in which they may be taken:
 *   reader.io     the link; who holds it may send and receive        (reader.c)
 *   core.lock     everything below that is not said to be elsewhere
 *   outbox.lock   the frames on their way out                        (outbox.c)
 * No function of the embedder is called under any of them. */
#ifndef CORE_CORE_PRIV_H
#define CORE_CORE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "appserver/core/core.h"
#include "appserver/core/limit.h"
#include "appserver/core/loop.h"
#include "appserver/core/outbox.h"
#include "appserver/core/peer.h"
#include "appserver/core/reader.h"
#include "appserver/core/request.h"
#include "appserver/core/route.h"
#include "appserver/core/sleeper.h"
#include "appserver/core/watch.h"
#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "protocol/base/queue.h"
#include "protocol/link.h"
#include "protocol/page.h"
#include "protocol/window.h"

enum {
    CORE_MAGIC = 0xc08ec08e,
    WORKER_MAGIC = 0x30084e85,
    REQUEST_MAGIC = 0x8e00e575,
    PEER_MAGIC = 0x9ee89ee8,
    REQUEST_KEEP_BYTES = 16 * 1024, /* memory a recycled request keeps */
    REQUEST_KEEP_COUNT = 512,       /* recycled requests kept */
    REQUEST_ID_MAX = 64,
};

enum core_state {
    CORE_SERVING,
    CORE_DRAINING, /* nothing new is started */
    CORE_DRAINED   /* nothing runs, every answer is out, BYE said */
};

struct core_counters {
    uint64_t requests, returned, cancelled, dropped_frames, bad_frames;
};

/* What core_options.is_loop adds (loop.c); all of it unused otherwise. */
struct loop {
    int fd;       /* epoll: the link's three descriptors and the timer; -1: none */
    int timer_fd; /* armed while a full link is to be tried again */
    uint64_t thread_tag;
    _Atomic uint64_t turns; /* begun so far */
    uint64_t reviewed_us;   /* credit; the loop's own */
    /* under the core lock */
    struct list news;  /* request.node: running, with news */
    bool turning;      /* inside core_loop_turn: looks at the news before it returns */
    bool roused;       /* its descriptor was made readable since it last looked */
    bool some_stalled; /* a put found its peer's queue full */
    bool is_behind;    /* it starts nothing: no credit beyond what runs */
};

struct core {
    uint32_t magic;
    struct core_options options;
    struct core_events events;
    uint64_t instance;
    bool owns_context, is_watched;
    struct link_context *context;
    struct page *page; /* NULL: the endpoint has no directory for one */
    char *page_path;
    struct reader reader;
    struct outbox outbox;
    struct watch watch;
    struct loop loop;
    _Atomic bool drain_asked;

    pthread_mutex_t lock;
    pthread_cond_t drained; /* state became CORE_DRAINED */
    enum core_state state;
    bool said_bye;          /* about to be drained: nothing can be started any more */
    struct list inbox;      /* request.node: not started, in the order they came */
    struct list idle;       /* worker.idle: asleep, the hottest first */
    struct list busy;       /* worker.node: inside a handler */
    struct worker *polling; /* the worker that reads; NULL: nobody, or the watch */
    bool in_poll;           /* and it waits in poll */
    uint32_t waiting, running, worker_count;
    uint32_t aside;      /* open WebSockets that do not count as running */
    uint32_t slots;      /* requests that could run at once: see core_slots */
    uint32_t limit;      /* the lowest of the links' (limit.c); 0: none */
    bool is_above_limit; /* it was lowered, and more than that still run */
    uint32_t processors; /* of them, those that may compute at once */
    uint32_t computing;  /* of those running, the ones that are taken to compute */
    uint32_t growing;    /* workers asked for and not here yet */
    uint64_t starts;     /* handlers entered so far */
    uint32_t
        service_us16; /* average time in a handler, sixteenths of a us; 0: unknown */
    struct route routes[ROUTE_COUNT];
    struct peer_table peers;
    struct list recycled; /* request.node: finished, their memory kept */
    uint32_t recycled_count;
    struct list fresh; /* the same, for whoever holds the link */
    struct core_counters counters;
};

struct worker {
    uint32_t magic;
    struct core *core;
    struct node node;
    struct node idle; /* on core.idle */
    bool asleep;      /* in worker_sleep; who clears it must wake it */
    struct sleeper sleeper;
    struct request *request; /* inside its handler */
    uint64_t thread_tag;
    pid_t thread;           /* the kernel's number of it */
    clockid_t cpu_clock;    /* of its thread */
    uint64_t starts;        /* handlers entered */
    uint64_t started_us;    /* the present one was taken */
    uint64_t entered_us;    /* its handler was entered, 0: not said; the worker's own */
    uint64_t took_us;       /* it was left after so long */
    uint64_t moved_us;      /* when it last read or sent a piece of a body */
    bool is_waiting;        /* for its client, in worker_wait */
    bool computes;          /* counts in core.computing */
    bool weighing;          /* cpu_us and waits are measured */
    uint64_t cpu_us, waits; /* when it was entered, then what it took */
    uint64_t round, round_us; /* of the outbox, and when it was seen first */
    struct watched watched;   /* the watch's notes */
};

enum request_state {
    REQUEST_FREE,
    REQUEST_WAITING, /* in the inbox */
    REQUEST_RUNNING  /* its handler was entered */
};

enum answer_state {
    ANSWER_NONE,
    ANSWER_STREAM, /* HEAD went out */
    ANSWER_ENDED   /* its terminal frame went out */
};

/* One side of a WebSocket each. */
struct websocket {
    bool accepted; /* core lock, as the next three and in_op */
    bool is_aside; /* it takes no slot, nor its peer's credit */
    bool in_closed, out_closed;
    bool in_taken;         /* the close that came; the loop's own, as out_op */
    uint8_t in_op, out_op; /* of the message under way, 0: none */
};

/* A piece of body that came and was not read yet; of a WebSocket, records (ws.c). */
struct piece {
    struct node node;
    struct slice data; /* not read yet */
    size_t room;       /* bytes that may be appended behind data */
    bool held;         /* data lies in message, else in bytes */
    struct link_message message;
    char bytes[];
};

struct request {
    uint32_t magic;
    enum request_state state;
    struct node node; /* inbox, recycled, a reader's own list; running: loop.news */
    struct request *next_stream; /* peer.streams */
    struct core *core;
    struct peer *peer;
    struct worker *worker;
    uint32_t stream;
    uint8_t route;
    struct frame_request frame; /* slices into bytes */
    char *bytes;
    size_t cap;
    char id[REQUEST_ID_MAX + 1];
    uint64_t deadline_us, queued_us;
    _Atomic int gone; /* enum err: why nobody listens any more */
    /* the answer: its worker's alone, except for the window and FILED */
    enum answer_state answer;
    struct window_sender window;
    bool filed, file_taken; /* FILED came */
    struct websocket ws;
    /* loop mode */
    uint8_t news;  /* enum loop_news_bit: not handed out yet. Core lock, as the next */
    uint8_t wants; /* what it waits for; others are no news */
    uint64_t started_us;
    _Atomic(void *) owner;
    /* the body */
    bool body_asked; /* not EXPECT, or its first WINDOW went out */
    bool body_ended; /* END came, or there is none */
    struct window_receiver received;
    uint64_t body_left; /* BODY_LENGTH: bytes still to come */
    struct list pieces;
    _Atomic size_t readable; /* in pieces, or of the inline body */
    struct piece *lent;      /* the caller reads in it */
};

/* ---- request.c ---- */
/* From the recycled ones or new. The caller holds the link, not the core lock. */
MUST_CHECK struct request *request_new(struct core *core);
/* Copies the frame's bytes (`bytes` is the whole frame `f` was decoded from) and points
 * its slices there. */
void request_fill(struct request *r, struct slice bytes, const struct frame *f);
/* Nobody reads it any more: its memory goes, its form and flags stay. The loop's. */
void request_forget_head(struct request *r);
/* Under the core lock: forgets the peer, drops what it holds, keeps the memory. */
void request_recycle(struct request *r);
void request_dispose(struct request *r); /* really frees */
/* Its handler is about to be entered: marked as started in the shared page. Core lock.
 */
void request_started(struct request *r);
/* Nobody listens any more; tells whoever runs it. The first reason stays. Core lock. */
void request_lost(struct request *r, enum err reason);
/* Something came for it (enum loop_news_bit): wakes its worker, or is news for the
 * loop. Core lock. */
void request_rouse(struct request *r, unsigned what);
/* A frame for its peer was packed: ends what peer_pack began. It leaves now when the
 * batch is full, or, unless a loop flushes by itself, when it is urgent. No lock. */
void request_packed(struct request *r, bool is_urgent);
/* How much of `length` bytes may be sent now, where each piece costs `extra` more; 0:
 * none, and NEWS_ROOM follows. What is returned is taken off the window, with the
 * extra. Core lock. */
MUST_CHECK size_t request_claim_room(struct request *r, size_t length, size_t extra);
/* Its terminal frame is about to be packed: the peer has its window back. Any lock. */
void request_answered(struct request *r);
/* The answer as it stands when the handler is left. No lock. */
void request_conclude(struct request *r);

/* ---- body.c, under the core lock ---- */
void body_init(struct request *r);
/* False: more than was granted or announced. `message` is moved from when it is worth
 * it. */
MUST_CHECK bool
body_add(struct request *r, struct slice data, struct link_message *message);
MUST_CHECK bool body_end(struct request *r);
void body_drop(struct request *r);
/* The body follows the request and was let come: the edge may not have it any more, so
 * the request must be run here. */
bool body_is_coming(const struct request *r);
/* A contiguous place for so many bytes behind the others. */
char *body_append(struct request *r, size_t bytes);
/* Up to `max` bytes of the first piece, valid until body_unlend. */
struct slice body_lend(struct request *r, size_t max);
void body_unlend(struct request *r);
/* WINDOW. No core lock. */
void body_grant(struct request *r, uint64_t bytes);

/* ---- ws.c, under the core lock ---- */
/* A WS frame came. False: it breaks the rules. */
MUST_CHECK bool ws_add(struct request *r, const struct frame_ws *f);

/* ---- loop.c ---- */
MUST_CHECK enum err loop_init(struct core *core);
void loop_fini(struct core *core);
/* Under the core lock. News for the loop; wakes it unless it looks anyway. */
void loop_tell(struct request *r, unsigned what);
/* Under the core lock: requests wait that may be started, or a drain began. */
void loop_rouse(struct core *core);
/* Something was sent, or received meanwhile. No lock. */
void loop_sent(struct core *core);
/* After request_conclude: the slot is free. No lock. */
void loop_finish(struct request *r);

/* ---- watch.c, under the core lock, left meanwhile; for loop_watch.c ---- */
void watch_begin_drain(struct core *core);
void watch_end_drain(struct core *core);
void watch_give_back(struct core *core, uint64_t now_us);
/* Sends what was left behind since the last look, or all. */
void watch_flush(struct core *core, bool at_once);
/* Calls events.stuck, or stuck_again. */
void watch_report_stuck(struct core *core,
                        uint64_t thread_tag,
                        const char *id,
                        bool again);
/* The thread of a core with a loop (loop_watch.c). */
void *loop_watch_main(void *arg);

/* ---- ws.c ---- */
/* Its stream is about to end: it counts as a request again. No lock. */
void ws_leave(struct request *r);

/* ---- worker.c, under the core lock ---- */
/* Sleeps without the lock until roused (true) or `until_us`. */
bool worker_sleep(struct worker *w, uint64_t until_us);
/* Wakes it wherever it waits: asleep, or in poll as the reader. */
void worker_rouse(struct worker *w);
/* Requests wait and the calling thread will not take them: wakes one that can. */
void worker_offer(struct core *core);
/* Whether the oldest request that waits may be started: a slot is free and, unless its
 * handlers are known to wait, so is a processor. */
bool worker_may_start(const struct core *core);
bool worker_has_processor(const struct core *core); /* requests wait */
/* The request's handler waits, or has computed for long: another may compute beside it.
 */
void worker_cede(struct worker *w);
/* A handler's worker waits until ready(r), the loss of its request or its deadline
 * (then it is lost too); it reads the link itself when nobody else does. */
typedef bool ready_fn(const struct request *r);
void worker_wait(struct request *r, ready_fn *ready);
/* For a thread inside a handler, no lock held: sends what is pending now. */
void worker_flush(struct core *core);
/* The same with a piece of body behind it; ERR_LINK_FULL: it was not sent. */
MUST_CHECK enum err
worker_send_bulk(struct core *core, struct peer *p, uint32_t stream, struct slice bulk);

/* ---- inbox.c ---- */
/* One message, with the link held and no other lock. */
void inbox_message(struct core *core, struct link_message *message, uint64_t now_us);
/* The link dropped a message of a form that no peer may send. */
void inbox_bad_message(struct core *core, const struct link_message *message);
/* Under the core lock: the next to start, or NULL. Returns what is past its deadline.
 */
MUST_CHECK struct request *inbox_pop(struct core *core, uint64_t now_us);
/* Hands back a request that was not started. */
void inbox_return(struct request *r, enum err reason);
/* Hands back what waits, except requests whose bodies are on their way or here. */
enum give_back {
    GIVE_BACK_FIRST, /* those that were nowhere before */
    GIVE_BACK_ALL,
};
void inbox_give_back(struct core *core, enum give_back which, enum err reason);

/* One frame to a peer: `frame_pack_end(peer_pack(core, p), ...)`, then peer_packed,
 * which returns true when the outbox ought to be flushed. */
static inline struct buf *peer_pack(struct core *core, struct peer *p)
{
    return outbox_begin(&core->outbox, &p->outlet);
}

static inline bool peer_packed(struct core *core, struct peer *p)
{
    return outbox_end(&core->outbox, &p->outlet);
}

/* Requests may still be started. Core lock. */
static inline bool core_may_start(const struct core *core)
{
    return core->state == CORE_SERVING || core->waiting > 0;
}

static inline enum err request_gone_reason(const struct request *r)
{
    return (enum err)atomic_load_explicit(&r->gone, memory_order_acquire);
}

/* Requests and WebSockets that are not finished. Core lock. */
static inline uint32_t core_open(const struct core *core)
{
    return core->running + core->aside;
}

/* Requests that may run at once now. Core lock. */
static inline uint32_t core_slots(const struct core *core)
{
    return core->limit != 0 && core->limit < core->slots ? core->limit : core->slots;
}

static inline void core_lock(struct core *core)
{
    (void)pthread_mutex_lock(&core->lock);
}

static inline void core_unlock(struct core *core)
{
    (void)pthread_mutex_unlock(&core->lock);
}

#endif
