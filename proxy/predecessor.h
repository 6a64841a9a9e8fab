/* SPDX-License-Identifier: MIT
 * An upgrade, seen by the process that comes: who was here before, what they passed on,
 * and when to serve. Its other side is successor.h. */
#ifndef PROXY_PREDECESSOR_H
#define PROXY_PREDECESSOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

struct event_base;
struct inherited;
struct predecessor;

/* Names of what is passed along with the sockets. */
#define PREDECESSOR_LINE "banyan-predecessor" /* a socket: they talk */
#define PREDECESSOR_STATE "banyan-state"      /* a memfd: the state file's text */
#define PREDECESSOR_STDERR "banyan-stderr"    /* for when it serves */

/* Who started the process, and what it gets when they end; 0: nothing. */
struct parent {
    pid_t pid;
    int signal;
};
struct parent parent_of_this_process(void);

struct predecessor_events {
    /* Serve; then predecessor_say_serving. */
    void (*go)(void *owner, const struct parent *parent);
    /* The parent has ended, which should have ended this process. */
    void (*orphaned)(void *owner, int signal);
};

/* NULL: this is no upgrade. Takes its descriptors. */
MUST_CHECK struct predecessor *predecessor_new(struct inherited *inherited);
void predecessor_free(struct predecessor **predecessor_p);
/* What was decided there; borrowed. */
struct slice predecessor_state(const struct predecessor *p);
/* Events from here on. When they end before `go`, so does this process. */
void predecessor_say_ready(struct predecessor *p,
                           struct event_base *base,
                           const struct predecessor_events *events,
                           void *owner);
/* Standard error is what theirs was. */
void predecessor_say_serving(struct predecessor *p);

#endif
