/* SPDX-License-Identifier: MIT
 * The retry budget: retries may be a share of the requests of the last ten seconds, and
 * at least RETRY_FLOOR, so that a failing pool is not asked twice for everything. Pure;
 * the time is given. */
#ifndef UPSTREAM_RETRY_H
#define UPSTREAM_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

enum {
    RETRY_FLOOR = 3,   /* retries that are always allowed in one window */
    RETRY_BUCKETS = 10 /* of one second each: the window */
};

struct retry_budget {
    uint32_t percent;
    uint64_t second; /* of the newest bucket */
    uint32_t requests[RETRY_BUCKETS], retries[RETRY_BUCKETS];
};

void retry_init(struct retry_budget *b, uint32_t percent);
void retry_count_request(struct retry_budget *b, uint64_t now_us);
/* Takes one retry out of the budget; false: it is used up. */
MUST_CHECK bool retry_take(struct retry_budget *b, uint64_t now_us);

#endif
