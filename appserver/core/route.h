/* SPDX-License-Identifier: MIT
 * What the core remembers about a route (method and the first two segments of the
 * path): how long its handlers take, how much of that they compute, and whether they
 * wait. It decides whether another thread must be awake before such a handler is
 * entered. Pure. */
#ifndef CORE_ROUTE_H
#define CORE_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/slice.h"

enum {
    ROUTE_COUNT = 256,
    ROUTE_SLOW_US = 100, /* longer than this on average: a slow handler */
};

/* Moving averages in sixteenths; a new sample weighs an eighth. */
struct route {
    uint32_t wall_us16; /* from entering the handler to its end */
    uint32_t cpu_us16;  /* of it on a CPU; 0: not known, as waits16 */
    uint32_t waits16;   /* voluntary context switches */
};

/* Moves an average in sixteenths (0: none yet, and never the result) by one sample. */
uint32_t average16(uint32_t old16, uint64_t sample, uint32_t weight);

/* Below ROUTE_COUNT. Routes that share a number share their averages. */
uint8_t route_number(struct slice method, struct slice target);

void route_took(struct route *r, uint64_t wall_us);
/* Sampled for slow routes only (route_is_slow before the handler was entered). */
void route_weighed(struct route *r, uint64_t cpu_us, uint64_t waits);
/* A handler is still inside after `wall_us`, of which it computed `cpu_us`; `waits`: it
 * was seen asleep. */
void route_lasts(struct route *r, uint64_t wall_us, uint64_t cpu_us, bool waits);

bool route_is_slow(const struct route *r);
uint64_t route_wall_us(const struct route *r); /* 0: not known */
/* Whether handlers of this route wait so much that another thread can use what they
 * leave. A handler that never gives up its CPU by itself computes, however long it was
 * kept off it. */
bool route_waits(const struct route *r);

#endif
