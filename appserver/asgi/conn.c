/* SPDX-License-Identifier: MIT
 * The task's coroutine is ours, around the application's: so its end needs no callback,
 * and is dealt with in the step in which it happens. */
#include <Python.h>
#include <structmember.h>

#include "appserver/asgi/conn.h"

#include <stdio.h>

#include "appserver/asgi/http.h"
#include "appserver/interp/current.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "protocol/base/log.h"

static PyTypeObject *conn_type, *channel_type;

static struct conn *conn_new(struct server *server, struct request *request);
static struct channel *channel_new(struct conn *c, bool is_receive);
static bool begin(struct conn *c);
static PyObject *call_app(struct conn *c);
static PyObject *coroutine_of(PyObject *result);
static PyObject *make_task(struct conn *c);
static bool has_ended(struct conn *c);
static void end(struct conn *c);

/* ---- a request comes ---- */

void conn_start(struct server *server, struct request *request)
{
    struct conn *c = conn_new(server, request);

    if (c == NULL) {
        failure_drop();
        request_abort(request, ERR_INTERNAL, slice_of("", 0));
        request_finish(&request);
        return;
    }
    request_set_owner(request, c);
    list_push_back(&server->conns, &c->node);
    server->open++;
    if (!begin(c) && !has_ended(c))
        failure_drop();
    Py_DECREF(c); /* the task holds it */
}

/* NULL: an exception is set. */
static struct conn *conn_new(struct server *server, struct request *request)
{
    struct conn *c = PyObject_New(struct conn, conn_type);

    if (c == NULL)
        return NULL;
    memset((char *)c + sizeof(PyObject), 0, sizeof *c - sizeof(PyObject));
    c->server = server;
    c->request = request;
    c->kind = request_is_websocket(request) ? &websocket_kind : &http_kind;
    list_init(&c->receivers);
    list_init(&c->senders);
    answer_init(&c->answer);
    answer_begin(&c->answer, request);
    buf_init(&c->incoming, 0);
    c->receive = channel_new(c, true);
    c->send = c->receive == NULL ? NULL : channel_new(c, false);
    if (c->send == NULL) {
        c->request = NULL; /* the caller's still */
        Py_CLEAR(c);
    }
    return c;
}

/* False: an exception is set. */
static bool begin(struct conn *c)
{
    py_own PyObject *context = PyContext_Copy(c->server->context);
    py_own PyObject *token = NULL;

    c->scope = scope_make(c->server->scopes, c->request, c->server->state, &c->id);
    if (context == NULL || c->scope == NULL || PyContext_Enter(context) < 0)
        return false;
    token = PyContextVar_Set(current_id_var, c->id);
    if (token != NULL)
        c->coroutine = call_app(c);
    if (c->coroutine != NULL)
        c->task = make_task(c);
    if (c->task != NULL)
        return PyContext_Exit(context) == 0;
    py_own PyObject *exception = py_raised();
    (void)PyContext_Exit(context);
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    return false;
}

static PyObject *call_app(struct conn *c)
{
    PyObject *args[] = {NULL, c->scope, (PyObject *)c->receive, (PyObject *)c->send};
    const size_t offset = PY_VECTORCALL_ARGUMENTS_OFFSET;

    if (!c->server->options.is_legacy) {
        py_own PyObject *result =
            PyObject_Vectorcall(c->server->app, args + 1, 3 | offset, NULL);
        return result == NULL ? NULL : coroutine_of(result);
    }
    py_own PyObject *instance = PyObject_CallOneArg(c->server->app, c->scope);
    py_own PyObject *result =
        instance == NULL ? NULL
                         : PyObject_Vectorcall(instance, args + 2, 2 | offset, NULL);
    return result == NULL ? NULL : coroutine_of(result);
}

/* New reference to what PyIter_Send drives. */
static PyObject *coroutine_of(PyObject *result)
{
    const PyAsyncMethods *async = Py_TYPE(result)->tp_as_async;

    if (PyCoro_CheckExact(result))
        return Py_NewRef(result);
    if (async == NULL || async->am_await == NULL)
        return PyErr_Format(PyExc_TypeError,
                            "the application gave %.100s, which cannot be awaited",
                            Py_TYPE(result)->tp_name);
    return async->am_await(result);
}

