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
static bool dispatch(struct pool *pool, uint64_t now_us);
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
    list_init(&pool->touched);
    list_init(&pool->queue);
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
    LIST_FOREACH(&pool->backends, n) {
        struct backend *b = backend_of_node(n);
        backend_free(&b);
    }
    LIST_FOREACH(&pool->leaving, n) {
        struct backend *b = backend_of_node(n);
        backend_free(&b);
    }
    for (struct node *n = list_first(&pool->queue); n != NULL;
         n = list_first(&pool->queue))
        pool_fail(pool, NODE_OF(n, struct ticket, node), ERR_SHUTTING_DOWN,
                  SLICE("the pool is closed"));
    balance_fini(&pool->ready);
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
    enum err err = link_check_endpoint(
        endpoint, pool->options.insecure ? LINK_INSECURE : LINK_LOCAL_ONLY);
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

static void stop_queued(struct pool *pool)
{
    struct list all;
    list_init(&all);
    for (struct node *n = list_pop_front(&pool->queue); n != NULL;
         n = list_pop_front(&pool->queue))
        list_push_back(&all, n);
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
    LIST_FOREACH(&pool->queue, n) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        t->queue_deadline_us = now_us + patience_us(pool, t);
    }
}

static void remove_backend(struct pool *pool, struct backend *b)
{
    LIST_FOREACH(&pool->queue, n) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        if (t->avoid == b)
            t->avoid = NULL;
    }
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
    list_push_front(&pool->queue, &t->node);
}

/* How long a request may wait in the queue. */
static uint64_t patience_us(const struct pool *pool, const struct ticket *t)
{
    return pool->settings.state == POOL_PAUSED ? pool->settings.max_pause_us
                                               : t->patience_us;
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
    t->stream = 0;
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
    if (!is_paused && list_is_empty(&pool->queue) && pool->ready.count != 0) {
        struct load *load = balance_pick(&pool->ready, t->key, NULL);
        shed_left(&pool->shed, 0, now_us);
        backend_send_request(backend_of_load(load), t, now_us);
        return;
    }
    if (pool->queued >= pool->options.max_queue) {
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
    list_push_back(&pool->queue, &t->node);
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

/* Gives queued tickets to backends as long as there is credit. An event may submit and
 * cancel others, so each step starts from the queue's front again. */
static bool dispatch(struct pool *pool, uint64_t now_us)
{
    bool any = false;
    if (pool->settings.state == POOL_PAUSED)
        return false;
    while (pool->ready.count != 0 && !list_is_empty(&pool->queue)) {
        struct ticket *t = NODE_OF(list_first(&pool->queue), struct ticket, node);
        enum err err = has_waited_in_vain(pool, t, now_us);
        if (err != ERR_NONE) {
            give_up(pool, t, err, now_us);
            continue;
        }
        struct load *avoid = t->avoid == NULL ? NULL : backend_load(t->avoid);
        struct load *load = balance_pick(&pool->ready, t->key, avoid);
        shed_left(&pool->shed, waited_us(pool, t, now_us), now_us);
        pool_idle(pool, t);
        backend_send_request(backend_of_load(load), t, now_us);
        any = true;
    }
    return any;
}

/* The newest go first: they lost the least by it. */
static void shed_newest(struct pool *pool, uint64_t now_us)
{
    uint32_t room = shed_room(&pool->shed);
    while (pool->queued > room && !list_is_empty(&pool->queue)) {
        struct ticket *t = NODE_OF(pool->queue.head.prev, struct ticket, node);
        if (t->stream != 0)
            break;
        give_up(pool, t, ERR_OVERLOADED, now_us);
    }
}

static void expire_queued(struct pool *pool, uint64_t now_us)
{
    /* Aside first: failing one may make others leave the queue. */
    struct list late;
    list_init(&late);
    LIST_FOREACH(&pool->queue, n) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        if (has_waited_in_vain(pool, t, now_us) == ERR_NONE)
            continue;
        node_leave(n);
        list_push_back(&late, n);
    }
    for (struct node *n = list_first(&late); n != NULL; n = list_first(&late)) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        give_up(pool, t, has_waited_in_vain(pool, t, now_us), now_us);
    }
}

static void watch_queue(struct pool *pool, uint64_t now_us)
{
    struct node *first = list_first(&pool->queue);
    if (pool->up == 0 || pool->settings.state == POOL_PAUSED)
        pool->held_us = now_us;
    if (pool->held_us == now_us)
        shed_reset(&pool->shed);
    else if (first == NULL)
        shed_tick(&pool->shed, 0, now_us);
    else
        shed_tick(&pool->shed,
                  waited_us(pool, NODE_OF(first, struct ticket, node), now_us), now_us);
    shed_newest(pool, now_us);
    expire_queued(pool, now_us);
}

/* ---- the loop's turn ---- */

bool pool_turn(struct pool *pool, uint64_t now_us)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    (void)dispatch(pool, now_us);

    bool has_input = false;
    for (struct node *n = list_pop_front(&pool->touched); n != NULL;
         n = list_pop_front(&pool->touched)) {
        struct backend *b = backend_of_turn_node(n);
        backend_flush(b);
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

const struct hash_by *pool_wants_key(const struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    return pool->ready.balancer == &balance_hash ? &pool->options.policy.hash : NULL;
}
