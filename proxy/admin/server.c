/* SPDX-License-Identifier: MIT
 * Connections of operators: lines in, one at a time, answers
 * out. What a connection may do is its socket's role; who it is says the kernel. */
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

enum { READ_BYTES = 4096 };

/* A connection. */
struct socket_client {
    struct admin_client client;
    int fd;
    struct event *readable, *writable;
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* ---- connections ---- */

void admin_server_free(struct admin *admin)
{
    for (struct node *n = list_first(&admin->clients); n != NULL;
         n = list_first(&admin->clients)) {
        struct admin_client *c = NODE_OF(n, struct admin_client, node);
        c->carrier->flush(c); /* "ending at once" has to arrive */
        admin_client_free(&c);
    }
    remote_free_all(admin);
}

static void write_socket(struct admin_client *client);
static void read_socket(struct admin_client *client);
static void flush_socket(struct admin_client *client);
static void free_socket(struct admin_client *client);

static const struct admin_carrier socket_carrier = {
    .write = write_socket,
    .read = read_socket,
    .flush = flush_socket,
    .free = free_socket,
};

static struct socket_client *socket_of(struct admin_client *client)
{
    return NODE_OF(client, struct socket_client, client);
}

static void name_peer(struct socket_client *s)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    char *who = s->client.who;
    if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        (void)snprintf(who, sizeof s->client.who, "uid %u pid %d", peer.uid,
                       (int)peer.pid);
    else
        (void)snprintf(who, sizeof s->client.who, "unknown");
}

void admin_accept(struct admin *admin, enum role role, int accepted)
{
    if (admin->connection_count == ADMIN_MAX_CLIENTS) {
        static const char full[] =
            "!too many connections to this control endpoint\n=1\n";
        (void)!send(accepted, full, sizeof full - 1, MSG_NOSIGNAL);
        (void)close(accepted);
        return;
    }
    struct socket_client *s = mem_zalloc(sizeof *s);
    admin_client_init(&s->client, admin, &socket_carrier);
    s->client.role = role;
    s->fd = accepted;
    name_peer(s);
    s->readable =
        event_new(admin->options.base, accepted, EV_READ | EV_PERSIST, on_readable, s);
    s->writable = event_new(admin->options.base, accepted, EV_WRITE, on_writable, s);
    ASSERT(s->readable != NULL && s->writable != NULL);
    ASSERT(event_add(s->readable, NULL) == 0);
    admin->connection_count++;
}

/* What is still there is taken first, else closing would look like a fault. */
static void free_socket(struct admin_client *client)
{
    struct socket_client *s = socket_of(client);
    char rest[READ_BYTES];
    for (int i = 0; i < 64 && recv(s->fd, rest, sizeof rest, 0) > 0; i++)
        ;
    client->admin->connection_count--;
    event_free(s->readable);
    event_free(s->writable);
    (void)close(s->fd);
    mem_free(&s);
}

/* ---- input ---- */

static void read_socket(struct admin_client *client)
{
    if (!client->is_eof)
        (void)event_add(socket_of(client)->readable, NULL);
}

/* False: the connection is over. */
static bool read_more(struct socket_client *s)
{
    struct buf *in = &s->client.in;
    if (!buf_reserve(in, 1)) {
        (void)event_del(s->readable); /* until the lines that are there are followed */
        return true;
    }
    ssize_t got = recv(s->fd, buf_tail(in), buf_room(in), 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    buf_commit(in, (size_t)got);
    if (got > 0)
        return true;
    /* It says no more; does it still listen? */
    struct pollfd look = {.fd = s->fd};
    s->client.is_eof = true;
    (void)event_del(s->readable);
    return poll(&look, 1, 0) == 0 || (look.revents & (POLLHUP | POLLERR)) == 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct socket_client *s = arg;
    struct admin_client *client = &s->client;
    (void)fd;
    (void)what;
    if (read_more(s))
        admin_client_follow(client);
    else
        admin_client_free(&client);
}

/* ---- output ---- */

static void write_socket(struct admin_client *client)
{
    event_active(socket_of(client)->writable, EV_WRITE, 0);
}

static void flush_socket(struct admin_client *client)
{
    struct slice out = buf_slice(&client->out);
    if (out.len > 0)
        (void)!send(socket_of(client)->fd, out.ptr, out.len, MSG_NOSIGNAL);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct socket_client *s = arg;
    struct admin_client *client = &s->client;
    (void)what;
    while (buf_len(&client->out) > 0) {
        struct slice out = buf_slice(&client->out);
        ssize_t sent = send(fd, out.ptr, out.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN && out.len < ADMIN_MAX_OUTPUT) {
            (void)event_add(s->writable, NULL);
            return;
        }
        if (sent < 0) {
            admin_client_free(&client);
            return;
        }
        buf_consume(&client->out, (size_t)sent);
    }
    admin_client_written(client);
}
