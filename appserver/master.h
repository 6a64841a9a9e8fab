/* SPDX-License-Identifier: MIT
 * The master process of an app server: forks N share-nothing workers, restarts those
 * that die with back-off, forwards signals, rolls generations. Knows no Python: what
 * the interpreter must do around fork and in a worker comes as functions. */
#ifndef APPSERVER_MASTER_H
#define APPSERVER_MASTER_H

#include <stdbool.h>
#include <stdint.h>

#include "appserver/options.h"
#include "protocol/base/check.h"
#include "protocol/keys.h"

enum {
    EXIT_IMPORT = 3, /* the application could not be imported or started */
    EXIT_STUCK = 4,  /* something in the worker does not end */
};

/* What a worker writes to words_fd, a byte each. */
enum { WORD_PREPARED = 'p', WORD_READY = 'r', WORD_SPENT = 's' };

/* What one worker process is told. It lives as long as the process. */
struct worker_options {
    const struct app_options *app;
    uint32_t number;      /* from 0 */
    uint32_t generation;  /* from 1 */
    const char *endpoint; /* {n} and {g} replaced */
    int words_fd;         /* for the functions below */
    int go_fd;            /* readable: the endpoint is free; -1: it is */
    struct keys *keys;    /* borrowed; NULL: none */
    int reread_fd;        /* readable: read them again */
};

struct master_hooks {
    /* --preload: import in the master; false: it failed, the traceback is out. */
    bool (*preload)(const struct app_options *options);
    /* Around fork(2), with the interpreter's lock held (PyOS_BeforeFork and friends).
     */
    void (*before_fork)(void);
    void (*after_fork_parent)(void);
    void (*after_fork_child)(void);
    /* The master waits for signals and deaths between these two. */
    void (*wait_begin)(void);
    void (*wait_end)(void);
    /* In the child: import (unless preloaded), serve until SIGTERM (blocked at the
     * call) has drained it, return the exit code. A second SIGTERM changes nothing: a
     * service manager may tell the whole group while the master forwards it. */
    int (*work)(const struct worker_options *options);
};

enum turn {
    TURN_LATER, /* the process before this one still has the endpoint */
    TURN_NOW,
    TURN_NEVER, /* this one is to end */
};

/* For work(), in this order. All is done that can be done before the endpoint is
 * opened. From now on SIGTERM must end the process in order: */
void worker_say_prepared(const struct worker_options *options);
/* Whether the endpoint may be opened; waits for that, `timeout_ms` as in poll(2). It
 * may take as long as the requests of the process before. `stop_fd` is readable after
 * SIGTERM. */
MUST_CHECK enum turn
worker_turn(const struct worker_options *options, int stop_fd, int timeout_ms);
/* The endpoint is open. */
void worker_say_ready(const struct worker_options *options);
/* The process is to be replaced (max-requests, max-memory, max-age). It goes on until
 * SIGTERM, which comes when the next one is prepared. Any thread. */
void worker_say_spent(const struct worker_options *options);

/* Runs until told to stop; returns the exit code of the program. Goes to --chdir
 * itself, once, before preload (a relative --chdir must not be followed twice); --env
 * is in the environment already when the program was started by banyan-app. Hooks other
 * than work may be NULL.
 *
 * A worker is called with SIGTERM blocked, SIGINT and SIGHUP ignored by a handler (so
 * that programs it starts do not inherit that), its name and its log name set. */
MUST_CHECK int master_run(const struct app_options *options,
                          const struct master_hooks *hooks);

#endif
