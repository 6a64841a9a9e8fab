/* SPDX-License-Identifier: MIT
 * An edge thread's parts, built in order and undone in reverse, and its loop:
 *
 *     wait for events, run their callbacks, end the turn (turn.c), again
 *
 * A tick drives the deadlines and the pools': every TICK_MS while there is anything to
 * watch, else every SLOW_TICK_MS. */
#include "proxy/edge.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/deadline.h"
#include "proxy/exchange.h"
#include "proxy/http/access_log.h"
#include "proxy/http/clients.h"
#include "proxy/http/file.h"
#include "proxy/http/listeners.h"
#include "proxy/site.h"
#include "proxy/stats.h"
#include "proxy/turn.h"
#include "proxy/upstream/pool.h"
#include "proxy/waker.h"

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
    struct proxy_options proxy; /* as this thread knows them; borrows no text */
    struct deadlines *deadlines;
    struct sites *sites;
    struct file_roots *roots;
    struct access_writer *access;
    struct exchanges *exchanges;
    struct clients *clients;
    struct listeners *listeners;
    struct link *orders;
    struct waker *order_waker;
    struct event *tick;
    uint64_t backend_count; /* configured */
    bool tick_is_slow;
    bool is_stopping, is_leaving;
    bool has_reported; /* which may have used up the edge of the orders' descriptor */
    bool was_followed; /* the last EDGE_KILL_REQUEST or _CLIENT found whom it meant */
    uint64_t stop_by_us;
    struct stats stats;
};

static bool build(struct edge *e);
static void run(struct edge *e);
static void undo(struct edge *e);
static void report(struct edge *e, enum edge_report_kind kind);
static enum waker_result on_orders(void *arg);
static void on_notice(void *arg, const char *pool, const char *name, const char *text);
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

static struct site *build_site(struct edge *e, const struct config_pool *from)
{
    const struct proxy_options *o = &e->proxy;
    struct pool_options options = {
        .balancer = balance_find(from->balancer),
        .policy = from->policy,
        .max_queue = from->site.max_queue,
        .heartbeat_timeout_us = to_us(o->heartbeat_timeout_s),
        .retry_budget_percent = (uint32_t)o->retry_budget,
        .window_bytes = (uint64_t)o->response_buffer,
        .keys = e->options->keys,
        .insecure = o->insecure,
        .has_files = o->sendfile_root.count > 0,
        .instance = e->options->instance,
        .is_quiet = e->options->number > 0,
        .notice = on_notice,
        .notice_arg = e,
    };
    memcpy(options.label, from->site.name, sizeof options.label);
    if (from->is_named)
        memcpy(options.name, from->site.name, sizeof options.name);
    struct pool *pool = pool_new(e->base, e->options->context, &options);
    return sites_add(e->sites, &from->site, &pool);
}

static void set_site(struct edge *e, struct site *site, const struct config_pool *from)
{
    site_set(site, &from->site);
    pool_set_policy(site->pool, balance_find(from->balancer), &from->policy);
    pool_set_limits(site->pool, from->site.max_queue, (uint32_t)e->proxy.retry_budget,
                    to_us(e->proxy.heartbeat_timeout_s));
}

/* What waits there is served; nobody could resume it later. */
static void let_go(struct edge *e, struct site *site)
{
    static const struct pool_settings serving = {.state = POOL_SERVING};
    pool_set_state(site->pool, &serving);
    sites_remove(e->sites, site);
}

/* The pools that the configuration names, and the routes to them. What is not named any
 * more leaves when its last request has ended. */
static void use_pools(struct edge *e, const struct config *config)
{
    struct site *targets[CONFIG_MAX_POOLS];
    e->backend_count = 0;
    for (size_t i = 0; i < config->pool_count; i++) {
        const struct config_pool *pool = &config->pools[i];
        targets[i] = sites_find(e->sites, pool->site.name);
        if (targets[i] == NULL)
            targets[i] = build_site(e, pool);
        else
            set_site(e, targets[i], pool);
        e->backend_count += config->pools[i].backend_count;
    }
    struct routes *routes = config->route_count == 0
                                ? NULL
                                : routes_new(config->routes, config->route_count);
    sites_route(e->sites, &routes, targets, (uint32_t)config->pool_count);
    for (struct site *s = sites_first(e->sites); s != NULL; s = sites_next(e->sites, s))
        if (!s->is_leaving && config_find_pool(config, s->settings.name) == NULL)
            let_go(e, s);
}

