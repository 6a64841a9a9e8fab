/* SPDX-License-Identifier: MIT
 * Which backend gets the next request. The set holds the loads of those that would take
 * one now; a policy only picks among them. Knows nothing of links or frames, and costs
 * the same with two backends as with two hundred. */
#ifndef UPSTREAM_BALANCE_H
#define UPSTREAM_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/queue.h"

enum { LOAD_NOT_READY = UINT32_MAX };

/* Embedded in a backend. */
struct load {
    uint32_t in_flight;  /* requests of this edge thread that are there */
    uint32_t slots;      /* requests it runs at once; 0: not known */
    uint64_t service_us; /* average time in the application; 0: not known */
    uint32_t place;      /* in ready[], or LOAD_NOT_READY; owned by the set */
    struct node idle;    /* in the set's idle list; owned by the set */
};

struct balance_set {
    struct load **ready; /* in no order */
    uint32_t count, cap;
    struct list idle;  /* nothing is in flight there; the last to become so first */
    struct load *warm; /* the last one picked; NULL: it takes no more */
    uint64_t random;
};

void balance_init(struct balance_set *set, uint64_t seed);
void balance_fini(struct balance_set *set);
void load_init(struct load *load);

/* Says whether the load would take a request now. Called after each change of
 * in_flight, too. Does nothing when nothing changed. */
void balance_update(struct balance_set *set, struct load *load, bool is_ready);
uint64_t balance_random(struct balance_set *set);

struct balancer {
    const char *name;
    /* One of a set that is not empty. */
    struct load *(*pick)(struct balance_set *set);
};

/* NULL: no such policy. The first of the table is the default: balance_find(NULL). */
const struct balancer *balance_find(const char *name);
/* As the policy says, but not `avoid` when there is another. NULL: the set is empty. */
struct load *balance_pick(const struct balancer *balancer,
                          struct balance_set *set,
                          struct load *avoid);

extern const struct balancer balance_least_load;

#endif
