/* SPDX-License-Identifier: MIT
 * What the files of the control thread share. */
#ifndef PROXY_CONTROL_PRIV_H
#define PROXY_CONTROL_PRIV_H

#include <pthread.h>

#include "proxy/admin/admin.h"
#include "proxy/bind_set.h"
#include "proxy/control.h"
#include "proxy/edge.h"

struct event;
struct event_base;
struct waker;

enum { CONTROL_MAX_EDGES = 64 };

struct edge_thread {
    pthread_t thread;
    struct link *orders; /* our end of the PAIR */
    struct waker *waker;
    struct control *control;
    struct edge_options options;
    uint64_t config_number; /* the configuration that it has said it follows */
    bool is_ready, is_stopped;
};

struct control {
    struct config *config;
    struct config *started; /* the first one; kept */
    struct list former;     /* configurations that an edge may still look at */
    const struct proxy_options *options; /* its options */
    struct link_context *context;
    struct keys *keys; /* NULL: none */
    struct access_log *access_log;
    struct inherited *inherited; /* what was passed at the start */
    struct bind_set *binds;
    struct event_base *base;
    struct event *signals;
    struct admin *admin;
    int signal_fd;
    uint32_t edge_count;
    bool is_stopping, has_failed, is_announced;
    struct edge_thread edges[CONTROL_MAX_EDGES];
};

/* ---- control.c ---- */
void control_order(struct edge_thread *e, const struct edge_order *order);
void control_order_all(struct control *c, const struct edge_order *order);

/* ---- control_listen.c ---- */
/* Opens the addresses of the options, the operators' too. False: ret_message says why.
 */
MUST_CHECK bool control_open_listeners(struct control *c, struct buf *ret_message);
MUST_CHECK bool control_open_admin_listeners(struct control *c,
                                             struct buf *ret_message);
/* The edge threads accept from here on. */
void control_begin_listening(struct control *c);
/* Those of another configuration: as bind_set_prepare, and then in force. */
MUST_CHECK bool control_change_listeners(struct control *c,
                                         const struct proxy_options *options,
                                         struct buf *ret_message);
void control_log_listeners(struct control *c);

/* ---- control_reload.c ---- */
void control_free_former(struct control *c); /* what no edge looks at any more */

#endif
