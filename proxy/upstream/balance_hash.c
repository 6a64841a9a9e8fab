/* SPDX-License-Identifier: MIT
 * hash: requests with the same key go to the same one, whichever edge thread or proxy
 * they come through, unless it has more than its share already.
 *
 * The table is Maglev's (Eisenbud et al., NSDI 2016, section 3.4): each member has
 * about as many places as its weight says, and when one joins or leaves few others
 * change theirs. It is made of all members, so it stands while one of them is away for
 * a while: a key whose place is taken by one that takes nothing, or has more than its
 * share, tries another place, always the same one next (consistent hashing with bounded
 * loads, Mirrokni et al., 2016). A choice costs the same with any number of members.
 *
 * More than its share: no slot is free there, and it holds more than BOUND of
 * the average by weight. Without a key: as least_load says. */
#include <stdlib.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/upstream/balance.h"
#include "proxy/upstream/key.h"

enum {
    PLACES = 65537, /* a prime */
    FREE = UINT16_MAX,
    TRIES = 16,
};
static const double BOUND = 1.25; /* of an even share, that a backend may have */

static int by_key(const void *a, const void *b)
{
    const struct load *const *x = a, *const *y = b;
    return ((*x)->key > (*y)->key) - ((*x)->key < (*y)->key);
}

struct walk {
    uint32_t at, step;
    uint32_t due; /* by weight: it has its turn when this passes the highest weight */
};

/* Members take turns at their own permutation of the places. */
static void fill(struct balance_set *set, struct walk *walks, uint32_t highest)
{
    for (uint32_t filled = 0;;) {
        for (uint32_t i = 0; i < set->member_count; i++) {
            struct walk *w = &walks[i];
            w->due += set->members[i]->weight;
            if (w->due < highest)
                continue;
            w->due -= highest;
            while (set->table[w->at] != FREE)
                w->at = (w->at + w->step) % PLACES;
            set->table[w->at] = (uint16_t)i;
            if (++filled == PLACES)
                return;
        }
    }
}

static void make_table(struct balance_set *set)
{
    qsort(set->members, set->member_count, sizeof(struct load *), by_key);
    if (set->table == NULL)
        set->table = mem_alloc(PLACES * sizeof(uint16_t));
    memset(set->table, 0xff, PLACES * sizeof(uint16_t));
    struct walk *walks = mem_zalloc(set->member_count * sizeof(struct walk));
    uint32_t highest = 0;
    for (uint32_t i = 0; i < set->member_count; i++) {
        struct load *load = set->members[i];
        load->member = i;
        walks[i].at = (uint32_t)(load->key % PLACES);
        walks[i].step = (uint32_t)(balance_mix(load->key) % (PLACES - 1)) + 1;
        highest = load->weight > highest ? load->weight : highest;
    }
    if (highest > 0)
        fill(set, walks, highest);
    mem_free(&walks);
    set->table_is_old = false;
}

static bool has_its_share(const struct balance_set *set, const struct load *load)
{
    if (load->in_flight < load->slots)
        return false;
    double share = (double)(set->in_flight + 1) * load->weight / (double)set->weight;
    return load->in_flight + 1 > share * BOUND + 1;
}

/* One that just began takes a part of its keys: more and more, none back. */
static bool takes(const struct load *load, uint64_t key)
{
    return load->ramp == 0 || balance_mix(key ^ load->key) % RAMP_WHOLE < load->ramp;
}

static struct load *pick(struct balance_set *set, uint64_t key)
{
    if (key == 0 || set->member_count >= FREE)
        return balance_least_load.pick(set, key);
    if (set->table_is_old)
        make_table(set);
    for (uint32_t n = 0; n < TRIES; n++) {
        uint16_t at = set->table[balance_mix(key + n) % PLACES];
        if (at == FREE)
            break;
        struct load *load = set->members[at];
        if (load->place != LOAD_NOT_READY && takes(load, key) &&
            !has_its_share(set, load))
            return load;
    }
    return balance_least_load.pick(set, key);
}

const struct balancer balance_hash = {"hash", pick, NULL};