static PyObject *make_task(struct conn *c)
{
    struct server *s = c->server;
    PyObject *args[] = {NULL, (PyObject *)c, s->loop, name_request_task};

    if (s->task_factory != NULL) /* through the loop, so that it sees the task */
        return PyObject_CallMethod(s->loop, "create_task", "O", (PyObject *)c);
    return PyObject_Vectorcall(s->task_type, args + 1,
                               1 | PY_VECTORCALL_ARGUMENTS_OFFSET, s->task_keywords);
}

/* ---- the coroutine of the task ---- */

static PySendResult conn_send(PyObject *self, PyObject *value, PyObject **ret_value)
{
    struct conn *c = (struct conn *)self;

    *ret_value = NULL;
    if (c->coroutine == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the request has ended");
        return PYGEN_ERROR;
    }
    PySendResult result = PyIter_Send(c->coroutine, value, ret_value);
    if (result == PYGEN_NEXT)
        return result;
    Py_CLEAR(*ret_value);
    if (!has_ended(c))
        return PYGEN_ERROR;
    *ret_value = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

/* The application returned, or raised the exception that is pending. False: the task
 * was cancelled, which is pending still. */
static bool has_ended(struct conn *c)
{
    py_own PyObject *self UNUSED = Py_NewRef((PyObject *)c);
    py_own PyObject *cancelled = NULL;
    char doing[200];

    c->is_over = true;
    if (!PyErr_Occurred()) {
        c->kind->returned(c);
        end(c);
        return true;
    }
    if (PyErr_ExceptionMatches(c->server->cancelled)) {
        cancelled = py_raised();
        PyErr_SetObject((PyObject *)Py_TYPE(cancelled), cancelled);
    }
    if (c->cancelled != ERR_NONE && cancelled != NULL) {
        failure_drop();
        conn_complain(c, c->cancelled == ERR_REQUEST_TIMEOUT
                             ? "cancelled at the request's deadline"
                             : "cancelled after the graceful timeout");
        c->kind->raised(c, c->cancelled);
    } else {
        conn_describe(c, doing, sizeof doing);
        c->kind->raised(c, failure_report(PyUnicode_AsUTF8(c->id), doing));
    }
    end(c);
    if (cancelled != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(cancelled), cancelled);
    return cancelled == NULL;
}

/* Everything that could reach the request is cut off from it. */
static void end(struct conn *c)
{
    struct server *s = c->server;

    if (c->request != NULL)
        request_finish(&c->request);
    node_leave(&c->held);
    conn_wake_all(c);
    c->receive->conn = c->send->conn = NULL;
    Py_CLEAR(c->receive);
    Py_CLEAR(c->send);
    Py_CLEAR(c->coroutine);
    Py_CLEAR(c->scope);
    Py_CLEAR(c->task);
    node_leave(&c->node);
    s->open--;
    server_flush_soon(s);
    server_ended(s);
}

static PyObject *conn_next(PyObject *self)
{
    PyObject *value = NULL;

    (void)conn_send(self, Py_None, &value);
    if (value != Py_None)
        return value;
    Py_DECREF(value);
    return NULL; /* StopIteration */
}

static PyObject *conn_send_method(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;

    switch (conn_send(self, value, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        Py_DECREF(result);
        PyErr_SetNone(PyExc_StopIteration);
        return NULL;
    default:
        return NULL;
    }
}

/* throw(...) goes to where the application waits. */
static PyObject *conn_throw(PyObject *self, PyObject *args)
{
    struct conn *c = (struct conn *)self;
    py_own PyObject *keep UNUSED = Py_NewRef(self);

    if (c->coroutine == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the request has ended");
        return NULL;
    }
    py_own PyObject *coroutine = Py_NewRef(c->coroutine);
    py_own PyObject *throw = PyObject_GetAttr(coroutine, name_throw);
    PyObject *yielded = throw == NULL ? NULL : PyObject_CallObject(throw, args);
    if (yielded != NULL)
        return yielded;
    if (PyErr_ExceptionMatches(PyExc_StopIteration))
        PyErr_Clear(); /* it returned */
    if (has_ended(c))
        PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *conn_close(PyObject *self, PyObject *unused)
{
    struct conn *c = (struct conn *)self;
    py_own PyObject *keep UNUSED = Py_NewRef(self);

    (void)unused;
    if (c->coroutine == NULL)
        return Py_NewRef(Py_None);
    py_own PyObject *closed = PyObject_CallMethod(c->coroutine, "close", NULL);
    if (closed == NULL && !has_ended(c))
        failure_drop();
    else if (!c->is_over) {
        c->is_over = true;
        c->kind->raised(c, ERR_SHUTTING_DOWN);
        end(c);
    }
    return Py_NewRef(Py_None);
}

static void conn_dealloc(PyObject *self)
{
    struct conn *c = (struct conn *)self;
    PyTypeObject *type = Py_TYPE(self);

    if (c->request != NULL) { /* its task was thrown away in the middle */
        request_abort(c->request, ERR_SHUTTING_DOWN, slice_of("", 0));
        request_finish(&c->request);
    }
    if (node_is_linked(&c->node)) {
        node_leave(&c->node);
        c->server->open--;
    }
    node_leave(&c->held);
    if (c->receive != NULL)
        c->receive->conn = NULL;
    if (c->send != NULL)
        c->send->conn = NULL;
    Py_CLEAR(c->receive);
    Py_CLEAR(c->send);
    Py_CLEAR(c->coroutine);
    Py_CLEAR(c->scope);
    Py_CLEAR(c->id);
    Py_CLEAR(c->task);
    Py_CLEAR(c->reason);
    answer_fini(&c->answer);
    buf_fini(&c->incoming);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* ---- news ---- */

void conn_hear(struct conn *c, unsigned what)
{
    if ((what & NEWS_GONE) != 0) {
        c->gone = request_gone(c->request);
        conn_wake_all(c);
        if (c->gone == ERR_REQUEST_TIMEOUT)
            conn_cancel(c, c->gone);
        return;
    }
    if ((what & NEWS_FILED) != 0)
        c->is_filed = true;
    if ((what & NEWS_BODY) != 0)
        operation_wake(&c->receivers);
    if ((what & NEWS_ROOM) != 0 && c->is_backed) {
        http_push(c);
        server_flush_soon(c->server);
    }
    if ((what & (NEWS_ROOM | NEWS_FILED)) != 0)
        operation_wake(&c->senders);
}

void conn_dismiss(struct conn *c)
{
    if (c->kind->dismissed != NULL && c->request != NULL && c->gone == ERR_NONE)
        c->kind->dismissed(c);
}

void conn_cancel(struct conn *c, enum err why)
{
    c->cancelled = why;
    if (c->task == NULL)
        return;
    py_own PyObject *asked = PyObject_CallMethodNoArgs(c->task, name_cancel);
    if (asked == NULL)
        (void)failure_report(PyUnicode_AsUTF8(c->id), "cancelling");
}

void conn_complete(struct conn *c)
{
    request_finish(&c->request);
    conn_wake_all(c);
}

enum turn conn_lost(struct conn *c, enum err e)
{
    c->gone = e;
    PyErr_SetString(failure_client_gone, err_text(e));
    return TURN_BAD;
}

void conn_wake_all(struct conn *c)
{
    operation_wake(&c->receivers);
    operation_wake(&c->senders);
}

void conn_describe(const struct conn *c, char *ret_text, size_t bytes)
{
    (void)scope_describe(c->scope, ret_text, bytes);
}

void conn_complain(const struct conn *c, const char *text)
{
    char doing[200];
    const char *id = c->id == NULL ? NULL : PyUnicode_AsUTF8(c->id);
    struct log_ctx ctx;

    (void)snprintf(ctx.prefix, sizeof ctx.prefix, "%.47s", id == NULL ? "-" : id);
    conn_describe(c, doing, sizeof doing);
    GIL_YIELD;
    log_error(&ctx, "%s: %s", doing, text);
}

/* ---- receive and send ---- */

static PyObject *
channel_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *keywords)
{
    struct channel *channel = (struct channel *)self;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    struct job job = {.stage = JOB_NEW};

    if (channel->is_receive) {
        if (count == 0 && keywords == NULL)
            return operation_new(channel, NULL);
        PyErr_SetString(PyExc_TypeError, "receive() takes no arguments");
        return NULL;
    }
    /* send(message=...) is as good. */
    if (count + (keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords)) != 1) {
        PyErr_SetString(PyExc_TypeError, "send() takes one message");
        return NULL;
    }
    job.message = Py_NewRef(args[0]);
    switch (channel_send(channel, &job)) {
    case TURN_DONE:
        job_clear(&job);
        return operation_done();
    case TURN_WAIT:
        return operation_new(channel, &job);
    default:
        job_clear(&job);
        return NULL;
    }
}

enum turn channel_receive(struct channel *channel, PyObject **ret_message)
{
    struct conn *c = channel->conn;

    if (c != NULL)
        return c->kind->receive(c, ret_message);
    *ret_message = channel->is_websocket ? websocket_kind.farewell(NULL)
                                         : http_kind.farewell(NULL);
    return *ret_message == NULL ? TURN_BAD : TURN_DONE;
}

enum turn channel_send(struct channel *channel, struct job *job)
{
    struct conn *c = channel->conn;

    if (c == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "send() was called after the application had returned");
        return TURN_BAD;
    }
    if (job->stage == JOB_NEW && c->is_sending)
        return TURN_WAIT;
    enum turn turn = c->kind->send(c, job);
    bool was_sender = job->is_sender;
    c->is_sending = job->is_sender = turn == TURN_WAIT;
    if (was_sender && turn != TURN_WAIT)
        operation_wake(&c->senders); /* the next one's turn */
    return turn;
}

void channel_drop(struct channel *channel, struct job *job)
{
    struct conn *c = channel->conn;

    if (c == NULL || !job->is_sender)
        return;
    c->is_sending = false;
    c->kind->send_dropped(c);
    operation_wake(&c->senders);
}

struct list *channel_waiting(struct channel *channel)
{
    struct conn *c = channel->conn;

    return channel->is_receive ? &c->receivers : &c->senders;
}

struct server *channel_server(struct channel *channel)
{
    return channel->conn->server;
}

static struct channel *channel_new(struct conn *c, bool is_receive)
{
    struct channel *channel = PyObject_New(struct channel, channel_type);

    if (channel != NULL) {
        channel->vectorcall = channel_call;
        channel->conn = c;
        channel->is_receive = is_receive;
        channel->is_websocket = c->kind == &websocket_kind;
    }
    return channel;
}

static void channel_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_Free(self);
    Py_DECREF(type);
}

