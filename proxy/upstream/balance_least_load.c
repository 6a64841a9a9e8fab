/* SPDX-License-Identifier: MIT
 * least_load: the one that was picked last while that is hardly a wait, else one that
 * is idle, else the better of two taken at random.
 *
 * Hardly a wait: what is in flight there is worth less than WARM_US of work. Short
 * requests then travel together to a process that is awake, and waking another would
 * cost more than they do. (Measured with two app servers, 16 connections and a handler
 * that does nothing: 16 us of CPU a request when each wakes the idle one, 7 us so; the
 * median latency falls from 176 to 133 us.)
 *
 * That lasts for a turn of TURN_REQUESTS, more or fewer by the weight; then it is the
 * turn of an idle one that had the fewest of them. So all get their share even when one
 * alone could do all the work, and one that the machine let wait catches up, by at most
 * MOST_BEHIND turns.
 *
 * Better is the one where a new request would wait less: in flight x service time /
 * (slots x weight). Two at random do nearly as well as the best of all, and edge
 * threads that do not know of each other do not all run to the same one. Of two alike
 * it is the one that had less so far. */
#include "proxy/upstream/balance.h"

enum { WARM_US = 100, TURN_REQUESTS = 256, MOST_BEHIND = 16 };

static bool is_better(const struct load *a, const struct load *b)
{
    double a_cost = ((double)a->in_flight + 1) * load_share(b);
    double b_cost = ((double)b->in_flight + 1) * load_share(a);
    /* A service time nobody has measured yet must neither attract nor repel. */
    if (a->service_us != 0 && b->service_us != 0) {
        a_cost *= (double)a->service_us;
        b_cost *= (double)b->service_us;
    }
    if (a->slots != 0 && b->slots != 0) {
        a_cost *= b->slots;
        b_cost *= a->slots;
    }
    return a_cost < b_cost;
}

static bool had_less(const struct load *a, const struct load *b)
{
    int32_t more = (int32_t)(b->turns - a->turns);
    return more != 0 ? more > 0 : a->turn > b->turn;
}

static bool is_hardly_a_wait(const struct load *load)
{
    if (load->in_flight == 0 || load->service_us == 0)
        return false;
    return load->service_us * ((uint64_t)load->in_flight + 1) <= WARM_US;
}

static struct load *better_of_two(struct balance_set *set)
{
    if (set->count == 1)
        return set->ready[0];
    uint64_t random = balance_random(set);
    uint32_t first = (uint32_t)random % set->count;
    uint32_t second = (uint32_t)(random >> 32) % (set->count - 1);
    if (second >= first)
        second++;
    struct load *a = set->ready[first], *b = set->ready[second];
    if (!is_better(a, b) && !is_better(b, a))
        return had_less(b, a) ? b : a;
    return is_better(b, a) ? b : a;
}

/* Being the only idle one is no reason to give all to one that just began. */
static bool lets_pass(struct balance_set *set, const struct load *load)
{
    bool is_alone = set->idle.head.prev == &load->idle;
    return load->ramp != 0 && is_alone &&
           (balance_random(set) >> 32) % RAMP_WHOLE >= load->ramp;
}

static void begin_turn(struct balance_set *set, struct load *load)
{
    load->turn = 1 + TURN_REQUESTS * load_share(load) / (WEIGHT_DEFAULT * RAMP_WHOLE);
    load->turns++;
    int32_t behind = (int32_t)(set->turns - load->turns);
    if (behind < 0)
        set->turns = load->turns;
    else if (behind > MOST_BEHIND)
        load->turns = set->turns - MOST_BEHIND;
}

static struct load *pick(struct balance_set *set, uint64_t key)
{
    (void)key;
    struct load *load = set->warm;
    if (load == NULL || load->turn == 0 || !is_hardly_a_wait(load)) {
        struct node *idle = list_first(&set->idle);
        load = idle == NULL ? NULL : NODE_OF(idle, struct load, idle);
        if (load == NULL || lets_pass(set, load))
            load = better_of_two(set);
    }
    if (load->turn == 0)
        begin_turn(set, load);
    load->turn--;
    return load;
}

const struct balancer balance_least_load = {"least_load", pick, NULL};
