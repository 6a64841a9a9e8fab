/* SPDX-License-Identifier: MIT
 * The inside of a pool, for the files of upstream/. */
#ifndef UPSTREAM_POOL_PRIV_H
#define UPSTREAM_POOL_PRIV_H

#include "protocol/base/table.h"
#include "proxy/upstream/balance.h"
#include "proxy/upstream/outlier.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/retry.h"
#include "proxy/upstream/shed.h"
#include "proxy/upstream/waiting.h"

enum { POOL_MAGIC = 0x504f4f4c };

struct pool {
    uint32_t magic;
    struct event_base *base;
    struct link_context *context;
    struct pool_options options;
    struct list backends;
    struct list leaving;    /* backends too, retired */
    struct list successors; /* backends too, each of one that they will replace */
    struct list touched;  /* backends with something to send or to look at this turn */
    struct waiting queue; /* tickets, TICKET_QUEUED; the oldest goes first */
    struct table by_key;  /* backends that did not leave, by load.key */
    uint32_t queued; /* tickets in that state, on the queue or about to be failed */
    uint32_t sent;   /* tickets, TICKET_SENT */
    uint32_t up;     /* backends that take requests */
    struct balance_set ready; /* backends that would take a request now */
    struct retry_budget retries;
    struct shed shed;
    struct tally ends; /* of all requests */
    bool is_panicking; /* too few are healthy: all are used */
    uint64_t held_us;  /* no app server was up, or it was paused */
    struct pool_stats stats;
    uint64_t epoch; /* the last one given to a link */
    uint64_t tick_us;
    bool is_stopped; /* shutting down */
    struct pool_settings settings;
    bool is_asgi; /* the last HELLO said so */
};

/* ---- health.c ---- */
/* How many are healthy; about every 100 ms, and when one is no more. */
void pool_count_healthy(struct pool *pool);

/* ---- backend_keys.c ---- */
void pool_tick_successors(struct pool *pool, uint64_t now_us);

/* ---- pool.c ---- */
/* It is about to be freed: nothing of the pool's leads there any more. */
void pool_forget(struct pool *pool, struct backend *b);
/* Ends the queueing of a ticket, or its stream's list: TICKET_IDLE, on no list. */
void pool_idle(struct pool *pool, struct ticket *t);
/* The same, and the exchange hears of it. */
void pool_fail(struct pool *pool, struct ticket *t, enum err err, struct slice text);
/* A ticket that was sent goes to the front of the queue and will be offered again. */
void pool_requeue(struct pool *pool, struct ticket *t, uint64_t now_us);

#endif
