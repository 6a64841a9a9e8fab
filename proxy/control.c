/* SPDX-License-Identifier: MIT
 * Start: resources and sockets first, so that nothing can fail once a thread runs; then
 * the edges; then their membership. After that it sleeps on the signals and on what the
 * edges report:
 *
 *     SIGTERM, SIGINT   finish what runs and end; a second one ends at once
 *     SIGUSR1           reopen the access log */
#include "proxy/control.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
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
#include "proxy/bind.h"
#include "proxy/edge.h"
#include "proxy/http/access_log.h"

enum { CONTROL_MAX_EDGES = 64 };

struct edge_thread {
    pthread_t thread;
    struct link *orders; /* our end of the PAIR */
    struct edge_options options;
    bool is_ready, is_stopped;
};

struct control {
    const struct proxy_options *options;
    struct link_context *context;
    struct access_log *access_log;
    struct bind_set *binds;
    int signal_fd;
    uint32_t edge_count;
    bool is_stopping, has_failed, is_announced;
    struct edge_thread edges[CONTROL_MAX_EDGES];
};

static bool open_everything(struct control *c);
static void start_edges(struct control *c);
static void serve(struct control *c);
static void close_everything(struct control *c);

int control_run(const struct proxy_options *options)
{
    struct control c = {
        .options = options,
        .signal_fd = -1,
        .edge_count = (uint32_t)options->threads,
    };
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
    unsigned links = c->edge_count * (2 * (unsigned)o->backend.count + 2);
    c->context = link_context_new(links);
    return true;
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

static void send_membership(struct control *c, struct edge_thread *e)
{
    for (size_t i = 0; i < c->options->backend.count; i++) {
        struct proxy_backend b;
        bool ok = proxy_backend_parse(c->options->backend.items[i], i, &b);
        ASSERT(ok);
        struct edge_order order = {.kind = EDGE_ADD};
        static_assert(sizeof order.name == sizeof b.name, "copied below");
        static_assert(sizeof order.endpoint == sizeof b.endpoint, "copied below");
        memcpy(order.name, b.name, sizeof order.name);
        memcpy(order.endpoint, b.endpoint, sizeof order.endpoint);
        send_order(e, &order);
    }
}

static void start_edges(struct control *c)
{
    uint64_t instance = 0;
    ASSERT(getrandom(&instance, sizeof instance, 0) == sizeof instance);
    for (uint32_t i = 0; i < c->edge_count; i++) {
        struct edge_thread *e = &c->edges[i];
        struct link *theirs;
        link_pair_new(c->context, &e->orders, &theirs);
        e->options = (struct edge_options){
            .proxy = c->options,
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
        send_membership(c, e);
        ASSERT(pthread_create(&e->thread, NULL, run_edge, &e->options) == 0);
        char name[16];
        (void)snprintf(name, sizeof name, "edge-%u", i);
        (void)pthread_setname_np(e->thread, name);
    }
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
static NO_RETURN void end_at_once(struct control *c)
{
    log_warn(NULL, "second signal: ending at once");
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
        stop_edges(c);
        break;
    case EDGE_STOPPED:
        e->is_stopped = true;
        break;
    }
}

static void read_reports(struct control *c, struct edge_thread *e)
{
    struct link_message m;
    while (link_recv(e->orders, &m) == STEP_DONE) {
        on_report(c, e, m.frames);
        link_message_done(&m);
    }
}

static void read_signals(struct control *c)
{
    struct signalfd_siginfo info;
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
    struct pollfd fds[CONTROL_MAX_EDGES + 1];
    fds[0] = (struct pollfd){.fd = c->signal_fd, .events = POLLIN};
    for (uint32_t i = 0; i < c->edge_count; i++)
        fds[i + 1] =
            (struct pollfd){.fd = link_fd(c->edges[i].orders), .events = POLLIN};
    for (;;) {
        /* Reading until nothing is left, and after all sends, is what the links'
         * descriptors ask for before they are waited for. */
        read_signals(c);
        for (uint32_t i = 0; i < c->edge_count; i++)
            read_reports(c, &c->edges[i]);
        if (all_stopped(c))
            return;
        bool has_input = false;
        for (uint32_t i = 0; i < c->edge_count; i++)
            has_input |= link_has_input(c->edges[i].orders);
        if (!has_input)
            (void)poll(fds, c->edge_count + 1, -1);
    }
}

static void close_everything(struct control *c)
{
    for (uint32_t i = 0; i < c->edge_count; i++)
        link_free(&c->edges[i].orders);
    link_context_free(&c->context);
    bind_set_free(&c->binds);
    access_log_free(&c->access_log);
    if (c->signal_fd >= 0)
        (void)close(c->signal_fd);
}
