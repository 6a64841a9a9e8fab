/* SPDX-License-Identifier: MIT
 * An edge thread's parts, built in order and undone in reverse, and its loop:
 *
 *     wait for events, run their callbacks, end the turn (turn.c), again
 *
 * A tick drives the deadlines and the pool's: every TICK_MS while there is anything to
 * watch, else every SLOW_TICK_MS. */
#include "proxy/edge.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/deadline.h"
#include "proxy/exchange.h"
#include "proxy/http/access_log.h"
#include "proxy/http/clients.h"
#include "proxy/http/file.h"
#include "proxy/http/listener.h"
#include "proxy/stats.h"
#include "proxy/turn.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/waker.h"

enum {
    EDGE_MAGIC = 0xed6eed6e,
    TICK_MS = 100,
    SLOW_TICK_MS = 500,
    ORDERS_PER_CALL = 64,
    OWN_FILES = 64,     /* listeners, loops, logs, ZeroMQ's threads */
    FILES_PER_LINK = 6, /* connected, connecting anew, and their signals */
};

struct edge {
    uint32_t magic;
    const struct edge_options *options;
    struct event_base *base;
    struct deadlines *deadlines;
    struct pool *pool;
    struct file_roots *roots;
    struct access_writer *access;
    struct exchanges *exchanges;
    struct clients *clients;
    struct listener **listeners;
    struct link *orders;
    struct waker *order_waker;
    struct event *tick;
    bool tick_is_slow;
    bool is_stopping;
    bool has_reported; /* which may have used up the edge of the orders' descriptor */
    bool was_followed; /* the last EDGE_KILL_REQUEST found its request */
    struct proxy_options tuned; /* what exchanges read: this thread's own */
    uint64_t stop_by_us;
    struct stats stats;
};

static bool build(struct edge *e);
static void run(struct edge *e);
static void undo(struct edge *e);
static void report(struct edge *e, enum edge_report_kind kind);
static enum waker_result on_orders(void *arg);
static void on_notice(void *arg, const char *name, const char *text);
static void on_tick(evutil_socket_t fd, short what, void *arg);

void edge_run(const struct edge_options *options)
{
    struct edge e = {
        .magic = EDGE_MAGIC, .options = options, .orders = options->orders};
    bool is_built = build(&e);
    if (is_built) {
        report(&e, EDGE_READY);
        run(&e);
    }
    undo(&e);
    report(&e, is_built ? EDGE_STOPPED : EDGE_FAILED);
    link_free(&e.orders);
}

struct snapshot *snapshot_new(unsigned parts, uint64_t owner)
{
    struct snapshot *s = mem_zalloc(sizeof *s);
    s->parts = parts;
    s->owner = owner;
    return s;
}

void snapshot_free(struct snapshot **snapshot_p)
{
    struct snapshot *s = take(*snapshot_p);
    if (s == NULL)
        return;
    pool_report_fini(&s->pool);
    requests_report_fini(&s->requests);
    clients_report_fini(&s->clients);
    mem_free(&s);
}

/* ---- parts ---- */

static uint64_t to_us(double seconds)
{
    return (uint64_t)(seconds * 1e6);
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    ASSERT(config != NULL);
    (void)event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_O1 |
                                                    EV_FEATURE_EARLY_CLOSE);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void build_pool(struct edge *e)
{
    const struct proxy_options *o = e->options->proxy;
    struct pool_options pool = {
        .balancer = balance_find(o->balance),
        .max_queue = (uint32_t)o->max_queue,
        .heartbeat_timeout_us = to_us(o->heartbeat_timeout_s),
        .retry_budget_percent = (uint32_t)o->retry_budget,
        .window_bytes = (uint64_t)o->response_buffer,
        .insecure = o->insecure,
        .has_files = o->sendfile_root.count > 0,
        .instance = e->options->instance,
        .is_quiet = e->options->number > 0,
        .notice = on_notice,
        .notice_arg = e,
    };
    e->pool = pool_new(e->base, e->options->context, &pool);
}

static void build_exchanges(struct edge *e)
{
    const struct proxy_options *o = e->options->proxy;
    e->tuned = *o;
    e->roots = file_roots_new(o->sendfile_root.items, o->sendfile_root.count);
    if (e->options->access_log != NULL)
        e->access = access_writer_new(e->options->access_log);
    struct exchanges_options exchanges = {
        .proxy = &e->tuned,
        .pool = e->pool,
        .deadlines = e->deadlines,
        .stats = &e->stats,
        .access = e->access,
        .roots = e->roots,
        .instance = e->options->instance,
        .number = e->options->number,
    };
    e->exchanges = exchanges_new(&exchanges);
}

/* This thread's share of --max-connections, as far as descriptors go: libzmq ends the
 * process when it finds none for a new connection to an app server. */
