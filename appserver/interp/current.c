/* SPDX-License-Identifier: MIT */
#include <Python.h>

#include "appserver/interp/current.h"

_Thread_local struct current current;

PyObject *current_id_var;

bool current_init(void)
{
    if (current_id_var == NULL)
        current_id_var = PyContextVar_New("banyan.request_id", NULL);
    return current_id_var != NULL;
}

PyObject *current_id(void)
{
    const char *id = current_request_id();
    PyObject *text = NULL;

    if (id != NULL)
        text = PyUnicode_FromString(id);
    else if (current_id_var != NULL)
        (void)PyContextVar_Get(current_id_var, NULL, &text);
    if (text == NULL)
        PyErr_Clear();
    return text;
}
