/* SPDX-License-Identifier: MIT
 * The socket itself: opening it with every option that its safety rests on, and moving
 * messages through it without ever waiting. */
#include "protocol/link.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "protocol/base/mem.h"
#include "protocol/frame.h"
#include "protocol/link_priv.h"

enum {
    CONTEXT_MAGIC = 0x4c4e4b43,
    LINK_MAGIC = 0x4c494e4b,
    SOCKETS_PER_LINK = 3,   /* its own and both ends of its monitor */
    CURVE_OVERHEAD = 64,    /* name, nonce, flags and MAC: 33 */
    ROUTING_ID_BYTES = 5,   /* a zero and 32 bits: what ROUTER makes up for its peers */
    HIGH_WATER_MARK = 1000, /* messages; never met, credit stays far below */
    LINES_HIGH_WATER_MARK = 64,
    BOUND_LINGER_MS = 1000, /* for the last answers */
    HANDSHAKE_MS = 2000,
    RECONNECT_MS = 10,
    RECONNECT_MAX_MS = 1000,
    CONNECT_MS =
        2000, /* the kernel asks again ever more rarely; a new attempt does not */
    RECONNECT_LOCAL_MAX_MS = 100, /* a Unix socket costs next to nothing to try */
    HEARTBEAT_MS = 2000,
    HEARTBEAT_TIMEOUT_MS = 10 * 1000,
    HEARTBEAT_TTL_MS = 20 * 1000,
};

static_assert(sizeof(zmq_msg_t) == sizeof(((struct link_message *)0)->storage[0]),
              "link_message.storage holds two zmq_msg_t");
static_assert(_Alignof(zmq_msg_t) <= _Alignof(struct link_message),
              "link_message.storage is aligned for zmq_msg_t");

static enum err open_link(struct link_context *context,
                          const char *text,
                          enum link_policy policy,
                          enum link_shape shape,
                          enum link_cargo cargo,
                          const struct guard *guard,
                          struct link **ret_link);
static struct link *new_link(struct link_context *context, enum link_shape shape);
static bool set_options(struct link *l, const struct endpoint *e);
static bool attach(struct link *l, const char *text, const struct endpoint *e);
static bool bind_ipc(struct link *l, const char *text, const char *path);
static bool set_option(void *socket, int option, int value);
static void close_socket(struct link *l);
static zmq_msg_t *part_of(struct link_message *message, int i);
static bool receive_part(struct link *l, zmq_msg_t *part);
static enum step receive_parts(struct link *l, struct link_message *m);
static void drop_parts(struct link *l);
static enum step receive_from_peer(struct link *l, struct link_message *m);
static bool read_peer(struct link *l, zmq_msg_t *id, struct link_message *m);
static bool greets(struct connection *c, struct slice frames);
static struct slice move_part(zmq_msg_t *to, zmq_msg_t *from, struct slice s);
static bool is_reachable(const struct link *l, uint32_t peer);
static bool send_part(struct link *l, struct slice part, int flags);
static bool send_first(struct link *l, struct slice part, int flags);
static unsigned read_state(struct link *l);

struct link_context *link_context_new(unsigned sockets)
{
    struct link_context *c = mem_zalloc(sizeof *c);
    c->magic = CONTEXT_MAGIC;
    c->zmq = zmq_ctx_new();
    list_init(&c->guarded);
    ASSERT(pthread_mutex_init(&c->lock, NULL) == 0);
    /* Fails only when descriptors or memory are out before anything has begun. */
    ASSERT(c->zmq != NULL);
    int limit = zmq_ctx_get(c->zmq, ZMQ_SOCKET_LIMIT);
    int wanted = sockets < (unsigned)limit / SOCKETS_PER_LINK
                     ? (int)sockets * SOCKETS_PER_LINK
                     : limit;
    if (wanted > ZMQ_MAX_SOCKETS_DFLT)
        ASSERT(zmq_ctx_set(c->zmq, ZMQ_MAX_SOCKETS, wanted) == 0);
    ASSERT(zmq_ctx_set(c->zmq, ZMQ_IO_THREADS, 1) == 0);
    ASSERT(zmq_ctx_set(c->zmq, ZMQ_BLOCKY, 0) == 0);
    return c;
}

