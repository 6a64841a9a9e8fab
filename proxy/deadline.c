/* SPDX-License-Identifier: MIT
 * One list per kind, the soonest first. */
#include "proxy/deadline.h"

#include <stdlib.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"

enum { DEADLINES_MAGIC = 0x4ead11e5 };

struct deadlines {
    uint32_t magic;
    uint64_t now_us; /* 0: not read in this turn */
    struct deadline_kind_state {
        struct list armed; /* soonest first */
        uint64_t duration_us;
        deadline_fn *on_expired;
    } kinds[DEADLINE_KINDS];
};

struct deadlines *deadlines_new(void)
{
    struct deadlines *all = mem_zalloc(sizeof(*all));
    all->magic = DEADLINES_MAGIC;
    for (int kind = 0; kind < DEADLINE_KINDS; kind++)
        list_init(&all->kinds[kind].armed);
    return all;
}

void deadlines_free(struct deadlines **deadlines_p)
{
    struct deadlines *all = *deadlines_p;
    if (all == NULL)
        return;
    CHECK_OBJ(all, DEADLINES_MAGIC);
    ASSERT(!deadlines_has_armed(all));
    all->magic = 0;
    mem_free(deadlines_p);
}

void deadlines_set(struct deadlines *all,
                   enum deadline_kind kind,
                   uint64_t duration_us,
                   deadline_fn *on_expired)
{
    CHECK_OBJ(all, DEADLINES_MAGIC);
    all->kinds[kind].duration_us = duration_us;
    all->kinds[kind].on_expired = on_expired;
}

void deadlines_set_duration(struct deadlines *all,
                            enum deadline_kind kind,
                            uint64_t duration_us)
{
    CHECK_OBJ(all, DEADLINES_MAGIC);
    all->kinds[kind].duration_us = duration_us;
}

uint64_t deadlines_now(struct deadlines *all)
{
    if (all->now_us == 0)
        all->now_us = clock_now_us();
    return all->now_us;
}

void deadlines_turn(struct deadlines *all)
{
    all->now_us = 0;
}

void deadline_arm(struct deadlines *all, enum deadline_kind kind, struct deadline *d)
{
    deadline_arm_for(all, kind, d, all->kinds[kind].duration_us);
}

void deadline_arm_for(struct deadlines *all,
                      enum deadline_kind kind,
                      struct deadline *d,
                      uint64_t duration_us)
{
    struct list *armed = &all->kinds[kind].armed;
    node_leave(&d->node);
    if (duration_us == 0)
        return;
    d->at_us = deadlines_now(all) + duration_us;
    struct node *before = armed->head.prev;
    while (before != &armed->head &&
           NODE_OF(before, struct deadline, node)->at_us > d->at_us)
        before = before->prev;
    list_insert_after(before, &d->node);
}

bool deadlines_has_armed(const struct deadlines *all)
{
    for (int kind = 0; kind < DEADLINE_KINDS; kind++)
        if (!list_is_empty(&all->kinds[kind].armed))
            return true;
    return false;
}

void deadlines_expire(struct deadlines *all)
{
    CHECK_OBJ(all, DEADLINES_MAGIC);
    uint64_t now_us = deadlines_now(all);
    for (int kind = 0; kind < DEADLINE_KINDS; kind++) {
        struct deadline_kind_state *k = &all->kinds[kind];
        struct node *first;
        while ((first = list_first(&k->armed)) != NULL) {
            struct deadline *d = NODE_OF(first, struct deadline, node);
            if (d->at_us > now_us)
                break;
            node_leave(first);
            k->on_expired(d);
        }
    }
}
