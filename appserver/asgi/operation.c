/* SPDX-License-Identifier: MIT
 * An operation does nothing until it is awaited, so that one which is cancelled before
 * took nothing away. It holds its channel, never the connection: the application may
 * keep it beyond its request. */
#include <Python.h>

#include "appserver/asgi/operation.h"

#include "appserver/asgi/conn.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"

static PyTypeObject *operation_type;
static PyObject *done; /* stateless, so one is enough */

static PySendResult step(struct operation *op, PyObject **ret_value);
static bool wait(struct operation *op);
static void end(struct operation *op);

/* ---- the protocol of coroutines ---- */

static PySendResult
operation_send(PyObject *self, PyObject *value, PyObject **ret_value)
{
    struct operation *op = (struct operation *)self;

    if (op->channel == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this receive() or send() was awaited before");
        *ret_value = NULL;
        return PYGEN_ERROR;
    }
    if (op->waits_on != NULL) {
        PySendResult result = PyIter_Send(op->waits_on, value, ret_value);
        if (result == PYGEN_NEXT)
            return result;
        Py_CLEAR(op->waits_on);
        node_leave(&op->node);
        if (result == PYGEN_ERROR) {
            end(op);
            return result;
        }
        /* A wake-up says nothing; what a job's future gives is looked at by the job. */
        Py_CLEAR(*ret_value);
        if (op->job.future == NULL)
            Py_CLEAR(op->future);
    }
    return step(op, ret_value);
}

static PySendResult step(struct operation *op, PyObject **ret_value)
{
    struct channel *channel = op->channel;
    enum turn turn;

    *ret_value = NULL;
    do {
        turn = channel->is_receive ? channel_receive(channel, ret_value)
                                   : channel_send(channel, &op->job);
        if (turn == TURN_WAIT && !wait(op))
            turn = TURN_BAD;
        if (turn == TURN_WAIT) {
            PySendResult result = PyIter_Send(op->waits_on, Py_None, ret_value);
            if (result == PYGEN_NEXT)
                return result;
            /* A future that was done already: on with it. */
            Py_CLEAR(op->waits_on);
            Py_CLEAR(*ret_value);
            if (result == PYGEN_ERROR)
                turn = TURN_BAD;
        }
    } while (turn == TURN_WAIT);
    end(op);
    if (turn == TURN_BAD)
        return PYGEN_ERROR;
    if (*ret_value == NULL)
        *ret_value = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *operation_next(PyObject *self)
{
    PyObject *value = NULL;

    switch (operation_send(self, Py_None, &value)) {
    case PYGEN_NEXT:
        return value;
    case PYGEN_RETURN:
        if (value != Py_None) /* a dict: _PyGen_SetStopIterationValue needs no care */
            PyErr_SetObject(PyExc_StopIteration, value);
        Py_DECREF(value);
        return NULL;
    default:
        return NULL;
    }
}

/* send(value): what a driver without am_send calls; the end is a StopIteration. */
static PyObject *operation_send_method(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;

    switch (operation_send(self, value, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        PyErr_SetObject(PyExc_StopIteration, result == Py_None ? NULL : result);
        Py_DECREF(result);
        return NULL;
    default:
        return NULL;
    }
}

/* throw(exception) or throw(type, value, traceback): what was taken so far is whole. */
static PyObject *operation_throw(PyObject *self, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;

    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback))
        return NULL;
    end((struct operation *)self);
    if (PyExceptionInstance_Check(type))
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    else
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(value == Py_None ? NULL : value),
                      Py_XNewRef(traceback == Py_None ? NULL : traceback));
    return NULL;
}

static PyObject *operation_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    end((struct operation *)self);
    return Py_NewRef(Py_None);
}

static void operation_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    end((struct operation *)self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static void end(struct operation *op)
{
    struct channel *channel = take(op->channel);

    node_leave(&op->node);
    Py_CLEAR(op->waits_on);
    Py_CLEAR(op->future);
    if (channel == NULL)
        return;
    if (op->job.is_sender)
        channel_drop(channel, &op->job);
    job_clear(&op->job);
    Py_DECREF(channel);
}

/* Makes `waits_on`. False: an exception is set. */
static bool wait(struct operation *op)
{
    struct server *server = channel_server(op->channel);

    if (op->job.future != NULL)
        py_replace(&op->future, Py_NewRef(op->job.future));
    else
        py_replace(&op->future, PyObject_CallNoArgs(server->create_future));
    if (op->future == NULL)
        return false;
    const PyAsyncMethods *async = Py_TYPE(op->future)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        PyErr_SetString(PyExc_TypeError, "the loop's future cannot be awaited");
        return false;
    }
    op->waits_on = async->am_await(op->future);
    if (op->waits_on != NULL && op->job.future == NULL)
        list_push_back(channel_waiting(op->channel), &op->node);
    return op->waits_on != NULL;
}

