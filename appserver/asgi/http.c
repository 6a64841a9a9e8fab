/* SPDX-License-Identifier: MIT
 * HTTP: the messages http.request, http.disconnect, http.response.*.
 *
 * A head, and small pieces of body, are held until the iteration of the loop ends: a
 * body that is whole by then makes one frame with its head, else the pieces do. The
 * functions of the core that are used here never wait, so the GIL is kept: to give it
 * away would cost more than they do. */
#include <Python.h>

#include "appserver/asgi/conn.h"
#include "appserver/asgi/file.h"
#include "appserver/asgi/http.h"
#include "appserver/asgi/message.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"

enum {
    HELD_BYTES = 16 * 1024, /* of body */
    REQUEST_PIECE_BYTES = 128 * 1024,
    STATUS_FIRST = 200,
    STATUS_LAST = 999,
    STATUS_EARLY_HINTS = 103,
};

static enum turn take_body(struct conn *c, PyObject **ret_message);
static PyObject *request_message(struct slice body, bool has_more);
static enum turn begin_job(struct conn *c, struct job *job);
static enum turn send_body(struct conn *c, PyObject *message, struct job *job);
static enum turn send_whole(struct conn *c, struct slice body);
static bool may_send_bytes(struct conn *c, uint64_t bytes, bool has_more);
static enum err push(struct conn *c);
static void fail(struct conn *c, enum err e);
static enum turn end_body(struct conn *c);
static enum turn send_trailers(struct conn *c, PyObject *message);
static enum turn send_hints(struct conn *c, PyObject *message);
static enum turn send_path(struct conn *c, PyObject *message, struct job *job);
static enum turn send_small_file(struct conn *c, struct job *job);
static enum turn read_file(struct conn *c, struct job *job);

/* ---- receive ---- */

static PyObject *http_farewell(const struct conn *c)
{
    (void)c;
    py_own PyObject *message = PyDict_New();
    if (message == NULL || PyDict_SetItem(message, name_type, name_http_disconnect) < 0)
        return NULL;
    return py_take(message);
}

static enum turn http_receive(struct conn *c, PyObject **ret_message)
{
    if (c->request != NULL && c->gone == ERR_NONE) {
        if (!c->is_body_given)
            return take_body(c, ret_message);
        if (request_gone(c->request) == ERR_NONE)
            return TURN_WAIT;
    }
    *ret_message = http_farewell(c);
    return *ret_message == NULL ? TURN_BAD : TURN_DONE;
}

static enum turn take_body(struct conn *c, PyObject **ret_message)
{
    const struct frame_request *f = request_frame(c->request);
    struct slice data = slice_of("", 0);
    enum err e = ERR_NONE;

    if (f->body_form == BODY_NONE || f->body_form == BODY_INLINE) {
        c->is_body_given = true;
        if (f->body_form == BODY_INLINE)
            data = f->body;
    } else {
        switch (request_take(c->request, REQUEST_PIECE_BYTES, &data, &e)) {
        case TAKE_WAIT:
            /* A body that is asked for only now (100 Continue). */
            server_flush_soon(c->server);
            return TURN_WAIT;
        case TAKE_DATA:
            c->body_given += data.len;
            c->is_body_given =
                f->body_form == BODY_LENGTH && c->body_given >= f->body_length;
            /* The window that goes back. */
            server_flush_soon(c->server);
            break;
        case TAKE_END:
            c->is_body_given = true;
            data = slice_of("", 0);
            break;
        case TAKE_GONE:
            c->gone = e;
            *ret_message = http_farewell(c);
            return *ret_message == NULL ? TURN_BAD : TURN_DONE;
        }
    }
    *ret_message = request_message(data, !c->is_body_given);
    return *ret_message == NULL ? TURN_BAD : TURN_DONE;
}

static PyObject *request_message(struct slice body, bool has_more)
{
    py_own PyObject *message =
        message_new(name_http_request, name_body,
                    PyBytes_FromStringAndSize(body.len == 0 ? NULL : body.ptr,
                                              (Py_ssize_t)body.len));

    if (message == NULL ||
        PyDict_SetItem(message, name_more_body, has_more ? Py_True : Py_False) < 0)
        return NULL;
    return py_take(message);
}

/* ---- send ---- */

static enum turn http_send(struct conn *c, struct job *job)
{
    switch (job->stage) {
    case JOB_NEW:
        return begin_job(c, job);
    case JOB_BODY:
        return http_go_on(c, job);
    case JOB_FILED:
        if (c->gone != ERR_NONE)
            return conn_lost(c, c->gone);
        if (!c->is_filed)
            return TURN_WAIT;
        if (!request_file_taken(c->request))
            return read_file(c, job);
        c->answer.state = ANSWER_DONE;
        c->is_body_sent = true;
        conn_complete(c);
        return TURN_DONE;
    case JOB_FILE:
        return read_file(c, job);
    }
    return TURN_DONE;
}

