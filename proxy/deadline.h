/* SPDX-License-Identifier: MIT
 * Every timeout of an edge thread. Each kind lasts equally long for all, so its
 * deadlines stand in the order in which they were armed: arming is a push to the back,
 * disarming leaves the list, and a tick looks only at the fronts. No timer per client.
 * After a duration was changed, arming passes those that were armed before. */
#ifndef PROXY_DEADLINE_H
#define PROXY_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/queue.h"

enum { DEADLINE_REQUEST_LINES = 64 };

enum deadline_kind {
    DEADLINE_HEADER,      /* from the first byte of a head to its last */
    DEADLINE_BODY,        /* between two pieces of a request's body */
    DEADLINE_KEEPALIVE,   /* between two requests, and before the first */
    DEADLINE_WRITE,       /* the client takes nothing of its answer */
    DEADLINE_LINGER,      /* reading on after the last answer */
    DEADLINE_HALF_CLOSED, /* the client sends no more; is it still there? */
    DEADLINE_LOOK,        /* a request has been running for a moment; the same */
    DEADLINE_WS_PING,     /* a WebSocket's client is silent */
    DEADLINE_WS_PONG,     /* and does not answer a ping */
    DEADLINE_WS_CLOSE,    /* nor a Close */
    /* The application has not begun to answer; a line for each pool, since their
     * timeouts differ. */
    DEADLINE_REQUEST,
    DEADLINE_KINDS = DEADLINE_REQUEST + DEADLINE_REQUEST_LINES
};

/* Embedded in what it belongs to; zeroed: not armed. */
struct deadline {
    struct node node;
    uint64_t at_us;
};

typedef void deadline_fn(struct deadline *d);

struct deadlines;
MUST_CHECK struct deadlines *deadlines_new(void);
void deadlines_free(struct deadlines **deadlines_p); /* all disarmed */

/* Duration 0: this kind never expires. Those that are armed keep their time. */
void deadlines_set(struct deadlines *all,
                   enum deadline_kind kind,
                   uint64_t duration_us,
                   deadline_fn *on_expired);

/* The same while some are armed: it holds for those armed from now on; whoever waits
 * already, and behind it whoever comes, waits no shorter than before. */
void deadlines_set_duration(struct deadlines *all,
                            enum deadline_kind kind,
                            uint64_t duration_us);

/* The time is read at most once per turn of the loop. */
uint64_t deadlines_now(struct deadlines *all);
void deadlines_turn(struct deadlines *all); /* the next deadlines_now reads it anew */

/* From now; an armed one starts again. */
void deadline_arm(struct deadlines *all, enum deadline_kind kind, struct deadline *d);
/* The same with another duration than the kind's. 0: it never expires. */
void deadline_arm_for(struct deadlines *all,
                      enum deadline_kind kind,
                      struct deadline *d,
                      uint64_t duration_us);

static inline void deadline_disarm(struct deadline *d)
{
    node_leave(&d->node);
}

static inline bool deadline_is_armed(const struct deadline *d)
{
    return node_is_linked(&d->node);
}

bool deadlines_has_armed(const struct deadlines *all);
/* Disarms what is due and calls its function, which may arm and disarm any. */
void deadlines_expire(struct deadlines *all);

#endif