static uint32_t connection_share(const struct edge *e)
{
    const struct proxy_options *o = e->options->proxy;
    uint64_t most = (uint64_t)o->max_connections, count = e->options->count;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
        uint64_t reserved = OWN_FILES + FILES_PER_LINK * o->backend.count * count;
        uint64_t left = files.rlim_cur > reserved ? files.rlim_cur - reserved : 0;
        if (left < most && e->options->number == 0)
            log_warn(NULL, "%llu open files are allowed: at most %llu connections",
                     (unsigned long long)files.rlim_cur, (unsigned long long)left);
        most = left < most ? left : most;
    }
    return (uint32_t)((most + count - 1) / count);
}

static void build_clients(struct edge *e)
{
    const struct proxy_options *o = e->options->proxy;
    struct clients_options clients = {
        .limits = &o->limits,
        .rules = &o->rules,
        .max_connections = connection_share(e),
        .max_pipeline = (size_t)o->max_pipeline,
        .body_min_rate = (uint64_t)o->body_min_rate,
        .body_grace_us = to_us(o->body_grace_s),
        .header_timeout_us = to_us(o->header_timeout_s),
        .body_timeout_us = to_us(o->body_timeout_s),
        .keepalive_timeout_us = to_us(o->keepalive_timeout_s),
        .write_timeout_us = to_us(o->write_timeout_s),
        .events = &exchange_client_events,
        .owner = e->exchanges,
        .deadlines = e->deadlines,
        .stats = &e->stats,
    };
    e->clients = clients_new(e->base, &clients);

    uint32_t count = e->options->listener_count;
    e->listeners = mem_zalloc((count + 1) * sizeof(struct listener *));
    for (uint32_t i = 0; i < count; i++)
        e->listeners[i] =
            listener_new(e->base, e->options->listeners[i],
                         e->options->listener_names[i], e->clients, &e->stats);
}

static void add_tick(struct edge *e, bool is_slow)
{
    struct timeval wait = {.tv_usec = (is_slow ? SLOW_TICK_MS : TICK_MS) * 1000};
    e->tick_is_slow = is_slow;
    (void)evtimer_add(e->tick, &wait);
}

static bool build(struct edge *e)
{
    e->base = new_base();
    if (e->base == NULL) {
        log_error(NULL, "no event loop with edge-triggered events (epoll) here");
        return false;
    }
    e->deadlines = deadlines_new();
    build_pool(e);
    build_exchanges(e);
    build_clients(e);
    e->order_waker = waker_new(e->base, e->orders, on_orders, e);
    e->tick = evtimer_new(e->base, on_tick, e);
    ASSERT(e->tick != NULL);
    add_tick(e, false);
    return true;
}

static void undo(struct edge *e)
{
    if (e->base == NULL)
        return;
    event_free(e->tick);
    waker_free(&e->order_waker);
    for (uint32_t i = 0; i < e->options->listener_count; i++)
        listener_free(&e->listeners[i]);
    mem_free(&e->listeners);
    clients_free(&e->clients);
    bool has_input UNUSED = pool_turn(e->pool, deadlines_now(e->deadlines));
    exchanges_free(&e->exchanges);
    access_writer_free(&e->access);
    file_roots_free(&e->roots);
    pool_free(&e->pool);
    deadlines_free(&e->deadlines);
    event_base_free(e->base);
    stats_log(&e->stats, e->options->number);
}

/* ---- the loop ---- */

static bool has_to_watch(const struct edge *e)
{
    return deadlines_has_armed(e->deadlines) || pool_busy(e->pool) > 0 ||
           pool_up(e->pool) == 0;
}

static bool is_done(struct edge *e)
{
    return e->is_stopping && (clients_count(e->clients) == 0 ||
                              deadlines_now(e->deadlines) >= e->stop_by_us);
}

static void run(struct edge *e)
{
    const struct turn turn = {e->pool, e->clients, e->deadlines, e->access};
    bool has_more = false;
    while (!is_done(e)) {
        deadlines_turn(e->deadlines);
        (void)event_base_loop(e->base,
                              has_more ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
        has_more = turn_end(&turn);
        if (e->has_reported) {
            e->has_reported = false;
            has_more |= waker_recheck(e->order_waker);
        }
        if (e->tick_is_slow && has_to_watch(e))
            add_tick(e, false);
    }
    if (clients_count(e->clients) > 0)
        log_warn(NULL, "%u connections are cut off at the end of the graceful timeout",
                 clients_count(e->clients));
}

static void on_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct edge *e = CAST_OBJ(arg, struct edge, EDGE_MAGIC);
    deadlines_expire(e->deadlines);
    exchanges_tick(e->exchanges);
    pool_tick(e->pool, deadlines_now(e->deadlines));
    add_tick(e, !has_to_watch(e));
}

/* ---- orders from the control thread ---- */

