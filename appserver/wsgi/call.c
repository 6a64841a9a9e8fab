/* SPDX-License-Identifier: MIT
 * The life of a request in Python, by PEP 3333. Most answers are a list of one bytes
 * object: its bytes are copied, everything is let go in one hold of the GIL, and the
 * answer leaves after it. */
#include <Python.h>

#include "appserver/wsgi/call.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "appserver/interp/answer.h"
#include "appserver/interp/current.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "appserver/wsgi/errors.h"
#include "appserver/wsgi/file_wrapper.h"
#include "appserver/wsgi/input.h"
#include "appserver/wsgi/start_response.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"

enum { CALL_MAGIC = 0x63616c6c };

struct call {
    uint32_t magic;
    PyObject *app;
    struct environ_maker *maker;
    struct answer answer;
    PyObject *start_response, *input; /* owned; bound while a request runs */
    /* The request's id while it runs. Who took it out may look at it; the request does
     * not end before it is back (free-threaded Pythons have no GIL to see to that). */
    _Atomic(const char *) running_id;
    bool is_interrupted; /* an asynchronous exception is on its way here */
};

static bool make_objects(struct call *c, bool has_body);
static void begin(struct call *c, struct request *r, bool has_body);
static void finish(struct call *c, bool has_body);
static void run_application(struct call *c, bool has_body);
static void serve(struct call *c, PyObject *result);
static bool gather_parts(struct call *c, PyObject *parts);
static bool is_only_part(PyObject *result);
static enum err iterate(struct call *c, PyObject *result);
static enum err take_chunk(struct call *c, PyObject *chunk, PyObject *result);
static enum err send_chunk(struct call *c, struct slice bytes, bool is_whole);
static enum err send_end(struct call *c);
static enum err send_file(struct call *c, const struct plain_file *file);
static void close_result(struct call *c, PyObject *result);
static enum err fail(struct call *c);
static void abandon(struct call *c, enum err e);
static void log_excess(const struct call *c);
static void describe(const struct call *c, char *ret_text, size_t bytes);

bool call_init(void)
{
    return names_init() && failure_init() && input_init() && start_response_init() &&
           file_wrapper_init();
}

struct call *call_new(PyObject *app, const struct environ_options *options)
{
    struct call *c = mem_zalloc(sizeof *c);

    c->magic = CALL_MAGIC;
    c->app = Py_NewRef(app);
    answer_init(&c->answer);
    c->maker = environ_maker_new(options);
    if (c->maker == NULL)
        call_free(&c);
    return c;
}

void call_free(struct call **call_p)
{
    struct call *c = take(*call_p);

    if (c == NULL)
        return;
    CHECK_OBJ(c, CALL_MAGIC);
    c->magic = 0;
    environ_maker_free(&c->maker);
    answer_fini(&c->answer);
    Py_CLEAR(c->start_response);
    Py_CLEAR(c->input);
    Py_CLEAR(c->app);
    buf_fini(&current.line);
    mem_free(&c);
}

void call_run(struct call *c, struct request *request)
{
    bool has_body = request_frame(request)->body_form != BODY_NONE;

    CHECK_OBJ(c, CALL_MAGIC);
    if (!make_objects(c, has_body)) {
        answer_begin(&c->answer, request);
        (void)fail(c);
        return;
    }
    begin(c, request, has_body);
    request_enter(request);
    run_application(c, has_body);
    request_leave(request);
    finish(c, has_body);
}

void call_flush(struct call *c)
{
    (void)answer_flush(&c->answer);
}

void call_interrupt(struct call *c, unsigned long thread, const char *id)
{
    const char *running_id = atomic_exchange(&c->running_id, NULL);

    if (running_id == NULL)
        return;
    if (strcmp(running_id, id) == 0) {
        c->is_interrupted = true;
        (void)PyThreadState_SetAsyncExc(thread, failure_request_timeout);
    }
    atomic_store(&c->running_id, running_id);
}

