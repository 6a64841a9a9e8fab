/* SPDX-License-Identifier: MIT
 * What became of a link's connections, from ZeroMQ's socket monitor.
 *
 * The monitor names a connection by its descriptor, a message names its sender by its
 * routing id and by the descriptor it came over, and descriptors are used again at
 * once. On a bound link the two are matched here, once per connection: the reports that
 * precede a peer's first message are read before the message is believed, so that a
 * DOWN always names the peer that is gone and nothing of that peer comes after. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "protocol/base/mem.h"
#include "protocol/link_priv.h"

enum {
    HANDSHAKE_FAILED = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
    BOUND_EVENTS = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | HANDSHAKE_FAILED,
    CONNECTING_EVENTS = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                        ZMQ_EVENT_DISCONNECTED | HANDSHAKE_FAILED,
};

static bool open_look_ahead(struct monitor *m);
static void set_look_ahead(struct monitor *m, bool on);
static void read_reports(struct monitor *m);
static bool read_report(struct monitor *m, unsigned *ret_event, int *ret_value);
static void on_bound_report(struct monitor *m, unsigned event, int fd);
static void on_connecting_report(struct monitor *m, unsigned event, int fd);
static struct connection *find_fd(const struct monitor *m, int fd);
static void add_connection(struct monitor *m, int fd);
static void drop_connection(struct monitor *m, struct connection *c);
static void name_remote(int fd, char ret_address[LINK_ADDRESS]);
static enum link_refusal refusal_of(unsigned event, int value);
static void
push_event(struct monitor *m, enum link_event_kind kind, int fd, uint32_t peer);
static void
push_refusal(struct monitor *m, enum link_refusal refusal, const char *address);

bool monitor_init(struct monitor *m, void *context, struct link *link)
{
    char name[FRESH_NAME];
    endpoint_fresh_name(name);

    *m = MONITOR_NONE;
    m->is_bound = link->shape == LINK_ROUTER;
    int events = m->is_bound ? BOUND_EVENTS : CONNECTING_EVENTS;
    if (!m->is_bound && link->cargo == CARGO_LINES)
        events |= ZMQ_EVENT_CLOSED; /* before it was a connection */
    if (zmq_socket_monitor(link->socket, name, events) != 0)
        return false;
    m->socket = zmq_socket(context, ZMQ_PAIR);
    if (m->socket == NULL)
        return false;
    /* Without a limit: a full monitor would stop ZeroMQ's I/O thread. */
    int none = 0;
    size_t size = sizeof m->socket_fd;
    if (zmq_setsockopt(m->socket, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(m->socket, ZMQ_RCVHWM, &none, sizeof none) != 0 ||
        zmq_connect(m->socket, name) != 0 ||
        zmq_getsockopt(m->socket, ZMQ_FD, &m->socket_fd, &size) != 0)
        return false;
    m->wait_fd = m->socket_fd;
    if (m->is_bound && !open_look_ahead(m))
        return false;
    read_reports(m); /* what comes first to a socket never read raises no edge */
    return true;
}

void monitor_fini(struct monitor *m, void *socket)
{
    if (m->wait_fd >= 0 && m->wait_fd != m->socket_fd)
        (void)close(m->wait_fd);
    if (m->look_ahead_fd >= 0)
        (void)close(m->look_ahead_fd);
    if (m->socket != NULL) {
        (void)zmq_socket_monitor(socket, NULL, 0);
        (void)zmq_close(m->socket);
    }
    for (size_t i = 0; i < m->connection_count; i++)
        mem_free(&m->connections[i].guest);
    mem_free(&m->connections);
    mem_free(&m->events);
    *m = MONITOR_NONE;
}

