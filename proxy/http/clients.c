/* SPDX-License-Identifier: MIT
 * Lists of connections, and the phases of a turn that concern them. */
#include "proxy/http/clients.h"

#include <time.h>

#include "protocol/base/mem.h"
#include "proxy/http/client_priv.h"
#include "proxy/http/respond.h"

struct clients *clients_new(struct event_base *base,
                            const struct clients_options *options)
{
    struct clients *all = mem_zalloc(sizeof(*all));
    all->magic = CLIENTS_MAGIC;
    all->base = base;
    list_init(&all->idle);
    list_init(&all->open);
    list_init(&all->closed);
    list_init(&all->dirty);
    list_init(&all->ready);
    all->date_second = -1;

    clients_set(all, options);
    struct deadlines *d = options->deadlines;
    deadlines_set(d, DEADLINE_LINGER, LINGER_US, client_on_linger_end);
    deadlines_set(d, DEADLINE_HALF_CLOSED, HALF_CLOSED_US, client_on_half_closed);
    deadlines_set(d, DEADLINE_LOOK, LOOK_US, client_on_look);
    return all;
}

void clients_set(struct clients *all, const struct clients_options *options)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    all->options = *options;
    struct deadlines *d = options->deadlines;
    deadlines_set(d, DEADLINE_HEADER, options->header_timeout_us,
                  client_on_header_late);
    deadlines_set(d, DEADLINE_BODY, options->body_timeout_us, client_on_body_late);
    /* Without keep-alive only new connections are idle. */
    deadlines_set(d, DEADLINE_KEEPALIVE,
                  options->keepalive_timeout_us > 0 ? options->keepalive_timeout_us
                                                    : options->header_timeout_us,
                  client_on_idle);
    deadlines_set(d, DEADLINE_WRITE, options->write_timeout_us,
                  client_on_write_stalled);
}

static void free_closed(struct clients *all)
{
    struct node *n;
    while ((n = list_pop_front(&all->closed)) != NULL) {
        struct client *c = NODE_OF(n, struct client, node);
        client_free(&c);
    }
}

void clients_free(struct clients **clients_p)
{
    struct clients *all = *clients_p;
    if (all == NULL)
        return;
    CHECK_OBJ(all, CLIENTS_MAGIC);
    struct node *n;
    while ((n = list_first(&all->idle)) != NULL || (n = list_first(&all->open)) != NULL)
        client_close(NODE_OF(n, struct client, node), ERR_SHUTTING_DOWN);
    free_closed(all);
    refusals_fini(&all->refusals);
    all->magic = 0;
    mem_free(clients_p);
}

void clients_add(struct clients *all,
                 int fd,
                 const struct sockaddr_storage *peer,
                 struct slice listener_path)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    if (all->count >= all->options.max_connections)
        (void)clients_evict(all);
    struct client *c = client_new(all, fd, peer, listener_path);
    all->count++;
    all->options.stats->connections++;
    list_push_back(&all->idle, &c->node);
    deadline_arm(all->options.deadlines,
                 all->is_stopping ? DEADLINE_HALF_CLOSED : DEADLINE_KEEPALIVE,
                 &c->wait);
}

uint32_t clients_count(const struct clients *all)
{
    return all->count;
}

bool clients_evict(struct clients *all)
{
    struct node *oldest = list_first(&all->idle);
    if (oldest == NULL)
        return false;
    all->options.stats->connections_evicted++;
    client_close(NODE_OF(oldest, struct client, node), ERR_NONE);
    return true;
}

bool clients_has_room(const struct clients *all)
{
    return all->count < all->options.max_connections || !list_is_empty(&all->idle);
}

/* Visits those that are on the list now; who comes back is for the next turn. */
static void visit(struct clients *all,
                  struct list *list,
                  size_t node_offset,
                  void (*act)(struct client *))
{
    list_push_back(list, &all->mark);
    struct node *n;
    while ((n = list_pop_front(list)) != &all->mark) {
        struct client *c = (void *)((char *)n - node_offset);
        act(c);
    }
}

bool clients_turn(struct clients *all)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    if (!list_is_empty(&all->dirty))
        visit(all, &all->dirty, offsetof(struct client, dirty), client_flush);
    if (!list_is_empty(&all->ready))
        visit(all, &all->ready, offsetof(struct client, ready), client_read_on);
    free_closed(all);
    return !list_is_empty(&all->dirty) || !list_is_empty(&all->ready);
}

bool clients_has_output(const struct clients *all)
{
    return !list_is_empty(&all->dirty);
}

void clients_leave(struct clients *all)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    all->is_leaving = true;
}

void clients_stop(struct clients *all)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    all->is_stopping = true;
    /* A request may be on its way; only its answer can say that it was the last. */
    LIST_FOREACH(&all->idle, n)
        deadline_arm(all->options.deadlines, DEADLINE_HALF_CLOSED,
                     &NODE_OF(n, struct client, node)->wait);
}

struct slice clients_date(struct clients *all)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != all->date_second) {
        all->date_second = now.tv_sec;
        http_date(now.tv_sec, all->date);
    }
    return slice_of(all->date, sizeof(all->date) - 1);
}