void link_context_free(struct link_context **context_p)
{
    struct link_context *c = *context_p;
    if (c == NULL)
        return;
    *context_p = NULL;
    CHECK_OBJ(c, CONTEXT_MAGIC);
    c->magic = 0;
    zap_free(&c->zap);
    (void)pthread_mutex_destroy(&c->lock);
    while (zmq_ctx_term(c->zmq) != 0 && errno == EINTR)
        ;
    mem_free(&c);
}

enum err link_connect(struct link_context *context,
                      const char *endpoint,
                      enum link_policy policy,
                      struct link **ret_link)
{
    return open_link(context, endpoint, policy, LINK_DEALER, CARGO_FRAMES,
                     &(struct guard){0}, ret_link);
}

enum err link_bind(struct link_context *context,
                   const char *endpoint,
                   enum link_policy policy,
                   struct link **ret_link)
{
    return open_link(context, endpoint, policy, LINK_ROUTER, CARGO_FRAMES,
                     &(struct guard){0}, ret_link);
}

enum err link_connect_lines(struct link_context *context,
                            const char *endpoint,
                            enum link_policy policy,
                            struct link **ret_link)
{
    return open_link(context, endpoint, policy, LINK_DEALER, CARGO_LINES,
                     &(struct guard){0}, ret_link);
}

enum err link_bind_lines(struct link_context *context,
                         const char *endpoint,
                         enum link_policy policy,
                         struct link **ret_link)
{
    return open_link(context, endpoint, policy, LINK_ROUTER, CARGO_LINES,
                     &(struct guard){0}, ret_link);
}

enum err link_bind_secure(struct link_context *context,
                          const char *endpoint,
                          enum zap_domain domain,
                          struct link **ret_link)
{
    ASSERT(context->keys != NULL);
    struct guard guard = {.is_on = true, .domain = domain, .context = context};
    return open_link(context, endpoint, LINK_INSECURE, LINK_ROUTER,
                     domain == ZAP_CONTROL ? CARGO_LINES : CARGO_FRAMES, &guard,
                     ret_link);
}

enum err link_connect_secure(struct link_context *context,
                             const char *endpoint,
                             enum link_cargo cargo,
                             const struct key_pair *own,
                             const char *server_key,
                             struct link **ret_link)
{
    struct guard guard = {.is_on = true, .own = own, .server_key = server_key};
    return open_link(context, endpoint, LINK_INSECURE, LINK_DEALER, cargo, &guard,
                     ret_link);
}

void link_pair_new(struct link_context *context,
                   struct link **ret_a,
                   struct link **ret_b)
{
    char name[FRESH_NAME];
    endpoint_fresh_name(name);
    struct link *a = new_link(context, LINK_PAIR);
    struct link *b = new_link(context, LINK_PAIR);
    /* Out of descriptors while the threads of a process are being set up. */
    ASSERT(a != NULL && b != NULL);
    ASSERT(zmq_bind(a->socket, name) == 0 && zmq_connect(b->socket, name) == 0);
    (void)read_state(b); /* as in open_link */
    *ret_a = a;
    *ret_b = b;
}

void link_free(struct link **link_p)
{
    struct link *l = *link_p;
    if (l == NULL)
        return;
    *link_p = NULL;
    CHECK_OBJ(l, LINK_MAGIC);
    close_socket(l);
}

int link_fd(const struct link *link)
{
    CHECK_OBJ(link, LINK_MAGIC);
    return link->fd;
}

