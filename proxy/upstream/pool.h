/* SPDX-License-Identifier: MIT
 * The set of backends of one edge thread and the queue in front of them. Each edge
 * thread has its own pool; membership comes from the control thread, which is the only
 * caller of pool_add, pool_set, pool_remove (through the edge's PAIR). */
#ifndef UPSTREAM_POOL_H
#define UPSTREAM_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/link.h"
#include "proxy/upstream/balance.h"
#include "proxy/upstream/policy.h"
#include "proxy/upstream/settings.h"
#include "proxy/upstream/ticket.h"

struct event_base;

struct pool_options {
    char label[64]; /* what it is called */
    char name[64];  /* which its app servers must say they belong to; empty: any */
    const struct balancer *balancer; /* NULL: the default policy */
    struct pool_policy policy;
    uint32_t max_queue; /* tickets waiting */
    uint64_t heartbeat_timeout_us;
    uint32_t retry_budget_percent; /* of requests over the last 10 s, at least 3 */
    uint64_t window_bytes; /* --response-buffer: towards this proxy, per stream */
    struct keys *keys;     /* of tcp://; borrowed; NULL: none */
    bool insecure;         /* tcp:// off loopback without keys */
    bool has_files;        /* FEATURE_FILE */
    uint64_t instance;     /* this proxy process */
    bool is_quiet; /* another edge thread's pool logs what comes up and goes down */
    /* What this pool logs of that, for the operator's list of events; NULL: nobody. */
    void (*notice)(void *arg, const char *pool, const char *name, const char *text);
    void *notice_arg;
};

MUST_CHECK struct pool *pool_new(struct event_base *base,
                                 struct link_context *context,
                                 const struct pool_options *options);
void pool_free(struct pool **pool_p);

/* `name` and `endpoint` are copied. ERR_BAD_ENDPOINT, or ERR_BAD_OPTION when the name
 * is taken. */
MUST_CHECK enum err pool_add(struct pool *pool, const char *name, const char *endpoint);
/* No new requests to it; it is removed when what runs there has ended, however long
 * that takes. Its name is free at once. False: no such name. */
MUST_CHECK bool pool_retire(struct pool *pool, const char *name);
/* What an operator decides about it: ready, draining, its weight and limit ... False:
 * no such name. */
MUST_CHECK bool
pool_set(struct pool *pool, const char *name, const struct backend_settings *settings);
/* What runs there fails with `err`. False: no such name. */
MUST_CHECK bool pool_abort_all(struct pool *pool, const char *name, enum err err);
/* Serving, paused or stopped, all of it. */
void pool_set_state(struct pool *pool, const struct pool_settings *settings);
/* These options hold from here on. */
void pool_set_limits(struct pool *pool,
                     uint32_t max_queue,
                     uint32_t retry_budget_percent,
                     uint64_t heartbeat_timeout_us);
/* NULL: the default balancer. */
void pool_set_policy(struct pool *pool,
                     const struct balancer *balancer,
                     const struct pool_policy *policy);
/* The keys were read again: links go over to our new key as soon as they can, and those
 * to app servers whose key is not authorized any more end. */
void pool_keys_changed(struct pool *pool);
/* Closes it now: what runs there is settled by the started rule. False: no such name.
 */
MUST_CHECK bool pool_remove(struct pool *pool, const char *name);
/* Calls `each` with every backend, in the order they were added. */
void pool_each(struct pool *pool,
               void (*each)(struct backend *b, void *arg),
               void *arg);

/* Called by the edge at the end of each loop turn: dispatches what waits, sends the
 * batches, and re-reads every link that was touched (the ZMQ_FD rule). True: input is
 * left, and the loop's next turn will not sleep. */
bool pool_turn(struct pool *pool, uint64_t now_us);
/* Called about every 100 ms: queue deadlines, heartbeats, reconnects. */
void pool_tick(struct pool *pool, uint64_t now_us);

/* No new tickets (SHUTTING_DOWN); queued ones still go out. */
void pool_stop(struct pool *pool);
uint32_t pool_busy(const struct pool *pool); /* tickets queued or sent */
uint32_t pool_up(const struct pool *pool);   /* backends that take requests */
/* Its applications speak ASGI, as far as is known: as the latest HELLO said. */
bool pool_is_asgi(const struct pool *pool);

/* Its requests should have a key, as this says; NULL: they need none. */
const struct hash_by *pool_wants_key(const struct pool *pool);
/* Its cookie; NULL: it has none. */
const struct sticky *pool_sticky(const struct pool *pool);

/* Counters since pool_new. */
struct pool_stats {
#define STAT(name, help) uint64_t name;
#include "proxy/upstream/pool_stats.def"
#undef STAT
};
const struct pool_stats *pool_stats(const struct pool *pool);
/* All counters and histograms start again from 0. */
void pool_reset_counters(struct pool *pool);

#endif
