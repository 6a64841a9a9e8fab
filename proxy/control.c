/* SPDX-License-Identifier: MIT
 * Start: resources and sockets first, so that nothing can fail once a thread runs; then
 * the edges; then their membership. After that it sleeps on the signals and on what the
 * edges report:
 *
 *     SIGTERM, SIGINT   finish what runs and end; a second one ends at once
 *     SIGUSR1           reopen the access log
 *     SIGHUP            read the configuration again
 *
 * and on the operator's lines (proxy/admin), which become orders to the edges. */
#include "proxy/control.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "protocol/base/buf.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/link.h"
#include "proxy/admin/admin.h"
#include "proxy/bind.h"
#include "proxy/config/diff.h"
#include "proxy/edge.h"
#include "proxy/http/access_log.h"
#include "proxy/waker.h"

enum {
    CONTROL_MAX_EDGES = 64,
    CONTROL_MORE_BACKENDS = 1024, /* that an operator may add */
    REPORTS_PER_CALL = 64,
};

struct edge_thread {
    pthread_t thread;
    struct link *orders; /* our end of the PAIR */
    struct waker *waker;
    struct control *control;
    struct edge_options options;
    uint64_t config_number; /* the configuration that it has said it follows */
    bool is_ready, is_stopped;
};

struct control {
    struct config *config;
    struct config *started; /* the first one; kept */
    struct list former;     /* configurations that an edge may still look at */
    const struct proxy_options *options; /* its options */
    struct link_context *context;
    struct access_log *access_log;
    struct bind_set *binds;
    struct event_base *base;
    struct event *signals;
    struct admin *admin;
    int signal_fd;
    uint32_t edge_count;
    bool is_stopping, has_failed, is_announced;
    struct edge_thread edges[CONTROL_MAX_EDGES];
};

static bool open_everything(struct control *c);
static bool open_admin(struct control *c);
static void start_edges(struct control *c);
static void stop_edges(struct control *c);
static NO_RETURN void end_at_once(struct control *c);
static void on_signals(evutil_socket_t fd, short what, void *arg);
static enum waker_result on_reports(void *arg);
static void free_former(struct control *c);
static void serve(struct control *c);
static void close_everything(struct control *c);

int control_run(struct config **config_p)
{
    const struct proxy_options *options = &(*config_p)->options;
    struct control c = {
        .config = take(*config_p),
        .options = options,
        .signal_fd = -1,
        .edge_count = (uint32_t)options->threads,
    };
    c.started = c.config;
    list_init(&c.former);
    ASSERT(c.edge_count >= 1 && c.edge_count <= CONTROL_MAX_EDGES);
    if (!open_everything(&c)) {
        close_everything(&c);
        return 1;
    }
    start_edges(&c);
    serve(&c);
    for (uint32_t i = 0; i < c.edge_count; i++)
        ASSERT(pthread_join(c.edges[i].thread, NULL) == 0);
    close_everything(&c);
    return c.has_failed ? 1 : 0;
}