/* ---- types ---- */

static PyTypeObject *make_channel_type(void)
{
    static PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct channel, vectorcall),
         READONLY, NULL},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)channel_dealloc},
        {Py_tp_call, (void *)PyVectorcall_Call},
        {Py_tp_members, members},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.Channel",
        .basicsize = sizeof(struct channel),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL |
                 Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}

static PyTypeObject *make_conn_type(void)
{
    static PyMethodDef methods[] = {
        {"send", conn_send_method, METH_O, NULL},
        {"throw", conn_throw, METH_VARARGS, NULL},
        {"close", conn_close, METH_NOARGS, NULL},
        {0},
    };
    /* What tools that show a task look at: where the application waits. */
    static PyMemberDef members[] = {
        {"cr_await", T_OBJECT, offsetof(struct conn, coroutine), READONLY, NULL},
        {"scope", T_OBJECT, offsetof(struct conn, scope), READONLY, NULL},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)conn_dealloc},
        {Py_tp_iter, (void *)PyObject_SelfIter},
        {Py_tp_iternext, (void *)conn_next},
        {Py_am_await, (void *)PyObject_SelfIter},
        {Py_am_send, (void *)conn_send},
        {Py_tp_methods, methods},
        {Py_tp_members, members},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.Request",
        .basicsize = sizeof(struct conn),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}

bool conn_init(void)
{
    if (conn_type != NULL)
        return true;
    if (!operation_init())
        return false;
    channel_type = make_channel_type();
    conn_type = channel_type == NULL ? NULL : make_conn_type();
    py_own PyObject *abc =
        conn_type == NULL ? NULL : PyImport_ImportModule("collections.abc");
    py_own PyObject *coroutine =
        abc == NULL ? NULL : PyObject_GetAttrString(abc, "Coroutine");
    py_own PyObject *registered =
        coroutine == NULL ? NULL
                          : PyObject_CallMethod(coroutine, "register", "O", conn_type);
    return registered != NULL;
}
