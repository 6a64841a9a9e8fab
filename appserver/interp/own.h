/* SPDX-License-Identifier: MIT
 * The reference rules. A `py_own PyObject *x = NULL;` holds a strong reference that
 * ends with its scope; a borrowed reference gets no variable, it is made strong in the
 * statement that looked it up. Python 3.11 is the oldest; what newer versions do
 * differently is hidden here. */
#ifndef INTERP_OWN_H
#define INTERP_OWN_H

#include <Python.h>

#include "protocol/base/mem.h"

static inline void py_own_free(PyObject **p)
{
    Py_CLEAR(*p);
}
#define py_own __attribute__((cleanup(py_own_free)))

/* `return py_take(x);` hands over a py_own variable. */
#define py_take(p) take(p)

/* Puts `value` (taken, may be NULL) where an owned reference stands. The old one goes
 * last, since that may run the application's code. */
static inline void py_replace(PyObject **place, PyObject *value)
{
    PyObject *old = *place;
    *place = value;
    Py_XDECREF(old);
}

enum py_found { PY_ERROR = -1, PY_MISSING = 0, PY_FOUND = 1 };

/* PY_MISSING without an exception when there is no such attribute. */
static inline enum py_found
py_find_attr(PyObject *o, PyObject *name, PyObject **ret_value)
{
    PyObject *value = PyObject_GetAttr(o, name);
    if (value != NULL) {
        *ret_value = value;
        return PY_FOUND;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return PY_ERROR;
    PyErr_Clear();
    return PY_MISSING;
}

/* New reference to the item of a list. */
#if PY_VERSION_HEX >= 0x030d0000
static inline PyObject *py_list_item(PyObject *list, Py_ssize_t at)
{
    return PyList_GetItemRef(list, at);
}
#else
static inline PyObject *py_list_item(PyObject *list, Py_ssize_t at)
{
    return Py_XNewRef(PyList_GetItem(list, at));
}
#endif

/* Takes the pending exception, normalised, with its traceback. NULL: none is pending.
 */
#if PY_VERSION_HEX >= 0x030c0000
static inline PyObject *py_raised(void)
{
    return PyErr_GetRaisedException();
}
#else
static inline PyObject *py_raised(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        (void)PyException_SetTraceback(value, traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
}
#endif

#endif
