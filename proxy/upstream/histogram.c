/* SPDX-License-Identifier: MIT
 * 0..3 us have buckets of their own; from there on each power of two has four:
 *
 *     bucket   0 1 2 3 | 4 5 6 7 |  8   9  10  11  | 12 ...
 *     from us  0 1 2 3 | 4 5 6 7 |  8  10  12  14  | 16 ... */
#include "proxy/upstream/histogram.h"

#include <string.h>

static unsigned bucket_of(uint64_t us)
{
    if (us < 4)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned quarter = (unsigned)(us >> (power - 2)) & 3;
    unsigned bucket = 4 * (power - 1) + quarter;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_start(unsigned i)
{
    return i < 4 ? i : (uint64_t)(4 + i % 4) << (i / 4 - 1);
}

uint64_t histogram_bucket_end(unsigned i)
{
    return i + 1 < HISTOGRAM_BUCKETS ? bucket_start(i + 1) - 1 : UINT64_MAX;
}

void histogram_add(struct histogram *h, uint64_t duration_us)
{
    h->count++;
    h->sum_us += duration_us;
    h->buckets[bucket_of(duration_us)]++;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    to->count += from->count;
    to->sum_us += from->sum_us;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
}

uint64_t histogram_quantile(const struct histogram *h, unsigned percent)
{
    if (h->count == 0)
        return 0;
    uint64_t rank = (h->count * percent + 99) / 100, seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += h->buckets[i];
        if (seen >= rank)
            return histogram_bucket_end(i);
    }
    return bucket_start(HISTOGRAM_BUCKETS - 1);
}

uint64_t histogram_below(const struct histogram *h, uint64_t limit_us)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && histogram_bucket_end(i) <= limit_us;
         i++)
        seen += h->buckets[i];
    return seen;
}
