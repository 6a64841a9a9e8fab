/* SPDX-License-Identifier: MIT
 * Monotonic microseconds. Unit tests may set the time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_now_us(void);
/* Tests: the clock stands at `now_us` until clock_release(). */
void clock_set(uint64_t now_us);
void clock_release(void);

#endif
