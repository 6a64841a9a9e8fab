/* SPDX-License-Identifier: MIT
 * An interpreter inside a unit test, with the package `banyan` of the source tree. */
#ifndef SUPPORT_PYTHON_H
#define SUPPORT_PYTHON_H

#include <Python.h>

/* For cmocka's group set-up and tear-down. */
int python_setup(void **state);
int python_teardown(void **state);

/* Runs `source` as a module; the test fails with a traceback when it raises. New
 * reference to its namespace. */
PyObject *python_run(const char *source);
/* `expression` in that namespace, as str; caller frees. */
char *python_eval(PyObject *namespace, const char *expression);

#endif
