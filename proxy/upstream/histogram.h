/* SPDX-License-Identifier: MIT
 * Durations counted in buckets, four to each power of two: a quantile is at most a
 * quarter too long, from 1 us to an hour, in a fixed, small memory. Adding two is
 * adding their buckets. Pure. */
#ifndef UPSTREAM_HISTOGRAM_H
#define UPSTREAM_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_BUCKETS = 128, /* the last one holds all that is longer */
};

struct histogram {
    uint64_t count, sum_us;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t duration_us);
void histogram_merge(struct histogram *to, const struct histogram *from);
/* The upper end of the bucket in which the `percent`th lies; 0: nothing was added. */
uint64_t histogram_quantile(const struct histogram *h, unsigned percent);
/* How many were at most `limit_us`, to the bucket. */
uint64_t histogram_below(const struct histogram *h, uint64_t limit_us);
/* The longest duration that falls into bucket `i`. */
uint64_t histogram_bucket_end(unsigned i);

#endif
