/* SPDX-License-Identifier: MIT
 * banyan._core, by multi-phase initialisation. */
#include <Python.h>

#include "appserver/interp/module.h"

#include <stdio.h>

#include "appserver/interp/current.h"
#include "appserver/interp/entry.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"
#include "protocol/base/log.h"

/* One interpreter per process; on free-threaded builds no lock is needed around us. */
#if PY_VERSION_HEX >= 0x030d0000
#define MODULE_SLOTS                                                                   \
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},        \
        {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#elif PY_VERSION_HEX >= 0x030c0000
#define MODULE_SLOTS                                                                   \
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#else
#define MODULE_SLOTS
#endif

/* main(argv) -> exit code */
static PyObject *core_main(PyObject *module, PyObject *argument)
{
    py_own PyObject *list = PySequence_List(argument);
    py_own PyObject *keep = PyList_New(0); /* the bytes that argv points into */

    (void)module;
    if (list == NULL || keep == NULL)
        return NULL;
    Py_ssize_t argc = PyList_GET_SIZE(list);
    own(mem) char **argv = mem_zalloc(((size_t)argc + 1) * sizeof *argv);
    for (Py_ssize_t i = 0; i < argc; i++) {
        py_own PyObject *word = NULL;
        if (PyUnicode_FSConverter(PyList_GET_ITEM(list, i), &word) == 0 ||
            PyList_Append(keep, word) < 0)
            return NULL;
        argv[i] = PyBytes_AS_STRING(word);
    }
    return PyLong_FromLong(entry_run((int)argc, argv));
}

/* log(level, text): level as of the module logging */
static PyObject *core_log(PyObject *module, PyObject *args)
{
    py_own PyObject *id = current_id();
    enum log_level level;
    struct log_ctx ctx;
    PyObject *text;
    int number;

    (void)module;
    if (!PyArg_ParseTuple(args, "iU:log", &number, &text))
        return NULL;
    py_own PyObject *bytes =
        PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (bytes == NULL)
        return NULL;
    level = number >= 40   ? LOG_ERROR
            : number >= 30 ? LOG_WARN
            : number >= 20 ? LOG_INFO
                           : LOG_DEBUG;
    const char *prefix = id == NULL ? NULL : PyUnicode_AsUTF8(id);
    (void)snprintf(ctx.prefix, sizeof ctx.prefix, "%.47s",
                   prefix == NULL ? "" : prefix);
    {
        GIL_YIELD;
        log_text(level, prefix == NULL ? NULL : &ctx,
                 slice_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)));
    }
    return Py_NewRef(Py_None);
}

/* request_id() -> the id of the request that is served here, or None */
static PyObject *core_request_id(PyObject *module, PyObject *unused)
{
    PyObject *id = current_id();

    (void)module;
    (void)unused;
    return id == NULL ? Py_NewRef(Py_None) : id;
}

static int add_constants(PyObject *module)
{
    return PyModule_AddStringConstant(module, "version", BANYAN_VERSION);
}

PyModuleDef *module_def(void)
{
    static PyMethodDef methods[] = {
        {"main", core_main, METH_O, PyDoc_STR("main(argv): runs the app server.")},
        {"log", core_log, METH_VARARGS, PyDoc_STR("log(level, text)")},
        {"request_id", core_request_id, METH_NOARGS,
         PyDoc_STR("The id of the request that is served here, or None.")},
        {0},
    };
    static PyModuleDef_Slot slots[] = {
        {Py_mod_exec, (void *)add_constants},
        MODULE_SLOTS{0, NULL},
    };
    static PyModuleDef def = {
        PyModuleDef_HEAD_INIT,
        .m_name = "banyan._core",
        .m_doc = PyDoc_STR("Banyan's app server."),
        .m_size = 0,
        .m_methods = methods,
        .m_slots = slots,
    };

    return &def;
}

bool module_install(void)
{
    py_own PyObject *machinery = PyImport_ImportModule("importlib.machinery");
    py_own PyObject *spec = machinery == NULL
                                ? NULL
                                : PyObject_CallMethod(machinery, "ModuleSpec", "sO",
                                                      "banyan._core", Py_None);
    py_own PyObject *module =
        spec == NULL ? NULL : PyModule_FromDefAndSpec(module_def(), spec);

    return module != NULL && PyModule_ExecDef(module, module_def()) == 0 &&
           PyDict_SetItemString(PyImport_GetModuleDict(), "banyan._core", module) == 0;
}
