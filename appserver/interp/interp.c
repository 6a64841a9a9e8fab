/* SPDX-License-Identifier: MIT
 * The only Py_Initialize. What needs no C is done by banyan/_host.py. */
#include <Python.h>

#include "appserver/interp/interp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appserver/interp/failure.h"
#include "appserver/interp/own.h"
#include "protocol/base/mem.h"

static char *find_program(const struct app_options *options);
static bool check_environment(const char *program);
static bool
read_version(const char *config, unsigned long *ret_major, unsigned long *ret_minor);
static PyStatus configure(PyConfig *config, const char *program);

/* ---- the embedded interpreter ---- */

bool interp_start(const struct app_options *options)
{
    own(mem) char *program = find_program(options);
    PyConfig config;

    if (!check_environment(program))
        return false;
    PyConfig_InitPythonConfig(&config);
    PyStatus status = configure(&config, program);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        (void)fprintf(stderr, "banyan-app: cannot start Python %s as %s: %s\n",
                      PY_VERSION, program,
                      status.err_msg == NULL ? "unknown reason" : status.err_msg);
        return false;
    }
    return true;
}

/* Whose sys.prefix, site-packages and sys.executable ours are. Caller owns. */
static char *find_program(const struct app_options *options)
{
    const char *environment = getenv("VIRTUAL_ENV");

    if (options->python != NULL)
        return mem_strdup(options->python);
    if (environment != NULL && environment[0] != '\0')
        return mem_printf("%s/bin/python", environment);
    return mem_strdup(BANYAN_PYTHON);
}

/* A virtual environment made for another Python has no packages that ours could import.
 */
static bool check_environment(const char *program)
{
    own(mem) char *directory = mem_strdup(program);
    unsigned long major, minor;

    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(directory, '/');
        if (slash == NULL)
            return true;
        *slash = '\0';
    }
    own(mem) char *config = mem_printf("%s/pyvenv.cfg", directory);
    if (!read_version(config, &major, &minor) ||
        (major == PY_MAJOR_VERSION && minor == PY_MINOR_VERSION))
        return true;
    (void)fprintf(stderr,
                  "banyan-app: the virtual environment %s is for Python %lu.%lu, but "
                  "--embedded runs Python %d.%d; leave out --embedded, or build with "
                  "-DBANYAN_PYTHON=%s\n",
                  directory, major, minor, PY_MAJOR_VERSION, PY_MINOR_VERSION, program);
    return false;
}

/* "version = 3.11.2" (venv) or "version_info = 3.11.2.final.0" (virtualenv). */
static bool
read_version(const char *config, unsigned long *ret_major, unsigned long *ret_minor)
{
    static const char *const KEYS[] = {"version = ", "version_info = "};
    FILE *f = fopen(config, "re");
    char line[512], *end = line;
    bool found = false;

    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        for (size_t i = 0; !found && i < sizeof KEYS / sizeof KEYS[0]; i++) {
            size_t length = strlen(KEYS[i]);
            if (strncmp(line, KEYS[i], length) != 0)
                continue;
            *ret_major = strtoul(line + length, &end, 10);
            found = end > line + length && *end == '.';
        }
    }
    if (found)
        *ret_minor = strtoul(end + 1, NULL, 10);
    (void)fclose(f);
    return found;
}

static PyStatus configure(PyConfig *config, const char *program)
{
    char name[] = "banyan-app";
    char *argv[] = {name};

    config->install_signal_handlers = 0;
    config->parse_argv = 0;
    config->safe_path = 1;
    PyStatus status = PyConfig_SetBytesString(config, &config->program_name, program);
    if (PyStatus_Exception(status))
        return status;
    return PyConfig_SetBytesArgv(config, 1, argv);
}

/* ---- both hosts ---- */

bool interp_prepare(const struct app_options *options)
{
    py_own PyObject *host = PyImport_ImportModule("banyan._host");
    py_own PyObject *settings = PyList_New(0);

    if (host == NULL || settings == NULL)
        return false;
    for (size_t i = 0; i < options->env.count; i++) {
        py_own PyObject *item = PyUnicode_DecodeFSDefault(options->env.items[i]);
        if (item == NULL || PyList_Append(settings, item) < 0)
            return false;
    }
    py_own PyObject *path = PyUnicode_DecodeFSDefault(
        options->pythonpath == NULL ? "" : options->pythonpath);
    py_own PyObject *done =
        path == NULL ? NULL
                     : PyObject_CallMethod(host, "prepare", "OO", path, settings);
    return done != NULL;
}

void interp_finish(void)
{
    py_own PyObject *host = PyImport_ImportModule("banyan._host");
    py_own PyObject *done =
        host == NULL ? NULL : PyObject_CallMethod(host, "finish", NULL);

    if (done == NULL)
        (void)failure_report(NULL, "ending");
}
