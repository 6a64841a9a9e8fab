/* SPDX-License-Identifier: MIT
 * WebSocket: the messages websocket.*. The edge has checked frames, UTF-8, sizes and
 * close codes of what comes; of what goes, this file.
 *
 *   NEW -> CONNECTED -> OPEN -> CLOSED
 *    |         |----------------> CLOSED (403, or websocket.http.response.*)
 *
 * The functions of the core that are used here never wait, so the GIL is kept. */
#include <Python.h>

#include "appserver/asgi/conn.h"
#include "appserver/asgi/http.h"
#include "appserver/asgi/message.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "appserver/interp/text.h"
#include "protocol/header_names.h"

enum {
    STATUS_FORBIDDEN = 403,
    CODE_NORMAL = 1000,
    CODE_NONE = 1005,     /* the peer closed without one */
    CODE_ABNORMAL = 1006, /* it vanished */
    CODE_FAILED = 1011,
    CODE_RESTART = 1012,
    REASON_BYTES = 123, /* RFC 6455 section 5.5 */
};

static enum turn take_piece(struct conn *c, PyObject **ret_message);
static PyObject *whole_message(struct conn *c, const struct ws_piece *last);
static PyObject *disconnect_message(uint16_t code, PyObject *reason);
static enum turn begin_job(struct conn *c, struct job *job);
static enum turn accept(struct conn *c, PyObject *message);
static bool is_subprotocol(struct slice s);
static enum turn send_message(struct conn *c, PyObject *message, struct job *job);
static enum turn put_message(struct conn *c, struct job *job);
static enum turn close_by_app(struct conn *c, PyObject *message);
static enum turn refuse(struct conn *c);
static bool
pick_reason(PyObject *message, PyObject **ret_reason, struct slice *ret_text);
static void be_closed(struct conn *c, uint16_t code, PyObject *reason);

static bool is_before_accept(const struct conn *c)
{
    return c->state == WS_STATE_NEW || c->state == WS_STATE_CONNECTED;
}

/* ---- receive ---- */

static PyObject *websocket_farewell(const struct conn *c)
{
    return c == NULL || c->code == 0 ? disconnect_message(CODE_ABNORMAL, NULL)
                                     : disconnect_message(c->code, c->reason);
}

static PyObject *disconnect_message(uint16_t code, PyObject *reason)
{
    py_own PyObject *message =
        message_new(name_websocket_disconnect, name_code, PyLong_FromLong(code));

    if (message == NULL ||
        PyDict_SetItem(message, name_reason, reason == NULL ? name_empty : reason) < 0)
        return NULL;
    return py_take(message);
}

static enum turn websocket_receive(struct conn *c, PyObject **ret_message)
{
    if (c->state == WS_STATE_NEW) {
        c->state = WS_STATE_CONNECTED;
        *ret_message = PyDict_New();
        if (*ret_message != NULL &&
            PyDict_SetItem(*ret_message, name_type, name_websocket_connect) == 0)
            return TURN_DONE;
        Py_CLEAR(*ret_message);
        return TURN_BAD;
    }
    if (c->state == WS_STATE_OPEN)
        return take_piece(c, ret_message);
    if (c->state != WS_STATE_CLOSED && c->request != NULL) {
        if (c->gone == ERR_NONE && request_gone(c->request) == ERR_NONE)
            return TURN_WAIT;
        be_closed(c, CODE_ABNORMAL, NULL);
    }
    *ret_message = websocket_farewell(c);
    return *ret_message == NULL ? TURN_BAD : TURN_DONE;
}

/* The client's next message, put together from its pieces. */
static enum turn take_piece(struct conn *c, PyObject **ret_message)
{
    struct ws_piece piece;
    enum err e = ERR_NONE;

