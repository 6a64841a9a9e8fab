/* SPDX-License-Identifier: MIT
 * The set of loads that would take a request: an array (the last one fills the gap of
 * one that leaves), and a list of the idle ones. */
#include "proxy/upstream/balance.h"

#include <string.h>

#include "protocol/base/mem.h"

static const struct balancer *const balancers[] = {&balance_least_load,
                                                   &balance_round_robin, &balance_hash};

void balance_init(struct balance_set *set,
                  const struct balancer *balancer,
                  uint64_t seed)
{
    *set = (struct balance_set){.balancer = balancer, .random = seed | 1};
    list_init(&set->idle);
}

void balance_fini(struct balance_set *set)
{
    mem_free(&set->ready);
    mem_free(&set->members);
    mem_free(&set->table);
    set->count = set->cap = set->member_count = set->member_cap = 0;
}

void balance_change(struct balance_set *set, const struct balancer *balancer)
{
    ASSERT(set->count == 0);
    set->balancer = balancer;
}

void load_init(struct load *load)
{
    *load = (struct load){.weight = WEIGHT_DEFAULT, .place = LOAD_NOT_READY};
}

void balance_join(struct balance_set *set, struct load *load)
{
    if (set->member_count == set->member_cap) {
        set->member_cap = set->member_cap == 0 ? 8 : 2 * set->member_cap;
        set->members =
            mem_realloc(set->members, set->member_cap * sizeof(struct load *));
    }
    balance_begin(set, load);
    load->member = set->member_count++;
    set->members[load->member] = load;
    set->table_is_old = true;
}

void balance_leave(struct balance_set *set, struct load *load)
{
    balance_update(set, load, false);
    struct load *last = set->members[--set->member_count];
    set->members[load->member] = last;
    last->member = load->member;
    set->in_flight -= load->counted_in_flight;
    set->table_is_old = true;
}

void balance_begin(struct balance_set *set, struct load *load)
{
    load->turns = set->turns;
}

static void put(struct balance_set *set, struct load *load, uint32_t place)
{
    load->place = place;
    set->ready[place] = load;
    if (set->balancer->order != NULL)
        set->balancer->order(set, place);
}

static void enter(struct balance_set *set, struct load *load)
{
    if (set->count == set->cap) {
        set->cap = set->cap == 0 ? 8 : 2 * set->cap;
        set->ready = mem_realloc(set->ready, set->cap * sizeof(struct load *));
    }
    put(set, load, set->count++);
}

static void leave(struct balance_set *set, struct load *load)
{
    struct load *last = set->ready[--set->count];
    if (last != load)
        put(set, last, load->place);
    load->place = LOAD_NOT_READY;
    if (set->warm == load)
        set->warm = NULL;
}

/* Its turn is over, and it has had fewer. Nearly always nobody has had more than
 * whoever comes last. */
static bool is_owed_more(const struct load *load, const struct load *other)
{
    return other->turn == 0 && (int32_t)(other->turns - load->turns) > 0;
}

static void become_idle(struct balance_set *set, struct load *load)
{
    struct node *after = set->idle.head.prev;
    if (load->turn > 0)
        after = &set->idle.head;
    while (after != &set->idle.head &&
           is_owed_more(load, NODE_OF(after, struct load, idle)))
        after = after->prev;
    list_insert_after(after, &load->idle);
}

void balance_update(struct balance_set *set, struct load *load, bool is_ready)
{
    if (load->table_weight != load->weight) {
        load->table_weight = load->weight;
        set->table_is_old = true;
    }
    is_ready = is_ready && load->weight != 0;
    set->in_flight += (uint64_t)load->in_flight - load->counted_in_flight;
    load->counted_in_flight = load->in_flight;
    uint32_t weight = is_ready ? load->weight : 0;
    set->weight += (uint64_t)weight - load->counted_weight;
    load->counted_weight = weight;
    bool was_ready = load->place != LOAD_NOT_READY;
    if (is_ready && !was_ready)
        enter(set, load);
    else if (!is_ready && was_ready)
        leave(set, load);

    bool is_idle = is_ready && load->in_flight == 0;
    if (!is_idle)
        node_leave(&load->idle);
    else if (!node_is_linked(&load->idle))
        become_idle(set, load);
}

/* xorshift64: the choice needs to be spread, not secret. */
uint64_t balance_random(struct balance_set *set)
{
    set->random ^= set->random << 13;
    set->random ^= set->random >> 7;
    set->random ^= set->random << 17;
    return set->random;
}

const struct balancer *balance_find(const char *name)
{
    if (name == NULL)
        return balancers[0];
    for (size_t i = 0; i < sizeof balancers / sizeof balancers[0]; i++)
        if (strcmp(balancers[i]->name, name) == 0)
            return balancers[i];
    return NULL;
}

struct load *balance_pick(struct balance_set *set, uint64_t key, struct load *avoid)
{
    if (set->count == 0)
        return NULL;
    bool is_away = avoid != NULL && avoid->place != LOAD_NOT_READY && set->count > 1;
    if (is_away)
        balance_update(set, avoid, false);
    struct load *picked = set->balancer->pick(set, key);
    set->warm = picked;
    if (is_away)
        balance_update(set, avoid, true);
    return picked;
}