int link_monitor_fd(const struct link *link)
{
    CHECK_OBJ(link, LINK_MAGIC);
    return link->monitor.socket == NULL ? -1 : link->monitor.wait_fd;
}

bool link_has_input(struct link *link)
{
    CHECK_OBJ(link, LINK_MAGIC);
    return (read_state(link) & ZMQ_POLLIN) != 0;
}

/* What one thread did before it sent over a PAIR comes before what the other does once
 * it has received: ZeroMQ sees to it, and ThreadSanitizer must be told. */
static char pair_order;

static void pair_sends(const struct link *link)
{
#ifdef __SANITIZE_THREAD__
    if (link->shape == LINK_PAIR)
        __tsan_release(&pair_order);
#endif
    (void)link;
    (void)pair_order;
}

static void pair_received(const struct link *link)
{
#ifdef __SANITIZE_THREAD__
    if (link->shape == LINK_PAIR)
        __tsan_acquire(&pair_order);
#endif
    (void)link;
}

enum step link_recv(struct link *link, struct link_message *ret_message)
{
    CHECK_OBJ(link, LINK_MAGIC);
    ret_message->peer = 0;
    ret_message->source_fd = link->monitor.connected_fd;
    enum step step = link->shape == LINK_ROUTER ? receive_from_peer(link, ret_message)
                                                : receive_parts(link, ret_message);
    if (step == STEP_BAD)
        link_message_done(ret_message);
    pair_received(link);
    return step;
}

void link_message_done(struct link_message *message)
{
    /* Closing one that is closed already fails and does nothing. */
    (void)zmq_msg_close(part_of(message, 0));
    (void)zmq_msg_close(part_of(message, 1));
    message->frames = message->bulk = (struct slice){NULL, 0};
}

const char *link_message_address(struct link_message *message)
{
    return zmq_msg_gets(part_of(message, 0), "Peer-Address");
}

void link_message_move(struct link_message *to, struct link_message *from)
{
    to->peer = from->peer;
    to->source_fd = from->source_fd;
    to->frames = move_part(part_of(to, 0), part_of(from, 0), from->frames);
    to->bulk = move_part(part_of(to, 1), part_of(from, 1), from->bulk);
    from->frames = from->bulk = (struct slice){NULL, 0};
}

enum err
link_send(struct link *link, uint32_t peer, struct slice frames, struct slice bulk)
{
    CHECK_OBJ(link, LINK_MAGIC);
    ASSERT(frames.len <= FRAME_MAX_MESSAGE && bulk.len <= FRAME_MAX_BULK);
    /* ZeroMQ goes on accepting for a moment what goes nowhere. */
    if (!is_reachable(link, peer))
        return ERR_LINK_DOWN;
    pair_sends(link);
    int more = bulk.len > 0 ? ZMQ_SNDMORE : 0;
    bool sent;
    if (link->shape == LINK_ROUTER) {
        uint32_t number = htonl(peer);
        char id[ROUTING_ID_BYTES] = {0};
        memcpy(id + 1, &number, sizeof number);
        sent = send_first(link, slice_of(id, sizeof id), ZMQ_SNDMORE);
        if (!sent)
            return errno == EHOSTUNREACH ? ERR_LINK_DOWN : ERR_LINK_FULL;
        sent = send_part(link, frames, more);
    } else {
        sent = send_first(link, frames, more);
        if (!sent)
            return ERR_LINK_FULL;
    }
    /* Once its first part is accepted only the connection's end can stop a message; its
     * parts are then dropped together. */
    if (sent && more != 0)
        sent = send_part(link, bulk, 0);
    return sent ? ERR_NONE : ERR_LINK_DOWN;
}

bool link_next_event(struct link *link, struct link_event *ret_event)
{
    CHECK_OBJ(link, LINK_MAGIC);
    if (link->guard.nudge_fd >= 0)
        guard_review(link);
    return link->monitor.socket != NULL && monitor_next(&link->monitor, ret_event);
}

