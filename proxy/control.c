/* SPDX-License-Identifier: MIT
 * Start: resources and sockets first, so that nothing can fail once a thread runs; then
 * the edges; then their membership. After that it sleeps on the signals and on what the
 * edges report:
 *
 *     SIGTERM, SIGINT   finish what runs and end; a second one ends at once
 *     SIGUSR1           reopen the access log
 *     SIGHUP            read the configuration again
 *     SIGUSR2           give way to the program that stands at our path now
 *
 * and on the operator's lines (proxy/admin), which become orders to the edges. */
#include "proxy/control.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
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
#include "proxy/admin/members.h"
#include "proxy/control_priv.h"
#include "proxy/http/access_log.h"
#include "proxy/http/dealer.h"
#include "proxy/identity.h"
#include "proxy/waker.h"

enum {
    REPORTS_PER_CALL = 64,
};

static bool open_everything(struct control *c);
static bool open_admin(struct control *c);
static void start_edges(struct control *c);
static void on_signals(evutil_socket_t fd, short what, void *arg);
static enum waker_result on_reports(void *arg);
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
    if (c.predecessor == NULL)
        control_begin_listening(&c);
    else
        admin_await_backends(c.admin);
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

/* A live link's socket, its monitor's two ends and its connection. */
enum { FILES_PER_LINK = 4 };

static void check_file_limit(uint32_t edges, size_t backends)
{
    struct rlimit limit;
    size_t files = edges * backends * FILES_PER_LINK;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || files <= limit.rlim_cur / 2)
        return;
    log_warn(NULL,
             "the links of %u edge threads to %zu app servers take %zu of %llu open "
             "files: raise the limit (ulimit -n, LimitNOFILE=), or lower --threads",
             edges, backends, files, (unsigned long long)limit.rlim_cur);
}

/* Every thread inherits the blocked set: only the signalfd takes the signals. */
static int open_signals(sigset_t *ret_before)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR2);
    (void)sigaddset(&set, SIGCHLD);
    (void)signal(SIGPIPE, SIG_IGN);
    ASSERT(pthread_sigmask(SIG_BLOCK, &set, ret_before) == 0);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static bool open_keys(struct control *c)
{
    struct buf message;
    buf_init(&message, 0);
    bool ok = identity_open(c->options, &c->keys, &message);
    if (!ok)
        log_text(LOG_ERROR, NULL, buf_slice(&message));
    buf_fini(&message);
    return ok;
}

static bool open_everything(struct control *c)
{
    const struct proxy_options *o = c->options;
    raise_file_limit();
    c->signal_fd = open_signals(&c->start_signals);
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
    struct buf message;
    buf_init(&message, 0);
    bool is_open = control_open_listeners(c, &message);
    if (!is_open)
        log_error(NULL, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    if (!is_open)
        return false;
    /* A link for each backend of each edge, replaced ones for a moment too, and the
     * PAIRs. */
    size_t backends = 0;
    for (size_t i = 0; i < c->config->pool_count; i++)
        backends += c->config->pools[i].backend_count;
    check_file_limit(c->edge_count, backends);
    backends += MEMBERS_MORE;
    if (!open_keys(c))
        return false;
    /* Another one for each while our key changes. */
    c->context = link_context_new(c->edge_count * (3 * (unsigned)backends + 2));
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

void control_order(struct edge_thread *e, const struct edge_order *order)
{
    enum err err = link_send(e->orders, 0, slice_of(order, sizeof *order), SLICE(""));
    if (err != ERR_NONE)
        log_error(NULL, "cannot reach edge thread %u", e->options.number);
}

void control_order_all(struct control *c, const struct edge_order *order)
{
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (!c->edges[i].is_stopped)
            control_order(&c->edges[i], order);
}

/* ---- what the admin asks for ---- */

static void on_order(void *owner, uint32_t edge, const struct edge_order *order)
{
    struct control *c = owner;
    control_order(&c->edges[edge], order);
}

static void on_shut_down(void *owner, enum shutdown_kind kind)
{
    struct control *c = owner;
    if (kind == SHUTDOWN_QUICK)
        control_end_at_once(c);
    control_stop(c);
}

static bool on_reopen_logs(void *owner)
{
    struct control *c = owner;
    return c->access_log == NULL || access_log_reopen(c->access_log);
}

static bool on_upgrade(void *owner, uint64_t patience_us, struct buf *ret_message)
{
    return control_upgrade(owner, patience_us, ret_message);
}

static bool on_reload(void *owner, const char *by, struct buf *ret_report)
{
    return control_reload(owner, by, ret_report);
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
        .config = c->config,
        .keys = c->keys,
        .edge_count = c->edge_count,
        .binds = c->binds,
        .inherited = c->inherited,
        .owner = c,
        .order = on_order,
        .shut_down = on_shut_down,
        .reopen_logs = on_reopen_logs,
        .reload = on_reload,
        .check = on_check,
        .upgrade = on_upgrade,
        .backends_are_up = control_backends_are_up,
        .backends = control_service_backends,
        .state = c->predecessor == NULL ? (struct slice){0}
                                        : predecessor_state(c->predecessor),
        .is_successor = c->predecessor != NULL,
    };
    buf_init(&message, 0);
    c->admin = admin_new(&options, &message);
    bool ok = c->admin != NULL && control_open_admin_listeners(c, &message);
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
            .keys = c->keys,
            .orders = theirs,
            .access_log = c->access_log,
            .dealer = c->dealer,
            .instance = instance,
        };
        e->control = c;
        e->waker = waker_new(c->base, e->orders, on_reports, e);
        admin_introduce(c->admin, i);
        ASSERT(pthread_create(&e->thread, NULL, run_edge, &e->options) == 0);
        char name[16];
        (void)snprintf(name, sizeof name, "edge-%u", i);
        (void)pthread_setname_np(e->thread, name);
    }
}

