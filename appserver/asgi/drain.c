/* SPDX-License-Identifier: MIT
 *
 *   0            half                       cut          the end
 *   |-- WebSockets: 1012 --|                 |            |
 *   |-- requests go on ----------------------|-- cancelled|
 */
#include <Python.h>

#include "appserver/asgi/drain.h"

#include "appserver/asgi/conn.h"
#include "appserver/asgi/server.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"

enum { DRAIN_MAGIC = 0x6472616e };

static const double TICK_S = 0.05;   /* between two looks at the WebSockets */
static const double REST_PART = 0.1; /* of the grace time, kept for the end, */
static const double REST_MOST_S = 2; /* but not more */

struct drain {
    uint32_t magic;
    struct server *server; /* borrowed */
    uint64_t began_us;
    uint32_t websockets, dismissed;      /* when it began; told to go */
    PyObject *on_tick, *on_cut, *on_end; /* owned */
    bool is_over;
};

static PyObject *bind(struct drain *d, PyMethodDef *method);
static bool start(struct drain *d);
static PyObject *on_tick(PyObject *self, PyObject *unused);
static PyObject *on_cut(PyObject *self, PyObject *unused);
static PyObject *on_end(PyObject *self, PyObject *unused);
static void stop_loop(struct drain *d);

static PyMethodDef tick_method = {"banyan_tick", on_tick, METH_NOARGS, NULL};
static PyMethodDef cut_method = {"banyan_cut", on_cut, METH_NOARGS, NULL};
static PyMethodDef end_method = {"banyan_end", on_end, METH_NOARGS, NULL};

struct drain *drain_new(struct server *server)
{
    struct drain *d = mem_zalloc(sizeof *d);

    d->magic = DRAIN_MAGIC;
    d->server = server;
    d->began_us = clock_now_us();
    LIST_FOREACH(&server->conns, n)
        d->websockets += NODE_OF(n, struct conn, node)->kind == &websocket_kind;
    d->on_tick = bind(d, &tick_method);
    d->on_cut = bind(d, &cut_method);
    d->on_end = bind(d, &end_method);
    if (d->on_tick == NULL || d->on_cut == NULL || d->on_end == NULL || !start(d))
        drain_free(&d);
    return d;
}

void drain_free(struct drain **drain_p)
{
    struct drain *d = take(*drain_p);

    if (d == NULL)
        return;
    CHECK_OBJ(d, DRAIN_MAGIC);
    d->magic = 0;
    Py_CLEAR(d->on_tick);
    Py_CLEAR(d->on_cut);
    Py_CLEAR(d->on_end);
    mem_free(&d);
}

static PyObject *bind(struct drain *d, PyMethodDef *method)
{
    py_own PyObject *self = PyCapsule_New(d, NULL, NULL);

    return self == NULL ? NULL : PyCFunction_New(method, self);
}

static double rest_s(const struct drain *d)
{
    double part_s = d->server->options.graceful_timeout_s * REST_PART;

    return part_s < REST_MOST_S ? part_s : REST_MOST_S;
}

/* False: an exception is set. */
static bool start(struct drain *d)
{
    drain_look(d);
    if (d->is_over)
        return true;
    if (d->websockets > 0 && !server_call_later(d->server, 0, d->on_tick))
        return false;
    return server_call_later(
        d->server, d->server->options.graceful_timeout_s - rest_s(d), d->on_cut);
}

void drain_look(struct drain *d)
{
    /* An upload that was on its way when the drain began may still be started. */
    if (d->server->open == 0 && !d->is_over && core_is_drained(d->server->core))
        stop_loop(d);
}

bool drain_is_over(const struct drain *d)
{
    return d->is_over;
}

/* As many WebSockets go as the time that has passed says. */
static PyObject *on_tick(PyObject *self, PyObject *unused)
{
    struct drain *d =
        CAST_OBJ(PyCapsule_GetPointer(self, NULL), struct drain, DRAIN_MAGIC);
    double half_s = d->server->options.graceful_timeout_s / 2;
    double passed_s = (double)(clock_now_us() - d->began_us) / 1e6 + TICK_S;
    uint32_t due = passed_s >= half_s
                       ? UINT32_MAX
                       : (uint32_t)(passed_s / half_s * (double)d->websockets) + 1;

    (void)unused;
    if (d->is_over)
        return Py_NewRef(Py_None);
    LIST_FOREACH(&d->server->conns, n) {
        struct conn *c = NODE_OF(n, struct conn, node);
        if (d->dismissed >= due)
            break;
        if (c->kind != &websocket_kind || c->is_dismissed)
            continue;
        c->is_dismissed = true;
        d->dismissed++;
        conn_dismiss(c);
    }
    if (d->server->open > 0 && !server_call_later(d->server, TICK_S, d->on_tick))
        return NULL;
    return Py_NewRef(Py_None);
}

/* The grace time is nearly over. */
static PyObject *on_cut(PyObject *self, PyObject *unused)
{
    struct drain *d =
        CAST_OBJ(PyCapsule_GetPointer(self, NULL), struct drain, DRAIN_MAGIC);

    (void)unused;
    if (d->is_over)
        return Py_NewRef(Py_None);
    {
        GIL_YIELD;
        log_warn(NULL, "%u requests still run after the graceful timeout",
                 d->server->open);
    }
    LIST_FOREACH(&d->server->conns, n)
        conn_cancel(NODE_OF(n, struct conn, node), ERR_SHUTTING_DOWN);
    /* From now, however late it is: each hears of it first. */
    if (!server_call_later(d->server, rest_s(d) / 2, d->on_end))
        return NULL;
    return Py_NewRef(Py_None);
}

static PyObject *on_end(PyObject *self, PyObject *unused)
{
    struct drain *d =
        CAST_OBJ(PyCapsule_GetPointer(self, NULL), struct drain, DRAIN_MAGIC);

    (void)unused;
    if (!d->is_over)
        stop_loop(d);
    return Py_NewRef(Py_None);
}

/* The iteration that runs is the last. */
static void stop_loop(struct drain *d)
{
    py_own PyObject *stopped = PyObject_CallMethod(d->server->loop, "stop", NULL);

    d->is_over = true;
    if (stopped == NULL)
        failure_drop();
}
