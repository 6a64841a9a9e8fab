/* SPDX-License-Identifier: MIT
 * A worker process while it serves: its core, its threads, and the reasons to stop. */
#ifndef WSGI_WORKERS_H
#define WSGI_WORKERS_H

#include <Python.h>

#include "appserver/master.h"

/* In the process's main thread, with the GIL: binds the endpoint, says that it is
 * ready, serves `app` (borrowed) until SIGTERM, a limit or a stuck request, drains.
 * Returns the exit code. When a thread is still inside the application after that, the
 * process is ended here: nothing can be taken down under it. */
int workers_run(const struct worker_options *options, PyObject *app);

#endif
