/* SPDX-License-Identifier: MIT
 * The requests that wait for an app server: all of them in the order in which they
 * came, and each of them on one more list, of those that go to anybody or of those that
 * one backend claims for their cookie.
 *
 *   all     a  b  c  d  e          by ticket.node
 *   anyone  a     c                by ticket.turn_node
 *   claim      b        e          likewise, of one backend
 *   claim            d             ... and of another
 *
 * Whoever is old enough goes first at each backend (pool.c), so neither kind keeps the
 * other waiting. Every step costs the same however many wait, except giving up a
 * claim, which costs as much as there is in the queue. */
#ifndef UPSTREAM_WAITING_H
#define UPSTREAM_WAITING_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/queue.h"
#include "proxy/upstream/ticket.h"

/* Embedded in a backend. */
struct claim {
    struct list tickets; /* by turn_node */
    uint32_t count;      /* of them */
    struct node due;     /* in waiting.due */
    bool is_open;        /* it keeps what is its own, now or when it has room again */
    bool has_room;       /* it would take one now */
};

struct waiting {
    struct list all, anyone;
    struct list due;  /* claims that have room and tickets */
    uint32_t claimed; /* tickets on lists of claims */
};

void waiting_init(struct waiting *w);
void claim_init(struct claim *claim);

/* `claim` NULL: for anyone. */
void waiting_push(struct waiting *w, struct ticket *t, struct claim *claim);
void waiting_push_front(struct waiting *w, struct ticket *t, struct claim *claim);
/* Leaves the lists; does nothing when it is on none. */
void waiting_leave(struct waiting *w, struct ticket *t);

/* What has changed at its backend. A claim that is not open has nothing: what it had
 * waits for anyone, at the place that its age gives it. */
void claim_update(struct waiting *w, struct claim *claim, bool is_open, bool has_room);
/* Those that have waited for it until now_us wait for anyone. */
void waiting_loosen(struct waiting *w, uint64_t now_us);

/* The oldest one; NULL: there is none. */
struct ticket *waiting_first(struct waiting *w); /* of all */
struct ticket *waiting_for_anyone(struct waiting *w);
struct ticket *waiting_for_claim(struct claim *claim);
/* One that has room and tickets; NULL: there is none. */
struct claim *waiting_due(struct waiting *w);

#endif
