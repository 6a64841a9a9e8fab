/* SPDX-License-Identifier: MIT
 * Tickets wait in one FIFO until a backend with credit is there; a turn's requests to
 * one backend leave together at its end. While no backend is up they simply wait. */
#include "proxy/upstream/pool.h"

#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

static uint64_t patience_us(const struct pool *pool, const struct ticket *t);
static struct claim *find_claim(const struct pool *pool, const struct ticket *t);
static void dispatch(struct pool *pool, uint64_t now_us);
static void watch_queue(struct pool *pool, uint64_t now_us);

struct pool *pool_new(struct event_base *base,
                      struct link_context *context,
                      const struct pool_options *options)
{
    struct pool *pool = mem_zalloc(sizeof *pool);
    pool->magic = POOL_MAGIC;
    pool->base = base;
    pool->context = context;
    pool->options = *options;
    list_init(&pool->backends);
    list_init(&pool->leaving);
    list_init(&pool->successors);
    list_init(&pool->touched);
    waiting_init(&pool->queue);
    table_init(&pool->by_key);
    uint64_t now_us = clock_now_us();
    balance_init(&pool->ready,
                 options->balancer != NULL ? options->balancer : balance_find(NULL),
                 options->instance ^ now_us);
    shed_init(&pool->shed, options->policy.queue_target_us,
              options->policy.queue_interval_us);
    retry_init(&pool->retries, options->retry_budget_percent);
    /* An app server must not take this process for the one before. */
    pool->epoch = options->instance ^ (now_us << 20);
    pool->tick_us = now_us;
    return pool;
}

void pool_free(struct pool **pool_p)
{
    struct pool *pool = *pool_p;
    if (pool == NULL)
        return;
    *pool_p = NULL;
    CHECK_OBJ(pool, POOL_MAGIC);
    pool->is_stopped = true;
    table_clear(&pool->by_key);
    LIST_FOREACH(&pool->backends, n) {
        struct backend *b = backend_of_node(n);
        backend_free(&b);
    }
    LIST_FOREACH(&pool->leaving, n) {
        struct backend *b = backend_of_node(n);
        backend_free(&b);
    }
    for (struct ticket *t = waiting_first(&pool->queue); t != NULL;
         t = waiting_first(&pool->queue))
        pool_fail(pool, t, ERR_SHUTTING_DOWN, SLICE("the pool is closed"));
    balance_fini(&pool->ready);
    table_fini(&pool->by_key);
    pool->magic = 0;
    mem_free(&pool);
}

/* ---- membership ---- */

static struct backend *find_backend(struct pool *pool, const char *name)
{
    LIST_FOREACH(&pool->backends, n) {
        struct backend *b = backend_of_node(n);
        if (strcmp(backend_name(b), name) == 0)
            return b;
    }
    return NULL;
}

enum err pool_add(struct pool *pool, const char *name, const char *endpoint)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    if (find_backend(pool, name) != NULL)
        return ERR_BAD_OPTION;
    bool may_leave_host = pool->options.insecure || pool->options.keys != NULL;
    enum err err =
        link_check_endpoint(endpoint, may_leave_host ? LINK_INSECURE : LINK_LOCAL_ONLY);
    if (err != ERR_NONE)
        return err;
    struct backend *b = backend_new(pool, name, endpoint);
    (void)b; /* the pool's list owns it */
    return ERR_NONE;
}

bool pool_set(struct pool *pool,
              const char *name,
              const struct backend_settings *settings)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    struct backend *b = find_backend(pool, name);
    if (b == NULL)
        return false;
    backend_set(b, settings);
    return true;
}

bool pool_abort_all(struct pool *pool, const char *name, enum err err)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    struct backend *b = find_backend(pool, name);
    if (b == NULL)
        return false;
    backend_abort_all(b, err);
    return true;
}

