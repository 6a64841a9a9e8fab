/* SPDX-License-Identifier: MIT
 * One request through a WSGI application: call, iterate, close. One per worker thread;
 * the objects that an application is handed are used again when it kept none of them.
 */
#ifndef WSGI_CALL_H
#define WSGI_CALL_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/core/request.h"
#include "appserver/wsgi/environ.h"
#include "protocol/base/check.h"

struct call;

/* The names and types of this folder. With the GIL. Does nothing the second time.
 * False: an exception is set. */
MUST_CHECK bool call_init(void);

/* With the GIL. NULL: an exception is set. `app` is borrowed for the call's life. */
struct call *call_new(PyObject *app, const struct environ_options *options);
void call_free(struct call **call_p);

/* With the GIL, which is yielded wherever this waits. Afterwards the application is
 * done with the request; its answer is on the way, or stands ready for call_flush. */
void call_run(struct call *c, struct request *request);
/* Without the GIL, after call_run and before the next request is taken. */
void call_flush(struct call *c);

/* With the GIL, from another thread: raises banyan.RequestTimeout in `thread`, which is
 * the one that uses `c`, if it runs `request_id` still. The exception meets no later
 * request. */
void call_interrupt(struct call *c, unsigned long thread, const char *request_id);

#endif