static enum turn begin_job(struct conn *c, struct job *job)
{
    PyObject *const message = job->message;
    enum message_type type;

    if (c->gone == ERR_NONE && c->request != NULL)
        c->gone = request_gone(c->request);
    if (c->gone != ERR_NONE)
        return conn_lost(c, c->gone);
    if (!message_type(message, &type))
        return TURN_BAD;
    switch (type) {
    case MESSAGE_HTTP_START:
        return http_send_start(c, message);
    case MESSAGE_HTTP_BODY:
        return http_send_body(c, message, job);
    case MESSAGE_HTTP_PATHSEND:
        return send_path(c, message, job);
    case MESSAGE_HTTP_TRAILERS:
        return send_trailers(c, message);
    case MESSAGE_HTTP_EARLY_HINT:
        return send_hints(c, message);
    default:
        message_refuse(message, "in an answer to an HTTP request");
        return TURN_BAD;
    }
}

enum turn http_send_start(struct conn *c, PyObject *message)
{
    struct answer *a = &c->answer;
    long status;

    if (a->state != ANSWER_NONE) {
        message_refuse(message, "after the response has started");
        return TURN_BAD;
    }
    if (!message_number(message, name_status, STATUS_FIRST, STATUS_LAST, 0, &status) ||
        !message_flag(message, name_trailers, &c->has_trailers))
        return TURN_BAD;
    if (status == 0) {
        PyErr_SetString(PyExc_ValueError, "http.response.start has no 'status'");
        return TURN_BAD;
    }
    answer_start(a, (uint16_t)status, slice_of("", 0));
    a->has_trailers = c->has_trailers;
    if (!message_headers(message, a))
        return TURN_BAD;
    answer_started(a);
    list_push_back(&c->server->held, &c->held);
    server_flush_soon(c->server);
    return TURN_DONE;
}

enum turn http_send_body(struct conn *c, PyObject *message, struct job *job)
{
    if (c->answer.state == ANSWER_NONE) {
        message_refuse(message, "before http.response.start");
        return TURN_BAD;
    }
    if (c->is_body_sent) {
        message_refuse(message, "after the response is complete");
        return TURN_BAD;
    }
    return send_body(c, message, job);
}

static enum turn send_body(struct conn *c, PyObject *message, struct job *job)
{
    struct answer *a = &c->answer;
    py_own PyObject *body = NULL;
    bool has_more;

    if (!message_flag(message, name_more_body, &has_more) ||
        !message_bytes(message, name_body, &body))
        return TURN_BAD;
    struct slice bytes =
        slice_of(PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
    bool is_bodyless = answer_is_bodyless(a);
    if (!is_bodyless && !may_send_bytes(c, bytes.len, has_more))
        return TURN_BAD;
    node_leave(&c->held);
    server_flush_soon(c->server);
    if (is_bodyless) {
        if (a->state == ANSWER_STARTED && !has_more && !a->has_length && a->is_head)
            answer_set_length(a, bytes.len);
        bytes.len = 0;
    }
    a->sent += bytes.len;
    size_t held = buf_len(&a->body);
    if (a->state == ANSWER_STARTED && !has_more && !c->has_trailers &&
        held + bytes.len <= request_inline_max(c->request)) {
        if (held > 0) {
            buf_add(&a->body, bytes);
            bytes = buf_slice(&a->body);
        }
        return send_whole(c, bytes);
    }
    if (has_more && !c->is_backed && held + bytes.len <= HELD_BYTES) {
        buf_add(&a->body, bytes);
        list_push_back(&c->server->held, &c->held);
        return TURN_DONE;
    }
    job->has_more = has_more;
    job->rest = bytes;
    job->keep = bytes.len == 0 ? NULL : py_take(body);
    return http_go_on(c, job);
}

static enum turn send_whole(struct conn *c, struct slice body)
{
    enum err e = answer_send_whole(&c->answer, body);

    if (e != ERR_NONE)
        return conn_lost(c, e);
    c->is_body_sent = true;
    conn_complete(c);
    return TURN_DONE;
}

/* The application's Content-Length holds: more is refused, and nothing of it is sent;
 * less cuts the answer off. False: an exception is set. */
static bool may_send_bytes(struct conn *c, uint64_t bytes, bool has_more)
{
    struct answer *a = &c->answer;

    if (!a->has_length)
        return true;
    if (bytes > a->length - a->sent) {
        PyErr_Format(PyExc_RuntimeError,
                     "the body is longer than its Content-Length of %llu bytes",
                     (unsigned long long)a->length);
        return false;
    }
    if (has_more || bytes == a->length - a->sent)
        return true;
    PyErr_Format(PyExc_RuntimeError,
                 "the body is shorter than its Content-Length: %llu of %llu bytes",
                 (unsigned long long)(a->sent + bytes), (unsigned long long)a->length);
    fail(c, ERR_RESPONSE_TRUNCATED);
    c->is_body_sent = true;
    return false;
}

/* Sends what there is room for, and the end behind it. */
enum turn http_go_on(struct conn *c, struct job *job)
{
    enum err e = c->gone == ERR_NONE ? push(c) : c->gone;