void pool_set_policy(struct pool *pool,
                     const struct balancer *balancer,
                     const struct pool_policy *policy)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    if (policy->queue_target_us != pool->shed.target_us ||
        policy->queue_interval_us != pool->shed.interval_us)
        shed_init(&pool->shed, policy->queue_target_us, policy->queue_interval_us);
    pool->options.policy = *policy;
    if (balancer == NULL)
        balancer = balance_find(NULL);
    if (balancer == pool->ready.balancer)
        return;
    LIST_FOREACH(&pool->backends, n)
        balance_update(&pool->ready, backend_load(backend_of_node(n)), false);
    balance_change(&pool->ready, balancer);
    LIST_FOREACH(&pool->backends, n)
        backend_update_load(backend_of_node(n));
}

void pool_set_limits(struct pool *pool,
                     uint32_t max_queue,
                     uint32_t retry_budget_percent,
                     uint64_t heartbeat_timeout_us)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    pool->options.max_queue = max_queue;
    pool->options.retry_budget_percent = retry_budget_percent;
    pool->options.heartbeat_timeout_us = heartbeat_timeout_us;
    pool->retries.percent = retry_budget_percent;
}

/* ---- the pool as a whole ---- */

/* Aside first: failing one may make others leave the queue. */
static void put_aside(struct pool *pool, struct ticket *t, struct list *to)
{
    waiting_leave(&pool->queue, t);
    list_push_back(to, &t->node);
}

static void stop_queued(struct pool *pool)
{
    struct list all;
    list_init(&all);
    for (struct ticket *t = waiting_first(&pool->queue); t != NULL;
         t = waiting_first(&pool->queue))
        put_aside(pool, t, &all);
    for (struct node *n = list_first(&all); n != NULL; n = list_first(&all))
        pool_fail(pool, NODE_OF(n, struct ticket, node), ERR_STOPPED,
                  slice_from(pool->settings.message));
}

void pool_set_state(struct pool *pool, const struct pool_settings *settings)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    bool was_paused = pool->settings.state == POOL_PAUSED;
    pool->settings = *settings;
    uint64_t now_us = clock_now_us();
    if (settings->state == POOL_STOPPED)
        stop_queued(pool);
    if (settings->state != POOL_PAUSED && !was_paused)
        return;
    /* Whoever waits may wait as long as it would now. */
    LIST_FOREACH(&pool->queue.all, n) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        t->queue_deadline_us = now_us + patience_us(pool, t);
        t->claimed_until_us = now_us + pool->options.policy.sticky.wait_us;
    }
}

/* Another one may have its name from here on. */
static void forget_key(struct pool *pool, struct backend *b)
{
    uint64_t key = backend_load(b)->key;
    if (table_get(&pool->by_key, key) == b)
        (void)table_take(&pool->by_key, key);
}

void pool_forget(struct pool *pool, struct backend *b)
{
    forget_key(pool, b);
    claim_update(&pool->queue, backend_claim(b), false, false);
    LIST_FOREACH(&pool->queue.all, n) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        if (t->avoid == b)
            t->avoid = NULL;
    }
}

static void remove_backend(struct pool *pool, struct backend *b)
{
    pool_forget(pool, b);
    if (b->successor != NULL)
        pool_forget(pool, b->successor);
    backend_free(&b);
}

bool pool_remove(struct pool *pool, const char *name)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    struct backend *b = find_backend(pool, name);
    if (b == NULL)
        return false;
    remove_backend(pool, b);
    return true;
}

bool pool_retire(struct pool *pool, const char *name)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    struct backend *b = find_backend(pool, name);
    if (b == NULL)
        return false;
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.state = ADMIN_DRAIN;
    backend_set(b, &settings);
    forget_key(pool, b);
    struct node *n = backend_node(b);
    node_leave(n);
    list_push_back(&pool->leaving, n);
    return true;
}

void pool_each(struct pool *pool, void (*each)(struct backend *b, void *arg), void *arg)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    LIST_FOREACH(&pool->backends, n)
        each(backend_of_node(n), arg);
}

/* ---- tickets in and out of the queue ---- */

