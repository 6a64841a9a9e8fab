/* SPDX-License-Identifier: MIT
 * round_robin: one after the other, each as often as its weight says. Stride
 * scheduling: whoever is picked has its next turn 1 / weight later; the earliest turn
 * is next. ready[] is a heap of them, so a choice costs log n.
 *
 * One that could take nothing for a while does not catch up: it comes back with the
 * virtual time of now. */
#include "proxy/upstream/balance.h"

static const uint64_t STRIDE = (uint64_t)1 << 32;

static bool is_before(const struct load *a, const struct load *b)
{
    return a->pass < b->pass;
}

static void swap(struct balance_set *set, uint32_t i, uint32_t j)
{
    struct load *a = set->ready[i], *b = set->ready[j];
    set->ready[i] = b;
    set->ready[j] = a;
    b->place = i;
    a->place = j;
}

static void sink(struct balance_set *set, uint32_t at)
{
    for (uint32_t child = 2 * at + 1; child < set->count; child = 2 * at + 1) {
        if (child + 1 < set->count &&
            is_before(set->ready[child + 1], set->ready[child]))
            child++;
        if (!is_before(set->ready[child], set->ready[at]))
            break;
        swap(set, at, child);
        at = child;
    }
}

static void order(struct balance_set *set, uint32_t place)
{
    struct load *load = set->ready[place];
    if (load->pass < set->pass)
        load->pass = set->pass;
    while (place > 0 && is_before(load, set->ready[(place - 1) / 2])) {
        swap(set, place, (place - 1) / 2);
        place = (place - 1) / 2;
    }
    sink(set, place);
}

static struct load *pick(struct balance_set *set, uint64_t key)
{
    (void)key;
    struct load *load = set->ready[0];
    set->pass = load->pass;
    load->pass += STRIDE / load_share(load);
    sink(set, 0);
    return load;
}

const struct balancer balance_round_robin = {"round_robin", pick, order};
