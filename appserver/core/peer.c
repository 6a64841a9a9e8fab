/* SPDX-License-Identifier: MIT
 * The table of proxies: arrival, departure, streams, credit. */
#include "appserver/core/peer.h"

#include <unistd.h>

#include "appserver/core/core_priv.h"
#include "protocol/base/log.h"

#define PEER_OF(n) NODE_OF(n, struct peer, node)
#define PEER_OF_CREDIT(n) NODE_OF(n, struct peer, credit.node)
#define BUCKETS(t) (sizeof((t)->buckets) / sizeof((t)->buckets[0]))

/* Runs the body for each peer `p`; it may leave the table. */
#define PEERS_FOREACH(t, p)                                                            \
    for (size_t b_ = 0; b_ < BUCKETS(t); b_++)                                         \
        for (struct node *n_ = (t)->buckets[b_].head.next, *m_ = n_->next;             \
             n_ != &(t)->buckets[b_].head; n_ = m_, m_ = n_->next)                     \
            for (struct peer *p = PEER_OF(n_); p != NULL; p = NULL)

static void set_state(struct core *core, struct peer *p, enum peer_state state);
static void restart(struct core *core, struct peer *p);
static void send_hello(struct core *core, struct peer *p, uint64_t now_us);
static void share_credit(struct core *core);
static void pack_grant(struct core *core, struct peer *p);
static void send_grant(struct core *core, struct peer *p, uint64_t now_us);
static uint32_t credit_budget(const struct core *core);
static void lose_streams(struct peer *p, enum err reason);
static void free_peer(struct core *core, struct peer *p);

void peers_init(struct peer_table *t)
{
    *t = (struct peer_table){.latest = NULL};
    for (size_t i = 0; i < BUCKETS(t); i++)
        list_init(&t->buckets[i]);
}

void peers_fini(struct core *core)
{
    PEERS_FOREACH(&core->peers, p)
    free_peer(core, p);
}

struct peer *peer_find(struct core *core, uint32_t number)
{
    struct peer_table *t = &core->peers;

    if (t->latest != NULL && t->latest->number == number)
        return t->latest;
    LIST_FOREACH(&t->buckets[number % BUCKETS(t)], n)
        if (PEER_OF(n)->number == number)
            return t->latest = PEER_OF(n);
    return NULL;
}

struct peer *peer_add(struct core *core, uint32_t number)
{
    struct peer_table *t = &core->peers;
    struct peer *p = mem_zalloc(sizeof(*p));

    p->magic = PEER_MAGIC;
    p->state = PEER_NEW;
    p->number = number;
    p->page_slot = -1;
    outlet_init(&p->outlet);
    list_push_back(&t->buckets[number % BUCKETS(t)], &p->node);
    return t->latest = p;
}

void peer_hello(struct core *core,
                struct peer *p,
                uint64_t epoch,
                const struct frame_hello *h,
                uint64_t now_us)
{
    if (p->state == PEER_READY)
        restart(core, p);
    p->epoch = epoch;
    if (h->version != PROTOCOL_VERSION) {
        peer_fail(core, p, ERR_PROTOCOL_VERSION);
        return;
    }
    if (!slice_eq(h->role, SLICE("proxy"))) {
        peer_fail(core, p, ERR_BAD_FRAME);
        return;
    }
    p->window_bytes = h->window_bytes;
    p->inline_bytes = h->inline_bytes < FRAME_MAX_INLINE_BODY ? h->inline_bytes
                                                              : FRAME_MAX_INLINE_BODY;
    p->features = h->features;
    p->clock_offset = (int64_t)(now_us - h->clock_us);
    if (core->page != NULL)
        p->page_slot = page_claim(core->page);
    if (p->state == PEER_NEW)
        set_state(core, p, PEER_READY);
    send_hello(core, p, now_us);
    if (core->state == CORE_SERVING) {
        peers_grant(core, now_us);
    } else {
        frame_pack_grant(peer_pack(core, p), p->epoch, 0);
        (void)peer_packed(core, p);
        frame_pack_drain(peer_pack(core, p), p->epoch);
        (void)peer_packed(core, p);
    }
}

void peer_fail(struct core *core, struct peer *p, enum err reason)
{
    core->counters.bad_frames++;
    if (p->state == PEER_IGNORED || p->state == PEER_GONE)
        return;
    log_warn(NULL, "proxy connection %u dropped: %s", p->number, err_text(reason));
    lose_streams(p, ERR_LINK_DOWN);
    set_state(core, p, PEER_IGNORED);
    frame_pack_bye(peer_pack(core, p), p->epoch, slice_from(err_name(reason)));
    (void)peer_packed(core, p);
}