void pool_idle(struct pool *pool, struct ticket *t)
{
    waiting_leave(&pool->queue, t);
    node_leave(&t->node);
    if (t->state == TICKET_QUEUED)
        pool->queued--;
    else if (t->state == TICKET_SENT)
        pool->sent--;
    t->state = TICKET_IDLE;
    t->backend = t->avoid = NULL;
}

void pool_fail(struct pool *pool, struct ticket *t, enum err err, struct slice text)
{
    pool_idle(pool, t);
    if (err == ERR_BACKEND_LOST)
        pool->stats.lost++;
    t->events->failed(t, err, text);
}

void pool_requeue(struct pool *pool, struct ticket *t, uint64_t now_us)
{
    ASSERT(t->state == TICKET_SENT);
    node_leave(&t->node);
    pool->sent--;
    pool->queued++;
    t->state = TICKET_QUEUED;
    t->backend = NULL;
    t->queued_us = now_us;
    uint64_t deadline_us = now_us + patience_us(pool, t);
    if (t->queue_deadline_us < deadline_us)
        t->queue_deadline_us = deadline_us;
    bool is_claimed = t->claimed_until_us > now_us;
    waiting_push_front(&pool->queue, t, is_claimed ? find_claim(pool, t) : NULL);
}

/* How long a request may wait in the queue. */
static uint64_t patience_us(const struct pool *pool, const struct ticket *t)
{
    return pool->settings.state == POOL_PAUSED ? pool->settings.max_pause_us
                                               : t->patience_us;
}

/* Of the backend that its cookie names, and that still wants it; NULL: anyone may have
 * it. */
static struct claim *find_claim(const struct pool *pool, const struct ticket *t)
{
    struct backend *b =
        t->sticks_to == 0 ? NULL : table_get(&pool->by_key, t->sticks_to);
    struct claim *claim = b == NULL ? NULL : backend_claim(b);
    return claim != NULL && claim->is_open ? claim : NULL;
}

/* Who takes it now, if nobody waits; NULL: nobody. */
static struct backend *
find_taker(struct pool *pool, const struct ticket *t, struct claim *claim)
{
    if (claim != NULL)
        return claim->has_room ? backend_of_claim(claim) : NULL;
    struct load *avoid = t->avoid == NULL ? NULL : backend_load(t->avoid);
    struct load *load = balance_pick(&pool->ready, t->key, avoid);
    return load == NULL ? NULL : backend_of_load(load);
}

/* Those that wait for one backend are counted apart from the others: it may be the only
 * one that is slow. */
static bool is_full(const struct pool *pool, const struct claim *claim)
{
    uint32_t claimed = pool->queue.claimed;
    uint32_t there = claim != NULL ? claimed : pool->queued - claimed;
    return there >= pool->options.max_queue;
}

/* It would have to wait for its own backend, and may not: rather another one. */
static bool cannot_wait_for(const struct pool *pool, const struct claim *claim)
{
    return claim != NULL && !claim->has_room &&
           (pool->options.policy.sticky.wait_us == 0 ||
            (is_full(pool, claim) && pool->ready.count != 0));
}

static void note_shed(struct pool *pool, uint64_t now_us)
{
    pool->stats.queue_shed++;
    shed_refused(&pool->shed, now_us);
}