struct connection *monitor_admit(struct monitor *m, uint32_t peer, int fd)
{
    read_reports(m);
    if (m->event_first < m->event_count)
        set_look_ahead(m, true);
    struct connection *c = find_fd(m, fd);
    if (c == NULL)
        return NULL;
    if (c->has_peer) {
        /* Routing ids are given out in the order of connections: the older of two that
         * came over one descriptor is gone. */
        if ((int32_t)(peer - c->peer) <= 0)
            return NULL;
        push_event(m, LINK_DOWN, fd, c->peer);
        set_look_ahead(m, true);
        mem_free(&c->guest);
        c->has_greeted = false;
    }
    c->has_peer = true;
    c->peer = peer;
    return c;
}

struct connection *monitor_find(const struct monitor *m, uint32_t peer)
{
    for (size_t i = 0; i < m->connection_count; i++) {
        struct connection *c = &m->connections[i];
        if (c->has_peer && c->peer == peer)
            return c;
    }
    return NULL;
}

bool monitor_next(struct monitor *m, struct link_event *ret_event)
{
    if (m->event_first == m->event_count)
        read_reports(m);
    if (m->event_first == m->event_count) {
        m->event_first = m->event_count = 0;
        set_look_ahead(m, false);
        return false;
    }
    *ret_event = m->events[m->event_first++];
    return true;
}

/* A second descriptor under one epoll: reading ahead uses up the monitor's own edge. */
static bool open_look_ahead(struct monitor *m)
{
    m->look_ahead_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->look_ahead_fd < 0)
        return false;
    int both = epoll_create1(EPOLL_CLOEXEC);
    if (both < 0)
        return false;
    m->wait_fd = both;
    struct epoll_event readable = {.events = EPOLLIN};
    return epoll_ctl(both, EPOLL_CTL_ADD, m->socket_fd, &readable) == 0 &&
           epoll_ctl(both, EPOLL_CTL_ADD, m->look_ahead_fd, &readable) == 0;
}

static void set_look_ahead(struct monitor *m, bool on)
{
    if (m->look_ahead_is_set == on || m->look_ahead_fd < 0)
        return;
    eventfd_t ignored;
    int rc = on ? eventfd_write(m->look_ahead_fd, 1)
                : eventfd_read(m->look_ahead_fd, &ignored);
    ASSERT(rc == 0);
    m->look_ahead_is_set = on;
}

static void read_reports(struct monitor *m)
{
    unsigned event;
    int value;
    while (read_report(m, &event, &value)) {
        if (m->is_bound)
            on_bound_report(m, event, value);
        else
            on_connecting_report(m, event, value);
    }
}

/* zmq_socket_monitor(3): 16 bits of event, 32 of value, in host order; then a part with
 * the endpoint. */
static bool read_report(struct monitor *m, unsigned *ret_event, int *ret_value)
{
    struct {
        char event[2], value[4];
    } head;
    char endpoint[1];
    int rc;
    do
        rc = zmq_recv(m->socket, &head, sizeof head, ZMQ_DONTWAIT);
    while (rc == -1 && errno == EINTR);
    if (rc == -1) {
        ASSERT(errno == EAGAIN);
        return false;
    }
    ASSERT(rc == (int)sizeof head);
    do
        rc = zmq_recv(m->socket, endpoint, sizeof endpoint, 0);
    while (rc == -1 && errno == EINTR);
    ASSERT(rc >= 0);

    uint16_t event;
    int32_t value;
    memcpy(&event, head.event, sizeof event);
    memcpy(&value, head.value, sizeof value);
    *ret_event = event;
    *ret_value = value;
    return true;
}

/* The success of a handshake carries no descriptor on this side; the peer's first
 * message tells as much. */