static enum err open_link(struct link_context *context,
                          const char *text,
                          enum link_policy policy,
                          enum link_shape shape,
                          enum link_cargo cargo,
                          const struct guard *guard,
                          struct link **ret_link)
{
    CHECK_OBJ(context, CONTEXT_MAGIC);
    enum err failed = link_check_endpoint(text, policy);
    if (failed != ERR_NONE)
        return failed;
    struct endpoint e;
    failed = endpoint_parse(text, &e);
    ASSERT(failed == ERR_NONE);
    if (guard->is_on && e.transport != TRANSPORT_TCP)
        return ERR_BAD_ENDPOINT;
    struct link *l = new_link(context, shape);
    if (l == NULL)
        return ERR_SYSTEM;
    l->cargo = cargo;
    l->guard = *guard;
    l->guard.nudge_fd = -1;
    if (!set_options(l, &e) || (guard->is_on && !guard_set_options(l)) ||
        (e.transport != TRANSPORT_INPROC &&
         !monitor_init(&l->monitor, context->zmq, l)) ||
        (guard->is_on && !guard_init(l)) || !attach(l, text, &e)) {
        int failure = errno;
        close_socket(l);
        errno = failure;
        return ERR_SYSTEM;
    }
    /* What comes first to a socket never looked at raises no edge, inside a process. */
    (void)read_state(l);
    *ret_link = l;
    return ERR_NONE;
}

/* NULL: out of sockets or descriptors (errno). */
static struct link *new_link(struct link_context *context, enum link_shape shape)
{
    static const int types[] = {
        [LINK_DEALER] = ZMQ_DEALER,
        [LINK_ROUTER] = ZMQ_ROUTER,
        [LINK_PAIR] = ZMQ_PAIR,
    };
    CHECK_OBJ(context, CONTEXT_MAGIC);
    void *socket = zmq_socket(context->zmq, types[shape]);
    if (socket == NULL)
        return NULL;
    struct link *l = mem_zalloc(sizeof *l);
    l->guard.nudge_fd = -1;
    l->magic = LINK_MAGIC;
    l->shape = shape;
    l->socket = socket;
    if (shape == LINK_PAIR)
        ASSERT(set_option(socket, ZMQ_SNDHWM, 0) && set_option(socket, ZMQ_RCVHWM, 0));
    l->monitor = MONITOR_NONE;
    size_t size = sizeof l->fd;
    ASSERT(zmq_getsockopt(socket, ZMQ_FD, &l->fd, &size) == 0);
    return l;
}

static bool set_options(struct link *l, const struct endpoint *e)
{
    bool is_bound = l->shape == LINK_ROUTER, has_lines = l->cargo == CARGO_LINES;
    int64_t max_bytes = has_lines ? LINK_MAX_LINES : FRAME_MAX_MESSAGE;
    int high_water_mark = has_lines ? LINES_HIGH_WATER_MARK : HIGH_WATER_MARK;
    /* A message of CURVE is longer than what is in it. */
    max_bytes += l->guard.is_on ? CURVE_OVERHEAD : 0;
    bool ok =
        set_option(l->socket, ZMQ_LINGER, is_bound ? BOUND_LINGER_MS : 0) &&
        set_option(l->socket, ZMQ_SNDHWM, high_water_mark) &&
        set_option(l->socket, ZMQ_RCVHWM, high_water_mark) &&
        set_option(l->socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) &&
        /* Or nine bytes reserve gigabytes. */
        zmq_setsockopt(l->socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) == 0;
    if (is_bound)
        ok = ok && set_option(l->socket, ZMQ_ROUTER_MANDATORY, 1);
    else
        ok = ok && set_option(l->socket, ZMQ_RECONNECT_IVL, RECONNECT_MS) &&
             set_option(l->socket, ZMQ_RECONNECT_IVL_MAX,
                        e->transport == TRANSPORT_TCP ? RECONNECT_MAX_MS
                                                      : RECONNECT_LOCAL_MAX_MS);
    if (e->transport == TRANSPORT_TCP)
        /* Of a local peer's death the kernel tells at once. */
        ok = ok && set_option(l->socket, ZMQ_IPV6, e->is_ipv6) &&
             set_option(l->socket, ZMQ_CONNECT_TIMEOUT, CONNECT_MS) &&
             set_option(l->socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) &&
             set_option(l->socket, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS) &&
             set_option(l->socket, ZMQ_HEARTBEAT_TTL, HEARTBEAT_TTL_MS);
    return ok;
}

