/* SPDX-License-Identifier: MIT
 * Which backend gets the next request. The set holds the loads of those that would take
 * one now; a policy only picks among them. Knows nothing of links or frames. A choice
 * costs the same with two backends as with a thousand, or log n. */
#ifndef UPSTREAM_BALANCE_H
#define UPSTREAM_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/queue.h"

enum {
    LOAD_NOT_READY = UINT32_MAX,
    WEIGHT_DEFAULT = 100,
    WEIGHT_MAX = 256,
    RAMP_WHOLE = 256,
};

/* Embedded in a backend. */
struct load {
    uint32_t in_flight;  /* requests of this edge thread that are there */
    uint32_t slots;      /* requests it runs at once; 0: not known */
    uint64_t service_us; /* average time in the application; 0: not known */
    uint32_t weight;     /* its share next to the others', 0 to WEIGHT_MAX; 0: nothing
                            new goes there */
    uint32_t ramp;       /* it just began: so much of its weight counts, of RAMP_WHOLE;
                            0: all */
    uint64_t key;        /* hash: of its name, the same in every edge thread */
    uint32_t place;      /* in ready[], or LOAD_NOT_READY; owned by the set */
    uint32_t turn;       /* least_load: requests left before it is another one's turn */
    uint32_t turns;      /* so many turns it had, modulo 2^32 */
    uint64_t pass;       /* round_robin: its next turn, in virtual time */
    struct node idle;    /* in the set's idle list; owned by the set */
    /* what the set knows of it */
    uint32_t member, counted_in_flight, counted_weight, table_weight;
};

/* What its weight comes to now, in parts of RAMP_WHOLE. */
static inline uint32_t load_share(const struct load *load)
{
    return load->weight * (load->ramp == 0 ? (uint32_t)RAMP_WHOLE : load->ramp);
}

struct balancer;

struct balance_set {
    const struct balancer *balancer;
    struct load **members; /* ready or not; sorted by their keys when a table is made */
    uint32_t member_count, member_cap;
    struct load **ready; /* in the policy's order */
    uint32_t count, cap;
    struct list idle;   /* nothing is in flight there: those in the middle of a turn,
                           then those that had the fewest */
    uint32_t turns;     /* the most that any load had */
    struct load *warm;  /* the last one picked; NULL: it takes no more */
    uint64_t pass;      /* round_robin: the virtual time */
    uint64_t in_flight; /* of all members */
    uint64_t weight;    /* of the ready ones */
    uint16_t *table;    /* hash: indices of members; made when it is needed */
    bool table_is_old;
    uint64_t random;
};

struct balancer {
    const char *name;
    /* One of a set that is not empty. Equal keys, other than 0, should meet. */
    struct load *(*pick)(struct balance_set *set, uint64_t key);
    /* ready[place] is new there: ready[] is put in order again. NULL: any order does.
     */
    void (*order)(struct balance_set *set, uint32_t place);
};

/* NULL: no such policy. The first of the table is the default: balance_find(NULL). */
const struct balancer *balance_find(const char *name);

void balance_init(struct balance_set *set,
                  const struct balancer *balancer,
                  uint64_t seed);
void balance_fini(struct balance_set *set);
/* No load is ready while that is done. */
void balance_change(struct balance_set *set, const struct balancer *balancer);
void load_init(struct load *load);
/* A member is not ready before balance_update says so, and not when it leaves. */
void balance_join(struct balance_set *set, struct load *load);
void balance_leave(struct balance_set *set, struct load *load);

/* It is there from now on, and owed nothing for the time before. */
void balance_begin(struct balance_set *set, struct load *load);
/* Says whether the load would take a request now. Called after each change of
 * in_flight and weight, too. Does nothing when nothing changed. */
void balance_update(struct balance_set *set, struct load *load, bool is_ready);
uint64_t balance_random(struct balance_set *set);
/* As the policy says, but not `avoid` when there is another. NULL: the set is empty. */
struct load *balance_pick(struct balance_set *set, uint64_t key, struct load *avoid);

extern const struct balancer balance_least_load, balance_round_robin, balance_hash;

#endif
