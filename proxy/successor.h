/* SPDX-License-Identifier: MIT
 * An upgrade, seen by the process that is replaced: the program that stands at our path
 * now is started with our arguments, and gets our sockets and what was decided.
 *
 *     start -> ready -> go -> serving      it listens; we leave
 *        |       |      |
 *        +-------+------+-----> failed     it has ended; all is as before
 *
 * Its other side is predecessor.h. What it writes to standard error comes out at ours;
 * the last of it is the reason when it fails. */
#ifndef PROXY_SUCCESSOR_H
#define PROXY_SUCCESSOR_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "proxy/predecessor.h"

struct event_base;
struct successor;

struct successor_events {
    void (*ready)(void *owner);   /* successor_go, when everybody was told */
    void (*serving)(void *owner); /* it stays, and is reaped */
    /* It is gone; free it. `reason` lives for the call. */
    void (*failed)(void *owner, const char *reason);
};

struct successor_options {
    struct event_base *base;
    char **argv;             /* argv[0] may be sought on PATH */
    const sigset_t *signals; /* its mask */
    struct slice state;
    uint64_t patience_us; /* until it is ready */
    const struct successor_events *events;
    void *owner;
};

/* Copies what it keeps. */
MUST_CHECK struct successor *successor_new(const struct successor_options *options);
/* Before the start: also pass this descriptor, which stays the caller's. */
void successor_pass(struct successor *s, int fd, const char *name);
/* False: ret_message says why; free it. */
MUST_CHECK bool successor_start(struct successor *s, struct buf *ret_message);
pid_t successor_pid(const struct successor *s);
/* It serves as soon as it can; `parent` will be its own when we are gone. */
void successor_go(struct successor *s, const struct parent *parent);
/* SIGCHLD came. May tell `failed`. */
void successor_reap(struct successor *s);
/* One that does not serve is killed. */
void successor_free(struct successor **successor_p);

#endif
