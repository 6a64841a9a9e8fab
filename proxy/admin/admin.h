/* SPDX-License-Identifier: MIT
 * The operator's side of the control thread: sockets that take lines, the verbs behind
 * them, and the membership that the verbs change. It speaks to the edge threads through
 * orders only. Everything happens in the control thread, in its event loop; nothing
 * here waits. */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "proxy/edge.h"
#include "proxy/options.h"

struct admin;
struct bind_set;
struct event_base;
struct inherited;

enum shutdown_kind { SHUTDOWN_GRACEFUL, SHUTDOWN_QUICK };

struct admin_options { /* all borrowed, outlives the admin */
    struct event_base *base;
    const struct config *config;
    const struct proxy_options *proxy; /* the configuration's; admin_new fills it */
    struct keys *keys;                 /* of --control tcp://; NULL: none */
    uint32_t edge_count;
    struct bind_set *binds;      /* what the edges listen at */
    struct inherited *inherited; /* for control and metrics */
    /* what it asks of the control thread; an order may be sent before the thread runs
     */
    void *owner;
    void (*order)(void *owner, uint32_t edge, const struct edge_order *order);
    void (*shut_down)(void *owner, enum shutdown_kind kind);
    bool (*reopen_logs)(void *owner); /* false: errno */
    /* Starts the program anew in place of this process (control_upgrade); then
     * admin_leave or admin_thaw. */
    bool (*upgrade)(void *owner, uint64_t patience_us, struct buf *ret_message);
    void (*backends_are_up)(void *owner); /* admin_await_backends */
    void (*backends)(void *owner, uint32_t up, uint32_t wanted);
    struct slice state; /* of the process before, as the state file has it; or empty */
    bool is_successor; /* in place of another process: remote endpoints are still its */
    /* Reads the configuration again: a line for each change, or (false: nothing has
     * changed) for each mistake. */
    bool (*reload)(void *owner, const char *by, struct buf *ret_report);
    /* Whether this file (NULL: --config) would be good; changes nothing. Likewise. */
    bool (*check)(void *owner, const char *path, struct buf *ret_report);
};

/* The members are those of the configuration, and as the state file says when there is
 * one. NULL: ret_message says what is wrong with it. */
MUST_CHECK struct admin *admin_new(const struct admin_options *options,
                                   struct buf *ret_message);
/* Ends every connection; their operations are not finished. */
void admin_free(struct admin **admin_p);
/* The sockets of --control and --metrics, as bind_set_prepare; then they are in force,
 * or (no call) as before at the next prepare. The options live until then. */
MUST_CHECK bool admin_prepare_listeners(struct admin *admin,
                                        const struct proxy_options *options,
                                        struct buf *ret_message);
void admin_commit_listeners(struct admin *admin);
/* Somebody is answered from here on. */
void admin_begin_listening(struct admin *admin);
/* Orders the whole membership: the first orders of each edge. With the last edge the
 * hosts of backends begin to be looked up. */
void admin_introduce(struct admin *admin, uint32_t edge);

/* The app servers as the first edge thread sees them: options.backends. */
void admin_look_at_backends(struct admin *admin);

/* ---- an upgrade: in the process that is replaced ---- */
/* Nothing is changed any more; what was decided, as text. False: ret_message says what
 * is not finished. */
MUST_CHECK bool
admin_freeze(struct admin *admin, struct buf *ret_state, struct buf *ret_message);
/* As before; `reason`, if any, is what `upgrade` answers. */
void admin_thaw(struct admin *admin, const char *reason);
void admin_tell_sockets(struct admin *admin,
                        void (*tell)(void *arg, int fd, const char *name),
                        void *arg);
/* `pid` listens there from here on. */
void admin_leave(struct admin *admin, int pid);
/* ---- and in the one that comes ---- */
/* It ends before it serves: bind_set_give_back. */
void admin_give_back_sockets(struct admin *admin);
/* Tells options.backends_are_up when they are, or have had time enough. */
void admin_await_backends(struct admin *admin);

/* This one is in force from here on, but for what `set` has changed; the edges have its
 * pools and options already. It outlives the admin, or the next one. Orders what its
 * backends change; ret_lines says what a person's decisions keep from being in force.
 */
void admin_configure(struct admin *admin,
                     const struct config *config,
                     const char *by,
                     struct buf *ret_lines);
/* It has more backends than there are sockets for; *ret_most: how many may be. */
MUST_CHECK bool admin_has_room(const struct admin *admin,
                               const struct config *config,
                               uint32_t *ret_most);

/* The keys were read again. */
void admin_keys_changed(struct admin *admin);

/* What the edges report. The snapshot is the admin's from here on. */
void admin_on_snapshot(struct admin *admin, struct snapshot *snapshot);
void admin_on_notice(struct admin *admin,
                     const char *pool,
                     const char *name,
                     const char *text);
void admin_on_edge_stopped(struct admin *admin, uint32_t edge);

#endif
