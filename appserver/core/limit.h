/* SPDX-License-Identifier: MIT
 * What operators decided: so many requests at once, over all links. Every proxy passes
 * its own on (LIMIT); the lowest of the live links' holds, and is kept where requests
 * are started (core_slots). All under the core lock. */
#ifndef CORE_LIMIT_H
#define CORE_LIMIT_H

#include <stdint.h>

struct core;
struct peer;

/* A LIMIT came; 0: none. What waits and may start now is offered to a worker. */
void limit_set(struct core *core, struct peer *p, uint32_t running, uint64_t now_us);
/* The peer's link has ended, and its limit with it. */
void limit_lapse(struct core *core, struct peer *p);
/* One request fewer runs: says LOAD when a lowered limit has taken hold. */
void limit_one_fewer(struct core *core);

#endif