void pool_submit(struct pool *pool, struct ticket *t)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    ASSERT(t->state == TICKET_IDLE && !node_is_linked(&t->node));
    uint64_t now_us = clock_now_us();
    t->pool = pool;
    t->submitted_us = t->queued_us = now_us;
    t->patience_us = t->queue_deadline_us > now_us ? t->queue_deadline_us - now_us : 0;
    t->claimed_until_us = now_us + pool->options.policy.sticky.wait_us;
    t->stream = 0;
    t->went_to = 0;
    t->was_retried = t->head_seen = t->is_committed = false;
    pool->stats.requests++;
    retry_count_request(&pool->retries, now_us);

    if (pool->is_stopped) {
        t->events->failed(t, ERR_SHUTTING_DOWN, SLICE(""));
        return;
    }
    if (pool->settings.state == POOL_STOPPED) {
        t->events->failed(t, ERR_STOPPED, slice_from(pool->settings.message));
        return;
    }
    bool is_paused = pool->settings.state == POOL_PAUSED;
    if (is_paused)
        t->queue_deadline_us = now_us + pool->settings.max_pause_us;
    /* Straight to a backend, unless others wait already. */
    struct claim *claim = find_claim(pool, t);
    if (cannot_wait_for(pool, claim))
        claim = NULL;
    struct backend *taker = NULL;
    if (!is_paused && list_is_empty(&pool->queue.all))
        taker = find_taker(pool, t, claim);
    if (taker != NULL) {
        shed_left(&pool->shed, 0, now_us);
        backend_send_request(taker, t, now_us);
        return;
    }
    if (is_full(pool, claim)) {
        pool->stats.queue_full++;
        t->events->failed(t, ERR_QUEUE_FULL, SLICE(""));
        return;
    }
    if (pool->queued >= shed_room(&pool->shed)) {
        note_shed(pool, now_us);
        t->events->failed(t, ERR_OVERLOADED, SLICE(""));
        return;
    }
    t->state = TICKET_QUEUED;
    pool->queued++;
    waiting_push(&pool->queue, t, claim);
}

/* For an app server that takes it, that is. The turn's time may be older than the
 * moment it was queued at. */
static uint64_t
waited_us(const struct pool *pool, const struct ticket *t, uint64_t now_us)
{
    uint64_t since_us = t->queued_us > pool->held_us ? t->queued_us : pool->held_us;
    return now_us > since_us ? now_us - since_us : 0;
}

/* What was sent before, and came back, is not refused after all. */
static enum err
has_waited_in_vain(const struct pool *pool, const struct ticket *t, uint64_t now_us)
{
    if (t->queue_deadline_us != 0 && t->queue_deadline_us <= now_us)
        return ERR_QUEUE_TIMEOUT;
    if (t->stream == 0 && shed_is_late(&pool->shed, waited_us(pool, t, now_us)))
        return ERR_OVERLOADED;
    return ERR_NONE;
}

static void give_up(struct pool *pool, struct ticket *t, enum err err, uint64_t now_us)
{
    if (err == ERR_OVERLOADED)
        note_shed(pool, now_us);
    else
        pool->stats.queue_timeout++;
    pool_fail(pool, t, err, SLICE(""));
}

/* Who goes next, and where: the oldest of those for anyone, or who is older still and
 * waits for the same backend alone. NULL: nobody can. */
static struct ticket *next_to_go(struct pool *pool, struct backend **ret_backend)
{
    struct ticket *t = waiting_for_anyone(&pool->queue), *own;
    struct claim *due = waiting_due(&pool->queue);
    if (t != NULL && pool->ready.count != 0) {
        *ret_backend = find_taker(pool, t, NULL);
        own = waiting_for_claim(backend_claim(*ret_backend));
        return own != NULL && own->submitted_us <= t->submitted_us ? own : t;
    }
    if (due == NULL)
        return NULL;
    *ret_backend = backend_of_claim(due);
    return waiting_for_claim(due);
}

/* Gives queued tickets to backends as long as there is credit. An event may submit and
 * cancel others, so each step starts from the queue's front again. */
static void dispatch(struct pool *pool, uint64_t now_us)
{
    struct backend *b;
    if (pool->settings.state == POOL_PAUSED)
        return;
    for (struct ticket *t = next_to_go(pool, &b); t != NULL; t = next_to_go(pool, &b)) {
        enum err err = has_waited_in_vain(pool, t, now_us);
        if (err != ERR_NONE) {
            give_up(pool, t, err, now_us);
            continue;
        }
        /* One that waited for its own is no overload while others have room. */
        bool is_alone = t->claim != NULL && pool->ready.count != 0;
        shed_left(&pool->shed, is_alone ? 0 : waited_us(pool, t, now_us), now_us);
        pool_idle(pool, t);
        backend_send_request(b, t, now_us);
    }
}

