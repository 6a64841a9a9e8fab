/* SPDX-License-Identifier: MIT
 * Unix sockets of mode 0600 and their connections: lines in, one at a time, answers
 * out. What a connection may do is its socket's role; who it is says the kernel. */
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/metrics.h"
#include "proxy/bind.h"

enum { READ_BYTES = 4096 };

struct admin_listener {
    struct node node;
    struct admin *admin;
    enum role role;
    struct bind_set *set; /* one socket */
    struct event *event;
};

static void on_connection(evutil_socket_t fd, short what, void *arg);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void follow_lines(struct admin_client *c);

/* ---- listeners ---- */

/* The socket is nobody else's at any moment. */
static bool open_socket(struct bind_set *set, const char *path, struct buf *message)
{
    struct bind_address address;
    own(mem) char *text = mem_printf("unix:%s", path);
    if (!bind_parse(text, &address, message))
        return false;
    mode_t mask = umask(0177);
    bool is_open = bind_set_open(set, &address, message);
    (void)umask(mask);
    return is_open;
}

bool admin_listen(struct admin *admin, struct buf *ret_message)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    const struct option_list *list = &admin->options.proxy->control;
    for (size_t i = 0; i < list->count; i++) {
        struct proxy_control control;
        struct admin_listener *l = mem_zalloc(sizeof *l);
        l->admin = admin;
        l->set = bind_set_new(1);
        list_push_back(&admin->listeners, &l->node);
        bool is_good =
            proxy_control_parse(list->items[i], &control) &&
            role_parse(slice_of(control.role, control.role_length), &l->role);
        ASSERT(is_good); /* proxy_options_check */
        if (!open_socket(l->set, control.path, ret_message))
            return false;
        int fd = bind_set_take(l->set, 0)[0];
        l->event =
            event_new(admin->options.base, fd, EV_READ | EV_PERSIST, on_connection, l);
        ASSERT(l->event != NULL && event_add(l->event, NULL) == 0);
        log_info(NULL, "control endpoint %s (%s)", control.path, role_name(l->role));
    }
    return metrics_listen(admin, ret_message);
}

void admin_server_free(struct admin *admin)
{
    for (struct node *n = list_first(&admin->clients); n != NULL;
         n = list_first(&admin->clients)) {
        struct admin_client *c = NODE_OF(n, struct admin_client, node);
        struct slice out = buf_slice(&c->out); /* "ending at once" has to arrive */
        if (out.len > 0)
            (void)!send(c->fd, out.ptr, out.len, MSG_NOSIGNAL);
        admin_client_free(&c);
    }
    for (struct node *n = list_pop_front(&admin->listeners); n != NULL;
         n = list_pop_front(&admin->listeners)) {
        struct admin_listener *l = NODE_OF(n, struct admin_listener, node);
        if (l->event != NULL) {
            (void)close(event_get_fd(l->event));
            event_free(l->event);
        }
        bind_set_free(&l->set);
        mem_free(&l);
    }
}

/* ---- connections ---- */

static void name_peer(struct admin_client *c)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        (void)snprintf(c->who, sizeof c->who, "uid %u pid %d", peer.uid, (int)peer.pid);
    else
        (void)snprintf(c->who, sizeof c->who, "unknown");
}

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
    struct admin_listener *l = arg;
    struct admin *admin = l->admin;
    (void)what;
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0)
        return;
    if (admin->client_count == ADMIN_MAX_CLIENTS) {
        static const char full[] =
            "!too many connections to this control endpoint\n=1\n";
        (void)!send(accepted, full, sizeof full - 1, MSG_NOSIGNAL);
        (void)close(accepted);
        return;
    }
    struct admin_client *c = mem_zalloc(sizeof *c);
    c->magic = ADMIN_CLIENT_MAGIC;
    c->admin = admin;
    c->role = l->role;
    c->fd = accepted;
    buf_init(&c->in, ADMIN_MAX_LINE);
    buf_init(&c->out, 0);
    name_peer(c);
    c->readable =
        event_new(admin->options.base, accepted, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(admin->options.base, accepted, EV_WRITE, on_writable, c);
    ASSERT(c->readable != NULL && c->writable != NULL);
    ASSERT(event_add(c->readable, NULL) == 0);
    list_push_back(&admin->clients, &c->node);
    admin->client_count++;
}

