/* SPDX-License-Identifier: MIT
 * A futex word that is 1 between a wake and the sleep that consumes it. */
#include "appserver/core/sleeper.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void sleeper_init(struct sleeper *s)
{
    atomic_init(&s->woken, 0);
}

bool sleeper_wait(struct sleeper *s, uint64_t until_us)
{
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                             .tv_nsec = (long)(until_us % 1000000) * 1000};
    const struct timespec *limit = until_us == SLEEP_FOREVER ? NULL : &until;

    for (;;) {
        if (atomic_exchange_explicit(&s->woken, 0, memory_order_acquire) != 0)
            return true;
        /* WAIT_BITSET takes an absolute time on the monotonic clock. */
        long rc = syscall(SYS_futex, &s->woken, FUTEX_WAIT_BITSET_PRIVATE, 0, limit,
                          NULL, FUTEX_BITSET_MATCH_ANY);
        if (rc < 0 && errno == ETIMEDOUT)
            return atomic_exchange_explicit(&s->woken, 0, memory_order_acquire) != 0;
    }
}

void sleeper_wake(struct sleeper *s)
{
    if (atomic_exchange_explicit(&s->woken, 1, memory_order_release) == 0)
        (void)syscall(SYS_futex, &s->woken, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
