/* SPDX-License-Identifier: MIT */
#include <Python.h>

#include "appserver/asgi/message.h"

#include "appserver/interp/field.h"
#include "appserver/interp/names.h"
#include "appserver/interp/text.h"
#include "protocol/header_names.h"

static bool add_pair(PyObject *pair, struct answer *a);
static bool add_link(PyObject *link, struct answer *a);
static PyObject *two_of(PyObject *pair);

static const struct {
    struct slice text;
    enum message_type type;
} TYPES[] = {
    {{"http.response.start", 19}, MESSAGE_HTTP_START},
    {{"http.response.body", 18}, MESSAGE_HTTP_BODY},
    {{"websocket.send", 14}, MESSAGE_WS_SEND},
    {{"websocket.accept", 16}, MESSAGE_WS_ACCEPT},
    {{"websocket.close", 15}, MESSAGE_WS_CLOSE},
    {{"http.response.trailers", 22}, MESSAGE_HTTP_TRAILERS},
    {{"http.response.early_hint", 24}, MESSAGE_HTTP_EARLY_HINT},
    {{"http.response.pathsend", 22}, MESSAGE_HTTP_PATHSEND},
    {{"websocket.http.response.start", 29}, MESSAGE_WS_HTTP_START},
    {{"websocket.http.response.body", 28}, MESSAGE_WS_HTTP_BODY},
};

bool message_type(PyObject *message, enum message_type *ret_type)
{
    py_own PyObject *type = NULL;
    struct slice text;

    switch (message_get(message, name_type, &type)) {
    case PY_FOUND:
        break;
    case PY_MISSING:
        PyErr_SetString(PyExc_ValueError, "the message has no 'type'");
        return false;
    case PY_ERROR:
        return false;
    }
    *ret_type = MESSAGE_UNKNOWN;
    if (!PyUnicode_Check(type) || !text_latin1(type, &text))
        return true;
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (slice_eq(TYPES[i].text, text)) {
            *ret_type = TYPES[i].type;
            break;
        }
    }
    return true;
}

void message_refuse(PyObject *message, const char *state)
{
    py_own PyObject *type = NULL;

    PyErr_Clear();
    if (message_get(message, name_type, &type) == PY_FOUND)
        PyErr_Format(PyExc_RuntimeError, "unexpected message %R %s", type, state);
}

enum py_found message_get(PyObject *message, PyObject *key, PyObject **ret_value)
{
    PyObject *value = NULL;

    if (PyDict_CheckExact(message)) {
        value = Py_XNewRef(PyDict_GetItemWithError(message, key));
        if (value == NULL)
            return PyErr_Occurred() ? PY_ERROR : PY_MISSING;
    } else {
        value = PyObject_GetItem(message, key);
        if (value == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
            PyErr_Clear();
            return PY_MISSING;
        }
        if (value == NULL)
            return PY_ERROR;
    }
    if (value == Py_None) {
        Py_DECREF(value);
        return PY_MISSING;
    }
    *ret_value = value;
    return PY_FOUND;
}

bool message_flag(PyObject *message, PyObject *key, bool *ret_flag)
{
    py_own PyObject *value = NULL;

    *ret_flag = false;
    if (message_get(message, key, &value) == PY_FOUND) {
        int truth = value == Py_True    ? 1
                    : value == Py_False ? 0
                                        : PyObject_IsTrue(value);
        *ret_flag = truth == 1;
        return truth >= 0;
    }
    return !PyErr_Occurred();
}

bool message_bytes(PyObject *message, PyObject *key, PyObject **ret_bytes)
{
    py_own PyObject *value = NULL;

    switch (message_get(message, key, &value)) {
    case PY_ERROR:
        return false;
    case PY_MISSING:
        *ret_bytes = PyBytes_FromStringAndSize(NULL, 0);
        return *ret_bytes != NULL;
    case PY_FOUND:
        break;
    }
    if (PyBytes_CheckExact(value)) {
        *ret_bytes = py_take(value);
        return true;
    }
    if (!PyObject_CheckBuffer(value)) {
        PyErr_Format(PyExc_TypeError, "%R must be bytes, not %.100s", key,
                     Py_TYPE(value)->tp_name);
        return false;
    }
    *ret_bytes = PyBytes_FromObject(value);
    return *ret_bytes != NULL;
}

