/* SPDX-License-Identifier: MIT
 * Both questions are asked only when a request has failed: a success costs a count. */
#include "proxy/upstream/outlier.h"

#include <string.h>

enum { US_PER_SECOND = 1000000 };

/* An application that fails now and then gives every app server its failures in a row:
 * they count when they would be chance less often than once in a billion requests. */
static const double CHANCE = 1e-9;
/* Nobody is better than that; so five in a row are always enough. */
static const double LEAST_RATE = 0.01;

static uint32_t turn_to(struct tally *t, uint64_t now_us)
{
    uint64_t second = now_us / US_PER_SECOND;
    if (second >= t->second + TALLY_BUCKETS) {
        *t = (struct tally){.second = second};
    }
    while (t->second < second) {
        t->second++;
        t->good[t->second % TALLY_BUCKETS] = t->bad[t->second % TALLY_BUCKETS] = 0;
    }
    return (uint32_t)(t->second % TALLY_BUCKETS);
}

void tally_note(struct tally *t, bool is_good, uint64_t now_us)
{
    uint32_t newest = turn_to(t, now_us);
    if (is_good)
        t->good[newest]++;
    else
        t->bad[newest]++;
}

struct tally_sum tally_sum(struct tally *t, uint64_t now_us)
{
    (void)turn_to(t, now_us);
    struct tally_sum sum = {0};
    for (uint32_t i = 0; i < TALLY_BUCKETS; i++) {
        sum.good += t->good[i];
        sum.bad += t->bad[i];
    }
    return sum;
}

/* The share of failures, 0 to 1. */
static double rate(uint64_t good, uint64_t bad)
{
    return good + bad == 0 ? 0 : (double)bad / (double)(good + bad);
}

static bool is_no_chance(uint32_t in_row, double others)
{
    double chance = 1;
    for (uint32_t n = 0; n < in_row && chance > CHANCE; n++)
        chance *= others < LEAST_RATE ? LEAST_RATE : others;
    return chance <= CHANCE;
}

enum outlier_verdict outlier_note(struct outlier *o,
                                  struct tally *all,
                                  const struct pool_policy *policy,
                                  bool is_good,
                                  uint64_t now_us)
{
    tally_note(&o->own, is_good, now_us);
    o->in_row = is_good ? 0 : o->in_row + 1;
    if (is_good)
        return OUTLIER_NONE;

    struct tally_sum own = tally_sum(&o->own, now_us), sum = tally_sum(all, now_us);
    uint64_t good = sum.good > own.good ? sum.good - own.good : 0;
    uint64_t bad = sum.bad > own.bad ? sum.bad - own.bad : 0;
    double others = rate(good, bad);
    if (policy->eject_after != 0 && o->in_row >= policy->eject_after &&
        is_no_chance(o->in_row, others))
        return OUTLIER_IN_ROW;
    if (policy->eject_rate_percent != 0 && own.good + own.bad >= OUTLIER_MIN_REQUESTS &&
        good + bad >= OUTLIER_MIN_REQUESTS &&
        rate(own.good, own.bad) - others >= policy->eject_rate_percent / 100.0)
        return OUTLIER_RATE;
    return OUTLIER_NONE;
}
