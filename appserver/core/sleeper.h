/* SPDX-License-Identifier: MIT
 * Where one thread sleeps until another wakes it: a futex. A wake that comes first is
 * kept; one sleep consumes one wake. */
#ifndef CORE_SLEEPER_H
#define CORE_SLEEPER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

#define SLEEP_FOREVER UINT64_MAX

struct sleeper {
    _Atomic uint32_t woken;
};

void sleeper_init(struct sleeper *s);
/* Until woken (true) or until clock_now_us() passes `until_us` (false). */
bool sleeper_wait(struct sleeper *s, uint64_t until_us);
/* Any thread; async-signal-safe. */
void sleeper_wake(struct sleeper *s);

#endif
