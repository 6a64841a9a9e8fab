/* SPDX-License-Identifier: MIT
 * Imports the application and turns the usual mistakes into sentences. An exception
 * raised by the application's own code is left as it is, with its traceback. */
#include <Python.h>

#include "appserver/interp/loader.h"

#include <stdbool.h>
#include <string.h>

#include "appserver/interp/own.h"
#include "protocol/base/slice.h"

static PyObject *import_module(PyObject *name);
static PyObject *explain_missing_module(PyObject *name);
static PyObject *find_default(PyObject *module, PyObject *name);
static PyObject *
walk_attributes(PyObject *module, PyObject *module_name, struct slice path);
static PyObject *call_factory(PyObject *factory, const char *application);

PyObject *loader_load(const char *application)
{
    struct slice all = slice_from(application);
    const char *colon = strchr(application, ':');
    struct slice module_part =
        colon == NULL ? all : slice_of(application, (size_t)(colon - application));
    struct slice path = colon == NULL ? slice_of("", 0) : slice_from(colon + 1);
    bool is_factory = false;

    if (path.len > 2 && memcmp(path.ptr + path.len - 2, "()", 2) == 0) {
        is_factory = true;
        path.len -= 2;
    }
    if (module_part.len == 0 || (colon != NULL && path.len == 0))
        return PyErr_Format(PyExc_ImportError,
                            "'%s' does not name an application; MODULE:APP is "
                            "expected, e.g. 'mysite.wsgi:application'",
                            application);
    py_own PyObject *name =
        PyUnicode_DecodeFSDefaultAndSize(module_part.ptr, (Py_ssize_t)module_part.len);
    if (name == NULL)
        return NULL;
    py_own PyObject *module = import_module(name);
    if (module == NULL)
        return NULL;
    py_own PyObject *app = colon == NULL ? find_default(module, name)
                                         : walk_attributes(module, name, path);
    if (app != NULL && is_factory)
        py_replace(&app, call_factory(app, application));
    if (app != NULL && !PyCallable_Check(app))
        return PyErr_Format(PyExc_ImportError,
                            "'%s' is not an application: %R cannot be called",
                            application, app);
    return py_take(app);
}

static PyObject *import_module(PyObject *name)
{
    PyObject *module = PyImport_Import(name);

    if (module != NULL || !PyErr_ExceptionMatches(PyExc_ModuleNotFoundError))
        return module;
    return explain_missing_module(name);
}

/* The pending ModuleNotFoundError is about `name` itself (or a package it is in): say
 * where was looked. When it is about something that the application imports, it stays.
 */
static PyObject *explain_missing_module(PyObject *name)
{
    py_own PyObject *exception = py_raised();
    py_own PyObject *missing = PyObject_GetAttrString(exception, "name");

    if (missing == NULL)
        PyErr_Clear();
    bool is_ours = false;
    if (missing != NULL && PyUnicode_Check(missing)) {
        py_own PyObject *dotted = PyUnicode_FromFormat("%U.", missing);
        is_ours = PyUnicode_Compare(name, missing) == 0 ||
                  (dotted != NULL &&
                   PyUnicode_Tailmatch(name, dotted, 0, PY_SSIZE_T_MAX, -1) == 1);
    }
    if (!is_ours) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        return NULL;
    }
    py_own PyObject *suffix = PyUnicode_FromString(".py");
    bool is_file =
        suffix != NULL && PyUnicode_Tailmatch(name, suffix, 0, PY_SSIZE_T_MAX, 1) == 1;
    py_own PyObject *path = Py_XNewRef(PySys_GetObject("path"));
    return PyErr_Format(PyExc_ModuleNotFoundError,
                        "there is no module '%U'%s; looked in %R (--chdir and "
                        "--pythonpath add directories)",
                        missing, is_file ? " (a module is named without '.py')" : "",
                        path);
}

static PyObject *find_default(PyObject *module, PyObject *name)
{
    static const char *const NAMES[] = {"application", "app"};

    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        py_own PyObject *attr = PyUnicode_FromString(NAMES[i]);
        PyObject *app = NULL;
        if (attr == NULL || py_find_attr(module, attr, &app) == PY_ERROR)
            return NULL;
        if (app != NULL)
            return app;
    }
    return PyErr_Format(PyExc_ImportError,
                        "module '%U' has neither 'application' nor 'app'; name the "
                        "application as '%U:NAME'",
                        name, name);
}

static PyObject *
walk_attributes(PyObject *module, PyObject *module_name, struct slice path)
{
    py_own PyObject *at = Py_NewRef(module);

    while (path.len > 0) {
        const char *dot = memchr(path.ptr, '.', path.len);
        size_t len = dot == NULL ? path.len : (size_t)(dot - path.ptr);
        PyObject *next = NULL;
        py_own PyObject *attr = PyUnicode_DecodeUTF8(path.ptr, (Py_ssize_t)len, NULL);
        if (attr == NULL || py_find_attr(at, attr, &next) == PY_ERROR)
            return NULL;
        if (next == NULL && at == module)
            return PyErr_Format(PyExc_ImportError, "module '%U' has no attribute '%U'",
                                module_name, attr);
        if (next == NULL)
            return PyErr_Format(PyExc_ImportError,
                                "%R in module '%U' has no attribute '%U'", at,
                                module_name, attr);
        py_replace(&at, next);
        path.ptr += dot == NULL ? len : len + 1;
        path.len -= dot == NULL ? len : len + 1;
    }
    return py_take(at);
}

static PyObject *call_factory(PyObject *factory, const char *application)
{
    if (!PyCallable_Check(factory))
        return PyErr_Format(PyExc_ImportError, "'%s': %R cannot be called", application,
                            factory);
    return PyObject_CallNoArgs(factory);
}

bool loader_detect(PyObject *app, const char *asked, enum interface *ret_interface)
{
    static const char *const NAMES[] = {
        [INTERFACE_WSGI] = "wsgi",
        [INTERFACE_ASGI] = "asgi",
        [INTERFACE_ASGI2] = "asgi2",
    };
    py_own PyObject *found = NULL;

    if (strcmp(asked, "auto") == 0) {
        py_own PyObject *module = PyImport_ImportModule("banyan._detect");
        found = module == NULL ? NULL : PyObject_CallMethod(module, "detect", "O", app);
        asked = found == NULL ? NULL : PyUnicode_AsUTF8(found);
        if (asked == NULL)
            return false;
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(asked, NAMES[i]) == 0) {
            *ret_interface = (enum interface)i;
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "there is no interface '%s'", asked);
    return false;
}
