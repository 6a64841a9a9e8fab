/* SPDX-License-Identifier: MIT
 * The descriptor is level-triggered here: what is not accepted now is told again. */
#include "proxy/http/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"

enum {
    LISTENER_MAGIC = 0x11573e45,
    ACCEPTS_PER_CALL = 64,
    LAST_ACCEPTS = 4096, /* the longest backlog in use */
};

struct listener {
    uint32_t magic;
    int fd;
    const char *name;
    struct slice path; /* of a unix: listener */
    struct clients *clients;
    struct stats *stats;
    struct event *readable, *resume;
    bool is_paused;
    struct dealer *dealer; /* NULL: all are this thread's */
    uint32_t seat, turn;
    const char *(*keep_name)(void *arg, const char *); /* NULL: it is a socket */
    void *names;
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_resume(evutil_socket_t fd, short what, void *arg);

static struct slice path_of(const char *name)
{
    return strncmp(name, "unix:", 5) == 0 ? slice_from(name + 5) : (struct slice){0};
}

struct listener *listener_new(struct event_base *base,
                              int fd,
                              const char *name,
                              struct clients *clients,
                              struct stats *stats)
{
    struct listener *l = mem_zalloc(sizeof(*l));
    l->magic = LISTENER_MAGIC;
    l->fd = fd;
    l->name = name;
    l->path = path_of(name);
    l->clients = clients;
    l->stats = stats;
    l->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, l);
    l->resume = evtimer_new(base, on_resume, l);
    ASSERT(l->readable != NULL && l->resume != NULL);
    int added = event_add(l->readable, NULL);
    ASSERT(added == 0);
    return l;
}

void listener_share(struct listener *l, struct dealer *dealer, uint32_t seat)
{
    CHECK_OBJ(l, LISTENER_MAGIC);
    l->dealer = dealer;
    l->seat = l->turn = seat;
}

struct listener *listener_new_seat(struct event_base *base,
                                   int fd,
                                   struct clients *clients,
                                   struct stats *stats,
                                   const char *(*keep_name)(void *arg, const char *),
                                   void *arg)
{
    struct listener *l = listener_new(base, fd, "other threads", clients, stats);
    l->keep_name = keep_name;
    l->names = arg;
    return l;
}

static void pause_for(struct listener *l, suseconds_t ms)
{
    struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    (void)event_del(l->readable);
    (void)evtimer_add(l->resume, &wait);
    l->is_paused = true;
}

static void on_resume(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct listener *l = CAST_OBJ(arg, struct listener, LISTENER_MAGIC);
    l->is_paused = false;
    (void)event_add(l->readable, NULL);
}

/* accept4 takes a descriptor before it looks whether anybody is there. */
static bool somebody_waits(const struct listener *l)
{
    struct pollfd look = {.fd = l->fd, .events = POLLIN};
    return poll(&look, 1, 0) == 1;
}

/* What a failing accept means. True: try the next one. */
static bool may_go_on(struct listener *l, int error)
{
    switch (error) {
    case EAGAIN:
        return false;
    case EINTR:
    case ECONNABORTED: /* the client left before we looked */
    case EPROTO:
    case EPERM: /* a firewall rule */
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
        return true;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!somebody_waits(l))
            return false;
        /* An idle connection's descriptor serves this client as well. */
        if (clients_evict(l->clients))
            return true;
        log_warn(NULL, "%s: cannot accept: %s; pausing for a second", l->name,
                 strerror(error));
        pause_for(l, 1000);
        return false;
    default:
        log_error(NULL, "%s: cannot accept: %s; pausing for a second", l->name,
                  strerror(error));
        pause_for(l, 1000);
        return false;
    }
}

static bool take_dealt(struct listener *l)
{
    struct dealt d;
    if (!dealer_take(l->fd, &d))
        return false;
    clients_add(l->clients, d.fd, &d.peer, path_of(l->keep_name(l->names, d.name)));
    return true;
}

static bool deal(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct dealt d = {.fd = fd, .peer = *peer};
    (void)snprintf(d.name, sizeof(d.name), "%s", l->name);
    return dealer_deal(l->dealer, &l->turn, l->seat, &d);
}

/* False: nothing more now. */
static bool accept_one(struct listener *l)
{
    if (l->keep_name != NULL)
        return take_dealt(l);
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof(peer);
    int fd = accept4(l->fd, (void *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return may_go_on(l, errno);
    if (l->dealer == NULL || !deal(l, fd, &peer))
        clients_add(l->clients, fd, &peer, l->path);
    return true;
}

static void on_readable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
    struct listener *l = CAST_OBJ(arg, struct listener, LISTENER_MAGIC);
    for (int i = 0; i < ACCEPTS_PER_CALL; i++) {
        if (!clients_has_room(l->clients)) {
            /* All are busy: new ones wait in the kernel's queue. */
            l->stats->accepts_paused++;
            pause_for(l, 50);
            return;
        }
        if (!accept_one(l))
            return;
    }
}

void listener_leave(struct listener **listener_p)
{
    struct listener *l = take(*listener_p);
    if (l == NULL)
        return;
    CHECK_OBJ(l, LISTENER_MAGIC);
    event_free(l->readable);
    event_free(l->resume);
    (void)close(l->fd);
    l->magic = 0;
    mem_free(&l);
}

void listener_drain(struct listener *l)
{
    CHECK_OBJ(l, LISTENER_MAGIC);
    for (int i = 0; i < LAST_ACCEPTS && clients_has_room(l->clients); i++)
        if (!accept_one(l))
            break;
}

void listener_free(struct listener **listener_p)
{
    struct listener *l = *listener_p;
    if (l == NULL)
        return;
    listener_drain(l);
    listener_leave(listener_p);
}