/* The newest go first: they lost the least by it. */
static void shed_newest(struct pool *pool, uint64_t now_us)
{
    uint32_t room = shed_room(&pool->shed);
    while (pool->queued > room && !list_is_empty(&pool->queue.all)) {
        struct ticket *t = NODE_OF(pool->queue.all.head.prev, struct ticket, node);
        if (t->stream != 0)
            break;
        give_up(pool, t, ERR_OVERLOADED, now_us);
    }
}

static void
give_up_all(struct pool *pool, struct list *late, enum err err, uint64_t now_us)
{
    for (struct node *n = list_first(late); n != NULL; n = list_first(late))
        give_up(pool, NODE_OF(n, struct ticket, node), err, now_us);
}

/* All are judged before anybody hears of it: what they submit then may end the
 * overload. */
static void expire_queued(struct pool *pool, uint64_t now_us)
{
    struct list late, too_many;
    list_init(&late);
    list_init(&too_many);
    LIST_FOREACH(&pool->queue.all, n) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        enum err err = has_waited_in_vain(pool, t, now_us);
        if (err != ERR_NONE)
            put_aside(pool, t, err == ERR_OVERLOADED ? &too_many : &late);
    }
    give_up_all(pool, &late, ERR_QUEUE_TIMEOUT, now_us);
    give_up_all(pool, &too_many, ERR_OVERLOADED, now_us);
}

static void watch_queue(struct pool *pool, uint64_t now_us)
{
    /* Whoever waits for its own alone is no overload while others have room. */
    struct ticket *first = pool->ready.count != 0 ? waiting_for_anyone(&pool->queue)
                                                  : waiting_first(&pool->queue);
    if (pool->up == 0 || pool->settings.state == POOL_PAUSED)
        pool->held_us = now_us;
    if (pool->held_us == now_us)
        shed_reset(&pool->shed);
    else if (first == NULL)
        shed_tick(&pool->shed, 0, now_us);
    else
        shed_tick(&pool->shed, waited_us(pool, first, now_us), now_us);
    if (pool->settings.state != POOL_PAUSED)
        waiting_loosen(&pool->queue, now_us);
    shed_newest(pool, now_us);
    expire_queued(pool, now_us);
}

/* ---- the loop's turn ---- */

bool pool_turn(struct pool *pool, uint64_t now_us)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    dispatch(pool, now_us);

    bool has_input = false;
    for (struct node *n = list_pop_front(&pool->touched); n != NULL;
         n = list_pop_front(&pool->touched)) {
        struct backend *b = backend_of_turn_node(n);
        backend_flush(b);
        backend_open_due(b, now_us);
        if (backend_recheck(b))
            has_input = true;
    }
    return has_input;
}

void pool_tick(struct pool *pool, uint64_t now_us)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    LIST_FOREACH(&pool->backends, n)
        backend_tick(backend_of_node(n), now_us);
    LIST_FOREACH(&pool->leaving, n) {
        struct backend *b = backend_of_node(n);
        backend_tick(b, now_us);
        if (backend_load(b)->in_flight == 0)
            remove_backend(pool, b);
    }
    pool_tick_successors(pool, now_us);
    pool->tick_us = now_us;
    pool_count_healthy(pool);
    watch_queue(pool, now_us);
}

void pool_stop(struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    pool->is_stopped = true;
}

uint32_t pool_busy(const struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    return pool->queued + pool->sent;
}

uint32_t pool_up(const struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    return pool->up;
}

bool pool_is_asgi(const struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    return pool->is_asgi;
}

const struct pool_stats *pool_stats(const struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    return &pool->stats;
}

const struct sticky *pool_sticky(const struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    const struct sticky *sticky = &pool->options.policy.sticky;
    return sticky->name[0] == '\0' ? NULL : sticky;
}

const struct hash_by *pool_wants_key(const struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    return pool->ready.balancer == &balance_hash ? &pool->options.policy.hash : NULL;
}
