/* SPDX-License-Identifier: MIT
 * A worker process while it serves an ASGI application: its loop, its core, and the
 * order in which they start and end. */
#ifndef ASGI_PROCESS_H
#define ASGI_PROCESS_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/master.h"

/* In the process's main thread, with the GIL: starts the application (lifespan), binds
 * the endpoint, says that it is ready, serves `app` (borrowed) until there is a reason
 * to stop, drains, shuts the application down. `is_legacy`: app(scope) gives what is
 * called with (receive, send). Returns the exit code. */
int asgi_run(const struct worker_options *options, PyObject *app, bool is_legacy);

#endif
