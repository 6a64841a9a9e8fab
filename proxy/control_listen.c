/* SPDX-License-Identifier: MIT
 * The addresses that the edge threads accept at, and the operators'. Both come from the
 * configuration, at the start and again at each reload. */
#include <stdio.h>

#include "protocol/base/log.h"
#include "proxy/control_priv.h"
#include "proxy/http/dealer.h"

static void on_nothing(void *arg, enum bind_change change, const struct bind_row *row)
{
    (void)arg;
    (void)change;
    (void)row;
}

bool control_open_listeners(struct control *c, struct buf *ret_message)
{
    const struct option_list *bind = &c->options->bind;
    c->inherited = inherited_new();
    control_meet_predecessor(c);
    c->binds = bind_set_new(c->edge_count, c->inherited);
    if (c->edge_count > 1)
        c->dealer = dealer_new(c->edge_count);
    if (!bind_set_prepare(c->binds, bind->items, bind->count, ret_message))
        return false;
    bind_set_commit(c->binds, on_nothing, NULL);
    return true;
}

bool control_open_admin_listeners(struct control *c, struct buf *ret_message)
{
    if (!admin_prepare_listeners(c->admin, c->options, ret_message))
        return false;
    admin_commit_listeners(c->admin);
    size_t left = inherited_count(c->inherited);
    if (left > 0 && c->predecessor == NULL)
        log_warn(NULL,
                 "%zu of the descriptors that were passed are not listened on: "
                 "no --bind, --control or --metrics names them",
                 left);
    inherited_close(c->inherited);
    return true;
}

static void listen_at(struct edge_thread *e, const struct bind_row *row)
{
    struct edge_order order = {.kind = EDGE_LISTEN};
    order.listen.is_shared = bind_row_is_shared(row);
    (void)snprintf(order.listen.name, sizeof order.listen.name, "%s",
                   bind_row_name(row));
    for (uint32_t n = 0;; n++) {
        order.listen.fd = bind_row_copy(row, e->options.number, n);
        if (order.listen.fd == -2)
            log_error(NULL, "edge thread %u cannot listen on %s: too many open files",
                      e->options.number, bind_row_name(row));
        if (order.listen.fd < 0)
            return;
        control_order(e, &order);
    }
}

void control_begin_listening(struct control *c)
{
    admin_begin_listening(c->admin);
    for (const struct bind_row *row = bind_set_first(c->binds); row != NULL;
         row = bind_set_next(c->binds, row))
        for (uint32_t i = 0; i < c->edge_count; i++)
            listen_at(&c->edges[i], row);
}

static void on_change(void *arg, enum bind_change change, const struct bind_row *row)
{
    struct control *c = arg;
    struct edge_order order = {.kind = EDGE_UNLISTEN};
    if (change == BIND_CLOSED) {
        (void)snprintf(order.listen.name, sizeof order.listen.name, "%s",
                       bind_row_name(row));
        control_order_all(c, &order);
        log_info(NULL, "not listening on %s any more; its connections go on",
                 bind_row_name(row));
        return;
    }
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (!c->edges[i].is_stopped)
            listen_at(&c->edges[i], row);
    log_info(NULL, "listening on %s", bind_row_name(row));
}

bool control_change_listeners(struct control *c,
                              const struct proxy_options *options,
                              struct buf *ret_message)
{
    const struct option_list *bind = &options->bind;
    if (!bind_set_prepare(c->binds, bind->items, bind->count, ret_message))
        return false;
    if (!admin_prepare_listeners(c->admin, options, ret_message)) {
        bind_set_rollback(c->binds);
        return false;
    }
    bind_set_commit(c->binds, on_change, c);
    admin_commit_listeners(c->admin);
    return true;
}

void control_log_listeners(struct control *c)
{
    for (const struct bind_row *row = bind_set_first(c->binds); row != NULL;
         row = bind_set_next(c->binds, row))
        log_info(NULL, "listening on %s", bind_row_name(row));
}
