/* SPDX-License-Identifier: MIT
 * What the master is to know of Python, as functions. The hooks run in the thread that
 * called entry_run; the application imported by --preload waits here for its workers.
 */
#include <Python.h>

#include "appserver/interp/entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appserver/asgi/process.h"
#include "appserver/interp/current.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/interp.h"
#include "appserver/interp/loader.h"
#include "appserver/interp/module.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "appserver/interp/warden.h"
#include "appserver/master.h"
#include "appserver/options.h"
#include "appserver/wsgi/workers.h"
#include "protocol/base/log.h"

static PyObject *preloaded;    /* owned; NULL: workers import */
static PyThreadState *waiting; /* between wait_begin and wait_end */

static PyObject *load(const struct app_options *options);
static bool preload(const struct app_options *options);
static void wait_begin(void);
static void wait_end(void);
static int work(const struct worker_options *options);
static void freeze(void);

int entry_run(int argc, char **argv)
{
    static const struct master_hooks hooks = {
        .preload = preload,
        .before_fork = PyOS_BeforeFork,
        .after_fork_parent = PyOS_AfterFork_Parent,
        .after_fork_child = PyOS_AfterFork_Child,
        .wait_begin = wait_begin,
        .wait_end = wait_end,
        .work = work,
    };
    struct app_options options;
    int code = EXIT_FAILURE;

    if (!app_options_read(argc, argv, &options, &code))
        return code;
    code = master_run(&options, &hooks);
    Py_CLEAR(preloaded);
    return code;
}

int interp_embedded_main(int argc, char **argv)
{
    struct app_options options;
    int code = EXIT_FAILURE;

    if (!app_options_read(argc, argv, &options, &code))
        return code;
    if (!interp_start(&options))
        return EXIT_FAILURE;
    if (module_install())
        code = entry_run(argc, argv);
    else
        failure_print();
    return Py_FinalizeEx() < 0 && code == 0 ? EXIT_FAILURE : code;
}

/* New reference; NULL: the user has been told. */
static PyObject *load(const struct app_options *options)
{
    py_own PyObject *app = NULL;

    if (names_init() && failure_init() && current_init() && interp_prepare(options))
        app = loader_load(options->application);
    if (app == NULL)
        failure_print();
    return py_take(app);
}

static bool preload(const struct app_options *options)
{
    preloaded = load(options);
    if (preloaded != NULL)
        freeze();
    return preloaded != NULL;
}

/* What is there now will stay; the collector of a worker need not write to its pages,
 * which the processes share. */
static void freeze(void)
{
    py_own PyObject *gc = PyImport_ImportModule("gc");
    py_own PyObject *done = gc == NULL ? NULL : PyObject_CallMethod(gc, "freeze", NULL);

    if (done == NULL)
        failure_drop();
}

static void wait_begin(void)
{
    waiting = gil_save();
}

static void wait_end(void)
{
    gil_restore(&waiting);
}

static int work(const struct worker_options *options)
{
    enum interface interface;

    if (!warden_init()) {
        log_error(NULL, "eventfd: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    warden_take_sigterm(); /* before the application starts programs */
    py_own PyObject *app =
        preloaded != NULL ? Py_NewRef(preloaded) : load(options->app);
    if (app == NULL)
        return EXIT_IMPORT;
    if (!loader_detect(app, options->app->interface, &interface)) {
        failure_print();
        return EXIT_IMPORT;
    }
    int code = interface == INTERFACE_WSGI
                   ? workers_run(options, app)
                   : asgi_run(options, app, interface == INTERFACE_ASGI2);
    interp_finish();
    return code;
}