static void send_report(struct edge *e, struct edge_report *r)
{
    r->number = e->options->number;
    e->has_reported = true;
    if (link_send(e->orders, 0, slice_of(r, sizeof(*r)), (struct slice){0}) != ERR_NONE)
        log_error(NULL, "edge thread %u cannot report", r->number);
}

static void report(struct edge *e, enum edge_report_kind kind)
{
    struct edge_report r = {.kind = kind};
    send_report(e, &r);
}

static void on_notice(void *arg, const char *name, const char *text)
{
    struct edge *e = CAST_OBJ(arg, struct edge, EDGE_MAGIC);
    struct edge_report r = {.kind = EDGE_NOTICE};
    (void)snprintf(r.name, sizeof(r.name), "%s", name);
    (void)snprintf(r.text, sizeof(r.text), "%s", text);
    send_report(e, &r);
}

static void take_snapshot(struct edge *e, struct snapshot *s)
{
    s->number = e->options->number;
    s->was_followed = e->was_followed;
    s->connections = clients_count(e->clients);
    s->stats = e->stats;
    pool_report(e->pool, deadlines_now(e->deadlines), &s->pool);
    if (s->parts & SNAPSHOT_REQUESTS)
        exchanges_report(e->exchanges, &s->requests);
    if (s->parts & SNAPSHOT_CLIENTS)
        clients_report(e->clients, &s->clients);
    struct edge_report r = {.kind = EDGE_SNAPSHOT_TAKEN, .snapshot = s};
    send_report(e, &r);
}

static void tune(struct edge *e, const struct edge_tuning *tuning)
{
    e->tuned.queue_timeout_s = tuning->queue_timeout_s;
    e->tuned.request_timeout_s = tuning->request_timeout_s;
    e->tuned.graceful_timeout_s = tuning->graceful_timeout_s;
    deadlines_set_duration(e->deadlines, DEADLINE_REQUEST,
                           to_us(tuning->request_timeout_s));
    pool_set_limits(e->pool, tuning->max_queue, tuning->retry_budget_percent,
                    to_us(tuning->heartbeat_timeout_s));
}

/* No new connections; each open one ends with its answer. */
static void begin_stop(struct edge *e)
{
    if (e->is_stopping)
        return;
    e->is_stopping = true;
    e->stop_by_us = deadlines_now(e->deadlines) + to_us(e->tuned.graceful_timeout_s);
    for (uint32_t i = 0; i < e->options->listener_count; i++)
        listener_free(&e->listeners[i]);
    clients_stop(e->clients);
    exchanges_stop(e->exchanges, e->options->proxy->graceful_timeout_s);
}

static void follow(struct edge *e, const struct edge_order *order)
{
    bool is_known = true;
    enum err err;
    switch (order->kind) {
    case EDGE_ADD:
        err = pool_add(e->pool, order->name, order->backend.endpoint);
        if (err != ERR_NONE)
            log_error(NULL, "cannot add %s at %s: %s", order->name,
                      order->backend.endpoint, err_text(err));
        else
            is_known = pool_set(e->pool, order->name, &order->backend.settings);
        break;
    case EDGE_SET:
        is_known = pool_set(e->pool, order->name, &order->backend.settings);
        break;
    case EDGE_REMOVE:
        is_known = pool_remove(e->pool, order->name);
        break;
    case EDGE_ABORT_ALL:
        is_known = pool_abort_all(e->pool, order->name, ERR_KILLED);
        break;
    case EDGE_KILL_REQUEST:
        e->was_followed = exchanges_kill(e->exchanges, slice_from(order->name));
        break;
    case EDGE_SET_POOL:
        pool_set_state(e->pool, &order->pool_settings);
        break;
    case EDGE_SET_TUNING:
        tune(e, &order->tuning);
        break;
    case EDGE_RESET_COUNTERS:
        e->stats = (struct stats){0};
        pool_reset_counters(e->pool);
        break;
    case EDGE_SNAPSHOT:
        take_snapshot(e, order->snapshot);
        break;
    case EDGE_SHUTDOWN:
        begin_stop(e);
        break;
    }
    if (!is_known)
        log_warn(NULL, "no app server is called %s", order->name);
}

static enum waker_result on_orders(void *arg)
{
    struct edge *e = CAST_OBJ(arg, struct edge, EDGE_MAGIC);
    for (unsigned i = 0; i < ORDERS_PER_CALL; i++) {
        struct link_message m;
        struct edge_order order;
        if (link_recv(e->orders, &m) != STEP_DONE)
            return WAKER_DRAINED;
        ASSERT(m.frames.len == sizeof(order));
        memcpy(&order, m.frames.ptr, sizeof(order));
        link_message_done(&m);
        follow(e, &order);
    }
    return WAKER_INPUT_LEFT;
}