static void build_exchanges(struct edge *e)
{
    const struct proxy_options *o = &e->proxy;
    e->roots = file_roots_new(o->sendfile_root.items, o->sendfile_root.count);
    if (e->options->access_log != NULL)
        e->access = access_writer_new(e->options->access_log);
    struct exchanges_options exchanges = {
        .proxy = o,
        .sites = e->sites,
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
    const struct proxy_options *o = &e->proxy;
    uint64_t most = (uint64_t)o->max_connections, count = e->options->count;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
        uint64_t reserved = OWN_FILES + FILES_PER_LINK * e->backend_count * count;
        uint64_t left = files.rlim_cur > reserved ? files.rlim_cur - reserved : 0;
        if (left < most && e->options->number == 0)
            log_warn(NULL, "%llu open files are allowed: at most %llu connections",
                     (unsigned long long)files.rlim_cur, (unsigned long long)left);
        most = left < most ? left : most;
    }
    return (uint32_t)((most + count - 1) / count);
}

static struct clients_options clients_options_of(struct edge *e)
{
    const struct proxy_options *o = &e->proxy;
    return (struct clients_options){
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
}

static void build_clients(struct edge *e)
{
    struct clients_options clients = clients_options_of(e);
    e->clients = clients_new(e->base, &clients);
    e->listeners = listeners_new(e->base, e->clients, &e->stats);
    if (e->options->dealer != NULL)
        listeners_sit(e->listeners, e->options->dealer, e->options->number);
}

static void add_tick(struct edge *e, bool is_slow)
{
    struct timeval wait = {.tv_usec = (is_slow ? SLOW_TICK_MS : TICK_MS) * 1000};
    e->tick_is_slow = is_slow;
    (void)evtimer_add(e->tick, &wait);
}

static bool build(struct edge *e)
{
    e->proxy = e->options->config->options;
    e->base = new_base();
    if (e->base == NULL) {
        log_error(NULL, "no event loop with edge-triggered events (epoll) here");
        return false;
    }
    e->deadlines = deadlines_new();
    e->sites = sites_new();
    use_pools(e, e->options->config);
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
    if (e->listeners != NULL)
        listeners_end(e->listeners);
    clients_free(&e->clients);
    listeners_free(&e->listeners);
    bool has_input UNUSED = sites_turn(e->sites, deadlines_now(e->deadlines));
    exchanges_free(&e->exchanges);
    access_writer_free(&e->access);
    file_roots_free(&e->roots);
    sites_free(&e->sites);
    deadlines_free(&e->deadlines);
    event_base_free(e->base);
    stats_log(&e->stats, e->options->number);
}

/* ---- the loop ---- */

static bool has_to_watch(const struct edge *e)
{
    return deadlines_has_armed(e->deadlines) || sites_has_to_watch(e->sites);
}

static bool is_done(struct edge *e)
{
    bool is_late = e->is_stopping && deadlines_now(e->deadlines) >= e->stop_by_us;
    return is_late ||
           ((e->is_stopping || e->is_leaving) && clients_count(e->clients) == 0);
}

static void run(struct edge *e)
{
    const struct turn turn = {e->sites, e->clients, e->deadlines, e->access};
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
    sites_tick(e->sites, deadlines_now(e->deadlines));
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

static void on_notice(void *arg, const char *pool, const char *name, const char *text)
{
    struct edge *e = CAST_OBJ(arg, struct edge, EDGE_MAGIC);
    struct edge_report r = {.kind = EDGE_NOTICE};
    (void)snprintf(r.pool, sizeof(r.pool), "%s", pool);
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
    snapshot_pools(s, e->sites, deadlines_now(e->deadlines));
    if (s->parts & SNAPSHOT_REQUESTS)
        exchanges_report(e->exchanges, &s->requests);
    if (s->parts & SNAPSHOT_CLIENTS)
        clients_report(e->clients, &s->clients);
    if (s->parts & SNAPSHOT_REFUSALS)
        clients_refusals(e->clients, &s->refusals);
    struct edge_report r = {.kind = EDGE_SNAPSHOT_TAKEN, .snapshot = s};
    send_report(e, &r);
}

/* A pool's own settings, from the file, stay. */
static void tune(struct edge *e, const struct edge_tuning *tuning)
{
    e->proxy.graceful_timeout_s = tuning->graceful_timeout_s;
    for (struct site *s = sites_first(e->sites); s != NULL;
         s = sites_next(e->sites, s)) {
        struct site_settings settings = s->settings;
        if (!(settings.own & SITE_OWN_MAX_QUEUE))
            settings.max_queue = tuning->max_queue;
        if (!(settings.own & SITE_OWN_QUEUE_TIMEOUT))
            settings.queue_timeout_us = to_us(tuning->queue_timeout_s);
        if (!(settings.own & SITE_OWN_REQUEST_TIMEOUT))
            settings.request_timeout_us = to_us(tuning->request_timeout_s);
        site_set(s, &settings);
        pool_set_limits(s->pool, settings.max_queue, tuning->retry_budget_percent,
                        to_us(tuning->heartbeat_timeout_s));
    }
}

/* What only a restart changes (config_is_live) stays as it is. */
static void configure(struct edge *e, const struct config *config)
{
    struct proxy_options was = e->proxy;
    e->proxy = config->options;
    e->proxy.sendfile_root = was.sendfile_root;
    e->proxy.response_buffer = was.response_buffer;
    e->proxy.max_pipeline = was.max_pipeline;
    e->proxy.limits.max_head = was.limits.max_head;
    e->proxy.limits.max_field = was.limits.max_field;
    use_pools(e, config);
    struct clients_options clients = clients_options_of(e);
    clients_set(e->clients, &clients);
    exchanges_set(e->exchanges);
    report(e, EDGE_CONFIGURED);
}

/* No new connections; each open one ends with its answer. */
static void begin_stop(struct edge *e)
{
    if (e->is_stopping)
        return;
    e->is_stopping = true;
    e->stop_by_us = deadlines_now(e->deadlines) + to_us(e->proxy.graceful_timeout_s);
    listeners_close(e->listeners, NULL);
    clients_stop(e->clients);
    exchanges_stop(e->exchanges, e->proxy.graceful_timeout_s);
}

/* Whoever listens there now takes what is new. */
static void begin_leave(struct edge *e)
{
    if (e->is_stopping || e->is_leaving)
        return;
    e->is_leaving = true;
    listeners_leave(e->listeners);
    clients_leave(e->clients);
}

static void listen_at(struct edge *e, const struct edge_order *order)
{
    if (e->is_stopping || e->is_leaving)
        (void)close(order->listen.fd);
    else if (order->listen.is_shared)
        listeners_share(e->listeners, order->listen.fd, order->listen.name);
    else
        listeners_add(e->listeners, order->listen.fd, order->listen.name);
}

/* True: followed. */
static bool follow_listening(struct edge *e, const struct edge_order *order)
{
    switch (order->kind) {
    case EDGE_LISTEN:
        listen_at(e, order);
        return true;
    case EDGE_UNLISTEN:
        listeners_close(e->listeners, order->listen.name);
        return true;
    case EDGE_LEAVE:
        begin_leave(e);
        return true;
    default:
        return false;
    }
}

static void follow_at(struct pool *pool, const struct edge_order *order)
{
    enum err err = ERR_NONE;
    bool is_there = true;
    switch (order->kind) {
    case EDGE_ADD:
        err = pool_add(pool, order->name, order->backend.endpoint);
        if (err != ERR_NONE)
            log_error(NULL, "cannot add %s/%s at %s: %s", order->pool, order->name,
                      order->backend.endpoint, err_text(err));
        else
            is_there = pool_set(pool, order->name, &order->backend.settings);
        break;
    case EDGE_SET:
        is_there = pool_set(pool, order->name, &order->backend.settings);
        break;
    case EDGE_RETIRE:
        is_there = pool_retire(pool, order->name);
        break;
    case EDGE_REMOVE:
        is_there = pool_remove(pool, order->name);
        break;
    case EDGE_ABORT_ALL:
        is_there = pool_abort_all(pool, order->name, ERR_KILLED);
        break;
    case EDGE_SET_POOL:
        pool_set_state(pool, &order->pool_settings);
        break;
    default: /* not a pool's */
        break;
    case EDGE_SHUTDOWN:
        break;
    }
    if (!is_there)
        log_warn(NULL, "no app server is called %s/%s", order->pool, order->name);
}

/* What there is now stays. */
static void reset_counters(struct edge *e)
{
    struct stats fresh = {0};
#define STAT(name, help)
#define STAT_NOW(name, help) fresh.name = e->stats.name;
#include "proxy/stats.def"
#undef STAT
    e->stats = fresh;
    for (struct site *s = sites_first(e->sites); s != NULL; s = sites_next(e->sites, s))
        pool_reset_counters(s->pool);
}

static void follow(struct edge *e, const struct edge_order *order)
{
    if (order->kind == EDGE_SHUTDOWN) {
        begin_stop(e);
        return;
    }
    if (order->kind == EDGE_PROBE) {
        report(e, EDGE_TURNED);
        return;
    }
    if (follow_listening(e, order))
        return;
    if (order->kind == EDGE_SNAPSHOT) {
        take_snapshot(e, order->snapshot);
        return;
    }
    if (order->kind == EDGE_KILL_REQUEST) {
        e->was_followed = exchanges_kill(e->exchanges, slice_from(order->name));
        return;
    }
    if (order->kind == EDGE_KILL_CLIENT) {
        e->was_followed = clients_kill(e->clients, order->client);
        return;
    }
    if (order->kind == EDGE_CONFIGURE) {
        configure(e, order->config);
        return;
    }
    if (order->kind == EDGE_SET_TUNING) {
        tune(e, &order->tuning);
        return;
    }
    if (order->kind == EDGE_KEYS) {
        sites_keys_changed(e->sites);
        return;
    }
    if (order->kind == EDGE_RESET_COUNTERS) {
        reset_counters(e);
        return;
    }
    struct site *site = sites_find(e->sites, order->pool);
    if (site == NULL)
        log_error(NULL, "no pool is called %s", order->pool);
    else
        follow_at(site->pool, order);
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
