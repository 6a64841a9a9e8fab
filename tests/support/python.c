/* SPDX-License-Identifier: MIT
 * Starts an interpreter for a unit test. */
#include <Python.h>

#include "tests/support/python.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "appserver/interp/own.h"

int python_setup(void **state)
{
    PyConfig config;

    (void)state;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    PyStatus status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        return -1;
    py_own PyObject *package = PyUnicode_FromString(TESTS_DIR "/../appserver/pkg/src");
    py_own PyObject *path = Py_XNewRef(PySys_GetObject("path"));
    return package == NULL || path == NULL ? -1 : PyList_Insert(path, 0, package);
}

int python_teardown(void **state)
{
    (void)state;
    return Py_FinalizeEx();
}

PyObject *python_run(const char *source)
{
    PyObject *namespace = PyDict_New();

    assert_non_null(namespace);
    py_own PyObject *builtins = PyImport_ImportModule("builtins");
    assert_int_equal(PyDict_SetItemString(namespace, "__builtins__", builtins), 0);
    py_own PyObject *done = PyRun_String(source, Py_file_input, namespace, namespace);
    if (done == NULL)
        PyErr_Print();
    assert_non_null(done);
    return namespace;
}

char *python_eval(PyObject *namespace, const char *expression)
{
    py_own PyObject *value =
        PyRun_String(expression, Py_eval_input, namespace, namespace);
    if (value == NULL)
        PyErr_Print();
    assert_non_null(value);
    py_own PyObject *text = PyObject_Str(value);
    assert_non_null(text);
    const char *utf8 = PyUnicode_AsUTF8(text);
    assert_non_null(utf8);
    return mem_strdup(utf8);
}
