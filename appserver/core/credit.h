/* SPDX-License-Identifier: MIT
 * How the requests an app server is ready to hold are shared among its links. Pure.
 *
 * A window is a level: how many requests a link may have here, running and waiting.
 * Demand shares: a link that used its whole window wants more, one that did not keeps
 * what it used, and what nobody wants is spread evenly. */
#ifndef CORE_CREDIT_H
#define CORE_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/queue.h"

enum {
    CREDIT_AHEAD_US = 200,      /* work that may wait here beyond the slots */
    CREDIT_AHEAD_MAX = 64,      /* and at most so many requests */
    CREDIT_BELIEF_US = 3000000, /* within it every peer that lives has read its GRANT */
};

struct credit {
    struct node node;
    uint32_t window;     /* last granted; 0: nothing yet */
    uint32_t target;     /* what credit_share found */
    uint32_t ceiling;    /* the highest window the peer may still believe in */
    uint64_t lowered_us; /* since when the ceiling is above the window; 0: it is not */
    uint32_t peak;       /* most requests here at once in this period */
    uint32_t last_peak;
    bool hit; /* the window was used up in this period */
    bool last_hit;
};

/* Requests that may wait beyond the slots, for this average service time in sixteenths
 * of a microsecond (0: unknown, then none). */
uint32_t credit_ahead(uint32_t service_us16);

/* Sets every target, each at least 1; together at most `budget` unless there are more
 * links than that. */
void credit_share(struct list *links, uint32_t budget);
/* Whether the target differs from the window enough to say so. */
bool credit_should_grant(const struct credit *c);
/* The target was sent in a GRANT. */
void credit_granted(struct credit *c, uint64_t now_us);
/* One more request came in, `inside` with it; false: it is beyond every window that the
 * peer may still believe in. */
bool credit_admits(struct credit *c, uint32_t inside);
/* Begins a new period of observation. */
void credit_observe(struct credit *c, uint32_t inside, uint64_t now_us);

#endif
