/* SPDX-License-Identifier: MIT
 * Names stay until the end: connections borrow them, longer than they are listened on.
 */
#include "proxy/http/listeners.h"

#include <string.h>

#include "protocol/base/mem.h"
#include "protocol/base/queue.h"
#include "proxy/http/listener.h"

enum { LISTENERS_MAGIC = 0x11573e50 };

struct listened_name {
    struct node node;
    char *text;
};

struct listened {
    struct node node;
    const char *name; /* a listened_name's */
    struct listener *listener;
};

struct listeners {
    uint32_t magic;
    struct event_base *base;
    struct clients *clients;
    struct stats *stats;
    struct list names, all;
    struct dealer *dealer; /* NULL: nobody deals */
    uint32_t seat;
    struct listener *seated;
};

struct listeners *
listeners_new(struct event_base *base, struct clients *clients, struct stats *stats)
{
    struct listeners *all = mem_zalloc(sizeof *all);
    all->magic = LISTENERS_MAGIC;
    all->base = base;
    all->clients = clients;
    all->stats = stats;
    list_init(&all->names);
    list_init(&all->all);
    return all;
}

void listeners_free(struct listeners **listeners_p)
{
    struct listeners *all = take(*listeners_p);
    if (all == NULL)
        return;
    CHECK_OBJ(all, LISTENERS_MAGIC);
    ASSERT(list_is_empty(&all->all) && all->seated == NULL);
    LIST_FOREACH(&all->names, n) {
        struct listened_name *name = NODE_OF(n, struct listened_name, node);
        node_leave(n);
        mem_free(&name->text);
        mem_free(&name);
    }
    all->magic = 0;
    mem_free(&all);
}

static const char *keep_name(struct listeners *all, const char *text)
{
    LIST_FOREACH(&all->names, n) {
        const struct listened_name *name = NODE_OF(n, struct listened_name, node);
        if (strcmp(name->text, text) == 0)
            return name->text;
    }
    struct listened_name *name = mem_zalloc(sizeof *name);
    name->text = mem_strdup(text);
    list_push_back(&all->names, &name->node);
    return name->text;
}

static const char *on_name(void *arg, const char *name)
{
    return keep_name(CAST_OBJ(arg, struct listeners, LISTENERS_MAGIC), name);
}

void listeners_sit(struct listeners *all, struct dealer *dealer, uint32_t seat)
{
    CHECK_OBJ(all, LISTENERS_MAGIC);
    all->dealer = dealer;
    all->seat = seat;
    all->seated = listener_new_seat(all->base, dealer_sit(dealer, seat), all->clients,
                                    all->stats, on_name, all);
}

static void stand_up(struct listeners *all)
{
    if (all->seated == NULL)
        return;
    dealer_stand_up(all->dealer, all->seat);
    listener_drain(all->seated);
}

void listeners_share(struct listeners *all, int fd, const char *name)
{
    listeners_add(all, fd, name);
    struct listened *l = NODE_OF(all->all.head.prev, struct listened, node);
    if (all->dealer != NULL)
        listener_share(l->listener, all->dealer, all->seat);
}

void listeners_add(struct listeners *all, int fd, const char *name)
{
    CHECK_OBJ(all, LISTENERS_MAGIC);
    struct listened *l = mem_zalloc(sizeof *l);
    l->name = keep_name(all, name);
    l->listener = listener_new(all->base, fd, l->name, all->clients, all->stats);
    list_push_back(&all->all, &l->node);
}

static void drop(struct listened *l)
{
    node_leave(&l->node);
    mem_free(&l);
}

void listeners_close(struct listeners *all, const char *name)
{
    CHECK_OBJ(all, LISTENERS_MAGIC);
    if (name == NULL)
        stand_up(all);
    LIST_FOREACH(&all->all, n) {
        struct listened *l = NODE_OF(n, struct listened, node);
        if (name != NULL && strcmp(l->name, name) != 0)
            continue;
        listener_free(&l->listener);
        drop(l);
    }
}

void listeners_end(struct listeners *all)
{
    listeners_close(all, NULL);
    listener_free(&all->seated);
}

void listeners_leave(struct listeners *all)
{
    CHECK_OBJ(all, LISTENERS_MAGIC);
    stand_up(all);
    LIST_FOREACH(&all->all, n) {
        struct listened *l = NODE_OF(n, struct listened, node);
        listener_leave(&l->listener);
        drop(l);
    }
}
