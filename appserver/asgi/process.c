/* SPDX-License-Identifier: MIT
 * Threads, and who does what:
 *
 *   main     the event loop, the core's link, the application
 *   warden   waits without the GIL for a reason to stop, and tells the core
 *
 * The warden's word reaches the loop through the core: its descriptor is readable when
 * it is to drain. */
#include <Python.h>

#include "appserver/asgi/process.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "appserver/asgi/server.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"
#include "appserver/interp/warden.h"
#include "protocol/base/log.h"

static const double CLOSE_S = 1; /* for tasks and threads of the application */

struct process {
    const struct worker_options *options;
    struct core *core;
    struct server *server;
    PyObject *loop, *lifespan; /* owned */
    atomic_int code;           /* the exit code */
};

static bool prepare(struct process *p, PyObject *app, bool is_legacy);
static bool start_lifespan(struct process *p);
static enum turn await_turn(struct process *p);
static bool serve(struct process *p, const struct worker_options *o);
static enum err make_core(struct process *p, const struct worker_options *o);
static bool start_warden(struct process *p);
static void *watch_over(void *arg);
static void run_loop(struct process *p, bool (*is_over)(const struct process *p));
static bool is_drained(const struct process *p);
static void finish(struct process *p);
static void stop_lifespan(struct process *p);
static void on_stuck(void *arg, uint64_t thread_tag, const char *request_id);

int asgi_run(const struct worker_options *options, PyObject *app, bool is_legacy)
{
    static struct process process; /* the warden's as long as the process lives */
    struct process *p = &process;

    p->options = options;
    atomic_init(&p->code, EXIT_FAILURE);
    warden_take_sigterm(); /* from the import, and below from the startup */
    if (!prepare(p, app, is_legacy)) {
        failure_print();
        return EXIT_IMPORT;
    }
    if (!start_lifespan(p)) {
        warden_end_soon(EXIT_IMPORT); /* it may have left threads */
        return EXIT_IMPORT;
    }
    warden_take_sigterm();
    enum turn turn = await_turn(p);
    if (turn == TURN_NEVER)
        atomic_store(&p->code, EXIT_SUCCESS);
    else if (turn == TURN_NOW && serve(p, options))
        run_loop(p, is_drained);
    finish(p);
    return atomic_load(&p->code);
}

/* ---- starting ---- */

/* False: an exception is set. */
static bool prepare(struct process *p, PyObject *app, bool is_legacy)
{
    py_own PyObject *module = PyImport_ImportModule("banyan._asgi");
    struct server_options options = {
        .root_path = p->options->app->root_path,
        .is_legacy = is_legacy,
        .max_requests = warden_pick_limit(p->options->app),
        .on_served_out = warden_served_out,
        .graceful_timeout_s = p->options->app->graceful_timeout_s,
    };

    if (module == NULL || !server_init())
        return false;
    p->loop = PyObject_CallMethod(module, "make_loop", "s", p->options->app->loop);
    if (p->loop == NULL)
        return false;
    p->lifespan =
        PyObject_CallMethod(module, "Lifespan", "OOsO", app, p->loop,
                            p->options->app->lifespan, is_legacy ? Py_True : Py_False);
    py_own PyObject *state =
        p->lifespan == NULL ? NULL : PyObject_GetAttrString(p->lifespan, "state");
    if (state != NULL)
        p->server = server_new(app, p->loop, state, &options);
    return p->server != NULL;
}

/* False: it was said why. */
static bool start_lifespan(struct process *p)
{
    py_own PyObject *started = PyObject_CallMethod(p->lifespan, "start", NULL);

    if (started != NULL)
        return true;
    (void)failure_report(NULL, "lifespan.startup");
    return false;
}

static enum turn look_for_turn(const struct process *p)
{
    return worker_turn(p->options, warden_fd(), 0);
}

static bool knows_turn(const struct process *p)
{
    return look_for_turn(p) != TURN_LATER;
}

/* Meanwhile the loop turns: the application has started and may have tasks.
 * TURN_LATER: it cannot, which was reported. */
static enum turn await_turn(struct process *p)
{
    worker_say_prepared(p->options);
    if (knows_turn(p))
        return look_for_turn(p);
    py_own PyObject *module = PyImport_ImportModule("banyan._asgi");
    py_own PyObject *stop =
        module == NULL ? NULL
                       : PyObject_CallMethod(module, "StopWhenReadable", "Oii", p->loop,
                                             p->options->go_fd, warden_fd());
    if (stop != NULL)
        run_loop(p, knows_turn);
    py_own PyObject *closed =
        stop == NULL ? NULL : PyObject_CallMethod(stop, "close", NULL);
    if (closed == NULL)
        (void)failure_report(NULL, "waiting");
    return look_for_turn(p);
}

