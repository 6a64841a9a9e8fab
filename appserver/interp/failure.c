/* SPDX-License-Identifier: MIT
 * Formats exceptions by Python's own `traceback` module, so that chained exceptions,
 * notes and groups look as users know them. */
#include <Python.h>

#include "appserver/interp/failure.h"

#include <stdio.h>
#include <unistd.h>

#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"
#include "protocol/base/buf.h"
#include "protocol/base/log.h"

PyObject *failure_request_timeout;
PyObject *failure_client_gone;

static PyObject *traceback_module;

static bool format_exception(PyObject *exception, struct buf *to);
static bool add_lines(PyObject *lines, struct buf *to);
static void add_name(PyObject *exception, struct buf *to);
static void write_log(enum log_level level, const char *request_id, struct slice text);

bool failure_init(void)
{
    if (failure_client_gone != NULL)
        return true;
    py_own PyObject *package = PyImport_ImportModule("banyan");
    if (package == NULL)
        return false;
    py_own PyObject *traceback = PyImport_ImportModule("traceback");
    py_own PyObject *timeout = PyObject_GetAttrString(package, "RequestTimeout");
    if (traceback == NULL || timeout == NULL)
        return false;
    failure_client_gone = PyObject_GetAttrString(package, "ClientDisconnected");
    if (failure_client_gone == NULL)
        return false;
    traceback_module = py_take(traceback);
    failure_request_timeout = py_take(timeout);
    return true;
}

enum err failure_report(const char *request_id, const char *doing)
{
    py_own PyObject *exception = py_raised();
    enum log_level level = LOG_ERROR;
    enum err e = ERR_APP_FAILED;
    struct buf text;

    ASSERT(exception != NULL);
    buf_init(&text, 0);
    if (PyObject_TypeCheck(exception, (PyTypeObject *)failure_client_gone)) {
        level = LOG_INFO;
        e = ERR_CLIENT_GONE;
        buf_addf(&text, "%s: %s", doing, err_text(e));
    } else {
        if (PyObject_TypeCheck(exception, (PyTypeObject *)failure_request_timeout))
            e = ERR_REQUEST_TIMEOUT;
        buf_addf(&text, "%s: the application failed\n", doing);
        if (!format_exception(exception, &text))
            add_name(exception, &text);
    }
    write_log(level, request_id, buf_slice(&text));
    buf_fini(&text);
    return e;
}

void failure_print(void)
{
    py_own PyObject *exception = py_raised();
    struct buf text;

    ASSERT(exception != NULL);
    buf_init(&text, 0);
    if (!format_exception(exception, &text))
        add_name(exception, &text);
    (void)fflush(stderr);
    while (buf_len(&text) > 0) {
        ssize_t n = write(STDERR_FILENO, buf_slice(&text).ptr, buf_len(&text));
        if (n <= 0)
            break;
        buf_consume(&text, (size_t)n);
    }
    buf_fini(&text);
}

void failure_drop(void)
{
    PyErr_Clear();
}

void failure_log_stack(const char *request_id, unsigned long thread)
{
    py_own PyObject *sys = PyImport_ImportModule("sys");
    py_own PyObject *frames =
        sys == NULL ? NULL : PyObject_CallMethod(sys, "_current_frames", NULL);
    py_own PyObject *key = PyLong_FromUnsignedLong(thread);
    struct buf text;

    buf_init(&text, 0);
    buf_addf(&text, "where it is (innermost last):\n");
    if (frames != NULL && key != NULL) {
        py_own PyObject *frame = PyObject_GetItem(frames, key);
        py_own PyObject *lines =
            frame == NULL
                ? NULL
                : PyObject_CallMethod(traceback_module, "format_stack", "O", frame);
        if (lines != NULL && add_lines(lines, &text))
            write_log(LOG_WARN, request_id, buf_slice(&text));
    }
    PyErr_Clear();
    buf_fini(&text);
}

/* False: formatting failed by itself (out of memory, an exception in __str__); nothing
 * was added. */
static bool format_exception(PyObject *exception, struct buf *to)
{
    py_own PyObject *lines =
        traceback_module == NULL
            ? NULL
            : PyObject_CallMethod(traceback_module, "format_exception", "O", exception);
    if (lines != NULL && add_lines(lines, to))
        return true;
    PyErr_Clear();
    return false;
}

static bool add_lines(PyObject *lines, struct buf *to)
{
    py_own PyObject *empty = PyUnicode_FromStringAndSize("", 0);
    py_own PyObject *text = empty == NULL ? NULL : PyUnicode_Join(empty, lines);
    py_own PyObject *bytes =
        text == NULL ? NULL
                     : PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (bytes == NULL)
        return false;
    buf_add(to, slice_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)));
    return true;
}

static void add_name(PyObject *exception, struct buf *to)
{
    buf_addf(to, "%s (it could not be formatted)\n", Py_TYPE(exception)->tp_name);
}

static void write_log(enum log_level level, const char *request_id, struct slice text)
{
    struct log_ctx ctx = {0};

    if (request_id != NULL)
        (void)snprintf(ctx.prefix, sizeof ctx.prefix, "%.47s", request_id);
    GIL_YIELD;
    log_text(level, request_id == NULL ? NULL : &ctx, text);
}