static void on_bound_report(struct monitor *m, unsigned event, int fd)
{
    struct connection *c = find_fd(m, fd);
    switch (event) {
    case ZMQ_EVENT_ACCEPTED:
        if (c != NULL)
            drop_connection(m, c);
        add_connection(m, fd);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        if (m->is_refused)
            push_refusal(m, m->refusal, c == NULL ? "" : c->address);
        m->is_refused = false;
        if (c != NULL)
            drop_connection(m, c);
        break;
    default:
        if ((event & HANDSHAKE_FAILED) == 0)
            break;
        /* Its descriptor comes with the next report, which ZeroMQ makes at once, unless
         * the peer is told first why it is not let in. */
        m->refusal = refusal_of(event, fd);
        if (m->refusal == REFUSAL_DENIED)
            push_refusal(m, m->refusal, "");
        else
            m->is_refused = true;
        break;
    }
}

/* `value`: of the event. */
static enum link_refusal refusal_of(unsigned event, int value)
{
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        return REFUSAL_DENIED;
    if (event != ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)
        return REFUSAL_BROKEN;
    return value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH ? REFUSAL_MECHANISM
           : value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC    ? REFUSAL_KEY
                                                               : REFUSAL_BROKEN;
}

static void on_connecting_report(struct monitor *m, unsigned event, int fd)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        m->connected_fd = fd;
        m->is_refused = false;
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        m->is_up = true;
        push_event(m, LINK_UP, m->connected_fd, 0);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        /* After a failed handshake REFUSED has said it all; but of some failures ZeroMQ
         * tells only that the connection ended. */
        if (m->is_up)
            push_event(m, LINK_DOWN, fd, 0);
        else if (!m->is_refused)
            push_refusal(m, REFUSAL_BROKEN, "");
        m->is_up = false;
        break;
    case ZMQ_EVENT_CLOSED:
        push_event(m, LINK_UNREACHABLE, -1, 0);
        break;
    default:
        if ((event & HANDSHAKE_FAILED) == 0)
            break;
        m->is_refused = true;
        push_refusal(m, refusal_of(event, fd), "");
        break;
    }
}

static struct connection *find_fd(const struct monitor *m, int fd)
{
    for (size_t i = 0; i < m->connection_count; i++) {
        if (m->connections[i].fd == fd)
            return &m->connections[i];
    }
    return NULL;
}

static void add_connection(struct monitor *m, int fd)
{
    if (m->connection_count == m->connection_cap) {
        m->connection_cap = m->connection_cap == 0 ? 8 : 2 * m->connection_cap;
        m->connections =
            mem_realloc(m->connections, m->connection_cap * sizeof *m->connections);
    }
    struct connection *c = &m->connections[m->connection_count++];
    *c = (struct connection){.fd = fd};
    name_remote(fd, c->address);
    push_event(m, LINK_UP, fd, 0);
}

/* Empty: gone already, or not over tcp://. */
static void name_remote(int fd, char ret_address[LINK_ADDRESS])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } a = {.room = {0}};
    socklen_t length = sizeof a;
    ret_address[0] = '\0';
    if (getpeername(fd, &a.any, &length) != 0)
        return;
    if (a.any.sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &a.v4.sin_addr, ret_address, LINK_ADDRESS);
    else if (a.any.sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &a.v6.sin6_addr, ret_address, LINK_ADDRESS);
}

static void drop_connection(struct monitor *m, struct connection *c)
{
    push_event(m, LINK_DOWN, c->fd, c->peer);
    mem_free(&c->guest);
    *c = m->connections[--m->connection_count];
}

static void
push_event(struct monitor *m, enum link_event_kind kind, int fd, uint32_t peer)
{
    if (m->event_count == m->event_cap) {
        m->event_cap = m->event_cap == 0 ? 8 : 2 * m->event_cap;
        m->events = mem_realloc(m->events, m->event_cap * sizeof *m->events);
    }
    m->events[m->event_count++] =
        (struct link_event){.kind = kind, .fd = fd, .peer = peer};
}

static void
push_refusal(struct monitor *m, enum link_refusal refusal, const char *address)
{
    push_event(m, LINK_REFUSED, -1, 0);
    struct link_event *e = &m->events[m->event_count - 1];
    e->refusal = refusal;
    (void)snprintf(e->address, sizeof e->address, "%s", address);
}
