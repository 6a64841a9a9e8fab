/* SPDX-License-Identifier: MIT
 * Whether one app server fails so much more than the others of its pool that it is the
 * one to blame, and not the application that they all run. Pure; the time is given. */
#ifndef UPSTREAM_OUTLIER_H
#define UPSTREAM_OUTLIER_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "proxy/upstream/policy.h"

enum {
    /* of one second each: the window */
    TALLY_BUCKETS = 10,
    /* in the window, before the rate of failures says much */
    OUTLIER_MIN_REQUESTS = 50,
};

/* Good and bad ends of requests over the last ten seconds. */
struct tally {
    uint64_t second; /* of the newest bucket */
    uint32_t good[TALLY_BUCKETS], bad[TALLY_BUCKETS];
};

struct tally_sum {
    uint64_t good, bad;
};

void tally_note(struct tally *t, bool is_good, uint64_t now_us);
MUST_CHECK struct tally_sum tally_sum(struct tally *t, uint64_t now_us);

struct outlier { /* zero: nothing is known */
    struct tally own;
    uint32_t in_row; /* failures without a success between them */
};

enum outlier_verdict {
    OUTLIER_NONE,
    OUTLIER_IN_ROW, /* so many failures in a row that it is no chance */
    OUTLIER_RATE,   /* its share of failures is far above the others' */
};

/* One more request ended there; `all`: of its pool, which has been told of it already.
 */
MUST_CHECK enum outlier_verdict outlier_note(struct outlier *o,
                                             struct tally *all,
                                             const struct pool_policy *policy,
                                             bool is_good,
                                             uint64_t now_us);

#endif
