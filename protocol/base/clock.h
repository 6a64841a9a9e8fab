/* SPDX-License-Identifier: MIT
 * Monotonic microseconds. Unit tests may set the time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_now_us(void);
/* How long poll(2) may wait for that time: at most a minute; UINT64_MAX: for ever. */
int clock_poll_ms(uint64_t until_us);
/* Tests: the clock stands at `now_us` until clock_release(). */
void clock_set(uint64_t now_us);
void clock_release(void);

#endif
