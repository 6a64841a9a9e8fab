/* SPDX-License-Identifier: MIT
 * Lookups stand in a list; threads take them from it and end when there are none. What
 * they share with the loop outlives it as long as one of them waits. */
#include "proxy/admin/resolver.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/base/queue.h"

enum { RESOLVER_MAGIC = 0x4e53106a };

struct lookup {
    struct node node;
    uint64_t id;
    char host[256];
    int error;
    uint32_t count;
    char addresses[RESOLVER_ADDRESSES][RESOLVER_ADDRESS];
};

struct shared {
    pthread_mutex_t mutex; /* of all below */
    struct list asked, answered;
    uint32_t threads;
    bool is_closed; /* nobody listens any more; the last thread frees it */
    int fd;         /* counts answers */
};

struct resolver {
    uint32_t magic;
    struct shared *shared;
    struct event *readable;
    void (*on_answer)(void *arg, const struct resolver_answer *answer);
    void *arg;
};

static void on_readable(evutil_socket_t fd, short what, void *arg);

struct resolver *resolver_new(struct event_base *base,
                              void (*on_answer)(void *arg,
                                                const struct resolver_answer *answer),
                              void *arg)
{
    struct resolver *r = mem_zalloc(sizeof *r);
    r->magic = RESOLVER_MAGIC;
    r->on_answer = on_answer;
    r->arg = arg;
    r->shared = mem_zalloc(sizeof *r->shared);
    list_init(&r->shared->asked);
    list_init(&r->shared->answered);
    ASSERT(pthread_mutex_init(&r->shared->mutex, NULL) == 0);
    r->shared->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT(r->shared->fd >= 0);
    r->readable = event_new(base, r->shared->fd, EV_READ | EV_PERSIST, on_readable, r);
    ASSERT(r->readable != NULL && event_add(r->readable, NULL) == 0);
    return r;
}

static void free_lookups(struct list *list)
{
    for (struct node *n = list_pop_front(list); n != NULL; n = list_pop_front(list)) {
        struct lookup *l = NODE_OF(n, struct lookup, node);
        mem_free(&l);
    }
}

/* Called with the mutex, by whoever is the last to know it. */
static void free_shared(struct shared *s)
{
    free_lookups(&s->asked);
    free_lookups(&s->answered);
    (void)close(s->fd);
    (void)pthread_mutex_unlock(&s->mutex);
    (void)pthread_mutex_destroy(&s->mutex);
    mem_free(&s);
}

void resolver_free(struct resolver **resolver_p)
{
    struct resolver *r = take(*resolver_p);
    if (r == NULL)
        return;
    CHECK_OBJ(r, RESOLVER_MAGIC);
    struct shared *s = r->shared;
    event_free(r->readable);
    (void)pthread_mutex_lock(&s->mutex);
    s->is_closed = true;
    free_lookups(&s->asked);
    if (s->threads == 0)
        free_shared(s);
    else
        (void)pthread_mutex_unlock(&s->mutex);
    r->magic = 0;
    mem_free(&r);
}

/* ---- the threads ---- */

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Sorts them, and drops those that are there twice. */
static void tidy(struct lookup *l)
{
    uint32_t kept = 0;
    qsort(l->addresses, l->count, sizeof l->addresses[0], compare);
    for (uint32_t i = 0; i < l->count; i++) {
        if (kept > 0 && strcmp(l->addresses[kept - 1], l->addresses[i]) == 0)
            continue;
        if (kept != i)
            memcpy(l->addresses[kept], l->addresses[i], RESOLVER_ADDRESS);
        kept++;
    }
    l->count = kept;
}

static void look_up(struct lookup *l)
{
    static const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_ADDRCONFIG, /* no IPv6 where there is none */
    };
    struct addrinfo *found = NULL;
    l->error = getaddrinfo(l->host, NULL, &hints, &found);
    if (l->error != 0)
        return;
    for (const struct addrinfo *a = found; a != NULL && l->count < RESOLVER_ADDRESSES;
         a = a->ai_next) {
        char *to = l->addresses[l->count];
        const void *address =
            a->ai_family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)(const void *)a->ai_addr)
                      ->sin_addr
                : &((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr;
        if ((a->ai_family == AF_INET || a->ai_family == AF_INET6) &&
            inet_ntop(a->ai_family, address, to, RESOLVER_ADDRESS) != NULL)
            l->count++;
    }
    freeaddrinfo(found);
    tidy(l);
    if (l->count == 0)
        l->error = EAI_NONAME;
}

static void *run(void *arg)
{
    struct shared *s = arg;
    struct node *n;
    (void)pthread_mutex_lock(&s->mutex);
    while ((n = list_pop_front(&s->asked)) != NULL) {
        struct lookup *l = NODE_OF(n, struct lookup, node);
        (void)pthread_mutex_unlock(&s->mutex);
        look_up(l);
        (void)pthread_mutex_lock(&s->mutex);
        list_push_back(&s->answered, &l->node);
        static const uint64_t one = 1;
        if (!s->is_closed)
            (void)!write(s->fd, &one, sizeof one);
    }
    s->threads--;
    if (s->is_closed && s->threads == 0)
        free_shared(s);
    else
        (void)pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* ---- the loop ---- */

void resolver_ask(struct resolver *r, uint64_t id, const char *host)
{
    CHECK_OBJ(r, RESOLVER_MAGIC);
    struct shared *s = r->shared;
    struct lookup *l = mem_zalloc(sizeof *l);
    pthread_t thread;
    l->id = id;
    memcpy(l->host, host, strnlen(host, sizeof l->host - 1));
    (void)pthread_mutex_lock(&s->mutex);
    list_push_back(&s->asked, &l->node);
    bool needs_thread = s->threads < RESOLVER_THREADS;
    s->threads += needs_thread;
    if (needs_thread && pthread_create(&thread, NULL, run, s) == 0) {
        (void)pthread_detach(thread);
    } else if (needs_thread && --s->threads == 0) {
        /* None can be had, and none will take it. */
        node_leave(&l->node);
        l->error = EAI_MEMORY;
        static const uint64_t one = 1;
        list_push_back(&s->answered, &l->node);
        (void)!write(s->fd, &one, sizeof one);
    }
    (void)pthread_mutex_unlock(&s->mutex);
}

static struct lookup *take_answer(struct shared *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    struct node *n = list_pop_front(&s->answered);
    (void)pthread_mutex_unlock(&s->mutex);
    return n == NULL ? NULL : NODE_OF(n, struct lookup, node);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct resolver *r = CAST_OBJ(arg, struct resolver, RESOLVER_MAGIC);
    struct lookup *l;
    uint64_t count;
    (void)what;
    (void)!read(fd, &count, sizeof count);
    while ((l = take_answer(r->shared)) != NULL) {
        struct resolver_answer answer = {
            .id = l->id, .error = l->error, .count = l->count};
        for (uint32_t i = 0; i < l->count; i++)
            answer.addresses[i] = l->addresses[i];
        r->on_answer(r->arg, &answer);
        mem_free(&l);
    }
}