    for (;;) {
        enum take take = request_ws_take(c->request, &piece, &e);
        server_flush_soon(c->server); /* the window that goes back */
        if (take == TAKE_WAIT)
            return TURN_WAIT;
        if (take != TAKE_DATA) {
            c->gone = take == TAKE_GONE ? e : c->gone;
            be_closed(c, CODE_ABNORMAL, NULL);
            break;
        }
        if (piece.op == WS_CLOSE) {
            py_own PyObject *reason = PyUnicode_DecodeUTF8(
                piece.data.ptr, (Py_ssize_t)piece.data.len, "replace");
            if (reason == NULL)
                return TURN_BAD;
            be_closed(c, piece.code == 0 ? CODE_NONE : piece.code, reason);
            c->is_closed_by_peer = true;
            conn_complete(c); /* the close is taken: the core ends the stream */
            break;
        }
        if (!piece.fin) {
            c->is_text = piece.op == WS_TEXT;
            buf_add(&c->incoming, piece.data);
            continue;
        }
        *ret_message = whole_message(c, &piece);
        return *ret_message == NULL ? TURN_BAD : TURN_DONE;
    }
    *ret_message = websocket_farewell(c);
    return *ret_message == NULL ? TURN_BAD : TURN_DONE;
}

static PyObject *whole_message(struct conn *c, const struct ws_piece *last)
{
    struct slice all = last->data;

    if (buf_len(&c->incoming) > 0) {
        buf_add(&c->incoming, last->data);
        all = buf_slice(&c->incoming);
    }
    PyObject *data = last->op == WS_TEXT
                         ? PyUnicode_DecodeUTF8(all.ptr, (Py_ssize_t)all.len, "replace")
                         : PyBytes_FromStringAndSize(all.ptr, (Py_ssize_t)all.len);
    buf_fini(&c->incoming); /* an idle WebSocket holds no memory */
    return message_new(name_websocket_receive,
                       last->op == WS_TEXT ? name_text : name_bytes, data);
}

/* ---- send ---- */

static enum turn websocket_send(struct conn *c, struct job *job)
{
    if (job->stage == JOB_NEW)
        return begin_job(c, job);
    if (c->state == WS_STATE_REFUSING)
        return http_go_on(c, job);
    if (c->gone != ERR_NONE || c->state != WS_STATE_OPEN) {
        job->rest = slice_of("", 0);
        return conn_lost(c, c->gone == ERR_NONE ? ERR_CLIENT_GONE : c->gone);
    }
    return put_message(c, job);
}

static enum turn put_message(struct conn *c, struct job *job)
{
    bool is_done = false;
    enum err e = request_ws_put(c->request, job->op, &job->rest, &is_done);

    if (e != ERR_NONE)
        return conn_lost(c, e);
    server_flush_soon(c->server);
    return is_done ? TURN_DONE : TURN_WAIT;
}

static enum turn begin_job(struct conn *c, struct job *job)
{
    PyObject *const message = job->message;
    enum message_type type;

    if (!message_type(message, &type))
        return TURN_BAD;
    if (c->gone == ERR_NONE && c->request != NULL)
        c->gone = request_gone(c->request);
    if (c->gone != ERR_NONE)
        return conn_lost(c, c->gone);
    if (c->state == WS_STATE_CLOSED && c->is_closed_by_peer)
        return conn_lost(c, ERR_CLIENT_GONE);
    switch (type) {
    case MESSAGE_WS_SEND:
        if (c->state == WS_STATE_OPEN)
            return send_message(c, message, job);
        break;
    case MESSAGE_WS_ACCEPT:
        if (is_before_accept(c))
            return accept(c, message);
        break;
    case MESSAGE_WS_CLOSE:
        if (c->state == WS_STATE_OPEN)
            return close_by_app(c, message);
        if (is_before_accept(c))
            return refuse(c);
        break;
    case MESSAGE_WS_HTTP_START:
        if (is_before_accept(c)) {
            enum turn turn = http_send_start(c, message);
            if (turn == TURN_DONE)
                c->state = WS_STATE_REFUSING;
            return turn;
        }
        break;
    case MESSAGE_WS_HTTP_BODY:
        if (c->state == WS_STATE_REFUSING && !c->is_body_sent)
            return http_send_body(c, message, job);
        break;
    default:
        message_refuse(message, "on a WebSocket");
        return TURN_BAD;
    }
    message_refuse(message, is_before_accept(c)         ? "before websocket.accept"
                            : c->state == WS_STATE_OPEN ? "after websocket.accept"
                            : c->state == WS_STATE_REFUSING
                                ? "after websocket.http.response.start"
                                : "after websocket.close");
    return TURN_BAD;
}