/* False: it was reported. */
static bool serve(struct process *p, const struct worker_options *o)
{
    if (make_core(p, o) != ERR_NONE || !start_warden(p))
        return false;
    if (!server_start(p->server, p->core)) {
        (void)failure_report(NULL, "watching the link");
        return false;
    }
    worker_say_ready(o);
    return true;
}

static enum err make_core(struct process *p, const struct worker_options *o)
{
    struct core_options options = {
        .endpoint = o->endpoint,
        .pool = p->options->app->pool,
        .interface = "asgi",
        .is_loop = true,
        .threads = (uint32_t)p->options->app->concurrency,
        .threads_max = (uint32_t)p->options->app->concurrency,
        .max_websockets = (uint32_t)p->options->app->max_websockets,
        .insecure = p->options->app->insecure,
        .keys = o->keys,
        .reread_fd = o->reread_fd,
        .processors = 1,
        .request_timeout_s = p->options->app->timeout_s,
    };
    struct core_events events = {
        .stuck = on_stuck,
        .stuck_again = warden_stuck,
        .arg = p,
    };

    GIL_YIELD;
    enum err e = core_new(&options, &events, &p->core);
    if (e != ERR_NONE)
        log_error(NULL, "cannot serve at %s: %s", o->endpoint,
                  e == ERR_SYSTEM ? strerror(errno) : err_text(e));
    return e;
}

/* ---- the warden ---- */

static bool start_warden(struct process *p)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, watch_over, p);

    if (error == 0)
        (void)pthread_detach(thread);
    else
        log_error(NULL, "cannot start a thread: %s", strerror(error));
    return error == 0;
}

/* A loop that does not turn will not drain either. */
static void *watch_over(void *arg)
{
    struct process *p = arg;
    int code = warden_wait(p->options);

    atomic_store(&p->code, code);
    core_drain(p->core);
    if (warden_stuck_count() > 0) {
        (void)warden_flush(p->core);
        _exit(code);
    }
    return NULL;
}

/* In a thread of the core's: the loop has not turned for --timeout. */
static void on_stuck(void *arg, uint64_t thread_tag, const char *request_id)
{
    unsigned long thread = (unsigned long)thread_tag;

    (void)arg;
    log_error(NULL, "the event loop has not turned for --timeout");
    GIL_TAKE;
    failure_log_stack(request_id[0] == '\0' ? NULL : request_id, thread);
    (void)PyThreadState_SetAsyncExc(thread, failure_request_timeout);
}

/* ---- the loop ---- */

static bool is_drained(const struct process *p)
{
    return server_is_drained(p->server);
}

/* Whatever else ends a run. */
static void run_loop(struct process *p, bool (*is_over)(const struct process *p))
{
    while (!is_over(p)) {
        py_own PyObject *ran = PyObject_CallMethod(p->loop, "run_forever", NULL);
        if (ran == NULL)
            (void)failure_report(NULL, "the event loop");
        else if (!is_over(p))
            log_warn(NULL, "the application stopped the event loop; it goes on");
    }
}

/* ---- the end ---- */

static void finish(struct process *p)
{
    if (p->server->core != NULL)
        server_stop(p->server);
    if (p->core != NULL) {
        GIL_YIELD;
        if (!warden_flush(p->core))
            log_debug(NULL, "some answers did not leave in time");
    }
    stop_lifespan(p);
    py_own PyObject *module = PyImport_ImportModule("banyan._asgi");
    py_own PyObject *closed =
        module == NULL
            ? NULL
            : PyObject_CallMethod(module, "close_loop", "Od", p->loop, CLOSE_S);
    if (closed == NULL)
        (void)failure_report(NULL, "closing the event loop");
    if (p->core != NULL) {
        GIL_YIELD;
        core_free(&p->core);
    }
    /* A task that does not end is left alone, and what it holds on to. */
    if (p->server->open == 0)
        server_free(&p->server);
    Py_CLEAR(p->lifespan);
    Py_CLEAR(p->loop);
}

static void stop_lifespan(struct process *p)
{
    py_own PyObject *stopped = PyObject_CallMethod(p->lifespan, "stop", "d",
                                                   p->options->app->graceful_timeout_s);

    if (stopped == NULL)
        (void)failure_report(NULL, "lifespan.shutdown");
}
