/* SPDX-License-Identifier: MIT
 * The sockets of --control, of mode 0600, and of --metrics: opened at the start,
 * changed at a reload. Who connects is server.c's or metrics.c's. */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/metrics.h"

enum { REMOTE_RETRY_US = 50 * 1000, REMOTE_TRIES = 200, ACCEPT_PAUSE_S = 1 };

struct admin_listener { /* one socket */
    struct node node;
    struct admin *admin;
    const struct bind_row *row;
    bool is_metrics;
    int role; /* of a --control; -1: not said yet */
    struct event *event, *resume;
};

/* ---- connections ---- */

/* Most likely no descriptor is free: who waits is still there after a while. */
static void pause_accepting(struct admin_listener *l, int error)
{
    static const struct timeval pause = {ACCEPT_PAUSE_S, 0};
    log_warn(NULL, "%s: cannot accept: %s; pausing for a second", bind_row_name(l->row),
             strerror(error));
    ASSERT(event_del(l->event) == 0);
    ASSERT(event_add(l->resume, &pause) == 0);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct admin_listener *l = arg;
    (void)fd;
    (void)what;
    ASSERT(event_add(l->event, NULL) == 0);
}

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
    struct admin_listener *l = arg;
    (void)what;
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            pause_accepting(l, errno);
        return;
    }
    if (l->is_metrics)
        metrics_accept(l->admin, accepted);
    else
        admin_accept(l->admin, (enum role)l->role, accepted);
}

/* ---- what the options say ---- */

/* "unix:PATH" of the i-th --control; caller owns. NULL: it is a remote one. */
static char *
control_text(const struct proxy_options *options, size_t i, enum role *ret_role)
{
    struct proxy_control control;
    enum role role = ROLE_ADMIN;
    bool is_good = proxy_control_parse(options->control.items[i], &control) &&
                   (control.role.len == 0 || role_parse(control.role, &role));
    ASSERT(is_good); /* proxy_options_check */
    *ret_role = role;
    return control.is_remote ? NULL : mem_printf("unix:%s", control.address);
}

/* The sockets are nobody else's at any moment. */
static bool prepare_controls(struct admin *admin,
                             const struct proxy_options *options,
                             struct buf *message)
{
    size_t count = 0;
    char *texts[sizeof options->control.items / sizeof options->control.items[0]];
    enum role role;
    for (size_t i = 0; i < options->control.count; i++) {
        texts[count] = control_text(options, i, &role);
        count += texts[count] != NULL;
    }
    mode_t mask = umask(0177);
    bool is_good =
        bind_set_prepare(admin->controls, (const char *const *)texts, count, message);
    (void)umask(mask);
    for (size_t i = 0; i < count; i++)
        mem_free(&texts[i]);
    return is_good;
}

bool admin_prepare_listeners(struct admin *admin,
                             const struct proxy_options *options,
                             struct buf *ret_message)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    if (!prepare_controls(admin, options, ret_message))
        return false;
    if (!bind_set_prepare(admin->metrics, &options->metrics, options->metrics != NULL,
                          ret_message)) {
        bind_set_rollback(admin->controls);
        return false;
    }
    bool is_open = admin->options.is_successor && !admin->is_listening;
    if (!is_open && !remote_prepare(admin, options, ret_message)) {
        bind_set_rollback(admin->controls);
        bind_set_rollback(admin->metrics);
        return false;
    }
    admin->prepared = options;
    return true;
}

/* ---- in force ---- */

static void close_listener(struct admin_listener *l)
{
    node_leave(&l->node);
    (void)close(event_get_fd(l->event));
    event_free(l->event);
    event_free(l->resume);
    mem_free(&l);
}

static void open_listener(struct admin *admin, const struct bind_row *row, int fd)
{
    struct admin_listener *l = mem_zalloc(sizeof *l);
    l->admin = admin;
    l->row = row;
    l->role = -1;
    l->event =
        event_new(admin->options.base, fd, EV_READ | EV_PERSIST, on_connection, l);
    l->resume = evtimer_new(admin->options.base, on_resume, l);
    ASSERT(l->event != NULL && l->resume != NULL);
    if (admin->is_listening)
        ASSERT(event_add(l->event, NULL) == 0);
    list_push_back(&admin->listeners, &l->node);
}