static bool make_objects(struct call *c, bool has_body)
{
    if (c->start_response != NULL && !start_response_is_unshared(c->start_response))
        Py_CLEAR(c->start_response);
    if (c->start_response == NULL)
        c->start_response = start_response_new();
    if (has_body && c->input != NULL && !input_is_unshared(c->input))
        Py_CLEAR(c->input);
    if (has_body && c->input == NULL)
        c->input = input_new();
    return c->start_response != NULL && (!has_body || c->input != NULL);
}

static void begin(struct call *c, struct request *r, bool has_body)
{
    answer_begin(&c->answer, r);
    start_response_bind(c->start_response, &c->answer);
    if (has_body)
        input_open(c->input, r);
    current.request = r;
    atomic_store(&c->running_id, request_id(r));
}

/* Everything that could reach the request is cut off from it. */
static void finish(struct call *c, bool has_body)
{
    start_response_bind(c->start_response, NULL);
    if (has_body)
        input_close(c->input);
    errors_flush_current();
    current.request = NULL;
    while (atomic_exchange(&c->running_id, NULL) == NULL)
        (void)sched_yield();
    if (c->is_interrupted) {
        /* It came too late for this request and must not meet the next one. */
        (void)PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), NULL);
        c->is_interrupted = false;
    }
}

