/* SPDX-License-Identifier: MIT
 * One callback for what comes, and one per iteration for what goes.
 *
 *   descriptor readable --> server_turn: news, tasks, wake-ups --> call_soon(flush)
 *   ... the tasks' steps, which pack frames ...
 *   flush: the heads that nobody followed, then everything in one message */
#include <Python.h>

#include "appserver/asgi/server.h"

#include "appserver/asgi/conn.h"
#include "appserver/asgi/drain.h"
#include "appserver/asgi/file.h"
#include "appserver/asgi/http.h"
#include "appserver/interp/current.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "protocol/base/mem.h"

static bool fill(struct server *s);
static PyObject *bind(struct server *s, PyMethodDef *method);
static PyObject *on_readable(PyObject *self, PyObject *unused);
static PyObject *on_flush(PyObject *self, PyObject *unused);
static bool look_at_factory(struct server *s);

static PyMethodDef readable_method = {"banyan_turn", on_readable, METH_NOARGS, NULL};
static PyMethodDef flush_method = {"banyan_flush", on_flush, METH_NOARGS, NULL};

bool server_init(void)
{
    return names_init() && failure_init() && current_init() && file_init() &&
           conn_init();
}

struct server *server_new(PyObject *app,
                          PyObject *loop,
                          PyObject *state,
                          const struct server_options *options)
{
    struct server *s = mem_zalloc(sizeof *s);

    s->magic = SERVER_MAGIC;
    s->options = *options;
    s->app = Py_NewRef(app);
    s->loop = Py_NewRef(loop);
    s->state = Py_NewRef(state);
    list_init(&s->conns);
    list_init(&s->held);
    if (!fill(s))
        server_free(&s);
    return s;
}

static bool fill(struct server *s)
{
    py_own PyObject *asyncio = PyImport_ImportModule("asyncio");

    if (asyncio == NULL)
        return false;
    s->task_type = PyObject_GetAttrString(asyncio, "Task");
    s->cancelled = PyObject_GetAttrString(asyncio, "CancelledError");
    s->call_soon = PyObject_GetAttrString(s->loop, "call_soon");
    s->create_future = PyObject_GetAttrString(s->loop, "create_future");
    s->task_keywords = PyTuple_Pack(2, name_loop, name_name);
    /* What the application's modules set when they were imported. */
    s->context = PyContext_CopyCurrent();
    s->on_readable = bind(s, &readable_method);
    s->on_flush = bind(s, &flush_method);
    s->scopes = scope_maker_new(s->options.root_path);
    return s->task_type != NULL && s->cancelled != NULL && s->call_soon != NULL &&
           s->create_future != NULL && s->task_keywords != NULL && s->context != NULL &&
           s->on_readable != NULL && s->on_flush != NULL && s->scopes != NULL;
}

void server_free(struct server **server_p)
{
    struct server *s = take(*server_p);

    if (s == NULL)
        return;
    CHECK_OBJ(s, SERVER_MAGIC);
    ASSERT(list_is_empty(&s->conns));
    s->magic = 0;
    drain_free(&s->drain);
    scope_maker_free(&s->scopes);
    Py_CLEAR(s->app);
    Py_CLEAR(s->loop);
    Py_CLEAR(s->state);
    Py_CLEAR(s->context);
    Py_CLEAR(s->call_soon);
    Py_CLEAR(s->create_future);
    Py_CLEAR(s->task_type);
    Py_CLEAR(s->cancelled);
    Py_CLEAR(s->task_factory);
    Py_CLEAR(s->on_readable);
    Py_CLEAR(s->on_flush);
    Py_CLEAR(s->task_keywords);
    mem_free(&s);
}

/* New reference to a function of `s`. */
static PyObject *bind(struct server *s, PyMethodDef *method)
{
    py_own PyObject *self = PyCapsule_New(s, NULL, NULL);

    return self == NULL ? NULL : PyCFunction_New(method, self);
}