void admin_client_free(struct admin_client **client_p)
{
    struct admin_client *c = take(*client_p);
    CHECK_OBJ(c, ADMIN_CLIENT_MAGIC);
    if (c->operation != NULL)
        operation_client_left(c->operation);
    node_leave(&c->node);
    c->admin->client_count--;
    event_free(c->readable);
    event_free(c->writable);
    (void)close(c->fd);
    buf_fini(&c->in);
    buf_fini(&c->out);
    c->magic = 0;
    mem_free(&c);
}

/* ---- input ---- */

/* False: the connection is over. */
static bool read_more(struct admin_client *c)
{
    if (!buf_reserve(&c->in, 1)) {
        (void)event_del(c->readable); /* until the lines that are there are followed */
        return true;
    }
    ssize_t got = recv(c->fd, buf_tail(&c->in), buf_room(&c->in), 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    buf_commit(&c->in, (size_t)got);
    if (got > 0)
        return true;
    /* It says no more; does it still listen? */
    struct pollfd look = {.fd = c->fd};
    c->is_eof = true;
    (void)event_del(c->readable);
    return poll(&look, 1, 0) == 0 || (look.revents & (POLLHUP | POLLERR)) == 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct admin_client *c = CAST_OBJ(arg, struct admin_client, ADMIN_CLIENT_MAGIC);
    (void)fd;
    (void)what;
    if (!read_more(c)) {
        admin_client_free(&c);
        return;
    }
    follow_lines(c);
}

/* What else is there is taken, too: else closing would look like a fault. */
static void refuse_line(struct admin_client *c)
{
    char rest[READ_BYTES];
    for (int i = 0; i < 64 && recv(c->fd, rest, sizeof rest, 0) > 0; i++)
        ;
    buf_add(&c->out, SLICE("!this line is too long\n=1\n"));
}

/* One line; the next when its operation is over. */
static void follow_lines(struct admin_client *c)
{
    struct slice in = buf_slice(&c->in);
    if (c->operation != NULL || c->is_ending)
        return;
    const char *end = in.len == 0 ? NULL : memchr(in.ptr, '\n', in.len);
    if (end == NULL) {
        if (in.len == ADMIN_MAX_LINE)
            refuse_line(c);
        else if (!c->is_eof)
            return;
        c->is_ending = true;
        admin_client_write(c);
        return;
    }
    size_t length = (size_t)(end - in.ptr);
    own(mem) char *line = mem_alloc(length + 1);
    memcpy(line, in.ptr, length);
    buf_consume(&c->in, length + 1);
    if (!c->is_eof)
        (void)event_add(c->readable, NULL);
    operation_start(c, slice_of(line, length));
}

/* ---- output ---- */

void admin_client_write(struct admin_client *c)
{
    event_active(c->writable, EV_WRITE, 0);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct admin_client *c = CAST_OBJ(arg, struct admin_client, ADMIN_CLIENT_MAGIC);
    (void)what;
    while (buf_len(&c->out) > 0) {
        struct slice out = buf_slice(&c->out);
        ssize_t sent = send(fd, out.ptr, out.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN && out.len < ADMIN_MAX_OUTPUT) {
            (void)event_add(c->writable, NULL);
            return;
        }
        if (sent < 0) {
            admin_client_free(&c);
            return;
        }
        buf_consume(&c->out, (size_t)sent);
    }
    if (c->is_ending)
        admin_client_free(&c);
    else if (c->operation == NULL)
        follow_lines(c);
}
