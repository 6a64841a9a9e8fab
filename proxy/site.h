/* SPDX-License-Identifier: MIT
 * What a request can be routed to: a pool of app servers, and how its requests are
 * treated. Each edge thread has its own. */
#ifndef PROXY_SITE_H
#define PROXY_SITE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/queue.h"
#include "protocol/base/slice.h"
#include "proxy/deadline.h"
#include "proxy/options.h"
#include "proxy/route.h"
#include "proxy/upstream/pool.h"

/* What a pool says for itself; the rest follows the options of the same names. */
enum site_own {
    SITE_OWN_MAX_QUEUE = 1,
    SITE_OWN_QUEUE_TIMEOUT = 2,
    SITE_OWN_REQUEST_TIMEOUT = 4,
};

struct site_settings {
    char name[64]; /* of the pool */
    unsigned own;  /* enum site_own bits */
    uint32_t max_queue;
    enum buffering buffering;
    uint64_t request_buffer;     /* bytes of a body that are gathered at most */
    uint64_t queue_timeout_us;   /* 0: nobody waits */
    uint64_t request_timeout_us; /* 0: for ever */
};

struct site { /* written by sites_* only */
    uint32_t magic;
    struct node node;
    struct pool *pool; /* owned */
    struct site_settings settings;
    enum deadline_kind request_line; /* for deadline_arm_for */
    uint32_t users;                  /* open exchanges */
    bool is_leaving;
};

struct sites;
MUST_CHECK struct sites *sites_new(void);
void sites_free(struct sites **sites_p); /* nobody uses one any more */

/* Takes the pool. */
struct site *sites_add(struct sites *all,
                       const struct site_settings *settings,
                       struct pool **pool_p);
void site_set(struct site *site, const struct site_settings *settings);
/* NULL: no such name, or it is leaving. */
struct site *sites_find(struct sites *all, const char *name);
/* No route may lead there any more. It is freed with its pool when its last exchange
 * has let go; its app servers are drained by the caller. */
void sites_remove(struct sites *all, struct site *site);
/* The routes lead to targets[route.target]. NULL: everything to targets[0]. Takes the
 * routes; the targets are copied. */
void sites_route(struct sites *all,
                 struct routes **routes_p,
                 struct site *const *targets,
                 uint32_t count);

/* Where the request goes; NULL: nowhere. ret_root as routes_find. */
struct site *sites_choose(struct sites *all,
                          struct slice host,
                          struct slice path,
                          uint32_t *ret_root);
/* An exchange holds on to it, and lets go. */
static inline struct site *site_use(struct site *site)
{
    site->users++;
    return site;
}

static inline void site_leave(struct site **site_p)
{
    if (*site_p != NULL)
        (*site_p)->users--;
    *site_p = NULL;
}

/* pool_turn, pool_tick of all. */
MUST_CHECK bool sites_turn(struct sites *all, uint64_t now_us);
void sites_tick(struct sites *all, uint64_t now_us);
void sites_keys_changed(struct sites *all); /* pool_keys_changed */
/* Something runs or waits, or no app server of a pool is up. */
bool sites_has_to_watch(struct sites *all);

/* In the order of their adding, the leaving included; NULL after the last. */
struct site *sites_first(struct sites *all);
struct site *sites_next(struct sites *all, struct site *site);

#endif