bool server_start(struct server *s, struct core *core)
{
    s->core = core;
    core_loop_enter(core, PyThread_get_thread_ident());
    py_own PyObject *added = PyObject_CallMethod(s->loop, "add_reader", "iO",
                                                 core_loop_fd(core), s->on_readable);
    return added != NULL;
}

void server_stop(struct server *s)
{
    py_own PyObject *removed =
        PyObject_CallMethod(s->loop, "remove_reader", "i", core_loop_fd(s->core));

    if (removed == NULL)
        (void)failure_report(NULL, "stopping");
    LIST_FOREACH(&s->conns, n) {
        struct conn *c = NODE_OF(n, struct conn, node);
        if (c->request != NULL) {
            request_abort(c->request, ERR_SHUTTING_DOWN, slice_of("", 0));
            request_finish(&c->request);
        }
        c->gone = ERR_SHUTTING_DOWN;
        node_leave(&c->held);
    }
    GIL_YIELD;
    core_loop_flush(s->core);
}

bool server_is_drained(const struct server *s)
{
    return s->drain != NULL && drain_is_over(s->drain);
}

/* ---- what comes ---- */

static PyObject *on_readable(PyObject *self, PyObject *unused)
{
    struct server *s =
        CAST_OBJ(PyCapsule_GetPointer(self, NULL), struct server, SERVER_MAGIC);

    (void)unused;
    server_turn(s);
    return Py_NewRef(Py_None);
}

void server_turn(struct server *s)
{
    size_t count;
    bool has_started = false;

    {
        GIL_YIELD;
        count = core_loop_turn(s->core, s->news, SERVER_NEWS);
    }
    for (size_t i = 0; i < count; i++) {
        struct request *r = s->news[i].request;
        if ((s->news[i].what & NEWS_STARTED) == 0) {
            conn_hear(request_owner(r), s->news[i].what);
            continue;
        }
        if (!has_started && !look_at_factory(s))
            failure_drop();
        has_started = true;
        conn_start(s, r);
    }
    /* Behind the tasks' first steps, which are in the queue now. */
    if (has_started)
        server_flush_soon(s);
    if (s->drain == NULL && core_is_draining(s->core)) {
        s->drain = drain_new(s);
        if (s->drain == NULL)
            (void)failure_report(NULL, "draining");
    } else if (s->drain != NULL) {
        drain_look(s->drain);
    }
}

/* False: an exception is set. */
static bool look_at_factory(struct server *s)
{
    PyObject *factory = PyObject_CallMethodNoArgs(s->loop, name_get_task_factory);

    if (factory == Py_None)
        Py_CLEAR(factory);
    else if (factory == NULL)
        return false;
    py_replace(&s->task_factory, factory);
    return true;
}

/* ---- what goes ---- */

void server_flush_soon(struct server *s)
{
    if (s->is_flush_soon)
        return;
    py_own PyObject *handle = PyObject_CallOneArg(s->call_soon, s->on_flush);
    if (handle == NULL)
        failure_drop(); /* the loop is closed */
    else
        s->is_flush_soon = true;
}

static PyObject *on_flush(PyObject *self, PyObject *unused)
{
    struct server *s =
        CAST_OBJ(PyCapsule_GetPointer(self, NULL), struct server, SERVER_MAGIC);
    struct node *n;

    (void)unused;
    s->is_flush_soon = false;
    while ((n = list_pop_front(&s->held)) != NULL)
        http_push(NODE_OF(n, struct conn, held));
    {
        GIL_YIELD;
        core_loop_flush(s->core);
    }
    return Py_NewRef(Py_None);
}

void server_ended(struct server *s)
{
    s->served++;
    if (s->served == s->options.max_requests)
        s->options.on_served_out();
    if (s->drain != NULL)
        drain_look(s->drain);
}

bool server_call_later(struct server *s, double seconds, PyObject *callable)
{
    py_own PyObject *handle =
        PyObject_CallMethod(s->loop, "call_later", "dO", seconds, callable);

    return handle != NULL;
}
