/* SPDX-License-Identifier: MIT
 * Text that the application writes to wsgi.errors becomes log lines. Pieces are joined
 * until their newline, per thread. */
#include <Python.h>

#include "appserver/wsgi/errors.h"

#include <stdbool.h>
#include <stdio.h>

#include "appserver/interp/current.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"
#include "protocol/base/log.h"

enum { ERRORS_LINE_BYTES = 8 * 1024 }; /* an unfinished line is not gathered further */

static bool add_text(PyObject *text);
static void log_lines(struct slice lines);

void errors_flush_current(void)
{
    if (buf_len(&current.line) == 0)
        return;
    log_lines(buf_slice(&current.line));
    buf_clear(&current.line);
}

static PyObject *errors_write(PyObject *self, PyObject *text)
{
    (void)self;
    if (!add_text(text))
        return NULL;
    return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *errors_writelines(PyObject *self, PyObject *lines)
{
    (void)self;
    py_own PyObject *iterator = PyObject_GetIter(lines);
    if (iterator == NULL)
        return NULL;
    for (;;) {
        py_own PyObject *line = PyIter_Next(iterator);
        if (line == NULL)
            break;
        if (!add_text(line))
            return NULL;
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *errors_flush(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    errors_flush_current();
    return Py_NewRef(Py_None);
}

static PyObject *errors_isatty(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return Py_NewRef(Py_False);
}

static void errors_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_Free(self);
    Py_DECREF(type);
}

PyObject *errors_new(void)
{
    static PyMethodDef methods[] = {
        {"write", errors_write, METH_O, PyDoc_STR("write(text): to the server's log.")},
        {"writelines", errors_writelines, METH_O, PyDoc_STR("writelines(texts)")},
        {"flush", errors_flush, METH_NOARGS, PyDoc_STR("Logs an unfinished line.")},
        {"isatty", errors_isatty, METH_NOARGS, PyDoc_STR("False.")},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)errors_dealloc},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.Errors",
        .basicsize = sizeof(PyObject),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    py_own PyObject *type = PyType_FromSpec(&spec);
    return type == NULL ? NULL
                        : (PyObject *)PyObject_New(PyObject, (PyTypeObject *)type);
}

/* False: an exception is set. */
static bool add_text(PyObject *text)
{
    struct buf *line = &current.line;

    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "wsgi.errors takes str, not %.100s",
                     Py_TYPE(text)->tp_name);
        return false;
    }
    py_own PyObject *bytes =
        PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (bytes == NULL)
        return false;
    struct slice added =
        slice_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    if (current.request == NULL) { /* a thread of the application: nothing is kept */
        log_lines(added);
        return true;
    }
    buf_add(line, added);
    struct slice all = buf_slice(line);
    const char *newline = memrchr(all.ptr, '\n', all.len);
    size_t complete = newline == NULL ? 0 : (size_t)(newline - all.ptr);
    if (all.len - complete > ERRORS_LINE_BYTES) {
        errors_flush_current();
    } else if (newline != NULL) {
        log_lines(slice_of(all.ptr, complete));
        buf_consume(line, complete + 1);
    }
    return true;
}

static void log_lines(struct slice lines)
{
    const char *id = current_request_id();
    struct log_ctx ctx;

    (void)snprintf(ctx.prefix, sizeof ctx.prefix, "%.47s", id == NULL ? "" : id);
    GIL_YIELD;
    log_text(LOG_ERROR, id == NULL ? NULL : &ctx, lines);
}