/* ---- start ---- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn(NULL, "cannot raise the limit of open files: %s", strerror(errno));
}

/* Every thread inherits the blocked set: only the signalfd takes the signals. */
static int open_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    ASSERT(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static bool open_binds(struct control *c)
{
    struct buf message;
    buf_init(&message, 0);
    bool ok = true;
    for (size_t i = 0; ok && i < c->options->bind.count; i++) {
        struct bind_address address;
        ok = bind_parse(c->options->bind.items[i], &address, &message) &&
             bind_set_open(c->binds, &address, &message);
    }
    if (!ok)
        log_error(NULL, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return ok;
}

static bool open_everything(struct control *c)
{
    const struct proxy_options *o = c->options;
    raise_file_limit();
    c->signal_fd = open_signals();
    if (c->signal_fd < 0) {
        log_error(NULL, "cannot watch signals: %s", strerror(errno));
        return false;
    }
    struct sched_param no_priority = {0};
    if (o->sched_batch && sched_setscheduler(0, SCHED_BATCH, &no_priority) != 0)
        log_debug(NULL, "no SCHED_BATCH: %s", strerror(errno));
    if (o->access_logfile != NULL) {
        c->access_log = access_log_open(o->access_logfile);
        if (c->access_log == NULL) {
            log_error(NULL, "--access-logfile: cannot write %s: %s", o->access_logfile,
                      strerror(errno));
            return false;
        }
    }
    c->binds = bind_set_new(c->edge_count);
    if (!open_binds(c))
        return false;
    /* A link for each backend of each edge, replaced ones for a moment too, and the
     * PAIRs. */
    size_t backends = 0;
    for (size_t i = 0; i < c->config->pool_count; i++)
        backends += c->config->pools[i].backend_count;
    if (o->control.count > 0 || o->state_file != NULL || o->config != NULL)
        backends += CONTROL_MORE_BACKENDS;
    c->context = link_context_new(c->edge_count * (2 * (unsigned)backends + 2));
    c->base = event_base_new();
    if (c->base == NULL) {
        log_error(NULL, "no event loop: %s", strerror(errno));
        return false;
    }
    c->signals = event_new(c->base, c->signal_fd, EV_READ | EV_PERSIST, on_signals, c);
    ASSERT(c->signals != NULL && event_add(c->signals, NULL) == 0);
    return open_admin(c);
}

static void *run_edge(void *arg)
{
    edge_run(arg);
    return NULL;
}

static void send_order(struct edge_thread *e, const struct edge_order *order)
{
    enum err err = link_send(e->orders, 0, slice_of(order, sizeof *order), SLICE(""));
    if (err != ERR_NONE)
        log_error(NULL, "cannot reach edge thread %u", e->options.number);
}

static struct edge_order order_for(enum edge_order_kind kind,
                                   const struct config_pool *pool,
                                   const struct config_backend *b)
{
    struct edge_order order = {.kind = kind};
    static_assert(sizeof order.pool == sizeof pool->site.name, "copied below");
    static_assert(sizeof order.name == sizeof b->name, "copied below");
    static_assert(sizeof order.backend.endpoint == sizeof b->endpoint, "copied below");
    memcpy(order.pool, pool->site.name, sizeof order.pool);
    memcpy(order.name, b->name, sizeof order.name);
    memcpy(order.backend.endpoint, b->endpoint, sizeof order.backend.endpoint);
    order.backend.settings = BACKEND_SETTINGS;
    order.backend.settings.weight = b->weight;
    order.backend.settings.limit = b->limit;
    return order;
}

static void send_membership(struct control *c, struct edge_thread *e)
{
    for (size_t i = 0; i < c->config->pool_count; i++) {
        const struct config_pool *pool = &c->config->pools[i];
        if (!pool->is_named)
            continue; /* the admin's */
        for (size_t n = 0; n < pool->backend_count; n++) {
            struct edge_order order = order_for(EDGE_ADD, pool, &pool->backends[n]);
            send_order(e, &order);
        }
    }
}

/* ---- what the admin asks for ---- */

static void on_order(void *owner, uint32_t edge, const struct edge_order *order)
{
    struct control *c = owner;
    send_order(&c->edges[edge], order);
}

static void on_shut_down(void *owner, enum shutdown_kind kind)
{
    struct control *c = owner;
    if (kind == SHUTDOWN_QUICK)
        end_at_once(c);
    stop_edges(c);
}

static bool on_reopen_logs(void *owner)
{
    struct control *c = owner;
    return c->access_log == NULL || access_log_reopen(c->access_log);
}

static bool on_reload(void *owner, struct buf *ret_report)
{
    return control_reload(owner, ret_report);
}

static bool on_check(void *owner, const char *path, struct buf *ret_report)
{
    const struct control *c = owner;
    if (path != NULL || c->options->config != NULL)
        return config_check_file(c->config, path, ret_report) == ERR_NONE;
    buf_addf(ret_report, "there is no --config; name a file: check FILE");
    return false;
}

static bool open_admin(struct control *c)
{
    struct buf message;
    struct admin_options options = {
        .base = c->base,
        .proxy = c->options,
        .edge_count = c->edge_count,
        .listener_names = bind_set_names(c->binds),
        .listener_count = bind_set_count(c->binds),
        .owner = c,
        .order = on_order,
        .shut_down = on_shut_down,
        .reopen_logs = on_reopen_logs,
        .reload = on_reload,
        .check = on_check,
    };
    buf_init(&message, 0);
    c->admin = admin_new(&options, &message);
    bool ok = c->admin != NULL && admin_listen(c->admin, &message);
    if (!ok)
        log_error(NULL, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return ok;
}

/* ---- edges ---- */

static void start_edges(struct control *c)
{
    uint64_t instance = 0;
    ASSERT(getrandom(&instance, sizeof instance, 0) == sizeof instance);
    for (uint32_t i = 0; i < c->edge_count; i++) {
        struct edge_thread *e = &c->edges[i];
        struct link *theirs;
        link_pair_new(c->context, &e->orders, &theirs);
        e->options = (struct edge_options){
            .config = c->config,
            .number = i,
            .count = c->edge_count,
            .context = c->context,
            .orders = theirs,
            .listeners = bind_set_take(c->binds, i),
            .listener_names = bind_set_names(c->binds),
            .listener_count = bind_set_count(c->binds),
            .access_log = c->access_log,
            .instance = instance,
        };
        e->control = c;
        e->waker = waker_new(c->base, e->orders, on_reports, e);
        admin_introduce(c->admin, i);
        send_membership(c, e);
        ASSERT(pthread_create(&e->thread, NULL, run_edge, &e->options) == 0);
        char name[16];
        (void)snprintf(name, sizeof name, "edge-%u", i);
        (void)pthread_setname_np(e->thread, name);
    }
}

/* ---- another configuration ---- */

struct reload {
    struct control *c;
    struct buf *report;
    unsigned changes;
};

static void add_line(struct buf *report, const char *text)
{
    buf_addf(report, "%s%s", buf_len(report) == 0 ? "" : "\n", text);
}

static void log_lines(struct buf *report)
{
    struct slice rest = buf_slice(report);
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t length = end == NULL ? rest.len : (size_t)(end - rest.ptr);
        log_error(NULL, "reload: %.*s", (int)length, rest.ptr);
        length += end != NULL;
        rest = slice_of(rest.ptr + length, rest.len - length);
    }
}

static bool refuse_reload(struct buf *report)
{
    log_lines(report);
    log_error(NULL, "reload: nothing has changed");
    return false;
}

static void on_change(void *arg, const struct config_change *change)
{
    struct reload *r = arg;
    bool is_late = change->kind == CHANGE_FOR_RESTART;
    log_write(is_late ? LOG_WARN : LOG_INFO, NULL, "reload: %s", change->text);
    add_line(r->report, change->text);
    r->changes++;
    enum edge_order_kind kind;
    if (change->kind == CHANGE_ADDED)
        kind = EDGE_ADD;
    else if (change->kind == CHANGE_REMOVED)
        kind = EDGE_RETIRE;
    else if (change->kind == CHANGE_SETTINGS)
        kind = EDGE_SET;
    else
        return;
    for (uint32_t i = 0; i < r->c->edge_count; i++) {
        struct edge_thread *e = &r->c->edges[i];
        struct edge_order order = order_for(kind, change->pool, change->backend);
        if (!e->is_stopped && change->pool->is_named)
            send_order(e, &order);
    }
}

static void free_former(struct control *c)
{
    LIST_FOREACH(&c->former, n) {
        struct config *config = NODE_OF(n, struct config, node);
        bool is_in_use = false;
        for (uint32_t i = 0; i < c->edge_count; i++)
            is_in_use |=
                !c->edges[i].is_stopped && c->edges[i].config_number <= config->number;
        if (!is_in_use)
            config_free(&config);
    }
}

static void put_in_force(struct control *c, struct config *fresh)
{
    struct edge_order order = {.kind = EDGE_CONFIGURE, .config = fresh};
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (!c->edges[i].is_stopped)
            send_order(&c->edges[i], &order);
    fresh->number = c->config->number + 1;
    if (c->config != c->started)
        list_push_back(&c->former, &c->config->node);
    c->config = fresh;
    c->options = &fresh->options;
    admin_set_options(c->admin, c->options);
    log_set_up(&c->options->log);
}

bool control_reload(struct control *c, struct buf *ret_report)
{
    struct config *was = c->config, *fresh = NULL;
    if (c->is_stopping || was->options.config == NULL) {
        add_line(ret_report, c->is_stopping ? "the proxy is shutting down"
                                            : "there is no --config to read again");
        return refuse_reload(ret_report);
    }
    if (config_load(was->argc, was->argv, &fresh, ret_report) != ERR_NONE)
        return refuse_reload(ret_report);
    if (fresh->options.insecure != was->options.insecure) {
        add_line(ret_report, "insecure: takes a restart");
        config_free(&fresh);
        return refuse_reload(ret_report);
    }
    struct reload reload = {.c = c, .report = ret_report};
    put_in_force(c, fresh);
    config_diff(c->started, was, fresh, on_change, &reload);
    if (reload.changes == 0)
        add_line(ret_report, "nothing differs");
    log_info(NULL, "reload: %s is in force, changes: %u", fresh->options.config,
             reload.changes);
    return true;
}

/* ---- run ---- */

static void stop_edges(struct control *c)
{
    static const struct edge_order order = {.kind = EDGE_SHUTDOWN};
    if (c->is_stopping)
        return;
    c->is_stopping = true;
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (!c->edges[i].is_stopped)
            send_order(&c->edges[i], &order);
}

/* The edges are cut off where they stand; what must not stay behind is removed. */
static void end_at_once(struct control *c)
{
    log_warn(NULL, "ending at once");
    admin_free(&c->admin);
    bind_set_free(&c->binds);
    _exit(0);
}

static void on_signal(struct control *c, uint32_t number)
{
    if (number == SIGUSR1) {
        if (c->access_log != NULL && !access_log_reopen(c->access_log))
            log_error(NULL, "cannot reopen the access log: %s", strerror(errno));
        return;
    }
    if (number == SIGHUP) {
        struct buf report;
        buf_init(&report, 0);
        bool is_new UNUSED = control_reload(c, &report);
        buf_fini(&report);
        return;
    }
    if (c->is_stopping)
        end_at_once(c);
    log_info(NULL, "%s: finishing what runs, for at most %g s; once more ends at once",
             number == SIGINT ? "SIGINT" : "SIGTERM", c->options->graceful_timeout_s);
    stop_edges(c);
}

static void announce_when_ready(struct control *c)
{
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (!c->edges[i].is_ready)
            return;
    if (c->is_announced)
        return;
    c->is_announced = true;
    const char *const *names = bind_set_names(c->binds);
    for (uint32_t i = 0; i < bind_set_count(c->binds); i++)
        log_info(NULL, "listening on %s", names[i]);
}

static void on_report(struct control *c, struct edge_thread *e, struct slice bytes)
{
    struct edge_report report;
    ASSERT(bytes.len == sizeof report);
    memcpy(&report, bytes.ptr, sizeof report);
    switch (report.kind) {
    case EDGE_READY:
        e->is_ready = true;
        announce_when_ready(c);
        break;
    case EDGE_FAILED:
        log_error(NULL, "edge thread %u failed", e->options.number);
        e->is_stopped = c->has_failed = true;
        admin_on_edge_stopped(c->admin, e->options.number);
        stop_edges(c);
        break;
    case EDGE_STOPPED:
        e->is_stopped = true;
        admin_on_edge_stopped(c->admin, e->options.number);
        break;
    case EDGE_CONFIGURED:
        e->config_number++;
        free_former(c);
        break;
    case EDGE_SNAPSHOT_TAKEN:
        admin_on_snapshot(c->admin, report.snapshot);
        break;
    case EDGE_NOTICE:
        admin_on_notice(c->admin, report.name, report.text);
        break;
    }
}

static enum waker_result on_reports(void *arg)
{
    struct edge_thread *e = arg;
    for (unsigned i = 0; i < REPORTS_PER_CALL; i++) {
        struct link_message m;
        if (link_recv(e->orders, &m) != STEP_DONE)
            return WAKER_DRAINED;
        on_report(e->control, e, m.frames);
        link_message_done(&m);
    }
    return WAKER_INPUT_LEFT;
}

static void on_signals(evutil_socket_t fd, short what, void *arg)
{
    struct control *c = arg;
    struct signalfd_siginfo info;
    (void)fd;
    (void)what;
    while (read(c->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(c, info.ssi_signo);
}

static bool all_stopped(const struct control *c)
{
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (!c->edges[i].is_stopped)
            return false;
    return true;
}

static void serve(struct control *c)
{
    while (!all_stopped(c)) {
        (void)event_base_loop(c->base, EVLOOP_ONCE);
        /* Orders were sent, perhaps; that may have used up a descriptor's edge. */
        for (uint32_t i = 0; i < c->edge_count; i++)
            (void)waker_recheck(c->edges[i].waker);
    }
}

static void close_everything(struct control *c)
{
    admin_free(&c->admin);
    for (uint32_t i = 0; i < c->edge_count; i++) {
        waker_free(&c->edges[i].waker);
        link_free(&c->edges[i].orders);
    }
    link_context_free(&c->context);
    bind_set_free(&c->binds);
    access_log_free(&c->access_log);
    if (c->signals != NULL)
        event_free(c->signals);
    if (c->base != NULL)
        event_base_free(c->base);
    LIST_FOREACH(&c->former, n) {
        struct config *config = NODE_OF(n, struct config, node);
        config_free(&config);
    }
    if (c->config != c->started)
        config_free(&c->config);
    config_free(&c->started);
    if (c->signal_fd >= 0)
        (void)close(c->signal_fd);
}