/* ---- one that is done ---- */

static PySendResult done_send(PyObject *self, PyObject *value, PyObject **ret_value)
{
    (void)self;
    (void)value;
    *ret_value = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *done_next(PyObject *self)
{
    (void)self;
    return NULL; /* StopIteration */
}

static PyObject *done_send_method(PyObject *self, PyObject *value)
{
    (void)self;
    (void)value;
    PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *done_throw(PyObject *self, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;

    (void)self;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback))
        return NULL;
    if (PyExceptionInstance_Check(type))
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    else
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(traceback));
    return NULL;
}

static PyObject *done_close(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return Py_NewRef(Py_None);
}

static void done_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_Free(self);
    Py_DECREF(type);
}

/* ---- making ---- */

/* Registered as a coroutine for asyncio.iscoroutine(). New reference. */
static PyTypeObject *make_type(PyType_Spec *spec)
{
    py_own PyObject *type = PyType_FromSpec(spec);
    py_own PyObject *abc = PyImport_ImportModule("collections.abc");
    py_own PyObject *coroutine =
        abc == NULL ? NULL : PyObject_GetAttrString(abc, "Coroutine");
    py_own PyObject *registered =
        type == NULL || coroutine == NULL
            ? NULL
            : PyObject_CallMethod(coroutine, "register", "O", type);

    return registered == NULL ? NULL : (PyTypeObject *)py_take(type);
}

static PyTypeObject *make_operation_type(void)
{
    static PyMethodDef methods[] = {
        {"send", operation_send_method, METH_O, NULL},
        {"throw", operation_throw, METH_VARARGS, NULL},
        {"close", operation_close, METH_NOARGS, NULL},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)operation_dealloc},
        {Py_tp_iter, (void *)PyObject_SelfIter},
        {Py_tp_iternext, (void *)operation_next},
        {Py_am_await, (void *)PyObject_SelfIter},
        {Py_am_send, (void *)operation_send},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.Operation",
        .basicsize = sizeof(struct operation),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    return make_type(&spec);
}

static PyTypeObject *make_done_type(void)
{
    static PyMethodDef methods[] = {
        {"send", done_send_method, METH_O, NULL},
        {"throw", done_throw, METH_VARARGS, NULL},
        {"close", done_close, METH_NOARGS, NULL},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)done_dealloc},
        {Py_tp_iter, (void *)PyObject_SelfIter},
        {Py_tp_iternext, (void *)done_next},
        {Py_am_await, (void *)PyObject_SelfIter},
        {Py_am_send, (void *)done_send},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.Sent",
        .basicsize = sizeof(PyObject),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    return make_type(&spec);
}

bool operation_init(void)
{
    if (done != NULL)
        return true;
    operation_type = make_operation_type();
    py_own PyObject *done_type = (PyObject *)make_done_type();
    if (operation_type == NULL || done_type == NULL)
        return false;
    done = (PyObject *)PyObject_New(PyObject, (PyTypeObject *)done_type);
    return done != NULL;
}

PyObject *operation_new(struct channel *channel, struct job *job)
{
    struct operation *op = PyObject_New(struct operation, operation_type);

    if (op == NULL)
        return NULL;
    op->node = (struct node){NULL, NULL};
    op->channel = (struct channel *)Py_NewRef((PyObject *)channel);
    op->future = NULL;
    op->waits_on = NULL;
    op->job = (struct job){0};
    if (job != NULL) {
        op->job = *job;
        *job = (struct job){0};
    }
    return (PyObject *)op;
}

PyObject *operation_done(void)
{
    return Py_NewRef(done);
}

void operation_wake(struct list *waiting)
{
    struct node *n;

    while ((n = list_pop_front(waiting)) != NULL) {
        struct operation *op = NODE_OF(n, struct operation, node);
        py_own PyObject *is_done = PyObject_CallMethodNoArgs(op->future, name_done);
        if (is_done == Py_True)
            continue; /* cancelled: its task will say so */
        py_own PyObject *set =
            is_done == NULL
                ? NULL
                : PyObject_CallMethodOneArg(op->future, name_set_result, Py_None);
        if (set == NULL)
            failure_drop();
    }
}

void job_clear(struct job *job)
{
    Py_CLEAR(job->message);
    Py_CLEAR(job->keep);
    Py_CLEAR(job->file);
    Py_CLEAR(job->future);
    job->rest = slice_of("", 0);
    job->is_sender = false;
}
