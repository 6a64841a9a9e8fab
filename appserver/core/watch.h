/* SPDX-License-Identifier: MIT
 * One thread that looks after the others: asleep while nothing runs, else it compares
 * every half millisecond or so what the workers are in. When nobody reads and no
 * handler makes progress it wakes a worker as reader, or reads itself when none is
 * free. It also flushes answers that were left behind, reviews credit, reports load,
 * finds stuck requests, asks for more workers, and carries out a drain. */
#ifndef CORE_WATCH_H
#define CORE_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "appserver/core/sleeper.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"

struct core;

enum {
    WATCH_TICK_US = 500,      /* while some handler has not moved since the last one */
    WATCH_MAX_TICK_US = 2000, /* while all do */
    WATCH_LINGER_TICKS = 16,  /* without a start before it goes to sleep */
    WATCH_STILL_TICKS = 3,    /* the same before it dozes: all that run wait */
    WATCH_DOZE_US = 20000,
    WATCH_COMPUTE_US = 5000,           /* a computing handler shares after so long */
    WATCH_GIVE_BACK_US = 10000,        /* without a start: what waits goes back, */
    WATCH_GIVE_BACK_AGAIN_US = 100000, /* after so long also what came back before */
    WATCH_REVIEW_US = 50000,           /* credit */
    WATCH_LOAD_US = 100000,            /* LOAD frames */
};

/* What the watch noted about a worker's present request. */
struct watched {
    uint64_t starts;   /* which request that is */
    uint64_t since_us; /* the tick that saw it first */
    bool weighed;
    bool asleep;     /* at the last tick */
    uint64_t cpu_us; /* the thread's CPU time then */
    uint32_t asked;  /* events.stuck, then stuck_again was called */
    uint64_t asked_us;
};

struct watch {
    pthread_t thread;
    struct sleeper sleeper;
    /* under the core lock */
    bool stop;
    bool asleep; /* a start must wake it */
    bool reads;  /* it has the reader's role */
    int wake_fd; /* eventfd: ends the wait of a loop's watch; -1: it has the sleeper */
    /* the thread's own */
    uint64_t ticked_us, tick_us, seen_starts, seen_rounds;
    uint32_t quiet_ticks;  /* since a handler was entered, */
    uint64_t moved_us;     /* which was then */
    uint64_t gave_back_us; /* the last time that all that waited went back */
    uint64_t reviewed_us, loaded_us;
    /* a loop's */
    uint64_t seen_turns;
    uint64_t behind_us; /* the look that first saw it not turn; 0: it turns */
    bool seen_waiting;  /* it did not, and requests waited */
    uint32_t asked;     /* events.stuck, then stuck_again was called */
    uint64_t asked_us;
};

MUST_CHECK enum err watch_start(struct core *core);
void watch_stop(struct core *core); /* joins */
/* Under the core lock: something runs now. */
void watch_wake(struct core *core);
/* Ends its wait. Any thread, any lock, async-signal-safe. */
void watch_rouse(struct core *core);

#endif