static enum turn accept(struct conn *c, PyObject *message)
{
    struct answer *a = &c->answer;
    py_own PyObject *subprotocol = NULL;
    struct slice chosen = slice_of("", 0);

    enum py_found found = message_get(message, name_subprotocol, &subprotocol);
    if (found == PY_ERROR)
        return TURN_BAD;
    if (found == PY_FOUND &&
        (!PyUnicode_Check(subprotocol) || !text_latin1(subprotocol, &chosen) ||
         !is_subprotocol(chosen))) {
        PyErr_Format(PyExc_ValueError, "%R is no subprotocol", subprotocol);
        return TURN_BAD;
    }
    answer_start(a, 101, slice_of("", 0));
    if (!message_headers(message, a))
        return TURN_BAD;
    header_end(&a->writer);
    enum err e = request_ws_accept(c->request, chosen, buf_slice(&a->headers));
    if (e != ERR_NONE)
        return conn_lost(c, e);
    answer_fini(a); /* an idle WebSocket holds no memory */
    a->state = ANSWER_DONE;
    c->state = WS_STATE_OPEN;
    operation_wake(&c->receivers); /* who waited for the client to leave */
    server_flush_soon(c->server);
    return TURN_DONE;
}

/* A token (RFC 6455 section 4.1), as in a field's value. */
static bool is_subprotocol(struct slice s)
{
    return s.len <= 256 && text_is_ascii(s) && !text_has_control(s) &&
           memchr(s.ptr, ',', s.len) == NULL && memchr(s.ptr, ' ', s.len) == NULL;
}

static enum turn send_message(struct conn *c, PyObject *message, struct job *job)
{
    py_own PyObject *data = NULL;
    Py_ssize_t length;
    enum py_found found = message_get(message, name_bytes, &data);

    if (found == PY_ERROR)
        return TURN_BAD;
    if (found == PY_FOUND) {
        Py_CLEAR(data);
        if (!message_bytes(message, name_bytes, &data))
            return TURN_BAD;
        job->op = WS_BINARY;
        job->rest = slice_of(PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    } else {
        found = message_get(message, name_text, &data);
        if (found == PY_ERROR)
            return TURN_BAD;
        if (found == PY_MISSING || !PyUnicode_Check(data)) {
            PyErr_SetString(PyExc_TypeError,
                            "websocket.send needs 'text' (str) or 'bytes'");
            return TURN_BAD;
        }
        const char *utf8 = PyUnicode_AsUTF8AndSize(data, &length);
        if (utf8 == NULL)
            return TURN_BAD;
        job->op = WS_TEXT;
        job->rest = slice_of(utf8, (size_t)length);
    }
    job->stage = JOB_BODY;
    job->keep = py_take(data);
    return put_message(c, job);
}

/* ---- closing ---- */

static bool is_code(long code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static enum turn close_by_app(struct conn *c, PyObject *message)
{
    py_own PyObject *reason = NULL;
    struct slice text;
    long code;

    if (!message_number(message, name_code, 0, 4999, CODE_NORMAL, &code) ||
        !pick_reason(message, &reason, &text))
        return TURN_BAD;
    if (!is_code(code)) {
        PyErr_Format(PyExc_ValueError,
                     "%ld is no code that an application may close with", code);
        return TURN_BAD;
    }
    enum err e = request_ws_close(c->request, (uint16_t)code, text);
    if (e != ERR_NONE)
        return conn_lost(c, e);
    be_closed(c, (uint16_t)code, reason);
    conn_complete(c);
    server_flush_soon(c->server);
    return TURN_DONE;
}

/* New reference, and its UTF-8; missing: empty. False: an exception is set. */
static bool
pick_reason(PyObject *message, PyObject **ret_reason, struct slice *ret_text)
{
    Py_ssize_t length;
    enum py_found found = message_get(message, name_reason, ret_reason);

    *ret_text = slice_of("", 0);
    if (found != PY_FOUND)
        return found == PY_MISSING;
    const char *utf8 = PyUnicode_Check(*ret_reason)
                           ? PyUnicode_AsUTF8AndSize(*ret_reason, &length)
                           : NULL;
    if (utf8 != NULL && length <= REASON_BYTES) {
        *ret_text = slice_of(utf8, (size_t)length);
        return true;
    }
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError,
                     "'reason' must be a str of at most %d bytes in UTF-8",
                     REASON_BYTES);
    return false;
}

/* websocket.close before websocket.accept. */
static enum turn refuse(struct conn *c)
{
    struct answer *a = &c->answer;

