/* SPDX-License-Identifier: MIT
 * What the files of the control thread share. */
#ifndef PROXY_CONTROL_PRIV_H
#define PROXY_CONTROL_PRIV_H

#include <pthread.h>
#include <signal.h>

#include "proxy/admin/admin.h"
#include "proxy/bind_set.h"
#include "proxy/control.h"
#include "proxy/edge.h"
#include "proxy/predecessor.h"
#include "proxy/successor.h"

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
    bool is_probed;         /* and has not answered */
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
    struct dealer *dealer; /* NULL: there is one edge */
    struct event_base *base;
    struct event *signals;
    struct admin *admin;
    int signal_fd;
    uint32_t edge_count;
    bool is_stopping, has_failed, is_announced;
    /* control_upgrade.c */
    sigset_t start_signals; /* what was blocked */
    struct parent parent;
    struct successor *successor; /* NULL: there is none */
    bool is_replaced;            /* the successor serves */
    struct event *upgrade_end;
    struct predecessor *predecessor; /* NULL: there was none */
    bool predecessor_is_waiting;     /* for us to serve */
    /* control_service.c */
    struct event *watchdog;
    bool is_looking;      /* how many app servers are up */
    bool must_look_again; /* something came meanwhile */
    struct edge_thread edges[CONTROL_MAX_EDGES];
};

/* ---- control.c ---- */
void control_order(struct edge_thread *e, const struct edge_order *order);
void control_order_all(struct control *c, const struct edge_order *order);

/* When all edges are there and we may serve. */
void control_announce(struct control *c);
void control_stop(struct control *c); /* finish what runs, and end */
NO_RETURN void control_end_at_once(struct control *c);

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

/* ---- control_upgrade.c ---- */
enum { UPGRADE_PATIENCE_US = 30 * 1000 * 1000 }; /* of SIGUSR2; a verb has --timeout */
/* Starts what stands at our path now, to take over when it is ready. False: ret_message
 * says why not. */
MUST_CHECK bool
control_upgrade(struct control *c, uint64_t patience_us, struct buf *ret_message);
void control_upgrade_on_signal(struct control *c);
void control_end_upgrade(struct control *c); /* one that is under way */
/* Is this an upgrade? Before anything is opened. */
void control_meet_predecessor(struct control *c);
void control_backends_are_up(void *owner);
/* At the end: the sockets of a predecessor that still serves are left to it. */
void control_give_back_sockets(struct control *c);

/* ---- control_service.c ---- */
void control_service_ready(struct control *c);
void control_service_reloading(struct control *c);
void control_service_reloaded(struct control *c, bool is_in_force);
void control_service_stopping(struct control *c);
void control_service_turned(struct control *c, struct edge_thread *e);
/* Something may have changed: asks, and tells. */
void control_service_look(struct control *c);
void control_service_backends(void *owner, uint32_t up, uint32_t wanted);

#endif
