/* SPDX-License-Identifier: MIT
 * What a link does about keys. A bound one asks the ZAP handler of its context whom to
 * let in, and the list again when it has changed: ZeroMQ keeps a connection that was
 * admitted once, so those of a removed key are shut down here. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "protocol/base/mem.h"
#include "protocol/link_priv.h"

#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
/* Declared as a draft, and there in every build of libzmq since 4.3. */
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

static bool set_server(void *socket, const struct guard *g);
static bool set_client(void *socket, const struct guard *g);
static bool is_welcome(const struct guard *g, const struct key_user *user);
static bool is_still_there(const struct connection *c);

static void on_reread(void *arg)
{
    link_context_keys_changed(arg);
}

enum err link_context_use_keys(struct link_context *context,
                               struct keys *keys,
                               int reread_fd,
                               const struct zap_events *events)
{
    ASSERT(context->keys == NULL);
    context->zap = zap_new(context->zmq, keys, reread_fd, on_reread, context, events);
    if (context->zap == NULL)
        return ERR_SYSTEM;
    context->keys = keys;
    return ERR_NONE;
}

void link_context_keys_changed(struct link_context *context)
{
    ASSERT(pthread_mutex_lock(&context->lock) == 0);
    LIST_FOREACH(&context->guarded, n) {
        struct guard *g = NODE_OF(n, struct guard, node);
        (void)eventfd_write(g->nudge_fd, 1);
    }
    ASSERT(pthread_mutex_unlock(&context->lock) == 0);
}

const struct key_user *link_peer_user(const struct link *link, uint32_t peer)
{
    const struct connection *c =
        link->guard.is_on ? monitor_find(&link->monitor, peer) : NULL;
    return c == NULL || c->guest == NULL ? NULL : &c->guest->user;
}

bool guard_set_options(struct link *l)
{
    return l->shape == LINK_ROUTER ? set_server(l->socket, &l->guard)
                                   : set_client(l->socket, &l->guard);
}

static bool set_server(void *socket, const struct guard *g)
{
    const int on = 1;
    const char *domain = zap_domain_name(g->domain);
    struct key_pair own;
    keys_own(g->context->keys, &own);
    /* Without a handler CURVE would let every key in. */
    bool ok =
        zmq_setsockopt(socket, ZMQ_ZAP_ENFORCE_DOMAIN, &on, sizeof on) == 0 &&
        zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain)) == 0 &&
        zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on) == 0 &&
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own.secret_key, KEY_TEXT) == 0;
    key_pair_wipe(&own);
    return ok;
}

static bool set_client(void *socket, const struct guard *g)
{
    return zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, g->server_key, KEY_TEXT) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, g->own->public_key, KEY_TEXT) ==
               0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, g->own->secret_key, KEY_TEXT) ==
               0;
}

bool guard_init(struct link *l)
{
    struct guard *g = &l->guard;
    g->own = NULL; /* the caller's; ZeroMQ has copied them */
    g->server_key = NULL;
    if (l->shape != LINK_ROUTER)
        return true;
    g->nudge_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event readable = {.events = EPOLLIN};
    if (g->nudge_fd < 0 ||
        epoll_ctl(l->monitor.wait_fd, EPOLL_CTL_ADD, g->nudge_fd, &readable) != 0)
        return false;
    g->seen_version = keys_version(g->context->keys);
    ASSERT(pthread_mutex_lock(&g->context->lock) == 0);
    list_push_back(&g->context->guarded, &g->node);
    ASSERT(pthread_mutex_unlock(&g->context->lock) == 0);
    return true;
}

void guard_fini(struct link *l)
{
    struct guard *g = &l->guard;
    if (g->nudge_fd < 0)
        return;
    ASSERT(pthread_mutex_lock(&g->context->lock) == 0);
    node_leave(&g->node);
    ASSERT(pthread_mutex_unlock(&g->context->lock) == 0);
    (void)close(g->nudge_fd);
    g->nudge_fd = -1;
}

bool guard_admits(struct link *l, struct connection *c, const char *user_id)
{
    struct guest *guest = mem_zalloc(sizeof *guest);
    guest->address_length = sizeof guest->address;
    mem_free(&c->guest);
    if (user_id != NULL && zap_parse_user(user_id, &guest->user) &&
        getpeername(c->fd, (struct sockaddr *)&guest->address,
                    &guest->address_length) == 0) {
        c->guest = guest;
        if (is_welcome(&l->guard, &guest->user))
            return true;
        (void)shutdown(c->fd, SHUT_RDWR);
        c->guest = NULL;
    }
    mem_free(&guest);
    return false;
}

void guard_review(struct link *l)
{
    struct guard *g = &l->guard;
    struct monitor *m = &l->monitor;
    eventfd_t ignored;
    (void)eventfd_read(g->nudge_fd, &ignored);
    uint64_t version = keys_version(g->context->keys);
    if (version == g->seen_version)
        return;
    g->seen_version = version;
    for (size_t i = 0; i < m->connection_count; i++) {
        struct connection *c = &m->connections[i];
        if (c->guest != NULL && !is_welcome(g, &c->guest->user) && is_still_there(c))
            (void)shutdown(c->fd, SHUT_RDWR);
    }
}

/* As the list has it now. */
static bool is_welcome(const struct guard *g, const struct key_user *user)
{
    return zap_domain_admits(g->domain, user->role) &&
           keys_admit(g->context->keys, user->key, user->role);
}

/* ZeroMQ may have closed the descriptor, and the kernel given its number to another
 * connection. */
static bool is_still_there(const struct connection *c)
{
    struct sockaddr_storage now = {0};
    socklen_t length = sizeof now;
    return getpeername(c->fd, (struct sockaddr *)&now, &length) == 0 &&
           length == c->guest->address_length &&
           memcmp(&now, &c->guest->address, length) == 0;
}