    if (e == ERR_NONE && !c->is_backed && job->rest.len > 0)
        e = request_put(c->request, &job->rest);
    server_flush_soon(c->server);
    if (e != ERR_NONE)
        return conn_lost(c, e);
    job->stage = JOB_BODY;
    if (c->is_backed || job->rest.len > 0)
        return TURN_WAIT;
    if (job->file != NULL)
        return read_file(c, job);
    return job->has_more ? TURN_DONE : end_body(c);
}

/* Sends what is held: the head, and pieces of body as far as there is room. */
static enum err push(struct conn *c)
{
    struct answer *a = &c->answer;
    struct slice rest = buf_slice(&a->body);
    enum err e = ERR_NONE;

    node_leave(&c->held);
    if (a->state == ANSWER_STARTED)
        e = answer_send_head(a);
    if (e == ERR_NONE && a->state == ANSWER_HEAD && rest.len > 0) {
        e = request_put(c->request, &rest);
        buf_consume(&a->body, buf_len(&a->body) - rest.len);
    }
    c->is_backed = rest.len > 0;
    return e;
}

static enum turn end_body(struct conn *c)
{
    c->is_body_sent = true;
    if (c->has_trailers)
        return TURN_DONE;
    c->answer.state = ANSWER_DONE;
    enum err e = request_end(c->request);
    if (e != ERR_NONE)
        return conn_lost(c, e);
    conn_complete(c);
    return TURN_DONE;
}

/* ---- what is beside the body ---- */

static enum turn send_trailers(struct conn *c, PyObject *message)
{
    struct answer *a = &c->answer;
    bool has_more;

    if (!c->has_trailers || !c->is_body_sent || c->request == NULL) {
        message_refuse(message, c->has_trailers
                                    ? "before the body is complete, or a second time"
                                    : "without 'trailers' in http.response.start");
        return TURN_BAD;
    }
    if (!message_flag(message, name_more_trailers, &has_more))
        return TURN_BAD;
    if (!c->is_trailing) {
        answer_begin_fields(a);
        c->is_trailing = true;
    }
    if (!message_headers(message, a))
        return TURN_BAD;
    if (has_more)
        return TURN_DONE;
    bool is_empty = a->writer.count == 0;
    header_end(&a->writer);
    a->state = ANSWER_DONE;
    server_flush_soon(c->server);
    enum err e = request_end_with(c->request,
                                  is_empty ? slice_of("", 0) : buf_slice(&a->headers));
    if (e != ERR_NONE)
        return conn_lost(c, e);
    conn_complete(c);
    return TURN_DONE;
}

static enum turn send_hints(struct conn *c, PyObject *message)
{
    struct answer hints;
    enum err e = ERR_NONE;

    if (c->answer.state != ANSWER_NONE) {
        message_refuse(message, "after the response has started");
        return TURN_BAD;
    }
    answer_init(&hints);
    answer_begin(&hints, c->request);
    answer_start(&hints, STATUS_EARLY_HINTS, slice_of("", 0));
    bool good = message_links(message, &hints);
    if (good) {
        header_end(&hints.writer);
        if (request_takes_inform(c->request))
            e = request_inform(c->request, STATUS_EARLY_HINTS,
                               buf_slice(&hints.headers));
        server_flush_soon(c->server);
    }
    answer_fini(&hints);
    if (e != ERR_NONE)
        return conn_lost(c, e);
    return good ? TURN_DONE : TURN_BAD;
}

/* ---- files ---- */

static enum turn send_path(struct conn *c, PyObject *message, struct job *job)
{
    struct answer *a = &c->answer;
    py_own PyObject *path = NULL;
    struct frame_file frame;
    char place[4096];
    bool is_asked = false;

