/* SPDX-License-Identifier: MIT
 * One request for each connection, answered when the edge threads'
 * snapshots are there. */
#include "proxy/admin/metrics.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

enum {
    METRICS_MAGIC = 0xad314003,
    MAX_CLIENTS = 32,
    MAX_HEAD = 8 * 1024,
    PATIENCE_S = 10, /* for the request, and again for the answer */
};

struct metrics_client {
    uint32_t magic;
    struct node node;
    struct admin *admin;
    int fd;
    struct event *readable, *writable;
    struct buf in, out;
    struct operation *operation; /* NULL: none runs */
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* ---- connections ---- */

static void free_client(struct metrics_client **client_p)
{
    struct metrics_client *c = take(*client_p);
    CHECK_OBJ(c, METRICS_MAGIC);
    node_leave(&c->node);
    c->admin->metrics_client_count--;
    if (c->operation != NULL)
        operation_free(&c->operation);
    event_free(c->readable);
    event_free(c->writable);
    (void)close(c->fd);
    buf_fini(&c->in);
    buf_fini(&c->out);
    c->magic = 0;
    mem_free(&c);
}

void metrics_free(struct admin *admin)
{
    for (struct node *n = list_first(&admin->metrics_clients); n != NULL;
         n = list_first(&admin->metrics_clients)) {
        struct metrics_client *c = NODE_OF(n, struct metrics_client, node);
        free_client(&c);
    }
}

void metrics_accept(struct admin *admin, int accepted)
{
    static const struct timeval patience = {.tv_sec = PATIENCE_S};
    if (admin->metrics_client_count == MAX_CLIENTS) {
        (void)close(accepted);
        return;
    }
    struct metrics_client *c = mem_zalloc(sizeof *c);
    c->magic = METRICS_MAGIC;
    c->admin = admin;
    c->fd = accepted;
    buf_init(&c->in, MAX_HEAD);
    buf_init(&c->out, 0);
    c->readable =
        event_new(admin->options.base, accepted, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(admin->options.base, accepted, EV_WRITE, on_writable, c);
    ASSERT(c->readable != NULL && c->writable != NULL);
    ASSERT(event_add(c->readable, &patience) == 0);
    list_push_back(&admin->metrics_clients, &c->node);
    admin->metrics_client_count++;
}

/* ---- a request ---- */

static void answer(struct metrics_client *c, const char *status, struct slice body)
{
    static const struct timeval patience = {.tv_sec = PATIENCE_S};
    buf_addf(&c->out,
             "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
             "Content-Length: %zu\r\nConnection: close\r\n\r\n",
             status, body.len);
    buf_add(&c->out, body);
    (void)event_del(c->readable);
    ASSERT(event_add(c->writable, &patience) == 0);
}

static void step_answer(struct operation *op)
{
    struct metrics_client *c =
        CAST_OBJ(op->owner, struct metrics_client, METRICS_MAGIC);
    struct buf page;
    buf_init(&page, 0);
    metrics_write(op, &page);
    answer(c, "200 OK", buf_slice(&page));
    buf_fini(&page);
    c->operation = NULL;
    operation_free(&op);
}

static bool is_get_metrics(struct slice head)
{
    static const char line[] = "GET /metrics";
    size_t length = sizeof line - 1;
    return head.len > length && memcmp(head.ptr, line, length) == 0 &&
           (head.ptr[length] == ' ' || head.ptr[length] == '?');
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct metrics_client *c = CAST_OBJ(arg, struct metrics_client, METRICS_MAGIC);
    ssize_t got = -1;
    if ((what & EV_TIMEOUT) == 0 && buf_reserve(&c->in, 1))
        got = recv(fd, buf_tail(&c->in), buf_room(&c->in), 0);
    else
        errno = 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        free_client(&c);
        return;
    }
    buf_commit(&c->in, (size_t)got);
    struct slice head = buf_slice(&c->in);
    if (c->operation != NULL || memmem(head.ptr, head.len, "\r\n\r\n", 4) == NULL)
        return;
    if (!is_get_metrics(head)) {
        answer(c, "404 Not Found", SLICE("only GET /metrics is here\n"));
        return;
    }
    c->operation = operation_for(c->admin, c);
    operation_look(c->operation, 0, step_answer);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval patience = {.tv_sec = PATIENCE_S};
    struct metrics_client *c = CAST_OBJ(arg, struct metrics_client, METRICS_MAGIC);
    struct slice out = buf_slice(&c->out);
    ssize_t sent = -1;
    if ((what & EV_TIMEOUT) == 0)
        sent = send(fd, out.ptr, out.len, MSG_NOSIGNAL);
    else
        errno = 0;
    bool has_to_wait = sent < 0 && (errno == EAGAIN || errno == EINTR);
    if (sent > 0)
        buf_consume(&c->out, (size_t)sent);
    if (has_to_wait || (sent > 0 && buf_len(&c->out) > 0))
        ASSERT(event_add(c->writable, &patience) == 0);
    else
        free_client(&c);
}