void peer_left(struct core *core, struct peer *p)
{
    lose_streams(p, ERR_LINK_DOWN);
    set_state(core, p, PEER_IGNORED);
}

void peer_gone(struct core *core, struct peer *p)
{
    if (p->state == PEER_GONE)
        return;
    lose_streams(p, ERR_LINK_DOWN);
    set_state(core, p, PEER_GONE);
    outbox_drop(&core->outbox, &p->outlet);
}

void peer_down(struct core *core, uint32_t number)
{
    struct peer *p = peer_find(core, number);

    if (p == NULL)
        return;
    peer_gone(core, p);
    p->silent = true;
}

void peers_sweep(struct core *core)
{
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_GONE && p->silent && p->refs == 0)
        free_peer(core, p);
}

void peers_unstall(struct core *core)
{
    if (!core->loop.some_stalled)
        return;
    core->loop.some_stalled = false;
    PEERS_FOREACH(&core->peers, p)
    {
        bool is_full = outlet_is_refused(&core->outbox, &p->outlet);
        for (size_t i = 0; i < PEER_STREAMS; i++)
            for (struct request *r = p->streams[i]; r != NULL; r = r->next_stream)
                if ((r->wants & NEWS_ROOM) == 0 || r->window.left == 0)
                    continue;
                else if (is_full)
                    core->loop.some_stalled = true;
                else
                    loop_tell(r, NEWS_ROOM);
    }
}

uint64_t peer_to_local_us(const struct peer *p, uint64_t theirs_us)
{
    return theirs_us == 0 ? 0 : theirs_us + (uint64_t)p->clock_offset;
}

void peer_heard_clock(struct peer *p, uint64_t theirs_us, uint64_t now_us)
{
    int64_t offset = (int64_t)(now_us - theirs_us);

    if (offset < p->clock_offset)
        p->clock_offset = offset;
}

struct request *peer_stream(struct peer *p, uint32_t stream)
{
    struct request *r = p->streams[stream % PEER_STREAMS];

    while (r != NULL && r->stream != stream)
        r = r->next_stream;
    return r;
}

void peer_open_stream(struct peer *p, struct request *r)
{
    struct request **at = &p->streams[r->stream % PEER_STREAMS];

    r->next_stream = *at;
    *at = r;
    r->peer = p;
    p->refs++;
}

void peer_close_stream(struct peer *p, struct request *r)
{
    struct request **at = &p->streams[r->stream % PEER_STREAMS];

    while (*at != r)
        at = &(*at)->next_stream;
    *at = r->next_stream;
    r->next_stream = NULL;
    p->refs--;
}

void peers_grant(struct core *core, uint64_t now_us)
{
    if (core->state != CORE_SERVING)
        return;
    share_credit(core);
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY && credit_should_grant(&p->credit))
        send_grant(core, p, now_us);
}

uint32_t peers_lowest_limit(const struct core *core)
{
    uint32_t lowest = 0;

    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY && p->limit != 0 && (lowest == 0 || p->limit < lowest))
        lowest = p->limit;
    return lowest;
}

void peers_tighten(struct core *core, uint64_t now_us)
{
    if (core->state != CORE_SERVING)
        return;
    share_credit(core);
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY && p->credit.target < p->credit.window)
        send_grant(core, p, now_us);
}

void peer_set_aside(struct core *core, struct peer *p, int change)
{
    p->aside += (uint32_t)change;
    core->aside += (uint32_t)change;
    core->running -= (uint32_t)change;
    limit_one_fewer(core);
    atomic_fetch_sub_explicit(&p->inside, (uint32_t)change, memory_order_relaxed);
    if (p->state == PEER_READY && core->state == CORE_SERVING && p->credit.window > 0)
        pack_grant(core, p);
}

void peers_review(struct core *core, uint64_t now_us)
{
    peers_grant(core, now_us);
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY)
        credit_observe(&p->credit,
                       atomic_load_explicit(&p->inside, memory_order_relaxed), now_us);
}

void peer_load(struct core *core, struct peer *p, uint64_t sequence, uint64_t now_us)
{
    struct frame f = {.kind = FRAME_LOAD};

    f.load.sequence = sequence;
    f.load.clock_us = now_us;
    f.load.running = core->running;
    f.load.waiting = core->waiting;
    f.load.service_us = (core->service_us16 + 15) / 16; /* 0 is not known */
    f.load.slots = core_slots(core);
    frame_pack_load(peer_pack(core, p), p->epoch, &f);
    (void)peer_packed(core, p);
}