    answer_start(a, STATUS_FORBIDDEN, slice_of("", 0));
    answer_started(a);
    enum err e = answer_send_whole(a, slice_of("", 0));
    if (e != ERR_NONE)
        return conn_lost(c, e);
    be_closed(c, CODE_ABNORMAL, NULL);
    conn_complete(c);
    server_flush_soon(c->server);
    return TURN_DONE;
}

/* `reason` is borrowed and may be NULL. */
static void be_closed(struct conn *c, uint16_t code, PyObject *reason)
{
    c->state = WS_STATE_CLOSED;
    c->code = code;
    py_replace(&c->reason, Py_XNewRef(reason));
    buf_fini(&c->incoming);
}

static void close_with(struct conn *c, uint16_t code, struct slice reason)
{
    if (c->is_cut || request_ws_close(c->request, code, reason) != ERR_NONE)
        request_abort(c->request, ERR_APP_FAILED, slice_of("", 0));
    py_own PyObject *text = text_new(reason);
    be_closed(c, code, text);
    conn_complete(c);
    server_flush_soon(c->server);
}

/* The process ends: clients come back to another one. */
static void websocket_dismissed(struct conn *c)
{
    if (c->state != WS_STATE_OPEN)
        return; /* a handshake, which is quick, or an answer */
    c->is_closed_by_peer = true;
    if (c->is_sending)
        c->is_cut = true;
    close_with(c, CODE_RESTART, SLICE("service restart"));
}

static void websocket_send_dropped(struct conn *c)
{
    if (c->request == NULL)
        return;
    if (c->state == WS_STATE_REFUSING) {
        http_kind.send_dropped(c);
        return;
    }
    c->is_cut = true;
}

static void websocket_returned(struct conn *c)
{
    if (c->request == NULL || c->gone != ERR_NONE)
        return;
    if (c->state == WS_STATE_OPEN) {
        close_with(c, CODE_NORMAL, slice_of("", 0));
    } else if (c->state == WS_STATE_REFUSING) {
        http_kind.returned(c);
    } else if (c->state != WS_STATE_CLOSED) {
        conn_complain(c, "the application returned without accepting or refusing");
        answer_abort(&c->answer, ERR_APP_FAILED, slice_of("", 0));
    }
}

static void websocket_raised(struct conn *c, enum err e)
{
    if (c->request == NULL || c->gone != ERR_NONE)
        return;
    if (c->state == WS_STATE_OPEN)
        close_with(c, e == ERR_SHUTTING_DOWN ? CODE_RESTART : CODE_FAILED,
                   slice_of("", 0));
    else if (c->state != WS_STATE_CLOSED)
        http_kind.raised(c, e);
}

const struct conn_kind websocket_kind = {
    .receive = websocket_receive,
    .send = websocket_send,
    .send_dropped = websocket_send_dropped,
    .returned = websocket_returned,
    .raised = websocket_raised,
    .dismissed = websocket_dismissed,
    .farewell = websocket_farewell,
};
