/* SPDX-License-Identifier: MIT
 * 103 Early Hints, judged by the same rules as the fields of start_response. */
#include <Python.h>

#include "appserver/wsgi/early_hints.h"

#include "appserver/interp/current.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/wsgi/start_response.h"

enum { STATUS_EARLY_HINTS = 103 };

static enum err send_hints(struct answer *hints)
{
    GIL_YIELD;
    return request_inform(hints->request, STATUS_EARLY_HINTS,
                          buf_slice(&hints->headers));
}

static PyObject *early_hints_call(PyObject *self, PyObject *fields)
{
    struct answer hints;
    enum err e = ERR_NONE;

    (void)self;
    if (current.request == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this thread serves no request");
        return NULL;
    }
    answer_init(&hints);
    answer_begin(&hints, current.request);
    answer_start(&hints, STATUS_EARLY_HINTS, slice_of("", 0));
    bool good = start_response_add_fields(fields, &hints);
    if (good) {
        header_end(&hints.writer);
        e = send_hints(&hints);
    }
    answer_fini(&hints);
    if (e != ERR_NONE)
        PyErr_SetString(failure_client_gone, err_text(e));
    return good && e == ERR_NONE ? Py_NewRef(Py_None) : NULL;
}

PyObject *early_hints_new(void)
{
    static PyMethodDef method = {
        "early_hints",
        early_hints_call,
        METH_O,
        PyDoc_STR("early_hints(headers): a 103 answer before the final one."),
    };

    return PyCFunction_New(&method, NULL);
}
