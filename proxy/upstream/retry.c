/* SPDX-License-Identifier: MIT
 * A ring of one-second buckets; the newest one is `second % RETRY_BUCKETS`. */
#include "proxy/upstream/retry.h"

#include <string.h>

enum { US_PER_SECOND = 1000000 };

void retry_init(struct retry_budget *b, uint32_t percent)
{
    *b = (struct retry_budget){.percent = percent};
}

/* Clears the buckets of the seconds that have passed; the newest one's index. */
static uint32_t turn_to(struct retry_budget *b, uint64_t now_us)
{
    uint64_t second = now_us / US_PER_SECOND;
    if (second >= b->second + RETRY_BUCKETS) {
        memset(b->requests, 0, sizeof b->requests);
        memset(b->retries, 0, sizeof b->retries);
        b->second = second;
    }
    while (b->second < second) {
        b->second++;
        b->requests[b->second % RETRY_BUCKETS] = 0;
        b->retries[b->second % RETRY_BUCKETS] = 0;
    }
    return (uint32_t)(b->second % RETRY_BUCKETS);
}

void retry_count_request(struct retry_budget *b, uint64_t now_us)
{
    b->requests[turn_to(b, now_us)]++;
}

bool retry_take(struct retry_budget *b, uint64_t now_us)
{
    uint32_t newest = turn_to(b, now_us);
    uint64_t requests = 0, retries = 0;
    for (uint32_t i = 0; i < RETRY_BUCKETS; i++) {
        requests += b->requests[i];
        retries += b->retries[i];
    }
    uint64_t allowed = requests * b->percent / 100;
    if (retries >= (allowed < RETRY_FLOOR ? RETRY_FLOOR : allowed))
        return false;
    b->retries[newest]++;
    return true;
}