bool message_number(PyObject *message,
                    PyObject *key,
                    long least,
                    long most,
                    long otherwise,
                    long *ret_number)
{
    py_own PyObject *value = NULL;

    switch (message_get(message, key, &value)) {
    case PY_ERROR:
        return false;
    case PY_MISSING:
        *ret_number = otherwise;
        return true;
    case PY_FOUND:
        break;
    }
    /* http.HTTPStatus and its kind are int, too. */
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%R must be int, not %.100s", key,
                     Py_TYPE(value)->tp_name);
        return false;
    }
    int overflow = 0;
    *ret_number = PyLong_AsLongAndOverflow(value, &overflow);
    if (overflow != 0 || *ret_number < least || *ret_number > most) {
        PyErr_Format(PyExc_ValueError, "%R must be between %ld and %ld, not %S", key,
                     least, most, value);
        return false;
    }
    return true;
}

/* Calls `add` for each item of message[key]. */
static bool for_each(PyObject *message,
                     PyObject *key,
                     bool (*add)(PyObject *item, struct answer *a),
                     struct answer *a)
{
    py_own PyObject *items = NULL;
    py_own PyObject *list = NULL;

    switch (message_get(message, key, &items)) {
    case PY_ERROR:
        return false;
    case PY_MISSING:
        return true;
    case PY_FOUND:
        break;
    }
    if (PyDict_Check(items) || PyBytes_Check(items) || PyUnicode_Check(items)) {
        PyErr_Format(PyExc_TypeError, "%R must be an iterable of pairs, not %.100s",
                     key, Py_TYPE(items)->tp_name);
        return false;
    }
    /* A list of the application's may change while a strange item is looked at. */
    list = PyTuple_CheckExact(items) ? Py_NewRef(items) : PySequence_Tuple(items);
    if (list == NULL)
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(list); i++)
        if (!add(PyTuple_GET_ITEM(list, i), a))
            return false;
    return true;
}

bool message_headers(PyObject *message, struct answer *a)
{
    if (!for_each(message, name_headers, add_pair, a))
        return false;
    field_log_dropped(a);
    return true;
}

bool message_links(PyObject *message, struct answer *a)
{
    return for_each(message, name_links, add_link, a);
}

static bool add_pair(PyObject *pair, struct answer *a)
{
    py_own PyObject *two = two_of(pair);

    if (two == NULL)
        return false;
    PyObject *const *item = PySequence_Fast_ITEMS(two);
    if (!PyBytes_Check(item[0]) || !PyBytes_Check(item[1])) {
        PyErr_Format(PyExc_TypeError, "a header must be a pair of bytes, not %R", pair);
        return false;
    }
    return field_add(
        a, slice_of(PyBytes_AS_STRING(item[0]), (size_t)PyBytes_GET_SIZE(item[0])),
        slice_of(PyBytes_AS_STRING(item[1]), (size_t)PyBytes_GET_SIZE(item[1])),
        item[0], item[1]);
}

/* New reference to a tuple or list of two; bytes and str are no pairs. */
static PyObject *two_of(PyObject *pair)
{
    PyObject *two =
        PyTuple_CheckExact(pair) || PyList_CheckExact(pair) ? Py_NewRef(pair)
        : PyBytes_Check(pair) || PyUnicode_Check(pair)      ? NULL
                                                            : PySequence_Tuple(pair);

    if (two != NULL && PySequence_Fast_GET_SIZE(two) == 2)
        return two;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "a header must be a pair of bytes, not %R", pair);
    Py_XDECREF(two);
    return NULL;
}

static bool add_link(PyObject *link, struct answer *a)
{
    if (!PyBytes_Check(link)) {
        PyErr_Format(PyExc_TypeError, "a link must be bytes, not %R", link);
        return false;
    }
    return field_add(a, SLICE("link"),
                     slice_of(PyBytes_AS_STRING(link), (size_t)PyBytes_GET_SIZE(link)),
                     name_links, link);
}

PyObject *message_new(PyObject *type, PyObject *key, PyObject *value)
{
    py_own PyObject *owned = value;
    py_own PyObject *message = value == NULL ? NULL : PyDict_New();

    if (message == NULL || PyDict_SetItem(message, name_type, type) < 0 ||
        PyDict_SetItem(message, key, owned) < 0)
        return NULL;
    return py_take(message);
}
