/* SPDX-License-Identifier: MIT
 * The admin's life and what all its verbs need. The edge threads have what their orders
 * said; the truth is admin->members. */
#include "proxy/admin/admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

static void take_options(struct admin *admin);

struct admin *admin_new(const struct admin_options *options, struct buf *ret_message)
{
    struct admin *admin = mem_zalloc(sizeof *admin);
    (void)ret_message;
    ASSERT(options->edge_count <= ADMIN_MAX_EDGES);
    admin->magic = ADMIN_MAGIC;
    admin->options = *options;
    admin->started_us = clock_now_us();
    admin->live = *options->proxy;
    members_init(&admin->members);
    list_init(&admin->operations);
    list_init(&admin->listeners);
    list_init(&admin->clients);
    take_options(admin);
    return admin;
}

void admin_free(struct admin **admin_p)
{
    struct admin *admin = take(*admin_p);
    if (admin == NULL)
        return;
    CHECK_OBJ(admin, ADMIN_MAGIC);
    admin_server_free(admin);
    for (struct node *n = list_first(&admin->operations); n != NULL;
         n = list_first(&admin->operations)) {
        struct operation *op = NODE_OF(n, struct operation, node);
        operation_free(&op);
    }
    members_fini(&admin->members);
    admin->magic = 0;
    mem_free(&admin);
}

/* Each --backend that is not there yet and was not removed by an operator. Where it is
 * is the command line's to say, what was decided about it is not. */
static void take_options(struct admin *admin)
{
    const struct option_list *list = &admin->options.proxy->backend;
    const struct backend_settings settings = BACKEND_SETTINGS;
    for (size_t i = 0; i < list->count; i++) {
        struct proxy_backend b;
        bool is_good = proxy_backend_parse(list->items[i], i, &b);
        ASSERT(is_good);
        struct member *m = members_find(&admin->members, b.name);
        if (m == NULL && !members_is_removed(&admin->members, b.name))
            m = members_add(&admin->members, b.name, b.endpoint, &settings,
                            SOURCE_OPTION);
        else if (m != NULL)
            memcpy(m->endpoint, b.endpoint, sizeof b.endpoint);
        if (m != NULL)
            m->source = SOURCE_OPTION;
    }
}

/* ---- orders ---- */

void admin_order(struct admin *admin, const struct edge_order *order)
{
    for (uint32_t i = 0; i < admin->options.edge_count; i++)
        if (!admin->is_edge_stopped[i])
            admin->options.order(admin->options.owner, i, order);
}

/* The limit is shared out so that the edges' parts make it up exactly. */
static struct edge_order
order_of(const struct admin *admin, const struct member *m, uint32_t edge)
{
    struct edge_order order = {.kind = EDGE_SET, .pool = POOL_NAME};
    uint32_t edges = admin->options.edge_count, limit = m->settings.limit;
    memcpy(order.name, m->name, sizeof order.name);
    memcpy(order.backend.endpoint, m->endpoint, sizeof order.backend.endpoint);
    order.backend.settings = m->settings;
    order.backend.settings.limit = limit / edges + (edge < limit % edges);
    return order;
}

void admin_order_member(struct admin *admin,
                        const struct member *m,
                        enum edge_order_kind kind)
{
    for (uint32_t i = 0; i < admin->options.edge_count; i++) {
        struct edge_order order = order_of(admin, m, i);
        order.kind = kind;
        if (!admin->is_edge_stopped[i])
            admin->options.order(admin->options.owner, i, &order);
    }
}

void admin_introduce(struct admin *admin, uint32_t edge)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    LIST_FOREACH(&admin->members.all, n) {
        const struct member *m = NODE_OF(n, struct member, node);
        struct edge_order order = order_of(admin, m, edge);
        order.kind = EDGE_ADD;
        admin->options.order(admin->options.owner, edge, &order);
    }
    struct edge_order order = {.kind = EDGE_SET_POOL, .pool = POOL_NAME};
    order.pool_settings = admin->members.pool;
    if (order.pool_settings.state != POOL_SERVING)
        admin->options.order(admin->options.owner, edge, &order);
}

/* ---- events ---- */

int64_t admin_now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void admin_note(struct admin *admin,
                const char *by,
                const char *object,
                const char *text)
{
    (void)journal_add(&admin->journal, admin_now_ms(), admin->members.generation, by,
                      object, text);
    LIST_FOREACH(&admin->operations, n) {
        struct operation *op = NODE_OF(n, struct operation, node);
        if (op->is_listening)
            show_new_events(op);
    }
}

void admin_on_notice(struct admin *admin, const char *name, const char *text)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    admin_note(admin, "proxy", name, text);
}

void admin_changed(struct operation *op, struct change *change, const char *what)
{
    op->admin->members.generation++;
    change->at_ms = admin_now_ms();
    memcpy(change->by, op->who, sizeof change->by);
    (void)snprintf(change->what, sizeof change->what, "%s", what);
}
