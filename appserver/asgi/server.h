/* SPDX-License-Identifier: MIT
 * The event loop's side of the core: it watches the core's descriptor, hands news to
 * the connections they are for, and sends once per iteration. One per process, all in
 * the loop's thread, with the GIL. */
#ifndef ASGI_SERVER_H
#define ASGI_SERVER_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "appserver/asgi/scope.h"
#include "appserver/core/loop.h"
#include "protocol/base/check.h"
#include "protocol/base/queue.h"

enum { SERVER_MAGIC = 0x61736769, SERVER_NEWS = 64 };

struct server_options {
    const char *root_path;       /* borrowed */
    bool is_legacy;              /* app(scope)(receive, send) */
    uint64_t max_requests;       /* 0: no limit */
    void (*on_served_out)(void); /* max_requests are done */
    double graceful_timeout_s;
};

struct server {
    uint32_t magic;
    struct server_options options;
    struct core *core;            /* borrowed; NULL until server_start */
    struct scope_maker *scopes;   /* owned */
    PyObject *app, *loop, *state; /* owned; state: what lifespan left, a dict */
    PyObject *context;            /* owned; each request runs in a copy of it */
    PyObject *call_soon, *create_future, *task_type, *cancelled; /* owned */
    PyObject *task_factory;           /* owned; NULL: asyncio.Task */
    PyObject *on_readable, *on_flush; /* owned callables */
    PyObject *task_keywords;          /* owned tuple of names */
    struct list conns;                /* of struct conn: all that run */
    struct list held;                 /* of struct conn: heads that wait for a body */
    uint32_t open;                    /* length of conns */
    uint64_t served;
    bool is_flush_soon;  /* on_flush is in the ready queue */
    struct drain *drain; /* owned; NULL: not draining */
    struct loop_news news[SERVER_NEWS];
};

/* The types and names of this folder. Does nothing the second time. False: an exception
 * is set. */
MUST_CHECK bool server_init(void);

/* `app`, `loop` and `state` are borrowed for the call. NULL: an exception is set. */
struct server *server_new(PyObject *app,
                          PyObject *loop,
                          PyObject *state,
                          const struct server_options *options);
/* No request runs any more. */
void server_free(struct server **server_p);

/* The loop watches `core` from now on. False: an exception is set. */
MUST_CHECK bool server_start(struct server *s, struct core *core);
/* The loop does not watch any more; requests that still run lose their clients. */
void server_stop(struct server *s);

/* All is done that draining waits for. */
bool server_is_drained(const struct server *s);

/* One look at the core: what add_reader calls. */
void server_turn(struct server *s);

/* Something was packed: it leaves at the end of this iteration. */
void server_flush_soon(struct server *s);
/* A request is done, and its connection has left `conns`. */
void server_ended(struct server *s);

/* loop.call_later(seconds, function of `self`). False: an exception is set. */
MUST_CHECK bool server_call_later(struct server *s, double seconds, PyObject *callable);

#endif