static bool attach(struct link *l, const char *text, const struct endpoint *e)
{
    if (l->shape == LINK_DEALER)
        return zmq_connect(l->socket, text) == 0;
    if (e->transport == TRANSPORT_IPC)
        return bind_ipc(l, text, e->address);
    return zmq_bind(l->socket, text) == 0;
}

static bool bind_ipc(struct link *l, const char *text, const char *path)
{
    int fd;
    if (!listener_open(path, &l->listener, &fd))
        return false;
    if (set_option(l->socket, ZMQ_USE_FD, fd) && zmq_bind(l->socket, text) == 0)
        return true; /* the socket owns fd now */
    int failure = errno;
    (void)close(fd);
    errno = failure;
    return false;
}

static bool set_option(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static void close_socket(struct link *l)
{
    guard_fini(l);
    listener_close(&l->listener);
    monitor_fini(&l->monitor, l->socket);
    (void)zmq_close(l->socket);
    l->magic = 0;
    mem_free(&l);
}

static zmq_msg_t *part_of(struct link_message *message, int i)
{
    return (zmq_msg_t *)(void *)&message->storage[i];
}

/* False: there is none now. */
static bool receive_part(struct link *l, zmq_msg_t *part)
{
    int rc;
    do
        rc = zmq_msg_recv(part, l->socket, ZMQ_DONTWAIT);
    while (rc == -1 && errno == EINTR);
    ASSERT(rc >= 0 || errno == EAGAIN);
    return rc >= 0;
}

/* The one or two parts of a message. On BAD both are still there, to be closed. */
static enum step receive_parts(struct link *l, struct link_message *m)
{
    zmq_msg_t *frames = part_of(m, 0), *bulk = part_of(m, 1);
    (void)zmq_msg_init(frames);
    (void)zmq_msg_init(bulk);
    if (!receive_part(l, frames))
        return STEP_MORE;
    m->frames = slice_of(zmq_msg_data(frames), zmq_msg_size(frames));
    m->bulk = (struct slice){NULL, 0};
    if (zmq_msg_more(frames)) {
        /* ZeroMQ hands over messages whole: the next part is here. */
        ASSERT(receive_part(l, bulk));
        m->bulk = slice_of(zmq_msg_data(bulk), zmq_msg_size(bulk));
    }
    if (zmq_msg_more(bulk)) {
        drop_parts(l);
        return STEP_BAD;
    }
    bool fits = m->frames.len <= FRAME_MAX_MESSAGE && m->bulk.len <= FRAME_MAX_BULK;
    return fits ? STEP_DONE : STEP_BAD;
}

static void drop_parts(struct link *l)
{
    bool more = true;
    while (more) {
        zmq_msg_t part;
        (void)zmq_msg_init(&part);
        ASSERT(receive_part(l, &part));
        more = zmq_msg_more(&part);
        (void)zmq_msg_close(&part);
    }
}

/* Skips what dead peers left behind. */
static enum step receive_from_peer(struct link *l, struct link_message *m)
{
    for (;;) {
        zmq_msg_t id;
        (void)zmq_msg_init(&id);
        if (!receive_part(l, &id))
            return STEP_MORE;
        enum step step = receive_parts(l, m);
        ASSERT(step != STEP_MORE);
        bool is_live = read_peer(l, &id, m);
        (void)zmq_msg_close(&id);
        if (is_live)
            return step;
        link_message_done(m);
    }
}

/* Whose message is this? False: nobody's to whom an answer could be sent, that is a
 * peer that is gone or one that chose its own routing id; or it was meant for an
 * earlier process at this endpoint. */
static bool read_peer(struct link *l, zmq_msg_t *id, struct link_message *m)
{
    const char *bytes = zmq_msg_data(id);
    if (zmq_msg_size(id) != ROUTING_ID_BYTES || bytes[0] != 0)
        return false;
    uint32_t number;
    memcpy(&number, bytes + 1, sizeof number);
    m->peer = ntohl(number);
    m->source_fd = -1;
    if (l->monitor.socket == NULL)
        return true;
    struct connection *c = monitor_find(&l->monitor, m->peer);
    if (c == NULL) {
        zmq_msg_t *part = part_of(m, 0);
        c = monitor_admit(&l->monitor, m->peer, zmq_msg_get(part, ZMQ_SRCFD));
        if (c != NULL && l->guard.is_on &&
            !guard_admits(l, c, zmq_msg_gets(part, "User-Id")))
            return false;
    }
    if (c == NULL || (l->guard.is_on && c->guest == NULL))
        return false;
    m->source_fd = c->fd;
    return l->cargo == CARGO_LINES || c->has_greeted || greets(c, m->frames);
}

/* What a DEALER wrote while its peer was dying goes to the peer's successor, and comes
 * there before the HELLO of the new connection. ZMQ_IMMEDIATE would prevent that, but
 * at the end of a connection it also discards the answers that were not read yet. What
 * cannot be decoded is not such a left-over: the user must see it. */
static bool greets(struct connection *c, struct slice frames)
{
    struct frame first;
    enum err failed;
    if (frame_unpack(&frames, &first, &failed) != STEP_DONE)
        return true;
    c->has_greeted = first.kind == FRAME_HELLO;
    return c->has_greeted;
}

static struct slice move_part(zmq_msg_t *to, zmq_msg_t *from, struct slice s)
{
    size_t offset = s.len == 0 ? 0 : (size_t)(s.ptr - (char *)zmq_msg_data(from));
    (void)zmq_msg_init(to);
    ASSERT(zmq_msg_move(to, from) == 0);
    /* A short part lies inside zmq_msg_t itself: its bytes have moved. */
    return slice_of((char *)zmq_msg_data(to) + offset, s.len);
}

/* As far as the events tell; without events everybody is. */
static bool is_reachable(const struct link *l, uint32_t peer)
{
    if (l->monitor.socket == NULL)
        return true;
    return l->shape == LINK_ROUTER ? monitor_find(&l->monitor, peer) != NULL
                                   : l->monitor.is_up;
}

/* False: errno is EAGAIN or EHOSTUNREACH. */
static bool send_part(struct link *l, struct slice part, int flags)
{
    int rc;
    do
        rc = zmq_send(l->socket, part.ptr, part.len, flags | ZMQ_DONTWAIT);
    while (rc == -1 && errno == EINTR);
    ASSERT(rc >= 0 || errno == EAGAIN || errno == EHOSTUNREACH);
    return rc >= 0;
}

static bool send_first(struct link *l, struct slice part, int flags)
{
    if (send_part(l, part, flags))
        return true;
    /* A send may work on an old picture of the connections; this brings it up to date.
     */
    (void)read_state(l);
    return send_part(l, part, flags);
}

/* ZMQ_EVENTS: also makes the socket act on what its I/O thread has reported. */
static unsigned read_state(struct link *l)
{
    int state = 0;
    size_t size = sizeof state;
    int rc;
    do
        rc = zmq_getsockopt(l->socket, ZMQ_EVENTS, &state, &size);
    while (rc == -1 && errno == EINTR);
    ASSERT(rc == 0);
    return (unsigned)state;
}
