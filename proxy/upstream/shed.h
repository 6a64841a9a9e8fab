/* SPDX-License-Identifier: MIT
 * When to refuse instead of queue. The criterion is CoDel's (RFC 8289): a queue that is
 * there for a moment is a burst, one whose delay stays beyond a target for an interval
 * will not go away. Then the pool is overloaded until nothing had to be refused for an
 * interval, and no more may wait than the app servers take within the target: whoever
 * would wait for longer is refused at the door, at once, and the others are served. (A
 * packet is dropped late so that its sender slows down; an HTTP client is better told
 * early.) Pure; the time is given. */
#ifndef UPSTREAM_SHED_H
#define UPSTREAM_SHED_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

struct shed {
    uint64_t target_us; /* 0: never overloaded */
    uint64_t interval_us;
    bool is_overloaded;
    uint64_t above_us;   /* since when the delay is beyond the target; 0: it is not */
    uint64_t refused_us; /* the last refusal */
    uint64_t counted_us; /* since when `left` is counted */
    uint32_t left;       /* the queue, for an app server */
    double per_us;       /* how many leave, while overloaded */
};

void shed_init(struct shed *s, uint64_t target_us, uint64_t interval_us);
/* A request goes to an app server after it waited for delay_us. */
void shed_left(struct shed *s, uint64_t delay_us, uint64_t now_us);
/* About every 100 ms: the first in the queue has waited for delay_us (0: nobody waits).
 */
void shed_tick(struct shed *s, uint64_t delay_us, uint64_t now_us);
/* How many may wait; UINT32_MAX: as many as there is room for. */
uint32_t shed_room(const struct shed *s);
/* It has waited in vain: nobody is to wait beyond the target while it is overloaded. */
bool shed_is_late(const struct shed *s, uint64_t delay_us);
void shed_refused(struct shed *s, uint64_t now_us);
/* Nothing is known any more: no app server is up. */
void shed_reset(struct shed *s);

#endif