static void run_application(struct call *c, bool has_body)
{
    py_own PyObject *env =
        environ_make(c->maker, c->answer.request, has_body ? c->input : NULL);
    py_own PyObject *result = NULL;

    if (env != NULL) {
        PyObject *const args[] = {NULL, env, c->start_response};
        result = PyObject_Vectorcall(c->app, args + 1,
                                     2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    if (result == NULL)
        (void)fail(c);
    else
        serve(c, result);
}

static void serve(struct call *c, PyObject *result)
{
    bool is_sequence = PyList_CheckExact(result) || PyTuple_CheckExact(result);
    struct plain_file file;

    if (is_sequence && gather_parts(c, result)) {
        /* complete; neither type has a close() */
    } else {
        enum err e =
            c->answer.state == ANSWER_STARTED && file_wrapper_plain(result, &file)
                ? send_file(c, &file)
                : iterate(c, result);
        if (e != ERR_NONE)
            abandon(c, e);
        if (!is_sequence)
            close_result(c, result);
    }
    if (c->answer.is_excess)
        log_excess(c);
}

/* A list or tuple of little bytes, not begun by write(): the answer is WHOLE. False:
 * send it piece by piece. */
static bool gather_parts(struct call *c, PyObject *parts)
{
    struct buf *body = &c->answer.body;
    bool is_list = PyList_CheckExact(parts);

    if (c->answer.state != ANSWER_STARTED)
        return false;
    for (Py_ssize_t i = 0; i < Py_SIZE(parts); i++) {
        py_own PyObject *part =
            is_list ? py_list_item(parts, i) : Py_NewRef(PyTuple_GET_ITEM(parts, i));
        if (part == NULL || !PyBytes_Check(part) ||
            (size_t)PyBytes_GET_SIZE(part) > FRAME_MAX_INLINE_BODY - buf_len(body))
            return false;
        buf_add(body,
                slice_of(PyBytes_AS_STRING(part), (size_t)PyBytes_GET_SIZE(part)));
    }
    return answer_make_whole(&c->answer);
}

static enum err iterate(struct call *c, PyObject *result)
{
    py_own PyObject *iterator = PyObject_GetIter(result);
    enum err e = ERR_NONE;

    if (iterator == NULL)
        return fail(c);
    while (e == ERR_NONE) {
        py_own PyObject *chunk = PyIter_Next(iterator);
        if (chunk == NULL)
            return PyErr_Occurred() ? fail(c) : send_end(c);
        bool was_done = c->answer.state == ANSWER_DONE;
        e = take_chunk(c, chunk, result);
        /* A complete answer: once more, so that a generator runs to its end. */
        if (was_done ||
            (c->answer.state == ANSWER_DONE && answer_is_bodyless(&c->answer)))
            break;
    }
    return e;
}

/* One chunk of the application. An empty one sends nothing, not even the head. */
static enum err take_chunk(struct call *c, PyObject *chunk, PyObject *result)
{
    struct answer *a = &c->answer;

    if (!PyBytes_Check(chunk)) {
        PyErr_Format(PyExc_TypeError,
                     "the application's iterable must give bytes, not %.100s",
                     Py_TYPE(chunk)->tp_name);
        return fail(c);
    }
    struct slice bytes =
        slice_of(PyBytes_AS_STRING(chunk), (size_t)PyBytes_GET_SIZE(chunk));
    if (bytes.len == 0)
        return request_gone(a->request);
    switch (a->state) {
    case ANSWER_NONE:
        PyErr_SetString(PyExc_RuntimeError,
                        "the application gave a body before it called start_response");
        return fail(c);
    case ANSWER_DONE:
        a->is_excess = true;
        return ERR_NONE;
    case ANSWER_STARTED:
        return send_chunk(c, bytes, !a->has_length && is_only_part(result));
    default:
        return send_chunk(c, bytes, false);
    }
}

/* The iterable says that it has one part, so the body's length is known. */
static bool is_only_part(PyObject *result)
{
    const PySequenceMethods *methods = Py_TYPE(result)->tp_as_sequence;

    if (methods == NULL || methods->sq_length == NULL)
        return false;
    Py_ssize_t parts = PyObject_Size(result);
    if (parts < 0)
        failure_drop();
    return parts == 1;
}

static enum err send_chunk(struct call *c, struct slice bytes, bool is_whole)
{
    GIL_YIELD;
    return is_whole && !answer_is_bodyless(&c->answer)
               ? answer_send_whole(&c->answer, bytes)
               : answer_write(&c->answer, bytes);
}

static enum err send_end(struct call *c)
{
    if (c->answer.state == ANSWER_DONE)
        return ERR_NONE;
    if (c->answer.state == ANSWER_NONE) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the application returned without calling start_response");
        return fail(c);
    }
    GIL_YIELD;
    return answer_end(&c->answer);
}

static enum err send_file(struct call *c, const struct plain_file *file)
{
    GIL_YIELD;
    return plain_file_send(file, &c->answer);
}

static void close_result(struct call *c, PyObject *result)
{
    py_own PyObject *close = NULL, *nothing = NULL;
    enum py_found found = py_find_attr(result, name_close, &close);
    char doing[200];

    if (found == PY_MISSING)
        return;
    if (found == PY_FOUND)
        nothing = PyObject_CallNoArgs(close);
    if (nothing != NULL)
        return;
    describe(c, doing, sizeof doing);
    (void)failure_report(request_id(c->answer.request), doing);
}

/* The pending exception ends the answer. */
static enum err fail(struct call *c)
{
    char doing[200];

    describe(c, doing, sizeof doing);
    enum err e = failure_report(request_id(c->answer.request), doing);
    abandon(c, e);
    return e;
}

/* The answer will not be completed, because of the application or of who reads it. */
static void abandon(struct call *c, enum err e)
{
    struct answer *a = &c->answer;
    char doing[200];

    if (e == ERR_RESPONSE_TRUNCATED) {
        describe(c, doing, sizeof doing);
        GIL_YIELD;
        log_error(NULL,
                  "%s: %s: the application gave %llu of the %llu bytes of its "
                  "Content-Length",
                  request_id(a->request), doing, (unsigned long long)a->sent,
                  (unsigned long long)a->length);
    }
    if (a->state != ANSWER_DONE) {
        GIL_YIELD;
        answer_abort(a, e, slice_of("", 0));
    }
}

static void log_excess(const struct call *c)
{
    char doing[200];

    describe(c, doing, sizeof doing);
    GIL_YIELD;
    log_warn(NULL,
             "%s: %s: the application gave more than the %llu bytes of its "
             "Content-Length; the rest was cut",
             request_id(c->answer.request), doing,
             (unsigned long long)c->answer.length);
}

static void describe(const struct call *c, char *ret_text, size_t bytes)
{
    const struct frame_request *f = request_frame(c->answer.request);

    (void)snprintf(ret_text, bytes, "%.*s %.*s",
                   (int)(f->method.len < 32 ? f->method.len : 32), f->method.ptr,
                   (int)(f->target.len < 150 ? f->target.len : 150), f->target.ptr);
}