    if (a->state != ANSWER_STARTED && a->state != ANSWER_HEAD) {
        message_refuse(message, "where no body is expected");
        return TURN_BAD;
    }
    if (c->is_body_sent || a->sent > 0) {
        message_refuse(message, "after a part of the body");
        return TURN_BAD;
    }
    if (message_get(message, name_path, &path) != PY_FOUND) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "http.response.pathsend has no 'path'");
        return TURN_BAD;
    }
    job->file = file_open(path);
    if (job->file == NULL)
        return TURN_BAD;
    uint64_t length = file_length(job->file);
    if (!a->has_length && a->state == ANSWER_STARTED)
        answer_set_length(a, length);
    if (!answer_is_bodyless(a) && !may_send_bytes(c, length, false))
        return TURN_BAD;
    node_leave(&c->held);
    server_flush_soon(c->server);
    job->has_more = false;
    job->rest = slice_of("", 0);
    if (answer_is_bodyless(a) || length == 0)
        Py_CLEAR(job->file);
    if (a->state == ANSWER_STARTED && !c->has_trailers &&
        (job->file == NULL || length <= request_inline_max(c->request)))
        return send_small_file(c, job);
    enum err e = push(c);
    if (e != ERR_NONE)
        return conn_lost(c, e);
    if (job->file == NULL)
        return end_body(c);
    if (!c->has_trailers && file_frame(job->file, place, sizeof place, &frame)) {
        e = request_put_file(c->request, &frame, &is_asked);
        if (e != ERR_NONE)
            return conn_lost(c, e);
    }
    if (is_asked) {
        job->stage = JOB_FILED;
        return TURN_WAIT;
    }
    return read_file(c, job);
}

/* Fits into the frame of the head; it is read here and now. */
static enum turn send_small_file(struct conn *c, struct job *job)
{
    struct answer *a = &c->answer;
    py_own PyObject *bytes =
        job->file == NULL ? PyBytes_FromStringAndSize(NULL, 0) : file_read(job->file);

    if (bytes == NULL)
        return TURN_BAD;
    Py_CLEAR(job->file);
    if (!answer_is_bodyless(a) &&
        !may_send_bytes(c, (uint64_t)PyBytes_GET_SIZE(bytes), false))
        return TURN_BAD; /* it shrank since it was opened */
    return send_whole(
        c, slice_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)));
}

/* JOB_FILE: the future is done, or there is none yet. */
static enum turn read_file(struct conn *c, struct job *job)
{
    struct answer *a = &c->answer;
    py_own PyObject *future = NULL;

    if (c->gone != ERR_NONE)
        return conn_lost(c, c->gone);
    if (job->future != NULL) {
        py_own PyObject *is_done = PyObject_CallMethodNoArgs(job->future, name_done);
        if (is_done != Py_True)
            return is_done == NULL ? TURN_BAD : TURN_WAIT;
        future = take(job->future);
    }
    if (future == NULL && !file_is_at_end(job->file)) {
        job->future = file_read_later(job->file, c->server->loop);
        job->stage = JOB_FILE;
        return job->future == NULL ? TURN_BAD : TURN_WAIT;
    }
    if (future == NULL) {
        Py_CLEAR(job->file);
        return end_body(c);
    }
    py_own PyObject *piece = PyObject_CallMethodNoArgs(future, name_result);
    if (piece == NULL)
        return TURN_BAD;
    job->rest = slice_of(PyBytes_AS_STRING(piece), (size_t)PyBytes_GET_SIZE(piece));
    if (job->rest.len == 0) {
        PyErr_SetString(PyExc_OSError, "the file has become shorter");
        return TURN_BAD;
    }
    a->sent += job->rest.len;
    py_replace(&job->keep, py_take(piece));
    return http_go_on(c, job);
}

void http_push(struct conn *c)
{
    node_leave(&c->held);
    if (c->request != NULL && c->gone == ERR_NONE && c->answer.state != ANSWER_DONE)
        c->gone = push(c);
}

/* ---- the end ---- */

/* What the application sent of its body is sent before it is cut off. */
static void fail(struct conn *c, enum err e)
{
    if (c->gone == ERR_NONE && buf_len(&c->answer.body) > 0)
        http_push(c);
    answer_abort(&c->answer, e, slice_of("", 0));
}

static void http_send_dropped(struct conn *c)
{
    if (c->request == NULL)
        return;
    fail(c, ERR_APP_FAILED);
    c->is_body_sent = true;
    server_flush_soon(c->server);
}

static void http_returned(struct conn *c)
{
    if (c->request == NULL || c->answer.state == ANSWER_DONE)
        return;
    if (c->gone == ERR_NONE)
        conn_complain(c, c->answer.state == ANSWER_NONE
                             ? "the application returned without a response"
                             : "the application returned before its response was "
                               "complete");
    fail(c, ERR_APP_FAILED);
}

static void http_raised(struct conn *c, enum err e)
{
    if (c->request != NULL)
        fail(c, e);
}

const struct conn_kind http_kind = {
    .receive = http_receive,
    .send = http_send,
    .send_dropped = http_send_dropped,
    .returned = http_returned,
    .raised = http_raised,
    .farewell = http_farewell,
};