void peers_load(struct core *core, uint64_t now_us)
{
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY)
        peer_load(core, p, 0, now_us);
}

void peers_drain(struct core *core)
{
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY) {
        frame_pack_grant(peer_pack(core, p), p->epoch, 0);
        (void)peer_packed(core, p);
        frame_pack_drain(peer_pack(core, p), p->epoch);
        (void)peer_packed(core, p);
    }
}

void peers_bye(struct core *core)
{
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY) {
        frame_pack_bye(peer_pack(core, p), p->epoch, SLICE("SHUTTING_DOWN"));
        (void)peer_packed(core, p);
    }
}

static void set_state(struct core *core, struct peer *p, enum peer_state state)
{
    ASSERT(state > p->state);
    core->peers.ready -= p->state == PEER_READY;
    p->state = state;
    core->peers.ready += state == PEER_READY;
    core->peers.gone += state == PEER_GONE;
    limit_lapse(core, p);
}

/* The link that the last HELLO began was over before: its proxy had said that to a
 * process before this one, and it was delivered late. */
static void restart(struct core *core, struct peer *p)
{
    lose_streams(p, ERR_LINK_DOWN);
    limit_lapse(core, p);
    if (p->page_slot >= 0)
        page_release(core->page, p->page_slot);
    p->page_slot = -1;
    p->last_stream = 0;
    p->credit = (struct credit){.window = 0};
}

static void send_hello(struct core *core, struct peer *p, uint64_t now_us)
{
    struct frame_hello h = {
        .version = PROTOCOL_VERSION,
        .role = SLICE("app"),
        .instance = core->instance,
        .clock_us = now_us,
        .features = FEATURE_FILE | FEATURE_INFORM |
                    (core->options.is_loop ? FEATURE_WEBSOCKET : 0),
        .window_bytes = FRAME_DEFAULT_WINDOW,
        .inline_bytes = FRAME_MAX_INLINE_BODY,
        .has_app = true,
        .pool = slice_from(core->options.pool),
        .slots = core_slots(core),
        .interface = slice_from(core->options.interface),
        .pid = (uint32_t)getpid(),
    };
    if (p->page_slot >= 0) {
        h.page = slice_from(core->page_path);
        h.page_slot = (uint32_t)p->page_slot;
    }
    frame_pack_hello(peer_pack(core, p), p->epoch, &h);
    (void)peer_packed(core, p);
}

static void share_credit(struct core *core)
{
    struct list links;

    list_init(&links);
    PEERS_FOREACH(&core->peers, p)
    if (p->state == PEER_READY)
        list_push_back(&links, &p->credit.node);
    credit_share(&links, credit_budget(core));
    LIST_FOREACH(&links, n)
        node_leave(n);
}

static void send_grant(struct core *core, struct peer *p, uint64_t now_us)
{
    credit_granted(&p->credit, now_us);
    pack_grant(core, p);
}

static void pack_grant(struct core *core, struct peer *p)
{
    frame_pack_grant(peer_pack(core, p), p->epoch, p->credit.window + p->aside);
    (void)peer_packed(core, p);
}

/* Requests that all links together may have here. While workers can still be grown, one
 * at least must be able to wait, or nobody would learn that they are needed. */
static uint32_t credit_budget(const struct core *core)
{
    uint32_t ahead = credit_ahead(core->service_us16);
    bool may_grow = core->slots < core->options.threads_max &&
                    (core->limit == 0 || core->slots < core->limit);

    if (core->loop.is_behind)
        return core->running;
    if (ahead == 0 && may_grow)
        ahead = 1;
    return core_slots(core) + ahead;
}

/* Requests that wait leave the inbox, running ones learn that nobody listens. */
static void lose_streams(struct peer *p, enum err reason)
{
    for (size_t i = 0; i < PEER_STREAMS; i++) {
        struct request *r = p->streams[i];
        while (r != NULL) {
            struct request *next = r->next_stream;
            if (r->state == REQUEST_WAITING) {
                node_leave(&r->node);
                r->core->waiting--;
                request_recycle(r);
            } else {
                request_lost(r, reason);
            }
            r = next;
        }
    }
}

static void free_peer(struct core *core, struct peer *p)
{
    core->peers.ready -= p->state == PEER_READY;
    core->peers.gone -= p->state == PEER_GONE;
    if (core->peers.latest == p)
        core->peers.latest = NULL;
    outbox_drop(&core->outbox, &p->outlet);
    if (p->page_slot >= 0)
        page_release(core->page, p->page_slot);
    node_leave(&p->node);
    p->magic = 0;
    mem_free(&p);
}
