/* SPDX-License-Identifier: MIT
 * The monotonic clock, and the hand that stops it in unit tests. */
#include "protocol/base/clock.h"

#include <stdatomic.h>
#include <time.h>

#include "protocol/base/check.h"

#define RUNNING UINT64_MAX

enum { MAX_POLL_MS = 60 * 1000 };

static _Atomic uint64_t standing_us = RUNNING;

uint64_t clock_now_us(void)
{
    uint64_t set = atomic_load_explicit(&standing_us, memory_order_relaxed);
    if (__builtin_expect(set != RUNNING, 0))
        return set;

    struct timespec now;
    int rc = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(rc == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int clock_poll_ms(uint64_t until_us)
{
    uint64_t now_us = clock_now_us();
    if (until_us == UINT64_MAX)
        return -1;
    if (until_us <= now_us)
        return 0;
    uint64_t left_ms = (until_us - now_us) / 1000 + 1;
    return left_ms > MAX_POLL_MS ? MAX_POLL_MS : (int)left_ms;
}

void clock_set(uint64_t now_us)
{
    ASSERT(now_us != RUNNING);
    atomic_store(&standing_us, now_us);
}

void clock_release(void)
{
    atomic_store(&standing_us, RUNNING);
}