static void change_listeners(struct admin *admin,
                             enum bind_change change,
                             const struct bind_row *row)
{
    int fd;
    LIST_FOREACH(&admin->listeners, n) {
        struct admin_listener *l = NODE_OF(n, struct admin_listener, node);
        if (change == BIND_CLOSED && l->row == row)
            close_listener(l);
    }
    for (uint32_t n = 0; change == BIND_OPENED && (fd = bind_row_copy(row, 0, n)) >= 0;
         n++)
        open_listener(admin, row, fd);
}

static void on_control(void *arg, enum bind_change change, const struct bind_row *row)
{
    struct admin *admin = arg;
    change_listeners(admin, change, row);
    if (change == BIND_CLOSED)
        log_info(NULL, "no control endpoint %s any more",
                 bind_row_name(row) + strlen("unix:"));
}

static void on_metrics(void *arg, enum bind_change change, const struct bind_row *row)
{
    struct admin *admin = arg;
    change_listeners(admin, change, row);
    LIST_FOREACH(&admin->listeners, n) {
        struct admin_listener *l = NODE_OF(n, struct admin_listener, node);
        l->is_metrics |= l->row == row;
    }
    log_info(NULL, "%smetrics at %s/metrics%s", change == BIND_CLOSED ? "no " : "",
             bind_row_name(row), change == BIND_CLOSED ? " any more" : "");
}

/* A path may have another role than before. */
static void set_roles(struct admin *admin, const struct proxy_options *options)
{
    for (size_t i = 0; i < options->control.count; i++) {
        enum role role;
        own(mem) char *text = control_text(options, i, &role);
        LIST_FOREACH(&admin->listeners, n) {
            struct admin_listener *l = NODE_OF(n, struct admin_listener, node);
            if (l->is_metrics || text == NULL ||
                strcmp(bind_row_text(l->row), text) != 0 || l->role == (int)role)
                continue;
            l->role = (int)role;
            log_info(NULL, "control endpoint %s (%s)", text + strlen("unix:"),
                     role_name(role));
        }
    }
}

void admin_commit_listeners(struct admin *admin)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    bind_set_commit(admin->controls, on_control, admin);
    bind_set_commit(admin->metrics, on_metrics, admin);
    if (!admin->options.is_successor || admin->is_listening)
        remote_commit(admin);
    set_roles(admin, admin->prepared);
    admin->prepared = NULL;
}

static void open_remotes(struct admin *admin);

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    open_remotes(CAST_OBJ(arg, struct admin, ADMIN_MAGIC));
}

/* The predecessor closes them when it has heard of us. */
static void open_remotes(struct admin *admin)
{
    static const struct timeval pause = {0, REMOTE_RETRY_US};
    struct buf message;
    buf_init(&message, 0);
    if (remote_prepare(admin, admin->options.proxy, &message)) {
        remote_commit(admin);
    } else if (++admin->remote_tries < REMOTE_TRIES) {
        if (admin->remote_retry == NULL)
            admin->remote_retry = evtimer_new(admin->options.base, on_retry, admin);
        ASSERT(admin->remote_retry != NULL &&
               evtimer_add(admin->remote_retry, &pause) == 0);
    } else {
        log_error(NULL, "%.*s", SLICE_FMT(buf_slice(&message)));
    }
    buf_fini(&message);
}

void admin_begin_listening(struct admin *admin)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    admin->is_listening = true;
    LIST_FOREACH(&admin->listeners, n) {
        struct admin_listener *l = NODE_OF(n, struct admin_listener, node);
        ASSERT(event_add(l->event, NULL) == 0);
    }
    if (!admin->options.is_successor)
        return;
    admin->is_frozen = false;
    register_resume(admin);
    open_remotes(admin);
}

void admin_close_listeners(struct admin *admin)
{
    LIST_FOREACH(&admin->listeners, n)
        close_listener(NODE_OF(n, struct admin_listener, node));
    if (admin->remote_retry != NULL)
        event_free(admin->remote_retry);
    admin->remote_retry = NULL;
    bind_set_free(&admin->controls);
    bind_set_free(&admin->metrics);
}