/* ---- run ---- */

void control_stop(struct control *c)
{
    static const struct edge_order order = {.kind = EDGE_SHUTDOWN};
    if (c->is_stopping)
        return;
    c->is_stopping = true;
    control_end_upgrade(c);
    control_service_stopping(c);
    control_order_all(c, &order);
    bind_set_close(c->binds);
}

/* The edges are cut off where they stand; what must not stay behind is removed. */
void control_end_at_once(struct control *c)
{
    log_warn(NULL, "ending at once");
    control_give_back_sockets(c);
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
    if (number == SIGUSR2) {
        control_upgrade_on_signal(c);
        return;
    }
    if (number == SIGCHLD) {
        if (c->successor != NULL)
            successor_reap(c->successor);
        return;
    }
    if (number == SIGHUP) {
        struct buf report;
        buf_init(&report, 0);
        bool is_new UNUSED = control_reload(c, "SIGHUP", &report);
        buf_fini(&report);
        return;
    }
    if (c->is_stopping)
        control_end_at_once(c);
    log_info(NULL, "%s: finishing what runs, for at most %g s; once more ends at once",
             number == SIGINT ? "SIGINT" : "SIGTERM", c->options->graceful_timeout_s);
    control_stop(c);
}

void control_announce(struct control *c)
{
    if (c->predecessor_is_waiting)
        return;
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (!c->edges[i].is_ready)
            return;
    if (c->is_announced)
        return;
    c->is_announced = true;
    control_log_listeners(c);
    control_service_ready(c);
}

static void on_report(struct control *c, struct edge_thread *e, struct slice bytes)
{
    struct edge_report report;
    ASSERT(bytes.len == sizeof report);
    memcpy(&report, bytes.ptr, sizeof report);
    switch (report.kind) {
    case EDGE_READY:
        e->is_ready = true;
        control_announce(c);
        break;
    case EDGE_FAILED:
        log_error(NULL, "edge thread %u failed", e->options.number);
        e->is_stopped = c->has_failed = true;
        admin_on_edge_stopped(c->admin, e->options.number);
        control_stop(c);
        break;
    case EDGE_STOPPED:
        e->is_stopped = true;
        admin_on_edge_stopped(c->admin, e->options.number);
        break;
    case EDGE_TURNED:
        control_service_turned(c, e);
        break;
    case EDGE_CONFIGURED:
        e->config_number++;
        control_free_former(c);
        break;
    case EDGE_SNAPSHOT_TAKEN:
        admin_on_snapshot(c->admin, report.snapshot);
        break;
    case EDGE_NOTICE:
        admin_on_notice(c->admin, report.pool, report.name, report.text);
        control_service_look(c);
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
    control_give_back_sockets(c);
    successor_free(&c->successor);
    predecessor_free(&c->predecessor);
    if (c->upgrade_end != NULL)
        event_free(c->upgrade_end);
    if (c->watchdog != NULL)
        event_free(c->watchdog);
    admin_free(&c->admin);
    for (uint32_t i = 0; i < c->edge_count; i++) {
        waker_free(&c->edges[i].waker);
        link_free(&c->edges[i].orders);
    }
    link_context_free(&c->context);
    dealer_free(&c->dealer);
    keys_free(&c->keys);
    bind_set_free(&c->binds);
    inherited_free(&c->inherited);
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
